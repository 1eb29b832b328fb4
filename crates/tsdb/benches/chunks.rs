//! Cost of the inner loops of blocks: encoding and decoding floats, intersecting postings.

#![allow(missing_docs, clippy::unwrap_used)]

use std::borrow::Cow;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use storage::{ChunkEncoding, SampleBuf};
use tsdb::chunkenc::{self, XorAppender};
use tsdb::index::postings;

/// 120 samples of a kind.
fn samples(kind: &str) -> Vec<(i64, f64)> {
    let value = |i: u64| match kind {
        "constant" => 1.0,
        "counter" => (i * 17 + i * i % 13) as f64,
        _ => f64::from_bits(0x3ff0_0000_0000_0000 | i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 12),
    };
    let jitter = |i: u64| if kind == "constant" { 0 } else { (i * 7 % 5) as i64 };
    (0..120).map(|i| (1_700_000_000_000 + i as i64 * 15_000 + jitter(i), value(i))).collect()
}

fn xor(c: &mut Criterion) {
    let mut group = c.benchmark_group("xor");
    group.throughput(Throughput::Elements(120));
    for kind in ["constant", "counter", "random"] {
        let samples = samples(kind);
        let mut bytes = Vec::with_capacity(2048);
        group.bench_function(format!("encode/{kind}"), |b| {
            b.iter(|| {
                bytes.clear();
                let mut app = XorAppender::new();
                for (t, v) in &samples {
                    app.append(&mut bytes, *t, *v).unwrap();
                }
                app.put_count(&mut bytes);
                black_box(&bytes);
            });
        });
        let mut out = SampleBuf::default();
        group.bench_function(format!("decode/{kind}"), |b| {
            b.iter(|| {
                out.clear();
                chunkenc::decode_all(ChunkEncoding::Xor, black_box(&bytes), &mut out).unwrap();
                black_box(&out);
            });
        });
    }
    group.finish();
}

fn intersect(c: &mut Criterion) {
    let every = |n: u32| (0..1_000_000_u32).filter(|i| i.is_multiple_of(n)).collect::<Vec<_>>();
    let (all, third, rare) = (every(1), every(3), every(10_000));
    let mut group = c.benchmark_group("postings");
    for (name, a, b) in [("near", &all, &third), ("galloping", &all, &rare)] {
        group.bench_function(format!("intersect/{name}"), |bench| {
            bench.iter(|| {
                let lists = vec![Cow::Borrowed(&a[..]), Cow::Borrowed(&b[..])];
                black_box(postings::intersect(lists));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, xor, intersect);
criterion_main!(benches);
