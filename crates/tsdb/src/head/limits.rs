//! Whether a new series may come in. Existing ones are never refused: where memory or a limit is used up, it
//! is the new ones that have to wait, and whoever brings them is named (`newcomers`).
//!
//! Memory is measured, not estimated, since what a series costs depends on everything around it (its target's
//! page, the log, queries). Measuring for each series would cost more than the series: a look at the memory
//! lets in as many as would fit even if each took [`SERIES_BYTES`], and the next look comes when these are
//! used up. So memory stops at the mark however fast series come and however late a timer is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, Instant};

use model::Labels;
use parking_lot::Mutex;
use storage::{AppendError, MemoryProbe, MemoryUse, NewSeriesStatus};
use telemetry::{Counter, Registry};

use super::Head;
use super::index::HeadIndex;
use super::newcomers::{Newcomers, in_words};

/// Share of the budget, in percent, from which on new series are refused.
const WATERMARK_PERCENT: u64 = 85;
/// Share below which they are taken again: a twelfth lower, so that it does not flap with each page that comes
/// and goes.
const REOPEN_PERCENT: u64 = 78;
/// Share up to which those that outrank others are taken.
const OUTRANK_PERCENT: u64 = 95;
/// What a new series takes at most, all told, while it comes in: 600 bytes in head and index, 60 in its
/// target's page, the rest labels and log records on their way.
const SERIES_BYTES: u64 = 2 << 10;
/// Room below which it is not worth looking for more: page tables and allocator move in such steps.
const ROOM_BYTES_MIN: u64 = 1 << 20;
/// While it refuses, the log says so this often.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// Limits on series in memory; 0 and `None` are no limit.
#[derive(Clone, Debug, Default)]
pub struct SeriesLimits {
    /// Series of the head.
    pub head_max: u64,
    /// Series with the same value of the label `job`.
    pub job_max: u64,
    /// Memory, watched so that new series are refused at 85 % of the budget.
    pub memory: Option<MemoryProbe>,
}

#[derive(Debug)]
struct State {
    memory: MemoryUse,
    /// Why it is closed.
    reason: Arc<str>,
    /// What was said last: when, and the number of refused series.
    said: Option<(Instant, f64)>,
    /// The opening is to be said.
    opened: bool,
    /// When a surge was said last.
    surge_said: Option<Instant>,
}

/// The gate.
#[derive(Debug)]
pub(super) struct Gate {
    limits: SeriesLimits,
    closed: AtomicBool,
    /// Series that may come before memory is looked at again.
    credits: AtomicI64,
    state: Mutex<State>,
    refused: Counter,
    newcomers: Newcomers,
}

fn percent(of: u64, percent: u64) -> u64 {
    of / 100 * percent
}

impl Gate {
    pub(super) fn new(limits: SeriesLimits, registry: &Registry) -> Self {
        let refused = registry.counter(
            "godwit_tsdb_series_refused_total",
            "New series that were refused for a limit, each as often as it was offered.",
        );
        let state = State {
            memory: MemoryUse::default(),
            reason: Arc::from(""),
            said: None,
            opened: false,
            surge_said: None,
        };
        Gate {
            limits,
            closed: AtomicBool::new(false),
            credits: AtomicI64::new(0),
            state: Mutex::new(state),
            refused,
            newcomers: Newcomers::default(),
        }
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// Whether memory is above the mark now, so that letting go is urgent.
    pub(super) fn is_short_of_memory(&self) -> bool {
        self.is_closed() && {
            let m = self.state.lock().memory;
            m.used_bytes >= percent(m.budget_bytes, REOPEN_PERCENT) && m.budget_bytes > 0
        }
    }

    fn close(&self, state: &mut State, reason: String) {
        state.reason = Arc::from(reason);
        state.opened = false;
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Looks at the memory, and lets in what fits or nothing.
    fn look(&self, state: &mut State) {
        let Some(probe) = &self.limits.memory else { return };
        let memory = (probe.0)();
        state.memory = memory;
        let mark = percent(memory.budget_bytes, WATERMARK_PERCENT);
        let room = mark.saturating_sub(memory.used_bytes);
        if room < ROOM_BYTES_MIN {
            if !self.is_closed() {
                let mib = |bytes: u64| bytes >> 20;
                self.close(
                    state,
                    format!(
                        "{} MiB of memory are used, of {} MiB from which on new series are refused (85 % of the budget of {} MiB)",
                        mib(memory.used_bytes), mib(mark), mib(memory.budget_bytes)
                    ),
                );
            }
            self.credits.store(0, Ordering::Relaxed);
        } else {
            self.credits.store((room / SERIES_BYTES) as i64, Ordering::Relaxed);
        }
    }

    fn refusal(&self) -> AppendError {
        AppendError::SeriesLimit(Arc::clone(&self.state.lock().reason))
    }

    /// Refuses before the index is locked for a new series. What outranks others is judged by [`Gate::admit`].
    pub(super) fn refuses(&self, outranks: bool) -> Option<AppendError> {
        (self.is_closed() && !outranks).then(|| self.refusal())
    }

    /// Lets one series in, or says why not. `index` does not have it yet.
    pub(super) fn admit(
        &self,
        index: &HeadIndex,
        labels: &Labels,
        outranks: bool,
    ) -> Result<(), AppendError> {
        let SeriesLimits { head_max, job_max, memory } = &self.limits;
        let full = |max: u64| if outranks { max.saturating_add(max / 16) } else { max };
        if *head_max > 0 && index.len() >= full(*head_max) {
            let mut state = self.state.lock();
            if !self.is_closed() {
                self.close(
                    &mut state,
                    format!("{head_max} series are in memory, as many as storage.series_max allows"),
                );
            }
            return Err(AppendError::SeriesLimit(Arc::clone(&state.reason)));
        }
        if *job_max > 0 && !outranks {
            let job = labels.get("job");
            if !job.is_empty() && index.series_with("job", job) >= *job_max {
                let text =
                    format!("job {job:?} has {job_max} series, as many as storage.job_series_max allows");
                return Err(AppendError::SeriesLimit(Arc::from(text)));
            }
        }
        if memory.is_none() {
            return Ok(());
        }
        if !self.is_closed() {
            if self.credits.fetch_sub(1, Ordering::Relaxed) > 0 {
                return Ok(());
            }
            self.look(&mut self.state.lock());
        }
        match self.is_closed() {
            false => Ok(()),
            true if outranks => {
                let mut state = self.state.lock();
                // Few: the reports of new targets, the series of new rules.
                self.look(&mut state);
                let m = state.memory;
                match m.used_bytes < percent(m.budget_bytes, OUTRANK_PERCENT) {
                    true => Ok(()),
                    false => Err(AppendError::SeriesLimit(Arc::clone(&state.reason))),
                }
            }
            true => Err(self.refusal()),
        }
    }

    /// Looks at the memory, opens where there is room again, begins windows, and says what is to be said.
    /// Each second.
    fn tick(&self, series: u64, now_ms: i64) {
        self.newcomers.tick(now_ms);
        let mut state = self.state.lock();
        self.look(&mut state);
        let m = state.memory;
        if self.is_closed() {
            let head_max = self.limits.head_max;
            let memory =
                self.limits.memory.is_none() || m.used_bytes < percent(m.budget_bytes, REOPEN_PERCENT);
            if memory && (head_max == 0 || series < head_max - head_max / 16) {
                state.opened = true;
                self.closed.store(false, Ordering::Relaxed);
            }
        }
        let refused = self.refused.get();
        if self.is_closed() {
            let due = state.said.is_none_or(|(at, before)| at.elapsed() >= SAY_EVERY && refused > before);
            if due {
                state.said = Some((Instant::now(), refused));
                let by = self.newcomers.report().first().map(in_words).unwrap_or_default();
                tracing::warn!(reason = %state.reason, refused, most = by, "new series are refused; existing ones go on");
            }
        } else if std::mem::take(&mut state.opened) && state.said.take().is_some() {
            tracing::info!(refused, "new series are taken again");
        }
    }

    /// Says who brings very many series, each minute at most. While they are refused that is said anyway.
    fn say_surge(&self, series: u64) {
        let said = self.state.lock().surge_said;
        if self.is_closed() || said.is_some_and(|at| at.elapsed() < SAY_EVERY) {
            return;
        }
        if let Some(source) = (NewSeriesStatus { series, ..self.status() }).surge() {
            self.state.lock().surge_said = Some(Instant::now());
            tracing::warn!(from = in_words(source), "very many new series");
        }
    }

    fn status(&self) -> NewSeriesStatus {
        let state = self.state.lock();
        NewSeriesStatus {
            refused_for: self.is_closed().then(|| Arc::clone(&state.reason)),
            memory_bytes: state.memory.used_bytes,
            watermark_bytes: percent(state.memory.budget_bytes, WATERMARK_PERCENT),
            series: 0,
            refused: self.refused.get() as u64,
            sources: self.newcomers.report(),
        }
    }

    /// Counts series that came in.
    pub(super) fn note_created(&self, index: &HeadIndex, labels: &Labels) {
        self.newcomers.note(index, labels, 1, false);
    }
}

impl Head {
    /// Counts refused series, of which one has these labels.
    pub(super) fn note_refused(&self, labels: &Labels, n: u64) {
        self.gate.refused.add(n as f64);
        self.gate.newcomers.note(&self.index.read(), labels, n, true);
    }

    /// What is due each second: see [`Gate::tick`].
    pub(crate) fn tick_limits(&self, now_ms: i64) {
        let series = self.index.read().len();
        self.gate.tick(series, now_ms);
        self.gate.say_surge(series);
    }

    /// Whether new series are taken, and who brings them.
    pub(crate) fn new_series(&self) -> NewSeriesStatus {
        NewSeriesStatus { series: self.index.read().len(), ..self.gate.status() }
    }

    /// Whether memory is above the mark from which on new series are refused.
    pub(crate) fn is_short_of_memory(&self) -> bool {
        self.gate.is_short_of_memory()
    }

    pub(super) fn register_limits(self: &Arc<Self>, registry: &Registry) {
        let weak = Arc::downgrade(self);
        let gauge = |name: &str, help: &str, read: fn(&State) -> u64| {
            let weak = weak.clone();
            registry.gauge_fn(name, help, move || {
                weak.upgrade().map_or(0.0, |head| read(&head.gate.state.lock()) as f64)
            });
        };
        gauge("godwit_memory_used_bytes", "Memory that the process uses, at the last look.", |s| {
            s.memory.used_bytes
        });
        gauge("godwit_memory_budget_bytes", "Memory that the process aims to stay below.", |s| {
            s.memory.budget_bytes
        });
        let of = weak.clone();
        registry.gauge_fn(
            "godwit_tsdb_refusing_new_series",
            "1 while new series are refused for lack of memory or for the limit of the head.",
            move || of.upgrade().map_or(0.0, |head| f64::from(u8::from(head.gate.is_closed()))),
        );
        registry
            .families_fn(move || weak.upgrade().map_or_else(Vec::new, |head| sources(&head.new_series())));
    }
}

/// The sources as metrics: ten of each at most.
fn sources(status: &NewSeriesStatus) -> Vec<telemetry::Family> {
    use telemetry::{Family, Metric, MetricData};
    let family = |name: &str, help: &str, count: fn(&storage::NewSeriesSource) -> u64| Family {
        name: name.to_string(),
        help: help.to_string(),
        kind: model::MetricType::Gauge,
        metrics: status
            .sources
            .iter()
            .map(|s| Metric {
                labels: Labels::from_pairs([
                    ("label", s.label.as_str()),
                    ("metric", s.metric.as_str()),
                    // Not `job`, which a scrape would rename.
                    ("source_job", s.job.as_str()),
                ]),
                data: MetricData::Number(count(s) as f64),
                ..Metric::default()
            })
            .collect(),
        ..Family::default()
    };
    vec![
        family(
            "godwit_tsdb_new_series_taken_last_minute",
            "New series of the last minute by the job that brought them, its heaviest metric and the label that varies; the ten heaviest jobs.",
            |s| s.created,
        ),
        family(
            "godwit_tsdb_new_series_refused_last_minute",
            "Refused series of the last minute, each as often as it was offered, by the same labels.",
            |s| s.refused,
        ),
    ]
}
