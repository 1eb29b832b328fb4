//! `/targets`, `/targets/metadata`, `/metadata`, `/scrape_pools`.

use std::collections::BTreeMap;

use model::{Labels, MetricMetadata, MetricType};

use super::Call;
use crate::json::Json;
use crate::respond::{Answer, ApiError, ApiResult};
use crate::scrape_views::{PoolTargets, TargetView};
use crate::state::{Options, State};
use crate::text::{atoi, quote};
use crate::time::{GO_ZERO_TIME, seconds};

/// `/scrape_pools`.
pub(super) fn pools(state: &State) -> ApiResult {
    let mut answer = Answer::new();
    answer.json.raw("{\"scrapePools\":").strings(state.parts.scrape.pools()).raw("}");
    Ok(answer.done())
}

/// `/scrape_pools/config`.
pub(super) fn pool_config(state: &State, call: &Call) -> ApiResult {
    let pool = pool_parameter(call)?;
    let config = state.parts.config.load();
    let yaml = config.texts.as_ref().and_then(|texts| texts.pool(pool)).ok_or_else(|| unknown_pool(pool))?;
    let mut answer = Answer::new();
    answer.json.raw("{\"yaml\":").string(&yaml).raw("}");
    Ok(answer.done())
}

fn pool_parameter(call: &Call) -> Result<&str, ApiError> {
    match call.form.get("scrapePool") {
        "" => Err(ApiError::bad_data("no scrapePool parameter provided")),
        pool => Ok(pool),
    }
}

fn unknown_pool(pool: &str) -> ApiError {
    ApiError::bad_data(format!("error retrieving scrape config: scrape pool {} not found", quote(pool)))
}

/// An object of texts as Go decodes one: null is none, and an empty text. Errors of types in Go's words, those
/// of syntax in our own.
fn string_map(text: &str) -> Result<BTreeMap<String, String>, String> {
    use serde_json::Value;
    let kind = |v: &Value| match v {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let all = match serde_json::from_str(text).map_err(|e| e.to_string())? {
        Value::Object(all) => all,
        Value::Null => return Ok(BTreeMap::new()),
        other => {
            let kind = kind(&other);
            return Err(format!("json: cannot unmarshal {kind} into Go value of type map[string]string"));
        }
    };
    let text = |(name, value)| match value {
        Value::String(value) => Ok((name, value)),
        Value::Null => Ok((name, String::new())),
        other => Err(format!("json: cannot unmarshal {} into Go value of type string", kind(&other))),
    };
    all.into_iter().map(text).collect()
}

/// `/targets/relabel_steps`: what each relabeling rule of a pool does to a label set.
pub(super) fn relabel_steps(state: &State, call: &Call) -> ApiResult {
    let pool = pool_parameter(call)?;
    let labels = call.form.get("labels");
    if labels.is_empty() {
        return Err(ApiError::bad_data("no labels parameter provided"));
    }
    let labels = string_map(labels).map_err(|e| ApiError::bad_data(format!("error parsing labels: {e}")))?;
    let config = state.parts.config.load();
    let texts = config.texts.as_ref();
    let rules = texts.and_then(|texts| texts.relabel_rules(pool)).ok_or_else(|| unknown_pool(pool))?;
    let mut builder = Labels::from_pairs(&labels).to_builder();
    let steps = model::relabel::trace(rules, &mut builder);
    let mut answer = Answer::with_capacity(512 * (1 + rules.len()));
    answer.json.raw("{\"steps\":").list(rules.iter().zip(&steps), |json, (rule, step)| {
        // Plain texts and numbers always have a JSON form.
        let rule = serde_json::to_string(rule).unwrap_or_else(|_| "null".to_string());
        json.raw("{\"rule\":")
            .raw(&html_safe(&rule))
            .raw(",\"output\":")
            .labels(&step.output)
            .raw(",\"keep\":")
            .bool(step.keep)
            .raw("}");
    });
    answer.json.raw("}");
    Ok(answer.done())
}

/// A rule's own JSON with Go's escapes; these characters stand in strings only.
fn html_safe(json: &str) -> String {
    json.replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026")
}

/// `/targets`.
pub(super) fn targets(state: &State, call: &Call) -> ApiResult {
    let wanted = call.form.query("state").to_lowercase();
    let both = matches!(wanted.as_str(), "" | "any");
    let (active, dropped) = (both || wanted == "active", both || wanted == "dropped");
    let filter = Some(call.form.query("scrapePool")).filter(|p| !p.is_empty());
    let pools = state.parts.scrape.targets(filter);
    let options = &state.parts.options;
    let count: usize = pools.iter().map(|p| p.active.len()).sum();
    let mut answer = Answer::with_capacity(256 + 1024 * count);
    let json = &mut answer.json;
    let each = |p: &'_ PoolTargets| -> Vec<(String, TargetView)> {
        p.active.iter().map(|t| (p.pool.clone(), t.clone())).collect()
    };
    let shown = pools.iter().filter(|_| active).flat_map(each);
    json.raw("{\"activeTargets\":").list(shown, |json, (pool, t)| write_target(json, &pool, &t, options));
    let gone = pools.iter().filter(|_| dropped).flat_map(|p| p.dropped.iter().map(move |l| (&p.pool, l)));
    json.raw(",\"droppedTargets\":").list(gone, |json, (pool, labels)| {
        json.raw("{\"discoveredLabels\":").labels(labels).raw(",\"scrapePool\":").string(pool).raw("}");
    });
    json.raw(",\"droppedTargetCounts\":");
    if dropped {
        json.raw("{");
        for (i, p) in pools.iter().enumerate() {
            json.raw(if i > 0 { "," } else { "" }).string(&p.pool).raw(":").uint(p.dropped_count as u64);
        }
        json.raw("}}");
    } else {
        json.raw("null}");
    }
    Ok(answer.done())
}

fn write_target(json: &mut Json, pool: &str, t: &TargetView, options: &Options) {
    json.raw("{\"discoveredLabels\":").labels(&t.discovered_labels).raw(",\"labels\":").labels(&t.labels);
    json.raw(",\"scrapePool\":").string(pool).raw(",\"scrapeUrl\":").string(&t.url);
    json.raw(",\"globalUrl\":").string(&global_url(&t.url, options));
    json.raw(",\"lastError\":").string(&t.last_error).raw(",\"lastScrape\":");
    match t.last_scrape {
        Some(at) => json.time(at),
        None => json.string(GO_ZERO_TIME),
    };
    json.raw(",\"lastScrapeDuration\":").float(seconds(t.last_scrape_duration));
    json.raw(",\"health\":").string(t.health).raw(",\"scrapeInterval\":").string(&t.interval);
    json.raw(",\"scrapeTimeout\":").string(&t.timeout).raw("}");
}

/// A target's address as it can be reached from outside: this server's own by the external URL, another
/// port of this machine by the external URL's host.
fn global_url(url: &str, options: &Options) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_string() };
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (host, port) = split_host_port(authority);
    if !matches!(host, "127.0.0.1" | "localhost" | "::1") {
        return url.to_string();
    }
    let (_, own_port) = split_host_port(&options.listen_address);
    if port == own_port && !own_port.is_empty() {
        return format!("{}://{}{path}", options.external_scheme, options.external_host);
    }
    let (outside, _) = split_host_port(&options.external_host);
    let outside = if outside.contains(':') { format!("[{outside}]") } else { outside.to_string() };
    match port {
        "" => format!("{scheme}://{outside}{path}"),
        port => format!("{scheme}://{outside}:{port}{path}"),
    }
}

/// Host without brackets, and port ("" where absent).
fn split_host_port(authority: &str) -> (&str, &str) {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, tail) = rest.split_once(']').unwrap_or((rest, ""));
        return (host, tail.strip_prefix(':').unwrap_or(""));
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host, port),
        _ => (authority, ""),
    }
}

/// `limit` and its like: −1 for none.
fn number(call: &Call, name: &str) -> Result<i64, ApiError> {
    match call.form.get(name) {
        "" => Ok(-1),
        text => atoi(text).map_err(|_| ApiError::bad_data(format!("{name} must be a number"))),
    }
}

fn reached(limit: i64, count: usize) -> bool {
    usize::try_from(limit).is_ok_and(|limit| count >= limit)
}

fn metric_parameter(call: &Call) -> Option<&str> {
    Some(call.form.get("metric")).filter(|m| !m.is_empty())
}

/// `/targets/metadata`.
pub(super) fn targets_metadata(state: &State, call: &Call) -> ApiResult {
    let limit = number(call, "limit")?;
    let matchers = match call.form.get("match_target") {
        "" => Vec::new(),
        text => crate::selectors::one(&call.context(state).budget, text)
            .map_err(|e| e.api(|text| ApiError::parameter("match_target", text)))?,
    };
    let metric = metric_parameter(call);
    let targets = state.parts.scrape.metadata(metric);
    let mut answer = Answer::with_capacity(4096);
    let json = &mut answer.json;
    let mut count = 0;
    json.raw("[");
    for t in &targets {
        // Upstream looks at the limit between targets, not within one.
        if reached(limit, count) {
            break;
        }
        if !matchers.iter().all(|m| m.matches(t.labels.get(m.name()))) {
            continue;
        }
        for (family, m) in &t.families {
            json.raw(if count > 0 { "," } else { "" }).raw("{\"target\":").labels(&t.labels);
            if metric.is_none() {
                json.raw(",\"metric\":").string(family);
            }
            json.raw(",\"type\":").string(m.kind.as_str()).raw(",\"help\":").string(&m.help);
            json.raw(",\"unit\":").string(&m.unit).raw("}");
            count += 1;
        }
    }
    json.raw("]");
    Ok(answer.done())
}

/// `/metadata`: what targets say of each family, each differing statement once.
pub(super) fn metadata(state: &State, call: &Call) -> ApiResult {
    let limit = number(call, "limit")?;
    let per_metric = number(call, "limit_per_metric")?;
    let targets = state.parts.scrape.metadata(metric_parameter(call));
    let mut families: BTreeMap<&str, Vec<&MetricMetadata>> = BTreeMap::new();
    for (family, m) in targets.iter().flat_map(|t| &t.families) {
        let known = families.entry(family).or_default();
        if (per_metric <= 0 || !reached(per_metric, known.len())) && !known.contains(&m) {
            known.push(m);
        }
    }
    let shown = if limit < 0 { usize::MAX } else { limit as usize };
    let mut answer = Answer::with_capacity(256 * families.len().min(shown) + 64);
    let json = &mut answer.json;
    json.raw("{");
    for (i, (family, all)) in families.iter().take(shown).enumerate() {
        json.raw(if i > 0 { "," } else { "" })
            .string(family)
            .raw(":")
            .list(all, |json, m| write_metadata(json, m));
    }
    json.raw("}");
    Ok(answer.done())
}

fn write_metadata(json: &mut Json, m: &MetricMetadata) {
    let kind: MetricType = m.kind;
    json.raw("{\"type\":").string(kind.as_str()).raw(",\"unit\":").string(&m.unit);
    json.raw(",\"help\":").string(&m.help).raw("}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn global_urls() {
        let o = Options {
            listen_address: "0.0.0.0:9090".into(),
            external_scheme: "https".into(),
            external_host: "prom.example:443".into(),
            ..Options::default()
        };
        for (url, want) in [
            ("http://localhost:9090/metrics", "https://prom.example:443/metrics"),
            ("http://127.0.0.1:9100/metrics?a=b", "http://prom.example:9100/metrics?a=b"),
            ("http://[::1]:9090/m", "https://prom.example:443/m"),
            ("http://localhost/m", "http://prom.example/m"),
            ("http://10.0.0.1:9090/m", "http://10.0.0.1:9090/m"),
        ] {
            assert_eq!(global_url(url, &o), want, "{url}");
        }
    }
}
