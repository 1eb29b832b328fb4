//! `/query`, `/query_range`, `/query_exemplars`, `/format_query`, `/parse_query`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::response::Response;
use model::Labels;
use promql::{
    Explain, Expr, MatrixSeries, QueryError, QueryOptions, QueryOutput, QueryStats, SampleValue, Value,
    VectorSample,
};
use storage::QueryContext;

use super::params::{self, TRUNCATED};
use super::{Call, lost, on_thread};
use crate::compress::Encoding;
use crate::json::Json;
use crate::query_log::{Logged, Origin, write_stats};
use crate::respond::{Answer, ApiError, ApiResult, Success, api_response};
use crate::routes::Route;
use crate::selectors::Refused;
use crate::state::State;
use crate::text::quote;
use crate::time::{Moment, parse_duration_ns, parse_time};

/// Points a range query may give for one series: a minute's resolution for a week, an hour's for a year.
const POINTS_MAX: i64 = 11_000;

/// A query with its checked parameters.
struct Query {
    text: String,
    start_ms: i64,
    end_ms: i64,
    /// 0 for an instant query.
    step_ms: i64,
    limit: usize,
    stats: String,
    options: QueryOptions,
}

/// Answers `/query` and `/query_range`: waits for a slot without a thread, then evaluates, writes and
/// compresses on one.
pub(super) async fn respond(state: &State, route: Route, call: Call, encoding: Encoding) -> Response {
    let query = match if route == Route::Query { instant(state, &call) } else { range(state, &call) } {
        Ok(query) => query,
        Err(e) => return api_response(Err(e), encoding),
    };
    let began = Instant::now();
    let allowed = state.parts.options.query_timeout.min(query.options.timeout.unwrap_or(Duration::MAX));
    let cancel = call.cancel.clone();
    let owned = state.clone();
    let begun = Arc::new(AtomicBool::new(false));
    let entered = Arc::clone(&begun);
    let work = move || {
        entered.store(true, Ordering::Relaxed);
        api_response(run(&owned, &call, &query, began), encoding)
    };
    let waiting = on_thread(state.parts.readers.as_ref(), &state.query_slots, &cancel, work);
    // The engine's own deadline ends the work; this one is for the queue, and late enough to let the engine
    // speak first.
    let grace = (allowed / QUEUE_GRACE_PART).clamp(QUEUE_GRACE_MIN, QUEUE_GRACE_MAX);
    match tokio::time::timeout(allowed.saturating_add(grace), waiting).await {
        Ok(Some(response)) => response,
        Ok(None) => api_response(Err(lost()), encoding),
        Err(_) => {
            let place = if begun.load(Ordering::Relaxed) { "query execution" } else { "query queue" };
            api_response(Err(ApiError::query(&QueryError::Timeout(place))), encoding)
        }
    }
}

/// Part of the timeout that is added to it before the request is given up from outside, and its bounds.
const QUEUE_GRACE_PART: u32 = 20;
const QUEUE_GRACE_MIN: Duration = Duration::from_millis(50);
const QUEUE_GRACE_MAX: Duration = Duration::from_millis(500);

/// A shorter timeout has passed before the query is read, which upstream takes for the query's fault.
const TIMEOUT_NS_MIN: i64 = 1000;

fn options(call: &Call) -> Result<QueryOptions, ApiError> {
    let mut options = QueryOptions::default();
    let timeout = call.form.get("timeout");
    if !timeout.is_empty() {
        let ns = parse_duration_ns(timeout).map_err(|e| ApiError::parameter("timeout", e))?;
        if ns < TIMEOUT_NS_MIN {
            return Err(ApiError::parameter("query", "context deadline exceeded"));
        }
        options.timeout = Some(Duration::from_nanos(ns.unsigned_abs()));
    }
    let lookback = call.form.get("lookback_delta");
    if !lookback.is_empty() {
        let ns = parse_duration_ns(lookback)
            .map_err(|e| ApiError::bad_data(format!("error parsing lookback delta duration: {e}")))?;
        options.lookback_delta_ms = ns / 1_000_000;
    }
    options.per_step_stats = call.form.get("stats") == "all";
    options.explain = call.form.get("explain") == "true";
    Ok(options)
}

fn instant(state: &State, call: &Call) -> Result<Query, ApiError> {
    let limit = params::limit(call)?;
    let now = Moment::from_ns(state.parts.clock.now().as_nanos() as i128);
    let at = params::time(call, "time", now)?;
    Ok(Query {
        text: call.form.get("query").to_string(),
        start_ms: at.ms(),
        end_ms: at.ms(),
        step_ms: 0,
        limit,
        stats: call.form.get("stats").to_string(),
        options: options(call)?,
    })
}

fn range(_state: &State, call: &Call) -> Result<Query, ApiError> {
    let limit = params::limit(call)?;
    let start = parse_time(call.form.get("start")).map_err(|e| ApiError::parameter("start", e))?;
    let end = parse_time(call.form.get("end")).map_err(|e| ApiError::parameter("end", e))?;
    if end < start {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    let step_ns = parse_duration_ns(call.form.get("step")).map_err(|e| ApiError::parameter("step", e))?;
    let no_step = || {
        let why = "zero or negative query resolution step widths are not accepted. Try a positive integer";
        ApiError::parameter("step", why)
    };
    if step_ns <= 0 {
        return Err(no_step());
    }
    // The first as upstream counts, which stops at 292 years; the second holds beyond them, too.
    let step_ms = step_ns / 1_000_000;
    let span_ms = i128::from(end.ms()) - i128::from(start.ms());
    if end.since_ns(start) / step_ns > POINTS_MAX
        || step_ms > 0 && span_ms / i128::from(step_ms) > i128::from(POINTS_MAX)
    {
        return Err(ApiError::bad_data(
            "exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)",
        ));
    }
    // Below a millisecond is zero to the engine, in upstream's too.
    if step_ms == 0 {
        return Err(no_step());
    }
    if end.ms() < start.ms() {
        return Err(ApiError::parameter("end", "end timestamp must not be before start time"));
    }
    Ok(Query {
        text: call.form.get("query").to_string(),
        start_ms: start.ms(),
        end_ms: end.ms(),
        step_ms,
        limit,
        stats: call.form.get("stats").to_string(),
        options: options(call)?,
    })
}

fn run(state: &State, call: &Call, q: &Query, began: Instant) -> ApiResult {
    let queued = began.elapsed();
    let engine = &state.parts.engine;
    let store = state.parts.queryable.as_ref();
    let mut options = q.options.clone();
    // The time in the queue counts.
    let left = |t: Duration| t.saturating_sub(queued);
    options.timeout = Some(left(options.timeout.unwrap_or(state.parts.options.query_timeout)));
    if options.timeout == Some(Duration::ZERO) {
        return Err(ApiError::query(&QueryError::Timeout("query queue")));
    }
    let result = {
        let _entered = state.active.enter(&q.text);
        if q.step_ms == 0 {
            engine.instant(store, &q.text, q.start_ms, &options, call.cancel.clone())
        } else {
            engine.range(store, &q.text, q.start_ms, q.end_ms, q.step_ms, &options, call.cancel.clone())
        }
    };
    match result {
        Ok(mut output) => {
            output.stats.queue_seconds += queued.as_secs_f64();
            log(state, call, q, &output.stats, None);
            write(q, output)
        }
        Err(e) => {
            // A malformed query never became one: upstream does not log it.
            if !matches!(e, QueryError::Parse(_) | QueryError::BadData(_)) {
                let total = began.elapsed().as_secs_f64();
                let stats = QueryStats {
                    queue_seconds: queued.as_secs_f64(),
                    total_seconds: total,
                    ..QueryStats::default()
                };
                log(state, call, q, &stats, Some(&e.to_string()));
            }
            Err(ApiError::query(&e))
        }
    }
}

fn log(state: &State, call: &Call, q: &Query, stats: &QueryStats, error: Option<&str>) {
    state.query_log.ended(&Logged {
        query: &q.text,
        start_ms: q.start_ms,
        end_ms: q.end_ms,
        step_ms: q.step_ms,
        stats,
        error,
        origin: Origin::Http { client_ip: &call.client, method: call.method.as_str(), path: &call.path },
    });
}

/// Bytes of one `[1435781451.781,"0.123456"],` as a guess for the first allocation.
const POINT_BYTES: usize = 32;

fn write(q: &Query, output: QueryOutput) -> ApiResult {
    let QueryOutput { value, mut warnings, infos, stats, memory } = output;
    let shown = if q.limit > 0 { q.limit } else { usize::MAX };
    let (size, count) = match &value {
        Value::Vector(v) => {
            (v.iter().take(shown).map(|s| metric_bytes(&s.labels) + 2 * POINT_BYTES).sum(), v.len())
        }
        Value::Matrix(m) => {
            let of = |s: &MatrixSeries| {
                metric_bytes(&s.labels) + POINT_BYTES * (1 + s.floats.len() + 16 * s.histograms.len())
            };
            (m.iter().take(shown).map(of).sum(), m.len())
        }
        Value::Scalar { .. } => (0, 0),
        Value::String { value, .. } => (value.len(), 0),
    };
    memory.charge(size as u64).map_err(|e| ApiError::query(&e.into()))?;
    let mut answer = Answer::with_capacity(256 + size);
    write_value(&mut answer.json, &value, shown);
    if count > shown {
        warnings.push(TRUNCATED.to_string());
    }
    if !matches!(q.stats.as_str(), "" | "true" | "all") {
        warnings.push(format!(
            "value {} for parameter \"stats\" is deprecated and will be rejected in the next major release, use \"true\" or \"all\"",
            quote(&q.stats)
        ));
    }
    if !q.stats.is_empty() {
        answer.json.raw(",\"stats\":");
        write_stats(&mut answer.json, &stats);
    }
    if let Some(explain) = &stats.explain {
        answer.json.raw(",\"explain\":");
        write_explain(&mut answer.json, explain);
    }
    answer.json.raw("}");
    drop(value);
    answer.finish(&warnings, &infos).charged(&memory)
}

/// A part of the tree; the parser bounds its height.
fn write_explain(json: &mut Json, e: &Explain) {
    json.raw("{\"what\":").string(&e.what).raw(",\"text\":").string(&e.text);
    json.raw(",\"seconds\":").float(e.seconds).raw(",\"ownSeconds\":").float(e.own_seconds());
    json.raw(",\"series\":").uint(e.series).raw(",\"samples\":").uint(e.samples);
    json.raw(",\"bytes\":").uint(e.bytes).raw(",\"parts\":").list(&e.parts, write_explain).raw("}");
}

/// Bytes of a label set in JSON, about: quotes, colons and commas beside the strings.
fn metric_bytes(labels: &Labels) -> usize {
    64 + labels.as_bytes().len() * 3 / 2
}

/// `{"resultType":…,"result":…` without the closing brace.
fn write_value(json: &mut Json, value: &Value, shown: usize) {
    json.raw("{\"resultType\":\"").raw(value.value_type().as_str()).raw("\",\"result\":");
    match value {
        Value::Scalar { t_ms, value } => {
            json.raw("[").time_ms_short(*t_ms).raw(",").quoted_float_f(*value).raw("]");
        }
        Value::String { t_ms, value } => {
            json.raw("[").time_ms_short(*t_ms).raw(",").string(value).raw("]");
        }
        Value::Vector(samples) => {
            json.list(samples.iter().take(shown), write_sample);
        }
        Value::Matrix(series) => {
            json.list(series.iter().take(shown), write_series);
        }
    }
}

fn write_sample(json: &mut Json, s: &VectorSample) {
    json.raw("{\"metric\":").labels(&s.labels);
    match &s.value {
        SampleValue::Float(v) => json.raw(",\"value\":[").time_ms(s.t_ms).raw(",").quoted_float(*v),
        SampleValue::Histogram(h) => json.raw(",\"histogram\":[").time_ms(s.t_ms).raw(",").histogram(h),
    };
    json.raw("]}");
}

fn write_series(json: &mut Json, s: &MatrixSeries) {
    json.raw("{\"metric\":").labels(&s.labels);
    if !s.floats.is_empty() {
        json.raw(",\"values\":").list(&s.floats, |json, (t, v)| {
            json.raw("[").time_ms(*t).raw(",").quoted_float(*v).raw("]");
        });
    }
    if !s.histograms.is_empty() {
        json.raw(",\"histograms\":").list(&s.histograms, |json, (t, h)| {
            json.raw("[").time_ms(*t).raw(",").histogram(h).raw("]");
        });
    }
    json.raw("}");
}

/// The parameter `query`, charged to `ctx`.
fn parsed(state: &State, ctx: &QueryContext, call: &Call) -> Result<Expr, Refused> {
    let parser = state.parts.engine.options().parser;
    Ok(promql::parse::parse_within(call.form.get("query"), parser, &ctx.budget)?)
}

/// `/query_exemplars`.
pub(super) fn exemplars(state: &State, call: &Call) -> ApiResult {
    let (start, end) = params::range(call)?;
    if end < start {
        return Err(ApiError::bad_data("end timestamp must not be before start timestamp"));
    }
    let ctx = call.context(state);
    let expr = parsed(state, &ctx, call).map_err(|e| e.api(ApiError::bad_data))?;
    let sets: Vec<_> = expr.selectors().into_iter().map(|s| s.matchers.clone()).collect();
    if sets.is_empty() {
        return Ok(Success::NoContent);
    }
    let found = state
        .parts
        .exemplars
        .select_exemplars(&ctx, start.ms(), end.ms(), &sets)
        .map_err(|e| ApiError::storage(&e))?;
    let mut answer = Answer::new();
    answer.json.list(&found, |json, s| {
        json.raw("{\"seriesLabels\":").labels(&s.labels).raw(",\"exemplars\":").list(
            &s.exemplars,
            |json, e| {
                json.raw("{\"labels\":").labels(&e.labels).raw(",\"value\":").quoted_float(e.value);
                json.raw(",\"timestamp\":").time_ms(e.timestamp_ms).raw("}");
            },
        );
        json.raw("}");
    });
    Ok(answer.done())
}

/// `/format_query`.
pub(super) fn format(state: &State, call: &Call) -> ApiResult {
    let ctx = call.context(state);
    let expr = parsed(state, &ctx, call).map_err(|e| e.api(|text| ApiError::parameter("query", text)))?;
    let mut answer = Answer::new();
    answer.json.string(&expr.prettify());
    Ok(answer.done())
}

/// `/parse_query`.
pub(super) fn parse(state: &State, call: &Call) -> ApiResult {
    let ctx = call.context(state);
    let expr = parsed(state, &ctx, call).map_err(|e| e.api(|text| ApiError::parameter("query", text)))?;
    let mut answer = Answer::with_capacity(1024);
    super::ast::write(&mut answer.json, &expr);
    Ok(answer.done())
}
