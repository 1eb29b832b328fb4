//! Go's `text/template` language: labels and annotations of alerts, and consoles, are written in it.
//!
//! [`parse`] turns a text into a tree, with the checks that Go makes before a template runs.

mod ast;
mod functions;
mod lexer;
mod literal;
mod parser;

pub use ast::{Arg, Branch, Command, Node, Number, Pipe, Template};
pub use functions::{BUILTINS, PROMETHEUS, is_known};
pub use parser::{NESTING_MAX, TemplateError, parse};
