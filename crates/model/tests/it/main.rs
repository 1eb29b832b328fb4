//! What Go and upstream's own packages say, against ours. Made by the programs in `testdata/gen`.
#![allow(clippy::unwrap_used, clippy::panic)] // tests

mod floats;
mod names;
mod relabel;
