//! What the handlers work on: every part of the server as an argument, so that a test builds a server from
//! a store in memory and two servers can live in one process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use model::clock::Clock;
use model::relabel::RelabelConfig;
use model::{Labels, Matcher};
use storage::{Appendable, Budget, ExemplarQueryable, Queryable, StatusSource};
use telemetry::{Gauge, Registry};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::active_queries::ActiveQueries;
use crate::instrument::HttpMetrics;
use crate::notifications::Notifications;
use crate::query_log::{Logged, Origin, QueryLog, SlowQueries};
use crate::scrape_views::ScrapeViews;

/// Answers `/-/reload`: the receiver reloads, then sends the result (the text of the error where it failed).
pub type ReloadRequest = oneshot::Sender<Result<(), String>>;

/// Settings that hold for the life of the server.
#[derive(Clone, Debug)]
pub struct Options {
    /// `--web.external-url`'s scheme.
    pub external_scheme: String,
    /// Its host, with port where given.
    pub external_host: String,
    /// Its path, without a slash at the end; "" for none.
    pub external_path: String,
    /// `--web.route-prefix` with a slash in front and none at the end; "" for none.
    pub route_prefix: String,
    /// First `--web.listen-address`, for the global URL of local targets.
    pub listen_address: String,
    /// `--web.page-title`.
    pub page_title: String,
    /// `--web.cors.origin`, as a regex matcher over the whole origin (its label name does not matter).
    pub cors_origin: Matcher,
    /// `--web.enable-lifecycle`.
    pub enable_lifecycle: bool,
    /// `--web.enable-admin-api`.
    pub enable_admin_api: bool,
    /// `--web.enable-remote-write-receiver`.
    pub enable_remote_write_receiver: bool,
    /// `--web.enable-otlp-receiver`.
    pub enable_otlp_receiver: bool,
    /// Feature `otlp-native-delta-ingestion`.
    pub otlp_native_delta: bool,
    /// `--web.remote-write-receiver.accepted-protobuf-messages`.
    pub accepted_write_messages: Vec<remote::MessageType>,
    /// `--agent`: no queries.
    pub agent: bool,
    /// Name in the texts of `/-/healthy` and `/-/ready`: "Prometheus Server".
    pub app_name: String,
    /// `--query.lookback-delta`.
    pub lookback_delta: Duration,
    /// `--query.timeout`.
    pub query_timeout: Duration,
    /// `--query.max-concurrency`.
    pub query_concurrency: usize,
    /// Rules' queries that run at once: they have places in `queries.active`, too.
    pub rule_queries: usize,
    /// Bytes one query may hold.
    pub query_bytes_max: u64,
    /// Bytes all queries may hold together; `None` for no limit.
    pub queries_bytes: Option<Arc<Budget>>,
    /// Bytes of remote write bodies that may be in memory at once; what comes beyond is refused with 503,
    /// which senders retry. At least one whole body of 32 MiB.
    pub write_bodies_bytes_max: usize,
    /// Bytes that remote writes and OTLP may take while they are decoded and stored; `None` for no limit.
    pub writes_bytes: Option<Arc<Budget>>,
    /// Remote writes stored at once: each may hold 32 MiB decompressed and as much again decoded.
    pub writes_at_once: usize,
    /// Feature `search-api`.
    pub enable_search: bool,
    /// `--web.search.max-limit`: results of one search; 0 for any number.
    pub search_limit_max: usize,
    /// Feature `promql-per-step-stats`.
    pub per_step_stats: bool,
    /// Feature `created-timestamp-zero-ingestion`.
    pub start_zero_ingestion: bool,
    /// Feature `type-and-unit-labels`.
    pub type_and_unit_labels: bool,
    /// Feature `metadata-wal-records`.
    pub append_metadata: bool,
    /// `--web.max-notifications-subscribers`.
    pub notification_listeners_max: usize,
    /// `--web.user-assets`: a folder served under `/user`; "" for none.
    pub user_assets: String,
    /// `--storage.remote.read-sample-limit`: samples of an answer that is not streamed; 0 for any number.
    pub read_samples_max: usize,
    /// `--storage.remote.read-concurrent-limit`; 0 for any number.
    pub read_concurrency: usize,
    /// `--storage.remote.read-max-bytes-in-frame`.
    pub read_frame_bytes_max: usize,
    /// Command line, for `/debug/pprof/cmdline`.
    pub command_line: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            external_scheme: "http".into(),
            external_host: "localhost:9090".into(),
            external_path: String::new(),
            route_prefix: String::new(),
            listen_address: "0.0.0.0:9090".into(),
            page_title: "Prometheus Time Series Collection and Processing Server".into(),
            cors_origin: Matcher::new(model::MatchOp::Regex, "origin", ".*")
                .unwrap_or_else(|_| Matcher::equal("origin", "")),
            enable_lifecycle: false,
            enable_admin_api: false,
            enable_remote_write_receiver: false,
            enable_otlp_receiver: false,
            enable_search: false,
            search_limit_max: 10_000,
            otlp_native_delta: false,
            accepted_write_messages: vec![remote::MessageType::V1, remote::MessageType::V2],
            agent: false,
            app_name: "Prometheus Server".into(),
            lookback_delta: Duration::from_secs(300),
            query_timeout: Duration::from_secs(120),
            query_concurrency: 20,
            rule_queries: 0,
            query_bytes_max: u64::MAX,
            queries_bytes: None,
            write_bodies_bytes_max: 128 << 20,
            writes_bytes: None,
            writes_at_once: WRITES_AT_ONCE_MAX,
            per_step_stats: false,
            start_zero_ingestion: false,
            type_and_unit_labels: false,
            append_metadata: false,
            notification_listeners_max: 16,
            user_assets: String::new(),
            read_samples_max: 50_000_000,
            read_concurrency: 10,
            read_frame_bytes_max: 1 << 20,
            command_line: Vec::new(),
        }
    }
}

/// The configuration in force printed back, secrets masked.
pub trait ConfigTexts: std::fmt::Debug + Send + Sync {
    /// All of it: `/api/v1/status/config`.
    fn whole(&self) -> &str;
    /// One scrape pool's part.
    fn pool(&self, job: &str) -> Option<String>;
    /// One scrape pool's `relabel_configs`.
    fn relabel_rules(&self, job: &str) -> Option<&[RelabelConfig]>;
}

/// What of the configuration in force the handlers need, made once a reload.
#[derive(Clone, Debug, Default)]
pub struct ConfigView {
    /// Its texts; `None` before there is one.
    pub texts: Option<Arc<dyn ConfigTexts>>,
    /// `global.external_labels`, for `/federate`.
    pub external_labels: Labels,
    /// Retention in words: `15d`, `15d or 500MiB`.
    pub storage_retention: String,
    /// `global.query_log_file`, "" for none.
    pub query_log_file: String,
    /// Which queries are slow.
    pub slow_queries: SlowQueries,
    /// `otlp`: how OpenTelemetry's metrics are translated.
    pub otlp: Arc<remote::OtlpConfig>,
}

/// `/api/v1/status/buildinfo`.
#[derive(Clone, Debug)]
pub struct BuildInfo {
    /// The Prometheus version that godwit follows, e.g. `3.15.0`: clients choose features by it.
    pub version: String,
    /// Commit.
    pub revision: String,
    /// Branch.
    pub branch: String,
    /// Who built it.
    pub build_user: String,
    /// When it was built.
    pub build_date: String,
    /// Compiler, where upstream names Go's version.
    pub compiler: String,
    /// godwit's own version; in a field of its own that Grafana and Thanos ignore.
    pub godwit_version: String,
}

/// Where the server is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Readiness {
    /// Replaying.
    NotReady = 0,
    /// Answers queries.
    Ready = 1,
    /// Shutting down.
    Stopping = 2,
}

/// A page of metrics beside `/metrics`, e.g. the host collector's.
#[derive(Clone)]
pub struct MetricsPage {
    /// Path below the route prefix; begins with `/metrics/`.
    pub path: String,
    /// Gathers the families; blocks.
    pub families: Arc<dyn Fn() -> Vec<exposition::Family> + Send + Sync>,
}

/// URLs of Alertmanagers.
#[derive(Clone, Debug, Default)]
pub struct Alertmanagers {
    /// Those that alerts go to.
    pub active: Vec<String>,
    /// Those that relabeling dropped.
    pub dropped: Vec<String>,
}

/// What is to be taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationOrder {
    /// The data folder of a Prometheus on this machine, or `host:port` of the agent beside it.
    pub source: std::path::PathBuf,
    /// The key of the migration, of an agent; a file on this machine.
    pub key_file: Option<std::path::PathBuf>,
    /// Bytes a second that copies may read, 0 for no cap; as it was where it is not given.
    pub bwlimit: Option<u64>,
    /// This server takes no duty before [`Migrations::switch`].
    pub hold: bool,
    /// Nobody writes the source: a folder, or an archive of one, that is read in place.
    pub offline: bool,
}

/// The migration that this server is the destination of.
pub trait Migrations: Send + Sync {
    /// Takes over a running Prometheus, or goes on with that. Pins it before it returns.
    ///
    /// # Errors
    /// In words: no data folder, no agent, another migration is under way.
    fn run(&self, order: &MigrationOrder) -> Result<(), String>;
    /// What would stand in the way of that, and how long it would take, as a JSON object. Changes nothing.
    ///
    /// # Errors
    /// In words: no data folder, no agent.
    fn plan(&self, order: &MigrationOrder) -> Result<String, String>;
    /// Where it is, as a JSON object.
    fn status(&self) -> String;
    /// Begins to compare both sides; the status tells of it.
    ///
    /// # Errors
    /// In words: there is none, or not all is here.
    fn verify(&self) -> Result<(), String>;
    /// The duty becomes this server's within seconds: scraping, rules, sending.
    ///
    /// # Errors
    /// In words: there is none, not all is here, this server has the duty.
    fn switch(&self) -> Result<(), String>;
    /// Gives the duty back to the source, which has gone on scraping.
    ///
    /// # Errors
    /// In words: there is none, or it was not switched.
    fn rollback(&self) -> Result<(), String>;
    /// Ends it: what came stays, the source is let go. `abandon`: also where the duty was not taken over, or the
    /// source does not answer.
    ///
    /// # Errors
    /// In words: there is none, it was not switched.
    fn release(&self, abandon: bool) -> Result<(), String>;
}

/// Everything a server is made of, as `web` sees it.
pub struct Parts {
    /// What queries read: the store, with remote reads merged in where configured.
    pub queryable: Arc<dyn Queryable>,
    /// What `/federate` reads: the local store alone.
    pub local: Arc<dyn Queryable>,
    /// Exemplars.
    pub exemplars: Arc<dyn ExemplarQueryable>,
    /// Where remote writes go.
    pub appendable: Arc<dyn Appendable>,
    /// Status of the local store.
    pub status: Arc<dyn StatusSource>,
    /// Migrations to the local store.
    pub migrations: Arc<dyn Migrations>,
    /// Threads on which the store is read for people, of lower priority than those that scrape and evaluate
    /// rules; `None` for those of the runtime that the server runs on.
    pub readers: Option<tokio::runtime::Handle>,
    /// The query engine.
    pub engine: Arc<promql::Engine>,
    /// Targets and pools.
    pub scrape: Arc<dyn ScrapeViews>,
    /// Groups of rules, by file and name.
    pub rules: Arc<dyn Fn() -> Vec<rules::GroupView> + Send + Sync>,
    /// Where alerts go.
    pub alertmanagers: Arc<dyn Fn() -> Alertmanagers + Send + Sync>,
    /// Configuration in force.
    pub config: Arc<ArcSwap<ConfigView>>,
    /// All flags with their values, hidden ones too.
    pub flags: BTreeMap<String, String>,
    /// `/api/v1/features`: category, feature, on or off.
    pub features: BTreeMap<String, BTreeMap<String, bool>>,
    /// Build information.
    pub build: BuildInfo,
    /// godwit's own metrics.
    pub registry: Registry,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Takes requests of `/-/reload`.
    pub reload: mpsc::Sender<ReloadRequest>,
    /// Cancelled by `/-/quit`.
    pub quit: CancellationToken,
    /// Folder for `queries.active`; `None` keeps no such file.
    pub active_queries_dir: Option<std::path::PathBuf>,
    /// Further pages of metrics.
    pub pages: Vec<MetricsPage>,
    /// Settings.
    pub options: Options,
}

/// Handed to every handler. Cheap to clone.
#[derive(Clone)]
pub struct State(Arc<Inner>);

/// The fields of a [`State`].
pub struct Inner {
    pub(crate) parts: Parts,
    pub(crate) metrics: HttpMetrics,
    pub(crate) write: remote::Receiver,
    /// `None` where it is off: its metrics are not shown then.
    pub(crate) otlp: Option<Arc<remote::OtlpReceiver>>,
    pub(crate) notifications: Notifications,
    pub(crate) query_log: QueryLog,
    pub(crate) active: ActiveQueries,
    pub(crate) query_slots: Arc<Semaphore>,
    pub(crate) read_slots: Arc<Semaphore>,
    /// Remote reads being answered.
    pub(crate) remote_read_slots: Arc<Semaphore>,
    /// Remote reads being answered or waiting.
    pub(crate) remote_reads: Gauge,
    /// Pages being made of what the server knows without reading the store.
    pub(crate) page_slots: Arc<Semaphore>,
    /// Bytes of remote write bodies in memory.
    pub(crate) write_bytes: Arc<Semaphore>,
    /// Bytes of other bodies in memory: forms and remote reads.
    pub(crate) request_bytes: Arc<Semaphore>,
    /// Remote writes being stored.
    pub(crate) write_slots: Arc<Semaphore>,
    pub(crate) birth: SystemTime,
    ready_gauge: Gauge,
    readiness: AtomicU8,
}

/// Label reads, federation and the like that run at once: as many as queries by default. They are short,
/// and each one holds a blocking thread.
const READ_SLOTS_MIN: usize = 20;
/// Answers about the server itself being made at once; they never wait for reads of the store.
const PAGES_AT_ONCE: usize = 20;
/// Remote reads at once where the flag sets no limit: each holds a blocking thread, of which tokio has 512.
const REMOTE_READS_MAX: usize = 256;
/// Remote writes being stored at once: each needs a core and, decompressed, up to 22 times its body.
const WRITES_AT_ONCE_MAX: usize = 8;

impl State {
    /// Builds the state, registers the HTTP metrics; not ready yet.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let o = &parts.options;
        let write = remote::Receiver::new(
            Arc::clone(&parts.appendable),
            Arc::clone(&parts.clock),
            &parts.registry,
            remote::ReceiverOptions {
                accepted: o.accepted_write_messages.clone(),
                start_zero_ingestion: o.start_zero_ingestion,
                type_and_unit_labels: o.type_and_unit_labels,
                append_metadata: o.append_metadata,
                ..remote::ReceiverOptions::default()
            },
        );
        let otlp = || {
            let options = remote::OtlpOptions {
                lookback_ns: i64::try_from(o.lookback_delta.as_nanos()).unwrap_or(i64::MAX),
                native_delta: o.otlp_native_delta,
                type_and_unit_labels: o.type_and_unit_labels,
                start_zero_ingestion: o.start_zero_ingestion,
                append_metadata: o.append_metadata,
            };
            let (store, clock) = (Arc::clone(&parts.appendable), Arc::clone(&parts.clock));
            Arc::new(remote::OtlpReceiver::new(store, clock, &parts.registry, options))
        };
        let otlp = o.enable_otlp_receiver.then(otlp);
        let concurrency = o.query_concurrency.max(1);
        let write_bytes = o.write_bodies_bytes_max.min(Semaphore::MAX_PERMITS);
        let inner = Inner {
            metrics: HttpMetrics::new(&parts.registry),
            write,
            otlp,
            notifications: Notifications::new(&parts.registry, o.notification_listeners_max),
            query_log: QueryLog::new(&parts.registry),
            active: ActiveQueries::open(parts.active_queries_dir.as_deref(), concurrency + o.rule_queries),
            query_slots: Arc::new(Semaphore::new(concurrency)),
            remote_read_slots: Arc::new(Semaphore::new(match o.read_concurrency {
                0 => REMOTE_READS_MAX,
                n => n.min(REMOTE_READS_MAX),
            })),
            remote_reads: parts.registry.gauge(
                "prometheus_remote_read_handler_queries",
                "The current number of remote read queries that are either in execution or queued on the handler.",
            ),
            read_slots: Arc::new(Semaphore::new(concurrency.max(READ_SLOTS_MIN))),
            page_slots: Arc::new(Semaphore::new(PAGES_AT_ONCE)),
            write_bytes: Arc::new(Semaphore::new(write_bytes)),
            request_bytes: Arc::new(Semaphore::new(write_bytes)),
            write_slots: Arc::new(Semaphore::new(o.writes_at_once.clamp(1, WRITES_AT_ONCE_MAX))),
            birth: SystemTime::now(),
            ready_gauge: parts.registry.gauge(
                "prometheus_ready",
                "Whether Prometheus startup was fully completed and the server is ready for normal operation.",
            ),
            readiness: AtomicU8::new(Readiness::NotReady as u8),
            parts,
        };
        State(Arc::new(inner))
    }

    /// Sets where the server is in its life.
    pub fn set_readiness(&self, to: Readiness) {
        self.0.ready_gauge.set(if to == Readiness::Ready { 1.0 } else { 0.0 });
        self.0.readiness.store(to as u8, Ordering::SeqCst);
    }

    /// Where the server is in its life.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        match self.0.readiness.load(Ordering::SeqCst) {
            1 => Readiness::Ready,
            2 => Readiness::Stopping,
            _ => Readiness::NotReady,
        }
    }

    /// To be called after each reload: reopens the query log as the configuration in force says.
    ///
    /// # Errors
    /// The query log cannot be opened; the old one stays in use.
    pub fn config_reloaded(&self) -> std::io::Result<()> {
        let config = self.0.parts.config.load();
        self.0.query_log.reopen(&config.query_log_file, config.slow_queries)
    }

    /// What `/api/v1/notifications` shows.
    #[must_use]
    pub fn notifications(&self) -> &Notifications {
        &self.0.notifications
    }
}

impl rules::QueryWatch for State {
    fn began(&self, query: &str) -> Box<dyn std::any::Any> {
        Box::new(self.0.active.enter(query))
    }

    fn ended(&self, q: &rules::RuleQuery<'_>) {
        self.0.query_log.ended(&Logged {
            query: q.query,
            start_ms: q.t_ms,
            end_ms: q.t_ms,
            step_ms: 0,
            stats: q.stats,
            error: q.error.map(ToString::to_string).as_deref(),
            origin: Origin::Rule { file: q.file, group: q.group },
        });
    }
}

impl std::ops::Deref for State {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}
