//! Reloading: one configuration is read whole, then handed to each part in a fixed order; where a part
//! refuses, those before it get the old one back, so that the old configuration stays in force everywhere.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use config::{Config, GodwitSettings, ScrapeConfig};
use telemetry::{Gauge, Registry};
use tokio::sync::Mutex;
use tsdb::compact::KeepRule;

type Applied = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;
type Apply = Box<dyn Fn(Arc<Loaded>) -> Applied + Send + Sync>;
type Read = Box<dyn Fn(Option<&Loaded>) -> Result<Loaded, String> + Send + Sync>;

/// One reading of the configuration: every part gets the very same.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The main file.
    pub config: Config,
    /// Its jobs and those of `scrape_config_files`.
    pub jobs: Vec<Arc<ScrapeConfig>>,
    /// godwit's own settings; those of `storage.retention` and the like can change while running.
    pub settings: GodwitSettings,
    /// `storage.retention` of these, with selectors read.
    pub keep: Vec<KeepRule>,
}

impl Loaded {
    /// Jobs that did not change are those of the configuration before: one of each is held.
    fn keep_jobs_of(&mut self, old: &Loaded) {
        let old: HashMap<&str, &Arc<ScrapeConfig>> =
            old.jobs.iter().map(|job| (job.job_name.as_str(), job)).collect();
        for job in self.config.scrape_configs.iter_mut().chain(&mut self.jobs) {
            if let Some(same) = old.get(job.job_name.as_str()).filter(|same| **same == job) {
                *job = Arc::clone(same);
            }
        }
    }
}

struct Step {
    name: &'static str,
    apply: Apply,
}

/// The ordered table of parts, and the configuration in force.
pub struct Reloader {
    read: Read,
    steps: Vec<Step>,
    in_force: Mutex<Option<Arc<Loaded>>>,
    successful: Gauge,
    succeeded_at: Gauge,
}

impl Reloader {
    /// A table without parts. `read` gives the configuration as it is on disk now, or the reason why not; it gets the
    /// one in force.
    pub fn new(
        read: impl Fn(Option<&Loaded>) -> Result<Loaded, String> + Send + Sync + 'static,
        registry: &Registry,
    ) -> Self {
        Reloader {
            read: Box::new(read),
            steps: Vec::new(),
            in_force: Mutex::default(),
            successful: registry.gauge(
                "prometheus_config_last_reload_successful",
                "Whether the last configuration reload attempt was successful.",
            ),
            succeeded_at: registry.gauge(
                "prometheus_config_last_reload_success_timestamp_seconds",
                "Timestamp of the last successful configuration reload.",
            ),
        }
    }

    /// Adds a part at the end of the table. Its function must leave the part as it was where it fails.
    pub fn step<F>(&mut self, name: &'static str, apply: impl Fn(Arc<Loaded>) -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        self.steps.push(Step { name, apply: Box::new(move |loaded| Box::pin(apply(loaded))) });
    }

    /// Reads the configuration and puts it in force. One reload runs at a time.
    ///
    /// # Errors
    /// The text of what is wrong; the old configuration is in force then.
    pub async fn reload(&self) -> Result<(), String> {
        let began = Instant::now();
        tracing::info!("Loading configuration file");
        let mut in_force = self.in_force.lock().await;
        let result = self.replace(&mut in_force).await;
        self.successful.set(f64::from(u8::from(result.is_ok())));
        match &result {
            Ok(()) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                self.succeeded_at.set(now.as_secs_f64());
                tracing::info!(totalDuration = ?began.elapsed(), "Completed loading of configuration file");
            }
            Err(error) => tracing::error!(%error, "Error reloading config; the old one stays in force"),
        }
        result
    }

    /// The configuration in force; `None` before the first one.
    pub async fn in_force(&self) -> Option<Arc<Loaded>> {
        self.in_force.lock().await.clone()
    }

    async fn replace(&self, in_force: &mut Option<Arc<Loaded>>) -> Result<(), String> {
        let mut new = (self.read)(in_force.as_deref())?;
        if let Some(old) = in_force.as_ref() {
            new.keep_jobs_of(old);
        }
        let new = Arc::new(new);
        for (index, step) in self.steps.iter().enumerate() {
            let Err(error) = (step.apply)(Arc::clone(&new)).await else { continue };
            if let Some(old) = in_force.as_ref() {
                for undone in self.steps[..index].iter().rev() {
                    if let Err(error) = (undone.apply)(Arc::clone(old)).await {
                        tracing::error!(part = undone.name, %error, "cannot go back to the old configuration");
                    }
                }
            }
            return Err(format!("{}: {error}", step.name));
        }
        *in_force = Some(new);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Log = Arc<parking_lot::Mutex<Vec<String>>>;

    fn table(intervals: Vec<Result<u64, String>>, refuse: u64) -> (Reloader, Log) {
        let log = Log::default();
        let queue = parking_lot::Mutex::new(intervals.into_iter());
        let read = move |_: Option<&Loaded>| {
            let next = queue.lock().next().unwrap_or_else(|| Err("no more".into()));
            next.map(|seconds| {
                let mut loaded = Loaded::default();
                loaded.config.global.scrape_interval = std::time::Duration::from_secs(seconds);
                loaded
            })
        };
        let mut reloader = Reloader::new(read, &Registry::new());
        for (name, fails) in [("first", false), ("second", true), ("third", false)] {
            let log = Arc::clone(&log);
            reloader.step(name, move |loaded| {
                let seconds = loaded.config.global.scrape_interval.as_secs();
                log.lock().push(format!("{name} {seconds}"));
                async move { if fails && seconds == refuse { Err("no".to_string()) } else { Ok(()) } }
            });
        }
        (reloader, log)
    }

    #[tokio::test]
    async fn a_refusal_puts_the_old_one_back() {
        let (reloader, log) = table(vec![Ok(1), Ok(2), Err("broken file".into())], 2);
        reloader.reload().await.unwrap();
        assert_eq!(reloader.reload().await, Err("second: no".to_string()));
        assert_eq!(*log.lock(), ["first 1", "second 1", "third 1", "first 2", "second 2", "first 1"]);
        assert_eq!(reloader.successful.get(), 0.0);
        assert_eq!(reloader.reload().await, Err("broken file".to_string()));
        assert_eq!(log.lock().len(), 6, "a file that cannot be read reaches no part");
    }
}
