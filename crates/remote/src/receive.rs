//! The receiver of remote write: from headers and body to samples in the store and an answer. Follows
//! upstream's `storage/remote/write_handler.go` in what is stored, refused and answered.

mod batch;
mod one;
mod two;

use std::sync::Arc;

use model::clock::Clock;
use parking_lot::{Mutex, RwLock};
use storage::{AppendError, Appendable, Logged, SeriesRef};
use telemetry::Registry;

use crate::cache::{GENERATION_ENTRIES_MAX, RefCache};
use crate::metrics::Metrics;
use crate::snappy::{DECODED_BYTES_MAX, decompress};
use crate::v1::DecodedV1;
use crate::v2::DecodedV2;

use batch::Batch;

/// The two messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MessageType {
    /// `prometheus.WriteRequest`.
    V1,
    /// `io.prometheus.write.v2.Request`.
    V2,
}

impl MessageType {
    /// The protobuf name, as in `Content-Type` and in the flag.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            MessageType::V1 => "prometheus.WriteRequest",
            MessageType::V2 => "io.prometheus.write.v2.Request",
        }
    }

    /// From the protobuf name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [MessageType::V1, MessageType::V2].into_iter().find(|m| m.as_str() == name)
    }

    /// From a `Content-Type`; an absent one means 1.0.
    ///
    /// # Errors
    /// Upstream's text for the answer (status 415).
    pub fn from_content_type(content_type: &str) -> Result<Self, String> {
        const PROTOBUF: &str = "application/x-protobuf";
        let whole = content_type.trim();
        if whole.is_empty() {
            return Ok(MessageType::V1);
        }
        let mut parts = whole.split(';');
        if parts.next() != Some(PROTOBUF) {
            return Err(format!("expected {PROTOBUF} as the first (media) part, got {whole} content-type"));
        }
        for part in parts {
            let pair: Vec<&str> = part.split('=').collect();
            let [key, value] = pair[..] else {
                return Err(format!(
                    "as per https://www.rfc-editor.org/rfc/rfc9110#parameter expected parameters to be key-values, got {part} in {whole} content-type"
                ));
            };
            if key == "proto" {
                return MessageType::from_name(value).ok_or_else(|| {
                    format!(
                        "got {whole} content type; unknown type for remote write protobuf message {value}, supported: {}, {}",
                        MessageType::V1.as_str(),
                        MessageType::V2.as_str()
                    )
                });
            }
        }
        Ok(MessageType::V1)
    }
}

/// Settings of a receiver.
#[derive(Clone, Debug)]
pub struct ReceiverOptions {
    /// `--web.remote-write-receiver.accepted-protobuf-messages`.
    pub accepted: Vec<MessageType>,
    /// Feature `created-timestamp-zero-ingestion` (2.0 only).
    pub start_zero_ingestion: bool,
    /// Feature `type-and-unit-labels` (2.0 only).
    pub type_and_unit_labels: bool,
    /// Feature `metadata-wal-records` (2.0 only).
    pub append_metadata: bool,
    /// Entries of one of the two generations of the series cache, 32 bytes each.
    pub cache_entries: usize,
}

impl Default for ReceiverOptions {
    fn default() -> Self {
        ReceiverOptions {
            accepted: vec![MessageType::V1, MessageType::V2],
            start_zero_ingestion: false,
            type_and_unit_labels: false,
            append_metadata: false,
            cache_entries: GENERATION_ENTRIES_MAX,
        }
    }
}

/// What a request stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WriteStats {
    /// Float samples.
    pub samples: u64,
    /// Histograms.
    pub histograms: u64,
    /// Exemplars.
    pub exemplars: u64,
}

/// The answer to a request.
#[derive(Clone, Debug)]
pub struct WriteResponse {
    /// HTTP status: 204 where all was stored.
    pub status: u16,
    /// Text of the error, "" for none; to be written as a line.
    pub error: String,
    /// Sent as `X-Prometheus-Remote-Write-*-Written` for 2.0.
    pub written: Option<WriteStats>,
}

impl WriteResponse {
    fn refused(status: u16, error: String) -> Self {
        WriteResponse { status, error, written: None }
    }

    /// Response headers.
    #[must_use]
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let Some(w) = self.written else { return Vec::new() };
        vec![
            ("X-Prometheus-Remote-Write-Samples-Written", w.samples.to_string()),
            ("X-Prometheus-Remote-Write-Histograms-Written", w.histograms.to_string()),
            ("X-Prometheus-Remote-Write-Exemplars-Written", w.exemplars.to_string()),
        ]
    }
}

/// An answer that may be given once what it speaks of survives a kill.
#[derive(Debug)]
pub struct Answer {
    /// The answer.
    pub response: WriteResponse,
    /// To be waited for; `None` where there is nothing to wait for.
    pub logged: Option<Box<dyn Logged>>,
}

impl From<WriteResponse> for Answer {
    fn from(response: WriteResponse) -> Self {
        Answer { response, logged: None }
    }
}

/// Samples may be this far ahead of the clock: upstream's 10 minutes.
pub(crate) const AHEAD_MS_MAX: i64 = 10 * 60 * 1000;
/// Scratch sets kept for reuse, of some hundred KiB each in steady use: more requests than this at once
/// allocate their own.
const SCRATCH_KEPT: usize = 8;
/// A scratch buffer that grew beyond this (a rare giant request) is not kept.
const SCRATCH_BYTES_KEPT: usize = 4 << 20;
/// Errors of one 2.0 request that are listed in the answer; upstream lists all.
const ERRORS_LISTED_MAX: usize = 100;

/// Memory that requests reuse.
#[derive(Default)]
struct Scratch {
    body: Vec<u8>,
    v1: DecodedV1,
    v2: DecodedV2,
    batch: Batch,
    /// Cache entries to add or renew when the request is done.
    learned: Vec<(u128, SeriesRef)>,
    forgotten: Vec<u128>,
}

/// Takes remote writes for one store. Share it: the series cache is in it.
pub struct Receiver {
    store: Arc<dyn Appendable>,
    clock: Arc<dyn Clock>,
    options: ReceiverOptions,
    metrics: Metrics,
    // Read-locked once a request; write-locked only by requests with series that were not known.
    cache: RwLock<RefCache>,
    scratch: Mutex<Vec<Scratch>>,
}

/// How a request failed as a whole.
struct Failure {
    status: u16,
    text: String,
}

impl From<crate::WireError> for Failure {
    fn from(e: crate::WireError) -> Self {
        Failure { status: 400, text: e.to_string() }
    }
}

/// What an append error means for a request.
pub(crate) enum Verdict {
    /// The sample is at fault; sending it again is of no use (400).
    BadSample,
    /// A limit of the store, or labels that it does not take: the rest of the request is stored. With this
    /// status.
    Limited(u16),
    /// The store is at fault; the sender should come again.
    Retry(u16),
}

pub(crate) fn verdict(e: &AppendError) -> Verdict {
    match e {
        AppendError::OutOfOrder
        | AppendError::OutOfBounds
        | AppendError::TooOld
        | AppendError::Duplicate
        | AppendError::InvalidHistogram(_) => Verdict::BadSample,
        // Not 5xx: a sender would hold back all its series until there is room for new ones. Whether it comes
        // again is for its own settings (`retry_on_http_429`).
        AppendError::SeriesLimit(_) => Verdict::Limited(429),
        AppendError::InvalidLabels(_) => Verdict::Limited(400),
        AppendError::Unavailable(_) => Verdict::Retry(503),
        _ => Verdict::Retry(500),
    }
}

/// The text of a refusal, as upstream has it.
pub(crate) fn refusal_text(e: &AppendError) -> String {
    match e {
        AppendError::InvalidHistogram(why) => why.clone(),
        e => e.to_string(),
    }
}

/// Text of a sample from the future.
pub(crate) fn too_far_ahead() -> String {
    format!("{}: timestamp is too far in the future", AppendError::OutOfBounds)
}

impl Receiver {
    /// A receiver that writes to `store`.
    #[must_use]
    pub fn new(
        store: Arc<dyn Appendable>,
        clock: Arc<dyn Clock>,
        registry: &Registry,
        options: ReceiverOptions,
    ) -> Self {
        let cache = RwLock::new(RefCache::new(options.cache_entries.max(1)));
        Receiver { store, clock, metrics: Metrics::new(registry), options, cache, scratch: Mutex::default() }
    }

    /// Bytes of a body that are read at most; a longer one is refused with [`Receiver::too_large`].
    #[must_use]
    pub fn body_bytes_max(&self) -> usize {
        DECODED_BYTES_MAX
    }

    /// The answer to a body that is too long.
    #[must_use]
    pub fn too_large(&self) -> WriteResponse {
        WriteResponse::refused(413, format!("request body exceeds the {DECODED_BYTES_MAX} bytes limit"))
    }

    /// Checks the headers, so that a wrong request is refused before its body is read.
    ///
    /// # Errors
    /// The answer.
    pub fn check(&self, content_type: &str, content_encoding: &str) -> Result<MessageType, WriteResponse> {
        if !content_encoding.is_empty() && content_encoding != "snappy" {
            return Err(WriteResponse::refused(
                415,
                format!(
                    "{content_encoding} encoding (compression) is not accepted by this server; only snappy is acceptable"
                ),
            ));
        }
        let message =
            MessageType::from_content_type(content_type).map_err(|e| WriteResponse::refused(415, e))?;
        if !self.options.accepted.contains(&message) {
            let accepted: Vec<&str> = self.options.accepted.iter().map(|m| m.as_str()).collect();
            return Err(WriteResponse::refused(
                415,
                format!(
                    "{} protobuf message is not accepted by this server; only accepts {}",
                    message.as_str(),
                    accepted.join(", ")
                ),
            ));
        }
        Ok(message)
    }

    /// The answer to a body that cannot be decompressed; `None` where it can.
    #[must_use]
    pub fn undecodable(&self, body: &[u8]) -> Option<WriteResponse> {
        let text = decompress(body, &mut Vec::new()).err()?;
        Some(WriteResponse::refused(400, text.replace("snappy: ", "s2: ")))
    }

    /// Whether [`Receiver::begin`] does not wait for the disk.
    #[must_use]
    pub fn begins_soon(&self) -> bool {
        self.store.commits_soon()
    }

    /// Stores a request. Blocks on the store: give it a thread.
    #[must_use]
    pub fn write(&self, message: MessageType, body: &[u8]) -> WriteResponse {
        let Answer { response, logged } = self.begin(message, body);
        logged.iter().for_each(|l| l.wait());
        response
    }

    /// Puts a request's samples in place; the sender is to be answered once the log is written. Takes a
    /// microsecond a sample, and waits for the disk where [`Receiver::begins_soon`] does not say otherwise.
    #[must_use]
    pub fn begin(&self, message: MessageType, body: &[u8]) -> Answer {
        let mut scratch = self.scratch.lock().pop().unwrap_or_default();
        let mut decoded = std::mem::take(&mut scratch.body);
        let answer = match decompress(body, &mut decoded).map_err(|e| e.replace("snappy: ", "s2: ")) {
            Err(text) => WriteResponse::refused(400, text).into(),
            Ok(()) => match message {
                MessageType::V1 => self.write_v1(&decoded, &mut scratch),
                MessageType::V2 => self.write_v2(&decoded, &mut scratch),
            },
        };
        scratch.body = decoded;
        self.learn(&mut scratch);
        if scratch.body.capacity() <= SCRATCH_BYTES_KEPT {
            let mut kept = self.scratch.lock();
            if kept.len() < SCRATCH_KEPT {
                kept.push(scratch);
            }
        }
        answer
    }

    /// Series that the cache knows.
    #[must_use]
    pub fn cached_series(&self) -> usize {
        self.cache.read().len()
    }

    fn learn(&self, scratch: &mut Scratch) {
        if scratch.learned.is_empty() && scratch.forgotten.is_empty() {
            return;
        }
        let mut cache = self.cache.write();
        for key in scratch.forgotten.drain(..) {
            cache.remove(key);
        }
        for (key, series) in scratch.learned.drain(..) {
            cache.insert(key, series);
        }
    }

    fn latest_ms(&self) -> i64 {
        self.clock.now_ms().saturating_add(AHEAD_MS_MAX)
    }
}
