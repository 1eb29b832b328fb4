//! A step of the fourth generation: blocks come from elsewhere while the database runs, as an import brings them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use model::Labels;
use model::clock::Clock;
use storage::{ChunkEncoding, RawChunk, StorageError};
use tsdb::block::{BlockMeta, BlockSource, transfer_block, write_block};
use tsdb::chunkenc::XorAppender;
use tsdb::disk::Disk;
use ulid::Ulid;

use super::ledger::{Hold, Value};
use super::world::{BLOCK_MS, Outcome, World};

/// Where the blocks lie before.
const FOLDER: &str = "/elsewhere";

type Series = BTreeMap<Labels, BTreeMap<i64, f64>>;

impl World {
    /// Blocks of one to three ranges, of series that nobody scrapes and of some that are scraped, at times that
    /// have no sample; up to half a block into what is to come.
    pub(super) fn import(&mut self) -> Outcome {
        let now = self.clock.now_ms();
        let Some(db) = self.db.clone() else { return Ok(()) };
        let back = self.rng.below(10 * BLOCK_MS as u64) as i64;
        let mut begin = (now - back).div_euclid(BLOCK_MS) * BLOCK_MS;
        let (mut batch, mut made) = (Vec::new(), Ok(()));
        for _ in 0..1 + self.rng.below(3) {
            let series = self.foreign_series(begin, now);
            for (labels, samples) in &series {
                batch.extend(samples.iter().map(|(t, v)| (labels.clone(), *t, Value::float(*v))));
            }
            let ulid = Ulid::from_parts(now.max(0) as u64, u128::from(self.rng.next_u64()));
            if made.is_ok() {
                made = self.bring(BlockMeta::level_one(ulid, begin, begin + BLOCK_MS), &series);
            }
            begin += BLOCK_MS;
        }
        let done = made.and_then(|()| db.reload_blocks());
        drop(db);
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let _ = disk.remove_dir_all(Path::new(FOLDER));
        self.figures.event("imports");
        let went = done.as_ref().map_or_else(ToString::to_string, |()| "ok".to_string());
        self.note(format!("import: {} samples, {went}", batch.len()));
        self.note_blocks(false);
        let hold = match done {
            Ok(()) if !self.disk.is_off() => Hold::Synced,
            // Some of it may be there, or come with the next upkeep.
            _ if self.trouble() => Hold::Gone,
            Ok(()) => Hold::Gone,
            Err(e) => return Err(format!("import fails: {e}")),
        };
        for (labels, t, value) in batch {
            self.ledger.add(&labels, t, value, hold, self.figures.steps);
        }
        Ok(())
    }

    fn foreign_series(&mut self, begin: i64, now: i64) -> Series {
        let mut names: Vec<Labels> = (0..1 + self.rng.below(3))
            .map(|i| Labels::from_pairs([("__name__", "foreign"), ("i", &i.to_string())]))
            .collect();
        let scraped = self
            .ledger
            .series
            .iter()
            .filter(|(_, entries)| entries.values().all(|e| matches!(e.value, Value::Float(_))));
        let scraped: Vec<Labels> = scraped.map(|(labels, _)| labels.clone()).collect();
        names.extend(scraped.into_iter().filter(|_| self.rng.one_in(8)));
        let mut series = Series::new();
        for labels in names {
            for _ in 0..1 + self.rng.below(30) {
                let t = begin + self.rng.below(BLOCK_MS as u64) as i64;
                // What is scraped later must find its times free.
                let ahead = t >= now && labels.find("__name__") != Some("foreign");
                let free = !ahead && self.ledger.is_free(&labels, t);
                let v = self.rng.below(1 << 20) as f64;
                if free {
                    series.entry(labels.clone()).or_default().insert(t, v);
                }
            }
        }
        series
    }

    fn bring(&self, meta: BlockMeta, series: &Series) -> Result<(), StorageError> {
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let folder = Path::new(FOLDER);
        disk.create_dir_all(folder)?;
        let pairs = series.keys().flat_map(|l| l.iter().flat_map(|(n, v)| [n.to_string(), v.to_string()]));
        let symbols: BTreeSet<String> = pairs.collect();
        let chunks = series.iter().map(|(labels, samples)| {
            let (mut xor, mut data) = (XorAppender::new(), Vec::new());
            for (t, v) in samples {
                xor.append(&mut data, *t, *v).map_err(|e| StorageError::Other(e.to_string()))?;
            }
            xor.put_count(&mut data);
            let (mint_ms, maxt_ms) =
                (*samples.keys().min().unwrap_or(&0), *samples.keys().max().unwrap_or(&0));
            let data = Arc::from(data);
            Ok((labels.clone(), vec![RawChunk { mint_ms, maxt_ms, encoding: ChunkEncoding::Xor, data }]))
        });
        let written = write_block(Arc::clone(&disk), folder, meta, symbols.into_iter().map(Ok), chunks)?;
        let Some(meta) = written else { return Ok(()) };
        let dir = folder.join(meta.ulid.to_string());
        let source = BlockSource { disk: &*disk, dir: &dir, link: true, foreign: true };
        transfer_block(&source, &*disk, Path::new("/data")).map(|_| ())
    }
}
