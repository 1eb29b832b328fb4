//! Series out of an index whose tables are damaged. Each entry of a series has its own checksum and begins
//! at a multiple of 16, so all entries can be found without the table of contents and without postings; and
//! each string is in the file twice, in the table of symbols and in that of postings.
//!
//! What this gives is for a new block to be written from: other than [`super::IndexReader`] it keeps all
//! symbols in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::Labels;
use storage::StorageError;

use super::codec::{Decoder, corrupt};
use super::reader::{read_chunk_metas, read_toc, table_entry};
use super::section::Section;
use super::{HEADER_BYTES, SERIES_ALIGN, TOC_BYTES, Toc};
use crate::chunks::ChunkMeta;
use crate::disk::{Disk, ReadFile};

type Result<T> = std::result::Result<T, StorageError>;
type Symbols = Vec<Option<Box<str>>>;

/// Largest table of symbols that is read whole: ten million series have less.
const SYMBOLS_BYTES_MAX: u64 = 1 << 30;
/// Largest table in which a flipped bit is looked for: a second of work.
const FLIPPED_BYTES_MAX: u64 = 64 << 20;
/// Places tried for where strings go on behind a damaged length: far more than a name or value is long.
const RESYNC_BYTES_MAX: usize = 64 << 10;
/// Bytes read at once.
const WINDOW_BYTES: usize = 1 << 20;
/// As the reader's bound of an entry.
const ENTRY_BYTES_MAX: u64 = 16 << 20;

/// A series that could be read: its place in the file as an id, labels, chunks.
pub type SalvagedSeries = (u32, Labels, Vec<ChunkMeta>);

/// Goes through the series of a damaged index.
#[derive(Debug)]
pub struct Salvage {
    file: Arc<dyn ReadFile>,
    path: PathBuf,
    symbols: Symbols,
    at: u64,
    end: u64,
    window: Vec<u8>,
    window_at: u64,
    last: Option<Labels>,
    /// Entries with a right checksum that need a string which is lost.
    pub lost: u64,
}

impl Salvage {
    /// Opens what can be read of an index of version 2.
    ///
    /// # Errors
    /// The device failed; the strings cannot be found in either table.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Self> {
        let file = crate::disk::open_around(disk, path)?;
        let len = file.len()?;
        let toc = if len < HEADER_BYTES + TOC_BYTES { None } else { good(read_toc(&*file, len))? };
        let mut found = good(whole_symbols(&file, len))?;
        if found.is_none() {
            found = flipped_symbols(&file, len)?;
        }
        let (symbols, behind) = match found {
            Some(found) => found,
            None => {
                let toc = toc.ok_or_else(|| {
                    corrupt(path, HEADER_BYTES, "neither the symbols nor the table of contents are whole")
                })?;
                (mended_symbols(&file, len, &toc)?, toc.series)
            }
        };
        let at = behind.next_multiple_of(SERIES_ALIGN);
        let end = toc.map_or(len.saturating_sub(TOC_BYTES), |toc| toc.label_indices);
        let path = path.to_path_buf();
        Ok(Salvage { file, path, symbols, at, end, window: Vec::new(), window_at: 0, last: None, lost: 0 })
    }

    /// The strings that are known, sorted.
    pub fn symbols(&self) -> impl Iterator<Item = &str> {
        let known: BTreeSet<&str> = self.symbols.iter().flatten().map(|s| &**s).collect();
        known.into_iter()
    }

    /// The next series, in label order.
    ///
    /// # Errors
    /// The device failed.
    pub fn next_series(&mut self) -> Result<Option<SalvagedSeries>> {
        while self.at < self.end {
            let at = self.at;
            let Some((body, size)) = self.entry(at)? else {
                self.at += SERIES_ALIGN;
                continue;
            };
            self.at = (at + size).next_multiple_of(SERIES_ALIGN);
            let Some(id) = u32::try_from(at / SERIES_ALIGN).ok() else { break };
            match self.parse(&body) {
                // Entries ascend: what does not is no entry.
                Some((labels, chunks)) if self.last.as_ref().is_none_or(|last| *last < labels) => {
                    self.last = Some(labels.clone());
                    return Ok(Some((id, labels, chunks)));
                }
                _ => self.lost += 1,
            }
        }
        Ok(None)
    }

    fn fetch(&mut self, at: u64, len: usize) -> Result<&[u8]> {
        let have = self.window_at + self.window.len() as u64;
        if at < self.window_at || at + len as u64 > have {
            let want = (self.end.saturating_sub(at)).min(len.max(WINDOW_BYTES) as u64);
            self.window.resize(want as usize, 0);
            self.window_at = at;
            self.file.read_exact_at(&mut self.window, at)?;
        }
        let from = (at - self.window_at) as usize;
        Ok(self.window.get(from..self.window.len().min(from + len)).unwrap_or_default())
    }

    /// Content and size of the entry that begins here, if one does.
    fn entry(&mut self, at: u64) -> Result<Option<(Vec<u8>, u64)>> {
        let left = self.end - at;
        let head = self.fetch(at, left.min(16) as usize)?;
        let mut d = Decoder::new(head);
        let Some(len) = d.uvarint() else { return Ok(None) };
        let size = (head.len() - d.len()) as u64 + len.saturating_add(4);
        if len == 0 || len > ENTRY_BYTES_MAX || size > left {
            return Ok(None);
        }
        let skip = head.len() - d.len();
        let whole = self.fetch(at, size as usize)?;
        let mut d = Decoder::new(whole.get(skip..).unwrap_or_default());
        let (Some(body), Some(sum)) = (d.bytes(len as usize), d.be32()) else { return Ok(None) };
        Ok((crc32c::crc32c(body) == sum).then(|| (body.to_vec(), size)))
    }

    fn parse(&self, body: &[u8]) -> Option<(Labels, Vec<ChunkMeta>)> {
        let mut d = Decoder::new(body);
        let count = d.uvarint().filter(|n| *n <= body.len() as u64 / 2)?;
        let mut pairs = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let (name, value) = (d.uvarint32()?, d.uvarint32()?);
            let text = |i: u32| self.symbols.get(i as usize)?.as_deref();
            pairs.push((text(name)?, text(value)?));
        }
        let mut chunks = Vec::new();
        read_chunk_metas(&mut d, &mut chunks)?;
        Some((Labels::from_pairs(pairs), chunks))
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Damage is no answer, other errors are errors.
fn good<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(StorageError::Corrupt { .. }) => Ok(None),
        Err(e) => Err(e),
    }
}

/// All symbols and the offset behind their table, if its checksum holds.
fn whole_symbols(file: &Arc<dyn ReadFile>, len: u64) -> Result<(Symbols, u64)> {
    let mut section = Section::open(file, len, HEADER_BYTES)?;
    let count = section.take(|d| d.be32())?;
    let mut symbols = Symbols::new();
    for _ in 0..count {
        symbols.push(Some(section.take(|d| d.string().map(text_of))?));
    }
    let behind = section.pos() + section.left() + 4;
    section.finish()?;
    Ok((symbols, behind))
}

/// As [`whole_symbols`], of a table in which one bit is another one: its checksum says which.
fn flipped_symbols(file: &Arc<dyn ReadFile>, len: u64) -> Result<Option<(Symbols, u64)>> {
    let mut head = [0; 4];
    if len < HEADER_BYTES + 8 {
        return Ok(None);
    }
    file.read_exact_at(&mut head, HEADER_BYTES)?;
    let size = u64::from(u32::from_be_bytes(head));
    let behind = HEADER_BYTES + 4 + size + 4;
    if size > FLIPPED_BYTES_MAX || behind > len {
        return Ok(None);
    }
    let mut bytes = vec![0; size as usize + 4];
    file.read_exact_at(&mut bytes, HEADER_BYTES + 4)?;
    let Some((table, sum)) = bytes.split_last_chunk_mut::<4>() else { return Ok(None) };
    if !super::flip::mend(table, u32::from_be_bytes(*sum)) {
        return Ok(None);
    }
    let mut d = Decoder::new(table);
    let Some(count) = d.be32() else { return Ok(None) };
    let mut symbols = Symbols::new();
    for _ in 0..count {
        let Some(symbol) = d.string() else { return Ok(None) };
        symbols.push(Some(text_of(symbol)));
    }
    // Where more than a bit is damaged, one that makes the sum right is somewhere now and then.
    let ascending = symbols.is_sorted_by(|a, b| a < b);
    Ok((ascending && d.len() < SERIES_ALIGN as usize).then_some((symbols, behind)))
}

fn text_of(bytes: &[u8]) -> Box<str> {
    String::from_utf8_lossy(bytes).into()
}

/// Symbols of a damaged table: those that the table of postings has as well, and where one is missing
/// between two of these the one that it has there, if its bytes are there too.
fn mended_symbols(file: &Arc<dyn ReadFile>, len: u64, toc: &Toc) -> Result<Symbols> {
    let known = strings_of_postings(file, len, toc.postings_table)?;
    let size = toc.series.saturating_sub(HEADER_BYTES + 4).min(SYMBOLS_BYTES_MAX);
    let mut bytes = vec![0; size as usize];
    file.read_exact_at(&mut bytes, HEADER_BYTES + 4)?;
    let Some((count, table)) = bytes.split_first_chunk::<4>() else { return Ok(Symbols::new()) };
    let count = u32::from_be_bytes(*count) as usize;
    let (found, disturbed) = split(table, count, &known);
    let mut symbols: Vec<(Option<Box<str>>, usize)> =
        found.iter().map(|(s, at)| (known.get(text_of(s).as_ref()).cloned(), *at)).collect();
    if symbols.len() != count
        && let Some((first, last)) = disturbed
    {
        // Some strings were taken for fewer or more than they are: what is in front of these is counted from
        // the front, what is behind from the end.
        let behind = symbols.len() - 1 - last;
        if first + behind >= count {
            return Ok(Symbols::new());
        }
        let tail = symbols.split_off(symbols.len() - behind);
        // The first damaged one is where it seems to be, of others the place is not known.
        symbols.truncate(first + 1);
        symbols.resize(count - behind, (None, usize::MAX));
        symbols.extend(tail);
    }
    // Damage may have made one string of the file into another: it stands in the wrong place then. Which of
    // two that do not ascend it is cannot be seen; both are found again below.
    let mut ascending: Vec<usize> = Vec::with_capacity(symbols.len());
    for i in 0..symbols.len() {
        let text = |i: usize| symbols.get(i).and_then(|(s, _)| s.as_deref());
        let (Some(own), before) = (text(i), ascending.last().copied()) else { continue };
        match before {
            Some(at) if text(at).is_some_and(|before| before >= own) => {
                ascending.pop();
                for wrong in [at, i] {
                    if let Some((s, _)) = symbols.get_mut(wrong) {
                        *s = None;
                    }
                }
            }
            _ => ascending.push(i),
        }
    }
    let present: BTreeSet<Box<str>> = symbols.iter().filter_map(|(s, _)| s.clone()).collect();
    if known.len() - present.len() > MISSING_MAX {
        return Err(corrupt(file.path(), HEADER_BYTES, "too much of the symbols is damaged"));
    }
    // What is missing, by the gap between strings that are there.
    let mut gaps: BTreeMap<usize, Vec<Box<str>>> = BTreeMap::new();
    for missing in known.difference(&present) {
        let before = symbols.iter().rposition(|(s, _)| s.as_ref().is_some_and(|s| s < missing));
        gaps.entry(before.map_or(0, |i| i + 1)).or_default().push(missing.clone());
    }
    for (from, missing) in gaps {
        let gap = symbols.iter().enumerate().skip(from).take_while(|(_, (s, _))| s.is_none());
        let gap: Vec<(usize, usize)> = gap.map(|(slot, (_, at))| (slot, *at)).collect();
        let mut found: Vec<(usize, Box<str>)> = Vec::new();
        let is_near = |at: usize, text: &str| unlike(table, at, text.as_bytes()) <= UNLIKE_BYTES_MAX;
        // Places of strings that no series uses are not like any that is missing.
        let near = gap.iter().filter(|(_, at)| missing.iter().any(|text| is_near(*at, text)));
        let near: Vec<usize> = near.map(|(slot, _)| *slot).collect();
        if gap.len() == missing.len() {
            // Both ascend.
            found.extend(gap.iter().map(|(slot, _)| *slot).zip(missing));
        } else if near.len() == missing.len() {
            found.extend(near.into_iter().zip(missing));
        } else {
            for text in missing {
                let score = |(slot, at): &(usize, usize)| (unlike(table, *at, text.as_bytes()), *slot);
                let mut scores: Vec<(usize, usize)> = gap.iter().map(score).collect();
                scores.sort_unstable();
                // One place that is almost it, and no other.
                if let Some((score, slot)) = scores.first().filter(|(score, _)| *score <= UNLIKE_BYTES_MAX)
                    && scores.get(1).is_none_or(|(next, _)| next > score)
                {
                    found.push((*slot, text));
                }
            }
            let wanted: Vec<usize> = found.iter().map(|(slot, _)| *slot).collect();
            // Two that want one place: neither is certain.
            found.retain(|(slot, _)| wanted.iter().filter(|w| *w == slot).count() == 1);
        }
        for (slot, text) in found {
            if let Some((symbol, _)) = symbols.get_mut(slot) {
                *symbol = Some(text);
            }
        }
    }
    Ok(symbols.into_iter().map(|(s, _)| s).collect())
}

/// Strings that are looked for one by one: a damaged page of 4 KiB has fewer.
const MISSING_MAX: usize = 2048;
/// A string in which so many bytes are damaged is still told from others.
const UNLIKE_BYTES_MAX: usize = 2;

/// How many bytes of `text` are others where it should begin; a damaged length may be a byte longer.
fn unlike(table: &[u8], at: usize, text: &[u8]) -> usize {
    let differing = |at: usize| {
        let there = table.get(at..).unwrap_or_default();
        text.iter().zip(there).filter(|(a, b)| a != b).count() + text.len().saturating_sub(there.len())
    };
    differing(at).min(differing(at.saturating_sub(1)))
}

/// The strings of a table with their places, and the first and last of those that may have been taken for
/// fewer or more than they are. Where a length is damaged, what follows is found by strings that are known.
fn split<'a>(
    bytes: &'a [u8],
    count: usize,
    known: &BTreeSet<Box<str>>,
) -> (Vec<(&'a [u8], usize)>, Option<(usize, usize)>) {
    let mut found: Vec<(&[u8], usize)> = Vec::new();
    let mut disturbed: Option<(usize, usize)> = None;
    let note = |at: usize, before: Option<(usize, usize)>| Some((before.map_or(at, |(first, _)| first), at));
    let is_known = |s: &[u8]| std::str::from_utf8(s).is_ok_and(|s| known.contains(s));
    // Behind the last string there are a checksum and padding.
    let at_end = |d: &Decoder<'_>| d.len() < 4 + SERIES_ALIGN as usize;
    let mut d = Decoder::new(bytes);
    while d.len() > 4 {
        let here = d;
        let text = d.string();
        let place = |s: &[u8], d: &Decoder<'_>| bytes.len() - d.len() - s.len();
        if let Some(s) = text.filter(|s| is_known(s)) {
            found.push((s, place(s, &d)));
            continue;
        }
        if at_end(&here) {
            if found.len() >= count {
                break;
            }
            match text {
                Some(s) if d.len() >= 4 => found.push((s, place(s, &d))),
                _ => {
                    found.push((&[], bytes.len() - here.len() + 1));
                    break;
                }
            }
            continue;
        }
        match text {
            // Damaged within, or one that no series uses; or its length is, and it is told by its place.
            Some(s) if plausible(s) => {
                if s.is_empty() || !({ d }).string().is_some_and(is_known) {
                    disturbed = note(found.len(), disturbed);
                }
                found.push((s, place(s, &d)));
            }
            _ => {
                disturbed = note(found.len(), disturbed);
                found.push((&[], bytes.len() - here.len() + 1));
                let next = (1..here.len().min(RESYNC_BYTES_MAX)).find_map(|skip| {
                    let mut d = here;
                    d.bytes(skip)?;
                    let mut ahead = d;
                    let first = is_known(ahead.string()?);
                    (first && (at_end(&ahead) || ahead.string().is_some_and(is_known))).then_some(d)
                });
                let Some(next) = next else { break };
                d = next;
            }
        }
    }
    (found, disturbed)
}

/// Whether bytes may be a string at all.
fn plausible(s: &[u8]) -> bool {
    std::str::from_utf8(s).is_ok_and(|s| !s.chars().any(char::is_control))
}

/// All names and values of the table of postings.
fn strings_of_postings(file: &Arc<dyn ReadFile>, len: u64, at: u64) -> Result<BTreeSet<Box<str>>> {
    let mut section = Section::open(file, len, at)?;
    let count = section.take(|d| d.be32())?;
    let mut known = BTreeSet::new();
    for _ in 0..count {
        let (name, value) = section.take(|d| table_entry(d).map(|(n, v, _)| (text_of(n), text_of(v))))?;
        known.extend([name, value].into_iter().filter(|s| !s.is_empty()));
    }
    section.finish()?;
    Ok(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunks::ChunkRef;
    use crate::disk::{MemDisk, WriteMode, read_all};
    use crate::index::IndexWriter;

    const PATH: &str = "/index";

    fn series(n: usize) -> (Labels, Vec<ChunkMeta>) {
        let labels = Labels::from_pairs([
            ("__name__", format!("metric_{:02}", n / 4).as_str()),
            ("instance", &format!("host-{}", n % 4)),
        ]);
        let chunk = |k: u64| ChunkMeta {
            mint_ms: k as i64 * 100,
            maxt_ms: k as i64 * 100 + 99,
            chunk: ChunkRef(8 + n as u64 * 50 + k * 20),
        };
        (labels, vec![chunk(0), chunk(1)])
    }

    fn write(disk: &Arc<dyn Disk>) -> Vec<u8> {
        let mut writer = IndexWriter::create(Arc::clone(disk), PATH.as_ref()).unwrap();
        let all: Vec<_> = (0..80).map(series).collect();
        // One that no series uses, as blocks cut from a head have them.
        let mut symbols = BTreeSet::from(["gone_metric".to_string()]);
        for (labels, _) in &all {
            symbols.extend(labels.iter().flat_map(|(n, v)| [n.to_string(), v.to_string()]));
        }
        symbols.iter().for_each(|s| writer.add_symbol(s).unwrap());
        all.iter().for_each(|(labels, chunks)| writer.add_series(labels, chunks).unwrap());
        writer.finish().unwrap();
        read_all(&**disk, PATH.as_ref(), u64::MAX).unwrap()
    }

    /// Series that come back from these bytes; all must be true.
    fn salvaged(disk: &Arc<dyn Disk>, bytes: &[u8]) -> Option<usize> {
        disk.open_write(PATH.as_ref(), WriteMode::Truncate).unwrap().append(bytes).unwrap();
        let mut salvage = Salvage::open(&**disk, PATH.as_ref()).ok()?;
        let mut n = 0;
        while let Some((_, labels, chunks)) = salvage.next_series().unwrap() {
            let at = (0..80).find(|i| series(*i).0 == labels).unwrap_or_else(|| panic!("invented {labels}"));
            assert_eq!(chunks, series(at).1);
            n += 1;
        }
        Some(n)
    }

    #[test]
    fn one_damaged_byte_costs_one_series_or_those_of_one_string() {
        let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
        let good = write(&disk);
        assert_eq!(salvaged(&disk, &good), Some(80));
        let mut worse = Vec::new();
        // All of the symbols and of the table of contents, and some of what is between.
        let tried = (0..good.len()).filter(|at| *at < 350 || at + 60 > good.len() || at.is_multiple_of(13));
        for at in tried.clone() {
            for flip in [0x01, 0xff] {
                let mut bytes = good.clone();
                bytes[at] ^= flip;
                let n =
                    salvaged(&disk, &bytes).unwrap_or_else(|| panic!("nothing is left, byte {at} ^ {flip}"));
                if n < 79 {
                    worse.push((at, flip, n));
                }
            }
        }
        // A string that is damaged so that its place cannot be told takes its series along.
        assert!(worse.len() * 20 <= tried.count(), "{worse:?}");
    }

    #[test]
    fn a_bit_of_the_symbols_costs_nothing() {
        let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
        let good = write(&disk);
        let len = u32::from_be_bytes(good[5..9].try_into().unwrap()) as usize;
        for at in 9..9 + len + 4 {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << (at % 8);
            assert_eq!(salvaged(&disk, &bytes), Some(80), "byte {at}");
        }
    }

    #[test]
    fn zeroed_sectors_invent_nothing() {
        let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
        let good = write(&disk);
        for from in (0..good.len()).step_by(256) {
            let mut bytes = good.clone();
            let to = bytes.len().min(from + 512);
            bytes[from..to].fill(0);
            salvaged(&disk, &bytes);
        }
    }
}
