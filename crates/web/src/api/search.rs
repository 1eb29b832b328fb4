//! `/search/metric_names`, `/search/label_names`, `/search/label_values` (feature `search-api`): names and values
//! that contain, or nearly contain, what a person types. Answers are lines of JSON: batches, then how it ended.
//! Follows upstream's `web/api/v1/search.go`.
//!
//! Rejected: streaming. The store gives all names at once, and an answer has 100 by default.

use std::collections::HashMap;

use model::{Matcher, MetricMetadata};
use storage::{LabelHints, Querier, QueryContext, StorageError};

use super::Call;
use super::filter::Filter;
use crate::json::Json;
use crate::respond::{ApiError, ApiResult, ErrorKind, Success};
use crate::routes::Route;
use crate::state::State;
use crate::text::{atoi, parse_bool, quote};
use crate::time::{Moment, parse_time};

/// Results and batches where the request does not say.
const LIMIT_DEFAULT: usize = 100;
const BATCH_DEFAULT: usize = 100;
/// Texts to be searched for.
const TERMS_MAX: usize = 32;
/// How far back is searched by default: an hour.
const BACK_NS: i128 = 3_600_000_000_000;

/// How results are sorted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Ascending,
    Descending,
    /// Best first, then by name.
    Score,
}

struct Search {
    start: Moment,
    end: Moment,
    sets: Vec<Vec<Matcher>>,
    filter: Option<Filter>,
    order: Order,
    with_score: bool,
    limit: usize,
    batch: usize,
}

fn truth(call: &Call, name: &str, default: bool) -> Result<bool, ApiError> {
    match call.form.get(name) {
        "" => Ok(default),
        text => parse_bool(text)
            .map_err(|_| ApiError::bad_data(format!("invalid {name} {}: must be boolean", quote(text)))),
    }
}

fn positive(call: &Call, name: &str) -> Result<Option<usize>, ApiError> {
    let text = call.form.get(name);
    if text.is_empty() {
        return Ok(None);
    }
    let n = atoi(text).ok().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
    let bad = || ApiError::bad_data(format!("invalid {name} {}: must be a positive integer", quote(text)));
    n.map(Some).ok_or_else(bad)
}

fn time(call: &Call, name: &str, default: Moment) -> Result<Moment, ApiError> {
    match call.form.get(name) {
        "" => Ok(default),
        text => {
            parse_time(text).map_err(|e| ApiError::bad_data(format!("invalid time value for '{name}': {e}")))
        }
    }
}

impl Search {
    fn parse(state: &State, call: &Call, endpoint: &str) -> Result<Search, ApiError> {
        let bad = |text: String| Err(ApiError::bad_data(text));
        if let Some(e) = call.form.error() {
            return bad(format!("error parsing form values: {e}"));
        }
        let form = &call.form;
        let now = state.parts.clock.now().as_nanos() as i128;
        let start = time(call, "start", Moment::from_ns(now - BACK_NS))?;
        let end = time(call, "end", Moment::from_ns(now))?;
        if end < start {
            return bad("end timestamp must not be before start timestamp".to_string());
        }
        let sets = super::params::matchers(&call.context(state), call, ApiError::bad_data)?;
        let terms: Vec<&str> = form.all("search[]").collect();
        if terms.len() > TERMS_MAX {
            return bad(format!("too many search[] terms: got {}, maximum is {TERMS_MAX}", terms.len()));
        }
        let threshold = match form.get("fuzz_threshold") {
            "" => 0,
            text => match atoi(text) {
                Ok(n @ 0..=100) => n,
                _ => return bad(format!("invalid fuzz_threshold {}: must be 0-100", quote(text))),
            },
        };
        let winkler = match form.get("fuzz_alg") {
            "" | "subsequence" => false,
            "jarowinkler" => true,
            text => {
                let text = quote(text);
                return bad(format!("unsupported fuzz_alg {text}: must be one of [subsequence jarowinkler]"));
            }
        };
        let case_sensitive = truth(call, "case_sensitive", true)?;
        let with_score = truth(call, "include_score", false)?;
        let (by, direction) = (form.get("sort_by"), form.get("sort_dir"));
        if !direction.is_empty() && by.is_empty() {
            return bad("sort_dir is only valid when sort_by is set".to_string());
        }
        if !direction.is_empty() && by == "score" {
            return bad("sort_dir is not supported for sort_by=score".to_string());
        }
        if !matches!(direction, "" | "asc" | "dsc") {
            return bad(format!("invalid sort_dir {}: must be \"asc\" or \"dsc\"", quote(direction)));
        }
        if by == "score" && terms.is_empty() {
            return bad("sort_by=score requires search[] to be set".to_string());
        }
        let most = state.parts.options.search_limit_max;
        let limit = match positive(call, "limit")? {
            Some(limit) if most > 0 && limit > most => {
                return bad(format!(
                    "limit {limit} exceeds the configured maximum ({most}, see --web.search.max-limit)"
                ));
            }
            Some(limit) => limit,
            None if most > 0 => LIMIT_DEFAULT.min(most),
            None => LIMIT_DEFAULT,
        };
        let batch = positive(call, "batch_size")?.unwrap_or(BATCH_DEFAULT);
        let order = match (by, direction) {
            ("score", _) => Order::Score,
            ("alpha", "dsc") => Order::Descending,
            ("" | "alpha", _) => Order::Ascending,
            _ => {
                let by = quote(by);
                return bad(format!("invalid sort_by {by} for {endpoint}: must be \"alpha\" or \"score\""));
            }
        };
        let filter = Filter::new(&terms, threshold as f64 / 100.0, winkler, case_sensitive);
        Ok(Search { start, end, sets, filter, order, with_score, limit, batch })
    }

    /// What fits, in order; one more than the limit where there is more.
    fn run(
        &self,
        ctx: &QueryContext,
        mut read: impl FnMut(&[Matcher]) -> Result<Vec<String>, StorageError>,
    ) -> Result<Vec<(String, f64)>, StorageError> {
        let mut values = match &self.sets[..] {
            [] => read(&[])?,
            sets => {
                let all: Result<Vec<Vec<String>>, StorageError> = sets.iter().map(|m| read(m)).collect();
                let mut all = all?.concat();
                all.sort_unstable();
                all.dedup();
                all
            }
        };
        if self.order == Order::Descending {
            values.reverse();
        }
        let wanted = self.limit.saturating_add(1);
        let mut found = Vec::new();
        for value in values {
            ctx.check()?;
            let score = match &self.filter {
                Some(filter) => filter.score(&value),
                None => Some(1.0),
            };
            if let Some(score) = score {
                found.push((value, score));
            }
            // In the order of names nothing that comes later can come before.
            if self.order != Order::Score && found.len() >= wanted {
                break;
            }
        }
        if self.order == Order::Score {
            found.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
            found.truncate(wanted);
        }
        Ok(found)
    }

    fn write(
        &self,
        mut found: Vec<(String, f64)>,
        key: &str,
        metadata: Option<&HashMap<String, MetricMetadata>>,
    ) -> Success {
        let more = found.len() > self.limit;
        found.truncate(self.limit);
        let mut json = Json::with_capacity(64 + 48 * found.len());
        let mut batch = |results: &[(String, f64)]| {
            json.raw("{\"results\":").list(results, |json, (value, score)| {
                json.raw("{\"").raw(key).raw("\":").string(value);
                if self.with_score {
                    json.raw(",\"score\":").float(*score);
                }
                if let Some(m) = metadata.and_then(|all| all.get(value)) {
                    json.raw(",\"type\":").string(m.kind.as_str());
                    for (key, text) in [("help", &m.help), ("unit", &m.unit)] {
                        if !text.is_empty() {
                            json.raw(",\"").raw(key).raw("\":").string(text);
                        }
                    }
                }
                json.raw("}");
            });
            json.raw("}\n");
        };
        if found.is_empty() {
            batch(&[]);
        }
        found.chunks(self.batch).for_each(&mut batch);
        json.raw("{\"status\":\"success\",\"has_more\":").raw(if more { "true" } else { "false" }).raw("}\n");
        Success::Lines(json.into_bytes())
    }
}

/// Answers all three.
pub(super) fn search(state: &State, route: Route, call: &Call) -> ApiResult {
    let endpoint = match route {
        Route::SearchMetricNames => "metric_names",
        Route::SearchLabelNames => "label_names",
        _ => "label_values",
    };
    let search = Search::parse(state, call, endpoint)?;
    let with_metadata = route == Route::SearchMetricNames && truth(call, "include_metadata", false)?;
    let label = match route {
        Route::SearchMetricNames => "__name__",
        Route::SearchLabelValues if call.form.get("label").is_empty() => {
            return Err(ApiError::bad_data("missing required parameter \"label\""));
        }
        _ => call.form.get("label"),
    };
    let (start, end) = (search.start.ms(), search.end.ms());
    let querier: Box<dyn Querier> =
        state.parts.queryable.querier(start, end).map_err(|e| ApiError::storage(&e))?;
    let ctx = call.context(state);
    let found = search.run(&ctx, |matchers| match route {
        Route::SearchLabelNames => querier.label_names(&ctx, LabelHints::default(), matchers),
        _ => querier.label_values(&ctx, label, LabelHints::default(), matchers),
    });
    let found = found.map_err(|e| ApiError::storage(&e))?;
    let metadata = with_metadata.then(|| {
        let mut all = HashMap::new();
        for target in state.parts.scrape.metadata(None) {
            for (family, metadata) in target.families {
                all.entry(family).or_insert(metadata);
            }
        }
        all
    });
    let key = if route == Route::SearchLabelValues { "value" } else { "name" };
    Ok(search.write(found, key, metadata.as_ref()))
}

/// Upstream's answer without the feature.
pub(super) fn disabled() -> ApiError {
    ApiError::new(ErrorKind::Unavailable, "search API disabled")
}
