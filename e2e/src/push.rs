//! Samples of past hours, pushed by remote write 1.0: how a test gets a head of many hours at once, and from
//! it blocks that the server under test cut itself.
//!
//! Written by hand: the encoder of the server's own crates is under test.

use anyhow::{Result, ensure};

use crate::http::request;

/// Seconds between two samples of a series.
const STEP: i64 = 60;
/// Steps in one request: half an hour, since a server takes no sample older than half a block span (one hour)
/// before the newest that it has.
const STEPS_A_REQUEST: i64 = 30;
/// Float series; a third as many histograms go with them.
const FLOATS: i64 = 30;

pub(crate) fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(crate) fn bytes(out: &mut Vec<u8>, field: u64, value: &[u8]) {
    varint(out, field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

pub(crate) fn double(out: &mut Vec<u8>, field: u64, value: f64) {
    varint(out, field << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn number(out: &mut Vec<u8>, field: u64, value: u64) {
    varint(out, field << 3);
    varint(out, value);
}

pub(crate) fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

pub(crate) fn label(out: &mut Vec<u8>, name: &str, value: &str) {
    let mut pair = Vec::new();
    bytes(&mut pair, 1, name.as_bytes());
    bytes(&mut pair, 2, value.as_bytes());
    bytes(out, 1, &pair);
}

/// One span of `length` buckets from `offset` on.
pub(crate) fn span(out: &mut Vec<u8>, field: u64, offset: i64, length: u64) {
    let mut one = Vec::new();
    number(&mut one, 1, zigzag(offset));
    number(&mut one, 2, length);
    bytes(out, field, &one);
}

/// A histogram of counts that grow with the step, with and without floats.
fn histogram(step: i64, series: i64, time_ms: i64) -> Vec<u8> {
    let (a, b, zero) = (step as u64 * 3, step as u64 + series as u64, step as u64 / 2);
    let mut out = Vec::new();
    let float = series % 2 == 1;
    if float {
        double(&mut out, 2, (a + b + a) as f64 + zero as f64 + 0.5);
    } else {
        number(&mut out, 1, a + b + a + zero);
    }
    double(&mut out, 3, step as f64 * 1.25);
    number(&mut out, 4, zigzag(series % 4));
    double(&mut out, 5, 0.001);
    if float {
        double(&mut out, 7, zero as f64 + 0.5);
    } else {
        number(&mut out, 6, zero);
    }
    span(&mut out, 8, 1, 1);
    span(&mut out, 11, -2, 2);
    let mut packed = Vec::new();
    if float {
        bytes(&mut out, 10, &(a as f64).to_le_bytes());
        packed.extend_from_slice(&(a as f64).to_le_bytes());
        packed.extend_from_slice(&(b as f64).to_le_bytes());
        bytes(&mut out, 13, &packed);
    } else {
        varint(&mut packed, zigzag(a as i64));
        bytes(&mut out, 9, &packed);
        packed.clear();
        varint(&mut packed, zigzag(a as i64));
        varint(&mut packed, zigzag(b as i64 - a as i64));
        bytes(&mut out, 12, &packed);
    }
    number(&mut out, 15, time_ms as u64);
    out
}

fn write_request(steps: std::ops::Range<i64>) -> Vec<u8> {
    let mut out = Vec::new();
    for series in 0..FLOATS {
        let mut one = Vec::new();
        label(&mut one, "__name__", "pushed_float");
        label(&mut one, "series", &series.to_string());
        for step in steps.clone() {
            let mut sample = Vec::new();
            // Whole numbers, fractions and constants: XOR chunks treat each in another way.
            let value = match series % 3 {
                0 => (step * series) as f64,
                1 => (step as f64 / 7.0).sin(),
                _ => series as f64,
            };
            double(&mut sample, 1, value);
            number(&mut sample, 2, (step * STEP * 1000) as u64);
            bytes(&mut one, 2, &sample);
        }
        bytes(&mut out, 1, &one);
    }
    for series in 0..FLOATS / 3 {
        let mut one = Vec::new();
        label(&mut one, "__name__", "pushed_histogram");
        label(&mut one, "series", &series.to_string());
        for step in steps.clone() {
            bytes(&mut one, 4, &histogram(step - steps_base(&steps), series, step * STEP * 1000));
        }
        bytes(&mut out, 1, &one);
    }
    out
}

/// Counts are of the last weeks, not since 1970: small numbers, and a reset where a week begins.
fn steps_base(steps: &std::ops::Range<i64>) -> i64 {
    steps.start - steps.start % (7 * 24 * 3600 / STEP)
}

/// Pushes a sample a minute of each series, oldest first.
///
/// # Errors
/// The server refuses a request.
pub fn push(port: u16, from_seconds: i64, to_seconds: i64) -> Result<()> {
    let (mut step, end) = (from_seconds / STEP, to_seconds / STEP);
    while step < end {
        let next = (step + STEPS_A_REQUEST).min(end);
        let body = snap::raw::Encoder::new().compress_vec(&write_request(step..next))?;
        let headers = [
            ("Content-Encoding", "snappy"),
            ("Content-Type", "application/x-protobuf"),
            ("X-Prometheus-Remote-Write-Version", "0.1.0"),
        ];
        let answer = request(port, "POST", "/api/v1/write", &headers, &body)?;
        ensure!(answer.status / 100 == 2, "remote write: {} {}", answer.status, answer.text());
        step = next;
    }
    Ok(())
}
