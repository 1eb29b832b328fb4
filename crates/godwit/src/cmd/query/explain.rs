//! Where the time of a query went, as a tree on a terminal.

use std::fmt::Write as _;

use serde_json::Value;

/// Levels that are drawn; the server's limit of nesting is deeper than anyone reads.
const LEVELS_MAX: usize = 64;
/// Characters of a part's text.
const TEXT_MAX: usize = 60;

/// A line a part: its share of the time, time with parts, series, samples read, bytes, and what it is.
pub fn draw(tree: &Value) -> String {
    let mut out =
        format!("{:>6}  {:>10}  {:>9}  {:>11}  {:>10}\n", "OWN", "TIME", "SERIES", "SAMPLES", "BYTES");
    let whole = number(tree, "seconds");
    part(&mut out, tree, whole, "", 0);
    out
}

fn number(part: &Value, key: &str) -> f64 {
    part[key].as_f64().unwrap_or(0.0)
}

fn part(out: &mut String, one: &Value, whole: f64, indent: &str, level: usize) {
    let own = if whole > 0.0 { 100.0 * number(one, "ownSeconds") / whole } else { 0.0 };
    let (series, samples) = (number(one, "series"), number(one, "samples"));
    let what = one["what"].as_str().unwrap_or_default();
    let text = one["text"].as_str().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ");
    let mut shown: String = text.chars().take(TEXT_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    let (time, bytes) = (seconds(number(one, "seconds")), bytes(number(one, "bytes")));
    let _ = writeln!(
        out,
        "{own:>5.1}%  {time:>10}  {series:>9}  {samples:>11}  {bytes:>10}  {indent}{what}  {shown}"
    );
    if level < LEVELS_MAX {
        let indent = format!("{indent}  ");
        for below in one["parts"].as_array().into_iter().flatten() {
            part(out, below, whole, &indent, level + 1);
        }
    }
}

fn seconds(s: f64) -> String {
    match s {
        s if s < 1e-3 => format!("{:.0} us", s * 1e6),
        s if s < 1.0 => format!("{:.1} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

fn bytes(b: f64) -> String {
    match b {
        b if b < 1024.0 => format!("{b:.0} B"),
        b if b < 1048576.0 => format!("{:.1} KiB", b / 1024.0),
        b => format!("{:.1} MiB", b / 1048576.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_drawn() {
        let tree = serde_json::json!({
            "what": "query", "text": "sum(up)", "seconds": 0.002, "ownSeconds": 0.001, "series": 1, "samples": 3,
            "bytes": 2048, "parts": [{"what": "sum", "text": "sum(\n  up)", "seconds": 0.001, "ownSeconds": 0.001}],
        });
        let drawn = draw(&tree);
        let lines: Vec<&str> = drawn.lines().collect();
        assert_eq!(lines.len(), 3, "{drawn}");
        assert!(
            lines[1].ends_with(" 50.0%      2.0 ms          1            3     2.0 KiB  query  sum(up)"),
            "{drawn}"
        );
        assert!(lines[2].ends_with("  sum  sum( up)"), "{drawn}");
    }
}
