//! Warnings and infos: collected by text, so that a million equal ones are one, and printed with the
//! place in the query. Texts are upstream's (`util/annotations`), which dashboards and tests match.

use std::collections::BTreeMap;

use crate::parse::PosRange;
use crate::parse::text::go_quote;
use model::float_text::{format_g as go_v, format_g_precision};

const WARNING: &str = "PromQL warning: ";
const INFO: &str = "PromQL info: ";
const MONOTONICITY: &str = "input to histogram_quantile needed to be fixed for monotonicity (see \
     https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile)";

/// What was going on when histograms met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HistogramOperation {
    Add,
    Sub,
    Aggregate,
}

impl HistogramOperation {
    fn as_str(self) -> &'static str {
        match self {
            HistogramOperation::Add => "addition",
            HistogramOperation::Sub => "subtraction",
            HistogramOperation::Aggregate => "aggregation",
        }
    }
}

#[derive(Clone, Debug)]
enum Detail {
    Plain,
    Monotonicity { min_t: i64, max_t: i64, min_bucket: f64, max_bucket: f64, max_diff: f64, count: u64 },
    Overlap { count: u64 },
}

#[derive(Clone, Debug)]
struct Note {
    pos: Option<PosRange>,
    detail: Detail,
}

/// A set of warnings and infos.
#[derive(Clone, Debug, Default)]
pub(crate) struct Annotations(BTreeMap<String, Note>);

fn with_metric(text: String, metric: &str) -> String {
    if metric.is_empty() { text } else { format!("{text} for metric name {}", go_quote(metric)) }
}

impl Annotations {
    fn insert(&mut self, text: String, note: Note) {
        let Some(old) = self.0.get_mut(&text) else {
            self.0.insert(text, note);
            return;
        };
        match (&mut old.detail, note.detail) {
            (
                Detail::Monotonicity { min_t, max_t, min_bucket, max_bucket, max_diff, count },
                Detail::Monotonicity {
                    min_t: t0,
                    max_t: t1,
                    min_bucket: b0,
                    max_bucket: b1,
                    max_diff: d,
                    count: n,
                },
            ) => {
                *min_t = (*min_t).min(t0);
                *max_t = (*max_t).max(t1);
                *min_bucket = min_bucket.min(b0);
                *max_bucket = max_bucket.max(b1);
                *max_diff = max_diff.max(d);
                *count += n + 1;
            }
            (Detail::Overlap { count }, Detail::Overlap { count: n }) => *count += n,
            // The newest place wins, as upstream.
            _ => old.pos = note.pos,
        }
    }

    fn plain(&mut self, text: String, pos: PosRange) {
        self.insert(text, Note { pos: Some(pos), detail: Detail::Plain });
    }

    fn warn(&mut self, text: impl AsRef<str>, pos: PosRange) {
        self.plain(format!("{WARNING}{}", text.as_ref()), pos);
    }

    fn info(&mut self, text: impl AsRef<str>, pos: PosRange) {
        self.plain(format!("{INFO}{}", text.as_ref()), pos);
    }

    pub(crate) fn merge(&mut self, other: Annotations) {
        for (text, note) in other.0 {
            self.insert(text, note);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A warning of the store, without a place.
    pub(crate) fn storage(&mut self, text: String) {
        self.0.insert(text, Note { pos: None, detail: Detail::Plain });
    }

    /// (warnings, infos), sorted.
    pub(crate) fn texts(&self, query: &str) -> (Vec<String>, Vec<String>) {
        let (mut warnings, mut infos) = (Vec::new(), Vec::new());
        for (text, note) in &self.0 {
            let place = note.pos.map(|p| p.line_col(query));
            let full = match (&note.detail, place) {
                (Detail::Plain, None) => text.clone(),
                (Detail::Plain, Some(place)) => format!("{text} ({place})"),
                (Detail::Monotonicity { min_t, max_t, min_bucket, max_bucket, max_diff, count }, place) => {
                    format!(
                        "{text}, from buckets {} to {}, with a max diff of {}, over {} samples from {} to {} ({})",
                        go_v(*min_bucket),
                        go_v(*max_bucket),
                        format_g_precision(*max_diff, 2),
                        count + 1,
                        super::time::rfc3339_seconds(*min_t),
                        super::time::rfc3339_seconds(*max_t),
                        place.unwrap_or_default()
                    )
                }
                (Detail::Overlap { count }, place) => {
                    let (base, metric) = text.split_once('\u{0}').unwrap_or((text, ""));
                    let times = if *count > 1 { format!(" ({count} occurrences)") } else { String::new() };
                    format!("{base} for metric {}{times} ({})", go_quote(metric), place.unwrap_or_default())
                }
            };
            if text.starts_with(INFO) { infos.push(full) } else { warnings.push(full) }
        }
        (warnings, infos)
    }

    pub(crate) fn invalid_quantile(&mut self, q: f64, pos: PosRange) {
        self.warn(format!("quantile value should be between 0 and 1, got {}", go_v(q)), pos);
    }
    pub(crate) fn invalid_ratio(&mut self, r: f64, cap: f64, pos: PosRange) {
        let text =
            format!("ratio value should be between -1 and 1, got {}, capping to {}", go_v(r), go_v(cap));
        self.warn(text, pos);
    }
    pub(crate) fn bad_bucket_label(&mut self, metric: &str, label: &str, pos: PosRange) {
        let text = format!("bucket label \"le\" is missing or has a malformed value of {}", go_quote(label));
        self.warn(with_metric(text, metric), pos);
    }
    pub(crate) fn mixed_floats_histograms(&mut self, metric: &str, pos: PosRange) {
        self.warn(
            format!("encountered a mix of histograms and floats for metric name {}", go_quote(metric)),
            pos,
        );
    }
    pub(crate) fn mixed_floats_histograms_agg(&mut self, pos: PosRange) {
        self.warn("encountered a mix of histograms and floats for aggregation", pos);
    }
    pub(crate) fn mixed_classic_native(&mut self, metric: &str, pos: PosRange) {
        let text = "vector contains a mix of classic and native histograms".to_string();
        self.warn(with_metric(text, metric), pos);
    }
    pub(crate) fn native_not_counter(&mut self, metric: &str, pos: PosRange) {
        self.warn(format!("this native histogram metric is not a counter: {}", go_quote(metric)), pos);
    }
    pub(crate) fn native_not_gauge(&mut self, metric: &str, pos: PosRange) {
        self.warn(format!("this native histogram metric is not a gauge: {}", go_quote(metric)), pos);
    }
    pub(crate) fn mixed_exponential_custom(&mut self, metric: &str, pos: PosRange) {
        let text =
            "vector contains a mix of histograms with exponential and custom buckets schemas for metric name";
        self.warn(format!("{text} {}", go_quote(metric)), pos);
    }
    pub(crate) fn incompatible_layout(&mut self, op: &str, pos: PosRange) {
        self.warn(format!("incompatible bucket layout encountered for binary operator {op}"), pos);
    }
    pub(crate) fn sort_in_range(&mut self, pos: PosRange) {
        self.warn("sort is ineffective for range queries since results are always ordered by labels", pos);
    }
    pub(crate) fn possible_non_counter(&mut self, metric: &str, pos: PosRange) {
        let text = "metric might not be a counter, name does not end in _total/_sum/_count/_bucket:";
        self.info(format!("{text} {}", go_quote(metric)), pos);
    }
    pub(crate) fn possible_non_counter_label(&mut self, metric: &str, label: &str, pos: PosRange) {
        let text =
            "metric might not be a counter, __type__ label is not set to \"counter\" or \"histogram\", got";
        self.info(format!("{text} {}: {}", go_quote(label), go_quote(metric)), pos);
    }
    pub(crate) fn forced_monotonicity(
        &mut self,
        metric: &str,
        t_ms: i64,
        (min_bucket, max_bucket, max_diff): (f64, f64, f64),
        pos: PosRange,
    ) {
        let text = with_metric(format!("{INFO}{MONOTONICITY}"), metric);
        let detail =
            Detail::Monotonicity { min_t: t_ms, max_t: t_ms, min_bucket, max_bucket, max_diff, count: 0 };
        self.insert(text, Note { pos: Some(pos), detail });
    }
    pub(crate) fn incompatible_types(&mut self, left: &str, op: &str, right: &str, pos: PosRange) {
        let text = "incompatible sample types encountered for binary operator";
        self.info(format!("{text} {}: {left} {op} {right}", go_quote(op)), pos);
    }
    pub(crate) fn histogram_ignored(&mut self, aggregation: &str, pos: PosRange) {
        self.info(format!("ignored histogram in {aggregation} aggregation"), pos);
    }
    pub(crate) fn histogram_ignored_in_range(&mut self, metric: &str, pos: PosRange) {
        let text = "ignored histograms in a range containing both floats and histograms for metric name";
        self.info(format!("{text} {}", go_quote(metric)), pos);
    }
    pub(crate) fn quantile_nan_result(&mut self, metric: &str, pos: PosRange) {
        let text = "input to histogram_quantile has NaN observations, result is NaN".to_string();
        self.info(with_metric(text, metric), pos);
    }
    pub(crate) fn quantile_nan_skew(&mut self, metric: &str, pos: PosRange) {
        let text = "input to histogram_quantile has NaN observations, result is skewed higher".to_string();
        self.info(with_metric(text, metric), pos);
    }
    pub(crate) fn fraction_nans(&mut self, metric: &str, pos: PosRange) {
        let text = "input to histogram_fraction has NaN observations, which are excluded from all fractions";
        self.info(with_metric(text.to_string(), metric), pos);
    }
    pub(crate) fn reset_collision(&mut self, operation: HistogramOperation, pos: PosRange) {
        self.warn(format!("conflicting counter resets during histogram {}", operation.as_str()), pos);
    }
    pub(crate) fn mismatched_custom_buckets(&mut self, operation: HistogramOperation, pos: PosRange) {
        self.info(format!("mismatched custom buckets were reconciled during {}", operation.as_str()), pos);
    }
    pub(crate) fn start_overlap(&mut self, metric: &str, pos: PosRange) {
        // The metric is part of the key but printed last; a NUL keeps the two apart.
        let base = "sample has start time that overlaps with previous sample timestamp";
        let text = format!("{WARNING}{base}\u{0}{metric}");
        self.insert(text, Note { pos: Some(pos), detail: Detail::Overlap { count: 1 } });
    }
}
