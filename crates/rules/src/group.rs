//! A group of rules: evaluates them, writes what comes of it, marks series that ended (upstream: `rules/group.go`).

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use model::{HistogramValue, Labels, stale_nan};
use parking_lot::Mutex;
use promql::{QueryError, SampleValue};
use storage::{AppendError, Appender, SeriesRef};
use tokio_util::sync::CancellationToken;

use crate::alerting::nanos;
use crate::depends;
use crate::evaluate::{EvalError, Shared, Written, to_ms};
use crate::load::GroupSpec;
use crate::metrics::GroupMetrics;
use crate::recording;
use crate::rule::Rule;

/// What of a group changes.
#[derive(Default)]
pub(crate) struct Last {
    pub(crate) took: Duration,
    pub(crate) began_ns: Option<i64>,
    /// Series of rules that are no more.
    ended: Vec<Labels>,
}

/// A running group.
pub(crate) struct Group {
    pub(crate) spec: GroupSpec,
    /// File and name: `rule_group` of its metrics.
    pub(crate) key: String,
    pub(crate) rules: Vec<Rule>,
    /// Rules by index, those that may run at once together.
    batches: Vec<Vec<usize>>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) metrics: GroupMetrics,
    pub(crate) last: Mutex<Last>,
    restores: AtomicBool,
    /// It is configured no more, so that its series end.
    pub(crate) gone: AtomicBool,
}

/// `rule_group` of a group.
pub(crate) fn key(file: &str, name: &str) -> String {
    format!("{file};{name}")
}

/// How the store refused samples of one rule.
#[derive(Default)]
struct Refused {
    out_of_order: usize,
    too_old: usize,
    duplicate: usize,
}

/// Refusals that are no wonder for a staleness marker: another rule writes the series.
fn expected(error: &AppendError) -> bool {
    matches!(
        error,
        AppendError::OutOfOrder | AppendError::TooOld | AppendError::OutOfBounds | AppendError::Duplicate
    )
}

impl Group {
    /// A group that has run nothing yet; `restores` where states of before the start are to be looked for.
    pub(crate) fn new(spec: GroupSpec, shared: &Arc<Shared>, restores: bool) -> Group {
        let key = key(&spec.file, &spec.name);
        let metrics = shared.metrics.begin(&key, spec.rules.len(), spec.interval.as_secs_f64());
        let batches = if shared.options.concurrent_evals > 0 {
            depends::batches(&spec.rules)
        } else {
            (0..spec.rules.len()).map(|i| vec![i]).collect()
        };
        Group {
            rules: spec.rules.iter().map(|rule| Rule::new(rule.clone(), !restores)).collect(),
            key,
            batches,
            shared: Arc::clone(shared),
            metrics,
            last: Mutex::default(),
            restores: AtomicBool::new(restores),
            gone: AtomicBool::new(false),
            spec,
        }
    }

    pub(crate) fn restores(&self) -> bool {
        self.restores.load(Ordering::Acquire)
    }

    pub(crate) fn restore_done(&self) {
        self.restores.store(false, Ordering::Release);
    }

    /// Goes on for a group that stopped: rules that are there again keep what they know, series of others end.
    pub(crate) fn take_over(&self, from: &Group) {
        let mut old: HashMap<(&str, &crate::Pairs), Vec<&Rule>> = HashMap::new();
        for rule in from.rules.iter().rev() {
            old.entry((&rule.spec.name, &rule.spec.labels)).or_default().push(rule);
        }
        for rule in &self.rules {
            let same = old.get_mut(&(rule.spec.name.as_str(), &rule.spec.labels)).and_then(Vec::pop);
            if let Some(same) = same {
                rule.take_over(same);
            }
        }
        let mut before = std::mem::take(&mut *from.last.lock());
        for rule in old.into_values().flatten() {
            before.ended.extend(rule.series.lock().drain().map(|(labels, _)| labels));
        }
        *self.last.lock() = before;
    }

    fn offset_ns(&self) -> i64 {
        let of_all = || self.shared.query_offset_ns.load(Ordering::Relaxed);
        self.spec.query_offset.map_or_else(of_all, nanos)
    }

    /// Evaluates all rules once. Blocks.
    pub(crate) fn iteration(&self, ts_ns: i64, stop: &CancellationToken) {
        self.metrics.scheduled.inc();
        let (began, began_ns) = (Instant::now(), self.shared.now_ns());
        let samples = AtomicUsize::new(0);
        let offset_ns = self.offset_ns();
        for batch in &self.batches {
            std::thread::scope(|scope| {
                for rule in batch.iter().filter_map(|i| self.rules.get(*i)) {
                    if stop.is_cancelled() {
                        return;
                    }
                    let count = &samples;
                    let work = move || {
                        count.fetch_add(self.evaluate(rule, ts_ns, offset_ns), Ordering::Relaxed);
                    };
                    let place = if batch.len() > 1 { self.shared.place_beside() } else { None };
                    match place {
                        Some(place) => {
                            scope.spawn(move || {
                                let _place = place;
                                work();
                            });
                        }
                        None => work(),
                    }
                }
            });
        }
        if !stop.is_cancelled() {
            self.metrics.samples.set(samples.into_inner() as f64);
            self.end_series(ts_ns, offset_ns);
        }
        let took = began.elapsed();
        let (summary, histogram) = &self.shared.metrics.group_seconds;
        summary.observe(took.as_secs_f64());
        histogram.observe(took.as_secs_f64());
        let sum: Duration = self.rules.iter().map(|rule| rule.outcome.lock().took).sum();
        self.metrics.last_rule_sum.set(sum.as_secs_f64());
        self.metrics.last_duration.set(took.as_secs_f64());
        self.metrics.last_evaluation.set(began_ns as f64 / 1e9);
        let mut last = self.last.lock();
        (last.took, last.began_ns) = (took, Some(began_ns));
    }

    /// One rule; samples that came of it.
    fn evaluate(&self, rule: &Rule, ts_ns: i64, offset_ns: i64) -> usize {
        let (began, began_ns) = (Instant::now(), self.shared.now_ns());
        self.metrics.evaluations.inc();
        let count = match self.result(rule, ts_ns, offset_ns) {
            Ok(written) => {
                rule.outcome.lock().error = Some(Ok(()));
                if let Some(alerting) = &rule.alerting {
                    let alerts = alerting.to_send(&rule.spec, &self.shared, ts_ns, self.spec.interval);
                    if !alerts.is_empty() {
                        self.shared.notify.send(alerts);
                    }
                }
                self.write(rule, &written, to_ms(ts_ns.saturating_sub(offset_ns)));
                written.len()
            }
            Err(error) => {
                self.metrics.failures.inc();
                // What is canceled is the end of the server.
                if !matches!(error, EvalError::Query(QueryError::Canceled(_))) {
                    let (file, group, name) = (&self.spec.file, &self.spec.name, &rule.spec.name);
                    tracing::warn!(file, group, name, %error, "Evaluating rule failed");
                }
                rule.fail(error.to_string());
                0
            }
        };
        let took = began.elapsed();
        let (summary, histogram) = &self.shared.metrics.rule_seconds;
        summary.observe(took.as_secs_f64());
        histogram.observe(took.as_secs_f64());
        let mut outcome = rule.outcome.lock();
        (outcome.took, outcome.began_ns) = (took, Some(began_ns));
        count
    }

    fn result(&self, rule: &Rule, ts_ns: i64, offset_ns: i64) -> Result<Vec<Written>, EvalError> {
        let result =
            self.shared.query(&self.spec, &rule.spec.query, to_ms(ts_ns.saturating_sub(offset_ns)))?;
        match &rule.alerting {
            None => recording::written(&rule.spec, result, self.spec.limit),
            Some(alerting) => alerting.advance(&rule.spec, result, &self.shared, ts_ns, &self.spec),
        }
    }

    /// Stores a rule's samples, and ends the series that it wrote last time and now does not.
    fn write(&self, rule: &Rule, written: &[Written], t_ms: i64) {
        let before = rule.series.lock().clone();
        if written.is_empty() && before.is_empty() {
            return;
        }
        let mut appender = self.appender();
        let mut now = HashMap::with_capacity(written.len());
        let mut refused = Refused::default();
        for one in written {
            let known = before.get(&one.labels).copied().unwrap_or_default();
            match append(&mut *appender, known, one, t_ms) {
                Ok(series) => {
                    now.insert(one.labels.clone(), series);
                }
                Err(error) => {
                    match &error {
                        AppendError::OutOfOrder => refused.out_of_order += 1,
                        AppendError::TooOld | AppendError::OutOfBounds => refused.too_old += 1,
                        AppendError::Duplicate => refused.duplicate += 1,
                        _ => {
                            let (rule, series) = (&rule.spec.name, &one.labels);
                            tracing::warn!(group = self.key, rule, %series, %error, "Rule evaluation result discarded");
                        }
                    }
                    rule.fail(error.to_string());
                }
            }
        }
        self.tell(rule, &refused);
        for (labels, series) in before.iter().filter(|(labels, _)| !now.contains_key(*labels)) {
            let marker = end(&mut *appender, *series, labels, t_ms);
            if let Err(error) = marker.filter_unexpected() {
                tracing::warn!(group = self.key, series = %labels, %error, "Adding stale sample failed");
            }
        }
        match appender.commit() {
            Ok(_) => *rule.series.lock() = now,
            Err(error) => {
                self.metrics.failures.inc();
                tracing::warn!(group = self.key, rule = rule.spec.name, %error, "Rule sample appending failed");
                rule.fail(error.to_string());
            }
        }
    }

    fn tell(&self, rule: &Rule, refused: &Refused) {
        let (group, rule) = (&self.key, &rule.spec.name);
        for (num_dropped, what) in [
            (refused.out_of_order, "Error on ingesting out-of-order result from rule evaluation"),
            (refused.too_old, "Error on ingesting too old result from rule evaluation"),
            (
                refused.duplicate,
                "Error on ingesting results from rule evaluation with different value but same timestamp",
            ),
        ] {
            if num_dropped > 0 {
                tracing::warn!(group, rule, num_dropped, "{what}");
            }
        }
    }

    fn appender(&self) -> Box<dyn Appender + '_> {
        let mut appender = self.shared.appendable.appender();
        appender.outrank(true);
        appender.discard_out_of_order(true);
        appender
    }

    /// Ends series of rules that the group has no more.
    fn end_series(&self, ts_ns: i64, offset_ns: i64) {
        let ended = std::mem::take(&mut self.last.lock().ended);
        if ended.is_empty() {
            return;
        }
        let t_ms = to_ms(ts_ns.saturating_sub(offset_ns));
        let mut appender = self.appender();
        for labels in &ended {
            let marker = end(&mut *appender, SeriesRef::NONE, labels, t_ms);
            if let Err(error) = marker.filter_unexpected() {
                let series = labels;
                tracing::warn!(group = self.key, %series, %error, "Adding stale sample for previous configuration failed");
            }
        }
        if let Err(error) = appender.commit() {
            tracing::warn!(group = self.key, %error, "Stale sample appending for previous configuration failed");
            self.last.lock().ended.extend(ended);
        }
    }

    /// Ends all series: the group is no more.
    pub(crate) fn end_all_series(&self, ts_ns: i64) {
        let all = self.rules.iter().flat_map(|rule| std::mem::take(&mut *rule.series.lock()).into_keys());
        let all: Vec<Labels> = all.collect();
        self.last.lock().ended.extend(all);
        self.end_series(ts_ns, self.offset_ns());
    }
}

fn append(
    appender: &mut dyn Appender,
    series: SeriesRef,
    one: &Written,
    t_ms: i64,
) -> Result<SeriesRef, AppendError> {
    let mut put = |series: SeriesRef| match &one.value {
        SampleValue::Float(v) => appender.append(series, &one.labels, 0, t_ms, *v),
        SampleValue::Histogram(h) => {
            appender.append_histogram(series, &one.labels, 0, t_ms, &HistogramValue::Float(Arc::clone(h)))
        }
    };
    match put(series) {
        // It left memory meanwhile.
        Err(AppendError::UnknownSeries) if !series.is_none() => put(SeriesRef::NONE),
        result => result,
    }
}

/// A staleness marker.
fn end(
    appender: &mut dyn Appender,
    series: SeriesRef,
    labels: &Labels,
    t_ms: i64,
) -> Result<SeriesRef, AppendError> {
    let marker = Written { labels: labels.clone(), value: SampleValue::Float(stale_nan()) };
    append(appender, series, &marker, t_ms)
}

trait Unexpected {
    fn filter_unexpected(self) -> Result<(), AppendError>;
}

impl Unexpected for Result<SeriesRef, AppendError> {
    fn filter_unexpected(self) -> Result<(), AppendError> {
        match self {
            Err(error) if !expected(&error) => Err(error),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use model::Matcher;
    use model::clock::SystemClock;
    use promql::{Engine, EngineOptions, ParserOptions};
    use storage::memory::MemoryStore;
    use storage::{QueryContext, Queryable, SampleBuf, SelectHints};
    use telemetry::Registry;

    use super::*;
    use crate::load::{RuleKind, RuleSpec};
    use crate::metrics::Metrics;
    use crate::{Options, Parts};

    type Sent = Arc<Mutex<Vec<model::Alert>>>;

    fn shared(store: &MemoryStore) -> (Arc<Shared>, Sent) {
        let (registry, sent) = (Registry::new(), Sent::default());
        let taken = Arc::clone(&sent);
        let parts = Parts {
            engine: Engine::new(EngineOptions::default(), &registry),
            queryable: Arc::new(store.clone()),
            appendable: Arc::new(store.clone()),
            notify: Arc::new(move |alerts| taken.lock().extend(alerts)),
            clock: Arc::new(SystemClock),
        };
        let options = Options {
            external_url: "http://x".into(),
            external_path: String::new(),
            outage_tolerance: Duration::from_secs(3600),
            grace_period: Duration::from_secs(600),
            resend_delay: Duration::from_secs(60),
            concurrent_evals: 4,
            groups_at_once: 1,
        };
        (Arc::new(Shared::new(parts, Metrics::new(&registry), options)), sent)
    }

    fn rule(name: &str, query: &str, kind: RuleKind) -> RuleSpec {
        let expr = promql::parse(query, ParserOptions::all()).unwrap();
        RuleSpec {
            name: name.into(),
            query: expr.to_string(),
            expr: Arc::new(expr),
            labels: Vec::new(),
            kind,
        }
    }

    fn spec(rules: Vec<RuleSpec>) -> GroupSpec {
        let interval = Duration::from_secs(60);
        GroupSpec { file: "f".into(), name: "g".into(), interval, query_offset: None, limit: 0, rules }
    }

    /// Samples of a series by minute; a staleness marker is `None`.
    fn stored(store: &MemoryStore, matchers: &[Matcher]) -> Vec<(i64, Option<f64>)> {
        let querier = store.querier(0, i64::MAX).unwrap();
        let found =
            querier.select(&QueryContext::unlimited(), true, &SelectHints::default(), matchers).unwrap();
        let mut samples = SampleBuf::default();
        found.series.iter().for_each(|s| s.read(0, i64::MAX, &mut samples).unwrap());
        let value = |v: &f64| (!model::is_stale_nan(*v)).then_some(*v);
        samples.times.iter().zip(&samples.values).map(|(t, v)| (t / 60_000, value(v))).collect()
    }

    fn at(group: &Group, minute: i64) {
        group.iteration(minute * 60_000_000_000, &CancellationToken::new());
    }

    #[test]
    fn alerts_go_through_their_states_and_series_end() {
        let store = MemoryStore::new();
        let hot = Labels::from_pairs([("__name__", "hot"), ("room", "east")]);
        // It holds from minute 1 to 4 and from 9 on.
        let values: Vec<(i64, f64)> =
            (1..12).map(|m| (m * 60_000, f64::from(u8::from(!(5..9).contains(&m))))).collect();
        store.load(&hot, &values).unwrap();
        let (shared, sent) = shared(&store);
        let minutes = |n: u64| Duration::from_secs(n * 60);
        let kind =
            RuleKind::Alerting { hold: minutes(2), keep_firing_for: minutes(2), annotations: Vec::new() };
        let rules = vec![rule("kept", "hot == 1", RuleKind::Recording), rule("Hot", "hot == 1", kind)];
        let group = Group::new(spec(rules.clone()), &shared, false);
        let state = |group: &Group| group.rules[1].alerting.as_ref().unwrap().state().as_str();
        let mut seen = Vec::new();
        for minute in 1..=8 {
            at(&group, minute);
            seen.push(state(&group));
        }
        let want = ["pending", "pending", "firing", "firing", "firing", "firing", "inactive", "inactive"];
        assert_eq!(seen, want);
        let name = |n: &str| Matcher::equal("__name__", n);
        let ones = |range: std::ops::Range<i64>| range.map(|m| (m, Some(1.0))).collect::<Vec<_>>();
        assert_eq!(stored(&store, &[name("kept")]), [ones(1..5), vec![(5, None)]].concat());
        let firing = [name("ALERTS"), Matcher::equal("alertstate", "firing")];
        assert_eq!(stored(&store, &firing), [ones(3..7), vec![(7, None)]].concat());
        let pending = [name("ALERTS"), Matcher::equal("alertstate", "pending")];
        assert_eq!(stored(&store, &pending), [ones(1..3), vec![(3, None)]].concat());
        let ends: Vec<_> =
            sent.lock().iter().map(|a| (a.starts_at_ms / 60_000, a.ends_at_ms / 60_000)).collect();
        // Sent when it fires, after more than the delay, and at once when it is resolved.
        assert_eq!(ends, [(3, 7), (3, 9), (3, 7)]);

        // It fires anew. A reload without the recording rule ends that one's series and keeps the alert.
        at(&group, 9);
        let shorter = Group::new(spec(rules[1..].to_vec()), &shared, false);
        shorter.take_over(&group);
        at(&shorter, 10);
        at(&shorter, 11);
        assert_eq!(shorter.rules[0].alerting.as_ref().unwrap().state().as_str(), "firing");
        assert_eq!(stored(&store, &[name("kept")])[5..], [(9, Some(1.0)), (10, None)]);
    }
}
