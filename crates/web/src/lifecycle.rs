//! `/-/healthy`, `/-/ready`, `/-/reload`, `/-/quit`, `/version`.

use axum::response::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};
use tokio::sync::oneshot;

use crate::api::status::write_build;
use crate::json::Json;
use crate::respond::{text, text_error};
use crate::router::empty;
use crate::state::State;

pub(crate) fn healthy(state: &State, method: &Method) -> Response {
    life_sign(state, method, "Healthy")
}

/// Reached only when the server is ready.
pub(crate) fn ready(state: &State, method: &Method) -> Response {
    life_sign(state, method, "Ready")
}

fn life_sign(state: &State, method: &Method, word: &str) -> Response {
    if method == Method::HEAD {
        return empty(StatusCode::OK);
    }
    text(StatusCode::OK, format!("{} is {word}.\n", state.parts.options.app_name))
}

/// A refusal where the method or the flags do not allow the call.
fn refused(state: &State, method: &Method) -> Option<Response> {
    if method == Method::GET {
        return Some(text(StatusCode::METHOD_NOT_ALLOWED, "Only POST or PUT requests allowed"));
    }
    if !state.parts.options.enable_lifecycle {
        return Some(text(StatusCode::FORBIDDEN, "Lifecycle API is not enabled."));
    }
    None
}

pub(crate) fn quit(state: &State, method: &Method) -> Response {
    if let Some(refusal) = refused(state, method) {
        return refusal;
    }
    if state.parts.quit.is_cancelled() {
        return text(StatusCode::OK, "Termination already in progress.");
    }
    state.parts.quit.cancel();
    text(StatusCode::OK, "Requesting termination... Goodbye!")
}

pub(crate) async fn reload(state: &State, method: Method) -> Response {
    if let Some(refusal) = refused(state, &method) {
        return refusal;
    }
    let (answer, wait) = oneshot::channel();
    let failed =
        |why: &str| text_error(StatusCode::INTERNAL_SERVER_ERROR, format!("failed to reload config: {why}"));
    if state.parts.reload.send(answer).await.is_err() {
        return failed("the server is shutting down");
    }
    match wait.await {
        Ok(Ok(())) => empty(StatusCode::OK),
        Ok(Err(why)) => failed(&why),
        Err(_) => failed("the server is shutting down"),
    }
}

pub(crate) fn version(state: &State) -> Response {
    let mut json = Json::with_capacity(256);
    write_build(&mut json, &state.parts.build);
    json.raw("\n");
    let mut response = text(StatusCode::OK, String::from_utf8_lossy(&json.into_bytes()).into_owned());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
