//! Unicode as Go's `unicode` package knows it: classes, case folding, case mapping, printability.
//!
//! The tables are Go's own (`unicode.bin`, made by `testdata/gen/unicode.go`), not those of the Rust
//! ecosystem: the two follow different Unicode versions, and a label that is lower-cased or quoted
//! differently is a different series. Decoded once, on first use.

use std::sync::LazyLock;

const DATA: &[u8] = include_bytes!("unicode.bin");
/// Highest code point.
const CODE_MAX: u32 = 0x10_FFFF;

/// Closed ranges of code points, sorted, neither touching nor overlapping. Surrogates may be inside, as
/// Go's classes work on numbers.
pub(crate) type Ranges = Vec<(u32, u32)>;

struct Tables {
    categories: Vec<(&'static str, Ranges)>,
    scripts: Vec<(&'static str, Ranges)>,
    aliases: Vec<(&'static str, &'static str)>,
    /// Character, next in its ring of equals.
    folds: Vec<(u32, u32)>,
    /// Character, upper case, lower case.
    cases: Vec<(u32, u32, u32)>,
    print: Ranges,
    letter_or_digit: Ranges,
}

static TABLES: LazyLock<Tables> = LazyLock::new(Tables::decode);

/// Reads the embedded file. It is ours, so a short read cannot happen; it would give empty tables.
struct Reader {
    rest: &'static [u8],
}

impl Reader {
    fn varint(&mut self) -> u32 {
        let (mut value, mut shift) = (0_u32, 0);
        while let Some((byte, rest)) = self.rest.split_first() {
            self.rest = rest;
            value |= u32::from(byte & 0x7f).wrapping_shl(shift);
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        value
    }

    /// A base moved by a signed distance.
    fn moved(&mut self, base: u32) -> u32 {
        let n = self.varint();
        if n & 1 == 0 { base.wrapping_add(n >> 1) } else { base.wrapping_sub((n >> 1) + 1) }
    }

    fn text(&mut self) -> &'static str {
        let n = (self.varint() as usize).min(self.rest.len());
        let (text, rest) = self.rest.split_at(n);
        self.rest = rest;
        std::str::from_utf8(text).unwrap_or_default()
    }

    fn ranges(&mut self) -> Ranges {
        let count = self.varint();
        let mut next = 0;
        let one = |_| {
            let lo = next + self.varint();
            let hi = lo + self.varint();
            next = hi + 1;
            (lo, hi)
        };
        (0..count).map(one).collect()
    }

    fn tables(&mut self) -> Vec<(&'static str, Ranges)> {
        let count = self.varint();
        (0..count).map(|_| (self.text(), self.ranges())).collect()
    }
}

impl Tables {
    fn decode() -> Self {
        let mut r = Reader { rest: DATA };
        let categories = r.tables();
        let scripts = r.tables();
        let aliases = (0..r.varint()).map(|_| (r.text(), r.text())).collect();
        let mut last = 0;
        let folds = (0..r.varint()).map(|_| {
            last += r.varint();
            (last, r.moved(last))
        });
        let folds = folds.collect();
        let mut last = 0;
        let cases = (0..r.varint()).map(|_| {
            last += r.varint();
            (last, r.moved(last), r.moved(last))
        });
        let cases = cases.collect();
        let of = |names: &[&str]| {
            let tables = categories.iter().filter(|(n, _): &&(&str, Ranges)| names.contains(n));
            clean(tables.flat_map(|(_, r)| r.iter().copied()).chain([(0x20, 0x20)]).collect())
        };
        let print = of(&["L", "M", "N", "P", "S"]);
        let mut letter_or_digit = of(&["L", "Nd"]);
        letter_or_digit.retain(|r| *r != (0x20, 0x20));
        Tables { categories, scripts, aliases, folds, cases, print, letter_or_digit }
    }
}

/// Sorts ranges and joins those that touch.
pub(crate) fn clean(mut ranges: Ranges) -> Ranges {
    ranges.sort_unstable();
    let mut out: Ranges = Vec::with_capacity(ranges.len());
    for (lo, hi) in ranges {
        match out.last_mut() {
            Some(last) if lo <= last.1.saturating_add(1) => last.1 = last.1.max(hi),
            _ => out.push((lo, hi)),
        }
    }
    out
}

/// What is not in `ranges` (which are clean).
pub(crate) fn negate(ranges: &[(u32, u32)]) -> Ranges {
    let mut out = Vec::with_capacity(ranges.len() + 1);
    let mut next = 0;
    for &(lo, hi) in ranges {
        if next < lo {
            out.push((next, lo - 1));
        }
        next = hi + 1;
    }
    if next <= CODE_MAX {
        out.push((next, CODE_MAX));
    }
    out
}

/// Adds whatever equals a member when case does not count.
pub(crate) fn fold(ranges: &[(u32, u32)]) -> Ranges {
    let mut out = ranges.to_vec();
    let folds = &TABLES.folds;
    for &(lo, hi) in ranges {
        let from = folds.partition_point(|(c, _)| *c < lo);
        for &(c, mut next) in folds.iter().skip(from).take_while(|(c, _)| *c <= hi) {
            while next != c {
                out.push((next, next));
                next = fold_next(next);
            }
        }
    }
    clean(out)
}

/// Next character of the ring of those that equal `c` when case does not count (Go's `SimpleFold`).
fn fold_next(c: u32) -> u32 {
    let folds = &TABLES.folds;
    folds.binary_search_by_key(&c, |(c, _)| *c).ok().and_then(|i| folds.get(i)).map_or(c, |(_, next)| *next)
}

/// All characters that equal `c` when case does not count, `c` first.
pub(crate) fn fold_ring(c: char) -> Vec<char> {
    let mut out = vec![c];
    let mut next = fold_next(c as u32);
    while next != c as u32 {
        out.extend(char::from_u32(next));
        next = fold_next(next);
    }
    out
}

/// The class that `\p{name}` stands for: category, script, alias, `Any`, `ASCII`, `Assigned`. Exact names
/// count first (all that the fork knows which upstream uses, `Old_Italic` among them), then the relaxed
/// ones of Go's own package (`\p{letter}`), which lost scripts with an underscore.
pub(crate) fn class(name: &str) -> Option<Ranges> {
    let exact = find(&TABLES.categories, name).or_else(|| find(&TABLES.scripts, name));
    if let Some(ranges) = exact {
        return Some(ranges.clone());
    }
    let name = canonical_name(name);
    match name.as_str() {
        "Any" => return Some(vec![(0, CODE_MAX)]),
        "Ascii" => return Some(vec![(0, 0x7f)]),
        "Assigned" => return find(&TABLES.categories, "Cn").map(|r| negate(r)),
        "Lc" => return find(&TABLES.categories, "LC").cloned(),
        _ => {}
    }
    let named = find(&TABLES.categories, &name).or_else(|| find(&TABLES.scripts, &name));
    let aliased = || {
        let (_, actual) = TABLES.aliases.iter().find(|(n, _)| *n == name)?;
        find(&TABLES.categories, actual)
    };
    named.or_else(aliased).cloned()
}

fn find<'t>(tables: &'t [(&'static str, Ranges)], name: &str) -> Option<&'t Ranges> {
    tables.iter().find(|(n, _)| *n == name).map(|(_, r)| r)
}

/// First letter upper case, the others lower case, spaces, hyphens and underscores left out.
fn canonical_name(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for c in name.chars().filter(|c| !matches!(c, '_' | '-' | ' ')) {
        out.push(if out.is_empty() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() });
    }
    out
}

fn contains(ranges: &[(u32, u32)], c: char) -> bool {
    let c = c as u32;
    let at = ranges.partition_point(|(_, hi)| *hi < c);
    ranges.get(at).is_some_and(|(lo, _)| *lo <= c)
}

/// Go's `unicode.IsLetter` or `unicode.IsDigit`.
pub(crate) fn is_letter_or_digit(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_alphanumeric() } else { contains(&TABLES.letter_or_digit, c) }
}

/// Go's `unicode.IsPrint`, which decides what `strconv.Quote` escapes.
#[must_use]
pub fn is_print(c: char) -> bool {
    if c.is_ascii() { (' '..='~').contains(&c) } else { contains(&TABLES.print, c) }
}

fn map_case(text: &str, ascii: impl Fn(&str) -> String, pick: impl Fn((u32, u32, u32)) -> u32) -> String {
    if text.is_ascii() {
        return ascii(text);
    }
    let map = |c: char| {
        let cases = &TABLES.cases;
        let found = cases.binary_search_by_key(&(c as u32), |e| e.0).ok().and_then(|i| cases.get(i));
        found.and_then(|e| char::from_u32(pick(*e))).unwrap_or(c)
    };
    text.chars().map(map).collect()
}

/// Go's `strings.ToLower`: character by character, so that a final sigma stays an ordinary one.
#[must_use]
pub fn to_lower(text: &str) -> String {
    map_case(text, str::to_ascii_lowercase, |(_, _, lower)| lower)
}

/// Go's `strings.ToUpper`: character by character, so that `ß` stays.
#[must_use]
pub fn to_upper(text: &str) -> String {
    map_case(text, str::to_ascii_uppercase, |(_, upper, _)| upper)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_to_the_last_byte() {
        assert_eq!(TABLES.cases.last().map(|e| e.0), Some(0x1e943));
        assert!(find(&TABLES.categories, "LC").is_some() && find(&TABLES.scripts, "Greek").is_some());
        assert!(TABLES.aliases.contains(&("Letter", "L")));
    }

    #[test]
    fn case_is_mapped_as_go_does() {
        assert_eq!(to_lower("İΣΣ ABC"), "iσσ abc");
        assert_eq!(to_upper("ßŉᾀ abc"), "ßŉᾈ ABC");
    }

    #[test]
    fn printable_as_go_does() {
        for (c, want) in [(' ', true), ('\u{a0}', false), ('é', true), ('\u{200b}', false), ('\u{ad}', false)]
        {
            assert_eq!(is_print(c), want, "{c:?}");
        }
        assert!(!is_print('\u{feff}') && !is_print('\u{e000}') && is_print('😀') && is_print('\u{301}'));
    }

    #[test]
    fn rings_close() {
        assert_eq!(fold_ring('k'), ['k', '\u{212a}', 'K']);
        assert_eq!(fold_ring('1'), ['1']);
        assert_eq!(fold(&[(0x41, 0x5a)]), [(0x41, 0x5a), (0x61, 0x7a), (0x17f, 0x17f), (0x212a, 0x212a)]);
    }
}
