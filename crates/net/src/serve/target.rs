//! Request targets as people type them: `curl 'http://host/api/v1/query?query=up{job="x"}>0'` sends quotes,
//! angle brackets and bytes beyond ASCII as they are. Go's server takes them; the `http` crate refuses them
//! before any handler sees the request. This reader percent-encodes them in request lines, on the way in.
//!
//! It follows HTTP/1 framing to know where a request line begins (RFC 9112, section 6). What it does not
//! understand it leaves alone from there on: hyper reads every byte after it and has the last word.
//!
//! Rejected: a patched `http` crate, and HTTP parsing of our own. The cost of this: one look at each byte of
//! a head, none at bodies.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes of a header line that are kept to find the framing headers; these are far shorter.
const LINE_KEPT_BYTES: usize = 128;

/// Where in a request the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// In a request line. True once its method has begun.
    Request(bool),
    /// In a line of the head.
    Head,
    /// In a body with so many bytes left.
    Body(u64),
    /// In a line with the size of a chunk.
    ChunkSize,
    /// In a chunk with so many bytes left, its line end included.
    Chunk(u64),
    /// In the lines after the last chunk.
    Trailer,
    /// Not to be looked at any more.
    Unknown,
}

/// What the head says of the body.
#[derive(Clone, Copy, Debug, Default)]
struct Framing {
    length: Option<u64>,
    chunked: bool,
}

#[derive(Debug)]
struct Scanner {
    at: At,
    /// Beginning of the line, in lower case.
    line: Vec<u8>,
    framing: Framing,
}

/// Whether the `http` crate refuses this byte in a target, or takes it for the begin of a fragment, which a
/// request cannot have.
fn is_refused(b: u8) -> bool {
    matches!(b, b'"' | b'<' | b'>' | b'`' | b'#' | 0x80..)
}

impl Scanner {
    fn new() -> Self {
        Scanner {
            at: At::Request(false),
            line: Vec::with_capacity(LINE_KEPT_BYTES),
            framing: Framing::default(),
        }
    }

    /// Goes over bytes that were read. Gives them anew where some must be encoded.
    fn pass(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut out: Option<Vec<u8>> = None;
        let mut i = 0;
        while let Some(&b) = bytes.get(i) {
            let skipped = match &mut self.at {
                At::Unknown => bytes.len() - i,
                At::Body(left) | At::Chunk(left) => {
                    let n = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len() - i);
                    *left -= n as u64;
                    n
                }
                _ => 0,
            };
            if skipped > 0 {
                if let Some(out) = &mut out {
                    out.extend_from_slice(bytes.get(i..i + skipped).unwrap_or_default());
                }
                i += skipped;
                match self.at {
                    At::Body(0) => self.begin(),
                    At::Chunk(0) => self.at = At::ChunkSize,
                    _ => {}
                }
                continue;
            }
            if matches!(self.at, At::Request(_)) && is_refused(b) {
                let out = out.get_or_insert_with(|| bytes.get(..i).unwrap_or_default().to_vec());
                out.extend_from_slice(format!("%{b:02X}").as_bytes());
            } else if let Some(out) = &mut out {
                out.push(b);
            }
            i += 1;
            if b == b'\n' {
                self.end_line();
            } else {
                if let At::Request(begun) = &mut self.at {
                    *begun |= b != b'\r';
                }
                if self.line.len() < LINE_KEPT_BYTES {
                    self.line.push(b.to_ascii_lowercase());
                }
            }
        }
        out
    }

    fn begin(&mut self) {
        self.at = At::Request(false);
        self.framing = Framing::default();
    }

    fn end_line(&mut self) {
        let mut line = std::mem::take(&mut self.line);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        self.at = match self.at {
            // Empty lines before a request are allowed.
            At::Request(false) => At::Request(false),
            // A tunnel, or HTTP/2 with prior knowledge.
            At::Request(true) if line.starts_with(b"connect ") || line.starts_with(b"pri ") => At::Unknown,
            At::Request(true) => At::Head,
            At::Head if line.is_empty() => self.after_head(),
            At::Head => {
                self.header(&line);
                self.at
            }
            At::ChunkSize => chunk_size(&line),
            At::Trailer if line.is_empty() => {
                self.framing = Framing::default();
                At::Request(false)
            }
            other => other,
        };
        line.clear();
        self.line = line;
    }

    fn header(&mut self, line: &[u8]) {
        let Ok(line) = std::str::from_utf8(line) else { return };
        let Some((name, value)) = line.split_once(':') else { return };
        match name {
            "content-length" => {
                let length = value.trim().parse().ok();
                // Two lengths that differ, or one that is none: the server will refuse the request.
                if length.is_none() || self.framing.length.is_some_and(|known| Some(known) != length) {
                    self.at = At::Unknown;
                }
                self.framing.length = length;
            }
            "transfer-encoding" => self.framing.chunked |= value.trim().ends_with("chunked"),
            "upgrade" => self.at = At::Unknown,
            _ => {}
        }
    }

    fn after_head(&mut self) -> At {
        let framing = std::mem::take(&mut self.framing);
        match framing {
            Framing { chunked: true, .. } => At::ChunkSize,
            Framing { length: Some(n), .. } if n > 0 => At::Body(n),
            _ => At::Request(false),
        }
    }
}

/// `1f;extension`, in lower case.
fn chunk_size(line: &[u8]) -> At {
    let digits = line.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
    let size = std::str::from_utf8(digits).ok().and_then(|d| u64::from_str_radix(d, 16).ok());
    match size {
        Some(0) => At::Trailer,
        // The chunk's own line end comes before the next size.
        Some(n) => n.checked_add(2).map_or(At::Unknown, At::Chunk),
        None => At::Unknown,
    }
}

/// A stream whose request lines hold only what the `http` crate takes.
#[derive(Debug)]
pub(super) struct CleanTargets<S> {
    inner: S,
    scanner: Scanner,
    /// Encoded bytes that did not fit yet, and how many of them were handed out.
    pending: Vec<u8>,
    taken: usize,
}

impl<S> CleanTargets<S> {
    pub(super) fn new(inner: S) -> Self {
        CleanTargets { inner, scanner: Scanner::new(), pending: Vec::new(), taken: 0 }
    }

    fn hand_out(&mut self, buf: &mut ReadBuf<'_>) {
        let left = self.pending.get(self.taken..).unwrap_or_default();
        let n = left.len().min(buf.remaining());
        buf.put_slice(left.get(..n).unwrap_or_default());
        self.taken += n;
        if self.taken >= self.pending.len() {
            self.pending = Vec::new();
            self.taken = 0;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CleanTargets<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let me = &mut *self;
        if me.pending.is_empty() {
            let before = buf.filled().len();
            match Pin::new(&mut me.inner).poll_read(cx, buf) {
                Poll::Ready(Ok(())) => {}
                other => return other,
            }
            let read = buf.filled().get(before..).unwrap_or_default();
            let Some(encoded) = me.scanner.pass(read) else { return Poll::Ready(Ok(())) };
            buf.set_filled(before);
            me.pending = encoded;
        }
        me.hand_out(buf);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CleanTargets<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }
    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt as _;

    use super::*;

    const STREAM: &str = "\r\nGET /q?x={a=\"b\"}<\u{e9} HTTP/1.1\r\nHost: \"x\"\r\n\r\n\
        POST /p HTTP/1.1\r\nContent-Length: 7\r\nX: y\r\n\r\n\"<a>\"\r\n\
        POST /\" HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3;x=\"\r\n\"\"\"\r\nA\r\nGET /\" HTT\r\n0\r\nT: \"\r\n\r\n\
        GET /\" HTTP/1.1\n\n\
        GET /last\" HTTP/1.1\r\nUpgrade: x\r\n\r\n\"\"";

    const CLEAN: &str = "\r\nGET /q?x={a=%22b%22}%3C%C3%A9 HTTP/1.1\r\nHost: \"x\"\r\n\r\n\
        POST /p HTTP/1.1\r\nContent-Length: 7\r\nX: y\r\n\r\n\"<a>\"\r\n\
        POST /%22 HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n3;x=\"\r\n\"\"\"\r\nA\r\nGET /\" HTT\r\n0\r\nT: \"\r\n\r\n\
        GET /%22 HTTP/1.1\n\n\
        GET /last%22 HTTP/1.1\r\nUpgrade: x\r\n\r\n\"\"";

    #[test]
    fn only_request_lines_change_however_the_bytes_arrive() {
        for size in 1..STREAM.len() {
            let mut scanner = Scanner::new();
            let mut out = Vec::new();
            for piece in STREAM.as_bytes().chunks(size) {
                out.extend(scanner.pass(piece).unwrap_or_else(|| piece.to_vec()));
            }
            assert_eq!(String::from_utf8(out).unwrap(), CLEAN, "pieces of {size}");
        }
        assert_eq!(Scanner::new().pass(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\"\""), None);
        assert_eq!(Scanner::new().pass(b"GET / HTTP/1.1\r\nContent-Length: x\r\n\r\nGET /\" "), None);
    }

    #[tokio::test]
    async fn small_buffers_lose_nothing() {
        let mut stream = CleanTargets::new(std::io::Cursor::new(STREAM.as_bytes().to_vec()));
        let mut out = Vec::new();
        let mut buf = [0; 2];
        loop {
            match stream.read(&mut buf).await.unwrap() {
                0 => break,
                n => out.extend_from_slice(&buf[..n]),
            }
        }
        assert_eq!(String::from_utf8(out).unwrap(), CLEAN);
    }
}
