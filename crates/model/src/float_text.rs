//! Numbers as Go's `strconv` prints and reads them.
//!
//! Upstream prints samples with 'f' (API), 'g' (exposition, `le`), and reads with `ParseFloat`; a client
//! that compares strings sees every difference.

/// Writes `strconv.FormatFloat(v, 'f', -1, 64)`: shortest digits, no exponent; `NaN`, `+Inf`, `-Inf`.
pub fn write_f(out: &mut Vec<u8>, v: f64) {
    out.extend_from_slice(format_f(v).as_bytes());
}

/// As [`write_f`], into a string.
#[must_use]
pub fn format_f(v: f64) -> String {
    if v.is_nan() {
        "NaN".to_string()
    } else if v.is_infinite() {
        if v > 0.0 { "+Inf" } else { "-Inf" }.to_string()
    } else {
        format!("{v}")
    }
}
