//! The scrape manager: pools by job, target groups in, read-only views out. Follows upstream's
//! `scrape/manager.go`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use config::{Config, ScrapeConfig};
use model::clock::Clock;
use model::{Labels, TargetGroup};
use parking_lot::{Mutex, RwLock};
use storage::Appendable;
use telemetry::Registry;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::clients::Clients;
use crate::duty::Duty;
use crate::failure_log::FailureLog;
use crate::held::Gate;
use crate::metrics::{self, Metrics};
use crate::offset;
use crate::options::Options;
use crate::pool::{Pool, Prepared};
use crate::room::Room;
use crate::target::{Target, TargetsByPool};
use crate::threads::Threads;

/// Target groups by job, as discovery sends them.
pub type TargetSets = HashMap<String, Vec<Arc<TargetGroup>>>;

/// Pools whose targets are synchronised at the same time: relabeling is CPU work, and more at once than
/// cores only delays scrapes.
const SYNCS_AT_ONCE_MAX: usize = 4;

/// Why a configuration could not be applied. Nothing changed then.
#[derive(Debug, thiserror::Error)]
pub enum ManagerError {
    /// A job's HTTP client could not be built.
    #[error("scrape pool {pool:?}: error creating HTTP client: {source}")]
    Client {
        /// Job.
        pool: String,
        /// Cause.
        source: net::ClientError,
    },
    /// The scrape failure log could not be opened.
    #[error("can't create json log file {path}: {source}")]
    FailureLog {
        /// Its path.
        path: String,
        /// Cause.
        source: std::io::Error,
    },
}

/// What every pool and loop of a manager shares.
pub(crate) struct Env {
    pub(crate) appendable: Arc<dyn Appendable>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) options: Options,
    pub(crate) metrics: Metrics,
    pub(crate) bodies: net::BodyPool,
    pub(crate) clients: Clients,
    pub(crate) threads: Threads,
    /// Places for large bodies to be ingested at the same time, one a core: more only takes the cores from
    /// targets whose pages are small. A page of a million lines takes half a second.
    pub(crate) large: tokio::sync::Semaphore,
    /// Memory for new targets.
    pub(crate) room: Arc<Room>,
    /// Shut until the store is open.
    pub(crate) gate: Arc<Gate>,
    /// Whether targets are scraped at all, and at which places in time.
    pub(crate) duty: Duty,
    /// The server stops: no waiting, no staleness markers.
    pub(crate) shutdown: CancellationToken,
}

#[derive(Default)]
struct State {
    configs: BTreeMap<String, Arc<ScrapeConfig>>,
    logs: BTreeMap<String, Arc<FailureLog>>,
    external_labels: Labels,
}

struct Inner {
    env: Arc<Env>,
    /// Held over a whole reload or update, so that these do not interleave.
    state: tokio::sync::Mutex<State>,
    pools: RwLock<BTreeMap<String, Arc<Pool>>>,
    newest: Mutex<HashMap<String, Arc<Vec<Arc<TargetGroup>>>>>,
    changed: Notify,
    syncs: tokio::sync::Semaphore,
}

impl Inner {
    /// Looks the host's name up where none was given.
    async fn set_seed(&self, external_labels: &Labels) {
        let (host, labels) = (self.env.duty.host(), external_labels.clone());
        let compute = move || offset::seed(host.unwrap_or_else(offset::host_name).as_str(), &labels);
        if let Ok(seed) = tokio::task::spawn_blocking(compute).await {
            self.env.duty.set_seed(seed);
        }
    }
}

/// Keeps one pool of scrape loops a job. Clones share everything.
#[derive(Clone)]
pub struct Manager {
    inner: Arc<Inner>,
}

impl std::fmt::Debug for Manager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Manager({} pools)", self.inner.pools.read().len())
    }
}

impl Manager {
    /// A manager without jobs. Its metrics are registered at once.
    #[must_use]
    pub fn new(
        appendable: Arc<dyn Appendable>,
        registry: &Registry,
        clock: Arc<dyn Clock>,
        options: Options,
    ) -> Self {
        let env = Arc::new(Env {
            appendable,
            clock,
            metrics: Metrics::new(registry),
            bodies: net::BodyPool::new(options.bodies),
            clients: Clients::default(),
            threads: Threads::start(options.threads),
            large: tokio::sync::Semaphore::new(options.threads.max(1)),
            room: Room::new(options.memory.clone()),
            gate: Gate::new(options.store_opens_later, options.held_bytes_max, registry),
            duty: Duty::new(options.held, options.fqdn.clone()),
            options,
            shutdown: CancellationToken::new(),
        });
        let inner = Inner {
            env,
            state: tokio::sync::Mutex::default(),
            pools: RwLock::default(),
            newest: Mutex::default(),
            changed: Notify::new(),
            syncs: tokio::sync::Semaphore::new(SYNCS_AT_ONCE_MAX),
        };
        let manager = Manager { inner: Arc::new(inner) };
        let weak = Arc::downgrade(&manager.inner);
        metrics::register_metadata(registry, move || {
            weak.upgrade().map(|inner| Manager { inner }.targets_active()).unwrap_or_default()
        });
        manager
    }

    /// Scrapes from `from_ms` on, each target at its place in time. `host`: whose places these are, so that the server
    /// whose duty this was and this one leave no gap between them; this host's where it is `None`.
    pub async fn take_duty(&self, from_ms: i64, host: Option<String>) {
        let state = self.inner.state.lock().await;
        self.inner.env.duty.set_host(host);
        self.inner.set_seed(&state.external_labels).await;
        self.inner.env.duty.take(from_ms);
    }

    /// Scrapes nothing more until [`Manager::take_duty`]. Series do not end: another server goes on with them.
    pub fn hold(&self) {
        self.inner.env.duty.hold();
    }

    /// Puts a configuration in force: jobs that are gone stop, jobs that differ change, others are not
    /// touched. New jobs start when their target groups come. `jobs` is what `scrape_configs_all` gave:
    /// read once by the caller, so that discovery gets the very same list.
    ///
    /// # Errors
    /// A client or a log that cannot be made; the configuration before stays in force then.
    pub async fn apply_config(
        &self,
        config: &Config,
        jobs: Vec<Arc<ScrapeConfig>>,
    ) -> Result<(), ManagerError> {
        let mut state = self.inner.state.lock().await;
        let env = &self.inner.env;
        let mut configs = BTreeMap::new();
        for job in jobs {
            // A job that did not change keeps its Arc, so that "same job" is a pointer comparison below.
            let kept = state.configs.get(&job.job_name).filter(|old| **old == job).cloned();
            configs.insert(job.job_name.clone(), kept.unwrap_or(job));
        }

        // Everything that can fail comes before anything that changes.
        let mut logs = BTreeMap::new();
        for path in configs.values().map(|c: &Arc<ScrapeConfig>| &c.scrape_failure_log_file) {
            if path.is_empty() {
                continue;
            }
            if !logs.contains_key(path) {
                let log = FailureLog::open(path)
                    .map_err(|source| ManagerError::FailureLog { path: path.clone(), source })?;
                logs.insert(path.clone(), Arc::new(log));
            }
        }
        let external_labels = config.global.external_labels.clone();
        if !configs.is_empty() {
            self.inner.set_seed(&external_labels).await;
        }
        let pools = self.inner.pools.read().clone();
        let mut changes = Vec::new();
        let mut gone = Vec::new();
        for (name, pool) in pools {
            match configs.get(&name) {
                None => gone.push((name, pool)),
                Some(config) => {
                    let log = logs.get(&config.scrape_failure_log_file).cloned();
                    let prepared = if Arc::ptr_eq(config, &pool.config()) {
                        None
                    } else {
                        let made = Prepared::new(env, Arc::clone(config));
                        Some(made.map_err(|source| {
                            env.metrics.pool_reloads_failed.inc();
                            ManagerError::Client { pool: name.clone(), source }
                        })?)
                    };
                    changes.push((pool, prepared, log));
                }
            }
        }

        *state = State { configs, logs, external_labels };
        for (pool, prepared, log) in changes {
            pool.apply(prepared, log);
        }
        for (name, pool) in gone {
            self.inner.pools.write().remove(&name);
            self.inner.newest.lock().remove(&name);
            pool.retire();
        }
        env.clients.forget_unused();
        drop(state);
        // Discovery sends its groups after a reload. Should it hold them back because they are the same,
        // the new rules are applied to the groups at hand.
        let manager = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(manager.inner.env.options.discovery_reload_interval).await;
            manager.inner.changed.notify_one();
        });
        Ok(())
    }

    /// Takes target groups from discovery until the channel closes or the manager stops.
    pub async fn run(&self, mut sets: mpsc::Receiver<TargetSets>) {
        let reloader = tokio::spawn(self.clone().reload_when_changed());
        let waiting = tokio::spawn(self.clone().start_waiting());
        loop {
            let received = tokio::select! {
                received = sets.recv() => received,
                () = self.inner.env.shutdown.cancelled() => None,
            };
            let Some(received) = received else { break };
            self.receive(received);
        }
        // The groups received last still have to be applied, unless the server stops.
        self.inner.env.shutdown.cancelled().await;
        reloader.abort();
        waiting.abort();
    }

    fn receive(&self, sets: TargetSets) {
        let mut newest = self.inner.newest.lock();
        for (job, groups) in sets {
            match newest.get(&job) {
                // Discovery sends all jobs whenever one changes; the unchanged ones cost a comparison.
                Some(old) if **old == groups => {}
                _ => {
                    newest.insert(job, Arc::new(groups));
                }
            }
        }
        drop(newest);
        self.inner.changed.notify_one();
    }

    async fn reload_when_changed(self) {
        let interval = self.inner.env.options.discovery_reload_interval;
        if !self.inner.env.options.discovery_reload_on_startup {
            tokio::time::sleep(interval).await;
        }
        loop {
            self.inner.changed.notified().await;
            self.reload().await;
            tokio::time::sleep(interval).await;
        }
    }

    /// Starts targets that wait for memory when there is room.
    async fn start_waiting(self) {
        loop {
            tokio::time::sleep(self.inner.env.options.discovery_reload_interval).await;
            let pools: Vec<_> = self.inner.pools.read().values().cloned().collect();
            for pool in pools.into_iter().filter(|pool| pool.waiting() > 0) {
                let _permit = self.inner.syncs.acquire().await;
                pool.start_waiting().await;
            }
        }
    }

    async fn reload(&self) {
        let state = self.inner.state.lock().await;
        let sets: Vec<_> = self.inner.newest.lock().iter().map(|(j, g)| (j.clone(), Arc::clone(g))).collect();
        for (job, groups) in sets {
            let existing = self.inner.pools.read().get(&job).cloned();
            let pool = match existing {
                Some(pool) => pool,
                None => {
                    let Some(config) = state.configs.get(&job) else {
                        // Discovery is a reload ahead; the groups are taken when the job is known.
                        tracing::debug!(job, "targets for a job that is not configured");
                        continue;
                    };
                    let env = &self.inner.env;
                    env.metrics.pools.inc();
                    match Prepared::new(env, Arc::clone(config)) {
                        Ok(prepared) => {
                            let log = state.logs.get(&config.scrape_failure_log_file).cloned();
                            let pool = Pool::new(Arc::clone(env), prepared, log);
                            self.inner.pools.write().insert(job.clone(), Arc::clone(&pool));
                            pool
                        }
                        Err(err) => {
                            env.metrics.pools_failed.inc();
                            tracing::error!(scrape_pool = job, %err, "error creating new scrape pool");
                            continue;
                        }
                    }
                }
            };
            if !pool.offer(groups) {
                continue;
            }
            // Not awaited: a pool that waits for its old targets' last scrapes delays no other pool.
            let manager = self.clone();
            tokio::spawn(async move {
                let _permit = manager.inner.syncs.acquire().await;
                pool.sync().await;
            });
        }
    }

    /// Says that the store takes samples, where [`Options::store_opens_later`]: what was scraped so far is
    /// stored, with the times at which it was scraped.
    pub fn store_opened(&self) {
        self.inner.env.gate.open();
    }

    /// Stops all loops and waits for scrapes in flight, at most [`crate::pool::STOP_GRACE`]. No staleness
    /// markers are written: the next start goes on where this one ends.
    pub async fn stop(&self) {
        self.inner.env.shutdown.cancel();
        let pools: Vec<_> = std::mem::take(&mut *self.inner.pools.write()).into_values().collect();
        let held = self.inner.env.gate.bytes();
        if held > 0 {
            tracing::warn!(bytes = held, "scrapes from before the store was open are not stored");
        }
        futures_join(pools.iter().map(|pool| pool.stop())).await;
    }

    /// Active targets by pool, in no order within one. Of those that wait for memory, a thousand a pool.
    #[must_use]
    pub fn targets_active(&self) -> TargetsByPool {
        self.by_pool(Pool::active)
    }

    /// Dropped targets by pool, as many as `keep_dropped_targets` allows.
    #[must_use]
    pub fn targets_dropped(&self) -> TargetsByPool {
        self.by_pool(Pool::dropped)
    }

    /// All dropped targets counted, by pool.
    #[must_use]
    pub fn targets_dropped_counts(&self) -> BTreeMap<String, usize> {
        self.inner.pools.read().iter().map(|(name, pool)| (name.clone(), pool.dropped_count())).collect()
    }

    /// Targets that wait for memory, by pool; pools without any are left out.
    #[must_use]
    pub fn targets_waiting(&self) -> BTreeMap<String, usize> {
        let pools = self.inner.pools.read();
        pools.iter().map(|(name, pool)| (name.clone(), pool.waiting())).filter(|(_, n)| *n > 0).collect()
    }

    /// Names of all pools, sorted.
    #[must_use]
    pub fn scrape_pools(&self) -> Vec<String> {
        self.inner.pools.read().keys().cloned().collect()
    }

    /// Configuration of one pool.
    #[must_use]
    pub fn scrape_pool_config(&self, pool: &str) -> Option<Arc<ScrapeConfig>> {
        self.inner.pools.read().get(pool).map(|pool| pool.config())
    }

    fn by_pool(&self, targets: impl Fn(&Pool) -> Vec<Arc<Target>>) -> TargetsByPool {
        self.inner.pools.read().iter().map(|(name, pool)| (name.clone(), targets(pool))).collect()
    }
}

/// Waits for all: each is a bounded wait, so order does not matter.
async fn futures_join(all: impl Iterator<Item = impl Future<Output = ()>>) {
    let mut waiting: Vec<_> = all.map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        waiting.retain_mut(|f| f.as_mut().poll(cx).is_pending());
        if waiting.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}
