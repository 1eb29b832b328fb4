//! `/api/v1/read`: remote read, as samples in one message or as chunks in a stream. Follows upstream's
//! `storage/remote/read_handler.go`.
//!
//! Chunks are sent as they are stored, so the first and the last of a series may reach beyond the range;
//! upstream cuts them, and every reader of the protocol filters by time.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use model::Labels;
use remote::read::{self, ReadForm, ReadQuery, ReadRequest};
use storage::{
    Budget, CancelToken, PatternError, Querier, QueryContext, SampleBuf, SelectHints, SeriesSet, StorageError,
};
use telemetry::Gauge;
use tokio::sync::mpsc;

use crate::api::CancelOnDrop;
use crate::respond::{charged_body, settle, text_error};
use crate::router::{BodyFault, limited_within};
use crate::state::State;
use crate::stream::{self, Piece};

/// Frames that wait for a slow reader: a mebibyte each by default.
const FRAMES_WAITING_MAX: usize = 4;
/// Bytes of an answer between two entries in the budget.
const CHARGE_BYTES: usize = 1 << 20;

/// A refusal: status and text.
type Refusal = (StatusCode, String);

fn internal(e: &impl ToString) -> Refusal {
    (StatusCode::INTERNAL_SERVER_ERROR, e.to_string())
}

/// Where memory is short, the reader may come again.
fn refusal(e: &StorageError) -> Refusal {
    let status = match e {
        StorageError::MemoryLimit { .. } | StorageError::MemoryShort { .. } => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    };
    (status, e.to_string())
}

/// Counts a request for as long as it lives.
struct Counted(Gauge);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.add(-1.0);
    }
}

pub(crate) async fn serve(state: &State, request: Request) -> Response {
    // The slot comes before the body: no more bodies than slots are ever in memory.
    let Ok(slot) = Arc::clone(&state.remote_read_slots).acquire_owned().await else {
        return text_error(StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down");
    };
    state.remote_reads.add(1.0);
    let counted = Counted(state.remote_reads.clone());
    let (body, memory) =
        match limited_within(request.into_body(), remote::DECODED_BYTES_MAX, &state.request_bytes).await {
            Ok(body) => body,
            Err(BodyFault::TooLong) => {
                let text = format!("the request is longer than {} bytes", remote::DECODED_BYTES_MAX);
                return text_error(StatusCode::BAD_REQUEST, text);
            }
            Err(BodyFault::Broken(e)) => return text_error(StatusCode::BAD_REQUEST, e),
            Err(BodyFault::Crowded) => return text_error(StatusCode::SERVICE_UNAVAILABLE, "out of memory"),
        };
    let options = &state.parts.options;
    let ctx = QueryContext {
        budget: Budget::new(options.query_bytes_max, options.queries_bytes.clone()),
        cancel: CancelToken::default(),
        deadline: None,
    };
    let guard = CancelOnDrop::new(&ctx.cancel);
    let state = state.clone();
    let (sender, stream) = stream::channel(FRAMES_WAITING_MAX);
    let (begun, begin) = tokio::sync::oneshot::channel();
    let budget = Arc::clone(&ctx.budget);
    let readers = state.parts.readers.clone();
    let work = move || {
        let _held = (slot, counted, memory);
        answer(&state, &ctx, &body, begun, &sender);
    };
    match readers {
        Some(readers) => drop(readers.spawn_blocking(work)),
        None => drop(tokio::task::spawn_blocking(work)),
    }
    let response = match begin.await {
        Ok(Ok(Begun::Samples(body))) => {
            let mut response = Response::new(charged_body(body, budget));
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static("snappy"));
            response
        }
        Ok(Ok(Begun::Chunks)) => {
            let mut response = Response::new(Body::new(stream));
            let kind = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            response
        }
        Ok(Err((status, text))) => text_error(status, text),
        Err(_) => text_error(StatusCode::INTERNAL_SERVER_ERROR, "the read failed inside the server"),
    };
    // From here on a client that leaves closes the stream, which ends the work as well.
    guard.disarm();
    response
}

/// How an answer begins.
enum Begun {
    Samples(Vec<u8>),
    /// Frames come through the channel.
    Chunks,
}

/// The work on a blocking thread.
fn answer(
    state: &State,
    ctx: &QueryContext,
    body: &[u8],
    begun: tokio::sync::oneshot::Sender<Result<Begun, Refusal>>,
    frames: &mpsc::Sender<Piece>,
) {
    let external = state.parts.config.load().external_labels.clone();
    // Decompressed, and its strings once more.
    let plain = (22 * body.len()).min(remote::DECODED_BYTES_MAX);
    if let Err(e) = ctx.budget.charge(2 * plain as u64) {
        return drop(begun.send(Err((StatusCode::SERVICE_UNAVAILABLE, e.to_string()))));
    }
    let request = match ReadRequest::decode(body) {
        Ok(request) => request,
        Err(text) => return drop(begun.send(Err((StatusCode::BAD_REQUEST, text)))),
    };
    if request.form == ReadForm::Samples {
        let answered = samples(state, ctx, &request.queries, &external).and_then(|body| {
            settle(&ctx.budget, body.len()).map_err(|e| refusal(&e))?;
            Ok(body)
        });
        return drop(begun.send(answered.map(Begun::Samples)));
    }
    // Selecting is cheap; what fails here still gets a status of its own.
    let mut selected = Vec::new();
    for query in &request.queries {
        match select(state, ctx, query, &external, true) {
            Ok(found) => selected.push((query, found)),
            Err(refusal) => return drop(begun.send(Err(refusal))),
        }
    }
    if begun.send(Ok(Begun::Chunks)).is_err() {
        return;
    }
    let most = state.parts.options.read_frame_bytes_max;
    for (i, (query, (_view, set))) in selected.iter().enumerate() {
        if let Err(e) = stream_chunks(i, query, set, &external, most, frames) {
            tracing::warn!(error = %e, "Error on chunked remote read query");
            let _ = frames.blocking_send(Err(std::io::Error::other(e.to_string())));
            return;
        }
    }
}

/// A view, kept open while its series are read, and the series.
type Selected = (Option<Box<dyn Querier>>, SeriesSet);

fn select(
    state: &State,
    ctx: &QueryContext,
    query: &ReadQuery,
    external: &Labels,
    sorted: bool,
) -> Result<Selected, Refusal> {
    let matchers = query.local_matchers(external, &ctx.budget).map_err(|e| match e {
        PatternError::Pattern(text) => internal(&text),
        PatternError::Memory(e) => refusal(&e),
    })?;
    let hints = query.hints.clone().unwrap_or_else(|| SelectHints {
        start_ms: query.start_ms,
        end_ms: query.end_ms,
        ..SelectHints::default()
    });
    if matchers.is_empty() {
        // As upstream: no matchers, no series.
        return Ok((None, SeriesSet::default()));
    }
    let view = state.parts.local.querier(query.start_ms, query.end_ms).map_err(|e| internal(&e))?;
    let set = view.select(ctx, sorted, &hints, &matchers).map_err(|e| refusal(&e))?;
    for warning in &set.warnings {
        tracing::warn!(warning, "Warnings on remote read query");
    }
    Ok((Some(view), set))
}

/// A series' own labels, with the external ones that it does not have.
fn with_external(labels: &Labels, external: &Labels) -> Labels {
    if external.is_empty() {
        return labels.clone();
    }
    let mut merged = labels.to_builder();
    for (name, value) in external.iter().filter(|(name, _)| labels.find(name).is_none()) {
        merged.set(name, value);
    }
    merged.build()
}

fn samples(
    state: &State,
    ctx: &QueryContext,
    queries: &[ReadQuery],
    external: &Labels,
) -> Result<Vec<u8>, Refusal> {
    let most = state.parts.options.read_samples_max;
    let (mut results, mut charged, mut written) = (Vec::new(), 0, 0);
    let (mut buffer, mut scratch) = (SampleBuf::default(), Vec::new());
    for query in queries {
        let (_view, set) = select(state, ctx, query, external, false)?;
        let (mut result, mut count) = (Vec::new(), 0);
        for series in &set.series {
            ctx.check().map_err(|e| internal(&e))?;
            buffer.clear();
            series.read(query.start_ms, query.end_ms, &mut buffer).map_err(|e| internal(&e))?;
            count += buffer.len();
            if most > 0 && count > most {
                return Err((StatusCode::BAD_REQUEST, format!("exceeded sample limit ({most})")));
            }
            if buffer.is_empty() {
                continue;
            }
            let before = result.len();
            read::write_series(&mut result, &mut scratch, &with_external(series.labels(), external), &buffer);
            written += result.len() - before;
            // Twice: the message is copied once more to be compressed.
            if 2 * written > charged {
                let more = 2 * written - charged + CHARGE_BYTES;
                ctx.budget.charge(more as u64).map_err(|e| refusal(&e))?;
                charged += more;
            }
        }
        results.push(result);
    }
    read::samples_answer(&results).map_err(|e| internal(&e))
}

/// Sends the chunks of a query: each frame holds chunks of one series, about `most` bytes of them. Ends
/// without an error when the client is gone.
fn stream_chunks(
    number: usize,
    query: &ReadQuery,
    set: &SeriesSet,
    external: &Labels,
    most: usize,
    frames: &mpsc::Sender<Piece>,
) -> Result<(), StorageError> {
    for series in &set.series {
        let chunks = series.chunks(query.start_ms, query.end_ms)?;
        let labels = with_external(series.labels(), external);
        let room = most.saturating_sub(read::labels_size(&labels));
        let mut rest = &chunks[..];
        while !rest.is_empty() {
            let (mut taken, mut bytes) = (0, 0);
            for chunk in rest {
                taken += 1;
                bytes += read::chunk_size(chunk);
                if bytes >= room {
                    break;
                }
            }
            let (now, later) = rest.split_at(taken);
            rest = later;
            let frame = Bytes::from(read::chunks_frame(number, &labels, now));
            if frames.blocking_send(Ok(frame)).is_err() {
                return Ok(());
            }
        }
    }
    Ok(())
}
