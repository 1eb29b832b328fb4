//! The log as a whole: what is written is read, whatever is done to the bytes in between.

use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::record::{Record, SampleRecord, SeriesRecord, TombstoneRecord};
use super::segment::{HEADER_BYTES, PAGE_BYTES};
use super::*;
use crate::disk::{Disk, Fault, FaultDisk, FaultKind, MemDisk, Op, Restart, WriteMode, read_all};

fn disk() -> Arc<dyn Disk> {
    Arc::new(MemDisk::new())
}

fn write(disk: &Arc<dyn Disk>, compression: WalCompression, records: &[Vec<u8>]) -> u64 {
    let mut writer = WalWriter::open(Arc::clone(disk), Path::new("/wal"), compression, 4 * 32768).unwrap();
    for r in records {
        writer.log([r.as_slice()]).unwrap();
    }
    if let Some(work) = writer.take_sync_work() {
        work.run().unwrap();
    }
    assert!(writer.take_sync_work().is_none());
    writer.segment()
}

fn read(disk: &Arc<dyn Disk>) -> (Vec<Vec<u8>>, Vec<WalLoss>) {
    let (mut all, mut losses) = (Vec::new(), Vec::new());
    for s in segments(&**disk, Path::new("/wal")).unwrap() {
        let mut reader = SegmentReader::open(&**disk, &segment_path(Path::new("/wal"), s)).unwrap();
        while let Some(r) = reader.next_record().unwrap() {
            all.push(r.to_vec());
        }
        losses.extend_from_slice(reader.losses());
    }
    (all, losses)
}

fn records(sizes: &[usize]) -> Vec<Vec<u8>> {
    let byte = |i: usize, n: usize| ((i * 31 + n * 7) as u8) ^ ((n >> 5) as u8);
    sizes.iter().enumerate().map(|(i, n)| (0..*n).map(|k| byte(i, k).max(1)).collect()).collect()
}

#[test]
fn records_of_all_sizes_come_back() {
    for compression in [WalCompression::None, WalCompression::Snappy, WalCompression::Zstd] {
        let disk = disk();
        let all = records(&[1, 0, 32761, 32760, 5, 90_000, 32754, 7, 3, 100_000, 1, 60_000]);
        let last = write(&disk, compression, &all);
        let (back, losses) = read(&disk);
        assert_eq!((back == all, losses.len()), (true, 0), "{compression:?}");
        assert!(last >= 1 || compression != WalCompression::None);
        // A second writer begins behind.
        assert_eq!(write(&disk, compression, &[]), last + 1);
    }
}

#[test]
fn a_record_whose_header_ends_a_page_outlives_the_one_before() {
    // The second one's first fragment has seven bytes of room: a header without data.
    let all = records(&[100, PAGE_BYTES - 100 - 3 * HEADER_BYTES, 500, 20]);
    for (at, what) in [(107_u64, "type"), (300, "data")] {
        let disk = disk();
        write(&disk, WalCompression::None, &all);
        let path = segment_path(Path::new("/wal"), 0);
        let content = read_all(&*disk, &path, u64::MAX).unwrap();
        damaged(&disk, at, content[at as usize] ^ 204);
        let (back, losses) = read(&disk);
        assert_eq!((back.len(), losses.len()), (3, 1), "{what}: {losses:?}");
        assert!(back.iter().all(|r| all.contains(r)));
    }
}

#[test]
fn too_large_a_record_is_refused_and_the_log_goes_on() {
    let disk = disk();
    let mut writer =
        WalWriter::open(Arc::clone(&disk), Path::new("/wal"), WalCompression::None, 2 * 32768).unwrap();
    writer.log([&[1_u8, 2, 3][..]]).unwrap();
    assert!(writer.log([vec![9; 70_000].as_slice()]).is_err());
    writer.log([&[4_u8][..]]).unwrap();
    assert_eq!(read(&disk).0, [vec![1, 2, 3], vec![4]]);
}

#[test]
fn what_a_full_disk_refused_does_not_come_back_with_a_power_cut() {
    for seed in 0..40 {
        let faulty = FaultDisk::new(seed);
        let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
        let all = records(&[100, 200, 300]);
        let mut writer =
            WalWriter::open(Arc::clone(&disk), Path::new("/wal"), WalCompression::None, 4 * 32768).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        writer.log([all[0].as_slice()]).unwrap();
        writer.take_sync_work().unwrap().run().unwrap();
        // Room for the first one of two.
        faulty.set_capacity(faulty.used() + 220);
        assert!(writer.log([all[1].as_slice(), all[2].as_slice()]).is_err());
        writer.take_sync_work().unwrap().run().unwrap();
        faulty.restart(Restart::PowerCut);
        let (back, losses) = read(&disk);
        assert_eq!((back, losses.len()), (vec![all[0].clone()], 0), "seed {seed}");
    }
}

fn damaged(disk: &Arc<dyn Disk>, at: u64, byte: u8) {
    let path = segment_path(Path::new("/wal"), 0);
    let mut file = disk.open_write(&path, WriteMode::Append).unwrap();
    file.write_at(&[byte], at).unwrap();
}

#[test]
fn a_bad_record_costs_itself_and_mending_leaves_no_trace() {
    let disk = disk();
    let all = records(&[100, 200, 40_000, 300, 50, 60]);
    write(&disk, WalCompression::None, &all);
    damaged(&disk, 150, 0);
    let (back, losses) = read(&disk);
    assert_eq!(back, [&all[0..1], &all[2..]].concat());
    assert_eq!((losses.len(), losses[0].offset, losses[0].bytes), (1, 107, 207));
    // Inside the second fragment of the large record, and a header's length.
    damaged(&disk, 33_000, 0);
    let (back, losses) = read(&disk);
    assert_eq!((back.len(), losses.len()), (4, 1));
    assert_eq!(back[1], all[3]);

    let told = mend::mend_segment(&disk, &segment_path(Path::new("/wal"), 0)).unwrap();
    assert_eq!(told, losses);
    assert_eq!(read(&disk), (back, Vec::new()));
    assert!(disk.exists(Path::new("/00000000.damaged")).unwrap());
    assert!(mend::mend_segment(&disk, &segment_path(Path::new("/wal"), 0)).unwrap().is_empty());
}

#[test]
fn each_mend_keeps_its_original() {
    let disk = disk();
    let path = segment_path(Path::new("/wal"), 0);
    write(&disk, WalCompression::None, &records(&[100, 200, 300]));
    let mut originals = Vec::new();
    for kept in ["/00000000.damaged", "/00000000.1.damaged"] {
        damaged(&disk, 50, 0xee);
        originals.push(read_all(&*disk, &path, u64::MAX).unwrap());
        assert_eq!(mend::mend_segment(&disk, &path).unwrap().len(), 1);
        assert_eq!(read_all(&*disk, Path::new(kept), u64::MAX).unwrap(), originals[originals.len() - 1]);
    }
    assert_eq!(read_all(&*disk, Path::new("/00000000.damaged"), u64::MAX).unwrap(), originals[0]);
}

#[test]
fn an_original_that_cannot_be_kept_is_not_replaced() {
    let faulty = FaultDisk::new(1);
    let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
    let path = segment_path(Path::new("/wal"), 0);
    write(&disk, WalCompression::None, &records(&[100, 200, 300]));
    damaged(&disk, 50, 0xee);
    let (left, losses) = read(&disk);
    // The link is the first change of names.
    faulty.inject(Fault { op: Op::Rename, path: String::new(), skip: 0, times: 1, kind: FaultKind::Full });
    for kept in [false, true] {
        assert_eq!(mend::mend_segment(&disk, &path).unwrap(), losses);
        assert_eq!(read(&disk), (left.clone(), if kept { Vec::new() } else { losses.clone() }));
        assert_eq!(disk.exists(Path::new("/00000000.damaged")).unwrap(), kept);
        assert!(!disk.exists(Path::new("/wal/00000000.mend")).unwrap());
    }
}

#[test]
fn a_torn_tail_is_cut_off() {
    let all = records(&[100, 200, 70_000]);
    for cut in [1, 6, 8, 70_000 - 32_000, 70_014] {
        let disk = disk();
        write(&disk, WalCompression::None, &all);
        let path = segment_path(Path::new("/wal"), 0);
        let mut file = disk.open_write(&path, WriteMode::Append).unwrap();
        let len = file.len();
        file.set_len(len - cut).unwrap();
        let (back, losses) = read(&disk);
        assert_eq!((back.len(), losses.len()), (2, 1), "cut {cut}");
        mend::mend_segment(&disk, &path).unwrap();
        assert_eq!(disk.size(&path).unwrap(), 314);
        assert_eq!(read(&disk), (back, Vec::new()));
    }
}

#[test]
fn a_checkpoint_keeps_what_lives() {
    let disk = disk();
    let labels = |v: &str| model::Labels::from_pairs([("a", v)]);
    let mut all = Vec::new();
    let series = [1, 2].map(|n| SeriesRecord { series: n, labels: labels(&n.to_string()) });
    let sample = |series, t_ms| SampleRecord { series, start_ms: 0, t_ms, value: 1.0 };
    let mut push = |encode: &dyn Fn(&mut Vec<u8>)| {
        let mut out = Vec::new();
        encode(&mut out);
        all.push(out);
    };
    push(&|o| record::encode_series(o, &series));
    push(&|o| record::encode_samples(o, &[sample(1, 10), sample(2, 20), sample(1, 30)]));
    push(&|o| record::encode_samples(o, &[sample(1, 11)]));
    push(&|o| {
        let stone = |series, maxt_ms| TombstoneRecord { series, mint_ms: 0, maxt_ms };
        record::encode_tombstones(o, &[stone(1, 50), stone(2, 50), stone(1, 5)]);
    });
    write(&disk, WalCompression::Snappy, &all);
    let mut later = Vec::new();
    record::encode_samples(&mut later, &[sample(1, 99)]);
    let dir = Path::new("/wal");
    let last = write(&disk, WalCompression::Snappy, &[later]);
    let none: checkpoint::Living<'_> = &|_| ();
    let stats =
        checkpoint::write(&disk, dir, last, WalCompression::None, (20, 20), &|s| s == 1, (false, none))
            .unwrap();
    assert_eq!((stats.series, stats.series_dropped, stats.samples, stats.samples_dropped), (1, 1, 3, 2));
    checkpoint::truncate(&*disk, dir, last).unwrap();
    assert_eq!((segments(&*disk, dir).unwrap(), checkpoints(&*disk, dir).unwrap()), (vec![], vec![last]));
    // The next log segment comes behind the checkpoint, and a second checkpoint builds on the first.
    assert_eq!(write(&disk, WalCompression::None, &[]), last + 1);
    checkpoint::write(&disk, dir, last + 1, WalCompression::None, (25, 25), &|_| true, (false, none))
        .unwrap();
    checkpoint::truncate(&*disk, dir, last + 1).unwrap();
    let folder = checkpoint_path(dir, last + 1);
    let mut reader = SegmentReader::open(&*disk, &segment_path(&folder, 0)).unwrap();
    let mut back = Vec::new();
    while let Some(r) = reader.next_record().unwrap() {
        back.push(record::decode(r).unwrap());
    }
    assert_eq!(
        back,
        [
            Record::Series(series[..1].to_vec()),
            Record::Samples(vec![sample(1, 30)]),
            Record::Tombstones(vec![TombstoneRecord { series: 1, mint_ms: 0, maxt_ms: 50 }]),
            Record::Samples(vec![sample(1, 99)]),
        ]
    );
}

#[test]
fn a_bad_sector_of_a_checkpoint_costs_a_few_dozen_series() {
    let disk = disk();
    let dir = Path::new("/wal");
    let labels = |n: u64| model::Labels::from_pairs([("a", format!("{n:0300}").as_str())]);
    let series: Vec<_> = (1..=1000).map(|n| SeriesRecord { series: n, labels: labels(n) }).collect();
    let record_of = |out: &mut Vec<u8>| record::encode_series(out, &series);
    let mut first = Vec::new();
    record_of(&mut first);
    let none: checkpoint::Living<'_> = &|_| ();
    let living: checkpoint::Living<'_> = &|f| f(&series);
    for (logged, lost, from) in [(vec![first], false, none), (vec![], true, living)] {
        let to = write(&disk, WalCompression::Zstd, &logged);
        checkpoint::write(&disk, dir, to, WalCompression::None, (0, 0), &|_| true, (lost, from)).unwrap();
        checkpoint::truncate(&*disk, dir, to).unwrap();
        let path = segment_path(&checkpoint_path(dir, to), 0);
        disk.open_write(&path, WriteMode::Append).unwrap().write_at(&[0xff; 4096], 100 << 10).unwrap();
        let mut reader = SegmentReader::open(&*disk, &path).unwrap();
        let mut left = std::collections::BTreeSet::new();
        while let Some(r) = reader.next_record().unwrap() {
            let Ok(Record::Series(all)) = record::decode(r) else { panic!("series only") };
            left.extend(all.iter().map(|s| s.series));
        }
        assert_eq!(reader.losses().len(), 1);
        assert!((1000 - 128..1000).contains(&left.len()), "{}", left.len());
    }
}

fn rules() -> LogRules {
    let compression = WalCompression::Snappy;
    LogRules { compression, segment_bytes: 4 * 32768, strict: false, hold_bytes: 1 << 20 }
}

#[test]
fn commits_go_on_while_the_disk_hangs() {
    let faulty = FaultDisk::new(1);
    let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
    let log = Log::open(Arc::clone(&disk), Path::new("/wal"), rules(), Vec::new()).unwrap();
    let append = |byte: u8| log.append(Vec::new, [(&[byte; 5][..], 0)].into_iter()).unwrap();
    append(1);
    faulty.freeze();
    std::thread::scope(|scope| {
        let stuck = scope.spawn(|| append(2));
        // Once the other one is in its write each of ours returns, though nothing moves.
        while !log.is_writing() {
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        append(3);
        append(4);
        assert!(!stuck.is_finished(), "the disk hangs");
        faulty.thaw();
        stuck.join().unwrap();
    });
    // Who was stuck wrote theirs too.
    assert_eq!(LogStatus { behind_ms: 0, ..log.status() }, LogStatus::default());
    log.sync().unwrap();
    faulty.restart(Restart::PowerCut);
    let firsts: Vec<u8> = read(&disk).0.iter().map(|r| r[0]).collect();
    assert_eq!(firsts, [1, 2, 3, 4]);
}

/// With a thread that writes nobody is stuck, not even the first one; and what it was given is written before
/// it ends.
#[test]
fn no_commit_is_stuck_in_a_disk_that_hangs() {
    let faulty = FaultDisk::new(1);
    let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
    let log = Arc::new(Log::open(Arc::clone(&disk), Path::new("/wal"), rules(), Vec::new()).unwrap());
    let append = |byte: u8| log.append(Vec::new, [(&[byte; 5][..], 0)].into_iter()).unwrap();
    let thread = log.spawn_writer().unwrap();
    (1..=100).for_each(append);
    // Each of them was with the system when it returned.
    let there: Vec<u8> = read(&disk).0.iter().map(|r| r[0]).collect();
    assert_eq!(there, (1..=100).collect::<Vec<u8>>());
    faulty.freeze();
    (101..=200).for_each(append);
    assert!(log.status().held_records >= 99, "{:?}", log.status());
    faulty.thaw();
    log.sync().unwrap();
    assert_eq!(LogStatus { behind_ms: 0, ..log.status() }, LogStatus::default());
    drop(thread);
    append(201);
    let all: Vec<u8> = read(&disk).0.iter().map(|r| r[0]).collect();
    assert_eq!(all, (1..=201).collect::<Vec<u8>>());
}

#[test]
fn a_turn_begins_a_segment() {
    let disk = disk();
    let log = Log::open(Arc::clone(&disk), Path::new("/wal"), rules(), Vec::new()).unwrap();
    let append = |byte: u8| log.append(Vec::new, [(&[byte; 5][..], 0)].into_iter()).unwrap();
    append(1);
    log.turn(7);
    assert_eq!(log.take_turns(), []);
    append(2);
    assert_eq!((log.take_turns(), log.segment()), (vec![(7, 1)], 1));
    append(3);
    assert_eq!((log.take_turns(), log.segment()), (vec![], 1));
}

#[test]
fn a_failed_fsync_is_not_forgotten() {
    for seed in 0..20 {
        let faulty = FaultDisk::new(seed);
        let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
        let log = Log::open(Arc::clone(&disk), Path::new("/wal"), rules(), Vec::new()).unwrap();
        let fault = |op| Fault { op, path: "wal".into(), skip: 0, times: 1, kind: FaultKind::Io };
        for byte in 1..20_u8 {
            log.append(Vec::new, [(&[byte; 5][..], 0)].into_iter()).unwrap();
            if byte % 5 == 0 {
                faulty.inject(fault(Op::Sync));
                // By the same call: what was dropped is written anew and synced.
                log.sync().unwrap();
            }
        }
        assert_eq!(log.status().given_up, 3);
        faulty.restart(Restart::PowerCut);
        let firsts: std::collections::BTreeSet<u8> = read(&disk).0.iter().map(|r| r[0]).collect();
        assert!((1..=15).all(|b| firsts.contains(&b)), "seed {seed}: {firsts:?}");
    }
}

/// The second process cannot see that fsyncs of the first one failed: its own succeed at once.
#[test]
fn a_start_makes_durable_what_a_killed_process_could_not() {
    for seed in 0..40 {
        let faulty = FaultDisk::new(seed);
        let disk: Arc<dyn Disk> = Arc::new(faulty.clone());
        let dir = Path::new("/wal");
        let append = |log: &Log, byte: u8| {
            log.append(Vec::new, [(&[byte; 2000][..], 0)].into_iter()).unwrap();
        };
        let log = Log::open(Arc::clone(&disk), dir, rules(), Vec::new()).unwrap();
        append(&log, 1);
        log.sync().unwrap();
        (2..30).for_each(|byte| append(&log, byte));
        let fault = |op, path: &str| Fault { op, path: path.into(), skip: 0, times: 9, kind: FaultKind::Io };
        faulty.inject(fault(Op::Sync, "wal"));
        assert!(log.sync().is_err());
        drop(log);
        faulty.restart(Restart::Kill);
        faulty.heal();
        let log = Log::open(Arc::clone(&disk), dir, rules(), Vec::new()).unwrap();
        if seed % 2 == 0 {
            // Nor what the second one's first try drops.
            faulty.inject(Fault { times: 1, ..fault(Op::Sync, "0000") });
            faulty.inject(Fault { times: 1, ..fault(Op::Create, ".tmp") });
            assert!(log.sync().is_err());
            drop(log);
            faulty.restart(Restart::Kill);
            faulty.heal();
            Log::open(Arc::clone(&disk), dir, rules(), Vec::new()).unwrap().sync().unwrap();
        } else {
            log.sync().unwrap();
        }
        faulty.restart(Restart::PowerCut);
        let firsts: std::collections::BTreeSet<u8> = read(&disk).0.iter().map(|r| r[0]).collect();
        assert_eq!(firsts, (1..30).collect(), "seed {seed}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// One damaged byte loses the record it lies in and no other.
    #[test]
    fn any_flipped_byte_costs_one_record(
        sizes in proptest::collection::vec(1_usize..40_000, 1..12),
        place in 0.0_f64..1.0,
        flip in 1_u8..,
    ) {
        let disk = disk();
        let mut writer = WalWriter::open(Arc::clone(&disk), Path::new("/wal"), WalCompression::None, 1 << 30).unwrap();
        let all = records(&sizes);
        for r in &all {
            writer.log([r.as_slice()]).unwrap();
        }
        let path = segment_path(Path::new("/wal"), 0);
        let content = read_all(&*disk, &path, u64::MAX).unwrap();
        let at = (content.len() as f64 * place) as usize;
        damaged(&disk, at as u64, content[at] ^ flip);
        let (back, losses) = read(&disk);
        prop_assert!(back.len() + 1 >= all.len(), "{} of {}, {losses:?}", back.len(), all.len());
        prop_assert!(back.iter().all(|r| all.contains(r)));
    }

    #[test]
    fn foreign_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..70_000)) {
        let disk = disk();
        disk.create_dir_all(Path::new("/wal")).unwrap();
        let path = segment_path(Path::new("/wal"), 0);
        disk.open_write(&path, WriteMode::CreateNew).unwrap().append(&bytes).unwrap();
        read(&disk);
        mend::mend_segment(&disk, &path).unwrap();
        prop_assert!(read(&disk).1.is_empty());
    }
}
