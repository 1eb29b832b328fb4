//! Migrations between two stores on one disk.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr)]

mod offline;
mod pieces;
mod schedules;
mod served;
mod verify;
