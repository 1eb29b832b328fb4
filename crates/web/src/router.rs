//! From a request to its handler: prefix, redirects, methods, readiness, CORS, metrics.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody};
use axum::extract::{ConnectInfo, Request};
use axum::response::Response;
use http::header::{self, HeaderValue};
use http::{HeaderMap, Method, StatusCode};
use http_body_util::BodyExt;
use storage::CancelToken;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api::{self, Call};
use crate::compress::Encoding;
use crate::form::{FORM_BYTES_MAX, Form};
use crate::respond::{ApiError, ErrorKind, api_response, header_str, not_found, redirect, text, text_error};
use crate::routes::{self, Route, RouteSpec};
use crate::state::{Readiness, State};
use crate::{debug, federate, lifecycle, metrics_page, multipart, openapi, page, read, user_assets, write};

/// The whole HTTP surface, under the route prefix.
pub fn router(state: State) -> axum::Router {
    axum::Router::new().fallback(entry).with_state(state)
}

async fn entry(axum::extract::State(state): axum::extract::State<State>, request: Request) -> Response {
    let began = Instant::now();
    let (response, spec) = dispatch(&state, request).await;
    if let Some(spec) = spec {
        let bytes = response.body().size_hint().lower();
        state.metrics.observe(spec.pattern, response.status().as_u16(), began.elapsed(), bytes);
    }
    response
}

async fn dispatch(state: &State, request: Request) -> (Response, Option<&'static RouteSpec>) {
    let method = request.method().clone();
    let full = request.uri().path().to_string();
    let query = request.uri().query().map(|q| format!("?{q}")).unwrap_or_default();
    if let Some(clean) = cleaned(&full) {
        return (redirect(StatusCode::TEMPORARY_REDIRECT, &format!("{clean}{query}"), &method), None);
    }
    let prefix = &state.parts.options.route_prefix;
    let path = match full.strip_prefix(prefix.as_str()) {
        Some("") => return (redirect(StatusCode::MOVED_PERMANENTLY, &format!("{full}/"), &method), None),
        Some(path) if path.starts_with('/') => path,
        _ if full == "/" => return (redirect(StatusCode::FOUND, prefix, &method), None),
        _ => return (not_found(), None),
    };
    let api = is_api(path);
    if api && method == Method::OPTIONS {
        return (options(state, &request), None);
    }
    if path == "/api/v1" {
        return (redirect(StatusCode::TEMPORARY_REDIRECT, &format!("{full}/{query}"), &method), None);
    }
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8().ok();
    let found = match &decoded {
        Some(decoded) => routes::find(decoded).map(|(spec, param)| (spec, param.as_bytes().to_vec())),
        // Bytes that are no text can only be a parameter, whose endpoint refuses them.
        None => routes::find(path)
            .map(|(spec, param)| (spec, percent_encoding::percent_decode_str(param).collect::<Vec<u8>>())),
    };
    let Some((spec, param)) = found.filter(|(spec, _)| api == spec.pattern.starts_with(API)) else {
        let trimmed = path.strip_suffix('/').filter(|p| !p.is_empty() && routes::find(p).is_some());
        let response = match trimmed {
            Some(p) => {
                let status = if method == Method::GET {
                    StatusCode::MOVED_PERMANENTLY
                } else {
                    StatusCode::TEMPORARY_REDIRECT
                };
                redirect(status, &format!("{prefix}{p}{query}"), &method)
            }
            None => not_found(),
        };
        return (response, None);
    };
    if spec.route == Route::UserAsset && state.parts.options.user_assets.is_empty() {
        return (not_found(), None);
    }
    if spec.methods & routes::method_bit(&method) == 0 {
        let mut response = if method == Method::OPTIONS {
            empty(StatusCode::OK)
        } else {
            text_error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
        };
        if let Ok(allow) = HeaderValue::from_str(&routes::allow(spec.methods)) {
            response.headers_mut().insert(header::ALLOW, allow);
        }
        return (response, None);
    }
    if spec.needs_ready
        && let Some(mut refusal) = not_ready(state)
    {
        // A log of hours is replayed in seconds: who writes need not ask thirty times in each.
        if matches!(spec.route, Route::Write | Route::Otlp) {
            refusal.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        return (refusal, Some(spec));
    }
    (run(state, spec.route, param, api, request).await, Some(spec))
}

const API: &str = "/api/v1/";

/// Whether a path is one of the API. As with Go's mux each segment is decoded on its own, so that a slash that
/// is percent-encoded separates nothing here; below this prefix it does.
fn is_api(path: &str) -> bool {
    let mut segments = path.split('/').skip(1);
    let mut is = |want: &str| {
        segments.next().is_some_and(|s| percent_encoding::percent_decode_str(s).eq(want.bytes()))
    };
    is("api") && is("v1") && segments.next().is_some()
}

/// Upstream's 503 while the server starts or stops.
fn not_ready(state: &State) -> Option<Response> {
    let stopping = match state.readiness() {
        Readiness::Ready => return None,
        Readiness::NotReady => "false",
        Readiness::Stopping => "true",
    };
    let mut response = text(StatusCode::SERVICE_UNAVAILABLE, "Service Unavailable");
    response.headers_mut().insert("x-prometheus-stopping", HeaderValue::from_static(stopping));
    Some(response)
}

async fn run(state: &State, route: Route, param: Vec<u8>, api: bool, request: Request) -> Response {
    match route {
        Route::Write => return write::remote_write(state, request).await,
        Route::Read => return read::serve(state, request).await,
        Route::UserAsset => return user_assets::serve(state, &String::from_utf8_lossy(&param)).await,
        Route::Otlp => return write::otlp(state, request).await,
        Route::Healthy => return lifecycle::healthy(state, request.method()),
        Route::Ready => return lifecycle::ready(state, request.method()),
        Route::Quit => return lifecycle::quit(state, request.method()),
        Route::Reload => return lifecycle::reload(state, request.into_parts().0.method).await,
        Route::Version => return lifecycle::version(state),
        Route::Debug => return debug::serve(state, &String::from_utf8_lossy(&param), &request),
        Route::Home | Route::Graph => return page::home(state, route, &request),
        Route::Page | Route::Favicon | Route::Asset => {
            return page::serve(state, route, &String::from_utf8_lossy(&param), request.headers());
        }
        Route::Metrics => {
            let registry = state.parts.registry.clone();
            return metrics_page::serve(state, request.into_parts().0, move |take| registry.each(take)).await;
        }
        Route::MetricsPage => {
            let path = format!("/metrics/{}", String::from_utf8_lossy(&param));
            let Some(page) = state.parts.pages.iter().find(|p| p.path == path) else { return not_found() };
            let families = Arc::clone(&page.families);
            return metrics_page::serve(state, request.into_parts().0, move |take| {
                families().into_iter().for_each(take)
            })
            .await;
        }
        Route::OpenApi => return openapi::serve(state, request.uri().query()),
        Route::Federate => return federate::serve(state, request.into_parts().0).await,
        _ => {}
    }
    debug_assert!(api);
    let encoding = Encoding::of(request.headers());
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = match call(state, route, request, param).await {
        Ok((call, memory)) => {
            let response = api::respond(state, route, call, encoding).await;
            drop(memory);
            response
        }
        Err(e) => api_response(Err(e), encoding),
    };
    let headers = response.headers_mut();
    // These are outside upstream's compression handler.
    if !route.is_search()
        && !matches!(route, Route::WalReplay | Route::Notifications | Route::NotificationsLive)
    {
        headers.append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    cors(state, origin.as_ref(), headers);
    response
}

/// Reads what a handler of the API needs of a request.
async fn call(
    state: &State,
    route: Route,
    request: Request,
    param: Vec<u8>,
) -> Result<(Call, Option<OwnedSemaphorePermit>), ApiError> {
    let (parts, body) = request.into_parts();
    let has_body = matches!(parts.method, Method::POST | Method::PUT | Method::PATCH);
    let content_type = header_str(&parts.headers, &header::CONTENT_TYPE);
    let media = content_type.split(';').next().unwrap_or_default().trim();
    let is_form = media.eq_ignore_ascii_case("application/x-www-form-urlencoded");
    let (mut form_body, mut fields, mut memory) = (None, Vec::new(), None);
    if has_body && is_form {
        form_body = match limited_weighing(body, FORM_BYTES_MAX, FORM_TIMES, &state.request_bytes).await {
            Ok((bytes, taken)) => {
                memory = taken;
                Some(bytes)
            }
            Err(BodyFault::TooLong) => {
                let text = "error parsing form values: http: POST too large";
                return Err(ApiError { kind: ErrorKind::BadData, text: text.into(), status: Some(413) });
            }
            Err(BodyFault::Broken(e)) => {
                return Err(ApiError::bad_data(format!("error parsing form values: {e}")));
            }
            Err(BodyFault::Crowded) => {
                let text = "too many large requests are being received at once; send again later";
                return Err(ApiError { kind: ErrorKind::Unavailable, text: text.into(), status: Some(503) });
            }
        };
    } else if let Some(boundary) = multipart::boundary(content_type).filter(|_| !route.reads_plain_forms()) {
        // As upstream: a body that cannot be read is one without fields.
        if let Ok((bytes, taken)) =
            limited_weighing(body, FORM_BYTES_MAX, FORM_TIMES, &state.request_bytes).await
        {
            memory = taken;
            fields = multipart::fields(&bytes, &boundary);
        }
    } else {
        drain(body).await;
    }
    let client = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|c| c.0.ip());
    let call = Call {
        form: Form::new(parts.uri.query(), form_body.as_deref()).with_fields(fields),
        param,
        method: parts.method,
        path: parts.uri.path().to_string(),
        client: client.map(IpAddr::to_string_go).unwrap_or_default(),
        cancel: CancelToken::default(),
    };
    Ok((call, memory))
}

/// Addresses as Go prints them: IPv4 within IPv6 as IPv4.
trait GoAddress {
    fn to_string_go(self) -> String;
}

impl GoAddress for IpAddr {
    fn to_string_go(self) -> String {
        self.to_canonical().to_string()
    }
}

/// Why a body was not read.
pub(crate) enum BodyFault {
    /// Longer than the limit.
    TooLong,
    /// The connection broke.
    Broken(String),
    /// The memory for bodies is used up by others.
    Crowded,
}

/// Bytes of an unwanted body that are waited for, and how long: what a client still sends after the answer makes
/// the system reset the connection, and the answer may never be read. Go's server reads as much.
const DRAINED_BYTES_MAX: usize = 256 << 10;
const DRAINED_WITHIN: Duration = Duration::from_secs(1);

/// Reads a body that nobody wants, up to what is reasonable.
pub(crate) async fn drain(mut body: Body) {
    let read = async {
        let mut left = DRAINED_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let size = frame.data_ref().map_or(0, bytes::Bytes::len);
            let Some(rest) = left.checked_sub(size) else { return };
            left = rest;
        }
    };
    let _ = tokio::time::timeout(DRAINED_WITHIN, read).await;
}

/// Reads a body of at most `max` bytes; memory grows with what arrives, never with what is announced. The bytes are
/// taken out of `memory` as they arrive, and given back with the second value. Never waits for memory: bodies
/// that each hold a part and wait for the rest would wait for ever.
pub(crate) async fn limited_within(
    body: Body,
    max: usize,
    memory: &Arc<Semaphore>,
) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), BodyFault> {
    limited_weighing(body, max, 1, memory).await
}

/// A form is there as bytes, as text, and as its fields: the largest, three times, is less than the 32 MiB that there
/// are for bodies.
const FORM_TIMES: usize = 3;

/// The same where each byte counts as so many.
async fn limited_weighing(
    body: Body,
    max: usize,
    times: usize,
    memory: &Arc<Semaphore>,
) -> Result<(Vec<u8>, Option<OwnedSemaphorePermit>), BodyFault> {
    let (mut out, mut held) = (Vec::new(), None::<OwnedSemaphorePermit>);
    collect(body, max, &mut out, |more| {
        let more = u32::try_from(more * times).map_err(|_| BodyFault::TooLong)?;
        let taken = Arc::clone(memory).try_acquire_many_owned(more).map_err(|_| BodyFault::Crowded)?;
        match &mut held {
            Some(held) => held.merge(taken),
            None => held = Some(taken),
        }
        Ok(())
    })
    .await?;
    Ok((out, held))
}

async fn collect(
    mut body: Body,
    max: usize,
    out: &mut Vec<u8>,
    mut grant: impl FnMut(usize) -> Result<(), BodyFault>,
) -> Result<(), BodyFault> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| BodyFault::Broken(e.to_string()))?;
        let Some(data) = frame.data_ref() else { continue };
        let fault = match out.len() + data.len() > max {
            true => Err(BodyFault::TooLong),
            false => grant(data.len()),
        };
        if let Err(fault) = fault {
            *out = Vec::new();
            drain(body).await;
            return Err(fault);
        }
        out.extend_from_slice(data);
    }
    Ok(())
}

pub(crate) fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Answers a preflight request.
fn options(state: &State, request: &Request) -> Response {
    if let Some(refusal) = not_ready(state) {
        return refusal;
    }
    let mut response = empty(StatusCode::NO_CONTENT);
    response.headers_mut().append(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    cors(state, request.headers().get(header::ORIGIN), response.headers_mut());
    response
}

/// Upstream's `util/httputil/cors.go`.
fn cors(state: &State, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = origin.filter(|o| !o.is_empty()) else { return };
    let fixed = [
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "Accept, Authorization, Content-Type, Origin"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
        (header::ACCESS_CONTROL_EXPOSE_HEADERS, "Date"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if origin.to_str().is_ok_and(|o| state.parts.options.cors_origin.matches(o)) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
}

/// A path without empty, `.` and `..` segments, where it differs from the one given: Go's mux sends the
/// client there.
fn cleaned(path: &str) -> Option<String> {
    let dirty = path.split('/').skip(1).enumerate().any(|(i, s)| match s {
        "" => path.len() > 1 && !(path.ends_with('/') && path.split('/').skip(1).count() == i + 1),
        "." | ".." => true,
        _ => false,
    });
    if !dirty && path.starts_with('/') {
        return None;
    }
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            s => kept.push(s),
        }
    }
    let tail = if path.ends_with('/') && !kept.is_empty() { "/" } else { "" };
    Some(format!("/{}{tail}", kept.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_api_is_told_by_segments() {
        for (path, want) in [
            ("/api/v1/query", true),
            ("/api/v1/", true),
            ("/api/v1", false),
            ("/%61pi/v%31/query", true),
            ("/api%2Fv1/query", false),
            ("/api/v2/query", false),
            ("/query", false),
        ] {
            assert_eq!(is_api(path), want, "{path}");
        }
    }

    #[test]
    fn paths_are_cleaned_as_go_does() {
        for (path, want) in [
            ("/", None),
            ("/a/b", None),
            ("/a/b/", None),
            ("//api/v1/query", Some("/api/v1/query")),
            ("/a//b/", Some("/a/b/")),
            ("/a/../b", Some("/b")),
            ("/./", Some("/")),
            ("/../..", Some("/")),
            ("/a//", Some("/a/")),
        ] {
            assert_eq!(cleaned(path).as_deref(), want, "{path}");
        }
    }
}
