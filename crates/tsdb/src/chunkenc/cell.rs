//! One number of a sample, predicted from the sample before: integers by the difference of differences,
//! floats by exclusive or.

use super::bits::{BitReader, BitWriter, ChunkBuf};
use super::varbit::{put_int, put_uint, read_int, read_uint};
use super::{ChunkError, Result};

/// Leading zeros when no window was written yet.
const NO_WINDOW: u8 = 0xff;

/// The window of significant bits that the next float may reuse.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    leading: u8,
    trailing: u8,
}

impl Default for Window {
    fn default() -> Self {
        Window { leading: NO_WINDOW, trailing: 0 }
    }
}

impl Window {
    /// Leading and trailing zeros.
    pub(super) fn parts(self) -> (u8, u8) {
        (self.leading, self.trailing)
    }

    /// Of leading and trailing zeros; `None` where they are no window's.
    pub(super) fn from_parts((leading, trailing): (u8, u8)) -> Option<Self> {
        let known =
            leading == NO_WINDOW && trailing == 0 || leading < 32 && trailing < 64 && leading + trailing < 64;
        known.then_some(Window { leading, trailing })
    }

    /// Writes a difference that is not 0: `reuse` and the significant bits where they fit in the last
    /// window, else `renew`, the new window and the bits. Both prefixes are (bits, width).
    #[inline]
    pub(super) fn put<B: ChunkBuf>(
        &mut self,
        w: &mut BitWriter<'_, B>,
        xor: u64,
        reuse: (u64, u32),
        renew: (u64, u32),
    ) {
        // Five bits hold the number of leading zeros.
        let leading = (xor.leading_zeros() as u8).min(31);
        let trailing = xor.trailing_zeros() as u8;
        let reused = self.leading != NO_WINDOW && leading >= self.leading && trailing >= self.trailing;
        let (head, width) = if reused {
            reuse
        } else {
            *self = Window { leading, trailing };
            // 64 significant bits are written as 0: there are never none.
            let significant = u64::from((64 - leading - trailing) & 63);
            ((renew.0 << 5 | u64::from(leading)) << 6 | significant, renew.1 + 11)
        };
        let significant = u32::from(64 - self.leading - self.trailing);
        // One write where it can be: most differences are short.
        if width + significant <= 64 {
            w.write(head << significant | xor >> self.trailing, width + significant);
        } else {
            w.write(head, width);
            w.write(xor >> self.trailing, significant);
        }
    }

    /// Reads the significant bits in the last window. Before any window was written, it is the whole word:
    /// appenders that upstream resumes write so.
    #[inline(always)]
    pub(super) fn reuse(self, r: &mut BitReader<'_>) -> Result<u64> {
        if self.leading == NO_WINDOW {
            return r.read(64);
        }
        Ok(r.read(u32::from(64 - self.leading - self.trailing))? << self.trailing)
    }

    /// Reads a new window and its bits.
    #[inline(always)]
    pub(super) fn renew(&mut self, r: &mut BitReader<'_>) -> Result<u64> {
        let head = r.read(11)?;
        let leading = (head >> 6) as u8;
        let significant = if head & 63 == 0 { 64 } else { (head & 63) as u8 };
        let Some(trailing) = 64_u8.checked_sub(leading + significant) else {
            return Err(ChunkError::Invalid("float window"));
        };
        *self = Window { leading, trailing };
        Ok(r.read(u32::from(significant))? << trailing)
    }
}

/// A predicted number.
pub(super) trait Cell: Copy + Default + std::fmt::Debug {
    type Value: Copy + std::fmt::Debug;
    fn value(self) -> Self::Value;
    fn put_first<B: ChunkBuf>(&mut self, w: &mut BitWriter<'_, B>, v: Self::Value);
    fn put_next<B: ChunkBuf>(&mut self, w: &mut BitWriter<'_, B>, v: Self::Value);
    /// Of a stale marker, which has no counts.
    fn put_stale<B: ChunkBuf>(&mut self, w: &mut BitWriter<'_, B>);
    fn read_first(&mut self, r: &mut BitReader<'_>) -> Result<()>;
    fn read_next(&mut self, r: &mut BitReader<'_>) -> Result<()>;
    /// Fewest bits of a first value: how many cells a stream of known length can hold.
    const FIRST_BITS_MIN: u64;
}

/// A float.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct XorCell {
    bits: u64,
    window: Window,
}

impl XorCell {
    /// Writes the next value behind `zeros` (0 or 1) zero bits.
    #[inline]
    pub(super) fn put_behind<B: ChunkBuf>(&mut self, w: &mut BitWriter<'_, B>, v: f64, zeros: u32) {
        let xor = v.to_bits() ^ self.bits;
        self.bits = v.to_bits();
        if xor == 0 {
            w.write(0, 1 + zeros);
        } else {
            self.window.put(w, xor, (0b10, 2 + zeros), (0b11, 2 + zeros));
        }
    }

    /// Of its parts.
    #[inline(always)]
    pub(super) fn of(bits: u64, window: Window) -> Self {
        XorCell { bits, window }
    }

    /// Bits of the value, and the window.
    #[inline(always)]
    pub(super) fn split(self) -> (u64, Window) {
        (self.bits, self.window)
    }
}

impl Cell for XorCell {
    type Value = f64;
    const FIRST_BITS_MIN: u64 = 64;

    #[inline(always)]
    fn value(self) -> f64 {
        f64::from_bits(self.bits)
    }
    fn put_first<B: ChunkBuf>(&mut self, w: &mut BitWriter<'_, B>, v: f64) {
        self.bits = v.to_bits();
        w.write(self.bits, 64);
    }
    #[inline]
    fn put_next<B: ChunkBuf>(&mut self, w: &mut BitWriter<'_, B>, v: f64) {
        self.put_behind(w, v, 0);
    }
    fn put_stale<B: ChunkBuf>(&mut self, w: &mut BitWriter<'_, B>) {
        self.put_next(w, 0.0);
    }
    fn read_first(&mut self, r: &mut BitReader<'_>) -> Result<()> {
        self.bits = r.read(64)?;
        Ok(())
    }
    #[inline(always)]
    fn read_next(&mut self, r: &mut BitReader<'_>) -> Result<()> {
        match r.ones(2)? {
            0 => {}
            1 => self.bits ^= self.window.reuse(r)?,
            _ => self.bits ^= self.window.renew(r)?,
        }
        Ok(())
    }
}

/// An integer; the first one is written as an unsigned number where `UNSIGNED`.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DodCell<const UNSIGNED: bool> {
    value: i64,
    delta: i64,
}

impl<const UNSIGNED: bool> Cell for DodCell<UNSIGNED> {
    type Value = i64;
    const FIRST_BITS_MIN: u64 = 1;

    #[inline(always)]
    fn value(self) -> i64 {
        self.value
    }
    fn put_first<B: ChunkBuf>(&mut self, w: &mut BitWriter<'_, B>, v: i64) {
        *self = DodCell { value: v, delta: 0 };
        if UNSIGNED { put_uint(w, v as u64) } else { put_int(w, v) }
    }
    fn put_next<B: ChunkBuf>(&mut self, w: &mut BitWriter<'_, B>, v: i64) {
        let delta = v.wrapping_sub(self.value);
        put_int(w, delta.wrapping_sub(self.delta));
        *self = DodCell { value: v, delta };
    }
    fn put_stale<B: ChunkBuf>(&mut self, w: &mut BitWriter<'_, B>) {
        // Only stale markers can follow, so the state does not matter any more.
        w.write(0, 1);
    }
    fn read_first(&mut self, r: &mut BitReader<'_>) -> Result<()> {
        let value = if UNSIGNED { read_uint(r)? as i64 } else { read_int(r)? };
        *self = DodCell { value, delta: 0 };
        Ok(())
    }
    #[inline]
    fn read_next(&mut self, r: &mut BitReader<'_>) -> Result<()> {
        self.delta = self.delta.wrapping_add(read_int(r)?);
        self.value = self.value.wrapping_add(self.delta);
        Ok(())
    }
}
