//! The loop of mechanisms that ask again every interval, with its figures.

use std::future::Future;
use std::time::{Duration, Instant};

use model::TargetGroup;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// Shortest pause between two refreshes, where a configuration says 0.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// Who refreshes, for figures and log lines.
#[derive(Clone, Debug)]
pub(crate) struct Refresher {
    pub mechanism: &'static str,
    pub set: String,
    pub interval: Duration,
    pub metrics: Metrics,
}

impl Refresher {
    /// Calls `refresh` at once and then every interval until `stop`; an error is logged and counted, and
    /// what was found before stays.
    pub(crate) async fn run<F, Fut, E>(
        self,
        updates: mpsc::Sender<Vec<TargetGroup>>,
        stop: CancellationToken,
        mut refresh: F,
    ) where
        F: FnMut() -> Fut,
        Fut: Future<Output = Result<Vec<TargetGroup>, E>>,
        E: std::fmt::Display,
    {
        let labels = [self.mechanism, self.set.as_str()];
        let failures = self.metrics.refresh_failures.with(&labels);
        let duration = self.metrics.refresh_duration.with(&labels);
        let histogram = self.metrics.refresh_histogram.with(&[self.mechanism]);
        let mut ticker = tokio::time::interval(self.interval.max(INTERVAL_MIN));
        ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                _ = ticker.tick() => {}
                () = stop.cancelled() => return,
            }
            let begin = Instant::now();
            let found = tokio::select! {
                found = refresh() => found,
                () = stop.cancelled() => return,
            };
            let seconds = begin.elapsed().as_secs_f64();
            duration.observe(seconds);
            histogram.observe(seconds);
            match found {
                Err(error) => {
                    failures.inc();
                    tracing::error!(discovery = self.mechanism, config = %self.set, err = %error, "Unable to refresh target groups");
                }
                Ok(groups) => tokio::select! {
                    sent = updates.send(groups) => if sent.is_err() { return },
                    () = stop.cancelled() => return,
                },
            }
        }
    }
}
