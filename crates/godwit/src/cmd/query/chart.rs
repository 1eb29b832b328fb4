//! Answers drawn for a terminal: tables of values, a small chart for each series of a range.

use std::fmt::Write as _;

use model::float_text::format_f;

use super::answer::{Answer, Series};
use super::text::{metric, order};

/// Columns of a chart.
const WIDTH: usize = 60;
const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
/// Digits that are kept of a value.
const DIGITS: i32 = 6;

/// A value in few digits.
fn short(v: f64) -> String {
    if !v.is_finite() || v == 0.0 {
        return format_f(v);
    }
    let exponent = v.abs().log10().floor() as i32;
    if !(-5..15).contains(&exponent) {
        return model::float_text::format_g_precision(v, DIGITS as usize);
    }
    let scale = 10f64.powi((DIGITS - 1 - exponent).max(0));
    format_f((v * scale).round() / scale)
}

fn when(t: f64) -> String {
    let time = jiff::Timestamp::from_millisecond((t * 1000.0) as i64);
    time.map_or_else(|_| format_f(t), |time| time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// What a series has at a point, in one cell: a histogram's count and mean.
fn cell(s: &Series) -> String {
    match (s.floats.first(), s.histograms.first()) {
        (Some((_, v)), _) => short(*v),
        (None, Some((_, h))) => format!("{} observations, mean {}", short(h.count), short(h.sum / h.count)),
        (None, None) => String::new(),
    }
}

fn vector(all: &[Series]) -> String {
    let time = |s: &Series| s.floats.first().map(|p| p.0).or(s.histograms.first().map(|p| p.0));
    let Some(t) = all.first().and_then(time) else { return "no series\n".to_string() };
    let cells: Vec<String> = all.iter().map(cell).collect();
    let width = cells.iter().map(|c| c.chars().count()).max().unwrap_or(0).max("VALUE".len());
    let mut out = format!("{:>width$}  SERIES at {}\n", "VALUE", when(t));
    for (cell, s) in cells.iter().zip(all) {
        let _ = writeln!(out, "{cell:>width$}  {}", metric(&s.metric));
    }
    out
}

/// Points in as many columns as there is room for: the mean of each; a gap is a space.
fn line(points: &[(f64, f64)], from: f64, to: f64) -> String {
    let mut columns = vec![(0.0, 0u32); WIDTH];
    for (t, v) in points.iter().filter(|(_, v)| v.is_finite()) {
        let at = ((t - from) / (to - from).max(1e-3) * WIDTH as f64) as usize;
        if let Some((sum, n)) = columns.get_mut(at.min(WIDTH - 1)) {
            (*sum, *n) = (*sum + v, *n + 1);
        }
    }
    let means: Vec<Option<f64>> =
        columns.into_iter().map(|(sum, n)| (n > 0).then(|| sum / f64::from(n))).collect();
    let low = means.iter().flatten().copied().fold(f64::INFINITY, f64::min);
    let high = means.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
    let step = |v: f64| {
        let share = if high > low { (v - low) / (high - low) } else { 0.0 };
        STEPS.get((share * (STEPS.len() - 1) as f64).round() as usize).copied().unwrap_or(' ')
    };
    means.into_iter().map(|v| v.map_or(' ', step)).collect::<String>().trim_end().to_string()
}

fn matrix(all: &[Series]) -> String {
    let times = |s: &Series| {
        let (floats, histograms) = (s.floats.iter().map(|p| p.0), s.histograms.iter().map(|p| p.0));
        floats.chain(histograms).collect::<Vec<_>>()
    };
    let times: Vec<f64> = all.iter().flat_map(times).collect();
    let from = times.iter().copied().fold(f64::INFINITY, f64::min);
    let to = times.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if times.is_empty() {
        return "no series\n".to_string();
    }
    let mut out = format!("{} to {}\n", when(from), when(to));
    let mut all: Vec<&Series> = all.iter().collect();
    all.sort_by(|a, b| order(&a.metric, &b.metric));
    for s in all {
        // Of histograms the count.
        let counts = s.histograms.iter().map(|(t, h)| (*t, h.count));
        let mut points: Vec<(f64, f64)> = s.floats.iter().copied().chain(counts).collect();
        points.sort_by(|a, b| a.0.total_cmp(&b.0));
        let values = || points.iter().map(|p| p.1);
        let (low, high) =
            (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
        let last = points.last().map_or(f64::NAN, |p| p.1);
        let what = if s.histograms.is_empty() { "" } else { "counts of histograms: " };
        let _ = writeln!(
            out,
            "\n{}\n  {}\n  {what}min {}, max {}, last {}",
            metric(&s.metric),
            line(&points, from, to),
            short(low),
            short(high),
            short(last)
        );
    }
    out
}

/// The whole answer.
pub(super) fn draw(answer: &Answer) -> String {
    match answer {
        Answer::Scalar(t, v) => format!("{} at {}\n", short(*v), when(*t)),
        Answer::Text(_, text) => format!("{text}\n"),
        Answer::Vector(all) => vector(all),
        Answer::Matrix(all) => matrix(all),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_has_its_gaps_and_its_range() {
        let points: Vec<(f64, f64)> =
            (0..=600).filter(|t| !(200..400).contains(t)).map(|t| (f64::from(t), f64::from(t))).collect();
        let line = line(&points, 0.0, 600.0);
        assert_eq!(line.chars().count(), WIDTH);
        assert!(line.starts_with('▁') && line.ends_with('█') && line.contains("    "), "{line}");
        assert_eq!(super::line(&[(0.0, 5.0), (1.0, 5.0)], 0.0, 1.0).chars().next(), Some('▁'));
        for (v, want) in [(1_234.567_89, "1234.57"), (0.1 + 0.2, "0.3"), (1e20, "1e+20"), (-2.0, "-2")] {
            assert_eq!(short(v), want);
        }
    }
}
