//! Figures under upstream's names (`queue_manager.go`, `tsdb/wlog/watcher.go`).

use telemetry::{Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramVec, Registry};

const LABELS: &[&str] = &["remote_name", "url"];
const DROPPED: &[&str] = &["remote_name", "url", "reason"];
const CONSUMER: &[&str] = &["consumer"];
const RECORDS: &[&str] = &["consumer", "type"];

/// Why something is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    TooOld,
    DroppedSeries,
    UnknownSeries,
    CustomBuckets,
}

const REASONS: [(&str, Reason); 4] = [
    ("too_old", Reason::TooOld),
    ("dropped_series", Reason::DroppedSeries),
    ("unintentionally_dropped_series", Reason::UnknownSeries),
    ("nhcb_in_rw1_not_supported", Reason::CustomBuckets),
];

/// Bounds of upstream's histogram of durations.
const SECONDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0, 120.0, 300.0];

/// Samples, exemplars, histograms and metadata have families of their own each.
const KINDS: [&str; 4] = ["samples", "histograms", "exemplars", "metadata"];

/// All families.
#[derive(Clone, Debug)]
pub(crate) struct Families {
    sent: [CounterVec; 4],
    failed: [CounterVec; 4],
    retried: [CounterVec; 4],
    dropped: [CounterVec; 3],
    pending: [GaugeVec; 3],
    enqueue_retries: CounterVec,
    batch_seconds: HistogramVec,
    highest: GaugeVec,
    highest_sent: GaugeVec,
    settings: [GaugeVec; 4],
    shards: GaugeVec,
    shards_desired: GaugeVec,
    bytes: CounterVec,
    metadata_bytes: CounterVec,
    skipped_segments: CounterVec,
    records: CounterVec,
    undecodable: CounterVec,
    before: CounterVec,
    segment: GaugeVec,
}

fn name(rest: &str) -> String {
    format!("prometheus_remote_storage_{rest}")
}

impl Families {
    pub(crate) fn new(r: &Registry) -> Self {
        let kinds = |suffix: &str, help: &str| {
            KINDS.map(|kind| {
                let what = if kind == "metadata" { "metadata entries" } else { kind };
                r.counter_vec(&name(&format!("{kind}{suffix}")), &help.replace('%', what), LABELS)
            })
        };
        let three = ["samples", "histograms", "exemplars"];
        let gauge = |rest: &str, help: &str| r.gauge_vec(&name(rest), help, LABELS);
        let counter = |rest: &str, help: &str| r.counter_vec(&name(rest), help, LABELS);
        let watcher = |rest: &str| format!("prometheus_wal_watcher_{rest}");
        // Nothing tells the watcher of writes, it looks: shown for those who ask for it.
        let _ = r.counter_vec(
            &watcher("notifications_skipped_total"),
            "The number of WAL write notifications that the Watcher has skipped due to already being in a WAL read routine.",
            CONSUMER,
        );
        Families {
            sent: kinds("_total", "Total number of % sent to remote storage."),
            failed: kinds("_failed_total", "Total number of % which failed on send to remote storage, non-recoverable errors."),
            retried: kinds("_retried_total", "Total number of % which failed on send to remote storage but were retried because the send error was recoverable."),
            dropped: three.map(|kind| {
                let help = format!("Total number of {kind} which were dropped after being read from the WAL before being sent via remote write, either via relabelling, due to being too old or unintentionally because of an unknown reference ID.");
                r.counter_vec(&name(&format!("{kind}_dropped_total")), &help, DROPPED)
            }),
            pending: three.map(|kind| {
                let help = format!("The number of {kind} pending in the queues shards to be sent to the remote storage.");
                gauge(&format!("{kind}_pending"), &help)
            }),
            enqueue_retries: counter("enqueue_retries_total", "Total number of times enqueue has failed because a shards queue was full."),
            batch_seconds: r.histogram_vec(
                &name("sent_batch_duration_seconds"),
                "Duration of send calls to the remote storage.",
                SECONDS,
                LABELS,
            ),
            highest: gauge("queue_highest_timestamp_seconds", "Highest timestamp that was enqueued, in seconds since epoch. Initialized to 0 when no data has been received yet."),
            highest_sent: gauge("queue_highest_sent_timestamp_seconds", "Highest timestamp successfully sent by this queue, in seconds since epoch. Initialized to 0 when no data has been sent yet."),
            settings: [
                gauge("shard_capacity", "The capacity of each shard of the queue used for parallel sending to the remote storage."),
                gauge("shards_max", "The maximum number of shards that the queue is allowed to run."),
                gauge("shards_min", "The minimum number of shards that the queue is allowed to run."),
                gauge("max_samples_per_send", "The maximum number of samples to be sent, in a single request, to the remote storage. Note that, when sending of exemplars over remote write is enabled, exemplars count towards this limit."),
            ],
            shards: gauge("shards", "The number of shards used for parallel sending to the remote storage."),
            shards_desired: gauge("shards_desired", "The number of shards that the queues shard calculation wants to run based on the rate of samples in vs. samples out."),
            bytes: counter("bytes_total", "The total number of bytes of data (not metadata) sent by the queue after compression. Note that when exemplars over remote write is enabled the exemplars included in a remote write request count towards this metric."),
            metadata_bytes: counter("metadata_bytes_total", "The total number of bytes of metadata sent by the queue after compression."),
            skipped_segments: r.counter_vec(
                "godwit_remote_storage_skipped_segments_total",
                "Segments of the log that were cut before this destination had taken them: their samples are not sent.",
                LABELS,
            ),
            records: r.counter_vec(&watcher("records_read_total"), "Number of records read by the WAL watcher from the WAL.", RECORDS),
            undecodable: r.counter_vec(&watcher("record_decode_failures_total"), "Number of records read by the WAL watcher that resulted in an error when decoding.", CONSUMER),
            before: r.counter_vec(&watcher("samples_sent_pre_tailing_total"), "Number of sample records read by the WAL watcher and sent to remote write during replay of existing WAL.", CONSUMER),
            segment: r.gauge_vec(&watcher("current_segment"), "Current segment the WAL watcher is reading records from.", CONSUMER),
        }
    }

    /// Those of one destination, with zeros.
    pub(crate) fn of(&self, remote: &str, url: &str) -> Metrics {
        let l = &[remote, url];
        let dropped = |v: &CounterVec| REASONS.map(|(reason, _)| v.with(&[remote, url, reason]));
        let records = |kind: &str| self.records.with(&[remote, kind]);
        Metrics {
            families: self.clone(),
            labels: [remote.to_string(), url.to_string()],
            sent: self.sent.each_ref().map(|v| v.with(l)),
            failed: self.failed.each_ref().map(|v| v.with(l)),
            retried: self.retried.each_ref().map(|v| v.with(l)),
            dropped: self.dropped.each_ref().map(dropped),
            pending: self.pending.each_ref().map(|v| v.with(l)),
            enqueue_retries: self.enqueue_retries.with(l),
            batch_seconds: self.batch_seconds.with(l),
            highest: self.highest.with(l),
            highest_sent: self.highest_sent.with(l),
            settings: self.settings.each_ref().map(|v| v.with(l)),
            shards: self.shards.with(l),
            shards_desired: self.shards_desired.with(l),
            bytes: self.bytes.with(l),
            metadata_bytes: self.metadata_bytes.with(l),
            skipped_segments: self.skipped_segments.with(l),
            records: RECORD_KINDS.map(records),
            undecodable: self.undecodable.with(&[remote]),
            before: self.before.with(&[remote]),
            segment: self.segment.with(&[remote]),
        }
    }
}

/// Kinds of records, as upstream names them.
const RECORD_KINDS: [&str; 5] = ["series", "samples", "histogram_samples", "exemplars", "metadata"];

/// Which of them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RecordKind {
    Series,
    Samples,
    Histograms,
    Exemplars,
    Metadata,
}

/// What the families are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Samples,
    Histograms,
    Exemplars,
}

/// One destination's.
#[derive(Debug)]
pub(crate) struct Metrics {
    families: Families,
    labels: [String; 2],
    /// By [`KINDS`].
    pub(crate) sent: [Counter; 4],
    pub(crate) failed: [Counter; 4],
    pub(crate) retried: [Counter; 4],
    dropped: [[Counter; 4]; 3],
    pub(crate) pending: [Gauge; 3],
    pub(crate) enqueue_retries: Counter,
    pub(crate) batch_seconds: Histogram,
    pub(crate) highest: Gauge,
    pub(crate) highest_sent: Gauge,
    /// Capacity, most shards, least shards, samples in a request.
    pub(crate) settings: [Gauge; 4],
    pub(crate) shards: Gauge,
    pub(crate) shards_desired: Gauge,
    pub(crate) bytes: Counter,
    pub(crate) metadata_bytes: Counter,
    pub(crate) skipped_segments: Counter,
    records: [Counter; 5],
    pub(crate) undecodable: Counter,
    pub(crate) before: Counter,
    pub(crate) segment: Gauge,
}

impl Metrics {
    pub(crate) fn drop_one(&self, kind: Kind, reason: Reason) {
        let at = REASONS.iter().position(|(_, r)| *r == reason).unwrap_or(0);
        if let Some(counter) = self.dropped.get(kind as usize).and_then(|all| all.get(at)) {
            counter.inc();
        }
    }

    pub(crate) fn record(&self, kind: RecordKind) {
        if let Some(counter) = self.records.get(kind as usize) {
            counter.inc();
        }
    }

    /// Forgets a destination that is gone.
    pub(crate) fn end(&self) {
        let f = &self.families;
        let [remote, url] = &self.labels;
        let l = &[remote.as_str(), url.as_str()];
        for v in f.sent.iter().chain(&f.failed).chain(&f.retried) {
            v.remove(l);
        }
        for v in [&f.enqueue_retries, &f.bytes, &f.metadata_bytes, &f.skipped_segments] {
            v.remove(l);
        }
        for v in f.pending.iter().chain(&f.settings) {
            v.remove(l);
        }
        for v in [&f.highest, &f.highest_sent, &f.shards, &f.shards_desired] {
            v.remove(l);
        }
        f.batch_seconds.remove(l);
        for (reason, _) in REASONS {
            f.dropped.iter().for_each(|v| v.remove(&[remote, url, reason]));
        }
        for kind in RECORD_KINDS {
            f.records.remove(&[remote, kind]);
        }
        f.undecodable.remove(&[remote]);
        f.before.remove(&[remote]);
        f.segment.remove(&[remote]);
    }
}
