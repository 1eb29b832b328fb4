//! Numbers as Go's `strconv.ParseInt(s, 0, 64)` and, failing that, `strconv.ParseFloat` read them.

use super::text::go_quote;

/// Reads a number: decimal, `0x` hexadecimal, octal with a leading `0`, underscores between digits.
///
/// # Errors
/// Go's text.
pub(crate) fn parse_number(text: &str) -> Result<f64, String> {
    let fault = |what: &str| Err(format!("strconv.ParseFloat: parsing {}: {what}", go_quote(text)));
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "inf" => return Ok(f64::INFINITY),
        "nan" => return Ok(f64::NAN),
        _ => {}
    }
    if !underscores_ok(&lower) {
        return fault("invalid syntax");
    }
    let plain: String = lower.chars().filter(|c| *c != '_').collect();
    if let Some(hex) = plain.strip_prefix("0x") {
        // A hexadecimal float needs an exponent with `p`, which the lexer lets nobody write.
        return match i64::from_str_radix(hex, 16) {
            Ok(n) => Ok(n as f64),
            Err(_) => fault("invalid syntax"),
        };
    }
    if plain.len() > 1
        && let Some(octal) = plain.strip_prefix('0')
        && let Ok(n) = i64::from_str_radix(octal, 8)
    {
        return Ok(n as f64);
    }
    if plain.bytes().all(|b| b.is_ascii_digit())
        && let Ok(n) = plain.parse::<i64>()
    {
        return Ok(n as f64);
    }
    match plain.parse::<f64>() {
        Ok(n) if n.is_infinite() => fault("value out of range"),
        Ok(n) => Ok(n),
        Err(_) => fault("invalid syntax"),
    }
}

/// Underscores stand only between digits, or between a base prefix and a digit.
fn underscores_ok(s: &str) -> bool {
    if !s.contains('_') {
        return true;
    }
    let hex = s.starts_with("0x");
    let body = if hex { &s[1..] } else { s };
    let bytes = body.as_bytes();
    let digit = |b: u8| b.is_ascii_digit() || (hex && (b.is_ascii_hexdigit() || b == b'x'));
    bytes.iter().enumerate().all(|(i, b)| {
        *b != b'_' || (i > 0 && digit(bytes[i - 1]) && bytes.get(i + 1).is_some_and(|n| digit(*n)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_like_go() {
        for (s, want) in
            [("1", 1.0), ("017", 15.0), ("08", 8.0), ("0x1F", 31.0), ("1_000", 1000.0), ("0x_a", 10.0)]
        {
            assert_eq!(parse_number(s), Ok(want), "{s}");
        }
        for (s, want) in
            [(".5", 0.5), ("1.", 1.0), ("1e3", 1000.0), ("9223372036854775808", 9223372036854775808.0)]
        {
            assert_eq!(parse_number(s), Ok(want), "{s}");
        }
        for s in ["1__0", "0x", "1e", "1e999", "_1"] {
            assert!(parse_number(s).is_err(), "{s}");
        }
    }
}
