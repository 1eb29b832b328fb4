//! Text 0.0.4 and OpenMetrics 1.0.0. Native histograms have no form there: they show as a count, a sum and
//! the infinite bucket.

use std::fmt::Write as _;

use model::name::{EscapingScheme, is_legacy_metric_name};
use model::{Exemplar, HistogramValue, MetricType};

use super::{Head, is_histogram, labels};
use crate::number::{write_go_float, write_openmetrics_float};
use crate::{Metric, MetricData};

/// A sample's value: counts print without a point even in OpenMetrics.
enum Number {
    Float(f64),
    Count(u64),
}

struct Writer<'o> {
    out: &'o mut String,
    openmetrics: bool,
    escaping: EscapingScheme,
}

pub(super) fn write(out: &mut String, head: &Head<'_>, openmetrics: bool, escaping: EscapingScheme) {
    let family = head.family;
    if family.metrics.is_empty() {
        return;
    }
    let mut w = Writer { out, openmetrics, escaping };
    let counter = family.kind == MetricType::Counter;
    let total = head.name.strip_suffix("_total");
    // OpenMetrics names a counter's family without the suffix that its samples must have.
    let name = match total {
        Some(stem) if openmetrics && counter => stem,
        _ => &head.name,
    };
    if !family.help.is_empty() {
        w.comment("HELP", name, &family.help);
    }
    let kind = match family.kind {
        MetricType::Counter if openmetrics && total.is_none() => "unknown",
        MetricType::Counter => "counter",
        MetricType::Gauge => "gauge",
        MetricType::Summary => "summary",
        MetricType::Histogram => "histogram",
        MetricType::GaugeHistogram if openmetrics => "gaugehistogram",
        MetricType::GaugeHistogram => "histogram",
        MetricType::Info if openmetrics => "info",
        MetricType::Stateset if openmetrics => "stateset",
        MetricType::Info | MetricType::Stateset => "gauge",
        MetricType::Unknown if openmetrics => "unknown",
        MetricType::Unknown => "untyped",
    };
    w.out.push_str("# TYPE ");
    w.name(name);
    w.out.push(' ');
    w.out.push_str(kind);
    w.out.push('\n');
    if openmetrics && !family.unit.is_empty() {
        w.comment("UNIT", name, &family.unit);
    }
    for metric in &family.metrics {
        w.metric(&head.name, family.kind, metric);
    }
}

impl Writer<'_> {
    fn comment(&mut self, word: &str, name: &str, text: &str) {
        let _ = write!(self.out, "# {word} ");
        self.name(name);
        self.out.push(' ');
        self.escaped(text, self.openmetrics);
        self.out.push('\n');
    }

    fn escaped(&mut self, text: &str, quotes: bool) {
        for c in text.chars() {
            match c {
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '"' if quotes => self.out.push_str("\\\""),
                c => self.out.push(c),
            }
        }
    }

    /// A name, quoted where it is not a legacy one.
    fn name(&mut self, name: &str) {
        if is_legacy_metric_name(name) {
            self.out.push_str(name);
        } else {
            self.out.push('"');
            self.escaped(name, true);
            self.out.push('"');
        }
    }

    fn float(&mut self, v: f64) {
        if self.openmetrics {
            // Negative zero prints as zero there.
            write_openmetrics_float(self.out, if v == 0.0 { 0.0 } else { v });
        } else {
            write_go_float(self.out, if v == 0.0 { 0.0 } else { v });
        }
    }

    fn metric(&mut self, name: &str, kind: MetricType, metric: &Metric) {
        let exemplar = |i: usize| metric.exemplars.get(i);
        match &metric.data {
            MetricData::Number(v) => {
                let exemplar = exemplar(0).filter(|_| kind == MetricType::Counter);
                self.sample(name, "", metric, None, Number::Float(*v), exemplar);
            }
            MetricData::Summary { count, sum, quantiles } => {
                for (quantile, value) in quantiles {
                    self.sample(name, "", metric, Some(("quantile", *quantile)), Number::Float(*value), None);
                }
                self.sample(name, "_sum", metric, None, Number::Float(*sum), None);
                self.sample(name, "_count", metric, None, Number::Count(*count), None);
            }
            MetricData::Histogram { count, sum, buckets } => {
                let mut below = f64::NEG_INFINITY;
                for (upper, cumulative) in buckets {
                    let exemplar = bucket_exemplar(&metric.exemplars, below, *upper);
                    let le = Some(("le", *upper));
                    self.sample(name, "_bucket", metric, le, Number::Count(*cumulative), exemplar);
                    below = *upper;
                }
                if below != f64::INFINITY {
                    let exemplar = bucket_exemplar(&metric.exemplars, below, f64::INFINITY);
                    let le = Some(("le", f64::INFINITY));
                    self.sample(name, "_bucket", metric, le, Number::Count(*count), exemplar);
                }
                self.sample(name, "_sum", metric, None, Number::Float(*sum), None);
                self.sample(name, "_count", metric, None, Number::Count(*count), None);
            }
            MetricData::Native(h) => {
                let le = Some(("le", f64::INFINITY));
                let (count, sum) = match h {
                    HistogramValue::Int(h) => (Number::Count(h.count), h.sum),
                    HistogramValue::Float(h) => (Number::Float(h.count), h.sum),
                };
                let again = match &count {
                    Number::Count(n) => Number::Count(*n),
                    Number::Float(v) => Number::Float(*v),
                };
                self.sample(name, "_bucket", metric, le, count, None);
                self.sample(name, "_sum", metric, None, Number::Float(sum), None);
                self.sample(name, "_count", metric, None, again, None);
            }
        }
        debug_assert!(is_histogram(kind) || !matches!(metric.data, MetricData::Histogram { .. }));
    }

    fn sample(
        &mut self,
        name: &str,
        suffix: &str,
        metric: &Metric,
        own: Option<(&str, f64)>,
        value: Number,
        exemplar: Option<&Exemplar>,
    ) {
        let legacy = is_legacy_metric_name(name);
        let mut separator = '{';
        if legacy {
            self.out.push_str(name);
            self.out.push_str(suffix);
        } else {
            self.out.push_str("{\"");
            self.escaped(name, true);
            self.out.push_str(suffix);
            self.out.push('"');
            separator = ',';
        }
        for (label, text) in labels(metric, self.escaping) {
            self.out.push(std::mem::replace(&mut separator, ','));
            self.name(&label);
            self.out.push_str("=\"");
            self.escaped(text, true);
            self.out.push('"');
        }
        if let Some((label, bound)) = own {
            self.out.push(std::mem::replace(&mut separator, ','));
            let _ = write!(self.out, "{label}=\"");
            self.float(bound);
            self.out.push('"');
        }
        if separator == ',' {
            self.out.push('}');
        }
        self.out.push(' ');
        match value {
            Number::Float(v) => self.float(v),
            Number::Count(n) if self.openmetrics => {
                let _ = write!(self.out, "{n}");
            }
            Number::Count(n) => self.float(n as f64),
        }
        if let Some(t) = metric.timestamp_ms {
            self.out.push(' ');
            if self.openmetrics {
                self.float(t as f64 / 1000.0);
            } else {
                let _ = write!(self.out, "{t}");
            }
        }
        if let Some(e) = exemplar.filter(|e| self.openmetrics && !e.labels.is_empty()) {
            self.exemplar(e);
        }
        self.out.push('\n');
    }

    fn exemplar(&mut self, e: &Exemplar) {
        self.out.push_str(" # ");
        let mut separator = '{';
        for (name, value) in &e.labels {
            self.out.push(std::mem::replace(&mut separator, ','));
            self.name(name);
            self.out.push_str("=\"");
            self.escaped(value, true);
            self.out.push('"');
        }
        self.out.push_str("} ");
        self.float(e.value);
        if e.has_timestamp {
            self.out.push(' ');
            self.float(e.timestamp_ms as f64 / 1000.0);
        }
    }
}

/// The exemplar whose value lies in a bucket: they are kept without their bucket.
fn bucket_exemplar(exemplars: &[Exemplar], below: f64, upper: f64) -> Option<&Exemplar> {
    exemplars.iter().find(|e| e.value > below && e.value <= upper)
}
