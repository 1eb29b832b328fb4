//! Go's regular expressions (RE2 syntax as `regexp/syntax` parses it) on the `regex-automata` engine.

use std::sync::Arc;

/// Why an expression was refused, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {0}")]
pub struct Error(pub String);

/// A compiled expression. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Regex(Arc<regex_automata::meta::Regex>);

impl Regex {
    /// Compiles `^(?s:pattern)$`, as label matchers and relabeling want it.
    ///
    /// # Errors
    /// A pattern outside Go's syntax or limits.
    pub fn anchored(pattern: &str) -> Result<Self, Error> {
        let re = regex_automata::meta::Regex::new(&format!("^(?s:{pattern})$"));
        re.map(|r| Regex(Arc::new(r))).map_err(|e| Error(e.to_string()))
    }

    /// Whether the whole of `text` matches.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}
