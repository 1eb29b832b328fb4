//! Taking over a running Prometheus without losing a sample.
//!
//! Map: `pin` keeps the files of a source from going while they are copied, by hard links; `follow` reads a log that
//! another process writes; `apply` puts what it says into our own store; `audit` finds what was
//! deleted there while nobody looked; `fetch` brings blocks over, newest first;
//! `throttle` caps that;
//! `verify` compares both sides; `source` is what all of it needs of the other side, `wire` that over a network, `offline` that of a folder or archive that nobody writes; `engine` is all of them in order, and goes on after a kill from what `state` has on disk.
//!
//! What is taken is a closed set: the blocks at the time of the pin, and the log from there on. A sample that was
//! committed before the pin is in one of them, as the log is pinned first and Prometheus cuts it only when a block
//! with the samples is there. What the source compacts later is in that set already.

mod apply;
mod audit;
mod blocks;
mod engine;
mod error;
mod fetch;
mod follow;
mod look;
mod offline;
mod origin;
mod pin;
mod plan;
mod source;
mod state;
mod throttle;
mod verify;
pub mod wire;

pub use apply::{Applied, Apply};
pub use blocks::list_blocks;
pub use engine::{Engine, Progress, Stage};
pub use error::MigrateError;
pub use follow::{Follower, Place};
pub use look::Facts;
pub use offline::StillDoor;
pub use origin::{Origin, Unpacking};
pub use pin::{Pin, PinnedLog};
pub use plan::{Check, Plan, Verdict, plan};
pub use source::{Door, LocalDoor, Machine, Place as Kept, Source, Who};
pub use state::State;
pub use verify::{Counts, Difference, Digest, Report};
