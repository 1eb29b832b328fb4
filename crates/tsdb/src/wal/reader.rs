//! Reading a segment. Other than upstream, which cuts the log at the first bad byte, a damaged fragment
//! costs its own record only: the reader looks for the next fragment whose checksum holds, in the same page
//! or the next ones, and says what it left out.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::segment::{
    FIRST, FULL, HEADER_BYTES, LAST, MIDDLE, PAGE_BYTES, PAGE_END, SNAPPY, TYPE_MASK, ZSTD,
};
use crate::disk::{Disk, DiskResult, ReadFile, read_around};

/// Bytes read at once: 32 pages.
const READ_BYTES: usize = 32 * PAGE_BYTES;
/// Largest record after decompression. A segment holds 128 MiB compressed; a scrape of a million series
/// makes about 12 MB.
const RECORD_BYTES_MAX: usize = 512 << 20;
/// Snappy's densest element makes 64 bytes of 3.
const SNAPPY_RATIO_MAX: usize = 22;

/// A part of a segment that could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalLoss {
    /// The file.
    pub file: PathBuf,
    /// Where it begins.
    pub offset: u64,
    /// How long it is, in bytes of the file.
    pub bytes: u64,
    /// What is wrong.
    pub why: String,
    /// Times of the nearest samples before and behind, where known: what is lost lies between them.
    pub between_ms: (Option<i64>, Option<i64>),
}

impl std::fmt::Display for WalLoss {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes at {} of {}: {}", self.bytes, self.offset, self.file.display(), self.why)?;
        match self.between_ms {
            (Some(from), Some(to)) => write!(f, "; samples between {from} and {to} may be lost"),
            (Some(from), None) => write!(f, "; samples from {from} on may be lost"),
            (None, Some(to)) => write!(f, "; samples up to {to} may be lost"),
            (None, None) => Ok(()),
        }
    }
}

/// Reads the records of one segment file.
pub struct SegmentReader {
    file: Arc<dyn ReadFile>,
    path: PathBuf,
    len: u64,
    /// File offset of `buf[0]`, a multiple of the page size.
    base: u64,
    buf: Vec<u8>,
    /// Position in the file.
    at: u64,
    /// Bytes of the record that is being put together, and where it began.
    parts: Vec<u8>,
    begun: Option<u64>,
    record: Vec<u8>,
    zstd: Option<zstd::bulk::Decompressor<'static>>,
    losses: Vec<WalLoss>,
    good_end: u64,
    torn: bool,
    /// Records are not decompressed.
    sums_only: bool,
    /// Kinds of records that are wanted, by type byte; others are passed over where that is cheap.
    wanted: Option<fn(u8) -> bool>,
    /// What the disk could not read of what was asked for so far.
    unreadable: Vec<std::ops::Range<u64>>,
}

impl std::fmt::Debug for SegmentReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SegmentReader({}, {} of {})", self.path.display(), self.at, self.len)
    }
}

enum Fragment {
    /// Kind with flags, and the range of its data in `buf`.
    Good(u8, usize, usize),
    Bad(String),
    End,
}

impl SegmentReader {
    /// Opens a segment.
    ///
    /// # Errors
    /// Absent, no permission.
    pub fn open(disk: &dyn Disk, path: &Path) -> DiskResult<Self> {
        SegmentReader::open_at(disk, path, 0)
    }

    /// As [`SegmentReader::open`], from a place on where a record begins.
    ///
    /// # Errors
    /// Absent, no permission.
    pub fn open_at(disk: &dyn Disk, path: &Path, offset: u64) -> DiskResult<Self> {
        let file = disk.open_read(path)?;
        let len = file.len()?;
        Ok(SegmentReader {
            file,
            path: path.to_path_buf(),
            len,
            base: 0,
            buf: Vec::new(),
            at: offset,
            parts: Vec::new(),
            begun: None,
            record: Vec::new(),
            zstd: None,
            losses: Vec::new(),
            good_end: offset,
            torn: false,
            sums_only: false,
            wanted: None,
            unreadable: Vec::new(),
        })
    }

    /// Reads to the end and checks the checksums only: a third of the time of reading records.
    ///
    /// # Errors
    /// The device failed.
    pub fn check(&mut self) -> DiskResult<()> {
        self.sums_only = true;
        while self.next_record()?.is_some() {}
        Ok(())
    }

    /// Passes over records of other kinds where they need not be decompressed for that: callers still look.
    pub(crate) fn want(&mut self, wanted: fn(u8) -> bool) {
        self.wanted = Some(wanted);
    }

    /// Reads up to `until` of the file, and no further than it is long now. True where there is more than before.
    pub fn reach(&mut self, until: u64) -> DiskResult<bool> {
        let len = self.file.len()?.min(until);
        let grown = len > self.len;
        // What is in the buffer behind the old end may have been half written then.
        self.buf.truncate(len.min(self.len).saturating_sub(self.base) as usize);
        self.len = len;
        Ok(grown)
    }

    /// What was left out so far.
    #[must_use]
    pub fn losses(&self) -> &[WalLoss] {
        &self.losses
    }

    /// End of the last good record.
    #[must_use]
    pub fn good_end(&self) -> u64 {
        self.good_end
    }

    /// After the last record: whether the file ends inside a record, as a crash while writing leaves it.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        self.torn
    }

    /// The next record, decompressed; `None` at the end.
    ///
    /// # Errors
    /// The device failed as a whole. Damaged bytes and sectors that cannot be read are no error: see
    /// [`SegmentReader::losses`].
    pub fn next_record(&mut self) -> DiskResult<Option<&[u8]>> {
        loop {
            let start = self.at;
            match self.fragment()? {
                Fragment::End => {
                    if let Some(begun) = self.begun.take() {
                        self.torn = true;
                        self.lose(begun, self.len, "the file ends inside a record".to_string());
                    }
                    return Ok(None);
                }
                Fragment::Bad(why) => {
                    let from = self.begun.take().unwrap_or(start);
                    self.resync(start, from, why)?;
                }
                Fragment::Good(kind, from, to) => {
                    let flags = kind & !TYPE_MASK;
                    let kind = kind & TYPE_MASK;
                    let expected = match self.begun {
                        None => kind == FULL || kind == FIRST,
                        Some(_) => kind == MIDDLE || kind == LAST,
                    };
                    let begins = kind == FULL || kind == FIRST;
                    if !expected {
                        let lost_from = self.begun.take().unwrap_or(start);
                        let lost_to = if begins { start } else { self.at };
                        self.lose(lost_from, lost_to, "fragments out of sequence".to_string());
                        if !begins {
                            continue;
                        }
                    }
                    if begins {
                        self.begun = Some(start);
                        self.parts.clear();
                    }
                    if self.parts.len() + (to - from) > RECORD_BYTES_MAX {
                        let begun = self.begun.take().unwrap_or(start);
                        self.lose(begun, self.at, "record is too large".to_string());
                        continue;
                    }
                    self.parts.extend_from_slice(&self.buf[from..to]);
                    if kind == FULL || kind == LAST {
                        let begun = self.begun.take().unwrap_or(start);
                        let flags = if self.sums_only { 0 } else { flags };
                        if self.wanted.is_some_and(|w| first_byte(&self.parts, flags).is_some_and(|k| !w(k)))
                        {
                            self.good_end = self.at;
                            continue;
                        }
                        match self.decompress(flags) {
                            Ok(()) => {
                                self.good_end = self.at;
                                return Ok(Some(if flags == 0 { &self.parts } else { &self.record }));
                            }
                            Err(why) => self.lose(begun, self.at, why),
                        }
                    }
                }
            }
        }
    }

    /// Says that the record just given does not decode.
    pub fn reject_record(&mut self, why: &dyn std::fmt::Display) {
        self.losses.push(WalLoss {
            file: self.path.clone(),
            offset: self.good_end,
            bytes: self.parts.len() as u64,
            why: format!("record that ends here does not decode: {why}"),
            between_ms: (None, None),
        });
    }

    /// Whether the disk could not read some of these bytes.
    fn cannot_read(&self, from: u64, to: u64) -> bool {
        self.unreadable.iter().any(|bad| bad.start < to && from < bad.end)
    }

    fn lose(&mut self, from: u64, to: u64, why: String) {
        let why = if self.cannot_read(from, to) { "the disk cannot read it".to_string() } else { why };
        match self.losses.last_mut() {
            Some(last) if last.offset + last.bytes >= from => last.bytes = to.max(from) - last.offset,
            _ => self.losses.push(WalLoss {
                file: self.path.clone(),
                offset: from,
                bytes: to.saturating_sub(from),
                why,
                between_ms: (None, None),
            }),
        }
    }

    fn decompress(&mut self, flags: u8) -> Result<(), String> {
        if flags & SNAPPY != 0 {
            let claimed = snap::raw::decompress_len(&self.parts).map_err(|e| e.to_string())?;
            if claimed > self.parts.len().saturating_mul(SNAPPY_RATIO_MAX) || claimed > RECORD_BYTES_MAX {
                return Err(format!("snappy claims {claimed} bytes from {}", self.parts.len()));
            }
            self.record.resize(claimed, 0);
            let n = snap::raw::Decoder::new()
                .decompress(&self.parts, &mut self.record)
                .map_err(|e| e.to_string())?;
            self.record.truncate(n);
        } else if flags & ZSTD != 0 {
            let claimed = zstd::zstd_safe::get_frame_content_size(&self.parts).ok().flatten();
            let size = match claimed.map(usize::try_from) {
                Some(Ok(n)) if n <= RECORD_BYTES_MAX => n,
                // Without a size: upstream's writer makes none larger than this in one frame.
                None => (self.parts.len() * 64).clamp(64 << 10, RECORD_BYTES_MAX),
                _ => return Err(format!("zstd claims {claimed:?} bytes")),
            };
            if self.zstd.is_none() {
                self.zstd = Some(zstd::bulk::Decompressor::new().map_err(|e| e.to_string())?);
            }
            self.record.resize(size, 0);
            if let Some(zstd) = &mut self.zstd {
                let n = zstd
                    .decompress_to_buffer(&self.parts, &mut self.record[..])
                    .map_err(|e| e.to_string())?;
                self.record.truncate(n);
            }
        }
        Ok(())
    }

    /// Bytes in `buf` from the read position to the end of its page, loading them where needed.
    fn page(&mut self) -> DiskResult<(usize, usize)> {
        let loaded = self.base + self.buf.len() as u64;
        if self.at >= loaded && self.at < self.len || self.at < self.base {
            self.base = self.at / PAGE_BYTES as u64 * PAGE_BYTES as u64;
            let size = (self.len - self.base).min(READ_BYTES as u64) as usize;
            self.buf.resize(size, 0);
            for bad in read_around(&*self.file, &mut self.buf, self.base)? {
                // Once, however often it is read again.
                if !self.unreadable.contains(&bad) {
                    self.unreadable.push(bad);
                }
            }
        }
        let from = (self.at - self.base) as usize;
        let page_end = (from / PAGE_BYTES + 1) * PAGE_BYTES;
        Ok((from.min(self.buf.len()), page_end.min(self.buf.len())))
    }

    fn fragment(&mut self) -> DiskResult<Fragment> {
        loop {
            if self.at >= self.len {
                return Ok(Fragment::End);
            }
            let (from, to) = self.page()?;
            let page_end = self.at / PAGE_BYTES as u64 * PAGE_BYTES as u64 + PAGE_BYTES as u64;
            let rest = &self.buf[from..to];
            let Some(kind) = rest.first().copied() else { return Ok(Fragment::End) };
            if kind & TYPE_MASK == PAGE_END {
                if rest.iter().any(|b| *b != 0) {
                    return Ok(Fragment::Bad("bytes in the padding of a page".to_string()));
                }
                self.at = page_end;
                continue;
            }
            return Ok(match parse(rest) {
                Ok(size) => {
                    self.at += (HEADER_BYTES + size) as u64;
                    Fragment::Good(kind, from + HEADER_BYTES, from + HEADER_BYTES + size)
                }
                // A header or data that the file's end cuts off: the tail of a crash.
                Err(_) if self.len < page_end && torn_tail(rest) && !self.cannot_read(self.at, self.len) => {
                    self.torn = true;
                    self.begun.get_or_insert(self.at);
                    self.at = self.len;
                    Fragment::End
                }
                Err(why) => Fragment::Bad(why),
            });
        }
    }

    /// Goes to the next fragment behind `bad` that begins a record and whose checksum holds.
    fn resync(&mut self, bad: u64, from: u64, why: String) -> DiskResult<()> {
        // Where the next one begins if the bad one's length is not what is damaged.
        self.at = bad;
        let (start, end) = self.page()?;
        let length =
            self.buf[start..end].get(1..3).map_or(0, |b| u64::from(u16::from_be_bytes([b[0], b[1]])));
        let next = bad + HEADER_BYTES as u64 + length;
        self.at = bad + 1;
        while self.at < self.len {
            let (start, end) = self.page()?;
            let page = &self.buf[start..end];
            for i in 0..page.len() {
                let rest = &page[i..];
                let kind = rest[0];
                let begins =
                    matches!(kind & TYPE_MASK, FULL | FIRST) && kind & !(TYPE_MASK | SNAPPY | ZSTD) == 0;
                // Empty fragments, of a record whose header alone fits into a page, have a checksum of zero, which
                // any run of zeros would pass for: only where one is expected.
                let expected = self.at + i as u64 == next;
                if begins && parse(rest).is_ok_and(|size| size > 0 || expected) {
                    self.at += i as u64;
                    self.lose(from, self.at, why);
                    return Ok(());
                }
            }
            self.at += page.len().max(1) as u64;
        }
        self.at = self.len;
        self.lose(from, self.len, why);
        Ok(())
    }
}

/// First byte of a record without decompressing it: snappy begins with the record's length and a literal.
fn first_byte(stored: &[u8], flags: u8) -> Option<u8> {
    match flags {
        0 => stored.first().copied(),
        SNAPPY => {
            // A varint of at most five bytes.
            let length = stored.iter().take(5).position(|b| *b < 0x80)? + 1;
            let tag = *stored.get(length)?;
            if tag & 3 != 0 {
                return None;
            }
            // Literals above 60 bytes have one to four bytes of length behind the tag.
            let more = usize::from((tag >> 2).saturating_sub(59));
            stored.get(length + 1 + more).copied()
        }
        _ => None,
    }
}

/// Length of the data of the fragment at the start of `rest`, its checksum checked.
fn parse(rest: &[u8]) -> Result<usize, String> {
    let Some((header, data)) = rest.split_first_chunk::<HEADER_BYTES>() else {
        return Err("no room for a header".to_string());
    };
    if header[0] & TYPE_MASK > LAST {
        return Err(format!("fragment type {}", header[0]));
    }
    let size = usize::from(u16::from_be_bytes([header[1], header[2]]));
    let Some(data) = data.get(..size) else {
        return Err(format!("fragment of {size} bytes reaches behind its page"));
    };
    let sum = u32::from_be_bytes([header[3], header[4], header[5], header[6]]);
    if crc32c::crc32c(data) != sum {
        return Err("checksum does not match".to_string());
    }
    Ok(size)
}

/// Whether these last bytes of a file are a fragment whose end is missing.
fn torn_tail(rest: &[u8]) -> bool {
    match rest.split_first_chunk::<HEADER_BYTES>() {
        None => true,
        Some((header, data)) => data.len() < usize::from(u16::from_be_bytes([header[1], header[2]])),
    }
}
