//! `strconv.ParseFloat`: decimal and hexadecimal numbers, underscores between digits, `Inf`, `NaN`.

/// Why a text is no number, in Go's words (without the function's name and the text).
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum ParseFloatError {
    /// Not of the form.
    #[error("invalid syntax")]
    Syntax,
    /// Above the largest number; holds the infinity that Go returns beside the error.
    #[error("value out of range")]
    Range(f64),
}

/// Parses as `strconv.ParseFloat(text, 64)`.
///
/// # Errors
/// A text that is no number, or one beyond the largest.
pub fn parse_float(text: &str) -> Result<f64, ParseFloatError> {
    // The plain case, and nearly every one: digits, at most one point.
    let bytes = text.as_bytes();
    let (negative, body) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        all => (false, all),
    };
    if let Some(v) = special(body, bytes.len() == body.len()) {
        return Ok(if negative { -v } else { v });
    }
    let has_underscores = body.contains(&b'_');
    if has_underscores && !underscores_fit(body) {
        return Err(ParseFloatError::Syntax);
    }
    let cleaned;
    let digits = if has_underscores {
        cleaned = body.iter().copied().filter(|b| *b != b'_').collect::<Vec<u8>>();
        &cleaned
    } else {
        body
    };
    let size = match body {
        // A lone "0x" is no prefix, and no number either.
        [b'0', b'x' | b'X', _, ..] => hexadecimal(digits.get(2..).unwrap_or(&[])),
        _ => decimal(digits),
    };
    let size = size.ok_or(ParseFloatError::Syntax)?;
    let v = if negative { -size } else { size };
    if v.is_infinite() { Err(ParseFloatError::Range(v)) } else { Ok(v) }
}

/// Infinities in any case, with or without a sign; NaN without.
fn special(body: &[u8], unsigned: bool) -> Option<f64> {
    let is = |word: &str| body.eq_ignore_ascii_case(word.as_bytes());
    if is("inf") || is("infinity") {
        Some(f64::INFINITY)
    } else if unsigned && is("nan") {
        Some(f64::NAN)
    } else {
        None
    }
}

/// Each underscore stands between digits; a base prefix counts as a digit.
fn underscores_fit(body: &[u8]) -> bool {
    let (hex, rest) = match body {
        [b'0', b'x' | b'X', rest @ ..] => (true, rest),
        [b'0', b'b' | b'B' | b'o' | b'O', rest @ ..] => (false, rest),
        all => (false, all),
    };
    let mut after_digit = rest.len() < body.len();
    let mut after_underscore = false;
    for b in rest {
        let digit = b.is_ascii_digit() || (hex && b.is_ascii_hexdigit());
        if (*b == b'_' && !after_digit) || (after_underscore && !digit) {
            return false;
        }
        after_underscore = *b == b'_';
        after_digit = digit;
    }
    !after_underscore
}

/// Digits with an optional point and an optional exponent, checked here: Rust's grammar is wider.
fn decimal(text: &[u8]) -> Option<f64> {
    let mantissa = text.iter().position(|b| matches!(b, b'e' | b'E')).unwrap_or(text.len());
    let (mantissa, exponent) = text.split_at_checked(mantissa)?;
    let points = mantissa.iter().filter(|b| **b == b'.').count();
    let digits = mantissa.iter().filter(|b| b.is_ascii_digit()).count();
    if digits == 0 || points > 1 || points + digits != mantissa.len() {
        return None;
    }
    if let Some(exponent) = exponent.get(1..) {
        exponent_of(exponent)?;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// A signed whole number, held at ±10^6: beyond what can matter beside any mantissa that fits in memory
/// as a label.
fn exponent_of(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        all => (false, all),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let size = digits.iter().fold(0_i64, |n, b| (n * 10 + i64::from(b - b'0')).min(1_000_000));
    Some(if negative { -size } else { size })
}

/// The part after `0x`; the exponent is a must. Infinity where too large.
fn hexadecimal(text: &[u8]) -> Option<f64> {
    let at = text.iter().position(|b| matches!(b, b'p' | b'P'))?;
    let (mantissa, exponent) = text.split_at_checked(at)?;
    let mut power = exponent_of(exponent.get(1..)?)?;
    let (mut value, mut sticky, mut seen_point, mut seen_digit) = (0_u64, false, false, false);
    for b in mantissa {
        let digit = match b {
            b'.' if !seen_point => {
                seen_point = true;
                continue;
            }
            b => char::from(*b).to_digit(16)?,
        };
        seen_digit = true;
        if value >> 60 == 0 {
            value = value << 4 | u64::from(digit);
            power -= if seen_point { 4 } else { 0 };
        } else {
            // Out of room: only whether something was lost counts, for rounding.
            sticky |= digit != 0;
            power += if seen_point { 0 } else { 4 };
        }
    }
    seen_digit.then(|| compose(value, power, sticky))
}

/// `value` × 2^`power`, rounded to the nearest, ties to even.
fn compose(value: u64, power: i64, sticky: bool) -> f64 {
    if value == 0 {
        return 0.0;
    }
    // The top bit of a normalised value stands for 2^(power + 63).
    let shift = i64::from(value.leading_zeros());
    let value = value << shift;
    let top = power - shift + 63;
    if top > 1023 {
        return f64::INFINITY;
    }
    // 53 bits stay, fewer below 2^-1022.
    let kept = if top >= -1022 { 53 } else { 53 - (-1022 - top) };
    if kept < 0 {
        return 0.0;
    }
    let dropped = 64 - kept as u32;
    let mantissa = value.checked_shr(dropped).unwrap_or(0);
    let rest = if dropped == 64 { value } else { value & ((1 << dropped) - 1) };
    let half = 1_u64 << (dropped - 1);
    let up = rest > half || (rest == half && (sticky || mantissa & 1 == 1));
    // A carry runs into the exponent, which is what it should do.
    let exponent = if top >= -1022 { (top + 1022) as u64 } else { 0 };
    f64::from_bits((exponent << 52) + mantissa + u64::from(up))
}
