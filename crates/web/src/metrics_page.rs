//! `/metrics` and the pages below it: metrics that godwit exposes.

use std::collections::HashSet;

use axum::body::Body;
use axum::response::Response;
use exposition::Family;
use exposition::write_families;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::request::Parts;
use storage::CancelToken;

use crate::api::on_thread;
use crate::form::Form;
use crate::negotiate;
use crate::respond::{set_body, text_error};
use crate::state::State;

pub(crate) async fn serve(
    state: &State,
    request: Parts,
    gather: impl FnOnce() -> Vec<Family> + Send + 'static,
) -> Response {
    let chosen = negotiate::format(&request.headers);
    let encoding = negotiate::metrics_encoding(&request.headers);
    let form = Form::new(request.uri.query(), None);
    let work = move || {
        let mut families = gather();
        let wanted: HashSet<&str> = form.all("name[]").collect();
        if !wanted.is_empty() {
            families.retain(|f| wanted.contains(f.name.as_str()));
        }
        let mut response = Response::new(Body::empty());
        if let Ok(value) = HeaderValue::try_from(chosen.content_type()) {
            response.headers_mut().insert(CONTENT_TYPE, value);
        }
        set_body(&mut response, write_families(&families, chosen.format, chosen.escaping), encoding);
        response
    };
    state.metrics.pages_in_flight.add(1.0);
    let response = on_thread(&state.read_slots, &CancelToken::default(), work).await.unwrap_or_else(|| {
        text_error(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be gathered")
    });
    state.metrics.pages_in_flight.add(-1.0);
    state.metrics.pages.with(&[response.status().as_str()]).inc();
    response
}
