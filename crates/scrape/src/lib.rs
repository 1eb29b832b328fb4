//! Scraping: from target groups to samples in a store.
//!
//! [`Manager`] takes target groups per job and keeps one [`pool`] a job; a pool relabels them into
//! [`target`]s and keeps one task a target, the [`scrape_loop`]; [`ingest`] turns a response body into
//! appends. `net` fetches. Nothing here knows how targets are discovered.

mod clients;
mod duty;
mod failure_log;
mod held;
pub mod ingest;
mod manager;
mod metrics;
mod offset;
mod options;
mod pool;
pub mod populate;
mod report;
mod request;
mod room;
mod scrape_loop;
mod target;
mod threads;
mod waiting;

pub use manager::{Manager, ManagerError, TargetSets};
pub use offset::host_name;
pub use options::Options;
pub use target::{ScrapeStatus, Target, TargetHealth, TargetsByPool};
