//! The server, wired in the order in which data flows: config, store, discovery, scrape, queries, web.

mod auto_reload;
mod duty;
mod features;
mod migration;
mod new_series;
pub mod not_built;
mod parts;
mod readers;
mod run;
mod slow_disk;
mod steps;

pub use run::run;

/// Why the server ended, with the exit code that Prometheus gives.
#[derive(Debug)]
pub struct Failure {
    /// For the log.
    pub text: String,
    /// 1 where it could not go on, 2 where configuration or flags are wrong.
    pub code: u8,
}

impl Failure {
    fn runtime(what: &str, error: impl std::fmt::Display) -> Self {
        Failure { text: format!("{what}: {error}"), code: 1 }
    }
}
