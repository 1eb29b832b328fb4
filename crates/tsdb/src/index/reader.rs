//! Reads an index with positioned reads. In memory stay the label names, every 32nd value of each with its
//! place in the postings table, and every 32nd symbol's offset (version 1, whose tables are not sorted: all
//! values).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use hashbrown::HashMap;
use model::labels::STRING_BYTES_MAX;
use model::{Labels, Matcher};
use storage::StorageError;

use super::codec::{Decoder, corrupt};
use super::matching::PostingSource;
use super::postings::List;
use super::section::Section;
use super::symbols::{Page, SymbolIter, Symbols};
use super::{HEADER_BYTES, MAGIC, SERIES_ALIGN, SPARSE_EVERY, TOC_BYTES, Toc};
use crate::chunks::{ChunkMeta, ChunkRef};
use crate::disk::{Disk, ReadFile};

type Result<T> = std::result::Result<T, StorageError>;

/// An open index.
#[derive(Debug)]
pub struct IndexReader {
    file: Arc<dyn ReadFile>,
    len: u64,
    version: u8,
    toc: Toc,
    symbols: Symbols,
    /// Label names by symbol: half of all look-ups, and few.
    name_symbols: HashMap<u32, Box<str>>,
    tables: Tables,
}

#[derive(Debug)]
enum Tables {
    /// Offset of the postings of each value.
    V1(BTreeMap<Box<str>, BTreeMap<Box<str>, u64>>),
    V2(BTreeMap<Box<str>, Sparse>),
}

/// The values of one name in the postings table.
#[derive(Debug, Default)]
struct Sparse {
    /// Every 32nd value, the first included, with the offset of its entry.
    values: Vec<(Box<str>, u64)>,
    last: Box<str>,
    /// Offset behind the last entry.
    end: u64,
    count: u64,
}

impl IndexReader {
    /// Opens an index file and reads its tables once, checking their sums.
    ///
    /// # Errors
    /// Absent, cut, of another kind, version or sum.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Self> {
        let file = crate::disk::open_around(disk, path)?;
        let len = file.len()?;
        if len < HEADER_BYTES + TOC_BYTES {
            return Err(corrupt(path, len, "index is shorter than its header and table of contents"));
        }
        let mut header = [0; HEADER_BYTES as usize];
        file.read_exact_at(&mut header, 0)?;
        let [m0, m1, m2, m3, version] = header;
        if u32::from_be_bytes([m0, m1, m2, m3]) != MAGIC {
            return Err(corrupt(path, 0, "not an index (wrong magic number)"));
        }
        if !(1..=2).contains(&version) {
            return Err(corrupt(path, 4, format!("unknown index version {version}")));
        }
        let toc = read_toc(&*file, len)?;
        // Symbols of label names are found on the way through the table; version 1 names them by offset.
        let mut refs_by_name: HashMap<Box<[u8]>, u32> = HashMap::new();
        let tables = read_tables(&file, len, version, toc.postings_table)?;
        let names: Vec<&str> = match &tables {
            Tables::V1(t) => t.keys().map(|n| &**n).collect(),
            Tables::V2(t) => t.keys().map(|n| &**n).collect(),
        };
        for name in names {
            refs_by_name.insert(name.as_bytes().into(), u32::MAX);
        }
        let mut name_symbols = HashMap::new();
        let symbols = Symbols::open(&file, len, version, toc.symbols, |i, at, text| {
            if refs_by_name.contains_key(text) {
                let id = if version == 1 { u32::try_from(at).unwrap_or(u32::MAX) } else { i };
                name_symbols.insert(id, String::from_utf8_lossy(text).into());
            }
        })?;
        Ok(IndexReader { file, len, version, toc, symbols, name_symbols, tables })
    }

    /// Bytes of the file.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.len
    }
    /// Format version, 1 or 2.
    #[must_use]
    pub fn version(&self) -> u8 {
        self.version
    }
    /// Bytes of memory for the sparse symbol table (upstream's `prometheus_tsdb_symbol_table_size_bytes`).
    #[must_use]
    pub fn symbol_table_bytes(&self) -> u64 {
        self.symbols.table_bytes()
    }

    /// All symbols in order.
    ///
    /// # Errors
    /// The table cannot be read any more.
    pub fn symbols(&self) -> Result<SymbolIter> {
        self.symbols.iter(self.len)
    }

    /// Sorted label names.
    #[must_use]
    pub fn label_names(&self) -> Vec<String> {
        let named = |n: &str| (!n.is_empty()).then(|| n.to_string());
        match &self.tables {
            Tables::V1(t) => t.keys().filter_map(|n| named(n)).collect(),
            Tables::V2(t) => t.keys().filter_map(|n| named(n)).collect(),
        }
    }

    /// A cursor that reads series entries; one per thread and task.
    #[must_use]
    pub fn cursor(&self) -> SeriesCursor<'_> {
        SeriesCursor {
            index: self,
            window: Vec::new(),
            start: 0,
            ahead: WINDOW_BYTES_MIN,
            recent: Recent::default(),
        }
    }

    fn corrupt(&self, offset: u64, what: impl Into<String>) -> StorageError {
        corrupt(self.file.path(), offset, what)
    }

    /// Reads a list of postings.
    fn list_at(&self, offset: u64) -> Result<Vec<u32>> {
        let mut head = [0; 8];
        if offset.checked_add(12).is_none_or(|end| end > self.len) {
            return Err(self.corrupt(offset, "postings begin behind the end of the file"));
        }
        self.file.read_exact_at(&mut head, offset)?;
        let [l0, l1, l2, l3, n0, n1, n2, n3] = head;
        let len = u64::from(u32::from_be_bytes([l0, l1, l2, l3]));
        let count = u64::from(u32::from_be_bytes([n0, n1, n2, n3]));
        if len != 4 + count * 4 || offset + 4 + len + 4 > self.len {
            let text = format!("postings of {len} bytes for {count} series do not fit");
            return Err(self.corrupt(offset, text));
        }
        let mut bytes = vec![0; (count * 4 + 4) as usize];
        self.file.read_exact_at(&mut bytes, offset + 8)?;
        let (body, crc) = bytes.split_at((count * 4) as usize);
        let sum = crc32c::crc32c_append(crc32c::crc32c(&head[4..]), body);
        if crc != sum.to_be_bytes() {
            return Err(self.corrupt(offset, "postings checksum mismatch"));
        }
        Ok(body.as_chunks::<4>().0.iter().map(|c| u32::from_be_bytes(*c)).collect())
    }

    /// Shows the entries of a name from sparse place `from` on, page by page, until `each` says false.
    fn walk(
        &self,
        sparse: &Sparse,
        from: usize,
        mut each: impl FnMut(&str, u64) -> Result<bool>,
    ) -> Result<()> {
        let mut bytes = Vec::new();
        for (i, (_, start)) in sparse.values.iter().enumerate().skip(from) {
            let end = sparse.values.get(i + 1).map_or(sparse.end, |(_, at)| *at);
            let invalid = || self.corrupt(*start, "invalid entry in the postings table");
            bytes.resize(end.checked_sub(*start).ok_or_else(invalid)? as usize, 0);
            self.file.read_exact_at(&mut bytes, *start)?;
            let mut d = Decoder::new(&bytes);
            while d.len() > 0 {
                let (_, value, offset) = table_entry(&mut d).ok_or_else(invalid)?;
                let value = String::from_utf8_lossy(value);
                if !each(&value, offset)? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Offset of the postings of one label.
    fn find(&self, name: &str, value: &str) -> Result<Option<u64>> {
        match &self.tables {
            Tables::V1(t) => Ok(t.get(name).and_then(|values| values.get(value)).copied()),
            Tables::V2(t) => {
                let Some(sparse) = t.get(name) else { return Ok(None) };
                let behind = sparse.values.partition_point(|(v, _)| **v <= *value);
                let Some(page) = behind.checked_sub(1) else { return Ok(None) };
                if *value > *sparse.last {
                    return Ok(None);
                }
                let mut found = None;
                self.walk(sparse, page, |v, offset| {
                    if v == value {
                        found = Some(offset);
                    }
                    Ok(v < value)
                })?;
                Ok(found)
            }
        }
    }

    /// Shows values with the given prefix in order.
    fn each_offset(
        &self,
        name: &str,
        prefix: &str,
        mut each: impl FnMut(&str, u64) -> Result<bool>,
    ) -> Result<()> {
        match &self.tables {
            Tables::V1(t) => {
                for (value, offset) in t.get(name).into_iter().flatten() {
                    if value.starts_with(prefix) && !each(value, *offset)? {
                        break;
                    }
                }
                Ok(())
            }
            Tables::V2(t) => {
                let Some(sparse) = t.get(name) else { return Ok(()) };
                let first = sparse.values.partition_point(|(v, _)| **v < *prefix).saturating_sub(1);
                self.walk(sparse, first, |value, offset| {
                    if value.starts_with(prefix) { each(value, offset) } else { Ok(value < prefix) }
                })
            }
        }
    }

    /// Number of values of a name.
    #[must_use]
    pub fn value_count(&self, name: &str) -> u64 {
        match &self.tables {
            Tables::V1(t) => t.get(name).map_or(0, |v| v.len() as u64),
            Tables::V2(t) => t.get(name).map_or(0, |s| s.count),
        }
    }

    fn symbol<'p>(&'p self, symbol: u32, page: &'p mut Option<(Page, usize)>) -> Result<&'p str> {
        if let Some(name) = self.name_symbols.get(&symbol) {
            return Ok(name);
        }
        let (page, within) = page.insert(self.symbols.page(symbol)?);
        Ok(page.get(*within).map_or("", |s| s))
    }
}

impl PostingSource for IndexReader {
    fn all(&self) -> Result<List<'_>> {
        self.postings("", "")
    }

    fn postings(&self, name: &str, value: &str) -> Result<List<'_>> {
        match self.find(name, value)? {
            Some(offset) => Ok(Cow::Owned(self.list_at(offset)?)),
            None => Ok(List::default()),
        }
    }

    fn postings_where(
        &self,
        name: &str,
        prefix: &str,
        keep: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Vec<List<'_>>> {
        let mut offsets = Vec::new();
        self.each_offset(name, prefix, |value, offset| {
            if keep(value) {
                offsets.push(offset);
            }
            Ok(true)
        })?;
        offsets.into_iter().map(|o| Ok(Cow::Owned(self.list_at(o)?))).collect()
    }

    fn value_count(&self, name: &str) -> u64 {
        IndexReader::value_count(self, name)
    }

    fn retain(&self, ids: Vec<u32>, matchers: &[&Matcher]) -> Result<Vec<u32>> {
        let mut cursor = self.cursor();
        let mut kept = Vec::with_capacity(ids.len());
        for id in ids {
            let passes = match cursor.labels(id) {
                Ok(labels) => matchers.iter().all(|m| m.matches(labels.get(m.name()))),
                // Whoever reads the series will meet it again and knows what to do about it.
                Err(StorageError::Corrupt { .. }) => true,
                Err(e) => return Err(e),
            };
            if passes {
                kept.push(id);
            }
        }
        Ok(kept)
    }

    fn each_value(
        &self,
        name: &str,
        each: &mut dyn FnMut(&str, &mut dyn FnMut() -> Result<List<'static>>) -> Result<bool>,
    ) -> Result<()> {
        self.each_offset(name, "", |value, offset| each(value, &mut || Ok(Cow::Owned(self.list_at(offset)?))))
    }
}

/// Bytes read for one series at first; entries are some 40 to 200 bytes.
const WINDOW_BYTES_MIN: usize = 512;
/// Bytes read at once when series follow each other.
const WINDOW_BYTES_MAX: usize = 64 << 10;
/// Longest entry that is read: 16 MiB hold a series with more than a million chunks.
const ENTRY_BYTES_MAX: u64 = 16 << 20;

/// Symbols that were looked up last, by the low bits of their numbers. Series that follow one another share most of
/// their strings, and a look at the shared table costs a lock and a hash each time.
#[derive(Debug, Default)]
struct Recent(Vec<Option<(u32, Page, usize)>>);

/// 24 bytes each; a page that one of them holds has 32 strings.
const RECENT_SYMBOLS: usize = 256;

impl Recent {
    /// Where a symbol is; `None` for one of a name, which the index has at hand.
    fn find(&mut self, index: &IndexReader, symbol: u32) -> Result<Option<(Page, usize)>> {
        if index.name_symbols.contains_key(&symbol) {
            return Ok(None);
        }
        if self.0.is_empty() {
            self.0.resize(RECENT_SYMBOLS, None);
        }
        let Some(slot) = self.0.get_mut(symbol as usize % RECENT_SYMBOLS) else { return Ok(None) };
        if let Some((_, page, within)) = slot.as_ref().filter(|(of, ..)| *of == symbol) {
            return Ok(Some((Arc::clone(page), *within)));
        }
        let (page, within) = index.symbols.page(symbol)?;
        *slot = Some((symbol, Arc::clone(&page), within));
        Ok(Some((page, within)))
    }
}

/// Reads series entries, in rising order best: near ones come with one read.
#[derive(Debug)]
pub struct SeriesCursor<'a> {
    index: &'a IndexReader,
    window: Vec<u8>,
    start: u64,
    ahead: usize,
    recent: Recent,
}

impl SeriesCursor<'_> {
    /// Bytes `len` at `offset`, as many as there are.
    fn fetch(&mut self, offset: u64, len: usize) -> Result<&[u8]> {
        let end = self.start + self.window.len() as u64;
        if offset < self.start || offset + len as u64 > end.min(self.index.len).max(self.start) {
            // Forward and near: more will be wanted; else the next one may be anywhere.
            let near = offset >= self.start && offset < end + WINDOW_BYTES_MAX as u64 && end > 0;
            self.ahead = if near { (self.ahead * 4).min(WINDOW_BYTES_MAX) } else { WINDOW_BYTES_MIN };
            let want = (len.max(self.ahead) as u64).min(self.index.len.saturating_sub(offset));
            self.window.resize(want as usize, 0);
            self.start = offset;
            self.index.file.read_exact_at(&mut self.window, offset)?;
        }
        let from = (offset - self.start) as usize;
        let to = (from + len).min(self.window.len());
        Ok(self.window.get(from..to).unwrap_or_default())
    }

    /// Content of the entry of a series.
    fn entry(&mut self, id: u32) -> Result<(u64, Vec<u8>)> {
        let index = self.index;
        let offset = if index.version == 1 { u64::from(id) } else { u64::from(id) * SERIES_ALIGN };
        if offset < HEADER_BYTES || offset >= index.toc.label_indices.min(index.len) {
            return Err(index.corrupt(offset, format!("series {id} is outside the series section")));
        }
        let head = self.fetch(offset, WINDOW_BYTES_MIN)?;
        let mut d = Decoder::new(head);
        let len = d.uvarint().ok_or_else(|| index.corrupt(offset, "invalid series entry"))?;
        let skip = head.len() - d.len();
        if len > ENTRY_BYTES_MAX || offset + skip as u64 + len + 4 > index.len {
            return Err(index.corrupt(offset, format!("series entry of {len} bytes does not fit")));
        }
        let whole = self.fetch(offset, skip + len as usize + 4)?;
        let mut d = Decoder::new(whole.get(skip..).unwrap_or_default());
        let (Some(body), Some(crc)) = (d.bytes(len as usize), d.be32()) else {
            return Err(index.corrupt(offset, "series entry ends early"));
        };
        if crc32c::crc32c(body) != crc {
            return Err(index.corrupt(offset, "series entry checksum mismatch"));
        }
        Ok((offset, body.to_vec()))
    }

    /// Labels of a series; its chunks go to `chunks`, which is emptied first.
    ///
    /// # Errors
    /// An entry outside the file, with a wrong sum, or that does not add up.
    pub fn series(&mut self, id: u32, chunks: &mut Vec<ChunkMeta>) -> Result<Labels> {
        let (offset, body) = self.entry(id)?;
        let index = self.index;
        let invalid = || index.corrupt(offset, "invalid series entry");
        let mut d = Decoder::new(&body);
        let labels = read_labels(index, &mut self.recent, &mut d, offset)?;
        read_chunk_metas(&mut d, chunks).ok_or_else(invalid)?;
        Ok(labels)
    }

    /// A series' labels.
    ///
    /// # Errors
    /// As [`SeriesCursor::series`].
    pub fn labels(&mut self, id: u32) -> Result<Labels> {
        let (offset, body) = self.entry(id)?;
        read_labels(self.index, &mut self.recent, &mut Decoder::new(&body), offset)
    }

    /// Calls `each` with the names of a series' labels.
    ///
    /// # Errors
    /// As [`SeriesCursor::series`].
    pub fn names(&mut self, id: u32, mut each: impl FnMut(&str)) -> Result<()> {
        let (offset, body) = self.entry(id)?;
        let index = self.index;
        let invalid = || index.corrupt(offset, "invalid series entry");
        let mut d = Decoder::new(&body);
        for _ in 0..d.uvarint().ok_or_else(invalid)? {
            let (name, _) = (d.uvarint32().ok_or_else(invalid)?, d.uvarint32().ok_or_else(invalid)?);
            each(index.symbol(name, &mut None)?);
        }
        Ok(())
    }
}

/// Chunks of a series entry, into `chunks`, which is emptied first.
pub(super) fn read_chunk_metas(d: &mut Decoder<'_>, chunks: &mut Vec<ChunkMeta>) -> Option<()> {
    chunks.clear();
    // Three bytes a chunk at least.
    let count = d.uvarint().filter(|n| *n <= d.len() as u64 / 3)?;
    let (mut t, mut reference) = (0_i64, 0_i64);
    for i in 0..count {
        let mint_ms = if i == 0 { d.varint()? } else { t.wrapping_add(d.uvarint()? as i64) };
        let maxt_ms = mint_ms.wrapping_add(d.uvarint()? as i64);
        reference = if i == 0 { d.uvarint()? as i64 } else { reference.wrapping_add(d.varint()?) };
        chunks.push(ChunkMeta { mint_ms, maxt_ms, chunk: ChunkRef(reference as u64) });
        t = maxt_ms;
    }
    Some(())
}

fn read_labels(index: &IndexReader, recent: &mut Recent, d: &mut Decoder<'_>, offset: u64) -> Result<Labels> {
    let invalid = || index.corrupt(offset, "invalid series entry");
    let count = d.uvarint().ok_or_else(invalid)?;
    if count > d.len() as u64 / 2 {
        return Err(invalid());
    }
    // Handles first, strings second: `Labels` is built in one go from borrowed strings.
    let mut pages = Vec::with_capacity(count as usize * 2);
    for _ in 0..count * 2 {
        let symbol = d.uvarint32().ok_or_else(invalid)?;
        pages.push((symbol, recent.find(index, symbol)?));
    }
    let mut pairs = Vec::with_capacity(count as usize);
    for pair in pages.as_chunks::<2>().0 {
        let (name, value) = (str_of(index, &pair[0]), str_of(index, &pair[1]));
        if name.len() > STRING_BYTES_MAX || value.len() > STRING_BYTES_MAX {
            return Err(index.corrupt(offset, "label of more than 16 MiB"));
        }
        pairs.push((name, value));
    }
    let sorted = pairs.is_sorted_by(|a, b| a.0 < b.0) && pairs.iter().all(|(_, v)| !v.is_empty());
    // Old versions have written sets out of order; they are still the series' labels.
    Ok(if sorted { Labels::from_sorted(pairs) } else { Labels::from_pairs(pairs) })
}

fn str_of<'a>(index: &'a IndexReader, (symbol, page): &'a (u32, Option<(Page, usize)>)) -> &'a str {
    match page {
        Some((page, within)) => page.get(*within).map_or("", |s| s),
        None => index.name_symbols.get(symbol).map_or("", |s| s),
    }
}

pub(super) fn read_toc(file: &dyn ReadFile, len: u64) -> Result<Toc> {
    let mut bytes = [0; TOC_BYTES as usize];
    let at = len - TOC_BYTES;
    file.read_exact_at(&mut bytes, at)?;
    let (body, crc) = bytes.split_at(TOC_BYTES as usize - 4);
    if crc != crc32c::crc32c(body).to_be_bytes() {
        return Err(corrupt(file.path(), at, "table of contents checksum mismatch"));
    }
    let mut d = Decoder::new(body);
    let mut next = || d.be64().filter(|offset| *offset < len);
    let toc = (|| {
        Some(Toc {
            symbols: next()?,
            series: next()?,
            label_indices: next()?,
            label_indices_table: next()?,
            postings: next()?,
            postings_table: next()?,
        })
    })();
    toc.ok_or_else(|| corrupt(file.path(), at, "table of contents points behind the end of the file"))
}

/// Name, value, offset of an entry of the postings table.
pub(super) fn table_entry<'a>(d: &mut Decoder<'a>) -> Option<(&'a [u8], &'a [u8], u64)> {
    if d.uvarint()? != 2 {
        return None;
    }
    Some((d.string()?, d.string()?, d.uvarint()?))
}

fn read_tables(file: &Arc<dyn ReadFile>, len: u64, version: u8, at: u64) -> Result<Tables> {
    let mut section = Section::open(file, len, at)?;
    let count = section.take(|d| d.be32())?;
    let mut v1: BTreeMap<Box<str>, BTreeMap<Box<str>, u64>> = BTreeMap::new();
    let mut v2: BTreeMap<Box<str>, Sparse> = BTreeMap::new();
    let mut open: Option<(Box<str>, Sparse)> = None;
    for _ in 0..count {
        let entry_at = section.pos();
        let (name, value, offset) = section.take(|d| {
            let (name, value, offset) = table_entry(d)?;
            let text = |b| -> Box<str> { String::from_utf8_lossy(b).into() };
            Some((text(name), text(value), offset))
        })?;
        if version == 1 {
            v1.entry(name).or_default().insert(value, offset);
            continue;
        }
        if open.as_ref().is_none_or(|(n, _)| *n != name) {
            close_name(&mut v2, open.take(), entry_at);
            open = Some((name, Sparse::default()));
        }
        if let Some((_, sparse)) = &mut open {
            if (sparse.count as usize).is_multiple_of(SPARSE_EVERY) {
                sparse.values.push((value.clone(), entry_at));
            }
            sparse.count += 1;
            sparse.last = value;
        }
    }
    close_name(&mut v2, open, section.pos());
    section.finish()?;
    Ok(if version == 1 { Tables::V1(v1) } else { Tables::V2(v2) })
}

fn close_name(tables: &mut BTreeMap<Box<str>, Sparse>, open: Option<(Box<str>, Sparse)>, end: u64) {
    if let Some((name, mut sparse)) = open {
        sparse.end = end;
        sparse.values.shrink_to_fit();
        tables.insert(name, sparse);
    }
}
