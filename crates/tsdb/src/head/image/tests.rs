//! An image against the log: a head that goes on from images and one that replays all of its log have had the
//! same life and must be the same, in every sample and in every byte of what they write next.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use model::{
    Exemplar, FloatHistogram, Histogram, HistogramValue, Labels, Matcher, MetricMetadata, MetricType, Span,
    stale_nan,
};
use proptest::prelude::*;
use storage::{Appender, ChunkEncoding, Querier, QueryContext, RawChunk, SampleBuf, SelectHints, SeriesRef};

use super::End;
use super::frames::{FrameReader, FrameWriter, Kind};
use crate::db::DbOptions;
use crate::disk::{Disk, MemDisk, WriteMode, read_all};
use crate::head::append::HeadAppender;
use crate::head::{Head, HeadQuerier, Truncation};

const IMAGE: &str = "/data/godwit_head/image";

fn options() -> DbOptions {
    let mut options = DbOptions::new("/data");
    options.disk = Arc::new(MemDisk::new());
    options.exemplars_max = 20;
    options.out_of_order_window_ms = 600_000;
    options.samples_per_chunk = 8;
    options.image_log_bytes = 1;
    options.wal_segment_bytes = 1;
    options
}

fn open(options: &DbOptions) -> Arc<Head> {
    open_from(options, i64::MIN)
}

fn open_from(options: &DbOptions, min_valid: i64) -> Arc<Head> {
    let mut fresh = options.clone();
    fresh.registry = telemetry::Registry::new();
    Head::open(&fresh, min_valid).unwrap()
}

/// What the log alone gives.
fn from_log(options: &DbOptions) -> All {
    let mut options = options.clone();
    let image = read_all(&*options.disk, Path::new(IMAGE), u64::MAX);
    options.image_log_bytes = 0;
    let head = open(&options);
    if let Ok(image) = image {
        put(&options.disk, &image);
    }
    all(&head)
}

fn end_of(disk: &Arc<dyn Disk>) -> End {
    let reader = FrameReader::open(&**disk, Path::new(IMAGE)).unwrap().unwrap();
    End::read(&reader.end().unwrap()).unwrap()
}

fn series(n: u64) -> Labels {
    let job = format!("j{}", n % 3);
    let name = ["float", "int", "hist"][(n % 3) as usize];
    Labels::from_pairs([("__name__", name), ("job", job.as_str()), ("n", n.to_string().as_str())])
}

fn histogram(k: i64, float: bool) -> HistogramValue {
    let spans = vec![Span { offset: 0, length: 2 + (k / 20 % 2) as u32 }];
    let n = spans[0].length as usize;
    if float {
        return HistogramValue::Float(Arc::new(FloatHistogram {
            count: (n as i64 * k) as f64,
            sum: k as f64,
            positive_spans: spans,
            positive_buckets: vec![k as f64; n],
            ..FloatHistogram::default()
        }));
    }
    let mut buckets = vec![0; n];
    buckets[0] = k;
    HistogramValue::Int(Arc::new(Histogram {
        count: (n as i64 * k) as u64,
        sum: k as f64,
        positive_spans: spans,
        positive_buckets: buckets,
        ..Histogram::default()
    }))
}

/// All a head knows, in words where that compares best.
#[derive(Debug, PartialEq)]
struct All {
    samples: Vec<(String, Vec<(i64, u64)>, String)>,
    chunks: Vec<(String, Vec<(i64, i64, Vec<u8>)>)>,
    status: String,
    times: (i64, i64),
    stale: i64,
    metadata: String,
    exemplars: String,
    tombstones: String,
}

/// What is not the same, shortly.
fn difference(a: &All, b: &All) -> Option<String> {
    for (a, b) in a.samples.iter().zip(&b.samples) {
        if a != b {
            return Some(format!("samples: {a:?}\n         {b:?}"));
        }
    }
    for (a, b) in a.chunks.iter().zip(&b.chunks) {
        if a != b {
            return Some(format!("chunks: {a:?}\n        {b:?}"));
        }
    }
    let short = |x: &All| {
        let n = (x.samples.len(), x.chunks.len(), x.times, x.stale);
        format!("{n:?} {} {} {} {}", x.status, x.metadata, x.exemplars, x.tombstones)
    };
    (short(a) != short(b)).then(|| format!("{}\n{}", short(a), short(b)))
}

fn all(head: &Arc<Head>) -> All {
    all_from(head, i64::MIN)
}

/// What a head knows from a time on. Where blocks have what is before, a chunk over their end begins elsewhere
/// in a head that had only the log to go by: samples are compared then, not chunks.
fn all_from(head: &Arc<Head>, from: i64) -> All {
    let q = HeadQuerier::new(head, from, i64::MIN, i64::MAX);
    let set = q.select(&QueryContext::unlimited(), true, &SelectHints::default(), &[]).unwrap();
    let mut samples = Vec::new();
    let mut chunks = Vec::new();
    for s in &set.series {
        let mut out = SampleBuf::default();
        s.read(i64::MIN, i64::MAX, &mut out).unwrap();
        let values = out.values.iter().map(|v| v.to_bits());
        let pairs: Vec<(i64, u64)> = out.times.iter().copied().zip(values).collect();
        if from > i64::MIN {
            // A staleness marker is logged as a float, whatever it follows.
            let known = out.histograms.iter().filter(|(_, h)| !h.is_stale());
            let values: Vec<_> = known.map(|(at, h)| (at, h.to_float().sum.to_bits())).collect();
            samples.push((s.labels().to_string(), pairs, format!("{values:?}")));
            continue;
        }
        samples.push((s.labels().to_string(), pairs, format!("{:?}", out.histograms)));
        let raw = |c: RawChunk| {
            let mut data = c.data.to_vec();
            // Where the chunk before is on disk, a replay does not know whether a counter was reset.
            if c.encoding != ChunkEncoding::Xor {
                data[2] = 0;
            }
            (c.mint_ms, c.maxt_ms, data)
        };
        let own = s.chunks(i64::MIN, i64::MAX).unwrap().into_iter().map(raw).collect();
        chunks.push((s.labels().to_string(), own));
    }
    let known: Vec<String> = samples.iter().map(|(labels, ..)| labels.clone()).collect();
    samples.retain(|(_, times, _)| !times.is_empty());
    // The newest time of a head whose samples are all cut: an image knows it, a log that was cut does not.
    let newest = Some(head.max_time()).filter(|t| *t >= from).unwrap_or(i64::MIN);
    let times = (head.min_time().max(from), newest);
    let whole = from == i64::MIN;
    // By labels: the number of a series that was rolled back is not in a log, and given once more.
    let name = |n: &u64| head.labels_of(*n).map(|l| l.to_string());
    let mut metadata: Vec<_> = head.metadata.lock().iter().map(|(n, m)| (name(n), m.clone())).collect();
    metadata.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut tombstones: Vec<_> = head.tombstones.read().iter().map(|(n, t)| (name(n), t.clone())).collect();
    tombstones.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut exemplars = head.exemplars.select(i64::MIN, i64::MAX, &[vec![Matcher::equal("", "")]]);
    // Of a series that is gone an image knows more than a log that was cut, and of one that came back since.
    exemplars.retain(|e| whole || known.contains(&e.labels.to_string()));
    exemplars.iter_mut().for_each(|e| e.exemplars.retain(|e| e.timestamp_ms >= from));
    exemplars.retain(|e| !e.exemplars.is_empty());
    All {
        samples,
        chunks,
        status: if whole { format!("{:?}", head.status(0).head) } else { String::new() },
        times: if whole { times } else { (0, times.1) },
        stale: if whole { head.metrics.stale.load(Ordering::Relaxed) } else { 0 },
        metadata: format!("{metadata:?}"),
        exemplars: format!("{exemplars:?}"),
        tombstones: format!("{tombstones:?}"),
    }
}

#[derive(Clone, Debug)]
enum Op {
    /// Samples for series from..from+n, one commit; every tenth stale.
    Commit {
        from: u64,
        n: u64,
    },
    Late {
        series: u64,
        back: i64,
    },
    RolledBack {
        series: u64,
    },
    Exemplar {
        series: u64,
    },
    Metadata {
        series: u64,
        help: u8,
    },
    Delete {
        series: u64,
    },
    Truncate,
    Flush,
    Save,
    Restart,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let series = 0..300_u64;
    let op = prop_oneof![
        12 => (series.clone(), 1..40_u64).prop_map(|(from, n)| Op::Commit { from, n }),
        2 => (series.clone(), 1..400_000_i64).prop_map(|(series, back)| Op::Late { series, back }),
        1 => series.clone().prop_map(|series| Op::RolledBack { series: series + 1000 }),
        1 => series.clone().prop_map(|series| Op::Exemplar { series }),
        1 => (series.clone(), any::<u8>()).prop_map(|(series, help)| Op::Metadata { series, help }),
        1 => series.prop_map(|series| Op::Delete { series }),
        1 => Just(Op::Truncate),
        1 => Just(Op::Flush),
        4 => Just(Op::Save),
        3 => Just(Op::Restart),
    ];
    prop::collection::vec(op, 1..80)
}

/// A head and its clock.
struct Life {
    options: DbOptions,
    head: Arc<Head>,
    images: bool,
    t: i64,
    min_valid: i64,
}

impl Life {
    fn new(images: bool) -> Self {
        let mut options = options();
        if !images {
            options.image_log_bytes = 0;
        }
        let head = open(&options);
        Life { options, head, images, t: 1_000_000, min_valid: i64::MIN }
    }

    fn app(&self) -> Box<HeadAppender> {
        Box::new(HeadAppender::new(Arc::clone(&self.head)))
    }

    fn all(&self) -> All {
        all_from(&self.head, self.min_valid)
    }

    fn step(&mut self, op: &Op) {
        self.t += 15_000;
        let t = self.t;
        match op {
            Op::Commit { from, n } => {
                let mut a = self.app();
                for s in *from..from + n {
                    let labels = series(s);
                    let k = t / 15_000;
                    let stale = (s + k as u64).is_multiple_of(10);
                    // Refused where another kind stands there at this time: both heads refuse alike.
                    let _ = match s % 3 {
                        _ if stale => a.append(SeriesRef::NONE, &labels, 0, t, stale_nan()),
                        0 => a.append(SeriesRef::NONE, &labels, 0, t, (k % 7) as f64 / 3.0),
                        kind => a.append_histogram(SeriesRef::NONE, &labels, 0, t, &histogram(k, kind == 2)),
                    };
                }
                a.commit().unwrap();
            }
            Op::Late { series: s, back } => {
                let mut a = self.app();
                let _ = a.append(SeriesRef::NONE, &series(s / 3 * 3), 0, t - back, 0.5);
                a.commit().unwrap();
            }
            Op::RolledBack { series: s } => {
                let mut a = self.app();
                let _ = a.append(SeriesRef::NONE, &series(s / 3 * 3), 0, t, 0.5);
                a.rollback();
            }
            Op::Exemplar { series: s } => {
                let mut a = self.app();
                let e = Exemplar {
                    labels: Labels::from_pairs([("trace", t.to_string().as_str())]),
                    value: 1.0,
                    timestamp_ms: t,
                    has_timestamp: true,
                };
                if let Ok(r) = a.append(SeriesRef::NONE, &series(s / 3 * 3), 0, t, 1.0) {
                    a.append_exemplar(r, &e).unwrap();
                }
                a.commit().unwrap();
            }
            Op::Metadata { series: s, help } => {
                let mut a = self.app();
                if let Ok(r) = a.append(SeriesRef::NONE, &series(s / 3 * 3), 0, t, 1.0) {
                    let m =
                        MetricMetadata { kind: MetricType::Gauge, help: help.to_string(), unit: "s".into() };
                    a.update_metadata(r, &m).unwrap();
                }
                a.commit().unwrap();
            }
            Op::Delete { series: s } => {
                let m = [Matcher::equal("n", s.to_string())];
                self.head.delete(&QueryContext::unlimited(), t - 200_000, t - 100_000, &m).unwrap();
            }
            Op::Truncate => {
                // As if a block had it.
                let mint = t - 300_000;
                assert_eq!(self.head.truncate(mint).unwrap(), Truncation::Done);
                self.min_valid = mint;
            }
            Op::Flush => self.head.flush_chunks(),
            Op::Save if self.images => {
                // Nothing to write where the log has nothing.
                self.head.save_image(false).unwrap();
            }
            Op::Save => {}
            Op::Restart => {
                // Both lose what is in memory only; chunks that are there come back in both.
                self.head.flush_chunks();
                self.head = open_from(&self.options, self.min_valid);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_head_from_images_is_the_head_from_the_log(ops in ops()) {
        let (mut with, mut without) = (Life::new(true), Life::new(false));
        // Of a series that went and came back, the log still has what was known of the first one.
        let gone = ops.iter().any(|op| matches!(op, Op::Truncate));
        let ops = ops.into_iter().filter(|op| !gone || !matches!(op, Op::Metadata { .. } | Op::Delete { .. }));
        for op in ops {
            with.step(&op);
            without.step(&op);
            if matches!(op, Op::Restart) {
                prop_assert_eq!(difference(&with.all(), &without.all()), None);
            }
        }
        let commit = || Op::Commit { from: 0, n: 300 };
        for op in [commit(), Op::Save, commit(), Op::Restart, commit()] {
            with.step(&op);
            without.step(&op);
        }
        prop_assert!(with.head.image.size() > 0);
        prop_assert_eq!(difference(&with.all(), &without.all()), None);
        // Without the image: the log has all.
        with.options.disk.remove_file(Path::new(IMAGE)).unwrap();
        with.step(&Op::Restart);
        without.step(&Op::Restart);
        prop_assert_eq!(difference(&with.all(), &without.all()), None);
    }
}

/// A head of some hundred series with all kinds of things, whose image is written.
fn lived() -> Life {
    let mut life = Life::new(true);
    for round in 0..12 {
        life.step(&Op::Commit { from: 0, n: 280 });
        life.step(&Op::Late { series: 3 * round, back: 100_000 });
        life.step(&Op::Exemplar { series: 30 + round });
        life.step(&Op::Metadata { series: 60 + round, help: 1 });
        life.step(&Op::Delete { series: 90 + round });
    }
    life.step(&Op::Save);
    life.step(&Op::Commit { from: 0, n: 300 });
    life
}

fn asleep(head: &Head) -> usize {
    head.table.all().iter().filter(|p| p.sleeps_through(i64::MIN)).count()
}

#[test]
fn pages_sleep_until_they_are_wanted() {
    let mut life = Life::new(true);
    let commit = |life: &mut Life| {
        life.t += 15_000;
        let (t, mut a) = (life.t, life.app());
        (0..700).for_each(|s| drop(a.append(SeriesRef::NONE, &series(3 * s), 0, t, (t % 7) as f64)));
        a.commit().unwrap();
    };
    (0..12).for_each(|_| commit(&mut life));
    life.step(&Op::Save);
    (0..3).for_each(|_| commit(&mut life));
    let times = (life.head.min_time(), life.head.max_time());
    let head = open(&life.options);
    let pages = asleep(&head);
    assert_eq!((pages, head.table.all().len()), (3, 3));
    assert_eq!((head.min_time(), head.max_time()), times);
    // A query wakes what it wants.
    let one = [Matcher::equal("n", "0")];
    let q = HeadQuerier::new(&head, i64::MIN, i64::MIN, i64::MAX);
    let set = q.select(&QueryContext::unlimited(), true, &SelectHints::default(), &one).unwrap();
    let mut out = SampleBuf::default();
    set.series[0].read(i64::MIN, i64::MAX, &mut out).unwrap();
    assert_eq!((set.series.len(), out.times.len()), (1, 15));
    assert_eq!(asleep(&head), pages - 1);
    head.wake(&mut || true);
    assert_eq!(asleep(&head), 0);
    assert_eq!(difference(&all(&head), &from_log(&life.options)), None);
}

fn put(disk: &Arc<dyn Disk>, bytes: &[u8]) {
    disk.open_write(Path::new(IMAGE), WriteMode::Truncate).unwrap().append(bytes).unwrap();
}

#[test]
fn damage_costs_the_image_and_nothing_else() {
    let life = lived();
    let expected = from_log(&life.options);
    let disk = &life.options.disk;
    let good = read_all(&**disk, Path::new(IMAGE), u64::MAX).unwrap();
    let step = good.len() / 60;
    let flipped = (0..good.len()).step_by(step).map(|at| {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        bad
    });
    let torn = (0..good.len()).step_by(step * 3).map(|at| good[..at].to_vec());
    for bad in flipped.chain(torn) {
        put(disk, &bad);
        let head = open(&life.options);
        assert_eq!(head.image.size(), 0);
        assert_eq!(difference(&all(&head), &expected), None);
        assert!(!disk.exists(Path::new(IMAGE)).unwrap(), "a damaged one is removed");
    }
    put(disk, &good);
    let head = open(&life.options);
    assert!(head.image.size() > 0);
    assert_eq!(difference(&all(&head), &expected), None);
}

#[test]
fn an_image_of_another_log_is_ignored() {
    let life = lived();
    let disk = &life.options.disk;
    let good = read_all(&**disk, Path::new(IMAGE), u64::MAX).unwrap();
    // Someone cut the log: what the image knows beyond it must not come back.
    let wal = Path::new("/data/wal");
    let segments = crate::wal::segments(&**disk, wal).unwrap();
    let path = |s: &u64| crate::wal::segment_path(wal, *s);
    let end = end_of(disk);
    for s in segments.iter().filter(|s| **s > end.anchor.at.segment) {
        disk.remove_file(&path(s)).unwrap();
    }
    let mut file = disk.open_write(&path(&end.anchor.at.segment), WriteMode::Append).unwrap();
    file.set_len(end.anchor.at.offset - 1).unwrap();
    drop(file);
    let head = open(&life.options);
    assert_eq!(head.image.size(), 0);
    drop(head);
    // Another folder's image.
    let other = Life::new(true);
    other.options.disk.create_dir_all(Path::new("/data/godwit_head")).unwrap();
    put(&other.options.disk, &good);
    let head = open(&other.options);
    assert_eq!((head.image.size(), head.status(1).head.series), (0, 0));
}

/// An image is written over an older one and not synced: what a power cut leaves of it may be the older one, of a
/// life before the full replay.
#[test]
fn a_full_replay_leaves_nothing_that_could_become_an_older_image() {
    let life = lived();
    let disk = &life.options.disk;
    let good = read_all(&**disk, Path::new(IMAGE), u64::MAX).unwrap();
    for name in ["image.tmp", "image.spare"] {
        let path = Path::new("/data/godwit_head").join(name);
        disk.open_write(&path, WriteMode::Truncate).unwrap().append(&good).unwrap();
    }
    disk.remove_file(Path::new(IMAGE)).unwrap();
    let head = open(&life.options);
    assert_eq!(head.image.size(), 0);
    assert_eq!(disk.list(Path::new("/data/godwit_head")).unwrap().len(), 0);
}

/// A series that went and came back has two numbers in the log. Who replays all of it, as a Prometheus does that runs
/// in between, goes on with the first one, which an image from before does not know.
#[test]
fn samples_under_a_number_that_only_the_whole_log_knows_are_there() {
    let mut life = Life::new(true);
    life.step(&Op::Commit { from: 0, n: 30 });
    for _ in 0..40 {
        life.step(&Op::Commit { from: 20, n: 30 });
    }
    life.step(&Op::Truncate);
    life.step(&Op::Commit { from: 0, n: 50 });
    life.step(&Op::Save);
    let image = read_all(&*life.options.disk, Path::new(IMAGE), u64::MAX).unwrap();
    life.head.sync().unwrap();
    life.options.image_log_bytes = 0;
    life.step(&Op::Restart);
    life.step(&Op::Commit { from: 0, n: 50 });
    life.step(&Op::Commit { from: 0, n: 50 });
    life.head.sync().unwrap();
    life.head.flush_chunks();
    let expected = life.all();
    life.options.image_log_bytes = 1;
    put(&life.options.disk, &image);
    life.step(&Op::Restart);
    let found: usize = life.all().samples.iter().map(|(_, s, _)| s.len()).sum();
    assert_eq!(found, expected.samples.iter().map(|(_, s, _)| s.len()).sum::<usize>());
}

#[test]
fn damage_in_the_log_behind_it_is_left_to_the_full_replay() {
    let mut life = lived();
    let disk = Arc::clone(&life.options.disk);
    let wal = Path::new("/data/wal");
    life.step(&Op::Commit { from: 0, n: 300 });
    let start = end_of(&disk).start;
    let path = crate::wal::segment_path(wal, start.segment);
    disk.open_write(&path, WriteMode::Append).unwrap().write_at(&[0xaa; 4], start.offset + 20).unwrap();
    let head = open(&life.options);
    assert_eq!(head.image.size(), 0);
    assert_eq!(difference(&all(&head), &from_log(&life.options)), None);
}

#[test]
fn commits_go_on_while_it_is_written() {
    let mut options = options();
    options.wal_segment_bytes = crate::db::WAL_SEGMENT_BYTES_DEFAULT;
    let head = open(&options);
    let (stop, rounds) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for writer in 0..2_u64 {
            let (head, stop, rounds) = (&head, &stop, &rounds);
            scope.spawn(move || {
                let mut round = 0;
                while !stop.load(Ordering::Relaxed) {
                    let mut a = Box::new(HeadAppender::new(Arc::clone(head)));
                    // Some series are there from the start, some come with each commit.
                    for n in (0..50).chain([1000 + round]) {
                        let labels = series((writer * 100_000 + n) * 3);
                        let t = 1_000_000 + round as i64 * 1000;
                        a.append(SeriesRef::NONE, &labels, 0, t, round as f64).unwrap();
                    }
                    a.commit().unwrap();
                    round += 1;
                    rounds.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for n in 1..=20 {
            while rounds.load(Ordering::Relaxed) < n * 20 {
                std::thread::yield_now();
            }
            assert!(head.save_image(false).unwrap());
        }
        stop.store(true, Ordering::Relaxed);
    });
    let expected = all(&head);
    let again = open(&options);
    assert!(again.image.size() > 0);
    assert_eq!(difference(&all(&again), &expected), None);
    assert_eq!(difference(&all(&again), &from_log(&options)), None);
}

#[test]
fn damage_in_the_log_before_it_is_found_behind_the_start() {
    let life = lived();
    let expected = all(&open(&life.options));
    let disk = &life.options.disk;
    let path = crate::wal::segment_path(Path::new("/data/wal"), 0);
    assert!(end_of(disk).start.offset > 1000);
    // Records of series and samples of which the image knows all.
    disk.open_write(&path, WriteMode::Append).unwrap().write_at(&[0xaa; 4], 20).unwrap();
    let head = open(&life.options);
    assert!(head.image.size() > 0);
    assert_eq!(difference(&all(&head), &expected), None);
    let mut rounds = 0;
    while head.check_unread_log(1).unwrap() > 0 {
        rounds += 1;
        assert!(rounds < 100);
    }
    assert!(head.metrics.wal_corruptions.get() > 0.0);
    assert_eq!(difference(&all(&head), &expected), None);
    assert!(head.image_due(), "the one that is there belongs to a log that is gone");
    // Whoever comes next finds a log without faults, with every series.
    let full = from_log(&life.options);
    assert_eq!(full.samples.len(), expected.samples.len());
    let again = open(&life.options);
    assert_eq!((again.image.size(), again.metrics.wal_corruptions.get()), (0, 0.0));
}

#[test]
fn an_image_of_another_version_is_ignored() {
    let life = lived();
    let disk = &life.options.disk;
    let mut other = read_all(&**disk, Path::new(IMAGE), u64::MAX).unwrap();
    *other.last_mut().unwrap() += 1;
    put(disk, &other);
    let head = open(&life.options);
    assert_eq!(head.image.size(), 0);
    assert_eq!(difference(&all(&head), &from_log(&life.options)), None);
}

/// Writes the image anew with right checksums, with something else in its first frame of pages.
fn forge(disk: &Arc<dyn Disk>, change: impl Fn(&mut Vec<u8>)) {
    let start = end_of(disk).start;
    let id = start.segment << 32 | start.offset;
    let reader = FrameReader::open(&**disk, Path::new(IMAGE)).unwrap().unwrap();
    let mut w = FrameWriter::create(disk, Path::new(IMAGE), id).unwrap();
    let (mut frame, mut changed) = (Vec::new(), false);
    while let Some(kind) = reader.next(&mut frame).unwrap() {
        if kind == Kind::Pages && !changed {
            change(&mut frame);
            changed = true;
        }
        w.begin(kind).extend_from_slice(&frame);
        w.end().unwrap();
    }
    assert!(changed);
    w.begin(Kind::End).extend_from_slice(&reader.end().unwrap());
    w.end().unwrap();
    w.finish().unwrap();
}

#[test]
fn a_sleeping_page_that_is_none_costs_its_series_until_the_next_start() {
    let mut life = Life::new(true);
    let commit = |life: &mut Life| {
        life.t += 15_000;
        let (t, mut a) = (life.t, life.app());
        (0..300).for_each(|s| drop(a.append(SeriesRef::NONE, &series(3 * s), 0, t, (t % 7) as f64)));
        a.commit().unwrap();
    };
    (0..12).for_each(|_| commit(&mut life));
    life.step(&Op::Save);
    commit(&mut life);
    let expected = from_log(&life.options);
    let disk = Arc::clone(&life.options.disk);
    forge(&disk, |_| ());
    let head = open(&life.options);
    assert!(head.image.size() > 0);
    assert_eq!(difference(&all(&head), &expected), None);
    drop(head);

    // Number of the page, which series are present, what a start must know; then the first series: flags, and
    // how many labels it has, which nothing behind it can hold.
    forge(&disk, |frame| frame[1 + 4 * 8 + 41 + 1] = 0x7f);
    life.head = open(&life.options);
    assert_eq!(asleep(&life.head), 2);
    let samples = |head: &Arc<Head>| -> Vec<(String, usize)> {
        let all = all(head).samples;
        all.into_iter().map(|(labels, times, _)| (labels, times.len())).collect()
    };
    // 255 series are of the first page, as no series has the number 0. The others are as they were.
    let left = samples(&life.head);
    assert_eq!(left.len(), 300 - 255);
    assert!(left.iter().all(|(_, n)| *n == 13), "{left:?}");
    assert!(!disk.exists(Path::new(IMAGE)).unwrap(), "the next start must not take it");
    // What is scraped on is stored, and no image is written that lacks what the log has.
    commit(&mut life);
    assert_eq!(samples(&life.head).len(), 300);
    assert!(!life.head.save_image(false).unwrap());
    let again = open(&life.options);
    let found = samples(&again);
    assert_eq!((again.image.size(), found.len()), (0, 300));
    assert!(found.iter().all(|(_, n)| *n == 14), "{found:?}");
    // Nothing is dropped from the logs.
    life.step(&Op::Late { series: 297, back: 60_000 });
    assert!(life.head.has_late() && life.head.begin_late_cut().is_err());
    assert_eq!(life.head.truncate(life.t).unwrap(), Truncation::Postponed);
}
