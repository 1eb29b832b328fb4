//! Whole-process tests on the real binary; each file is one subject.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail as tests do"
)]

mod admin;
mod api;
mod before_open;
mod bomb;
mod check;
mod crash;
mod default_job;
mod disks;
mod docs;
mod faults;
mod floods;
mod folders;
mod handed_on;
mod lifecycle;
mod notifications;
mod power;
mod promtool;
mod reload_load;
mod same_pages;
mod tsdb_commands;
mod turns;
