//! Why a body could not be read, and where.

/// A syntax error with its place. Lines and columns count from 1, columns in bytes; for protobuf the line
/// is 0 and the column is the byte offset in the body.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}", self.place())]
pub struct ParseError {
    /// What is wrong, in upstream's words where it has some.
    pub message: String,
    /// Line, or 0.
    pub line: usize,
    /// Byte column, or offset.
    pub column: usize,
}

impl ParseError {
    fn place(&self) -> String {
        if self.line == 0 {
            format!(" (at byte {})", self.column)
        } else {
            format!(" (line {}, column {})", self.line, self.column)
        }
    }
}
