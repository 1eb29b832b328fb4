//! Go's own verdicts against ours.
#![allow(clippy::unwrap_used, clippy::panic)] // tests

mod corpus;
mod limits;
