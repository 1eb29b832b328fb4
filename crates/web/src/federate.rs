//! `/federate`: the newest sample of each selected series, as an exposition. Follows upstream's
//! `web/federate.go`.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use exposition::{Family, Format, Metric, MetricData, OutputFormat, write_families};
use http::StatusCode;
use http::header::{self, HeaderValue};
use http::request::Parts;
use model::labels::METRIC_NAME;
use model::{CounterResetHint, FloatHistogram, HistogramValue, Labels, Matcher, MetricType, is_stale_nan};
use storage::{CancelToken, QueryContext, SampleBuf, SelectHints, StorageError, merge_sets};

use crate::api::{Call, on_thread};
use crate::compress::Encoding;
use crate::form::Form;
use crate::negotiate;
use crate::respond::{set_body, text_error};
use crate::selectors::Refused;
use crate::state::State;

pub(crate) async fn serve(state: &State, request: Parts) -> Response {
    let encoding = Encoding::of(&request.headers);
    let chosen = negotiate::format(&request.headers);
    let call = Call {
        form: Form::new(request.uri.query(), None),
        param: Vec::new(),
        method: request.method.clone(),
        path: request.uri.path().to_string(),
        client: String::new(),
        cancel: CancelToken::default(),
    };
    let cancel = call.cancel.clone();
    let owned = state.clone();
    let work = move || answer(&owned, &call, chosen, encoding);
    let mut response = match on_thread(state.parts.readers.as_ref(), &state.read_slots, &cancel, work).await {
        Some(response) => response,
        None => text_error(StatusCode::INTERNAL_SERVER_ERROR, "the request failed inside the server"),
    };
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    response
}

fn answer(state: &State, call: &Call, chosen: OutputFormat, encoding: Encoding) -> Response {
    if let Some(e) = call.form.error() {
        return text_error(StatusCode::BAD_REQUEST, format!("error parsing form values: {e}"));
    }
    let ctx = call.context(state);
    let read = |text| crate::selectors::one(&ctx.budget, text);
    let sets = match call.form.all("match[]").map(read).collect::<Result<Vec<_>, _>>() {
        Ok(sets) => sets,
        Err(Refused::Bad(e)) => return text_error(StatusCode::BAD_REQUEST, e),
        Err(Refused::Memory(e)) => return text_error(StatusCode::SERVICE_UNAVAILABLE, e),
    };
    match families(state, &ctx, &sets, chosen.format) {
        Ok(families) => {
            let mut response = Response::new(Body::empty());
            if let Ok(value) = HeaderValue::try_from(chosen.content_type()) {
                response.headers_mut().insert(header::CONTENT_TYPE, value);
            }
            set_body(&mut response, write_families(&families, chosen.format, chosen.escaping), encoding);
            response
        }
        Err(e) => {
            state.metrics.federation_errors.inc();
            let status = match e {
                StorageError::NotReady
                | StorageError::MemoryLimit { .. }
                | StorageError::MemoryShort { .. } => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::INTERNAL_SERVER_ERROR,
            };
            text_error(status, e)
        }
    }
}

/// The newest sample of a series.
enum Newest {
    Float(f64),
    Histogram(std::sync::Arc<FloatHistogram>),
}

/// A sample besides its labels, as it is read, as it is grouped, and as text; labels are there three times.
const SAMPLED_BYTES: u64 = 400;

struct Sampled {
    labels: Labels,
    t_ms: i64,
    value: Newest,
}

fn families(
    state: &State,
    ctx: &QueryContext,
    sets: &[Vec<Matcher>],
    format: Format,
) -> Result<Vec<Family>, StorageError> {
    let lookback: Duration = state.parts.options.lookback_delta;
    let maxt = state.parts.clock.now_ms();
    let mint = maxt.saturating_sub(i64::try_from(lookback.as_millis()).unwrap_or(i64::MAX));
    let querier = state.parts.local.querier(mint, maxt)?;
    let hints = SelectHints { start_ms: mint, end_ms: maxt, ..SelectHints::default() };
    // `{}` selects nothing, as upstream.
    let selected = sets
        .iter()
        .filter(|m| !m.is_empty())
        .map(|m| querier.select(ctx, true, &hints, m))
        .collect::<Result<Vec<_>, _>>()?;
    let set = merge_sets(selected);
    state.metrics.federation_warnings.add(set.warnings.len() as f64);
    let mut samples = Vec::with_capacity(set.series.len());
    let mut buf = SampleBuf::default();
    for s in &set.series {
        ctx.check()?;
        buf.clear();
        s.read(mint, maxt, &mut buf)?;
        if let Some((t_ms, value)) = newest(&buf) {
            ctx.budget.charge(SAMPLED_BYTES + 3 * s.labels().as_bytes().len() as u64)?;
            samples.push(Sampled { labels: s.labels().clone(), t_ms, value });
        }
    }
    // Stable: within a name the order of label sets stays.
    samples.sort_by(|a, b| a.labels.metric_name().cmp(b.labels.metric_name()));
    Ok(group(&samples, &state.parts.config.load().external_labels, format))
}

/// The last sample, unless it says that the series is gone.
fn newest(buf: &SampleBuf) -> Option<(i64, Newest)> {
    let last = buf.len().checked_sub(1)?;
    let t_ms = *buf.times.get(last)?;
    if let Some(h) = buf.histogram_at(last) {
        return (!h.is_stale()).then(|| (t_ms, Newest::Histogram(h.to_float())));
    }
    let v = *buf.values.get(last)?;
    (!is_stale_nan(v)).then_some((t_ms, Newest::Float(v)))
}

/// Samples of one name and one kind as a family. A name with floats and histograms gives several families:
/// not a valid exposition, but Prometheus reads it and federation would lose them otherwise.
fn group(samples: &[Sampled], external: &Labels, format: Format) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    for s in samples {
        let name = s.labels.metric_name();
        let Some((kind, data)) = data(&s.value, format).filter(|_| !name.is_empty()) else { continue };
        let same = families.last().is_some_and(|f| f.name == name && f.kind == kind);
        if !same {
            families.push(Family { name: name.to_string(), kind, ..Family::default() });
        }
        let metric = Metric {
            labels: with_external(&s.labels, external),
            timestamp_ms: Some(s.t_ms),
            data,
            ..Metric::default()
        };
        if let Some(family) = families.last_mut() {
            family.metrics.push(metric);
        }
    }
    families
}

fn data(value: &Newest, format: Format) -> Option<(MetricType, MetricData)> {
    let h = match value {
        Newest::Float(v) => return Some((MetricType::Unknown, MetricData::Number(*v))),
        Newest::Histogram(h) => h,
    };
    let kind = if h.reset_hint == CounterResetHint::Gauge {
        MetricType::GaugeHistogram
    } else {
        MetricType::Histogram
    };
    if h.uses_custom_buckets() {
        return Some((kind, classic(h)));
    }
    // Only protobuf has a form for native histograms.
    (format == Format::Protobuf).then(|| (kind, MetricData::Native(HistogramValue::Float(h.clone()))))
}

/// A histogram with custom bounds as the classic one that it came from.
fn classic(h: &FloatHistogram) -> MetricData {
    let mut counts = FloatHistogram::side(&h.positive_spans, &h.positive_buckets).peekable();
    let mut total = 0.0;
    let mut bucket = |(i, bound): (usize, &f64)| {
        while let Some((index, count)) = counts.peek().copied().filter(|(index, _)| *index <= i as i32) {
            if index == i as i32 {
                total += count;
            }
            counts.next();
        }
        (*bound, total as u64)
    };
    let buckets = h.custom_values.iter().enumerate().map(&mut bucket).collect();
    MetricData::Histogram { count: h.count as u64, sum: h.sum, buckets }
}

/// Labels without the name, with the external ones that are not set. `instance` is there in any case, if
/// empty: else the server that federates would put its own.
fn with_external(labels: &Labels, external: &Labels) -> Labels {
    let mut pairs: Vec<(&str, &str)> = labels.iter().filter(|(n, _)| *n != METRIC_NAME).collect();
    for (name, value) in external.iter().chain([("instance", "")]) {
        if let Err(at) = pairs.binary_search_by(|(n, _)| (*n).cmp(name)) {
            pairs.insert(at, (name, value));
        }
    }
    Labels::from_sorted(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Span;

    #[test]
    fn external_labels_do_not_override_and_instance_is_always_there() {
        let external = Labels::from_pairs([("a", "x"), ("zone", "eu")]);
        let l = with_external(&Labels::from_pairs([("__name__", "m"), ("a", "1")]), &external);
        assert_eq!(l.iter().collect::<Vec<_>>(), [("a", "1"), ("instance", ""), ("zone", "eu")]);
    }

    #[test]
    fn custom_buckets_become_classic_ones() {
        let h = FloatHistogram {
            schema: -53,
            count: 10.0,
            sum: 5.0,
            positive_spans: vec![Span { offset: 0, length: 1 }, Span { offset: 1, length: 2 }],
            positive_buckets: vec![1.0, 4.0, 5.0],
            custom_values: vec![1.0, 2.0, 3.0].into(),
            ..FloatHistogram::default()
        };
        let MetricData::Histogram { count, buckets, .. } = classic(&h) else { unreachable!() };
        assert_eq!((count, buckets), (10, vec![(1.0, 1), (2.0, 1), (3.0, 5)]));
    }
}
