//! Service discovery: mechanisms find targets, a manager merges what they say into one map of jobs and
//! sends it on when it changes (upstream: `discovery/`).
//!
//! `config::SdConfigs` → [`Manager::apply_config`] → one [`Mechanism`] for each distinct configuration →
//! [`TargetSets`] on a channel. A mechanism of another crate implements [`Mechanism`] and enters through
//! [`provider::ProviderConfig`].

pub mod dns;
pub mod file;
pub mod http;
mod manager;
mod metrics;
pub mod provider;
mod refresh;
mod room;

pub use manager::{Manager, Options, TargetSets};
pub use metrics::Metrics;
pub use provider::Mechanism;
pub use room::Room;
