//! Connections that stay open: a hundred thousand questions to each server, each asked of both at once.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use anyhow::{Context, Result, ensure};

use super::Question;
use crate::http::encode;
use crate::wait::LIMIT;

/// One connection to one server.
pub struct Connection {
    port: u16,
    stream: Option<BufReader<TcpStream>>,
}

/// What a server said: status and body.
pub type Said = (u16, Vec<u8>);

impl Connection {
    /// Opened when first used.
    #[must_use]
    pub fn new(port: u16) -> Connection {
        Connection { port, stream: None }
    }

    /// Sends a question.
    ///
    /// # Errors
    /// No connection.
    pub fn send(&mut self, question: &Question) -> Result<()> {
        let (path, form) = question.request();
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/x-www-form-urlencoded\r\n\
             Content-Length: {}\r\n\r\n{form}",
            self.port,
            form.len()
        );
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => {
                let stream = TcpStream::connect(("127.0.0.1", self.port))?;
                stream.set_read_timeout(Some(LIMIT))?;
                stream.set_nodelay(true)?;
                none.insert(BufReader::new(stream))
            }
        };
        stream.get_mut().write_all(request.as_bytes())?;
        Ok(())
    }

    /// Reads the answer to the question sent last.
    ///
    /// # Errors
    /// No answer, or one that is not HTTP.
    pub fn receive(&mut self) -> Result<Said> {
        let answer = self.read();
        if answer.is_err() {
            self.stream = None;
        }
        answer
    }

    fn read(&mut self) -> Result<Said> {
        let stream = self.stream.as_mut().context("nothing was asked")?;
        let mut line = String::new();
        ensure!(stream.read_line(&mut line)? > 0, "the connection was closed");
        let status = line.split(' ').nth(1).and_then(|s| s.parse().ok()).context("no status")?;
        let (mut length, mut chunked) = (0, false);
        loop {
            line.clear();
            ensure!(stream.read_line(&mut line)? > 0, "headers cut off");
            let text = line.trim().to_ascii_lowercase();
            if text.is_empty() {
                break;
            }
            if let Some(value) = text.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            chunked |= text.starts_with("transfer-encoding:") && text.contains("chunked");
        }
        let mut body = Vec::new();
        if !chunked {
            body.resize(length, 0);
            stream.read_exact(&mut body)?;
            return Ok((status, body));
        }
        loop {
            line.clear();
            ensure!(stream.read_line(&mut line)? > 0, "chunks cut off");
            let size = usize::from_str_radix(line.trim(), 16)?;
            let at = body.len();
            // The line end behind the chunk is read with it.
            body.resize(at + size + 2, 0);
            stream.read_exact(&mut body[at..])?;
            body.truncate(at + size);
            if size == 0 {
                return Ok((status, body));
            }
        }
    }
}

impl Question {
    fn request(&self) -> (&'static str, String) {
        let mut form = format!("query={}", encode(&self.query));
        if let Some(delta) = self.lookback_seconds {
            form += &format!("&lookback_delta={delta}");
        }
        let seconds = |ms: i64| format!("{}.{:03}", ms / 1000, ms % 1000);
        if self.step_ms == 0 {
            form += &format!("&time={}", seconds(self.start_ms));
            return ("/api/v1/query", form);
        }
        form += &format!(
            "&start={}&end={}&step={}",
            seconds(self.start_ms),
            seconds(self.end_ms),
            seconds(self.step_ms)
        );
        ("/api/v1/query_range", form)
    }
}
