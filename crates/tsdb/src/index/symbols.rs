//! The symbol table: every 32nd offset in memory, the strings in pages that are read when needed.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::RwLock;
use storage::StorageError;

use super::SPARSE_EVERY;
use super::codec::{Decoder, corrupt};
use super::section::Section;
use crate::disk::ReadFile;

/// Bytes of decoded pages kept per block: 8 MiB hold the symbols of some 100,000 series.
const CACHE_BYTES_MAX: usize = 8 << 20;
/// Bytes a cached page costs beside its strings: 32 fat pointers and the map's entry.
const PAGE_OVERHEAD: usize = SPARSE_EVERY * 16 + 64;

/// Strings of 32 consecutive symbols.
pub(super) type Page = Arc<[Box<str>]>;

#[derive(Debug, Default)]
struct Cache {
    pages: HashMap<u32, Page>,
    bytes: usize,
}

/// The table of one index.
#[derive(Debug)]
pub(super) struct Symbols {
    file: Arc<dyn ReadFile>,
    version: u8,
    /// Offset of every 32nd symbol, and behind the last one.
    offsets: Vec<u64>,
    count: u32,
    start: u64,
    cache: RwLock<Cache>,
}

impl Symbols {
    pub(super) fn open(
        file: &Arc<dyn ReadFile>,
        file_len: u64,
        version: u8,
        start: u64,
        mut each: impl FnMut(u32, u64, &[u8]),
    ) -> Result<Self, StorageError> {
        let mut section = Section::open(file, file_len, start)?;
        let count = section.take(|d| d.be32())?;
        // One byte a symbol at least: a larger count is a lie, and must not size the table.
        if u64::from(count) > section.left() {
            return Err(corrupt(file.path(), start + 4, format!("{count} symbols do not fit the table")));
        }
        let mut offsets = Vec::with_capacity(count as usize / SPARSE_EVERY + 2);
        for i in 0..count {
            let at = section.pos();
            if (i as usize).is_multiple_of(SPARSE_EVERY) {
                offsets.push(at);
            }
            let text = section.take(|d| d.string().map(<[u8]>::to_vec))?;
            each(i, at, &text);
        }
        offsets.push(section.pos());
        section.finish()?;
        let cache = RwLock::default();
        Ok(Symbols { file: Arc::clone(file), version, offsets, count, start, cache })
    }

    /// Bytes of memory for the sparse table.
    pub(super) fn table_bytes(&self) -> u64 {
        self.offsets.len() as u64 * 8
    }

    /// Page and place within it of a symbol. In version 1 symbols are named by their offset.
    pub(super) fn page(&self, symbol: u32) -> Result<(Page, usize), StorageError> {
        if self.version == 1 {
            return Ok((self.string_at(u64::from(symbol))?, 0));
        }
        if symbol >= self.count {
            let text = format!("symbol {symbol} of {} does not exist", self.count);
            return Err(corrupt(self.file.path(), self.start, text));
        }
        let number = symbol / SPARSE_EVERY as u32;
        let within = symbol as usize % SPARSE_EVERY;
        if let Some(page) = self.cache.read().pages.get(&number) {
            return Ok((Arc::clone(page), within));
        }
        let page = self.load(number)?;
        let size = PAGE_OVERHEAD + page.iter().map(|s| s.len()).sum::<usize>();
        let mut cache = self.cache.write();
        // Emptied when full, rather than ordered by use: a select comes back to few pages, and the rest
        // would be evicted by the next one anyway.
        if cache.bytes + size > CACHE_BYTES_MAX {
            *cache = Cache::default();
        }
        if cache.pages.insert(number, Arc::clone(&page)).is_none() {
            cache.bytes += size;
        }
        Ok((page, within))
    }

    fn load(&self, number: u32) -> Result<Page, StorageError> {
        let at = number as usize;
        let (Some(start), Some(end)) = (self.offsets.get(at), self.offsets.get(at + 1)) else {
            return Err(corrupt(self.file.path(), self.start, "symbol page does not exist"));
        };
        let mut bytes = vec![0; (end - start) as usize];
        self.file.read_exact_at(&mut bytes, *start)?;
        let mut d = Decoder::new(&bytes);
        let mut page = Vec::with_capacity(SPARSE_EVERY);
        while d.len() > 0 && page.len() < SPARSE_EVERY {
            let text = d.string().ok_or_else(|| corrupt(self.file.path(), *start, "invalid symbol"))?;
            page.push(text_of(text));
        }
        let expected = SPARSE_EVERY.min(self.count as usize - at * SPARSE_EVERY);
        if page.len() != expected {
            return Err(corrupt(self.file.path(), *start, "symbols changed since the index was opened"));
        }
        Ok(page.into())
    }

    fn string_at(&self, offset: u64) -> Result<Page, StorageError> {
        let invalid = || corrupt(self.file.path(), offset, "invalid symbol");
        let last = self.offsets.last().copied().unwrap_or_default();
        if offset < self.start || offset >= last {
            return Err(invalid());
        }
        let mut bytes = vec![0; (last - offset).min(256) as usize];
        self.file.read_exact_at(&mut bytes, offset)?;
        let mut d = Decoder::new(&bytes);
        let len = d.uvarint().filter(|len| *len <= last - offset).ok_or_else(invalid)?;
        let head = bytes.len() - d.len();
        if len as usize > d.len() {
            bytes.resize(head + len as usize, 0);
            self.file.read_exact_at(&mut bytes, offset)?;
        }
        let text = bytes.get(head..head + len as usize).ok_or_else(invalid)?;
        Ok(Arc::from([text_of(text)]))
    }

    pub(super) fn iter(&self, file_len: u64) -> Result<SymbolIter, StorageError> {
        let mut section = Section::open(&self.file, file_len, self.start)?;
        let left = section.take(|d| d.be32())?;
        Ok(SymbolIter { section, left })
    }
}

/// Names and values are UTF-8 by contract; bytes that are not (a bug of old exporters) must not take the
/// whole series away.
fn text_of(bytes: &[u8]) -> Box<str> {
    String::from_utf8_lossy(bytes).into()
}

/// All symbols of an index in order, with little memory.
pub struct SymbolIter {
    section: Section,
    left: u32,
}

impl Iterator for SymbolIter {
    type Item = Result<String, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let item = self.section.take(|d| d.string().map(|s| text_of(s).into_string()));
        if item.is_err() {
            self.left = 0;
        }
        Some(item)
    }
}
