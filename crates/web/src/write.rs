//! The endpoints that take data: remote write and OTLP.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;
use http::header::{self, HeaderName, HeaderValue};
use remote::{Answer, WriteResponse};
use storage::{Budget, StorageError};
use tokio::sync::OwnedSemaphorePermit;

use crate::respond::{header_str, text_error};
use crate::router::{BodyFault, drain, empty, limited_within};
use crate::state::State;

/// A request of so many compressed bytes is stored by the thread that received it: 2,000 samples, the most
/// that a sender with Prometheus's settings sends at once, are 30 to 80 KiB and take 2 ms. The most that can be
/// made of it are 2.7 MiB (21 times), a few ms.
const HERE_BYTES_MAX: usize = 128 << 10;
/// The log writes in microseconds, or the disk hangs.
const PATIENCE: Duration = Duration::from_millis(500);

/// `/api/v1/write`.
pub(crate) async fn remote_write(state: &State, request: Request) -> Response {
    if !state.parts.options.enable_remote_write_receiver {
        drain(request.into_body()).await;
        return text_error(
            StatusCode::NOT_FOUND,
            "remote write receiver needs to be enabled with --web.enable-remote-write-receiver",
        );
    }
    let (parts, body) = request.into_parts();
    let content_type = header_str(&parts.headers, &header::CONTENT_TYPE);
    let encoding = header_str(&parts.headers, &header::CONTENT_ENCODING);
    let checked = state.write.check(content_type, encoding);
    if let Err(refusal) = &checked
        && !matches!(encoding, "" | "snappy")
    {
        drain(body).await;
        return answer(refusal);
    }
    // A slow sender holds the memory of what it sent so far, and nothing else.
    let (body, _memory) = match limited_within(body, state.write.body_bytes_max(), &state.write_bytes).await {
        Ok(body) => body,
        Err(BodyFault::TooLong) => return answer(&state.write.too_large()),
        Err(BodyFault::Broken(e)) => return text_error(StatusCode::BAD_REQUEST, e),
        Err(BodyFault::Crowded) => {
            let text = "too many remote write requests are being received at once; send again later";
            return text_error(StatusCode::SERVICE_UNAVAILABLE, text);
        }
    };
    let Ok(slot) = state.write_slots.clone().acquire_owned().await else {
        return text_error(StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down");
    };
    let message = match checked {
        Ok(message) => message,
        // As upstream: a body that is not compressed as it should be comes before its type.
        Err(refusal) => {
            let (of, decoded) = (state.clone(), remote::decoded_bytes(&body));
            return stored(state, decoded, slot, move || of.write.undecodable(&body).unwrap_or(refusal))
                .await;
        }
    };
    // A thread for each request wakes up four times more often than is needed.
    if body.len() <= HERE_BYTES_MAX && state.write.begins_soon() {
        let Answer { response, logged } = state.write.begin(message, &body);
        if let Some(mut logged) = logged
            && tokio::time::timeout(PATIENCE, &mut logged).await.is_err()
        {
            // It says that the disk hangs, and that the samples are held.
            let _ = tokio::task::spawn_blocking(move || logged.wait()).await;
        }
        return answer(&response);
    }
    let (of, decoded) = (state.clone(), DECODED_TIMES * remote::decoded_bytes(&body));
    stored(state, decoded, slot, move || of.write.write(message, &body)).await
}

/// What is decompressed is there once more as samples, and as entries of the log.
const DECODED_TIMES: usize = 3;
/// A request that takes more than this is no sender's batch (2,000 samples are 2 MiB), and may take seconds: it is
/// stored by the threads that also answer queries, which leave the cores to scrapes and rules.
const LARGE_BYTES: usize = 16 << 20;

/// Stores on a thread, as soon as there are `bytes` for it. Not stopped when the client goes away: what was received
/// is stored whole or refused whole.
async fn stored(
    state: &State,
    bytes: usize,
    slot: OwnedSemaphorePermit,
    work: impl FnOnce() -> WriteResponse + Send + 'static,
) -> Response {
    let pool = state.parts.options.writes_bytes.clone();
    let run = move || {
        let _slot = slot;
        let memory = pool.map(|pool| Budget::new(u64::MAX, Some(pool)));
        if let Some(memory) = &memory {
            memory.charge(bytes as u64)?;
        }
        Ok::<_, StorageError>(work())
    };
    let running = match &state.parts.readers {
        Some(readers) if bytes > LARGE_BYTES => readers.spawn_blocking(run),
        _ => tokio::task::spawn_blocking(run),
    };
    match running.await {
        Ok(Ok(response)) => answer(&response),
        Ok(Err(e)) => {
            tracing::warn!(error = %e, "a large write request is refused");
            let text = "too little memory for a write request of this size; send again later";
            text_error(StatusCode::SERVICE_UNAVAILABLE, text)
        }
        Err(_) => text_error(StatusCode::INTERNAL_SERVER_ERROR, "the write failed inside the server"),
    }
}

fn answer(r: &WriteResponse) -> Response {
    let status = StatusCode::from_u16(r.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if status.is_server_error() {
        tracing::error!(error = %r.error, "Error while storing the remote write request");
    }
    let mut response = if r.error.is_empty() { empty(status) } else { text_error(status, &r.error) };
    for (name, value) in r.headers() {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// `/api/v1/otlp/v1/metrics`.
pub(crate) async fn otlp(state: &State, request: Request) -> Response {
    let Some(receiver) = state.otlp.clone() else {
        drain(request.into_body()).await;
        return text_error(
            StatusCode::NOT_FOUND,
            "otlp write receiver needs to be enabled with --web.enable-otlp-receiver",
        );
    };
    let (parts, body) = request.into_parts();
    let content_type = header_str(&parts.headers, &header::CONTENT_TYPE);
    let encoding = header_str(&parts.headers, &header::CONTENT_ENCODING);
    let form = match remote::OtlpReceiver::check(content_type, encoding) {
        Ok(form) => form,
        Err(refusal) => {
            drain(body).await;
            return answer(&refusal);
        }
    };
    let (body, _memory) = match limited_within(body, remote::DECODED_BYTES_MAX, &state.write_bytes).await {
        Ok(body) => body,
        Err(BodyFault::TooLong) => return answer(&state.write.too_large()),
        Err(BodyFault::Broken(e)) => return text_error(StatusCode::BAD_REQUEST, e),
        Err(BodyFault::Crowded) => {
            let text = "too many write requests are being received at once; send again later";
            return text_error(StatusCode::SERVICE_UNAVAILABLE, text);
        }
    };
    let Ok(slot) = state.write_slots.clone().acquire_owned().await else {
        return text_error(StatusCode::SERVICE_UNAVAILABLE, "the server is shutting down");
    };
    let config = Arc::clone(&state.parts.config.load().otlp);
    let bytes = remote::OtlpReceiver::memory_bytes(form, &body);
    stored(state, bytes, slot, move || receiver.write(form, &config, &body)).await
}
