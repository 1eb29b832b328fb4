//! Forms sent as `multipart/form-data` (`curl -F`), as Go's `mime/multipart` reads them: fields are values,
//! files are skipped, and a body that is broken anywhere counts as one without fields.
//!
//! Left out: parts in quoted-printable, which Go decodes and no client of this API writes.

/// Parts of one body: Go's `multipartmaxparts`.
const PARTS_MAX: usize = 1000;

/// The boundary of a `Content-Type`, where it is one of such a form.
pub(crate) fn boundary(content_type: &str) -> Option<String> {
    let (media, parameters) = parameters(content_type)?;
    let boundary =
        media.eq_ignore_ascii_case("multipart/form-data").then(|| get(&parameters, "boundary"))??;
    (!boundary.is_empty()).then(|| boundary.to_string())
}

/// Names and values of the fields; none where the body is broken.
pub(crate) fn fields(body: &[u8], boundary: &str) -> Vec<(String, String)> {
    read(body, boundary).unwrap_or_default()
}

/// A media type and its parameters (RFC 2045), `None` where malformed.
fn parameters(text: &str) -> Option<(&str, Vec<(String, String)>)> {
    let (media, mut rest) = text.split_once(';').unwrap_or((text, ""));
    let mut all = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        if rest.is_empty() {
            return Some((media.trim(), all));
        }
        let (key, value) = rest.split_once('=')?;
        let (value, tail) = match value.strip_prefix('"') {
            Some(quoted) => quoted_value(quoted)?,
            None => {
                let end = value.find([';', ' ', '\t']).unwrap_or(value.len());
                let (value, tail) = value.split_at(end);
                (value.to_string(), tail)
            }
        };
        let tail = tail.trim_start_matches([' ', '\t']);
        if !(tail.is_empty() || tail.starts_with(';')) {
            return None;
        }
        all.push((key.trim().to_ascii_lowercase(), value));
        rest = tail;
    }
}

/// A quoted value, its quotation mark at the begin gone, and what follows it.
fn quoted_value(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, text.get(at + 1..)?)),
            // As Go: only these two are escaped, since browsers write paths with plain backslashes.
            '\\' => match chars.clone().next() {
                Some((_, next @ ('"' | '\\'))) => {
                    chars.next();
                    out.push(next);
                }
                _ => out.push('\\'),
            },
            c => out.push(c),
        }
    }
    None
}

fn get<'a>(parameters: &'a [(String, String)], key: &str) -> Option<&'a str> {
    parameters.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str())
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memchr::memmem::find(haystack, needle)
}

/// Cuts a line off; `None` where none ends.
fn line(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = body.iter().position(|b| *b == b'\n')?;
    let line = body.get(..end)?;
    Some((line.strip_suffix(b"\r").unwrap_or(line), body.get(end + 1..)?))
}

fn read(body: &[u8], boundary: &str) -> Option<Vec<(String, String)>> {
    let dash = format!("--{boundary}");
    // What stands before the first delimiter is skipped.
    let mut rest = body;
    let newline = loop {
        let before = rest;
        let (text, tail) = line(rest)?;
        rest = tail;
        if text.strip_prefix(dash.as_bytes()).is_some_and(|t| t.trim_ascii().is_empty()) {
            let end = before.len() - tail.len();
            break if before.get(..end)?.ends_with(b"\r\n") { "\r\n" } else { "\n" };
        }
    };
    let delimiter = format!("{newline}{dash}");
    let mut all = Vec::new();
    for _ in 0..PARTS_MAX {
        let (mut name, mut is_file) = (String::new(), false);
        loop {
            let (text, tail) = line(rest)?;
            rest = tail;
            if text.is_empty() {
                break;
            }
            let text = String::from_utf8_lossy(text);
            let (key, value) = text.split_once(':')?;
            if key.eq_ignore_ascii_case("content-disposition")
                && let Some((kind, parameters)) = parameters(value.trim())
                && kind.eq_ignore_ascii_case("form-data")
            {
                name = get(&parameters, "name").unwrap_or_default().to_string();
                is_file = get(&parameters, "filename").is_some_and(|f| !f.is_empty());
            }
        }
        // An empty part has no line end of its own before the delimiter.
        let (content, tail) = match rest.strip_prefix(dash.as_bytes()) {
            Some(tail) => (&[][..], tail),
            None => {
                let end = find(rest, delimiter.as_bytes())?;
                (rest.get(..end)?, rest.get(end + delimiter.len()..)?)
            }
        };
        if !name.is_empty() && !is_file {
            all.push((name, String::from_utf8_lossy(content).into_owned()));
        }
        if tail.starts_with(b"--") {
            return Some(all);
        }
        let (text, tail) = line(tail)?;
        if !text.trim_ascii().is_empty() {
            return None;
        }
        rest = tail;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn form(body: &str) -> Vec<(String, String)> {
        fields(body.replace('\n', "\r\n").as_bytes(), "b")
    }

    #[test]
    fn boundaries() {
        for (text, want) in [
            ("multipart/form-data; boundary=xx", Some("xx")),
            ("Multipart/Form-Data;charset=utf-8 ; BOUNDARY=\"a b\\\"\"", Some("a b\"")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/form-data; boundary=\"x", None),
            ("multipart/mixed; boundary=xx", None),
            ("", None),
        ] {
            assert_eq!(boundary(text).as_deref(), want, "{text}");
        }
    }

    #[test]
    fn fields_are_read_and_files_skipped() {
        let part =
            |head: &str, body: &str| format!("--b\nContent-Disposition: form-data; {head}\n\n{body}\n");
        let whole = format!(
            "preamble\n{}{}{}--b--\nepilogue",
            part("name=\"query\"", "a\n--c"),
            part("name=f; filename=x", "no"),
            part("name=time\nX: y", "")
        );
        let pairs = |all: &[(&str, &str)]| -> Vec<(String, String)> {
            all.iter().map(|(k, v)| ((*k).to_string(), (*v).to_string())).collect()
        };
        assert_eq!(form(&whole), pairs(&[("query", "a\r\n--c"), ("time", "")]));
        // Lines that end in LF alone.
        assert_eq!(fields(whole.as_bytes(), "b"), pairs(&[("query", "a\n--c"), ("time", "")]));
    }

    #[test]
    fn broken_bodies_have_no_fields() {
        let whole = "--b\nContent-Disposition: form-data; name=q\n\n1\n--b--\n".replace('\n', "\r\n");
        assert_eq!(fields(whole.as_bytes(), "b").len(), 1);
        for cut in 0..whole.len() - 4 {
            assert_eq!(fields(&whole.as_bytes()[..cut], "b"), [], "cut at {cut}");
        }
        let many = "--b\nContent-Disposition: form-data; name=q\n\n1\n".repeat(PARTS_MAX + 1) + "--b--\n";
        assert_eq!(form(&many), []);
    }
}
