//! What whole-process tests share: the binary under test, the real programs beside it, and a client.

pub mod answers;
pub mod bomb;
pub mod cage;
pub mod deaths;
pub mod differential;
pub mod dump;
pub mod faults;
pub mod http;
pub mod kills;
pub mod ledger;
pub mod options;
pub mod pages;
pub mod power;
pub mod process;
pub mod program;
pub mod push;
pub mod subject;
pub mod turns;
pub mod usage;
pub mod wait;
