//! The HTTP API, call for call, against a real Prometheus with the same configuration and the same data.
//!
//! `api_table/*.txt` are the calls. A line is `MODE METHOD PATH`, then `-H name: value` for each header and
//! `-d body` (with `\r`, `\n`, `\t`, `\xHH`) last; a body without a content type is a form. `T0` and `T1` are
//! the first and the last second of the data. Modes:
//! - `exact`: status, headers, body to the byte, but for the order of series where none is defined;
//! - `shape`: status, headers, names of fields and kinds of values;
//! - `status`: status and headers only.
//!
//! A mode with `+` is asked of the newer server only (`GODWIT_PEER_NEW`): the older one answers otherwise. A line
//! that begins with `~` is a deviation, named in COMPAT, with its reason: the call above must differ.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use e2e::http::{self, Answer};
use e2e::process::{Server, godwit, peer};
use e2e::wait::{now, until};
use serde_json::Value;
use testkit::{Answer as Page, FakeTarget};

/// Samples of each series, 15 s apart.
const SAMPLES: i64 = 20;
/// Of an answer that differs.
const SHOWN_CHARS_MAX: usize = 6000;
/// Header lines that clients act upon.
const HEADERS: &[&str] = &[
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "allow",
    "cache-control",
    "content-encoding",
    "content-type",
    "link",
    "location",
    "retry-after",
    "vary",
    "x-content-type-options",
];

/// One call.
#[derive(Debug)]
struct Call {
    line: String,
    mode: String,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    /// The newer server has it, the older one has not.
    new: bool,
    /// Why it differs.
    deviation: Option<String>,
}

fn calls(text: &str, t0: i64) -> Vec<Call> {
    let mut all: Vec<Call> = Vec::new();
    for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        if let Some(reason) = line.strip_prefix('~') {
            all.last_mut().unwrap().deviation = Some(reason.trim().to_string());
            continue;
        }
        let filled =
            line.replace("T0", &t0.to_string()).replace("T1", &(t0 + 15 * (SAMPLES - 1)).to_string());
        let (rest, body) = filled.split_once(" -d ").unwrap_or((&filled, ""));
        let mut parts = rest.split(" -H ");
        let mut words = parts.next().unwrap().split_ascii_whitespace().map(str::to_string);
        let mut word = || words.next().unwrap_or_else(|| panic!("cut off: {line}"));
        let (mode, method, path) = (word(), word(), word());
        let new = mode.ends_with('+');
        let mode = mode.trim_end_matches('+').to_string();
        assert!(["exact", "shape", "status"].contains(&&mode[..]), "{line}");
        let pair = |h: &str| h.split_once(':').map(|(k, v)| (k.trim().to_string(), v.trim().to_string()));
        let mut headers: Vec<_> = parts.map(|h| pair(h).unwrap()).collect();
        if !body.is_empty() && !headers.iter().any(|(k, _)| k.eq_ignore_ascii_case("content-type")) {
            headers.push(("Content-Type".into(), "application/x-www-form-urlencoded".into()));
        }
        let body = unescaped(body);
        all.push(Call { line: line.into(), mode, method, path, headers, body, new, deviation: None });
    }
    all
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text.bytes();
    while let Some(b) = rest.next() {
        match (b == b'\\').then(|| rest.next().unwrap()) {
            None => out.push(b),
            Some(b'r') => out.push(b'\r'),
            Some(b'n') => out.push(b'\n'),
            Some(b't') => out.push(b'\t'),
            Some(b'x') => {
                let hex = [rest.next().unwrap(), rest.next().unwrap()];
                out.push(u8::from_str_radix(std::str::from_utf8(&hex).unwrap(), 16).unwrap());
            }
            Some(other) => panic!("unknown escape {other}"),
        }
    }
    out
}

/// What both servers scrape: every sample has its time, so that both have the same whenever they scrape.
fn page(t0: i64) -> String {
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, series: &[(&str, &dyn Fn(i64) -> f64)]| {
        text += &format!("# TYPE {name} {kind}\n# HELP {name} {help}\n");
        for (labels, value) in series {
            for i in 0..SAMPLES {
                text += &format!("{labels} {} {}\n", value(i), t0 + 15 * i);
            }
        }
    };
    family(
        "temperature",
        "gauge",
        "How warm\\nit is.",
        &[
            (r#"temperature{room="a",x="1"}"#, &|i| 20.0 + i as f64 * 0.1),
            (r#"temperature{room="b",x="1"}"#, &|i| -3.5 - i as f64),
            (r#"temperature{room="c"}"#, &|_| f64::NAN),
            (r#"temperature{room="d<&>\"é"}"#, &|i| 1e21 * i as f64),
        ],
    );
    family(
        "latency_seconds",
        "histogram",
        "How long.",
        &[
            (r#"latency_seconds_bucket{le="0.1"}"#, &|i| i as f64),
            (r#"latency_seconds_bucket{le="+Inf"}"#, &|i| 3.0 * i as f64),
            ("latency_seconds_count", &|i| 3.0 * i as f64),
            ("latency_seconds_sum", &|i| 0.25 * i as f64),
        ],
    );
    text += "# TYPE requests counter\n# HELP requests Requests.\n";
    for path in ["/", "/api", "/metrics"] {
        for i in 0..SAMPLES {
            let at = t0 + 15 * i;
            text += &format!(
                "requests_total{{path=\"{path}\"}} {} {at} # {{trace_id=\"{path}{i}\"}} {i}.5 {at}.25\n",
                i * 7
            );
        }
    }
    text += "# TYPE \"utf8.metric\" gauge\n";
    text += &format!("{{\"utf8.metric\",\"a.b\"=\"c\"}} 1 {t0}\n");
    text + "# EOF\n"
}

/// A server over the page, when all of it is there.
fn server(program: &Path, folder: &Path, config: &str, newer: bool) -> Result<Server> {
    std::fs::create_dir_all(folder)?;
    std::fs::write(folder.join("prometheus.yml"), config)?;
    std::fs::write(folder.join("rules.yml"), include_str!("api_table/rules.yml"))?;
    let mut arguments = vec![
        "--web.listen-address=127.0.0.1:{port}",
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        "--web.enable-remote-write-receiver",
        "--web.enable-admin-api",
        "--web.enable-lifecycle",
        "--enable-feature=exemplar-storage,metadata-wal-records,search-api",
        "--web.external-url=http://example.org:9090/",
    ];
    // Builds of the older one may have no OTLP.
    arguments.extend(newer.then_some("--web.enable-otlp-receiver"));
    let server = Server::start(program, &arguments, folder, "/-/ready")?;
    until("the page is scraped", || {
        let answer = http::get(server.port, "/api/v1/query?query=%7B%22utf8.metric%22%7D%5B1h%5D")?;
        let all = http::get(server.port, "/api/v1/targets")?.text();
        ensure!(answer.text().contains("a.b"), "{all}");
        ensure!(!all.contains("unknown"), "not all scraped");
        Ok(())
    })?;
    Ok(server)
}

/// What counts of an answer.
#[derive(Debug, PartialEq)]
struct Seen {
    status: u16,
    headers: BTreeMap<String, String>,
    body: String,
}

fn ask(server: &Server, call: &Call) -> Result<Seen> {
    let headers: Vec<(&str, &str)> = call.headers.iter().map(|(k, v)| (&k[..], &v[..])).collect();
    let answer = http::request(server.port, &call.method, &call.path, &headers, &call.body)
        .with_context(|| call.line.clone())?;
    let port = format!("127.0.0.1:{}", server.port);
    let mut seen = BTreeMap::new();
    for line in answer.headers.lines().skip(1) {
        let (name, value) = line.split_once(':').context("a header without a colon")?;
        let name = name.to_ascii_lowercase();
        if HEADERS.contains(&&name[..]) || name.starts_with("x-prometheus") {
            let all: &mut String = seen.entry(name).or_default();
            *all +=
                &format!("{}{}", if all.is_empty() { "" } else { ", " }, value.trim().replace(&port, "SELF"));
        }
    }
    let body = decoded(&answer, &seen)?.replace(&port, "SELF");
    Ok(Seen { status: answer.status, headers: seen, body })
}

fn decoded(answer: &Answer, headers: &BTreeMap<String, String>) -> Result<String> {
    let mut out = Vec::new();
    match headers.get("content-encoding").map(String::as_str) {
        Some("gzip") => drop(flate2::read::GzDecoder::new(&answer.body[..]).read_to_end(&mut out)?),
        Some("deflate") => drop(flate2::read::ZlibDecoder::new(&answer.body[..]).read_to_end(&mut out)?),
        _ => out.clone_from(&answer.body),
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

/// Names of fields and kinds of values; of lists the first element.
fn shape(v: &Value) -> Value {
    match v {
        Value::Object(o) => Value::Object(o.iter().map(|(k, v)| (k.clone(), shape(v))).collect()),
        Value::Array(a) => Value::Array(a.iter().take(1).map(shape).collect()),
        Value::String(_) => "string".into(),
        Value::Number(_) => "number".into(),
        Value::Bool(_) => "bool".into(),
        Value::Null => Value::Null,
    }
}

/// Lists of series, which have no order but where a query sorts.
fn sorted(mut v: Value) -> Value {
    for list in ["/data/result", "/data", "/data/activeTargets", "/data/droppedTargets"] {
        if let Some(Value::Array(items)) = v.pointer_mut(list) {
            items.sort_by_key(Value::to_string);
        }
    }
    v
}

fn equal(call: &Call, ours: &Seen, theirs: &Seen) -> bool {
    if ours.status != theirs.status || ours.headers != theirs.headers {
        return false;
    }
    let json = |s: &Seen| serde_json::from_str::<Value>(&s.body).ok();
    match &call.mode[..] {
        _ if ours.body == theirs.body || call.method == "HEAD" => true,
        "status" => true,
        "shape" => json(ours).zip(json(theirs)).is_some_and(|(a, b)| shape(&a) == shape(&b)),
        _ if call.path.contains("sort") => false,
        // Equal length: numbers are written alike.
        _ => {
            let both = json(ours).zip(json(theirs));
            ours.body.len() == theirs.body.len() && both.is_some_and(|(a, b)| sorted(a) == sorted(b))
        }
    }
}

/// An answer to be looked at.
fn cut(seen: &Seen) -> String {
    let text = format!("{seen:?}");
    text.chars().take(SHOWN_CHARS_MAX).collect()
}

fn compare(ours: &Server, theirs: &Server, newer: bool, calls: &[Call]) -> Vec<String> {
    let mut found = Vec::new();
    for call in calls.iter().filter(|c| newer || !c.new) {
        let (mut a, mut b) = (ask(ours, call).unwrap(), ask(theirs, call).unwrap());
        if !newer {
            // Newer versions say more of it.
            a.headers.remove("vary");
            b.headers.remove("vary");
        }
        let equal = equal(call, &a, &b);
        match (&call.deviation, equal) {
            (None, false) => {
                found.push(format!("{}\n  ours:   {}\n  theirs: {}", call.line, cut(&a), cut(&b)))
            }
            (Some(reason), true) => found.push(format!("{}\n  no longer differs ({reason})", call.line)),
            _ => {}
        }
    }
    found
}

/// A field of a message, its value less than 128 bytes long.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(value.len()).unwrap()][..], value].concat()
}

fn varint(number: u8, mut value: u64) -> Vec<u8> {
    let mut out = vec![number << 3];
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}

/// What a server gives to a remote read of one metric from `t0` to `t1` (milliseconds): kind and body, the latter
/// out of its compression.
fn read(server: &Server, chunks: bool, (t0, t1): (i64, i64), metric: &str) -> (u16, String, Vec<u8>) {
    let matcher = [varint(1, 0), field(2, b"__name__"), field(3, metric.as_bytes())].concat();
    let query = [varint(1, t0 as u64), varint(2, t1 as u64), field(3, &matcher)].concat();
    let request = [field(1, &query), varint(2, u64::from(chunks))].concat();
    let body = snap::raw::Encoder::new().compress_vec(&request).unwrap();
    let headers = [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "snappy")];
    let answer = http::request(server.port, "POST", "/api/v1/read", &headers, &body).unwrap();
    let kind = answer.headers.lines().find(|l| l.to_ascii_lowercase().starts_with("content-type"));
    let kind = kind.unwrap_or_default().to_ascii_lowercase();
    let body =
        if chunks { answer.body } else { snap::raw::Decoder::new().decompress_vec(&answer.body).unwrap() };
    (answer.status, kind, body)
}

#[test]
fn every_call_is_answered_as_a_real_one_does() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let t0 = (now() as i64 - 600) / 60 * 60;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let text = page(t0);
    let target = runtime.block_on(FakeTarget::start(move |_: &_| Page::page(kind, text.clone()))).unwrap();
    let config = include_str!("api_table/prometheus.yml").replace("TARGET", &target.address().to_string());
    let folder = tempfile::tempdir().unwrap();
    let (program, newer) = match std::env::var_os("GODWIT_PEER_NEW") {
        Some(path) => (path.into(), true),
        None => (peer("prometheus").unwrap(), false),
    };
    let ours = server(&godwit().unwrap(), &folder.path().join("ours"), &config, newer).unwrap();
    let theirs = server(&program, &folder.path().join("theirs"), &config, newer).unwrap();
    let table = [
        include_str!("api_table/reads.txt"),
        include_str!("api_table/server.txt"),
        include_str!("api_table/search.txt"),
    ]
    .concat();
    let calls = calls(&table, t0);
    assert!(calls.len() > 100);
    let mut found = compare(&ours, &theirs, newer, &calls);
    let all = (t0 * 1000, (t0 + 3600) * 1000);
    // One series, so that none has to be put in order; chunks are cut where a range ends within one, ours are not.
    for (chunks, times, metric) in [
        (false, all, "latency_seconds_sum"),
        (false, ((t0 + 31) * 1000, (t0 + 91) * 1000), "latency_seconds_sum"),
        (false, all, "nothing"),
        (true, all, "latency_seconds_sum"),
        (true, all, "nothing"),
    ] {
        let (a, b) = (read(&ours, chunks, times, metric), read(&theirs, chunks, times, metric));
        if a != b {
            found.push(format!("read {chunks} {times:?} {metric}:\n  ours {a:?}\n  theirs {b:?}"));
        }
    }
    assert!(found.is_empty(), "{} of {} calls differ:\n{}", found.len(), calls.len(), found.join("\n"));
}
