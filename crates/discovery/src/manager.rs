//! The manager: runs a mechanism for each distinct configuration, keeps what they found, and sends the
//! complete map of jobs on when it changed (upstream: `discovery/manager.go`).
//!
//! Found groups are kept once for each provider, not for each job that uses it, and an update that changes
//! nothing is not sent on: most refreshes find what the one before found.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use config::SdConfigs;
use model::TargetGroup;
use net::{BodyLimits, BodyPool};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::dns::DnsServers;
use crate::metrics::Metrics;
use crate::provider::{Mechanism, ProviderConfig, static_groups};
use crate::room::Room;

/// Target groups of each job: all of them, always. A job without targets has an empty list.
pub type TargetSets = HashMap<String, Vec<Arc<TargetGroup>>>;

/// First pause before sending, so that what starts together is sent together.
const SEND_PAUSE_FIRST: Duration = Duration::from_millis(100);
/// Pauses grow by half with each sending, up to [`Options::send_pause_max`].
const SEND_PAUSE_GROWTH: f64 = 1.5;

/// Settings of a manager.
#[derive(Clone, Debug)]
pub struct Options {
    /// Label `name` of its figures: `scrape` or `notify`.
    pub name: String,
    /// Longest pause between two updates while something changes all the time. 5 s upstream.
    pub send_pause_max: Duration,
    /// `User-Agent` of HTTP discovery.
    pub user_agent: String,
    /// Buffers for answers of HTTP discovery.
    pub bodies: BodyPool,
    /// Whom to ask for names.
    pub dns: DnsServers,
    /// Memory for lists of targets.
    pub room: Room,
}

impl Options {
    /// Upstream's settings.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Options {
            name: name.into(),
            send_pause_max: Duration::from_secs(5),
            user_agent: String::new(),
            bodies: BodyPool::new(BodyLimits::default()),
            dns: DnsServers::System,
            room: Room::default(),
        }
    }
}

/// Runs discovery. Clones share one.
#[derive(Clone, Debug)]
pub struct Manager {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    options: Options,
    metrics: Metrics,
    state: Mutex<Vec<Provider>>,
    /// One configuration is applied at a time.
    applying: tokio::sync::Mutex<()>,
    changed: Changed,
    sets: mpsc::Sender<TargetSets>,
    stop: CancellationToken,
}

/// Something to send. A flag besides the wake-up, so that sending can take the flag back.
#[derive(Debug, Default)]
struct Changed {
    flag: AtomicBool,
    wake: Notify,
}

impl Changed {
    fn set(&self) {
        self.flag.store(true, Ordering::Release);
        self.wake.notify_one();
    }

    fn take(&self) -> bool {
        self.flag.swap(false, Ordering::AcqRel)
    }
}

/// What a provider found, by source.
type Groups = BTreeMap<String, Arc<TargetGroup>>;

#[derive(Debug)]
struct Provider {
    /// [`ProviderConfig::key`].
    key: u64,
    config: Arc<ProviderConfig>,
    /// Jobs that use it.
    sets: BTreeSet<String>,
    groups: Arc<Mutex<Groups>>,
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
}

impl Manager {
    /// A manager, and the channel on which it sends. [`Manager::run`] does the sending; `stop` ends
    /// everything.
    #[must_use]
    pub fn new(
        options: Options,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> (Self, mpsc::Receiver<TargetSets>) {
        // Room for one map: a receiver that is busy gets the newest state when it is done, not a queue.
        let (sets, receiver) = mpsc::channel(1);
        let inner = Inner {
            options,
            metrics,
            state: Mutex::new(Vec::new()),
            applying: tokio::sync::Mutex::new(()),
            changed: Changed::default(),
            sets,
            stop,
        };
        inner.metrics.failed_configs.with(&[&inner.options.name]).set(0.0);
        for counter in
            [&inner.metrics.received_updates, &inner.metrics.delayed_updates, &inner.metrics.sent_updates]
        {
            let _ = counter.with(&[&inner.options.name]);
        }
        (Manager { inner: Arc::new(inner) }, receiver)
    }

    /// Runs what `jobs` asks for: mechanisms whose configuration did not change go on, with what they
    /// found; others are stopped or started. A mechanism that cannot be made is logged and counted, the
    /// rest runs. Returns when the stopped ones have ended.
    pub async fn apply_config(&self, jobs: &BTreeMap<&str, &SdConfigs>) {
        let _one_at_a_time = self.inner.applying.lock().await;
        let (wanted, failed) = self.wanted(jobs);
        self.inner.metrics.failed_configs.with(&[&self.inner.options.name]).set(failed as f64);
        let stopped = self.replace(wanted);
        self.inner.changed.set();
        for task in stopped.into_iter().flat_map(|p| p.tasks) {
            // A mechanism that panicked has ended as well.
            let _ = task.await;
        }
    }

    /// The configurations to run with their jobs, those that must be started with their mechanism; and the
    /// number of those that cannot be. Equal ones are found by a hash: thousands of jobs have one each.
    fn wanted(&self, jobs: &BTreeMap<&str, &SdConfigs>) -> (Vec<Wanted>, usize) {
        let mut running: HashMap<u64, Vec<Arc<ProviderConfig>>> = HashMap::new();
        for provider in self.inner.state.lock().iter() {
            running.entry(provider.key).or_default().push(Arc::clone(&provider.config));
        }
        let mut wanted: Vec<Wanted> = Vec::new();
        let mut places: HashMap<u64, Vec<usize>> = HashMap::new();
        let mut failed = 0;
        let mut add = |job: &str, config: ProviderConfig| {
            let key = config.key();
            let places = places.entry(key).or_default();
            for place in places.iter() {
                if let Some(known) = wanted.get_mut(*place).filter(|w| *w.config == config) {
                    known.sets.insert(job.to_string());
                    return true;
                }
            }
            let mut mechanism = None;
            let config = match running.get(&key).and_then(|same| same.iter().find(|c| ***c == config)) {
                Some(running) => Arc::clone(running),
                None => match config.build(job, &self.inner.options, &self.inner.metrics) {
                    Ok(made) => {
                        mechanism = Some(made);
                        Arc::new(config)
                    }
                    Err(error) => {
                        tracing::error!(err = %error, r#type = config.mechanism(), config = %job, "Cannot create service discovery");
                        failed += 1;
                        return false;
                    }
                },
            };
            places.push(wanted.len());
            wanted.push(Wanted { key, config, sets: [job.to_string()].into(), mechanism });
            true
        };
        // In order of names, so that figures of a shared mechanism always name the same job.
        for (job, configs) in jobs {
            let mut has = false;
            for config in ProviderConfig::list(configs) {
                has |= add(job, config);
            }
            if !has {
                // The job exists, without targets: its old ones must go.
                add(job, ProviderConfig::Static(Arc::default()));
            }
        }
        (wanted, failed)
    }

    /// Puts the wanted providers in place; returns those that were stopped.
    fn replace(&self, wanted: Vec<Wanted>) -> Vec<Provider> {
        let mut state = self.inner.state.lock();
        let mut old: HashMap<u64, Vec<Provider>> = HashMap::new();
        for provider in state.drain(..) {
            old.entry(provider.key).or_default().push(provider);
        }
        for want in wanted {
            let same = old.get_mut(&want.key);
            let kept = same.and_then(|same| {
                let at = same.iter().position(|p| p.config == want.config)?;
                Some(same.swap_remove(at))
            });
            if let Some(mut provider) = kept {
                for set in provider.sets.difference(&want.sets) {
                    self.inner.metrics.forget_refresh(provider.config.mechanism(), set);
                }
                provider.sets = want.sets;
                state.push(provider);
            } else if let Some(mechanism) = want.mechanism {
                state.push(self.start(want.key, want.config, want.sets, mechanism));
            }
        }
        let old: Vec<Provider> = old.into_values().flatten().collect();
        let jobs: BTreeSet<&String> = state.iter().flat_map(|p| &p.sets).collect();
        let name = &self.inner.options.name;
        for provider in &old {
            provider.stop.cancel();
            for set in &provider.sets {
                self.inner.metrics.forget_refresh(provider.config.mechanism(), set);
            }
        }
        for gone in old.iter().flat_map(|p| &p.sets).filter(|set| !jobs.contains(set)) {
            self.inner.metrics.discovered_targets.remove(&[name, gone]);
            self.inner.metrics.last_update.remove(&[name, gone]);
        }
        old
    }

    fn start(
        &self,
        key: u64,
        config: Arc<ProviderConfig>,
        sets: BTreeSet<String>,
        mechanism: Box<dyn Mechanism>,
    ) -> Provider {
        tracing::debug!(discovery = mechanism.name(), config = ?sets, "Starting provider");
        let stop = self.inner.stop.child_token();
        let groups = Arc::new(Mutex::new(BTreeMap::new()));
        let mut tasks = Vec::new();
        if let ProviderConfig::Static(fixed) = &*config {
            // Said once and for all: no tasks that wait for nothing.
            self.inner.metrics.received_updates.with(&[&self.inner.options.name]).inc();
            merge(&mut groups.lock(), static_groups(fixed));
        } else {
            let (sender, receiver) = mpsc::channel(1);
            tasks.push(tokio::spawn(mechanism.run(sender, stop.clone())));
            tasks.push(tokio::spawn(self.clone().take_updates(Arc::clone(&groups), receiver, stop.clone())));
        }
        Provider { key, config, sets, groups, stop, tasks }
    }

    async fn take_updates(
        self,
        groups: Arc<Mutex<Groups>>,
        mut updates: mpsc::Receiver<Vec<TargetGroup>>,
        stop: CancellationToken,
    ) {
        let received = self.inner.metrics.received_updates.with(&[&self.inner.options.name]);
        loop {
            let update = tokio::select! {
                update = updates.recv() => update,
                () = stop.cancelled() => return,
            };
            let Some(update) = update else { return };
            received.inc();
            if merge(&mut groups.lock(), update) {
                self.inner.changed.set();
            }
        }
    }

    /// Sends the map of jobs whenever it changed, until stopped. Pauses grow from 0.1 s to
    /// [`Options::send_pause_max`] while changes go on, and start small again after a quiet time as long
    /// as the longest.
    pub async fn run(&self) {
        let options = &self.inner.options;
        let name = [options.name.as_str()];
        let sent = self.inner.metrics.sent_updates.with(&name);
        let delayed = self.inner.metrics.delayed_updates.with(&name);
        let mut pause = SEND_PAUSE_FIRST;
        let mut last_sent: Option<Instant> = None;
        loop {
            tokio::select! {
                () = self.inner.changed.wake.notified() => {}
                () = self.inner.stop.cancelled() => return,
            }
            if last_sent.is_none_or(|at| at.elapsed() > options.send_pause_max) {
                pause = SEND_PAUSE_FIRST;
            }
            tokio::select! {
                () = tokio::time::sleep(pause.min(options.send_pause_max)) => {}
                () = self.inner.stop.cancelled() => return,
            }
            pause = pause.mul_f64(SEND_PAUSE_GROWTH).min(options.send_pause_max);
            if !self.inner.changed.take() {
                continue;
            }
            match self.inner.sets.try_reserve() {
                Ok(permit) => {
                    permit.send(self.all_groups());
                    sent.inc();
                    last_sent = Some(Instant::now());
                }
                Err(mpsc::error::TrySendError::Full(())) => {
                    delayed.inc();
                    self.inner.changed.set();
                }
                Err(mpsc::error::TrySendError::Closed(())) => return,
            }
        }
    }

    fn all_groups(&self) -> TargetSets {
        let mut all = TargetSets::new();
        for provider in self.inner.state.lock().iter() {
            let groups = provider.groups.lock();
            for set in &provider.sets {
                all.entry(set.clone()).or_default().extend(groups.values().cloned());
            }
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        for (set, groups) in &all {
            let labels = [self.inner.options.name.as_str(), set.as_str()];
            let count: usize = groups.iter().map(|g| g.targets.len()).sum();
            self.inner.metrics.discovered_targets.with(&labels).set(count as f64);
            self.inner.metrics.last_update.with(&labels).set(now);
        }
        all
    }
}

/// A configuration to run.
struct Wanted {
    key: u64,
    config: Arc<ProviderConfig>,
    sets: BTreeSet<String>,
    /// `None` where it runs already.
    mechanism: Option<Box<dyn Mechanism>>,
}

/// Puts groups in place by source; one without targets removes. True where anything changed.
fn merge(groups: &mut Groups, updates: Vec<TargetGroup>) -> bool {
    let mut changed = false;
    for group in updates {
        if group.targets.is_empty() {
            changed |= groups.remove(&group.source).is_some();
        } else if groups.get(&group.source).is_none_or(|old| **old != group) {
            groups.insert(group.source.clone(), Arc::new(group));
            changed = true;
        }
    }
    changed
}
