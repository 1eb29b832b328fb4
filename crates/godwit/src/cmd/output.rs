//! What the tsdb commands print with: tables as Go's tabwriter aligns them, and a bar on a terminal.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use model::duration::format as round_duration;

/// Narrowest column, and the room between two: promtool's settings.
const COLUMN_MIN: usize = 13;
const PADDING: usize = 2;

/// Lines of cells, aligned in columns; the last cell of a line ends it.
#[must_use]
pub(super) fn table(lines: &[Vec<String>]) -> String {
    let columns = lines.iter().map(Vec::len).max().unwrap_or(0).saturating_sub(1);
    let width = |c: usize| {
        let cells = lines.iter().filter_map(|l| l.get(c)).map(|cell| cell.chars().count() + PADDING);
        cells.max().unwrap_or(0).max(COLUMN_MIN)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut out = String::new();
    for line in lines {
        for (i, cell) in line.iter().enumerate() {
            out.push_str(cell);
            if i + 1 < line.len() {
                let pad = widths.get(i).copied().unwrap_or(0).saturating_sub(cell.chars().count());
                out.extend(std::iter::repeat_n(' ', pad));
            }
        }
        out.push('\n');
    }
    out
}

/// `2026-11-22 13:00:00 +0000 UTC`, as Go prints a time; milliseconds are cut off.
#[must_use]
pub(super) fn utc(t_ms: i64) -> String {
    match jiff::Timestamp::from_second(t_ms / 1000) {
        Ok(time) => time.strftime("%Y-%m-%d %H:%M:%S +0000 UTC").to_string(),
        // Years beyond 9999: what no block has that was not made of a broken clock.
        Err(_) => t_ms.to_string(),
    }
}

/// `1KiB20B`: sizes as promtool prints them for people.
#[must_use]
pub(super) fn sizes(bytes: u64) -> String {
    let units = ["EiB", "PiB", "TiB", "GiB", "MiB", "KiB", "B"];
    let mut out = String::new();
    for (i, unit) in units.iter().enumerate() {
        let n = bytes >> (10 * (units.len() - 1 - i)) & if i == 0 { u64::MAX } else { 1023 };
        if n > 0 {
            out += &format!("{n}{unit}");
        }
    }
    if out.is_empty() { "0B".to_string() } else { out }
}

/// Go's `time.Duration.String()` of milliseconds.
#[must_use]
pub(super) fn go_duration(ms: i64) -> String {
    let text = crate::args::value::show_go_duration(Duration::from_millis(ms.unsigned_abs()));
    if ms < 0 { format!("-{text}") } else { text }
}

/// Bar of 20 steps, drawn five times a second.
const REDRAW: Duration = Duration::from_millis(200);
const STEPS: u64 = 20;

/// Says on a terminal how far something is; silent elsewhere, so that scripts and logs stay clean.
pub(super) struct Progress {
    what: &'static str,
    unit: &'static str,
    total: u64,
    done: u64,
    began: Instant,
    drawn: Option<Instant>,
    terminal: bool,
}

impl Progress {
    /// `unit` is counted; `B` is shown in powers of 1024.
    pub(super) fn new(what: &'static str, unit: &'static str, total: u64) -> Self {
        let terminal = io::stderr().is_terminal();
        Progress { what, unit, total, done: 0, began: Instant::now(), drawn: None, terminal }
    }

    fn amount(&self, n: f64) -> String {
        let step: f64 = if self.unit == "B" { 1024.0 } else { 1000.0 };
        let prefixes = ["", "k", "M", "G", "T"];
        let mut n = n;
        let mut at = 0;
        while n >= step && at + 1 < prefixes.len() {
            n /= step;
            at += 1;
        }
        format!("{n:.1} {}{}", prefixes.get(at).copied().unwrap_or(""), self.unit)
    }

    /// So much more is done.
    pub(super) fn add(&mut self, n: u64) {
        self.done += n;
        if !self.terminal || self.drawn.is_some_and(|at| at.elapsed() < REDRAW) {
            return;
        }
        self.drawn = Some(Instant::now());
        let seconds = self.began.elapsed().as_secs_f64().max(0.001);
        let rate = self.done as f64 / seconds;
        let mut line = format!("{} ", self.what);
        if self.total > 0 {
            let done = self.done.min(self.total);
            let filled = (done * STEPS / self.total) as usize;
            let left = (self.total - done) as f64 / rate.max(1.0);
            line += &format!(
                "[{}{}] {:3} %  {}/s  {} left",
                "#".repeat(filled),
                ".".repeat(STEPS as usize - filled),
                done * 100 / self.total,
                self.amount(rate),
                round_duration(Duration::from_secs(left as u64)),
            );
        } else {
            line += &format!("{}  {}/s", self.amount(self.done as f64), self.amount(rate));
        }
        // A bar that cannot be drawn is no reason to stop.
        let _ = write!(io::stderr(), "\r\x1b[K{line}");
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.drawn.is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_promtool_prints() {
        let lines = [vec!["A".into(), "B".into()], vec!["01M9T4RJVH3ERTZQ5ME2PCN1DT".into(), "x".into()]];
        assert_eq!(table(&lines), "A                           B\n01M9T4RJVH3ERTZQ5ME2PCN1DT  x\n");
        assert_eq!(table(&[vec!["a".into(), "b".into()]]), "a            b\n");
        assert_eq!((utc(1_795_351_800_999), utc(-1)), ("2026-11-22 12:50:00 +0000 UTC".into(), utc(0)));
        for (n, text) in
            [(0, "0B"), (20, "20B"), (1044, "1KiB20B"), (5 << 30, "5GiB"), ((1 << 20) + 1, "1MiB1B")]
        {
            assert_eq!(sizes(n), text);
        }
        assert_eq!((go_duration(7_200_000), go_duration(-1)), ("2h0m0s".into(), "-1ms".into()));
    }
}
