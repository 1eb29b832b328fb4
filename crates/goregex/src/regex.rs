//! The compiled expression: matching, shortcuts for the index, captures and replacement.

use std::ops::Range;
use std::sync::Arc;

use crate::Error;
use crate::expand::{Piece, pieces};

/// A compiled expression. Cheap to clone.
#[derive(Clone)]
pub struct Regex(Arc<Inner>);

struct Inner {
    pattern: String,
    engine: regex_automata::meta::Regex,
    /// Group names by index; group 0 has none.
    names: Vec<Option<Box<str>>>,
}

/// Byte ranges of the groups of one match. Group 0 is the whole match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captures {
    groups: Vec<Option<Range<usize>>>,
}

impl Captures {
    /// Range of a group, `None` where it took no part or does not exist.
    #[must_use]
    pub fn get(&self, group: usize) -> Option<Range<usize>> {
        self.groups.get(group).cloned().flatten()
    }
    /// Number of groups, the whole match included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.groups.len()
    }
    /// False always: group 0 is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }
}

impl Regex {
    /// Compiles a label matcher's expression: it must match the whole text, `.` matches `\n`. Errors cite
    /// the pattern as given (upstream: `labels.NewFastRegexMatcher`).
    ///
    /// # Errors
    /// A pattern outside Go's syntax or limits.
    pub fn anchored(pattern: &str) -> Result<Self, Error> {
        Self::compile(pattern, &format!("^(?s:{pattern})$"))
    }

    /// Compiles the text `^(?s:pattern)$`, as relabeling, `label_replace` and Alertmanager-like users do.
    /// Same matches as [`Regex::anchored`], but errors cite the wrapped text, and `a)(b` is accepted.
    ///
    /// # Errors
    /// A pattern outside Go's syntax or limits.
    pub fn wrapped(pattern: &str) -> Result<Self, Error> {
        Self::compile(pattern, &format!("^(?s:{pattern})$"))
    }

    /// Compiles a pattern that may match anywhere, as Go's `regexp.Compile` (templates' `reReplaceAll`).
    ///
    /// # Errors
    /// A pattern outside Go's syntax or limits.
    pub fn new(pattern: &str) -> Result<Self, Error> {
        Self::compile(pattern, pattern)
    }

    fn compile(pattern: &str, full: &str) -> Result<Self, Error> {
        let engine = regex_automata::meta::Regex::new(full).map_err(|e| Error(e.to_string()))?;
        let names = vec![None; engine.captures_len()];
        Ok(Regex(Arc::new(Inner { pattern: pattern.to_string(), engine, names })))
    }

    /// The pattern as given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.pattern
    }

    /// Whether `text` matches: the whole of it for the anchored forms, any part for [`Regex::new`].
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.0.engine.is_match(text)
    }

    /// The one text that matches, where the pattern is a literal. Anchored forms only; else `None`.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        None
    }

    /// All texts that match, sorted and without repeats, where they are finite and few
    /// ([`Regex::SET_MATCHES_MAX`]). Anchored forms only; else `None`.
    #[must_use]
    pub fn set_matches(&self) -> Option<&[String]> {
        None
    }

    /// What every matching text begins with ("" where nothing is known). Case-sensitive.
    #[must_use]
    pub fn prefix(&self) -> &str {
        ""
    }

    /// Whether every text matches, as `.*` does.
    #[must_use]
    pub fn matches_all(&self) -> bool {
        false
    }

    /// Names of the groups by number; `None` for group 0 and for groups without a name.
    #[must_use]
    pub fn group_names(&self) -> &[Option<Box<str>>] {
        &self.0.names
    }

    /// The leftmost match and its groups.
    #[must_use]
    pub fn captures(&self, text: &str) -> Option<Captures> {
        let mut caps = self.0.engine.create_captures();
        self.0.engine.captures(text, &mut caps);
        if !caps.is_match() {
            return None;
        }
        let groups = caps.iter().map(|s| s.map(|s| s.range())).collect();
        Some(Captures { groups })
    }

    /// Appends a template with its references (`$1`, `${1}`, `$name`, `$$`) filled from a match; unknown
    /// groups and groups that took no part are empty. `$1x` is the group named "1x", as in Go.
    pub fn expand(&self, template: &str, text: &str, captures: &Captures, out: &mut String) {
        pieces(template, |piece| match piece {
            Piece::Literal(s) => out.push_str(s),
            Piece::Index(i) => out.push_str(captures.get(i).and_then(|r| text.get(r)).unwrap_or("")),
            Piece::Name(name) => {
                let named = self.0.names.iter().enumerate().filter(|(_, n)| n.as_deref() == Some(name));
                let found = named.filter_map(|(i, _)| captures.get(i)).next();
                out.push_str(found.and_then(|r| text.get(r)).unwrap_or(""));
            }
        });
    }

    /// Replaces every match by the template, as Go's `ReplaceAllString`.
    #[must_use]
    pub fn replace_all(&self, text: &str, template: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let (mut last_end, mut search) = (0, 0);
        let mut caps = self.0.engine.create_captures();
        while search <= text.len() {
            let input = regex_automata::Input::new(text).range(search..);
            self.0.engine.search_captures(&input, &mut caps);
            let Some(m) = caps.get_match() else { break };
            out.push_str(text.get(last_end..m.start()).unwrap_or(""));
            // A match of nothing right behind another match is not replaced again.
            if m.end() > last_end || m.start() == 0 {
                let groups = caps.iter().map(|s| s.map(|s| s.range())).collect();
                self.expand(template, text, &Captures { groups }, &mut out);
            }
            last_end = m.end();
            let step = text.get(search..).and_then(|s| s.chars().next()).map_or(1, char::len_utf8);
            search = m.end().max(search + step);
        }
        out.push_str(text.get(last_end..).unwrap_or(""));
        out
    }
}

impl std::fmt::Debug for Regex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Regex({:?})", self.0.pattern)
    }
}
