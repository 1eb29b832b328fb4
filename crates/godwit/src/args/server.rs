//! The server's settings out of its flags, typed.

use std::collections::BTreeMap;
use std::time::Duration;

use config::{Config, LoadOptions, LogLevel, RetentionConfig, ScrapeProtocol};

use super::features::Features;
use super::parse::{ArgsError, Values};
use super::table::{FLAGS, Scope, find};
use super::value::{self, Value};

/// Retention where no flag and no config says otherwise.
const RETENTION_DEFAULT: Duration = Duration::from_secs(15 * 86_400);
/// Longest block where retention does not bound it.
const MAX_BLOCK: Duration = Duration::from_secs(31 * 86_400);
/// Below this, looking for new blocks costs more than it helps (upstream's bound).
const BLOCK_RELOAD_MIN: Duration = Duration::from_secs(1);
const AUTO_RELOAD_MIN: Duration = Duration::from_secs(1);

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `key=value`.
    Logfmt,
    /// One JSON object a line.
    Json,
}

/// Compression of the write-ahead log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WalCompression {
    /// None.
    None,
    /// Snappy.
    Snappy,
    /// Zstandard.
    Zstd,
}

/// All settings of the server. Sizes are bytes; a size of 0 means the store's own default.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each field is the flag of its name, explained in the table of flags")]
#[allow(
    dead_code,
    reason = "flags of parts that COMPAT.md lists as not built are taken and checked all the same"
)]
pub struct ServerArgs {
    pub config_file: String,
    pub config_auto_reload: bool,
    pub config_auto_reload_interval: Duration,
    pub features: Features,
    pub agent: bool,
    pub godwit_config: String,
    pub godwit_hold: bool,
    pub web_listen_addresses: Vec<String>,
    pub web_config_file: String,
    pub web_read_timeout: Duration,
    pub web_max_connections: i64,
    pub web_max_notifications_subscribers: i64,
    pub web_external_url: String,
    /// Always begins with `/`; ends with it only where it is all of it.
    pub web_route_prefix: String,
    pub web_user_assets: String,
    pub web_enable_lifecycle: bool,
    pub web_enable_admin_api: bool,
    pub web_enable_remote_write_receiver: bool,
    pub web_remote_write_messages: Vec<String>,
    pub web_enable_otlp_receiver: bool,
    pub web_console_templates: String,
    pub web_console_libraries: String,
    pub web_page_title: String,
    pub web_cors_origin: String,
    pub web_search_max_limit: i64,
    pub storage_path: String,
    /// Retention of the flags; `settle` puts that of the config in its place.
    pub retention: RetentionConfig,
    pub no_lockfile: bool,
    pub head_chunks_write_queue_size: i64,
    pub delay_compact_file: String,
    pub min_block_duration: Duration,
    /// 0 until `settle`.
    pub max_block_duration: Duration,
    pub max_block_chunk_segment_size: u64,
    pub wal_segment_size: u64,
    pub allow_overlapping_compaction: bool,
    pub wal_compression: WalCompression,
    pub samples_per_chunk: i64,
    pub delayed_compaction_max_percent: i64,
    pub block_reload_interval: Duration,
    pub query_lookback_delta: Duration,
    pub query_timeout: Duration,
    pub query_max_concurrency: i64,
    pub query_max_samples: i64,
    pub rules_for_outage_tolerance: Duration,
    pub rules_for_grace_period: Duration,
    pub rules_resend_delay: Duration,
    pub rules_max_concurrent_evals: i64,
    pub notification_queue_capacity: i64,
    pub notification_batch_size: i64,
    pub notification_drain_on_shutdown: bool,
    pub scrape_adjust_timestamps: bool,
    pub scrape_timestamp_tolerance: Duration,
    pub scrape_discovery_reload_interval: Duration,
    pub remote_flush_deadline: Duration,
    pub remote_read_sample_limit: i64,
    pub remote_read_concurrent_limit: i64,
    pub remote_read_max_bytes_in_frame: i64,
    pub agent_path: String,
    pub agent_wal_segment_size: u64,
    pub agent_wal_compression: WalCompression,
    pub agent_wal_truncate_frequency: Duration,
    pub agent_retention_min_time: Duration,
    pub agent_retention_max_time: Duration,
    pub agent_checkpoint_from_in_memory_series: bool,
    pub agent_checkpoint_batch_size: i64,
    pub agent_no_lockfile: bool,
    pub log_level: LogLevel,
    pub log_format: LogFormat,
    /// To log at start: retired flags, unknown features, values put right.
    pub warnings: Vec<String>,
    values: Values,
}

impl Default for ServerArgs {
    /// No flag given.
    fn default() -> Self {
        match super::parse::parse([]) {
            Ok(super::parse::Parsed::Run(args)) => *args,
            // Not reached: the tests hold that the defaults are sound.
            _ => ServerArgs::typed(Reader { values: Values::empty() }),
        }
    }
}

/// Reads values by name; a wrong name gives the empty value and fails the test of all names.
struct Reader {
    values: Values,
}

impl Reader {
    fn text(&self, name: &str) -> String {
        match self.values.get(name) {
            Some(Value::Text(text)) => text.clone(),
            _ => String::new(),
        }
    }
    fn on(&self, name: &str) -> bool {
        matches!(self.values.get(name), Some(Value::Switch(true)))
    }
    fn int(&self, name: &str) -> i64 {
        match self.values.get(name) {
            Some(Value::Int(n)) => *n,
            _ => 0,
        }
    }
    fn float(&self, name: &str) -> f64 {
        match self.values.get(name) {
            Some(Value::Float(n)) => *n,
            _ => 0.0,
        }
    }
    fn time(&self, name: &str) -> Duration {
        match self.values.get(name) {
            Some(Value::Duration(d)) => *d,
            _ => Duration::ZERO,
        }
    }
    fn bytes(&self, name: &str) -> u64 {
        match self.values.get(name) {
            Some(Value::Bytes(n)) => *n,
            _ => 0,
        }
    }
    fn texts(&self, name: &str) -> Vec<String> {
        match self.values.get(name) {
            Some(Value::Texts(texts)) => texts.clone(),
            _ => Vec::new(),
        }
    }
    fn compression(&self, switch: &str, kind: &str) -> WalCompression {
        match (self.on(switch), self.text(kind).as_str()) {
            (false, _) => WalCompression::None,
            (true, "zstd") => WalCompression::Zstd,
            (true, _) => WalCompression::Snappy,
        }
    }
}

impl ServerArgs {
    /// Checks what needs more than one flag.
    pub(super) fn new(values: Values) -> Result<Self, ArgsError> {
        let reader = Reader { values };
        let fail = |code, text: String| Err(ArgsError { text, code });
        let agent = reader.on("agent");
        let (other, what) =
            if agent { (Scope::Server, "not be used in") } else { (Scope::Agent, "only be used in") };
        let wrong: Vec<String> = (reader.values.given().iter())
            .filter(|name| find(name).is_some_and(|flag| flag.scope == other))
            .map(|name| format!("\"--{name}\""))
            .collect();
        if !wrong.is_empty() {
            return fail(3, format!("The following flag(s) can {what} agent mode: [{}]", wrong.join(" ")));
        }
        let limit = reader.int("web.search.max-limit");
        if limit < 0 {
            return fail(
                1,
                format!(
                    "--web.search.max-limit must be non-negative; got {limit} (use 0 to disable the cap)"
                ),
            );
        }
        if agent && reader.int("storage.agent.checkpoint-batch-size") <= 0 {
            return fail(1, "--storage.agent.checkpoint-batch-size must be greater than 0.".to_string());
        }
        let ratio = reader.float("auto-gomemlimit.ratio");
        if ratio.is_nan() || ratio <= 0.0 || ratio > 1.0 {
            return fail(
                1,
                "--auto-gomemlimit.ratio must be greater than 0 and less than or equal to 1.".to_string(),
            );
        }
        let url = reader.text("web.external-url");
        if url.starts_with(['"', '\'']) || url.ends_with(['"', '\'']) {
            return fail(2, format!("parse external URL {url:?}: URL must not begin or end with quotes"));
        }
        if let Err(error) = config::ConfigUrl::parse(&url) {
            return fail(2, format!("parse external URL {url:?}: {error}"));
        }
        let mut args = ServerArgs::typed(reader);
        if args.features.has("otlp-deltatocumulative") && args.features.has("otlp-native-delta-ingestion") {
            let text = "cannot enable otlp-deltatocumulative and otlp-native-delta-ingestion features at the same time";
            return fail(1, format!("Error parsing feature list: {text}"));
        }
        args.put_right();
        Ok(args)
    }

    fn typed(r: Reader) -> Self {
        let (features, warnings) = Features::read(&r.texts("enable-feature"));
        let retention_time = r.time("storage.tsdb.retention.time");
        let former = r.time("storage.tsdb.retention");
        ServerArgs {
            config_file: r.text("config.file"),
            config_auto_reload: r.on("config.auto-reload") || features.has("auto-reload-config"),
            config_auto_reload_interval: r.time("config.auto-reload-interval"),
            features,
            agent: r.on("agent"),
            godwit_config: r.text("godwit.config"),
            godwit_hold: r.on("godwit.hold"),
            web_listen_addresses: r.texts("web.listen-address"),
            web_config_file: r.text("web.config.file"),
            web_read_timeout: r.time("web.read-timeout"),
            web_max_connections: r.int("web.max-connections"),
            web_max_notifications_subscribers: r.int("web.max-notifications-subscribers"),
            web_external_url: r.text("web.external-url"),
            web_route_prefix: r.text("web.route-prefix"),
            web_user_assets: r.text("web.user-assets"),
            web_enable_lifecycle: r.on("web.enable-lifecycle"),
            web_enable_admin_api: r.on("web.enable-admin-api"),
            web_enable_remote_write_receiver: r.on("web.enable-remote-write-receiver"),
            web_remote_write_messages: r.texts("web.remote-write-receiver.accepted-protobuf-messages"),
            web_enable_otlp_receiver: r.on("web.enable-otlp-receiver"),
            web_console_templates: r.text("web.console.templates"),
            web_console_libraries: r.text("web.console.libraries"),
            web_page_title: r.text("web.page-title"),
            web_cors_origin: r.text("web.cors.origin"),
            web_search_max_limit: r.int("web.search.max-limit"),
            storage_path: r.text("storage.tsdb.path"),
            retention: RetentionConfig {
                time: if retention_time.is_zero() { former } else { retention_time },
                size: r.bytes("storage.tsdb.retention.size"),
                percentage: 0.0,
            },
            no_lockfile: r.on("storage.tsdb.no-lockfile"),
            head_chunks_write_queue_size: r.int("storage.tsdb.head-chunks-write-queue-size"),
            delay_compact_file: r.text("storage.tsdb.delay-compact-file.path"),
            min_block_duration: r.time("storage.tsdb.min-block-duration"),
            max_block_duration: r.time("storage.tsdb.max-block-duration"),
            max_block_chunk_segment_size: r.bytes("storage.tsdb.max-block-chunk-segment-size"),
            wal_segment_size: r.bytes("storage.tsdb.wal-segment-size"),
            allow_overlapping_compaction: r.on("storage.tsdb.allow-overlapping-compaction"),
            wal_compression: r
                .compression("storage.tsdb.wal-compression", "storage.tsdb.wal-compression-type"),
            samples_per_chunk: r.int("storage.tsdb.samples-per-chunk"),
            delayed_compaction_max_percent: r.int("storage.tsdb.delayed-compaction.max-percent"),
            block_reload_interval: r.time("storage.tsdb.block-reload-interval"),
            query_lookback_delta: r.time("query.lookback-delta"),
            query_timeout: r.time("query.timeout"),
            query_max_concurrency: r.int("query.max-concurrency"),
            query_max_samples: r.int("query.max-samples"),
            rules_for_outage_tolerance: r.time("rules.alert.for-outage-tolerance"),
            rules_for_grace_period: r.time("rules.alert.for-grace-period"),
            rules_resend_delay: r.time("rules.alert.resend-delay"),
            rules_max_concurrent_evals: r.int("rules.max-concurrent-evals"),
            notification_queue_capacity: r.int("alertmanager.notification-queue-capacity"),
            notification_batch_size: r.int("alertmanager.notification-batch-size"),
            notification_drain_on_shutdown: r.on("alertmanager.drain-notification-queue-on-shutdown"),
            scrape_adjust_timestamps: r.on("scrape.adjust-timestamps"),
            scrape_timestamp_tolerance: r.time("scrape.timestamp-tolerance"),
            scrape_discovery_reload_interval: r.time("scrape.discovery-reload-interval"),
            remote_flush_deadline: r.time("storage.remote.flush-deadline"),
            remote_read_sample_limit: r.int("storage.remote.read-sample-limit"),
            remote_read_concurrent_limit: r.int("storage.remote.read-concurrent-limit"),
            remote_read_max_bytes_in_frame: r.int("storage.remote.read-max-bytes-in-frame"),
            agent_path: r.text("storage.agent.path"),
            agent_wal_segment_size: r.bytes("storage.agent.wal-segment-size"),
            agent_wal_compression: r
                .compression("storage.agent.wal-compression", "storage.agent.wal-compression-type"),
            agent_wal_truncate_frequency: r.time("storage.agent.wal-truncate-frequency"),
            agent_retention_min_time: r.time("storage.agent.retention.min-time"),
            agent_retention_max_time: r.time("storage.agent.retention.max-time"),
            agent_checkpoint_from_in_memory_series: r.on("storage.agent.checkpoint-from-in-memory-series"),
            agent_checkpoint_batch_size: r.int("storage.agent.checkpoint-batch-size"),
            agent_no_lockfile: r.on("storage.agent.no-lockfile"),
            log_level: match r.text("log.level").as_str() {
                "debug" => LogLevel::Debug,
                "warn" => LogLevel::Warn,
                "error" => LogLevel::Error,
                _ => LogLevel::Info,
            },
            log_format: if r.text("log.format") == "json" { LogFormat::Json } else { LogFormat::Logfmt },
            warnings,
            values: r.values,
        }
    }

    /// Values that upstream puts right at start, with a warning where it warns.
    fn put_right(&mut self) {
        for name in self.values.given() {
            if let Some(flag) = find(name).filter(|flag| flag.scope == Scope::Retired) {
                self.warnings.push(format!("--{name}: {}", flag.help));
            }
        }
        self.config_auto_reload_interval = self.config_auto_reload_interval.max(AUTO_RELOAD_MIN);
        if self.block_reload_interval < BLOCK_RELOAD_MIN {
            self.block_reload_interval = BLOCK_RELOAD_MIN;
            self.warnings.push(
                "--storage.tsdb.block-reload-interval is below 1s: 1s is used to avoid overload".to_string(),
            );
        }
        if !(1..=100).contains(&self.delayed_compaction_max_percent) {
            self.delayed_compaction_max_percent = 10;
            if self.features.has("delayed-compaction") {
                let text =
                    "--storage.tsdb.delayed-compaction.max-percent should be between 1 and 100: 10 is used";
                self.warnings.push(text.to_string());
            }
        }
        let prefix = if self.web_route_prefix.is_empty() {
            url_path(&self.web_external_url)
        } else {
            &self.web_route_prefix
        };
        self.web_route_prefix = format!("/{}", prefix.trim_matches('/'));
    }

    /// Whether a flag was given on the command line (name without dashes).
    #[must_use]
    pub fn is_given(&self, name: &str) -> bool {
        self.values.given().contains(&name)
    }

    /// What loading a config depends on: mode, features, and what flags give where the file is silent.
    #[must_use]
    pub fn load_options(&self) -> LoadOptions {
        let mut options =
            LoadOptions { agent: self.agent, log_level: self.log_level, ..LoadOptions::default() };
        if self.features.has("extra-scrape-metrics") {
            options.global_defaults.extra_scrape_metrics = Some(true);
        }
        if self.features.has("created-timestamp-zero-ingestion") || self.features.has("st-storage") {
            options.global_defaults.scrape_protocols = Some(ScrapeProtocol::DEFAULT_PROTO_FIRST.to_vec());
        }
        options.retention = self.retention;
        if self.retention.time.is_zero() && self.retention.size == 0 {
            options.retention.time = RETENTION_DEFAULT;
        }
        options
    }

    /// Takes over what the config decides (retention), and what follows from it (the longest block). Call it
    /// once the first config is loaded, before the store opens.
    pub fn settle(&mut self, config: &Config) {
        if let Some(retention) = config.storage.tsdb.as_ref().and_then(|tsdb| tsdb.retention) {
            self.retention = retention;
        }
        if self.max_block_duration.is_zero() && !self.agent {
            let tenth = self.retention.time / 10;
            self.max_block_duration = if tenth.is_zero() { MAX_BLOCK } else { tenth.min(MAX_BLOCK) };
        }
    }

    /// The flags as `/api/v1/status/flags` lists them: names without dashes, values as upstream prints them,
    /// those that were worked out at start in their final form.
    #[must_use]
    pub fn flags_map(&self) -> BTreeMap<String, String> {
        let listed = |scope: Scope, name: &str| match scope {
            Scope::Retired => false,
            Scope::Own => self.is_given(name),
            _ => true,
        };
        let shown = |flag: &super::table::Flag| {
            self.values.get(flag.name).map_or(String::new(), |v| value::show(flag, v))
        };
        let mut map: BTreeMap<String, String> = FLAGS
            .iter()
            .filter(|flag| listed(flag.scope, flag.name))
            .map(|flag| (flag.name.to_string(), shown(flag)))
            .collect();
        let duration = |d: Duration| model::duration::format(d);
        for (name, text) in [
            ("config.auto-reload", self.config_auto_reload.to_string()),
            ("config.auto-reload-interval", self.reload_interval_shown()),
            ("web.route-prefix", self.web_route_prefix.clone()),
            ("storage.tsdb.retention.time", duration(self.retention.time)),
            ("storage.tsdb.retention.size", config::format_size(self.retention.size)),
            ("storage.tsdb.max-block-duration", duration(self.max_block_duration)),
            ("storage.tsdb.block-reload-interval", duration(self.block_reload_interval)),
        ] {
            map.insert(name.to_string(), text);
        }
        map
    }

    /// Upstream raises the interval only where auto-reload is on.
    fn reload_interval_shown(&self) -> String {
        match (self.config_auto_reload, self.values.get("config.auto-reload-interval")) {
            (false, Some(Value::Duration(given))) => model::duration::format(*given),
            _ => model::duration::format(self.config_auto_reload_interval),
        }
    }
}

/// The path of a URL, without query and fragment.
fn url_path(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest.find('/').map_or("", |at| &rest[at..]));
    rest.split(['?', '#']).next().unwrap_or(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &[&str]) -> ServerArgs {
        match super::super::parse(line.iter().map(ToString::to_string)) {
            Ok(super::super::Parsed::Run(args)) => *args,
            other => panic!("{other:?}"),
        }
    }

    /// Every field reads a flag of the table, and every flag of the table is read by one.
    #[test]
    fn all_names_are_used() {
        let source = include_str!("server.rs");
        for flag in FLAGS.iter().filter(|flag| flag.scope != Scope::Retired && flag.group != 9) {
            assert!(source.contains(&format!("\"{}\"", flag.name)), "{} is read by nothing", flag.name);
        }
        let body = source.split("fn typed").nth(1).unwrap().split("/// Values that upstream").next().unwrap();
        for name in body.replace("has(\"", "").split("(\"").skip(1).filter_map(|rest| rest.split('"').next())
        {
            assert!(find(name).is_some(), "{name} is no flag");
        }
        for flag in FLAGS {
            assert_eq!(std::mem::discriminant(&value::default(flag)), discriminant_of(flag), "{}", flag.name);
        }
    }

    fn discriminant_of(flag: &super::super::table::Flag) -> std::mem::Discriminant<Value> {
        use super::super::table::Kind as K;
        std::mem::discriminant(&match flag.kind {
            K::Text | K::Words(_) | K::LogLevel => Value::Text(String::new()),
            K::Switch => Value::Switch(false),
            K::Int => Value::Int(0),
            K::Float => Value::Float(0.0),
            K::Duration | K::GoDuration => Value::Duration(Duration::ZERO),
            K::Bytes => Value::Bytes(0),
            K::Messages | K::Texts => Value::Texts(Vec::new()),
        })
    }

    /// The list of a real Prometheus 3.15 that was started with the same flags.
    #[test]
    fn flags_print_as_a_real_server_prints_them() {
        let golden: serde_json::Value =
            serde_json::from_str(include_str!("../../testdata/flags-3.15.json")).unwrap();
        for run in golden.as_array().unwrap() {
            let line: Vec<&str> =
                run["args"].as_array().unwrap().iter().map(|a| a.as_str().unwrap()).collect();
            let mut args = args(&line);
            args.settle(&Config::parse("", &args.load_options()).unwrap());
            let want: BTreeMap<String, String> = serde_json::from_value(run["flags"].clone()).unwrap();
            assert_eq!(args.flags_map(), want, "{line:?}");
        }
    }

    #[test]
    fn prefix_follows_the_external_url() {
        for (line, want) in [
            (&["--web.external-url=http://x/prom/"][..], "/prom"),
            (&["--web.external-url=http://x"], "/"),
            (&["--web.external-url=/sub"], "/sub"),
            (&["--web.external-url=http://x/a", "--web.route-prefix=/"], "/"),
            (&["--web.route-prefix=b/"], "/b"),
        ] {
            assert_eq!(args(line).web_route_prefix, want, "{line:?}");
        }
    }

    #[test]
    fn settles_on_the_configs_retention() {
        for (line, yaml, time, block) in [
            (&[][..], "", "15d", "1d12h"),
            (&["--storage.tsdb.retention.time=5d"], "", "5d", "12h"),
            (&["--storage.tsdb.retention.size=1GB"], "", "0s", "31d"),
            (&["--storage.tsdb.retention.time=5d"], "storage: {tsdb: {retention: {time: 2y}}}", "2y", "31d"),
            (&["--storage.tsdb.max-block-duration=3h"], "", "15d", "3h"),
        ] {
            let mut args = args(line);
            let config = Config::parse(yaml, &args.load_options()).unwrap();
            args.settle(&config);
            let map = args.flags_map();
            assert_eq!(
                (
                    map["storage.tsdb.retention.time"].as_str(),
                    map["storage.tsdb.max-block-duration"].as_str()
                ),
                (time, block),
                "{line:?}"
            );
        }
    }

    #[test]
    fn features_change_the_defaults_of_the_config() {
        let args = args(&["--enable-feature=extra-scrape-metrics,st-storage"]);
        let config = Config::parse("scrape_configs: [{job_name: a}]", &args.load_options()).unwrap();
        let job = &config.scrape_configs[0];
        assert_eq!(
            (job.scrape_protocols[0], job.extra_scrape_metrics()),
            (ScrapeProtocol::PrometheusProto, true)
        );
    }
}
