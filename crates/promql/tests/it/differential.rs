//! The same data and the same random expressions to this engine and to a real Prometheus, by hand:
//!
//! ```text
//! prometheus --web.enable-remote-write-receiver --enable-feature=promql-experimental-functions,\
//!     promql-duration-expr,promql-delayed-name-removal,promql-extended-range-selectors,promql-binop-fill-modifiers
//! GODWIT_TEST_PROMETHEUS=127.0.0.1:9090 GODWIT_TEST_COUNT=5000 cargo test -p promql differential -- --nocapture
//! ```

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use model::{FloatHistogram, HistogramValue, Labels, Span};
use promql::{Engine, EngineOptions, ParserOptions, QueryOptions, SampleValue, Value};
use storage::memory::MemoryStore;
use storage::{Appendable, CancelToken, SeriesRef};

use crate::generator::{Random, vector};

const STEPS: i64 = 120;
const SCRAPE_MS: i64 = 15_000;
/// Relative difference that other libraries' sine or power may make.
const EPSILON: f64 = 1e-11;

enum Sample {
    Float(f64),
    Hist(FloatHistogram),
}

type Data = Vec<(Labels, Vec<(i64, Sample)>)>;

fn data(base: i64) -> Data {
    let mut r = Random::new(7);
    let mut all: BTreeMap<Labels, Vec<(i64, Sample)>> = BTreeMap::new();
    for job in ["a", "b"] {
        for instance in ["i0", "i1", "i2"] {
            let labels = |name: &str, extra: &[(&str, &str)]| {
                let mut pairs = vec![("__name__", name), ("job", job), ("instance", instance)];
                pairs.extend_from_slice(extra);
                Labels::from_pairs(pairs)
            };
            for code in ["200", "500"] {
                let mut v = 0.0;
                let points = all.entry(labels("c_total", &[("code", code)])).or_default();
                for i in 0..STEPS {
                    v = if r.below(30) == 0 { 0.0 } else { v + r.below(50) as f64 };
                    if r.below(15) > 0 {
                        points.push((base + i * SCRAPE_MS + r.below(40) as i64, Sample::Float(v)));
                    }
                }
            }
            let gauge = all.entry(labels("g", &[])).or_default();
            for i in 0..STEPS {
                let v = match r.below(40) {
                    0 => f64::NAN,
                    1 => f64::INFINITY,
                    2 => model::stale_nan(),
                    n => (n as f64 - 20.0) * 1.37,
                };
                gauge.push((base + i * SCRAPE_MS, Sample::Float(v)));
            }
            all.insert(
                labels("other", &[("code", "x")]),
                vec![(base, Sample::Float(1.0)), (base + 600_000, Sample::Float(2.5))],
            );
            let mut counts = [0.0; 4];
            for i in 0..STEPS {
                for c in &mut counts {
                    *c += r.below(9) as f64;
                }
                let mut sum = 0.0;
                for (le, c) in ["0.5", "1.0", "2.5", "+Inf"].iter().zip(&counts) {
                    sum += c;
                    let points = all.entry(labels("h_bucket", &[("le", le)])).or_default();
                    points.push((base + i * SCRAPE_MS, Sample::Float(sum)));
                }
                let h = |schema: i32, offset: i32, custom: &[f64], zero: f64| FloatHistogram {
                    schema,
                    count: counts.iter().sum::<f64>() + zero,
                    sum: counts[1] * 1.5 + counts[2] * 3.0,
                    zero_count: zero,
                    zero_threshold: if zero > 0.0 { 0.001 } else { 0.0 },
                    positive_spans: vec![Span { offset, length: 4 }],
                    positive_buckets: counts.to_vec(),
                    custom_values: Arc::from(custom),
                    ..FloatHistogram::default()
                };
                let native = h(if instance == "i2" { 1 } else { 2 }, -1, &[], 3.0);
                all.entry(labels("n", &[])).or_default().push((base + i * SCRAPE_MS, Sample::Hist(native)));
                let bounds: &[f64] = if instance == "i2" { &[0.5, 1.0, 3.0] } else { &[0.5, 1.0, 2.5] };
                let custom = h(-53, 0, bounds, 0.0);
                all.entry(labels("nc", &[])).or_default().push((base + i * SCRAPE_MS, Sample::Hist(custom)));
            }
        }
    }
    all.into_iter().collect()
}

fn varint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}
fn bytes(out: &mut Vec<u8>, field: u64, b: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, b.len() as u64);
    out.extend_from_slice(b);
}
fn double(out: &mut Vec<u8>, field: u64, v: f64) {
    varint(out, field << 3 | 1);
    out.extend_from_slice(&v.to_le_bytes());
}
fn number(out: &mut Vec<u8>, field: u64, v: u64) {
    varint(out, field << 3);
    varint(out, v);
}
fn zigzag(v: i64) -> u64 {
    ((v << 1) ^ (v >> 63)) as u64
}
fn packed(out: &mut Vec<u8>, field: u64, values: &[f64]) {
    let raw: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    bytes(out, field, &raw);
}

fn write_request(series: &Data) -> Vec<u8> {
    let mut request = Vec::new();
    for (labels, samples) in series {
        let mut ts = Vec::new();
        for (n, v) in labels {
            let mut label = Vec::new();
            bytes(&mut label, 1, n.as_bytes());
            bytes(&mut label, 2, v.as_bytes());
            bytes(&mut ts, 1, &label);
        }
        for (t, sample) in samples {
            let mut m = Vec::new();
            match sample {
                Sample::Float(v) => {
                    double(&mut m, 1, *v);
                    number(&mut m, 2, *t as u64);
                    bytes(&mut ts, 2, &m);
                }
                Sample::Hist(h) => {
                    double(&mut m, 2, h.count);
                    double(&mut m, 3, h.sum);
                    number(&mut m, 4, zigzag(i64::from(h.schema)));
                    double(&mut m, 5, h.zero_threshold);
                    double(&mut m, 7, h.zero_count);
                    for s in &h.positive_spans {
                        let mut span = Vec::new();
                        number(&mut span, 1, zigzag(i64::from(s.offset)));
                        number(&mut span, 2, u64::from(s.length));
                        bytes(&mut m, 11, &span);
                    }
                    packed(&mut m, 13, &h.positive_buckets);
                    number(&mut m, 15, *t as u64);
                    packed(&mut m, 16, &h.custom_values);
                    bytes(&mut ts, 4, &m);
                }
            }
        }
        bytes(&mut request, 1, &ts);
    }
    request
}

fn http(address: &str, request: &[u8]) -> (u16, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(request).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    let split = answer.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..split]).to_string();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer[split + 4..].to_vec())
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| if b.is_ascii_alphanumeric() { (b as char).to_string() } else { format!("%{b:02X}") })
        .collect()
}

fn ask(address: &str, path: &str, form: &str) -> serde_json::Value {
    // HTTP/1.0: an answer without chunks, ended by the end of the connection.
    let request = format!(
        "POST {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    let (_, body) = http(address, request.as_bytes());
    serde_json::from_slice(&body).unwrap()
}

/// Result as text by labels: comparable on both sides.
type Answer = Result<BTreeMap<String, Vec<(i64, Cell)>>, String>;

#[derive(Debug, Clone)]
enum Cell {
    Float(f64),
    /// (count, sum, number of buckets)
    Hist(f64, f64, usize),
}

fn parse_float(v: &serde_json::Value) -> f64 {
    match v.as_str().unwrap() {
        "+Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        other => other.parse().unwrap(),
    }
}

fn theirs(json: &serde_json::Value) -> Answer {
    if json["status"] != "success" {
        return Err(json["error"].as_str().unwrap().to_string());
    }
    let time = |v: &serde_json::Value| (v.as_f64().unwrap() * 1000.0).round() as i64;
    let hist = |v: &serde_json::Value| {
        Cell::Hist(
            parse_float(&v["count"]),
            parse_float(&v["sum"]),
            v["buckets"].as_array().map_or(0, Vec::len),
        )
    };
    let result = &json["data"]["result"];
    let mut all = BTreeMap::new();
    if json["data"]["resultType"] == "scalar" {
        all.insert("{}".to_string(), vec![(time(&result[0]), Cell::Float(parse_float(&result[1])))]);
        return Ok(all);
    }
    for s in result.as_array().unwrap() {
        let pairs = s["metric"]
            .as_object()
            .unwrap()
            .iter()
            .map(|(k, v)| (k.clone(), v.as_str().unwrap().to_string()));
        let labels = Labels::from_pairs(pairs).to_string();
        let mut cells = Vec::new();
        for key in ["value", "histogram"] {
            if let Some(v) = s.get(key) {
                cells.push((
                    time(&v[0]),
                    if key == "value" { Cell::Float(parse_float(&v[1])) } else { hist(&v[1]) },
                ));
            }
        }
        for key in ["values", "histograms"] {
            for v in s.get(key).and_then(|v| v.as_array()).into_iter().flatten() {
                cells.push((
                    time(&v[0]),
                    if key == "values" { Cell::Float(parse_float(&v[1])) } else { hist(&v[1]) },
                ));
            }
        }
        cells.sort_by_key(|(t, _)| *t);
        all.insert(labels, cells);
    }
    Ok(all)
}

fn hist(h: &FloatHistogram) -> Cell {
    Cell::Hist(h.count, h.sum, h.all_buckets().iter().filter(|b| b.count != 0.0).count())
}

fn ours(result: Result<promql::QueryOutput, promql::QueryError>) -> Answer {
    let output = result.map_err(|e| e.to_string())?;
    let mut all = BTreeMap::new();
    match output.value {
        Value::Scalar { t_ms, value } => {
            all.insert("{}".to_string(), vec![(t_ms, Cell::Float(value))]);
        }
        Value::String { .. } => {}
        Value::Vector(samples) => {
            for s in samples {
                let cell = match &s.value {
                    SampleValue::Float(v) => Cell::Float(*v),
                    SampleValue::Histogram(h) => hist(h),
                };
                all.insert(s.labels.to_string(), vec![(s.t_ms, cell)]);
            }
        }
        Value::Matrix(series) => {
            for s in series {
                let mut cells: Vec<(i64, Cell)> =
                    s.floats.iter().map(|(t, v)| (*t, Cell::Float(*v))).collect();
                cells.extend(s.histograms.iter().map(|(t, h)| (*t, hist(h))));
                cells.sort_by_key(|(t, _)| *t);
                all.insert(s.labels.to_string(), cells);
            }
        }
    }
    Ok(all)
}

fn close(a: f64, b: f64) -> bool {
    a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= EPSILON * a.abs().max(b.abs())
}

fn same(a: &Answer, b: &Answer) -> bool {
    match (a, b) {
        (Err(_), Err(_)) => true,
        (Ok(a), Ok(b)) => {
            a.len() == b.len()
                && a.iter().zip(b).all(|((ka, va), (kb, vb))| {
                    ka == kb
                        && va.len() == vb.len()
                        && va.iter().zip(vb).all(|((ta, ca), (tb, cb))| {
                            ta == tb
                                && match (ca, cb) {
                                    (Cell::Float(x), Cell::Float(y)) => close(*x, *y),
                                    (Cell::Hist(c, s, n), Cell::Hist(d, t, m)) => {
                                        close(*c, *d) && close(*s, *t) && n == m
                                    }
                                    _ => false,
                                }
                        })
                })
        }
        _ => false,
    }
}

#[test]
fn differential() {
    let Ok(address) = std::env::var("GODWIT_TEST_PROMETHEUS") else { return };
    let setting =
        |name: &str, default: u64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default);
    let (count, seed) = (setting("GODWIT_TEST_COUNT", 2000), setting("GODWIT_TEST_SEED", 1));
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let base = (now / 60_000 - 40) * 60_000;
    let data = data(base);
    let store = MemoryStore::new();
    for (labels, samples) in &data {
        let mut app = store.appender();
        for (t, s) in samples {
            match s {
                Sample::Float(v) => app.append(SeriesRef::NONE, labels, 0, *t, *v).map(|_| ()).unwrap(),
                Sample::Hist(h) => {
                    let h = HistogramValue::Float(Arc::new(h.clone()));
                    app.append_histogram(SeriesRef::NONE, labels, 0, *t, &h).map(|_| ()).unwrap();
                }
            }
        }
        app.commit().unwrap();
    }
    let body = snap::raw::Encoder::new().compress_vec(&write_request(&data)).unwrap();
    let mut request = format!(
        "POST /api/v1/write HTTP/1.0\r\nHost: {address}\r\nContent-Encoding: snappy\r\nContent-Type: application/x-protobuf\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend(body);
    let (status, answer) = http(&address, &request);
    assert!(status / 100 == 2, "remote write: {status} {}", String::from_utf8_lossy(&answer));
    let options = EngineOptions {
        parser: ParserOptions::all(),
        delayed_name_removal: true,
        ..EngineOptions::default()
    };
    let engine = Engine::new(options, &telemetry::Registry::new());
    let (mut different, mut filled, mut notes_differ) = (0, 0, 0);
    let mut r = Random::new(seed);
    for n in 0..count {
        let depth = 1 + r.below(3);
        let query = vector(&mut r, depth);
        let at = base + 600_000 + r.below(1_500_000) as i64;
        let none = QueryOptions::default();
        let (mine, real) = if n % 2 == 0 {
            let real = ask(
                &address,
                "/api/v1/query",
                &format!("query={}&time={}", encode(&query), at as f64 / 1000.0),
            );
            (engine.instant(&store, &query, at, &none, CancelToken::default()), real)
        } else {
            let end = at + 420_000;
            let form = format!(
                "query={}&start={}&end={}&step=37",
                encode(&query),
                at as f64 / 1000.0,
                end as f64 / 1000.0
            );
            let real = ask(&address, "/api/v1/query_range", &form);
            (engine.range(&store, &query, at, end, 37_000, &none, CancelToken::default()), real)
        };
        let list = |key: &str| -> Vec<String> {
            let all = real[key].as_array().into_iter().flatten();
            let mut all: Vec<String> = all.filter_map(|v| v.as_str()).map(str::to_string).collect();
            all.sort();
            all
        };
        let notes = match &mine {
            Ok(o) if o.warnings.len() < 10 && o.infos.len() < 10 => {
                let (mut w, mut i) = (o.warnings.clone(), o.infos.clone());
                w.sort();
                i.sort();
                (w, i) == (list("warnings"), list("infos"))
            }
            _ => true,
        };
        if !notes {
            notes_differ += 1;
            let o = mine.as_ref().unwrap();
            eprintln!(
                "NOTES {query}\n   ours   {:?} {:?}\n   theirs {:?} {:?}",
                o.warnings,
                o.infos,
                list("warnings"),
                list("infos")
            );
        }
        let (a, b) = (ours(mine), theirs(&real));
        filled += usize::from(b.as_ref().is_ok_and(|b| !b.is_empty()));
        if !same(&a, &b) {
            different += 1;
            eprintln!(
                "DIFFERENT {query} @ {at} ({})\n   ours   {a:?}\n   theirs {b:?}",
                if n % 2 == 0 { "instant" } else { "range" }
            );
        }
    }
    eprintln!(
        "{count} expressions, {filled} with results, {different} differ, {notes_differ} differ in annotations"
    );
    assert_eq!(different, 0);
}
