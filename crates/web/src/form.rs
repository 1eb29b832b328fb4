//! Parameters of a request: the query string and, for POST and PUT, a form body, merged as Go's
//! `Request.ParseForm` does (body values first).

use std::borrow::Cow;

/// Upper bound of a form body, bytes: upstream's 10 MB (`maxFormSize` of Go's net/http).
pub(crate) const FORM_BYTES_MAX: usize = 10 << 20;

/// Decoded parameters. Values may hold bytes that are not UTF-8; those become U+FFFD, which no label or
/// metric of a valid exposition has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Form {
    /// Body values, then those of the query string, then those of a multipart body: Go's order.
    all: Vec<(String, String)>,
    /// Where the values of the query string begin, and where they end: those of a multipart body follow.
    query_from: usize,
    query_to: usize,
    /// First decoding error, as Go words it.
    error: Option<String>,
}

impl Form {
    pub(crate) fn new(query: Option<&str>, body: Option<&[u8]>) -> Self {
        let mut form = Form::default();
        if let Some(body) = body {
            form.decode(&String::from_utf8_lossy(body));
        }
        form.query_from = form.all.len();
        if let Some(query) = query {
            form.decode(query);
        }
        form.query_to = form.all.len();
        form
    }

    /// Adds the fields of a multipart body.
    pub(crate) fn with_fields(mut self, fields: Vec<(String, String)>) -> Self {
        self.all.extend(fields);
        self
    }

    fn decode(&mut self, text: &str) {
        for pair in text.split('&').filter(|p| !p.is_empty()) {
            if pair.contains(';') {
                self.fail("invalid semicolon separator in query".to_string());
                continue;
            }
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (unescape(key), unescape(value)) {
                (Ok(key), Ok(value)) => self.all.push((key, value)),
                (Err(e), _) | (_, Err(e)) => self.fail(e),
            }
        }
    }

    fn fail(&mut self, error: String) {
        self.error.get_or_insert(error);
    }

    /// First value of a parameter, "" where it is absent.
    pub(crate) fn get(&self, name: &str) -> &str {
        self.all.iter().find(|(k, _)| k == name).map_or("", |(_, v)| v)
    }

    /// First value within the query string alone.
    pub(crate) fn query(&self, name: &str) -> &str {
        let own = self.all.get(self.query_from..self.query_to).unwrap_or_default();
        own.iter().find(|(k, _)| k == name).map_or("", |(_, v)| v)
    }

    /// All values of a parameter.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.all.iter().filter(move |(k, _)| k == name).map(|(_, v)| v.as_str())
    }

    /// The first decoding error, for the endpoints that report one (others use what could be decoded).
    pub(crate) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }
}

fn unescape(s: &str) -> Result<String, String> {
    let bytes = s.as_bytes();
    let mut at = 0;
    while let Some(i) = memchr_percent(bytes, at) {
        let ok = bytes.get(i + 1..i + 3).is_some_and(|h| h.iter().all(u8::is_ascii_hexdigit));
        if !ok {
            let end = (i + 3).min(bytes.len());
            let bad = String::from_utf8_lossy(bytes.get(i..end).unwrap_or_default());
            return Err(format!("invalid URL escape {}", crate::text::quote(&bad)));
        }
        at = i + 3;
    }
    let spaced: Cow<'_, str> = if s.contains('+') { s.replace('+', " ").into() } else { s.into() };
    Ok(percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned())
}

fn memchr_percent(bytes: &[u8], from: usize) -> Option<usize> {
    bytes.get(from..)?.iter().position(|b| *b == b'%').map(|i| i + from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn body_before_query() {
        let f = Form::new(Some("a=1&b=x+y%2B&m[]=1&m%5B%5D=2"), Some(b"a=2&c"));
        assert_eq!(
            (f.get("a"), f.query("a"), f.get("b"), f.get("c"), f.get("zz")),
            ("2", "1", "x y+", "", "")
        );
        assert_eq!(f.all("m[]").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(f.error(), None);
    }

    #[test]
    fn errors_do_not_hide_the_rest() {
        let f = Form::new(Some("a=%zz&b=1&c=1;d=2&e=%4"), None);
        assert_eq!((f.get("a"), f.get("b"), f.error()), ("", "1", Some("invalid URL escape \"%zz\"")));
    }
}
