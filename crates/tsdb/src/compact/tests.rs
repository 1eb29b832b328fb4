//! Plans and merges.

use std::path::Path;
use std::sync::Arc;

use model::{Histogram, HistogramValue, Labels, Span};
use proptest::prelude::*;
use storage::{CancelToken, ChunkEncoding, RawChunk, SampleBuf};
use ulid::Ulid;

use super::recode::merge_chunks;
use super::*;
use crate::block::{Block, BlockMeta, HINT_OUT_OF_ORDER, HINT_STALE_SERIES, write_block};
use crate::chunkenc;
use crate::disk::{Disk, MemDisk};
use crate::tombstones::Interval;

fn meta(number: u64, mint_ms: i64, maxt_ms: i64) -> BlockMeta {
    BlockMeta::level_one(Ulid::from_parts(number, 0), mint_ms, maxt_ms)
}

const RANGES: [i64; 5] = [20, 60, 180, 540, 1620];

fn planned(blocks: &[(i64, i64)]) -> Vec<u64> {
    let metas: Vec<_> = blocks.iter().enumerate().map(|(i, (a, b))| meta(i as u64 + 1, *a, *b)).collect();
    plan(&metas, &RANGES).iter().map(Ulid::timestamp_ms).collect()
}

#[test]
fn plans_follow_upstream() {
    assert!(planned(&[]).is_empty());
    assert!(planned(&[(0, 20)]).is_empty());
    // The newest block waits; a range that may still get one is not cut early.
    assert!(planned(&[(0, 20), (20, 40)]).is_empty());
    assert!(planned(&[(0, 20), (20, 40), (40, 60)]).is_empty());
    assert_eq!(planned(&[(0, 20), (20, 40), (40, 60), (60, 80)]), [1, 2, 3]);
    // A gap in the range: done once nothing more can come into it.
    assert!(planned(&[(0, 20), (40, 60)]).is_empty());
    assert_eq!(planned(&[(0, 20), (40, 60), (60, 80), (80, 100)]), [1, 2]);
    // Small ones before big ones, then the next level.
    assert_eq!(planned(&[(0, 60), (60, 80), (80, 100), (100, 120), (120, 180), (180, 200)]), [2, 3, 4]);
    assert_eq!(planned(&[(0, 60), (60, 120), (120, 180), (180, 200)]), [1, 2, 3]);
    // A block that crosses its range is left alone.
    assert!(planned(&[(0, 20), (20, 70), (70, 80)]).is_empty());
    // Overlap goes first, the newest block included, as far as the first run goes.
    assert_eq!(planned(&[(0, 20), (10, 40), (40, 60)]), [1, 2]);
    assert_eq!(planned(&[(0, 20), (20, 40), (30, 50), (45, 60), (70, 90), (80, 95)]), [2, 3, 4]);
    assert_eq!(planned(&[(0, 20), (20, 40), (0, 10)]), [1, 3]);
    // Before the epoch ranges align too.
    assert_eq!(planned(&[(-60, -40), (-40, -20), (-20, 0), (0, 20)]), [1, 2, 3]);
}

#[test]
fn tombstones_failures_and_hints_count() {
    let mut metas = vec![meta(1, 0, 540), meta(2, 540, 560), meta(3, 560, 580)];
    assert!(plan(&metas, &RANGES).is_empty());
    metas[0].stats.num_series = 10;
    metas[0].stats.num_tombstones = 1;
    assert!(plan(&metas, &RANGES).is_empty(), "the small block behind ends the search");
    metas.remove(1);
    assert_eq!(plan(&metas, &RANGES), [metas[0].ulid]);
    // A small block only when all of it is deleted.
    let mut small = vec![meta(1, 0, 20), meta(2, 20, 40)];
    small[0].stats.num_series = 3;
    small[0].stats.num_tombstones = 2;
    assert!(plan(&small, &RANGES).is_empty());
    small[0].stats.num_tombstones = 3;
    assert_eq!(plan(&small, &RANGES), [small[0].ulid]);
    // A failed block takes its group out.
    let mut group = vec![meta(1, 0, 20), meta(2, 20, 40), meta(3, 40, 60), meta(4, 60, 80)];
    group[1].compaction.failed = true;
    assert!(plan(&group, &RANGES).is_empty());
    // Parts of the head are not mixed with whole blocks, even where they overlap.
    let mut mixed = vec![meta(1, 0, 20), meta(2, 0, 20), meta(3, 10, 20)];
    mixed[0].compaction.set_hint(HINT_STALE_SERIES);
    mixed[2].compaction.set_hint(HINT_STALE_SERIES);
    assert_eq!(plan(&mixed, &RANGES), [mixed[0].ulid, mixed[2].ulid]);
}

#[test]
fn ranges_are_threefold_up_to_the_maximum() {
    let hour = 3_600_000;
    assert_eq!(block_ranges(2 * hour, 54 * hour), [2 * hour, 6 * hour, 18 * hour, 54 * hour]);
    assert_eq!(block_ranges(2 * hour, 31 * 24 * hour).last(), Some(&(486 * hour)));
    assert!(block_ranges(2 * hour, hour).is_empty());
}

#[test]
fn retention_takes_the_oldest() {
    let metas = [meta(1, 0, 100), meta(2, 100, 200), meta(3, 200, 300)];
    let numbers = |ulids: Vec<Ulid>| ulids.iter().map(Ulid::timestamp_ms).collect::<Vec<_>>();
    assert_eq!(numbers(beyond_time(&metas, 100)), [1, 2]);
    assert_eq!(numbers(beyond_time(&metas, 101)), [1]);
    assert!(beyond_time(&metas, 0).is_empty() && beyond_time(&[], 5).is_empty());
    let sized: Vec<_> = metas.iter().cloned().map(|m| (m, 10)).collect();
    assert_eq!(numbers(beyond_size(&sized, 5, 25)), [1]);
    assert_eq!(numbers(beyond_size(&sized, 5, 24)), [1, 2]);
    assert_eq!(numbers(beyond_size(&sized, 50, 24)), [1, 2, 3]);
    assert!(beyond_size(&sized, 5, 35).is_empty() && beyond_size(&sized, 5, 0).is_empty());
}

#[test]
fn merged_description_keeps_origin() {
    let mut metas = vec![meta(2, 10, 20), meta(1, 0, 10)];
    metas[0].compaction.level = 3;
    metas[1].compaction.set_hint(HINT_OUT_OF_ORDER);
    let merged = merged_meta(Ulid::from_parts(9, 9), &metas);
    assert_eq!((merged.mint_ms, merged.maxt_ms, merged.compaction.level), (0, 20, 4));
    assert_eq!(merged.compaction.sources, [metas[1].ulid, metas[0].ulid]);
    assert!(merged.compaction.hints.is_empty() && merged.compaction.parents.len() == 2);
    metas[0].compaction.set_hint(HINT_OUT_OF_ORDER);
    assert!(merged_meta(Ulid::from_parts(9, 9), &metas).compaction.has_hint(HINT_OUT_OF_ORDER));
}

fn chunks_of(samples: &[(i64, f64)], per_chunk: usize) -> Vec<RawChunk> {
    let mut builder = ChunkBuilder::new(per_chunk);
    for (t, v) in samples {
        builder.push(0, *t, *v).unwrap();
    }
    builder.finish()
}

fn read_all(chunks: &[RawChunk]) -> Vec<(i64, f64)> {
    let mut out = SampleBuf::default();
    for c in chunks {
        let before = out.len();
        chunkenc::decode_all(c.encoding, &c.data, &mut out).unwrap();
        assert_eq!((c.mint_ms, c.maxt_ms), (out.times[before], *out.times.last().unwrap()));
    }
    assert!(out.times.is_sorted_by(|a, b| a < b), "{:?}", out.times);
    out.times.iter().copied().zip(out.values.iter().copied()).collect()
}

fn series() -> impl Strategy<Value = Vec<(i64, f64)>> {
    let times = prop::collection::btree_set(0_i64..400, 0..200);
    times.prop_map(|ts| ts.into_iter().map(|t| (t, t as f64 / 3.0)).collect())
}

proptest! {
    #[test]
    fn merged_chunks_hold_the_union(parts in prop::collection::vec((series(), 1_usize..130), 1..4)) {
        let mut expected = std::collections::BTreeMap::new();
        let mut chunks = Vec::new();
        for (samples, per_chunk) in &parts {
            expected.extend(samples.iter().copied().map(|(t, v)| (t, v.to_bits())));
            chunks.extend(chunks_of(samples, *per_chunk));
        }
        let merged = read_all(&merge_chunks(chunks).unwrap());
        let merged: Vec<(i64, u64)> = merged.into_iter().map(|(t, v)| (t, v.to_bits())).collect();
        prop_assert_eq!(merged, expected.into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn clipping_is_filtering(
        samples in series(),
        mint in -10_i64..400, len in 0_i64..400,
        deleted in prop::collection::vec((0_i64..400, 0_i64..50), 0..3),
    ) {
        let maxt = mint + len;
        let deleted: Vec<Interval> =
            deleted.into_iter().map(|(a, n)| Interval { mint_ms: a, maxt_ms: a + n }).collect();
        let mut out = Vec::new();
        for chunk in chunks_of(&samples, 50) {
            clip_chunk(chunk, mint, maxt, &deleted, &mut out).unwrap();
        }
        let keep = |t: i64| (mint..=maxt).contains(&t) && !deleted.iter().any(|i| i.contains(t));
        let expected: Vec<_> = samples.into_iter().filter(|(t, _)| keep(*t)).collect();
        prop_assert_eq!(read_all(&out), expected);
    }
}

#[test]
fn floats_and_histograms_take_turns() {
    let histogram = |n: u64| {
        HistogramValue::Int(Arc::new(Histogram {
            count: n,
            sum: n as f64,
            positive_spans: vec![Span { offset: 0, length: 1 }],
            positive_buckets: vec![n as i64],
            ..Histogram::default()
        }))
    };
    let mut builder = ChunkBuilder::new(3);
    for t in 0..10 {
        builder.push_histogram(0, t, &histogram(t as u64)).unwrap();
    }
    builder.push(0, 10, 1.0).unwrap();
    // A reset cuts early.
    builder.push_histogram(0, 11, &histogram(9)).unwrap();
    builder.push_histogram(0, 12, &histogram(5)).unwrap();
    let float = HistogramValue::Float(histogram(7).to_float());
    builder.push_histogram(0, 13, &float).unwrap();
    let chunks = builder.finish();
    let ranges: Vec<_> = chunks.iter().map(|c| (c.mint_ms, c.maxt_ms)).collect();
    assert_eq!(ranges, [(0, 2), (3, 5), (6, 8), (9, 9), (10, 10), (11, 11), (12, 12), (13, 13)]);
    let headers: Vec<_> = chunks.iter().map(|c| chunkenc::reset_header(c.encoding, &c.data)).collect();
    use chunkenc::ResetHeader::{NotReset, Reset, Unknown};
    assert_eq!(headers, [Unknown, NotReset, NotReset, NotReset, Unknown, Unknown, Reset, Unknown]);
    let mut out = SampleBuf::default();
    for c in &chunks {
        chunkenc::decode_all(c.encoding, &c.data, &mut out).unwrap();
    }
    assert_eq!(out.times, (0..14).collect::<Vec<_>>());
    assert_eq!(out.histograms.len(), 13);
}

#[test]
fn start_timestamps_survive_merges_and_clips() {
    let histogram = |n: u64| {
        HistogramValue::Int(Arc::new(Histogram {
            count: n,
            sum: n as f64,
            zero_count: n,
            ..Histogram::default()
        }))
    };
    // Floats and histograms, some with starts: (time, start).
    let fill = |from: i64, step: i64, start: i64| {
        let mut b = ChunkBuilder::default();
        for t in (from..from + 300).step_by(step as usize) {
            b.push(if t % 3 == 0 { start } else { 0 }, t, t as f64).unwrap();
        }
        for t in (from + 400..from + 500).step_by(step as usize) {
            b.push_histogram(start, t, &histogram(t as u64)).unwrap();
        }
        b.finish()
    };
    let read = |chunks: &[RawChunk]| {
        let mut out = SampleBuf::default();
        for c in chunks {
            chunkenc::decode_all(c.encoding, &c.data, &mut out).unwrap();
        }
        out.starts.resize(out.len(), 0);
        out.times.into_iter().zip(out.starts).collect::<std::collections::BTreeMap<_, _>>()
    };
    let (a, b) = (fill(0, 2, -50), fill(1, 2, -60));
    let mut expected = read(&a);
    expected.extend(read(&b));
    let merged = merge_chunks(a.into_iter().chain(b).collect()).unwrap();
    assert_eq!(read(&merged), expected);
    assert!(merged.iter().any(|c| c.encoding == ChunkEncoding::HistogramSt));
    let mut clipped = Vec::new();
    let deleted = [Interval { mint_ms: 30, maxt_ms: 60 }, Interval { mint_ms: 410, maxt_ms: 420 }];
    for chunk in merged {
        let encoding = chunk.encoding;
        let from = clipped.len();
        clip_chunk(chunk, 10, 480, &deleted, &mut clipped).unwrap();
        assert!(clipped[from..].iter().all(|c| c.encoding == encoding));
    }
    expected.retain(|t, _| (10..=480).contains(t) && !deleted.iter().any(|d| d.contains(*t)));
    assert_eq!(read(&clipped), expected);
    // Without any start, the encodings are those that older versions read.
    let merged = merge_chunks(fill(0, 2, 0).into_iter().chain(fill(1, 2, 0)).collect()).unwrap();
    assert!(merged.iter().all(|c| matches!(c.encoding, ChunkEncoding::Xor | ChunkEncoding::Histogram)));
}

fn store(disk: &Arc<dyn Disk>, meta: BlockMeta, all: &[(&str, Vec<(i64, f64)>)]) -> Block {
    let dir = Path::new("data");
    disk.create_dir_all(dir).unwrap();
    let mut symbols: Vec<&str> = all.iter().map(|(n, _)| *n).chain(["__name__", "unused"]).collect();
    symbols.sort_unstable();
    symbols.dedup();
    let ulid = meta.ulid;
    let series = all.iter().map(|(n, s)| Ok((Labels::from_pairs([("__name__", *n)]), chunks_of(s, 120))));
    let symbols = symbols.iter().map(|s| Ok((*s).to_string()));
    write_block(Arc::clone(disk), dir, meta, symbols, series).unwrap().unwrap();
    Block::open(Arc::clone(disk), &dir.join(ulid.to_string())).unwrap()
}

#[test]
fn blocks_merge_series_by_series() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let run = |from: i64, to: i64, v: f64| (from..to).map(|t| (t, v)).collect::<Vec<_>>();
    let a = store(&disk, meta(1, 0, 100), &[("a", run(0, 100, 1.0)), ("c", run(50, 60, 2.0))]);
    let b = store(&disk, meta(2, 100, 200), &[("a", run(100, 200, 3.0)), ("b", run(150, 151, 4.0))]);
    let made = compact(
        Arc::clone(&disk),
        Path::new("data"),
        Ulid::from_parts(3, 0),
        &[b, a],
        Rewrite::default(),
        &CancelToken::default(),
    );
    let made = made.unwrap();
    assert!(!made.overlapping);
    let m = made.meta.unwrap();
    assert_eq!((m.mint_ms, m.maxt_ms, m.compaction.level), (0, 200, 2));
    assert_eq!((m.stats.num_samples, m.stats.num_series, m.stats.num_chunks), (211, 3, 4));
    let merged = Block::open(Arc::clone(&disk), &Path::new("data").join(m.ulid.to_string())).unwrap();
    let names: Vec<_> =
        merged.series().unwrap().map(|s| s.unwrap().labels.metric_name().to_string()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(merged.symbols().unwrap().count(), 5);

    // Cancelled: nothing stays behind.
    let cancel = CancelToken::default();
    cancel.cancel();
    let ulid = Ulid::from_parts(4, 0);
    assert!(
        compact(
            Arc::clone(&disk),
            Path::new("data"),
            ulid,
            std::slice::from_ref(&merged),
            Rewrite::default(),
            &cancel
        )
        .is_err()
    );
    let names: Vec<_> = disk.list(Path::new("data")).unwrap().into_iter().map(|e| e.name).collect();
    assert_eq!(names.len(), 3, "{names:?}");

    // Everything deleted: no block, the source is marked.
    let ctx = storage::QueryContext::unlimited();
    merged.delete(&ctx, i64::MIN, i64::MAX, &[]).unwrap();
    let made = compact(
        Arc::clone(&disk),
        Path::new("data"),
        ulid,
        std::slice::from_ref(&merged),
        Rewrite::default(),
        &CancelToken::default(),
    );
    assert!(made.unwrap().meta.is_none() && merged.meta().compaction.deletable);
    assert!(!disk.exists(&Path::new("data").join(ulid.to_string())).unwrap());
}

/// What one merge made large enough the next leaves as it is; small neighbours are joined in equal parts.
#[test]
fn chunks_of_floats_grow_once() {
    let wanted = super::Recode { xor2: false, samples: 480 };
    let mut work = super::RecodeWork::default();
    let made = |from: i64, n: i64| {
        let mut b = super::ChunkBuilder::new(usize::MAX);
        (from..from + n).for_each(|i| b.push(0, i * 30_000, (i % 7) as f64).unwrap());
        b.finish()
    };
    let counts = |chunks: &[RawChunk]| -> Vec<u16> {
        chunks.iter().map(|c| crate::chunkenc::sample_count(c.encoding, &c.data).unwrap()).collect()
    };
    let mut joined = |parts: &[(i64, i64)]| {
        let chunks = parts.iter().flat_map(|(from, n)| made(*from, *n)).collect();
        counts(&super::recode_floats(chunks, wanted, &mut work).unwrap())
    };
    assert_eq!(joined(&[(0, 120), (120, 120)]), [240]);
    assert_eq!(joined(&[(0, 240), (240, 240), (480, 240)]), [720]);
    assert_eq!(joined(&[(0, 720), (720, 720)]), [720, 720]);
    assert_eq!(joined(&[(0, 500), (500, 500), (1000, 30)]), [500, 500, 30]);
    assert_eq!(joined(&[(0, 20), (20, 500), (520, 250), (770, 251)]), [20, 500, 501]);
    assert_eq!(joined(&(0..10).map(|n| (n * 120, 120)).collect::<Vec<_>>()), [600, 600]);
}
