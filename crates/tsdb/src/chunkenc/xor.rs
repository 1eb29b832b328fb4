//! Floats: times by difference of differences, values by exclusive or (upstream: `chunkenc/xor.go`).

use storage::SampleBuf;

use super::bits::{BitReader, BitWriter, ChunkBuf};
use super::cell::{Cell, Window, XorCell};
use super::varbit::signed;
use super::{ChunkError, Result};

/// Bytes that one more sample takes at most: 4 + 64 bits of time, 2 + 11 + 64 of value, and the header's
/// 2 with the first one. A buffer with that much room never grows within an append.
pub const XOR_SAMPLE_BYTES_MAX: usize = 19 + 2;

/// State of an open chunk: what the next sample is compared with. The bytes are the caller's; the number of
/// samples at their front is only right after [`XorAppender::put_count`], because to keep it so would bring one
/// more cache line of the chunk into each append.
#[derive(Clone, Copy, Debug, Default)]
pub struct XorAppender {
    t: i64,
    delta: u64,
    // A cell in its parts, which as one would take eight bytes more.
    value: u64,
    window: Window,
    num: u16,
    free: u8,
}

/// What a [`XorAppender`] consists of, for whoever keeps it elsewhere for a while.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct XorState {
    /// Time of the newest sample.
    pub t_ms: i64,
    /// Its distance to the one before.
    pub delta: u64,
    /// Bits of its value.
    pub value: u64,
    /// Leading and trailing zeros of the window that the next value may reuse; (255, 0) before the first.
    pub window: (u8, u8),
    /// Samples.
    pub samples: u16,
    /// Unused bits of the last byte.
    pub free: u8,
}

fn dod_fits(dod: i64, bits: u32) -> bool {
    (-((1 << (bits - 1)) - 1)..=1 << (bits - 1)).contains(&dod)
}

/// Writes a time's difference of differences, but for the one zero bit that says "none": that many (0 or 1) zero
/// bits go before the value, with one write.
#[inline]
pub(super) fn put_dod<B: ChunkBuf>(w: &mut BitWriter<'_, B>, dod: i64) -> u32 {
    match dod {
        0 => return 1,
        _ if dod_fits(dod, 14) => w.write(0b10 << 14 | dod as u64 & 0x3fff, 16),
        _ if dod_fits(dod, 17) => w.write(0b110 << 17 | dod as u64 & 0x1_ffff, 20),
        _ if dod_fits(dod, 20) => w.write(0b1110 << 20 | dod as u64 & 0xf_ffff, 24),
        _ => {
            w.write(0b1111, 4);
            w.write(dod as u64, 64);
        }
    }
    0
}

impl XorAppender {
    /// Of a chunk without samples; its buffer must be empty.
    #[must_use]
    pub fn new() -> Self {
        XorAppender::default()
    }

    /// Of a chunk that was written before, to go on with it.
    ///
    /// # Errors
    /// Malformed bytes, or bytes behind the last sample.
    pub fn resume(data: &[u8]) -> Result<Self> {
        let mut reader = XorReader::new(data)?;
        while reader.next()?.is_some() {}
        let free = reader.bits.free_at_end().ok_or(ChunkError::Invalid("bytes behind the last sample"))?;
        let (value, window) = reader.value.split();
        Ok(XorAppender { t: reader.t, delta: reader.delta, value, window, num: reader.total, free })
    }

    /// Writes the number of samples into the front of the chunk's bytes.
    pub fn put_count(&self, bytes: &mut [u8]) {
        if let Some(count) = bytes.first_chunk_mut() {
            *count = self.num.to_be_bytes();
        }
    }

    /// Its state. With the chunk's bytes it is all that [`XorAppender::from_state`] needs.
    #[must_use]
    pub fn state(&self) -> XorState {
        let (t_ms, delta, value, window) = (self.t, self.delta, self.value, self.window.parts());
        XorState { t_ms, delta, value, window, samples: self.num, free: self.free }
    }

    /// From a state, without a look at the chunk's bytes.
    ///
    /// # Errors
    /// A state that no appender has.
    pub fn from_state(s: XorState) -> Result<Self> {
        let window = Window::from_parts(s.window).ok_or(ChunkError::Invalid("float window"))?;
        if s.free > 7 {
            return Err(ChunkError::Invalid("number of free bits"));
        }
        let (t, delta, value) = (s.t_ms, s.delta, s.value);
        Ok(XorAppender { t, delta, value, window, num: s.samples, free: s.free })
    }

    /// Number of samples so far.
    #[must_use]
    pub fn len(&self) -> u16 {
        self.num
    }
    /// True before the first sample.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.num == 0
    }
    /// The newest sample.
    #[must_use]
    pub fn last(&self) -> Option<(i64, f64)> {
        (self.num > 0).then(|| (self.t, f64::from_bits(self.value)))
    }

    /// Appends a sample to the chunk in `buf`.
    ///
    /// # Errors
    /// [`ChunkError::Full`].
    #[inline]
    pub fn append<B: ChunkBuf>(&mut self, buf: &mut B, t_ms: i64, v: f64) -> Result<()> {
        let delta = t_ms.wrapping_sub(self.t) as u64;
        let mut value = XorCell::of(self.value, self.window);
        match self.num {
            0 => {
                buf.push_bytes(&[0, 0]);
                let mut w = BitWriter { buf, free: 0 };
                w.varint(t_ms);
                value.put_first(&mut w, v);
                self.free = w.free;
            }
            1 => {
                let mut w = BitWriter { buf, free: self.free };
                w.uvarint(delta);
                value.put_next(&mut w, v);
                (self.delta, self.free) = (delta, w.free);
            }
            u16::MAX => return Err(ChunkError::Full),
            _ => {
                let mut w = BitWriter { buf, free: self.free };
                let zeros = put_dod(&mut w, delta.wrapping_sub(self.delta) as i64);
                value.put_behind(&mut w, v, zeros);
                (self.delta, self.free) = (delta, w.free);
            }
        }
        (self.value, self.window) = value.split();
        self.t = t_ms;
        self.num += 1;
        Ok(())
    }
}

struct XorReader<'a> {
    bits: BitReader<'a>,
    total: u16,
    read: u16,
    t: i64,
    delta: u64,
    value: XorCell,
}

impl<'a> XorReader<'a> {
    fn new(data: &'a [u8]) -> Result<Self> {
        let Some((count, rest)) = data.split_first_chunk::<2>() else {
            return Err(ChunkError::TooShort(data.len()));
        };
        let bits = BitReader::new(rest);
        let total = u16::from_be_bytes(*count);
        Ok(XorReader { bits, total, read: 0, t: 0, delta: 0, value: XorCell::default() })
    }

    #[inline(always)]
    fn next(&mut self) -> Result<Option<(i64, f64)>> {
        if self.read >= 2 && self.read < self.total {
            if self.bits.avail() < 32 {
                self.bits.refill();
            }
            // Same distance, same value: two zeros, the most frequent sample of all.
            if self.bits.peek() >> 62 == 0 && self.bits.avail() >= 2 {
                self.bits.consume(2);
                self.t = self.t.wrapping_add(self.delta as i64);
                self.read += 1;
                return Ok(Some((self.t, self.value.value())));
            }
            self.bits.sample = self.read;
            let dod = match self.bits.ones(4)? {
                0 => 0,
                1 => signed(self.bits.read(14)?, 14),
                2 => signed(self.bits.read(17)?, 17),
                3 => signed(self.bits.read(20)?, 20),
                _ => self.bits.read(64)? as i64,
            };
            self.delta = self.delta.wrapping_add(dod as u64);
            self.t = self.t.wrapping_add(self.delta as i64);
            self.value.read_next(&mut self.bits)?;
        } else {
            return self.next_of_start();
        }
        self.read += 1;
        Ok(Some((self.t, self.value.value())))
    }

    #[inline(never)]
    fn next_of_start(&mut self) -> Result<Option<(i64, f64)>> {
        if self.read >= self.total {
            return Ok(None);
        }
        self.bits.sample = self.read;
        if self.read == 0 {
            self.t = self.bits.varint()?;
            self.value.read_first(&mut self.bits)?;
        } else {
            self.delta = self.bits.uvarint()?;
            self.t = self.t.wrapping_add(self.delta as i64);
            self.value.read_next(&mut self.bits)?;
        }
        self.read += 1;
        Ok(Some((self.t, self.value.value())))
    }
}

/// Bytes that must lie before the end where a sample is read without a look at the end: a sample of 145 bits
/// (4 + 64 of time, 2 + 11 + 64 of value), of which the last word is loaded as a whole and begins in its 113th
/// bit at most, is within 23.
const MARGIN_BYTES: usize = 32;

/// The 64 bits from the byte of bit `at` on, shifted so that this bit is the first: 57 of them are sure.
#[inline(always)]
fn word_at(data: &[u8], at: usize) -> u64 {
    let word = data.get(at >> 3..).and_then(|rest| rest.first_chunk::<8>());
    // Never `None`: callers keep the margin.
    u64::from_be_bytes(*word.unwrap_or(&[0; 8])) << (at & 7)
}

/// Where a decoder stands behind the first two samples. Bits are addressed by their place, and a word is loaded
/// for each part of a sample: how many bits a sample takes is not foreseeable, and a reader that asks whether it
/// has to refill (as [`BitReader`] does) pays for a wrong guess of the branch more than for the load.
struct Stretch {
    at: usize,
    read: u16,
    t: i64,
    delta: u64,
    bits: u64,
    significant: u32,
    trailing: u32,
}

impl Stretch {
    fn new(reader: &XorReader<'_>, len: usize) -> Self {
        let (bits, window) = reader.value.split();
        // Before any window was written, the whole word is it.
        let (leading, trailing) = match window.parts() {
            (leading, trailing) if leading < 64 => (leading, trailing),
            _ => (0, 0),
        };
        Stretch {
            at: len * 8 - reader.bits.bits_left() as usize,
            read: reader.read,
            t: reader.t,
            delta: reader.delta,
            bits,
            significant: 64 - u32::from(leading) - u32::from(trailing),
            trailing: u32::from(trailing),
        }
    }

    /// Reads samples up to `total` as long as `data` has [`MARGIN_BYTES`] before its end, and none beyond `end`, in
    /// bits. `take` says whether to go on.
    #[inline(always)]
    fn run(
        &mut self,
        data: &[u8],
        end: usize,
        total: u16,
        mut take: impl FnMut(i64, f64) -> bool,
    ) -> Result<bool> {
        let &mut Stretch { mut at, mut read, mut t, mut delta, mut bits, mut significant, mut trailing } =
            self;
        let truncated = |read: u16| Err(ChunkError::Truncated(read));
        while read < total && (at >> 3) + MARGIN_BYTES <= data.len() {
            let mut word = word_at(data, at);
            let mut used = 1;
            if word >> 63 != 0 {
                let ones = (word.leading_ones()).min(4);
                let width = match ones {
                    1 => 14,
                    2 => 17,
                    3 => 20,
                    _ => 64,
                };
                let dod = if width == 64 {
                    at += 4;
                    used = 64;
                    let high = word_at(data, at) >> 32;
                    (high << 32 | word_at(data, at + 32) >> 32) as i64
                } else {
                    used = ones + 1 + width;
                    signed(word << (ones + 1) >> (64 - width), width)
                };
                delta = delta.wrapping_add(dod as u64);
                if used < 64 {
                    word <<= used;
                } else {
                    (at, used) = (at + 64, 0);
                    word = word_at(data, at);
                }
            } else {
                word <<= 1;
            }
            t = t.wrapping_add(delta as i64);
            if word >> 63 == 0 {
                at += used as usize + 1;
            } else {
                if word >> 62 == 2 {
                    at += used as usize + 2;
                } else {
                    at += used as usize + 13;
                    let (leading, width) = ((word >> 57 & 31) as u32, (word >> 51 & 63) as u32);
                    significant = if width == 0 { 64 } else { width };
                    if at > end {
                        return truncated(read);
                    }
                    let Some(zeros) = 64_u32.checked_sub(leading + significant) else {
                        return Err(ChunkError::Invalid("float window"));
                    };
                    trailing = zeros;
                }
                let mut xor = word_at(data, at);
                if significant > 57 {
                    xor = xor >> 32 << 32 | word_at(data, at + 32) >> 32;
                }
                bits ^= xor >> (64 - significant) << trailing;
                at += significant as usize;
            }
            if at > end {
                return truncated(read);
            }
            read += 1;
            if !take(t, f64::from_bits(bits)) {
                return Ok(false);
            }
        }
        *self = Stretch { at, read, t, delta, bits, significant, trailing };
        Ok(read < total)
    }
}

pub(super) fn decode(data: &[u8], mint_ms: i64, maxt_ms: i64, out: &mut SampleBuf) -> Result<()> {
    let reader = XorReader::new(data)?;
    // A sample takes two bits at least, so a short chunk cannot make this large.
    let (from, room) = (out.times.len(), usize::from(reader.total).min(data.len() * 4));
    // Room for all at once: a push that may grow costs more than the sample.
    out.times.resize(from + room, 0);
    out.values.resize(from + room, 0.0);
    let mut found = 0;
    let slots = out.times[from..].iter_mut().zip(&mut out.values[from..]);
    let result = decode_into(reader, data, (mint_ms, maxt_ms), slots, &mut found);
    out.times.truncate(from + found);
    out.values.truncate(from + found);
    if !out.starts.is_empty() {
        out.starts.resize(out.times.len(), 0);
    }
    result
}

fn decode_into<'a>(
    mut reader: XorReader<'_>,
    data: &[u8],
    (mint_ms, maxt_ms): (i64, i64),
    mut slots: impl Iterator<Item = (&'a mut i64, &'a mut f64)>,
    found: &mut usize,
) -> Result<()> {
    let mut n = 0;
    let mut take = |t: i64, v: f64| {
        if t > maxt_ms {
            return false;
        }
        if t >= mint_ms {
            let Some((time, value)) = slots.next() else { return false };
            (*time, *value) = (t, v);
            n += 1;
        }
        true
    };
    let mut all = || {
        for _ in 0..2 {
            match reader.next()? {
                Some((t, v)) if take(t, v) => {}
                _ => return Ok(()),
            }
        }
        let mut stretch = Stretch::new(&reader, data.len());
        let end = data.len() * 8;
        if !stretch.run(data, end, reader.total, &mut take)? {
            return Ok(());
        }
        // What is left goes to where there is room behind it.
        let first = stretch.at >> 3;
        let rest = data.get(first..).unwrap_or_default();
        let mut tail = [0; 2 * MARGIN_BYTES];
        let Some(room) = tail.get_mut(..rest.len()) else { return Ok(()) };
        room.copy_from_slice(rest);
        stretch.at -= first * 8;
        if stretch.run(&tail, end - first * 8, reader.total, &mut take)? {
            return Err(ChunkError::Truncated(stretch.read));
        }
        Ok(())
    };
    let result = all();
    *found = n;
    result
}

const _: () = assert!(size_of::<XorAppender>() == 32);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Sample by sample, by the reader that takes bits as they come.
    fn slowly(data: &[u8], mint_ms: i64, maxt_ms: i64) -> (Vec<(i64, u64)>, Result<()>) {
        let mut all = Vec::new();
        let mut read = || {
            let mut reader = XorReader::new(data)?;
            while let Some((t, v)) = reader.next()? {
                if t > maxt_ms {
                    break;
                }
                if t >= mint_ms {
                    all.push((t, v.to_bits()));
                }
            }
            Ok(())
        };
        let result = read();
        (all, result)
    }

    fn check(data: &[u8], mint_ms: i64, maxt_ms: i64) -> std::result::Result<(), TestCaseError> {
        let mut out = SampleBuf::default();
        out.push(7, 7.0);
        let result = decode(data, mint_ms, maxt_ms, &mut out);
        let (expected, as_before) = slowly(data, mint_ms, maxt_ms);
        let all = out.times.iter().copied().zip(out.values.iter().map(|v| v.to_bits()));
        prop_assert_eq!(all.skip(1).collect::<Vec<_>>(), expected);
        prop_assert_eq!(result, as_before);
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        /// Any bytes give the same samples and the same error, and so do written ones with any of them changed or cut
        /// off.
        #[test]
        fn words_and_bits_give_the_same(
            junk in prop::collection::vec(any::<u8>(), 0..400),
            steps in prop::collection::vec(
                (
                    prop_oneof![4 => Just(0_i64), 2 => -9000_i64..9000, 1 => -1_i64 << 19..1 << 19, 1 => any::<i64>()],
                    prop_oneof![3 => Just(0_u64), 3 => (0_u32..64).prop_map(|n| 0xff << n), 2 => any::<u64>()],
                ),
                0..200,
            ),
            change in (any::<usize>(), any::<u8>()),
            cut in any::<usize>(),
            bounds in (any::<i64>(), any::<i64>()),
        ) {
            check(&junk, i64::MIN, i64::MAX)?;
            check(&junk, bounds.0, bounds.1)?;
            let (mut bytes, mut app) = (Vec::new(), XorAppender::new());
            let (mut t, mut delta, mut value) = (0_i64, 15_000_i64, 0_u64);
            for (dod, xor) in &steps {
                delta = delta.wrapping_add(*dod);
                t = t.wrapping_add(delta);
                value ^= xor;
                app.append(&mut bytes, t, f64::from_bits(value)).unwrap();
            }
            app.put_count(&mut bytes);
            check(&bytes, i64::MIN, i64::MAX)?;
            check(&bytes, t / 3, t / 2)?;
            if !bytes.is_empty() {
                check(&bytes[..cut % bytes.len()], i64::MIN, i64::MAX)?;
                let at = change.0 % bytes.len();
                bytes[at] = change.1;
                check(&bytes, i64::MIN, i64::MAX)?;
            }
        }
    }
}
