//! Tests of the crate from outside, against blocks that a real Prometheus wrote.

mod dump;
mod golden;
mod heads;
mod peer;
