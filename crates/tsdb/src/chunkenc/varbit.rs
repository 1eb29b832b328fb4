//! Integers in 1 to 72 bits: a run of ones names the width (upstream: `chunkenc/varbit.go`).

use super::Result;
use super::bits::{BitReader, BitWriter, ChunkBuf};

/// Width by the number of ones before the zero; eight ones mean 64 bits.
const WIDTHS: [u32; 9] = [0, 3, 6, 9, 12, 18, 25, 56, 64];

fn put<B: ChunkBuf>(w: &mut BitWriter<'_, B>, v: u64, class: usize) {
    let ones = class as u32;
    let width = WIDTHS[class];
    if class < 8 {
        w.write((1 << (ones + 1)) - 2, ones + 1);
    } else {
        w.write(0xff, 8);
    }
    w.write(v, width);
}

/// Signed: each width n holds -2^(n-1)+1 to 2^(n-1).
pub(super) fn put_int<B: ChunkBuf>(w: &mut BitWriter<'_, B>, v: i64) {
    if v == 0 {
        return w.write(0, 1);
    }
    let fits = |width: u32| width == 64 || (-((1_i64 << (width - 1)) - 1)..=1 << (width - 1)).contains(&v);
    let class = (1..WIDTHS.len()).find(|c| fits(WIDTHS[*c])).unwrap_or(8);
    put(w, v as u64, class);
}

/// Unsigned: each width n holds 0 to 2^n-1.
pub(super) fn put_uint<B: ChunkBuf>(w: &mut BitWriter<'_, B>, v: u64) {
    if v == 0 {
        return w.write(0, 1);
    }
    let bits = 64 - v.leading_zeros();
    let class = (1..WIDTHS.len()).find(|c| bits <= WIDTHS[*c]).unwrap_or(8);
    put(w, v, class);
}

/// Extends the sign of a number of `width` bits whose positive end is 2^(width-1).
#[inline(always)]
pub(super) fn signed(bits: u64, width: u32) -> i64 {
    if width < 64 && bits > 1 << (width - 1) { bits.wrapping_sub(1 << width) as i64 } else { bits as i64 }
}

#[inline]
pub(super) fn read_int(r: &mut BitReader<'_>) -> Result<i64> {
    let width = WIDTHS[r.ones(8)? as usize];
    if width == 0 { Ok(0) } else { Ok(signed(r.read(width)?, width)) }
}

#[inline]
pub(super) fn read_uint(r: &mut BitReader<'_>) -> Result<u64> {
    let width = WIDTHS[r.ones(8)? as usize];
    if width == 0 { Ok(0) } else { r.read(width) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn edges() -> Vec<i64> {
        let powers = (0..63).map(|n| 1_i64 << n);
        let around = powers.flat_map(|p| [p - 1, p, p + 1, -p, 1 - p, -p - 1]);
        around.chain([0, i64::MIN, i64::MAX]).collect()
    }

    fn round_trip(values: &[i64]) {
        let mut bytes = Vec::new();
        let mut w = BitWriter { buf: &mut bytes, free: 0 };
        for v in values {
            put_int(&mut w, *v);
            put_uint(&mut w, *v as u64);
        }
        let mut r = BitReader::new(&bytes);
        for v in values {
            assert_eq!((read_int(&mut r).unwrap(), read_uint(&mut r).unwrap()), (*v, *v as u64));
        }
    }

    #[test]
    fn every_edge_round_trips() {
        round_trip(&edges());
    }

    proptest! {
        #[test]
        fn any_number_round_trips(values in prop::collection::vec(any::<i64>(), 0..100)) {
            round_trip(&values);
        }
    }

    #[test]
    fn widths_are_upstreams() {
        for (v, bits) in [(0, 1), (4, 5), (5, 9), (-3, 5), (-4, 9), (32, 9), (-31, 9), (256, 13), (257, 17)] {
            let mut bytes = Vec::new();
            let mut w = BitWriter { buf: &mut bytes, free: 0 };
            put_int(&mut w, v);
            let free = w.free;
            assert_eq!(bytes.len() * 8 - usize::from(free), bits, "{v}");
        }
    }
}
