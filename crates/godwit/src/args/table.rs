//! All flags of the server.

/// What a flag's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A switch: `--x` or `--no-x`, never with a value.
    Switch,
    /// An integer; `5e7` is one.
    Int,
    /// A decimal number.
    Float,
    /// `15d`, `1h30m`: the units of the config file.
    Duration,
    /// Go's own duration form: `2ms`, `1.5s`.
    GoDuration,
    /// `512MB`, powers of 1024.
    Bytes,
    /// One of these words.
    Words(&'static [&'static str]),
    /// A severity.
    LogLevel,
    /// Remote write messages; each at most once.
    Messages,
    /// Texts; the flag may be repeated.
    Texts,
}

/// In which mode a flag has a meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Both.
    Any,
    /// Server mode only.
    Server,
    /// Agent mode only.
    Agent,
    /// Retired by upstream: accepted with a warning, not listed in `/api/v1/status/flags`.
    Retired,
    /// godwit's own: not listed in `/api/v1/status/flags` unless given.
    Own,
}

/// Headings of the help, in their order.
pub const GROUPS: &[&str] = &[
    "Configuration",
    "Web",
    "Storage",
    "Queries",
    "Rules and alerts",
    "Scraping",
    "Remote read and write",
    "Agent mode",
    "Log",
    "Accepted for compatibility",
];

/// One flag.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Without the dashes.
    pub name: &'static str,
    /// Value.
    pub kind: Kind,
    /// Value where it is not given.
    pub default: &'static str,
    /// Left out of `--help`, shown by `--help-long`.
    pub hidden: bool,
    /// Mode.
    pub scope: Scope,
    /// Index in [`GROUPS`].
    pub group: usize,
    /// What it does, for a reader who does not know.
    pub help: &'static str,
}

const fn flag(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    scope: Scope,
    group: usize,
    help: &'static str,
) -> Flag {
    Flag { name, kind, default, hidden: false, scope, group, help }
}

const fn hidden(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    scope: Scope,
    group: usize,
    help: &'static str,
) -> Flag {
    Flag { name, kind, default, hidden: true, scope, group, help }
}

const COMPRESSIONS: &[&str] = &["snappy", "zstd"];

use Kind as K;
use Scope::{Agent, Any, Own, Retired, Server};

/// Every flag.
pub const FLAGS: &[Flag] = &[
    // Configuration
    flag("config.file", K::Text, "prometheus.yml", Any, 0, "The configuration file."),
    flag(
        "config.auto-reload",
        K::Switch,
        "false",
        Any,
        0,
        "Watch the configuration and the files it names, and reload when they change.",
    ),
    flag(
        "config.auto-reload-interval",
        K::Duration,
        "30s",
        Any,
        0,
        "How often to look for changes with --config.auto-reload (at least 1s).",
    ),
    flag(
        "enable-feature",
        K::Texts,
        "",
        Any,
        0,
        "Features to switch on, separated by commas; can be repeated. An unknown name is a warning.",
    ),
    flag(
        "agent",
        K::Switch,
        "false",
        Any,
        0,
        "Only scrape and forward by remote write: no queries, rules or local blocks.",
    ),
    flag(
        "godwit.config",
        K::Text,
        "",
        Own,
        0,
        "godwit's own settings, kept out of prometheus.yml so that other tools can read that.",
    ),
    flag(
        "godwit.hold",
        K::Switch,
        "",
        Own,
        0,
        "Scrape nothing, evaluate no rules and send nothing until `godwit migrate switch`: for a server that is to take over another one. No effect where a migration was released.",
    ),
    // Web
    flag(
        "web.listen-address",
        K::Texts,
        "0.0.0.0:9090",
        Any,
        1,
        "Address of the API and the pages; can be repeated.",
    ),
    flag("web.config.file", K::Text, "", Any, 1, "TLS, users and headers of the listener."),
    flag(
        "web.read-timeout",
        K::Duration,
        "5m",
        Any,
        1,
        "Longest time to read a request, and to keep an idle connection.",
    ),
    flag("web.max-connections", K::Int, "512", Any, 1, "Connections open at once over all addresses."),
    flag(
        "web.max-notifications-subscribers",
        K::Int,
        "16",
        Any,
        1,
        "Browsers that may follow live notifications at once.",
    ),
    flag(
        "web.external-url",
        K::Text,
        "",
        Any,
        1,
        "URL under which users reach this server, for links and alerts. Its path becomes the route prefix.",
    ),
    flag(
        "web.route-prefix",
        K::Text,
        "",
        Any,
        1,
        "Path before all internal routes; that of --web.external-url where not given.",
    ),
    flag("web.user-assets", K::Text, "", Any, 1, "Folder of static files served under /user."),
    flag(
        "web.enable-lifecycle",
        K::Switch,
        "false",
        Any,
        1,
        "Allow reload and shutdown over HTTP (/-/reload, /-/quit).",
    ),
    flag(
        "web.enable-admin-api",
        K::Switch,
        "false",
        Any,
        1,
        "Allow deleting series, cleaning tombstones and snapshots over HTTP.",
    ),
    flag(
        "web.enable-remote-write-receiver",
        K::Switch,
        "false",
        Any,
        1,
        "Accept remote write on /api/v1/write.",
    ),
    flag(
        "web.remote-write-receiver.accepted-protobuf-messages",
        K::Messages,
        "prometheus.WriteRequest,io.prometheus.write.v2.Request",
        Any,
        1,
        "Messages the receiver takes: prometheus.WriteRequest (1.0), io.prometheus.write.v2.Request (2.0); can be repeated.",
    ),
    flag(
        "web.enable-otlp-receiver",
        K::Switch,
        "false",
        Any,
        1,
        "Accept OpenTelemetry metrics on /api/v1/otlp/v1/metrics.",
    ),
    flag(
        "web.console.templates",
        K::Text,
        "consoles",
        Any,
        1,
        "Folder of console templates, served under /consoles.",
    ),
    flag(
        "web.console.libraries",
        K::Text,
        "console_libraries",
        Any,
        1,
        "Folder of libraries of console templates.",
    ),
    flag(
        "web.page-title",
        K::Text,
        "Prometheus Time Series Collection and Processing Server",
        Any,
        1,
        "Title of the pages.",
    ),
    flag(
        "web.cors.origin",
        K::Text,
        ".*",
        Any,
        1,
        "Origins allowed to call the API from a browser; a regular expression for the whole of it.",
    ),
    flag(
        "web.search.max-limit",
        K::Int,
        "10000",
        Server,
        1,
        "Largest limit a search request may ask for; 0 allows any.",
    ),
    // Storage
    flag("storage.tsdb.path", K::Text, "data/", Server, 2, "Folder of the database."),
    flag(
        "storage.tsdb.retention.time",
        K::Duration,
        "0s",
        Server,
        2,
        "How long to keep samples; 15d where neither this nor the size is given. Deprecated: set storage.tsdb.retention.time in the configuration file.",
    ),
    flag(
        "storage.tsdb.retention.size",
        K::Bytes,
        "0B",
        Server,
        2,
        "Bytes of blocks to keep, with a unit such as 512MB. Deprecated: set storage.tsdb.retention.size in the configuration file.",
    ),
    flag(
        "storage.tsdb.no-lockfile",
        K::Switch,
        "false",
        Server,
        2,
        "Do not guard the folder by a lock file.",
    ),
    flag(
        "storage.tsdb.head-chunks-write-queue-size",
        K::Int,
        "0",
        Server,
        2,
        "Chunks queued before they are written to be mapped; 0 writes at once.",
    ),
    flag(
        "storage.tsdb.delay-compact-file.path",
        K::Text,
        "",
        Server,
        2,
        "JSON file of uploaded blocks (a Thanos shipper's): first-level blocks not in it are not compacted yet.",
    ),
    hidden("storage.tsdb.min-block-duration", K::Duration, "2h", Server, 2, "Span of a new block."),
    hidden(
        "storage.tsdb.max-block-duration",
        K::Duration,
        "0s",
        Server,
        2,
        "Longest span of a compacted block; a tenth of the retention time, at most 31d, where not given.",
    ),
    hidden(
        "storage.tsdb.max-block-chunk-segment-size",
        K::Bytes,
        "0B",
        Server,
        2,
        "Largest chunk segment file of a block.",
    ),
    hidden(
        "storage.tsdb.wal-segment-size",
        K::Bytes,
        "0B",
        Server,
        2,
        "Size at which a new segment of the log begins.",
    ),
    hidden(
        "storage.tsdb.allow-overlapping-compaction",
        K::Switch,
        "true",
        Server,
        2,
        "Merge overlapping blocks when compacting.",
    ),
    hidden("storage.tsdb.wal-compression", K::Switch, "true", Server, 2, "Compress the log."),
    hidden(
        "storage.tsdb.wal-compression-type",
        K::Words(COMPRESSIONS),
        "snappy",
        Server,
        2,
        "How to compress the log: snappy or zstd.",
    ),
    hidden("storage.tsdb.samples-per-chunk", K::Int, "120", Server, 2, "Samples aimed at in a chunk."),
    hidden(
        "storage.tsdb.delayed-compaction.max-percent",
        K::Int,
        "10",
        Server,
        2,
        "Longest random delay of a compaction in percent of the block span.",
    ),
    hidden(
        "storage.tsdb.block-reload-interval",
        K::Duration,
        "1m",
        Server,
        2,
        "How often to look for blocks added or removed by others.",
    ),
    // Queries
    flag(
        "query.lookback-delta",
        K::Duration,
        "5m",
        Server,
        3,
        "How far back an instant selector looks for a sample.",
    ),
    flag("query.timeout", K::Duration, "2m", Server, 3, "Longest time of one query."),
    flag("query.max-concurrency", K::Int, "20", Server, 3, "Queries running at once."),
    flag("query.max-samples", K::Int, "50000000", Server, 3, "Samples one query may hold in memory."),
    // Rules and alerts
    flag(
        "rules.alert.for-outage-tolerance",
        K::Duration,
        "1h",
        Server,
        4,
        "Longest outage after which pending alerts take up their old 'for' state.",
    ),
    flag(
        "rules.alert.for-grace-period",
        K::Duration,
        "10m",
        Server,
        4,
        "Least time between a restored 'for' state and the alert.",
    ),
    flag(
        "rules.alert.resend-delay",
        K::Duration,
        "1m",
        Server,
        4,
        "Least time before an alert is sent again.",
    ),
    flag(
        "rules.max-concurrent-evals",
        K::Int,
        "4",
        Server,
        4,
        "Independent rules evaluated at once over all groups.",
    ),
    flag(
        "alertmanager.notification-queue-capacity",
        K::Int,
        "10000",
        Server,
        4,
        "Alerts queued for the Alertmanagers.",
    ),
    flag("alertmanager.notification-batch-size", K::Int, "256", Server, 4, "Alerts in one request."),
    flag(
        "alertmanager.drain-notification-queue-on-shutdown",
        K::Switch,
        "true",
        Server,
        4,
        "Send queued alerts before the process ends.",
    ),
    // Scraping
    hidden(
        "scrape.adjust-timestamps",
        K::Switch,
        "true",
        Any,
        5,
        "Put timestamps that are nearly on schedule exactly on it, which stores smaller.",
    ),
    hidden("scrape.timestamp-tolerance", K::GoDuration, "2ms", Any, 5, "How near is nearly."),
    hidden(
        "scrape.discovery-reload-interval",
        K::Duration,
        "5s",
        Any,
        5,
        "Least time between two updates of the targets.",
    ),
    // Remote
    flag(
        "storage.remote.flush-deadline",
        K::Duration,
        "1m",
        Any,
        6,
        "Longest time to send queued samples at shutdown or reload.",
    ),
    flag(
        "storage.remote.read-sample-limit",
        K::Int,
        "5e7",
        Server,
        6,
        "Samples of one remote read answer that is not streamed; 0 allows any.",
    ),
    flag(
        "storage.remote.read-concurrent-limit",
        K::Int,
        "10",
        Server,
        6,
        "Remote reads at once; 0 allows any.",
    ),
    flag(
        "storage.remote.read-max-bytes-in-frame",
        K::Int,
        "1048576",
        Server,
        6,
        "Bytes of one frame of a streamed remote read answer.",
    ),
    // Agent
    flag("storage.agent.path", K::Text, "data-agent/", Agent, 7, "Folder of the agent's log."),
    flag("storage.agent.wal-compression", K::Switch, "true", Agent, 7, "Compress the log."),
    flag(
        "storage.agent.retention.min-time",
        K::Duration,
        "5m",
        Agent,
        7,
        "Age from which samples may be dropped when the log is cut.",
    ),
    flag(
        "storage.agent.retention.max-time",
        K::Duration,
        "4h",
        Agent,
        7,
        "Age from which samples are dropped in any case.",
    ),
    flag(
        "storage.agent.checkpoint-from-in-memory-series",
        K::Switch,
        "false",
        Agent,
        7,
        "Make checkpoints out of the series in memory only.",
    ),
    flag(
        "storage.agent.checkpoint-batch-size",
        K::Int,
        "1000",
        Agent,
        7,
        "Entries of one record of such a checkpoint.",
    ),
    flag(
        "storage.agent.no-lockfile",
        K::Switch,
        "false",
        Agent,
        7,
        "Do not guard the folder by a lock file.",
    ),
    hidden(
        "storage.agent.wal-segment-size",
        K::Bytes,
        "0B",
        Agent,
        7,
        "Size at which a new segment of the log begins.",
    ),
    hidden(
        "storage.agent.wal-compression-type",
        K::Words(COMPRESSIONS),
        "snappy",
        Agent,
        7,
        "How to compress the log: snappy or zstd.",
    ),
    hidden("storage.agent.wal-truncate-frequency", K::Duration, "0s", Agent, 7, "How often the log is cut."),
    // Log
    flag(
        "log.level",
        K::LogLevel,
        "info",
        Any,
        8,
        "Least severity logged: debug, info, warn, error. runtime.log_level of the configuration file goes before.",
    ),
    flag("log.format", K::Words(&["logfmt", "json"]), "logfmt", Any, 8, "Form of the log: logfmt or json."),
    // Compatibility
    flag(
        "auto-gomaxprocs",
        K::Switch,
        "true",
        Any,
        9,
        "Upstream's Go runtime only: no effect, the CPU quota is always obeyed.",
    ),
    flag(
        "auto-gomemlimit",
        K::Switch,
        "true",
        Any,
        9,
        "Upstream's Go runtime only: no effect, see memory_budget of --godwit.config.",
    ),
    flag("auto-gomemlimit.ratio", K::Float, "0.9", Any, 9, "Upstream's Go runtime only: checked, no effect."),
    flag(
        "auto-gomemlimit.refresh-interval",
        K::Duration,
        "0s",
        Any,
        9,
        "Upstream's Go runtime only: no effect.",
    ),
    hidden("write-documentation", K::Switch, "false", Any, 9, "Print all flags, as --help-long."),
    hidden(
        "storage.tsdb.retention",
        K::Duration,
        "0s",
        Retired,
        9,
        "Retired in 3.0. Taken as --storage.tsdb.retention.time where that is not given.",
    ),
    hidden(
        "storage.tsdb.allow-overlapping-blocks",
        K::Switch,
        "true",
        Retired,
        9,
        "Retired in 3.0. No effect: overlapping blocks are always allowed.",
    ),
    hidden(
        "alertmanager.timeout",
        K::GoDuration,
        "10s",
        Retired,
        9,
        "Retired in 3.0. No effect: set alerting.alertmanagers.timeout in the configuration file.",
    ),
    hidden(
        "web.local-assets",
        K::Text,
        "",
        Retired,
        9,
        "Of Debian's packages only. No effect: the pages are built in.",
    ),
];

/// A flag by name.
#[must_use]
pub fn find(name: &str) -> Option<&'static Flag> {
    FLAGS.iter().find(|flag| flag.name == name)
}
