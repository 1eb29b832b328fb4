//! Blocks that a real Prometheus or promtool wrote: read as they read them, written again byte for byte.
//!
//! Each folder of `testdata/blocks` holds one block and `dump.txt.zst`, what `promtool tsdb dump` (or the
//! server's own reader) gave for it; how they were made is in `testdata/README.md`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{Labels, MatchOp, Matcher};
use storage::{
    CancelToken, ChunkEncoding, LabelHints, Querier, QueryContext, RawChunk, SampleBuf, SelectHints,
    StorageError,
};
use tsdb::block::{Block, BlockMeta, BlockWriter};
use tsdb::chunkenc::{
    self, Appended, FloatHistogramAppender, HistogramAppender, ResetHeader, Xor2Appender, XorAppender,
};
use tsdb::disk::{Disk, MemDisk, RealDisk, WriteMode, read_all};

use crate::dump::dump_block;

fn goldens() -> Vec<(String, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/blocks");
    let folders = RealDisk.list(&root).unwrap().into_iter().filter(|e| e.is_dir);
    let all: Vec<_> = folders
        .map(|e| {
            let inner = RealDisk.list(&root.join(&e.name)).unwrap();
            let block = inner.into_iter().find(|i| i.is_dir).unwrap();
            (e.name.clone(), root.join(&e.name).join(block.name))
        })
        .collect();
    assert!(all.len() >= 4, "golden blocks are missing");
    all
}

fn open(dir: &Path) -> Block {
    Block::open(Arc::new(RealDisk), dir).unwrap()
}

fn bytes(path: &Path) -> Vec<u8> {
    read_all(&RealDisk, path, 1 << 30).unwrap()
}

/// Bucket bounds to 12 digits: the last bits of a power of two are not this crate's.
fn rounded(line: &str) -> String {
    let mut out = String::new();
    for (i, part) in line.split(['(', '[']).enumerate() {
        let bounds = part.split_once([']', ')']).and_then(|(b, rest)| Some((b.split_once(',')?, rest)));
        match bounds {
            Some(((low, high), rest)) if i > 0 => {
                let round =
                    |s: &str| s.parse::<f64>().map_or_else(|_| s.to_string(), |v| format!("{v:.11e}"));
                out.push_str(&format!("({},{}]{rest}", round(low), round(high)));
            }
            _ => out.push_str(part),
        }
    }
    out
}

fn same_lines(name: &str, ours: &str, theirs: &str) {
    for (i, (a, b)) in ours.lines().zip(theirs.lines()).enumerate() {
        assert!(a == b || rounded(a) == rounded(b), "{name}: line {}:\n{a}\n{b}", i + 1);
    }
    assert_eq!(ours.lines().count(), theirs.lines().count(), "{name}");
}

#[test]
fn dumps_are_equal() {
    for (name, dir) in goldens() {
        let packed = bytes(&dir.with_file_name("dump.txt.zst"));
        let theirs = String::from_utf8(zstd::decode_all(&packed[..]).unwrap()).unwrap();
        let block = open(&dir);
        same_lines(&name, &dump_block(&block), &theirs);
        let stats = block.meta().stats;
        if stats.num_tombstones == 0 {
            assert_eq!(theirs.lines().count() as u64, stats.num_samples, "{name}");
        }
    }
}

/// All series of a block with their chunks as they are.
fn stored(block: &Block) -> Vec<(Labels, Vec<RawChunk>)> {
    let mut all = Vec::new();
    for series in block.series().unwrap() {
        let series = series.unwrap();
        let mut chunks = Vec::new();
        let read = |i: usize, chunk: tsdb::chunks::ChunkData<'_>| {
            let meta = series.chunks[i];
            chunks.push(RawChunk {
                mint_ms: meta.mint_ms,
                maxt_ms: meta.maxt_ms,
                encoding: chunk.encoding,
                data: chunk.data.into(),
            });
            Ok(())
        };
        block.chunk_reader().read(&series.chunks, None, &mut Vec::new(), read).unwrap();
        all.push((series.labels, chunks));
    }
    all
}

#[test]
fn written_again_byte_for_byte() {
    for (name, dir) in goldens() {
        let block = open(&dir);
        let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
        let data = Path::new("data");
        disk.create_dir_all(data).unwrap();
        let meta = (*block.meta()).clone();
        let mut writer = BlockWriter::create(Arc::clone(&disk), data, meta, 512 << 20).unwrap();
        for symbol in block.symbols().unwrap() {
            writer.add_symbol(&symbol.unwrap()).unwrap();
        }
        for (labels, chunks) in stored(&block) {
            writer.add_series(&labels, &chunks).unwrap();
        }
        let meta = writer.finish().unwrap().unwrap();
        let ours = data.join(meta.ulid.to_string());
        // Before 3.8 floats and histograms were not counted apart.
        let counted_apart = block.meta().stats.num_float_samples > 0;
        let (ours_n, theirs_n) = (meta.stats, block.meta().stats);
        assert_eq!(
            (ours_n.num_samples, ours_n.num_series, ours_n.num_chunks),
            (theirs_n.num_samples, theirs_n.num_series, theirs_n.num_chunks),
            "{name}"
        );
        let files = ["chunks/000001", "index"];
        for file in files {
            let (mut a, mut b) =
                (read_all(&*disk, &ours.join(file), 1 << 30).unwrap(), bytes(&dir.join(file)));
            if file == "index" && name.ends_with("-3.5") {
                // Versions before 3.8 wrote label indices that nobody read: what is before them is compared.
                let toc = b.len() - 52;
                let series_end = u64::from_be_bytes(b[toc + 16..toc + 24].try_into().unwrap()) as usize;
                a.truncate(series_end);
                b.truncate(series_end);
            }
            let first = a.iter().zip(&b).position(|(x, y)| x != y);
            assert!(a == b, "{name}: {file} differs at {first:?}, {} against {} bytes", a.len(), b.len());
        }
        if block.tombstones().is_empty() {
            let files: &[&str] = if counted_apart { &["meta.json", "tombstones"] } else { &["tombstones"] };
            for file in files {
                let mut a = read_all(&*disk, &ours.join(file), 1 << 30).unwrap();
                if *file == "meta.json" {
                    // All but our checksum of it, which is the last field.
                    let text = String::from_utf8(a).unwrap();
                    let (before, sum) = text.split_once(",\n\t\"godwit_crc32c\": \"").unwrap();
                    assert_eq!(sum.len(), "00000000\"\n}".len());
                    a = format!("{before}\n}}").into_bytes();
                }
                assert_eq!(a, bytes(&dir.join(file)), "{name}: {file}");
            }
        }
        assert_eq!(disk.list(&ours).unwrap().len(), 4, "{name}: only the block's own files");
        let again = Block::open(disk, &ours).unwrap();
        if block.tombstones().is_empty() {
            same_lines(&name, &dump_block(&again), &dump_block(&block));
        }
    }
}

/// Encodes samples again with the header that the original has.
fn encode(chunk: &RawChunk, samples: &SampleBuf) -> Vec<u8> {
    let mut bytes = Vec::new();
    let start = |i: usize| samples.starts.get(i).copied().unwrap_or(0);
    let with_starts = matches!(chunk.encoding, ChunkEncoding::HistogramSt | ChunkEncoding::FloatHistogramSt);
    match chunk.encoding {
        ChunkEncoding::Xor => {
            let mut app = XorAppender::new();
            for (t, v) in samples.times.iter().zip(&samples.values) {
                app.append(&mut bytes, *t, *v).unwrap();
            }
            app.put_count(&mut bytes);
        }
        ChunkEncoding::Xor2 => {
            let mut app = Xor2Appender::new();
            for (i, (t, v)) in samples.times.iter().zip(&samples.values).enumerate() {
                app.append(&mut bytes, start(i), *t, *v).unwrap();
            }
        }
        ChunkEncoding::Histogram | ChunkEncoding::HistogramSt => {
            let mut app = HistogramAppender::new(with_starts);
            for (i, h) in &samples.histograms {
                let model::HistogramValue::Int(h) = h else { panic!("not an integer histogram") };
                let i = *i as usize;
                assert!(matches!(app.append(None, start(i), samples.times[i], h).unwrap(), Appended::Here));
            }
            bytes = app.into_bytes();
        }
        ChunkEncoding::FloatHistogram | ChunkEncoding::FloatHistogramSt => {
            let mut app = FloatHistogramAppender::new(with_starts);
            for (i, h) in &samples.histograms {
                let model::HistogramValue::Float(h) = h else { panic!("not a float histogram") };
                let i = *i as usize;
                assert!(matches!(app.append(None, start(i), samples.times[i], h).unwrap(), Appended::Here));
            }
            bytes = app.into_bytes();
        }
    }
    let header = chunkenc::reset_header(chunk.encoding, &chunk.data) as u8;
    match chunk.encoding {
        ChunkEncoding::Histogram | ChunkEncoding::FloatHistogram => bytes[2] |= header & ResetHeader::MASK,
        ChunkEncoding::HistogramSt | ChunkEncoding::FloatHistogramSt => {
            bytes[0] |= header & ResetHeader::MASK
        }
        _ => {}
    }
    bytes
}

#[test]
fn chunks_encode_again_byte_for_byte() {
    let mut seen = std::collections::BTreeMap::new();
    for (name, dir) in goldens() {
        for (labels, chunks) in stored(&open(&dir)) {
            for chunk in chunks {
                let mut samples = SampleBuf::default();
                chunkenc::decode_all(chunk.encoding, &chunk.data, &mut samples).unwrap();
                assert_eq!(samples.times.first(), Some(&chunk.mint_ms), "{name} {labels}");
                assert_eq!(samples.times.last(), Some(&chunk.maxt_ms), "{name} {labels}");
                let ours = encode(&chunk, &samples);
                assert_eq!(ours, *chunk.data, "{name} {labels} {:?}", chunk.encoding);
                *seen.entry(chunk.encoding as u8).or_insert(0) += 1;
            }
        }
    }
    assert!([1, 2, 4].iter().all(|e| seen.contains_key(e)), "encodings seen: {seen:?}");
}

#[test]
fn matchers_agree_with_a_full_scan() {
    let ctx = QueryContext::unlimited();
    for (name, dir) in goldens() {
        let block = open(&dir);
        let querier = block.querier(i64::MIN, i64::MAX);
        let all: Vec<Labels> = stored(&block).into_iter().map(|(l, _)| l).collect();
        let cases = [
            ("__name__", MatchOp::Equal, "go_goroutines"),
            ("__name__", MatchOp::NotEqual, "go_goroutines"),
            ("__name__", MatchOp::Regex, "go_.+"),
            ("__name__", MatchOp::NotRegex, "go_.*|up"),
            ("__name__", MatchOp::Regex, "up|go_goroutines|nothing"),
            ("handler", MatchOp::Equal, ""),
            ("handler", MatchOp::NotEqual, ""),
            ("handler", MatchOp::Regex, ".*"),
            ("handler", MatchOp::NotRegex, ".*"),
            ("handler", MatchOp::Regex, ".+"),
            ("handler", MatchOp::NotRegex, ".+"),
            ("handler", MatchOp::Regex, "/api/v1/.*|"),
            ("handler", MatchOp::NotRegex, "/api/v1/query|"),
            ("instance", MatchOp::Regex, ".*2"),
            ("nothing", MatchOp::Equal, ""),
            ("nothing", MatchOp::NotEqual, "x"),
            ("nothing", MatchOp::Equal, "x"),
        ];
        let matcher = |(n, op, v): (&str, MatchOp, &str)| Matcher::new(op, n, v).unwrap();
        for a in cases {
            for b in cases {
                let matchers = [matcher(a), matcher(b)];
                let expected: Vec<&Labels> =
                    all.iter().filter(|l| matchers.iter().all(|m| m.matches(l.get(m.name())))).collect();
                let set = querier.select(&ctx, true, &SelectHints::default(), &matchers).unwrap();
                let found: Vec<&Labels> = set.series.iter().map(|s| s.labels()).collect();
                if block.tombstones().is_empty() {
                    assert_eq!(found, expected, "{name} {a:?} {b:?}");
                }
                for label in ["handler", "__name__", "nothing"] {
                    let values = querier.label_values(&ctx, label, LabelHints::default(), &matchers).unwrap();
                    let theirs: std::collections::BTreeSet<&str> =
                        expected.iter().map(|l| l.get(label)).filter(|v| !v.is_empty()).collect();
                    assert_eq!(values, theirs.into_iter().collect::<Vec<_>>(), "{name} {label} {a:?} {b:?}");
                }
                let names = querier.label_names(&ctx, LabelHints::default(), &matchers).unwrap();
                let theirs: std::collections::BTreeSet<&str> =
                    expected.iter().flat_map(|l| l.iter().map(|(n, _)| n)).collect();
                assert_eq!(names, theirs.into_iter().collect::<Vec<_>>(), "{name} {a:?} {b:?}");
            }
        }
    }
}

/// A block copied to memory, so that it can be damaged.
fn copy(dir: &Path) -> (Arc<MemDisk>, PathBuf) {
    let disk = Arc::new(MemDisk::new());
    let to = Path::new("data").join(dir.file_name().unwrap());
    disk.create_dir_all(&to.join("chunks")).unwrap();
    for file in ["meta.json", "index", "tombstones", "chunks/000001"] {
        let mut out = disk.open_write(&to.join(file), WriteMode::Truncate).unwrap();
        out.append(&bytes(&dir.join(file))).unwrap();
    }
    (disk, to)
}

/// Reads everything; counts failures.
fn read_everything(disk: Arc<MemDisk>, dir: &Path) -> Result<usize, StorageError> {
    let block = Block::open(disk, dir)?;
    let querier = block.querier(i64::MIN, i64::MAX);
    let ctx = QueryContext::unlimited();
    querier.label_names(&ctx, LabelHints::default(), &[])?;
    querier.label_values(&ctx, "__name__", LabelHints::default(), &[Matcher::equal("job", "prom")])?;
    let set = querier.select(&ctx, true, &SelectHints::default(), &[])?;
    let mut samples = SampleBuf::default();
    for series in set.series {
        samples.clear();
        series.read(i64::MIN, i64::MAX, &mut samples)?;
    }
    Ok(samples.len())
}

#[test]
fn damage_is_named_and_never_panics() {
    let (_, dir) = goldens().swap_remove(0);
    let mut noticed = 0;
    for file in ["index", "chunks/000001", "tombstones", "meta.json"] {
        let size = bytes(&dir.join(file)).len();
        let step = (size / 60).max(1);
        for at in (0..size).step_by(step) {
            let (disk, to) = copy(&dir);
            let mut w = disk.open_write(&to.join(file), WriteMode::Append).unwrap();
            let old = bytes(&dir.join(file))[at];
            w.write_at(&[old ^ 0x41], at as u64).unwrap();
            if let Err(e) = read_everything(disk, &to) {
                assert!(matches!(e, StorageError::Corrupt { .. }), "{file} at {at}: {e}");
                noticed += 1;
            }
            // Cut at the same place.
            let (disk, to) = copy(&dir);
            disk.open_write(&to.join(file), WriteMode::Append).unwrap().set_len(at as u64).unwrap();
            let _ = read_everything(disk, &to);
        }
    }
    assert!(noticed > 100, "only {noticed} of 240 damages were noticed");
}

#[test]
fn compacted_blocks_hold_the_same_samples() {
    // A block with itself, twice over: twins are dropped. With a shifted copy: chunks are joined.
    for (name, dir) in goldens() {
        let (disk, to) = copy(&dir);
        let disk: Arc<dyn Disk> = disk;
        let block = Block::open(Arc::clone(&disk), &to).unwrap();
        let parent = to.parent().unwrap();
        let ulid = ulid::Ulid::from_parts(1, 2);
        let twice = [block.clone(), block.clone()];
        let made = tsdb::compact::compact(
            Arc::clone(&disk),
            parent,
            ulid,
            &twice,
            tsdb::compact::Rewrite::default(),
            &CancelToken::default(),
        )
        .unwrap();
        let meta: BlockMeta = made.meta.unwrap();
        assert!(made.overlapping, "{name}");
        let merged = Block::open(Arc::clone(&disk), &parent.join(meta.ulid.to_string())).unwrap();
        same_lines(&name, &dump_block(&merged), &dump_block(&block));
        assert_eq!(meta.compaction.level, block.meta().compaction.level + 1);
        assert!(merged.tombstones().is_empty());
    }
}

#[test]
fn deletion_takes_effect_and_survives() {
    let (_, dir) = goldens().swap_remove(0);
    let (disk, to) = copy(&dir);
    let disk: Arc<dyn Disk> = disk;
    let block = Block::open(Arc::clone(&disk), &to).unwrap();
    let before = dump_block(&block);
    let meta = block.meta();
    let middle = meta.mint_ms + (meta.maxt_ms - meta.mint_ms) / 2;
    let ctx = QueryContext::unlimited();
    let matcher = Matcher::new(MatchOp::Regex, "__name__", "go_.*").unwrap();
    block.delete(&ctx, middle, i64::MAX, &[matcher]).unwrap();
    let expected: String = before
        .lines()
        .filter(|l| {
            !l.contains("__name__=\"go_") || l.rsplit(' ').next().unwrap().parse::<i64>().unwrap() < middle
        })
        .map(|l| format!("{l}\n"))
        .collect();
    assert_ne!(before, expected);
    same_lines("live", &dump_block(&block), &expected);
    let again = Block::open(Arc::clone(&disk), &to).unwrap();
    same_lines("reopened", &dump_block(&again), &expected);
    assert_eq!(again.meta().stats.num_tombstones as usize, again.tombstones().len());
    // A rewrite drops the samples for good.
    let ulid = ulid::Ulid::from_parts(1, 2);
    let parent = to.parent().unwrap();
    tsdb::compact::compact(
        Arc::clone(&disk),
        parent,
        ulid,
        &[again],
        tsdb::compact::Rewrite::default(),
        &CancelToken::default(),
    )
    .unwrap();
    let rewritten = Block::open(disk, &parent.join(ulid.to_string())).unwrap();
    same_lines("rewritten", &dump_block(&rewritten), &expected);
}
