//! Patterns of paths as Go's `filepath.Glob` reads them: `*`, `?`, `[a-z]`, `\x` in any element.

use std::path::{Path, PathBuf};

/// Files looked at for one pattern of config or rule files: a folder with more is no config folder.
const MATCHES_MAX: usize = 100_000;

/// Entries looked at in one folder, so that a pattern on a huge folder stays bounded: 2^20 names are
/// about 100 MiB.
const ENTRIES_MAX: usize = 1 << 20;

/// The pattern is broken (an open `[`, a `\` at the end).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("syntax error in pattern")]
pub struct BadPattern;

/// Existing paths that match a pattern of config or rule files, at most [`MATCHES_MAX`]; none for a broken
/// pattern.
#[must_use]
pub fn glob(pattern: &str) -> Vec<PathBuf> {
    let found = try_glob(pattern).unwrap_or_default();
    found.into_iter().take(MATCHES_MAX).map(PathBuf::from).collect()
}

/// Whether Go would take the pattern: brackets are closed and hold something, and a backslash has something
/// to escape.
#[must_use]
pub fn is_sound_pattern(pattern: &str) -> bool {
    parse(pattern).is_ok()
}

/// Existing paths that match, sorted. Folders that cannot be read have none.
///
/// # Errors
/// The pattern is broken.
pub fn try_glob(pattern: &str) -> Result<Vec<String>, BadPattern> {
    // Also finds a broken pattern where nothing is there to be compared.
    matches(pattern, "")?;
    if !has_meta(pattern) {
        let exists = std::fs::symlink_metadata(pattern).is_ok();
        return Ok(if exists { vec![pattern.to_string()] } else { Vec::new() });
    }
    let (dir, last) = match pattern.rfind('/') {
        None => ("", pattern),
        Some(0) => ("/", pattern.get(1..).unwrap_or("")),
        Some(at) => (pattern.get(..at).unwrap_or(""), pattern.get(at + 1..).unwrap_or("")),
    };
    // Each level is one element shorter, so this ends.
    let dirs = if has_meta(dir) { try_glob(dir)? } else { vec![dir.to_string()] };
    let mut found = Vec::new();
    for dir in dirs {
        let Ok(entries) = std::fs::read_dir(if dir.is_empty() { Path::new(".") } else { Path::new(&dir) })
        else {
            continue;
        };
        let names = entries.take(ENTRIES_MAX).filter_map(|e| e.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.filter(|name| matches(last, name) == Ok(true)).collect();
        names.sort_unstable();
        found.extend(names.into_iter().map(|name| match dir.as_str() {
            "" => name,
            "/" => format!("/{name}"),
            dir => format!("{dir}/{name}"),
        }));
    }
    Ok(found)
}

fn has_meta(pattern: &str) -> bool {
    pattern.contains(['*', '?', '[', '\\'])
}

/// Whether a name matches. Time is bounded by the product of both lengths: of several `*` only the last
/// is tried again.
fn matches(pattern: &str, name: &str) -> Result<bool, BadPattern> {
    let steps = parse(pattern)?;
    let name: Vec<char> = name.chars().collect();
    let (mut s, mut n) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while s < steps.len() || n < name.len() {
        match (steps.get(s), name.get(n)) {
            (Some(Step::Star), _) => {
                retry = Some((s, n));
                s += 1;
                continue;
            }
            (Some(step), Some(c)) if step.accepts(*c) => {
                s += 1;
                n += 1;
                continue;
            }
            _ => {}
        }
        match retry {
            Some((star, at)) if name.get(at).is_some_and(|c| *c != '/') => {
                retry = Some((star, at + 1));
                (s, n) = (star + 1, at + 1);
            }
            _ => return Ok(false),
        }
    }
    Ok(true)
}

enum Step {
    Star,
    Any,
    One(char),
    Class { negated: bool, ranges: Vec<(char, char)> },
}

impl Step {
    fn accepts(&self, c: char) -> bool {
        match self {
            Step::Star => false,
            Step::Any => c != '/',
            Step::One(one) => *one == c,
            Step::Class { negated, ranges } => {
                ranges.iter().any(|(lo, hi)| (*lo..=*hi).contains(&c)) != *negated
            }
        }
    }
}

fn parse(pattern: &str) -> Result<Vec<Step>, BadPattern> {
    let mut chars = pattern.chars().peekable();
    let mut steps = Vec::new();
    while let Some(c) = chars.next() {
        steps.push(match c {
            '*' => Step::Star,
            '?' => Step::Any,
            '\\' => Step::One(chars.next().ok_or(BadPattern)?),
            '[' => {
                let negated = chars.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                let one = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| match chars.next() {
                    None | Some('-' | ']') => Err(BadPattern),
                    Some('\\') => chars.next().ok_or(BadPattern),
                    Some(c) => Ok(c),
                };
                while ranges.is_empty() || chars.next_if_eq(&']').is_none() {
                    let lo = one(&mut chars)?;
                    let hi = if chars.next_if_eq(&'-').is_some() { one(&mut chars)? } else { lo };
                    ranges.push((lo, hi));
                }
                Step::Class { negated, ranges }
            }
            c => Step::One(c),
        });
    }
    Ok(steps)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_as_go() {
        for (pattern, name, want) in [
            ("*.json", "a.json", Ok(true)),
            ("*.json", ".json", Ok(true)),
            ("*.json", "a.jsonx", Ok(false)),
            ("a*b*c", "aXbYbZc", Ok(true)),
            ("a?c", "abc", Ok(true)),
            ("a?c", "a/c", Ok(false)),
            ("*", "a/b", Ok(false)),
            ("[a-c]x", "bx", Ok(true)),
            ("[^a-c]x", "bx", Ok(false)),
            ("[^a-c]x", "éx", Ok(true)),
            ("\\*", "*", Ok(true)),
            ("[", "a", Err(BadPattern)),
            ("[a", "a", Err(BadPattern)),
            ("[]a]", "]", Err(BadPattern)),
            ("[a-]", "a", Err(BadPattern)),
            ("a\\", "a", Err(BadPattern)),
            ("", "", Ok(true)),
            ("*****b", &"a".repeat(2000), Ok(false)),
        ] {
            assert_eq!(matches(pattern, name), want, "{pattern} {name}");
        }
    }

    #[test]
    fn finds_files_sorted() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.json", "a.json", "c.yml"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let base = dir.path().to_str().unwrap();
        assert_eq!(
            try_glob(&format!("{base}/*.json")).unwrap(),
            [format!("{base}/a.json"), format!("{base}/b.json")]
        );
        assert_eq!(try_glob(&format!("{base}/c.yml")).unwrap(), [format!("{base}/c.yml")]);
        assert!(try_glob(&format!("{base}/d.yml")).unwrap().is_empty());
        assert!(try_glob("/nonexistent/*.yml").unwrap().is_empty());
        assert!(try_glob(&format!("{base}/[.yml")).is_err());
    }

    #[test]
    fn patterns_match_as_in_go() {
        for (pattern, name, want) in [
            ("*.yml", "a.yml", true),
            ("*.yml", ".yml", true),
            ("*.yml", "a.yaml", false),
            ("a*b*c", "aXbYbc", true),
            ("a*b*c", "aXbY", false),
            ("?.yml", "a.yml", true),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[", "[", false),
            ("\\*", "*", true),
            ("*", "", true),
            ("", "", true),
            ("a", "", false),
        ] {
            assert_eq!(matches(pattern, name).unwrap_or(false), want, "{pattern} {name}");
        }
    }

    #[test]
    fn malformed_patterns() {
        for (pattern, want) in [
            ("a*", true),
            ("[a]", true),
            ("[^a-z]x", true),
            ("[\\]]", true),
            ("\\[", true),
            ("[", false),
            ("[]", false),
            ("[a", false),
            ("[a-]", false),
            ("[-a]", false),
            ("a\\", false),
        ] {
            assert_eq!(is_sound_pattern(pattern), want, "{pattern}");
        }
    }

    #[test]
    fn finds_files_in_order() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.yml", "a.yml", "c.txt"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        let found = |p: &str| glob(&format!("{}/{p}", dir.path().display())).len();
        assert_eq!((found("*.yml"), found("c.txt"), found("none"), found("*/x")), (2, 1, 0, 0));
        let first = &glob(&format!("{}/*.yml", dir.path().display()))[0];
        assert!(first.ends_with("a.yml"));
    }
}
