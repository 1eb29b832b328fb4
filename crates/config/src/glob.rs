//! Go's `filepath.Glob`: `*`, `?`, `[a-z]`, `\` in each path element; sorted; nothing found is no error.

use std::path::{Path, PathBuf};

/// Files looked at for one pattern: a folder with more is no config folder.
const MATCHES_MAX: usize = 100_000;

/// Paths that match. Unreadable folders are skipped, as upstream does.
#[must_use]
pub fn glob(pattern: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        vec![if pattern.starts_with('/') { PathBuf::from("/") } else { PathBuf::new() }];
    for part in pattern.split('/').filter(|part| !part.is_empty()) {
        let mut next = Vec::new();
        for base in &found {
            if part.contains(['*', '?', '[', '\\']) {
                let dir = if base.as_os_str().is_empty() { Path::new(".") } else { base };
                let Ok(entries) = std::fs::read_dir(dir) else { continue };
                let mut names: Vec<String> =
                    entries.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
                names.retain(|name| matches(part, name));
                names.sort();
                next.extend(names.into_iter().take(MATCHES_MAX).map(|name| base.join(name)));
            } else {
                next.push(base.join(part));
            }
        }
        found = next;
        found.truncate(MATCHES_MAX);
    }
    found.retain(|path| !path.as_os_str().is_empty() && std::fs::symlink_metadata(path).is_ok());
    found
}

/// Whether Go would take the pattern: brackets are closed and hold something, and a backslash has something
/// to escape.
#[must_use]
pub fn is_sound_pattern(pattern: &str) -> bool {
    let mut chars = pattern.chars().peekable();
    while let Some(c) = chars.next() {
        let sound = match c {
            '\\' => chars.next().is_some(),
            '[' => is_sound_class(&mut chars),
            _ => true,
        };
        if !sound {
            return false;
        }
    }
    true
}

/// Goes over `^a-z]`, behind its opening bracket.
fn is_sound_class(chars: &mut std::iter::Peekable<std::str::Chars<'_>>) -> bool {
    let bound = |chars: &mut std::iter::Peekable<std::str::Chars<'_>>| match chars.next() {
        None | Some('-' | ']') => false,
        Some('\\') => chars.next().is_some(),
        Some(_) => true,
    };
    chars.next_if_eq(&'^');
    loop {
        if !bound(chars) || chars.next_if_eq(&'-').is_some() && !bound(chars) {
            return false;
        }
        if chars.next_if_eq(&']').is_some() {
            return true;
        }
    }
}

/// Go's `filepath.Match` within one path element; a malformed pattern matches nothing.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Position behind the last star and the name's position it has eaten up to.
    let mut star: Option<(usize, usize)> = None;
    loop {
        if p == pattern.len() && n == name.len() {
            return true;
        }
        if pattern.get(p) == Some(&'*') {
            p += 1;
            star = Some((p, n));
            continue;
        }
        if let Some((true, used)) = pattern.get(p..).and_then(|rest| one(rest, name.get(n).copied())) {
            p += used;
            n += 1;
            continue;
        }
        match star {
            Some((back, eaten)) if eaten < name.len() => {
                star = Some((back, eaten + 1));
                (p, n) = (back, eaten + 1);
            }
            _ => return false,
        }
    }
}

/// Whether the first element of a pattern fits a character, and its length in the pattern.
fn one(pattern: &[char], c: Option<char>) -> Option<(bool, usize)> {
    let c = c?;
    match pattern.first()? {
        '?' => Some((true, 1)),
        '\\' => pattern.get(1).map(|p| (*p == c, 2)),
        '[' => {
            let negated = pattern.get(1) == Some(&'^');
            let (mut at, mut fits, mut first) = (1 + usize::from(negated), false, true);
            loop {
                let mut read = || {
                    let escaped = pattern.get(at) == Some(&'\\');
                    at += usize::from(escaped);
                    let value = pattern.get(at).copied();
                    at += 1;
                    value.map(|v| (v, escaped))
                };
                let (low, escaped) = read()?;
                if low == ']' && !escaped && !first {
                    return Some((fits != negated, at));
                }
                let mut high = low;
                if pattern.get(at) == Some(&'-') {
                    at += 1;
                    high = {
                        let escaped = pattern.get(at) == Some(&'\\');
                        at += usize::from(escaped);
                        let value = pattern.get(at).copied()?;
                        at += 1;
                        value
                    };
                }
                fits |= (low..=high).contains(&c);
                first = false;
            }
        }
        p => Some((*p == c, 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(matches(pattern, name), want, "{pattern} {name}");
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
