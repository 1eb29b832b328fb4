//! Metric families as they are written out: what `/metrics` and `/federate` hand to an encoder.

use model::{Exemplar, HistogramValue, Labels, MetricType};

/// One family: everything under one TYPE line.
#[derive(Clone, Debug, Default)]
pub struct Family {
    /// Name as declared in TYPE; counters carry `_total` in their samples' name where they have it.
    pub name: String,
    /// HELP, "" for none.
    pub help: String,
    /// UNIT, "" for none.
    pub unit: String,
    /// TYPE.
    pub kind: MetricType,
    /// Its metrics.
    pub metrics: Vec<Metric>,
}

/// One label set of a family.
#[derive(Clone, Debug, Default)]
pub struct Metric {
    /// Labels without the name.
    pub labels: Labels,
    /// Time, where the writer gives one.
    pub timestamp_ms: Option<i64>,
    /// Created timestamp, where known.
    pub created_ms: Option<i64>,
    /// Value or values.
    pub data: MetricData,
    /// Exemplars: one for a counter, one a bucket for a histogram.
    pub exemplars: Vec<Exemplar>,
}

/// What a metric holds.
#[derive(Clone, Debug)]
pub enum MetricData {
    /// Counter, gauge, info, stateset, unknown.
    Number(f64),
    /// Summary.
    Summary {
        /// Observations.
        count: u64,
        /// Their sum.
        sum: f64,
        /// (quantile, value).
        quantiles: Vec<(f64, f64)>,
    },
    /// Classic histogram.
    Histogram {
        /// Observations.
        count: u64,
        /// Their sum.
        sum: f64,
        /// (upper bound, cumulative count), without the +Inf bucket.
        buckets: Vec<(f64, u64)>,
    },
    /// Native histogram (written in protobuf; text formats have no form for it).
    Native(HistogramValue),
}

impl Default for MetricData {
    fn default() -> Self {
        MetricData::Number(0.0)
    }
}
