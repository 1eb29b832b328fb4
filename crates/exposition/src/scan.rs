//! Lexical pieces that both text formats share, and the place of an error.

use std::borrow::Cow;

use crate::ParseError;
use crate::event::clip;

pub(crate) fn is_name_start(b: u8) -> bool {
    b.is_ascii_alphabetic() || b == b'_' || b == b':'
}

pub(crate) fn is_name_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_' || b == b':'
}

pub(crate) fn is_label_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b == b'_'
}

/// End of a metric name that starts at `at`; `at` itself where none does.
pub(crate) fn name_end(body: &[u8], at: usize) -> usize {
    match body.get(at) {
        Some(b) if is_name_start(*b) => run_end(body, at + 1, is_name_byte),
        _ => at,
    }
}

/// End of a label name that starts at `at`; `at` itself where none does.
pub(crate) fn label_end(body: &[u8], at: usize) -> usize {
    match body.get(at) {
        Some(b) if is_label_byte(*b) && !b.is_ascii_digit() => run_end(body, at + 1, is_label_byte),
        _ => at,
    }
}

fn run_end(body: &[u8], from: usize, good: impl Fn(u8) -> bool) -> usize {
    let rest = body.get(from..).unwrap_or_default();
    from + rest.iter().position(|b| !good(*b)).unwrap_or(rest.len())
}

/// What may stand between two quotes.
#[derive(Clone, Copy)]
pub(crate) struct Quoting {
    /// Line feeds, unescaped.
    pub(crate) newlines: bool,
    /// Zero bytes: let pass in label values only.
    pub(crate) zeros: bool,
}

/// End (behind the closing quote) of a quoted string that starts at `at`, or `None`.
pub(crate) fn quoted_end(body: &[u8], at: usize, quoting: Quoting) -> Option<usize> {
    if body.get(at) != Some(&b'"') {
        return None;
    }
    let mut i = at + 1;
    loop {
        let rest = body.get(i..)?;
        // Zero bytes and line feeds are looked for only within the string found, to stay linear.
        let hit = memchr::memchr2(b'"', b'\\', rest)?;
        let plain = rest.get(..hit)?;
        if (!quoting.newlines && memchr::memchr(b'\n', plain).is_some())
            || (!quoting.zeros && memchr::memchr(0, plain).is_some())
        {
            return None;
        }
        i += hit + 1;
        if rest.get(hit) == Some(&b'"') {
            return Some(i);
        }
        // A backslash takes the next character along, which may not be a line feed.
        while quoting.zeros && body.get(i) == Some(&0) {
            i += 1;
        }
        match body.get(i) {
            None | Some(b'\n' | 0) => return None,
            Some(_) => i += 1,
        }
    }
}

/// The token that did not fit: up to the next blank, quote or bracket, as far as a message needs it.
fn token_at(body: &[u8], at: usize) -> &[u8] {
    let rest = body.get(at..).unwrap_or_default();
    let end = rest.iter().skip(1).position(|b| matches!(b, b' ' | b'\t' | b'\n' | b'"' | b'{' | b'}'));
    clip(rest.get(..end.map_or(rest.len(), |e| e + 1)).unwrap_or_default())
}

/// An error at byte `at` of the line or series that began at `start`.
pub(crate) fn error_at(body: &[u8], start: usize, at: usize, expected: &str) -> ParseError {
    let got = quote(token_at(body, at));
    let from = start.min(at);
    let seen = body.get(from..(at + 1).min(body.len()).max(from)).unwrap_or_default();
    let shown = if seen.len() > crate::event::CLIP_BYTES {
        seen.get(seen.len() - crate::event::CLIP_BYTES..).unwrap_or_default()
    } else {
        seen
    };
    message_at(body, at, format!("{expected}, got {got} while parsing: {}", quote(shown)))
}

/// An error with a text of its own.
pub(crate) fn message_at(body: &[u8], at: usize, message: String) -> ParseError {
    let before = body.get(..at.min(body.len())).unwrap_or_default();
    let line = memchr::memchr_iter(b'\n', before).count() + 1;
    let column = at.min(body.len()) - memchr::memrchr(b'\n', before).map_or(0, |n| n + 1) + 1;
    ParseError { message, line, column }
}

/// Go-quoted text for messages; bytes that are no UTF-8 are shown as replacement characters.
pub(crate) fn quote(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    let _ = model::name::write_quoted(&mut out, &String::from_utf8_lossy(clip(bytes)));
    out
}

/// Family names of metadata lines: kept readable even where they are no UTF-8.
pub(crate) fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}
