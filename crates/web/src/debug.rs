//! `/debug/pprof`: the little of Go's profiling pages that has a meaning outside Go.

use axum::extract::Request;
use axum::response::Response;
use http::StatusCode;

use crate::respond::{not_found, redirect, text, text_error};
use crate::state::State;

pub(crate) fn serve(state: &State, subpath: &str, request: &Request) -> Response {
    if subpath == "pprof" {
        let to = format!("{}/", request.uri().path());
        return redirect(StatusCode::MOVED_PERMANENTLY, &to, request.method());
    }
    let Some(profile) = subpath.strip_prefix("pprof/") else { return not_found() };
    match profile {
        "" => text(StatusCode::OK, "cmdline: the command line\n"),
        "cmdline" => {
            let mut response = text(StatusCode::OK, state.parts.options.command_line.join("\0"));
            let nosniff = http::HeaderValue::from_static("nosniff");
            response.headers_mut().insert(http::header::X_CONTENT_TYPE_OPTIONS, nosniff);
            response
        }
        "profile" | "symbol" | "trace" | "fgprof" | "allocs" | "block" | "goroutine" | "heap" | "mutex"
        | "threadcreate" => text_error(
            StatusCode::NOT_IMPLEMENTED,
            "this is a profile of the Go runtime, which godwit does not have; profile the process with perf",
        ),
        _ => text_error(StatusCode::NOT_FOUND, "Unknown profile"),
    }
}
