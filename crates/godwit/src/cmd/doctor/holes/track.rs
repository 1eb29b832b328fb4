//! Which times a series has samples of, in some bytes: runs without a gap, taken in any order.

/// Gaps of so many intervals are told.
pub(super) const INTERVALS: i64 = 5;
/// Runs of one series. One more, and the interval was taken too short: gaps of twice the length are passed over.
const RUNS_MAX: usize = 64;
/// Samples from which the interval is taken.
const FIRST: usize = 16;

/// Times of one series.
#[derive(Debug, Default)]
pub(super) struct Track {
    /// Which job and instance it is of.
    pub(super) group: u32,
    /// Whether it is `up`: that one has a sample at each scrape, of targets that are down too.
    pub(super) up: bool,
    /// Between two samples; 0 until enough are there.
    interval_ms: i64,
    first: Vec<i64>,
    /// First and last time of each, and whether there is more than one sample in it. Sorted, apart from each other.
    runs: Vec<(i64, i64, bool)>,
}

impl Track {
    pub(super) fn new(group: u32, up: bool) -> Self {
        Track { group, up, ..Track::default() }
    }

    /// Takes samples, sorted.
    pub(super) fn add(&mut self, times: &[i64]) {
        if self.interval_ms > 0 {
            self.join(times);
            return;
        }
        self.first.extend_from_slice(times);
        if self.first.len() >= FIRST {
            self.settle();
        }
    }

    fn settle(&mut self) {
        let mut times = std::mem::take(&mut self.first);
        times.sort_unstable();
        times.dedup();
        let mut deltas: Vec<i64> =
            times.windows(2).map(|w| w[1].saturating_sub(w[0])).filter(|d| *d > 0).collect();
        if deltas.is_empty() {
            self.first = times;
            return;
        }
        let middle = deltas.len() / 2;
        let (_, median, _) = deltas.select_nth_unstable(middle);
        self.interval_ms = *median;
        self.join(&times);
    }

    /// The longest time between samples that is no gap.
    pub(super) fn most_ms(&self) -> i64 {
        self.interval_ms.saturating_mul(INTERVALS)
    }

    /// Between two samples.
    pub(super) fn interval_ms(&self) -> i64 {
        self.interval_ms
    }

    fn join(&mut self, times: &[i64]) {
        let most = self.most_ms();
        let mut rest = times.iter().copied();
        let Some(begin) = rest.next() else { return };
        let (mut from, mut to, mut many) = (begin, begin, false);
        for t in rest {
            if t.saturating_sub(to) > most {
                self.put((from, to, many));
                (from, many) = (t, false);
            } else {
                many = true;
            }
            to = t;
        }
        self.put((from, to, many));
    }

    /// Most come behind the last run, or before the first: no search then.
    fn put(&mut self, run: (i64, i64, bool)) {
        let most = self.most_ms();
        // Those that it touches.
        let low = self.runs.partition_point(|r| r.1.saturating_add(most) < run.0);
        let high = self.runs.partition_point(|r| r.0 <= run.1.saturating_add(most));
        let touched = self.runs.get(low..high).unwrap_or_default();
        let joined = touched.iter().fold(run, |a, r| (a.0.min(r.0), a.1.max(r.1), true));
        self.runs.splice(low..high.max(low), [joined]);
        while self.runs.len() > RUNS_MAX {
            self.widen();
        }
    }

    fn widen(&mut self) {
        self.interval_ms = self.interval_ms.saturating_mul(2);
        let most = self.most_ms();
        self.runs.dedup_by(|b, a| {
            let near = b.0.saturating_sub(a.1) <= most;
            if near {
                (a.1, a.2) = (b.1, true);
            }
            near
        });
    }

    /// Nothing comes any more: the gaps, as last sample before and first sample behind.
    pub(super) fn finish(&mut self) {
        if self.interval_ms == 0 {
            self.settle();
        }
        // Single samples all over: it is not sampled as often as its begin let believe.
        while self.runs.len() > 2 && self.runs.iter().filter(|r| !r.2).count() * 2 > self.runs.len() {
            self.widen();
        }
    }

    pub(super) fn gaps(&self) -> impl Iterator<Item = (i64, i64)> + '_ {
        self.runs.windows(2).filter_map(|w| match w {
            [a, b] => Some((a.1, b.0)),
            _ => None,
        })
    }

    /// First and last sample.
    pub(super) fn life(&self) -> Option<(i64, i64)> {
        Some((self.runs.first()?.0, self.runs.last()?.1))
    }

    /// Whether it has samples before and behind a gap: `None` where it does not, else whether it has none within.
    pub(super) fn shares(&self, (from, to): (i64, i64)) -> Option<bool> {
        let (first, last) = self.life()?;
        let slack = self.interval_ms.saturating_mul(2);
        if first > from.saturating_add(slack) || last < to.saturating_sub(slack) {
            return None;
        }
        let (low, high) = (from.saturating_add(slack), to.saturating_sub(slack));
        Some(!self.runs.iter().any(|r| r.0 < high && r.1 > low))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(from: i64, to: i64, by: usize) -> Vec<i64> {
        (from..to).step_by(by).collect()
    }

    #[test]
    fn parts_in_any_order_leave_the_gap() {
        let mut track = Track::new(0, false);
        for (from, to) in [(900_000, 1_000_000), (400_000, 700_000), (0, 400_000)] {
            for part in steps(from, to, 1000).chunks(120) {
                track.add(part);
            }
        }
        // Late ones are no gap, nor do they fill one.
        track.add(&[500_500]);
        track.finish();
        assert_eq!(track.gaps().collect::<Vec<_>>(), [(699_000, 900_000)]);
        assert_eq!(track.shares((699_000, 900_000)), Some(true));
        assert_eq!(track.shares((600_000, 650_000)), Some(false));
        assert_eq!(track.shares((600_000, 1_100_000)), None);
    }

    #[test]
    fn a_slower_interval_is_no_gap() {
        let mut track = Track::new(0, false);
        track.add(&steps(0, 100_000, 1000));
        track.add(&steps(100_000, 50_000_000, 60_000));
        track.finish();
        assert_eq!(track.gaps().count(), 0, "{track:?}");
        let mut rare = Track::new(0, false);
        rare.add(&[5]);
        rare.finish();
        assert_eq!((rare.gaps().count(), rare.life()), (0, None));
    }
}
