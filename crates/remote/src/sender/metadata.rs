//! Metadata of 1.0: what the targets say, now and then (upstream: `metadata_watcher.go`). 2.0 has it beside each
//! series instead.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use config::MetadataConfig;
use model::MetricMetadata;

use super::batch::Writer;
use super::manager::MetadataSource;
use super::retry::Backoff;
use super::shard::{Shared, Stopped};

/// Sends metadata until the destination ends.
pub(crate) async fn run(shared: Arc<Shared>, config: MetadataConfig, source: MetadataSource) {
    if config.send_interval.is_zero() {
        return;
    }
    loop {
        tokio::select! {
            () = shared.soft.cancelled() => return,
            () = tokio::time::sleep(config.send_interval) => {}
        }
        let own = Arc::clone(&source);
        // Walks all targets: not on a thread that others wait for.
        let Ok(all) = tokio::task::spawn_blocking(move || distinct(own())).await else { continue };
        let n = usize::try_from(config.max_samples_per_send).unwrap_or(1).max(1);
        for part in all.chunks(n) {
            if send(&shared, part).await.is_err() {
                return;
            }
        }
    }
}

fn distinct(all: Vec<(String, MetricMetadata)>) -> Vec<(String, MetricMetadata)> {
    let mut seen = BTreeSet::new();
    let mut all = all;
    all.retain(|(family, m)| seen.insert((family.clone(), m.kind as u8, m.help.clone(), m.unit.clone())));
    all
}

async fn send(shared: &Shared, part: &[(String, MetricMetadata)]) -> Result<(), Stopped> {
    let body = Bytes::from(Writer::default().metadata_body(part));
    let mut backoff = Backoff::new(shared.queue.min_backoff, shared.queue.max_backoff);
    let m = &shared.metrics;
    let [.., sent] = &m.sent;
    let [.., failed] = &m.failed;
    let [.., retried] = &m.retried;
    for attempt in 0.. {
        let began = std::time::Instant::now();
        let client = shared.client.load_full();
        let answer = tokio::select! {
            // There is another one in a minute.
            () = shared.soft.cancelled() => return Err(Stopped),
            answer = client.store(body.clone(), attempt) => answer,
        };
        m.batch_seconds.observe(began.elapsed().as_secs_f64());
        match answer {
            Ok(_) => {
                sent.add(part.len() as f64);
                m.metadata_bytes.add(body.len() as f64);
                return Ok(());
            }
            Err(refusal) if refusal.again => {
                shared.tell_again(&refusal);
                tokio::select! {
                    () = shared.soft.cancelled() => return Err(Stopped),
                    () = tokio::time::sleep(backoff.wait(refusal.after)) => {}
                }
                retried.add(part.len() as f64);
            }
            Err(refusal) => {
                failed.add(part.len() as f64);
                tracing::error!(
                    url = shared.url,
                    count = part.len(),
                    error = refusal.text,
                    "non-recoverable error while sending metadata"
                );
                return Ok(());
            }
        }
    }
    Ok(())
}
