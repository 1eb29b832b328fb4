//! A manager with a store, fed by hand instead of by discovery.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use config::{Config, LoadOptions};
use model::clock::SystemClock;
use model::{Labels, MatchOp, Matcher, TargetGroup};
use scrape::{Manager, Options, Target, TargetSets};
use storage::memory::MemoryStore;
use storage::{QueryContext, Queryable as _, SampleBuf, SelectHints};
use telemetry::Registry;
use tokio::sync::mpsc;

pub(crate) struct Rig {
    pub(crate) manager: Manager,
    pub(crate) store: MemoryStore,
    pub(crate) registry: Registry,
    groups: mpsc::Sender<TargetSets>,
}

pub(crate) fn options() -> Options {
    Options {
        version: "3.15.0".to_string(),
        discovery_reload_interval: Duration::from_millis(50),
        fqdn: Some("test".to_string()),
        // What happens at the same time happens on one thread: a machine that stalls is seen as one.
        threads: 0,
        ..Options::default()
    }
}

impl Rig {
    pub(crate) async fn new(yaml: &str) -> Rig {
        Rig::with_options(yaml, options()).await
    }

    pub(crate) async fn with_options(yaml: &str, options: Options) -> Rig {
        let (store, registry) = (MemoryStore::new(), Registry::new());
        let manager = Manager::new(Arc::new(store.clone()), &registry, Arc::new(SystemClock), options);
        let (groups, received) = mpsc::channel(4);
        let running = manager.clone();
        tokio::spawn(async move { running.run(received).await });
        let rig = Rig { manager, store, registry, groups };
        rig.configure(yaml).await;
        rig
    }

    /// One job `j` of 200 ms with more settings, and these targets.
    pub(crate) async fn job(settings: &str, addresses: &[&str]) -> Rig {
        let rig = Rig::new(&job_yaml(settings)).await;
        rig.targets("j", addresses).await;
        rig
    }

    pub(crate) async fn configure(&self, yaml: &str) {
        let load = LoadOptions::default();
        let config = Config::parse(yaml, &load).unwrap();
        let jobs = config.scrape_configs_all(&load).unwrap();
        self.manager.apply_config(&config, jobs).await.unwrap();
    }

    pub(crate) async fn targets(&self, job: &str, addresses: &[&str]) {
        let target = |a: &&str| model::target_group::TargetLabels::address(a);
        let group = TargetGroup {
            targets: addresses.iter().map(target).collect(),
            labels: BTreeMap::new(),
            source: "test/0".to_string(),
        };
        self.groups(HashMap::from([(job.to_string(), vec![group.into()])])).await;
    }

    pub(crate) async fn groups(&self, sets: TargetSets) {
        self.groups.send(sets).await.unwrap();
    }

    pub(crate) fn active(&self) -> Vec<Arc<Target>> {
        self.manager.targets_active().into_values().flatten().collect()
    }

    /// Series of a name, by their labels, with all their samples.
    pub(crate) fn series(&self, name: &str) -> BTreeMap<Labels, Vec<(i64, f64)>> {
        let querier = self.store.querier(i64::MIN, i64::MAX).unwrap();
        let matcher = Matcher::new(MatchOp::Equal, "__name__", name).unwrap();
        let ctx = QueryContext::unlimited();
        let set = querier.select(&ctx, true, &SelectHints::default(), &[matcher]).unwrap();
        let samples = |s: &Arc<dyn storage::Series>| {
            let mut buf = SampleBuf::default();
            s.read(i64::MIN, i64::MAX, &mut buf).unwrap();
            (s.labels().clone(), buf.times.into_iter().zip(buf.values).collect())
        };
        set.series.iter().map(samples).collect()
    }

    /// The newest value of every series.
    pub(crate) fn last_values(&self) -> Vec<(Labels, f64)> {
        let querier = self.store.querier(i64::MIN, i64::MAX).unwrap();
        let matcher = Matcher::new(MatchOp::NotEqual, "__name__", "").unwrap();
        let ctx = QueryContext::unlimited();
        let set = querier.select(&ctx, true, &SelectHints::default(), &[matcher]).unwrap();
        let last = |s: &Arc<dyn storage::Series>| {
            let mut buf = SampleBuf::default();
            s.read(i64::MIN, i64::MAX, &mut buf).unwrap();
            buf.values.last().map(|v| (s.labels().clone(), *v))
        };
        set.series.iter().filter_map(last).collect()
    }

    /// Values of the only series of a name.
    pub(crate) fn values(&self, name: &str) -> Vec<f64> {
        let series = self.series(name);
        assert!(series.len() <= 1, "{name}: {:?}", series.keys());
        series.into_values().flatten().map(|(_, v)| v).collect()
    }

    pub(crate) fn metric(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|f| f.name == name);
        let number = |m: &exposition::Metric| match m.data {
            exposition::MetricData::Number(v) => v,
            exposition::MetricData::Summary { count, .. }
            | exposition::MetricData::Histogram { count, .. } => count as f64,
            exposition::MetricData::Native(_) => f64::NAN,
        };
        family.map_or(f64::NAN, |f| f.metrics.iter().map(number).sum())
    }
}

pub(crate) fn job_yaml(settings: &str) -> String {
    format!("scrape_configs:\n- job_name: j\n  scrape_interval: 200ms\n  scrape_timeout: 150ms\n{settings}")
}

/// Waits until something holds, at most a minute.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

pub(crate) fn is_stale(v: f64) -> bool {
    model::is_stale_nan(v)
}
