//! The query engine: from text, time range and a store to a value.

mod error;
mod options;
mod value;

pub use error::QueryError;
pub use options::{EngineOptions, QueryOptions};
pub use value::{MatrixSeries, QueryOutput, QueryStats, SampleValue, Value, VectorSample};

use storage::{CancelToken, Queryable};

use crate::parse;

/// Runs queries. Cheap to clone; clones share limits and metrics. All calls block: give them a thread.
#[derive(Clone, Debug)]
pub struct Engine {
    options: std::sync::Arc<EngineOptions>,
}

impl Engine {
    /// An engine that reports to `registry`.
    #[must_use]
    pub fn new(options: EngineOptions, registry: &telemetry::Registry) -> Self {
        let _ = registry;
        Engine { options: std::sync::Arc::new(options) }
    }

    /// The settings in force.
    #[must_use]
    pub fn options(&self) -> &EngineOptions {
        &self.options
    }

    /// Evaluates an expression at one time.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn instant(
        &self,
        store: &dyn Queryable,
        query: &str,
        t_ms: i64,
        options: &QueryOptions,
        cancel: CancelToken,
    ) -> Result<QueryOutput, QueryError> {
        let _ = (store, t_ms, options, cancel);
        let _ = parse::parse(query, self.options.parser)?;
        Err(QueryError::Execution("engine not built yet".to_string()))
    }

    /// Evaluates an expression at start, start + step, … up to end (inclusive). Times in ms, `step_ms` > 0.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn range(
        &self,
        store: &dyn Queryable,
        query: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
        options: &QueryOptions,
        cancel: CancelToken,
    ) -> Result<QueryOutput, QueryError> {
        let _ = (end_ms, step_ms);
        self.instant(store, query, start_ms, options, cancel)
    }
}
