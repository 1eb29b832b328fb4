//! Whole-process tests on the real binary; each file is one subject.

mod default_job;
mod docs;
mod folders;
mod lifecycle;
mod same_pages;
