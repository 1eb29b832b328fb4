//! A target that serves frozen pages, so that two servers scrape the very same bytes.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use anyhow::{Context, Result};

use crate::http;

/// A page as a real program served it.
#[derive(Clone, Debug)]
pub struct Page {
    /// Its path here.
    pub path: String,
    /// Its `Content-Type`.
    pub content_type: String,
    /// Its bytes, not compressed.
    pub body: Vec<u8>,
}

impl Page {
    /// Fetches a page of a running program in one format.
    ///
    /// # Errors
    /// No answer, or not 200.
    pub fn fetch(port: u16, path: &str, accept: &str, serve_at: &str) -> Result<Page> {
        let answer = http::request(port, "GET", path, &[("Accept", accept)], &[])?;
        anyhow::ensure!(answer.status == 200, "{path}: status {}", answer.status);
        let header = |line: &str| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-type").then(|| value.trim().to_string())
        };
        let content_type = answer.headers.lines().find_map(header).context("no content type")?;
        Ok(Page { path: serve_at.to_string(), content_type, body: answer.body })
    }
}

/// Serves pages for as long as the process lives. Returns its port.
///
/// # Errors
/// No port is free.
pub fn serve(pages: Vec<Page>) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let pages = Arc::new(pages);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let pages = Arc::clone(&pages);
            std::thread::spawn(move || answer(stream, &pages));
        }
    });
    Ok(port)
}

fn answer(stream: TcpStream, pages: &[Page]) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut stream = stream;
    loop {
        let mut request = String::new();
        if reader.read_line(&mut request).ok()? == 0 {
            return None;
        }
        let path = request.split(' ').nth(1)?.split('?').next()?.to_string();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            if line.trim().is_empty() {
                break;
            }
        }
        let (status, kind, body) = match pages.iter().find(|p| p.path == path) {
            Some(page) => ("200 OK", page.content_type.as_str(), page.body.as_slice()),
            None => ("404 Not Found", "text/plain", &b"no such page\n"[..]),
        };
        let length = body.len();
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(body).ok()?;
    }
}
