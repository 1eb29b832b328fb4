//! The machine's own metrics, with node_exporter's names, labels and types, so that node dashboards and
//! rules work without a second process. Linux only: everything comes from `/proc`, `/sys` and `statfs`.
//!
//! Follows node_exporter 1.11 with its default flags; compared with a real one by a test.

mod collector;
mod cpu;
mod disk;
mod files;
mod filesystem;
mod kernel;
mod memory;
mod network;
mod output;
mod sockets;
mod textfile;
mod time;

pub use collector::{HostCollector, HostOptions};
