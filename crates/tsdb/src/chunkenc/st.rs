//! Start timestamps beside samples (upstream: `chunkenc/st.go`): one header byte says whether the first
//! sample has one and at which sample it first changes; from there on each sample carries the difference
//! to the time of the sample before.

use super::Result;
use super::bits::{BitReader, BitWriter, ChunkBuf};
use super::varbit::{put_int, read_int};

const FIRST_KNOWN: u8 = 0x80;
/// The header has seven bits for the index of the first change: at this one every chunk starts to write.
const CHANGE_INDEX_MAX: u16 = 0x7f;
/// Histogram chunks with start timestamps count samples in 14 bits: the other two hold the reset header.
pub(super) const SAMPLES_MAX: u16 = 0x3fff;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct StEncoder {
    start: i64,
    diff: i64,
    header: u8,
}

impl StEncoder {
    /// Writes what belongs behind sample `index` and gives the header byte where it changed.
    pub(super) fn put<B: ChunkBuf>(
        &mut self,
        w: &mut BitWriter<'_, B>,
        index: u16,
        t: i64,
        previous_t: i64,
        start: i64,
    ) -> Option<u8> {
        let changed = start != self.start;
        self.start = start;
        if index == 0 {
            if start == 0 {
                return None;
            }
            w.varint(t.wrapping_sub(start));
            self.header = FIRST_KNOWN;
            return Some(self.header);
        }
        let diff = previous_t.wrapping_sub(start);
        if self.header & !FIRST_KNOWN != 0 {
            put_int(w, diff.wrapping_sub(self.diff));
            self.diff = diff;
            return None;
        }
        if !changed && index != CHANGE_INDEX_MAX {
            return None;
        }
        put_int(w, diff);
        self.diff = diff;
        self.header |= index.min(CHANGE_INDEX_MAX) as u8;
        Some(self.header)
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct StDecoder {
    header: u8,
    start: i64,
    diff: i64,
}

impl StDecoder {
    pub(super) fn new(header: u8) -> Self {
        StDecoder { header, start: 0, diff: 0 }
    }
    /// Start timestamp of the newest sample, 0 where unknown.
    #[inline(always)]
    pub(super) fn start(&self) -> i64 {
        self.start
    }

    #[inline(always)]
    pub(super) fn read(&mut self, r: &mut BitReader<'_>, index: u16, t: i64, previous_t: i64) -> Result<()> {
        if self.header == 0 {
            return Ok(());
        }
        let change_at = u16::from(self.header & !FIRST_KNOWN);
        if index == 0 {
            if self.header & FIRST_KNOWN != 0 {
                self.start = t.wrapping_sub(r.varint()?);
            }
        } else if change_at > 0 && index >= change_at {
            let diff = read_int(r)?;
            self.diff = if index == change_at { diff } else { self.diff.wrapping_add(diff) };
            self.start = previous_t.wrapping_sub(self.diff);
        }
        Ok(())
    }
}
