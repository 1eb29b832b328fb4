//! The query engine: from text, time range and a store to a value.
//!
//! ```text
//! text ─parse→ Expr ─plan→ Node + selections ─select→ series ─eval→ rows (series × steps) → Value
//! ```
//! A row is one series over all steps. Leaves read samples in columns and make rows on all cores; inner
//! nodes work on whole rows and fold them in series order, so that results do not depend on the cores.

mod aggregate;
mod annotations;
mod binary;
mod error;
mod eval;
mod explain;
mod extended;
mod functions;
mod gate;
mod histogram_functions;
mod info;
mod labels;
mod math;
mod metrics;
mod natural;
mod options;
mod parallel;
mod plan;
mod range;
mod range_functions;
mod rate;
mod rate_columns;
mod read;
mod row;
mod run;
mod time;
mod value;

pub use error::QueryError;
pub use explain::Explain;
pub use options::{CONCURRENCY, EngineOptions, LOOKBACK_DELTA_MS, MAX_SAMPLES, QueryOptions, TIMEOUT};
pub use run::Engine;
pub use value::{MatrixSeries, QueryOutput, QueryStats, SampleValue, Value, VectorSample};

/// Steps of one evaluation, subqueries included: 2^24 cells of a row are 128 MiB, more than any answer.
const STEPS_MAX: u64 = 1 << 24;
