//! Go's regular expressions (RE2 syntax as `regexp/syntax` parses it) on the `regex-automata` engine.
//!
//! Upstream's behaviour is Go's: which patterns are accepted, what the error says, what matches, how
//! `$1` expands. The `regex` crate differs in all four, so only its engine is used here.
//!
//! pattern → [`parse`] → tree ([`ast`]) → [`shortcut`] and, where that does not decide, [`translate`] →
//! automaton. [`Regex`] is what the other crates see.

mod ast;
mod classes;
mod error;
mod escape;
mod expand;
mod parse;
mod regex;
mod shortcut;
mod translate;
pub mod unicode;

pub use error::{Error, ErrorKind};
pub use regex::{Captures, Regex};
pub use translate::NFA_BYTES_MAX;
