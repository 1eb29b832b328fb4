//! One target's loop: wait for its place in time, fetch, ingest, report. Follows upstream's `scrapeLoop`
//! (`scrape/scrape.go`).
//!
//! A loop is one task and one timer. What is large (bodies, decoders) is borrowed from pools for the time
//! of a scrape; what stays with a target is its cache and its connection.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use exposition::{Format, ScrapeProtocol};
use http::header::{self, HeaderValue};
use net::{BodyError, ClientError, HttpClient, Line, ReadOptions};
use parking_lot::Mutex;
use telemetry::{Histogram, Summary};
use tokio::sync::oneshot;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::held::{Body, Fetched, Held};
use crate::ingest::{IngestFailure, IngestOptions, IngestReport, LabelLimits, TargetCache};
use crate::manager::Env;
use crate::metrics::Metrics;
use crate::pool::{PoolShared, Settings};
use crate::report::{Figures, ReportSeries};
use crate::request;
use crate::room::Place;
use crate::target::{ALWAYS_CLASSIC_LABEL, CONVERT_CLASSIC_LABEL, NATIVE_LABEL, Target};

/// Samples may lie this far in the future, as upstream's `maxAheadTime`.
const AHEAD_MAX_MS: i64 = 10 * 60 * 1000;
/// A difference between wall clock and monotonic clock above this is a step of the wall clock, not jitter:
/// the grid to which sample times are aligned starts anew.
const CLOCK_STEP_MIN: Duration = Duration::from_millis(100);
/// Bytes read of an answer that is not 200, so that its connection can be used again.
const ERROR_BODY_BYTES_MAX: u64 = 16 << 10;

/// What belongs to a target from scrape to scrape. It travels to the thread that ingests and back.
struct Memory {
    cache: TargetCache,
    report: ReportSeries,
    options: IngestOptions,
}

/// What a loop leaves to the one that goes on with its series, after a reload gave the target another
/// interval or timeout: no staleness markers come between, and series that are gone meanwhile still end.
pub(crate) struct Inheritance {
    memory: Box<Memory>,
    settings: Arc<Settings>,
    last_size: usize,
    held: Vec<Held>,
}

/// Where a stopped loop finds its heir, if it has one.
pub(crate) type Heir = Arc<Mutex<Option<oneshot::Sender<Inheritance>>>>;

/// The grid of a target's scrape times.
struct Grid {
    wall: Duration,
    monotonic: Instant,
}

pub(crate) struct ScrapeLoop {
    shared: Arc<PoolShared>,
    target: Arc<Target>,
    stop: CancellationToken,
    interval: Duration,
    timeout: Duration,
    /// Set where the target's labels make no sense; every scrape fails with it then.
    broken: Option<String>,
    settings: Arc<Settings>,
    client: Result<HttpClient, ClientError>,
    uri: Result<http::Uri, String>,
    line: Line,
    timeout_header: HeaderValue,
    memory: Option<Box<Memory>>,
    interval_length: Summary,
    interval_length_histogram: Histogram,
    last_start: Option<Instant>,
    /// Whether the series of `memory` may have samples, which then need their end marked.
    scraped: bool,
    last_size: usize,
    /// Until the first scrape is over.
    place: Option<Place>,
    heir: Heir,
    predecessor: Option<oneshot::Receiver<Inheritance>>,
    /// Scrapes from before the store was open, in their order.
    held: Vec<Held>,
}

/// What came of ingesting.
struct Ingested {
    report: IngestReport,
    error: Option<String>,
}

impl ScrapeLoop {
    pub(crate) fn new(
        shared: Arc<PoolShared>,
        target: Arc<Target>,
        stop: CancellationToken,
        place: Place,
    ) -> Self {
        let settings = shared.settings.load_full();
        let (interval, timeout, broken) = match target.interval_and_timeout() {
            Ok((interval, timeout)) => (interval, timeout, None),
            Err(e) => (settings.config.scrape_interval, settings.config.scrape_timeout, Some(e)),
        };
        let label = model::duration::format(interval);
        let metrics = &shared.env.metrics;
        let interval_length = metrics.interval_length.with(&[&label]);
        let interval_length_histogram = metrics.interval_length_histogram.with(&[&label]);
        let memory = Box::new(new_memory(&shared, &settings, &target));
        target.set_metadata(memory.cache.metadata().clone());
        let timeout_header = HeaderValue::from_str(&request::timeout_header(timeout));
        ScrapeLoop {
            client: shared.client(&settings, &target),
            uri: uri_of(&target),
            line: Line::default(),
            shared,
            target,
            stop,
            interval: interval.max(Duration::from_millis(1)),
            timeout,
            broken,
            settings,
            timeout_header: timeout_header.unwrap_or_else(|_| HeaderValue::from_static("0")),
            memory: Some(memory),
            interval_length,
            interval_length_histogram,
            last_start: None,
            scraped: false,
            last_size: 0,
            place: Some(place),
            heir: Heir::default(),
            predecessor: None,
            held: Vec::new(),
        }
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    pub(crate) fn heir(&self) -> Heir {
        Arc::clone(&self.heir)
    }

    /// Makes this loop go on with the series of another one, which is about to be stopped.
    pub(crate) fn succeed(&mut self, heir: &Heir) {
        let (leave, take) = oneshot::channel();
        *heir.lock() = Some(leave);
        self.predecessor = Some(take);
    }

    async fn inherit(&mut self) {
        let Some(predecessor) = self.predecessor.take() else { return };
        // An error means that there is nothing to go on with. The wait ends with the other's last scrape.
        if let Ok(left) = predecessor.await {
            self.target.set_metadata(left.memory.cache.metadata().clone());
            self.memory = Some(left.memory);
            self.settings = left.settings;
            self.last_size = left.last_size;
            self.held = left.held;
            self.scraped = true;
        }
    }

    /// Leaves what belongs to the target to the heir. True where one took it.
    fn bequeath(&mut self) -> bool {
        let Some(heir) = self.heir.lock().take() else { return false };
        let Some(memory) = self.memory.take() else { return false };
        let settings = Arc::clone(&self.settings);
        let held = std::mem::take(&mut self.held);
        match heir.send(Inheritance { memory, settings, last_size: self.last_size, held }) {
            Ok(()) => true,
            Err(left) => {
                (self.memory, self.held) = (Some(left.memory), left.held);
                false
            }
        }
    }

    fn env(&self) -> &Env {
        &self.shared.env
    }

    /// Runs until stopped; then writes staleness markers, unless the target came back or the server stops.
    /// `done` is told after the last scrape. Boxed: the task would hold what is passed by value twice.
    pub(crate) async fn run(mut self: Box<Self>, done: oneshot::Sender<()>) {
        self.inherit().await;
        let mut ticker = loop {
            let begin = tokio::time::sleep(self.begins_in().await);
            tokio::select! {
                () = begin => {}
                () = self.stop.cancelled() => {}
            };
            let now = Instant::now();
            let mut ticker = tokio::time::interval_at(now + self.interval, self.interval);
            ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
            let mut grid = Grid { wall: self.env().clock.now(), monotonic: now };
            while !self.stop.is_cancelled() && !self.env().duty.is_held() {
                let time = self.aligned(&mut grid);
                self.scrape(time).await;
                self.place = None;
                if !self.held.is_empty() && !Box::pin(self.opened_in_time(&mut ticker)).await {
                    continue;
                }
                tokio::select! {
                    _ = ticker.tick() => {}
                    () = self.stop.cancelled() => {}
                }
            }
            if self.stop.is_cancelled() {
                break ticker;
            }
        };
        let shutdown = self.env().shutdown.is_cancelled();
        if shutdown && self.env().options.scrape_on_shutdown {
            let now = self.env().clock.now();
            self.scrape(now).await;
        }
        if !self.held.is_empty() && self.env().gate.is_open() {
            Box::pin(self.store_held()).await;
        }
        let left = self.scraped && self.bequeath();
        // No receiver means that nobody waits.
        let _ = done.send(());
        if !shutdown && self.scraped && !left {
            let clock = Arc::clone(&self.shared);
            if !self.held.is_empty() {
                tokio::select! {
                    () = clock.env.gate.opened() => Box::pin(self.store_held()).await,
                    () = clock.env.shutdown.cancelled() => return,
                }
            }
            let Some(time) = staleness_time(&clock, &mut ticker, self.interval).await else { return };
            if let Some(memory) = self.memory.take() {
                write_end(&self.shared, memory, time, self.settings.config.extra_scrape_metrics()).await;
            }
        }
    }

    /// Time to the target's place, from when on this server scrapes; waits where that is not known.
    async fn begins_in(&self) -> Duration {
        let shared = Arc::clone(&self.shared);
        // Boxed: it is waited for once in the life of a server, if ever.
        let from_ms = tokio::select! {
            from_ms = Box::pin(shared.env.duty.begins()) => from_ms,
            () = self.stop.cancelled() => return Duration::ZERO,
        };
        let now = self.env().clock.now();
        let from = now.max(Duration::from_millis(u64::try_from(from_ms).unwrap_or(0)));
        let offset = self.target.offset(from, self.interval, self.env().duty.seed());
        self.env().options.initial_scrape_offset + (from - now) + offset
    }

    /// Waits for the next tick, the end, or the store to be open: what is held is stored then, and true
    /// comes back.
    async fn opened_in_time(&mut self, ticker: &mut Interval) -> bool {
        let shared = Arc::clone(&self.shared);
        tokio::select! {
            () = shared.env.gate.opened() => {}
            _ = ticker.tick() => return false,
            () = self.stop.cancelled() => return false,
        }
        self.store_held().await;
        true
    }

    /// The time that samples get: now, or the nearest point of the grid where that is within the
    /// tolerance. Timers jitter by a millisecond; aligned times compress far better.
    fn aligned(&self, grid: &mut Grid) -> Duration {
        let options = &self.env().options;
        let (now, monotonic) = (self.env().clock.now(), Instant::now());
        let expected = grid.wall + monotonic.saturating_duration_since(grid.monotonic);
        if now.abs_diff(expected) > CLOCK_STEP_MIN {
            *grid = Grid { wall: now, monotonic };
        }
        if !options.align_timestamps {
            return now;
        }
        let tolerance = options.timestamp_tolerance.min(self.interval / 100);
        let (interval, since) = (self.interval.as_nanos(), now.saturating_sub(grid.wall).as_nanos());
        let rounds = (since + interval / 2) / interval;
        let point = grid.wall + Duration::from_nanos(u64::try_from(rounds * interval).unwrap_or(0));
        if now.abs_diff(point) <= tolerance { point } else { now }
    }

    /// Takes settings that changed since the last scrape.
    fn adopt(&mut self) {
        let new = self.shared.settings.load_full();
        if Arc::ptr_eq(&new, &self.settings) {
            return;
        }
        self.client = self.shared.client(&new, &self.target);
        let fresh = new_memory(&self.shared, &new, &self.target);
        if new.cache_epoch != self.settings.cache_epoch || self.memory.is_none() {
            self.target.set_metadata(fresh.cache.metadata().clone());
            let old = self.memory.replace(Box::new(fresh));
            // Series that the new rules no longer make end like those of a target that is gone; the
            // others have newer samples by then, which the markers cannot get before.
            if let (Some(old), true) = (old, self.scraped) {
                let (shared, interval) = (Arc::clone(&self.shared), self.interval);
                let extra = self.settings.config.extra_scrape_metrics();
                tokio::spawn(async move {
                    let mut ticker = tokio::time::interval_at(Instant::now() + interval, interval);
                    if let Some(time) = staleness_time(&shared, &mut ticker, interval).await {
                        write_end(&shared, old, time, extra).await;
                    }
                });
            }
        } else if let Some(memory) = &mut self.memory {
            memory.options = fresh.options;
        }
        self.settings = new;
    }

    async fn scrape(&mut self, time: Duration) {
        let start = Instant::now();
        self.scraped = true;
        if let Some(last) = self.last_start.replace(start) {
            let length = start.saturating_duration_since(last).as_secs_f64();
            self.interval_length.observe(length);
            self.interval_length_histogram.observe(length);
        }
        self.adopt();
        let forced = self.shared.forced_error.load_full();
        let forced = forced.map(|e| (*e).clone()).or_else(|| self.broken.clone());
        let fetched = match forced {
            Some(error) => Fetched { body: None, error: Some(error), body_bytes: 0.0 },
            // Boxed: the future is several KiB, which a waiting target need not hold.
            None => Box::pin(self.fetch()).await,
        };
        if let Some((body, _)) = &fetched.body
            && !body.is_empty()
        {
            self.last_size = body.len();
        }
        if !self.env().gate.is_open() {
            return Box::pin(self.hold(fetched, time, start.elapsed())).await;
        }
        if !self.held.is_empty() {
            Box::pin(self.store_held()).await;
        }
        let size = fetched.len();
        Box::pin(self.store(size, move || fetched, (time, start, None))).await;
    }

    /// Keeps a scrape until the store is open, as long as there is memory for it.
    async fn hold(&mut self, fetched: Fetched, time: Duration, took: Duration) {
        let gate = Arc::clone(&self.env().gate);
        let held = if fetched.len() <= self.env().options.inline_ingest_bytes_max {
            Held::new(&gate, fetched, time, took)
        } else {
            let _place = self.env().large.acquire().await;
            let hold = move || Held::new(&gate, fetched, time, took);
            tokio::task::spawn_blocking(hold).await.ok().flatten()
        };
        self.held.extend(held);
    }

    /// Stores what was held, in its order. Others of the thread have their turn between two pages.
    async fn store_held(&mut self) {
        for held in std::mem::take(&mut self.held) {
            let (size, time, took) = (held.len(), held.time, held.took);
            self.store(size, move || held.fetched(), (time, Instant::now(), Some(took))).await;
            tokio::task::yield_now().await;
        }
    }

    /// Ingests a scrape of so many bytes, here or on a thread for large ones. `took` where the time since
    /// `start` is not what it took.
    async fn store(
        &mut self,
        size: usize,
        fetched: impl FnOnce() -> Fetched + Send + 'static,
        (time, start, took): (Duration, Instant, Option<Duration>),
    ) {
        let Some(memory) = self.memory.take() else { return };
        let work = Work {
            shared: Arc::clone(&self.shared),
            target: Arc::clone(&self.target),
            settings: Arc::clone(&self.settings),
            timeout: self.timeout,
            start,
            time,
            took,
        };
        let memory = if size <= self.env().options.inline_ingest_bytes_max {
            Some(work.ingest(memory, fetched()))
        } else {
            // Closed never; without a place it goes on all the same.
            let _place = self.env().large.acquire().await;
            tokio::task::spawn_blocking(move || work.ingest(memory, fetched())).await.ok()
        };
        // Lost only where the runtime is shutting down; the next scrape, if any, starts anew.
        self.memory = memory;
    }

    async fn fetch(&mut self) -> Fetched {
        let failed = |error: String| Fetched { body: None, error: Some(error), body_bytes: 0.0 };
        let (client, uri) = match (&self.client, &self.uri) {
            (Ok(client), Ok(uri)) => (client, uri),
            (Err(e), _) => return failed(format!("error creating HTTP client: {e}")),
            (_, Err(e)) => return failed(e.clone()),
        };
        let deadline = Instant::now() + self.timeout;
        let mut headers = http::HeaderMap::with_capacity(8);
        headers.insert(header::ACCEPT, self.settings.headers.accept.clone());
        let encoding = HeaderValue::from_static(self.settings.headers.accept_encoding);
        headers.insert(header::ACCEPT_ENCODING, encoding);
        headers.insert("x-prometheus-scrape-timeout-seconds", self.timeout_header.clone());
        let pool = &self.shared.env.bodies;
        let asked = client.get(&mut self.line, pool, uri, headers);
        let response = match tokio::time::timeout_at(deadline, asked).await {
            Ok(Ok(response)) => response,
            Ok(Err(e)) => return failed(e.to_string()),
            Err(_) => return failed(format!("Get {:?}: context deadline exceeded", uri.to_string())),
        };
        if response.status() != http::StatusCode::OK {
            let error = format!("server returned HTTP status {}", response.status_text());
            let drain = ReadOptions { limit_bytes: ERROR_BODY_BYTES_MAX, ..ReadOptions::default() };
            // Only to be polite to the connection; whatever it brings is of no interest.
            let _ = tokio::time::timeout_at(deadline, pool.read(response, drain)).await;
            return failed(error);
        }
        let content_type = response.content_type();
        let options = ReadOptions {
            limit_bytes: self.settings.config.body_size_limit,
            zstd: self.shared.env.options.zstd_scrape,
            size_hint: self.last_size,
        };
        let read = tokio::time::timeout_at(deadline, pool.read(response, options)).await;
        let body = match read.unwrap_or(Err(BodyError::Timeout)) {
            Ok(body) => body,
            Err(e) => {
                let too_large = matches!(e, BodyError::TooLarge | BodyError::HardLimit { .. });
                if too_large {
                    self.shared.env.metrics.exceeded_body_size.inc();
                }
                return Fetched {
                    body: None,
                    error: Some(e.to_string()),
                    body_bytes: if too_large { -1.0 } else { 0.0 },
                };
            }
        };
        let body_bytes = body.len() as f64;
        match Format::from_content_type(&content_type, self.settings.fallback) {
            Ok(chosen) => {
                if let Some(warning) = chosen.warning {
                    tracing::debug!(target = %self.target.url(), warning, "Invalid content type on scrape");
                }
                Fetched { body: Some((Body::Pooled(body), chosen.format)), error: None, body_bytes }
            }
            Err(e) => Fetched { body: None, error: Some(e.to_string()), body_bytes },
        }
    }
}

/// One scrape's synchronous part, with all it needs, so that it can run on any thread.
struct Work {
    shared: Arc<PoolShared>,
    target: Arc<Target>,
    settings: Arc<Settings>,
    timeout: Duration,
    start: Instant,
    time: Duration,
    took: Option<Duration>,
}

impl Work {
    fn took(&self) -> Duration {
        self.took.unwrap_or_else(|| self.start.elapsed())
    }

    fn ingest(self, mut memory: Box<Memory>, fetched: Fetched) -> Box<Memory> {
        // A bug in a parser must not end the target's loop, nor must its cache be trusted afterwards.
        let caught =
            std::panic::catch_unwind(AssertUnwindSafe(|| self.ingest_and_report(&mut memory, fetched)));
        if caught.is_err() {
            let url = self.target.url().to_string();
            tracing::error!(target = url, "ingesting a scrape failed inside the server; please report this");
            let took = self.took();
            self.target.report(self.time, took, Some("internal error while ingesting the response"), None);
            *memory = new_memory(&self.shared, &self.settings, &self.target);
            self.target.set_metadata(memory.cache.metadata().clone());
        }
        memory
    }

    fn ingest_and_report(&self, memory: &mut Memory, fetched: Fetched) {
        let env = &self.shared.env;
        let t_ms = i64::try_from(self.time.as_millis()).unwrap_or(i64::MAX);
        // The scrape's own time is never too far ahead: a clock set back meanwhile costs no sample.
        memory.options.max_time_ms = env.clock.now_ms().max(t_ms).saturating_add(AHEAD_MAX_MS);
        let mut app = env.appendable.appender();
        let mut done = Ingested { report: IngestReport::default(), error: fetched.error };
        if let Some(error) = &done.error {
            tracing::debug!(scrape_pool = self.shared.name, target = %self.target.url(), error, "Scrape failed");
            if let Some(log) = &*self.shared.failure_log.load() {
                log.write(env.clock.now(), error, &self.shared.name, &self.target.url().to_string());
            }
        }
        let ended = match &fetched.body {
            Some((body, format)) => memory.cache.ingest(body, *format, t_ms, &memory.options, &mut *app),
            None => memory.cache.write_stale(t_ms, &memory.options, &mut *app),
        };
        match ended {
            Ok(report) if fetched.body.is_some() => done.report = report,
            // The markers of a failed scrape are no samples of it.
            Ok(_) => {}
            Err(e) => {
                tracing::debug!(scrape_pool = self.shared.name, target = %self.target.url(), err = %e, "Append failed");
                count_failure(&env.metrics, &e.failure);
                app.rollback();
                app = env.appendable.appender();
                if fetched.body.is_some() {
                    done.report = e.report;
                    if let Err(e) = memory.cache.write_stale(t_ms, &memory.options, &mut *app) {
                        app.rollback();
                        app = env.appendable.appender();
                        tracing::warn!(scrape_pool = self.shared.name, target = %self.target.url(), err = %e, "Append failed");
                    }
                }
                done.error.get_or_insert(e.to_string());
            }
        }
        drop(fetched.body);
        count(&env.metrics, &done.report);

        let took = self.took();
        let refused = done.report.series_refused;
        let note = memory.cache.refused_for().filter(|_| refused > 0 && done.error.is_none()).map(|reason| {
            format!(
                "{refused} new series refused, the other samples are stored: series limit reached: {reason}"
            )
        });
        if refused > 0 {
            env.metrics.series_refused.with(&[&self.shared.name]).add(refused as f64);
        }
        self.target.report(self.time, took, done.error.as_deref(), note.as_deref());
        let config = &self.settings.config;
        let extra = config.extra_scrape_metrics();
        let figures = Figures {
            healthy: done.error.is_none(),
            duration_seconds: took.as_secs_f64(),
            scraped: done.report.scraped,
            post_relabel: done.report.post_relabel,
            series_added: done.report.series_added,
            timeout_seconds: self.timeout.as_secs_f64(),
            sample_limit: config.sample_limit,
            body_bytes: fetched.body_bytes,
        };
        let metadata = memory.options.append_metadata;
        // A new target is seen even where its own series are refused.
        app.outrank(true);
        if let Err(err) = memory.report.append(&mut *app, t_ms, &figures, extra, metadata) {
            tracing::warn!(scrape_pool = self.shared.name, target = %self.target.url(), %err, "Appending scrape report failed");
            app.rollback();
            return;
        }
        // A thread that waits for the log wakes up once more for each scrape.
        if let Err(err) = app.commit_soon() {
            tracing::error!(scrape_pool = self.shared.name, target = %self.target.url(), %err, "Scrape commit failed");
        }
        if extra {
            env.metrics.scrape_duration.observe(self.took().as_secs_f64());
        }
    }
}

fn count(metrics: &Metrics, report: &IngestReport) {
    metrics.out_of_order.add(report.out_of_order as f64);
    metrics.duplicates.add(report.duplicates as f64);
    metrics.out_of_bounds.add(report.out_of_bounds as f64);
    metrics.exemplar_out_of_order.add(report.exemplars_out_of_order as f64);
    metrics.cache_flush_forced.add(report.cache_flush_forced as f64);
}

fn count_failure(metrics: &Metrics, failure: &IngestFailure) {
    match failure {
        IngestFailure::LabelLimit(_) => metrics.exceeded_label_limits.inc(),
        IngestFailure::SampleLimit => metrics.exceeded_sample_limit.inc(),
        IngestFailure::BucketLimit => metrics.exceeded_bucket_limit.inc(),
        _ => {}
    }
}

/// When the next scrape would have been, once it is certain that nobody took the series over: after two
/// intervals and a tenth. `None` where the server stops first.
async fn staleness_time(shared: &PoolShared, ticker: &mut Interval, interval: Duration) -> Option<Duration> {
    let wait = async {
        ticker.tick().await;
        let time = shared.env.clock.now();
        ticker.tick().await;
        tokio::time::sleep(interval / 10).await;
        time
    };
    tokio::select! {
        time = wait => Some(time),
        () = shared.env.shutdown.cancelled() => None,
    }
}

/// Marks all series of a target that is gone.
async fn write_end(shared: &Arc<PoolShared>, mut memory: Box<Memory>, time: Duration, extra: bool) {
    let shared = Arc::clone(shared);
    let write = move || {
        let t_ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let env = &shared.env;
        memory.options.max_time_ms = env.clock.now_ms().max(t_ms).saturating_add(AHEAD_MAX_MS);
        let mut app = env.appendable.appender();
        if let Err(err) = memory.cache.write_stale(t_ms, &memory.options, &mut *app) {
            tracing::warn!(scrape_pool = shared.name, %err, "Stale append failed");
            app.rollback();
            app = env.appendable.appender();
        }
        app.discard_out_of_order(true);
        if let Err(err) = memory.report.append_stale(&mut *app, t_ms, extra) {
            tracing::warn!(scrape_pool = shared.name, %err, "Stale report failed");
            app.rollback();
        } else if let Err(err) = app.commit() {
            tracing::warn!(scrape_pool = shared.name, %err, "Stale commit failed");
        }
    };
    // Many targets may end at once: not on the threads that scrape.
    if tokio::task::spawn_blocking(write).await.is_err() {
        tracing::error!("writing staleness markers failed inside the server");
    }
}

fn new_memory(shared: &PoolShared, settings: &Settings, target: &Target) -> Memory {
    let (config, options) = (&settings.config, &shared.env.options);
    let convert = target.bool_label(CONVERT_CLASSIC_LABEL, config.convert_classic_histograms_to_nhcb());
    let always = target.bool_label(ALWAYS_CLASSIC_LABEL, config.always_scrape_classic_histograms());
    let ingest = IngestOptions {
        target_labels: target.labels().clone(),
        honor_labels: config.honor_labels,
        honor_timestamps: config.honor_timestamps,
        track_timestamps_staleness: config.track_timestamps_staleness,
        metric_relabel: Arc::clone(&settings.metric_relabel),
        label_limits: LabelLimits {
            labels_max: config.label_limit,
            name_bytes_max: config.label_name_length_limit,
            value_bytes_max: config.label_value_length_limit,
        },
        sample_limit: config.sample_limit,
        bucket_limit: config.native_histogram_bucket_limit,
        native_histogram_min_bucket_factor: config.native_histogram_min_bucket_factor,
        native_histograms: target.bool_label(NATIVE_LABEL, config.scrape_native_histograms()),
        always_scrape_classic_histograms: always,
        convert_classic_histograms_to_nhcb: convert,
        start_zero_ingestion: options.start_timestamp_zero_ingestion,
        parse_start_timestamps: options.parse_start_timestamps || options.start_timestamp_zero_ingestion,
        type_and_unit_labels: options.type_and_unit_labels,
        append_metadata: options.append_metadata,
        validation: config.validation_scheme(),
        ..IngestOptions::default()
    };
    Memory { cache: TargetCache::new(), report: ReportSeries::new(target.labels()), options: ingest }
}

fn uri_of(target: &Target) -> Result<http::Uri, String> {
    let url = target.url().to_string();
    http::Uri::try_from(url.as_str()).map_err(|e| format!("parse {url:?}: {e}"))
}

/// The configuration's protocol as the parser names it; those it cannot read are no fallback.
pub(crate) fn fallback(protocol: Option<config::ScrapeProtocol>) -> Option<ScrapeProtocol> {
    use config::ScrapeProtocol as Config;
    match protocol? {
        Config::PrometheusProto => Some(ScrapeProtocol::PrometheusProto),
        Config::PrometheusText0_0_4 => Some(ScrapeProtocol::PrometheusText0_0_4),
        Config::PrometheusText1_0_0 => Some(ScrapeProtocol::PrometheusText1_0_0),
        Config::OpenMetricsText0_0_1 => Some(ScrapeProtocol::OpenMetricsText0_0_1),
        Config::OpenMetricsText1_0_0 => Some(ScrapeProtocol::OpenMetricsText1_0_0),
        Config::OpenMetricsText2_0_0 => None,
    }
}
