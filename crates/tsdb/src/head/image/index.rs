//! The index in an image: strings and lists as they are in memory, hash tables as the entries they hold.

use std::sync::Arc;

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use model::{Exemplar, Labels};

use super::asleep::Sleeper;
use super::frames::{FRAME_BYTES, FrameWriter, Kind, Unusable};
use super::page::Tally;
use crate::disk::DiskResult;
use crate::head::Head;
use crate::head::index::{HeadIndex, Name, Pair, SERIES_MAX, SHARDS, Shard};
use crate::head::postings::Postings;
use crate::head::table::Page;
use crate::wal::bytes::{Bytes, put_str, put_u64, put_uvarint};
use crate::wal::record::{self, Record};

/// Pairs and entries copied under one hold of the index: some 100 us, which a new series can wait.
const PAIRS_PER_HOLD: usize = 1024;

/// Writes the index as it is for series up to `last`. Nothing is taken out of it meanwhile.
pub(super) fn put(head: &Head, w: &mut FrameWriter, last: u64, pace: &mut dyn FnMut()) -> DiskResult<()> {
    let (names, pairs) = {
        let index = head.index.read();
        (index.names(), index.pairs.len())
    };
    let out = w.begin(Kind::Names);
    names.iter().for_each(|n| put_str(out, n));
    w.end()?;

    // Frames say which pair they begin with, as threads read them in any order.
    for from in (0..pairs).step_by(PAIRS_PER_HOLD) {
        if !w.is_begun() {
            put_uvarint(w.begin(Kind::Pairs), from as u64);
        }
        let out = w.buf();
        {
            let index = head.index.read();
            for pair in index.pairs.iter().take(pairs).skip(from).take(PAIRS_PER_HOLD) {
                let (bytes, newest, len) = pair.postings.up_to(last);
                put_uvarint(out, u64::from(len));
                // Free, or of newer series only.
                if len > 0 {
                    put_uvarint(out, u64::from(pair.name));
                    put_str(out, &pair.value);
                    put_list(out, bytes, newest);
                }
            }
        }
        if w.buf().len() >= FRAME_BYTES {
            w.end()?;
            pace();
        }
    }
    if w.is_begun() {
        w.end()?;
    }
    {
        let out = w.begin(Kind::All);
        let index = head.index.read();
        let (bytes, newest, len) = index.all.up_to(last);
        put_uvarint(out, u64::from(len));
        put_list(out, bytes, newest);
    }
    w.end()?;
    for shard in 0..SHARDS {
        let out = w.begin(Kind::Hashes);
        out.push(shard as u8);
        {
            let index = head.index.read();
            let entries = index.by_hash.get(shard).into_iter().flat_map(|s| s.table());
            entries.filter(|e| **e % SERIES_MAX <= last).for_each(|e| put_u64(out, *e));
        }
        w.end()?;
    }
    pace();
    Ok(())
}

fn put_list(out: &mut Vec<u8>, bytes: &[u8], newest: u64) {
    put_uvarint(out, newest);
    put_uvarint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn read_list(b: &mut Bytes<'_>, len: u64) -> Result<Postings, Unusable> {
    let newest = b.uvarint()?;
    Ok(Postings::from_encoded(b.str_bytes()?, newest, u32::try_from(len)?))
}

fn read_str(b: &mut Bytes<'_>) -> Result<Box<str>, Unusable> {
    Ok(std::str::from_utf8(b.str_bytes()?)?.into())
}

/// What one thread read of an image.
#[derive(Default)]
pub(super) struct Pieces {
    pub(super) awake: Vec<Page>,
    pub(super) asleep: Vec<Sleeper>,
    pub(super) tally: Tally,
    names: Vec<Box<str>>,
    pairs: Vec<(u64, Vec<Pair>)>,
    all: Option<Postings>,
    shards: Vec<(u8, Vec<u64>)>,
    pub(super) records: Vec<Vec<u8>>,
    pub(super) expiry: Vec<(u64, i64)>,
    pub(super) renamed: Vec<(u64, u64)>,
    pub(super) exemplars: Vec<(Labels, Exemplar)>,
}

impl Pieces {
    /// Takes a frame.
    pub(super) fn take(
        &mut self,
        kind: Kind,
        frame: &Arc<Vec<u8>>,
        sleep: (i64, bool),
    ) -> Result<(), Unusable> {
        let bytes = frame.as_slice();
        let mut b = Bytes(bytes);
        match kind {
            Kind::Pages => {
                let pages = (&mut self.awake, &mut self.asleep);
                super::page::read(frame, sleep, &mut self.tally, pages)?;
            }
            Kind::Names => {
                while !b.is_empty() {
                    self.names.push(read_str(&mut b)?);
                }
            }
            Kind::Pairs => {
                let first = b.uvarint()?;
                let mut pairs = Vec::new();
                while !b.is_empty() {
                    let len = b.uvarint()?;
                    if len == 0 {
                        pairs.push(Pair::default());
                        continue;
                    }
                    let name = u32::try_from(b.uvarint()?)?;
                    let value = read_str(&mut b)?;
                    pairs.push(Pair { name, value, postings: read_list(&mut b, len)? });
                }
                self.pairs.push((first, pairs));
            }
            Kind::All => {
                let len = b.uvarint()?;
                self.all = Some(read_list(&mut b, len)?);
            }
            Kind::Hashes => {
                let shard = b.byte()?;
                let (entries, rest) = b.0.as_chunks::<8>();
                if !rest.is_empty() {
                    return Err(Unusable("a hash table that ends within an entry".to_string()));
                }
                self.shards.push((shard, entries.iter().map(|e| u64::from_be_bytes(*e)).collect()));
            }
            Kind::Record => self.records.push(bytes.to_vec()),
            Kind::Expiry => {
                while !b.is_empty() {
                    self.expiry.push((b.uvarint()?, b.varint()?));
                }
            }
            Kind::Renamed => {
                while !b.is_empty() {
                    self.renamed.push((b.uvarint()?, b.uvarint()?));
                }
            }
            Kind::GoneExemplars => self.gone_exemplars(&mut b)?,
            Kind::End => return Err(Unusable("it ends twice".to_string())),
        }
        Ok(())
    }

    fn gone_exemplars(&mut self, b: &mut Bytes<'_>) -> Result<(), Unusable> {
        let both = (record::decode(b.str_bytes()?)?, record::decode(b.str_bytes()?)?);
        let (Record::Series(series), Record::Exemplars(exemplars)) = both else {
            return Err(Unusable("exemplars of another kind".to_string()));
        };
        for e in exemplars {
            let Some(of) = usize::try_from(e.series).ok().and_then(|n| series.get(n)) else {
                return Err(Unusable("an exemplar's series is missing".to_string()));
            };
            let own =
                Exemplar { labels: e.labels, value: e.value, timestamp_ms: e.t_ms, has_timestamp: true };
            self.exemplars.push((of.labels.clone(), own));
        }
        Ok(())
    }

    /// Adds what another thread read.
    pub(super) fn add(&mut self, mut other: Pieces) {
        self.awake.append(&mut other.awake);
        self.asleep.append(&mut other.asleep);
        self.tally.add(&other.tally);
        self.names.append(&mut other.names);
        self.pairs.append(&mut other.pairs);
        self.all = self.all.take().or(other.all);
        self.shards.append(&mut other.shards);
        self.records.append(&mut other.records);
        self.expiry.append(&mut other.expiry);
        self.renamed.append(&mut other.renamed);
        self.exemplars.append(&mut other.exemplars);
    }

    /// Puts the index together.
    pub(super) fn index(&mut self, last: u64) -> Result<HeadIndex, Unusable> {
        let mut index = HeadIndex::new();
        index.last = last;
        index.all = self.all.take().unwrap_or_default();
        for name in std::mem::take(&mut self.names) {
            index.names.push(Name { name, values: HashTable::new() });
        }
        let names = &index.names;
        let hash = |id: &u32| names.get(*id as usize).map_or(0, |n| xxh3_64(n.name.as_bytes()));
        for id in 0..names.len() as u32 {
            index.name_ids.insert_unique(hash(&id), id, hash);
        }
        self.pairs.sort_by_key(|(first, _)| *first);
        for (first, mut pairs) in std::mem::take(&mut self.pairs) {
            if first != index.pairs.len() as u64 {
                return Err(Unusable("pairs are missing".to_string()));
            }
            index.pairs.append(&mut pairs);
        }
        let pairs = &index.pairs;
        let hash = |id: &u32| pairs.get(*id as usize).map_or(0, |p| xxh3_64(p.value.as_bytes()));
        for (id, pair) in pairs.iter().enumerate() {
            let id = u32::try_from(id)?;
            if pair.postings.len() == 0 {
                index.free.push(id);
                continue;
            }
            let Some(name) = index.names.get_mut(pair.name as usize) else {
                return Err(Unusable("a name is missing".to_string()));
            };
            name.values.insert_unique(hash(&id), id, hash);
        }
        for (shard, entries) in std::mem::take(&mut self.shards) {
            match index.by_hash.get_mut(usize::from(shard)) {
                Some(own) => *own = Shard::asleep(entries),
                None => return Err(Unusable("a hash table too many".to_string())),
            }
        }
        let entries: usize = index.by_hash.iter().map(Shard::len).sum();
        if entries as u64 != self.tally.series || index.len() != self.tally.series {
            return Err(Unusable("lists and pages have different series".to_string()));
        }
        Ok(index)
    }
}
