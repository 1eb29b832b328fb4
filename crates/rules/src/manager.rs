//! All groups: a reload keeps those that are equal, lets others take over from those they replace, and ends the
//! series of those that are gone (upstream: `rules/manager.go`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use model::Labels;
use model::clock::Clock;
use storage::{Appendable, Queryable};
use telemetry::Registry;
use tokio::sync::{Mutex, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::alerting::nanos;
use crate::evaluate::{External, Notify, QueryWatch, Shared};
use crate::group::Group;
use crate::load::GroupSpec;
use crate::metrics::Metrics;
use crate::schedule::{self, Ends};
use crate::view::GroupView;

/// Settings from the command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// The server's URL, without a slash at its end.
    pub external_url: String,
    /// The path of it, "" or `/prefix`.
    pub external_path: String,
    /// `--rules.alert.for-outage-tolerance`: states older than this are not taken up again.
    pub outage_tolerance: Duration,
    /// `--rules.alert.for-grace-period`: shorter `for`s begin anew after a restart.
    pub grace_period: Duration,
    /// `--rules.alert.resend-delay`.
    pub resend_delay: Duration,
    /// Rules of groups that run besides the one whose turn it is, in all groups together; 0: none
    /// (`--rules.max-concurrent-evals` with the feature `concurrent-rule-eval`).
    pub concurrent_evals: usize,
    /// Groups that are evaluated at once; each holds a thread. At least 1.
    pub groups_at_once: usize,
}

/// What rules work with.
pub struct Parts {
    /// Runs expressions; its slots and memory should be rules' own.
    pub engine: promql::Engine,
    /// What expressions read.
    pub queryable: Arc<dyn Queryable>,
    /// Where results go.
    pub appendable: Arc<dyn Appendable>,
    /// Where alerts go.
    pub notify: Arc<dyn Notify>,
    /// Time.
    pub clock: Arc<dyn Clock>,
}

struct Running {
    group: Arc<Group>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

struct Inner {
    shared: Arc<Shared>,
    /// By file and name.
    running: Mutex<BTreeMap<(String, String), Running>>,
    /// What is shown: a reload that waits for evaluations holds no one up who looks.
    shown: parking_lot::RwLock<Vec<Arc<Group>>>,
    slots: Arc<Semaphore>,
    /// Groups that wait, wait for it.
    start: parking_lot::Mutex<CancellationToken>,
    closed: CancellationToken,
}

/// Evaluates rules. Clones share one.
#[derive(Clone)]
pub struct Manager(Arc<Inner>);

impl Manager {
    /// A manager without rules, that evaluates none before [`Manager::start`].
    #[must_use]
    pub fn new(parts: Parts, options: Options, registry: &Registry) -> Self {
        let slots = Arc::new(Semaphore::new(options.groups_at_once.clamp(1, Semaphore::MAX_PERMITS)));
        let shared = Arc::new(Shared::new(parts, Metrics::new(registry), options));
        Manager(Arc::new(Inner {
            shared,
            running: Mutex::default(),
            shown: parking_lot::RwLock::default(),
            slots,
            start: parking_lot::Mutex::default(),
            closed: CancellationToken::new(),
        }))
    }

    /// Tells someone of the queries that rules run; the first to come is told.
    pub fn watch_queries(&self, watch: Arc<dyn QueryWatch>) {
        let _ = self.0.shared.watch.set(watch);
    }

    /// The store is open: groups begin, each at its time.
    pub fn start(&self) {
        self.0.shared.handed_over.store(false, Ordering::Release);
        self.0.start.lock().cancel();
    }

    /// As [`Manager::start`], where another server has evaluated the same rules until now, and what came of it is in the
    /// store: alerts are pending or firing since when they were there.
    pub fn take_over(&self) {
        self.0.shared.handed_over.store(true, Ordering::Release);
        self.0.start.lock().cancel();
    }

    /// Evaluates and sends nothing more until [`Manager::start`] or [`Manager::take_over`]. Series do not end: another
    /// server goes on with them. Waits for the rules being evaluated.
    pub async fn hold(&self) {
        let inner = &*self.0;
        let mut running = inner.running.lock().await;
        if inner.closed.is_cancelled() {
            return;
        }
        *inner.start.lock() = CancellationToken::new();
        running.values().for_each(|r| r.stop.cancel());
        for (id, before) in std::mem::take(&mut *running) {
            let _ = before.task.await;
            let group = Group::new(before.group.spec.clone(), &inner.shared, true);
            running.insert(id, self.run(group));
        }
        *inner.shown.write() = running.values().map(|r| Arc::clone(&r.group)).collect();
    }

    /// Puts groups in force. Waits for evaluations of those that change.
    pub async fn update(&self, groups: Vec<GroupSpec>, external_labels: &Labels, query_offset: Duration) {
        let inner = &*self.0;
        let mut running = inner.running.lock().await;
        if inner.closed.is_cancelled() {
            return;
        }
        let options = &inner.shared.options;
        *inner.shared.external.write() = Arc::new(External {
            labels: external_labels.clone(),
            url: options.external_url.clone(),
            path: options.external_path.clone(),
        });
        inner.shared.query_offset_ns.store(nanos(query_offset), Ordering::Relaxed);
        // States of before the start are looked for once: groups that come later have none.
        let first = !inner.start.lock().is_cancelled();
        let mut old = std::mem::take(&mut *running);
        let mut new = Vec::new();
        for spec in groups {
            let id = (spec.file.clone(), spec.name.clone());
            match old.remove(&id) {
                Some(same) if same.group.spec == spec => {
                    running.insert(id, same);
                }
                before => {
                    before.iter().for_each(|b| b.stop.cancel());
                    new.push((id, spec, before));
                }
            }
        }
        for gone in old.values() {
            gone.group.gone.store(true, Ordering::Release);
            gone.stop.cancel();
        }
        for (id, spec, before) in new {
            let restores = first || before.as_ref().is_some_and(|b| b.group.restores());
            if let Some(before) = before {
                let _ = before.task.await;
                let group = Group::new(spec, &inner.shared, restores);
                group.take_over(&before.group);
                running.insert(id, self.run(group));
            } else {
                running.insert(id, self.run(Group::new(spec, &inner.shared, restores)));
            }
        }
        *inner.shown.write() = running.values().map(|r| Arc::clone(&r.group)).collect();
        for gone in old.into_values() {
            let _ = gone.task.await;
            inner.shared.metrics.end(&gone.group.key);
        }
    }

    fn run(&self, group: Group) -> Running {
        let inner = &*self.0;
        let (group, stop) = (Arc::new(group), CancellationToken::new());
        let ends =
            Ends { start: inner.start.lock().clone(), stop: stop.clone(), closed: inner.closed.clone() };
        let task = tokio::spawn(schedule::run(Arc::clone(&group), ends, Arc::clone(&inner.slots)));
        Running { group, stop, task }
    }

    /// All groups by file and name, with their rules and alerts as they are now.
    #[must_use]
    pub fn view(&self) -> Vec<GroupView> {
        let shown = self.0.shown.read().clone();
        shown.iter().map(|group| GroupView::of(group)).collect()
    }

    /// Stops all groups and waits for the rules being evaluated, whose queries are canceled. Series do not end: the
    /// server is to come back.
    pub async fn stop(&self) {
        tracing::info!("Stopping rule manager...");
        let inner = &*self.0;
        inner.shared.cancel.cancel();
        let mut running = inner.running.lock().await;
        running.values().for_each(|r| r.stop.cancel());
        for (_, running) in std::mem::take(&mut *running) {
            let _ = running.task.await;
        }
        inner.closed.cancel();
        tracing::info!("Rule manager stopped");
    }
}
