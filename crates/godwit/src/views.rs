//! The scrape manager as the API shows it: copies made when someone looks, nothing kept.

use std::time::{Duration, UNIX_EPOCH};

use scrape::{Manager, Target};
use web::{PoolTargets, ScrapeViews, TargetMetadata, TargetView};

/// Reads the manager's state for the API.
pub struct ManagerViews(pub Manager);

impl ScrapeViews for ManagerViews {
    fn pools(&self) -> Vec<String> {
        self.0.scrape_pools()
    }

    fn targets(&self, pool: Option<&str>) -> Vec<PoolTargets> {
        let mut dropped = self.0.targets_dropped();
        let counts = self.0.targets_dropped_counts();
        let active = self.0.targets_active().into_iter().filter(|(name, _)| pool.is_none_or(|p| p == name));
        let view = |(name, targets): (String, Vec<std::sync::Arc<Target>>)| PoolTargets {
            active: targets.iter().map(|t| target(t)).collect(),
            dropped: dropped
                .remove(&name)
                .unwrap_or_default()
                .iter()
                .map(|t| t.discovered_labels())
                .collect(),
            dropped_count: counts.get(&name).copied().unwrap_or_default(),
            pool: name,
        };
        active.map(view).collect()
    }

    fn metadata(&self, metric: Option<&str>) -> Vec<TargetMetadata> {
        let families = |target: &Target| match metric {
            Some(name) => target.metadata_of(name).map(|m| (name.to_string(), m)).into_iter().collect(),
            None => {
                let mut all: Vec<_> = target.metadata().into_iter().map(|e| (e.family, e.metadata)).collect();
                all.sort_by(|a, b| a.0.cmp(&b.0));
                all
            }
        };
        let of =
            |t: std::sync::Arc<Target>| TargetMetadata { labels: t.labels().clone(), families: families(&t) };
        self.0.targets_active().into_values().flatten().map(of).collect()
    }
}

fn target(target: &Target) -> TargetView {
    let status = target.status();
    TargetView {
        discovered_labels: target.discovered_labels(),
        labels: target.labels().clone(),
        url: target.url().to_string(),
        last_error: status.last_error.to_string(),
        last_scrape: status.last_scrape.map(|since: Duration| UNIX_EPOCH + since),
        last_scrape_duration: status.last_scrape_duration,
        health: status.health.as_str(),
        interval: target.interval_text().to_string(),
        timeout: target.timeout_text().to_string(),
    }
}
