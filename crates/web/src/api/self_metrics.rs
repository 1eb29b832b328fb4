//! `/status/self_metrics`: godwit's own families as the JSON form of their protobuf messages.

use exposition::{Family, Metric, MetricData};
use model::{MatchOp, Matcher, MetricType};

use super::Call;
use crate::json::Json;
use crate::respond::{Answer, ApiError, ApiResult};
use crate::state::State;

pub(super) fn families(state: &State, call: &Call) -> ApiResult {
    let filter = match call.form.get("metric_name_pattern") {
        "" => None,
        pattern => Some(Matcher::new(MatchOp::Regex, "__name__", pattern).map_err(|e| {
            // Upstream compiles it with its anchors, which its errors show.
            let anchored = Matcher::new(MatchOp::Regex, "__name__", format!("^(?:{pattern})$"));
            let e = anchored.err().map_or_else(|| e.to_string(), |e| e.to_string());
            ApiError::bad_data(format!("invalid metric_name_pattern: {e}"))
        })?),
    };
    let all = state.parts.registry.gather();
    let wanted = all.iter().filter(|f| filter.as_ref().is_none_or(|m| m.matches(&f.name)));
    let mut answer = Answer::with_capacity(1 << 16);
    answer.json.list(wanted, write_family);
    Ok(answer.done())
}

fn kind(f: &Family) -> &'static str {
    match f.kind {
        MetricType::Counter => "COUNTER",
        MetricType::Gauge | MetricType::Info | MetricType::Stateset => "GAUGE",
        MetricType::Summary => "SUMMARY",
        MetricType::Histogram => "HISTOGRAM",
        MetricType::GaugeHistogram => "GAUGE_HISTOGRAM",
        MetricType::Unknown => "UNTYPED",
    }
}

fn write_family(json: &mut Json, f: &Family) {
    json.raw("{\"name\":").string_plain(&f.name).raw(",\"help\":").string_plain(&f.help);
    json.raw(",\"type\":")
        .string(kind(f))
        .raw(",\"metric\":")
        .list(&f.metrics, |json, m| write_metric(json, f, m));
    json.raw("}");
}

fn write_metric(json: &mut Json, f: &Family, m: &Metric) {
    json.raw("{");
    if !m.labels.is_empty() {
        json.raw("\"label\":").list(&m.labels, |json, (name, value)| {
            json.raw("{\"name\":").string_plain(name).raw(",\"value\":").string_plain(value).raw("}");
        });
        json.raw(",");
    }
    match &m.data {
        MetricData::Number(v) => {
            json.key(&kind(f).to_lowercase()).raw("{\"value\":");
            number(json, *v);
        }
        MetricData::Summary { count, sum, quantiles } => {
            json.raw("\"summary\":{\"sampleCount\":\"").uint(*count).raw("\",\"sampleSum\":");
            number(json, *sum);
            json.raw(",\"quantile\":").list(quantiles, |json, (q, v)| {
                json.raw("{\"quantile\":");
                number(json, *q);
                json.raw(",\"value\":");
                number(json, *v);
                json.raw("}");
            });
        }
        MetricData::Histogram { count, sum, buckets } => {
            json.raw("\"histogram\":{\"sampleCount\":\"").uint(*count).raw("\",\"sampleSum\":");
            number(json, *sum);
            json.raw(",\"bucket\":").list(buckets, |json, (bound, n)| {
                json.raw("{\"cumulativeCount\":\"").uint(*n).raw("\",\"upperBound\":");
                number(json, *bound);
                json.raw("}");
            });
        }
        MetricData::Native(h) => {
            let h = h.to_float();
            json.raw("\"histogram\":{\"sampleCountFloat\":");
            number(json, h.count);
            json.raw(",\"sampleSum\":");
            number(json, h.sum);
        }
    }
    json.raw("}}");
}

/// A number as protobuf's JSON form has it: what JSON cannot say stands in quotes.
fn number(json: &mut Json, v: f64) {
    if v.is_nan() {
        json.raw("\"NaN\"");
    } else if v.is_infinite() {
        json.raw(if v > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" });
    } else {
        json.float(v);
    }
}
