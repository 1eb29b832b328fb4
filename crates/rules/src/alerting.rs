//! Alerting rules: the states of alerts (upstream: `rules/alerting.go`).

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gotemplate::{AlertTemplate, Prometheus};
use model::Labels;
use model::labels::METRIC_NAME;
use parking_lot::Mutex;
use promql::{SampleValue, VectorSample};

use crate::Pairs;
use crate::evaluate::{EvalError, Shared, TemplateQuery, Written, template_value, to_ms};
use crate::load::{GroupSpec, RuleKind, RuleSpec};

/// How long a resolved alert is kept, and so sent again: Alertmanager may have missed the first time.
const RESOLVED_RETENTION_NS: i64 = 15 * 60 * 1_000_000_000;
/// Series that shows alerts.
const ALERTS: &str = "ALERTS";
/// Series that shows since when they are active.
pub(crate) const ALERTS_FOR_STATE: &str = "ALERTS_FOR_STATE";
/// Label that names the alert.
pub(crate) const ALERT_NAME: &str = "alertname";

/// State of an alert, or of a rule: the highest of its alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// The rule has not been evaluated.
    Unknown,
    /// Neither of the others.
    Inactive,
    /// Holds, not for long enough.
    Pending,
    /// Holds.
    Firing,
}

impl State {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Unknown => "unknown",
            State::Inactive => "inactive",
            State::Pending => "pending",
            State::Firing => "firing",
        }
    }
}

/// One alert; times in nanoseconds since 1970.
#[derive(Clone, Debug)]
pub(crate) struct Alert {
    pub(crate) state: State,
    pub(crate) annotations: Pairs,
    pub(crate) value: f64,
    pub(crate) active_at_ns: i64,
    fired_at_ns: Option<i64>,
    pub(crate) resolved_at_ns: Option<i64>,
    last_sent_at_ns: Option<i64>,
    valid_until_ns: i64,
    pub(crate) keep_firing_since_ns: Option<i64>,
}

impl Alert {
    fn needs_sending(&self, ts_ns: i64, resend_delay_ns: i64) -> bool {
        if self.state == State::Pending {
            return false;
        }
        let Some(sent) = self.last_sent_at_ns else { return true };
        self.resolved_at_ns.is_some_and(|at| at > sent) || sent.saturating_add(resend_delay_ns) < ts_ns
    }
}

pub(crate) fn nanos(d: Duration) -> i64 {
    i64::try_from(d.as_nanos()).unwrap_or(i64::MAX)
}

/// What an alerting rule has besides its configuration.
pub(crate) struct Alerting {
    hold_ns: i64,
    keep_firing_for_ns: i64,
    labels: Vec<(String, AlertTemplate)>,
    annotations: Vec<(String, AlertTemplate)>,
    /// By labels, the alert's name among them.
    active: Mutex<HashMap<Labels, Alert>>,
    /// Whether states of before the start were looked for: only then series are written, which would hide those.
    restored: AtomicBool,
}

impl Alerting {
    /// `None` for a recording rule.
    pub(crate) fn new(spec: &RuleSpec, restored: bool) -> Option<Alerting> {
        let RuleKind::Alerting { hold, keep_firing_for, annotations } = &spec.kind else { return None };
        let template_name = format!("__alert_{}", spec.name);
        let templates = |pairs: &Pairs| {
            let one =
                |(name, text): &(String, String)| (name.clone(), AlertTemplate::new(text, &template_name));
            pairs.iter().map(one).collect()
        };
        Some(Alerting {
            hold_ns: nanos(*hold),
            keep_firing_for_ns: nanos(*keep_firing_for),
            labels: templates(&spec.labels),
            annotations: templates(annotations),
            active: Mutex::default(),
            restored: AtomicBool::new(restored),
        })
    }

    pub(crate) fn hold_ns(&self) -> i64 {
        self.hold_ns
    }

    pub(crate) fn set_restored(&self) {
        self.restored.store(true, Ordering::Release);
    }

    /// Takes over the alerts of the rule that this one replaces.
    pub(crate) fn take_over(&self, from: &Alerting) {
        let alerts = from.active.lock().clone();
        self.active.lock().extend(alerts);
    }

    /// The highest state of its alerts.
    pub(crate) fn state(&self) -> State {
        self.active.lock().values().map(|a| a.state).max().unwrap_or(State::Inactive)
    }

    /// Those that are not resolved, sorted by labels.
    pub(crate) fn active(&self) -> Vec<(Labels, Alert)> {
        let active = self.active.lock();
        let open = active.iter().filter(|(_, a)| a.resolved_at_ns.is_none());
        let mut all: Vec<(Labels, Alert)> = open.map(|(l, a)| (l.clone(), a.clone())).collect();
        drop(active);
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// Sets since when alerts are active, where `since` knows.
    pub(crate) fn reset_active_at(&self, since: impl Fn(&Labels) -> Option<i64>) {
        for (labels, alert) in &mut *self.active.lock() {
            alert.active_at_ns = since(labels).unwrap_or(alert.active_at_ns);
        }
    }

    /// Goes on with a result: new states, and the series that show them.
    pub(crate) fn advance(
        &self,
        spec: &RuleSpec,
        result: Vec<VectorSample>,
        shared: &Shared,
        ts_ns: i64,
        of: &GroupSpec,
    ) -> Result<Vec<Written>, EvalError> {
        // Templates may run queries: they are expanded before anything is locked.
        let found = self.found(spec, &result, shared, ts_ns, of)?;
        let mut active = self.active.lock();
        let mut holds = HashSet::with_capacity(found.len());
        for (labels, annotations, value) in found {
            holds.insert(labels.clone());
            match active.get_mut(&labels).filter(|alert| alert.state != State::Inactive) {
                Some(alert) => {
                    alert.value = value;
                    alert.annotations = annotations;
                }
                None => {
                    let new = Alert {
                        state: State::Pending,
                        annotations,
                        value,
                        active_at_ns: ts_ns,
                        fired_at_ns: None,
                        resolved_at_ns: None,
                        last_sent_at_ns: None,
                        valid_until_ns: 0,
                        keep_firing_since_ns: None,
                    };
                    active.insert(labels, new);
                }
            }
        }
        let write = self.restored.load(Ordering::Acquire);
        let mut written = Vec::new();
        let mut count = 0;
        active.retain(|labels, alert| {
            let (keep, shown) = self.step(alert, holds.contains(labels), ts_ns);
            if shown {
                count += 1;
                if write {
                    written.extend(series(spec, labels, alert));
                }
            }
            keep
        });
        let limit = of.limit;
        if usize::try_from(limit).is_ok_and(|most| most > 0 && count > most) {
            active.clear();
            return Err(EvalError::Limit { limit, count, what: "alerts" });
        }
        Ok(written)
    }

    /// One alert's next state. Whether it is kept, and whether it is pending or firing.
    fn step(&self, alert: &mut Alert, holds: bool, ts_ns: i64) -> (bool, bool) {
        if holds {
            alert.keep_firing_since_ns = None;
        } else {
            let keep_firing = alert.state == State::Firing && self.keep_firing_for_ns > 0 && {
                let since = *alert.keep_firing_since_ns.get_or_insert(ts_ns);
                ts_ns.saturating_sub(since) < self.keep_firing_for_ns
            };
            if !keep_firing {
                let long_ago = |at: i64| ts_ns.saturating_sub(at) > RESOLVED_RETENTION_NS;
                let keep = alert.state != State::Pending && !alert.resolved_at_ns.is_some_and(long_ago);
                if alert.state != State::Inactive {
                    alert.state = State::Inactive;
                    alert.resolved_at_ns = Some(ts_ns);
                }
                return (keep, false);
            }
        }
        let long_enough = ts_ns.saturating_sub(alert.active_at_ns) >= self.hold_ns;
        if alert.state == State::Pending && long_enough {
            alert.state = State::Firing;
            alert.fired_at_ns = Some(ts_ns);
        }
        // After a reload with a longer `for`, and after a restart that found it to be younger.
        if alert.state == State::Firing && !long_enough {
            alert.state = State::Pending;
            alert.fired_at_ns = None;
            alert.last_sent_at_ns = None;
            alert.keep_firing_since_ns = None;
        }
        (true, true)
    }

    /// Labels, annotations and value of each alert that the result asks for.
    fn found(
        &self,
        spec: &RuleSpec,
        result: &[VectorSample],
        shared: &Shared,
        ts_ns: i64,
        of: &GroupSpec,
    ) -> Result<Vec<(Labels, Pairs, f64)>, EvalError> {
        let external = shared.external();
        let t_ms = to_ms(ts_ns);
        let functions = Prometheus {
            query: &TemplateQuery { shared, of, t_ms },
            now_ms: t_ms,
            external_url: &external.url,
            path_prefix: &external.path,
        };
        let external_labels = gotemplate::Value::text_map(&external.labels);
        let mut seen = HashSet::with_capacity(result.len());
        let mut all = Vec::with_capacity(result.len());
        for sample in result {
            let own = gotemplate::Value::text_map(&sample.labels);
            let value = template_value(&sample.value);
            let data = gotemplate::alert_data(own, external_labels.clone(), &external.url, value);
            let expand = |template: &AlertTemplate| {
                template.expand(&data, &functions).unwrap_or_else(|error| {
                    tracing::warn!(alert = spec.name, %error, "Expanding alert template failed");
                    format!("<error expanding template: {error}>")
                })
            };
            let mut labels = sample.labels.to_builder();
            labels.del(METRIC_NAME);
            for (name, template) in &self.labels {
                labels.set(name, &expand(template));
            }
            labels.set(ALERT_NAME, &spec.name);
            let annotations = self.annotations.iter().map(|(n, t)| (n.clone(), expand(t))).collect();
            let labels = labels.build();
            if !seen.insert(labels.clone()) {
                return Err(EvalError::DuplicateAlerts);
            }
            let value = match sample.value {
                SampleValue::Float(v) => v,
                SampleValue::Histogram(_) => 0.0,
            };
            all.push((labels, annotations, value));
        }
        Ok(all)
    }

    /// Alerts whose turn it is to be sent.
    pub(crate) fn to_send(
        &self,
        spec: &RuleSpec,
        shared: &Shared,
        ts_ns: i64,
        interval: Duration,
    ) -> Vec<model::Alert> {
        let resend_ns = nanos(shared.options.resend_delay);
        // Three evaluations or sendings may fail before Alertmanager takes it for resolved.
        let valid_ns = nanos(interval).max(resend_ns).saturating_mul(4);
        let mut link = None;
        let mut all = Vec::new();
        for (labels, alert) in &mut *self.active.lock() {
            if !alert.needs_sending(ts_ns, resend_ns) {
                continue;
            }
            alert.last_sent_at_ns = Some(ts_ns);
            alert.valid_until_ns = ts_ns.saturating_add(valid_ns);
            let link = link.get_or_insert_with(|| {
                format!("{}{}", shared.options.external_url, gotemplate::table_link(&spec.query))
            });
            all.push(model::Alert {
                labels: labels.clone(),
                annotations: alert.annotations.clone(),
                starts_at_ms: alert.fired_at_ns.map_or(0, to_ms),
                ends_at_ms: to_ms(alert.resolved_at_ns.unwrap_or(alert.valid_until_ns)),
                generator_url: link.clone(),
            });
        }
        all
    }
}

fn series(spec: &RuleSpec, labels: &Labels, alert: &Alert) -> [Written; 2] {
    let mut builder = Labels::from_pairs(spec.labels.iter().map(|(n, v)| (n, v))).to_builder();
    for (name, value) in labels {
        builder.set(name, value);
    }
    builder.set(METRIC_NAME, ALERTS_FOR_STATE);
    builder.set(ALERT_NAME, &spec.name);
    let since = builder.build();
    builder.set(METRIC_NAME, ALERTS);
    builder.set("alertstate", alert.state.as_str());
    let seconds = alert.active_at_ns.div_euclid(1_000_000_000) as f64;
    [
        Written { labels: builder.build(), value: SampleValue::Float(1.0) },
        Written { labels: since, value: SampleValue::Float(seconds) },
    ]
}
