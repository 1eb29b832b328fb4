//! godwit's own metrics: counters, gauges, histograms and summaries in a registry that is an argument,
//! not a global, so that two servers can run in one process.
//!
//! Own code because Prometheus's self-metrics include summaries, which the official Rust client does not
//! have, and because the encoders are needed for `/federate` anyway.

mod distribution;
mod registry;
mod scalar;

pub use distribution::{Histogram, HistogramVec, Summary, SummaryVec, exponential_buckets};
/// What [`Registry::families_fn`] gives.
pub use exposition::{Family, Metric, MetricData};
pub use registry::Registry;
pub use scalar::{Counter, CounterVec, Gauge, GaugeVec};
