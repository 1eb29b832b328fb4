//! What whole-process tests share: the binary under test, the real programs beside it, and a client.

pub mod answers;
pub mod http;
pub mod pages;
pub mod process;
