//! A small blocking HTTP/1.1 client: a test must not lean on the client that it tests.

use std::io::{Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, bail};

use crate::wait::LIMIT;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Header lines as sent.
    pub headers: String,
    /// Body, chunked encoding undone.
    pub body: Vec<u8>,
}

impl Answer {
    /// Body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    /// Body as JSON.
    ///
    /// # Errors
    /// Not JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.body).with_context(|| format!("not JSON: {}", self.text()))
    }
}

/// Percent-encodes a query parameter.
#[must_use]
pub fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes().map(|b| if plain(b) { (b as char).to_string() } else { format!("%{b:02X}") }).collect()
}

/// GET.
///
/// # Errors
/// No connection, no answer.
pub fn get(port: u16, path: &str) -> Result<Answer> {
    request(port, "GET", path, &[], &[])
}

/// Any method; `headers` are added to `Host` and `Content-Length`.
///
/// # Errors
/// No connection, no answer.
pub fn request(port: u16, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Answer> {
    let (all, fault) = exchange(port, method, path, headers, body)?;
    match fault {
        Some(fault) => Err(fault.into()),
        None => parsed(all),
    }
}

/// The same for a server that may answer before it has read all, and close: what it said counts.
///
/// # Errors
/// No connection, no answer.
pub fn request_refusable(
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer> {
    let (all, fault) = exchange(port, method, path, headers, body)?;
    match fault {
        Some(fault) if all.is_empty() => Err(fault.into()),
        _ => parsed(all),
    }
}

/// Bytes that came back, and what went wrong meanwhile.
fn exchange(
    port: u16,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<(Vec<u8>, Option<std::io::Error>)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(LIMIT))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if !body.is_empty() || method == "POST" {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    // At once: a server that answers before it has read all may close, and what comes then resets the connection.
    let mut all = head.into_bytes();
    all.extend_from_slice(b"\r\n");
    all.extend_from_slice(body);
    let sent = stream.write_all(&all);
    let mut all = Vec::new();
    let read = stream.read_to_end(&mut all);
    Ok((all, sent.err().or(read.err())))
}

fn parsed(mut all: Vec<u8>) -> Result<Answer> {
    let end = all.windows(4).position(|w| w == b"\r\n\r\n").context("no end of headers")?;
    let headers = String::from_utf8_lossy(&all[..end]).into_owned();
    let status = headers.split(' ').nth(1).and_then(|s| s.parse().ok()).context("no status")?;
    let mut body = all.split_off(end + 4);
    if headers.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        body = unchunk(&body)?;
    }
    Ok(Answer { status, headers, body })
}

fn unchunk(mut rest: &[u8]) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n").context("chunk size cut off")?;
        let size =
            usize::from_str_radix(std::str::from_utf8(&rest[..end])?.split(';').next().unwrap_or(""), 16)?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Ok(out);
        }
        if rest.len() < size + 2 {
            bail!("chunk cut off");
        }
        out.extend_from_slice(&rest[..size]);
        rest = &rest[size + 2..];
    }
}
