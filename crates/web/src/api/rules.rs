//! `/rules` and `/alerts`: what rules do, in upstream's shapes.

use std::collections::HashSet;
use std::fmt::Write as _;

use model::Matcher;
use model::float_text::format_e;
use rules::{AlertView, AlertingView, GroupView, Pairs, RuleView};

use super::{Call, params};
use crate::json::Json;
use crate::respond::{Answer, ApiError, ApiResult};
use crate::state::State;
use crate::text::{parse_bool, parse_int32, quote};
use crate::time::{GO_ZERO_TIME, seconds};

/// `/alerts`.
pub(super) fn alerts(state: &State) -> ApiResult {
    let groups = (state.parts.rules)();
    let rules = groups.into_iter().flat_map(|group| group.rules);
    let all = rules.filter_map(|rule| rule.alerting).flat_map(|alerting| alerting.alerts);
    let mut answer = Answer::new();
    answer.json.raw("{\"alerts\":").list(all, |json, alert| write_alert(json, &alert)).raw("}");
    Ok(answer.done())
}

/// Which rules are asked for.
struct Wanted<'a> {
    names: HashSet<&'a str>,
    groups: HashSet<&'a str>,
    files: HashSet<&'a str>,
    matchers: Vec<Vec<Matcher>>,
    alerting: bool,
    recording: bool,
    /// Groups of one page; `None` for all.
    limit: Option<usize>,
    /// Where the page begins.
    token: &'a str,
}

impl Wanted<'_> {
    fn group(&self, group: &GroupView) -> bool {
        (self.groups.is_empty() || self.groups.contains(group.name.as_str()))
            && (self.files.is_empty() || self.files.contains(group.file.as_str()))
    }

    fn rule(&self, rule: &RuleView) -> bool {
        let value = |name: &str| {
            let found = rule.spec.labels.iter().find(|(n, _)| n == name);
            found.map_or("", |(_, value)| value.as_str())
        };
        let matches = |set: &Vec<Matcher>| set.iter().all(|m| m.matches(value(m.name())));
        let kind = if rule.alerting.is_some() { self.alerting } else { self.recording };
        kind && (self.names.is_empty() || self.names.contains(rule.spec.name.as_str()))
            && (self.matchers.is_empty() || self.matchers.iter().any(matches))
    }
}

/// `/rules`.
pub(super) fn rules(state: &State, call: &Call) -> ApiResult {
    if let Some(e) = call.form.error() {
        return Err(ApiError::bad_data(format!("error parsing form values: {e}")));
    }
    let matchers = params::matchers(&call.context(state), call, ApiError::bad_data)?;
    let kind = call.form.query("type").to_lowercase();
    if !matches!(kind.as_str(), "" | "alert" | "record") {
        return Err(ApiError::parameter("type", format!("not supported value {}", quote(&kind))));
    }
    let exclude = call.form.query("exclude_alerts").to_lowercase();
    let wrong = |e| ApiError::parameter("exclude_alerts", format!("error converting exclude_alerts: {e}"));
    let with_alerts = exclude.is_empty() || !parse_bool(&exclude).map_err(wrong)?;
    let (limit, token) = (call.form.query("group_limit"), call.form.query("group_next_token"));
    let wanted = Wanted {
        names: call.form.all("rule_name[]").collect(),
        groups: call.form.all("rule_group[]").collect(),
        files: call.form.all("file[]").collect(),
        matchers,
        alerting: kind != "record",
        recording: kind != "alert",
        limit: page_size(limit, token)?,
        token,
    };
    let (shown, next) = page((state.parts.rules)(), &wanted)?;
    let mut answer = Answer::new();
    answer.json.raw("{\"groups\":").list(&shown, |json, group| write_group(json, group, with_alerts));
    if let Some(next) = next {
        answer.json.raw(",\"groupNextToken\":").string(&next);
    }
    answer.json.raw("}");
    Ok(answer.done())
}

fn page_size(limit: &str, token: &str) -> Result<Option<usize>, ApiError> {
    if limit.is_empty() {
        if !token.is_empty() {
            let why = "group_limit needs to be present in order to paginate over the groups";
            return Err(ApiError::parameter("group_next_token", why));
        }
        return Ok(None);
    }
    let wrong =
        |e| ApiError::parameter("group_limit", format!("group_limit needs to be a valid number: {e}"));
    match usize::try_from(parse_int32(limit).map_err(wrong)?) {
        Ok(size) if size > 0 => Ok(Some(size)),
        _ => Err(ApiError::parameter("group_limit", "group_limit needs to be greater than 0")),
    }
}

/// The groups of a page with the rules that are wanted, and the token of the page after it.
fn page(groups: Vec<GroupView>, wanted: &Wanted<'_>) -> Result<(Vec<GroupView>, Option<String>), ApiError> {
    let mut shown = Vec::new();
    let mut begun = wanted.limit.is_none() || wanted.token.is_empty();
    for mut group in groups {
        begun = begun || token_of(&group) == wanted.token;
        if !begun || !wanted.group(&group) {
            continue;
        }
        group.rules.retain(|rule| wanted.rule(rule));
        if group.rules.is_empty() {
            continue;
        }
        if wanted.limit.is_some_and(|size| shown.len() == size) {
            return Ok((shown, Some(token_of(&group))));
        }
        shown.push(group);
    }
    if begun {
        return Ok((shown, None));
    }
    let why = format!("invalid group_next_token '{}'. were rule groups changed?", wanted.token);
    Err(ApiError::parameter("group_next_token", why))
}

/// Upstream's token of a group: SHA-256 of file and name.
fn token_of(group: &GroupView) -> String {
    let digest =
        ring::digest::digest(&ring::digest::SHA256, format!("{};{}", group.file, group.name).as_bytes());
    let mut token = String::with_capacity(64);
    for byte in digest.as_ref() {
        let _ = write!(token, "{byte:02x}");
    }
    token
}

fn write_group(json: &mut Json, group: &GroupView, with_alerts: bool) {
    json.raw("{\"name\":").string(&group.name).raw(",\"file\":").string(&group.file);
    json.raw(",\"rules\":").list(&group.rules, |json, rule| write_rule(json, rule, with_alerts));
    json.raw(",\"interval\":").float(group.interval.as_secs_f64()).raw(",\"limit\":").int(group.limit);
    write_last(json, group.evaluation_time, group.last_evaluation);
    json.raw("}");
}

fn write_last(json: &mut Json, took: std::time::Duration, at: Option<std::time::SystemTime>) {
    json.raw(",\"evaluationTime\":").float(seconds(took)).raw(",\"lastEvaluation\":");
    match at {
        Some(at) => json.time(at),
        None => json.string(GO_ZERO_TIME),
    };
}

fn write_rule(json: &mut Json, rule: &RuleView, with_alerts: bool) {
    json.raw("{");
    if let Some(alerting) = &rule.alerting {
        json.raw("\"state\":").string(alerting.state.as_str()).raw(",");
    }
    json.raw("\"name\":").string(&rule.spec.name).raw(",\"query\":").string(&rule.spec.query);
    if let Some(AlertingView { hold, keep_firing_for, .. }) = &rule.alerting {
        json.raw(",\"duration\":").float(hold.as_secs_f64());
        json.raw(",\"keepFiringFor\":").float(keep_firing_for.as_secs_f64());
    }
    write_pairs(json.raw(",\"labels\":"), &rule.spec.labels);
    if let Some(AlertingView { annotations, alerts, .. }) = &rule.alerting {
        write_pairs(json.raw(",\"annotations\":"), annotations);
        json.raw(",\"alerts\":");
        if with_alerts {
            json.list(alerts, write_alert);
        } else {
            json.raw("null");
        }
    }
    json.raw(",\"health\":").string(rule.health);
    if !rule.last_error.is_empty() {
        json.raw(",\"lastError\":").string(&rule.last_error);
    }
    write_last(json, rule.evaluation_time, rule.last_evaluation);
    json.raw(",\"type\":").string(if rule.alerting.is_some() { "alerting" } else { "recording" }).raw("}");
}

fn write_pairs(json: &mut Json, pairs: &Pairs) {
    json.raw("{");
    for (i, (name, value)) in pairs.iter().enumerate() {
        json.raw(if i > 0 { "," } else { "" }).string_plain(name).raw(":").string_plain(value);
    }
    json.raw("}");
}

fn write_alert(json: &mut Json, alert: &AlertView) {
    json.raw("{\"labels\":").labels(&alert.labels).raw(",\"annotations\":");
    write_pairs(json, &alert.annotations);
    json.raw(",\"state\":").string(alert.state.as_str()).raw(",\"activeAt\":").time(alert.active_at);
    if let Some(since) = alert.keep_firing_since {
        json.raw(",\"keepFiringSince\":").time(since);
    }
    json.raw(",\"value\":").string(&format_e(alert.value, None)).raw("}");
}
