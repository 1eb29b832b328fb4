//! Texts in Go's manner, for errors that scripts compare.

/// A string as Go's `%q`.
pub(crate) fn quote(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    // Writing to a String cannot fail.
    let _ = model::name::write_quoted(&mut out, s);
    out
}

/// Bytes as Go's `%q`: what is not UTF-8 as `\xNN`.
pub(crate) fn quote_bytes(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        let quoted = quote(chunk.valid());
        out.push_str(quoted.get(1..quoted.len() - 1).unwrap_or_default());
        for b in chunk.invalid() {
            out.push_str(&format!("\\x{b:02x}"));
        }
    }
    out.push('"');
    out
}

/// Like Go's `strconv.Atoi`, with its error text.
pub(crate) fn atoi(s: &str) -> Result<i64, String> {
    parse_int("Atoi", s, i64::MIN, i64::MAX)
}

/// Like Go's `strconv.ParseInt(s, 10, 32)`, with its error text.
pub(crate) fn parse_int32(s: &str) -> Result<i64, String> {
    parse_int("ParseInt", s, i64::from(i32::MIN), i64::from(i32::MAX))
}

fn parse_int(func: &str, s: &str, min: i64, max: i64) -> Result<i64, String> {
    let digits = s.strip_prefix(['+', '-']).unwrap_or(s);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(format!("strconv.{func}: parsing {}: invalid syntax", quote(s)));
    }
    match s.parse::<i64>() {
        Ok(v) if (min..=max).contains(&v) => Ok(v),
        _ => Err(format!("strconv.{func}: parsing {}: value out of range", quote(s))),
    }
}

/// Like Go's `strconv.ParseBool`, with its error text.
pub(crate) fn parse_bool(s: &str) -> Result<bool, String> {
    match s {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(format!("strconv.ParseBool: parsing {}: invalid syntax", quote(s))),
    }
}

/// A label name in a path: the `U__` escaping undone where there is one.
pub(crate) fn unescape_name(name: &str) -> String {
    if !name.starts_with("U__") {
        return name.to_string();
    }
    model::name::unescape(name, model::name::EscapingScheme::Values)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_unescape() {
        for (name, want) in [
            ("job", "job"),
            ("U__a_2e_b", "a.b"),
            ("U__a__b", "a_b"),
            ("U____foo", "_foo"),
            ("U__a_1F600_", "a\u{1f600}"),
            ("U__a_2e", "U__a_2e"),
            ("U__a_xx_", "U__a_xx_"),
            ("U__a_1234567_", "U__a_1234567_"),
            ("U__a_d800_", "U__a_d800_"),
            ("U__", ""),
        ] {
            assert_eq!(unescape_name(name), want, "{name}");
        }
    }

    #[test]
    fn go_texts() {
        assert_eq!(quote_bytes(b"a\xff\"z"), "\"a\\xff\\\"z\"");
        assert_eq!(atoi("a"), Err("strconv.Atoi: parsing \"a\": invalid syntax".into()));
        assert_eq!(atoi("-5"), Ok(-5));
        assert!(atoi("99999999999999999999").unwrap_err().ends_with("value out of range"));
        assert!(parse_int32("2147483648").unwrap_err().starts_with("strconv.ParseInt"));
    }
}
