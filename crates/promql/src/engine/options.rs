//! How an engine and one query are set up.

use std::sync::Arc;
use std::time::Duration;

use storage::MemoryGuard;

use crate::parse::ParserOptions;

/// Upstream's default of `--query.lookback-delta`.
pub const LOOKBACK_DELTA_MS: i64 = 5 * 60 * 1000;
/// Upstream's default of `--query.max-samples`.
pub const MAX_SAMPLES: usize = 50_000_000;
/// Upstream's default of `--query.timeout`.
pub const TIMEOUT: Duration = Duration::from_secs(120);
/// Upstream's default of `--query.max-concurrency`.
pub const CONCURRENCY: usize = 20;

/// Settings of an engine.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// How far back an instant selector looks; above 0.
    pub lookback_delta_ms: i64,
    /// Samples that a query may hold at once; 0 for no limit.
    pub max_samples: usize,
    /// Queries end after this.
    pub timeout: Duration,
    /// Bytes that one query may hold.
    pub query_memory_bytes: u64,
    /// Bytes that all queries of this engine together may hold.
    pub total_memory_bytes: u64,
    /// Refuses queries where the process runs short of memory, whatever they were promised. Not for an engine with a
    /// share of its own.
    pub guard: Option<Arc<MemoryGuard>>,
    /// Queries that run at once; others wait. 0 for no limit.
    pub concurrency: usize,
    /// Threads that one query may use; 0 for the number of cores.
    pub threads: usize,
    /// Step of a subquery that names none (the global evaluation interval), above 0.
    pub default_step_ms: i64,
    /// Syntax features.
    pub parser: ParserOptions,
    /// Feature `promql-delayed-name-removal`.
    pub delayed_name_removal: bool,
    /// Feature `type-and-unit-labels`.
    pub type_and_unit_labels: bool,
    /// Feature `use-start-timestamps`.
    pub use_start_timestamps: bool,
    /// Feature `promql-per-step-stats`.
    pub per_step_stats: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            lookback_delta_ms: LOOKBACK_DELTA_MS,
            max_samples: MAX_SAMPLES,
            timeout: TIMEOUT,
            query_memory_bytes: u64::MAX,
            total_memory_bytes: u64::MAX,
            guard: None,
            concurrency: CONCURRENCY,
            threads: 0,
            default_step_ms: 60_000,
            parser: ParserOptions::default(),
            delayed_name_removal: false,
            type_and_unit_labels: false,
            use_start_timestamps: false,
            per_step_stats: false,
        }
    }
}

/// Settings of one query.
#[derive(Clone, Debug, Default)]
pub struct QueryOptions {
    /// Overrides the engine's lookback where above 0.
    pub lookback_delta_ms: i64,
    /// Overrides the engine's timeout where shorter.
    pub timeout: Option<Duration>,
    /// Asks for samples per step; needs the engine's `per_step_stats`.
    pub per_step_stats: bool,
    /// Asks where the time went.
    pub explain: bool,
}
