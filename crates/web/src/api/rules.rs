//! `/rules`, `/alerts`: upstream's parameters and shapes, empty until rules are built.

use super::Call;
use crate::respond::{Answer, ApiError, ApiResult};
use crate::text::{parse_bool, parse_int32, quote};

/// `/alerts`.
pub(super) fn alerts() -> ApiResult {
    let mut answer = Answer::new();
    answer.json.raw("{\"alerts\":[]}");
    Ok(answer.done())
}

/// `/rules`.
pub(super) fn rules(call: &Call) -> ApiResult {
    if let Some(e) = call.form.error() {
        return Err(ApiError::bad_data(format!("error parsing form values: {e}")));
    }
    crate::selectors::many(call.form.all("match[]")).map_err(ApiError::bad_data)?;
    let kind = call.form.query("type").to_lowercase();
    if !matches!(kind.as_str(), "" | "alert" | "record") {
        return Err(ApiError::parameter("type", format!("not supported value {}", quote(&kind))));
    }
    let exclude = call.form.query("exclude_alerts").to_lowercase();
    if !exclude.is_empty() {
        let wrong =
            |e| ApiError::parameter("exclude_alerts", format!("error converting exclude_alerts: {e}"));
        parse_bool(&exclude).map_err(wrong)?;
    }
    let (limit, token) = (call.form.query("group_limit"), call.form.query("group_next_token"));
    if !token.is_empty() && limit.is_empty() {
        let why = "group_limit needs to be present in order to paginate over the groups";
        return Err(ApiError::parameter("group_next_token", why));
    }
    if !limit.is_empty() {
        let wrong =
            |e| ApiError::parameter("group_limit", format!("group_limit needs to be a valid number: {e}"));
        if parse_int32(limit).map_err(wrong)? <= 0 {
            return Err(ApiError::parameter("group_limit", "group_limit needs to be greater than 0"));
        }
        if !token.is_empty() {
            let why = format!("invalid group_next_token '{token}'. were rule groups changed?");
            return Err(ApiError::parameter("group_next_token", why));
        }
    }
    let mut answer = Answer::new();
    answer.json.raw("{\"groups\":[]}");
    Ok(answer.done())
}
