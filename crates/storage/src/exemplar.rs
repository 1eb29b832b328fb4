//! Reading exemplars.

use model::{Exemplar, Labels, Matcher};

use crate::{QueryContext, StorageError};

/// Exemplars of one series, oldest first.
#[derive(Clone, Debug)]
pub struct ExemplarSeries {
    /// The series.
    pub labels: Labels,
    /// Its exemplars.
    pub exemplars: Vec<Exemplar>,
}

/// A store of exemplars.
pub trait ExemplarQueryable: Send + Sync {
    /// Exemplars within [start_ms, end_ms] of series that match any of the matcher sets, sorted by labels.
    ///
    /// # Errors
    /// Not ready, cancelled, over budget.
    fn select_exemplars(
        &self,
        ctx: &QueryContext,
        start_ms: i64,
        end_ms: i64,
        matchers: &[Vec<Matcher>],
    ) -> Result<Vec<ExemplarSeries>, StorageError>;
}
