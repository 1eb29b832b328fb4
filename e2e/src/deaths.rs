//! Queries of death: what is sent to a server that has little memory, and what comes of it. `queries` and `bodies`
//! are the requests, `run` sends them beside ordinary targets and rules.

mod bodies;
mod queries;
mod run;

pub use bodies::{Hostile, bodies};
pub use queries::{Heavy, queries};
pub use run::{Load, Said, Sizes, Talk};
