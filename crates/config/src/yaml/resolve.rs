//! What a plain scalar means: YAML 1.1 as upstream's library has it (go-yaml v2 `resolve.go`).

/// A scalar's meaning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Meaning {
    Null,
    Bool(bool),
    Int(i64),
    /// Above `i64::MAX`.
    Uint(u64),
    Float(f64),
    /// Text, timestamps included.
    Text,
}

/// Meaning of an untagged plain scalar.
pub(crate) fn resolve(text: &str) -> Meaning {
    let Some(first) = text.bytes().next() else { return Meaning::Null };
    match first {
        b'~' | b'y' | b'Y' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'o' | b'O' => word(text),
        b'.' => match text {
            ".nan" | ".NaN" | ".NAN" => Meaning::Float(f64::NAN),
            ".inf" | ".Inf" | ".INF" => Meaning::Float(f64::INFINITY),
            _ if is_float(text) => text.parse().map_or(Meaning::Text, Meaning::Float),
            _ => Meaning::Text,
        },
        b'+' | b'-' | b'0'..=b'9' => number(text),
        _ => Meaning::Text,
    }
}

fn word(text: &str) -> Meaning {
    match text {
        "~" | "null" | "Null" | "NULL" => Meaning::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            Meaning::Bool(true)
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            Meaning::Bool(false)
        }
        _ => Meaning::Text,
    }
}

fn number(text: &str) -> Meaning {
    match text {
        "+.inf" | "+.Inf" | "+.INF" => return Meaning::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Meaning::Float(f64::NEG_INFINITY),
        _ => {}
    }
    if is_date(text) {
        return Meaning::Text;
    }
    let plain = text.replace('_', "");
    match integer(&plain) {
        Some(value) => value,
        None if is_float(&plain) => match plain.parse::<f64>() {
            // Go's ParseFloat fails on overflow, Rust's gives infinity.
            Ok(v) if v.is_finite() => Meaning::Float(v),
            _ => Meaning::Text,
        },
        None => Meaning::Text,
    }
}

/// Go's `ParseInt(s, 0, 64)`, then `ParseUint`: prefixes 0x, 0o, 0b and octal 0.
fn integer(text: &str) -> Option<Meaning> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = if let Some(hex) = lower.strip_prefix("0x") {
        (16, hex)
    } else if let Some(bits) = lower.strip_prefix("0b") {
        (2, bits)
    } else if let Some(octal) = lower.strip_prefix("0o") {
        (8, octal)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    // A second sign ("+-5") would pass from_str_radix.
    if !digits.starts_with(|c: char| c.is_ascii_alphanumeric()) {
        return None;
    }
    let magnitude = u64::from_str_radix(digits, radix).ok()?;
    if negative {
        return 0_i64.checked_sub_unsigned(magnitude).map(Meaning::Int);
    }
    match i64::try_from(magnitude) {
        Ok(value) => Some(Meaning::Int(value)),
        Err(_) if text.starts_with('+') => None,
        Err(_) => Some(Meaning::Uint(magnitude)),
    }
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
pub(crate) fn is_float(text: &str) -> bool {
    let bytes = text.as_bytes();
    let mut at = usize::from(matches!(bytes.first(), Some(b'+' | b'-')));
    let digits = |from: usize| bytes.iter().skip(from).take_while(|b| b.is_ascii_digit()).count();
    let whole = digits(at);
    at += whole;
    let mut fraction = 0;
    if bytes.get(at) == Some(&b'.') {
        fraction = digits(at + 1);
        at += 1 + fraction;
    }
    if whole + fraction == 0 {
        return false;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        at += 1 + usize::from(matches!(bytes.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at);
        if exponent == 0 {
            return false;
        }
        at += exponent;
    }
    at == bytes.len()
}

/// `YYYY-M-D` with or without a time: text here, but printed in quotes.
fn is_date(text: &str) -> bool {
    let bytes = text.as_bytes();
    let (Some(year), Some(b'-')) = (bytes.get(..4), bytes.get(4)) else { return false };
    if !year.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let rest = &text[5..];
    let date = rest.split(['T', 't', ' ']).next().unwrap_or(rest);
    let mut parts = date.split('-');
    let in_range = |part: Option<&str>, max: u32| {
        part.filter(|p| (1..=2).contains(&p.len()))
            .and_then(|p| p.parse::<u32>().ok())
            .is_some_and(|v| v >= 1 && v <= max)
    };
    in_range(parts.next(), 12) && in_range(parts.next(), 31) && parts.next().is_none() && {
        let time = &rest[date.len()..];
        time.is_empty()
            || (time.len() > 5 && time[1..].starts_with(|c: char| c.is_ascii_digit()) && time.contains(':'))
    }
}

/// Whether a string must be quoted to stay a string when printed.
pub(crate) fn needs_quotes(text: &str) -> bool {
    resolve(text) != Meaning::Text || is_date(text) || is_base60(text)
}

/// `[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?`: a YAML 1.1 number that nobody reads but some quote.
fn is_base60(text: &str) -> bool {
    let body = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut parts = body.split(':');
    let Some(head) = parts.next() else { return false };
    if !head.starts_with(|c: char| c.is_ascii_digit())
        || !head.bytes().all(|b| b.is_ascii_digit() || b == b'_')
    {
        return false;
    }
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return false };
    let (last, fraction) = last.split_once('.').map_or((*last, ""), |(l, f)| (l, f));
    let sexagesimal = |p: &str| matches!(p.as_bytes(), [b'0'..=b'9'] | [b'0'..=b'5', b'0'..=b'9']);
    middle.iter().all(|p| sexagesimal(p))
        && sexagesimal(last)
        && fraction.bytes().all(|b| b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_mean_what_go_yaml_says() {
        use Meaning as M;
        for (text, want) in [
            ("", M::Null),
            ("~", M::Null),
            ("Null", M::Null),
            ("nULL", M::Text),
            ("yes", M::Bool(true)),
            ("off", M::Bool(false)),
            ("y", M::Bool(true)),
            ("12", M::Int(12)),
            ("0o14", M::Int(12)),
            ("014", M::Int(12)),
            ("0x1F", M::Int(31)),
            ("0b11", M::Int(3)),
            ("1_000", M::Int(1000)),
            ("-5", M::Int(-5)),
            ("+5", M::Int(5)),
            ("+-5", M::Text),
            ("08", M::Float(8.0)),
            ("18446744073709551615", M::Uint(u64::MAX)),
            ("-9223372036854775808", M::Int(i64::MIN)),
            ("1.5", M::Float(1.5)),
            ("1.", M::Float(1.0)),
            (".5", M::Float(0.5)),
            ("1e3", M::Float(1000.0)),
            ("1e", M::Text),
            ("2001-01-01", M::Text),
            ("1.2.3", M::Text),
            ("10s", M::Text),
            ("-", M::Text),
            ("-.inf", M::Float(f64::NEG_INFINITY)),
        ] {
            assert_eq!(resolve(text), want, "{text}");
        }
        assert!(matches!(resolve(".NaN"), M::Float(v) if v.is_nan()));
    }

    #[test]
    fn quotes_where_a_string_would_change_its_meaning() {
        for text in ["", "yes", "12", "1e3", "2001-01-01", "2001-1-1T10:00:00Z", "12:30", "1:2.5", "null"] {
            assert!(needs_quotes(text), "{text}");
        }
        for text in ["a", "12s", "localhost:9090", "1.2.3.4:80", "a:1", "2001-13-01", "12:99"] {
            assert!(!needs_quotes(text), "{text}");
        }
    }
}
