//! Checks on the project itself: what ARCHITECTURE.md and STYLE.md promise and a compiler does not see.

pub mod edges;
pub mod files;
pub mod licences;
pub mod metadata;
