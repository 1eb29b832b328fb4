//! After a restart: alerts go on pending or firing from where they were (upstream: `Group.RestoreForState`).

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Instant;

use model::labels::METRIC_NAME;
use model::{Labels, Matcher, is_stale_nan};
use storage::{Budget, QueryContext, SampleBuf, SelectHints, StorageError};

use crate::alerting::{ALERT_NAME, ALERTS_FOR_STATE, nanos};
use crate::evaluate::{Shared, to_ms};
use crate::group::Group;
use crate::load::RuleSpec;

/// Seconds in nanoseconds.
const SECOND_NS: i64 = 1_000_000_000;

pub(crate) fn restore(group: &Group) {
    let began = Instant::now();
    let now_ns = group.shared.now_ns();
    let grace_ns = nanos(group.shared.options.grace_period);
    for rule in &group.rules {
        let Some(alerting) = &rule.alerting else { continue };
        let handed_over = group.shared.handed_over.load(Ordering::Acquire);
        // One that holds for less than the grace period may as well begin anew, unless nobody was away.
        if alerting.hold_ns() >= grace_ns || handed_over {
            match states(&rule.spec, &group.shared, now_ns) {
                Ok(states) => alerting.reset_active_at(|labels| {
                    let (t_ms, seconds) = states.get(labels).copied()?;
                    if handed_over {
                        return Some((seconds as i64).saturating_mul(SECOND_NS));
                    }
                    active_at(t_ms, seconds, now_ns, alerting.hold_ns(), grace_ns)
                }),
                Err(error) => {
                    tracing::error!(alert = rule.spec.name, %error, "Failed to restore 'for' state");
                }
            }
        }
        // There is no second try: better late than never.
        alerting.set_restored();
    }
    group.shared.metrics.restored(&group.key, began.elapsed().as_secs_f64());
    group.restore_done();
}

/// The last sample of each series of the rule within the time an outage may take.
fn states(
    spec: &RuleSpec,
    shared: &Shared,
    now_ns: i64,
) -> Result<HashMap<Labels, (i64, f64)>, StorageError> {
    let tolerance_ns = nanos(shared.options.outage_tolerance);
    let (mint, maxt) = (to_ms(now_ns.saturating_sub(tolerance_ns)), to_ms(now_ns));
    let mut matchers =
        vec![Matcher::equal(METRIC_NAME, ALERTS_FOR_STATE), Matcher::equal(ALERT_NAME, spec.name.as_str())];
    let fixed = |(name, value): &&(String, String)| {
        !value.contains("{{") && name != METRIC_NAME && name != ALERT_NAME
    };
    matchers.extend(spec.labels.iter().filter(fixed).map(|(n, v)| Matcher::equal(n.as_str(), v.as_str())));
    let budget = Budget::new(shared.engine.options().query_memory_bytes, None);
    let ctx = QueryContext { budget, cancel: shared.cancel.clone(), deadline: None };
    let hints = SelectHints { start_ms: mint, end_ms: maxt, ..SelectHints::default() };
    let querier = shared.queryable.querier(mint, maxt)?;
    let mut found = HashMap::new();
    let mut samples = SampleBuf::default();
    for series in querier.select(&ctx, false, &hints, &matchers)?.series {
        samples.clear();
        series.read(mint, maxt, &mut samples)?;
        let last = samples.times.last().zip(samples.values.last());
        if let Some((t_ms, seconds)) = last.filter(|(_, v)| !is_stale_nan(**v)) {
            found.insert(series.labels().without_name(), (*t_ms, *seconds));
        }
    }
    Ok(found)
}

/// Since when an alert counts as active that was so since `seconds` and was seen last at `t_ms`.
fn active_at(t_ms: i64, seconds: f64, now_ns: i64, hold_ns: i64, grace_ns: i64) -> Option<i64> {
    let down_ns = t_ms.div_euclid(1000).saturating_mul(SECOND_NS);
    // Casts of floats saturate, as a value that no server wrote needs.
    let since_ns = (seconds as i64).saturating_mul(SECOND_NS);
    let remaining = hold_ns.saturating_sub(down_ns.saturating_sub(since_ns));
    Some(if remaining <= 0 {
        since_ns
    } else if remaining < grace_ns {
        // It fires when the grace period is over.
        now_ns.saturating_add(grace_ns).saturating_sub(hold_ns)
    } else {
        // The time when nobody looked does not count.
        since_ns.saturating_add(now_ns.saturating_sub(down_ns))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outages_do_not_count() {
        let (minute, now) = (60 * SECOND_NS, 100_000 * SECOND_NS);
        let of = |active_for: i64, down_for: i64, hold: i64| {
            let down = now - down_for * minute;
            let since = (down - active_for * minute) / SECOND_NS;
            let at = active_at(down / 1_000_000, since as f64, now, hold * minute, 10 * minute).unwrap();
            (at - now) / minute
        };
        // It was firing.
        assert_eq!(of(40, 5, 30), -45);
        // It was to fire in 5 minutes: in 10 from now.
        assert_eq!(of(25, 5, 30), -20);
        // It was to fire in 20 minutes: it still is.
        assert_eq!(of(10, 5, 30), -10);
    }
}
