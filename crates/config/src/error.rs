//! What is wrong with a file, where, and what would be right.

use std::fmt;

/// One finding in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// 1-based line; 0 where the finding has no place of its own (the file as a whole).
    pub line: u32,
    /// 1-based column in characters; 0 as for `line`.
    pub column: u32,
    /// What is wrong, with the nearest valid name where there is one.
    pub text: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            f.write_str(&self.text)
        } else {
            write!(f, "line {}, column {}: {}", self.line, self.column, self.text)
        }
    }
}

/// Why a configuration was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file could not be read.
    #[error("cannot read {file}: {source}")]
    Read {
        /// Its path.
        file: String,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The contents are wrong: at least one problem.
    #[error("{}", print_problems(file, problems))]
    Invalid {
        /// The file's path, "" for a text without a file.
        file: String,
        /// All that was found, in order of the file.
        problems: Vec<Problem>,
    },
}

impl ConfigError {
    /// The findings, empty for a file that could not be read.
    #[must_use]
    pub fn problems(&self) -> &[Problem] {
        match self {
            ConfigError::Read { .. } => &[],
            ConfigError::Invalid { problems, .. } => problems,
        }
    }
    /// The file concerned.
    #[must_use]
    pub fn file(&self) -> &str {
        match self {
            ConfigError::Read { file, .. } | ConfigError::Invalid { file, .. } => file,
        }
    }
}

fn print_problems(file: &str, problems: &[Problem]) -> String {
    let mut out = String::new();
    for (i, problem) in problems.iter().enumerate() {
        if i > 0 {
            out.push('\n');
        }
        if !file.is_empty() {
            out.push_str(file);
            if problem.line > 0 {
                out.push_str(&format!(":{}:{}", problem.line, problem.column));
            }
            out.push_str(": ");
            out.push_str(&problem.text);
        } else {
            out.push_str(&problem.to_string());
        }
    }
    out
}
