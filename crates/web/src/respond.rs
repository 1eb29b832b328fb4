//! Answers: the JSON envelope of the API, errors with upstream's types and statuses, plain texts,
//! redirects.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::response::Response;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{HeaderMap, StatusCode};
use hyper::body::{Frame, SizeHint};
use promql::QueryError;
use storage::{Budget, StorageError};

use crate::compress::{Encoding, compress};
use crate::json::Json;

/// Kinds of errors, as `errorType` names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    Timeout,
    Canceled,
    Execution,
    BadData,
    Internal,
    Unavailable,
}

impl ErrorKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            ErrorKind::Timeout => "timeout",
            ErrorKind::Canceled => "canceled",
            ErrorKind::Execution => "execution",
            ErrorKind::BadData => "bad_data",
            ErrorKind::Internal => "internal",
            ErrorKind::Unavailable => "unavailable",
        }
    }

    fn status(self) -> u16 {
        match self {
            ErrorKind::BadData => 400,
            ErrorKind::Execution => 422,
            ErrorKind::Canceled => 499,
            ErrorKind::Timeout => 503,
            // Upstream has no status of its own for "unavailable" and answers 500.
            ErrorKind::Internal | ErrorKind::Unavailable => 500,
        }
    }
}

/// An error of the API.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    pub(crate) kind: ErrorKind,
    pub(crate) text: String,
    /// Where upstream's status differs from the kind's.
    pub(crate) status: Option<u16>,
}

impl ApiError {
    pub(crate) fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        ApiError { kind, text: text.into(), status: None }
    }

    pub(crate) fn bad_data(text: impl Into<String>) -> Self {
        ApiError::new(ErrorKind::BadData, text)
    }

    /// `invalid parameter "step": …`
    pub(crate) fn parameter(name: &str, why: impl std::fmt::Display) -> Self {
        ApiError::bad_data(format!("invalid parameter {}: {why}", crate::text::quote(name)))
    }

    /// The error of a read outside the engine.
    pub(crate) fn storage(e: &StorageError) -> Self {
        let kind = match e {
            StorageError::NotReady => ErrorKind::Unavailable,
            StorageError::Cancelled => ErrorKind::Canceled,
            StorageError::Timeout => ErrorKind::Timeout,
            _ => ErrorKind::Execution,
        };
        ApiError::new(kind, e.to_string())
    }

    /// The error of a query.
    pub(crate) fn query(e: &QueryError) -> Self {
        let kind = match e {
            QueryError::Parse(_) | QueryError::BadData(_) => return ApiError::parameter("query", e),
            QueryError::Timeout(_) => ErrorKind::Timeout,
            QueryError::Canceled(_) => ErrorKind::Canceled,
            QueryError::Storage(StorageError::NotReady) => ErrorKind::Unavailable,
            QueryError::Storage(_) => ErrorKind::Internal,
            QueryError::Execution(_) | QueryError::TooManySamples(_) | QueryError::MemoryLimit(_) => {
                ErrorKind::Execution
            }
        };
        ApiError::new(kind, e.to_string())
    }

    fn into_parts(self) -> (StatusCode, Vec<u8>) {
        let mut json = Json::with_capacity(64 + self.text.len());
        json.raw("{\"status\":\"error\",\"errorType\":").string(self.kind.as_str());
        json.raw(",\"error\":").string(&self.text).raw("}");
        let status = self.status.unwrap_or_else(|| self.kind.status());
        (StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), json.into_bytes())
    }
}

/// A successful answer being written: `{"status":"success","data":` is there already.
pub(crate) struct Answer {
    pub(crate) json: Json,
}

/// Upstream shows at most this many warnings, and as many infos.
const ANNOTATIONS_MAX: usize = 10;

impl Answer {
    pub(crate) fn new() -> Self {
        Answer::with_capacity(512)
    }

    pub(crate) fn with_capacity(bytes: usize) -> Self {
        let mut json = Json::with_capacity(bytes);
        json.raw("{\"status\":\"success\",\"data\":");
        Answer { json }
    }

    /// Closes the envelope. Warnings and infos appear only where there are some.
    pub(crate) fn finish(mut self, warnings: &[String], infos: &[String]) -> Success {
        for (key, all, kind) in [(",\"warnings\":", warnings, "warning"), (",\"infos\":", infos, "info")] {
            if all.is_empty() {
                continue;
            }
            let shown = all.iter().take(ANNOTATIONS_MAX).cloned();
            let left = all.len().saturating_sub(ANNOTATIONS_MAX);
            let omitted = (left > 0).then(|| format!("{left} more {kind} annotations omitted"));
            self.json.raw(key).strings(shown.chain(omitted));
        }
        self.json.raw("}");
        Success::Json(self.json.into_bytes())
    }

    /// Closes the envelope of an answer that has neither warnings nor infos.
    pub(crate) fn done(self) -> Success {
        self.finish(&[], &[])
    }
}

/// What a handler of the API gives where all went well.
pub(crate) enum Success {
    /// 200 with this body.
    Json(Vec<u8>),
    /// The same, whose bytes are charged until they are sent.
    Charged(Vec<u8>, Arc<Budget>),
    /// 200 with lines of JSON.
    Lines(Vec<u8>),
    /// 204: upstream has no data to show.
    NoContent,
}

impl Success {
    /// Leaves only the answer on the budget of the read that made it: what it was made of is gone.
    pub(crate) fn charged(self, memory: &Arc<Budget>) -> ApiResult {
        let Success::Json(body) = self else { return Ok(self) };
        settle(memory, body.len()).map_err(|e| ApiError::storage(&e))?;
        Ok(Success::Charged(body, Arc::clone(memory)))
    }
}

/// Makes a budget hold so many bytes and no more.
pub(crate) fn settle(memory: &Budget, bytes: usize) -> Result<(), StorageError> {
    let (used, bytes) = (memory.used(), bytes as u64);
    if used < bytes {
        return memory.charge(bytes - used);
    }
    memory.release(used - bytes);
    Ok(())
}

/// Pieces of a body that is charged for: the rest is held until the client has taken most of it.
const PIECE_BYTES: usize = 256 << 10;

/// A body with the memory that it is charged to.
struct ChargedBody {
    rest: Bytes,
    _memory: Arc<Budget>,
}

impl HttpBody for ChargedBody {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let size = self.rest.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(size)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

/// Takes a body that was set for one that holds `memory` until it is sent.
pub(crate) fn charged_body(body: impl Into<Bytes>, memory: Arc<Budget>) -> Body {
    Body::new(ChargedBody { rest: body.into(), _memory: memory })
}

pub(crate) type ApiResult = Result<Success, ApiError>;

/// Writes the answer of an API handler; compresses, so call it on a blocking thread where it may be large.
pub(crate) fn api_response(result: ApiResult, encoding: Encoding) -> Response {
    let mut kind = HeaderValue::from_static("application/json");
    let mut held = None;
    let (status, body) = match result {
        Ok(Success::Json(body)) => (StatusCode::OK, body),
        Ok(Success::Charged(body, memory)) => {
            held = Some(memory);
            (StatusCode::OK, body)
        }
        Ok(Success::Lines(body)) => {
            kind = HeaderValue::from_static("application/x-ndjson; charset=utf-8");
            (StatusCode::OK, body)
        }
        Ok(Success::NoContent) => {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::NO_CONTENT;
            return response;
        }
        Err(e) => e.into_parts(),
    };
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    put_body(&mut response, body, encoding, held);
    response
}

/// Sets a body, compressed as asked, with its length.
pub(crate) fn set_body(response: &mut Response, body: Vec<u8>, encoding: Encoding) {
    put_body(response, body, encoding, None);
}

/// Sets a body that may be charged to a budget.
pub(crate) fn put_body(
    response: &mut Response,
    body: Vec<u8>,
    encoding: Encoding,
    memory: Option<Arc<Budget>>,
) {
    let body = compress(body, encoding);
    let headers = response.headers_mut();
    if let Some(name) = encoding.name() {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(name));
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    *response.body_mut() = match memory {
        Some(memory) => charged_body(body, memory),
        None => Body::from(Bytes::from(body)),
    };
}

/// A plain text as Go writes one without further ado.
pub(crate) fn text(status: StatusCode, body: impl Into<String>) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    set_body(&mut response, body.into().into_bytes(), Encoding::Identity);
    response
}

/// A plain error text as Go's `http.Error` writes one: a line, not to be sniffed.
pub(crate) fn text_error(status: StatusCode, body: impl std::fmt::Display) -> Response {
    let mut response = text(status, format!("{body}\n"));
    response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Go's answer to an unknown path.
pub(crate) fn not_found() -> Response {
    text_error(StatusCode::NOT_FOUND, "404 page not found")
}

/// A redirect with Go's little page for those who do not follow it.
pub(crate) fn redirect(status: StatusCode, to: &str, method: &http::Method) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    // Only printable ASCII comes here: paths are kept percent-encoded. Anything else goes nowhere.
    let Ok(location) = HeaderValue::from_str(to) else { return not_found() };
    response.headers_mut().insert(header::LOCATION, location);
    if method == http::Method::GET || method == http::Method::HEAD {
        let html = HeaderValue::from_static("text/html; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, html);
        let reason = status.canonical_reason().unwrap_or_default();
        let page = format!("<a href=\"{}\">{reason}</a>.\n\n", escape_html(to));
        set_body(&mut response, page.into_bytes(), Encoding::Identity);
    }
    response
}

fn escape_html(s: &str) -> String {
    s.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&#34;")
        .replace('\'', "&#39;")
}

/// First value of a header as text.
pub(crate) fn header_str<'a>(headers: &'a HeaderMap, name: &header::HeaderName) -> &'a str {
    headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_annotations_are_cut() {
        let many: Vec<String> = (0..12).map(|i| format!("w{i}")).collect();
        let mut a = Answer::new();
        a.json.raw("1");
        let Success::Json(body) = a.finish(&many, &["i".to_string()]) else { unreachable!() };
        let v: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(v["warnings"].as_array().unwrap().len(), 11);
        assert_eq!(v["warnings"][10], "2 more warning annotations omitted");
        assert_eq!(v["infos"][0], "i");
    }

    #[test]
    fn statuses() {
        let status = |k| ApiError::new(k, "x").into_parts().0.as_u16();
        use ErrorKind::*;
        assert_eq!(
            [BadData, Execution, Canceled, Timeout, Internal, Unavailable].map(status),
            [400, 422, 499, 503, 500, 500]
        );
    }
}
