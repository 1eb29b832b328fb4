//! A target's URL, printed as Go's `net/url` prints it: the text is part of the target's hash, hence of
//! its phase, and it is what `scrapeUrl` in the API shows.

use std::collections::BTreeMap;
use std::fmt;

use model::Labels;

use crate::target::{ADDRESS_LABEL, METRICS_PATH_LABEL, PARAM_LABEL_PREFIX, SCHEME_LABEL, UNIX_SOCKET_LABEL};

/// The parts of a target's URL, unescaped except for the query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetUrl {
    /// `http` or `https`.
    pub scheme: String,
    /// Host and port.
    pub host: String,
    /// Path, unescaped.
    pub path: String,
    /// Query, escaped, without `?`.
    pub query: String,
}

impl fmt::Display for TargetUrl {
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
pub(crate) fn encode_query<V: AsRef<str>>(params: &BTreeMap<&str, Vec<V>>) -> String {
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

/// The URL of a target's labels; `__param_x` labels replace the first value of the job's parameter `x`.
pub(crate) fn of_target<'a, P>(labels: &'a Labels, params: P) -> TargetUrl
where
    P: IntoIterator<Item = (&'a String, &'a Vec<String>)>,
{
    let mut all: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (key, values) in params {
        all.insert(key, values.iter().map(String::as_str).collect());
    }
    for (name, value) in labels {
        let Some(key) = name.strip_prefix(PARAM_LABEL_PREFIX) else { continue };
        let values = all.entry(key).or_default();
        match values.first_mut() {
            Some(first) => *first = value,
            None => values.push(value),
        }
    }
    let mut host = labels.get(ADDRESS_LABEL);
    if host.is_empty() && !labels.get(UNIX_SOCKET_LABEL).is_empty() {
        host = "localhost";
    }
    TargetUrl {
        scheme: labels.get(SCHEME_LABEL).to_string(),
        host: host.to_string(),
        path: labels.get(METRICS_PATH_LABEL).to_string(),
        query: encode_query(&all),
    }
}
