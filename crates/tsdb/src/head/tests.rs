//! The head as its users see it.

use std::future::Future as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use hashbrown::HashSet;
use model::{Exemplar, Histogram, HistogramValue, Labels, MatchOp, Matcher, Span, stale_nan};
use storage::{AppendError, Appender, LabelHints, Querier, QueryContext, SampleBuf, SelectHints, SeriesRef};

use super::append::HeadAppender;
use super::{Head, HeadQuerier, Truncation};
use crate::db::DbOptions;
use crate::disk::{FaultDisk, MemDisk, WriteMode};
use crate::wal::record::{self, Record};
use crate::wal::{SegmentReader, segment_path, segments};

fn options() -> DbOptions {
    let mut options = DbOptions::new("/data");
    options.disk = Arc::new(MemDisk::new());
    options.exemplars_max = 10;
    options
}

fn open(options: &DbOptions) -> Arc<Head> {
    Head::open(options, i64::MIN).unwrap()
}

fn app(head: &Arc<Head>) -> Box<HeadAppender> {
    Box::new(HeadAppender::new(Arc::clone(head)))
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::from_pairs(pairs.iter().copied())
}

fn read(head: &Arc<Head>, matchers: &[Matcher]) -> Vec<(String, SampleBuf)> {
    let q = HeadQuerier::new(head, i64::MIN, i64::MIN, i64::MAX);
    let set = q.select(&QueryContext::unlimited(), true, &SelectHints::default(), matchers).unwrap();
    let all = set.series.iter().map(|s| {
        let mut out = SampleBuf::default();
        s.read(i64::MIN, i64::MAX, &mut out).unwrap();
        (s.labels().to_string(), out)
    });
    all.collect()
}

fn histogram(sum: f64, deltas: &[i64]) -> HistogramValue {
    let mut count = 0;
    let mut absolute = 0;
    for d in deltas {
        absolute += d;
        count += absolute;
    }
    HistogramValue::Int(Arc::new(Histogram {
        count: count as u64,
        sum,
        zero_threshold: 0.001,
        positive_spans: vec![Span { offset: 0, length: deltas.len() as u32 }],
        positive_buckets: deltas.to_vec(),
        ..Histogram::default()
    }))
}

#[test]
fn samples_are_seen_after_commit_and_survive_a_restart() {
    let options = options();
    let head = open(&options);
    let up = labels(&[("__name__", "up"), ("job", "a")]);
    let hist = labels(&[("__name__", "h"), ("job", "a")]);
    let mut expected = Vec::new();
    for i in 0..500_i64 {
        let mut a = app(&head);
        a.append(SeriesRef::NONE, &up, 0, i * 15_000, (i % 7) as f64).unwrap();
        a.append_histogram(SeriesRef::NONE, &hist, 0, i * 15_000, &histogram(i as f64, &[i + 1, 2])).unwrap();
        if i == 250 {
            assert_eq!(read(&head, &[Matcher::equal("job", "a")])[1].1.len(), 250);
        }
        a.commit().unwrap();
        expected.push((i % 7) as f64);
    }
    let mut a = app(&head);
    a.append(SeriesRef::NONE, &hist, 0, 500 * 15_000, stale_nan()).unwrap();
    a.commit().unwrap();
    let before = read(&head, &[]);
    assert_eq!(before[1].1.values, expected);
    assert_eq!(before[0].1.histograms.len(), 501);
    assert!(before[0].1.histograms[500].1.is_stale());
    // Once with the chunks on disk, once as after a kill, once without any of them.
    for step in 0..3 {
        if step == 0 {
            head.flush_chunks();
        }
        if step == 2 {
            options.disk.remove_dir_all("/data/chunks_head".as_ref()).unwrap();
        }
        let again = open(&options);
        let after = read(&again, &[]);
        assert_eq!(after.len(), 2, "step {step}");
        for ((la, a), (lb, b)) in before.iter().zip(&after) {
            assert_eq!((la, &a.times, a.histograms.len()), (lb, &b.times, b.histograms.len()), "step {step}");
            assert!(a.histograms.iter().map(|(_, h)| h).eq(b.histograms.iter().map(|(_, h)| h)));
        }
        assert_eq!((again.min_time(), again.max_time()), (head.min_time(), head.max_time()));
        assert_eq!(again.status(10).head.chunks, head.status(10).head.chunks, "step {step}");
    }
}

#[test]
fn refusals_are_upstreams() {
    let head = open(&options());
    let a1 = labels(&[("a", "1")]);
    let mut a = app(&head);
    let r = a.append(SeriesRef::NONE, &a1, 0, 10_000_000, 1.0).unwrap();
    assert_eq!(a.append(SeriesRef::NONE, &Labels::empty(), 0, 1, 1.0), Err(AppendError::OutOfBounds));
    assert!(matches!(
        a.append(SeriesRef::NONE, &Labels::empty(), 0, 10_000_000, 1.0),
        Err(AppendError::InvalidLabels(_))
    ));
    assert_eq!(
        a.append(SeriesRef(99), &Labels::empty(), 0, 10_000_000, 1.0),
        Err(AppendError::UnknownSeries)
    );
    a.commit().unwrap();
    let mut a = app(&head);
    assert_eq!(a.append(r, &a1, 0, 10_000_000, 1.0), Ok(r));
    assert_eq!(a.append(r, &a1, 0, 10_000_000, 2.0), Err(AppendError::Duplicate));
    assert_eq!(a.append(r, &a1, 0, 9_999_999, 2.0), Err(AppendError::OutOfOrder));
    assert_eq!(a.append(r, &a1, 0, 10_000_000 - 3_600_000, 2.0), Err(AppendError::OutOfOrder));
    assert_eq!(a.append(r, &a1, 0, 10_000_000 - 3_600_001, 2.0), Err(AppendError::OutOfBounds));
    let stats = a.commit().unwrap();
    assert_eq!((stats.samples, stats.refused), (0, 0));
    // Two transactions at once: the later one to commit is refused then.
    let (mut x, mut y) = (app(&head), app(&head));
    x.append(r, &a1, 0, 10_000_005, 5.0).unwrap();
    y.append(r, &a1, 0, 10_000_003, 3.0).unwrap();
    x.commit().unwrap();
    assert_eq!(y.commit().unwrap().refused, 1);
    let mut a = app(&head);
    assert_eq!(a.append_start_zero(r, &a1, 10_000_010, 10_000_010, None), Err(AppendError::StartNotBefore));
    assert_eq!(a.append_start_zero(r, &a1, 10_000_010, 10_000_000, None), Err(AppendError::OutOfOrder));
    a.append_start_zero(r, &a1, 10_000_010, 10_000_008, None).unwrap();
    a.append(r, &a1, 0, 10_000_010, 9.0).unwrap();
    a.commit().unwrap();
    assert_eq!(read(&head, &[])[0].1.times, [10_000_000, 10_000_005, 10_000_008, 10_000_010]);
}

#[test]
fn a_batch_takes_known_series_and_names_the_others() {
    let head = open(&options());
    let mut a = app(&head);
    let refs: Vec<SeriesRef> = (0..600)
        .map(|i| a.append(SeriesRef::NONE, &labels(&[("i", &i.to_string())]), 0, 1000, 0.0).unwrap())
        .collect();
    a.commit().unwrap();
    let mut batch = refs.clone();
    batch[7] = SeriesRef(5_000_000);
    batch[300] = SeriesRef::NONE;
    let values: Vec<f64> = (0..600).map(f64::from).collect();
    let mut a = app(&head);
    let mut rejected = Vec::new();
    a.append_batch(2000, &batch, &values, &mut rejected);
    assert_eq!(rejected.iter().map(|r| r.index).collect::<Vec<_>>(), [7, 300]);
    assert_eq!(a.commit().unwrap().samples, 598);
    let found = read(&head, &[Matcher::equal("i", "599")]);
    assert_eq!(found[0].1.values, [0.0, 599.0]);
    // A transaction that is dropped leaves no sample.
    let mut a = app(&head);
    a.append_batch(3000, &refs, &values, &mut rejected);
    drop(a);
    assert_eq!(read(&head, &[Matcher::equal("i", "599")])[0].1.len(), 2);
}

#[test]
fn both_kinds_of_one_series_keep_their_order() {
    let options = options();
    let head = open(&options);
    let l = labels(&[("a", "1")]);
    let mut a = app(&head);
    a.append(SeriesRef::NONE, &l, 0, 1, 1.0).unwrap();
    a.append_histogram(SeriesRef::NONE, &l, 0, 2, &histogram(2.0, &[1])).unwrap();
    a.append(SeriesRef::NONE, &l, 0, 3, 3.0).unwrap();
    a.append_histogram(SeriesRef::NONE, &l, 0, 4, &histogram(4.0, &[2])).unwrap();
    a.append(SeriesRef::NONE, &l, 0, 5, stale_nan()).unwrap();
    a.commit().unwrap();
    for head in [&head, &open(&options)] {
        let found = &read(head, &[])[0].1;
        assert_eq!(found.times, [1, 2, 3, 4, 5]);
        assert_eq!(found.histograms.iter().map(|(i, _)| *i).collect::<Vec<_>>(), [1, 3, 4]);
    }
}

#[test]
fn truncation_lets_go_and_the_log_follows() {
    let mut options = options();
    options.wal_segment_bytes = 2 * 32768;
    let head = open(&options);
    let (old, new) = (labels(&[("a", "old")]), labels(&[("a", "new"), ("b", "x")]));
    let hour = 3_600_000;
    for i in 0..2000_i64 {
        let mut a = app(&head);
        if i < 500 {
            a.append(SeriesRef::NONE, &old, 0, i * 10_000, i as f64).unwrap();
        }
        for k in 0..10 {
            let l = labels(&[("a", "new"), ("k", &k.to_string())]);
            a.append(SeriesRef::NONE, &l, 0, i * 10_000, i as f64 * 1.1).unwrap();
        }
        a.append(SeriesRef::NONE, &new, 0, i * 10_000, i as f64).unwrap();
        a.commit().unwrap();
    }
    assert!(head.is_compactable());
    assert_eq!(head.next_block_range(), (0, 2 * hour));
    let reading = HeadQuerier::new(&head, i64::MIN, 0, i64::MAX);
    assert_eq!(head.truncate(2 * hour).unwrap(), Truncation::Postponed);
    drop(reading);
    assert_eq!(head.truncate(2 * hour).unwrap(), Truncation::Done);
    assert_eq!((head.status(0).head.series, head.min_time()), (11, 2 * hour));
    let q = HeadQuerier::new(&head, i64::MIN, i64::MIN, i64::MAX);
    let ctx = QueryContext::unlimited();
    assert_eq!(q.label_values(&ctx, "a", LabelHints::default(), &[]).unwrap(), ["new"]);
    let only = [Matcher::new(MatchOp::Regex, "b", ".+").unwrap()];
    assert_eq!(q.label_names(&ctx, LabelHints::default(), &only).unwrap(), ["a", "b"]);
    drop(q);
    let mut a = app(&head);
    assert_eq!(a.append(SeriesRef::NONE, &old, 0, 2 * hour - 1, 1.0), Err(AppendError::OutOfBounds));
    drop(a);
    let before = read(&head, &[]);
    assert!(before.iter().all(|(_, s)| s.times[0] >= hour));
    let again = Head::open(&options, 2 * hour).unwrap();
    let after = read(&again, &[]);
    assert_eq!(after.len(), 11);
    for ((la, a), (lb, b)) in before.iter().zip(&after) {
        let from = a.times.partition_point(|t| *t < 2 * hour);
        let to = b.times.partition_point(|t| *t < 2 * hour);
        assert_eq!((la, &a.times[from..], &a.values[from..]), (lb, &b.times[to..], &b.values[to..]));
    }
    // The series' numbers are not used again.
    let mut a = app(&again);
    let fresh = a.append(SeriesRef::NONE, &old, 0, again.max_time(), 1.0).unwrap();
    assert!(fresh.0 > 12);
}

#[test]
fn a_checkpoint_of_a_damaged_log_has_the_series_that_go_on() {
    let mut options = options();
    options.wal_segment_bytes = 32768;
    let head = open(&options);
    let (hour, l) = (3_600_000, labels(&[("a", "goes on")]));
    let write = |from: i64, to: i64| {
        for i in from..to {
            let mut a = app(&head);
            a.append(SeriesRef::NONE, &l, 0, i * 10_000, (i as f64).sin()).unwrap();
            a.commit().unwrap();
        }
    };
    write(0, 2000);
    // The first record is the one that says which series this is.
    let path = crate::wal::segment_path(&head.wal_dir, 0);
    let mut bytes = crate::disk::read_all(&*options.disk, &path, u64::MAX).unwrap();
    bytes[12] ^= 1;
    options.disk.open_write(&path, WriteMode::Truncate).unwrap().append(&bytes).unwrap();
    assert_eq!(head.truncate(2 * hour).unwrap(), Truncation::Done);
    assert_eq!(head.metrics.wal_corruptions.get(), 1.0);
    write(2000, 2010);
    let newest = |head: &Arc<Head>| read(head, &[])[0].1.times.last().copied();
    assert_eq!(newest(&head), Some(20_090_000));
    assert_eq!(newest(&Head::open(&options, 2 * hour).unwrap()), Some(20_090_000));
}

#[test]
fn exemplars_and_metadata_come_back() {
    let options = options();
    let head = open(&options);
    let l = labels(&[("a", "1")]);
    let e =
        Exemplar { labels: labels(&[("trace", "x")]), value: 1.5, timestamp_ms: 900, has_timestamp: true };
    let mut a = app(&head);
    let r = a.append(SeriesRef::NONE, &l, 0, 1000, 1.0).unwrap();
    a.append_exemplar(r, &e).unwrap();
    assert_eq!(a.append_exemplar(SeriesRef(77), &e), Err(AppendError::UnknownSeries));
    let m = model::MetricMetadata { help: "h".into(), ..model::MetricMetadata::default() };
    a.update_metadata(r, &m).unwrap();
    a.commit().unwrap();
    let again = open(&options);
    let any = [vec![Matcher::equal("a", "1")]];
    assert_eq!(again.exemplars.select(0, 2000, &any)[0].exemplars, [e]);
    assert_eq!(again.metadata.lock().get(&r.0), Some(&m));
}

#[test]
fn four_writers_at_once() {
    let options = options();
    let head = open(&options);
    std::thread::scope(|scope| {
        for w in 0..4 {
            let head = &head;
            scope.spawn(move || {
                for t in 1..200_i64 {
                    let mut a = app(head);
                    for i in 0..20 {
                        let l = labels(&[("w", &(w % 2).to_string()), ("i", &i.to_string())]);
                        let _ = a.append(SeriesRef::NONE, &l, 0, t * 1000 + w, t as f64);
                    }
                    a.commit().unwrap();
                }
            });
        }
    });
    let before = read(&head, &[]);
    assert_eq!(before.len(), 40);
    assert!(before.iter().all(|(_, s)| s.times.is_sorted() && s.len() >= 199));
    let after = read(&open(&options), &[]);
    assert_eq!(after.len(), 40);
}

#[test]
fn readers_see_commits_whole_or_not_at_all() {
    let options = options();
    let head = open(&options);
    // Two and a half pages; two writers whose series lie between each other.
    let names: Vec<Labels> = (0..640).map(|i| labels(&[("i", &format!("{i:03}"))])).collect();
    let write = |scrape: i64, odd: usize| {
        let mut a = app(&head);
        for name in names.iter().skip(odd).step_by(2) {
            a.append(SeriesRef::NONE, name, 0, scrape * 1000, scrape as f64).unwrap();
        }
        a.commit().unwrap();
    };
    write(1, 0);
    write(1, 1);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writers = [0, 1].map(|odd| scope.spawn(move || (2..200).for_each(|n| write(n, odd))));
        let reader = scope.spawn(|| {
            let mut looks = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) || looks < 10 {
                let found = read(&head, &[]);
                assert_eq!(found.len(), 640);
                for odd in 0..2 {
                    let ends: Vec<Option<i64>> =
                        found.iter().skip(odd).step_by(2).map(|(_, s)| s.times.last().copied()).collect();
                    assert!(ends.windows(2).all(|w| w[0] == w[1]), "half a commit: {ends:?}");
                    assert!(found.iter().all(|(_, s)| s.times.is_sorted_by(|a, b| a + 1000 == *b)));
                }
                looks += 1;
            }
        });
        writers.into_iter().for_each(|w| w.join().unwrap());
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        reader.join().unwrap();
    });
    // A view stays what it was, its chunks included.
    let view = HeadQuerier::new(&head, i64::MIN, i64::MIN, i64::MAX);
    write(200, 0);
    write(201, 0);
    let ctx = QueryContext::unlimited();
    let set = view.select(&ctx, true, &SelectHints::default(), &[]).unwrap();
    for s in &set.series {
        let mut out = SampleBuf::default();
        s.read(i64::MIN, i64::MAX, &mut out).unwrap();
        let chunks = s.chunks(i64::MIN, i64::MAX).unwrap();
        assert_eq!((out.times.last(), chunks.last().map(|c| c.maxt_ms)), (Some(&199_000), Some(199_000)));
    }
    drop((set, view));
    write(202, 0);
    write(202, 1);
    let found = read(&head, &[]);
    assert!(found.iter().all(|(_, s)| s.times.last() == Some(&202_000)));
    // Nobody reads: no page keeps more than its newest notes.
    assert!(head.table.all().iter().all(|p| p.lock().recent_commits() <= 2));
}

#[test]
fn several_times_in_one_commit_are_hidden_from_the_first_on() {
    let options = options();
    let head = open(&options);
    let names: Vec<Labels> = (0..3).map(|i| labels(&[("i", &i.to_string())])).collect();
    let write = |rows: &[(usize, i64)]| {
        let mut a = app(&head);
        for (i, t) in rows {
            a.append(SeriesRef::NONE, &names[*i], 0, *t, 1.0).unwrap();
        }
        a.commit().unwrap();
    };
    write(&[(0, 1000), (1, 5000), (2, 1000)]);
    let view = HeadQuerier::new(&head, i64::MIN, i64::MIN, i64::MAX);
    write(&[(0, 2000), (0, 3000), (1, 6000), (0, 4000), (1, 7000), (2, 3000)]);
    let set = view.select(&QueryContext::unlimited(), true, &SelectHints::default(), &[]).unwrap();
    let times = |s: &Arc<dyn storage::Series>| {
        let mut out = SampleBuf::default();
        s.read(i64::MIN, i64::MAX, &mut out).unwrap();
        out.times
    };
    assert_eq!(set.series.iter().map(times).collect::<Vec<_>>(), [vec![1000], vec![5000], vec![1000]]);
    assert_eq!(read(&head, &[]).iter().map(|(_, s)| s.len()).collect::<Vec<_>>(), [4, 3, 2]);
}

/// Who does not wait for the log keeps its samples from readers until they survive a kill.
#[test]
fn what_is_committed_without_waiting_is_seen_once_it_is_written() {
    let disk = FaultDisk::new(1);
    let options = DbOptions { disk: Arc::new(disk.clone()), ..options() };
    let head = open(&options);
    let thread = head.log.spawn_writer().unwrap();
    let up = labels(&[("__name__", "up")]);
    let append = |t: i64| {
        let mut a = app(&head);
        a.append(SeriesRef::NONE, &up, 0, t, 1.0).unwrap();
        a
    };
    let seen = || read(&head, &[]).first().map_or(0, |(_, samples)| samples.len());
    let wait_for = |what: &dyn Fn() -> bool| {
        while !what() {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    };
    append(1000).commit().unwrap();
    assert_eq!(seen(), 1);

    disk.freeze();
    let mut logged = append(2000).commit_soon().unwrap().logged.unwrap();
    assert_eq!(seen(), 1, "a kill would lose it");
    let woken = Arc::new(Woken::default());
    let waker = std::task::Waker::from(Arc::clone(&woken));
    let mut context = std::task::Context::from_waker(&waker);
    assert!(std::pin::Pin::new(&mut logged).poll(&mut context).is_pending());
    disk.thaw();
    wait_for(&|| woken.0.load(Ordering::SeqCst));
    assert!(std::pin::Pin::new(&mut logged).poll(&mut context).is_ready());
    assert_eq!(seen(), 2);

    // A disk that hangs hides nothing: its time up, the sample is held, and seen.
    disk.freeze();
    let logged = append(3000).commit_soon().unwrap().logged.unwrap();
    wait_for(&|| head.log.is_writing());
    wait_for(&|| seen() == 3);
    assert_eq!(head.log_status().held_records, 0, "its write is under way");
    logged.wait();
    disk.thaw();
    head.log.sync().unwrap();
    drop(thread);
    drop(head);
    assert_eq!(read(&open(&options), &[])[0].1.len(), 3);
}

#[derive(Default)]
struct Woken(AtomicBool);

impl std::task::Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// What stays in the log comes back with a start, also where it was deleted from the blocks of a cut.
#[test]
fn a_cut_of_late_samples_has_nothing_that_is_logged_behind_it() {
    const NOW: i64 = 1_000_000;
    let options = DbOptions { out_of_order_window_ms: NOW, ..options() };
    let head = open(&options);
    let commit = |series: i64, t: i64| {
        let mut a = app(&head);
        let labels = labels(&[("__name__", "up"), ("series", &series.to_string())]);
        a.append(SeriesRef::NONE, &labels, 0, t, 1.0).unwrap();
        a.commit().unwrap();
    };
    (0..20).for_each(|series| commit(series, NOW));
    let (stop, cuts) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let begun = (1..NOW).take_while(|_| !stop.load(Ordering::Relaxed));
            begun.for_each(|n| commit(n % 20, NOW - n));
        });
        while cuts.load(Ordering::Relaxed) < 50 {
            let Some(cut) = head.begin_late_cut().unwrap() else { continue };
            cuts.fetch_add(1, Ordering::Relaxed);
            let mut cut_samples = HashSet::new();
            for series in cut.chunks.keys() {
                let samples = head.late_samples(&cut, *series, i64::MIN, i64::MAX).unwrap();
                cut_samples.extend(samples.times.iter().map(|t| (*series, *t)));
            }
            let (segment, _) = cut.logged.unwrap();
            let dir = Path::new("/data/wbl");
            for behind in segments(&*options.disk, dir).unwrap().into_iter().filter(|s| *s >= segment) {
                let path = segment_path(dir, behind);
                let mut reader = SegmentReader::open(&*options.disk, &path).unwrap();
                while let Some(bytes) = reader.next_record().unwrap() {
                    let Ok(Record::Samples(all)) = record::decode(bytes) else { continue };
                    let both = all.iter().find(|s| cut_samples.contains(&(s.series, s.t_ms)));
                    assert_eq!(both, None, "in a cut and in the log behind it");
                }
            }
            head.publish_late_cut(&cut);
            head.drop_late_log(&cut).unwrap();
        }
        stop.store(true, Ordering::Relaxed);
    });
}
