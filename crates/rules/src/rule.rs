//! One rule while it runs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use model::Labels;
use parking_lot::Mutex;
use storage::SeriesRef;

use crate::alerting::Alerting;
use crate::load::RuleSpec;

/// How the last evaluation went.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// `None` before the first.
    pub(crate) error: Option<Result<(), String>>,
    pub(crate) took: Duration,
    pub(crate) began_ns: Option<i64>,
}

/// A rule with what it remembers.
pub(crate) struct Rule {
    pub(crate) spec: Arc<RuleSpec>,
    /// `None` for recording rules.
    pub(crate) alerting: Option<Alerting>,
    pub(crate) outcome: Mutex<Outcome>,
    /// Series written last time, with their numbers in the store: what is not among them next time ended.
    pub(crate) series: Mutex<HashMap<Labels, SeriesRef>>,
}

impl Rule {
    pub(crate) fn new(spec: RuleSpec, restored: bool) -> Rule {
        Rule {
            alerting: Alerting::new(&spec, restored),
            spec: Arc::new(spec),
            outcome: Mutex::default(),
            series: Mutex::default(),
        }
    }

    /// Takes over from the rule that this one replaces: series, and alerts of alerting rules.
    pub(crate) fn take_over(&self, from: &Rule) {
        *self.series.lock() = std::mem::take(&mut *from.series.lock());
        if let (Some(to), Some(from)) = (&self.alerting, &from.alerting) {
            to.take_over(from);
        }
    }

    pub(crate) fn fail(&self, error: String) {
        self.outcome.lock().error = Some(Err(error));
    }
}
