//! Constants: Go's quoted strings, characters and numbers (`strconv`).

use crate::ast::Number;
use crate::lexer::Kind;

const INVALID: &str = "invalid syntax";

/// A string token without its quotes and escapes. Bytes that are not UTF-8 become U+FFFD.
pub(crate) fn unquote(token: &str) -> Result<String, String> {
    let inner = token.get(1..token.len().saturating_sub(1)).ok_or(INVALID)?;
    if token.starts_with('`') {
        return Ok(inner.replace('\r', ""));
    }
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while !rest.is_empty() {
        rest = unquote_char(rest, '"', &mut out)?.1;
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// The first character of `rest`, with its escape taken; appends its bytes. Gives the value and what is left.
fn unquote_char<'a>(rest: &'a str, quote: char, out: &mut Vec<u8>) -> Result<(u32, &'a str), String> {
    let mut chars = rest.chars();
    let first = chars.next().ok_or(INVALID)?;
    if first == quote {
        return Err(INVALID.to_string());
    }
    if first != '\\' {
        out.extend_from_slice(first.encode_utf8(&mut [0; 4]).as_bytes());
        return Ok((first as u32, chars.as_str()));
    }
    let escape = chars.next().ok_or(INVALID)?;
    let simple = match escape {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => 10,
        'r' => 13,
        't' => 9,
        'v' => 11,
        '\\' => u32::from(b'\\'),
        c if c == quote => c as u32,
        'x' | 'u' | 'U' | '0'..='7' => {
            let (digits, base, from) = match escape {
                'x' => (2, 16, chars.as_str()),
                'u' => (4, 16, chars.as_str()),
                'U' => (8, 16, chars.as_str()),
                _ => (3, 8, rest.get(1..).ok_or(INVALID)?),
            };
            let text = from.get(..digits).filter(|t| t.chars().all(|c| c.is_digit(base))).ok_or(INVALID)?;
            let value = u32::from_str_radix(text, base).map_err(|_| INVALID)?;
            if matches!(escape, 'u' | 'U') {
                let c = char::from_u32(value).ok_or(INVALID)?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            } else {
                out.push(u8::try_from(value).map_err(|_| INVALID)?);
            }
            return Ok((value, from.get(digits..).unwrap_or("")));
        }
        _ => return Err(INVALID.to_string()),
    };
    out.push(simple as u8);
    Ok((simple, chars.as_str()))
}

/// A number, complex number or character constant.
pub(crate) fn number(text: &str, kind: Kind) -> Result<Number, String> {
    match kind {
        Kind::CharConstant => character(text),
        Kind::Complex => complex(text),
        _ => plain(text),
    }
}

fn character(text: &str) -> Result<Number, String> {
    let (value, tail) = unquote_char(text.get(1..).unwrap_or(""), '\'', &mut Vec::new())?;
    if tail != "'" {
        return Err(format!("malformed character constant: {text}"));
    }
    let (int, uint) = (Some(i64::from(value)), Some(u64::from(value)));
    Ok(Number { int, uint, float: Some(f64::from(value)), complex: None })
}

fn complex(text: &str) -> Result<Number, String> {
    let bad = || format!("illegal number syntax: {text:?}");
    let body = text.strip_suffix('i').ok_or_else(bad)?;
    // The sign between the parts: not the first one, and none of an exponent.
    let split = body
        .char_indices()
        .skip(1)
        .filter(|(i, c)| matches!(c, '+' | '-') && !body[..*i].ends_with(['e', 'E', 'p', 'P']))
        .map(|(i, _)| i)
        .last()
        .ok_or_else(bad)?;
    let (real, imaginary) = body.split_at(split);
    let parts = (parse_float(real).ok_or_else(bad)?, parse_float(imaginary).ok_or_else(bad)?);
    Ok(of_complex(parts))
}

/// A complex number without an imaginary part is a float, and perhaps an integer.
fn of_complex((real, imaginary): (f64, f64)) -> Number {
    if imaginary != 0.0 {
        return Number { complex: Some((real, imaginary)), ..Number::default() };
    }
    Number { complex: Some((real, imaginary)), ..of_float(real) }
}

fn of_float(v: f64) -> Number {
    let int = (v as i64 as f64 == v).then_some(v as i64);
    let uint = (v as u64 as f64 == v).then_some(v as u64);
    Number { int, uint, float: Some(v), complex: None }
}

fn plain(text: &str) -> Result<Number, String> {
    if let Some(imaginary) = text.strip_suffix('i').and_then(parse_float) {
        return Ok(of_complex((0.0, imaginary)));
    }
    if let Some((negative, magnitude)) = parse_integer(text) {
        let signed = i128::from(magnitude) * if negative { -1 } else { 1 };
        let int = i64::try_from(signed).ok();
        // An unsigned number has no sign, not even `+`; zero has both forms.
        let uint = (!text.starts_with(['+', '-']) || magnitude == 0).then_some(magnitude);
        if int.is_some() || uint.is_some() {
            return Ok(Number { int, uint, float: Some(signed as f64), complex: None });
        }
    }
    match parse_float(text) {
        Some(_) if !text.contains(['.', 'e', 'E', 'p', 'P']) => Err(format!("integer overflow: {text:?}")),
        Some(v) => Ok(of_float(v)),
        None => Err(format!("illegal number syntax: {text:?}")),
    }
}

/// Underscores stand between digits, or between a base prefix and a digit.
fn underscores_stand_well(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let based = |p: &str| text.get(..2).is_some_and(|t| t.eq_ignore_ascii_case(p));
    let (mut before, hex, body) = if based("0x") {
        ('0', true, &text[2..])
    } else if based("0b") || based("0o") {
        ('0', false, &text[2..])
    } else {
        ('^', false, text)
    };
    for c in body.chars() {
        let digit = c.is_ascii_digit() || hex && c.is_ascii_hexdigit();
        if digit {
            before = '0';
        } else if c == '_' {
            if before != '0' {
                return false;
            }
            before = '_';
        } else {
            if before == '_' {
                return false;
            }
            before = '!';
        }
    }
    before != '_'
}

/// An integer in any base, as sign and magnitude.
fn parse_integer(text: &str) -> Option<(bool, u64)> {
    if !underscores_stand_well(text) {
        return None;
    }
    let negative = text.starts_with('-');
    let body = text.strip_prefix(['+', '-']).unwrap_or(text).replace('_', "").to_ascii_lowercase();
    let (digits, base) = match body.get(..2) {
        Some("0x") => (&body[2..], 16),
        Some("0b") => (&body[2..], 2),
        Some("0o") => (&body[2..], 8),
        Some(_) if body.starts_with('0') => (&body[1..], 8),
        _ => (&body[..], 10),
    };
    if !digits.chars().all(|c| c.is_digit(base)) {
        return None;
    }
    Some((negative, u64::from_str_radix(digits, base).ok()?))
}

/// A float, decimal or hexadecimal; `None` also where it is out of range.
fn parse_float(text: &str) -> Option<f64> {
    if !underscores_stand_well(text) {
        return None;
    }
    let text = text.replace('_', "").to_ascii_lowercase();
    let (sign, body) = match text.strip_prefix('-') {
        Some(body) => (-1.0, body),
        None => (1.0, text.strip_prefix('+').unwrap_or(&text)),
    };
    if let Some(hex) = body.strip_prefix("0x") {
        return hex_float(hex).map(|v| sign * v);
    }
    if !body.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    body.parse::<f64>().ok().filter(|v| v.is_finite()).map(|v| sign * v)
}

/// `1.8p3` without the `0x`. Exact for mantissas of up to 53 bits, which is what people write.
fn hex_float(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once('p')?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || digits.len() > 32 || !digits.chars().all(|c| c.is_ascii_hexdigit()) {
        return None;
    }
    let value = u128::from_str_radix(&digits, 16).ok()? as f64;
    let exponent: i32 = exponent.parse().ok()?;
    let shift = exponent.checked_sub(i32::try_from(4 * fraction.len()).ok()?)?;
    Some(value * 2f64.powi(shift)).filter(|v| v.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings() {
        for (token, want) in [
            (r#""a\tb\"\x41\101\u00e9""#, Some("a\tb\"AA\u{e9}")),
            ("`a\\n\r`", Some("a\\n")),
            (r#""\'""#, None),
            (r#""\q""#, None),
            (r#""\u12""#, None),
            (r#""\400""#, None),
            (r#""\ud800""#, None),
        ] {
            assert_eq!(unquote(token).ok().as_deref(), want, "{token}");
        }
    }

    #[test]
    fn numbers() {
        let int = |t: &str| number(t, Kind::Number).ok().and_then(|n| n.int);
        let float = |t: &str| number(t, Kind::Number).ok().and_then(|n| n.float);
        for (text, want) in [
            ("12", Some(12)),
            ("-3", Some(-3)),
            ("0x1F", Some(31)),
            ("0b11", Some(3)),
            ("017", Some(15)),
            ("1_000", Some(1000)),
            ("1__0", None),
            ("1_", None),
            ("08", None),
            ("1e3", Some(1000)),
            ("1.5", None),
            ("99999999999999999999", None),
            ("0x", None),
        ] {
            assert_eq!(int(text), want, "{text}");
        }
        assert_eq!(
            number("99999999999999999999", Kind::Number).unwrap_err(),
            "integer overflow: \"99999999999999999999\""
        );
        assert_eq!(number("18446744073709551615", Kind::Number).unwrap().uint, Some(u64::MAX));
        assert_eq!(
            (float("1.5"), float(".5"), float("0x1.8p1"), float("1e999")),
            (Some(1.5), Some(0.5), Some(3.0), None)
        );
        assert_eq!(number("1+2i", Kind::Complex).unwrap().complex, Some((1.0, 2.0)));
        assert_eq!(number("'a'", Kind::CharConstant).unwrap().int, Some(97));
        assert!(number("'ab'", Kind::CharConstant).is_err() && number("''", Kind::CharConstant).is_err());
    }
}
