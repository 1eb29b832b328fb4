//! Floats, denser, with optional start timestamps (upstream: `chunkenc/xor2.go`).
//!
//! From the third sample on, one prefix tells time and value together: `0` both as predicted; `10` time as
//! predicted, value new; `110`, `1110`, `11110` time off by 13, 20, 64 bits, value follows; `11111` time as
//! predicted, stale marker. Stale markers do not become the value that the next one is compared with.

use model::{STALE_NAN_BITS, is_stale_nan};
use storage::SampleBuf;

use super::bits::{BitReader, BitWriter, ChunkBuf};
use super::cell::Window;
use super::st::{StDecoder, StEncoder};
use super::{ChunkError, Result};

const HEADER_BYTES: usize = 3;
const ST_HEADER_AT: usize = 2;

/// State of an open chunk; the bytes are the caller's.
#[derive(Clone, Copy, Debug, Default)]
pub struct Xor2Appender {
    t: i64,
    delta: u64,
    baseline: u64,
    window: Window,
    st: StEncoder,
    num: u16,
    free: u8,
}

impl Xor2Appender {
    /// Of a chunk without samples; its buffer must be empty.
    #[must_use]
    pub fn new() -> Self {
        Xor2Appender::default()
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

    /// Appends a sample to the chunk in `buf`; `start_ms` is 0 where unknown.
    ///
    /// # Errors
    /// [`ChunkError::Full`].
    pub fn append<B: ChunkBuf>(&mut self, buf: &mut B, start_ms: i64, t_ms: i64, v: f64) -> Result<()> {
        let delta = t_ms.wrapping_sub(self.t) as u64;
        if self.num == 0 {
            buf.push_bytes(&[0; HEADER_BYTES]);
        }
        let mut w = BitWriter { buf, free: self.free };
        match self.num {
            0 => {
                w.varint(t_ms);
                w.write(v.to_bits(), 64);
            }
            1 => {
                w.uvarint(delta);
                self.put_value(&mut w, v);
            }
            u16::MAX => return Err(ChunkError::Full),
            _ => self.put_joint(&mut w, delta.wrapping_sub(self.delta) as i64, v),
        }
        let st_header = self.st.put(&mut w, self.num, t_ms, self.t, start_ms);
        self.free = w.free;
        if let Some(byte) = st_header {
            buf.set(ST_HEADER_AT, byte);
        }
        if !is_stale_nan(v) {
            self.baseline = v.to_bits();
        }
        if self.num > 0 {
            self.delta = delta;
        }
        self.t = t_ms;
        self.num += 1;
        let [high, low] = self.num.to_be_bytes();
        buf.set(0, high);
        buf.set(1, low);
        Ok(())
    }

    fn put_joint<B: ChunkBuf>(&mut self, w: &mut BitWriter<'_, B>, dod: i64, v: f64) {
        match dod {
            0 if is_stale_nan(v) => return w.write(0b11111, 5),
            0 => {
                let xor = v.to_bits() ^ self.baseline;
                if xor == 0 {
                    return w.write(0, 1);
                }
                return self.window.put(w, xor, (0b100, 3), (0b101, 3));
            }
            -0x1000..=0xfff => w.write(0b110 << 13 | dod as u64 & 0x1fff, 16),
            -0x8_0000..=0x7_ffff => w.write(0b1110 << 20 | dod as u64 & 0xf_ffff, 24),
            _ => {
                w.write(0b11110, 5);
                w.write(dod as u64, 64);
            }
        }
        self.put_value(w, v);
    }

    fn put_value<B: ChunkBuf>(&mut self, w: &mut BitWriter<'_, B>, v: f64) {
        if is_stale_nan(v) {
            return w.write(0b111, 3);
        }
        let xor = v.to_bits() ^ self.baseline;
        if xor == 0 {
            return w.write(0, 1);
        }
        self.window.put(w, xor, (0b10, 2), (0b110, 3));
    }
}

struct Xor2Reader<'a> {
    bits: BitReader<'a>,
    st: StDecoder,
    t: i64,
    delta: u64,
    baseline: u64,
    window: Window,
}

impl Xor2Reader<'_> {
    /// Value bits of the next sample.
    #[inline(always)]
    fn next(&mut self, index: u16) -> Result<u64> {
        let previous_t = self.t;
        let value = match index {
            0 => {
                self.t = self.bits.varint()?;
                let value = self.bits.read(64)?;
                if value != STALE_NAN_BITS {
                    self.baseline = value;
                }
                value
            }
            1 => {
                self.delta = self.bits.uvarint()?;
                self.t = self.t.wrapping_add(self.delta as i64);
                self.value()?
            }
            _ => self.joint()?,
        };
        self.st.read(&mut self.bits, index, self.t, previous_t)?;
        Ok(value)
    }

    #[inline(always)]
    fn joint(&mut self) -> Result<u64> {
        match self.bits.ones(5)? {
            0 => {
                self.advance(0);
                Ok(self.baseline)
            }
            1 => {
                self.advance(0);
                let xor = if self.bits.bit()? {
                    self.window.renew(&mut self.bits)?
                } else {
                    self.window.reuse(&mut self.bits)?
                };
                self.baseline ^= xor;
                Ok(self.baseline)
            }
            n @ 2..=4 => {
                let width = [13, 20, 64][n as usize - 2];
                let bits = self.bits.read(width)?;
                let unused = 64 - width;
                self.advance((bits << unused) as i64 >> unused);
                self.value()
            }
            _ => {
                self.advance(0);
                Ok(STALE_NAN_BITS)
            }
        }
    }

    #[inline(always)]
    fn advance(&mut self, dod: i64) {
        self.delta = self.delta.wrapping_add(dod as u64);
        self.t = self.t.wrapping_add(self.delta as i64);
    }

    #[inline(always)]
    fn value(&mut self) -> Result<u64> {
        match self.bits.ones(3)? {
            0 => {}
            1 => self.baseline ^= self.window.reuse(&mut self.bits)?,
            2 => self.baseline ^= self.window.renew(&mut self.bits)?,
            _ => return Ok(STALE_NAN_BITS),
        }
        Ok(self.baseline)
    }
}

pub(super) fn decode(data: &[u8], mint_ms: i64, maxt_ms: i64, out: &mut SampleBuf) -> Result<()> {
    let Some(([high, low, st], rest)) = data.split_first_chunk::<HEADER_BYTES>() else {
        return Err(ChunkError::TooShort(data.len()));
    };
    let mut reader = Xor2Reader {
        bits: BitReader::new(rest),
        st: StDecoder::new(*st),
        t: 0,
        delta: 0,
        baseline: 0,
        window: Window::default(),
    };
    let total = u16::from_be_bytes([*high, *low]);
    // A sample takes one bit at least.
    let room = usize::from(total).min(data.len() * 8);
    out.times.reserve(room);
    out.values.reserve(room);
    for index in 0..total {
        reader.bits.sample = index;
        let value = reader.next(index)?;
        if reader.t > maxt_ms {
            break;
        }
        if reader.t >= mint_ms {
            out.push(reader.t, f64::from_bits(value));
            out.set_last_start(reader.st.start());
        }
    }
    Ok(())
}
