//! A body read into families, for tools: the linter, the text file collector, tests. Scrapes do not take
//! this way.

use std::collections::HashMap;

use model::labels::METRIC_NAME;
use model::{Labels, LabelsBuilder, MetricType};

use crate::event::{Event, SampleValue};
use crate::number::parse_float;
use crate::{Family, Format, Metric, MetricData, ParseError, Parser, ParserOptions};

/// Families in order of first appearance.
#[derive(Default)]
struct Families {
    list: Vec<Family>,
    index: HashMap<String, usize>,
    metrics: HashMap<(usize, Labels), usize>,
}

impl Families {
    fn family(&mut self, name: &str) -> usize {
        if let Some(at) = self.index.get(name) {
            return *at;
        }
        self.list.push(Family { name: name.to_string(), ..Family::default() });
        self.index.insert(name.to_string(), self.list.len() - 1);
        self.list.len() - 1
    }

    /// The family a sample belongs to: of its own name, or of its stem where that is a type with parts.
    fn owner(&mut self, name: &str) -> (usize, &'static str) {
        if !self.index.contains_key(name) {
            for suffix in ["_bucket", "_sum", "_count"] {
                let found = name.strip_suffix(suffix).and_then(|stem| self.index.get(stem)).copied();
                let Some(kind) = found.and_then(|at| self.list.get(at)).map(|f| f.kind) else { continue };
                let parts = match kind {
                    MetricType::Histogram | MetricType::GaugeHistogram => true,
                    MetricType::Summary => suffix != "_bucket",
                    _ => false,
                };
                if let (Some(at), true) = (found, parts) {
                    return (at, suffix);
                }
            }
            // OpenMetrics counters: the family is named without the suffix.
            if let Some(at) = name.strip_suffix("_total").and_then(|stem| self.index.get(stem)) {
                return (*at, "_total");
            }
        }
        (self.family(name), "")
    }

    fn add(
        &mut self,
        labels: &mut LabelsBuilder,
        timestamp_ms: Option<i64>,
        value: SampleValue<'_>,
        start_ms: i64,
    ) {
        let name = labels.get(METRIC_NAME).to_string();
        labels.del(METRIC_NAME);
        let (at, suffix) = self.owner(&name);
        let Some(family) = self.list.get_mut(at) else { return };
        let number = match value {
            SampleValue::Float(v) => v,
            SampleValue::Histogram(h) => {
                let data = MetricData::Native(h.clone());
                family.metrics.push(Metric {
                    labels: labels.build(),
                    timestamp_ms,
                    data,
                    ..Metric::default()
                });
                return;
            }
        };
        let grouped =
            matches!(family.kind, MetricType::Summary | MetricType::Histogram | MetricType::GaugeHistogram);
        let created_ms = (start_ms != 0).then_some(start_ms);
        if !grouped || suffix == "_total" {
            let data = MetricData::Number(number);
            let metric =
                Metric { labels: labels.build(), timestamp_ms, created_ms, data, exemplars: Vec::new() };
            family.metrics.push(metric);
            return;
        }
        let part = if family.kind == MetricType::Summary { "quantile" } else { "le" };
        let bound = parse_float(labels.get(part).as_bytes()).ok();
        labels.del(part);
        let key = (at, labels.build());
        let summary = family.kind == MetricType::Summary;
        let place = *self.metrics.entry(key).or_insert_with_key(|(_, labels)| {
            let data = if summary {
                MetricData::Summary { count: 0, sum: 0.0, quantiles: Vec::new() }
            } else {
                MetricData::Histogram { count: 0, sum: 0.0, buckets: Vec::new() }
            };
            family.metrics.push(Metric {
                labels: labels.clone(),
                timestamp_ms,
                created_ms,
                data,
                exemplars: Vec::new(),
            });
            family.metrics.len() - 1
        });
        match (family.metrics.get_mut(place).map(|m| &mut m.data), suffix, bound) {
            (Some(MetricData::Summary { count, .. } | MetricData::Histogram { count, .. }), "_count", _) => {
                *count = number as u64;
            }
            (Some(MetricData::Summary { sum, .. } | MetricData::Histogram { sum, .. }), "_sum", _) => {
                *sum = number
            }
            (Some(MetricData::Summary { quantiles, .. }), _, Some(q)) => quantiles.push((q, number)),
            (Some(MetricData::Histogram { buckets, .. }), _, Some(le)) if le.is_finite() => {
                buckets.push((le, number as u64));
            }
            _ => {}
        }
    }
}

/// Reads a whole body into families. Float bucket counts of classic histograms are cut to integers.
///
/// # Errors
/// Bytes outside the format, labels that cannot be stored.
pub fn read_families(body: &[u8], format: Format) -> Result<Vec<Family>, ParseError> {
    let options = ParserOptions { native_histograms: true, ..ParserOptions::default() };
    let mut parser = Parser::new(body, format, &options);
    let mut families = Families::default();
    let mut labels = LabelsBuilder::new();
    loop {
        match parser.next()? {
            Event::Eof => return Ok(families.list),
            Event::Comment => {}
            Event::Type { family, kind } => {
                let at = families.family(&family);
                if let Some(f) = families.list.get_mut(at) {
                    f.kind = kind;
                }
            }
            Event::Help { family, help } => {
                let at = families.family(&family);
                if let Some(f) = families.list.get_mut(at) {
                    f.help = help.into_owned();
                }
            }
            Event::Unit { family, unit } => {
                let at = families.family(&family);
                if let Some(f) = families.list.get_mut(at) {
                    f.unit = unit.into_owned();
                }
            }
            Event::Series(s) => {
                let notes = s.source.build(&mut labels).map_err(|e| ParseError {
                    message: format!("invalid metric name or label names: {e}"),
                    line: 0,
                    column: 0,
                })?;
                if let Some(name) = notes.duplicate {
                    let message = format!("label name {name:?} is not unique");
                    return Err(ParseError { message, line: 0, column: 0 });
                }
                families.add(&mut labels, s.timestamp_ms, s.value, s.start_ms);
            }
        }
    }
}
