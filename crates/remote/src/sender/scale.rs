//! How many shards a destination needs (upstream: `calculateDesiredShards`, `ewma.go`).

use std::time::Duration;

/// Weight of the newest look.
const WEIGHT: f64 = 0.2;
/// How often it is looked.
pub(crate) const INTERVAL: Duration = Duration::from_secs(10);
/// Change that is not worth a change of shards.
const TOLERANCE: f64 = 0.3;
/// Share of what is behind that is to be caught up each second.
const CATCH_UP: f64 = 0.05;
/// Seconds behind above which no shard goes.
const BEHIND_SECONDS: f64 = 10.0;

/// An exponentially weighted rate a second.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rate {
    rate: Option<f64>,
}

impl Rate {
    /// What came in the last interval.
    pub(crate) fn tick(&mut self, events: f64) -> f64 {
        let now = events / INTERVAL.as_secs_f64();
        self.rate = match self.rate {
            Some(rate) => Some(rate + WEIGHT * (now - rate)),
            None if events > 0.0 => Some(now),
            none => none,
        };
        self.rate.unwrap_or_default()
    }
}

/// What it is calculated from; rates are a second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Samples into the store.
    pub(crate) into: f64,
    /// Samples sent.
    pub(crate) out: f64,
    /// Samples that are not for this destination.
    pub(crate) dropped: f64,
    /// Seconds spent sending, of all shards together.
    pub(crate) sending: f64,
    /// Seconds that the newest sample sent is behind the newest there is.
    pub(crate) behind: f64,
}

/// Shards between `min` and `max`, and the number that would be right. `now` is how many there are.
pub(crate) fn desired(load: Load, now: usize, (min, max): (usize, usize)) -> (usize, Option<f64>) {
    if load.out <= 0.0 {
        return (now, None);
    }
    let kept = load.out / (load.dropped + load.out);
    let pending = load.behind * load.into * kept;
    let a_sample = load.sending / load.out;
    let right = a_sample * (load.into * kept + CATCH_UP * pending);
    let whole = right.ceil();
    let (low, high) = (now as f64 * (1.0 - TOLERANCE), now as f64 * (1.0 + TOLERANCE));
    if (low..=high).contains(&whole) || !whole.is_finite() {
        return (now, Some(right));
    }
    if whole < now as f64 && load.behind > BEHIND_SECONDS {
        return (now, Some(right));
    }
    // A float above the range of integers ends at its end.
    ((whole.max(0.0) as usize).clamp(min, max.max(min)), Some(right))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_follow_the_load() {
        let load = Load { into: 1000.0, out: 1000.0, dropped: 0.0, sending: 3.2, behind: 0.0 };
        let of = |load, now| desired(load, now, (1, 50)).0;
        assert_eq!(of(load, 1), 4);
        assert_eq!(of(load, 4), 4);
        // Within the tolerance.
        assert_eq!(of(load, 5), 5);
        assert_eq!(of(load, 10), 4);
        // Not fewer while behind, more to catch up.
        assert_eq!(of(Load { behind: 11.0, ..load }, 10), 10);
        assert_eq!(of(Load { behind: 100.0, ..load }, 4), 20);
        assert_eq!(of(Load { sending: 1e9, ..load }, 4), 50);
        assert_eq!(of(Load { sending: 0.0, ..load }, 4), 1);
        assert_eq!(desired(Load { out: 0.0, ..load }, 4, (1, 50)), (4, None));
        // Only half of what comes in is for it.
        assert_eq!(of(Load { out: 500.0, dropped: 500.0, sending: 1.6, ..load }, 1), 2);
    }

    #[test]
    fn a_rate_begins_with_the_first_events() {
        let mut rate = Rate::default();
        assert_eq!(rate.tick(0.0), 0.0);
        assert_eq!(rate.tick(100.0), 10.0);
        assert_eq!(rate.tick(200.0), 12.0);
    }
}
