//! `/status/*`, `/features`, `/notifications`.

use std::time::{Duration, SystemTime};

use exposition::{Family, MetricData};
use storage::CardinalityEntry;

use super::Call;
use crate::json::Json;
use crate::respond::{Answer, ApiError, ApiResult, ErrorKind};
use crate::state::{BuildInfo, State};

/// `/status/config`.
pub(super) fn config(state: &State) -> ApiResult {
    let mut answer = Answer::new();
    let config = state.parts.config.load();
    answer.json.raw("{\"yaml\":").string(config.texts.as_ref().map_or("", |texts| texts.whole())).raw("}");
    Ok(answer.done())
}

/// `/status/flags`.
pub(super) fn flags(state: &State) -> ApiResult {
    let mut answer = Answer::new();
    object(&mut answer.json, state.parts.flags.iter(), |json, v| {
        json.string(v);
    });
    Ok(answer.done())
}

fn object<'a, V: 'a>(
    json: &mut Json,
    entries: impl Iterator<Item = (&'a String, &'a V)>,
    mut write: impl FnMut(&mut Json, &V),
) {
    json.raw("{");
    for (i, (k, v)) in entries.enumerate() {
        json.raw(if i > 0 { "," } else { "" }).string_plain(k).raw(":");
        write(json, v);
    }
    json.raw("}");
}

/// `/features`.
pub(super) fn features(state: &State) -> ApiResult {
    let mut answer = Answer::new();
    object(&mut answer.json, state.parts.features.iter(), |json, category| {
        object(json, category.iter(), |json, on| {
            json.bool(*on);
        });
    });
    Ok(answer.done())
}

/// `/status/buildinfo`. No `features`: Grafana takes a server with that field for Mimir.
pub(super) fn build(state: &State) -> ApiResult {
    let mut answer = Answer::new();
    write_build(&mut answer.json, &state.parts.build);
    Ok(answer.done())
}

/// Build information, as `/version` gives it too.
pub(crate) fn write_build(json: &mut Json, b: &BuildInfo) {
    json.raw("{\"version\":").string(&b.version).raw(",\"revision\":").string(&b.revision);
    json.raw(",\"branch\":").string(&b.branch).raw(",\"buildUser\":").string(&b.build_user);
    json.raw(",\"buildDate\":").string(&b.build_date).raw(",\"goVersion\":").string(&b.compiler);
    json.raw(",\"server\":").string("godwit").raw(",\"serverVersion\":").string(&b.godwit_version).raw("}");
}

/// Value of a family without labels.
fn number(families: &[Family], name: &str) -> Option<f64> {
    let family = families.iter().find(|f| f.name == name)?;
    match family.metrics.first()?.data {
        MetricData::Number(v) => Some(v),
        _ => None,
    }
}

/// `/status/runtimeinfo`. As upstream, the reload's outcome is read from godwit's own metrics.
pub(super) fn runtime(state: &State) -> ApiResult {
    let families = state.parts.registry.gather();
    let reloaded = number(&families, "prometheus_config_last_reload_successful");
    let reloaded_at = number(&families, "prometheus_config_last_reload_success_timestamp_seconds");
    let corruptions = number(&families, "prometheus_tsdb_wal_corruptions_total").unwrap_or(0.0);
    let cwd = std::env::current_dir().map_or_else(
        |_| "<error retrieving current working directory>".to_string(),
        |p| p.display().to_string(),
    );
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let tasks = tokio::runtime::Handle::try_current().map_or(0, |h| h.metrics().num_alive_tasks());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut answer = Answer::new();
    let json = &mut answer.json;
    json.raw("{\"startTime\":").time(state.birth).raw(",\"CWD\":").string(&cwd);
    json.raw(",\"hostname\":").string(hostname.trim_end());
    json.raw(",\"serverTime\":").time(SystemTime::UNIX_EPOCH + state.parts.clock.now());
    json.raw(",\"reloadConfigSuccess\":").bool(reloaded.is_some_and(|v| v != 0.0));
    json.raw(",\"lastConfigTime\":");
    match reloaded_at {
        Some(at) if at > 0.0 => json.time(SystemTime::UNIX_EPOCH + Duration::from_secs(at as u64)),
        _ => json.string("1970-01-01T00:00:00Z"),
    };
    json.raw(",\"corruptionCount\":").int(corruptions as i64);
    json.raw(",\"goroutineCount\":").uint(tasks as u64);
    json.raw(",\"GOMAXPROCS\":").uint(cores as u64);
    // Go's "no limit"; godwit's own limits are in its flags.
    json.raw(",\"GOMEMLIMIT\":").int(i64::MAX);
    json.raw(",\"GOGC\":\"\",\"GODEBUG\":\"\",\"storageRetention\":");
    json.string(&state.parts.config.load().storage_retention).raw("}");
    Ok(answer.done())
}

/// Rows of the cardinality tables at most, upstream's.
const TSDB_LIMIT_MAX: i64 = 10_000;

/// `/status/tsdb`.
pub(super) fn tsdb(state: &State, call: &Call) -> ApiResult {
    let mut limit = 10;
    let text = call.form.get("limit");
    if !text.is_empty() {
        limit = crate::text::atoi(text).unwrap_or(0);
        if limit < 1 {
            return Err(ApiError::bad_data("limit must be a positive number"));
        }
        if limit > TSDB_LIMIT_MAX {
            return Err(ApiError::bad_data(format!("limit must not exceed {TSDB_LIMIT_MAX}")));
        }
    }
    let ctx = call.context(state);
    let s = state.parts.status.tsdb_status(&ctx, limit as usize).map_err(|e| internal(&e))?;
    let mut answer = Answer::new();
    let json = &mut answer.json;
    json.raw("{\"headStats\":{\"numSeries\":").uint(s.head.series);
    json.raw(",\"numLabelPairs\":").uint(s.head.label_pairs).raw(",\"chunkCount\":").uint(s.head.chunks);
    json.raw(",\"minTime\":").int(s.head.mint_ms).raw(",\"maxTime\":").int(s.head.maxt_ms).raw("}");
    let tables: [(&str, &[CardinalityEntry]); 4] = [
        ("seriesCountByMetricName", &s.series_by_metric),
        ("labelValueCountByLabelName", &s.values_by_label),
        ("memoryInBytesByLabelName", &s.memory_by_label),
        ("seriesCountByLabelValuePair", &s.series_by_pair),
    ];
    for (name, rows) in tables {
        json.raw(",").key(name).list(rows, |json, row| {
            json.raw("{\"name\":").string(&row.name).raw(",\"value\":").uint(row.value).raw("}");
        });
    }
    write_new_series(json, &state.parts.status.new_series());
    json.raw("}");
    Ok(answer.done())
}

/// Ours: whether new series are taken, and who brings them.
/// A store that does not watch has no such field.
fn write_new_series(json: &mut Json, s: &storage::NewSeriesStatus) {
    if s.watermark_bytes == 0 && s.refused_for.is_none() {
        return;
    }
    json.raw(",\"newSeries\":{\"refusedFor\":").string(s.refused_for.as_deref().unwrap_or_default());
    json.raw(",\"refused\":").uint(s.refused);
    json.raw(",\"memoryBytes\":").uint(s.memory_bytes).raw(",\"watermarkBytes\":").uint(s.watermark_bytes);
    json.raw(",\"lastMinute\":").list(&s.sources, |json, source| {
        json.raw("{\"job\":").string(&source.job).raw(",\"metric\":").string(&source.metric);
        json.raw(",\"label\":").string(&source.label).raw(",\"taken\":").uint(source.created);
        json.raw(",\"refused\":").uint(source.refused).raw("}");
    });
    json.raw("}");
}

fn internal(e: &storage::StorageError) -> ApiError {
    let kind = match e {
        storage::StorageError::NotReady => ErrorKind::Unavailable,
        _ => ErrorKind::Internal,
    };
    ApiError::new(kind, e.to_string())
}

/// `/status/tsdb/blocks`.
pub(super) fn blocks(state: &State) -> ApiResult {
    let blocks = state
        .parts
        .status
        .blocks()
        .map_err(|e| ApiError::new(internal(&e).kind, format!("error getting block metadata: {e}")))?;
    let mut answer = Answer::new();
    // A meta.json that is not JSON would break the answer: it is left out.
    let metas = blocks.iter().filter_map(|b| compact(&b.meta_json));
    answer.json.raw("{\"blocks\":").list(metas, |json, meta| {
        json.raw(&meta);
    });
    answer.json.raw("}");
    Ok(answer.done())
}

/// JSON without the white space between its tokens; `None` where it is not JSON.
fn compact(text: &str) -> Option<String> {
    serde_json::from_str::<serde::de::IgnoredAny>(text).ok()?;
    let mut out = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in text.chars() {
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if c == '"' {
            in_string = true;
        } else if c.is_ascii_whitespace() {
            continue;
        }
        out.push(c);
    }
    Some(out)
}

/// `/status/walreplay`.
pub(super) fn replay(state: &State) -> ApiResult {
    let (min, max, current) = state.parts.status.replay_progress();
    let mut answer = Answer::new();
    answer
        .json
        .raw("{\"min\":")
        .uint(min)
        .raw(",\"max\":")
        .uint(max)
        .raw(",\"current\":")
        .uint(current)
        .raw("}");
    Ok(answer.done())
}

/// `/notifications`.
pub(super) fn notifications(state: &State) -> ApiResult {
    let mut answer = Answer::new();
    answer.json.list(state.notifications.list(), |json, (text, at)| {
        crate::notifications::write_notice(json, &text, at, true);
    });
    Ok(answer.done())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_goes_but_not_in_strings() {
        let text = "{\n\t\"a b\": \"c \\\" d\\\\\",\n \"n\": [1, 2]\r\n}";
        assert_eq!(compact(text).unwrap(), r#"{"a b":"c \" d\\","n":[1,2]}"#);
        assert_eq!(compact("{"), None);
    }
}
