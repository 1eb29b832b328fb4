//! When a group is evaluated: at its own phase of the interval, which its file and name decide, so that two
//! servers with the same rules evaluate at the same times and groups spread over the interval (upstream:
//! `Group.EvalTimestamp`, `Group.run`).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::Labels;
use tokio::sync::Semaphore;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep};
use tokio_util::sync::CancellationToken;

use crate::alerting::nanos;
use crate::group::Group;

/// A tick that comes this part of an interval early, as clocks differ, counts as on time.
const EARLY: i64 = 20;

/// Phase of a group, nanoseconds within its interval.
pub(crate) fn offset_ns(file: &str, name: &str, interval_ns: i64) -> i64 {
    let interval = u64::try_from(interval_ns).unwrap_or(1).max(1);
    let hash = Labels::from_pairs([("name", name), ("file", file)]).hash();
    i64::try_from(hash % interval).unwrap_or(0)
}

/// The last time of the group at or before `now_ns`.
pub(crate) fn slot_ns(now_ns: i64, offset_ns: i64, interval_ns: i64) -> i64 {
    let shifted = now_ns.saturating_sub(offset_ns);
    shifted - shifted % interval_ns.max(1) + offset_ns
}

/// Times left out between the last evaluation and this one. Negative where the wall clock went back, which the
/// times of evaluations follow.
fn missed(since_last_ns: i64, interval_ns: i64) -> i64 {
    let interval = interval_ns.max(1);
    (since_last_ns.saturating_add(interval / EARLY)) / interval - 1
}

/// Ends of a group's task.
pub(crate) struct Ends {
    /// The store is open.
    pub(crate) start: CancellationToken,
    /// This group ends.
    pub(crate) stop: CancellationToken,
    /// The manager ends.
    pub(crate) closed: CancellationToken,
}

/// Evaluates a group until it is told to stop. `slots` bounds the groups that are evaluated at once.
pub(crate) async fn run(group: Arc<Group>, ends: Ends, slots: Arc<Semaphore>) {
    evaluate(&group, &ends, &slots).await;
    if !group.gone.load(Ordering::Acquire) {
        return;
    }
    // Its rules may have moved to another group, which has written by then.
    let now_ns = group.shared.now_ns();
    let wait = group.spec.interval.saturating_mul(2);
    tokio::spawn(async move {
        tokio::select! {
            () = ends.closed.cancelled() => {}
            () = sleep(wait) => {
                let _ = tokio::task::spawn_blocking(move || group.end_all_series(now_ns)).await;
            }
        }
    });
}

async fn evaluate(group: &Arc<Group>, ends: &Ends, slots: &Arc<Semaphore>) {
    let interval_ns = nanos(group.spec.interval);
    tokio::select! {
        () = ends.stop.cancelled() => return,
        () = ends.start.cancelled() => {}
    }
    let now_ns = group.shared.now_ns();
    let offset = offset_ns(&group.spec.file, &group.spec.name, interval_ns);
    let mut slot = slot_ns(now_ns, offset, interval_ns).saturating_add(interval_ns);
    let wait = Duration::from_nanos(u64::try_from(slot.saturating_sub(now_ns)).unwrap_or(0));
    tokio::select! {
        () = ends.stop.cancelled() => return,
        () = sleep(wait) => {}
    }
    let mut ticks = interval_at(Instant::now() + group.spec.interval, group.spec.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    iteration(group, slots, slot, &ends.stop).await;
    let mut restore = group.restores();
    if restore && group.shared.handed_over.load(Ordering::Acquire) {
        // Nothing is missing of what the rules read.
        restore = false;
        restore_states(group).await;
    }
    while next(group, &mut ticks, &mut slot, &ends.stop).await {
        iteration(group, slots, slot, &ends.stop).await;
        if std::mem::take(&mut restore) {
            // After the second one: targets have been scraped, and recording rules that alerts read have run.
            restore_states(group).await;
        }
    }
}

async fn restore_states(group: &Arc<Group>) {
    let group = Arc::clone(group);
    let _ = tokio::task::spawn_blocking(move || crate::restore::restore(&group)).await;
}

/// Waits for the next time; false where the group ends.
async fn next(group: &Group, ticks: &mut Interval, slot: &mut i64, stop: &CancellationToken) -> bool {
    tokio::select! {
        biased;
        () = stop.cancelled() => return false,
        _ = ticks.tick() => {}
    }
    let interval_ns = nanos(group.spec.interval);
    let missed = missed(group.shared.now_ns().saturating_sub(*slot), interval_ns);
    if missed > 0 {
        group.metrics.missed.add(missed as f64);
        group.metrics.scheduled.add(missed as f64);
    }
    *slot = slot.saturating_add(interval_ns.saturating_mul(missed + 1));
    true
}

async fn iteration(group: &Arc<Group>, slots: &Arc<Semaphore>, ts_ns: i64, stop: &CancellationToken) {
    let slot = tokio::select! {
        () = stop.cancelled() => return,
        slot = Arc::clone(slots).acquire_owned() => slot,
    };
    let (group, stop) = (Arc::clone(group), stop.clone());
    let work = move || {
        let _slot = slot;
        group.iteration(ts_ns, &stop);
    };
    if let Err(error) = tokio::task::spawn_blocking(work).await {
        tracing::error!(%error, "evaluating a rule group failed inside the server");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_in_the_past_and_an_interval_apart() {
        let minute = 60_000_000_000;
        let offset = offset_ns("/etc/rules.yml", "node", minute);
        assert!((0..minute).contains(&offset));
        for now in [offset, offset + 1, 7 * minute, 1_700_000_000_123_456_789] {
            let slot = slot_ns(now, offset, minute);
            assert!(slot <= now && now - slot < minute);
            assert_eq!((slot - offset) % minute, 0);
            assert_eq!(slot_ns(now + minute, offset, minute), slot + minute);
        }
    }

    #[test]
    fn what_is_late_is_missed() {
        let of = |tenths: i64| missed(tenths * 100, 1000);
        assert_eq!((of(10), of(19), of(20), of(45)), (0, 0, 1, 3));
        // A little early, and an hour back.
        assert_eq!((missed(999, 1000), missed(-3_600_000, 1000)), (0, -3600));
    }
}
