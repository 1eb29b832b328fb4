//! The head as a source of blocks: symbols and series in the order that an index needs.
//!
//! Series are sorted by the ranks of their label pairs, four bytes a label, instead of by their strings:
//! a million series take some 60 MB for the time of a cut where their labels would take four times that.

use std::sync::Arc;

use model::Labels;
use storage::{RawChunk, StorageError};

use super::read::corrupt;
use super::{Head, LateCut, ReaderGuard, StaleCut};
use crate::compact::{ChunkBuilder, clip_chunk};

/// Pairs copied under one hold of the index: some 100 us, which a new series can wait.
const PAIRS_PER_HOLD: usize = 4096;

/// A copy of the index's strings, so that a cut of minutes does not hold the index.
struct Strings {
    text: String,
    names: Vec<Box<str>>,
    /// By place: name number, and where the value is in `text`.
    pairs: Vec<(u32, usize, u32)>,
    /// Places in the order of (name, value).
    order: Vec<u32>,
}

impl Strings {
    /// Copies the pairs of these numbers, which have their places here from then on.
    fn copy(head: &Head, used: &[u32]) -> Self {
        let (mut text, mut pairs) = (String::new(), Vec::with_capacity(used.len()));
        for part in used.chunks(PAIRS_PER_HOLD) {
            let index = head.index.read();
            for id in part {
                let (name, value) = index.pair_parts(*id).unwrap_or_default();
                pairs.push((name, text.len(), value.len() as u32));
                text.push_str(value);
            }
        }
        let names = head.index.read().names();
        let mut strings = Strings { text, names, pairs, order: Vec::new() };
        let mut order: Vec<u32> = (0..strings.pairs.len() as u32).collect();
        order.sort_unstable_by(|a, b| strings.pair(*a).cmp(&strings.pair(*b)));
        strings.order = order;
        strings
    }

    fn pair(&self, id: u32) -> (&str, &str) {
        let Some((name, at, len)) = self.pairs.get(id as usize) else { return ("", "") };
        let name = self.names.get(*name as usize).map_or("", |n| n);
        (name, self.text.get(*at..*at + *len as usize).unwrap_or_default())
    }

    /// Place of each pair in `order`.
    fn ranks(&self) -> Vec<u32> {
        let mut ranks = vec![0; self.order.len()];
        for (rank, id) in self.order.iter().enumerate() {
            if let Some(r) = ranks.get_mut(*id as usize) {
                *r = rank as u32;
            }
        }
        ranks
    }
}

/// Series of the head within [mint, maxt], sorted by labels. Truncation waits while it lives.
pub(crate) struct CutSource {
    head: Arc<Head>,
    guard: ReaderGuard,
    strings: Strings,
    /// Places of all series' pairs in `strings.order`.
    ranks: Vec<u32>,
    /// Number, and where its ranks are.
    series: Vec<(u64, usize, u16)>,
    mint: i64,
    maxt: i64,
    kind: Kind,
}

/// What of the head goes into a block.
#[derive(Clone)]
enum Kind {
    /// All that came in order.
    Whole,
    /// Late samples.
    Late(Arc<LateCut>),
    /// Series that ended.
    Ended(Arc<StaleCut>),
}

impl Head {
    /// What a block of [mint, maxt] is made of. Neither scrapes nor queries wait for it longer than for a
    /// page or some thousand strings.
    pub(crate) fn cut_source(self: &Arc<Self>, mint: i64, maxt: i64) -> CutSource {
        self.source(mint, maxt, Kind::Whole)
    }

    /// What blocks of late samples are made of.
    pub(crate) fn late_source(self: &Arc<Self>, cut: Arc<LateCut>) -> CutSource {
        let (mint, maxt) = cut.range;
        self.source(mint, maxt, Kind::Late(cut))
    }

    /// What blocks of series that ended are made of.
    pub(super) fn source_of_ended(self: &Arc<Self>, cut: Arc<StaleCut>) -> CutSource {
        let (mint, maxt) = cut.range;
        self.source(mint, maxt, Kind::Ended(cut))
    }

    fn source(self: &Arc<Self>, mint: i64, maxt: i64, kind: Kind) -> CutSource {
        // From the oldest time on: also pairs of series that it does not need must keep their numbers.
        let guard = {
            let _none_under_way = self.gc.lock();
            self.reader(i64::MIN)
        };
        let mut pairs: Vec<u32> = Vec::new();
        let mut series: Vec<(u64, usize, u16)> = Vec::new();
        for page in self.table.all() {
            let inner = page.lock();
            for number in inner.numbers(page.base) {
                let Some(slot) = inner.get(number) else { continue };
                let wanted = match &kind {
                    Kind::Late(cut) => cut.chunks.contains_key(&number),
                    Kind::Ended(cut) => cut.series.contains_key(&number),
                    Kind::Whole => {
                        let times = slot.min_time().zip(slot.max_time());
                        times.is_some_and(|(first, last)| first <= maxt && last >= mint)
                    }
                };
                if !wanted {
                    continue;
                }
                let own = inner.pairs(slot);
                series.push((number, pairs.len(), own.len() as u16));
                pairs.extend_from_slice(own);
            }
        }
        // Pairs are made before their series and stay while the reader above is known.
        // A part of the series has a part of the pairs; most of them go into a whole block anyway.
        let end = pairs.iter().max().map_or(0, |id| *id + 1);
        let whole = matches!(kind, Kind::Whole);
        let used: Vec<u32> = if whole {
            (0..end).collect()
        } else {
            let mut used = pairs.clone();
            used.sort_unstable();
            used.dedup();
            used
        };
        let strings = Strings::copy(self, &used);
        let rank_of = strings.ranks();
        for pair in &mut pairs {
            let place = if whole { Ok(*pair as usize) } else { used.binary_search(pair) };
            *pair = place.ok().and_then(|at| rank_of.get(at)).copied().unwrap_or(u32::MAX);
        }
        drop(used);
        let ranks = pairs;
        let key = |(_, from, len): &(u64, usize, u16)| {
            ranks.get(*from..*from + usize::from(*len)).unwrap_or_default()
        };
        series.sort_unstable_by(|a, b| key(a).cmp(key(b)));
        CutSource { head: Arc::clone(self), guard, strings, ranks, series, mint, maxt, kind }
    }
}

impl CutSource {
    /// Narrows it to [mint, maxt].
    pub(crate) fn set_range(&mut self, mint: i64, maxt: i64) {
        (self.mint, self.maxt) = (mint, maxt);
    }

    /// Label names and values, sorted; more than the series use, as upstream writes them.
    pub(crate) fn symbols(&self) -> impl Iterator<Item = String> + '_ {
        let s = &self.strings;
        // Values are sorted runs already, one a name, which the standard sort finds and merges.
        let mut all: Vec<&str> = Vec::with_capacity(s.order.len() + s.names.len());
        for id in &s.order {
            let (name, value) = s.pair(*id);
            // The empty one is that of a pair that was given back.
            if !name.is_empty() && !value.is_empty() {
                all.push(value);
            }
        }
        let mut names: Vec<&str> =
            s.order.iter().map(|id| s.pair(*id)).filter(|p| !p.1.is_empty()).map(|p| p.0).collect();
        names.dedup();
        all.extend(names);
        all.sort();
        all.dedup();
        all.into_iter().map(str::to_string)
    }

    fn labels(&self, from: usize, len: u16) -> Labels {
        let ranks = self.ranks.get(from..from + usize::from(len)).unwrap_or_default();
        let ids = ranks.iter().filter_map(|r| self.strings.order.get(*r as usize));
        Labels::from_sorted(ids.map(|id| self.strings.pair(*id)))
    }

    /// Series with their chunks, clipped to the range.
    pub(crate) fn series(&self) -> impl Iterator<Item = Result<(Labels, Vec<RawChunk>), StorageError>> + '_ {
        self.series.iter().filter_map(|(number, from, len)| match self.chunks(*number) {
            Ok(chunks) if chunks.is_empty() => None,
            Ok(chunks) => Some(Ok((self.labels(*from, *len), chunks))),
            Err(e) => Some(Err(e)),
        })
    }

    fn chunks(&self, number: u64) -> Result<Vec<RawChunk>, StorageError> {
        if let Kind::Late(cut) = &self.kind {
            // Some thirty samples a chunk, overlapping: written anew.
            let samples = self.head.late_samples(cut, number, self.mint, self.maxt)?;
            let mut builder = ChunkBuilder::default();
            builder.push_all(&samples).map_err(|e| corrupt(number, &e))?;
            return Ok(builder.finish());
        }
        let mut clipped = Vec::new();
        for chunk in self.head.raw_chunks(number, Some(self.guard.snapshot()), self.mint, self.maxt)? {
            clip_chunk(chunk, self.mint, self.maxt, &[], &mut clipped).map_err(|e| corrupt(number, &e))?;
        }
        Ok(clipped)
    }
}
