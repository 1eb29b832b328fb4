//! URLs as Go's `net/url` sees them: kept as written, checked loosely, printed with the password hidden.

use std::fmt;

/// A URL of the config. [`ConfigUrl::as_str`] is the text as written (never print it: it may hold a
/// password); `Display` and `Debug` replace the password by `xxxxx`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ConfigUrl {
    text: String,
}

impl ConfigUrl {
    /// The text as written, password included.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
    /// The text with the password replaced by `xxxxx`.
    #[must_use]
    pub fn redacted(&self) -> String {
        let Some(start) = self.text.find("//").map(|at| at + 2) else { return self.text.clone() };
        let rest = &self.text[start..];
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let Some(at) = rest[..end].rfind('@') else { return self.text.clone() };
        match rest[..at].find(':') {
            Some(colon) => format!("{}{}:xxxxx{}", &self.text[..start], &rest[..colon], &rest[at..]),
            None => self.text.clone(),
        }
    }
    /// True for "".
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }
}

impl fmt::Display for ConfigUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.redacted())
    }
}

impl fmt::Debug for ConfigUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.redacted())
    }
}
