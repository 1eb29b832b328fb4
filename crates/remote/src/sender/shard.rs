//! One shard: takes batches off its queue and posts them one after the other, so that a series' samples arrive in
//! order. A batch is tried until the receiver takes it or refuses it for good.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use bytes::Bytes;
use config::QueueConfig;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::batch::{Counts, Item, Value, Writer};
use super::client::{Client, Refusal};
use super::metrics::{Kind, Metrics, Reason};
use super::progress::Progress;
use super::queue::ShardQueue;
use super::retry::Backoff;

/// Requests that go into taking apart batches which may have been sent before a crash, for each start: enough
/// for the samples of several seconds, and bounded where a receiver refuses everything.
const SPLITS_MAX: u64 = 20_000;
/// A destination that fails says so this often.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// It is time to end; what was not sent is still in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stopped;

/// What all shards of a destination share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) remote: String,
    pub(crate) url: String,
    pub(crate) queue: QueueConfig,
    pub(crate) v2: bool,
    pub(crate) log_failed: bool,
    pub(crate) client: ArcSwap<Client>,
    pub(crate) metrics: Metrics,
    pub(crate) progress: Progress,
    /// What is queued is to be sent, and nothing is tried twice any more.
    pub(crate) soft: CancellationToken,
    /// Nothing is sent any more.
    pub(crate) hard: CancellationToken,
    /// Records below this number may have arrived before the process ended.
    pub(crate) doubtful: AtomicU64,
    splits: AtomicU64,
    /// Items sent and nanoseconds spent since the last look.
    pub(crate) sent: AtomicU64,
    pub(crate) sent_nanos: AtomicU64,
    /// Unix seconds of the last request that ended, and until when the number of shards stays.
    pub(crate) last_sent: AtomicI64,
    pub(crate) steady_until: AtomicI64,
    told: Mutex<Option<Instant>>,
}

pub(crate) fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// Whether a sample is older than the configuration allows.
pub(crate) fn is_old(t_ms: i64, limit: Duration, now_ms: i64) -> bool {
    !limit.is_zero() && t_ms < now_ms.saturating_sub(i64::try_from(limit.as_millis()).unwrap_or(i64::MAX))
}

fn kind_of(item: &Item) -> Kind {
    match item.value {
        Value::Float(_) => Kind::Samples,
        Value::Histogram(_) => Kind::Histograms,
        Value::Exemplar(..) => Kind::Exemplars,
    }
}

/// How a request ended.
enum Ended {
    Taken,
    /// By the status that refuses samples for what they are.
    Refused,
    Failed,
}

impl Shared {
    pub(crate) fn new(
        (remote, url): (String, String),
        (queue, v2, log_failed): (QueueConfig, bool, bool),
        client: Client,
        metrics: Metrics,
    ) -> Self {
        Shared {
            remote,
            url,
            queue,
            v2,
            log_failed,
            client: ArcSwap::from_pointee(client),
            metrics,
            progress: Progress::default(),
            soft: CancellationToken::new(),
            hard: CancellationToken::new(),
            doubtful: AtomicU64::new(0),
            splits: AtomicU64::new(SPLITS_MAX),
            sent: AtomicU64::new(0),
            sent_nanos: AtomicU64::new(0),
            last_sent: AtomicI64::new(0),
            steady_until: AtomicI64::new(0),
            told: Mutex::default(),
        }
    }

    /// Sends what comes through a queue, to its end.
    pub(crate) async fn run(self: Arc<Self>, queue: Arc<ShardQueue>) {
        let (mut batch, mut writer) = (Vec::new(), Writer::default());
        loop {
            let more = tokio::select! {
                biased;
                () = self.hard.cancelled() => return,
                more = queue.next(&mut batch, self.queue.batch_send_deadline) => more,
            };
            if !more || self.send_all(&batch, &mut writer).await.is_err() {
                return;
            }
            let counts = Counts::of(&batch);
            let pending = [counts.samples, counts.histograms, counts.exemplars];
            self.metrics.pending.iter().zip(pending).for_each(|(gauge, n)| gauge.add(-(n as f64)));
            self.progress.done(&batch);
        }
    }

    /// Sends a batch. One that may have arrived in part before a crash is taken apart where it is refused: a
    /// receiver of 1.0 takes all of a request or nothing, and one old sample would cost the new ones.
    async fn send_all(&self, batch: &[Item], writer: &mut Writer) -> Result<(), Stopped> {
        let first = batch.first().map_or(u64::MAX, |item| item.record);
        let doubtful = !self.v2 && first < self.doubtful.load(Ordering::Acquire);
        let mut parts = vec![batch];
        while let Some(part) = parts.pop() {
            let may_split = doubtful && part.len() > 1 && self.splits.load(Ordering::Relaxed) > 0;
            if let Ended::Refused = self.send(part, writer, may_split).await?
                && may_split
            {
                self.splits.fetch_sub(1, Ordering::Relaxed);
                let (before, behind) = part.split_at(part.len() / 2);
                parts.extend([behind, before]);
            }
        }
        Ok(())
    }

    /// Tries until it is taken or refused. `quietly`: a refusal is not the last word.
    async fn send(&self, part: &[Item], writer: &mut Writer, quietly: bool) -> Result<Ended, Stopped> {
        let began = Instant::now();
        let mut items: Vec<&Item> = part.iter().collect();
        let limit = self.queue.sample_age_limit;
        let mut backoff = Backoff::new(self.queue.min_backoff, self.queue.max_backoff);
        let (mut body, mut counts, mut stored) = (Bytes::new(), Counts::default(), Counts::default());
        let m = &self.metrics;
        for attempt in 0.. {
            if !limit.is_zero() {
                let (now, before) = (now_ms(), items.len());
                items.retain(|item| {
                    let old = is_old(item.t_ms, limit, now);
                    if old {
                        m.drop_one(kind_of(item), Reason::TooOld);
                    }
                    !old
                });
                if items.len() < before {
                    body = Bytes::new();
                }
            }
            if items.is_empty() {
                return Ok(Ended::Taken);
            }
            if body.is_empty() {
                counts = Counts::of(items.iter().copied());
                body = writer.body(&mut items, self.v2).into();
            }
            let numbers = [counts.samples, counts.histograms, counts.exemplars, counts.metadata];
            m.sent.iter().zip(numbers).for_each(|(c, n)| c.add(n as f64));
            let tried = Instant::now();
            let client = self.client.load_full();
            let answer = tokio::select! {
                biased;
                () = self.hard.cancelled() => return Err(Stopped),
                answer = client.store(body.clone(), attempt) => answer,
            };
            m.batch_seconds.observe(tried.elapsed().as_secs_f64());
            let written = match &answer {
                Ok(written) => *written,
                Err(refusal) => refusal.written,
            };
            if let Some(w) = written {
                stored.samples += w.samples;
                stored.histograms += w.histograms;
                stored.exemplars += w.exemplars;
            }
            let ended = match answer {
                Ok(None) if self.v2 => Err(Refusal {
                    text: "the receiver says nothing of what it stored: it may know 1.0 only".to_string(),
                    status: 204,
                    again: false,
                    after: None,
                    written: None,
                }),
                Ok(Some(w)) if self.v2 && w.all() == 0 => Err(Refusal {
                    text: format!(
                        "the receiver took the request of {} and stored nothing of it",
                        counts.all()
                    ),
                    status: 204,
                    again: false,
                    after: None,
                    written,
                }),
                Ok(None) => {
                    stored = counts;
                    Ok(())
                }
                Ok(Some(_)) => Ok(()),
                Err(refusal) => Err(refusal),
            };
            match ended {
                Err(refusal) if refusal.again => {
                    self.wait(&mut backoff, &refusal).await?;
                    m.retried.iter().zip(numbers).take(3).for_each(|(c, n)| c.add(n as f64));
                }
                Err(refusal) if quietly && refusal.status == 400 => return Ok(Ended::Refused),
                ended => {
                    self.account(&items, (counts, stored), body.len(), began);
                    self.tell(&ended, counts, stored);
                    return Ok(if ended.is_ok() { Ended::Taken } else { Ended::Failed });
                }
            }
        }
        Ok(Ended::Failed)
    }

    /// Says now and then that requests fail.
    pub(crate) fn tell_again(&self, refusal: &Refusal) {
        let mut told = self.told.lock();
        if told.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            *told = Some(Instant::now());
            tracing::warn!(
                remote_name = self.remote,
                url = self.url,
                error = refusal.text,
                "Failed to send batch, retrying"
            );
        }
    }

    /// Waits for the next try.
    async fn wait(&self, backoff: &mut Backoff, refusal: &Refusal) -> Result<(), Stopped> {
        let wait = backoff.wait(refusal.after);
        self.tell_again(refusal);
        // More shards would make the trouble worse.
        let until =
            (now_ms() / 1000).saturating_add(2 * i64::try_from(wait.as_secs() + 1).unwrap_or(i64::MAX / 2));
        self.steady_until.fetch_max(until, Ordering::Relaxed);
        if self.soft.is_cancelled() {
            // What is not sent is in the log: the next start goes on here.
            self.hard.cancel();
            return Err(Stopped);
        }
        tokio::select! {
            () = self.hard.cancelled() => Err(Stopped),
            () = self.soft.cancelled() => Ok(()),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }

    fn account(&self, items: &[&Item], (counts, stored): (Counts, Counts), bytes: usize, began: Instant) {
        let m = &self.metrics;
        m.bytes.add(bytes as f64);
        let newest = items.iter().map(|item| item.t_ms).max().unwrap_or(0) / 1000;
        raise(&m.highest_sent, newest);
        let lost = [
            counts.samples.saturating_sub(stored.samples),
            counts.histograms.saturating_sub(stored.histograms),
            counts.exemplars.saturating_sub(stored.exemplars),
        ];
        m.failed.iter().zip(lost).for_each(|(c, n)| c.add(n as f64));
        self.sent.fetch_add(counts.all(), Ordering::Relaxed);
        let nanos = u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.sent_nanos.fetch_add(nanos, Ordering::Relaxed);
        self.last_sent.store(now_ms() / 1000, Ordering::Relaxed);
    }

    fn tell(&self, ended: &Result<(), Refusal>, counts: Counts, stored: Counts) {
        let (remote_name, url) = (self.remote.as_str(), self.url.as_str());
        let lost = counts.all().saturating_sub(stored.all());
        match ended {
            Err(refusal) => {
                tracing::error!(remote_name, url, lost, error = refusal.text, "non-recoverable error");
                if self.log_failed && self.v2 {
                    tracing::debug!(
                        remote_name,
                        url,
                        ?counts,
                        status = refusal.status,
                        "Failed to send remote write v2 request"
                    );
                }
            }
            Ok(()) if lost > 0 => tracing::error!(
                remote_name,
                url,
                lost,
                "we got 2xx status code from the Receiver yet statistics indicate some data was not written; investigation needed"
            ),
            Ok(()) => {}
        }
    }
}

/// Sets a gauge that only grows.
pub(crate) fn raise(gauge: &telemetry::Gauge, seconds: i64) {
    let seconds = seconds as f64;
    if seconds > gauge.get() {
        gauge.set(seconds);
    }
}
