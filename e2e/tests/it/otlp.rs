//! OpenTelemetry's metrics: the same requests to a real Prometheus make the same series, exemplars and refusals.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;
use e2e::answers::{instant, query};
use e2e::http;
use e2e::process::{Server, godwit};
use e2e::wait::now;
use serde_json::{Value, json};

const CONFIGS: &[&str] = &[
    "",
    "otlp: {translation_strategy: UnderscoreEscapingWithoutSuffixes, promote_all_resource_attributes: true, ignore_resource_attributes: [host.id]}",
    "otlp: {translation_strategy: NoUTF8EscapingWithSuffixes, promote_scope_metadata: true, keep_identifying_resource_attributes: true}",
    "otlp: {translation_strategy: NoTranslation, promote_resource_attributes: [host.name, k8s.pod.uid], convert_histograms_to_nhcb: true}",
    "otlp: {label_name_underscore_sanitization: false, label_name_preserve_multiple_underscores: false, promote_scope_metadata: true}",
];

fn server(program: &Path, folder: &Path) -> Result<Server> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("prometheus.yml"), CONFIGS[0])?;
    let arguments = [
        "--web.listen-address=127.0.0.1:{port}",
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        "--web.enable-otlp-receiver",
        "--web.enable-lifecycle",
        "--enable-feature=exemplar-storage",
    ];
    Server::start(program, &arguments, folder, "/-/ready")
}

fn attributes(pairs: &[(&str, Value)]) -> Value {
    pairs.iter().map(|(k, v)| json!({"key": k, "value": v})).collect()
}

fn request(service: &str, metrics: &Value) -> Value {
    let resource = attributes(&[
        ("service.name", json!({"stringValue": service})),
        ("service.namespace", json!({"stringValue": "ns"})),
        ("service.instance.id", json!({"stringValue": "i-1"})),
        ("host.name", json!({"stringValue": "h"})),
        ("host.id", json!({"intValue": "7"})),
        ("k8s.pod.uid", json!({"stringValue": "u"})),
        (
            "list",
            json!({"arrayValue": {"values": [{"stringValue": "a<\"\n"}, {"intValue": 1}, {"doubleValue": 1e-7}, {}]}}),
        ),
        (
            "map",
            json!({"kvlistValue": {"values": [{"key": "b", "value": {"boolValue": true}}, {"key": "a", "value": {"bytesValue": "AQI="}}]}}),
        ),
    ]);
    let scope = json!({"name": "lib", "version": "1.2", "attributes": attributes(&[("x.y", json!({"stringValue": "z"}))])});
    json!({"resourceMetrics": [{
        "resource": {"attributes": resource},
        "scopeMetrics": [{"scope": scope, "schemaUrl": "http://s", "metrics": metrics}],
    }]})
}

/// Points of every kind, at `at` and before it, nanoseconds.
fn everything(at: u64) -> Value {
    let t = |back: u64| (at - back * 1_000_000_000).to_string();
    let kinds = attributes(&[
        ("http.method", json!({"stringValue": "GET"})),
        ("http_method", json!({"stringValue": "POST"})),
        ("_private", json!({"boolValue": false})),
        ("1st", json!({"doubleValue": 2.5e-10})),
        ("a..b", json!({"doubleValue": "NaN"})),
        ("bytes", json!({"bytesValue": "/+8="})),
        ("none", json!({})),
        ("job", json!({"stringValue": "own"})),
    ]);
    let exemplar = |v: f64, back: u64| {
        json!({"timeUnixNano": t(back), "asDouble": v, "traceId": "0102030405060708090a0b0c0d0e0f10", "spanId": "0102030405060708",
               "filteredAttributes": attributes(&[("user", json!({"stringValue": "me"}))])})
    };
    let buckets = |back: u64, scale: u64| {
        json!({"timeUnixNano": t(back), "count": (10 * scale).to_string(), "sum": 12.5, "bucketCounts": [0, scale, (9 * scale).to_string()],
               "explicitBounds": [0.5, 1e6], "exemplars": [exemplar(0.3, back), exemplar(2.0, back), exemplar(2e7, back)],
               "attributes": attributes(&[("le", json!({"stringValue": "own"}))])})
    };
    json!([
        {"name": "a.gauge", "unit": "By/s", "description": "Some\ngauge.", "gauge": {"dataPoints": [
            {"timeUnixNano": t(60), "asDouble": -1.5, "attributes": kinds},
            {"timeUnixNano": t(0), "asInt": "9007199254740993", "attributes": kinds},
            {"timeUnixNano": t(30), "asDouble": 1e300, "attributes": attributes(&[("__name__", json!({"stringValue": "x"}))])},
        ]}},
        {"name": "ratio", "unit": "1", "gauge": {"dataPoints": [{"timeUnixNano": t(0), "asDouble": "Infinity"}]}},
        {"name": "cpu_time_total", "unit": "s", "sum": {"aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [
            {"startTimeUnixNano": t(90), "timeUnixNano": t(30), "asInt": 3, "exemplars": [exemplar(1.0, 40)]},
            {"startTimeUnixNano": t(90), "timeUnixNano": t(15), "asDouble": 4.5, "exemplars": [exemplar(1.0, 20)]},
            {"timeUnixNano": t(0), "flags": 1},
        ]}},
        {"name": "up/down {x}", "unit": "{items}", "sum": {"aggregationTemporality": "AGGREGATION_TEMPORALITY_CUMULATIVE",
            "dataPoints": [{"timeUnixNano": t(0), "asInt": -3}]}},
        {"name": "2.latency", "unit": "ms", "histogram": {"aggregationTemporality": 2, "dataPoints": [buckets(30, 1), buckets(0, 2)]}},
        {"name": "no.sum", "histogram": {"aggregationTemporality": 2, "dataPoints": [
            {"timeUnixNano": t(0), "count": 4, "bucketCounts": [4], "explicitBounds": []}]}},
        {"name": "gone", "histogram": {"aggregationTemporality": 2, "dataPoints": [
            {"timeUnixNano": t(0), "flags": 1, "count": 0, "sum": 1, "bucketCounts": [], "explicitBounds": []}]}},
        {"name": "native", "unit": "s", "exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": [
            {"timeUnixNano": t(30), "count": 20, "sum": 3.5, "scale": 3, "zeroCount": 2, "exemplars": [exemplar(1.0, 30)],
             "positive": {"offset": -2, "bucketCounts": [1, 0, 0, 0, 0, 7, "3"]}, "negative": {"offset": 4, "bucketCounts": [5, 0, 2]}},
            {"timeUnixNano": t(0), "count": 26, "sum": 4, "scale": 10, "zeroCount": 2,
             "positive": {"offset": 5, "bucketCounts": [1, 2, 3, 4, 5, 6, 1, 2]}},
        ]}},
        {"name": "quantiles", "summary": {"dataPoints": [
            {"timeUnixNano": t(0), "count": 4, "sum": 5.5, "quantileValues": [{"quantile": 0.5, "value": 1}, {"quantile": 0.99, "value": "NaN"}]}]}},
        {"name": "empty", "gauge": {"dataPoints": []}},
    ])
}

/// What is refused, or taken with a warning only.
fn oddities(at: u64) -> Vec<(&'static str, Value)> {
    let t = at.to_string();
    let point = json!([{"timeUnixNano": t, "asInt": 1}]);
    let gauge = |name: &str| json!([{"name": name, "gauge": {"dataPoints": point}}]);
    vec![
        ("delta", json!([{"name": "d", "sum": {"aggregationTemporality": 1, "dataPoints": point}}])),
        ("unspecified", json!([{"name": "d", "histogram": {"dataPoints": [{"timeUnixNano": t}]}}])),
        ("no data", json!([{"name": "n"}])),
        ("no metrics", json!([])),
        (
            "scale",
            json!([{"name": "s", "exponentialHistogram": {"aggregationTemporality": 2,
            "dataPoints": [{"timeUnixNano": t, "scale": -5}]}}]),
        ),
        ("name of dots", gauge("...")),
        ("no name", gauge("")),
        (
            "future",
            json!([{"name": "f", "gauge": {"dataPoints": [{"timeUnixNano": (at + 3_600_000_000_000).to_string(), "asInt": 1}]}}]),
        ),
        ("past", json!([{"name": "p", "gauge": {"dataPoints": [{"timeUnixNano": "1000000", "asInt": 1}]}}])),
        (
            "duplicate",
            json!([{"name": "a.gauge", "unit": "By/s", "gauge": {"dataPoints": [{"timeUnixNano": t, "asDouble": 1},
            {"timeUnixNano": t, "asDouble": 2}]}}]),
        ),
        (
            "count",
            json!([{"name": "c", "exponentialHistogram": {"aggregationTemporality": 2,
            "dataPoints": [{"timeUnixNano": t, "count": 1, "positive": {"bucketCounts": [5]}}]}}]),
        ),
        (
            "label",
            json!([{"name": "l", "gauge": {"dataPoints": [{"timeUnixNano": t, "asInt": 1,
            "attributes": attributes(&[("__", json!({"stringValue": "x"}))])}]}}]),
        ),
        (
            "exemplar",
            json!([{"name": "e", "sum": {"aggregationTemporality": 2,
            "dataPoints": [{"timeUnixNano": t, "asInt": 1, "exemplars": [{"timeUnixNano": t}]}]}}]),
        ),
        (
            "two",
            json!([{"name": "..."}, {"name": "f", "gauge": {"dataPoints": [{"timeUnixNano": "1000000", "asInt": 1}]}}]),
        ),
    ]
}

/// What a server makes of all requests in all configurations, times in milliseconds since `at`.
fn observe(program: &Path, folder: &Path, at: u64) -> BTreeMap<String, Value> {
    let server = server(program, folder).unwrap();
    let mut seen = BTreeMap::new();
    for (i, config) in CONFIGS.iter().enumerate() {
        std::fs::write(folder.join("prometheus.yml"), config).unwrap();
        assert_eq!(http::request(server.port, "POST", "/-/reload", &[], &[]).unwrap().status, 200);
        for form in ["application/json", "application/x-protobuf"] {
            let all = [("everything", everything(at))].into_iter().chain(oddities(at));
            for (name, metrics) in all {
                let mut body = request(&format!("{i} {form}"), &metrics).to_string().into_bytes();
                if form.ends_with("protobuf") {
                    body = remote::otlp_json_to_protobuf(&body).unwrap();
                }
                let headers = [("Content-Type", form)];
                let answer =
                    http::request(server.port, "POST", "/api/v1/otlp/v1/metrics", &headers, &body).unwrap();
                seen.insert(format!("{i} {form} {name}"), json!([answer.status, answer.text()]));
            }
        }
    }
    let since = |seconds: f64| (seconds * 1000.0).round() as i64 - (at / 1_000_000) as i64;
    let series = query(server.port, &instant("{__name__!=\"\"}[10m]", now() + 1.0)).unwrap();
    for (labels, points) in series {
        let points = points.into_iter().map(|(t, v)| json!([since(t.parse().unwrap()), v]));
        seen.insert(labels, points.collect());
    }
    let path =
        format!("/api/v1/query_exemplars?query=%7B__name__!=%22%22%7D&start=0&end={:.0}", now() + 60.0);
    let mut exemplars = http::get(server.port, &path).unwrap().json().unwrap();
    for one in exemplars["data"].as_array_mut().unwrap() {
        for exemplar in one["exemplars"].as_array_mut().unwrap() {
            exemplar["timestamp"] = since(exemplar["timestamp"].as_f64().unwrap()).into();
        }
        seen.insert(format!("exemplars of {}", one["seriesLabels"]), one["exemplars"].clone());
    }
    seen
}

/// What 3.15.0 made of them: builds of the older version have no OTLP. `GODWIT_TEST_RECORD` writes it anew.
const RECORDED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/otlp.json");

#[test]
fn requests_make_the_series_of_a_real_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = (now() * 1000.0) as u64 * 1_000_000;
    let ours = observe(&godwit().unwrap(), &folder.path().join("ours"), at);
    let theirs = match std::env::var_os("GODWIT_PEER_NEW") {
        Some(peer) => observe(Path::new(&peer), &folder.path().join("theirs"), at),
        None => serde_json::from_slice(&std::fs::read(RECORDED).unwrap()).unwrap(),
    };
    assert!(theirs.len() > 300, "only {}", theirs.len());
    if std::env::var_os("GODWIT_TEST_RECORD").is_some() {
        std::fs::write(RECORDED, serde_json::to_string_pretty(&theirs).unwrap() + "\n").unwrap();
    }
    let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let differs = |name: &&&String| ours.get(**name) != theirs.get(**name);
    let line =
        |name: &String| format!("{name}\n  ours   {:?}\n  theirs {:?}", ours.get(name), theirs.get(name));
    let found: Vec<String> = names.iter().filter(differs).map(|name| line(name)).collect();
    assert!(found.is_empty(), "{} differ:\n{}", found.len(), found.join("\n"));
}
