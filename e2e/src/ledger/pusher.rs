//! Remote writes of the ledger: one request is one time of all pushed series.

use anyhow::Result;

use super::{Fate, Ledger, Source, now_ms, values};
use crate::http::request;
use crate::push::{bytes, double, label, number, span, varint, zigzag};

/// What came of a push.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Pushed {
    /// 2xx.
    Taken,
    /// Not now: the server starts, ends, or cannot write.
    NotNow,
    /// The server says that the request is wrong, which it is not.
    Refused(String),
}

fn name(source: Source) -> &'static str {
    if source == Source::Late { "ledger_late" } else { "ledger_pushed" }
}

fn body(source: Source, time_ms: u64) -> Vec<u8> {
    let mut out = Vec::new();
    for series in 0..values::PUSHED_FLOATS {
        let mut one = Vec::new();
        label(&mut one, "__name__", name(source));
        label(&mut one, "series", &series.to_string());
        let mut sample = Vec::new();
        double(&mut sample, 1, values::float(source.number(), series, time_ms));
        number(&mut sample, 2, time_ms);
        bytes(&mut one, 2, &sample);
        bytes(&mut out, 1, &one);
    }
    for series in 0..values::PUSHED_HISTOGRAMS {
        let mut one = Vec::new();
        label(&mut one, "__name__", &format!("{}_histogram", name(source)));
        label(&mut one, "series", &series.to_string());
        let (a, b, sum) = values::histogram(series, time_ms);
        let mut h = Vec::new();
        number(&mut h, 1, a + b);
        double(&mut h, 3, sum);
        number(&mut h, 4, zigzag(0));
        double(&mut h, 5, 0.001);
        number(&mut h, 6, 0);
        span(&mut h, 11, 1, 2);
        let mut packed = Vec::new();
        varint(&mut packed, zigzag(a as i64));
        varint(&mut packed, zigzag(b as i64 - a as i64));
        bytes(&mut h, 12, &packed);
        number(&mut h, 15, time_ms);
        bytes(&mut one, 4, &h);
        bytes(&mut out, 1, &one);
    }
    out
}

/// Pushes one time of all series.
///
/// # Errors
/// The body cannot be compressed.
pub(super) fn push(ledger: &Ledger, port: u16, source: Source, time_ms: u64) -> Result<Pushed> {
    let body = snap::raw::Encoder::new().compress_vec(&body(source, time_ms))?;
    let headers = [
        ("Content-Encoding", "snappy"),
        ("Content-Type", "application/x-protobuf"),
        ("X-Prometheus-Remote-Write-Version", "0.1.0"),
    ];
    ledger.begin(source, Some(time_ms));
    let Ok(answer) = request(port, "POST", "/api/v1/write", &headers, &body) else {
        return Ok(Pushed::NotNow);
    };
    Ok(match answer.status {
        200..300 => {
            ledger.note(source, time_ms, Fate::Acknowledged(now_ms()));
            Pushed::Taken
        }
        500.. => Pushed::NotNow,
        status => {
            ledger.note(source, time_ms, Fate::Absent);
            Pushed::Refused(format!("{status} {}", answer.text().trim()))
        }
    })
}
