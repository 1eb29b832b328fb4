//! Character classes: `[a-z]`, `[[:alpha:]]`, `\d`, `\pL`, `\p{^Greek}`. Perl's and POSIX's are ASCII.

use crate::parse::{Flags, consumed, error};
use crate::unicode::{self, Ranges};
use crate::{Error, ErrorKind, escape};

/// POSIX classes, sorted ranges of ASCII.
const POSIX: [(&str, &[(u32, u32)]); 14] = [
    ("alnum", &[(0x30, 0x39), (0x41, 0x5a), (0x61, 0x7a)]),
    ("alpha", &[(0x41, 0x5a), (0x61, 0x7a)]),
    ("ascii", &[(0, 0x7f)]),
    ("blank", &[(0x09, 0x09), (0x20, 0x20)]),
    ("cntrl", &[(0, 0x1f), (0x7f, 0x7f)]),
    ("digit", &[(0x30, 0x39)]),
    ("graph", &[(0x21, 0x7e)]),
    ("lower", &[(0x61, 0x7a)]),
    ("print", &[(0x20, 0x7e)]),
    ("punct", &[(0x21, 0x2f), (0x3a, 0x40), (0x5b, 0x60), (0x7b, 0x7e)]),
    ("space", &[(0x09, 0x0d), (0x20, 0x20)]),
    ("upper", &[(0x41, 0x5a)]),
    ("word", WORD),
    ("xdigit", &[(0x30, 0x39), (0x41, 0x46), (0x61, 0x66)]),
];
const WORD: &[(u32, u32)] = &[(0x30, 0x39), (0x41, 0x5a), (0x5f, 0x5f), (0x61, 0x7a)];
const DIGIT: &[(u32, u32)] = &[(0x30, 0x39)];
/// Perl's `\s`, without the vertical tab that POSIX's `space` has.
const SPACE: &[(u32, u32)] = &[(0x09, 0x0a), (0x0c, 0x0d), (0x20, 0x20)];

/// Adds a class or its complement. Folding comes before the complement: `(?i)\W` excludes `ſ` and `K`.
fn add(out: &mut Ranges, class: &[(u32, u32)], negated: bool, flags: Flags) {
    let folded;
    let class = if flags.fold {
        folded = unicode::fold(class);
        &folded
    } else {
        class
    };
    if negated {
        out.extend(unicode::negate(class));
    } else {
        out.extend_from_slice(class);
    }
}

/// Reads `\d`, `\W`, `\pL`, `\P{Greek}` and the like; `None` where `at` begins with something else.
pub(crate) fn escaped_class<'s>(
    at: &'s str,
    flags: Flags,
    out: &mut Ranges,
) -> Result<Option<&'s str>, Error> {
    let mut chars = at.chars();
    if chars.next() != Some('\\') {
        return Ok(None);
    }
    let Some(c) = chars.next() else { return Ok(None) };
    let class = match c {
        'd' | 'D' => DIGIT,
        's' | 'S' => SPACE,
        'w' | 'W' => WORD,
        'p' | 'P' => return unicode_class(at, chars.as_str(), c == 'P', flags, out).map(Some),
        _ => return Ok(None),
    };
    add(out, class, c.is_ascii_uppercase(), flags);
    Ok(Some(chars.as_str()))
}

fn unicode_class<'s>(
    at: &'s str,
    body: &'s str,
    mut negated: bool,
    flags: Flags,
    out: &mut Ranges,
) -> Result<&'s str, Error> {
    let (name, rest) = match body.strip_prefix('{') {
        Some(body) => body.split_once('}').ok_or_else(|| error(ErrorKind::InvalidCharRange, at))?,
        None => body.split_at(body.chars().next().map_or(0, char::len_utf8)),
    };
    let (name, caret) = name.strip_prefix('^').map_or((name, false), |name| (name, true));
    negated ^= caret;
    let invalid = || error(ErrorKind::InvalidCharRange, consumed(at, rest));
    let class = unicode::class(name).ok_or_else(invalid)?;
    add(out, &class, negated, flags);
    Ok(rest)
}

/// Reads `[:alpha:]` inside a bracket; `None` where there is no `:]` ahead.
fn posix_class<'s>(at: &'s str, flags: Flags, out: &mut Ranges) -> Result<Option<&'s str>, Error> {
    let Some((name, rest)) = at.strip_prefix("[:").and_then(|body| body.split_once(":]")) else {
        return Ok(None);
    };
    let (plain, negated) = name.strip_prefix('^').map_or((name, false), |plain| (plain, true));
    let found = POSIX.iter().find(|(n, _)| *n == plain);
    let (_, class) = found.ok_or_else(|| error(ErrorKind::InvalidCharRange, consumed(at, rest)))?;
    add(out, class, negated, flags);
    Ok(Some(rest))
}

/// Reads a bracket expression; returns its ranges (clean) and the rest.
pub(crate) fn bracket(at: &str, flags: Flags) -> Result<(Ranges, &str), Error> {
    let mut rest = at.get(1..).unwrap_or("");
    let mut negated = false;
    if let Some(tail) = rest.strip_prefix('^') {
        (negated, rest) = (true, tail);
    }
    let mut out = Ranges::new();
    let mut first = true;
    loop {
        if !first && let Some(tail) = rest.strip_prefix(']') {
            let mut ranges = unicode::clean(out);
            if negated {
                ranges = unicode::negate(&ranges);
            }
            return Ok((ranges, tail));
        }
        first = false;
        if let Some(tail) = posix_class(rest, flags, &mut out)? {
            rest = tail;
        } else if let Some(tail) = escaped_class(rest, flags, &mut out)? {
            rest = tail;
        } else {
            rest = range(rest, at, flags, &mut out)?;
        }
    }
}

/// One character or a range of them.
fn range<'s>(at: &'s str, whole: &str, flags: Flags, out: &mut Ranges) -> Result<&'s str, Error> {
    let (lo, mut rest) = class_char(at, whole)?;
    let mut hi = lo;
    // `[a-]` holds a hyphen.
    if let Some(tail) = rest.strip_prefix('-')
        && !tail.is_empty()
        && !tail.starts_with(']')
    {
        (hi, rest) = class_char(tail, whole)?;
        if hi < lo {
            return Err(error(ErrorKind::InvalidCharRange, consumed(at, rest)));
        }
    }
    add(out, &[(lo, hi)], false, flags);
    Ok(rest)
}

fn class_char<'s>(at: &'s str, whole: &str) -> Result<(u32, &'s str), Error> {
    match at.chars().next() {
        None => Err(error(ErrorKind::MissingBracket, whole)),
        Some('\\') => escape::character(at),
        Some(c) => Ok((c as u32, at.get(c.len_utf8()..).unwrap_or(""))),
    }
}
