//! URLs as Go's `net/url` sees them: checked loosely, kept as written, printed with the password hidden.
//! Rejected: the `url` crate, which adds a path to `http://host` and refuses what Go accepts.

use std::fmt;

/// A URL of the config. [`ConfigUrl::as_str`] is the text as written (never print it: it may hold a
/// password); `Display` and `Debug` replace the password by `xxxxx`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConfigUrl {
    text: String,
    scheme_end: usize,
}

impl ConfigUrl {
    /// Checks a text by Go's rules.
    ///
    /// # Errors
    /// Control characters, a bad scheme, port or percent escape, a space in the host.
    pub fn parse(text: &str) -> Result<Self, String> {
        let failed = |why: &str| format!("parse {}: {why}", quoted(&without_user(text)));
        let bad = |why: &str| Err(failed(why));
        if text.chars().any(|c| c < ' ' || c == '\u{7f}') {
            return bad("net/url: invalid control character in URL");
        }
        let body = text.split('#').next().unwrap_or(text);
        let scheme_end = match body.find(':') {
            Some(0) => return bad("missing protocol scheme"),
            Some(at) if is_scheme(&body[..at]) => at + 1,
            // A ':' after the first '/' belongs to the path; before it, the segment looks like a scheme.
            Some(at) if !body[..at].contains(['/', '?']) => {
                return bad("first path segment in URL cannot contain colon");
            }
            _ => 0,
        };
        let rest = &body[scheme_end..];
        let rest = rest.split('?').next().unwrap_or(rest);
        if let Some(after) = rest.strip_prefix("//") {
            let end = after.find('/').unwrap_or(after.len());
            let authority = &after[..end];
            let (user, host) = authority.rsplit_once('@').map_or(("", authority), |(u, h)| (u, h));
            if !user.bytes().all(is_user_byte) {
                return bad("net/url: invalid userinfo");
            }
            check_escapes(user).map_err(|e| failed(&e))?;
            check_host(host).map_err(|e| failed(&e))?;
        }
        let path = match rest.strip_prefix("//") {
            Some(after) => after.find('/').map_or("", |at| &after[at..]),
            None => rest,
        };
        // What follows the scheme without a slash is opaque: not looked at.
        if scheme_end == 0 || rest.starts_with('/') {
            check_escapes(path).map_err(|e| failed(&e))?;
        }
        if let Some((_, fragment)) = text.split_once('#') {
            check_escapes(fragment).map_err(|e| failed(&e))?;
        }
        Ok(ConfigUrl { text: text.to_string(), scheme_end })
    }

    /// The text as written, password included.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
    /// Lower-case scheme, "" where there is none.
    #[must_use]
    pub fn scheme(&self) -> String {
        self.text[..self.scheme_end].trim_end_matches(':').to_ascii_lowercase()
    }
    /// Host and port as written, "" where there is none.
    #[must_use]
    pub fn host(&self) -> &str {
        let Some(after) = self.text[self.scheme_end..].strip_prefix("//") else { return "" };
        let end = after.find(['/', '?', '#']).unwrap_or(after.len());
        let authority = &after[..end];
        authority.rsplit_once('@').map_or(authority, |(_, host)| host)
    }
    /// The text with a lower-case scheme and the password replaced by `xxxxx`.
    #[must_use]
    pub fn redacted(&self) -> String {
        let (scheme, rest) = self.text.split_at(self.scheme_end);
        let scheme = scheme.to_ascii_lowercase();
        let Some(after) = rest.strip_prefix("//") else { return scheme + &printed(rest) };
        let end = after.find(['/', '?', '#']).unwrap_or(after.len());
        let (authority, tail) = after.split_at(end);
        let authority = match authority.rsplit_once('@') {
            Some((user, host)) => match user.split_once(':') {
                Some((name, _)) => format!("{name}:xxxxx@{host}"),
                None => authority.to_string(),
            },
            None => authority.to_string(),
        };
        format!("{scheme}//{authority}{}", printed(tail))
    }
    /// True for "".
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

/// Path, query and fragment as Go prints them: characters that may not stand there are escaped, an empty
/// fragment is dropped.
fn printed(tail: &str) -> String {
    let (before, fragment) = tail.split_once('#').map_or((tail, ""), |(b, f)| (b, f));
    let (path, query) = before.split_once('?').map_or((before, None), |(p, q)| (p, Some(q)));
    let mut out = escaped(path);
    if let Some(query) = query {
        out.push('?');
        out.push_str(query);
    }
    if !fragment.is_empty() {
        out.push('#');
        out.push_str(&escaped(fragment));
    }
    out
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'%' => {
                out.push(char::from(byte))
            }
            b'$' | b'&' | b'+' | b',' | b'/' | b':' | b';' | b'=' | b'@' | b'!' | b'\'' | b'(' | b')'
            | b'*' | b'[' | b']' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

fn is_user_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'-' | b'.'
                | b'_'
                | b':'
                | b'~'
                | b'!'
                | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b'%'
                | b'@'
        )
}

fn check_escapes(text: &str) -> Result<(), String> {
    let bytes = text.as_bytes();
    for (at, _) in text.match_indices('%') {
        let digits = bytes.get(at + 1..at + 3);
        if !digits.is_some_and(|d| d.iter().all(u8::is_ascii_hexdigit)) {
            let shown: String = text[at..].chars().take(3).collect();
            return Err(format!("invalid URL escape {}", quoted(&shown)));
        }
    }
    Ok(())
}

fn check_host(host: &str) -> Result<(), String> {
    if let Some(bad) =
        host.chars().find(|c| matches!(c, ' ' | '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}'))
    {
        // Go allows some of them, but no request to such a host can be made.
        if !matches!(bad, '"' | '<' | '>') {
            return Err(format!("invalid character {} in host name", quoted(&bad.to_string())));
        }
    }
    let port = if host.starts_with('[') {
        match host.rfind(']') {
            Some(end) => &host[end + 1..],
            None => return Err("missing ']' in host".to_string()),
        }
    } else {
        host.find(':').map_or("", |at| &host[at..])
    };
    let valid =
        port.is_empty() || port.strip_prefix(':').is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit()));
    if valid { check_escapes(host) } else { Err(format!("invalid port {} after host", quoted(port))) }
}

/// The text without what stands between `//` and `@`, for messages.
fn without_user(text: &str) -> String {
    match (text.find("//"), text.rfind('@')) {
        (Some(start), Some(end)) if start + 2 < end => format!("{}xxxxx{}", &text[..start + 2], &text[end..]),
        _ => text.to_string(),
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::new();
    let _ = model::name::write_quoted(&mut out, text);
    out
}

impl fmt::Display for ConfigUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl fmt::Debug for ConfigUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.redacted())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_and_refuses_what_go_does() {
        for (text, shown) in [
            ("http://a/b", "http://a/b"),
            ("HTTP://u:p@h:80/x?y=1#z", "http://u:xxxxx@h:80/x?y=1#z"),
            ("http://u@h/", "http://u@h/"),
            ("host/path", "host/path"),
            ("", ""),
            ("http://[::1]:9090/a b", "http://[::1]:9090/a%20b"),
            ("mailto:a%zz", "mailto:a%zz"),
        ] {
            assert_eq!(ConfigUrl::parse(text).map(|u| u.redacted()), Ok(shown.to_string()), "{text}");
        }
        for text in [
            "http://a:b/",
            ":80/",
            "a b:80",
            "1a:80",
            "http://a b/",
            "http://a/%zz",
            "http://[::1/",
            "http://h\n/",
            "http://u p@h/",
        ] {
            assert!(ConfigUrl::parse(text).is_err(), "{text}");
        }
        let url = ConfigUrl::parse("http://u:p@h:80/x").unwrap();
        assert_eq!((url.scheme().as_str(), url.host()), ("http", "h:80"));
        assert!(!format!("{url} {url:?}").contains(":p@"));
    }
}
