//! From text to a checked syntax tree.

pub mod ast;
mod check;
mod duration;
mod functions;
mod lexer;
mod number;
mod parser;
mod prettier;
mod printer;
mod series;
pub(crate) mod text;
mod token;

use model::Matcher;

pub use ast::{Expr, PosRange, ValueType};
pub use functions::{FUNCTIONS, Function, FunctionId, function};
pub use series::{SequenceValue, parse_series};

/// Syntax that upstream keeps behind feature flags. All off by default, as there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ParserOptions {
    /// `promql-experimental-functions`
    pub experimental_functions: bool,
    /// `promql-duration-expr`
    pub duration_expressions: bool,
    /// `promql-extended-range-selectors`
    pub extended_range_selectors: bool,
    /// `promql-binop-fill-modifiers`
    pub fill_modifiers: bool,
}

impl ParserOptions {
    /// Everything on.
    #[must_use]
    pub fn all() -> Self {
        ParserOptions {
            experimental_functions: true,
            duration_expressions: true,
            extended_range_selectors: true,
            fill_modifiers: true,
        }
    }
}

/// Why an expression was refused. `Display` is upstream's text: `1:15: parse error: ...`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: parse error: {text}")]
pub struct ParseError {
    /// Bytes of the query that are at fault.
    pub pos: PosRange,
    /// `line:column` of its start.
    pub place: String,
    /// What is wrong.
    pub text: String,
}

/// Parses and type-checks an expression.
///
/// # Errors
/// The first fault that upstream's parser would report.
pub fn parse(query: &str, options: ParserOptions) -> Result<Expr, ParseError> {
    let mut expr = parser::Parser::new(query, options).expression()?;
    check::Checker { query }.check(&mut expr)?;
    Ok(expr)
}

/// Parses `name{matchers}` and nothing else, as in `match[]`. The matcher of the name comes last.
///
/// # Errors
/// As [`parse`].
pub fn parse_selector(query: &str) -> Result<Vec<Matcher>, ParseError> {
    Ok(parser::Parser::new(query, ParserOptions::default()).selector()?.matchers)
}
