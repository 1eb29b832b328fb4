//! The query log (`global.query_log_file`): one line of JSON for each query, in upstream's fields; and what is
//! said of slow queries in the server's own log.

use std::fs::File;
use std::io::Write;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use promql::QueryStats;
use telemetry::{Counter, Gauge, Registry};

use crate::json::Json;

/// Who asked.
#[derive(Clone, Copy)]
pub(crate) enum Origin<'a> {
    Http { client_ip: &'a str, method: &'a str, path: &'a str },
    Rule { file: &'a str, group: &'a str },
}

/// What one line says.
pub(crate) struct Logged<'a> {
    pub(crate) query: &'a str,
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    pub(crate) step_ms: i64,
    pub(crate) stats: &'a QueryStats,
    pub(crate) error: Option<&'a str>,
    pub(crate) origin: Origin<'a>,
}

#[derive(Default)]
struct Inner {
    slow: SlowQueries,
    path: String,
    file: Option<File>,
}

/// Which queries are slow, of godwit's own settings.
#[derive(Clone, Copy, Debug, Default)]
pub struct SlowQueries {
    /// Queries that take so long are told of in the server's log; zero: none.
    pub threshold: Duration,
    /// The query log takes these only.
    pub only: bool,
}

impl SlowQueries {
    fn has(self, stats: &QueryStats) -> bool {
        !self.threshold.is_zero() && stats.total_seconds + stats.queue_seconds >= self.threshold.as_secs_f64()
    }
}

/// The log; off until a file is named.
pub(crate) struct QueryLog {
    inner: Mutex<Inner>,
    enabled: Gauge,
    failures: Counter,
}

impl QueryLog {
    pub(crate) fn new(registry: &Registry) -> Self {
        QueryLog {
            inner: Mutex::default(),
            enabled: registry.gauge("prometheus_engine_query_log_enabled", "State of the query log."),
            failures: registry
                .counter("prometheus_engine_query_log_failures_total", "The number of query log failures."),
        }
    }

    /// Opens `path`, or closes the log where it is "". Always opens anew, so that a rotated file is left.
    pub(crate) fn reopen(&self, path: &str, slow: SlowQueries) -> std::io::Result<()> {
        let file =
            if path.is_empty() { None } else { Some(File::options().create(true).append(true).open(path)?) };
        self.enabled.set(if file.is_some() { 1.0 } else { 0.0 });
        *self.inner.lock() = Inner { slow, path: path.to_string(), file };
        Ok(())
    }

    /// Takes a query that has ended to where it belongs.
    pub(crate) fn ended(&self, l: &Logged<'_>) {
        let rule = self.inner.lock().slow;
        let slow = rule.has(l.stats);
        if slow {
            warn_slow(l);
        }
        if slow || !rule.only {
            self.write(l);
        }
    }

    fn write(&self, l: &Logged<'_>) {
        let mut inner = self.inner.lock();
        let Some(file) = &mut inner.file else { return };
        let mut json = Json::with_capacity(512 + l.query.len());
        json.raw("{\"time\":").time(SystemTime::now());
        json.raw(",\"level\":\"INFO\",\"source\":\"query_log.rs\",\"msg\":\"promql query logged\",\"params\":{\"end\":");
        json.string(&millis(l.end_ms)).raw(",\"query\":").string(l.query);
        json.raw(",\"start\":").string(&millis(l.start_ms)).raw(",\"step\":").int(l.step_ms / 1000).raw("}");
        if let Some(error) = l.error {
            json.raw(",\"error\":").string(error);
        }
        json.raw(",\"stats\":");
        write_stats(&mut json, l.stats);
        json.raw(",\"spanID\":\"0000000000000000\",\"traceID\":\"00000000000000000000000000000000\"");
        match l.origin {
            Origin::Http { client_ip, method, path } => {
                json.raw(",\"httpRequest\":{\"clientIP\":").string(client_ip);
                json.raw(",\"method\":").string(method).raw(",\"path\":").string(path);
            }
            Origin::Rule { file, group } => {
                json.raw(",\"ruleGroup\":{\"file\":").string(file).raw(",\"name\":").string(group);
            }
        }
        json.raw("}}\n");
        // One write a line, so that lines stay whole beside other writers of the file.
        if let Err(e) = file.write_all(&json.into_bytes()) {
            self.failures.inc();
            tracing::error!(file = %inner.path, error = %e, "can't log query");
        }
    }

    #[cfg(test)]
    fn is_on(&self) -> bool {
        self.inner.lock().file.is_some()
    }
}

/// Says in the server's log that a query was slow.
fn warn_slow(l: &Logged<'_>) {
    let s = l.stats;
    let (start, end, step_ms) = (millis(l.start_ms), millis(l.end_ms), l.step_ms);
    let (seconds, queued) = (s.total_seconds, s.queue_seconds);
    let (samples, bytes) = (s.samples_read, s.bytes_peak);
    let (from, whose) = match l.origin {
        Origin::Http { client_ip, path, .. } => (client_ip, path),
        Origin::Rule { file, group } => (file, group),
    };
    let error = l.error.unwrap_or_default();
    tracing::warn!(
        query = l.query,
        start,
        end,
        step_ms,
        seconds,
        queued,
        samples,
        bytes,
        from,
        whose,
        error,
        "slow query"
    );
}

/// Milliseconds in upstream's form, always with three digits below the second.
fn millis(t_ms: i64) -> String {
    let Ok(t) = jiff::Timestamp::from_millisecond(t_ms) else { return crate::time::GO_ZERO_TIME.to_string() };
    format!("{t:.3}")
}

/// Statistics as the API and the log show them.
pub(crate) fn write_stats(json: &mut Json, s: &QueryStats) {
    json.raw("{\"timings\":{\"evalTotalTime\":").float(s.eval_seconds);
    json.raw(",\"resultSortTime\":").float(s.sort_seconds);
    json.raw(",\"queryPreparationTime\":").float(s.prepare_seconds);
    json.raw(",\"innerEvalTime\":").float((s.eval_seconds - s.prepare_seconds - s.sort_seconds).max(0.0));
    json.raw(",\"execQueueTime\":").float(s.queue_seconds);
    json.raw(",\"execTotalTime\":").float(s.total_seconds);
    json.raw("},\"samples\":{");
    if let Some(steps) = &s.samples_per_step {
        json.raw("\"totalQueryableSamplesPerStep\":").list(steps, |json, (t, n)| {
            json.raw("[").time_ms(*t).raw(",").uint(*n).raw("]");
        });
        json.raw(",");
    }
    json.raw("\"totalQueryableSamples\":").uint(s.samples_total);
    json.raw(",\"samplesRead\":").uint(s.samples_read);
    json.raw(",\"peakSamples\":").uint(s.samples_peak).raw("}}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_json_and_reopened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("query.log");
        let log = QueryLog::new(&Registry::new());
        let stats = QueryStats { eval_seconds: 9.6e-7, samples_total: 5, ..QueryStats::default() };
        let line = Logged {
            query: "up\n{a=\"<\"}",
            start_ms: 0,
            end_ms: 1_795_331_297_645,
            step_ms: 1500,
            stats: &stats,
            error: Some("no"),
            origin: Origin::Http { client_ip: "127.0.0.1", method: "GET", path: "/api/v1/query" },
        };
        log.write(&line);
        log.reopen(path.to_str().unwrap(), SlowQueries::default()).unwrap();
        log.write(&line);
        std::fs::rename(&path, dir.path().join("old")).unwrap();
        log.reopen(path.to_str().unwrap(), SlowQueries::default()).unwrap();
        log.write(&line);
        let text = std::fs::read_to_string(&path).unwrap();
        let v: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(v["params"]["start"], "1970-01-01T00:00:00.000Z");
        assert_eq!(v["params"]["end"], "2026-11-22T07:08:17.645Z");
        assert_eq!((&v["params"]["step"], &v["error"]), (&1.into(), &"no".into()));
        assert!(text.contains("\"evalTotalTime\":9.6e-7"), "{text}");
        log.reopen("", SlowQueries::default()).unwrap();
        assert!(!log.is_on());
        assert!(log.reopen("/proc/nope/x", SlowQueries::default()).is_err());
    }

    #[test]
    fn only_slow_ones() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("query.log");
        let slow = SlowQueries { threshold: Duration::from_secs(2), only: true };
        let log = QueryLog::new(&Registry::new());
        log.reopen(path.to_str().unwrap(), slow).unwrap();
        for (total_seconds, queue_seconds) in [(1.9, 0.0), (2.0, 0.0), (0.0, 2.5)] {
            let stats = QueryStats { total_seconds, queue_seconds, ..QueryStats::default() };
            let origin = Origin::Rule { file: "r.yml", group: "g" };
            log.ended(&Logged {
                query: "up",
                start_ms: 0,
                end_ms: 0,
                step_ms: 0,
                stats: &stats,
                error: None,
                origin,
            });
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.ends_with(",\"ruleGroup\":{\"file\":\"r.yml\",\"name\":\"g\"}}\n"), "{text}");
    }
}
