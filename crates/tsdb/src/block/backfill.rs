//! Samples of the past, in any order, into blocks: what `create-blocks-from` makes (upstream:
//! `tsdb/blockwriter.go`, which feeds a head and so wants them in order).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use hashbrown::HashMap;
use model::Labels;
use storage::{ChunkEncoding, RawChunk, StorageError};
use ulid::Ulid;

use super::{BlockMeta, write_block};
use crate::chunkenc::{SAMPLES_PER_CHUNK, XorAppender};
use crate::disk::Disk;
use crate::head::{XOR_BYTES_BEFORE_APPEND_MAX, chunk_end};

/// Samples of one series in one block, in the order of their coming.
type Column = Vec<(i64, f64)>;

/// Collects floats and writes one block for each range of time that has any. All is held in memory, 16
/// bytes a sample: the caller writes it out before that is too much.
#[derive(Debug)]
pub struct Backfill {
    block_ms: i64,
    ids: HashMap<Labels, u32>,
    labels: Vec<Labels>,
    ranges: BTreeMap<i64, HashMap<u32, Column>>,
    samples: u64,
}

impl Backfill {
    /// With blocks of `block_ms` milliseconds, aligned to multiples of that.
    #[must_use]
    pub fn new(block_ms: i64) -> Self {
        Backfill {
            block_ms: block_ms.max(1),
            ids: HashMap::new(),
            labels: Vec::new(),
            ranges: BTreeMap::new(),
            samples: 0,
        }
    }

    /// Start of the block that a time falls into.
    #[must_use]
    pub fn range_of(&self, t_ms: i64) -> i64 {
        t_ms.div_euclid(self.block_ms).saturating_mul(self.block_ms)
    }

    /// Takes a sample. Of several at one time of a series the first stays.
    pub fn add(&mut self, labels: &Labels, t_ms: i64, v: f64) {
        let id = match self.ids.get(labels) {
            Some(id) => *id,
            None => {
                let id = self.labels.len() as u32;
                self.ids.insert(labels.clone(), id);
                self.labels.push(labels.clone());
                id
            }
        };
        let range = self.range_of(t_ms);
        self.ranges.entry(range).or_default().entry(id).or_default().push((t_ms, v));
        self.samples += 1;
    }

    /// Samples held.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// Writes all blocks into `dir` and forgets the samples. Blocks written before an error stay: each is
    /// whole.
    ///
    /// # Errors
    /// No room, device failed.
    pub fn write(
        &mut self,
        disk: &Arc<dyn Disk>,
        dir: &Path,
        mut each: impl FnMut(&BlockMeta),
    ) -> Result<(), StorageError> {
        let order: Vec<u32> = {
            let mut ids: Vec<u32> = (0..self.labels.len() as u32).collect();
            ids.sort_by(|a, b| self.labels.get(*a as usize).cmp(&self.labels.get(*b as usize)));
            ids
        };
        self.samples = 0;
        while let Some((_, mut columns)) = self.ranges.pop_first() {
            let (mut mint, mut maxt) = (i64::MAX, i64::MIN);
            let mut symbols: BTreeSet<String> = BTreeSet::new();
            for (id, column) in &mut columns {
                // Stable: of equal times the first stays.
                if !column.is_sorted_by(|a, b| a.0 < b.0) {
                    column.sort_by_key(|(t, _)| *t);
                    column.dedup_by_key(|(t, _)| *t);
                }
                mint = column.first().map_or(mint, |(t, _)| mint.min(*t));
                maxt = column.last().map_or(maxt, |(t, _)| maxt.max(*t));
                for (name, value) in self.labels.get(*id as usize).into_iter().flatten() {
                    for symbol in [name, value] {
                        if !symbols.contains(symbol) {
                            symbols.insert(symbol.to_string());
                        }
                    }
                }
            }
            let series = order.iter().filter_map(|id| {
                let column = columns.get(id)?;
                let labels = self.labels.get(*id as usize)?.clone();
                Some(Ok((labels, cut_floats(column, self.block_ms.saturating_mul(2)))))
            });
            let meta = BlockMeta::level_one(Ulid::generate(), mint, maxt.saturating_add(1));
            let written = write_block(Arc::clone(disk), dir, meta, symbols.into_iter().map(Ok), series)?;
            written.iter().for_each(&mut each);
        }
        self.ids.clear();
        self.labels.clear();
        Ok(())
    }
}

/// Chunks as a head of that range would cut them, so that tools see what they know.
fn cut_floats(samples: &[(i64, f64)], range_ms: i64) -> Vec<RawChunk> {
    let mut done = Vec::new();
    let mut close = |app: &XorAppender, mut bytes: Vec<u8>, mint_ms: i64, maxt_ms: i64| {
        app.put_count(&mut bytes);
        if !app.is_empty() {
            done.push(RawChunk { mint_ms, maxt_ms, encoding: ChunkEncoding::Xor, data: bytes.into() });
        }
    };
    let (mut app, mut bytes) = (XorAppender::new(), Vec::<u8>::new());
    let (mut first, mut last, mut next_at) = (0, 0, 0);
    for (t, v) in samples {
        let n = usize::from(app.len());
        if n == SAMPLES_PER_CHUNK / 4 {
            next_at = chunk_end(first, last, next_at, 4.0);
        }
        let full = n >= SAMPLES_PER_CHUNK * 2 || bytes.len() > XOR_BYTES_BEFORE_APPEND_MAX;
        if n == 0 || *t >= next_at || full {
            close(&app, std::mem::take(&mut bytes), first, last);
            app = XorAppender::new();
            first = *t;
            next_at = t.div_euclid(range_ms).saturating_mul(range_ms).saturating_add(range_ms);
        }
        // Fails at 65,535 samples only.
        if app.append(&mut bytes, *t, *v).is_ok() {
            last = *t;
        }
    }
    close(&app, bytes, first, last);
    done
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block::Block;
    use crate::disk::MemDisk;

    #[test]
    fn any_order_gives_sorted_blocks() {
        let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
        disk.create_dir_all("/out".as_ref()).unwrap();
        let hour = 3_600_000;
        let mut fill = Backfill::new(2 * hour);
        let labels = |i: i64| Labels::from_pairs([("__name__", "m"), ("i", &i.to_string())]);
        for t in (0..300).rev() {
            for i in 0..3 {
                fill.add(&labels(i), t * 60_000 - hour, (t * i) as f64);
            }
        }
        fill.add(&labels(0), 0, 99.0);
        let mut metas = Vec::new();
        fill.write(&disk, "/out".as_ref(), |m| metas.push(m.clone())).unwrap();
        let ranges: Vec<(i64, i64, u64)> =
            metas.iter().map(|m| (m.mint_ms, m.maxt_ms, m.stats.num_samples)).collect();
        assert_eq!(
            ranges,
            [
                (-hour, 1 - 60_000, 180),
                (0, 2 * hour - 60_000 + 1, 360),
                (2 * hour, 4 * hour - 60_000 + 1, 360)
            ]
        );
        let dir = Path::new("/out").join(metas[1].ulid.to_string());
        let block = Block::open(disk, &dir).unwrap();
        let mut read = storage::SampleBuf::default();
        let series = block.series().unwrap().nth(1).unwrap().unwrap();
        block
            .chunk_reader()
            .read(&series.chunks, None, &mut Vec::new(), |_, c| {
                crate::chunkenc::decode_all(c.encoding, c.data, &mut read).unwrap();
                Ok(())
            })
            .unwrap();
        assert_eq!((read.times.len(), read.times[1], read.values[1]), (120, 60_000, 61.0));
    }
}
