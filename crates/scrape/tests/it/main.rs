//! The manager over real sockets and a store in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod differential;
mod held;
mod hostile;
mod life;
mod reload;
mod rig;
mod samples;
mod waiting;
