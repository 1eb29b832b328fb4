//! Numbers as Go's `strconv` prints and reads them.

/// Prints like `strconv.FormatFloat(v, 'f', -1, 64)`: shortest digits, no exponent; `NaN`, `+Inf`, `-Inf`.
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
