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

pub(super) fn decode(data: &[u8], mint_ms: i64, maxt_ms: i64, out: &mut SampleBuf) -> Result<()> {
    let mut reader = XorReader::new(data)?;
    // A sample takes two bits at least, so a short chunk cannot make this large.
    let room = usize::from(reader.total).min(data.len() * 4);
    out.times.reserve(room);
    out.values.reserve(room);
    let result = loop {
        match reader.next() {
            Ok(Some((t, v))) => {
                if t > maxt_ms {
                    break Ok(());
                }
                if t >= mint_ms {
                    out.times.push(t);
                    out.values.push(v);
                }
            }
            Ok(None) => break Ok(()),
            Err(e) => break Err(e),
        }
    };
    if !out.starts.is_empty() {
        out.starts.resize(out.times.len(), 0);
    }
    result
}

const _: () = assert!(size_of::<XorAppender>() == 32);
