//! The formats in which metrics travel: text 0.0.4 and 1.0.0, OpenMetrics 0.0.1 and 1.0.0, and
//! Prometheus's protobuf; read from targets, written for `/metrics` and `/federate`.

mod family;

pub use family::{Family, Metric, MetricData};
