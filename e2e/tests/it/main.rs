//! Whole-process tests on the real binary; each file is one subject.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail as tests do"
)]

mod admin;
mod alerts;
mod api;
mod api_table;
mod before_open;
mod bomb;
mod check;
mod crash;
mod deaths;
mod default_job;
mod differential;
mod disks;
mod docs;
mod faults;
mod floods;
mod folders;
mod handed_on;
mod handover;
mod lifecycle;
mod migrate;
mod notifications;
mod offline;
mod otlp;
mod power;
mod promtool;
mod promtool_commands;
mod query_log;
mod reload_load;
mod remote_write;
mod rule_tests;
mod rules;
mod rules_of_the_past;
mod same_pages;
mod takeovers;
mod tsdb_commands;
mod turns;
