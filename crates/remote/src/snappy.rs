//! Decompression of bodies: bounded by what they can really hold, before anything is allocated.

/// Upper bound of a body before and after decompression: upstream's 32 MiB.
pub const DECODED_BYTES_MAX: usize = 32 << 20;
/// Snappy's densest element is a copy of 64 bytes in 3: a body cannot grow more than 64/3 times. A header
/// that claims more lies.
const EXPANSION_MAX: usize = 22;

/// Bytes that a body decompresses to, at most; 0 where it is refused for its size.
#[must_use]
pub fn decoded_bytes(body: &[u8]) -> usize {
    let said = snap::raw::decompress_len(body).unwrap_or(0);
    if said > DECODED_BYTES_MAX { 0 } else { said.min(body.len().saturating_mul(EXPANSION_MAX)) }
}

/// Decompresses into `out`, whose memory is reused from call to call.
///
/// # Errors
/// In words for the sender (status 400).
pub(crate) fn decompress(body: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    const CORRUPT: &str = "snappy: corrupt input";
    let size = snap::raw::decompress_len(body).map_err(|_| CORRUPT.to_string())?;
    if size > DECODED_BYTES_MAX {
        return Err(format!("decoded size exceeds the {DECODED_BYTES_MAX} bytes limit"));
    }
    if size > body.len().saturating_mul(EXPANSION_MAX) {
        return Err(CORRUPT.to_string());
    }
    // Grown, never shrunk: zeroing happens only where the buffer was never that large.
    if out.len() < size {
        out.resize(size, 0);
    }
    let written = snap::raw::Decoder::new().decompress(body, out).map_err(|_| CORRUPT.to_string())?;
    out.truncate(written);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lies_about_the_size_cost_nothing() {
        // 32 MiB claimed by 5 bytes.
        let mut out = Vec::new();
        let err = decompress(&[0x80, 0x80, 0x80, 0x10, 0x00], &mut out).unwrap_err();
        assert_eq!((err.as_str(), out.capacity()), ("snappy: corrupt input", 0));
        let err = decompress(&[0x81, 0x80, 0x80, 0x10, 0x00], &mut out).unwrap_err();
        assert_eq!(err, "decoded size exceeds the 33554432 bytes limit");
        assert!(decompress(&[], &mut out).is_err());
    }

    #[test]
    fn the_densest_body_passes() {
        let zeros = vec![0_u8; 1 << 20];
        let body = snap::raw::Encoder::new().compress_vec(&zeros).unwrap();
        let mut out = vec![1, 2, 3];
        decompress(&body, &mut out).unwrap();
        assert_eq!(out, zeros);
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut out = Vec::new();
            let _ = decompress(&body, &mut out);
        }
    }
}
