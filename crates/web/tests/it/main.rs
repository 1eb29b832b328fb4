//! The router over a store in memory: answers compared with those that a real Prometheus gave to the same
//! calls over the same data.
//!
//! `testdata/golden.json` holds its recorded answers. With `GODWIT_TEST_PROMETHEUS` naming a Prometheus
//! binary the calls are also made to that one; with `GODWIT_TEST_RECORD=1` its answers are written there.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod calls;
mod golden;
mod life;
mod oracle;
mod parts;
mod writes;
