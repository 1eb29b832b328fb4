//! Chunks as a whole: every encoding round-trips, goes on after recoding, and takes any bytes.

use std::sync::Arc;

use model::{CounterResetHint, FloatHistogram, Histogram, HistogramValue, Span, stale_nan};
use proptest::prelude::*;
use storage::{ChunkEncoding, SampleBuf};

use super::*;

const ENCODINGS: [ChunkEncoding; 6] = [
    ChunkEncoding::Xor,
    ChunkEncoding::Histogram,
    ChunkEncoding::FloatHistogram,
    ChunkEncoding::Xor2,
    ChunkEncoding::HistogramSt,
    ChunkEncoding::FloatHistogramSt,
];

fn all(encoding: ChunkEncoding, data: &[u8]) -> SampleBuf {
    let mut out = SampleBuf::default();
    decode_all(encoding, data, &mut out).unwrap();
    out
}

fn bits(values: &[f64]) -> Vec<u64> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Times with regular, jittered and wild steps; values constant, counting and random, stale at times.
fn floats() -> impl Strategy<Value = Vec<(i64, f64)>> {
    let step =
        prop_oneof![4 => Just(15_000_i64), 4 => 14_900_i64..15_100, 1 => 1_i64..100_000_000, 1 => Just(1)];
    let value = prop_oneof![
        4 => Just(1.0),
        4 => (0_u32..1000).prop_map(f64::from),
        2 => any::<u64>().prop_map(f64::from_bits),
        1 => Just(stale_nan()),
        1 => Just(f64::INFINITY),
    ];
    (-1_i64 << 50..1_i64 << 50, prop::collection::vec((step, value), 0..300)).prop_map(|(mut t, items)| {
        let each = |(step, v)| {
            t += step;
            (t, v)
        };
        items.into_iter().map(each).collect()
    })
}

proptest! {
    #[test]
    fn xor_round_trips_and_resumes(samples in floats(), cut in 0_usize..300) {
        let (mut bytes, mut app) = (Vec::new(), XorAppender::new());
        for (i, (t, v)) in samples.iter().enumerate() {
            if i == cut && i > 0 {
                app.put_count(&mut bytes);
                app = XorAppender::resume(&bytes).unwrap();
            }
            let before = bytes.len();
            app.append(&mut bytes, *t, *v).unwrap();
            prop_assert!(bytes.len() - before <= XOR_SAMPLE_BYTES_MAX);
        }
        app.put_count(&mut bytes);
        if samples.is_empty() {
            return Ok(());
        }
        let out = all(ChunkEncoding::Xor, &bytes);
        prop_assert_eq!(&out.times, &samples.iter().map(|s| s.0).collect::<Vec<_>>());
        prop_assert_eq!(bits(&out.values), samples.iter().map(|s| s.1.to_bits()).collect::<Vec<_>>());
        // A range gives the samples within it, both ends included.
        let (mint, maxt) = (samples[samples.len() / 3].0, samples[samples.len() * 2 / 3].0);
        let mut part = SampleBuf::default();
        decode(ChunkEncoding::Xor, &bytes, mint, maxt, &mut part).unwrap();
        let expected: Vec<i64> = out.times.iter().copied().filter(|t| (mint..=maxt).contains(t)).collect();
        prop_assert_eq!(part.times, expected);
        // Cut anywhere, it gives an error and no more samples than there were.
        for len in [0, 1, bytes.len() / 2, bytes.len() - 1] {
            let mut out = SampleBuf::default();
            prop_assert!(decode_all(ChunkEncoding::Xor, &bytes[..len], &mut out).is_err());
            prop_assert!(out.len() < samples.len() && out.values.len() == out.len());
        }
    }

    #[test]
    fn xor2_round_trips(samples in floats(), starts in prop::collection::vec(0_i64..3, 300)) {
        let (mut bytes, mut app) = (Vec::new(), Xor2Appender::new());
        for ((t, v), start) in samples.iter().zip(&starts) {
            app.append(&mut bytes, start * 1000, *t, *v).unwrap();
        }
        if samples.is_empty() {
            return Ok(());
        }
        let out = all(ChunkEncoding::Xor2, &bytes);
        prop_assert_eq!(&out.times, &samples.iter().map(|s| s.0).collect::<Vec<_>>());
        prop_assert_eq!(bits(&out.values), samples.iter().map(|s| s.1.to_bits()).collect::<Vec<_>>());
        let starts: Vec<i64> = starts.iter().take(samples.len()).map(|s| s * 1000).collect();
        if starts.iter().any(|s| *s != 0) {
            prop_assert_eq!(out.starts, starts);
        }
    }

    #[test]
    fn any_bytes_are_taken(mut data in prop::collection::vec(any::<u8>(), 0..400), small in any::<bool>()) {
        if small && !data.is_empty() {
            data[0] = 0;
        }
        for encoding in ENCODINGS {
            let mut out = SampleBuf::default();
            let _ = decode_all(encoding, &data, &mut out);
            prop_assert_eq!(out.times.len(), out.values.len());
            prop_assert!(out.starts.is_empty() || out.starts.len() == out.times.len());
        }
    }

    #[test]
    fn histograms_round_trip(
        samples in prop::collection::vec(histogram(), 1..60),
        starts in any::<bool>(),
        gauge in any::<bool>(),
    ) {
        let samples: Vec<_> = samples.into_iter().map(|mut h| {
            if gauge {
                h.reset_hint = CounterResetHint::Gauge;
            }
            h
        }).collect();
        let floats: Vec<_> = samples.iter().map(Histogram::to_float).collect();
        prop_assert_eq!(&through::<IntKind>(&samples, starts), &samples.iter().map(absolute).collect::<Vec<_>>());
        prop_assert_eq!(&through::<FloatKind>(&floats, starts), &samples.iter().map(absolute).collect::<Vec<_>>());
    }

    #[test]
    fn bit_flips_never_harm(samples in prop::collection::vec(histogram(), 1..20), at in any::<prop::sample::Index>(), bit in 0_u8..8) {
        for starts in [false, true] {
            let mut app = HistogramAppender::new(starts);
            for (i, h) in samples.iter().enumerate() {
                let _ = app.append(None, 5, i as i64 * 1000, h).unwrap();
            }
            let mut bytes = app.bytes().to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let _ = decode_all(app.encoding(), &bytes, &mut SampleBuf::default());
        }
    }
}

/// Bucket index and count of every used bucket, count, zero count, sum: what layouts do not change.
type Absolute = (Vec<(i64, u64)>, Vec<(i64, u64)>, u64, u64, u64);

fn absolute(h: &Histogram) -> Absolute {
    absolute_float(&h.to_float())
}

fn absolute_float(h: &FloatHistogram) -> Absolute {
    let side = |spans: &[Span], counts: &[f64]| {
        let all = super::spans::indices(spans).zip(counts.iter().map(|c| *c as u64));
        all.filter(|(_, c)| *c > 0).collect::<Vec<_>>()
    };
    let (p, n) = (side(&h.positive_spans, &h.positive_buckets), side(&h.negative_spans, &h.negative_buckets));
    if model::is_stale_nan(h.sum) {
        return (vec![], vec![], 0, 0, h.sum.to_bits());
    }
    (p, n, h.count as u64, h.zero_count as u64, h.sum.to_bits())
}

fn histogram() -> impl Strategy<Value = Histogram> {
    let side = || prop::collection::btree_map(-20_i64..20, 0_i64..5, 0..6);
    (side(), side(), 0_u64..10, any::<bool>(), 0_u8..20, 0_u8..20).prop_map(
        |(p, n, zero, twenty, stale, schema)| {
            let make = |side: &std::collections::BTreeMap<i64, i64>| {
                let (mut spans, mut deltas) = (Vec::<Span>::new(), Vec::new());
                let (mut next, mut last) = (0_i64, 0_i64);
                for (index, count) in side {
                    match spans.last_mut() {
                        Some(span) if *index == next => span.length += 1,
                        _ => spans.push(Span { offset: (index - next) as i32, length: 1 }),
                    }
                    next = index + 1;
                    deltas.push(count - last);
                    last = *count;
                }
                (spans, deltas)
            };
            let ((positive_spans, positive_buckets), (negative_spans, negative_buckets)) =
                (make(&p), make(&n));
            let total = p.values().chain(n.values()).sum::<i64>() as u64 + zero;
            let sum = if stale == 0 { stale_nan() } else { total as f64 * if twenty { 20.0 } else { 0.1 } };
            Histogram {
                reset_hint: CounterResetHint::Unknown,
                schema: i32::from(schema == 1) + 3,
                zero_threshold: 0.001,
                zero_count: zero,
                count: total,
                sum,
                positive_spans,
                negative_spans,
                positive_buckets,
                negative_buckets,
                custom_values: Arc::default(),
            }
        },
    )
}

/// Writes samples as the head does, cutting where told, and reads them back.
#[allow(private_bounds)]
fn through<K: HistogramKind>(samples: &[K::Value], starts: bool) -> Vec<Absolute> {
    let mut chunks = Vec::new();
    let mut app = HistogramChunkAppender::<K>::new(starts);
    for (i, h) in samples.iter().enumerate() {
        let t = i as i64 * 15_000;
        if let Appended::Cut(next) = app.append(None, t / 7, t, h).unwrap() {
            chunks.push(std::mem::replace(&mut app, *next));
        }
    }
    chunks.push(app);
    let mut out = SampleBuf::default();
    for chunk in &chunks {
        let before = out.len();
        decode_all(chunk.encoding(), chunk.bytes(), &mut out).unwrap();
        assert_eq!(out.len() - before, usize::from(chunk.len()));
        assert_eq!(sample_count(chunk.encoding(), chunk.bytes()).unwrap(), chunk.len());
        assert_eq!(reset_header(chunk.encoding(), chunk.bytes()), chunk.header());
    }
    let times: Vec<i64> = (0..samples.len()).map(|i| i as i64 * 15_000).collect();
    assert_eq!(out.times, times);
    if starts && samples.len() > 1 {
        assert_eq!(out.starts, times.iter().map(|t| t / 7).collect::<Vec<_>>());
    }
    let value = |(_, h): &(u32, HistogramValue)| absolute_float(&h.to_float());
    out.histograms.iter().map(value).collect()
}

fn simple(count: u64, spans: &[(i32, u32)], deltas: &[i64]) -> Histogram {
    Histogram {
        schema: 1,
        zero_threshold: 0.01,
        count,
        sum: count as f64,
        positive_spans: spans
            .iter()
            .map(|(offset, length)| Span { offset: *offset, length: *length })
            .collect(),
        positive_buckets: deltas.to_vec(),
        ..Histogram::default()
    }
}

#[test]
fn resets_cut_and_growth_recodes() {
    let mut app = HistogramAppender::new(false);
    let here = |r: Result<Appended<HistogramAppender>>| matches!(r.unwrap(), Appended::Here);
    assert!(here(app.append(None, 0, 1, &simple(3, &[(0, 2)], &[1, 1]))));
    assert!(matches!(app.append(None, 0, 2, &simple(5, &[(0, 3)], &[1, 1, 0])).unwrap(), Appended::Recoded));
    // An empty bucket may vanish again: the sample is widened.
    assert!(here(app.append(None, 0, 3, &simple(5, &[(0, 3)], &[1, 1, 0]))));
    assert_eq!(app.header(), ResetHeader::Unknown);
    let Appended::Cut(mut next) = app.append(None, 0, 4, &simple(2, &[(0, 1)], &[2])).unwrap() else {
        panic!("a reset must cut")
    };
    assert_eq!((next.header(), next.len(), app.len()), (ResetHeader::Reset, 1, 3));
    // A stale marker goes anywhere; behind it nothing but stale markers.
    let stale = Histogram { sum: stale_nan(), ..Histogram::default() };
    assert!(here(next.append(None, 0, 5, &stale)) && here(next.append(None, 0, 6, &stale)));
    let Appended::Cut(last) = next.append(None, 0, 7, &simple(9, &[(0, 1)], &[9])).unwrap() else {
        panic!("a stale marker ends a chunk")
    };
    assert_eq!(last.header(), ResetHeader::Unknown);
    // A chunk cut for its size is compared with the one before.
    let mut follow = HistogramAppender::new(false);
    assert!(here(follow.append(Some(&last), 0, 8, &simple(10, &[(0, 1)], &[10]))));
    assert_eq!(follow.header(), ResetHeader::NotReset);
    let mut follow = HistogramAppender::new(true);
    assert!(here(follow.append(Some(&last), 0, 8, &simple(1, &[(0, 1)], &[1]))));
    assert_eq!(
        (follow.header(), reset_header(ChunkEncoding::HistogramSt, follow.bytes())),
        (ResetHeader::Reset, ResetHeader::Reset)
    );
    // Spans that do not fit the buckets are refused.
    assert!(follow.append(None, 0, 9, &simple(1, &[(0, 2)], &[1])).is_err());
}

#[test]
fn finer_schemas_are_brought_down() {
    let mut app = HistogramAppender::new(false);
    let mut h = simple(10, &[(-1, 4)], &[1, 1, 1, 1]);
    h.schema = 9;
    let _ = app.append(None, 0, 1, &h).unwrap();
    let out = all(ChunkEncoding::Histogram, app.bytes());
    let HistogramValue::Int(h) = &out.histograms[0].1 else { panic!() };
    // Indices -1, 0 -> 0 and 1, 2 -> 1, with 1+2 and 3+4 observations.
    assert_eq!((h.schema, &h.positive_buckets[..]), (8, &[3, 4][..]));
    assert_eq!(h.positive_spans, [Span { offset: 0, length: 2 }]);
}

#[test]
fn hostile_layouts_are_refused() {
    // 65,535 samples, then a layout that claims a huge number of spans.
    let data = [0xff, 0xff, 0, 0, 0x50, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff];
    for encoding in ENCODINGS {
        assert!(decode_all(encoding, &data, &mut SampleBuf::default()).is_err(), "{encoding:?}");
    }
}
