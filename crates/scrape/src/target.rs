//! A target: its labels before and after relabeling, its URL, its place in time, and how its last scrape
//! went. Follows upstream's `scrape/target.go`; [`Target::hash`] and [`Target::offset`] are bit-exact with
//! it, so that a server that takes over scrapes at the same phase.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use config::ScrapeConfig;
use model::gourl::{self, GoUrl};
use model::{Labels, TargetGroup};
use parking_lot::{Mutex, RwLock};

use crate::ingest::{MetadataEntry, TargetMetadata};

/// Label with a target's host and port.
pub(crate) const ADDRESS_LABEL: &str = "__address__";
/// Label with a target's scheme.
pub(crate) const SCHEME_LABEL: &str = "__scheme__";
/// Label with a target's path.
pub(crate) const METRICS_PATH_LABEL: &str = "__metrics_path__";
/// Label with a target's scrape interval.
pub(crate) const SCRAPE_INTERVAL_LABEL: &str = "__scrape_interval__";
/// Label with a target's scrape timeout.
pub(crate) const SCRAPE_TIMEOUT_LABEL: &str = "__scrape_timeout__";
/// Prefix of labels that hold URL parameters.
pub(crate) const PARAM_LABEL_PREFIX: &str = "__param_";
/// Prefix of labels that are dropped after relabeling.
pub(crate) const META_LABEL_PREFIX: &str = "__meta_";
/// Prefix of labels that are not part of a target's public labels.
pub(crate) const RESERVED_LABEL_PREFIX: &str = "__";
/// Label that names a Unix socket to connect to instead of `__address__`.
pub(crate) const UNIX_SOCKET_LABEL: &str = "__unix_socket__";
/// Label that decides whether classic histograms are converted.
pub(crate) const CONVERT_CLASSIC_LABEL: &str = "__convert_classic_histograms_to_nhcb__";
/// Label that decides whether classic histograms are kept beside native ones.
pub(crate) const ALWAYS_CLASSIC_LABEL: &str = "__always_scrape_classic_histograms__";
/// Label that decides whether native histograms are taken.
pub(crate) const NATIVE_LABEL: &str = "__scrape_native_histograms__";

/// How the last scrape went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetHealth {
    /// Not scraped yet.
    #[default]
    Unknown,
    /// Last scrape succeeded.
    Up,
    /// Last scrape failed.
    Down,
}

impl TargetHealth {
    /// `unknown`, `up` or `down`, as in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            TargetHealth::Unknown => "unknown",
            TargetHealth::Up => "up",
            TargetHealth::Down => "down",
        }
    }
}

impl fmt::Display for TargetHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Result of the last scrape, as the API shows it.
#[derive(Clone, Debug, Default)]
pub struct ScrapeStatus {
    /// Health.
    pub health: TargetHealth,
    /// Error text, "" where the last scrape succeeded.
    pub last_error: Arc<str>,
    /// Start of the last scrape since the Unix epoch; `None` before the first.
    pub last_scrape: Option<Duration>,
    /// How long it took.
    pub last_scrape_duration: Duration,
}

/// Where a target came from; replaced on each sync, for the service discovery page. It points into the
/// groups as they were received, so that discovered labels are held once.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) config: Arc<ScrapeConfig>,
    pub(crate) groups: Arc<Vec<Arc<TargetGroup>>>,
    pub(crate) group: usize,
    pub(crate) index: usize,
}

impl Origin {
    fn discovered(&self) -> Labels {
        let Some(group) = self.groups.get(self.group) else { return Labels::empty() };
        let Some(own) = group.targets.get(self.index) else { return Labels::empty() };
        let mut builder = model::LabelsBuilder::new();
        crate::populate::discovered(&mut builder, &self.config, own, &group.labels);
        builder.build()
    }
}

/// One endpoint that is scraped, or one that relabeling dropped (then [`Target::labels`] is empty).
#[derive(Debug)]
pub struct Target {
    labels: Labels,
    public: Labels,
    hash: u64,
    origin: RwLock<Origin>,
    status: Mutex<ScrapeStatus>,
    metadata: RwLock<Option<TargetMetadata>>,
}

impl Target {
    pub(crate) fn new(labels: Labels, origin: Origin) -> Self {
        let public = labels.filtered(|name| !name.starts_with(RESERVED_LABEL_PREFIX));
        let hash = hash_of(&labels, &url_of(&labels, &origin.config.params));
        Target {
            labels,
            public,
            hash,
            origin: RwLock::new(origin),
            status: Mutex::default(),
            metadata: RwLock::new(None),
        }
    }

    /// Public labels: those put on every sample.
    #[must_use]
    #[allow(clippy::misnamed_getters, reason = "to everyone outside, a target's labels are its public ones")]
    pub fn labels(&self) -> &Labels {
        &self.public
    }

    /// Value of any label after relabeling, internal ones included; "" where absent.
    #[must_use]
    pub fn value(&self, name: &str) -> &str {
        self.labels.get(name)
    }

    /// All labels after relabeling, internal ones included.
    #[must_use]
    pub fn all_labels(&self) -> &Labels {
        &self.labels
    }

    /// Labels before relabeling: discovered ones and the job's defaults.
    #[must_use]
    pub fn discovered_labels(&self) -> Labels {
        let origin = self.origin.read().clone();
        origin.discovered()
    }

    /// The URL that is scraped. Made when asked for: of a hundred thousand targets that would be 20 MB which
    /// nobody looks at between two scrapes.
    #[must_use]
    pub fn url(&self) -> GoUrl {
        url_of(&self.labels, &self.origin.read().config.params)
    }

    /// How the last scrape went.
    #[must_use]
    pub fn status(&self) -> ScrapeStatus {
        self.status.lock().clone()
    }

    /// Scrape interval as the label says it, e.g. `15s`.
    #[must_use]
    pub fn interval_text(&self) -> &str {
        self.labels.get(SCRAPE_INTERVAL_LABEL)
    }

    /// Scrape timeout as the label says it, e.g. `10s`.
    #[must_use]
    pub fn timeout_text(&self) -> &str {
        self.labels.get(SCRAPE_TIMEOUT_LABEL)
    }

    /// Metadata of all metric families of the last scrapes.
    #[must_use]
    pub fn metadata(&self) -> Vec<MetadataEntry> {
        self.metadata.read().as_ref().map(|m| m.list()).unwrap_or_default()
    }

    /// Metadata of one metric family.
    #[must_use]
    pub fn metadata_of(&self, family: &str) -> Option<model::MetricMetadata> {
        self.metadata.read().as_ref().and_then(|m| m.get(family))
    }

    /// Entries and bytes of the metadata held.
    #[must_use]
    pub fn metadata_size(&self) -> (usize, usize) {
        self.metadata.read().as_ref().map_or((0, 0), |m| (m.len(), m.bytes()))
    }

    pub(crate) fn set_metadata(&self, store: TargetMetadata) {
        *self.metadata.write() = Some(store);
    }

    pub(crate) fn set_origin(&self, origin: Origin) {
        *self.origin.write() = origin;
    }

    /// Says why it is not scraped.
    pub(crate) fn wait(&self, reason: &str) {
        self.status.lock().last_error = Arc::from(reason);
    }

    /// `note` says what a scrape that went well left out.
    pub(crate) fn report(&self, start: Duration, took: Duration, error: Option<&str>, note: Option<&str>) {
        let mut status = self.status.lock();
        status.health = if error.is_none() { TargetHealth::Up } else { TargetHealth::Down };
        // A target that keeps failing in the same way keeps its text: no allocation per scrape.
        let text = error.or(note).unwrap_or("");
        if &*status.last_error != text {
            status.last_error = Arc::from(text);
        }
        status.last_scrape = Some(start);
        status.last_scrape_duration = took;
    }

    /// Identity of the target within its pool: FNV-1a over the hash of its labels and its URL.
    #[must_use]
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// What decides which series a scrape of this target gives: its URL and all labels but interval and
    /// timeout.
    pub(crate) fn series_key(&self) -> (Labels, String) {
        let timing = [SCRAPE_INTERVAL_LABEL, SCRAPE_TIMEOUT_LABEL];
        (self.labels.filtered(|name| !timing.contains(&name)), self.url().to_string())
    }

    /// Takes over what is known of a target that this one replaces.
    pub(crate) fn succeed(&self, old: &Target) {
        *self.status.lock() = old.status();
    }

    /// Time from `now` to the target's next place on the time axis, which depends on its identity and the
    /// server's seed only. `interval` must not be zero.
    #[must_use]
    pub fn offset(&self, now: Duration, interval: Duration, seed: u64) -> Duration {
        let interval_ns = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX).max(1);
        let now_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let base = interval_ns - now_ns % interval_ns;
        let offset = (self.hash() ^ seed) % interval_ns;
        let mut next = u128::from(base) + u128::from(offset);
        if next > u128::from(interval_ns) {
            next -= u128::from(interval_ns);
        }
        Duration::from_nanos(u64::try_from(next).unwrap_or(u64::MAX))
    }

    /// Interval and timeout of the labels, as relabeling left them.
    ///
    /// # Errors
    /// A label that is no duration (validated at creation, so not to be expected).
    pub(crate) fn interval_and_timeout(&self) -> Result<(Duration, Duration), String> {
        let read = |what: &str, label: &str| {
            let text = self.labels.get(label);
            model::duration::parse(text).map_err(|e| format!("error parsing {what} label {text:?}: {e}"))
        };
        Ok((read("interval", SCRAPE_INTERVAL_LABEL)?, read("timeout", SCRAPE_TIMEOUT_LABEL)?))
    }

    /// A boolean label, or `default` where it is unset or no boolean.
    pub(crate) fn bool_label(&self, name: &str, default: bool) -> bool {
        parse_bool(self.labels.get(name)).unwrap_or(default)
    }
}

/// As Go's `strconv.ParseBool`.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Active or dropped targets by pool.
pub type TargetsByPool = BTreeMap<String, Vec<Arc<Target>>>;

/// 64-bit FNV-1a, as Go's `hash/fnv`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fnv1a(u64);

impl Default for Fnv1a {
    fn default() -> Self {
        Fnv1a(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv1a {
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.0 = (self.0 ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    pub(crate) fn finish(self) -> u64 {
        self.0
    }
}

fn hash_of(labels: &Labels, url: &GoUrl) -> u64 {
    let mut h = Fnv1a::default();
    h.write(format!("{:016}", labels.hash()).as_bytes());
    h.write(url.to_string().as_bytes());
    h.finish()
}

/// The URL of a target's labels; `__param_x` labels replace the first value of the job's parameter `x`.
fn url_of<'a, P>(labels: &'a Labels, params: P) -> GoUrl
where
    P: IntoIterator<Item = (&'a String, &'a Vec<String>)>,
{
    let mut all: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (key, values) in params {
        all.insert(key, values.iter().map(String::as_str).collect());
    }
    for (name, value) in labels {
        let Some(key) = name.strip_prefix(PARAM_LABEL_PREFIX) else { continue };
        let values = all.entry(key).or_default();
        match values.first_mut() {
            Some(first) => *first = value,
            None => values.push(value),
        }
    }
    let mut host = labels.get(ADDRESS_LABEL);
    if host.is_empty() && !labels.get(UNIX_SOCKET_LABEL).is_empty() {
        host = "localhost";
    }
    GoUrl {
        scheme: labels.get(SCHEME_LABEL).to_string(),
        host: host.to_string(),
        path: labels.get(METRICS_PATH_LABEL).to_string(),
        query: gourl::encode_query(&all),
    }
}
