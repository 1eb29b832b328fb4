//! Templates of replacements: `$1`, `${1}`, `$name`, `${name}`, `$$` as Go's `Regexp.Expand` reads them.

/// One reference or literal run of a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'t> {
    /// Text as it stands.
    Literal(&'t str),
    /// A group by number.
    Index(usize),
    /// A group by name.
    Name(&'t str),
}

/// Splits a template into pieces. A `$` that begins no reference stands for itself.
pub(crate) fn pieces(template: &str, mut each: impl FnMut(Piece<'_>)) {
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('$') {
        if !before.is_empty() {
            each(Piece::Literal(before));
        }
        rest = if let Some(tail) = after.strip_prefix('$') {
            each(Piece::Literal("$"));
            tail
        } else if let Some((name, tail)) = reference(after) {
            each(piece_of(name));
            tail
        } else {
            each(Piece::Literal("$"));
            after
        };
    }
    if !rest.is_empty() {
        each(Piece::Literal(rest));
    }
}

/// The name of a reference after its `$`, and what follows it. The longest run of letters, digits and
/// underscores counts (Unicode's, as in Go), so `$1x` is the group named "1x".
fn reference(after: &str) -> Option<(&str, &str)> {
    let (body, braced) = match after.strip_prefix('{') {
        Some(body) => (body, true),
        None => (after, false),
    };
    let is_word = |c: char| c == '_' || crate::unicode::is_letter_or_digit(c);
    let end = body.find(|c| !is_word(c)).unwrap_or(body.len());
    let (name, tail) = body.split_at(end);
    if name.is_empty() {
        return None;
    }
    let tail = if braced { tail.strip_prefix('}')? } else { tail };
    Some((name, tail))
}

/// All ASCII digits and below 10^8: a number; else a name. `$01` is a name, as in Go.
fn piece_of(name: &str) -> Piece<'_> {
    let mut number = 0_usize;
    for b in name.bytes() {
        if !b.is_ascii_digit() || number >= 100_000_000 {
            return Piece::Name(name);
        }
        number = number * 10 + usize::from(b - b'0');
    }
    if name.len() > 1 && name.starts_with('0') {
        return Piece::Name(name);
    }
    Piece::Index(number)
}
