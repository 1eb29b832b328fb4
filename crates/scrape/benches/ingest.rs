//! Cost per sample of a warm scrape: against the last page, and by plain parsing and hashing as a
//! straightforward scraper does it. The store is a sink, so that only the scraper's part is measured.

#![allow(clippy::result_large_err, reason = "as in the crate")]

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use exposition::{Event, Format, Parser, ParserOptions, SampleValue};
use model::{Exemplar, HistogramValue, Labels, LabelsBuilder, MetricMetadata};
use scrape::ingest::{IngestOptions, TargetCache};
use storage::{AppendError, Appender, CommitStats, Rejected, SeriesRef, StorageError};

/// Takes everything, keeps nothing.
#[derive(Default)]
struct Sink {
    next: u64,
    sum: f64,
}

impl Appender for Sink {
    fn append(&mut self, s: SeriesRef, _: &Labels, _: i64, _: i64, v: f64) -> Result<SeriesRef, AppendError> {
        self.sum += v;
        self.next += 1;
        Ok(if s.is_none() { SeriesRef(self.next) } else { s })
    }
    fn append_batch(&mut self, _: i64, series: &[SeriesRef], values: &[f64], _: &mut Vec<Rejected>) {
        black_box((series, values));
    }
    fn append_histogram(
        &mut self,
        s: SeriesRef,
        l: &Labels,
        st: i64,
        t: i64,
        _: &HistogramValue,
    ) -> Result<SeriesRef, AppendError> {
        self.append(s, l, st, t, 0.0)
    }
    fn append_start_zero(
        &mut self,
        s: SeriesRef,
        _: &Labels,
        _: i64,
        _: i64,
        _: Option<&HistogramValue>,
    ) -> Result<SeriesRef, AppendError> {
        Ok(s)
    }
    fn append_exemplar(&mut self, _: SeriesRef, _: &Exemplar) -> Result<(), AppendError> {
        Ok(())
    }
    fn update_metadata(&mut self, _: SeriesRef, _: &MetricMetadata) -> Result<(), AppendError> {
        Ok(())
    }
    fn commit(self: Box<Self>) -> Result<CommitStats, StorageError> {
        Ok(CommitStats::default())
    }
    fn rollback(self: Box<Self>) {}
}

/// As node_exporter: many families, some with a label or two, large values in exponent form.
fn node_page(round: u64) -> (String, u64) {
    let mut out = String::new();
    let mut n = 0;
    for f in 0..400_u64 {
        let _ = write!(
            out,
            "# HELP node_family_{f}_bytes Some help text for family {f}.\n# TYPE node_family_{f}_bytes gauge\n"
        );
        for i in 0..(1 + f % 8) {
            let v = f * 7919 + i * 104_729 + round * 13;
            let _ = match f % 4 {
                0 => writeln!(out, "node_family_{f}_bytes{{device=\"sda{i}\",mode=\"x\"}} {v}"),
                1 => writeln!(out, "node_family_{f}_bytes{{cpu=\"{i}\"}} {}.{:02}", v / 100, v % 100),
                2 => writeln!(
                    out,
                    "node_family_{f}_bytes{{device=\"eth{i}\"}} {}.{:06}e+09",
                    1 + v % 9,
                    v % 999_999
                ),
                _ => writeln!(out, "node_family_{f}_bytes{{i=\"{i}\"}} 0"),
            };
            n += 1;
        }
    }
    (out, n)
}

/// As kube-state-metrics: long label sets, mostly zeros and ones.
fn kube_page(round: u64) -> (String, u64) {
    let mut out = String::new();
    let mut n = 0;
    for f in 0..20_u64 {
        let _ = write!(out, "# HELP kube_pod_family_{f} Information.\n# TYPE kube_pod_family_{f} gauge\n");
        for i in 0..1000_u64 {
            let _ = writeln!(
                out,
                "kube_pod_family_{f}{{namespace=\"team-{}\",pod=\"service-{i}-7d9f8b6c5-x{i:05}\",uid=\"5c1a{i:08x}-0000-4000-8000-{i:012x}\",node=\"node-{}\"}} {}",
                i % 17,
                i % 50,
                (i + round) % 2
            );
            n += 1;
        }
    }
    (out, n)
}

/// Parses every line and looks it up by its bytes, as upstream does.
fn plain(body: &str, series: &mut HashMap<Vec<u8>, SeriesRef>, app: &mut dyn Appender) {
    let mut parser = Parser::new(body.as_bytes(), Format::Text, &ParserOptions::default());
    let mut builder = LabelsBuilder::new();
    while let Ok(event) = parser.next() {
        match event {
            Event::Eof => break,
            Event::Series(s) => {
                let SampleValue::Float(v) = s.value else { continue };
                let known = series.get(s.key).copied();
                let labels = match known {
                    Some(_) => Labels::empty(),
                    None => {
                        let _ = s.source.build(&mut builder);
                        builder.build()
                    }
                };
                if let Ok(r) = app.append(known.unwrap_or_default(), &labels, 0, 0, v)
                    && known.is_none()
                {
                    series.insert(s.key.to_vec(), r);
                }
            }
            _ => {}
        }
    }
}

fn bench(c: &mut Criterion) {
    for (name, page) in [("node", node_page as fn(u64) -> (String, u64)), ("kube", kube_page)] {
        let pages: Vec<String> = (0..4).map(|r| page(r).0).collect();
        let mut group = c.benchmark_group(name);
        group.throughput(Throughput::Elements(page(0).1));
        group.bench_function("against last page", |b| {
            let (mut cache, opts, mut sink) = (TargetCache::new(), IngestOptions::default(), Sink::default());
            let mut t = 0;
            b.iter(|| {
                t += 1;
                cache.ingest(pages[t % 4].as_bytes(), Format::Text, t as i64, &opts, &mut sink)
            });
        });
        group.bench_function("parse and hash", |b| {
            let (mut series, mut sink) = (HashMap::new(), Sink::default());
            let mut t = 0;
            b.iter(|| {
                t += 1;
                plain(&pages[t % 4], &mut series, &mut sink);
            });
        });
        group.finish();
    }
}

criterion_group!(benches, bench);
criterion_main!(benches);
