//! The built-in page: one document for all its paths, one script, one style sheet, compiled in.
//!
//! All addresses in it are relative to one level below the prefix (`query`, `assets/app.js`, `api/v1/…`), so
//! it works under any route prefix and behind any proxy path without knowing them.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::header::{self, HeaderValue};
use http::{HeaderMap, StatusCode};

use crate::compress::Encoding;
use crate::respond::{not_found, redirect, set_body};
use crate::routes::Route;
use crate::state::State;

const INDEX: &str = include_str!("page/index.html");
const SCRIPT: &str = include_str!("page/app.js");
const STYLE: &str = include_str!("page/app.css");
const ICON: &str = include_str!("page/favicon.svg");

/// Nothing from elsewhere, nothing inline, no frames of other sites around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'";

/// `/` and `/graph`: to the query page, under the external URL's path.
pub(crate) fn home(state: &State, route: Route, request: &Request) -> Response {
    let base = &state.parts.options.external_path;
    let to = match (route, request.uri().query()) {
        (Route::Graph, query) => format!("{base}/query?{}", query.unwrap_or_default()),
        _ => format!("{base}/query"),
    };
    redirect(StatusCode::FOUND, &to, request.method())
}

pub(crate) fn serve(state: &State, route: Route, file: &str, headers: &HeaderMap) -> Response {
    let (media, text) = match (route, file) {
        (Route::Page, _) => {
            let title = escape(&state.parts.options.page_title);
            ("text/html; charset=utf-8", INDEX.replace("TITLE_PLACEHOLDER", &title))
        }
        (Route::Favicon, _) => ("image/svg+xml", ICON.to_string()),
        (Route::Asset, "app.js") => ("text/javascript; charset=utf-8", SCRIPT.to_string()),
        (Route::Asset, "app.css") => ("text/css; charset=utf-8", STYLE.to_string()),
        _ => return not_found(),
    };
    let mut response = Response::new(Body::empty());
    let h = response.headers_mut();
    h.insert(header::CONTENT_TYPE, HeaderValue::from_static(media));
    h.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    h.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    h.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    // A new version of the server brings a new page: never shown from a cache without asking.
    h.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    set_body(&mut response, text.into_bytes(), Encoding::of(headers));
    response
}

fn escape(s: &str) -> String {
    s.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_keeps_its_own_policy() {
        assert!(
            !SCRIPT.contains("innerHTML") && !SCRIPT.contains("eval(") && !SCRIPT.contains("document.write")
        );
        assert!(!INDEX.contains("style=") && !INDEX.contains("onclick=") && !INDEX.contains("<script>"));
        for absolute in ["href=\"/", "src=\"/", "fetch(\"/"] {
            assert!(!INDEX.contains(absolute) && !SCRIPT.contains(absolute), "{absolute}");
        }
    }

    #[test]
    fn both_languages_have_all_texts() {
        let keys = |lang: &str| -> Vec<String> {
            let from = SCRIPT.split_once(&format!("    {lang}: {{")).unwrap().1;
            let body = from.split_once("\n    },").unwrap().0;
            let mut keys: Vec<String> = Vec::new();
            let mut in_string = false;
            let mut word = String::new();
            for c in body.chars() {
                match c {
                    '"' => in_string = !in_string,
                    _ if in_string => {}
                    ':' => keys.push(std::mem::take(&mut word)),
                    c if c.is_ascii_alphanumeric() => word.push(c),
                    _ => word.clear(),
                }
            }
            keys
        };
        assert_eq!(keys("en"), keys("zh"));
        assert!(keys("en").len() > 40);
    }
}
