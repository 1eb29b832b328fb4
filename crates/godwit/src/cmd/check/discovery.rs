//! `check service-discovery`: what a job's discovery finds, and what relabeling makes of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::{Config, LoadOptions, ScrapeConfig, SdConfigs};
use model::{Labels, LabelsBuilder, TargetGroup};
use serde_json::{Value, json};
use telemetry::Registry;
use tokio_util::sync::CancellationToken;

use crate::cmd::flags::Found;
use crate::cmd::group::{Failed, emit};
use crate::cmd::query::go_json;

/// How long nothing new must come before what was found counts as all there is. promtool always waits for
/// the whole of `--timeout`.
const QUIET: Duration = Duration::from_secs(2);

pub(super) fn run(found: &Found) -> Result<u8, Failed> {
    let job = job(found.arg(0), found.arg(1))?;
    let timeout = found.duration("timeout").map_err(Failed::usage)?.unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let groups = runtime.block_on(discover(&job, timeout));
    // A mechanism that waits for an answer is not waited for.
    runtime.shutdown_background();
    let mut results: Vec<Value> = Vec::new();
    for group in groups {
        for result in group.targets.iter().map(|own| populated(&job, own, &group)) {
            if !results.contains(&result) {
                results.push(result);
            }
        }
    }
    let text = serde_json::to_string_pretty(&results).map_err(|e| Failed::Work(e.to_string()))?;
    emit(&go_json(&text))
}

fn job(file: &str, name: &str) -> Result<Arc<ScrapeConfig>, Failed> {
    let options = LoadOptions::default();
    let config = Config::load_file(Path::new(file), &options)
        .map_err(|e| Failed::Work(format!("Cannot load config {e}")))?;
    let jobs = config
        .scrape_configs_all(&options)
        .map_err(|e| Failed::Work(format!("Cannot load scrape configs {e}")))?;
    if let Some(job) = jobs.iter().find(|job| job.job_name == name) {
        return Ok(Arc::clone(job));
    }
    let names: String = jobs.iter().map(|job| format!("\n\t{}", job.job_name)).collect();
    Err(Failed::Work(format!("Job {name} not found. Select one of:{names}")))
}

/// Mechanisms that have to ask somebody: one of them may answer long after another.
fn asks(sd: &SdConfigs) -> usize {
    discovery::provider::ProviderConfig::list(sd)
        .iter()
        .filter(|p| !["static", "file"].contains(&p.mechanism()))
        .count()
}

async fn discover(job: &ScrapeConfig, timeout: Duration) -> Vec<Arc<TargetGroup>> {
    let stop = CancellationToken::new();
    let metrics = discovery::Metrics::new(&Registry::new());
    let (manager, mut sets) =
        discovery::Manager::new(discovery::Options::new("scrape"), metrics, stop.clone());
    let running = tokio::spawn({
        let manager = manager.clone();
        async move { manager.run().await }
    });
    manager.apply_config(&BTreeMap::from([(job.job_name.as_str(), &job.sd)])).await;
    let (until, patient) = (Instant::now() + timeout, asks(&job.sd) > 1);
    let mut found: Vec<Arc<TargetGroup>> = Vec::new();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let wait = if patient || found.iter().all(|g| g.targets.is_empty()) { left } else { left.min(QUIET) };
        match tokio::time::timeout(wait, sets.recv()).await {
            Ok(Some(mut all)) => found = all.remove(&job.job_name).unwrap_or_default(),
            Ok(None) | Err(_) => break,
        }
    }
    stop.cancel();
    running.abort();
    found
}

fn object(labels: &Labels) -> Value {
    labels
        .iter()
        .map(|(name, value)| (name.to_string(), json!(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn populated(job: &ScrapeConfig, own: &model::target_group::TargetLabels, group: &TargetGroup) -> Value {
    let mut builder = LabelsBuilder::new();
    scrape::populate::discovered(&mut builder, job, own, &group.labels);
    let discovered = builder.build();
    let mut result = json!({ "discoveredLabels": object(&discovered), "labels": {} });
    match scrape::populate::populate(&mut builder, job, own, &group.labels) {
        Ok(Some(labels)) => result["labels"] = object(&labels),
        Ok(None) => {}
        // promtool prints an empty object here.
        Err(error) => result["error"] = json!(error),
    }
    result
}
