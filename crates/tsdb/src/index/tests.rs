//! The index as a whole: many values, many series, version 1, segments.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use model::{Labels, MatchOp, Matcher};
use storage::{ChunkEncoding, QueryContext};

use super::codec::{put_str, put_uvarint, put_varint};
use super::*;
use crate::chunks::{ChunkMeta, ChunkReader, ChunkRef, ChunkWriter};
use crate::disk::{Disk, MemDisk, WriteMode};

fn chunk(i: u64) -> ChunkMeta {
    ChunkMeta { mint_ms: i as i64 * 10 - 50, maxt_ms: i as i64 * 10 - 45, chunk: ChunkRef(8 + i * 100) }
}

/// 3,000 series: `n` has each number, `mod` its rest, `long` is longer than a page at times.
fn series() -> Vec<Labels> {
    let make = |i: u32| {
        let long = "x".repeat(if i.is_multiple_of(500) { 3000 } else { 3 });
        Labels::from_pairs([
            ("__name__", "m".to_string()),
            ("n", format!("{i:05}")),
            ("mod", (i % 7).to_string()),
            ("long", format!("{long}{}", i % 40)),
        ])
    };
    let mut all: Vec<_> = (0..3000).map(make).collect();
    all.sort();
    all
}

fn write(disk: &Arc<dyn Disk>, path: &Path, all: &[Labels]) {
    let mut symbols: Vec<&str> = all.iter().flat_map(|l| l.iter()).flat_map(|(n, v)| [n, v]).collect();
    symbols.sort_unstable();
    symbols.dedup();
    let mut w = IndexWriter::create(Arc::clone(disk), path).unwrap();
    for s in symbols {
        w.add_symbol(s).unwrap();
    }
    for (i, l) in all.iter().enumerate() {
        let i = i as u64 * 3;
        w.add_series(l, &[chunk(i), chunk(i + 1), chunk(i + 2)][..(i as usize % 4).min(3)]).unwrap();
    }
    w.finish().unwrap();
}

#[test]
fn many_values_are_found() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let (path, all) = (Path::new("index"), series());
    write(&disk, path, &all);
    assert_eq!(disk.list(Path::new("")).unwrap().len(), 1, "no temporary file stays");
    let index = IndexReader::open(&*disk, path).unwrap();
    assert_eq!(index.label_names(), ["__name__", "long", "mod", "n"]);
    assert_eq!((index.value_count("n"), index.value_count("mod"), index.value_count("x")), (3000, 7, 0));
    let ids = index.all().unwrap().into_owned();
    assert_eq!(ids.len(), 3000);
    // Forward, backward and at random: labels and chunks are the same.
    let mut cursor = index.cursor();
    let mut chunks = Vec::new();
    let order = (0..3000).chain((0..3000).rev()).chain((0..3000).map(|i| i * 7919 % 3000));
    for i in order {
        assert_eq!(cursor.series(ids[i], &mut chunks).unwrap(), all[i]);
        let n = (i * 3 % 4).min(3);
        let expected: Vec<_> = (0..n as u64).map(|k| chunk(i as u64 * 3 + k)).collect();
        assert_eq!(chunks, expected);
    }
    for (i, l) in all.iter().enumerate() {
        assert_eq!(*index.postings("n", l.get("n")).unwrap(), [ids[i]]);
    }
    for absent in ["", "0", "00000x", "01", "03000", "z"] {
        assert!(index.postings("n", absent).unwrap().is_empty(), "{absent}");
    }
    let ctx = QueryContext::unlimited();
    for (expr, op) in [("01.*", MatchOp::Regex), ("0(1|2)99.", MatchOp::Regex), ("0.*5", MatchOp::NotRegex)] {
        let m = Matcher::new(op, "n", expr).unwrap();
        let found = postings_for_matchers(&index, &ctx, std::slice::from_ref(&m)).unwrap();
        let expected: Vec<u32> =
            all.iter().zip(&ids).filter(|(l, _)| m.matches(l.get("n"))).map(|(_, id)| *id).collect();
        assert!(!expected.is_empty());
        assert_eq!(*found, expected, "{expr}");
    }
    let values = label_values_of(&index, &ctx, "n", 5, &[Matcher::equal("mod", "3")]).unwrap();
    assert_eq!(values, ["00003", "00010", "00017", "00024", "00031"]);
    // Ids that are none.
    for id in [0, 1, ids[1] + 1, ids[2999] + 100, u32::MAX] {
        assert!(cursor.series(id, &mut chunks).is_err(), "{id}");
    }
}

#[test]
fn memory_source_and_index_agree() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let (path, all) = (Path::new("index"), series());
    write(&disk, path, &all);
    let index = IndexReader::open(&*disk, path).unwrap();
    let ids = index.all().unwrap().into_owned();
    let mut memory: BTreeMap<(String, String), Vec<u32>> = BTreeMap::new();
    for (l, id) in all.iter().zip(&ids) {
        for (n, v) in l.iter() {
            memory.entry((n.to_string(), v.to_string())).or_default().push(*id);
        }
    }
    let ctx = QueryContext::unlimited();
    let m = |n: &str, op, v: &str| Matcher::new(op, n, v).unwrap();
    for matchers in [
        vec![],
        vec![m("mod", MatchOp::NotEqual, "3")],
        vec![m("mod", MatchOp::NotEqual, "3"), m("absent", MatchOp::Equal, "")],
        vec![
            m("mod", MatchOp::Regex, "1|2"),
            m("n", MatchOp::NotRegex, "00.*"),
            m("long", MatchOp::NotEqual, "xxx7"),
        ],
        vec![m("", MatchOp::Equal, "")],
        // 75 series and fewer: their labels are looked at, not the 3,000 values of `n`.
        vec![m("n", MatchOp::Regex, "0.*3"), m("long", MatchOp::Equal, "xxx3")],
        vec![
            m("n", MatchOp::NotRegex, ".+[0-4]5"),
            m("long", MatchOp::Equal, "xxx5"),
            m("n", MatchOp::NotEqual, ""),
        ],
        vec![
            m("long", MatchOp::Equal, "xxx5"),
            m("absent", MatchOp::Regex, "x.*|"),
            m("n", MatchOp::Regex, ".*"),
        ],
    ] {
        let a = postings_for_matchers(&index, &ctx, &matchers).unwrap();
        let b = postings_for_matchers(&memory, &ctx, &matchers).unwrap();
        assert!(!a.is_empty());
        assert_eq!(a, b, "{matchers:?}");
        let passes = |l: &Labels| matchers.iter().all(|m| m.name().is_empty() || m.matches(l.get(m.name())));
        let naive: Vec<u32> = all.iter().zip(&ids).filter(|(l, _)| passes(l)).map(|(_, id)| *id).collect();
        assert_eq!(*a, naive, "{matchers:?}");
    }
    let nothing = [m("n", MatchOp::Regex, "x.*"), m("long", MatchOp::Equal, "xxx3")];
    assert!(postings_for_matchers(&index, &ctx, &nothing).unwrap().is_empty());
}

#[test]
fn misuse_is_refused() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let labels = |v: &str| Labels::from_pairs([("a", v)]);
    let mut w = IndexWriter::create(Arc::clone(&disk), Path::new("index")).unwrap();
    for s in ["a", "x", "y"] {
        w.add_symbol(s).unwrap();
    }
    assert!(w.add_symbol("b").is_err() && w.add_symbol("y").is_err());
    w.add_series(&labels("x"), &[chunk(1)]).unwrap();
    assert!(w.add_series(&labels("x"), &[chunk(2)]).is_err(), "doubled");
    assert!(w.add_series(&labels("z"), &[chunk(2)]).is_err(), "no symbol");
    assert!(w.add_series(&labels("y"), &[chunk(3), chunk(2)]).is_err(), "chunks out of order");
    assert!(w.add_symbol("z").is_err(), "too late");
}

/// Version 1 as Prometheus 2.0 and 2.1 wrote it: symbols by offset, series by offset, values unsorted.
fn version_one() -> Vec<u8> {
    let mut out = MAGIC.to_be_bytes().to_vec();
    out.push(1);
    let section = |out: &mut Vec<u8>, body: &[u8]| {
        let at = out.len() as u64;
        out.extend_from_slice(&(body.len() as u32).to_be_bytes());
        out.extend_from_slice(body);
        out.extend_from_slice(&crc32c::crc32c(body).to_be_bytes());
        at
    };
    let mut body = 4_u32.to_be_bytes().to_vec();
    let mut offsets = Vec::new();
    for s in ["job", "b", "a", &"c".repeat(300)] {
        offsets.push((out.len() + 4 + body.len()) as u64);
        put_str(&mut body, s.as_bytes());
    }
    let symbols = section(&mut out, &body);
    let series = out.len() as u64;
    let mut ids = Vec::new();
    for value in [2, 1, 3] {
        let mut body = Vec::new();
        for v in [1, offsets[0], offsets[value], 1] {
            put_uvarint(&mut body, v);
        }
        put_varint(&mut body, 5);
        put_uvarint(&mut body, 10);
        put_uvarint(&mut body, 8);
        ids.push(out.len() as u32);
        put_uvarint(&mut out, body.len() as u64);
        out.extend_from_slice(&body);
        out.extend_from_slice(&crc32c::crc32c(&body).to_be_bytes());
    }
    let label_indices = out.len() as u64;
    let mut table = 4_u32.to_be_bytes().to_vec();
    let long = "c".repeat(300);
    let lists: [(&str, &str, &[u32]); 4] =
        [("job", "b", &ids[1..2]), ("job", "a", &ids[0..1]), ("job", &long, &ids[2..]), ("", "", &ids)];
    for (name, value, list) in lists {
        let mut body = (list.len() as u32).to_be_bytes().to_vec();
        list.iter().for_each(|id| body.extend_from_slice(&id.to_be_bytes()));
        let at = section(&mut out, &body);
        put_uvarint(&mut table, 2);
        put_str(&mut table, name.as_bytes());
        put_str(&mut table, value.as_bytes());
        put_uvarint(&mut table, at);
    }
    let postings_table = section(&mut out, &table);
    let mut toc = Vec::new();
    for at in [symbols, series, label_indices, label_indices, label_indices, postings_table] {
        toc.extend_from_slice(&at.to_be_bytes());
    }
    toc.extend_from_slice(&crc32c::crc32c(&toc).to_be_bytes());
    out.extend_from_slice(&toc);
    out
}

#[test]
fn version_one_is_read() {
    let disk = MemDisk::new();
    let path = Path::new("index");
    disk.open_write(path, WriteMode::Truncate).unwrap().append(&version_one()).unwrap();
    let index = IndexReader::open(&disk, path).unwrap();
    assert_eq!((index.version(), index.label_names()), (1, vec!["job".to_string()]));
    let ctx = QueryContext::unlimited();
    let values = label_values_of(&index, &ctx, "job", 0, &[]).unwrap();
    assert_eq!(values, ["a", "b", &"c".repeat(300)]);
    let m = Matcher::new(MatchOp::Regex, "job", "a|c+").unwrap();
    let ids = postings_for_matchers(&index, &ctx, &[m]).unwrap().into_owned();
    let (mut cursor, mut chunks) = (index.cursor(), Vec::new());
    let jobs: Vec<_> =
        ids.iter().map(|id| cursor.series(*id, &mut chunks).unwrap().get("job").to_string()).collect();
    assert_eq!(jobs, ["a", &"c".repeat(300)]);
    assert_eq!(chunks, [ChunkMeta { mint_ms: 5, maxt_ms: 15, chunk: ChunkRef(8) }]);
    assert_eq!(index.symbols().unwrap().count(), 4);
    // Cut or flipped anywhere: an error or an answer, never a panic.
    let whole = version_one();
    for at in 0..whole.len() {
        for flip in [false, true] {
            let mut bytes = whole.clone();
            if flip {
                bytes[at] ^= 0x15;
            } else {
                bytes.truncate(at);
            }
            disk.open_write(path, WriteMode::Truncate).unwrap().append(&bytes).unwrap();
            if let Ok(index) = IndexReader::open(&disk, path) {
                let _ = label_values_of(&index, &ctx, "job", 0, &[]);
                for id in index.all().map(|l| l.into_owned()).unwrap_or_default() {
                    let _ = index.cursor().series(id, &mut chunks);
                }
            }
        }
    }
}

#[test]
fn chunk_segments_are_cut_and_read_together() {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let dir = Path::new("chunks");
    let mut w = ChunkWriter::create(Arc::clone(&disk), dir, 1000).unwrap();
    // Small ones, some longer than what is read ahead, one larger than a segment.
    let sizes: Vec<usize> =
        (0..60).map(|i| if i == 30 { 5000 } else { i * 13 % 300 }).chain([1, 2000, 3]).collect();
    let mut metas = Vec::new();
    for (i, n) in sizes.iter().enumerate() {
        let at = w.write(ChunkEncoding::Xor, &vec![i as u8; *n]).unwrap();
        metas.push(ChunkMeta { mint_ms: 0, maxt_ms: 0, chunk: at });
    }
    w.finish().unwrap();
    assert!(disk.list(dir).unwrap().len() > 5);
    let reader = ChunkReader::open(&*disk, dir).unwrap();
    let mut buf = Vec::new();
    for from in 0..metas.len() {
        let mut seen = from;
        let each = |i: usize, c: crate::chunks::ChunkData<'_>| {
            assert_eq!((c.data, from + i), (&vec![seen as u8; sizes[seen]][..], seen));
            seen += 1;
            Ok(())
        };
        reader.read(&metas[from..], None, &mut buf, each).unwrap();
        assert_eq!(seen, metas.len());
    }
    for bad in [ChunkRef(0), ChunkRef(9), ChunkRef::new(0, 990), ChunkRef::new(99, 8), ChunkRef(u64::MAX)] {
        assert!(reader.read_one(bad).is_err(), "{bad:?}");
    }
    assert_eq!(reader.read_one(metas[61].chunk).unwrap().1, vec![61; 2000]);
    disk.remove_file(&dir.join("000002")).unwrap();
    let e = ChunkReader::open(&*disk, dir).unwrap_err().to_string();
    assert!(e.contains("segment 000002 is missing"), "{e}");
}
