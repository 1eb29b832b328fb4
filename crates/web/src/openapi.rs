//! `/api/v1/openapi.yaml`: the API described for generators of clients (OpenAPI 3.1, and 3.2 on request).
//!
//! Made of one table, which a test compares with the routes. Upstream's document has an example for each answer,
//! which ours has not; paths, methods, parameters and their kinds are the same.

use std::fmt::Write as _;

use axum::response::Response;
use http::StatusCode;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};

use crate::respond::text;
use crate::state::State;

/// A parameter: its name, whether it must be given, its kind.
type Parameter = (&'static str, bool, &'static str);

const TIME: &str = "time";
const DURATION: &str = "duration";
const TEXT: &str = "string";
const TEXTS: &str = "strings";
const NUMBER: &str = "integer";
const TRUTH: &str = "boolean";

struct Path {
    path: &'static str,
    tag: &'static str,
    summary: &'static str,
    methods: &'static [&'static str],
    parameters: &'static [Parameter],
    /// What is sent, where it is no form.
    body: &'static str,
    /// What comes back.
    answer: Answer,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// The envelope.
    Json,
    /// Nothing, with 204.
    Empty,
    /// Lines of JSON.
    Lines,
    /// A stream of events.
    Events,
    /// A protobuf message.
    Protobuf,
    /// Nothing, with 200.
    Done,
}

const fn path(
    path: &'static str,
    tag: &'static str,
    summary: &'static str,
    methods: &'static [&'static str],
    parameters: &'static [Parameter],
) -> Path {
    Path { path, tag, summary, methods, parameters, body: "", answer: Answer::Json }
}

const GET: &[&str] = &["get"];
const GET_POST: &[&str] = &["get", "post"];
const POST: &[&str] = &["post"];
const POST_PUT: &[&str] = &["post", "put"];
const LIMIT: Parameter = ("limit", false, NUMBER);
const START: Parameter = ("start", false, TIME);
const END: Parameter = ("end", false, TIME);
const QUERY: Parameter = ("query", true, TEXT);
const MATCH: Parameter = ("match[]", false, TEXTS);

const SEARCH_METRICS: &[Parameter] = &[
    START,
    END,
    MATCH,
    ("search[]", false, TEXTS),
    ("fuzz_threshold", false, NUMBER),
    ("fuzz_alg", false, TEXT),
    ("case_sensitive", false, TRUTH),
    ("include_score", false, TRUTH),
    ("sort_by", false, TEXT),
    ("sort_dir", false, TEXT),
    LIMIT,
    ("batch_size", false, NUMBER),
    ("include_metadata", false, TRUTH),
];
const SEARCH_LABELS: &[Parameter] = &[
    START,
    END,
    MATCH,
    ("search[]", false, TEXTS),
    ("fuzz_threshold", false, NUMBER),
    ("fuzz_alg", false, TEXT),
    ("case_sensitive", false, TRUTH),
    ("include_score", false, TRUTH),
    ("sort_by", false, TEXT),
    ("sort_dir", false, TEXT),
    LIMIT,
    ("batch_size", false, NUMBER),
];
const SEARCH_VALUES: &[Parameter] = &[
    START,
    END,
    MATCH,
    ("search[]", false, TEXTS),
    ("fuzz_threshold", false, NUMBER),
    ("fuzz_alg", false, TEXT),
    ("case_sensitive", false, TRUTH),
    ("include_score", false, TRUTH),
    ("sort_by", false, TEXT),
    ("sort_dir", false, TEXT),
    LIMIT,
    ("batch_size", false, NUMBER),
    ("label", true, TEXT),
];

const PATHS: &[Path] = &[
    path(
        "/query",
        "query",
        "Evaluate an instant query",
        GET_POST,
        &[
            LIMIT,
            ("time", false, TIME),
            QUERY,
            ("timeout", false, DURATION),
            ("lookback_delta", false, DURATION),
            ("explain", false, TEXT),
            ("stats", false, TEXT),
        ],
    ),
    path(
        "/query_range",
        "query",
        "Evaluate a range query",
        GET_POST,
        &[
            LIMIT,
            ("start", true, TIME),
            ("end", true, TIME),
            ("step", true, DURATION),
            QUERY,
            ("timeout", false, DURATION),
            ("lookback_delta", false, DURATION),
            ("explain", false, TEXT),
            ("stats", false, TEXT),
        ],
    ),
    path("/query_exemplars", "query", "Query exemplars", GET_POST, &[START, END, QUERY]),
    path("/format_query", "query", "Format a PromQL expression", GET_POST, &[QUERY]),
    path("/parse_query", "query", "Parse a PromQL expression", GET_POST, &[QUERY]),
    path("/labels", "labels", "Get label names", GET_POST, &[START, END, MATCH, LIMIT]),
    path(
        "/label/{name}/values",
        "labels",
        "Get values of a label",
        GET,
        &[("name", true, "path"), START, END, MATCH, LIMIT],
    ),
    path(
        "/series",
        "series",
        "Find series by label matchers",
        GET_POST,
        &[START, END, ("match[]", true, TEXTS), LIMIT],
    ),
    Path {
        answer: Answer::Lines,
        ..path("/search/metric_names", "metadata", "Search names of metrics", GET_POST, SEARCH_METRICS)
    },
    Path {
        answer: Answer::Lines,
        ..path("/search/label_names", "labels", "Search names of labels", GET_POST, SEARCH_LABELS)
    },
    Path {
        answer: Answer::Lines,
        ..path("/search/label_values", "labels", "Search values of a label", GET_POST, SEARCH_VALUES)
    },
    path(
        "/metadata",
        "metadata",
        "Get metadata of metrics",
        GET,
        &[LIMIT, ("limit_per_metric", false, NUMBER), ("metric", false, TEXT)],
    ),
    path("/scrape_pools", "targets", "Get the names of scrape pools", GET, &[]),
    path(
        "/scrape_pools/config",
        "targets",
        "Get the configuration of a scrape pool",
        GET,
        &[("scrapePool", true, TEXT)],
    ),
    path("/targets", "targets", "Get targets", GET, &[("scrapePool", false, TEXT), ("state", false, TEXT)]),
    path(
        "/targets/metadata",
        "targets",
        "Get metadata of metrics by target",
        GET,
        &[("match_target", false, TEXT), ("metric", false, TEXT), LIMIT],
    ),
    path(
        "/targets/relabel_steps",
        "targets",
        "Get the steps of a relabeling",
        GET,
        &[("scrapePool", true, TEXT), ("labels", true, TEXT)],
    ),
    path(
        "/rules",
        "rules",
        "Get recording and alerting rules",
        GET,
        &[
            ("type", false, TEXT),
            ("rule_name[]", false, TEXTS),
            ("rule_group[]", false, TEXTS),
            ("file[]", false, TEXTS),
            MATCH,
            ("exclude_alerts", false, TRUTH),
            ("group_limit", false, NUMBER),
            ("group_next_token", false, TEXT),
        ],
    ),
    path("/alerts", "alerts", "Get active alerts", GET, &[]),
    path("/alertmanagers", "alerts", "Get Alertmanagers", GET, &[]),
    path("/status/config", "status", "Get the configuration", GET, &[]),
    path("/status/runtimeinfo", "status", "Get information on the running process", GET, &[]),
    path("/status/buildinfo", "status", "Get information on the build", GET, &[]),
    path("/status/flags", "status", "Get the values of flags", GET, &[]),
    path("/status/tsdb", "status", "Get statistics of the store", GET, &[LIMIT]),
    path("/status/tsdb/blocks", "status", "Get the blocks of the store", GET, &[]),
    path("/status/walreplay", "status", "Get the progress of the log's replay", GET, &[]),
    path(
        "/status/self_metrics",
        "status",
        "Get the server's own metrics",
        GET,
        &[("metric_name_pattern", false, TEXT)],
    ),
    Path {
        answer: Answer::Empty,
        ..path(
            "/admin/tsdb/delete_series",
            "admin",
            "Delete series",
            POST_PUT,
            &[("match[]", true, TEXTS), START, END],
        )
    },
    Path {
        answer: Answer::Empty,
        ..path("/admin/tsdb/clean_tombstones", "admin", "Free the space of deleted samples", POST_PUT, &[])
    },
    path(
        "/admin/tsdb/snapshot",
        "admin",
        "Make a snapshot of the store",
        POST_PUT,
        &[("skip_head", false, TRUTH)],
    ),
    path("/admin/tsdb/import", "admin", "Take over blocks from a folder", POST_PUT, &[("path", true, TEXT)]),
    path(
        "/admin/migrate/plan",
        "admin",
        "What would stand in the way of taking over, and how long it would take",
        POST_PUT,
        &[("path", false, TEXT), ("agent", false, TEXT), ("keyFile", false, TEXT), ("bwlimit", false, TEXT)],
    ),
    path("/admin/migrate", "admin", "Where the migration to this server is", GET, &[]),
    path(
        "/admin/migrate/run",
        "admin",
        "Take over a running Prometheus: a folder of this machine, or one behind an agent",
        POST_PUT,
        &[
            ("path", false, TEXT),
            ("agent", false, TEXT),
            ("keyFile", false, TEXT),
            ("bwlimit", false, TEXT),
            ("hold", false, TEXT),
            ("offline", false, TEXT),
        ],
    ),
    path("/admin/migrate/verify", "admin", "Compare the source with what is here", POST_PUT, &[]),
    path("/admin/migrate/switch", "admin", "Take the duty over from the source", POST_PUT, &[]),
    path("/admin/migrate/rollback", "admin", "Give the duty back to the source", POST_PUT, &[]),
    path(
        "/admin/migrate/release",
        "admin",
        "End the migration and let its source go",
        POST_PUT,
        &[("abandon", false, TEXT)],
    ),
    Path {
        body: "application/x-protobuf",
        answer: Answer::Protobuf,
        ..path("/read", "remote", "Remote read", POST, &[])
    },
    Path {
        body: "application/x-protobuf",
        answer: Answer::Empty,
        ..path("/write", "remote", "Remote write", POST, &[])
    },
    Path {
        body: "application/x-protobuf application/json",
        answer: Answer::Done,
        ..path("/otlp/v1/metrics", "otlp", "OpenTelemetry metrics", POST, &[])
    },
    path("/notifications", "notifications", "Get notices of the server", GET, &[]),
    Path {
        answer: Answer::Events,
        ..path("/notifications/live", "notifications", "Get notices of the server as they come", GET, &[])
    },
    path("/features", "features", "Get features", GET, &[]),
];

const TAGS: &[(&str, &str)] = &[
    ("query", "Queries and expressions."),
    ("metadata", "Types, units and descriptions of metrics."),
    ("labels", "Names and values of labels."),
    ("series", "Series."),
    ("targets", "Targets and scrape pools."),
    ("rules", "Recording and alerting rules."),
    ("alerts", "Alerts and Alertmanagers."),
    ("status", "State of the server."),
    ("admin", "Changes to the store."),
    ("features", "Features."),
    ("remote", "Remote read and write."),
    ("otlp", "OpenTelemetry."),
    ("notifications", "Notices of the server."),
];

/// What all answers are made of.
const COMPONENTS: &str = "components:
  schemas:
    Success:
      type: object
      required: [status, data]
      properties:
        status: {type: string, enum: [success]}
        data: {description: What was asked for.}
        warnings: {type: array, items: {type: string}}
        infos: {type: array, items: {type: string}}
    Error:
      type: object
      required: [status, errorType, error]
      properties:
        status: {type: string, enum: [error]}
        errorType:
          type: string
          enum: [timeout, canceled, execution, bad_data, internal, unavailable, not_found, not_acceptable]
        error: {type: string}
        data: {description: What could be had in spite of the error.}
    Time:
      description: Seconds since 1970, or RFC 3339.
      oneOf: [{type: string, format: date-time}, {type: number}]
    Duration:
      description: Seconds, or a duration such as 1h30m.
      oneOf: [{type: string}, {type: number}]
  responses:
    Error:
      description: What was wrong.
      content:
        application/json:
          schema: {$ref: '#/components/schemas/Error'}
    Success:
      description: The answer.
      content:
        application/json:
          schema: {$ref: '#/components/schemas/Success'}
";

fn schema(kind: &str) -> &'static str {
    match kind {
        TIME => "{$ref: '#/components/schemas/Time'}",
        DURATION => "{$ref: '#/components/schemas/Duration'}",
        NUMBER => "{type: integer, format: int64}",
        TRUTH => "{type: boolean}",
        TEXTS => "{type: array, items: {type: string}}",
        _ => "{type: string}",
    }
}

/// The document. Writing to a String cannot fail, hence the ignored results.
fn document(server: &str, version: &str, newer: bool) -> String {
    let mut out = String::with_capacity(32 << 10);
    let openapi = if newer { "3.2.0" } else { "3.1.0" };
    let _ = write!(
        out,
        "openapi: {openapi}\ninfo:\n  title: Prometheus API\n  description: The HTTP API of Prometheus, as godwit answers it.\n  version: '{version}'\nservers:\n- url: '{}'\npaths:\n",
        server.replace('\'', "''")
    );
    // A stream of events is not to be described before 3.2.
    for p in PATHS.iter().filter(|p| newer || p.answer != Answer::Events) {
        let _ = writeln!(out, "  {}:", p.path);
        for method in p.methods {
            operation(&mut out, p, method);
        }
    }
    out.push_str("tags:\n");
    for (name, description) in TAGS {
        let _ = writeln!(out, "- name: {name}\n  description: {description}");
    }
    out + COMPONENTS
}

fn operation(out: &mut String, p: &Path, method: &str) {
    let id = p.path.trim_start_matches('/').replace(['/', '_'], "-").replace(['{', '}'], "");
    let _ = write!(
        out,
        "    {method}:\n      tags: [{}]\n      summary: {}\n      operationId: {id}-{method}\n",
        p.tag, p.summary
    );
    let form = method == "post" && p.methods == GET_POST;
    if !form && !p.parameters.is_empty() {
        out.push_str("      parameters:\n");
        for (name, required, kind) in p.parameters {
            let place = if *kind == "path" { "path" } else { "query" };
            let _ = writeln!(
                out,
                "      - {{name: '{name}', in: {place}, required: {required}, schema: {}}}",
                schema(kind)
            );
        }
    }
    if form {
        out.push_str("      requestBody:\n        required: true\n        content:\n          application/x-www-form-urlencoded:\n            schema:\n              type: object\n              properties:\n");
        for (name, _, kind) in p.parameters {
            let _ = writeln!(out, "                '{name}': {}", schema(kind));
        }
        let required: Vec<String> = p
            .parameters
            .iter()
            .filter(|(_, required, _)| *required)
            .map(|(n, ..)| format!("'{n}'"))
            .collect();
        if !required.is_empty() {
            let _ = writeln!(out, "              required: [{}]", required.join(", "));
        }
    } else if !p.body.is_empty() {
        out.push_str("      requestBody:\n        required: true\n        content:\n");
        for media in p.body.split(' ') {
            let _ = writeln!(out, "          {media}: {{schema: {{type: string, format: binary}}}}");
        }
    }
    let answer = match p.answer {
        Answer::Json => "'200': {$ref: '#/components/responses/Success'}",
        Answer::Empty => "'204': {description: Done.}",
        Answer::Done => "'200': {description: Done.}",
        Answer::Lines => {
            "'200': {description: Batches and how it ended., content: {application/x-ndjson: {schema: {type: string}}}}"
        }
        Answer::Events => {
            "'200': {description: Events., content: {text/event-stream: {schema: {type: string}}}}"
        }
        Answer::Protobuf => {
            "'200': {description: Samples or chunks., content: {application/x-protobuf: {schema: {type: string, format: binary}}}}"
        }
    };
    let _ = write!(
        out,
        "      responses:\n        {answer}\n        default: {{$ref: '#/components/responses/Error'}}\n"
    );
}

/// Answers `/api/v1/openapi.yaml`.
pub(crate) fn serve(state: &State, query: Option<&str>) -> Response {
    let form = crate::form::Form::new(query, None);
    let newer = matches!(form.query("openapi_version"), "3.2" | "3.2.0");
    let o = &state.parts.options;
    let server = format!(
        "{}://{}{}/api/v1",
        o.external_scheme,
        o.external_host,
        o.external_path.trim_end_matches('/')
    );
    let mut response = text(StatusCode::OK, document(&server, &state.parts.build.version, newer));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/yaml; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-store, must-revalidate"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::{self, ROUTES, Route};

    #[test]
    fn all_routes_of_the_api_are_described() {
        let ours = ROUTES.iter().filter(|r| r.route != Route::OpenApi);
        for route in ours {
            let Some(path) = route.pattern.strip_prefix("/api/v1") else { continue };
            let path = path.replace(":name", "{name}");
            let described =
                PATHS.iter().find(|p| p.path == path).unwrap_or_else(|| panic!("{path} is not described"));
            let bits = described.methods.iter().map(|m| match *m {
                "get" => routes::GET,
                "post" => routes::POST,
                _ => routes::PUT,
            });
            assert_eq!(bits.fold(0, |a, b| a | b), route.methods, "{path}");
            assert!(TAGS.iter().any(|(tag, _)| *tag == described.tag), "{path}");
        }
    }

    #[test]
    fn each_version_has_its_paths() {
        let of = |newer| document("http://h/api/v1", "3.15.0", newer);
        assert!(of(false).starts_with("openapi: 3.1.0\n") && !of(false).contains("/notifications/live"));
        assert!(of(true).starts_with("openapi: 3.2.0\n") && of(true).contains("  /notifications/live:\n"));
        assert!(of(false).contains("- url: 'http://h/api/v1'\n"));
        assert!(!of(true).contains('\t'));
    }
}
