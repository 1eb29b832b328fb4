//! Collects samples into families, and names what goes wrong on the way.

use std::collections::BTreeMap;

use exposition::{Family, Metric, MetricData};
use model::{Labels, MetricType};

/// Why one collector gave nothing or not everything.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CollectError {
    /// The kernel does not offer this.
    #[error("no data: {0}")]
    NoData(String),
    /// A file could not be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Cause.
        source: std::io::Error,
    },
    /// A file is not as the kernel documents it.
    #[error("{path}: {what}")]
    Format {
        /// The file.
        path: String,
        /// What is wrong.
        what: String,
    },
}

pub(crate) type CollectResult = Result<(), CollectError>;

/// Families under construction.
#[derive(Default)]
pub(crate) struct Output {
    families: BTreeMap<String, Family>,
}

impl Output {
    pub(crate) fn gauge(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.sample(MetricType::Gauge, name, help, labels, value);
    }

    pub(crate) fn counter(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.sample(MetricType::Counter, name, help, labels, value);
    }

    pub(crate) fn untyped(&mut self, name: &str, help: &str, value: f64) {
        self.sample(MetricType::Unknown, name, help, &[], value);
    }

    pub(crate) fn sample(
        &mut self,
        kind: MetricType,
        name: &str,
        help: &str,
        labels: &[(&str, &str)],
        value: f64,
    ) {
        let metric = Metric {
            labels: Labels::from_pairs(labels.iter().copied()),
            data: MetricData::Number(value),
            ..Metric::default()
        };
        self.family(name, help, kind).metrics.push(metric);
    }

    /// The family of this name, made on first use.
    pub(crate) fn family(&mut self, name: &str, help: &str, kind: MetricType) -> &mut Family {
        self.families.entry(name.to_string()).or_insert_with(|| Family {
            name: name.to_string(),
            help: help.to_string(),
            kind,
            ..Family::default()
        })
    }

    pub(crate) fn into_families(self) -> Vec<Family> {
        self.families.into_values().collect()
    }
}
