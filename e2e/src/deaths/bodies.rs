//! Hostile bodies of the API: bombs, lies about sizes, references to nothing.

use std::io::Write as _;
use std::sync::Arc;

use anyhow::Result;
use testkit::gzip;

use crate::push::{bytes, double, label, number};
use crate::wait::now;

/// A hostile request.
#[derive(Clone, Debug)]
pub struct Hostile {
    /// For messages.
    pub name: &'static str,
    /// Path of the endpoint.
    pub path: &'static str,
    /// Header lines.
    pub headers: Vec<(&'static str, &'static str)>,
    /// Body, as sent.
    pub body: Arc<Vec<u8>>,
    /// How often it is sent at the same time.
    pub times: usize,
    /// Right answers. 503 is one more where it comes many times: the sender is to come again.
    pub right: &'static [u16],
}

/// Upstream's bound of a body, decompressed.
const DECODED_MAX: usize = 32 << 20;

const WRITE: &[(&str, &str)] = &[
    ("Content-Encoding", "snappy"),
    ("Content-Type", "application/x-protobuf"),
    ("X-Prometheus-Remote-Write-Version", "0.1.0"),
];
const WRITE_2: &[(&str, &str)] = &[
    ("Content-Encoding", "snappy"),
    ("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request"),
    ("X-Prometheus-Remote-Write-Version", "2.0.0"),
];
const WRITE_UNKNOWN: &[(&str, &str)] = &[
    ("Content-Encoding", "snappy"),
    ("Content-Type", "application/x-protobuf;proto=of.nobody"),
    ("X-Prometheus-Remote-Write-Version", "2.0.0"),
];
const READ: &[(&str, &str)] = &[
    ("Content-Encoding", "snappy"),
    ("Content-Type", "application/x-protobuf"),
    ("X-Prometheus-Remote-Read-Version", "0.1.0"),
];
const OTLP: &[(&str, &str)] = &[("Content-Encoding", "gzip"), ("Content-Type", "application/x-protobuf")];
const OTLP_JSON: &[(&str, &str)] = &[("Content-Encoding", "gzip"), ("Content-Type", "application/json")];
const FORM: &[(&str, &str)] = &[("Content-Type", "application/x-www-form-urlencoded")];

fn snappy(plain: &[u8]) -> Result<Vec<u8>> {
    Ok(snap::raw::Encoder::new().compress_vec(plain)?)
}

fn sample(out: &mut Vec<u8>) {
    let mut one = Vec::new();
    double(&mut one, 1, 1.0);
    number(&mut one, 2, (now() * 1000.0) as u64);
    bytes(out, 2, &one);
}

/// A write of one sample, filled up with a field that nobody knows.
fn padded_write() -> Vec<u8> {
    let (mut series, mut out) = (Vec::new(), Vec::new());
    label(&mut series, "__name__", "padded");
    sample(&mut series);
    bytes(&mut out, 1, &series);
    let rest = DECODED_MAX - out.len() - 64;
    bytes(&mut out, 15, &vec![0; rest]);
    out
}

/// As many samples of one series as there is room for, each at time 1.
fn many_samples(size: usize) -> Vec<u8> {
    let (mut series, mut out) = (Vec::new(), Vec::new());
    label(&mut series, "__name__", "many");
    let mut one = Vec::new();
    double(&mut one, 1, 1.0);
    number(&mut one, 2, 1);
    while series.len() < size {
        bytes(&mut series, 2, &one);
    }
    bytes(&mut out, 1, &series);
    out
}

/// Series without samples, very many.
fn many_series(size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while out.len() < size {
        bytes(&mut out, 1, &[]);
    }
    out
}

/// Series, each with one sample and a name of its own.
fn new_series(size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for i in 0_u32.. {
        if out.len() > size {
            break;
        }
        let mut series = Vec::new();
        label(&mut series, "__name__", "bomb");
        label(&mut series, "i", &i.to_string());
        sample(&mut series);
        bytes(&mut out, 1, &series);
    }
    out
}

/// Write 2.0: empty symbols, very many, and references outside of the table.
fn symbols(count: usize, reference: u8) -> Vec<u8> {
    let mut out = Vec::new();
    for _ in 0..count {
        bytes(&mut out, 4, b"");
    }
    let mut series = Vec::new();
    bytes(&mut series, 1, &[reference, reference]);
    sample(&mut series);
    bytes(&mut out, 5, &series);
    out
}

/// Queries of a remote read for all series of all times.
fn reads(count: usize) -> Vec<u8> {
    let mut matcher = Vec::new();
    number(&mut matcher, 1, 2);
    bytes(&mut matcher, 2, b"__name__");
    bytes(&mut matcher, 3, b".+");
    let mut query = Vec::new();
    number(&mut query, 2, i64::MAX as u64);
    bytes(&mut query, 3, &matcher);
    let mut out = Vec::new();
    for _ in 0..count {
        bytes(&mut out, 1, &query);
    }
    out
}

/// A matcher with a huge pattern.
fn read_of_classes() -> Vec<u8> {
    let (mut query, mut out) = (Vec::new(), Vec::new());
    for i in 0..40 {
        let mut matcher = Vec::new();
        number(&mut matcher, 1, 2);
        bytes(&mut matcher, 2, b"pod");
        bytes(&mut matcher, 3, format!("(\\pL{{90}}|x{i}){{10}}").as_bytes());
        bytes(&mut query, 3, &matcher);
    }
    number(&mut query, 2, i64::MAX as u64);
    bytes(&mut out, 1, &query);
    out
}

/// Gzip of a gibibyte of zeros.
fn gzip_bomb() -> Result<Vec<u8>> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let zeros = vec![0_u8; 1 << 20];
    for _ in 0..1024 {
        encoder.write_all(&zeros)?;
    }
    Ok(encoder.finish()?)
}

/// All of them, bombs so many at the same time. Those that are much work for each byte have a part of the largest
/// size: 1 for all of it.
///
/// # Errors
/// There is none: compression goes to memory.
pub fn bodies(bombs: usize, part: usize) -> Result<Vec<Hostile>> {
    let one = |name, path, headers: &[(&'static str, &'static str)], body: Vec<u8>, times, right| Hostile {
        name,
        path,
        headers: headers.to_vec(),
        body: Arc::new(body),
        times,
        right,
    };
    const TO_WRITE: &str = "/api/v1/write";
    const TO_READ: &str = "/api/v1/read";
    const TO_OTLP: &str = "/api/v1/otlp/v1/metrics";
    let size = DECODED_MAX / part.max(1) - 4096;
    let zeros = snappy(&vec![0; DECODED_MAX])?;
    let nested = format!("{{\"resourceMetrics\":{}", "[".repeat(1 << 20));
    // A length that nothing follows: 32 MiB, and 4 GiB less one.
    let lie = vec![0x80, 0x80, 0x80, 0x10, 0x00];
    let large_lie = vec![0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
    let query = format!("query={}", "up%2B".repeat(2 << 20));
    Ok(vec![
        one("zeros to write", TO_WRITE, WRITE, zeros.clone(), bombs, &[400]),
        one("zeros to write 2.0", TO_WRITE, WRITE_2, zeros.clone(), bombs, &[400]),
        one("zeros of an unknown type", TO_WRITE, WRITE_UNKNOWN, zeros.clone(), bombs, &[400, 415]),
        one("zeros to read", TO_READ, READ, zeros, bombs, &[400]),
        // One of many equal ones is the first, and the others come in another millisecond, or as late.
        one("a padded write", TO_WRITE, WRITE, snappy(&padded_write())?, bombs, &[204, 400]),
        one("many samples of one series", TO_WRITE, WRITE, snappy(&many_samples(size))?, bombs, &[204, 400]),
        one(
            "many series without samples",
            TO_WRITE,
            WRITE,
            snappy(&many_series(size))?,
            bombs.div_ceil(4),
            &[204, 400],
        ),
        one(
            "many new series",
            TO_WRITE,
            WRITE,
            snappy(&new_series(size))?,
            bombs.div_ceil(4),
            &[204, 400, 429],
        ),
        one("a million symbols", TO_WRITE, WRITE_2, snappy(&symbols(1 << 20, 9))?, bombs, &[400]),
        one("symbols beyond the limit", TO_WRITE, WRITE_2, snappy(&symbols(15 << 20, 9))?, bombs, &[400]),
        one("a symbol outside of the table", TO_WRITE, WRITE_2, snappy(&symbols(1, 9))?, 1, &[400]),
        one("an odd number of references", TO_WRITE, WRITE_2, snappy(&[0x2a, 3, 0x0a, 1, 0])?, 1, &[400]),
        one("a size that is a lie", TO_WRITE, WRITE, lie.clone(), bombs, &[400]),
        one("a large size that is a lie", TO_WRITE, WRITE, large_lie.clone(), bombs, &[400]),
        one("a size that is a lie, to read", TO_READ, READ, lie, bombs, &[400]),
        one("a large size that is a lie, to read", TO_READ, READ, large_lie, bombs, &[400]),
        one("everything, read often", TO_READ, READ, snappy(&reads(20))?, 10, &[200, 400]),
        one("classes of letters to read", TO_READ, READ, snappy(&read_of_classes())?, 10, &[400]),
        one("a gibibyte in gzip", TO_OTLP, OTLP, gzip_bomb()?, bombs, &[400, 413]),
        one("lists 1,000,000 deep", TO_OTLP, OTLP_JSON, gzip(nested.as_bytes()), 8, &[400]),
        one("a form of 11 MB", "/api/v1/query", FORM, query.into_bytes(), bombs, &[400, 413]),
    ])
}
