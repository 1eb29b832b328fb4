//! The head as a source of blocks: symbols and series in the order that an index needs.
//!
//! Series are sorted by the ranks of their label pairs, four bytes a label, instead of by their strings:
//! a million series take some 60 MB for the time of a cut where their labels would take four times that.

use std::collections::BTreeSet;
use std::sync::Arc;

use model::Labels;
use storage::{RawChunk, StorageError};

use super::Head;
use crate::compact::clip_chunk;

/// Series of the head within [mint, maxt], sorted by labels.
pub(crate) struct CutSource {
    head: Arc<Head>,
    /// Number, and where its ranks are.
    series: Vec<(u64, u32, u16)>,
    mint: i64,
    maxt: i64,
}

impl Head {
    /// What a block of [mint, maxt] is made of. The caller keeps truncation away meanwhile.
    pub(crate) fn cut_source(self: &Arc<Self>, mint: i64, maxt: i64) -> CutSource {
        let index = self.index.read();
        let rank_of = index.pair_ranks();
        let mut ranks: Vec<u32> = Vec::new();
        let mut series: Vec<(u64, u32, u16)> = Vec::new();
        for page in self.table.all() {
            let inner = page.lock();
            for number in inner.numbers(page.base) {
                let Some(slot) = inner.get(number) else { continue };
                let (Some(first), Some(last)) = (slot.min_time(), slot.max_time()) else { continue };
                if first > maxt || last < mint {
                    continue;
                }
                let pairs = inner.pairs(slot);
                series.push((number, ranks.len() as u32, pairs.len() as u16));
                ranks.extend(pairs.iter().map(|p| rank_of.get(*p as usize).copied().unwrap_or(u32::MAX)));
            }
        }
        drop(index);
        let key = |(_, from, len): &(u64, u32, u16)| {
            let from = *from as usize;
            ranks.get(from..from + usize::from(*len)).unwrap_or_default()
        };
        series.sort_unstable_by(|a, b| key(a).cmp(key(b)));
        CutSource { head: Arc::clone(self), series, mint, maxt }
    }
}

impl CutSource {
    /// Label names and values, sorted; more than the series use, as upstream writes them.
    pub(crate) fn symbols(&self) -> BTreeSet<String> {
        let mut all = BTreeSet::new();
        self.head.index.read().each_pair(|name, value, _| {
            for s in [name, value] {
                if !all.contains(s) {
                    all.insert(s.to_string());
                }
            }
        });
        all
    }

    /// Series with their chunks, clipped to the range.
    pub(crate) fn series(&self) -> impl Iterator<Item = Result<(Labels, Vec<RawChunk>), StorageError>> + '_ {
        self.series.iter().filter_map(|(number, _, _)| {
            let labels = self.head.labels_of(*number)?;
            match self.chunks(*number) {
                Ok(chunks) if chunks.is_empty() => None,
                Ok(chunks) => Some(Ok((labels, chunks))),
                Err(e) => Some(Err(e)),
            }
        })
    }

    fn chunks(&self, number: u64) -> Result<Vec<RawChunk>, StorageError> {
        let mut clipped = Vec::new();
        for chunk in self.head.raw_chunks(number, self.mint, self.maxt)? {
            clip_chunk(chunk, self.mint, self.maxt, &[], &mut clipped).map_err(|e| {
                StorageError::Corrupt { place: format!("head chunk of series {number}"), what: e.to_string() }
            })?;
        }
        Ok(clipped)
    }
}
