//! Names of metrics and labels: legacy and UTF-8 validity, escaping schemes, Go-style quoting.
//! Upstream: `common/model/metric.go`, Go's `strconv/quote.go`.

use std::fmt;

/// Which names are valid (`metric_name_validation_scheme`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ValidationScheme {
    /// `[a-zA-Z_][a-zA-Z0-9_]*`, metric names with `:` too.
    Legacy,
    /// Any non-empty text.
    #[default]
    Utf8,
}

impl ValidationScheme {
    /// `legacy` or `utf8`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ValidationScheme::Legacy => "legacy",
            ValidationScheme::Utf8 => "utf8",
        }
    }
    /// Reads `legacy` or `utf8`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "legacy" => Some(ValidationScheme::Legacy),
            "utf8" => Some(ValidationScheme::Utf8),
            _ => None,
        }
    }
    /// Whether a label may be called so.
    #[must_use]
    pub fn is_valid_label_name(self, name: &str) -> bool {
        match self {
            ValidationScheme::Legacy => is_legacy_label_name(name),
            ValidationScheme::Utf8 => !name.is_empty(),
        }
    }
    /// Whether a metric may be called so.
    #[must_use]
    pub fn is_valid_metric_name(self, name: &str) -> bool {
        match self {
            ValidationScheme::Legacy => is_legacy_metric_name(name),
            ValidationScheme::Utf8 => !name.is_empty(),
        }
    }
}

/// How names outside the legacy form are written for a reader that knows only that
/// (`metric_name_escaping_scheme`, `escaping=` in content types).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum EscapingScheme {
    /// `allow-utf-8`: as they are.
    #[default]
    None,
    /// `underscores`: each bad character is `_`. One way only.
    Underscores,
    /// `dots`: `.` is `_dot_`, `_` is `__`, each other bad character `__`.
    Dots,
    /// `values`: `U__` in front, `_` is `__`, each bad character `_<hex>_`.
    Values,
}

impl EscapingScheme {
    /// The scheme's name in content types and in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            EscapingScheme::None => "allow-utf-8",
            EscapingScheme::Underscores => "underscores",
            EscapingScheme::Dots => "dots",
            EscapingScheme::Values => "values",
        }
    }
    /// Reads a scheme's name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::None, Self::Underscores, Self::Dots, Self::Values].into_iter().find(|s| s.as_str() == text)
    }
}

/// True for a legacy label name: `[a-zA-Z_][a-zA-Z0-9_]*`.
#[must_use]
pub fn is_legacy_label_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// True for a legacy metric name: as a label name, with `:` allowed.
#[must_use]
pub fn is_legacy_metric_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_' || b == b':')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':')
}

fn is_legacy_char(c: char, at: usize) -> bool {
    c.is_ascii_alphabetic() || c == '_' || c == ':' || (c.is_ascii_digit() && at > 0)
}

/// Escapes a name (upstream's `model.EscapeName`). Metric and label names alike; `:` stays.
#[must_use]
pub fn escape(name: &str, scheme: EscapingScheme) -> String {
    let keeps = scheme != EscapingScheme::Dots && is_legacy_metric_name(name);
    if name.is_empty() || scheme == EscapingScheme::None || keeps {
        return name.to_string();
    }
    let mut out = String::with_capacity(name.len() + 8);
    if scheme == EscapingScheme::Values {
        out.push_str("U__");
    }
    for (at, c) in name.char_indices() {
        match scheme {
            EscapingScheme::Dots if c == '.' => out.push_str("_dot_"),
            EscapingScheme::Dots | EscapingScheme::Values if c == '_' => out.push_str("__"),
            _ if is_legacy_char(c, at) => out.push(c),
            EscapingScheme::Dots => out.push_str("__"),
            EscapingScheme::Values => out.push_str(&format!("_{:x}_", c as u32)),
            EscapingScheme::None | EscapingScheme::Underscores => out.push('_'),
        }
    }
    out
}

/// Undoes [`escape`] as far as it can be undone (upstream's `model.UnescapeName`): a text that is not a
/// well-formed escape comes back as it is.
#[must_use]
pub fn unescape(name: &str, scheme: EscapingScheme) -> String {
    match scheme {
        EscapingScheme::None | EscapingScheme::Underscores => name.to_string(),
        EscapingScheme::Dots => name.replace("_dot_", ".").replace("__", "_"),
        EscapingScheme::Values => {
            let body = name.strip_prefix("U__");
            body.and_then(unescape_values).unwrap_or_else(|| name.to_string())
        }
    }
}

fn unescape_values(body: &str) -> Option<String> {
    let mut out = String::with_capacity(body.len());
    let mut rest = body;
    while let Some((plain, after)) = rest.split_once('_') {
        out.push_str(plain);
        if let Some(tail) = after.strip_prefix('_') {
            out.push('_');
            rest = tail;
            continue;
        }
        // At most five digits: upstream gives up at the sixth, so U+100000 and above stay escaped.
        let (hex, tail) = after.split_once('_').filter(|(hex, _)| hex.len() <= 5)?;
        let digits = hex.bytes().all(|b| b.is_ascii_hexdigit());
        let code = u32::from_str_radix(hex, 16).ok().filter(|_| digits)?;
        out.push(char::from_u32(code)?);
        rest = tail;
    }
    out.push_str(rest);
    Some(out)
}

/// Displays a text as Go's `strconv.Quote` prints it.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(pub &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_quoted(f, self.0)
    }
}

/// Writes a string as Go's `strconv.Quote` does.
///
/// # Errors
/// Those of the writer.
pub fn write_quoted(f: &mut impl fmt::Write, s: &str) -> fmt::Result {
    f.write_char('"')?;
    let mut plain_from = 0;
    for (at, c) in s.char_indices() {
        let plain = match c {
            '"' | '\\' => false,
            ' '..='~' => true,
            '\0'..='\x7f' => false,
            c => goregex::unicode::is_print(c),
        };
        if plain {
            continue;
        }
        f.write_str(s.get(plain_from..at).unwrap_or(""))?;
        plain_from = at + c.len_utf8();
        write_escaped(f, c)?;
    }
    f.write_str(s.get(plain_from..).unwrap_or(""))?;
    f.write_char('"')
}

fn write_escaped(f: &mut impl fmt::Write, c: char) -> fmt::Result {
    match c {
        '"' => f.write_str("\\\""),
        '\\' => f.write_str("\\\\"),
        '\x07' => f.write_str("\\a"),
        '\x08' => f.write_str("\\b"),
        '\x0c' => f.write_str("\\f"),
        '\n' => f.write_str("\\n"),
        '\r' => f.write_str("\\r"),
        '\t' => f.write_str("\\t"),
        '\x0b' => f.write_str("\\v"),
        c if (c as u32) < 0x20 || c == '\x7f' => write!(f, "\\x{:02x}", c as u32),
        c if (c as u32) < 0x1_0000 => write!(f, "\\u{:04x}", c as u32),
        c => write!(f, "\\U{:08x}", c as u32),
    }
}
