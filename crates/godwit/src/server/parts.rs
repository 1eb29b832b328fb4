//! Builds every part from the flags, before anything runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use config::{Config, GodwitSettings, LoadOptions};
use model::clock::SystemClock;
use model::{MatchOp, Matcher};
use promql::{EngineOptions, ParserOptions};
use telemetry::Registry;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tsdb::compact::KeepRule;
use tsdb::{DbOptions, IMAGE_LOG_BYTES, SeriesLimits};
use web::{BuildInfo, ConfigView, ReloadRequest};

use super::duty::{self, Duty, Workers};
use super::readers::Readers;
use super::{Failure, features, run, steps};
use crate::args::{ServerArgs, WalCompression};
use crate::embedded;
use crate::late::LateDb;
use crate::memory::{self, Shares};
use crate::process_metrics::TRACKED_VERSION;
use crate::reload::Loaded;

/// Exemplars kept where the feature is on and the configuration does not say how many (upstream's default).
const EXEMPLARS_DEFAULT: config::ExemplarsConfig = config::ExemplarsConfig { max_exemplars: 100_000 };

/// Where the configuration comes from: a file, or the embedded text.
#[derive(Clone)]
pub struct Sources {
    file: Option<PathBuf>,
    options: LoadOptions,
    /// Where godwit's own settings are; `None` without.
    settings_file: Option<PathBuf>,
    settings: GodwitSettings,
    port: u16,
    prefix: String,
    /// Feature `exemplar-storage`.
    exemplars: bool,
}

impl Sources {
    /// Reads godwit's own settings; `prometheus.yml` is read by [`Sources::read`].
    ///
    /// # Errors
    /// A wrong settings file.
    pub fn new(args: &ServerArgs, embedded: bool) -> Result<Self, Failure> {
        let settings_file = (!args.godwit_config.is_empty()).then(|| PathBuf::from(&args.godwit_config));
        let settings = own_settings(settings_file.as_deref()).and_then(|s| keep_rules(&s).map(|_| s));
        let settings = settings
            .map_err(|e| Failure { text: format!("Error loading config (--godwit.config): {e}"), code: 2 })?;
        let mut options = args.load_options();
        // Upstream 3.5 switches native histograms on by this flag, 3.9 and newer ignore it. Who gives it
        // wants them.
        if args.features.asked_for("native-histograms") {
            options.global_defaults.scrape_native_histograms = Some(true);
        }
        let address = args.web_listen_addresses.first().map_or("", String::as_str);
        Ok(Sources {
            file: (!embedded).then(|| PathBuf::from(&args.config_file)),
            options,
            settings_file,
            settings,
            port: run::port_of(address),
            prefix: args.web_route_prefix.trim_end_matches('/').to_string(),
            exemplars: args.features.has("exemplar-storage"),
        })
    }

    /// Reads the configuration as it is now; `before` is what was read last, if it is still there.
    ///
    /// # Errors
    /// What is wrong, with its place.
    pub fn read(&self, before: Option<&Loaded>) -> Result<Loaded, String> {
        let config = match &self.file {
            Some(path) => Config::load_file_again(path, &self.options, before.map(|b| &b.config)),
            None => Config::parse(&embedded::config_text(self.port), &self.options),
        };
        let mut config = config.map_err(|e| e.to_string())?;
        if self.exemplars {
            // Shown as in force, as by upstream.
            config.storage.exemplars.get_or_insert(EXEMPLARS_DEFAULT);
        }
        if self.file.is_none() {
            // Under a route prefix our own pages are there, too.
            for job in &mut config.scrape_configs {
                let job = Arc::make_mut(job);
                job.metrics_path = format!("{}{}", self.prefix, job.metrics_path);
            }
        }
        let jobs = config.scrape_configs_all(&self.options).map_err(|e| e.to_string())?;
        let settings = own_settings(self.settings_file.as_deref())?;
        let keep = keep_rules(&settings)?;
        Ok(Loaded { config, jobs, settings, keep })
    }

    /// A function that gives `first`, and reads anew from the second time on: reading a large file twice would
    /// take the start's time and memory twice.
    pub fn reader(
        &self,
        first: Loaded,
    ) -> impl Fn(Option<&Loaded>) -> Result<Loaded, String> + Send + Sync + 'static {
        let (own, first) = (self.clone(), parking_lot::Mutex::new(Some(first)));
        move |before| {
            let first = first.lock().take();
            first.map_or_else(|| own.read(before), Ok)
        }
    }

    /// The file, `None` for the embedded text.
    pub fn path(&self) -> Option<PathBuf> {
        self.file.clone()
    }

    /// URL of this server as a person on this machine would type it.
    pub fn url(&self) -> String {
        format!("http://localhost:{}{}/", self.port, self.prefix)
    }

    fn host_collector(&self) -> Option<host::HostCollector> {
        let settings = &self.settings.host_collector;
        if !settings.enabled.unwrap_or(self.file.is_none()) {
            return None;
        }
        let mut options = host::HostOptions::default();
        if !settings.rootfs.is_empty() {
            let root = PathBuf::from(&settings.rootfs);
            options.proc_path = root.join("proc");
            options.sys_path = root.join("sys");
            options.udev_path = root.join("run/udev/data");
            options.rootfs_path = root;
        }
        if !settings.textfile_directory.is_empty() {
            options.textfile_paths = vec![settings.textfile_directory.clone()];
        }
        Some(host::HostCollector::new(options))
    }
}

fn own_settings(file: Option<&Path>) -> Result<GodwitSettings, String> {
    file.map_or_else(|| Ok(GodwitSettings::default()), GodwitSettings::load_file).map_err(|e| e.to_string())
}

/// `storage.retention` with its selectors read.
fn keep_rules(settings: &GodwitSettings) -> Result<Vec<KeepRule>, String> {
    let read = |r: &config::SeriesRetention| {
        let matchers = promql::parse_selector(&r.selector)
            .map_err(|e| format!("storage.retention: match {:?}: {e}", r.selector))?;
        Ok(KeepRule { matchers, keep_ms: i64::try_from(r.keep.as_millis()).unwrap_or(i64::MAX) })
    };
    settings.storage.retention.iter().map(read).collect()
}

/// All parts, ready to run.
pub struct Built {
    pub handles: Handles,
    pub router: axum::Router,
    pub serve_options: net::ServeOptions,
    /// Kept for as long as requests are answered.
    pub readers: Readers,
    pub sets: mpsc::Receiver<scrape::TargetSets>,
    pub notify_sets: mpsc::Receiver<notifier::TargetSets>,
}

/// What a reload changes.
#[derive(Clone)]
pub struct Handles {
    pub state: web::State,
    pub scrape: scrape::Manager,
    pub discovery: discovery::Manager,
    pub rules: rules::Manager,
    pub engine: Arc<promql::Engine>,
    pub notifier: notifier::Manager,
    /// Finds Alertmanagers.
    pub notify_discovery: discovery::Manager,
    pub sender: remote::Sender,
    pub migrations: super::migration::Migrations,
    /// As it is at the start.
    pub duty: Duty,
    pub workers: Workers,
    pub config: Arc<ArcSwap<ConfigView>>,
}

/// Builds them.
pub fn build(
    args: &ServerArgs,
    sources: &Sources,
    registry: &Registry,
    late: &LateDb,
    reload: mpsc::Sender<ReloadRequest>,
    stop: CancellationToken,
) -> Result<Built, Failure> {
    let clock = Arc::new(SystemClock);
    let store = Arc::new(late.clone());
    let shares = memory::shares(sources.settings.memory_budget);
    let probe = memory::probe(sources.settings.memory_budget);
    let guard = storage::MemoryGuard::new(probe.clone());
    let engine_options = EngineOptions { guard: Some(Arc::clone(&guard)), ..engine_options(args, shares) };
    let engine = Arc::new(promql::Engine::new(engine_options, registry));
    let readers = Readers::start();
    let mut options = scrape_options(args, shares);
    options.memory = Some(probe.clone());
    let duty = Duty::read(Path::new(&args.storage_path), args.godwit_hold, duty::now_ms());
    (options.held, options.fqdn) = match &duty {
        Duty::Own { host } => (false, host.clone()),
        Duty::From { host, .. } => (true, host.clone()),
        Duty::Held => (true, None),
    };
    let scrape = scrape::Manager::new(store.clone(), registry, clock.clone(), options);
    let metrics = discovery::Metrics::new(registry);
    let mut options = discovery::Options::new("scrape");
    options.room = discovery_room(probe);
    options.user_agent = user_agent();
    options.send_pause_max = args.scrape_discovery_reload_interval;
    let (discovery, sets) = discovery::Manager::new(options, metrics.clone(), stop.clone());
    let mut options = discovery::Options::new("notify");
    options.user_agent = user_agent();
    let (notify_discovery, notify_sets) = discovery::Manager::new(options, metrics, stop.clone());
    let notifier = notifier::Manager::new(notifier_options(args), registry);
    let sender = remote::Sender::new(sender_options(args, &scrape), registry);
    let writes = storage::Budget::guarded(shares.writes_bytes, guard);
    let web_options = web_options(args, shares, engine.memory(), writes)?;
    let alerts_to = notifier.clone();
    let rules = rules::Manager::new(
        rules::Parts {
            engine: engine.with_own_share(RULES_AT_ONCE, shares.queries_bytes / RULES_MEMORY_PART),
            queryable: store.clone(),
            appendable: store.clone(),
            notify: Arc::new(move |alerts| alerts_to.send(alerts)),
            clock: clock.clone(),
        },
        rules_options(args, &web_options),
        registry,
    );
    let rules_shown = rules.clone();
    let shown = notifier.clone();
    let alertmanagers = move || {
        let notifier::Alertmanagers { active, dropped } = shown.alertmanagers();
        web::Alertmanagers { active, dropped }
    };
    let config = Arc::new(ArcSwap::from_pointee(ConfigView::default()));
    let mut pages: Vec<web::MetricsPage> = Vec::new();
    if let Some(collector) = sources.host_collector() {
        let families = Arc::new(move || collector.collect());
        pages.push(web::MetricsPage { path: embedded::HOST_METRICS_PATH.to_string(), families });
    }
    let (scraping, ruling, sending) = (scrape.clone(), rules.clone(), sender.clone());
    let workers = Workers::new(scraping, ruling, sending, late.clone(), duty == Duty::Held);
    let data = PathBuf::from(&args.storage_path);
    let migrations = super::migration::Migrations::new(late.clone(), data, workers.clone());
    let state = web::State::new(web::Parts {
        queryable: store.clone(),
        local: store.clone(),
        exemplars: store.clone(),
        appendable: store.clone(),
        status: store,
        migrations: Arc::new(migrations.clone()),
        readers: readers.handle(),
        engine: Arc::clone(&engine),
        scrape: Arc::new(scrape.clone()),
        rules: Arc::new(move || rules_shown.view()),
        alertmanagers: Arc::new(alertmanagers),
        config: Arc::clone(&config),
        flags: args.flags_map(),
        features: features::map(args),
        build: build_info(),
        registry: registry.clone(),
        clock,
        reload,
        quit: stop,
        active_queries_dir: Some(PathBuf::from(&args.storage_path)),
        pages,
        options: web_options,
    });
    rules.watch_queries(Arc::new(state.clone()));
    Ok(Built {
        router: web::router(state.clone()),
        serve_options: serve_options(args),
        readers,
        handles: Handles {
            state,
            scrape,
            discovery,
            rules,
            engine,
            notifier,
            notify_discovery,
            sender,
            migrations,
            duty,
            workers,
            config,
        },
        sets,
        notify_sets,
    })
}

fn user_agent() -> String {
    format!("Prometheus/{TRACKED_VERSION}")
}

fn build_info() -> BuildInfo {
    BuildInfo {
        version: TRACKED_VERSION.to_string(),
        revision: env!("CARGO_PKG_VERSION").to_string(),
        branch: "godwit".to_string(),
        build_user: String::new(),
        build_date: String::new(),
        compiler: "none".to_string(),
        godwit_version: env!("CARGO_PKG_VERSION").to_string(),
    }
}

fn positive(n: i64) -> usize {
    usize::try_from(n).unwrap_or(0)
}

fn engine_options(args: &ServerArgs, shares: Shares) -> EngineOptions {
    let has = |feature: &str| args.features.has(feature);
    EngineOptions {
        lookback_delta_ms: i64::try_from(args.query_lookback_delta.as_millis()).unwrap_or(i64::MAX),
        max_samples: positive(args.query_max_samples),
        timeout: args.query_timeout,
        query_memory_bytes: shares.query_bytes,
        total_memory_bytes: shares.queries_bytes,
        concurrency: positive(args.query_max_concurrency),
        parser: ParserOptions {
            experimental_functions: has("promql-experimental-functions"),
            duration_expressions: true,
            extended_range_selectors: has("promql-extended-range-selectors"),
            fill_modifiers: has("promql-binop-fill-modifiers"),
        },
        delayed_name_removal: has("promql-delayed-name-removal"),
        type_and_unit_labels: has("type-and-unit-labels"),
        use_start_timestamps: has("use-start-timestamps"),
        per_step_stats: has("promql-per-step-stats"),
        ..EngineOptions::default()
    }
}

/// Discovery may go a little beyond the budget: a server whose series take all of it is to know its targets after a
/// start. What it reads is let go again for the most part.
fn discovery_room(probe: storage::MemoryProbe) -> discovery::Room {
    discovery::Room(Some(Arc::new(move || {
        let memory = (probe.0)();
        (memory.budget_bytes + memory.budget_bytes / 8).saturating_sub(memory.used_bytes)
    })))
}

fn scrape_options(args: &ServerArgs, shares: Shares) -> scrape::Options {
    let has = |feature: &str| args.features.has(feature);
    scrape::Options {
        version: TRACKED_VERSION.to_string(),
        bodies: net::BodyLimits::for_memory(shares.budget_bytes),
        discovery_reload_interval: args.scrape_discovery_reload_interval,
        // Nothing is scraped before the first groups come; there is no reason to wait for more of them.
        discovery_reload_on_startup: true,
        zstd_scrape: has("zstd-scrape"),
        append_metadata: has("metadata-wal-records"),
        start_timestamp_zero_ingestion: has("created-timestamp-zero-ingestion"),
        parse_start_timestamps: has("st-storage"),
        type_and_unit_labels: has("type-and-unit-labels"),
        align_timestamps: args.scrape_adjust_timestamps,
        timestamp_tolerance: args.scrape_timestamp_tolerance,
        store_opens_later: true,
        // Nobody writes remotely before the store is open: the memory for those bodies is free.
        held_bytes_max: usize::try_from(shares.write_bodies_bytes).unwrap_or(32 << 20),
        ..scrape::Options::default()
    }
}

/// Rules have slots and memory of their own, so that no query of a person delays an alert. As many groups are
/// evaluated at once as upstream lets queries run by default; each holds a thread while it is.
const RULES_AT_ONCE: usize = 20;
/// Memory for rules as a part of that for queries: they aggregate what dashboards then need not.
const RULES_MEMORY_PART: u64 = 4;

fn rules_options(args: &ServerArgs, web: &web::Options) -> rules::Options {
    let concurrent = args.features.has("concurrent-rule-eval");
    let path = &web.external_path;
    rules::Options {
        external_url: format!("{}://{}{path}", web.external_scheme, web.external_host),
        external_path: path.clone(),
        outage_tolerance: args.rules_for_outage_tolerance,
        grace_period: args.rules_for_grace_period,
        resend_delay: args.rules_resend_delay,
        concurrent_evals: if concurrent { positive(args.rules_max_concurrent_evals) } else { 0 },
        groups_at_once: RULES_AT_ONCE,
    }
}

fn notifier_options(args: &ServerArgs) -> notifier::Options {
    notifier::Options {
        queue_capacity: positive(args.notification_queue_capacity),
        batch_max: positive(args.notification_batch_size),
        drain: args.notification_drain_on_shutdown,
        user_agent: user_agent(),
    }
}

fn sender_options(args: &ServerArgs, scrape: &scrape::Manager) -> remote::SenderOptions {
    let scrape = scrape.clone();
    remote::SenderOptions {
        user_agent: user_agent(),
        flush_deadline: args.remote_flush_deadline,
        metadata: Arc::new(move || {
            let pools = scrape.targets_active();
            let entries = pools.values().flatten().flat_map(|target| target.metadata());
            entries.map(|entry| (entry.family, entry.metadata)).collect()
        }),
    }
}

fn serve_options(args: &ServerArgs) -> net::ServeOptions {
    let web_config = (!args.web_config_file.is_empty()).then(|| net::WebConfigSource {
        path: PathBuf::from(&args.web_config_file),
        load: Arc::new(|path| config::WebConfig::load_file(path).map_err(|e| e.to_string())),
    });
    net::ServeOptions {
        max_connections: positive(args.web_max_connections).max(1),
        read_timeout: args.web_read_timeout,
        web_config,
        shutdown_grace: Duration::from_secs(5),
    }
}

/// Part of the memory budget for each remote write that is stored at the same time as others.
const WRITE_BYTES_HELD: u64 = 128 << 20;

fn web_options(
    args: &ServerArgs,
    shares: Shares,
    queries_bytes: Arc<storage::Budget>,
    writes_bytes: Arc<storage::Budget>,
) -> Result<web::Options, Failure> {
    let listen = args.web_listen_addresses.first().cloned().unwrap_or_default();
    let bad = |what: &str, e: &dyn std::fmt::Display| Failure { text: format!("{what}: {e}"), code: 2 };
    let cors = Matcher::new(MatchOp::Regex, "origin", args.web_cors_origin.as_str());
    let external = external_url(args, &listen);
    let external = url::Url::parse(&external).map_err(|e| bad("parse external URL", &e))?;
    let host = external.host_str().unwrap_or("localhost");
    let has = |feature: &str| args.features.has(feature);
    Ok(web::Options {
        external_scheme: external.scheme().to_string(),
        external_host: external.port().map_or_else(|| host.to_string(), |port| format!("{host}:{port}")),
        external_path: external.path().trim_end_matches('/').to_string(),
        route_prefix: args.web_route_prefix.trim_end_matches('/').to_string(),
        listen_address: listen,
        page_title: args.web_page_title.clone(),
        cors_origin: cors.map_err(|e| bad("--web.cors.origin", &e))?,
        enable_lifecycle: args.web_enable_lifecycle,
        enable_admin_api: args.web_enable_admin_api,
        enable_remote_write_receiver: args.web_enable_remote_write_receiver,
        enable_otlp_receiver: args.web_enable_otlp_receiver,
        enable_search: args.features.has("search-api"),
        search_limit_max: positive(args.web_search_max_limit),
        otlp_native_delta: args.features.has("otlp-native-delta-ingestion"),
        accepted_write_messages: args
            .web_remote_write_messages
            .iter()
            .filter_map(|m| remote::MessageType::from_name(m))
            .collect(),
        agent: args.agent,
        lookback_delta: args.query_lookback_delta,
        query_timeout: args.query_timeout,
        query_concurrency: positive(args.query_max_concurrency),
        rule_queries: RULES_AT_ONCE,
        query_bytes_max: shares.query_bytes,
        // The same bytes for queries and for what else reads the store: two such pools would be the whole budget.
        queries_bytes: Some(queries_bytes),
        writes_bytes: Some(writes_bytes),
        write_bodies_bytes_max: usize::try_from(shares.write_bodies_bytes).unwrap_or(128 << 20),
        // 32 MiB decompressed and about twice that decoded, out of a budget that others share.
        writes_at_once: usize::try_from(shares.budget_bytes / WRITE_BYTES_HELD).unwrap_or(usize::MAX),
        per_step_stats: has("promql-per-step-stats"),
        start_zero_ingestion: has("created-timestamp-zero-ingestion"),
        type_and_unit_labels: has("type-and-unit-labels"),
        append_metadata: has("metadata-wal-records"),
        user_assets: args.web_user_assets.clone(),
        read_samples_max: positive(args.remote_read_sample_limit),
        read_concurrency: positive(args.remote_read_concurrent_limit),
        read_frame_bytes_max: positive(args.remote_read_max_bytes_in_frame),
        notification_listeners_max: positive(args.web_max_notifications_subscribers),
        command_line: std::env::args().collect(),
        ..web::Options::default()
    })
}

/// `--web.external-url` completed as upstream does: host name and port of the listener where it is empty.
fn external_url(args: &ServerArgs, listen: &str) -> String {
    let given = args.web_external_url.as_str();
    if given.contains("://") {
        return given.to_string();
    }
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let path = if given.starts_with('/') { given } else { "/" };
    format!("http://{name}:{}{path}", run::port_of(listen))
}

/// How the store is opened.
pub fn db_options(
    args: &ServerArgs,
    sources: &Sources,
    registry: &Registry,
    late: &LateDb,
) -> Result<DbOptions, Failure> {
    let ms = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
    let mut options = DbOptions::new(&args.storage_path);
    options.registry = registry.clone();
    options.progress = late.progress();
    options.retention = steps::retention(args.retention);
    options.lockfile = !args.no_lockfile;
    let own = &sources.settings.storage;
    options.wal_strict = own.strict_sync;
    options.image_log_bytes = match (own.head_image, own.head_image_log) {
        (Some(false), _) => 0,
        (_, 0) => IMAGE_LOG_BYTES,
        (_, bytes) => bytes,
    };
    if own.held_log > 0 {
        options.wal_hold_bytes = own.held_log;
    }
    if own.scrub_per_minute > 0 {
        options.scrub_bytes = own.scrub_per_minute;
    }
    if own.scrub == Some(false) {
        options.scrub_bytes = 0;
    }
    if own.evict_stale == Some(false) {
        options.stale = None;
    }
    options.series_limits = SeriesLimits {
        head_max: own.series_max,
        job_max: own.job_series_max,
        memory: Some(memory::probe(sources.settings.memory_budget)),
    };
    if own.retention_rewrite_per_minute > 0 {
        options.keep_bytes = own.retention_rewrite_per_minute;
    }
    options.wal_compression = match args.wal_compression {
        WalCompression::None => tsdb::WalCompression::None,
        WalCompression::Snappy => tsdb::WalCompression::Snappy,
        WalCompression::Zstd => tsdb::WalCompression::Zstd,
    };
    if args.wal_segment_size > 0 {
        // Upstream's bounds.
        if !(10 << 20..=256 << 20).contains(&args.wal_segment_size) {
            return Err(Failure {
                text: "flag 'storage.tsdb.wal-segment-size' must be set between 10MB and 256MB".into(),
                code: 1,
            });
        }
        options.wal_segment_bytes = args.wal_segment_size;
    }
    if !args.delay_compact_file.is_empty() {
        options.delay_compact_file = Some(args.delay_compact_file.clone().into());
    }
    options.min_block_ms = ms(args.min_block_duration);
    options.max_block_ms = ms(args.max_block_duration).max(options.min_block_ms);
    if args.samples_per_chunk > 0 {
        options.samples_per_chunk = u32::try_from(args.samples_per_chunk).unwrap_or(120);
    }
    // Sized by the first reload, before the first sample; a replay needs room before that.
    options.exemplars_max = if args.features.has("exemplar-storage") { 100_000 } else { 0 };
    Ok(options)
}
