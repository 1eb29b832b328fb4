//! Compression of answers, chosen as upstream's `util/httputil/compression.go` does: the first encoding of
//! `Accept-Encoding` that is known, by its bare name; a name with a weight is passed over.
//!
//! Rejected: `tower-http`'s layer. It weighs qualities, leaves small bodies alone and cuts bodies into
//! chunks of unknown length; the first two differ from upstream, the third costs `Content-Length`.

use std::io::Write;

use http::HeaderMap;
use http::header::ACCEPT_ENCODING;

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    Identity,
    Gzip,
    Deflate,
}

impl Encoding {
    /// As the request asks for it.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let accepted = crate::respond::header_str(headers, &ACCEPT_ENCODING);
        let known = |name: &str| match name.trim() {
            "gzip" => Some(Encoding::Gzip),
            "deflate" => Some(Encoding::Deflate),
            _ => None,
        };
        accepted.split(',').find_map(known).unwrap_or(Encoding::Identity)
    }

    /// Value of `Content-Encoding`, if one is sent.
    pub(crate) fn name(self) -> Option<&'static str> {
        match self {
            Encoding::Identity => None,
            Encoding::Gzip => Some("gzip"),
            Encoding::Deflate => Some("deflate"),
        }
    }
}

/// Compresses a body. Level 1: answers are repetitive enough that higher levels buy little for much time.
pub(crate) fn compress(body: Vec<u8>, encoding: Encoding) -> Vec<u8> {
    let level = flate2::Compression::fast();
    let out = Vec::with_capacity(body.len() / 4 + 64);
    let written = match encoding {
        Encoding::Identity => return body,
        Encoding::Gzip => {
            let mut w = flate2::write::GzEncoder::new(out, level);
            w.write_all(&body).and_then(|()| w.finish())
        }
        Encoding::Deflate => {
            let mut w = flate2::write::ZlibEncoder::new(out, level);
            w.write_all(&body).and_then(|()| w.finish())
        }
    };
    // Writing into memory does not fail.
    written.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn chosen_as_upstream() {
        let of = |v: &'static str| {
            let mut h = HeaderMap::new();
            h.insert(ACCEPT_ENCODING, http::HeaderValue::from_static(v));
            Encoding::of(&h)
        };
        assert_eq!(of("gzip"), Encoding::Gzip);
        assert_eq!(of("br, deflate, gzip"), Encoding::Deflate);
        assert_eq!(of("gzip;q=0.5"), Encoding::Identity);
        assert_eq!(of("zstd"), Encoding::Identity);
        assert_eq!(Encoding::of(&HeaderMap::new()), Encoding::Identity);
    }

    #[test]
    fn round_trips() {
        let body = b"hello ".repeat(1000);
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(&compress(body.clone(), Encoding::Gzip)[..])
            .read_to_end(&mut back)
            .unwrap();
        assert_eq!(back, body);
        back.clear();
        flate2::read::ZlibDecoder::new(&compress(body.clone(), Encoding::Deflate)[..])
            .read_to_end(&mut back)
            .unwrap();
        assert_eq!(back, body);
    }
}
