//! Writes an index, version 2, as upstream does byte by byte: symbols, series, postings, postings table,
//! table of contents.
//!
//! Memory stays bounded by the symbols (their text once and 8 bytes each) and by one label name's postings:
//! the series section is read back for as many label names at a time as fit [`POSTINGS_AT_ONCE`]. The
//! postings table, whose size is that of all label pairs, goes through a temporary file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hashbrown::HashTable;
use model::Labels;
use storage::StorageError;
use xxhash_rust::xxh3::xxh3_64;

use super::codec::{Decoder, corrupt, put_str, put_uvarint, put_varint};
use super::{MAGIC, SERIES_ALIGN, TOC_BYTES, Toc};
use crate::chunks::ChunkMeta;
use crate::disk::{Disk, DiskResult, ReadFile, WriteFile, WriteMode};

type Result<T> = std::result::Result<T, StorageError>;

const VERSION: u8 = 2;
const BUFFER_BYTES: usize = 1 << 20;
/// Series ids and value symbols collected in one pass over the series: 8 bytes each, 64 MiB.
const POSTINGS_AT_ONCE: u64 = 8 << 20;

/// A file that is written through a buffer, with the position known.
#[derive(Debug)]
struct Out {
    file: Box<dyn WriteFile>,
    buf: Vec<u8>,
    pos: u64,
}

impl Out {
    fn create(disk: &dyn Disk, path: &Path) -> DiskResult<Self> {
        let file = disk.open_write(path, WriteMode::Truncate)?;
        Ok(Out { file, buf: Vec::with_capacity(BUFFER_BYTES + (64 << 10)), pos: 0 })
    }
    fn write(&mut self, bytes: &[u8]) -> DiskResult<()> {
        self.buf.extend_from_slice(bytes);
        self.pos += bytes.len() as u64;
        if self.buf.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }
    fn flush(&mut self) -> DiskResult<()> {
        self.file.append(&self.buf)?;
        self.buf.clear();
        Ok(())
    }
    fn pad(&mut self, align: u64) -> DiskResult<()> {
        let n = (align - self.pos % align) % align;
        self.write(&[0; SERIES_ALIGN as usize][..n as usize])
    }
    /// Overwrites bytes written before.
    fn patch(&mut self, bytes: &[u8], at: u64) -> DiskResult<()> {
        self.flush()?;
        self.file.write_at(bytes, at)
    }
}

/// The symbols, found by text.
#[derive(Debug, Default)]
struct SymbolTable {
    text: Vec<u8>,
    /// End of each symbol in `text`.
    ends: Vec<u64>,
    by_text: HashTable<u32>,
}

impl SymbolTable {
    fn get(&self, symbol: u32) -> &[u8] {
        let at = symbol as usize;
        let start = at.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or_default();
        let end = self.ends.get(at).copied().unwrap_or(start);
        self.text.get(start as usize..end as usize).unwrap_or_default()
    }
    fn push(&mut self, text: &[u8]) {
        let id = self.ends.len() as u32;
        self.text.extend_from_slice(text);
        self.ends.push(self.text.len() as u64);
        let SymbolTable { by_text, .. } = self;
        let mut by_text = std::mem::take(by_text);
        by_text.insert_unique(xxh3_64(text), id, |other| xxh3_64(self.get(*other)));
        self.by_text = by_text;
    }
    fn find(&self, text: &[u8]) -> Option<u32> {
        self.by_text.find(xxh3_64(text), |id| self.get(*id) == text).copied()
    }
}

/// Writes one index: all symbols first, then all series in label order, then [`IndexWriter::finish`].
#[derive(Debug)]
pub struct IndexWriter {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    out: Out,
    toc: Toc,
    symbols: SymbolTable,
    /// Whether the series section has begun.
    in_series: bool,
    crc: u32,
    last: Labels,
    series: u64,
    /// Uses of each label name, by symbol: how many postings its values have in all.
    names: std::collections::BTreeMap<u32, u64>,
    entry: Vec<u8>,
    head: Vec<u8>,
}

impl IndexWriter {
    /// Begins an index file; what was there is overwritten.
    ///
    /// # Errors
    /// No permission, no room.
    pub fn create(disk: Arc<dyn Disk>, path: &Path) -> Result<Self> {
        let mut out = Out::create(&*disk, path)?;
        out.write(&MAGIC.to_be_bytes())?;
        out.write(&[VERSION])?;
        let toc = Toc { symbols: out.pos, ..Toc::default() };
        // Length and number of symbols, known later.
        out.write(&[0; 8])?;
        Ok(IndexWriter {
            disk,
            path: path.to_path_buf(),
            out,
            toc,
            symbols: SymbolTable::default(),
            in_series: false,
            crc: 0,
            last: Labels::empty(),
            series: 0,
            names: std::collections::BTreeMap::new(),
            entry: Vec::new(),
            head: Vec::new(),
        })
    }

    fn misuse(&self, what: impl Into<String>) -> StorageError {
        StorageError::Other(format!("write index {}: {}", self.path.display(), what.into()))
    }

    /// Adds a symbol; they come in order and once each.
    ///
    /// # Errors
    /// Out of order, after the first series, no room, more than 4 GiB of symbols.
    pub fn add_symbol(&mut self, symbol: &str) -> Result<()> {
        let count = self.symbols.ends.len() as u32;
        if self.in_series || (count > 0 && self.symbols.get(count - 1) >= symbol.as_bytes()) {
            return Err(self.misuse(format!("symbol {symbol:?} out of order")));
        }
        self.head.clear();
        put_str(&mut self.head, symbol.as_bytes());
        self.crc = crc32c::crc32c_append(self.crc, &self.head);
        self.out.write(&self.head)?;
        self.symbols.push(symbol.as_bytes());
        Ok(())
    }

    fn end_symbols(&mut self) -> Result<()> {
        let len = self.out.pos - self.toc.symbols - 4;
        let Ok(len) = u32::try_from(len) else {
            return Err(self.misuse(format!("symbol table of {len} bytes exceeds the format's 4 GiB")));
        };
        let count = (self.symbols.ends.len() as u32).to_be_bytes();
        // The number stands before the text but is known after it: sums of parts combine.
        let text_len = len as usize - 4;
        let crc = crc32c::crc32c_combine(crc32c::crc32c(&count), self.crc, text_len);
        self.out.write(&crc.to_be_bytes())?;
        let mut fields = len.to_be_bytes().to_vec();
        fields.extend_from_slice(&count);
        self.out.patch(&fields, self.toc.symbols)?;
        self.toc.series = self.out.pos;
        self.in_series = true;
        Ok(())
    }

    /// Adds a series; they come in label order, their chunks in order of time and place.
    ///
    /// # Errors
    /// Out of order, a label that is no symbol, chunks out of order, no room, more than 64 GiB.
    pub fn add_series(&mut self, labels: &Labels, chunks: &[ChunkMeta]) -> Result<()> {
        if !self.in_series {
            self.end_symbols()?;
        }
        if self.series > 0 && *labels <= self.last {
            return Err(self.misuse(format!("series {labels} out of order, the last was {}", self.last)));
        }
        for pair in chunks.windows(2) {
            if pair[1].mint_ms <= pair[0].maxt_ms || pair[1].chunk <= pair[0].chunk {
                let (a, b) = (pair[0].maxt_ms, pair[1].mint_ms);
                return Err(
                    self.misuse(format!("series {labels}: chunk from {b} behind one that ends at {a}"))
                );
            }
        }
        self.out.pad(SERIES_ALIGN)?;
        if self.out.pos / SERIES_ALIGN > u64::from(u32::MAX) {
            return Err(self.misuse("index exceeds the format's 64 GiB"));
        }
        self.entry.clear();
        put_uvarint(&mut self.entry, labels.len() as u64);
        for (name, value) in labels.iter() {
            let (Some(n), Some(v)) =
                (self.symbols.find(name.as_bytes()), self.symbols.find(value.as_bytes()))
            else {
                return Err(
                    self.misuse(format!("series {labels}: {name} or its value is not among the symbols"))
                );
            };
            *self.names.entry(n).or_default() += 1;
            put_uvarint(&mut self.entry, u64::from(n));
            put_uvarint(&mut self.entry, u64::from(v));
        }
        put_uvarint(&mut self.entry, chunks.len() as u64);
        let mut previous: Option<&ChunkMeta> = None;
        for c in chunks {
            let span = c.maxt_ms.wrapping_sub(c.mint_ms) as u64;
            match previous {
                None => {
                    put_varint(&mut self.entry, c.mint_ms);
                    put_uvarint(&mut self.entry, span);
                    put_uvarint(&mut self.entry, c.chunk.0);
                }
                Some(p) => {
                    put_uvarint(&mut self.entry, c.mint_ms.wrapping_sub(p.maxt_ms) as u64);
                    put_uvarint(&mut self.entry, span);
                    put_varint(&mut self.entry, c.chunk.0.wrapping_sub(p.chunk.0) as i64);
                }
            }
            previous = Some(c);
        }
        self.head.clear();
        put_uvarint(&mut self.head, self.entry.len() as u64);
        let crc = crc32c::crc32c(&self.entry);
        self.entry.extend_from_slice(&crc.to_be_bytes());
        self.out.write(&self.head)?;
        self.out.write(&self.entry)?;
        self.last = labels.clone();
        self.series += 1;
        Ok(())
    }

    /// Writes postings and tables and makes the file durable. Gives its size.
    ///
    /// # Errors
    /// No room, device failed.
    pub fn finish(mut self) -> Result<u64> {
        if !self.in_series {
            self.end_symbols()?;
        }
        // Both name the end of the series; lists are padded behind it. There are no label indices any more.
        self.toc.label_indices = self.out.pos;
        self.toc.postings = self.out.pos;
        let table_path = self.path.with_file_name("index_tmp_po");
        let mut table = Out::create(&*self.disk, &table_path)?;
        let entries = self.write_postings(&mut table)?;
        self.toc.label_indices_table = self.out.pos;
        self.toc.postings_table = self.out.pos;
        self.copy_table(&mut table, &table_path, entries)?;
        drop(table);
        self.disk.remove_file(&table_path)?;
        let mut toc = Vec::with_capacity(TOC_BYTES as usize);
        let t = self.toc;
        for offset in
            [t.symbols, t.series, t.label_indices, t.label_indices_table, t.postings, t.postings_table]
        {
            toc.extend_from_slice(&offset.to_be_bytes());
        }
        toc.extend_from_slice(&crc32c::crc32c(&toc).to_be_bytes());
        self.out.write(&toc)?;
        self.out.flush()?;
        self.out.file.sync()?;
        Ok(self.out.pos)
    }

    fn write_postings(&mut self, table: &mut Out) -> Result<u64> {
        self.out.flush()?;
        let file = self.disk.open_read(&self.path)?;
        let (start, end) = (self.toc.series, self.toc.label_indices);
        let mut all = Vec::with_capacity(self.series as usize);
        each_series(&file, start, end, |id, _| all.push(id))?;
        let mut entries = 0;
        self.write_list(table, b"", b"", &all, &mut entries)?;
        drop(all);
        // Symbols are in order of text, so are the names.
        let names: Vec<(u32, u64)> = self.names.iter().map(|(n, uses)| (*n, *uses)).collect();
        let mut rest = &names[..];
        while !rest.is_empty() {
            let mut total = 0;
            let fits = |(_, uses): &&(u32, u64)| {
                total += uses;
                total <= POSTINGS_AT_ONCE
            };
            let n = rest.iter().take_while(fits).count().max(1);
            let (batch, behind) = rest.split_at(n);
            rest = behind;
            let mut lists: Vec<Vec<u64>> =
                batch.iter().map(|(_, uses)| Vec::with_capacity(*uses as usize)).collect();
            each_series(&file, start, end, |id, labels| {
                for (name, value) in labels {
                    if let Ok(at) = batch.binary_search_by_key(&name, |(n, _)| *n) {
                        lists[at].push(u64::from(value) << 32 | u64::from(id));
                    }
                }
            })?;
            for ((name, _), mut list) in batch.iter().zip(lists) {
                list.sort_unstable();
                let mut ids = Vec::new();
                for of_value in list.chunk_by(|a, b| a >> 32 == b >> 32) {
                    let Some(first) = of_value.first() else { continue };
                    ids.clear();
                    ids.extend(of_value.iter().map(|v| *v as u32));
                    let (name, value) =
                        (self.symbols.get(*name).to_vec(), self.symbols.get((first >> 32) as u32).to_vec());
                    self.write_list(table, &name, &value, &ids, &mut entries)?;
                }
            }
        }
        Ok(entries)
    }

    fn write_list(
        &mut self,
        table: &mut Out,
        name: &[u8],
        value: &[u8],
        ids: &[u32],
        entries: &mut u64,
    ) -> Result<()> {
        self.out.pad(4)?;
        self.head.clear();
        put_uvarint(&mut self.head, 2);
        put_str(&mut self.head, name);
        put_str(&mut self.head, value);
        put_uvarint(&mut self.head, self.out.pos);
        table.write(&self.head)?;
        *entries += 1;
        let count = ids.len() as u32;
        self.entry.clear();
        self.entry.extend_from_slice(&(4 + 4 * count).to_be_bytes());
        self.entry.extend_from_slice(&count.to_be_bytes());
        for id in ids {
            self.entry.extend_from_slice(&id.to_be_bytes());
        }
        let crc = crc32c::crc32c(&self.entry[4..]);
        self.entry.extend_from_slice(&crc.to_be_bytes());
        self.out.write(&self.entry)?;
        Ok(())
    }

    fn copy_table(&mut self, table: &mut Out, path: &Path, entries: u64) -> Result<()> {
        table.flush()?;
        let len = 4 + table.pos;
        let (Ok(len), Ok(count)) = (u32::try_from(len), u32::try_from(entries)) else {
            return Err(self.misuse(format!("postings table of {len} bytes exceeds the format's 4 GiB")));
        };
        let count = count.to_be_bytes();
        self.out.write(&len.to_be_bytes())?;
        self.out.write(&count)?;
        let mut crc = crc32c::crc32c(&count);
        let file = self.disk.open_read(path)?;
        let mut buf = vec![0; BUFFER_BYTES];
        let mut at = 0;
        while at < table.pos {
            let n = file.read_at(&mut buf, at)?;
            if n == 0 {
                return Err(corrupt(path, at, "temporary postings table ends early"));
            }
            crc = crc32c::crc32c_append(crc, &buf[..n]);
            self.out.write(&buf[..n])?;
            at += n as u64;
        }
        self.out.write(&crc.to_be_bytes())?;
        Ok(())
    }
}

/// Reads back the series section that was just written: id and label symbols of each.
fn each_series(
    file: &Arc<dyn ReadFile>,
    start: u64,
    end: u64,
    mut each: impl FnMut(u32, &mut dyn Iterator<Item = (u32, u32)>),
) -> Result<()> {
    let invalid = |at| corrupt(file.path(), at, "series written a moment ago cannot be read back");
    let mut buf: Vec<u8> = Vec::new();
    let (mut buf_at, mut pos) = (start, start.next_multiple_of(SERIES_ALIGN));
    while pos < end {
        let have = &buf.get((pos - buf_at) as usize..).unwrap_or_default();
        let mut d = Decoder::new(have);
        let body = d.uvarint().and_then(|len| {
            let head = have.len() - d.len();
            let body = d.bytes(len as usize)?;
            Some((head + body.len() + 4, body))
        });
        let Some((size, body)) = body else {
            let want = BUFFER_BYTES.max(have.len() * 2).min((end - pos) as usize);
            if have.len() >= want {
                return Err(invalid(pos));
            }
            buf.resize(want, 0);
            file.read_exact_at(&mut buf, pos)?;
            buf_at = pos;
            continue;
        };
        let mut d = Decoder::new(body);
        let count = d.uvarint().ok_or_else(|| invalid(pos))?;
        let mut labels = (0..count).map_while(|_| Some((d.uvarint32()?, d.uvarint32()?)));
        each((pos / SERIES_ALIGN) as u32, &mut labels);
        pos = (pos + size as u64).next_multiple_of(SERIES_ALIGN);
    }
    Ok(())
}
