//! What goes on beside the scrapes: writes in and out of order, queries that note what they saw, reloads.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;

use super::pusher::{Pushed, push};
use super::{Fate, Ledger, Source, now_ms, values};
use crate::answers::{instant, query};
use crate::http;

/// Between two pushes.
const PUSH_PAUSE: Duration = Duration::from_millis(60);
/// Every so many pushes one is of an older time.
const LATE_EVERY: u64 = 3;
/// Between two queries.
const QUERY_PAUSE: Duration = Duration::from_millis(250);
/// Between two reloads.
const RELOAD_PAUSE: Duration = Duration::from_millis(300);
/// Texts of refusals that are kept.
const REFUSALS_MAX: usize = 5;

/// What is scraped and how the load goes.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Addresses of the targets that stay. One more is served by the last, which comes and goes with reloads.
    pub targets: Vec<String>,
    /// Addresses of others, in one job.
    pub more: Vec<String>,
    /// Seconds between two scrapes.
    pub interval: String,
    /// `out_of_order_time_window` in seconds; pushes go half as far back.
    pub window_seconds: u64,
    /// Where the configuration lies.
    pub config: PathBuf,
    /// Whether queries count as acknowledgements.
    pub seen_counts: bool,
    /// Whether there are remote writes.
    pub pushes: bool,
    /// Whether the configuration changes all the time.
    pub reload: bool,
}

impl Plan {
    /// Serves some targets of a ledger and plans a load on them.
    ///
    /// # Errors
    /// No port is free.
    pub fn new(ledger: &Ledger, targets: u64, config: &Path) -> Result<Plan> {
        let targets = (0..targets).map(|t| super::serve(ledger, t)).collect::<Result<_>>()?;
        Ok(Plan {
            targets,
            more: Vec::new(),
            interval: "1s".into(),
            window_seconds: 60,
            config: config.to_path_buf(),
            seen_counts: true,
            pushes: true,
            reload: true,
        })
    }

    /// The configuration; `variant` says whether the passing target is in it.
    #[must_use]
    pub fn text(&self, variant: bool) -> String {
        let job = |(number, address): (usize, &String)| {
            format!(
                "- {{job_name: job{number}, static_configs: [{{targets: ['{address}'], labels: {{instance: t{number}}}}}]}}\n"
            )
        };
        let all = self.targets.len() - usize::from(!variant && self.reload);
        let mut jobs: String = self.targets.iter().take(all).enumerate().map(job).collect();
        if !self.more.is_empty() {
            let more = self.more.iter().map(|a| format!("'{a}'")).collect::<Vec<_>>().join(", ");
            jobs += &format!("- {{job_name: more, static_configs: [{{targets: [{more}]}}]}}\n");
        }
        if jobs.is_empty() {
            jobs += "  []\n";
        }
        format!(
            "global: {{scrape_interval: {0}, scrape_timeout: {0}}}\n\
             storage: {{tsdb: {{out_of_order_time_window: {1}s}}}}\nscrape_configs:\n{jobs}",
            self.interval, self.window_seconds
        )
    }

    /// Puts a configuration in place at once.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn put(&self, variant: bool) -> Result<()> {
        let new = self.config.with_extension("new");
        std::fs::write(&new, self.text(variant))?;
        std::fs::rename(new, &self.config)?;
        Ok(())
    }
}

/// What came of the load.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    /// Pushes with 2xx.
    pub taken: u64,
    /// Pushes without an answer or with 5xx.
    pub not_now: u64,
    /// Pushes with 4xx.
    pub refused: u64,
    /// The first of their texts.
    pub refusals: Vec<String>,
    /// Reloads that were answered with 200.
    pub reloads: u64,
    /// Queries that were answered.
    pub queries: u64,
    /// Queries that were not.
    pub queries_failed: u64,
    /// The longest that a query took, in milliseconds.
    pub query_ms_max: u64,
}

#[derive(Default)]
struct Shared {
    end: AtomicBool,
    paused: AtomicBool,
    figures: Mutex<Figures>,
    reloading: AtomicU64,
}

impl Shared {
    fn figures(&self, change: impl FnOnce(&mut Figures)) {
        change(&mut self.figures.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits; false at the end.
    fn goes_on(&self, pause: Duration) -> bool {
        std::thread::sleep(pause);
        while self.paused.load(Ordering::Relaxed) && !self.end.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
        }
        !self.end.load(Ordering::Relaxed)
    }
}

/// A running load; it ends when dropped.
pub struct Load {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    /// Begins.
    #[must_use]
    pub fn start(ledger: &Ledger, port: u16, plan: &Plan) -> Load {
        let shared = Arc::<Shared>::default();
        let mut threads = Vec::new();
        if plan.pushes {
            let (l, p, s) = (ledger.clone(), plan.clone(), Arc::clone(&shared));
            threads.push(std::thread::spawn(move || pushes(&l, port, &p, &s)));
        }
        let (l, p, s) = (ledger.clone(), plan.clone(), Arc::clone(&shared));
        threads.push(std::thread::spawn(move || queries(&l, port, &p, &s)));
        if plan.reload {
            let (p, s) = (plan.clone(), Arc::clone(&shared));
            threads.push(std::thread::spawn(move || reloads(port, &p, &s)));
        }
        Load { shared, threads }
    }

    /// Nothing is sent while no server is there.
    pub fn pause(&self, paused: bool) {
        self.shared.paused.store(paused, Ordering::Relaxed);
    }

    /// Reloads that began so far.
    #[must_use]
    pub fn reloads_begun(&self) -> u64 {
        self.shared.reloading.load(Ordering::Relaxed)
    }

    /// What came of it so far.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.shared.figures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends it.
    #[must_use]
    pub fn stop(mut self) -> Figures {
        self.end();
        self.figures()
    }

    fn end(&mut self) {
        self.shared.end.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked has printed why.
            let _ = thread.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}

fn pushes(ledger: &Ledger, port: u16, plan: &Plan, shared: &Shared) {
    let mut newest = 0;
    let mut late = std::collections::BTreeSet::new();
    for round in 0_u64.. {
        if !shared.goes_on(PUSH_PAUSE) {
            return;
        }
        let now = now_ms().max(newest + 1);
        let (source, time) = if round % LATE_EVERY == 2 {
            // Each time once: which of two values for one time stays is another test's subject.
            let back = values::mix(&[round, now as u64]) % (plan.window_seconds * 500) + 1000;
            let mut time = now as u64 - back;
            while !late.insert(time) {
                time -= 1;
            }
            (Source::Late, time)
        } else {
            newest = now;
            (Source::Push, now as u64)
        };
        match push(ledger, port, source, time) {
            Ok(Pushed::Taken) => shared.figures(|f| f.taken += 1),
            Ok(Pushed::Refused(text)) => shared.figures(|f| {
                f.refused += 1;
                if f.refusals.len() < REFUSALS_MAX {
                    f.refusals.push(text);
                }
            }),
            Ok(Pushed::NotNow) | Err(_) => shared.figures(|f| f.not_now += 1),
        }
    }
}

fn queries(ledger: &Ledger, port: u16, plan: &Plan, shared: &Shared) {
    while shared.goes_on(QUERY_PAUSE) {
        let at = now_ms();
        let path = instant("ledger_page[4s]", at as f64 / 1000.0);
        let began = std::time::Instant::now();
        let Ok(answer) = query(port, &path) else {
            shared.figures(|f| f.queries_failed += 1);
            continue;
        };
        shared.figures(|f| {
            f.queries += 1;
            f.query_ms_max = f.query_ms_max.max(began.elapsed().as_millis() as u64);
        });
        if !plan.seen_counts {
            continue;
        }
        for (labels, points) in answer {
            let Some(target) = target_of(&labels) else { continue };
            for (_, value) in points {
                if let Ok(page) = value.trim_matches('"').parse() {
                    ledger.note(Source::Target(target), page, Fate::Acknowledged(now_ms()));
                }
            }
        }
    }
}

fn target_of(labels: &str) -> Option<u64> {
    let labels: serde_json::Value = serde_json::from_str(labels).ok()?;
    labels["instance"].as_str()?.strip_prefix('t')?.parse().ok()
}

fn reloads(port: u16, plan: &Plan, shared: &Shared) {
    let mut variant = false;
    while shared.goes_on(RELOAD_PAUSE) {
        variant = !variant;
        if plan.put(variant).is_err() {
            continue;
        }
        shared.reloading.fetch_add(1, Ordering::Relaxed);
        let answer = http::request(port, "POST", "/-/reload", &[], &[]);
        if answer.is_ok_and(|a| a.status == 200) {
            shared.figures(|f| f.reloads += 1);
        }
    }
}
