//! What a query gives back.

use std::sync::Arc;

use model::{FloatHistogram, Labels};
use storage::Budget;

use super::explain::Explain;
use crate::parse::ValueType;

/// One value of a result.
#[derive(Clone, Debug, PartialEq)]
pub enum SampleValue {
    /// A number.
    Float(f64),
    /// A native histogram.
    Histogram(Arc<FloatHistogram>),
}

/// A series of an instant vector.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSample {
    /// Labels.
    pub labels: Labels,
    /// Time of the evaluation, ms.
    pub t_ms: i64,
    /// Value.
    pub value: SampleValue,
}

/// A series of a range vector. Floats and histograms never share a time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MatrixSeries {
    /// Labels.
    pub labels: Labels,
    /// (ms, value), ascending.
    pub floats: Vec<(i64, f64)>,
    /// (ms, histogram), ascending.
    pub histograms: Vec<(i64, Arc<FloatHistogram>)>,
}

/// The result of a query.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// One number.
    Scalar {
        /// Time of the evaluation, ms.
        t_ms: i64,
        /// Value.
        value: f64,
    },
    /// One text.
    String {
        /// Time of the evaluation, ms.
        t_ms: i64,
        /// Value.
        value: String,
    },
    /// Instant vector, in the order the query asks for.
    Vector(Vec<VectorSample>),
    /// Range vector, sorted by labels.
    Matrix(Vec<MatrixSeries>),
}

impl Value {
    /// The API's `resultType`.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        match self {
            Value::Scalar { .. } => ValueType::Scalar,
            Value::String { .. } => ValueType::String,
            Value::Vector(_) => ValueType::Vector,
            Value::Matrix(_) => ValueType::Matrix,
        }
    }
}

/// Figures of one query; times in seconds.
#[derive(Clone, Debug, Default)]
pub struct QueryStats {
    /// Waiting for a slot.
    pub queue_seconds: f64,
    /// Selecting series.
    pub prepare_seconds: f64,
    /// Evaluating.
    pub eval_seconds: f64,
    /// Sorting the result.
    pub sort_seconds: f64,
    /// All together.
    pub total_seconds: f64,
    /// Samples that evaluations looked at, each window in full (`totalQueryableSamples`).
    pub samples_total: u64,
    /// The same by step, where asked for.
    pub samples_per_step: Option<Vec<(i64, u64)>>,
    /// Most samples held at once (`peakSamples`).
    pub samples_peak: u64,
    /// Samples decoded from the store, each once.
    pub samples_read: u64,
    /// Most bytes held at once.
    pub bytes_peak: u64,
    /// Where the time went, where asked for.
    pub explain: Option<Box<Explain>>,
}

/// Result of a query with all that belongs to it.
#[derive(Clone, Debug)]
pub struct QueryOutput {
    /// Result.
    pub value: Value,
    /// Warnings, upstream's texts with `(line:column)`, sorted.
    pub warnings: Vec<String>,
    /// Infos, upstream's texts with `(line:column)`, sorted.
    pub infos: Vec<String>,
    /// Figures.
    pub stats: QueryStats,
    /// What the query may hold; the result is charged to it until this goes.
    pub memory: Arc<Budget>,
}
