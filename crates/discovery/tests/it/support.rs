//! A running manager and what it says.

use std::collections::BTreeMap;
use std::time::Duration;

use config::SdConfigs;
use discovery::dns::DnsServers;
use discovery::{Manager, Metrics, Options, TargetSets};
use model::TargetGroup;
use telemetry::Registry;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Longest wait for something that must happen; a loaded machine gets its time.
const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) struct Running {
    pub(crate) manager: Manager,
    sets: mpsc::Receiver<TargetSets>,
    registry: Registry,
    _stop: DropGuard,
}

impl Running {
    pub(crate) fn new() -> Self {
        Running::with_dns(DnsServers::System)
    }

    pub(crate) fn with_dns(dns: DnsServers) -> Self {
        let registry = Registry::new();
        let stop = CancellationToken::new();
        let mut options = Options::new("scrape");
        options.send_pause_max = Duration::from_millis(150);
        options.user_agent = "test-agent".to_string();
        options.dns = dns;
        let (manager, sets) = Manager::new(options, Metrics::new(&registry), stop.clone());
        let runner = manager.clone();
        tokio::spawn(async move { runner.run().await });
        Running { manager, sets, registry, _stop: stop.drop_guard() }
    }

    pub(crate) async fn apply(&self, jobs: &[(&str, SdConfigs)]) {
        self.manager.apply_config(&jobs.iter().map(|(job, sd)| (*job, sd)).collect()).await;
    }

    /// Takes maps until one satisfies.
    pub(crate) async fn until(&mut self, what: &str, good: impl Fn(&TargetSets) -> bool) -> TargetSets {
        let mut last = None;
        let wait = async {
            loop {
                let sets = self.sets.recv().await.unwrap();
                if good(&sets) {
                    return sets;
                }
                last = Some(sets);
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(sets) => sets,
            Err(_) => panic!("no map with {what}; the last one was {last:#?}"),
        }
    }

    /// Takes maps until a job has these addresses.
    pub(crate) async fn until_addresses(&mut self, job: &str, want: &[&str]) -> TargetSets {
        self.until(&format!("{job}: {want:?}"), |sets| addresses(sets, job) == want).await
    }

    /// Fails if a map comes within the time.
    pub(crate) async fn nothing_for(&mut self, time: Duration) {
        if let Ok(sets) = tokio::time::timeout(time, self.sets.recv()).await {
            panic!("unexpected map {sets:#?}");
        }
    }

    /// Value of a counter or gauge with these label values; `None` where it is not there.
    pub(crate) fn figure(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let family = self.registry.gather().into_iter().find(|f| f.name == name)?;
        let metric = family.metrics.iter().find(|m| labels.iter().all(|(n, v)| m.labels.get(n) == *v))?;
        let text = format!("{:?}", metric.data);
        text.strip_prefix("Number(")?.strip_suffix(')')?.parse().ok()
    }
}

pub(crate) fn addresses(sets: &TargetSets, job: &str) -> Vec<String> {
    let groups = sets.get(job).map_or(&[][..], Vec::as_slice);
    let targets = groups.iter().flat_map(|g| &g.targets);
    let mut all: Vec<String> = targets.filter_map(|t| t.get("__address__").map(str::to_string)).collect();
    all.sort();
    all
}

/// All labels of the target with this address.
pub(crate) fn labels(sets: &TargetSets, job: &str, address: &str) -> BTreeMap<String, String> {
    let find = |g: &TargetGroup| {
        let target = g.targets.iter().find(|t| t.get("__address__").is_some_and(|a| a == address))?;
        let mut all = g.labels.clone();
        all.extend(target.iter().map(|(n, v)| (n.to_string(), v.to_string())));
        Some(all)
    };
    sets[job].iter().find_map(|g| find(g)).unwrap()
}
