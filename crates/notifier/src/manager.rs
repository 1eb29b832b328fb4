//! Groups of Alertmanagers as configured and discovered (upstream: `notifier/manager.go`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use config::{AlertmanagerConfig, Config};
use model::relabel::RelabelConfig;
use model::{Alert, Labels, TargetGroup};
use net::{BodyLimits, BodyPool, ClientOptions, HttpClient};
use parking_lot::RwLock;
use telemetry::Registry;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::endpoint::{self, Found};
use crate::metrics::Metrics;
use crate::relabel;
use crate::send_loop::{SendLoop, Way};

/// Target groups by set, as discovery sends them.
pub type TargetSets = HashMap<String, Vec<Arc<TargetGroup>>>;

/// Settings from the command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// Alerts that may wait for each Alertmanager.
    pub queue_capacity: usize,
    /// Alerts in one request, at least 1.
    pub batch_max: usize,
    /// Whether what waits at the end is sent first.
    pub drain: bool,
    /// `User-Agent` of requests.
    pub user_agent: String,
}

/// Why a configuration could not be applied. Nothing changed then.
#[derive(Debug, thiserror::Error)]
pub enum NotifierError {
    /// An HTTP client could not be built.
    #[error("alerting.alertmanagers[{index}]: error creating HTTP client: {source}")]
    Client {
        /// Which one, from 0.
        index: usize,
        /// Cause.
        source: net::ClientError,
    },
}

/// URLs as the API shows them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Alertmanagers {
    /// Those that alerts go to.
    pub active: Vec<String>,
    /// Those that relabeling dropped.
    pub dropped: Vec<String>,
}

#[derive(Debug)]
struct Set {
    config: AlertmanagerConfig,
    way: Way,
    found: Found,
    /// By URL.
    loops: HashMap<String, SendLoop>,
}

#[derive(Debug, Default)]
struct State {
    external: Labels,
    rules: Vec<RelabelConfig>,
    sets: BTreeMap<String, Set>,
}

#[derive(Debug)]
struct Inner {
    options: Options,
    metrics: Metrics,
    bodies: BodyPool,
    state: Arc<RwLock<State>>,
    /// Loops, also those that only send what is left.
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Sends alerts. Clones share one.
#[derive(Clone, Debug)]
pub struct Manager {
    inner: Arc<Inner>,
}

/// Name of the set of the `index`th group of Alertmanagers, as upstream names it.
fn set_name(index: usize) -> String {
    format!("config-{index}")
}

/// What discovery has to find, by set.
#[must_use]
pub fn discovery_sets(config: &Config) -> BTreeMap<String, &config::SdConfigs> {
    let groups = config.alerting.alertmanagers.iter().enumerate();
    groups.map(|(index, group)| (set_name(index), &group.sd)).collect()
}

impl Manager {
    /// A manager without Alertmanagers. [`Manager::run`] takes what discovery finds.
    #[must_use]
    pub fn new(options: Options, registry: &Registry) -> Self {
        let state: Arc<RwLock<State>> = Arc::default();
        let shown = Arc::clone(&state);
        let discovered =
            move || shown.read().sets.values().map(|s| s.found.active.len()).sum::<usize>() as f64;
        let metrics = Metrics::new(registry, options.queue_capacity, discovered);
        Manager {
            inner: Arc::new(Inner {
                options,
                metrics,
                bodies: BodyPool::new(BodyLimits::default()),
                state,
                tasks: TaskTracker::new(),
                stop: CancellationToken::new(),
            }),
        }
    }

    /// Puts a configuration in force. Groups that are configured as before keep their Alertmanagers and queues; what
    /// waits for others is sent where [`Options::drain`] says so.
    ///
    /// # Errors
    /// An HTTP client that cannot be made; nothing changed then.
    pub fn apply_config(&self, config: &Config) -> Result<(), NotifierError> {
        let groups = &config.alerting.alertmanagers;
        // Made before anything changes, even those that turn out not to be needed.
        let ways: Vec<Way> = groups
            .iter()
            .enumerate()
            .map(|(index, group)| self.way(group).map_err(|source| NotifierError::Client { index, source }))
            .collect::<Result<_, _>>()?;
        let mut state = self.inner.state.write();
        let mut before: Vec<Set> = std::mem::take(&mut state.sets).into_values().collect();
        for (index, (group, way)) in groups.iter().zip(ways).enumerate() {
            let set = match before.iter().position(|s| s.config == *group) {
                Some(at) => before.swap_remove(at),
                None => Set { config: group.clone(), way, found: Found::default(), loops: HashMap::new() },
            };
            state.sets.insert(set_name(index), set);
        }
        state.external = config.global.external_labels.clone();
        state.rules.clone_from(&config.alerting.alert_relabel_configs);
        Ok(())
    }

    fn way(&self, group: &AlertmanagerConfig) -> Result<Way, net::ClientError> {
        let options = &self.inner.options;
        let client = ClientOptions { user_agent: options.user_agent.clone(), ..ClientOptions::default() };
        Ok(Way {
            client: HttpClient::new(&group.http, client)?,
            bodies: self.inner.bodies.clone(),
            timeout: group.timeout,
            queue_capacity: options.queue_capacity,
            batch_max: options.batch_max.max(1),
            drain: options.drain,
            metrics: self.inner.metrics.clone(),
        })
    }

    /// Follows discovery until [`Manager::stop`].
    pub async fn run(&self, mut sets: mpsc::Receiver<TargetSets>) {
        loop {
            tokio::select! {
                biased;
                () = self.inner.stop.cancelled() => return,
                found = sets.recv() => match found {
                    Some(found) => self.sync(&found),
                    None => return,
                },
            }
        }
    }

    fn sync(&self, found: &TargetSets) {
        let mut state = self.inner.state.write();
        for (name, groups) in found {
            // A set of the configuration before: discovery is told of the new one after us.
            let Some(set) = state.sets.get_mut(name) else { continue };
            set.found = endpoint::find(groups, &set.config);
            set.loops.retain(|url, _| set.found.active.contains(url));
            for url in &set.found.active {
                if !set.loops.contains_key(url) {
                    let new = SendLoop::start(url, set.way.clone(), &self.inner.tasks);
                    set.loops.insert(url.clone(), new);
                }
            }
        }
    }

    /// Queues alerts for every Alertmanager. Nothing after [`Manager::stop`].
    pub fn send(&self, alerts: Vec<Alert>) {
        if self.inner.stop.is_cancelled() {
            return;
        }
        let state = self.inner.state.read();
        let alerts: Vec<Arc<Alert>> = alerts.into_iter().map(Arc::new).collect();
        let alerts = relabel::prepare(&state.rules, &state.external, &alerts);
        for set in state.sets.values() {
            let own = relabel::prepare(&set.config.alert_relabel_configs, &Labels::empty(), &alerts);
            if !own.is_empty() {
                set.loops.values().for_each(|l| l.add(&own));
            }
        }
    }

    /// Where alerts go now.
    #[must_use]
    pub fn alertmanagers(&self) -> Alertmanagers {
        let state = self.inner.state.read();
        let mut all = Alertmanagers::default();
        for set in state.sets.values() {
            all.active.extend(set.found.active.iter().cloned());
            all.dropped.extend(set.found.dropped.iter().cloned());
        }
        all
    }

    /// Ends all loops; with [`Options::drain`] once what waits has been sent or could not be. Each request is
    /// bounded by its group's `timeout`.
    pub async fn stop(&self) {
        tracing::info!("Stopping notification manager...");
        self.inner.stop.cancel();
        self.inner.state.write().sets.clear();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }
}
