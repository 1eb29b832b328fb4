//! Label matchers: `=`, `!=`, `=~`, `!~`, regular expressions anchored and in Go's syntax.

use std::fmt;

/// Operator of a matcher.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatchOp {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`
    Regex,
    /// `!~`
    NotRegex,
}

impl MatchOp {
    /// The operator's sign.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            MatchOp::Equal => "=",
            MatchOp::NotEqual => "!=",
            MatchOp::Regex => "=~",
            MatchOp::NotRegex => "!~",
        }
    }
}

/// A matcher on one label. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Matcher {
    op: MatchOp,
    name: String,
    value: String,
    regex: Option<goregex::Regex>,
}

impl Matcher {
    /// Makes a matcher; compiles the regular expression, anchored at both ends.
    ///
    /// # Errors
    /// An expression outside Go's syntax or limits.
    pub fn new(
        op: MatchOp,
        name: impl Into<String>,
        value: impl Into<String>,
    ) -> Result<Self, goregex::Error> {
        Matcher::within(op, name, value, goregex::NFA_BYTES_MAX)
    }

    /// The same with a bound for what the expression compiles to, see [`goregex::Regex::anchored_within`].
    ///
    /// # Errors
    /// As [`Matcher::new`].
    pub fn within(
        op: MatchOp,
        name: impl Into<String>,
        value: impl Into<String>,
        nfa_bytes_max: usize,
    ) -> Result<Self, goregex::Error> {
        let value = value.into();
        let regex = match op {
            MatchOp::Equal | MatchOp::NotEqual => None,
            MatchOp::Regex | MatchOp::NotRegex => {
                Some(goregex::Regex::anchored_within(&value, nfa_bytes_max)?)
            }
        };
        Ok(Matcher { op, name: name.into(), value, regex })
    }

    /// `name="value"`.
    #[must_use]
    pub fn equal(name: impl Into<String>, value: impl Into<String>) -> Self {
        Matcher { op: MatchOp::Equal, name: name.into(), value: value.into(), regex: None }
    }

    /// Operator.
    #[must_use]
    pub fn op(&self) -> MatchOp {
        self.op
    }
    /// Label name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Value or expression as written.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }
    /// Compiled expression of a regex matcher: its literal, prefix and set helpers drive the index.
    #[must_use]
    pub fn regex(&self) -> Option<&goregex::Regex> {
        self.regex.as_ref()
    }

    /// Whether a value (`""` for an absent label) passes.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        match (self.op, &self.regex) {
            (MatchOp::Equal, _) => value == self.value,
            (MatchOp::NotEqual, _) => value != self.value,
            (MatchOp::Regex, Some(re)) => re.is_match(value),
            (MatchOp::NotRegex, Some(re)) => !re.is_match(value),
            (MatchOp::Regex | MatchOp::NotRegex, None) => false,
        }
    }
}

impl PartialEq for Matcher {
    fn eq(&self, o: &Self) -> bool {
        self.op == o.op && self.name == o.name && self.value == o.value
    }
}

impl Eq for Matcher {}

/// `name=~"value"`, the name quoted where it is not a legacy one.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if crate::name::is_legacy_label_name(&self.name) {
            f.write_str(&self.name)?;
        } else {
            crate::name::write_quoted(f, &self.name)?;
        }
        f.write_str(self.op.as_str())?;
        crate::name::write_quoted(f, &self.value)
    }
}
