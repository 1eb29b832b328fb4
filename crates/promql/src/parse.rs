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
use storage::{Budget, StorageError};

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

/// Bytes of a tree for each byte of its text outside of quotes: `1,` makes an argument, twice, as it is planned.
const TREE_BYTES: u64 = 256;
/// The same within quotes: the text of a matcher and of its expression, which is kept in several forms.
const QUOTED_BYTES: u64 = 16;

/// Bytes that the tree of a text may take, at most, without what its regular expressions compile to.
#[must_use]
pub fn memory_bytes(query: &str) -> u64 {
    let (mut quote, mut escaped, mut quoted) = (None, false, 0);
    for b in query.bytes() {
        match quote {
            None if matches!(b, b'"' | b'\'' | b'`') => quote = Some(b),
            None => {}
            Some(_) if escaped => escaped = false,
            Some(open) if b == open => quote = None,
            Some(open) => escaped = b == b'\\' && open != b'`',
        }
        quoted += u64::from(quote.is_some());
    }
    quoted * QUOTED_BYTES + (query.len() as u64).saturating_sub(quoted) * TREE_BYTES
}

/// Why an expression was not parsed within a budget.
#[derive(Debug, thiserror::Error)]
pub enum ParseFault {
    /// It is malformed.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// There is no memory for it.
    #[error("{0}")]
    Memory(StorageError),
}

/// The same as [`parse`], charged to a budget: the tree, and what regular expressions compile to.
///
/// # Errors
/// See [`ParseFault`].
pub fn parse_within(query: &str, options: ParserOptions, memory: &Budget) -> Result<Expr, ParseFault> {
    memory.charge(memory_bytes(query)).map_err(ParseFault::Memory)?;
    let mut parser = parser::Parser::new(query, options).within(memory);
    let parsed = parser.expression();
    let mut expr = parser.finished(parsed)?;
    check::Checker { query }.check(&mut expr)?;
    Ok(expr)
}

/// The same as [`parse_selector`], charged to a budget.
///
/// # Errors
/// See [`ParseFault`].
pub fn parse_selector_within(query: &str, memory: &Budget) -> Result<Vec<Matcher>, ParseFault> {
    memory.charge(memory_bytes(query)).map_err(ParseFault::Memory)?;
    let mut parser = parser::Parser::new(query, ParserOptions::default()).within(memory);
    let parsed = parser.selector();
    Ok(parser.finished(parsed)?.matchers)
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
