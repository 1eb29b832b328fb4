//! One job's pool: it turns target groups into targets and keeps one loop a target. Follows upstream's
//! `scrapePool` (`scrape/scrape.go`), with one difference in kind: a reload hands running loops their new
//! settings instead of restarting them, so that phases, connections of unchanged jobs and, where the
//! rules allow it, caches stay.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use config::ScrapeConfig;
use model::TargetGroup;
use model::relabel::RelabelConfig;
use net::{ClientError, ClientOptions, HttpClient};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::failure_log::FailureLog;
use crate::manager::Env;
use crate::request::RequestHeaders;
use crate::room::{Place, PoolCounted};
use crate::scrape_loop::{self, Heir, ScrapeLoop};
use crate::target::{Target, UNIX_SOCKET_LABEL};
use crate::waiting::{At, Dropped, Sorted, Source, Waiting};

/// How long a stop waits for scrapes in flight: a third of the 30 s that Kubernetes gives a pod by default,
/// so that the store can still close in time.
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(10);

/// A job's configuration with everything that could fail already done.
pub(crate) struct Prepared {
    config: Arc<ScrapeConfig>,
    client: HttpClient,
}

impl Prepared {
    pub(crate) fn new(env: &Env, config: Arc<ScrapeConfig>) -> Result<Self, ClientError> {
        let client = env.clients.get(&config.http, || client_options(env, None))?;
        Ok(Prepared { config, client })
    }
}

fn client_options(env: &Env, unix_socket: Option<&str>) -> ClientOptions {
    ClientOptions {
        user_agent: format!("Prometheus/{}", env.options.version),
        unix_socket: unix_socket.map(Into::into),
        ..ClientOptions::default()
    }
}

/// What the loops of a pool read at the start of each scrape.
pub(crate) struct Settings {
    pub(crate) config: Arc<ScrapeConfig>,
    pub(crate) client: HttpClient,
    pub(crate) headers: RequestHeaders,
    pub(crate) fallback: Option<exposition::ScrapeProtocol>,
    pub(crate) metric_relabel: Arc<[RelabelConfig]>,
    /// Caches made under another number are not valid any more.
    pub(crate) cache_epoch: u64,
}

/// The part of a pool that its loops hold.
pub(crate) struct PoolShared {
    pub(crate) env: Arc<Env>,
    pub(crate) name: String,
    pub(crate) settings: ArcSwap<Settings>,
    /// Error that every scrape gets instead of a request (`target_limit`).
    pub(crate) forced_error: ArcSwapOption<String>,
    pub(crate) failure_log: ArcSwapOption<FailureLog>,
    unix_clients: Mutex<HashMap<String, HttpClient>>,
}

impl PoolShared {
    /// The client for a target: targets behind a Unix socket have one a socket, as connections are pooled
    /// by host name only.
    pub(crate) fn client(&self, settings: &Settings, target: &Target) -> Result<HttpClient, ClientError> {
        let socket = target.value(UNIX_SOCKET_LABEL);
        if socket.is_empty() {
            return Ok(settings.client.clone());
        }
        let mut clients = self.unix_clients.lock();
        if let Some(client) = clients.get(socket) {
            return Ok(client.clone());
        }
        let client = HttpClient::new(&settings.config.http, client_options(&self.env, Some(socket)))?;
        clients.insert(socket.to_string(), client.clone());
        Ok(client)
    }
}

struct LoopHandle {
    target: Arc<Target>,
    stop: CancellationToken,
    /// Ends when the last scrape is over; staleness markers may still come.
    stopped: oneshot::Receiver<()>,
    heir: Heir,
}

/// A job's targets and their loops.
pub(crate) struct Pool {
    shared: Arc<PoolShared>,
    /// Held over a whole sync, so that two do not interleave.
    syncing: tokio::sync::Mutex<()>,
    offered: Mutex<Option<Arc<Vec<Arc<TargetGroup>>>>>,
    synced: Mutex<Option<(Arc<Vec<Arc<TargetGroup>>>, Arc<ScrapeConfig>)>>,
    loops: Mutex<HashMap<u64, LoopHandle>>,
    dropped: Mutex<Dropped>,
    waiting: Mutex<Waiting>,
    _counted: PoolCounted,
    retired: AtomicBool,
}

impl Pool {
    pub(crate) fn new(env: Arc<Env>, prepared: Prepared, log: Option<Arc<FailureLog>>) -> Arc<Self> {
        let name = prepared.config.job_name.clone();
        env.metrics.pool_target_limit.with(&[&name]).set(prepared.config.target_limit as f64);
        let settings = settings(&env, prepared, 0);
        let counted = env.room.count_pool();
        let shared = PoolShared {
            env,
            name,
            settings: ArcSwap::from_pointee(settings),
            forced_error: ArcSwapOption::empty(),
            failure_log: ArcSwapOption::new(log),
            unix_clients: Mutex::default(),
        };
        Arc::new(Pool {
            shared: Arc::new(shared),
            syncing: tokio::sync::Mutex::default(),
            offered: Mutex::default(),
            synced: Mutex::default(),
            loops: Mutex::default(),
            dropped: Mutex::default(),
            waiting: Mutex::default(),
            _counted: counted,
            retired: AtomicBool::new(false),
        })
    }

    pub(crate) fn config(&self) -> Arc<ScrapeConfig> {
        Arc::clone(&self.shared.settings.load().config)
    }

    pub(crate) fn active(&self) -> Vec<Arc<Target>> {
        let mut active: Vec<_> = self.loops.lock().values().map(|l| Arc::clone(&l.target)).collect();
        active.extend(self.waiting.lock().shown());
        active
    }

    /// Targets that wait for memory.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.lock().len()
    }

    pub(crate) fn dropped(&self) -> Vec<Arc<Target>> {
        self.dropped.lock().kept.clone()
    }

    pub(crate) fn dropped_count(&self) -> usize {
        self.dropped.lock().count
    }

    /// Puts a new configuration (`None`: the same) in force. Running loops take it at their next scrape.
    pub(crate) fn apply(&self, prepared: Option<Prepared>, log: Option<Arc<FailureLog>>) {
        self.shared.failure_log.store(log);
        let Some(prepared) = prepared else { return };
        let began = Instant::now();
        let metrics = &self.shared.env.metrics;
        metrics.pool_reloads.inc();
        let old = self.shared.settings.load_full();
        let epoch = old.cache_epoch + u64::from(!same_samples(&old.config, &prepared.config));
        let interval = model::duration::format(prepared.config.scrape_interval);
        metrics.pool_target_limit.with(&[&self.shared.name]).set(prepared.config.target_limit as f64);
        let new = settings(&self.shared.env, prepared, epoch);
        self.shared.unix_clients.lock().clear();
        self.shared.settings.store(Arc::new(new));
        self.refresh_target_limit();
        metrics.reload_length.with(&[&interval]).observe(began.elapsed().as_secs_f64());
    }

    /// Takes groups for the next sync. False where they, and the rules, are those of the last one.
    pub(crate) fn offer(&self, groups: Arc<Vec<Arc<TargetGroup>>>) -> bool {
        if let Some((old, config)) = &*self.synced.lock()
            && Arc::ptr_eq(old, &groups)
            && Arc::ptr_eq(config, &self.shared.settings.load().config)
        {
            return false;
        }
        *self.offered.lock() = Some(groups);
        true
    }

    /// Turns the newest offered groups into running loops. Waits for the last scrape of targets that
    /// are gone, so that a target which moves is not scraped twice at once.
    pub(crate) async fn sync(self: &Arc<Self>) {
        let _one_at_a_time = self.syncing.lock().await;
        let Some(groups) = self.offered.lock().take() else { return };
        let began = Instant::now();
        let config = self.config();
        let source = Source { groups: Arc::clone(&groups), config: Arc::clone(&config) };
        let (from, running, env) = (source.clone(), self.running(), Arc::clone(&self.shared.env));
        // Relabeling of thousands of targets takes long: not on a thread that scrapes.
        let sort = move || Sorted::new(&from, &running, &env.room);
        let Ok(mut sorted) = tokio::task::spawn_blocking(sort).await else {
            tracing::error!(scrape_pool = self.shared.name, "creating targets failed inside the server");
            return;
        };
        self.shared.env.metrics.sync_failed.with(&[&self.shared.name]).add(f64::from(sorted.failures));
        *self.dropped.lock() = std::mem::take(&mut sorted.dropped);
        self.waiting.lock().set(&source, &mut sorted);
        let stopping = self.exchange(&source, sorted.known, sorted.new);
        *self.synced.lock() = Some((groups, config));
        for stopped in stopping {
            // An error means that the loop is gone, which is what is waited for.
            let _ = stopped.await;
        }
        let took = began.elapsed().as_secs_f64();
        let (metrics, job) = (&self.shared.env.metrics, [self.shared.name.as_str()]);
        if self.retired.load(Ordering::Relaxed) {
            return;
        }
        metrics.sync_length.with(&job).observe(took);
        metrics.sync_length_histogram.with(&job).observe(took);
        metrics.pool_syncs.with(&job).inc();
    }

    fn running(&self) -> HashSet<u64> {
        self.loops.lock().keys().copied().collect()
    }

    /// Starts targets that waited for memory, as many as there is room for now.
    pub(crate) async fn start_waiting(self: &Arc<Self>) {
        let _one_at_a_time = self.syncing.lock().await;
        // With another configuration they are sorted anew in a moment.
        if !Arc::ptr_eq(self.waiting.lock().config(), &self.shared.settings.load().config) {
            return;
        }
        let pool = Arc::clone(self);
        let take = move || {
            let running = pool.running();
            let new = pool.waiting.lock().take(&running, &pool.shared.env.room);
            let mut loops = pool.loops.lock();
            if !pool.retired.load(Ordering::Relaxed) && !pool.shared.env.shutdown.is_cancelled() {
                pool.start(&mut loops, new, &HashMap::new());
            }
        };
        if tokio::task::spawn_blocking(take).await.is_err() {
            tracing::error!(scrape_pool = self.shared.name, "creating targets failed inside the server");
        }
    }

    /// Starts loops of new targets, stops those of targets that are gone, and leaves the others alone.
    fn exchange(
        self: &Arc<Self>,
        source: &Source,
        known: HashMap<u64, At>,
        new: Vec<(Target, Place)>,
    ) -> Vec<oneshot::Receiver<()>> {
        let mut loops = self.loops.lock();
        if self.retired.load(Ordering::Relaxed) || self.shared.env.shutdown.is_cancelled() {
            return Vec::new();
        }
        let mut old = std::mem::take(&mut *loops);
        for (hash, at) in known {
            if let Some(kept) = old.remove(&hash) {
                kept.target.set_origin(source.origin(at));
                loops.insert(hash, kept);
            }
        }
        self.start(&mut loops, new, &old);
        self.shared
            .unix_clients
            .lock()
            .retain(|socket, _| loops.values().any(|l| l.target.value(UNIX_SOCKET_LABEL) == socket));
        old.into_values()
            .map(|gone| {
                gone.stop.cancel();
                gone.stopped
            })
            .collect()
    }

    /// Starts loops, which go on with the series of those of `old` that they replace.
    fn start(
        &self,
        loops: &mut HashMap<u64, LoopHandle>,
        new: Vec<(Target, Place)>,
        old: &HashMap<u64, LoopHandle>,
    ) {
        let mut starting = Vec::with_capacity(new.len());
        for (target, place) in new {
            let target = Arc::new(target);
            let (done, stopped) = oneshot::channel();
            let stop = CancellationToken::new();
            let shared = Arc::clone(&self.shared);
            let new = Box::new(ScrapeLoop::new(shared, Arc::clone(&target), stop.clone(), place));
            let hash = target.hash();
            let handle = LoopHandle { target, stop, stopped, heir: new.heir() };
            starting.push((new, done));
            loops.insert(hash, handle);
        }
        hand_over(old, &mut starting);
        let (metrics, waiting, job) = (&self.shared.env.metrics, self.waiting(), &self.shared.name);
        metrics.pool_targets.with(&[job]).set(loops.len() as f64);
        metrics.targets_waiting.with(&[job]).set(waiting as f64);
        self.limit_targets(loops.len() + waiting);
        for (new, done) in starting {
            let key = new.target().hash();
            self.shared.env.threads.spawn(key, new.run(done));
        }
    }

    fn refresh_target_limit(&self) {
        let running = self.loops.lock().len();
        self.limit_targets(running + self.waiting());
    }

    fn limit_targets(&self, n: usize) {
        let limit = self.shared.settings.load().config.target_limit;
        let error = (limit > 0 && n as u64 > limit).then(|| {
            self.shared.env.metrics.pool_exceeded_target_limit.inc();
            Arc::new(format!("target_limit exceeded (number of targets: {n}, limit: {limit})"))
        });
        self.shared.forced_error.store(error);
    }

    /// Ends a job that is gone from the configuration: its loops stop and, after their two intervals,
    /// mark their series stale.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
        for handle in self.loops.lock().drain().map(|(_, handle)| handle) {
            handle.stop.cancel();
        }
        self.shared.env.metrics.forget(&self.shared.name);
    }

    /// Stops for the end of the server: waits for scrapes in flight, at most [`STOP_GRACE`].
    pub(crate) async fn stop(&self) {
        self.retired.store(true, Ordering::Relaxed);
        let handles: Vec<_> = self.loops.lock().drain().map(|(_, handle)| handle).collect();
        for handle in &handles {
            handle.stop.cancel();
        }
        let wait = async {
            for handle in handles {
                let _ = handle.stopped.await;
            }
        };
        if tokio::time::timeout(STOP_GRACE, wait).await.is_err() {
            tracing::warn!(scrape_pool = self.shared.name, "scrapes in flight were cut off at shutdown");
        }
    }
}

/// Lets new loops go on with the series of the loops that they replace.
fn hand_over(old: &HashMap<u64, LoopHandle>, starting: &mut [(Box<ScrapeLoop>, oneshot::Sender<()>)]) {
    if old.is_empty() {
        return;
    }
    let mut by_series: HashMap<_, _> = old.values().map(|l| (l.target.series_key(), l)).collect();
    for (new, _) in starting {
        if let Some(before) = by_series.remove(&new.target().series_key()) {
            new.target().succeed(&before.target);
            new.succeed(&before.heir);
        }
    }
}

fn settings(env: &Env, prepared: Prepared, cache_epoch: u64) -> Settings {
    let Prepared { config, client } = prepared;
    let headers = RequestHeaders::new(&config, env.options.zstd_scrape);
    let metric_relabel = Arc::from(config.metric_relabel_configs.as_slice());
    let fallback = scrape_loop::fallback(config.fallback_scrape_protocol);
    Settings { config, client, headers, fallback, metric_relabel, cache_epoch }
}

/// Whether a cache made under one configuration is valid under the other: all settings that shape the
/// stored series are equal. Compared by what must be equal rather than by what may differ, with the
/// rest neutralised, so that a field added later is on the safe side.
fn same_samples(a: &ScrapeConfig, b: &ScrapeConfig) -> bool {
    let neutral = |c: &ScrapeConfig| ScrapeConfig {
        scrape_interval: Duration::ZERO,
        scrape_timeout: Duration::ZERO,
        sample_limit: 0,
        target_limit: 0,
        keep_dropped_targets: 0,
        body_size_limit: 0,
        enable_compression: true,
        scrape_failure_log_file: String::new(),
        http: config::HttpClientConfig::default(),
        sd: config::SdConfigs::default(),
        relabel_configs: Vec::new(),
        params: BTreeMap::new(),
        ..c.clone()
    };
    neutral(a) == neutral(b)
}
