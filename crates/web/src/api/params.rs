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

/// `match[]`; `bad` says what a malformed one is.
pub(super) fn matchers(
    ctx: &QueryContext,
    call: &Call,
    bad: impl FnOnce(String) -> ApiError,
) -> Result<Vec<Vec<Matcher>>, ApiError> {
    crate::selectors::many(&ctx.budget, call.form.all("match[]")).map_err(|e| e.api(bad))
}

/// The warning of an answer that a limit cut.
pub(super) const TRUNCATED: &str = "results truncated due to limit";
