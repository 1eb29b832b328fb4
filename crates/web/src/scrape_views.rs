//! What the API shows of scraping. A trait, so that tests need no running scrape manager.

use std::time::{Duration, SystemTime};

use model::{Labels, MetricMetadata};

/// One target being scraped.
#[derive(Clone, Debug, Default)]
pub struct TargetView {
    /// Labels before relabeling.
    pub discovered_labels: Labels,
    /// Labels after relabeling, as its series carry them.
    pub labels: Labels,
    /// Address scraped.
    pub url: String,
    /// Error of the last scrape, "" where it went well.
    pub last_error: String,
    /// Start of the last scrape; `None` before the first.
    pub last_scrape: Option<SystemTime>,
    /// How long it took.
    pub last_scrape_duration: Duration,
    /// `up`, `down` or `unknown`.
    pub health: &'static str,
    /// Interval as a Prometheus duration.
    pub interval: String,
    /// Timeout as a Prometheus duration.
    pub timeout: String,
}

/// Targets of one pool.
#[derive(Clone, Debug, Default)]
pub struct PoolTargets {
    /// Name of the pool (the job).
    pub pool: String,
    /// Scraped targets.
    pub active: Vec<TargetView>,
    /// Labels of targets that relabeling dropped, as many as are kept.
    pub dropped: Vec<Labels>,
    /// All targets that relabeling dropped.
    pub dropped_count: usize,
}

/// Metadata of the families of one target.
#[derive(Clone, Debug, Default)]
pub struct TargetMetadata {
    /// The target's labels.
    pub labels: Labels,
    /// By family name, sorted.
    pub families: Vec<(String, MetricMetadata)>,
}

/// Reads the state of scraping.
pub trait ScrapeViews: Send + Sync {
    /// Names of all pools, sorted.
    fn pools(&self) -> Vec<String>;
    /// Targets of each pool, pools sorted by name; only of `pool` where one is given.
    fn targets(&self, pool: Option<&str>) -> Vec<PoolTargets>;
    /// Metadata of each active target, of one family where `metric` is given.
    fn metadata(&self, metric: Option<&str>) -> Vec<TargetMetadata>;
}

impl ScrapeViews for scrape::Manager {
    fn pools(&self) -> Vec<String> {
        self.scrape_pools()
    }

    fn targets(&self, pool: Option<&str>) -> Vec<PoolTargets> {
        let wanted = |name: &str| pool.is_none_or(|p| p == name);
        let mut pools: std::collections::BTreeMap<String, PoolTargets> = std::collections::BTreeMap::new();
        for (name, targets) in self.targets_active().iter().filter(|(n, _)| wanted(n)) {
            let entry = pools.entry(name.clone()).or_default();
            entry.active = targets.iter().map(|t| view(t)).collect();
        }
        for (name, targets) in self.targets_dropped().iter().filter(|(n, _)| wanted(n)) {
            let entry = pools.entry(name.clone()).or_default();
            entry.dropped = targets.iter().map(|t| t.discovered_labels()).collect();
        }
        // Counts are of all pools, as upstream gives them: the filter is for the lists alone.
        for (name, count) in self.targets_dropped_counts() {
            pools.entry(name).or_default().dropped_count = count;
        }
        let named = |(name, mut p): (String, PoolTargets)| {
            p.pool = name;
            p
        };
        pools.into_iter().map(named).collect()
    }

    fn metadata(&self, metric: Option<&str>) -> Vec<TargetMetadata> {
        let of = |t: &scrape::Target| {
            let mut families: Vec<_> = match metric {
                None => t.metadata().into_iter().map(|m| (m.family, m.metadata)).collect(),
                Some(name) => t.metadata_of(name).map(|m| (name.to_string(), m)).into_iter().collect(),
            };
            families.sort_by(|a, b| a.0.cmp(&b.0));
            TargetMetadata { labels: t.labels().clone(), families }
        };
        self.targets_active().values().flatten().map(|t| of(t)).collect()
    }
}

fn view(t: &scrape::Target) -> TargetView {
    let status = t.status();
    TargetView {
        discovered_labels: t.discovered_labels(),
        labels: t.labels().clone(),
        url: t.url().to_string(),
        last_error: status.last_error.to_string(),
        last_scrape: status.last_scrape.map(|since| SystemTime::UNIX_EPOCH + since),
        last_scrape_duration: status.last_scrape_duration,
        health: status.health.as_str(),
        interval: t.interval_text().to_string(),
        timeout: t.timeout_text().to_string(),
    }
}
