//! The receiver of OTLP metrics: headers and a body in, a status and a text out. Follows upstream's
//! `storage/remote/write_otlp_handler.go`: all of a request is stored, or nothing.

use std::borrow::Cow;
use std::io::Read as _;
use std::sync::Arc;

use config::OtlpConfig;
use model::clock::Clock;
use storage::Appendable;
use telemetry::{Counter, CounterVec, Registry};

use super::json::{self, JSON_BYTES_MAX};
use super::translate::{Done, Failure, Run};
use crate::receive::{AHEAD_MS_MAX, Answer, WriteResponse};
use crate::snappy::DECODED_BYTES_MAX;

/// Settings that do not change while the server runs.
#[derive(Clone, Debug)]
pub struct OtlpOptions {
    /// `--query.lookback-delta`, nanoseconds: how often `target_info` is repeated depends on it.
    pub lookback_ns: i64,
    /// Feature `otlp-native-delta-ingestion`.
    pub native_delta: bool,
    /// Feature `type-and-unit-labels`.
    pub type_and_unit_labels: bool,
    /// Feature `created-timestamp-zero-ingestion`.
    pub start_zero_ingestion: bool,
    /// Feature `metadata-wal-records`.
    pub append_metadata: bool,
}

impl Default for OtlpOptions {
    fn default() -> Self {
        OtlpOptions {
            lookback_ns: 300_000_000_000,
            native_delta: false,
            type_and_unit_labels: false,
            start_zero_ingestion: false,
            append_metadata: false,
        }
    }
}

/// What a request is translated with, but stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Warning {
    EmptyDataPoints,
    ZeroCountNonZeroSum,
    LabelNameCollision,
}

impl Warning {
    fn category(self) -> &'static str {
        match self {
            Warning::EmptyDataPoints => "empty_data_points",
            Warning::ZeroCountNonZeroSum => "histogram_zero_count_non_zero_sum",
            Warning::LabelNameCollision => "label_name_collision",
        }
    }
}

/// Upstream's metrics.
pub(super) struct Counters {
    pub(super) without_metadata: Counter,
    pub(super) out_of_order_exemplars: Counter,
    warnings: CounterVec,
}

/// Takes OTLP metrics for one store.
pub struct OtlpReceiver {
    store: Arc<dyn Appendable>,
    clock: Arc<dyn Clock>,
    options: OtlpOptions,
    counters: Counters,
}

/// The two encodings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Protobuf,
    Json,
}

/// What the headers of a request say.
#[derive(Clone, Copy, Debug)]
pub struct OtlpForm {
    form: Form,
    gzip: bool,
}

fn refused(status: u16, error: impl Into<String>) -> WriteResponse {
    WriteResponse { status, error: error.into(), written: None }
}

impl OtlpReceiver {
    /// A receiver that writes to `store`.
    #[must_use]
    pub fn new(
        store: Arc<dyn Appendable>,
        clock: Arc<dyn Clock>,
        registry: &Registry,
        options: OtlpOptions,
    ) -> Self {
        let counters = Counters {
            without_metadata: registry.counter(
                "prometheus_api_otlp_appended_samples_without_metadata_total",
                "The total number of samples ingested from OTLP without corresponding metadata.",
            ),
            out_of_order_exemplars: registry.counter(
                "prometheus_api_otlp_out_of_order_exemplars_total",
                "The total number of received OTLP exemplars which were rejected because they were out of order.",
            ),
            warnings: registry.counter_vec(
                "prometheus_api_otlp_translation_warnings_total",
                "The total number of warnings produced while translating OTLP metrics to the Prometheus model, by category.",
                &["category"],
            ),
        };
        OtlpReceiver { store, clock, options, counters }
    }

    /// Checks the headers.
    ///
    /// # Errors
    /// The answer.
    pub fn check(content_type: &str, content_encoding: &str) -> Result<OtlpForm, WriteResponse> {
        let form = match content_type {
            "application/x-protobuf" => Form::Protobuf,
            "application/json" => Form::Json,
            other => {
                let text = format!(
                    "unsupported content type: {other}, supported: [application/json, application/x-protobuf]"
                );
                return Err(refused(400, text));
            }
        };
        match content_encoding {
            "" => Ok(OtlpForm { form, gzip: false }),
            "gzip" => Ok(OtlpForm { form, gzip: true }),
            other => {
                let text =
                    format!("unsupported compression: {other}. Only \"gzip\" or no compression supported");
                Err(refused(400, text))
            }
        }
    }

    /// Bytes that a body may take while it is stored, besides those of its series: plain, and once more in protobuf.
    #[must_use]
    pub fn memory_bytes(form: OtlpForm, body: &[u8]) -> usize {
        let plain = match form.gzip {
            true => body.len().saturating_mul(DEFLATE_EXPANSION_MAX).min(DECODED_BYTES_MAX),
            false => 0,
        };
        match form.form {
            Form::Protobuf => plain,
            Form::Json => plain + JSON_EXPANSION_MAX * plain.max(body.len()).min(JSON_BYTES_MAX),
        }
    }

    /// Puts a request's samples in place; the sender is to be answered once the log is written.
    #[must_use]
    pub fn begin(&self, form: OtlpForm, config: &OtlpConfig, body: &[u8]) -> Answer {
        let body = match decoded(form, body) {
            Ok(body) => body,
            Err(refusal) => return refusal.into(),
        };
        let latest_ms = self.clock.now_ms().saturating_add(AHEAD_MS_MAX);
        let run = Run::new(&body, config, &self.options, &self.counters, self.store.appender(), latest_ms);
        let Done { app, limited, warnings } = match run.all() {
            Ok(done) => done,
            Err(Failure { status, text }) => return refused(status, text).into(),
        };
        for (kind, text) in &warnings {
            self.counters.warnings.with(&[kind.category()]).inc();
            tracing::warn!(warning = text, "Warnings translating OTLP metrics to Prometheus write request");
        }
        let logged = match app.commit_soon() {
            Ok(done) => done.logged,
            Err(e) => return refused(500, e.to_string()).into(),
        };
        let response = match limited {
            Some((status, text)) => refused(status, text),
            None => refused(200, ""),
        };
        Answer { response, logged }
    }

    /// Stores a request. Blocks on the store: give it a thread.
    #[must_use]
    pub fn write(&self, form: OtlpForm, config: &OtlpConfig, body: &[u8]) -> WriteResponse {
        let Answer { response, logged } = self.begin(form, config, body);
        logged.iter().for_each(|l| l.wait());
        response
    }
}

/// Deflate's densest is 258 bytes in two bits.
const DEFLATE_EXPANSION_MAX: usize = 1032;
/// See [`JSON_BYTES_MAX`].
const JSON_EXPANSION_MAX: usize = 8;

/// The protobuf form of a body.
fn decoded(form: OtlpForm, body: &[u8]) -> Result<Cow<'_, [u8]>, WriteResponse> {
    let plain = if form.gzip { Cow::Owned(gunzip(body)?) } else { Cow::Borrowed(body) };
    match form.form {
        Form::Protobuf => Ok(plain),
        Form::Json if plain.len() > JSON_BYTES_MAX => {
            Err(refused(413, format!("a request in JSON has at most {JSON_BYTES_MAX} bytes")))
        }
        Form::Json => json::to_protobuf(&plain).map(Cow::Owned).map_err(|e| refused(400, e)),
    }
}

fn gunzip(body: &[u8]) -> Result<Vec<u8>, WriteResponse> {
    let mut out = Vec::new();
    let mut reader = flate2::read::MultiGzDecoder::new(body).take(DECODED_BYTES_MAX as u64 + 1);
    reader.read_to_end(&mut out).map_err(|e| {
        refused(
            400,
            match e.kind() {
                std::io::ErrorKind::UnexpectedEof => "unexpected EOF".to_string(),
                _ => format!("gzip: {e}"),
            },
        )
    })?;
    if out.len() > DECODED_BYTES_MAX {
        return Err(refused(413, format!("request body exceeds the {DECODED_BYTES_MAX} bytes limit")));
    }
    Ok(out)
}
