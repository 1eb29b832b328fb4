//! Numbers of the text formats: read as Go's `strconv.ParseFloat` reads them, written as its `'g'` format.

/// Powers of ten that a double holds exactly; a quotient of two exact doubles is correctly rounded.
const POW10: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];
/// Every integer up to here is a double.
const EXACT_MAX: u64 = 1 << 53;

/// Reads a decimal (`-?digits[.digits][e[+-]digits]`) at the start of `bytes`, where it has at most 19 digits
/// and its digits and power of ten are exact as doubles: nearly all values of real targets. Gives the value
/// and the bytes used; the byte after it is for the caller to judge. `None` means "not that simple", not
/// "wrong". About 1 ns per four digits.
#[inline]
#[must_use]
pub fn plain_decimal(bytes: &[u8]) -> Option<(f64, usize)> {
    let digit = |at: usize| bytes.get(at).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10);
    let start = usize::from(bytes.first() == Some(&b'-'));
    let mut at = start;
    let mut mantissa: u64 = 0;
    while let Some(d) = digit(at) {
        mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(d));
        at += 1;
    }
    let mut digits = at - start;
    if digits == 0 {
        return None;
    }
    let mut power: i32 = 0;
    if bytes.get(at) == Some(&b'.') {
        at += 1;
        let from = at;
        while let Some(d) = digit(at) {
            mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(d));
            at += 1;
        }
        digits += at - from;
        power = -((at - from) as i32);
        if at == from {
            return None;
        }
    }
    // 19 digits cannot wrap a u64; the bound on the mantissa makes the conversion exact.
    if digits > 19 || mantissa > EXACT_MAX {
        return None;
    }
    if let Some(b'e' | b'E') = bytes.get(at) {
        let sign = bytes.get(at + 1).copied();
        at += 1 + usize::from(matches!(sign, Some(b'+' | b'-')));
        let first = i32::from(digit(at)?);
        let exponent = match digit(at + 1) {
            Some(second) => first * 10 + i32::from(second),
            None => first,
        };
        at += 1 + usize::from(digit(at + 1).is_some());
        if digit(at).is_some() {
            return None;
        }
        power += if sign == Some(b'-') { -exponent } else { exponent };
    }
    let scale = *POW10.get(power.unsigned_abs() as usize)?;
    let value = mantissa as f64;
    let value = if power < 0 { value / scale } else { value * scale };
    Some((if start == 1 { -value } else { value }, at))
}

/// Reads a whole token as a float. Accepts what Go accepts save hexadecimal floats and underscores, which
/// upstream's parsers refuse as well. Any NaN comes back as the canonical one.
///
/// # Errors
/// Not a number, or beyond the range of a double.
pub fn parse_float(token: &[u8]) -> Result<f64, FloatError> {
    if let Some((value, used)) = plain_decimal(token)
        && used == token.len()
    {
        return Ok(value);
    }
    if token.iter().any(|b| matches!(b, b'p' | b'P' | b'_')) {
        return Err(FloatError::Unsupported);
    }
    let (sign, rest) = match token.first() {
        Some(b'-') => (-1.0, &token[1..]),
        Some(b'+') => (1.0, &token[1..]),
        _ => (1.0, token),
    };
    if rest.eq_ignore_ascii_case(b"inf") || rest.eq_ignore_ascii_case(b"infinity") {
        return Ok(sign * f64::INFINITY);
    }
    if token.eq_ignore_ascii_case(b"nan") {
        return Ok(f64::from_bits(model::sample::NORMAL_NAN_BITS));
    }
    if !rest.first().is_some_and(|b| b.is_ascii_digit() || *b == b'.') {
        return Err(FloatError::Syntax);
    }
    match fast_float2::parse::<f64, _>(rest) {
        Ok(value) if value.is_infinite() => Err(FloatError::Range),
        Ok(value) => Ok(sign * value),
        Err(_) => Err(FloatError::Syntax),
    }
}

/// Why a token is not a float.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FloatError {
    /// Hexadecimal or with underscores.
    #[error("unsupported character in float")]
    Unsupported,
    /// No number.
    #[error("invalid syntax")]
    Syntax,
    /// Too large.
    #[error("value out of range")]
    Range,
}

/// Writes a float as Go's `strconv.AppendFloat(f, 'g', -1, 64)`: shortest digits, exponent form below 1e-4
/// and from 1e6 on (not 1e21, which is `%v`'s bound); `NaN`, `+Inf`, `-Inf`.
pub fn write_go_float(out: &mut String, v: f64) {
    use std::fmt::Write as _;
    if v.is_nan() {
        out.push_str("NaN");
        return;
    }
    if v.is_infinite() {
        out.push_str(if v > 0.0 { "+Inf" } else { "-Inf" });
        return;
    }
    let from = out.len();
    let _ = write!(out, "{v:e}");
    let exponent: i32 = out[from..].rsplit_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    if (-4..GO_EXPONENT_FROM).contains(&exponent) || v == 0.0 {
        out.truncate(from);
        let _ = write!(out, "{v}");
        return;
    }
    if let Some(at) = out[from..].find('e') {
        out.truncate(from + at);
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    let _ = write!(out, "e{sign}{:02}", exponent.unsigned_abs());
}

/// Exponent from which `'g'` with the shortest precision takes the exponent form.
const GO_EXPONENT_FROM: i32 = 6;

/// Writes a float as OpenMetrics wants it: as [`write_go_float`], with `.0` where it would look an integer.
pub fn write_openmetrics_float(out: &mut String, v: f64) {
    let from = out.len();
    write_go_float(out, v);
    if v.is_finite() && !out[from..].contains(['e', '.']) {
        out.push_str(".0");
    }
}

/// `le` and `quantile` values in the form in which they are stored.
#[must_use]
pub fn openmetrics_float(v: f64) -> String {
    let mut out = String::with_capacity(8);
    // Negative zero is not told apart there.
    write_openmetrics_float(&mut out, if v == 0.0 { 0.0 } else { v });
    out
}

/// Go's conversion of a float to int64 on amd64: out of range gives the smallest number.
#[must_use]
pub(crate) fn go_i64(v: f64) -> i64 {
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&v) { v as i64 } else { i64::MIN }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_like_go() {
        for (text, want) in [
            ("0", 0.0),
            ("-0", -0.0),
            ("1", 1.0),
            ("+1", 1.0),
            ("42.5", 42.5),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e3", 1000.0),
            ("1E+3", 1000.0),
            ("1.e5", 1e5),
            ("9007199254740993", 9_007_199_254_740_992.0),
            ("123456789012345678901234567890", 123_456_789_012_345_678_901_234_567_890.0),
            ("0.1", 0.1),
            ("1.7976931348623157e308", f64::MAX),
            ("5e-324", 5e-324),
            ("1e-400", 0.0),
            ("Inf", f64::INFINITY),
            ("+inf", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
        ] {
            let got = parse_float(text.as_bytes()).unwrap();
            assert_eq!(got.to_bits(), want.to_bits(), "{text}");
        }
        assert_eq!(parse_float(b"nAn").unwrap().to_bits(), model::sample::NORMAL_NAN_BITS);
        for text in [
            "", "+", "-", ".", "1e", "1e+", "e5", "+nan", "-nan", "0x10", "0x1p4", "1_0", "1 ", "--1", "+-1",
            "1e999", "-1e999", "infx", "1.2.3", "1,5",
        ] {
            assert!(parse_float(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn writes_like_go() {
        for (v, g, om) in [
            (0.0, "0", "0.0"),
            (1.0, "1", "1.0"),
            (-1.0, "-1", "-1.0"),
            (0.5, "0.5", "0.5"),
            (100_000.0, "100000", "100000.0"),
            (1_000_000.0, "1e+06", "1e+06"),
            (1_234_567.0, "1.234567e+06", "1.234567e+06"),
            (1e20, "1e+20", "1e+20"),
            (1e21, "1e+21", "1e+21"),
            (0.0001, "0.0001", "0.0001"),
            (0.00001, "1e-05", "1e-05"),
            (1.5e-100, "1.5e-100", "1.5e-100"),
            (f64::NAN, "NaN", "NaN"),
            (f64::INFINITY, "+Inf", "+Inf"),
            (f64::NEG_INFINITY, "-Inf", "-Inf"),
        ] {
            let mut out = String::new();
            write_go_float(&mut out, v);
            assert_eq!(out, g);
            assert_eq!(openmetrics_float(v), om);
        }
    }
}
