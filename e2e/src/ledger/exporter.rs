//! A target of the ledger: every request gets the next page, and what was served is in the ledger first.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};

use anyhow::Result;

use super::{Fate, Ledger, Source, now_ms, values};

/// Serves pages for as long as the process lives. Odd targets serve OpenMetrics. Returns the address.
///
/// # Errors
/// No port is free.
pub fn serve(ledger: &Ledger, target: u64) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    let ledger = ledger.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let ledger = ledger.clone();
            // A server that goes away ends its connection only.
            std::thread::spawn(move || converse(&stream, &ledger, target));
        }
    });
    Ok(address)
}

fn converse(stream: &TcpStream, ledger: &Ledger, target: u64) -> std::io::Result<()> {
    let source = Source::Target(target);
    let mut reader = BufReader::new(stream);
    let mut stream = stream;
    let mut before = None;
    loop {
        let (mut line, mut gzip, mut first) = (String::new(), false, true);
        loop {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Ok(());
            }
            if first && line.trim().is_empty() {
                continue;
            }
            first = false;
            gzip |= line.to_ascii_lowercase().starts_with("accept-encoding:") && line.contains("gzip");
            if line.trim().is_empty() {
                break;
            }
        }
        // The page before was committed, or this request would not be here.
        if let Some(page) = before.take() {
            ledger.note(source, page, Fate::Acknowledged(now_ms()));
        }
        let page = ledger.begin(source, None);
        let open_metrics = target % 2 == 1;
        let mut body = values::page(target, page, open_metrics).into_bytes();
        let mut head = "HTTP/1.1 200 OK\r\n".to_string();
        // Both kinds of bodies, whatever the server likes best.
        if gzip && page.is_multiple_of(2) {
            body = testkit::gzip(&body);
            head += "Content-Encoding: gzip\r\n";
        }
        let kind = if open_metrics {
            "application/openmetrics-text; version=1.0.0; charset=utf-8"
        } else {
            "text/plain; version=0.0.4; charset=utf-8"
        };
        head += &format!("Content-Type: {kind}\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes())?;
        stream.write_all(&body)?;
        before = Some(page);
    }
}
