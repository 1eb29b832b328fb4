//! A connection that one caller keeps for itself: plain HTTP/1.1 GETs whose request goes out and whose answer
//! comes in on the caller's own task. A scrape of an ordinary target spent a sixth of its CPU in a pool, a task
//! a connection and the channel between them, which a loop that asks the same target again and again does
//! not need; an idle line is a socket and nothing else. TLS, HTTP/2 and proxies stay with hyper, and heads
//! are parsed by the library that hyper parses them with.

mod head;
mod remaining;

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use self::head::{Head, HeadError};
pub(crate) use self::remaining::Remaining;
use crate::body::BodyPool;
use crate::client::{HttpClient, Response, status_words};
use crate::connect::Dial;
use crate::error::{BodyError, ClientError};
use crate::secret::os_text;

/// Bytes of the buffer that an answer passes through, which also bounds its head; as hyper's.
pub(crate) const BUFFER_BYTES: usize = 32 << 10;
/// A line idle for longer is not used again, as Go's client (`IdleConnTimeout`).
const IDLE_MAX: Duration = Duration::from_secs(300);
/// Informational answers before the real one, as Go's client.
const INFORMATIONAL_MAX: usize = 5;

/// A place for one connection. Dropped in the middle of an answer, the connection ends.
#[derive(Debug, Default)]
pub struct Line {
    kept: Option<(TcpStream, Instant)>,
    /// The target redirects: hyper's client follows, so it may as well ask.
    redirects: bool,
}

/// An answer whose body has not been read; [`BodyPool::read`] reads it under limits.
#[derive(Debug)]
pub struct Reply<'a> {
    status: StatusCode,
    words: Option<Vec<u8>>,
    content_type: Option<Vec<u8>>,
    pub(crate) encoding: Option<Vec<u8>>,
    pub(crate) source: Source<'a>,
}

/// Where a body comes from.
#[derive(Debug)]
pub(crate) enum Source<'a> {
    Hyper(hyper::body::Incoming),
    Line(Box<Remaining<'a>>),
}

/// A piece of a body.
pub(crate) enum Piece<'a> {
    Owned(Bytes),
    Borrowed(&'a [u8]),
}

impl std::ops::Deref for Piece<'_> {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Piece::Owned(bytes) => bytes,
            Piece::Borrowed(bytes) => bytes,
        }
    }
}

impl Source<'_> {
    /// The next piece; `None` at the body's proper end.
    pub(crate) async fn next(&mut self) -> Result<Option<Piece<'_>>, BodyError> {
        use http_body_util::BodyExt as _;
        match self {
            Source::Hyper(incoming) => loop {
                let Some(frame) = incoming.frame().await else { return Ok(None) };
                let frame = frame.map_err(|e| BodyError::Read(crate::body::read_error(&e)))?;
                // Trailers are of no use here.
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(Piece::Owned(data)));
                }
            },
            Source::Line(remaining) => Ok(remaining.next().await?.map(Piece::Borrowed)),
        }
    }
}

impl From<Response> for Reply<'_> {
    fn from(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let value = |name| parts.headers.get(name).map(|v: &http::HeaderValue| v.as_bytes().to_vec());
        Reply {
            status: parts.status,
            words: parts.extensions.get::<hyper::ext::ReasonPhrase>().map(|r| r.as_bytes().to_vec()),
            content_type: value(http::header::CONTENT_TYPE),
            encoding: value(http::header::CONTENT_ENCODING),
            source: Source::Hyper(body),
        }
    }
}

impl Reply<'_> {
    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// `404 Not Found`, with the server's own words where it sent some.
    #[must_use]
    pub fn status_text(&self) -> String {
        status_words(self.status, self.words.as_deref())
    }

    /// The `Content-Type`, empty where there is none.
    #[must_use]
    pub fn content_type(&self) -> String {
        String::from_utf8_lossy(self.content_type.as_deref().unwrap_or_default()).into_owned()
    }
}

/// Why there is no answer.
enum Failure {
    /// The connection ended before the first byte of an answer; one that was used before may just have been
    /// closed by the other side in its own good time.
    Closed(String),
    Other(String),
}

impl HttpClient {
    /// Asks for `uri` with credentials, headers and redirects as configured, on the caller's own line where
    /// that can be, else through the pool. Headers of the caller win over configured ones. The caller bounds
    /// the time: dropping the future ends everything.
    ///
    /// # Errors
    /// No answer: a secret that cannot be read, no connection, a broken or endless exchange.
    pub async fn get<'a>(
        &self,
        line: &'a mut Line,
        pool: &BodyPool,
        uri: &Uri,
        headers: HeaderMap,
    ) -> Result<Reply<'a>, ClientError> {
        if let Some(dial) = self.plain_dial(uri).filter(|_| !line.redirects) {
            let fail = |reason| self.get_error(uri, reason);
            let mut own = headers.clone();
            self.add_headers(&mut own, uri, false).await.map_err(fail)?;
            let reply = line.exchange(&dial, pool, uri, &own).await.map_err(fail)?;
            let Some(reply) = self.unless_redirected(reply) else {
                return self.get_pooled(uri, headers).await;
            };
            return Ok(reply);
        }
        self.get_pooled(uri, headers).await
    }

    async fn get_pooled<'a>(&self, uri: &Uri, headers: HeaderMap) -> Result<Reply<'a>, ClientError> {
        let mut request = Request::new(Bytes::new());
        *request.uri_mut() = uri.clone();
        *request.headers_mut() = headers;
        Ok(self.send(request).await?.into())
    }

    fn unless_redirected<'a>(&self, (head, mut remaining): (Head, Box<Remaining<'a>>)) -> Option<Reply<'a>> {
        if self.follows_redirects() && head.redirects {
            remaining.line().redirects = true;
            return None;
        }
        Some(Reply {
            status: head.status,
            words: head.words,
            content_type: head.content_type,
            encoding: head.encoding,
            source: Source::Line(remaining),
        })
    }
}

impl Line {
    /// The kept connection, if it looks alive.
    fn take(&mut self) -> Option<TcpStream> {
        let (stream, last_used) = self.kept.take()?;
        // Bytes that nobody asked for, an end or an error: of no use any more. Costs no system call where
        // the socket has not become readable meanwhile.
        let quiet = stream.try_read(&mut [0]).is_err_and(|e| e.kind() == std::io::ErrorKind::WouldBlock);
        (quiet && last_used.elapsed() < IDLE_MAX).then_some(stream)
    }

    async fn exchange<'a>(
        &'a mut self,
        dial: &Dial,
        pool: &BodyPool,
        uri: &Uri,
        headers: &HeaderMap,
    ) -> Result<(Head, Box<Remaining<'a>>), String> {
        let request = head::request(uri, headers);
        let mut buffer = pool.scratch();
        if let Some(mut stream) = self.take() {
            match ask(&mut stream, &request, buffer.as_mut()).await {
                Ok((head, at)) => {
                    return Ok((head.clone(), Box::new(Remaining::new(self, stream, buffer, at, &head))));
                }
                Err(Failure::Closed(_)) => {}
                Err(Failure::Other(reason)) => return Err(reason),
            }
        }
        let mut stream = dial.plain(uri).await.map_err(|e| e.0)?;
        match ask(&mut stream, &request, buffer.as_mut()).await {
            Ok((head, at)) => Ok((head.clone(), Box::new(Remaining::new(self, stream, buffer, at, &head)))),
            Err(Failure::Closed(reason) | Failure::Other(reason)) => Err(reason),
        }
    }

    /// Keeps a connection whose answer has been read to its end.
    fn keep(&mut self, stream: TcpStream) {
        self.kept = Some((stream, Instant::now()));
    }
}

/// Sends a request and reads the head of its answer. Returns which bytes of the buffer lie behind the head.
async fn ask(
    stream: &mut TcpStream,
    request: &[u8],
    buffer: &mut [u8],
) -> Result<(Head, std::ops::Range<usize>), Failure> {
    let io = |verb: &str, e: &std::io::Error| Failure::Closed(format!("{verb}: {}", os_text(e)));
    stream.write_all(request).await.map_err(|e| io("write", &e))?;
    let (mut filled, mut informational) = (0, 0);
    loop {
        let room = buffer.get_mut(filled..).unwrap_or_default();
        let n = stream.read(room).await.map_err(|e| io("read", &e))?;
        if n == 0 {
            return Err(match filled {
                0 => Failure::Closed("EOF".to_string()),
                _ => Failure::Other("unexpected EOF".to_string()),
            });
        }
        filled += n;
        while let Some((head, bytes)) =
            head::parse(buffer.get(..filled).unwrap_or_default()).map_err(broken)?
        {
            if !head.status.is_informational() {
                return Ok((head, bytes..filled));
            }
            informational += 1;
            if informational > INFORMATIONAL_MAX || head.status == StatusCode::SWITCHING_PROTOCOLS {
                return Err(Failure::Other("net/http: too many 1xx informational responses".to_string()));
            }
            buffer.copy_within(bytes..filled, 0);
            filled -= bytes;
        }
        if filled == buffer.len() {
            return Err(broken(HeadError::TooLarge));
        }
    }
}

fn broken(e: HeadError) -> Failure {
    Failure::Other(match e {
        HeadError::TooLarge => {
            format!("net/http: server response headers exceeded {BUFFER_BYTES} bytes; aborted")
        }
        HeadError::Malformed(what) => format!("net/http: HTTP/1.x transport connection broken: {what}"),
    })
}
