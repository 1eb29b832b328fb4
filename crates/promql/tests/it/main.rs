//! Tests against upstream's verdicts: the parser's corpus and the query scripts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod corpus;
mod script;
mod scripts;
