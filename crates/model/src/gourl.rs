//! URLs made of parts, printed as Go's `net/url` prints them: the text is part of a target's hash, hence of its
//! phase, and it is what the API shows of targets and Alertmanagers.

use std::collections::BTreeMap;
use std::fmt;

/// The parts of a URL, unescaped except for the query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GoUrl {
    /// `http` or `https`.
    pub scheme: String,
    /// Host and port.
    pub host: String,
    /// Path, unescaped.
    pub path: String,
    /// Query, escaped, without `?`.
    pub query: String,
}

impl fmt::Display for GoUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.scheme.is_empty() {
            write!(f, "{}:", self.scheme)?;
        }
        if (!self.scheme.is_empty() || !self.host.is_empty())
            && (!self.host.is_empty() || !self.path.is_empty())
        {
            f.write_str("//")?;
        }
        escape(f, &self.host, is_host_byte)?;
        if !self.path.is_empty() && !self.path.starts_with('/') && !self.host.is_empty() {
            f.write_str("/")?;
        }
        if self.path == "*" {
            f.write_str("*")?;
        } else {
            escape(f, &self.path, is_path_byte)?;
        }
        if !self.query.is_empty() {
            write!(f, "?{}", self.query)?;
        }
        Ok(())
    }
}

fn is_unreserved(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'~')
}

fn is_path_byte(b: u8) -> bool {
    is_unreserved(b) || matches!(b, b'$' | b'&' | b'+' | b',' | b'/' | b':' | b';' | b'=' | b'@')
}

fn is_host_byte(b: u8) -> bool {
    is_unreserved(b)
        || matches!(b, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
        || matches!(b, b':' | b'[' | b']' | b'<' | b'>' | b'"')
}

fn escape(f: &mut impl fmt::Write, text: &str, plain: fn(u8) -> bool) -> fmt::Result {
    for b in text.bytes() {
        if plain(b) {
            f.write_char(char::from(b))?;
        } else {
            write!(f, "%{b:02X}")?;
        }
    }
    Ok(())
}

fn escape_query(out: &mut String, text: &str) {
    for b in text.bytes() {
        match b {
            b' ' => out.push('+'),
            b if is_unreserved(b) => out.push(char::from(b)),
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
}

/// `url.Values.Encode`: sorted by key.
#[must_use]
pub fn encode_query<V: AsRef<str>>(params: &BTreeMap<&str, Vec<V>>) -> String {
    let mut out = String::new();
    for (key, values) in params {
        for value in values {
            if !out.is_empty() {
                out.push('&');
            }
            escape_query(&mut out, key);
            out.push('=');
            escape_query(&mut out, value.as_ref());
        }
    }
    out
}
