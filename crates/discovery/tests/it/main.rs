//! Discovery against real files, a real HTTP server and a real name server, all of this process.
#![allow(clippy::unwrap_used, clippy::panic)] // tests

mod dns;
mod file;
mod http;
mod manager;
mod support;
