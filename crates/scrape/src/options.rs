//! Settings of the scrape manager that come from flags, not from the configuration file.

use std::time::Duration;

/// Flags and sizes the manager runs with. `Default` is what the server runs without flags.
#[derive(Clone, Debug)]
pub struct Options {
    /// Version in `User-Agent: Prometheus/<version>`.
    pub version: String,
    /// Target group updates are applied at most this often (upstream: 5 s).
    pub discovery_reload_interval: Duration,
    /// Apply the very first target groups at once instead of after `discovery_reload_interval`.
    pub discovery_reload_on_startup: bool,
    /// Added to each target's own offset before its first scrape.
    pub initial_scrape_offset: Duration,
    /// Scrape each target once more when the manager stops.
    pub scrape_on_shutdown: bool,
    /// Feature `metadata-wal-records`: hand metadata to the store.
    pub append_metadata: bool,
    /// Feature `created-timestamp-zero-ingestion`.
    pub start_timestamp_zero_ingestion: bool,
    /// Feature `st-storage`: parse and store start timestamps.
    pub parse_start_timestamps: bool,
    /// Feature `zstd-scrape`: ask for and take zstd bodies.
    pub zstd_scrape: bool,
    /// Feature `type-and-unit-labels`.
    pub type_and_unit_labels: bool,
    /// Align sample times to the scrape grid (`--scrape.adjust-timestamps`).
    pub align_timestamps: bool,
    /// How far a scrape may be off the grid and still be aligned (`--scrape.timestamp-tolerance`); at most
    /// 1 % of the interval is used.
    pub timestamp_tolerance: Duration,
    /// Fully qualified host name, part of the offset seed; looked up where `None`.
    pub fqdn: Option<String>,
    /// Scrape nothing before [`crate::Manager::take_duty`].
    pub held: bool,
    /// Memory bounds for response bodies.
    pub bodies: net::BodyLimits,
    /// Bodies up to this many bytes are ingested on the task's own thread, larger ones on a blocking
    /// thread. 512 KiB is about 4,000 samples: 0.2 ms warm and 2.5 ms for a first scrape, below what other
    /// tasks of that thread notice, while a hand-over costs 10-50 µs of CPU.
    pub inline_ingest_bytes_max: usize,
    /// Threads that do nothing but scrape; 0 scrapes on the runtime that the manager is called on.
    pub threads: usize,
    /// The store takes nothing before [`crate::Manager::store_opened`]; scrapes are held in memory until then.
    pub store_opens_later: bool,
    /// Bytes of these, compressed, in all: a sample is some 6, so that 32 MiB are five million. What is
    /// more is given up and counted.
    pub held_bytes_max: usize,
    /// Asks how much memory is used: at 80 % of the budget no more targets are started.
    pub memory: Option<storage::MemoryProbe>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            version: String::from(env!("CARGO_PKG_VERSION")),
            discovery_reload_interval: Duration::from_secs(5),
            discovery_reload_on_startup: true,
            initial_scrape_offset: Duration::ZERO,
            scrape_on_shutdown: false,
            append_metadata: false,
            start_timestamp_zero_ingestion: false,
            parse_start_timestamps: false,
            zstd_scrape: false,
            type_and_unit_labels: false,
            align_timestamps: true,
            timestamp_tolerance: Duration::from_millis(2),
            fqdn: None,
            held: false,
            bodies: net::BodyLimits::default(),
            inline_ingest_bytes_max: 512 << 10,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            store_opens_later: false,
            held_bytes_max: 32 << 20,
            memory: None,
        }
    }
}
