//! Whole-process tests on the real binary; each file is one subject.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests fail as tests do")]

mod default_job;
mod docs;
mod folders;
mod lifecycle;
mod same_pages;
