//! Go's way of quoting and this language's way of unquoting.

/// `strconv.Quote`.
pub(crate) fn go_quote(s: &str) -> String {
    let mut out = String::with_capacity(s.len() + 2);
    // Writing to a String cannot fail.
    let _ = model::name::write_quoted(&mut out, s);
    out
}

/// `strconv.Quote` of bytes that need not be UTF-8: what is not is escaped byte by byte.
pub(crate) fn go_quote_bytes(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for chunk in bytes.utf8_chunks() {
        let quoted = go_quote(chunk.valid());
        out.push_str(&quoted[1..quoted.len() - 1]);
        for b in chunk.invalid() {
            out.push_str(&format!("\\x{b:02x}"));
        }
    }
    out.push('"');
    out
}

/// `%.10q`: quotes the first `n` characters.
pub(crate) fn go_quote_prefix(s: &str, n: usize) -> String {
    go_quote(&s.chars().take(n).collect::<String>())
}

/// `%q` of a character: single quotes.
pub(crate) fn go_quote_char(c: Option<char>) -> String {
    // Upstream's end marker is rune -1, which Go prints as the replacement character.
    match c.unwrap_or('\u{fffd}') {
        '\'' => "'\\''".to_string(),
        '"' => "'\"'".to_string(),
        c => {
            let quoted = go_quote(c.encode_utf8(&mut [0; 4]));
            format!("'{}'", &quoted[1..quoted.len() - 1])
        }
    }
}

/// Unquotes a literal of the language: `"…"`, `'…'` or `` `…` ``. `None` where it is malformed. Escapes
/// may name single bytes, so the result need not be UTF-8.
pub(crate) fn unquote(s: &str) -> Option<Vec<u8>> {
    let bytes = s.as_bytes();
    let (quote, last) = (*bytes.first()?, *bytes.last()?);
    if bytes.len() < 2 || quote != last {
        return None;
    }
    let inner = &s[1..s.len() - 1];
    match quote {
        b'`' => return (!inner.contains('`')).then(|| inner.as_bytes().to_vec()),
        b'"' | b'\'' if inner.contains('\n') => return None,
        b'"' | b'\'' => {}
        _ => return None,
    }
    if !inner.contains('\\') {
        return (!inner.as_bytes().contains(&quote)).then(|| inner.as_bytes().to_vec());
    }
    let mut out: Vec<u8> = Vec::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        if c as u32 == u32::from(quote) {
            return None;
        }
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let simple = match chars.next()? {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' => b'\\',
            q @ ('\'' | '"') if q as u32 == u32::from(quote) => quote,
            'x' => digits(&mut chars, 2, 16, 0).and_then(|n| u8::try_from(n).ok())?,
            d @ '0'..='7' => {
                digits(&mut chars, 2, 8, d as u32 - '0' as u32).and_then(|n| u8::try_from(n).ok())?
            }
            u @ ('u' | 'U') => {
                let n = digits(&mut chars, if u == 'u' { 4 } else { 8 }, 16, 0)?;
                out.extend_from_slice(char::from_u32(n)?.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => return None,
        };
        out.push(simple);
    }
    Some(out)
}

fn digits(chars: &mut std::str::Chars<'_>, n: usize, base: u32, start: u32) -> Option<u32> {
    let mut value = start;
    for _ in 0..n {
        value = value.checked_mul(base)?.checked_add(chars.next()?.to_digit(base)?)?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unquotes_like_upstream() {
        for (s, want) in [
            (r#""a""#, Some("a")),
            (r#"'a"b'"#, Some("a\"b")),
            (r#""\x41\102\u00e9\n""#, Some("AB\u{e9}\n")),
            (r#""\'""#, None),
            (r#""\ud800""#, None),
            ("`a\\n`", Some("a\\n")),
            ("\"a\nb\"", None),
            (r#""a'"#, None),
            ("", None),
        ] {
            assert_eq!(unquote(s).as_deref(), want.map(str::as_bytes), "{s}");
        }
        assert_eq!(go_quote_char(Some('\'')), r"'\''");
        assert_eq!(go_quote_char(Some('\n')), r"'\n'");
    }
}
