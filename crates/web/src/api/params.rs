//! Parameters that many endpoints share.

use model::Matcher;
use storage::QueryContext;

use super::Call;
use crate::respond::ApiError;
use crate::time::{Moment, parse_time};

/// `limit`: 0 for none.
pub(super) fn limit(call: &Call) -> Result<usize, ApiError> {
    let text = call.form.get("limit");
    if text.is_empty() {
        return Ok(0);
    }
    let n = crate::text::atoi(text).map_err(|e| ApiError::parameter("limit", e))?;
    usize::try_from(n).map_err(|_| ApiError::parameter("limit", "limit must be non-negative"))
}

/// The limit handed to the store: one more, so that a cut answer is known as one.
pub(super) fn hint(limit: usize) -> usize {
    if limit == 0 { 0 } else { limit.saturating_add(1) }
}

/// An optional time.
pub(super) fn time(call: &Call, name: &str, default: Moment) -> Result<Moment, ApiError> {
    let text = call.form.get(name);
    if text.is_empty() {
        return Ok(default);
    }
    parse_time(text).map_err(|e| ApiError::parameter(name, format!("invalid time value for '{name}': {e}")))
}

/// `start` and `end`, everything by default.
pub(super) fn range(call: &Call) -> Result<(Moment, Moment), ApiError> {
    Ok((time(call, "start", Moment::MIN)?, time(call, "end", Moment::MAX)?))
}

/// `match[]`. Nothing is parsed where memory is short.
pub(super) fn matchers(ctx: &QueryContext, call: &Call) -> Result<Vec<Vec<Matcher>>, String> {
    for text in call.form.all("match[]") {
        charge(ctx, text).map_err(|e| e.text)?;
    }
    crate::selectors::many(call.form.all("match[]"))
}

/// Takes memory for what a text is parsed to.
pub(super) fn charge(ctx: &QueryContext, text: &str) -> Result<(), ApiError> {
    ctx.budget.charge(promql::parse::memory_bytes(text)).map_err(|e| ApiError::storage(&e))
}

/// The warning of an answer that a limit cut.
pub(super) const TRUNCATED: &str = "results truncated due to limit";
