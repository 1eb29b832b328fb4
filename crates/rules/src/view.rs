//! What `/api/v1/rules` and `/api/v1/alerts` show.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use model::Labels;

use crate::Pairs;
use crate::alerting::{Alert, State};
use crate::group::Group;
use crate::load::{RuleKind, RuleSpec};
use crate::rule::Rule;

/// A group.
#[derive(Clone, Debug)]
pub struct GroupView {
    /// Its file.
    pub file: String,
    /// Its name.
    pub name: String,
    /// Its interval.
    pub interval: Duration,
    /// Its limit, 0 for none.
    pub limit: i64,
    /// How long the last evaluation took.
    pub evaluation_time: Duration,
    /// When it began; `None` before the first one.
    pub last_evaluation: Option<SystemTime>,
    /// Its rules in order.
    pub rules: Vec<RuleView>,
}

/// A rule.
#[derive(Clone, Debug)]
pub struct RuleView {
    /// Name, expression and labels.
    pub spec: Arc<RuleSpec>,
    /// `unknown`, `ok` or `err`.
    pub health: &'static str,
    /// "" where there is none.
    pub last_error: String,
    /// How long the last evaluation took.
    pub evaluation_time: Duration,
    /// When it began; `None` before the first one.
    pub last_evaluation: Option<SystemTime>,
    /// What alerting rules have besides.
    pub alerting: Option<AlertingView>,
}

/// Of an alerting rule.
#[derive(Clone, Debug)]
pub struct AlertingView {
    /// The highest of its alerts.
    pub state: State,
    /// `for`.
    pub hold: Duration,
    /// `keep_firing_for`.
    pub keep_firing_for: Duration,
    /// Templates.
    pub annotations: Pairs,
    /// Pending and firing, sorted by labels.
    pub alerts: Vec<AlertView>,
}

/// An alert.
#[derive(Clone, Debug)]
pub struct AlertView {
    /// Labels.
    pub labels: Labels,
    /// Annotations.
    pub annotations: Pairs,
    /// Pending or firing.
    pub state: State,
    /// Since when it holds.
    pub active_at: SystemTime,
    /// Since when it holds no more and fires still.
    pub keep_firing_since: Option<SystemTime>,
    /// The expression's value.
    pub value: f64,
}

fn time(ns: i64) -> SystemTime {
    let size = Duration::from_nanos(ns.unsigned_abs());
    let time = if ns < 0 { UNIX_EPOCH.checked_sub(size) } else { UNIX_EPOCH.checked_add(size) };
    time.unwrap_or(UNIX_EPOCH)
}

impl GroupView {
    pub(crate) fn of(group: &Group) -> GroupView {
        let last = group.last.lock();
        let (took, began_ns) = (last.took, last.began_ns);
        drop(last);
        GroupView {
            file: group.spec.file.clone(),
            name: group.spec.name.clone(),
            interval: group.spec.interval,
            limit: group.spec.limit,
            evaluation_time: took,
            last_evaluation: began_ns.map(time),
            rules: group.rules.iter().map(RuleView::of).collect(),
        }
    }
}

impl RuleView {
    fn of(rule: &Rule) -> RuleView {
        let outcome = rule.outcome.lock().clone();
        let (health, last_error) = match outcome.error {
            None => ("unknown", String::new()),
            Some(Ok(())) => ("ok", String::new()),
            Some(Err(text)) => ("err", text),
        };
        let alerting = rule.alerting.as_ref().zip(match &rule.spec.kind {
            RuleKind::Alerting { hold, keep_firing_for, annotations } => {
                Some((hold, keep_firing_for, annotations))
            }
            RuleKind::Recording => None,
        });
        let alerting = alerting.map(|(alerting, (hold, keep_firing_for, annotations))| AlertingView {
            state: if outcome.began_ns.is_some() { alerting.state() } else { State::Unknown },
            hold: *hold,
            keep_firing_for: *keep_firing_for,
            annotations: annotations.clone(),
            alerts: alerting
                .active()
                .into_iter()
                .map(|(labels, alert)| AlertView::of(labels, alert))
                .collect(),
        });
        RuleView {
            spec: Arc::clone(&rule.spec),
            health,
            last_error,
            evaluation_time: outcome.took,
            last_evaluation: outcome.began_ns.map(time),
            alerting,
        }
    }
}

impl AlertView {
    fn of(labels: Labels, alert: Alert) -> AlertView {
        AlertView {
            labels,
            annotations: alert.annotations,
            state: alert.state,
            active_at: time(alert.active_at_ns),
            keep_firing_since: alert.keep_firing_since_ns.map(time),
            value: alert.value,
        }
    }
}
