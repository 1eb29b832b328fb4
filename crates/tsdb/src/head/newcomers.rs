//! Who brings new series: the last minute's, by job, with the metric and the label that most of them are
//! due to. It names the culprit when memory runs out, so it must cost nothing while all is well and must not
//! grow with what a hostile page holds.
//!
//! Jobs, metrics and labels are counted by "space saving": a full table gives the place of its smallest
//! entry to a new one, which inherits its count. What brings much is found for certain, what brings little
//! is only estimated. A bomb with a name of its own for each series still counts for its job.

use std::collections::VecDeque;

use model::Labels;
use model::labels::METRIC_NAME;
use parking_lot::Mutex;
use storage::NewSeriesSource;

use super::index::HeadIndex;

/// Windows that are kept: a minute.
const WINDOWS: usize = 6;
const WINDOW_MS: i64 = 10_000;
/// Jobs of a window.
const JOBS_MAX: usize = 32;
/// Metrics, and labels, of a job. 6 windows of 32 jobs with 16 words of 128 bytes are below 400 KiB.
const WORDS_MAX: usize = 8;
/// Bytes kept of a job's or metric's name: what a person needs to know it again.
const WORD_BYTES_MAX: usize = 128;
/// Labels are looked at in one of 2^4 series, as that is ten look-ups of 40 ns each; which ones is as good as
/// random, since jobs take turns and every sixteenth could always be of the same one.
const LABELS_BITS: u32 = 4;
/// 2^64 over the golden ratio: multiples of it fall evenly.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
/// Jobs that a report names.
const REPORTED_MAX: usize = 10;

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    created: u64,
    refused: u64,
}

impl Counts {
    fn sum(self) -> u64 {
        self.created.saturating_add(self.refused)
    }
    fn add(&mut self, n: u64, refused: bool) {
        let count = if refused { &mut self.refused } else { &mut self.created };
        *count = count.saturating_add(n);
    }
}

#[derive(Debug, Default)]
struct Words(Vec<(Box<str>, u64)>);

impl Words {
    fn add(&mut self, word: &str, n: u64) {
        let word = clipped(word);
        if let Some((_, count)) = self.0.iter_mut().find(|(w, _)| **w == *word) {
            *count = count.saturating_add(n);
        } else if self.0.len() < WORDS_MAX {
            self.0.push((word.into(), n));
        } else if let Some(smallest) = self.0.iter_mut().min_by_key(|(_, n)| *n) {
            *smallest = (word.into(), smallest.1.saturating_add(n));
        }
    }
}

#[derive(Debug, Default)]
struct Job {
    name: Box<str>,
    counts: Counts,
    metrics: Words,
    labels: Words,
}

#[derive(Debug, Default)]
struct Window {
    jobs: Vec<Job>,
}

impl Window {
    fn job(&mut self, name: &str) -> Option<&mut Job> {
        let at = match self.jobs.iter().position(|j| *j.name == *name) {
            Some(at) => at,
            None if self.jobs.len() < JOBS_MAX => {
                self.jobs.push(Job { name: name.into(), ..Job::default() });
                self.jobs.len() - 1
            }
            None => {
                let smallest = self.jobs.iter().enumerate().min_by_key(|(_, j)| j.counts.sum())?.0;
                let job = self.jobs.get_mut(smallest)?;
                *job = Job { name: name.into(), counts: job.counts, ..Job::default() };
                smallest
            }
        };
        self.jobs.get_mut(at)
    }
}

#[derive(Debug, Default)]
struct State {
    windows: VecDeque<Window>,
    /// When the newest window began.
    began_ms: i64,
    seen: u64,
}

/// The last minute's new series.
#[derive(Debug, Default)]
pub(super) struct Newcomers {
    state: Mutex<State>,
}

impl Newcomers {
    /// Counts `n` series, taken in or refused, of which one has these labels. Comes before the labels are
    /// in the index: a value that it does not know is one that the series brings.
    pub(super) fn note(&self, index: &HeadIndex, labels: &Labels, n: u64, refused: bool) {
        let mut state = self.state.lock();
        state.seen += 1;
        // What is counted for many is worth the look-ups.
        let look = n > 1 || state.seen.wrapping_mul(SPREAD) >> (64 - LABELS_BITS) == 0;
        if state.windows.is_empty() {
            state.windows.push_back(Window::default());
        }
        let name = clipped(labels.get("job"));
        let Some(job) = state.windows.back_mut().and_then(|w| w.job(name)) else { return };
        job.counts.add(n, refused);
        job.metrics.add(labels.metric_name(), n);
        if look {
            let unknown = labels.iter().filter(|(name, value)| index.series_with(name, value) == 0);
            unknown.for_each(|(name, _)| job.labels.add(name, n));
        }
    }

    /// Begins a new window where the newest is full.
    pub(super) fn tick(&self, now_ms: i64) {
        let mut state = self.state.lock();
        if state.began_ms == 0 {
            state.began_ms = now_ms;
        }
        let due = now_ms.saturating_sub(state.began_ms) / WINDOW_MS;
        if due == 0 {
            return;
        }
        // A clock that goes back begins a window, too.
        state.began_ms = now_ms;
        for _ in 0..due.clamp(1, WINDOWS as i64) {
            state.windows.push_back(Window::default());
        }
        while state.windows.len() > WINDOWS {
            state.windows.pop_front();
        }
    }

    /// Who brings most, most first.
    pub(super) fn report(&self) -> Vec<NewSeriesSource> {
        let state = self.state.lock();
        let mut all = Vec::<Job>::new();
        for job in state.windows.iter().flat_map(|w| &w.jobs) {
            let at = all.iter().position(|j| j.name == job.name).unwrap_or_else(|| {
                all.push(Job { name: job.name.clone(), ..Job::default() });
                all.len() - 1
            });
            let Some(sum) = all.get_mut(at) else { continue };
            sum.counts.add(job.counts.created, false);
            sum.counts.add(job.counts.refused, true);
            job.metrics.0.iter().for_each(|(w, n)| sum.metrics.add(w, *n));
            job.labels.0.iter().for_each(|(w, n)| sum.labels.add(w, *n));
        }
        all.sort_by_key(|j| std::cmp::Reverse(j.counts.sum()));
        let most = |words: &Words| {
            words.0.iter().max_by_key(|(_, n)| *n).map_or_else(String::new, |(word, _)| word.to_string())
        };
        let source = |j: &Job| NewSeriesSource {
            job: j.name.to_string(),
            metric: most(&j.metrics),
            label: most(&j.labels),
            created: j.counts.created,
            refused: j.counts.refused,
        };
        all.iter().filter(|j| j.counts.sum() > 0).take(REPORTED_MAX).map(source).collect()
    }
}

/// At most [`WORD_BYTES_MAX`] bytes of a word.
fn clipped(word: &str) -> &str {
    let end = word.floor_char_boundary(WORD_BYTES_MAX);
    word.get(..end).unwrap_or_default()
}

/// A source in words.
pub(super) fn in_words(source: &NewSeriesSource) -> String {
    let NewSeriesSource { job, metric, label, created, refused } = source;
    let by = match label.as_str() {
        "" => String::new(),
        METRIC_NAME => ", each with a metric name of its own".to_string(),
        label => format!(", by values of label {label:?}"),
    };
    format!(
        "job {job:?} with metric {metric:?}{by}: {created} taken and {refused} refused in the last minute"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(job: &str, metric: &str, id: usize) -> Labels {
        Labels::from_pairs([("__name__", metric), ("job", job), ("id", &id.to_string())])
    }

    #[test]
    fn the_heaviest_is_named_among_many() {
        let (new, mut index) = (Newcomers::default(), HeadIndex::new());
        let bring = |index: &mut HeadIndex, labels: Labels, refused: bool| {
            new.note(index, &labels, 1, refused);
            if !refused {
                index.add(labels.hash(), &labels, None);
            }
        };
        for i in 0..4000 {
            // A crowd of small jobs larger than the table, and one with a quarter of all.
            bring(&mut index, series(&format!("small-{}", i % 500), "m", i % 7), false);
            if i % 3 == 0 {
                bring(&mut index, series("bomb", "boom", i), i > 2000);
            }
        }
        let all = new.report();
        assert!(all.len() == REPORTED_MAX, "{all:?}");
        let bomb = all.iter().find(|s| s.job == "bomb").unwrap();
        assert_eq!((bomb.metric.as_str(), bomb.label.as_str()), ("boom", "id"));
        assert!((1334..3000).contains(&(bomb.created + bomb.refused)), "{bomb:?}");
        assert_eq!(all[0], *bomb);
        assert!(in_words(bomb).contains("by values of label \"id\""));
    }

    #[test]
    fn a_name_for_each_series_still_names_the_job_and_a_minute_forgets() {
        let (new, index) = (Newcomers::default(), HeadIndex::new());
        new.tick(1_000_000);
        for i in 0..300 {
            new.note(&index, &series("bomb", &format!("m_{i}"), 0), 1, true);
        }
        let long = "x".repeat(500) + "é";
        new.note(&index, &series(&long, &long, 0), 64, true);
        let all = new.report();
        assert_eq!((all[0].job.as_str(), all[0].refused), ("bomb", 300));
        assert_eq!((all[1].job.len(), all[1].refused), (WORD_BYTES_MAX, 64));
        new.tick(1_030_000);
        assert_eq!(new.report().len(), 2);
        new.tick(1_100_000);
        assert!(new.report().is_empty());
    }
}
