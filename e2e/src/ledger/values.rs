//! What each sample of the ledger's series must be: a value follows from where and when it was served, so that
//! a sample that is stored under another time, series or value is found without keeping a copy of all of them.

use serde_json::{Value, json};

/// Series of a page that stay.
pub(super) const STEADY: u64 = 16;
/// Series of a page that live for [`EPOCH`] pages only: the head must drop them, and replay bring them back.
pub(super) const PASSING: u64 = 8;
/// Pages that passing series live for. Odd, so that their ends do not fall together with block ends.
pub(super) const EPOCH: u64 = 13;
/// Float series of a push.
pub(super) const PUSHED_FLOATS: u64 = 6;
/// Histogram series of a push.
pub(super) const PUSHED_HISTOGRAMS: u64 = 2;

/// splitmix64 over some numbers.
#[must_use]
pub(crate) fn mix(parts: &[u64]) -> u64 {
    let mut z = 0_u64;
    for part in parts {
        z = (z ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
    }
    z
}

/// Value of a float series at a step (a page's number, or a push's milliseconds): counters, fractions, runs of
/// one value and wild floats, since chunks treat each in another way.
#[must_use]
pub(super) fn float(source: u64, series: u64, step: u64) -> f64 {
    let wild = mix(&[source, series, step]);
    match series % 4 {
        0 => (step * (series + 1) + source) as f64,
        1 => (wild % 1_000_000) as f64 / 1000.0,
        2 => (step / 8) as f64 + series as f64 / 4.0,
        // Exponents around one: never NaN nor infinite.
        _ => f64::from_bits((wild >> 12) | (0x3f0 + wild % 32) << 52),
    }
}

/// Counts of the two buckets (1, 2] and (2, 4], and the sum, of a pushed histogram of schema 0.
#[must_use]
pub(super) fn histogram(series: u64, step: u64) -> (u64, u64, f64) {
    let wild = mix(&[77, series, step]);
    (wild % 1000 + 1, wild / 1000 % 77 + 1, (wild % 10_000) as f64 / 4.0)
}

/// The same as the API shows it.
#[must_use]
pub(super) fn histogram_json(series: u64, step: u64) -> Value {
    let (a, b, sum) = histogram(series, step);
    json!({
        "count": (a + b).to_string(),
        "sum": sum.to_string(),
        "buckets": [[0, "1", "2", a.to_string()], [0, "2", "4", b.to_string()]],
    })
}

/// A page of a target in text format (OpenMetrics differs by its end only: all series are untyped).
#[must_use]
pub(super) fn page(target: u64, number: u64, open_metrics: bool) -> String {
    // Rust prints the shortest digits that read back as the same float.
    let mut out = format!("ledger_page {number}\n");
    for series in 0..STEADY {
        out += &format!("ledger_steady{{series=\"{series}\"}} {:?}\n", float(target, series, number));
    }
    let epoch = number / EPOCH;
    for series in 0..PASSING {
        let value = float(target, 100 + series, number);
        out += &format!("ledger_passing{{epoch=\"{epoch}\",series=\"{series}\"}} {value:?}\n");
    }
    if open_metrics {
        out += "# EOF\n";
    }
    out
}
