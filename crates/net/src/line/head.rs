//! The head of a request, written, and of an answer, parsed: what says how long the body is and what it is.
//! Framing follows RFC 9112 section 6.3 with Go's choices where a server breaks the rules
//! (`net/http/transfer.go`).

use std::mem::MaybeUninit;

use http::header::{self, HeaderMap};
use http::{StatusCode, Uri};

/// Header lines of an answer, as hyper's client is told.
pub(crate) const HEADERS_MAX: usize = 256;

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// What of an answer's head is of interest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) status: StatusCode,
    /// The server's words behind the status, unless it is 200.
    pub(crate) words: Option<Vec<u8>>,
    pub(crate) content_type: Option<Vec<u8>>,
    pub(crate) encoding: Option<Vec<u8>>,
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
    /// Says where to go instead.
    pub(crate) redirects: bool,
}

/// Why a head is none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeadError {
    TooLarge,
    Malformed(String),
}

/// A request's head, which for a GET is all of it.
pub(crate) fn request(uri: &Uri, headers: &HeaderMap) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(b"GET ");
    out.extend_from_slice(uri.path_and_query().map_or("/", |p| p.as_str()).as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    if !headers.contains_key(header::HOST) {
        let authority = uri.authority().map_or("", |a| a.as_str());
        let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
        out.extend_from_slice(b"Host: ");
        out.extend_from_slice(host.strip_suffix(':').unwrap_or(host).as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    for (name, value) in headers {
        // As Go spells names, for servers that take them by the letter.
        let mut start = true;
        out.extend(name.as_str().bytes().map(|b| {
            let upper = std::mem::replace(&mut start, b == b'-');
            if upper { b.to_ascii_uppercase() } else { b }
        }));
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}

/// Parses a head at the front of what has come in; also returns its length in bytes. `None` where it is not
/// complete yet.
pub(crate) fn parse(input: &[u8]) -> Result<Option<(Head, usize)>, HeadError> {
    let mut lines = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let parsed = config.parse_response_with_uninit_headers(&mut response, input, &mut lines);
    let bytes = match parsed {
        Ok(httparse::Status::Complete(bytes)) => bytes,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooLarge),
        Err(e) => return Err(HeadError::Malformed(format!("malformed HTTP response ({e})"))),
    };
    let code = response.code.unwrap_or_default();
    let malformed = |what: String| HeadError::Malformed(what);
    let status = StatusCode::from_u16(code)
        .map_err(|_| malformed(format!("malformed HTTP status code \"{code}\"")))?;
    // Newer than 1.1 there is no line-based protocol.
    let http11 = response.version != Some(0);
    let (mut length, mut chunked, mut close, mut keep) = (None, false, false, false);
    let mut head = Head {
        status,
        words: None,
        content_type: None,
        encoding: None,
        framing: Framing::UntilClose,
        keep_alive: false,
        redirects: false,
    };
    if code != 200 {
        head.words = response.reason.filter(|r| !r.is_empty()).map(|r| r.as_bytes().to_vec());
    }
    for line in response.headers.iter() {
        let (name, value) = (line.name, line.value.trim_ascii());
        if name.eq_ignore_ascii_case("content-type") {
            head.content_type.get_or_insert_with(|| value.to_vec());
        } else if name.eq_ignore_ascii_case("content-encoding") {
            head.encoding.get_or_insert_with(|| value.to_vec());
        } else if name.eq_ignore_ascii_case("content-length") {
            let bad = || malformed(format!("bad Content-Length {:.40?}", String::from_utf8_lossy(value)));
            let digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            let text = std::str::from_utf8(value).ok().filter(|_| digits).ok_or_else(bad)?;
            let n: u64 = text.parse().map_err(|_| bad())?;
            if length.replace(n).is_some_and(|before| before != n) {
                let what = "http: message cannot contain multiple Content-Length headers";
                return Err(malformed(what.to_string()));
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") && http11 {
            if chunked || !value.eq_ignore_ascii_case(b"chunked") {
                let shown = String::from_utf8_lossy(value);
                return Err(malformed(format!("unsupported transfer encoding: {shown:.40?}")));
            }
            chunked = true;
        } else if name.eq_ignore_ascii_case("connection") {
            for token in value.split(|b| *b == b',').map(<[u8]>::trim_ascii) {
                close |= token.eq_ignore_ascii_case(b"close");
                keep |= token.eq_ignore_ascii_case(b"keep-alive");
            }
        } else if name.eq_ignore_ascii_case("location") {
            head.redirects = matches!(code, 301 | 302 | 303 | 307 | 308);
        }
    }
    head.framing = match length {
        _ if status.is_informational() || matches!(code, 204 | 304) => Framing::Length(0),
        _ if chunked => Framing::Chunked,
        Some(n) => Framing::Length(n),
        None => Framing::UntilClose,
    };
    head.keep_alive = !close && (http11 || keep) && head.framing != Framing::UntilClose;
    Ok(Some((head, bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_spelled_as_go_spells_them() {
        let uri: Uri = "http://u:p@h.example:80/m?a=b".parse().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert("x-prometheus-scrape-timeout-seconds", "5".parse().unwrap());
        assert_eq!(
            String::from_utf8(request(&uri, &headers)).unwrap(),
            "GET /m?a=b HTTP/1.1\r\nHost: h.example:80\r\nX-Prometheus-Scrape-Timeout-Seconds: 5\r\n\r\n"
        );
        let other = HeaderMap::from_iter([(header::HOST, "x".parse().unwrap())]);
        assert_eq!(request(&"http://h".parse().unwrap(), &other), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    }

    fn framing(head: &str) -> (Framing, bool) {
        let (head, _) = parse(head.as_bytes()).unwrap().unwrap();
        (head.framing, head.keep_alive)
    }

    #[test]
    fn framing_is_gos() {
        for (head, want) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", (Framing::Length(5), true)),
            ("HTTP/1.1 200 OK\nContent-Length: 5\n\n", (Framing::Length(5), true)),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nContent-Length: 5\r\n\r\n", (Framing::Length(5), true)),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: Close\r\n\r\n",
                (Framing::Length(5), false),
            ),
            ("HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", (Framing::Length(5), false)),
            (
                "HTTP/1.0 200 OK\r\nContent-Length: 5\r\nConnection: x, keep-alive\r\n\r\n",
                (Framing::Length(5), true),
            ),
            ("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", (Framing::UntilClose, false)),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\nContent-Length: 5\r\n\r\n",
                (Framing::Chunked, true),
            ),
            ("HTTP/1.1 200 OK\r\n\r\n", (Framing::UntilClose, false)),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", (Framing::Length(0), true)),
        ] {
            assert_eq!(framing(head), want, "{head}");
        }
        for head in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 20 OK\r\n\r\n",
            "HTTP/1.1 000 x\r\n\r\n",
            "HTTP/2 200\r\n\r\n",
            "ssh-2.0 200\r\n\r\n",
        ] {
            assert!(matches!(parse(head.as_bytes()), Err(HeadError::Malformed(_))), "{head}");
        }
        assert_eq!(parse(b"HTTP/1.1 200 OK\r\nContent-Le").unwrap(), None);
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(HEADERS_MAX + 1));
        assert_eq!(parse(many.as_bytes()), Err(HeadError::TooLarge));
    }
}
