//! Chunks end where upstream ends them: samples of blocks that a real Prometheus made, put through our
//! head, give the same chunks, byte for byte.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage::{Appendable, QueryContext, Queryable, RawChunk, SampleBuf, SelectHints, Series, SeriesRef};
use tsdb::block::Block;
use tsdb::disk::{Disk, MemDisk, RealDisk};
use tsdb::{Db, DbOptions};

fn block(name: &str) -> Block {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/blocks").join(name);
    let inner = RealDisk.list(&folder).unwrap().into_iter().find(|e| e.is_dir).unwrap();
    Block::open(Arc::new(RealDisk), &folder.join(inner.name)).unwrap()
}

fn all_series(from: &dyn Queryable) -> Vec<Arc<dyn Series>> {
    let querier = from.querier(i64::MIN, i64::MAX).unwrap();
    querier.select(&QueryContext::unlimited(), true, &SelectHints::default(), &[]).unwrap().series
}

struct OneBlock(Block);

impl Queryable for OneBlock {
    fn querier(&self, mint: i64, maxt: i64) -> Result<Box<dyn storage::Querier>, storage::StorageError> {
        Ok(Box::new(self.0.querier(mint, maxt)))
    }
}

/// Puts the block's samples through a head and compares chunks. Gives the number of chunks compared.
fn rechunk(name: &str, range_ms: i64) -> usize {
    let theirs = all_series(&OneBlock(block(name)));
    let mut options = DbOptions::new("/data");
    options.disk = Arc::new(MemDisk::new());
    options.min_block_ms = range_ms;
    let db = Db::open(options).unwrap();
    // In order of time over all series, as they came.
    let mut samples: Vec<(i64, usize, usize)> = Vec::new();
    let columns: Vec<SampleBuf> = theirs
        .iter()
        .enumerate()
        .map(|(s, series)| {
            let mut out = SampleBuf::default();
            series.read(i64::MIN, i64::MAX, &mut out).unwrap();
            samples.extend(out.times.iter().enumerate().map(|(i, t)| (*t, s, i)));
            out
        })
        .collect();
    samples.sort_unstable();
    for same_time in samples.chunk_by(|a, b| a.0 == b.0) {
        let mut app = db.appender();
        for (t, s, i) in same_time {
            let labels = theirs[*s].labels();
            match columns[*s].histogram_at(*i) {
                Some(h) => app.append_histogram(SeriesRef::NONE, labels, 0, *t, h).unwrap(),
                None => app.append(SeriesRef::NONE, labels, 0, *t, columns[*s].values[*i]).unwrap(),
            };
        }
        app.commit().unwrap();
    }
    let ours = all_series(&db);
    assert_eq!(ours.len(), theirs.len());
    let mut compared = 0;
    for (a, b) in ours.iter().zip(&theirs) {
        assert_eq!(a.labels(), b.labels());
        let chunks = |s: &Arc<dyn Series>| s.chunks(i64::MIN, i64::MAX).unwrap();
        let short = |c: &[RawChunk]| c.iter().map(|c| (c.mint_ms, c.maxt_ms, c.encoding)).collect::<Vec<_>>();
        let (ours, theirs) = (chunks(a), chunks(b));
        assert_eq!(short(&ours), short(&theirs), "{name}: {}", a.labels());
        for (i, (x, y)) in ours.iter().zip(&theirs).enumerate() {
            let (mut x_data, y_data) = (x.data.to_vec(), y.data.to_vec());
            if i == 0 && !matches!(x.encoding, storage::ChunkEncoding::Xor) {
                // The reset header comes from the chunk before, which is in another block.
                x_data[2] = y_data[2];
            }
            assert_eq!(x_data, y_data, "{name}: {} {}", a.labels(), x.mint_ms);
            compared += 1;
        }
    }
    compared
}

#[test]
fn floats_are_cut_as_upstream_cuts_them() {
    // promtool's block writer has a head of twice its block range of two hours.
    assert!(rechunk("openmetrics-3.5", 4 * 3_600_000) > 10);
}

#[test]
fn histograms_are_cut_as_upstream_cuts_them() {
    assert!(rechunk("native-3.5", 60_000) > 10);
}
