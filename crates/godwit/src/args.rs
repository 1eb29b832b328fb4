//! The command line of the server: every flag of upstream 3.15, those of 2.x that were retired since, and
//! which program is meant.
//!
//! A table and a small parser of our own instead of clap: upstream's library (kingpin) has `--no-x` for every
//! switch, `--x value` beside `--x=value`, `@file`, values that are printed back by `/api/v1/status/flags`
//! in their own form, and exit codes that tools rely on.

pub mod features;
pub mod help;
pub mod mode;
pub mod parse;
pub mod server;
pub mod table;
pub mod value;

pub use mode::{Mode, choose_mode};
pub use parse::{Parsed, parse};
pub use server::{LogFormat, ServerArgs, WalCompression};
