//! What the simulated targets serve: series that come and go, of all kinds.

use std::sync::Arc;

use model::{Histogram, HistogramValue, Labels, Span, stale_nan};
use storage::SeriesRef;
use tsdb::disk::Rng;

/// What a target serves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    FloatHistogram,
}

#[derive(Debug)]
pub(super) struct Served {
    pub(super) labels: Labels,
    pub(super) kind: Kind,
    pub(super) reference: SeriesRef,
    pub(super) counter: u64,
    pub(super) alive: bool,
    pub(super) last_t: i64,
}

#[derive(Debug)]
pub(super) struct Target {
    pub(super) name: String,
    pub(super) series: Vec<Served>,
    pub(super) made: usize,
}

/// Series come and go.
pub(super) fn churn(target: &mut Target, rng: &mut Rng) {
    while target.series.len() < 3 || rng.one_in(6) && target.series.len() < 40 {
        let kind = match rng.below(10) {
            0 => Kind::Histogram,
            1 => Kind::FloatHistogram,
            2..6 => Kind::Counter,
            _ => Kind::Gauge,
        };
        // Some come back under their old labels, a kind always under the same.
        let n = if rng.one_in(3) && target.made > 0 {
            rng.below(target.made as u64) as usize
        } else {
            target.made
        };
        let name = format!("m{n}_{kind:?}");
        let labels = Labels::from_pairs([
            ("__name__", name.as_str()),
            ("instance", target.name.as_str()),
            ("long", &"x".repeat((n * 37) % 200 + 1)),
        ]);
        if target.series.iter().any(|s| s.labels == labels) {
            break;
        }
        target.made = target.made.max(n + 1);
        let served =
            Served { labels, kind, reference: SeriesRef::NONE, counter: 0, alive: true, last_t: i64::MIN };
        target.series.push(served);
    }
    for s in &mut target.series {
        if rng.one_in(60) {
            s.alive = false;
        }
    }
}

pub(super) fn next_float(s: &mut Served, rng: &mut Rng) -> f64 {
    match s.kind {
        Kind::Counter => {
            s.counter = if rng.one_in(50) { 0 } else { s.counter + rng.below(100) };
            s.counter as f64
        }
        _ if rng.one_in(20) => f64::from_bits(rng.next_u64()),
        _ => rng.below(1000) as f64 / 8.0,
    }
}

pub(super) fn next_histogram(s: &mut Served, rng: &mut Rng) -> HistogramValue {
    s.counter = if rng.one_in(20) { 0 } else { s.counter + 1 + rng.below(50) };
    let n = s.counter;
    let width = 1 + rng.below(3) as u32;
    let mut h = Histogram {
        schema: 1,
        zero_threshold: 0.001,
        zero_count: n / 7,
        sum: n as f64 * 1.5,
        positive_spans: vec![Span { offset: 0, length: width }, Span { offset: 2, length: 1 }],
        ..Histogram::default()
    };
    let counts: Vec<i64> = (0..=i64::from(width)).map(|i| n as i64 + i).collect();
    h.positive_buckets = counts.iter().scan(0, |last, c| Some(c - std::mem::replace(last, *c))).collect();
    h.count = h.zero_count + counts.iter().sum::<i64>() as u64;
    let h = HistogramValue::Int(Arc::new(h));
    if s.kind == Kind::FloatHistogram { HistogramValue::Float(h.to_float()) } else { h }
}

pub(super) fn stale_histogram(kind: Kind) -> HistogramValue {
    let h = HistogramValue::Int(Arc::new(Histogram { sum: stale_nan(), ..Histogram::default() }));
    if kind == Kind::FloatHistogram { HistogramValue::Float(h.to_float()) } else { h }
}
