//! What whole-process tests share: the binary under test, the real programs beside it, and a client.

pub mod answers;
pub mod bomb;
pub mod cage;
pub mod dump;
pub mod http;
pub mod pages;
pub mod process;
pub mod program;
pub mod push;
pub mod usage;
pub mod wait;
