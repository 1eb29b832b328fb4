//! What a target does to a scraper that trusts it.

use std::io::Write as _;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::target::Recorded;

/// Ways to misbehave. Sizes are bytes after decompression.
#[derive(Clone, Debug)]
pub enum Hostile {
    /// Valid lines without end.
    EndlessBody,
    /// One line of this many bytes.
    HugeLine(u64),
    /// One label value without end, in chunked encoding.
    EndlessLabel,
    /// Gzip of this many zero bytes, sent as fast as it is taken.
    GzipBomb(u64),
    /// Gzip of lines of a kilobyte each.
    GzipLines(u64),
    /// Gzip inside gzip headers that never end: a name of this many bytes.
    GzipHeader(u64),
    /// Zstd of this many bytes.
    ZstdBomb(u64),
    /// Head of the response, one byte a pause.
    SlowHead(Duration),
    /// Body, one byte a pause.
    SlowBody(Duration),
    /// Never answers.
    Silence,
    /// Redirects to itself, for ever.
    RedirectLoop,
    /// Promises more than it sends.
    ClosedMidBody,
    /// Gzip that ends in the middle.
    ClosedMidGzip,
    /// Header lines without end.
    HeaderFlood,
    /// One header line without end.
    HeaderLine,
    /// Bytes that are no HTTP.
    Garbage,
    /// Chunk sizes that make no sense.
    BadChunks,
    /// 1xx answers without end.
    ContinueFlood,
}

impl Hostile {
    /// All of them, at sizes that kill an unprotected process with little memory.
    #[must_use]
    pub fn all() -> Vec<Hostile> {
        vec![
            Hostile::EndlessBody,
            Hostile::HugeLine(1 << 30),
            Hostile::EndlessLabel,
            Hostile::GzipBomb(8 << 30),
            Hostile::GzipLines(8 << 30),
            Hostile::GzipHeader(1 << 30),
            Hostile::ZstdBomb(8 << 30),
            Hostile::SlowHead(Duration::from_millis(200)),
            Hostile::SlowBody(Duration::from_millis(200)),
            Hostile::Silence,
            Hostile::RedirectLoop,
            Hostile::ClosedMidBody,
            Hostile::ClosedMidGzip,
            Hostile::HeaderFlood,
            Hostile::HeaderLine,
            Hostile::Garbage,
            Hostile::BadChunks,
            Hostile::ContinueFlood,
        ]
    }

    /// Plays its part on one connection until the other side goes away.
    ///
    /// # Errors
    /// The connection ended, which is how most parts end.
    pub async fn play(&self, stream: &mut TcpStream, request: &Recorded) -> std::io::Result<()> {
        const OK: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\n";
        match self {
            Hostile::EndlessBody => {
                stream.write_all(format!("{OK}\r\n").as_bytes()).await?;
                for block in 0_u64.. {
                    let lines: String =
                        (0..500).map(|i| format!("endless{{block=\"{block}\",i=\"{i}\"}} 1\n")).collect();
                    stream.write_all(lines.as_bytes()).await?;
                }
            }
            Hostile::HugeLine(bytes) => {
                stream.write_all(format!("{OK}Content-Length: {bytes}\r\n\r\n").as_bytes()).await?;
                repeat(stream, &[b'a'; 65_536], *bytes).await?;
            }
            Hostile::EndlessLabel => {
                stream.write_all(format!("{OK}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await?;
                stream.write_all(b"5\r\na{b=\"\r\n").await?;
                loop {
                    stream.write_all(b"10000\r\n").await?;
                    stream.write_all(&[b'x'; 65_536]).await?;
                    stream.write_all(b"\r\n").await?;
                }
            }
            Hostile::GzipBomb(bytes) => {
                bomb(stream, OK, &vec![0; 1 << 20], *bytes).await?;
            }
            Hostile::GzipLines(bytes) => {
                let line = format!("m{{l=\"{}\"}} 1\n", "x".repeat(1000));
                bomb(stream, OK, line.repeat(1000).as_bytes(), *bytes).await?;
            }
            Hostile::GzipHeader(bytes) => {
                stream.write_all(format!("{OK}Content-Encoding: gzip\r\n\r\n").as_bytes()).await?;
                stream.write_all(&[0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 3]).await?;
                repeat(stream, &[b'n'; 65_536], *bytes).await?;
            }
            Hostile::ZstdBomb(bytes) => {
                stream.write_all(format!("{OK}Content-Encoding: zstd\r\n\r\n").as_bytes()).await?;
                let mut encoder = zstd::Encoder::new(Vec::new(), 1)?;
                let block = vec![0; 1 << 20];
                for _ in 0..bytes >> 20 {
                    encoder.write_all(&block)?;
                    let ready = std::mem::take(encoder.get_mut());
                    stream.write_all(&ready).await?;
                    tokio::task::yield_now().await;
                }
                stream.write_all(&encoder.finish()?).await?;
            }
            Hostile::SlowHead(pause) => slowly(stream, format!("{OK}\r\n").as_bytes(), *pause).await?,
            Hostile::SlowBody(pause) => {
                stream.write_all(format!("{OK}Content-Length: 100000\r\n\r\n").as_bytes()).await?;
                slowly(stream, "slow 1\n".repeat(20_000).as_bytes(), *pause).await?;
            }
            Hostile::Silence => {
                // Until the other side closes.
                let mut byte = [0];
                let _ = stream.peek(&mut byte).await;
                tokio::time::sleep(Duration::from_secs(3600)).await;
            }
            Hostile::RedirectLoop => {
                let target = &request.target;
                let answer = format!(
                    "HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                );
                stream.write_all(answer.as_bytes()).await?;
            }
            Hostile::ClosedMidBody => {
                stream
                    .write_all(format!("{OK}Content-Length: 1000\r\n\r\nup 1\nhalf{{a=").as_bytes())
                    .await?;
            }
            Hostile::ClosedMidGzip => {
                let body = crate::gzip("whole 1\n".repeat(1000).as_bytes());
                let half = body.get(..body.len() / 2).unwrap_or_default();
                let head = format!("{OK}Content-Encoding: gzip\r\nContent-Length: {}\r\n\r\n", half.len());
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(half).await?;
            }
            Hostile::HeaderFlood => {
                stream.write_all(OK.as_bytes()).await?;
                for i in 0_u64.. {
                    stream.write_all(format!("X-Flood-{i}: {}\r\n", "y".repeat(100)).as_bytes()).await?;
                }
            }
            Hostile::HeaderLine => {
                stream.write_all(format!("{OK}X-Long: ").as_bytes()).await?;
                repeat(stream, &[b'z'; 65_536], u64::MAX).await?;
            }
            Hostile::Garbage => {
                stream.write_all(b"\x00\xff\xfenot http at all\r\n\r\n\x01\x02\x03").await?;
            }
            Hostile::BadChunks => {
                stream.write_all(format!("{OK}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await?;
                stream.write_all(b"ffffffffffffffffffff\r\nxx\r\n-5\r\n").await?;
            }
            Hostile::ContinueFlood => loop {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            },
        }
        stream.flush().await
    }
}

async fn repeat(stream: &mut TcpStream, block: &[u8], bytes: u64) -> std::io::Result<()> {
    let mut left = bytes;
    while left > 0 {
        let n = usize::try_from(left).unwrap_or(usize::MAX).min(block.len());
        stream.write_all(block.get(..n).unwrap_or_default()).await?;
        left -= n as u64;
    }
    Ok(())
}

async fn slowly(stream: &mut TcpStream, bytes: &[u8], pause: Duration) -> std::io::Result<()> {
    for byte in bytes {
        stream.write_all(&[*byte]).await?;
        stream.flush().await?;
        tokio::time::sleep(pause).await;
    }
    Ok(())
}

async fn bomb(stream: &mut TcpStream, ok: &str, block: &[u8], bytes: u64) -> std::io::Result<()> {
    stream.write_all(format!("{ok}Content-Encoding: gzip\r\n\r\n").as_bytes()).await?;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(1));
    let mut written = 0;
    while written < bytes {
        encoder.write_all(block)?;
        written += block.len() as u64;
        let ready = std::mem::take(encoder.get_mut());
        stream.write_all(&ready).await?;
        tokio::task::yield_now().await;
    }
    stream.write_all(&encoder.finish()?).await
}
