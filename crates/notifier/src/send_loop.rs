//! One task an Alertmanager: takes batches off its queue and posts them. A batch that cannot be sent is dropped, as
//! upstream does: the rules send every alert that still fires again within a minute.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use model::Alert;
use net::{BodyPool, HttpClient, ReadOptions};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;
use crate::queue::Queue;
use crate::wire;

/// Alertmanager answers with nothing or a line; more than this is not read, and its connection not kept.
const ANSWER_BYTES_MAX: u64 = 64 << 10;

/// What all loops of a group share.
#[derive(Clone, Debug)]
pub(crate) struct Way {
    pub(crate) client: HttpClient,
    pub(crate) bodies: BodyPool,
    pub(crate) timeout: Duration,
    pub(crate) queue_capacity: usize,
    pub(crate) batch_max: usize,
    /// Whether what is queued at the end is sent.
    pub(crate) drain: bool,
    pub(crate) metrics: Metrics,
}

#[derive(Debug)]
struct Inner {
    url: String,
    way: Way,
    queue: Mutex<Queue>,
    work: Notify,
    stop: CancellationToken,
}

/// A running loop. Ends when dropped.
#[derive(Debug)]
pub(crate) struct SendLoop {
    inner: Arc<Inner>,
}

#[derive(Debug, thiserror::Error)]
enum SendError {
    #[error(transparent)]
    Body(#[from] serde_json::Error),
    #[error(transparent)]
    Request(#[from] http::Error),
    #[error(transparent)]
    Client(#[from] net::ClientError),
    #[error("bad response status {0}")]
    Status(String),
    #[error("Post {url:?}: context deadline exceeded (timeout: {timeout:?})")]
    Timeout { url: String, timeout: Duration },
}

impl SendLoop {
    pub(crate) fn start(url: &str, way: Way, tasks: &TaskTracker) -> Self {
        way.metrics.begin(url);
        let inner = Arc::new(Inner {
            url: url.to_string(),
            queue: Mutex::new(Queue::new(way.queue_capacity)),
            work: Notify::new(),
            stop: CancellationToken::new(),
            way,
        });
        let task = Arc::clone(&inner);
        tasks.spawn(async move { task.run().await });
        SendLoop { inner }
    }

    /// Queues alerts.
    pub(crate) fn add(&self, alerts: &[Arc<Alert>]) {
        let Inner { url, way, queue, work, .. } = &*self.inner;
        let mut queue = queue.lock();
        let Some(dropped) = queue.add(alerts) else { return };
        way.metrics.queue_length.with(&[url]).set(queue.len() as f64);
        drop(queue);
        if dropped > 0 {
            tracing::warn!(
                alertmanager = url,
                count = dropped,
                "Alert notification queue full, dropping alerts (--alertmanager.notification-queue-capacity)"
            );
            way.metrics.dropped.with(&[url]).add(dropped as f64);
        }
        work.notify_one();
    }
}

impl Drop for SendLoop {
    fn drop(&mut self) {
        self.inner.queue.lock().close();
        self.inner.stop.cancel();
    }
}

impl Inner {
    async fn run(&self) {
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => break,
                () = self.work.notified() => {}
            }
            while !self.stop.is_cancelled() {
                let batch = self.next();
                if batch.is_empty() {
                    break;
                }
                self.send(&batch).await;
            }
        }
        if self.way.drain {
            // Where one batch cannot be sent the others would only cost their timeouts, while the process is
            // expected to end.
            loop {
                let batch = self.next();
                if batch.is_empty() || !self.send(&batch).await {
                    break;
                }
            }
        }
        let left = self.queue.lock().len();
        if left > 0 {
            tracing::warn!(
                alertmanager = self.url,
                count = left,
                "Alert notification queue not drained, dropping alerts"
            );
        }
        self.way.metrics.end(&self.url);
    }

    fn next(&self) -> Vec<Arc<Alert>> {
        let mut queue = self.queue.lock();
        let batch = queue.take(self.way.batch_max);
        self.way.metrics.queue_length.with(&[&self.url]).set(queue.len() as f64);
        batch
    }

    /// False where the batch is lost.
    async fn send(&self, batch: &[Arc<Alert>]) -> bool {
        let (began, count, url) = (Instant::now(), batch.len() as f64, [self.url.as_str()]);
        let metrics = &self.way.metrics;
        let timeout = self.way.timeout;
        let late = SendError::Timeout { url: self.url.clone(), timeout };
        match tokio::time::timeout(timeout, self.post(batch)).await.unwrap_or(Err(late)) {
            Ok(()) => {
                let seconds = began.elapsed().as_secs_f64();
                metrics.latency.with(&url).observe(seconds);
                metrics.latency_histogram.with(&url).observe(seconds);
                metrics.sent.with(&url).add(count);
                true
            }
            Err(error) => {
                tracing::error!(alertmanager = self.url, count, %error, "Error sending alerts");
                metrics.errors.with(&url).add(count);
                metrics.dropped.with(&url).add(count);
                false
            }
        }
    }

    async fn post(&self, batch: &[Arc<Alert>]) -> Result<(), SendError> {
        let request = http::Request::post(self.url.as_str())
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Bytes::from(wire::body(batch)?))?;
        let response = self.way.client.send(request).await?;
        let good = response.status().is_success();
        let status = net::status_text(&response);
        // Read to the end so that the connection can be used again; what it says does not matter.
        let options = ReadOptions { limit_bytes: ANSWER_BYTES_MAX, ..ReadOptions::default() };
        let _ = self.way.bodies.read(response, options).await;
        if good { Ok(()) } else { Err(SendError::Status(status)) }
    }
}
