//! The series that expressions are asked over: made once, taken by a real Prometheus through remote write and
//! snapshotted by it into a block, which both servers then read.
//!
//! Every kind of series that the engine treats in its own way is there: counters with resets and gaps, gauges
//! with NaN, infinities, -0 and staleness markers, classic and native histograms whose layout changes, series
//! of both kinds of samples, ties, series that end, labels to join by.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::node::Random;
use crate::http::{self, request};
use crate::process::{Server, peer};
use crate::push::{bytes, double, label, number, span, varint, zigzag};

/// First time, in ms: in the middle of a block range of two hours.
pub const BEGIN_MS: i64 = 1_700_006_400_000 + 1_200_000;
/// Length, in ms.
pub const LENGTH_MS: i64 = 90 * 60_000;
/// A server takes no sample older than an hour before its newest: oldest first, half an hour a request.
const SLICE_MS: i64 = 30 * 60_000;
/// Upstream's staleness marker.
const STALE: u64 = 0x7ff0_0000_0000_0002;

#[derive(Clone, Default)]
struct Histogram {
    schema: i64,
    zero_threshold: f64,
    zero: f64,
    positive: Vec<(i64, f64)>,
    negative: Vec<(i64, f64)>,
    sum: f64,
    bounds: Vec<f64>,
    gauge: bool,
    whole: bool,
}

enum Sample {
    Float(f64),
    Histogram(Histogram),
}

struct Series {
    labels: Vec<(String, String)>,
    samples: Vec<(i64, Sample)>,
}

impl Series {
    fn new(name: &str, labels: &[(&str, &str)]) -> Series {
        let mut all = vec![("__name__".to_string(), name.to_string())];
        all.extend(labels.iter().map(|(n, v)| ((*n).to_string(), (*v).to_string())));
        all.sort();
        Series { labels: all, samples: Vec::new() }
    }

    fn float(&mut self, at: i64, value: f64) {
        self.samples.push((BEGIN_MS + at, Sample::Float(value)));
    }

    fn histogram(&mut self, at: i64, histogram: Histogram) {
        self.samples.push((BEGIN_MS + at, Sample::Histogram(histogram)));
    }

    fn filled(mut self, step: i64, mut value: impl FnMut(i64) -> Option<f64>) -> Series {
        for i in 0..LENGTH_MS / step {
            if let Some(v) = value(i) {
                self.float(i * step, v);
            }
        }
        self
    }
}

const SECOND: i64 = 1000;

fn counters(r: &mut Random, all: &mut Vec<Series>) {
    for job in ["a", "b"] {
        for instance in ["i0", "i1", "i2"] {
            for code in ["200", "404", "500"] {
                let mut series =
                    Series::new("c_total", &[("job", job), ("instance", instance), ("code", code)]);
                let mut v = 0.0;
                for i in 0..LENGTH_MS / (15 * SECOND) {
                    v = if r.once_in(40) { r.below(3) as f64 } else { v + r.below(50) as f64 };
                    // Missed scrapes, and a gap that is longer than the lookback.
                    if r.below(15) > 0 && !(code == "404" && (100..130).contains(&i)) {
                        series.float(i * 15 * SECOND + r.below(40) as i64, v);
                    }
                }
                all.push(series);
            }
            let mut v = 0.1;
            let series = Series::new("d_seconds_total", &[("job", job), ("instance", instance)]);
            all.push(series.filled(30 * SECOND, |_| {
                v = if r.once_in(60) { 0.0 } else { v + r.below(1000) as f64 / 7.0 };
                Some(v)
            }));
        }
    }
}

fn gauges(r: &mut Random, all: &mut Vec<Series>) {
    for job in ["a", "b"] {
        for instance in ["i0", "i1", "i2"] {
            let labels = [("job", job), ("instance", instance)];
            all.push(Series::new("g", &labels).filled(15 * SECOND, |_| {
                Some(match r.below(50) {
                    0 => f64::NAN,
                    1 => f64::INFINITY,
                    2 => f64::NEG_INFINITY,
                    3 => f64::from_bits(STALE),
                    4 => -0.0,
                    5 => 0.0,
                    6 => return None,
                    n => (n as f64 - 25.0) * 1.37,
                })
            }));
            all.push(
                Series::new("plain", &labels)
                    .filled(30 * SECOND, |_| Some(r.below(2000) as f64 / 10.0 - 50.0)),
            );
            // Sums that lose bits unless the errors are carried along.
            all.push(Series::new("wide", &labels).filled(30 * SECOND, |_| {
                Some(match r.below(6) {
                    0 => 1e16,
                    1 => -1e16,
                    2 => 1e-7 * r.below(1000) as f64,
                    3 => f64::MAX / 3.0,
                    4 => -f64::MAX / 3.0,
                    _ => 0.1 * r.below(100) as f64,
                })
            }));
            all.push(Series::new("tie", &labels).filled(60 * SECOND, |i| Some((i / 7 % 3) as f64)));
            for side in ["x", "y"] {
                if r.below(4) > 0 {
                    let labels = [("job", job), ("instance", instance), ("side", side)];
                    all.push(Series::new("many", &labels).filled(60 * SECOND, |_| Some(r.below(10) as f64)));
                }
            }
            // To join by: a role a target, a time of its own.
            let role = if instance == "i2" { "spare" } else { "main" };
            let labels = [("job", job), ("instance", instance), ("role", role)];
            all.push(Series::new("role", &labels).filled(60 * SECOND, |_| Some(1.0)));
        }
        all.push(
            Series::new("one", &[("job", job), ("owner", if job == "a" { "ann" } else { "bob" })])
                .filled(60 * SECOND, |i| Some((i % 5) as f64 + 0.5)),
        );
        all.push(
            Series::new("utf-8 ü", &[("job", job), ("la.bel", "a\"b\\c\nd"), ("größe", "日本")])
                .filled(60 * SECOND, |i| Some(i as f64)),
        );
        let when = 1_582_934_400.0;
        all.push(
            Series::new("when", &[("job", job)]).filled(60 * SECOND, |i| {
                Some(when + (i * 86_400 * if job == "a" { 11 } else { 373 }) as f64)
            }),
        );
    }
    // Few samples, a begin and an end on the way, a marker in the middle.
    for (n, (from, count)) in [(0, 1), (40, 2), (80, 20), (200, 3), (300, 60)].into_iter().enumerate() {
        let mut series = Series::new("short", &[("n", &n.to_string()), ("job", "a")]);
        for i in from..from + count {
            series.float(i * 15 * SECOND, i as f64 * 1.5);
        }
        series.float((from + count) * 15 * SECOND, f64::from_bits(STALE));
        if n == 3 {
            series.float((from + count + 4) * 15 * SECOND, 7.0);
        }
        all.push(series);
    }
    for (job, instance, version, from, to) in [
        ("a", "i0", "1.0", 0, 50),
        ("a", "i0", "1.1", 50, 90),
        ("a", "i1", "1.0", 0, 90),
        ("a", "i2", "2.0", 0, 60),
        ("b", "i0", "1.0", 0, 90),
        ("b", "i1", "2.0", 30, 90),
    ] {
        let region = if job == "a" { "eu" } else { "us" };
        let labels = [("job", job), ("instance", instance), ("version", version), ("region", region)];
        let mut series = Series::new("target_info", &labels);
        for minute in from..to {
            series.float(minute * 60 * SECOND, 1.0);
        }
        series.float(to * 60 * SECOND, f64::from_bits(STALE));
        all.push(series);
        if version != "2.0" {
            let labels = [("job", job), ("instance", instance), ("go", version), ("os", "linux")];
            let mut series = Series::new("build_info", &labels);
            for minute in from..to {
                series.float(minute * 60 * SECOND + 500, 1.0);
            }
            all.push(series);
        }
    }
}

fn classic(r: &mut Random, all: &mut Vec<Series>) {
    for (job, instance) in [("a", "i0"), ("a", "i1"), ("b", "i0"), ("b", "i1")] {
        let bounds = ["0.1", "0.5", "1", "2.5", "10", "+Inf"];
        let mut cumulated = vec![0.0; bounds.len()];
        let labels = |le| [("job", job), ("instance", instance), ("le", le)];
        let mut series: Vec<Series> = bounds.iter().map(|le| Series::new("h_bucket", &labels(le))).collect();
        let (mut count, mut sum) = (
            Series::new("h_count", &[("job", job), ("instance", instance)]),
            Series::new("h_sum", &[("job", job), ("instance", instance)]),
        );
        let mut total = 0.0;
        for i in 0..LENGTH_MS / (30 * SECOND) {
            if r.once_in(70) {
                cumulated.fill(0.0);
                total = 0.0;
            }
            let mut more = 0.0;
            for (bucket, (value, series)) in cumulated.iter_mut().zip(&mut series).enumerate() {
                more += r.below(5) as f64;
                *value += more;
                total += more * bucket as f64 * 0.3;
                // One target's buckets are not monotonic now and then; one has none for infinity.
                let odd = if instance == "i1" && job == "a" && r.once_in(9) { -3.0 } else { 0.0 };
                if !(job == "b" && instance == "i1" && bucket + 1 == bounds.len()) {
                    series.float(i * 30 * SECOND, *value + odd);
                }
            }
            count.float(i * 30 * SECOND, cumulated[bounds.len() - 1]);
            sum.float(i * 30 * SECOND, total);
        }
        all.extend(series);
        all.push(count);
        all.push(sum);
    }
    all.push(
        Series::new("h_bucket", &[("job", "b"), ("instance", "i0"), ("le", "many")])
            .filled(60 * SECOND, |i| Some(i as f64)),
    );
}

fn native(r: &mut Random, all: &mut Vec<Series>) {
    for job in ["a", "b"] {
        for (which, instance) in ["i0", "i1", "i2"].into_iter().enumerate() {
            let labels = [("job", job), ("instance", instance)];
            let mut counter = Series::new("n", &labels);
            let mut custom = Series::new("nc", &labels);
            let mut gauge = Series::new("ng", &labels);
            let mut now = Histogram { whole: which != 1, ..Histogram::default() };
            let mut buckets = [0.0; 7];
            let mut below = [0.0; 3];
            let (mut cells, mut cells_sum) = ([0.0; 5], 0.0);
            for i in 0..LENGTH_MS / (30 * SECOND) {
                let at = i * 30 * SECOND;
                if r.once_in(50) {
                    buckets = [0.0; 7];
                    below = [0.0; 3];
                    now.zero = 0.0;
                    now.sum = 0.0;
                }
                let half = if now.whole { 1.0 } else { 0.5 };
                for (n, b) in buckets.iter_mut().enumerate() {
                    let more = r.below(6) as f64 * half;
                    *b += more;
                    now.sum += more * (n as f64 + 0.5);
                }
                if which == 2 {
                    below.iter_mut().for_each(|b| *b += r.below(3) as f64);
                    now.sum -= 2.5;
                }
                now.zero += r.below(2) as f64;
                // Layouts change: another resolution in the last third of one, another zero bucket in another.
                now.schema = if which == 0 && i > 120 { 1 } else { which as i64 };
                now.zero_threshold = if which == 1 && i > 90 { 0.25 } else { 0.001 };
                now.positive = buckets
                    .iter()
                    .enumerate()
                    .filter(|(n, b)| **b > 0.0 && !(which == 1 && *n == 3))
                    .map(|(n, b)| (n as i64 - 1, *b))
                    .collect();
                now.negative = if which == 2 {
                    below.iter().enumerate().map(|(n, b)| (n as i64 * 2, *b)).collect()
                } else {
                    Vec::new()
                };
                if i % 37 == 36 {
                    counter.float(at, f64::from_bits(STALE));
                } else if r.below(20) > 0 {
                    counter.histogram(at, now.clone());
                }
                if r.once_in(60) {
                    cells = [0.0; 5];
                    cells_sum = 0.0;
                }
                for (n, c) in cells.iter_mut().enumerate() {
                    let more = r.below(4) as f64;
                    *c += more;
                    cells_sum += more * n as f64;
                }
                let bounds: &[f64] = match (which, i) {
                    (2, _) => &[0.5, 1.0, 3.0],
                    (1, 80..) => &[0.5, 1.0, 2.0],
                    _ => &[0.5, 1.0, 2.5, 7.5],
                };
                let mut one = Histogram { schema: -53, whole: true, sum: cells_sum, ..Histogram::default() };
                one.bounds = bounds.to_vec();
                one.positive = (0..=bounds.len()).map(|n| (n as i64, cells[n])).collect();
                custom.histogram(at, one);
                if i % 2 == 0 {
                    let mut one = Histogram {
                        schema: 1,
                        gauge: true,
                        zero: r.below(3) as f64,
                        zero_threshold: 0.01,
                        sum: r.below(100) as f64 - 30.0,
                        ..Histogram::default()
                    };
                    one.positive = (0..4).map(|n| (n * n - 2, r.below(9) as f64 + 0.25)).collect();
                    one.negative = (0..2).map(|n| (n, r.below(3) as f64)).collect();
                    gauge.histogram(at, one);
                }
            }
            all.extend([counter, custom, gauge]);
            // Floats and histograms by turns, histograms of both kinds by turns, and NaN among observations.
            if which < 2 {
                let mut mixed = Series::new("mixed", &labels);
                for i in 0..LENGTH_MS / (30 * SECOND) {
                    let at = i * 30 * SECOND;
                    let positive = vec![(0, i as f64), (1, 2.0 * i as f64)];
                    let mut one =
                        Histogram { positive, sum: i as f64 * 3.5, whole: true, ..Histogram::default() };
                    if which == 1 && i / 10 % 2 == 1 {
                        one.schema = -53;
                        one.bounds = vec![1.0];
                    }
                    if which == 0 && i % 8 < 3 { mixed.float(at, i as f64) } else { mixed.histogram(at, one) }
                }
                all.push(mixed);
            }
        }
    }
    let mut nans = Series::new("nn", &[("job", "a"), ("instance", "i0")]);
    for i in 0..LENGTH_MS / (60 * SECOND) {
        let positive = vec![(0, i as f64), (2, 2.0 * i as f64)];
        let sum = if i > 45 { f64::NAN } else { i as f64 };
        nans.histogram(i * 60 * SECOND, Histogram { positive, sum, ..Histogram::default() });
    }
    all.push(nans);
}

fn spans(out: &mut Vec<u8>, field: u64, buckets: &[(i64, f64)]) {
    let (mut next, mut at) = (0, 0);
    while at < buckets.len() {
        let begin = buckets[at].0;
        let mut length = 1;
        while buckets.get(at + length).is_some_and(|b| b.0 == begin + length as i64) {
            length += 1;
        }
        span(out, field, begin - next, length as u64);
        next = begin + length as i64;
        at += length;
    }
}

fn encode_histogram(h: &Histogram, t_ms: i64) -> Vec<u8> {
    let mut out = Vec::new();
    let all = || h.positive.iter().chain(&h.negative).map(|b| b.1);
    // Observations that are NaN are in the count alone.
    let count = all().sum::<f64>() + h.zero + if h.sum.is_nan() { 5.0 } else { 0.0 };
    let counts = |buckets: &[(i64, f64)]| {
        let mut packed = Vec::new();
        let mut before = 0;
        for (_, v) in buckets {
            if h.whole {
                varint(&mut packed, zigzag(*v as i64 - before));
                before = *v as i64;
            } else {
                packed.extend_from_slice(&v.to_le_bytes());
            }
        }
        packed
    };
    if h.whole {
        number(&mut out, 1, count as u64)
    } else {
        double(&mut out, 2, count)
    }
    double(&mut out, 3, h.sum);
    number(&mut out, 4, zigzag(h.schema));
    double(&mut out, 5, h.zero_threshold);
    if h.whole {
        number(&mut out, 6, h.zero as u64)
    } else {
        double(&mut out, 7, h.zero)
    }
    spans(&mut out, 8, &h.negative);
    bytes(&mut out, if h.whole { 9 } else { 10 }, &counts(&h.negative));
    spans(&mut out, 11, &h.positive);
    bytes(&mut out, if h.whole { 12 } else { 13 }, &counts(&h.positive));
    if h.gauge {
        number(&mut out, 14, 3);
    }
    number(&mut out, 15, t_ms as u64);
    let bounds: Vec<u8> = h.bounds.iter().flat_map(|v| v.to_le_bytes()).collect();
    bytes(&mut out, 16, &bounds);
    out
}

fn write_request(all: &[Series], from: i64, to: i64) -> Vec<u8> {
    let mut out = Vec::new();
    for series in all {
        let mut one = Vec::new();
        for (name, value) in &series.labels {
            label(&mut one, name, value);
        }
        let before = one.len();
        for (t, sample) in series.samples.iter().filter(|(t, _)| (from..to).contains(t)) {
            match sample {
                Sample::Float(v) => {
                    let mut sample = Vec::new();
                    double(&mut sample, 1, *v);
                    number(&mut sample, 2, *t as u64);
                    bytes(&mut one, 2, &sample);
                }
                Sample::Histogram(h) => bytes(&mut one, 4, &encode_histogram(h, *t)),
            }
        }
        if one.len() > before {
            bytes(&mut out, 1, &one);
        }
    }
    out
}

/// Has a real Prometheus (3.5) write all series as one block; leaves a data folder with that block alone.
///
/// # Errors
/// It does not start, or refuses samples.
pub fn make(folder: &Path) -> Result<std::path::PathBuf> {
    let mut r = Random::new(7);
    let mut all = Vec::new();
    counters(&mut r, &mut all);
    gauges(&mut r, &mut all);
    classic(&mut r, &mut all);
    native(&mut r, &mut all);
    std::fs::write(folder.join("none.yml"), "scrape_configs: []\n")?;
    let arguments = [
        "--web.listen-address=127.0.0.1:{port}",
        "--config.file=none.yml",
        "--storage.tsdb.path=written",
        "--web.enable-remote-write-receiver",
        "--web.enable-admin-api",
        "--enable-feature=native-histograms",
        "--log.level=error",
    ];
    let server = Server::start(&peer("prometheus")?, &arguments, folder, "/-/ready")?;
    let mut from = BEGIN_MS;
    while from < BEGIN_MS + LENGTH_MS + 2 * SLICE_MS {
        let message = write_request(&all, from, from + SLICE_MS);
        from += SLICE_MS;
        if message.is_empty() {
            continue;
        }
        let body = snap::raw::Encoder::new().compress_vec(&message)?;
        let headers = [
            ("Content-Encoding", "snappy"),
            ("Content-Type", "application/x-protobuf"),
            ("X-Prometheus-Remote-Write-Version", "0.1.0"),
        ];
        let answer = request(server.port, "POST", "/api/v1/write", &headers, &body)?;
        ensure!(answer.status / 100 == 2, "remote write: {} {}", answer.status, answer.text());
    }
    let answer = http::request(server.port, "POST", "/api/v1/admin/tsdb/snapshot", &[], &[])?.json()?;
    let name = answer["data"]["name"].as_str().with_context(|| format!("no snapshot: {answer}"))?;
    let blocks = folder.join("written/snapshots").join(name);
    server.kill()?;
    Ok(blocks)
}
