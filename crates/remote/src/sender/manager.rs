//! Destinations as configured (upstream: `storage/remote/write.go`).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use config::{Config, RemoteWriteConfig, RemoteWriteMessage};
use model::{Labels, MetricMetadata};
use parking_lot::{Mutex, RwLock};
use storage::{LogSource, LogTotals};
use telemetry::Registry;
use tokio::runtime::Handle;

use super::client::{Client, MakeError};
use super::destination::{Destination, Plan};
use super::metadata;
use super::metrics::Families;
use super::shard::Shared;

/// Metadata of all targets, by family.
pub type MetadataSource = Arc<dyn Fn() -> Vec<(String, MetricMetadata)> + Send + Sync>;

/// Settings that are not in the configuration file.
#[derive(Clone)]
pub struct SenderOptions {
    /// `User-Agent` of requests.
    pub user_agent: String,
    /// Time to send what is there at the end.
    pub flush_deadline: Duration,
    /// For metadata of 1.0.
    pub metadata: MetadataSource,
}

impl std::fmt::Debug for SenderOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SenderOptions({:?})", self.flush_deadline)
    }
}

/// Why a configuration could not be applied. Nothing changed then.
#[derive(Debug, thiserror::Error)]
pub enum SenderError {
    /// Two entries are the same.
    #[error("duplicate remote write configs are not allowed, found duplicate for URL: {0}")]
    Duplicate(String),
    /// An HTTP client could not be built.
    #[error("remote_write[{index}] ({url}): {text}")]
    Client {
        /// Which one, from 0.
        index: usize,
        /// Without a password.
        url: String,
        /// Cause.
        text: String,
    },
}

/// What `remote_write` of a configuration says.
#[derive(Clone, Debug, Default)]
struct Wanted {
    external: Labels,
    /// With the names of their positions.
    all: Vec<(String, RemoteWriteConfig)>,
}

#[derive(Default)]
struct State {
    wanted: Wanted,
    source: Option<Arc<dyn LogSource>>,
    running: BTreeMap<String, Arc<Destination>>,
    /// The last of those that were stopped, by key: who comes next waits for it.
    ending: HashMap<String, Arc<Destination>>,
    stopped: bool,
}

struct Inner {
    options: SenderOptions,
    families: Families,
    state: Mutex<State>,
    /// For figures.
    source: Arc<RwLock<Option<Arc<dyn LogSource>>>>,
}

/// Sends what comes into a store to others. Clones share one. Calls block on the disk for a moment: async code
/// hands them to a blocking thread of its runtime.
#[derive(Clone)]
pub struct Sender(Arc<Inner>);

impl std::fmt::Debug for Sender {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sender({} destinations)", self.0.state.lock().running.len())
    }
}

/// Names of the positions of all entries: by name where one is given, else by URL and how often it was there
/// before. Not by content, so that a change of settings goes on where it was.
fn keys(all: &[RemoteWriteConfig]) -> Vec<String> {
    let key = |(i, config): (usize, &RemoteWriteConfig)| {
        let alike = |before: &&RemoteWriteConfig| before.name.is_empty() && before.url == config.url;
        let nth = all.iter().take(i).filter(alike).count().to_string();
        let pairs = match config.name.as_str() {
            "" => vec![("nth", nth.as_str()), ("url", config.url.as_str())],
            name => vec![("name", name)],
        };
        format!("{:016x}", Labels::from_pairs(pairs).hash())
    };
    all.iter().enumerate().map(key).collect()
}

impl Sender {
    /// A sender without destinations.
    #[must_use]
    pub fn new(options: SenderOptions, registry: &Registry) -> Self {
        let source: Arc<RwLock<Option<Arc<dyn LogSource>>>> = Arc::default();
        let read = |of: fn(LogTotals) -> f64| {
            let source = Arc::clone(&source);
            move || source.read().as_ref().map_or(0.0, |s| of(s.totals()))
        };
        let into = "in to remote storage, compare to";
        let text = |what: &str, kind: &str| {
            format!(
                "{what} {into} {kind} out for queue managers. Deprecated, check prometheus_wal_watcher_records_read_total and prometheus_remote_storage_{kind}_dropped_total"
            )
        };
        registry.counter_fn(
            "prometheus_remote_storage_samples_in_total",
            &text("Samples", "samples"),
            read(|t| t.samples as f64),
        );
        registry.counter_fn(
            "prometheus_remote_storage_histograms_in_total",
            &text("HistogramSamples", "histograms"),
            read(|t| t.histograms as f64),
        );
        registry.counter_fn(
            "prometheus_remote_storage_exemplars_in_total",
            &text("Exemplars", "exemplars"),
            read(|t| t.exemplars as f64),
        );
        registry.gauge_fn(
            "prometheus_remote_storage_highest_timestamp_in_seconds",
            "Highest timestamp that has come into the remote storage via the Appender interface, in seconds since epoch. Initialized to 0 when no data has been received yet. Deprecated, check prometheus_remote_storage_queue_highest_timestamp_seconds which is more accurate.",
            read(|t| (t.newest_ms.unwrap_or(0) / 1000) as f64),
        );
        let families = Families::new(registry);
        Sender(Arc::new(Inner { options, families, state: Mutex::default(), source }))
    }

    /// Puts a configuration in force. Destinations that are configured as before go on; others end in the
    /// background with what they have queued, and those in their place go on where they were.
    ///
    /// # Errors
    /// Two equal entries, an HTTP client that cannot be made; nothing changed then.
    pub fn apply_config(&self, config: &Config) -> Result<(), SenderError> {
        let all = &config.remote_write;
        for (i, one) in all.iter().enumerate() {
            if all.iter().take(i).any(|before| before == one) {
                return Err(SenderError::Duplicate(one.url.redacted()));
            }
        }
        let mut clients = Vec::new();
        for (index, one) in all.iter().enumerate() {
            let failed =
                |e: MakeError| SenderError::Client { index, url: one.url.redacted(), text: e.to_string() };
            clients.push(Client::new(one, &self.0.options.user_agent).map_err(failed)?);
        }
        let wanted = Wanted {
            external: config.global.external_labels.clone(),
            all: keys(all).into_iter().zip(all.iter().cloned()).collect(),
        };
        let mut state = self.0.state.lock();
        state.wanted = wanted;
        self.0.settle(&mut state, clients);
        Ok(())
    }

    /// The store is open: what is committed from here on is sent, and what was not sent of its log before.
    pub fn open(&self, source: Arc<dyn LogSource>) {
        *self.0.source.write() = Some(Arc::clone(&source));
        let mut state = self.0.state.lock();
        let keys: Vec<String> = state.wanted.all.iter().map(|(key, _)| key.clone()).collect();
        if let Err(error) = source.forget_positions(&keys) {
            tracing::warn!(%error, "positions of former remote write destinations cannot be removed");
        }
        state.source = Some(source);
        let agent = &self.0.options.user_agent;
        // Made once before, by `apply_config`: a file that went away since keeps its destination out.
        let clients: Result<Vec<Client>, MakeError> =
            state.wanted.all.iter().map(|(_, config)| Client::new(config, agent)).collect();
        match clients {
            Ok(clients) => self.0.settle(&mut state, clients),
            Err(error) => tracing::error!(%error, "remote write cannot begin"),
        }
    }

    /// Ends all destinations: each sends what is in the log by now, until the deadline or the first failure. The
    /// next start goes on behind what arrived.
    pub async fn stop(&self) {
        let ending: Vec<Arc<Destination>> = {
            let mut state = self.0.state.lock();
            state.stopped = true;
            let running = std::mem::take(&mut state.running);
            for destination in running.values() {
                tracing::info!(url = destination.shared.url, "Stopping remote storage...");
                destination.stop(true, self.0.options.flush_deadline);
            }
            let before = std::mem::take(&mut state.ending);
            running.into_values().chain(before.into_values()).collect()
        };
        for destination in ending {
            destination.ended.cancelled().await;
        }
    }
}

impl Inner {
    /// Brings what runs to what is wanted. `clients` are those of all wanted, in order.
    fn settle(&self, state: &mut State, clients: Vec<Client>) {
        let (Some(source), false) = (state.source.clone(), state.stopped) else { return };
        state.ending.retain(|_, d| !d.ended.is_cancelled());
        let mut before = std::mem::take(&mut state.running);
        let wanted = state.wanted.clone();
        let mut new = Vec::new();
        for ((key, config), client) in wanted.all.into_iter().zip(clients) {
            match before.remove(&key) {
                Some(same) if same.plan.config == config && same.plan.external == wanted.external => {
                    // Files that it reads may have changed.
                    same.shared.client.store(Arc::new(client));
                    state.running.insert(key, same);
                }
                other => {
                    before.extend(other.map(|other| (key.clone(), other)));
                    new.push((key, config, client));
                }
            }
        }
        for (key, destination) in before {
            destination.stop(false, self.options.flush_deadline);
            state.ending.insert(key, destination);
        }
        for (key, config, client) in new {
            if let Some(what) = not_built(&config) {
                tracing::error!(
                    url = config.url.redacted(),
                    "{what} is not built into this version of godwit: nothing is sent there"
                );
                continue;
            }
            let after = state.ending.get(&key).cloned();
            let plan = Plan { config, external: wanted.external.clone(), key: key.clone() };
            let destination = self.begin(plan, client, Arc::clone(&source), after);
            state.running.insert(key, destination);
        }
    }

    fn begin(
        &self,
        plan: Plan,
        client: Client,
        source: Arc<dyn LogSource>,
        after: Option<Arc<Destination>>,
    ) -> Arc<Destination> {
        let config = &plan.config;
        let short = plan.key.get(..6).unwrap_or_default();
        let name = if config.name.is_empty() { short } else { &config.name }.to_string();
        let url = config.url.redacted();
        let metrics = self.families.of(&name, &url);
        let v2 = config.protobuf_message == RemoteWriteMessage::V2;
        let rules = (config.queue_config, v2, config.failed_request_logging);
        let describe = (config.metadata_config.send && !v2).then_some(config.metadata_config);
        let shared = Shared::new((name, url), rules, client, metrics);
        let runtime = Handle::current();
        let destination = Destination::start(plan, shared, (source, runtime.clone()), after);
        if let Some(config) = describe {
            let shared = Arc::clone(&destination.shared);
            runtime.spawn(metadata::run(shared, config, Arc::clone(&self.options.metadata)));
        }
        destination
    }
}

/// A way of signing requests that there is none of yet.
fn not_built(config: &RemoteWriteConfig) -> Option<&'static str> {
    [
        ("remote_write.sigv4", config.sigv4.is_some()),
        ("remote_write.azuread", config.azuread.is_some()),
        ("remote_write.google_iam", config.google_iam.is_some()),
    ]
    .into_iter()
    .find_map(|(what, given)| given.then_some(what))
}
