//! Gzip of a body that is here as a whole, which is most bodies of most targets: libdeflate decodes at
//! three times the speed of a decoder that can stop anywhere (711 against 206 MB/s on a scrape page). It
//! answers only where all is well; whatever is unusual (several members, an error) is decoded again by the
//! piece, so that there is one place that decides what is an error and how it is called.

use libdeflater::Decompressor;
use memchr::memmem;

/// Compressed bytes that are waited for. Real pages are packed eight to twelve times, so this is a page of
/// 2 to 3 MB or 20,000 series; a thousand targets that stall in the middle of it hold 256 MiB.
pub(crate) const PACKED_BYTES_MAX: usize = 256 << 10;
/// Deflate cannot do better: 258 bytes of output take two bits.
const RATIO_MAX: usize = 1032;
/// Header and trailer of a member.
const FRAME_BYTES: usize = 18;
const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];

pub(crate) struct Whole {
    decoder: Decompressor,
    /// What came so far.
    pub(crate) packed: Vec<u8>,
}

impl Whole {
    pub(crate) fn new() -> Self {
        Whole { decoder: Decompressor::new(), packed: Vec::new() }
    }

    /// Decodes over `out`, whatever it holds, where the result is sure to be right and below `limit` bytes;
    /// where it is not, what `out` holds afterwards has no meaning.
    pub(crate) fn decode(&mut self, out: &mut Vec<u8>, limit: usize) -> bool {
        let packed = &self.packed;
        let Some(([a, b, c, d], framed)) = packed.split_last_chunk::<4>().map(|(rest, size)| (*size, rest))
        else {
            return false;
        };
        // What the sender says is only believed where it could be true.
        let size = u32::from_le_bytes([a, b, c, d]) as usize;
        if packed.len() < FRAME_BYTES || size >= limit || size > framed.len().saturating_mul(RATIO_MAX) {
            return false;
        }
        // The decoder stops after the first member and does not say where.
        if memmem::find(packed.get(MAGIC.len()..).unwrap_or_default(), &MAGIC).is_some() {
            return false;
        }
        out.resize(size, 0);
        self.decoder.gzip_decompress(packed, out) == Ok(size)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(packed: &[u8], limit: usize) -> Option<Vec<u8>> {
        let (mut whole, mut out) = (Whole::new(), Vec::new());
        whole.packed.extend_from_slice(packed);
        whole.decode(&mut out, limit).then_some(out)
    }

    #[test]
    fn one_member_that_fits_and_nothing_else() {
        let page = b"a_total 1\n".repeat(1000);
        let packed = testkit::gzip(&page);
        assert_eq!(decode(&packed, page.len() + 1), Some(page.clone()));
        assert_eq!(decode(&packed, page.len()), None, "as large as the limit is too large");
        assert_eq!(decode(&[packed.clone(), packed.clone()].concat(), 1 << 20), None);
        assert_eq!(decode(&packed[..packed.len() - 1], 1 << 20), None);
        let mut claims = packed.clone();
        let n = claims.len();
        claims[n - 4..].copy_from_slice(&0xffff_fff0_u32.to_le_bytes());
        assert_eq!(decode(&claims, usize::MAX), None);
        claims[n - 4..].copy_from_slice(&(page.len() as u32 + 1).to_le_bytes());
        assert_eq!(decode(&claims, 1 << 20), None);
    }

    proptest! {
        #[test]
        fn whatever_it_gives_is_what_the_other_decoder_gives(
            text in prop::collection::vec(0_u8..4, 0..2000), flip in any::<prop::sample::Index>(), by in 0_u8..8,
        ) {
            let mut packed = testkit::gzip(&text);
            let at = flip.index(packed.len());
            packed[at] ^= by;
            let (mut slow, mut out) = (crate::gunzip::Gunzip::new(), Vec::with_capacity(1 << 20));
            let mut input = &packed[..];
            let right = slow.step(&mut input, &mut out).is_ok() && slow.is_complete() && input.is_empty();
            if let Some(fast) = decode(&packed, 1 << 20) {
                prop_assert!(right);
                prop_assert_eq!(fast, out);
            } else {
                prop_assert!(by != 0 || !right || text.is_empty());
            }
        }
    }
}
