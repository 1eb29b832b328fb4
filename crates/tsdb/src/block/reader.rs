//! An open block.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::{Labels, Matcher};
use parking_lot::RwLock;
use storage::{QueryContext, StorageError};

use super::damage::{BlockDamage, DamageRecord};
use super::querier::BlockQuerier;
use super::{BlockMeta, CHUNKS_DIR, INDEX_FILE, META_FILE};
use crate::chunks::{ChunkMeta, ChunkReader};
use crate::disk::Disk;
use crate::index::{IndexReader, PostingSource, SeriesCursor, SymbolIter, postings_for_matchers};
use crate::tombstones::{self, Interval, Tombstones};

/// An open block. Cheap to clone; files close with the last clone and the last series read from it.
#[derive(Clone, Debug)]
pub struct Block {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    pub(super) state: RwLock<State>,
    pub(super) index: IndexReader,
    pub(super) chunks: ChunkReader,
    size_bytes: u64,
    pub(super) damage: DamageRecord,
}

/// What changes: replaced as a whole, so that a query keeps what it began with.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) meta: Arc<BlockMeta>,
    pub(super) tombstones: Arc<Tombstones>,
}

impl Block {
    /// Opens the block in `dir`: reads description, tombstones and the index's tables, and checks their
    /// sums. Series and chunks are checked when they are read.
    ///
    /// # Errors
    /// A file that is absent, cut, of another kind or sum; the text names it. Damaged headers and gaps of
    /// the segment files are noted ([`Block::damage`]).
    pub fn open(disk: Arc<dyn Disk>, dir: &Path) -> Result<Self, StorageError> {
        let meta = BlockMeta::read(&*disk, dir)?;
        let index = IndexReader::open(&*disk, &dir.join(INDEX_FILE))?;
        let (chunks, faults) = ChunkReader::open_damaged(&*disk, &dir.join(CHUNKS_DIR))?;
        let tombstones = Tombstones::read(&*disk, dir)?;
        let mut size_bytes = index.size() + chunks.size() + disk.size(&dir.join(META_FILE))?;
        if let Ok(size) = disk.size(&dir.join(tombstones::FILE_NAME)) {
            size_bytes += size;
        }
        let damage = DamageRecord::default();
        faults.iter().for_each(|e| _ = damage.note(meta.mint_ms, meta.maxt_ms, e));
        let state = RwLock::new(State { meta: Arc::new(meta), tombstones: Arc::new(tombstones) });
        let dir = dir.to_path_buf();
        Ok(Block { inner: Arc::new(Inner { disk, dir, state, index, chunks, size_bytes, damage }) })
    }

    /// Its description.
    #[must_use]
    pub fn meta(&self) -> Arc<BlockMeta> {
        Arc::clone(&self.inner.state.read().meta)
    }
    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }
    /// Bytes on disk.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.inner.size_bytes
    }
    /// Its index.
    #[must_use]
    pub fn index(&self) -> &IndexReader {
        &self.inner.index
    }
    /// Its deleted ranges.
    #[must_use]
    pub fn tombstones(&self) -> Arc<Tombstones> {
        Arc::clone(&self.inner.state.read().tombstones)
    }

    /// What was found damaged since it was opened.
    #[must_use]
    pub fn damage(&self) -> Option<BlockDamage> {
        self.inner.damage.get()
    }

    /// Takes note of damage that someone met outside of a query.
    pub(crate) fn note_damage(&self, mint_ms: i64, maxt_ms: i64, error: &StorageError) {
        self.inner.damage.note(mint_ms, maxt_ms, error);
    }

    /// Reads series and their chunks from the `from`-th series on and checks all sums, until about
    /// `bytes_max` are read. Gives the place to go on and the bytes read; no place at the end. Damage is
    /// noted.
    ///
    /// # Errors
    /// The device failed; the index cannot be read at all.
    pub fn verify(&self, from: usize, bytes_max: u64) -> Result<(Option<usize>, u64), StorageError> {
        let (mut at, mut bytes) = (from, 0_u64);
        if from == 0 {
            bytes += self.verify_postings()?;
        }
        let mut buf = Vec::new();
        let meta = self.meta();
        for series in self.series()?.skip(from) {
            if bytes >= bytes_max {
                return Ok((Some(at), bytes));
            }
            at += 1;
            match series {
                Ok(series) => self.inner.chunks.read_each(&series.chunks, None, &mut buf, |i, chunk| {
                    let (mint, maxt) =
                        series.chunks.get(i).map_or((meta.mint_ms, meta.maxt_ms), |c| (c.mint_ms, c.maxt_ms));
                    match chunk {
                        Ok(chunk) => bytes += chunk.data.len() as u64,
                        Err(e) => self.note_damage(mint, maxt, &e),
                    }
                    Ok(())
                })?,
                Err(e @ StorageError::Corrupt { .. }) => self.note_damage(meta.mint_ms, meta.maxt_ms, &e),
                Err(e) => return Err(e),
            }
            bytes += 64;
        }
        Ok((None, bytes))
    }

    /// A view on [mint_ms, maxt_ms], both included.
    #[must_use]
    pub fn querier(&self, mint_ms: i64, maxt_ms: i64) -> BlockQuerier {
        BlockQuerier::new(self, mint_ms, maxt_ms)
    }

    /// All symbols in order.
    ///
    /// # Errors
    /// The index cannot be read any more.
    pub fn symbols(&self) -> Result<SymbolIter, StorageError> {
        self.inner.index.symbols()
    }

    /// All series in label order, with places of chunks and deleted ranges.
    ///
    /// # Errors
    /// The index cannot be read any more.
    pub fn series(&self) -> Result<BlockSeriesIter<'_>, StorageError> {
        let ids = self.series_ids()?;
        Ok(BlockSeriesIter {
            block: self,
            cursor: self.inner.index.cursor(),
            ids: ids.into_iter(),
            tombstones: self.tombstones(),
            chunks: Vec::new(),
        })
    }

    /// Ids of all series: from the list of all, or where that is damaged from the lists of single labels.
    fn series_ids(&self) -> Result<Vec<u32>, StorageError> {
        let index = &self.inner.index;
        let damaged = match index.all() {
            Ok(ids) => return Ok(ids.into_owned()),
            Err(e @ StorageError::Corrupt { .. }) => e,
            Err(e) => return Err(e),
        };
        let mut ids = BTreeSet::new();
        for name in index.label_names() {
            index.each_value(&name, &mut |_, list| {
                // Each series has several labels: those of a damaged list are in others.
                if let Ok(list) = list() {
                    ids.extend(list.iter().copied());
                }
                Ok(true)
            })?;
        }
        if ids.is_empty() { Err(damaged) } else { Ok(ids.into_iter().collect()) }
    }

    /// Checks all lists of the index; gives their bytes.
    fn verify_postings(&self) -> Result<u64, StorageError> {
        let index = &self.inner.index;
        let meta = self.meta();
        let mut bytes = 0;
        let mut check = |list: Result<Cow<'_, [u32]>, StorageError>| match list {
            Ok(list) => {
                bytes += list.len() as u64 * 4;
                Ok(true)
            }
            Err(e @ StorageError::Corrupt { .. }) => {
                self.note_damage(meta.mint_ms, meta.maxt_ms, &e);
                Ok(true)
            }
            Err(e) => Err(e),
        };
        check(index.all())?;
        for name in index.label_names() {
            index.each_value(&name, &mut |_, list| check(list()))?;
        }
        Ok(bytes)
    }

    /// Chunks of segment files, for those who copy them.
    #[must_use]
    pub fn chunk_reader(&self) -> &ChunkReader {
        &self.inner.chunks
    }

    /// Deletes samples within [mint_ms, maxt_ms] of series that match, by tombstones: on disk when this
    /// returns. Queries that began before go on seeing them.
    ///
    /// # Errors
    /// Corrupt index, no room; nothing is deleted then.
    pub fn delete(
        &self,
        ctx: &QueryContext,
        mint_ms: i64,
        maxt_ms: i64,
        matchers: &[Matcher],
    ) -> Result<(), StorageError> {
        let ids = postings_for_matchers(&self.inner.index, ctx, matchers)?.into_owned();
        let (mut cursor, mut chunks) = (self.inner.index.cursor(), Vec::<ChunkMeta>::new());
        let mut state = self.inner.state.write();
        let mut stones = (*state.tombstones).clone();
        let before = stones.len();
        for id in ids {
            cursor.series(id, &mut chunks)?;
            let touched: Vec<&ChunkMeta> = chunks.iter().filter(|c| c.overlaps(mint_ms, maxt_ms)).collect();
            if let (Some(first), Some(last)) = (touched.first(), touched.last()) {
                // No further than the data: the file is read by others too.
                let range =
                    Interval { mint_ms: mint_ms.max(first.mint_ms), maxt_ms: maxt_ms.min(last.maxt_ms) };
                stones.add(u64::from(id), range);
            }
        }
        if stones.len() == before && stones == *state.tombstones {
            return Ok(());
        }
        stones.write(&*self.inner.disk, &self.inner.dir)?;
        let mut meta = (*state.meta).clone();
        meta.stats.num_tombstones = stones.len() as u64;
        meta.write(&*self.inner.disk, &self.inner.dir)?;
        *state = State { meta: Arc::new(meta), tombstones: Arc::new(stones) };
        Ok(())
    }

    /// Sets a hint here; the next change of the description brings it to disk.
    pub(crate) fn hint(&self, hint: &str) {
        let mut state = self.inner.state.write();
        let mut meta = (*state.meta).clone();
        meta.compaction.set_hint(hint);
        state.meta = Arc::new(meta);
    }

    /// Changes the description, on disk and here (compaction failed, block deletable).
    ///
    /// # Errors
    /// No room, device failed.
    pub fn update_meta(&self, change: impl FnOnce(&mut BlockMeta)) -> Result<(), StorageError> {
        let mut state = self.inner.state.write();
        let mut meta = (*state.meta).clone();
        change(&mut meta);
        meta.write(&*self.inner.disk, &self.inner.dir)?;
        state.meta = Arc::new(meta);
        Ok(())
    }
}

/// A series as it is stored.
#[derive(Clone, Debug)]
pub struct StoredSeries {
    /// Its id within the block.
    pub id: u32,
    /// Its labels.
    pub labels: Labels,
    /// Its chunks in order.
    pub chunks: Vec<ChunkMeta>,
    /// Its deleted ranges.
    pub deleted: Vec<Interval>,
}

/// All series of a block.
#[derive(Debug)]
pub struct BlockSeriesIter<'a> {
    block: &'a Block,
    cursor: SeriesCursor<'a>,
    ids: std::vec::IntoIter<u32>,
    tombstones: Arc<Tombstones>,
    chunks: Vec<ChunkMeta>,
}

impl BlockSeriesIter<'_> {
    /// The block.
    #[must_use]
    pub fn block(&self) -> &Block {
        self.block
    }
}

impl Iterator for BlockSeriesIter<'_> {
    type Item = Result<StoredSeries, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        let id = self.ids.next()?;
        let deleted = self.tombstones.of(u64::from(id)).to_vec();
        let labels = match self.cursor.series(id, &mut self.chunks) {
            Ok(labels) => labels,
            Err(e) => return Some(Err(e)),
        };
        Some(Ok(StoredSeries { id, labels, chunks: self.chunks.clone(), deleted }))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.ids.size_hint()
    }
}
