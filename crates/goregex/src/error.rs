//! Why a pattern was refused, in Go's words: clients and rule files' tests compare these texts.

/// Why an expression was refused, e.g. ``error parsing regexp: missing closing ): `(a` ``.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {}: `{expr}`", kind.as_str())]
pub struct Error {
    /// What is wrong.
    pub kind: ErrorKind,
    /// The part of the pattern that is wrong.
    pub expr: String,
}

impl Error {
    /// Whether a larger bound might let it pass.
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.kind == ErrorKind::Large
    }
}

/// Go's error codes (`regexp/syntax.ErrorCode`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// A class or range that does not exist, or runs backwards.
    InvalidCharRange,
    /// `\y`.
    InvalidEscape,
    /// `(?P<n`.
    InvalidNamedCapture,
    /// `(?=`.
    InvalidPerlOp,
    /// `a**`.
    InvalidRepeatOp,
    /// `a{1001}`.
    InvalidRepeatSize,
    /// `[a`.
    MissingBracket,
    /// `(a`.
    MissingParen,
    /// `*`.
    MissingRepeatArgument,
    /// `\` at the end.
    TrailingBackslash,
    /// `a)`.
    UnexpectedParen,
    /// Above a thousand levels.
    NestingDepth,
    /// The compiled form would be too large.
    Large,
}

impl ErrorKind {
    /// Go's text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::InvalidCharRange => "invalid character class range",
            ErrorKind::InvalidEscape => "invalid escape sequence",
            ErrorKind::InvalidNamedCapture => "invalid named capture",
            ErrorKind::InvalidPerlOp => "invalid or unsupported Perl syntax",
            ErrorKind::InvalidRepeatOp => "invalid nested repetition operator",
            ErrorKind::InvalidRepeatSize => "invalid repeat count",
            ErrorKind::MissingBracket => "missing closing ]",
            ErrorKind::MissingParen => "missing closing )",
            ErrorKind::MissingRepeatArgument => "missing argument to repetition operator",
            ErrorKind::TrailingBackslash => "trailing backslash at end of expression",
            ErrorKind::UnexpectedParen => "unexpected )",
            ErrorKind::NestingDepth => "expression nests too deeply",
            ErrorKind::Large => "expression too large",
        }
    }
}
