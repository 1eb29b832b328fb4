//! The rest of an answer on a line: its body, taken out of its framing piece by piece. A connection goes back
//! to its line only when the body has come to its proper end and nothing follows it.

use std::ops::Range;

use memchr::memchr;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::Line;
use super::head::{Framing, Head};
use crate::body::Scratch;
use crate::error::BodyError;
use crate::secret::os_text;

/// Longest line between chunks, as Go's client: a size, extensions that nobody uses, or a trailer.
const CHUNK_LINE_BYTES_MAX: usize = 4096;
/// Lines of a trailer; their content is of no use.
const TRAILER_LINES_MAX: usize = 256;

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// So many bytes, then the end.
    Body(u64),
    /// Bytes until the connection ends.
    UntilClose,
    ChunkSize,
    /// So many bytes, then a line's end and the next size.
    Chunk(u64),
    ChunkEnd,
    /// So many lines of the trailer came before.
    Trailer(usize),
    End,
}

/// The unread part of an answer.
#[derive(Debug)]
pub(crate) struct Remaining<'a> {
    line: &'a mut Line,
    stream: Option<TcpStream>,
    buffer: Scratch,
    /// Unread bytes in the buffer.
    unread: Range<usize>,
    next: Next,
    keep_alive: bool,
}

impl<'a> Remaining<'a> {
    pub(super) fn new(
        line: &'a mut Line,
        stream: TcpStream,
        buffer: Scratch,
        unread: Range<usize>,
        head: &Head,
    ) -> Self {
        let next = match head.framing {
            Framing::Length(n) => Next::Body(n),
            Framing::Chunked => Next::ChunkSize,
            Framing::UntilClose => Next::UntilClose,
        };
        Remaining { line, stream: Some(stream), buffer, unread, next, keep_alive: head.keep_alive }
    }

    pub(super) fn line(&mut self) -> &mut Line {
        self.line
    }

    /// The next bytes of the body; `None` at its end.
    pub(crate) async fn next(&mut self) -> Result<Option<&[u8]>, BodyError> {
        loop {
            match self.next {
                Next::End => return Ok(None),
                Next::Body(0) | Next::Trailer(TRAILER_LINES_MAX) => self.finish(),
                Next::Chunk(0) => self.next = Next::ChunkEnd,
                Next::Body(left) | Next::Chunk(left) => {
                    self.have_bytes().await?;
                    let piece = self.take(left);
                    let left = left - piece.len() as u64;
                    let chunk = matches!(self.next, Next::Chunk(_));
                    self.next = if chunk { Next::Chunk(left) } else { Next::Body(left) };
                    return Ok(self.buffer.get(piece));
                }
                Next::UntilClose => {
                    if self.unread.is_empty() && self.read().await? == 0 {
                        self.next = Next::End;
                        continue;
                    }
                    let piece = self.take(u64::MAX);
                    return Ok(self.buffer.get(piece));
                }
                Next::ChunkSize => {
                    let line = self.text_line().await?;
                    let size = self.buffer.get(line).and_then(chunk_size).ok_or_else(malformed)?;
                    self.next = if size == 0 { Next::Trailer(0) } else { Next::Chunk(size) };
                }
                Next::ChunkEnd => {
                    if !self.text_line().await?.is_empty() {
                        return Err(malformed());
                    }
                    self.next = Next::ChunkSize;
                }
                Next::Trailer(lines) => {
                    if self.text_line().await?.is_empty() {
                        self.finish();
                    } else {
                        self.next = Next::Trailer(lines + 1);
                    }
                }
            }
        }
    }

    /// The body has ended where it should.
    fn finish(&mut self) {
        let clean = self.keep_alive
            && self.unread.is_empty()
            && !matches!(self.next, Next::Trailer(TRAILER_LINES_MAX));
        self.next = Next::End;
        if let Some(stream) = self.stream.take().filter(|_| clean) {
            self.line.keep(stream);
        }
    }

    fn take(&mut self, most: u64) -> Range<usize> {
        let n = self.unread.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        let piece = self.unread.start..self.unread.start + n;
        self.unread.start += n;
        piece
    }

    /// Reads more behind what is unread, which moves to the front first. 0 at the connection's end.
    async fn read(&mut self) -> Result<usize, BodyError> {
        let Some(stream) = &mut self.stream else { return Ok(0) };
        let buffer = self.buffer.as_mut();
        buffer.copy_within(self.unread.clone(), 0);
        self.unread = 0..self.unread.len();
        let room = buffer.get_mut(self.unread.end..).unwrap_or_default();
        let read = stream.read(room).await;
        let n = read.map_err(|e| BodyError::Read(format!("read: {}", os_text(&e))))?;
        self.unread.end += n;
        Ok(n)
    }

    async fn have_bytes(&mut self) -> Result<(), BodyError> {
        if self.unread.is_empty() && self.read().await? == 0 {
            return Err(BodyError::Read("unexpected EOF".to_string()));
        }
        Ok(())
    }

    /// A line without its end.
    async fn text_line(&mut self) -> Result<Range<usize>, BodyError> {
        loop {
            let unread = self.buffer.get(self.unread.clone()).unwrap_or_default();
            if let Some(at) = memchr(b'\n', unread) {
                let text = unread.get(..at).unwrap_or_default();
                let text = text.strip_suffix(b"\r").unwrap_or(text).len();
                let start = self.unread.start;
                self.unread.start += at + 1;
                return Ok(start..start + text);
            }
            if unread.len() >= CHUNK_LINE_BYTES_MAX {
                return Err(BodyError::Read("header line too long".to_string()));
            }
            if self.read().await? == 0 {
                return Err(BodyError::Read("unexpected EOF".to_string()));
            }
        }
    }
}

fn malformed() -> BodyError {
    BodyError::Read("invalid byte in chunk length or malformed chunked encoding".to_string())
}

/// A chunk's size in hexadecimal, with or without extensions behind it.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|b| *b == b';').next()?.trim_ascii_end();
    if digits.is_empty() || digits.len() > 16 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}
