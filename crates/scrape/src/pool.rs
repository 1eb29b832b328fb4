//! One job's pool: it turns target groups into targets and keeps one loop a target. Follows upstream's
//! `scrapePool` (`scrape/scrape.go`), with one difference in kind: a reload hands running loops their new
//! settings instead of restarting them, so that phases, connections of unchanged jobs and, where the
//! rules allow it, caches stay.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use config::ScrapeConfig;
use model::relabel::RelabelConfig;
use model::{Labels, LabelsBuilder, TargetGroup};
use net::{ClientError, ClientOptions, HttpClient};
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::failure_log::FailureLog;
use crate::manager::Env;
use crate::populate;
use crate::request::RequestHeaders;
use crate::scrape_loop::{self, Heir, ScrapeLoop};
use crate::target::{Origin, Target, UNIX_SOCKET_LABEL};

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
    /// Becomes true when the last scrape is over; staleness markers may still come.
    stopped: watch::Receiver<bool>,
    heir: Heir,
}

#[derive(Default)]
struct Dropped {
    kept: Vec<Arc<Target>>,
    count: usize,
}

/// A job's targets and their loops.
pub(crate) struct Pool {
    shared: Arc<PoolShared>,
    seed: Mutex<u64>,
    /// Held over a whole sync, so that two do not interleave.
    syncing: tokio::sync::Mutex<()>,
    offered: Mutex<Option<Arc<Vec<Arc<TargetGroup>>>>>,
    synced: Mutex<Option<(Arc<Vec<Arc<TargetGroup>>>, Arc<ScrapeConfig>)>>,
    loops: Mutex<HashMap<u64, LoopHandle>>,
    dropped: Mutex<Dropped>,
    retired: AtomicBool,
}

impl Pool {
    pub(crate) fn new(
        env: Arc<Env>,
        prepared: Prepared,
        log: Option<Arc<FailureLog>>,
        seed: u64,
    ) -> Arc<Self> {
        let name = prepared.config.job_name.clone();
        env.metrics.pool_target_limit.with(&[&name]).set(prepared.config.target_limit as f64);
        let settings = settings(&env, prepared, 0);
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
            seed: Mutex::new(seed),
            syncing: tokio::sync::Mutex::default(),
            offered: Mutex::default(),
            synced: Mutex::default(),
            loops: Mutex::default(),
            dropped: Mutex::default(),
            retired: AtomicBool::new(false),
        })
    }

    pub(crate) fn config(&self) -> Arc<ScrapeConfig> {
        Arc::clone(&self.shared.settings.load().config)
    }

    pub(crate) fn active(&self) -> Vec<Arc<Target>> {
        self.loops.lock().values().map(|l| Arc::clone(&l.target)).collect()
    }

    pub(crate) fn dropped(&self) -> Vec<Arc<Target>> {
        self.dropped.lock().kept.clone()
    }

    pub(crate) fn dropped_count(&self) -> usize {
        self.dropped.lock().count
    }

    /// Puts a new configuration (`None`: the same) in force. Running loops take it at their next scrape.
    pub(crate) fn apply(&self, prepared: Option<Prepared>, log: Option<Arc<FailureLog>>, seed: u64) {
        self.shared.failure_log.store(log);
        *self.seed.lock() = seed;
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
        let (pool, for_targets, for_config) = (Arc::clone(self), Arc::clone(&groups), Arc::clone(&config));
        // Relabeling of thousands of targets takes long: not on a thread that scrapes.
        let made = tokio::task::spawn_blocking(move || pool.make_targets(&for_targets, &for_config)).await;
        let Ok((targets, dropped)) = made else {
            tracing::error!(scrape_pool = self.shared.name, "creating targets failed inside the server");
            return;
        };
        *self.dropped.lock() = dropped;
        let stopping = self.exchange(targets);
        *self.synced.lock() = Some((groups, config));
        for mut stopped in stopping {
            // An error means that the loop is gone, which is what is waited for.
            let _ = stopped.wait_for(|done| *done).await;
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

    fn make_targets(
        &self,
        groups: &Arc<Vec<Arc<TargetGroup>>>,
        config: &Arc<ScrapeConfig>,
    ) -> (Vec<Target>, Dropped) {
        let mut builder = LabelsBuilder::new();
        let (mut targets, mut dropped, mut failures) = (Vec::new(), Dropped::default(), 0_u32);
        for (g, group) in groups.iter().enumerate() {
            for (index, own) in group.targets.iter().enumerate() {
                let origin =
                    || Origin { config: Arc::clone(config), groups: Arc::clone(groups), group: g, index };
                match populate::populate(&mut builder, config, own, &group.labels) {
                    Ok(Some(labels)) => targets.push(Target::new(labels, origin())),
                    Ok(None) => {
                        dropped.count += 1;
                        let keep = config.keep_dropped_targets;
                        if keep == 0 || (dropped.kept.len() as u64) < keep {
                            dropped.kept.push(Arc::new(Target::new(Labels::empty(), origin())));
                        }
                    }
                    Err(err) => {
                        failures += 1;
                        let (pool, group) = (&self.shared.name, &group.source);
                        tracing::error!(
                            scrape_pool = pool,
                            "Creating target failed: instance {index} in group {group}: {err}"
                        );
                    }
                }
            }
        }
        self.shared.env.metrics.sync_failed.with(&[&self.shared.name]).add(f64::from(failures));
        (targets, dropped)
    }

    /// Starts loops of new targets, stops those of targets that are gone, and leaves the others alone.
    fn exchange(self: &Arc<Self>, targets: Vec<Target>) -> Vec<watch::Receiver<bool>> {
        let seed = *self.seed.lock();
        let mut loops = self.loops.lock();
        if self.retired.load(Ordering::Relaxed) || self.shared.env.shutdown.is_cancelled() {
            return Vec::new();
        }
        let mut old = std::mem::take(&mut *loops);
        let mut starting = Vec::new();
        for target in targets {
            let hash = target.hash();
            if let Some(known) = loops.get(&hash) {
                known.target.set_origin(target.origin());
            } else if let Some(kept) = old.remove(&hash) {
                kept.target.set_origin(target.origin());
                loops.insert(hash, kept);
            } else {
                let target = Arc::new(target);
                let (done, stopped) = watch::channel(false);
                let stop = CancellationToken::new();
                let new = ScrapeLoop::new(Arc::clone(&self.shared), Arc::clone(&target), stop.clone());
                let handle = LoopHandle { target, stop, stopped, heir: new.heir() };
                starting.push((new, done));
                loops.insert(hash, handle);
            }
        }
        hand_over(&old, &mut starting);
        self.shared.env.metrics.pool_targets.with(&[&self.shared.name]).set(loops.len() as f64);
        self.limit_targets(loops.len());
        for (new, done) in starting {
            let key = new.target().hash();
            self.shared.env.threads.spawn(key, new.run(seed, done));
        }
        let sockets: Vec<String> =
            loops.values().map(|l| l.target.value(UNIX_SOCKET_LABEL).to_string()).collect();
        self.shared.unix_clients.lock().retain(|socket, _| sockets.contains(socket));
        old.into_values()
            .map(|gone| {
                gone.stop.cancel();
                gone.stopped
            })
            .collect()
    }

    fn refresh_target_limit(&self) {
        self.limit_targets(self.loops.lock().len());
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
            for mut handle in handles {
                let _ = handle.stopped.wait_for(|done| *done).await;
            }
        };
        if tokio::time::timeout(STOP_GRACE, wait).await.is_err() {
            tracing::warn!(scrape_pool = self.shared.name, "scrapes in flight were cut off at shutdown");
        }
    }
}

/// Lets new loops go on with the series of the loops that they replace.
fn hand_over(old: &HashMap<u64, LoopHandle>, starting: &mut [(ScrapeLoop, watch::Sender<bool>)]) {
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
