//! Cost of the receiver: decoding alone, and the whole path into a store that only counts.

#![allow(missing_docs, clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use model::clock::SystemClock;
use model::{Exemplar, HistogramValue, KeyHasher, Labels, MetricMetadata};
use remote::encode::{OutSeries, snappy, write_v1, write_v2};
use remote::{DecodedV1, DecodedV2, MessageType, Receiver, ReceiverOptions, WireError};
use storage::{AppendError, Appendable, Appender, CommitStats, Rejected, SeriesRef, StorageError};

#[derive(Default)]
struct Counting(AtomicU64);

impl Appendable for Counting {
    fn appender(&self) -> Box<dyn Appender + '_> {
        Box::new(Tx(self, 0))
    }
}

struct Tx<'a>(&'a Counting, u64);

impl Appender for Tx<'_> {
    fn append(&mut self, r: SeriesRef, l: &Labels, _: i64, _: i64, _: f64) -> Result<SeriesRef, AppendError> {
        self.1 += 1;
        Ok(if r.is_none() { SeriesRef(l.hash() | 1) } else { r })
    }
    fn append_batch(&mut self, _: i64, series: &[SeriesRef], values: &[f64], _: &mut Vec<Rejected>) {
        self.1 += series.len().min(values.len()) as u64;
    }
    fn append_histogram(
        &mut self,
        r: SeriesRef,
        _: &Labels,
        _: i64,
        _: i64,
        _: &HistogramValue,
    ) -> Result<SeriesRef, AppendError> {
        Ok(r)
    }
    fn append_start_zero(
        &mut self,
        r: SeriesRef,
        _: &Labels,
        _: i64,
        _: i64,
        _: Option<&HistogramValue>,
    ) -> Result<SeriesRef, AppendError> {
        Ok(r)
    }
    fn append_exemplar(&mut self, _: SeriesRef, _: &Exemplar) -> Result<(), AppendError> {
        Ok(())
    }
    fn update_metadata(&mut self, _: SeriesRef, _: &MetricMetadata) -> Result<(), AppendError> {
        Ok(())
    }
    fn commit(self: Box<Self>) -> Result<CommitStats, StorageError> {
        self.0.0.fetch_add(self.1, Ordering::Relaxed);
        Ok(CommitStats { samples: self.1, refused: 0 })
    }
    fn rollback(self: Box<Self>) {}
}

const SERIES: usize = 2000;

fn request() -> Vec<OutSeries> {
    let series = |i: usize| OutSeries {
        labels: Labels::from_pairs([
            ("__name__", format!("http_server_request_duration_seconds_bucket_{}", i % 50)),
            ("cluster", "production-eu-west-1".into()),
            ("container", "application".into()),
            ("instance", format!("10.1.{}.{}:8080", i / 250, i % 250)),
            ("job", "kubernetes-pods".into()),
            ("le", format!("{}", i % 12)),
            ("method", "GET".into()),
            ("namespace", format!("team-{}", i % 40)),
            ("pod", format!("application-7c9f8d6b5-{i:05}")),
            ("status", "200".into()),
        ]),
        samples: vec![(1_700_000_000_000, i as f64 * 1.5)],
        ..OutSeries::default()
    };
    (0..SERIES).map(series).collect()
}

fn bench(c: &mut Criterion) {
    let series = request();
    let (v1, v2) = (write_v1(&series), write_v2(&series));
    let mut g = c.benchmark_group("decode");
    g.throughput(Throughput::Bytes(v1.len() as u64));
    g.bench_function("v1", |b| {
        let mut d = DecodedV1::default();
        b.iter(|| {
            let mut n = 0;
            d.for_each::<(), WireError>(
                &v1,
                |_| None,
                |s, _| {
                    n += s.samples();
                    Ok(())
                },
            )
            .unwrap();
            assert_eq!(n, SERIES);
        });
    });
    g.throughput(Throughput::Bytes(v2.len() as u64));
    g.bench_function("v2", |b| {
        let mut d = DecodedV2::default();
        b.iter(|| {
            let mut n = 0;
            d.for_each::<WireError>(&v2, KeyHasher::default(), |s, _| {
                n += s.samples();
                Ok(())
            })
            .unwrap();
            assert_eq!(n, SERIES);
        });
    });
    g.finish();
    let mut g = c.benchmark_group("receive");
    g.throughput(Throughput::Elements(SERIES as u64));
    for (name, message, body) in [("v1", MessageType::V1, snappy(&v1)), ("v2", MessageType::V2, snappy(&v2))]
    {
        let receiver = Receiver::new(
            Arc::new(Counting::default()),
            Arc::new(SystemClock),
            &telemetry::Registry::new(),
            ReceiverOptions::default(),
        );
        g.bench_function(name, |b| b.iter(|| assert_eq!(receiver.write(message, &body).status, 204)));
    }
    g.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
