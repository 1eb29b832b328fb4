//! `scrape_failure_log_file`: one JSON line per failed scrape, in the shape that Go's `slog` gives
//! upstream's.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::time::Duration;

use parking_lot::Mutex;

/// An open log. It is opened anew at each reload, so that a rotated file is let go.
#[derive(Debug)]
pub(crate) struct FailureLog {
    file: Mutex<File>,
}

impl FailureLog {
    pub(crate) fn open(path: &str) -> std::io::Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        Ok(FailureLog { file: Mutex::new(file) })
    }

    /// Appends one line. A log that cannot be written must not fail the scrape: it is told once a line to
    /// the server's own log, at debug.
    pub(crate) fn write(&self, now: Duration, message: &str, job: &str, target: &str) {
        let mut line = Vec::with_capacity(256);
        line.extend_from_slice(b"{\"time\":\"");
        line.extend_from_slice(rfc3339_ms(now).as_bytes());
        line.extend_from_slice(b"\",\"level\":\"ERROR\",\"source\":\"scrape.go\",\"msg\":");
        quote(&mut line, message);
        line.extend_from_slice(b",\"job_name\":");
        quote(&mut line, job);
        line.extend_from_slice(b",\"target\":");
        quote(&mut line, target);
        line.extend_from_slice(b"}\n");
        if let Err(err) = self.file.lock().write_all(&line) {
            tracing::debug!(%err, "cannot write the scrape failure log");
        }
    }
}

fn quote(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for c in text.chars() {
        match c {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            c if u32::from(c) < 0x20 || matches!(c, '\u{2028}' | '\u{2029}') => {
                out.extend_from_slice(format!("\\u{:04x}", u32::from(c)).as_bytes());
            }
            c => out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

/// `2026-11-22T07:08:09.123Z`.
fn rfc3339_ms(since_epoch: Duration) -> String {
    let secs = since_epoch.as_secs();
    let (days, rest) = (secs / 86_400, secs % 86_400);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60,
        since_epoch.subsec_millis()
    )
}

/// Calendar date of a day number since 1970-01-01 (the usual 400-year-era arithmetic, which needs no
/// calendar library for one log line).
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (secs, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_400, "2000-02-29T00:00:00.000Z"),
            (1_709_251_199, "2024-02-29T23:59:59.000Z"),
            (1_795_331_289, "2026-11-22T07:08:09.000Z"),
        ] {
            assert_eq!(rfc3339_ms(Duration::from_secs(secs)), text);
        }
    }

    #[test]
    fn lines_are_json_whatever_the_text() {
        let dir = std::env::temp_dir().join(format!("godwit-failure-log-{}", std::process::id()));
        let log = FailureLog::open(dir.to_str().unwrap()).unwrap();
        log.write(Duration::ZERO, "a \"b\"\n\u{1}\\", "job", "http://x/");
        let text = std::fs::read_to_string(&dir).unwrap();
        std::fs::remove_file(&dir).unwrap();
        assert_eq!(
            text,
            "{\"time\":\"1970-01-01T00:00:00.000Z\",\"level\":\"ERROR\",\"source\":\"scrape.go\",\
             \"msg\":\"a \\\"b\\\"\\n\\u0001\\\\\",\"job_name\":\"job\",\"target\":\"http://x/\"}\n"
        );
    }
}
