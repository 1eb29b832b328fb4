//! Tests of the crate from outside, against blocks that a real Prometheus wrote.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod chunking;
mod dump;
mod golden;
mod heads;
mod late;
mod peer;
mod sim;
mod stale;
