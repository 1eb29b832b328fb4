//! `/labels`, `/label/:name/values`, `/series`.

use std::sync::Arc;

use model::{Labels, Matcher};
use storage::{LabelHints, Querier, QueryContext, SelectHints, Series, StorageError, merge_sets};

use super::Call;
use super::params::{self, TRUNCATED};
use crate::respond::{Answer, ApiError, ApiResult};
use crate::state::State;
use crate::text::{quote_bytes, unescape_name};

/// `/labels`.
pub(super) fn names(state: &State, call: &Call) -> ApiResult {
    let limit = params::limit(call)?;
    let (start, end) = params::range(call)?;
    let ctx = call.context(state);
    let sets = params::matchers(&ctx, call, ApiError::bad_data)?;
    let querier = state.parts.queryable.querier(start.ms(), end.ms()).map_err(|e| ApiError::storage(&e))?;
    let hints = LabelHints { limit: params::hint(limit) };
    let names = union(&sets, |matchers| querier.label_names(&ctx, hints, matchers))?;
    list(&ctx, names, limit)
}

/// `/label/:name/values`.
pub(super) fn values(state: &State, call: &Call) -> ApiResult {
    let name = match std::str::from_utf8(&call.param) {
        Ok(name) if !name.is_empty() => unescape_name(name),
        _ => return Err(invalid_name(&call.param)),
    };
    if name.is_empty() {
        return Err(invalid_name(name.as_bytes()));
    }
    let limit = params::limit(call)?;
    let (start, end) = params::range(call)?;
    let ctx = call.context(state);
    let sets = params::matchers(&ctx, call, ApiError::bad_data)?;
    let querier = state.parts.queryable.querier(start.ms(), end.ms()).map_err(|e| ApiError::storage(&e))?;
    let hints = LabelHints { limit: params::hint(limit) };
    let values = union(&sets, |matchers| querier.label_values(&ctx, &name, hints, matchers))?;
    list(&ctx, values, limit)
}

fn invalid_name(name: &[u8]) -> ApiError {
    ApiError::bad_data(format!("invalid label name: {}", quote_bytes(name)))
}

/// Results of all matcher sets, sorted, each once.
fn union(
    sets: &[Vec<Matcher>],
    mut read: impl FnMut(&[Matcher]) -> Result<Vec<String>, StorageError>,
) -> Result<Vec<String>, ApiError> {
    let mut read = |m: &[Matcher]| read(m).map_err(|e| ApiError::storage(&e));
    match sets {
        [] => read(&[]),
        [one] => read(one),
        many => {
            let mut all = Vec::new();
            for set in many {
                all.extend(read(set)?);
            }
            all.sort_unstable();
            all.dedup();
            Ok(all)
        }
    }
}

fn list(ctx: &QueryContext, mut found: Vec<String>, limit: usize) -> ApiResult {
    let cut = limit > 0 && found.len() > limit;
    if cut {
        found.truncate(limit);
    }
    let bytes = 64 + found.iter().map(|s| s.len() + 3).sum::<usize>();
    ctx.budget.charge(bytes as u64).map_err(|e| ApiError::storage(&e))?;
    let mut answer = Answer::with_capacity(bytes);
    answer.json.strings(&found);
    drop(found);
    answer.finish(&warning(cut), &[]).charged(&ctx.budget)
}

fn warning(cut: bool) -> Vec<String> {
    if cut { vec![TRUNCATED.to_string()] } else { Vec::new() }
}

/// `/series`.
pub(super) fn series(state: &State, call: &Call) -> ApiResult {
    if let Some(e) = call.form.error() {
        return Err(ApiError::bad_data(format!("error parsing form values: {e}")));
    }
    if call.form.all("match[]").next().is_none() {
        return Err(ApiError::bad_data("no match[] parameter provided"));
    }
    let limit = params::limit(call)?;
    let (start, end) = params::range(call)?;
    let ctx = call.context(state);
    let sets = params::matchers(&ctx, call, |e| ApiError::parameter("match[]", e))?;
    let querier = state.parts.queryable.querier(start.ms(), end.ms()).map_err(|e| ApiError::storage(&e))?;
    let hints = SelectHints {
        start_ms: start.ms(),
        end_ms: end.ms(),
        limit: params::hint(limit),
        func: "series".to_string(),
        ..SelectHints::default()
    };
    let select = |sorted, matchers: &[Matcher]| {
        Querier::select(querier.as_ref(), &ctx, sorted, &hints, matchers).map_err(|e| ApiError::storage(&e))
    };
    let found = match &sets[..] {
        [one] => select(false, one)?,
        many => merge_sets(many.iter().map(|m| select(true, m)).collect::<Result<Vec<_>, _>>()?),
    };
    let cut = limit > 0 && found.series.len() > limit;
    let shown = if limit > 0 { limit } else { usize::MAX };
    let of = |s: &Arc<dyn Series>| 16 + s.labels().as_bytes().len() * 3 / 2;
    let bytes = 64 + found.series.iter().take(shown).map(of).sum::<usize>();
    ctx.budget.charge(bytes as u64).map_err(|e| ApiError::storage(&e))?;
    let mut answer = Answer::with_capacity(bytes);
    let mut stopped = Ok(());
    answer.json.list(found.series.iter().take(shown).enumerate(), |json, (i, s)| {
        if i % CHECK_EVERY == 0 && stopped.is_ok() {
            stopped = ctx.check();
        }
        if stopped.is_ok() {
            let labels: &Labels = s.labels();
            json.labels(labels);
        }
    });
    stopped.map_err(|e| ApiError::storage(&e))?;
    let mut warnings = found.warnings;
    drop(found.series);
    warnings.extend(warning(cut));
    answer.finish(&warnings, &[]).charged(&ctx.budget)
}

/// Series between two looks at whether the client is still there.
const CHECK_EVERY: usize = 1024;
