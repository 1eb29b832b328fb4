//! Streams of bits, most significant first.

use super::{ChunkError, Result};

/// Where a writer puts a chunk's bytes: a `Vec`, or a slab slice of the head.
pub trait ChunkBuf {
    /// Appends bytes.
    fn push_bytes(&mut self, bytes: &[u8]);
    /// Sets bits of the last byte.
    fn or_last(&mut self, bits: u8);
    /// Overwrites a byte of the chunk's header.
    fn set(&mut self, at: usize, byte: u8);
}

impl ChunkBuf for Vec<u8> {
    fn push_bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
    fn or_last(&mut self, bits: u8) {
        if let Some(last) = self.last_mut() {
            *last |= bits;
        }
    }
    fn set(&mut self, at: usize, byte: u8) {
        if let Some(b) = self.get_mut(at) {
            *b = byte;
        }
    }
}

/// Writes bits behind what is in `buf`; `free` is the number of unused bits of its last byte.
pub(super) struct BitWriter<'a, B: ChunkBuf> {
    pub(super) buf: &'a mut B,
    pub(super) free: u8,
}

impl<B: ChunkBuf> BitWriter<'_, B> {
    /// The `n` (0 to 64) lowest bits of `value`.
    #[inline]
    pub(super) fn write(&mut self, value: u64, n: u32) {
        if n == 0 {
            return;
        }
        let (mut value, mut n) = (value << (64 - n), n);
        let free = u32::from(self.free);
        if free > 0 {
            // Unused bits are zeros already: a sample like the one before does not touch the bytes.
            let bits = (value >> (64 - free)) as u8;
            if bits != 0 {
                self.buf.or_last(bits);
            }
            if n <= free {
                self.free = (free - n) as u8;
                return;
            }
            value <<= free;
            n -= free;
        }
        let bytes = n.div_ceil(8);
        self.buf.push_bytes(&value.to_be_bytes()[..bytes as usize]);
        self.free = (bytes * 8 - n) as u8;
    }

    pub(super) fn uvarint(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.write(v & 0x7f | 0x80, 8);
            v >>= 7;
        }
        self.write(v, 8);
    }

    pub(super) fn varint(&mut self, v: i64) {
        self.uvarint(((v << 1) ^ (v >> 63)) as u64);
    }
}

/// Reads bits. `buf` holds the next bits left-aligned; at least `avail` of them are there. It may hold
/// true bits of the stream behind those: the refill writes whole words and counts whole bytes.
#[derive(Clone)]
pub(super) struct BitReader<'a> {
    data: &'a [u8],
    pos: usize,
    buf: u64,
    avail: u32,
    /// Sample that is being read, for the error text.
    pub(super) sample: u16,
}

impl<'a> BitReader<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        BitReader { data, pos: 0, buf: 0, avail: 0, sample: 0 }
    }

    /// Makes at least 56 bits available, or all that are left.
    #[inline(always)]
    pub(super) fn refill(&mut self) {
        if let Some(word) = self.data.get(self.pos..).and_then(|rest| rest.first_chunk::<8>()) {
            self.buf |= u64::from_be_bytes(*word) >> self.avail;
            let bytes = (63 - self.avail) >> 3;
            self.pos += bytes as usize;
            self.avail += bytes * 8;
        } else {
            self.refill_tail();
        }
    }

    #[inline(never)]
    fn refill_tail(&mut self) {
        while self.avail <= 56 {
            let Some(byte) = self.data.get(self.pos) else { return };
            self.buf |= u64::from(*byte) << (56 - self.avail);
            self.pos += 1;
            self.avail += 8;
        }
    }

    /// Bits that can be taken without a refill.
    #[inline(always)]
    pub(super) fn avail(&self) -> u32 {
        self.avail
    }
    /// The next bits, left-aligned; only `avail()` of them are sure.
    #[inline(always)]
    pub(super) fn peek(&self) -> u64 {
        self.buf
    }
    /// Takes `n` (below 64) available bits.
    #[inline(always)]
    pub(super) fn consume(&mut self, n: u32) {
        self.buf <<= n;
        self.avail -= n;
    }

    #[cold]
    fn end<T>(&self) -> Result<T> {
        Err(ChunkError::Truncated(self.sample))
    }

    /// The next `n` bits, 1 to 64.
    #[inline(always)]
    pub(super) fn read(&mut self, n: u32) -> Result<u64> {
        if self.avail < n {
            self.refill();
            if self.avail < n {
                if n > 56 {
                    return self.read_wide(n);
                }
                return self.end();
            }
        }
        let v = self.buf >> (64 - n);
        if n == 64 {
            self.buf = 0;
            self.avail = 0;
        } else {
            self.consume(n);
        }
        Ok(v)
    }

    #[inline(never)]
    fn read_wide(&mut self, n: u32) -> Result<u64> {
        let high = self.read(n - 32)?;
        Ok(high << 32 | self.read(32)?)
    }

    #[inline(always)]
    pub(super) fn bit(&mut self) -> Result<bool> {
        Ok(self.read(1)? != 0)
    }

    /// Length of a run of ones, at most `max` (below 32), with the zero that ends a shorter run.
    #[inline(always)]
    pub(super) fn ones(&mut self, max: u32) -> Result<u32> {
        if self.avail < max {
            self.refill();
        }
        let ones = self.buf.leading_ones().min(max);
        let taken = if ones < max { ones + 1 } else { max };
        if self.avail < taken {
            return self.end();
        }
        self.consume(taken);
        Ok(ones)
    }

    pub(super) fn uvarint(&mut self) -> Result<u64> {
        let mut v = 0_u64;
        // Ten groups of seven bits hold 64; the tenth keeps only its lowest bit, as upstream does.
        for shift in (0..70).step_by(7) {
            let byte = self.read(8)?;
            v |= (byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(v);
            }
        }
        Err(ChunkError::Invalid("varint"))
    }

    pub(super) fn varint(&mut self) -> Result<i64> {
        let v = self.uvarint()?;
        Ok((v >> 1) as i64 ^ -((v & 1) as i64))
    }

    /// Bits left, an upper bound for how many things can follow.
    pub(super) fn bits_left(&self) -> u64 {
        (self.data.len() - self.pos.min(self.data.len())) as u64 * 8 + u64::from(self.avail)
    }

    /// Unused bits of the last byte, if the stream ends in the byte of the last bit read.
    pub(super) fn free_at_end(&self) -> Option<u8> {
        u8::try_from(self.bits_left()).ok().filter(|bits| *bits < 8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bits_round_trip(items in prop::collection::vec((any::<u64>(), 1_u32..=64), 0..200)) {
            let mut bytes = Vec::new();
            let mut w = BitWriter { buf: &mut bytes, free: 0 };
            for (v, n) in &items {
                w.write(*v, *n);
            }
            let total: u32 = items.iter().map(|(_, n)| n).sum();
            prop_assert_eq!(bytes.len() as u32, total.div_ceil(8));
            let mut r = BitReader::new(&bytes);
            for (v, n) in &items {
                let mask = if *n == 64 { u64::MAX } else { (1 << n) - 1 };
                prop_assert_eq!(r.read(*n).unwrap(), v & mask);
            }
            prop_assert_eq!(r.free_at_end(), Some((bytes.len() as u32 * 8 - total) as u8));
            prop_assert!(r.read(8).is_err());
        }

        #[test]
        fn varints_round_trip(items in prop::collection::vec(any::<i64>(), 0..50)) {
            let mut bytes = Vec::new();
            let mut w = BitWriter { buf: &mut bytes, free: 0 };
            for v in &items {
                w.write(1, 1);
                w.varint(*v);
            }
            let mut r = BitReader::new(&bytes);
            for v in &items {
                prop_assert!(r.bit().unwrap());
                prop_assert_eq!(r.varint().unwrap(), *v);
            }
        }
    }
}
