//! One destination: a thread that follows the log and fills the shards' queues, and what goes with it.
//!
//! A thread and not a task, as reading the log is reading files, and as it waits where queues are full.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use config::RemoteWriteConfig;
use model::{HistogramValue, Labels};
use parking_lot::Mutex;
use storage::{LogEvent, LogPosition, LogSource, LogTail, LogWants, StorageError};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::batch::{Item, Value};
use super::metrics::{Kind, Metrics, Reason, RecordKind};
use super::queue::ShardQueue;
use super::scale::{self, Load, Rate};
use super::series::{Found, SeriesTable};
use super::shard::{Shared, is_old, now_ms, raise};

/// How often the end of the log is looked at. Batches wait seconds for their samples; being woken by each of a
/// thousand commits a second would cost more than all else here.
const LOOK: Duration = Duration::from_millis(100);
/// How often the position is kept: what a kill has sent once more.
const KEEP: Duration = Duration::from_secs(1);
/// After an error of the disk.
const AGAIN: Duration = Duration::from_secs(1);

/// What a destination is made of.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) config: RemoteWriteConfig,
    pub(crate) external: Labels,
    /// Name of the position.
    pub(crate) key: String,
}

/// Counted by the reader between two looks.
#[derive(Debug, Default)]
struct Counted {
    dropped: AtomicU64,
}

/// A destination that runs.
pub(crate) struct Destination {
    pub(crate) plan: Plan,
    pub(crate) shared: Arc<Shared>,
    source: Arc<dyn LogSource>,
    runtime: Handle,
    shards: AtomicUsize,
    shards_wanted: AtomicUsize,
    counted: Counted,
    /// At the end: reads on to the end of the log first.
    read_on: AtomicBool,
    kept: Mutex<Option<LogPosition>>,
    /// The thread has ended.
    pub(crate) ended: CancellationToken,
}

impl std::fmt::Debug for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Destination({} {})", self.shared.remote, self.shared.url)
    }
}

fn within(n: i64) -> usize {
    usize::try_from(n).unwrap_or(1).max(1)
}

impl Destination {
    /// Starts one; behind another one of the same key where there was one.
    pub(crate) fn start(
        plan: Plan,
        shared: Shared,
        (source, runtime): (Arc<dyn LogSource>, Handle),
        after: Option<Arc<Destination>>,
    ) -> Arc<Self> {
        let min = within(plan.config.queue_config.min_shards);
        let own = Arc::new(Destination {
            plan,
            shared: Arc::new(shared),
            source,
            runtime,
            shards: AtomicUsize::new(0),
            shards_wanted: AtomicUsize::new(min),
            counted: Counted::default(),
            read_on: AtomicBool::new(false),
            kept: Mutex::default(),
            ended: CancellationToken::new(),
        });
        // Where to begin is settled before the caller goes on, so that nothing committed after this is missed.
        let from = match &after {
            Some(_) => None,
            None => own.first_position(),
        };
        let thread = Arc::clone(&own);
        let run = move || {
            thread.run(from, after);
            thread.ended.cancel();
        };
        if let Err(error) = std::thread::Builder::new().name("remote-write".into()).spawn(run) {
            tracing::error!(%error, url = own.shared.url, "cannot start a thread: nothing is sent there");
            own.ended.cancel();
        }
        own
    }

    /// Begins to end. `read_on`: what is in the log by now is read first. What is not sent by the deadline is
    /// left to the next start.
    pub(crate) fn stop(self: &Arc<Self>, read_on: bool, deadline: Duration) {
        self.read_on.store(read_on, Ordering::Release);
        self.shared.soft.cancel();
        let own = Arc::clone(self);
        self.runtime.spawn(async move {
            tokio::select! {
                () = own.ended.cancelled() => {}
                () = tokio::time::sleep(deadline) => {
                    tracing::warn!(url = own.shared.url, "remote write not done by --storage.remote.flush-deadline: the next start goes on here");
                    own.shared.hard.cancel();
                }
            }
        });
    }

    fn wants(&self) -> LogWants {
        let config = &self.plan.config;
        LogWants {
            histograms: config.send_native_histograms,
            exemplars: config.send_exemplars,
            metadata: self.shared.v2,
        }
    }

    /// Where it was, or the log's end; kept at once, so that a kill before the first request is a kill after it.
    fn first_position(&self) -> Option<LogPosition> {
        let found = self.source.position(&self.plan.key).unwrap_or_else(|error| {
            tracing::warn!(%error, url = self.shared.url, "cannot read where remote write was");
            None
        });
        if found.is_some() {
            *self.kept.lock() = found;
            return found;
        }
        let now = self.source.tail(None, self.wants()).ok()?.position();
        self.keep(now);
        Some(now)
    }

    fn keep(&self, position: LogPosition) {
        let mut kept = self.kept.lock();
        if *kept == Some(position) {
            return;
        }
        match self.source.keep_position(&self.plan.key, position) {
            Ok(()) => *kept = Some(position),
            Err(error) => {
                tracing::warn!(%error, url = self.shared.url, "position of remote write cannot be kept; a kill now sends some samples once more")
            }
        }
    }

    /// Pauses; true where it is to stop.
    fn pause(&self, time: Duration) -> bool {
        let soft = self.shared.soft.clone();
        self.runtime.block_on(async move { tokio::time::timeout(time, soft.cancelled()).await.is_ok() })
    }

    fn run(self: &Arc<Self>, mut from: Option<LogPosition>, after: Option<Arc<Destination>>) {
        if let Some(after) = after {
            self.runtime.block_on(after.ended.cancelled());
            from = self.first_position();
        }
        let config = self.plan.config.queue_config;
        let m = &self.shared.metrics;
        let numbers = [config.capacity, config.max_shards, config.min_shards, config.max_samples_per_send];
        m.settings.iter().zip(numbers).for_each(|(gauge, n)| gauge.set(n as f64));
        m.shards_desired.set(config.min_shards as f64);
        let upkeep = self.runtime.spawn(Arc::clone(self).upkeep());
        if let Some(tail) = self.open(from) {
            self.follow(tail);
        }
        self.runtime.block_on(async {
            upkeep.abort();
            let _ = upkeep.await;
        });
        let delivered = self.shared.progress.delivered();
        if delivered != LogPosition::default() {
            self.keep(delivered);
        }
        m.end();
    }

    fn open(&self, from: Option<LogPosition>) -> Option<Box<dyn LogTail>> {
        let mut told = false;
        loop {
            match self.source.tail(from, self.wants()) {
                Ok(tail) => return Some(tail),
                Err(error) if !std::mem::replace(&mut told, true) => {
                    tracing::error!(%error, url = self.shared.url, "remote write cannot read the log; trying again");
                }
                Err(_) => {}
            }
            if self.pause(AGAIN) {
                return None;
            }
        }
    }

    /// Reads the log to its end and goes on as it grows, until told to stop.
    fn follow(self: &Arc<Self>, mut tail: Box<dyn LogTail>) {
        let shared = &self.shared;
        let begin = tail.position();
        shared.progress.begin(begin);
        tracing::info!(
            remote_name = shared.remote,
            url = shared.url,
            segment = begin.segment,
            offset = begin.offset,
            "Starting WAL watcher"
        );
        // What was there when we came may have arrived already.
        let end = self.source.tail(None, LogWants::default()).map_or(begin, |end| end.position());
        shared.doubtful.store(u64::MAX, Ordering::Release);
        let mut reader = Reader {
            own: self,
            table: SeriesTable::new(
                self.plan.external.clone(),
                self.plan.config.write_relabel_configs.clone(),
                shared.v2,
            ),
            queues: Vec::new(),
            tasks: TaskTracker::new(),
            staged: Vec::new(),
            catching_up: true,
        };
        reader.begin_shards();
        let mut failing = false;
        loop {
            if shared.hard.is_cancelled()
                || (shared.soft.is_cancelled() && !self.read_on.load(Ordering::Acquire))
            {
                break;
            }
            if reader.catching_up {
                let at = tail.position();
                if (at.segment, at.offset) >= (end.segment, end.offset) {
                    reader.catching_up = false;
                    let next = shared.progress.next();
                    shared.doubtful.store(next, Ordering::Release);
                    tracing::info!(remote_name = shared.remote, url = shared.url, "Done replaying WAL");
                }
            }
            match tail.next() {
                Ok(Some(event)) => {
                    failing = false;
                    if !reader.take(event, tail.position()) {
                        break;
                    }
                }
                Ok(None) => {
                    failing = false;
                    shared.progress.read(tail.position(), 0);
                    if shared.soft.is_cancelled() {
                        break;
                    }
                    self.pause(LOOK);
                }
                Err(error) => {
                    self.tell_failure(&error, &mut failing);
                    if self.pause(AGAIN) {
                        break;
                    }
                }
            }
            shared.metrics.segment.set(tail.position().segment as f64);
            reader.reshard();
        }
        reader.end_shards();
        tracing::info!(remote_name = shared.remote, url = shared.url, "Remote storage stopped.");
    }

    fn tell_failure(&self, error: &StorageError, failing: &mut bool) {
        if !std::mem::replace(failing, true) {
            tracing::error!(%error, url = self.shared.url, "remote write cannot read the log; trying again each second");
        }
    }

    /// Keeps the position, and the number of shards right.
    async fn upkeep(self: Arc<Self>) {
        let mut ticks = tokio::time::interval(KEEP);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut rates: [Rate; 4] = Default::default();
        let (mut looked, mut before) = (Instant::now(), self.source.totals());
        loop {
            ticks.tick().await;
            let (own, delivered) = (Arc::clone(&self), self.shared.progress.delivered());
            // None while it has not begun to read.
            if delivered != LogPosition::default() && *self.kept.lock() != Some(delivered) {
                let _ = tokio::task::spawn_blocking(move || own.keep(delivered)).await;
            }
            if looked.elapsed() < scale::INTERVAL {
                continue;
            }
            looked = Instant::now();
            let totals = self.source.totals();
            let all = |t: &storage::LogTotals| t.samples + t.histograms + t.exemplars;
            let into = all(&totals).saturating_sub(all(&before)) as f64;
            before = totals;
            let shared = &self.shared;
            let take = |n: &AtomicU64| n.swap(0, Ordering::Relaxed) as f64;
            let news =
                [into, take(&shared.sent), take(&self.counted.dropped), take(&shared.sent_nanos) / 1e9];
            let mut now = rates.iter_mut().zip(news).map(|(rate, n)| rate.tick(n));
            let mut next = || now.next().unwrap_or_default();
            let newest = totals.newest_ms.unwrap_or(0) / 1000;
            let load = Load {
                into: next(),
                out: next(),
                dropped: next(),
                sending: next(),
                behind: newest as f64 - shared.metrics.highest_sent.get(),
            };
            self.rescale(load);
        }
    }

    fn rescale(&self, load: Load) {
        let (config, shared) = (&self.plan.config.queue_config, &self.shared);
        let now = self.shards.load(Ordering::Relaxed);
        let (wanted, right) =
            scale::desired(load, now, (within(config.min_shards), within(config.max_shards)));
        if let Some(right) = right {
            shared.metrics.shards_desired.set(right);
        }
        let seconds = now_ms() / 1000;
        let fresh = shared.last_sent.load(Ordering::Relaxed) >= seconds - scale::INTERVAL.as_secs() as i64;
        if wanted != now && fresh && shared.steady_until.load(Ordering::Relaxed) <= seconds {
            tracing::info!(
                remote_name = shared.remote,
                url = shared.url,
                from = now,
                to = wanted,
                "Remote storage resharding"
            );
            self.shards_wanted.store(wanted, Ordering::Relaxed);
        }
    }
}

/// What the thread works on.
struct Reader<'d> {
    own: &'d Arc<Destination>,
    table: SeriesTable,
    queues: Vec<Arc<ShardQueue>>,
    tasks: TaskTracker,
    /// What goes to each queue.
    staged: Vec<VecDeque<Item>>,
    /// What is read was there when the process started.
    catching_up: bool,
}

impl Reader<'_> {
    fn metrics(&self) -> &Metrics {
        &self.own.shared.metrics
    }

    fn begin_shards(&mut self) {
        let own = self.own;
        let config = own.plan.config.queue_config;
        let n = own.shards_wanted.load(Ordering::Relaxed).max(1);
        let capacity = within(config.capacity);
        let new = || Arc::new(ShardQueue::new(capacity, within(config.max_samples_per_send)));
        self.queues = (0..n).map(|_| new()).collect();
        self.staged = (0..n).map(|_| VecDeque::new()).collect();
        self.tasks = TaskTracker::new();
        for queue in &self.queues {
            let shard = Arc::clone(&own.shared).run(Arc::clone(queue));
            self.tasks.spawn_on(shard, &own.runtime);
        }
        own.shards.store(n, Ordering::Relaxed);
        self.metrics().shards.set(n as f64);
    }

    /// Waits until all that is queued is sent, or sending has ended.
    fn end_shards(&self) {
        self.queues.iter().for_each(|queue| queue.close());
        self.tasks.close();
        self.own.runtime.block_on(self.tasks.wait());
    }

    /// Where another number of shards is wanted: the old ones send what they have first, so that no series'
    /// samples overtake each other.
    fn reshard(&mut self) {
        if self.own.shards_wanted.load(Ordering::Relaxed) != self.queues.len() {
            self.end_shards();
            self.begin_shards();
        }
    }

    /// Queues what an event brings; false where it is to stop.
    fn take(&mut self, event: LogEvent, end: LogPosition) -> bool {
        let m = &self.own.shared.metrics;
        let shared = Arc::clone(&self.own.shared);
        let (limit, now) = (shared.queue.sample_age_limit, now_ms());
        let mut items = 0;
        match event {
            LogEvent::Series { all, segment } => {
                m.record(RecordKind::Series);
                self.table.add(all, segment);
            }
            LogEvent::Metadata(all) => {
                m.record(RecordKind::Metadata);
                self.table.describe(all);
            }
            LogEvent::Condensed { through, living } => self.table.condense(through, &living),
            LogEvent::Skipped { segments } => {
                m.skipped_segments.add(segments as f64);
                tracing::warn!(
                    remote_name = shared.remote,
                    url = shared.url,
                    segments,
                    "segments of the log were cut before they were sent: what of their samples was not sent yet is not sent"
                );
            }
            LogEvent::Undecodable => m.undecodable.inc(),
            LogEvent::Samples(all) => {
                m.record(RecordKind::Samples);
                if self.catching_up {
                    m.before.inc();
                }
                for s in all {
                    if is_old(s.t_ms, limit, now) {
                        m.drop_one(Kind::Samples, Reason::TooOld);
                    } else {
                        let what = (s.t_ms, s.start_ms, Value::Float(s.value));
                        items += self.stage(s.series, Kind::Samples, what);
                    }
                }
            }
            LogEvent::Histograms(all) => {
                m.record(RecordKind::Histograms);
                for h in all {
                    if is_old(h.t_ms, limit, now) {
                        m.drop_one(Kind::Histograms, Reason::TooOld);
                    } else if !shared.v2 && has_custom_buckets(&h.value) {
                        m.drop_one(Kind::Histograms, Reason::CustomBuckets);
                    } else {
                        let what = (h.t_ms, h.start_ms, Value::Histogram(h.value));
                        items += self.stage(h.series, Kind::Histograms, what);
                    }
                }
            }
            LogEvent::Exemplars(all) => {
                m.record(RecordKind::Exemplars);
                for e in all {
                    if is_old(e.t_ms, limit, now) {
                        m.drop_one(Kind::Exemplars, Reason::TooOld);
                    } else {
                        items += self.stage(
                            e.series,
                            Kind::Exemplars,
                            (e.t_ms, 0, Value::Exemplar(e.value, e.labels)),
                        );
                    }
                }
            }
        }
        let record = shared.progress.read(end, items);
        items == 0 || self.queue(record)
    }

    /// Puts one to those of its shard; 1 where it is sent.
    fn stage(&mut self, series: u64, kind: Kind, (t_ms, start_ms, value): (i64, i64, Value)) -> u32 {
        let m = &self.own.shared.metrics;
        let series_of = match self.table.find(series) {
            Found::Kept(known) => Arc::clone(known),
            Found::Dropped => {
                m.drop_one(kind, Reason::DroppedSeries);
                self.own.counted.dropped.fetch_add(1, Ordering::Relaxed);
                return 0;
            }
            Found::Unknown => {
                m.drop_one(kind, Reason::UnknownSeries);
                self.own.counted.dropped.fetch_add(1, Ordering::Relaxed);
                return 0;
            }
        };
        let shard = (series % self.staged.len().max(1) as u64) as usize;
        let Some(staged) = self.staged.get_mut(shard) else { return 0 };
        staged.push_back(Item { series: series_of, t_ms, start_ms, value, record: 0 });
        1
    }

    /// Hands what is staged to the queues, waiting for room.
    fn queue(&mut self, record: u64) -> bool {
        let shared = Arc::clone(&self.own.shared);
        let (mut counts, mut newest) = ([0.0; 3], i64::MIN);
        for item in self.staged.iter_mut().flatten() {
            item.record = record;
            newest = newest.max(item.t_ms);
            let at = match item.value {
                Value::Float(_) => 0,
                Value::Histogram(_) => 1,
                Value::Exemplar(..) => 2,
            };
            counts[at] += 1.0;
        }
        shared.metrics.pending.iter().zip(counts).for_each(|(gauge, n)| gauge.add(n));
        let mut patience = Duration::ZERO;
        loop {
            for (items, queue) in self.staged.iter_mut().zip(&self.queues) {
                if !items.is_empty() {
                    queue.push(items, std::mem::take(&mut patience));
                }
            }
            if self.staged.iter().all(VecDeque::is_empty) {
                raise(&shared.metrics.highest, newest / 1000);
                return true;
            }
            if shared.hard.is_cancelled()
                || (shared.soft.is_cancelled() && !self.own.read_on.load(Ordering::Acquire))
            {
                return false;
            }
            shared.metrics.enqueue_retries.inc();
            patience = LOOK;
        }
    }
}

fn has_custom_buckets(value: &HistogramValue) -> bool {
    match value {
        HistogramValue::Int(h) => h.uses_custom_buckets(),
        HistogramValue::Float(h) => h.uses_custom_buckets(),
    }
}
