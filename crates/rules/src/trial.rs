//! Groups of rules without a schedule: evaluated at the times that a caller names, for unit tests of rules.

use std::sync::Arc;

use model::Labels;
use telemetry::Registry;
use tokio_util::sync::CancellationToken;

use crate::Pairs;
use crate::alerting::State;
use crate::evaluate::{External, Shared};
use crate::group::Group;
use crate::load::GroupSpec;
use crate::manager::{Options, Parts};
use crate::metrics::Metrics;

/// Groups on trial. Nothing of before is looked for, so that alerts write their series from the first evaluation.
pub struct Trial(Vec<Group>);

/// An alert that fires.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FiringAlert {
    /// Its labels, the name among them.
    pub labels: Labels,
    /// Its annotations, expanded.
    pub annotations: Pairs,
}

impl Trial {
    /// Groups that have run nothing yet, in the order in which they are to run.
    #[must_use]
    pub fn new(parts: Parts, external: External, groups: Vec<GroupSpec>) -> Trial {
        let options = Options {
            external_url: external.url.clone(),
            external_path: external.path.clone(),
            outage_tolerance: std::time::Duration::ZERO,
            grace_period: std::time::Duration::ZERO,
            resend_delay: std::time::Duration::ZERO,
            // One after the other: which of two errors comes first must not be chance.
            concurrent_evals: 0,
            groups_at_once: 1,
        };
        let shared = Arc::new(Shared::new(parts, Metrics::new(&Registry::new()), options));
        *shared.external.write() = Arc::new(external);
        Trial(groups.into_iter().map(|spec| Group::new(spec, &shared, false)).collect())
    }

    /// Evaluates all groups once, at nanoseconds since 1970. Names of rules that failed, with what failed. Blocks.
    #[must_use]
    pub fn evaluate(&self, ts_ns: i64) -> Vec<(String, String)> {
        let mut failed = Vec::new();
        for group in &self.0 {
            group.iteration(ts_ns, &CancellationToken::new());
            for rule in &group.rules {
                if let Some(Err(error)) = &rule.outcome.lock().error {
                    failed.push((rule.spec.name.clone(), error.clone()));
                }
            }
        }
        failed
    }

    /// All alerts of a name that fire now, whichever rule they are of.
    #[must_use]
    pub fn firing(&self, name: &str) -> Vec<FiringAlert> {
        let rules = self.0.iter().flat_map(|group| &group.rules).filter(|rule| rule.spec.name == name);
        let alerts = rules.filter_map(|rule| rule.alerting.as_ref()).flat_map(|alerting| alerting.active());
        let firing = alerts.filter(|(_, alert)| alert.state == State::Firing);
        firing.map(|(labels, alert)| FiringAlert { labels, annotations: alert.annotations }).collect()
    }
}
