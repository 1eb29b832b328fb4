//! Alerts on their way to Alertmanager: relabeled, queued for each Alertmanager on its own, sent in batches to
//! its API v2. Follows upstream's `notifier/`, with its metrics.
//!
//! - `endpoint`: from discovered targets to URLs.
//! - `relabel`: external labels and relabeling of alerts.
//! - `queue`: what waits for one Alertmanager.
//! - `send_loop`: one task an Alertmanager.
//! - `manager`: groups of Alertmanagers, reloads, the end.
//! - `wire`: the body of a request.

mod endpoint;
mod manager;
mod metrics;
mod queue;
mod relabel;
mod send_loop;
mod wire;

pub use manager::{Alertmanagers, Manager, NotifierError, Options, TargetSets, discovery_sets};
