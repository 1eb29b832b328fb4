//! How much memory the process uses and may use: asked by the store for new series and by scraping for new targets.

use std::sync::Arc;

/// What the process uses and may use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUse {
    /// Bytes used now.
    pub used_bytes: u64,
    /// Bytes that it aims to stay below.
    pub budget_bytes: u64,
}

/// Asks how much memory is used. Called on hot threads: some microseconds at most.
#[derive(Clone)]
pub struct MemoryProbe(pub Arc<dyn Fn() -> MemoryUse + Send + Sync>);

impl std::fmt::Debug for MemoryProbe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MemoryProbe")
    }
}
