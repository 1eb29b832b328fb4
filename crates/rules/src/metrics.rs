//! Figures under upstream's names (`rules/group.go`).

use telemetry::{CounterVec, Gauge, GaugeVec, Histogram, Registry, Summary};

const LABELS: &[&str] = &["rule_group"];
const BOUNDS: &[f64] = &[0.01, 0.1, 1.0, 10.0];

/// Of all groups.
#[derive(Clone)]
pub(crate) struct Metrics {
    pub(crate) rule_seconds: (Summary, Histogram),
    pub(crate) group_seconds: (Summary, Histogram),
    missed: CounterVec,
    scheduled: CounterVec,
    evaluations: CounterVec,
    failures: CounterVec,
    interval: GaugeVec,
    last_evaluation: GaugeVec,
    last_duration: GaugeVec,
    last_rule_sum: GaugeVec,
    last_restore: GaugeVec,
    rules: GaugeVec,
    samples: GaugeVec,
}

/// Of one group.
pub(crate) struct GroupMetrics {
    pub(crate) missed: telemetry::Counter,
    pub(crate) scheduled: telemetry::Counter,
    pub(crate) evaluations: telemetry::Counter,
    pub(crate) failures: telemetry::Counter,
    pub(crate) last_evaluation: Gauge,
    pub(crate) last_duration: Gauge,
    pub(crate) last_rule_sum: Gauge,
    pub(crate) samples: Gauge,
}

impl Metrics {
    pub(crate) fn new(r: &Registry) -> Metrics {
        let counters = |name: &str, help: &str| r.counter_vec(name, help, LABELS);
        let gauges = |name: &str, help: &str| r.gauge_vec(name, help, LABELS);
        Metrics {
            rule_seconds: (
                r.summary(
                    "prometheus_rule_evaluation_duration_seconds",
                    "The duration for a rule to execute.",
                    &[0.5, 0.9, 0.99],
                ),
                r.histogram(
                    "prometheus_rule_evaluation_duration_histogram_seconds",
                    "The duration for a rule to execute.",
                    BOUNDS,
                ),
            ),
            group_seconds: (
                r.summary(
                    "prometheus_rule_group_duration_seconds",
                    "The duration of rule group evaluations.",
                    &[0.01, 0.05, 0.5, 0.9, 0.99],
                ),
                r.histogram(
                    "prometheus_rule_group_duration_histogram_seconds",
                    "The duration of rule group evaluations.",
                    BOUNDS,
                ),
            ),
            missed: counters(
                "prometheus_rule_group_iterations_missed_total",
                "The total number of rule group evaluations missed due to slow rule group evaluation.",
            ),
            scheduled: counters(
                "prometheus_rule_group_iterations_total",
                "The total number of scheduled rule group evaluations, whether executed or missed.",
            ),
            evaluations: counters(
                "prometheus_rule_evaluations_total",
                "The total number of rule evaluations.",
            ),
            failures: counters(
                "prometheus_rule_evaluation_failures_total",
                "The total number of rule evaluation failures.",
            ),
            interval: gauges("prometheus_rule_group_interval_seconds", "The interval of a rule group."),
            last_evaluation: gauges(
                "prometheus_rule_group_last_evaluation_timestamp_seconds",
                "The timestamp of the last rule group evaluation in seconds.",
            ),
            last_duration: gauges(
                "prometheus_rule_group_last_duration_seconds",
                "The duration of the last rule group evaluation.",
            ),
            last_rule_sum: gauges(
                "prometheus_rule_group_last_rule_duration_sum_seconds",
                "The sum of time in seconds it took to evaluate each rule in the group regardless of concurrency. This should be higher than the group duration if rules are evaluated concurrently.",
            ),
            last_restore: gauges(
                "prometheus_rule_group_last_restore_duration_seconds",
                "The duration of the last alert rules alerts restoration using the `ALERTS_FOR_STATE` series.",
            ),
            rules: gauges("prometheus_rule_group_rules", "The number of rules."),
            samples: gauges(
                "prometheus_rule_group_last_evaluation_samples",
                "The number of samples returned during the last rule group evaluation.",
            ),
        }
    }

    /// Those of a group, shown from now on; `key` is its file and name.
    pub(crate) fn begin(&self, key: &str, rules: usize, interval_seconds: f64) -> GroupMetrics {
        self.rules.with(&[key]).set(rules as f64);
        self.interval.with(&[key]).set(interval_seconds);
        GroupMetrics {
            missed: self.missed.with(&[key]),
            scheduled: self.scheduled.with(&[key]),
            evaluations: self.evaluations.with(&[key]),
            failures: self.failures.with(&[key]),
            last_evaluation: self.last_evaluation.with(&[key]),
            last_duration: self.last_duration.with(&[key]),
            last_rule_sum: self.last_rule_sum.with(&[key]),
            samples: self.samples.with(&[key]),
        }
    }

    pub(crate) fn restored(&self, key: &str, seconds: f64) {
        self.last_restore.with(&[key]).set(seconds);
    }

    /// Forgets a group that is gone.
    pub(crate) fn end(&self, key: &str) {
        for counters in [&self.missed, &self.scheduled, &self.evaluations, &self.failures] {
            counters.remove(&[key]);
        }
        let gauges = [
            &self.interval,
            &self.last_evaluation,
            &self.last_duration,
            &self.last_rule_sum,
            &self.last_restore,
            &self.rules,
            &self.samples,
        ];
        gauges.into_iter().for_each(|gauge| gauge.remove(&[key]));
    }
}
