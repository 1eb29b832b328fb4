//! The compiled expression: matching, shortcuts for the index, captures and replacement.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use regex_automata::{Input, meta};

use crate::ast::{Ast, Look, Node};
use crate::expand::{Piece, pieces};
use crate::parse::{self, Flags};
use crate::shortcut::{self, Plan};
use crate::translate::{self, NFA_BYTES_MAX};
use crate::{Error, ErrorKind};

/// A compiled expression. Cheap to clone.
#[derive(Clone)]
pub struct Regex(Arc<Inner>);

struct Inner {
    pattern: String,
    form: Form,
    plan: Plan,
    prefix: String,
    /// Made at once where matching needs it, else on the first use of captures.
    engine: OnceLock<Option<meta::Regex>>,
    /// Group names by index; group 0 has none.
    names: Vec<Option<Box<str>>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Anchored,
    Wrapped,
    Plain,
}

/// Byte ranges of the groups of one match. Group 0 is the whole match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captures {
    groups: Vec<Option<Range<usize>>>,
}

impl Captures {
    /// The engine forgets groups under `{0}`; they count in Go, so the number comes from the parser.
    fn of(captures: &regex_automata::util::captures::Captures, count: usize) -> Self {
        let mut groups: Vec<_> = captures.iter().map(|span| span.map(|s| s.range())).collect();
        groups.resize(count, None);
        Captures { groups }
    }

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

impl Form {
    fn parse(self, pattern: &str) -> Result<Ast, Error> {
        match self {
            Form::Anchored => {
                let mut ast = parse::parse(pattern, Flags { dot_newline: true, ..Flags::default() })?;
                let mut nodes = vec![Node::Look(Look::TextStart)];
                match ast.root {
                    Node::Concat(inner) => nodes.extend(inner),
                    other => nodes.push(other),
                }
                nodes.push(Node::Look(Look::TextEnd));
                ast.root = Node::Concat(nodes);
                Ok(ast)
            }
            Form::Wrapped => parse::parse(&format!("^(?s:{pattern})$"), Flags::default()),
            Form::Plain => parse::parse(pattern, Flags::default()),
        }
    }
}

impl Regex {
    /// Compiles a label matcher's expression: it must match the whole text, `.` matches `\n`. Errors cite
    /// the pattern as given (upstream: `labels.NewFastRegexMatcher`).
    ///
    /// # Errors
    /// A pattern outside Go's syntax or limits, or too large for the engine.
    pub fn anchored(pattern: &str) -> Result<Self, Error> {
        Self::compile(pattern, Form::Anchored, NFA_BYTES_MAX)
    }

    /// The same, where the automaton in one direction may take so many bytes only; up to [`NFA_BYTES_MAX`]. What
    /// it takes while it is made is up to four times that, in two directions and two forms.
    ///
    /// # Errors
    /// As [`Regex::anchored`]; [`Error::is_large`] tells that more bytes might be enough.
    pub fn anchored_within(pattern: &str, nfa_bytes_max: usize) -> Result<Self, Error> {
        Self::compile(pattern, Form::Anchored, nfa_bytes_max)
    }

    /// Compiles the text `^(?s:pattern)$`, as relabeling and `label_replace` do. Same matches as
    /// [`Regex::anchored`], but errors cite the wrapped text, and `a)(b` is accepted.
    ///
    /// # Errors
    /// A pattern outside Go's syntax or limits, or too large for the engine.
    pub fn wrapped(pattern: &str) -> Result<Self, Error> {
        Self::compile(pattern, Form::Wrapped, NFA_BYTES_MAX)
    }

    /// The same with a bound as that of [`Regex::anchored_within`].
    ///
    /// # Errors
    /// As [`Regex::wrapped`].
    pub fn wrapped_within(pattern: &str, nfa_bytes_max: usize) -> Result<Self, Error> {
        Self::compile(pattern, Form::Wrapped, nfa_bytes_max)
    }

    /// Compiles a pattern that may match anywhere, as Go's `regexp.Compile` (templates' `reReplaceAll`).
    ///
    /// # Errors
    /// A pattern outside Go's syntax or limits, or too large for the engine.
    pub fn new(pattern: &str) -> Result<Self, Error> {
        Self::compile(pattern, Form::Plain, NFA_BYTES_MAX)
    }

    fn compile(pattern: &str, form: Form, nfa_bytes_max: usize) -> Result<Self, Error> {
        let ast = form.parse(pattern)?;
        let (plan, prefix) = shortcut::plan(&ast.root, pattern.len());
        let engine = OnceLock::new();
        // Matchers never ask for captures, so where a shortcut decides, they do without an automaton.
        if form != Form::Anchored || matches!(plan, Plan::Engine(_)) {
            let too_large = || Error { kind: ErrorKind::Large, expr: pattern.to_string() };
            let compiled = translate::compile(&ast.root, ast.height, nfa_bytes_max).ok_or_else(too_large)?;
            engine.get_or_init(|| Some(compiled));
        }
        Ok(Regex(Arc::new(Inner {
            pattern: pattern.to_string(),
            form,
            plan,
            prefix,
            engine,
            names: ast.names,
        })))
    }

    /// `None` only for a matcher of a huge set that was never meant to have captures.
    fn engine(&self) -> Option<&meta::Regex> {
        let compile = || {
            let ast = self.0.form.parse(&self.0.pattern).ok()?;
            translate::compile(&ast.root, ast.height, NFA_BYTES_MAX)
        };
        self.0.engine.get_or_init(compile).as_ref()
    }

    /// Bytes of the compiled automaton, without its caches; 0 where there is none.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.0.engine.get().and_then(Option::as_ref).map_or(0, meta::Regex::memory_usage)
    }

    /// The pattern as given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0.pattern
    }

    /// Whether `text` matches: the whole of it for the anchored forms, any part for [`Regex::new`].
    /// Linear in the text, whatever the pattern.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        match &self.0.plan {
            Plan::All => true,
            Plan::Set(set) => set.contains(text),
            Plan::Globs(globs) => globs.iter().any(|glob| glob.is_match(text)),
            Plan::Engine(required) => {
                required.is_in(text) && self.engine().is_some_and(|re| re.is_match(text))
            }
        }
    }

    /// The one text that matches, where the pattern is a literal. Anchored forms only; else `None`.
    #[must_use]
    pub fn literal(&self) -> Option<&str> {
        match self.set_matches()? {
            [only] => Some(only),
            _ => None,
        }
    }

    /// All texts that match, sorted and without repeats, where they are finite: up to 256, or as many as
    /// the pattern writes out. Empty for a pattern that matches never. Anchored forms only; else `None`.
    #[must_use]
    pub fn set_matches(&self) -> Option<&[String]> {
        match &self.0.plan {
            Plan::Set(set) => Some(&set.texts),
            _ => None,
        }
    }

    /// What every matching text begins with, byte for byte ("" where nothing is known, as with
    /// case-insensitive beginnings).
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.0.prefix
    }

    /// Whether every text matches, as with `.*`.
    #[must_use]
    pub fn matches_all(&self) -> bool {
        matches!(self.0.plan, Plan::All)
    }

    /// Names of the groups by number; `None` for group 0 and for groups without a name.
    #[must_use]
    pub fn group_names(&self) -> &[Option<Box<str>>] {
        &self.0.names
    }

    /// The leftmost match and its groups.
    #[must_use]
    pub fn captures(&self, text: &str) -> Option<Captures> {
        // Most rules do not match most texts, and a shortcut says so sooner.
        if !matches!(self.0.plan, Plan::Engine(_)) && !self.is_match(text) {
            return None;
        }
        let engine = self.engine()?;
        let mut captures = engine.create_captures();
        engine.captures(text, &mut captures);
        captures.is_match().then(|| Captures::of(&captures, self.0.names.len()))
    }

    /// Appends a template with its references (`$1`, `${1}`, `$name`, `$$`) filled from a match; unknown
    /// groups and groups that took no part are empty. `$1x` is the group named "1x", as in Go.
    pub fn expand(&self, template: &str, text: &str, captures: &Captures, out: &mut String) {
        pieces(template, |piece| {
            let range = match piece {
                Piece::Literal(literal) => {
                    out.push_str(literal);
                    return;
                }
                Piece::Index(i) => captures.get(i),
                // Of groups with one name the first that took part counts.
                Piece::Name(name) => {
                    let named = self.0.names.iter().enumerate().filter(|(_, n)| n.as_deref() == Some(name));
                    named.filter_map(|(i, _)| captures.get(i)).next()
                }
            };
            out.push_str(range.and_then(|r| text.get(r)).unwrap_or(""));
        });
    }

    /// Replaces every match by the template, as Go's `ReplaceAllString`.
    #[must_use]
    pub fn replace_all(&self, text: &str, template: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let Some(engine) = self.engine() else { return text.to_string() };
        let (mut last_end, mut search) = (0, 0);
        let mut captures = engine.create_captures();
        while search <= text.len() {
            engine.search_captures(&Input::new(text).range(search..), &mut captures);
            let Some(found) = captures.get_match() else { break };
            out.push_str(text.get(last_end..found.start()).unwrap_or(""));
            // A match of nothing right behind another match is not replaced again.
            if found.end() > last_end || found.start() == 0 {
                self.expand(template, text, &Captures::of(&captures, self.0.names.len()), &mut out);
            }
            last_end = found.end();
            let step = text.get(search..).and_then(|s| s.chars().next()).map_or(1, char::len_utf8);
            search = found.end().max(search + step);
        }
        out.push_str(text.get(last_end..).unwrap_or(""));
        out
    }
}

impl PartialEq for Regex {
    fn eq(&self, o: &Self) -> bool {
        self.0.form == o.0.form && self.0.pattern == o.0.pattern
    }
}

impl Eq for Regex {}

/// The pattern as given.
impl fmt::Display for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.pattern)
    }
}

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Regex({:?})", self.0.pattern)
    }
}
