//! Go's regular expressions (RE2 syntax as `regexp/syntax` parses it) on the `regex-automata` engine.
//!
//! Upstream's behaviour is Go's: which patterns are accepted, what the error says, what matches, how
//! `$1` expands. The `regex` crate differs in all four, so only its engine is used here.

mod error;
mod expand;
mod regex;
pub mod unicode;

pub use error::Error;
pub use regex::{Captures, Regex};
