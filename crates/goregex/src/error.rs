//! Why a pattern was refused, in Go's words.

/// Why an expression was refused, in Go's words: `error parsing regexp: missing closing ): `(a``.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error parsing regexp: {0}")]
pub struct Error(pub String);
