//! The receiver over a store in memory: what is stored, what is answered, and that no bytes harm it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod sender;

use std::sync::Arc;
use std::time::Duration;

use model::clock::Clock;
use model::{
    Exemplar, FloatHistogram, Histogram, HistogramValue, Labels, Matcher, MetricMetadata, MetricType, Span,
};
use proptest::prelude::*;
use remote::encode::{OutSeries, snappy, write_v1, write_v2};
use remote::{MessageType, Receiver, ReceiverOptions, WriteResponse, WriteStats};
use storage::memory::MemoryStore;
use storage::{QueryContext, Queryable, SampleBuf, SelectHints};
use telemetry::Registry;

struct FixedClock;

const NOW_MS: i64 = 1_700_000_000_000;

impl Clock for FixedClock {
    fn now(&self) -> Duration {
        Duration::from_millis(NOW_MS as u64)
    }
}

fn receiver(options: ReceiverOptions) -> (Receiver, MemoryStore) {
    let store = MemoryStore::new();
    let r = Receiver::new(Arc::new(store.clone()), Arc::new(FixedClock), &Registry::new(), options);
    (r, store)
}

fn series(pairs: &[(&str, &str)], samples: &[(i64, f64)]) -> OutSeries {
    OutSeries {
        labels: Labels::from_pairs(pairs.iter().copied()),
        samples: samples.to_vec(),
        ..OutSeries::default()
    }
}

fn read(store: &MemoryStore, name: &str) -> Vec<(String, SampleBuf)> {
    let q = store.querier(i64::MIN, i64::MAX).unwrap();
    let m = [Matcher::equal("__name__", name)];
    let set = q.select(&QueryContext::unlimited(), true, &SelectHints::default(), &m).unwrap();
    let one = |s: &Arc<dyn storage::Series>| {
        let mut buf = SampleBuf::default();
        s.read(i64::MIN, i64::MAX, &mut buf).unwrap();
        (s.labels().to_string(), buf)
    };
    set.series.iter().map(one).collect()
}

fn v1(r: &Receiver, s: &[OutSeries]) -> WriteResponse {
    r.write(MessageType::V1, &snappy(&write_v1(s)))
}

fn v2(r: &Receiver, s: &[OutSeries]) -> WriteResponse {
    r.write(MessageType::V2, &snappy(&write_v2(s)))
}

#[test]
fn both_messages_store_and_the_cache_learns() {
    for write in [v1, v2] {
        let (r, store) = receiver(ReceiverOptions::default());
        for round in 0..5_i64 {
            let t = NOW_MS + round * 1000;
            let batch: Vec<OutSeries> = (0..100)
                .map(|i| series(&[("__name__", "m"), ("i", &format!("{i:03}"))], &[(t, (i * round) as f64)]))
                .collect();
            let answer = write(&r, &batch);
            assert_eq!((answer.status, answer.error.as_str()), (204, ""));
            assert_eq!(r.cached_series(), 100);
        }
        let found = read(&store, "m");
        assert_eq!(found.len(), 100);
        let (labels, buf) = &found[7];
        assert_eq!(labels, r#"{__name__="m", i="007"}"#);
        assert_eq!(buf.times, (0..5).map(|k| NOW_MS + k * 1000).collect::<Vec<_>>());
        assert_eq!(buf.values, [0.0, 7.0, 14.0, 21.0, 28.0]);
    }
}

#[test]
fn many_samples_of_a_series_keep_their_order() {
    for write in [v1, v2] {
        let (r, store) = receiver(ReceiverOptions::default());
        let one = series(&[("__name__", "m")], &[(1, 1.0)]);
        assert_eq!(write(&r, std::slice::from_ref(&one)).status, 204);
        // Known now: alone in a batch, then several of the same series in one request.
        let next = [
            series(&[("__name__", "m")], &[(2, 2.0)]),
            series(&[("__name__", "m")], &[(3, 3.0), (4, 4.0)]),
            series(&[("__name__", "m")], &[(5, 5.0)]),
        ];
        assert_eq!(write(&r, &next).status, 204);
        assert_eq!(read(&store, "m")[0].1.times, [1, 2, 3, 4, 5]);
    }
}

#[test]
fn a_label_that_looks_like_a_sample_is_a_label() {
    // The end of this label's value has the bytes of a whole sample field.
    let looks = "\x12\x10\x09\0\0\0\0\0\0\0\0\x10\x01\x01\x01\x01\x01\x01";
    let looks_short = "xxxxxxxxx\x12\x07\x10\x01\x01\x01\x01\x01\x01";
    let (r, store) = receiver(ReceiverOptions::default());
    for (round, value) in [(1, 1.5), (2, 0.0), (3, 3.0)] {
        let t = NOW_MS + round;
        let all = [
            series(&[("__name__", "m")], &[(t, value)]),
            series(&[("__name__", "m"), ("l", looks)], &[]),
            series(&[("__name__", "m"), ("l", looks)], &[(t, value)]),
            series(&[("__name__", "m"), ("l", looks_short)], &[(t, value)]),
            series(&[("__name__", "m"), ("l", looks_short)], &[]),
        ];
        let answer = v1(&r, &all);
        assert_eq!((answer.status, answer.error.as_str()), (204, ""));
    }
    let found = read(&store, "m");
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|(_, buf)| buf.values == [1.5, 0.0, 3.0]), "{found:?}");
}

#[test]
fn one_is_all_or_nothing() {
    let (r, store) = receiver(ReceiverOptions::default());
    let first = [series(&[("__name__", "a")], &[(1000, 1.0)]), series(&[("__name__", "b")], &[(1000, 1.0)])];
    assert_eq!(v1(&r, &first).status, 204);
    let mixed = [series(&[("__name__", "a")], &[(2000, 2.0)]), series(&[("__name__", "b")], &[(500, 2.0)])];
    let answer = v1(&r, &mixed);
    assert_eq!((answer.status, answer.error.as_str()), (400, "out of order sample"));
    assert_eq!(answer.headers(), []);
    assert_eq!(read(&store, "a")[0].1.times, [1000]);
    let future = [series(&[("__name__", "a")], &[(NOW_MS + 600_001, 2.0)])];
    let answer = v1(&r, &future);
    assert_eq!(
        (answer.status, answer.error.as_str()),
        (400, "out of bounds: timestamp is too far in the future")
    );
    assert_eq!(v1(&r, &[series(&[("__name__", "a")], &[(NOW_MS + 600_000, 2.0)])]).status, 204);
}

#[test]
fn two_stores_what_is_good_and_lists_the_rest() {
    let (r, store) = receiver(ReceiverOptions::default());
    let first = [
        series(&[("__name__", "a")], &[(1000, 1.0)]),
        series(&[("__name__", "b"), ("x", "1")], &[(1000, 1.0)]),
    ];
    let answer = v2(&r, &first);
    assert_eq!(answer.written, Some(WriteStats { samples: 2, histograms: 0, exemplars: 0 }));
    let mixed = [
        series(&[("__name__", "a")], &[(2000, 2.0)]),
        series(&[("__name__", "b"), ("x", "1")], &[(500, 2.0)]),
        series(&[("x", "no name")], &[(2000, 2.0)]),
        series(&[("__name__", "c")], &[]),
        series(&[("__name__", "d")], &[(NOW_MS + 600_001, 2.0)]),
    ];
    let answer = v2(&r, &mixed);
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.error.lines().collect::<Vec<_>>(),
        [
            r#"out of order sample for series {__name__="b", x="1"}"#,
            r#"invalid metric name or labels, got {x="no name"}"#,
            r#"TimeSeries must contain at least one sample or histogram for series {__name__="c"}"#,
            r#"out of bounds: timestamp is too far in the future for series {__name__="d"}"#,
        ]
    );
    assert_eq!(answer.headers()[0], ("X-Prometheus-Remote-Write-Samples-Written", "1".to_string()));
    assert_eq!(read(&store, "a")[0].1.times, [1000, 2000]);
}

fn histograms() -> Vec<HistogramValue> {
    let int = Histogram {
        schema: 3,
        zero_threshold: 0.001,
        zero_count: 1,
        count: 9,
        sum: -2.5,
        positive_spans: vec![Span { offset: -2, length: 2 }, Span { offset: 3, length: 1 }],
        positive_buckets: vec![2, 1, -2],
        negative_spans: vec![Span { offset: 0, length: 1 }],
        negative_buckets: vec![2],
        ..Histogram::default()
    };
    let float = FloatHistogram {
        schema: -53,
        count: 6.0,
        sum: 12.5,
        positive_spans: vec![Span { offset: 0, length: 3 }],
        positive_buckets: vec![1.0, 2.0, 3.0],
        custom_values: vec![1.0, 2.5].into(),
        ..FloatHistogram::default()
    };
    vec![HistogramValue::Int(Arc::new(int)), HistogramValue::Float(Arc::new(float))]
}

#[test]
fn histograms_come_through_whole() {
    for write in [v1, v2] {
        let (r, store) = receiver(ReceiverOptions::default());
        let hs = histograms();
        let out: Vec<OutSeries> = hs
            .iter()
            .enumerate()
            .map(|(i, h)| OutSeries {
                labels: Labels::from_pairs([("__name__", "h"), ("i", &i.to_string())]),
                histograms: vec![(1000, h.clone()), (2000, h.clone())],
                ..OutSeries::default()
            })
            .collect();
        let answer = write(&r, &out);
        assert_eq!((answer.status, answer.error.as_str()), (204, ""));
        for ((_, buf), h) in read(&store, "h").iter().zip(&hs) {
            assert_eq!(buf.times, [1000, 2000]);
            assert_eq!(buf.histogram_at(1), Some(h));
        }
    }
}

#[test]
fn metadata_where_asked_for() {
    let (r, store) = receiver(ReceiverOptions { append_metadata: true, ..ReceiverOptions::default() });
    let mut s = series(&[("__name__", "m")], &[(1, 1.0)]);
    s.metadata = MetricMetadata { kind: MetricType::Counter, help: "Helps.".into(), unit: "bytes".into() };
    assert_eq!(v2(&r, &[s.clone()]).status, 204);
    assert_eq!(store.metadata(&s.labels), Some(s.metadata));
}

#[test]
fn type_and_unit_become_labels_where_asked_for() {
    let (r, store) = receiver(ReceiverOptions { type_and_unit_labels: true, ..ReceiverOptions::default() });
    let mut s = series(&[("__name__", "m")], &[(1, 1.0)]);
    s.metadata = MetricMetadata { kind: MetricType::Gauge, help: String::new(), unit: "bytes".into() };
    assert_eq!(v2(&r, &[s]).status, 204);
    assert_eq!(read(&store, "m")[0].0, r#"{__name__="m", __type__="gauge", __unit__="bytes"}"#);
}

#[test]
fn exemplars_never_fail_a_request() {
    for write in [v1, v2] {
        let (r, _store) = receiver(ReceiverOptions::default());
        let mut s = series(&[("__name__", "m")], &[(1000, 1.0)]);
        s.exemplars = vec![
            Exemplar {
                labels: Labels::from_pairs([("trace_id", "abc")]),
                value: 1.0,
                timestamp_ms: 1000,
                has_timestamp: true,
            },
            Exemplar {
                labels: Labels::from_pairs([("x", "y".repeat(500))]),
                value: 1.0,
                timestamp_ms: 2000,
                has_timestamp: true,
            },
        ];
        assert_eq!(write(&r, &[s]).status, 204);
    }
}

fn field(number: u8, content: &[u8]) -> Vec<u8> {
    assert!(content.len() < 128);
    [&[number << 3 | 2, content.len() as u8], content].concat()
}

fn label(name: &[u8], value: &[u8]) -> Vec<u8> {
    field(1, &[field(1, name), field(2, value)].concat())
}

#[test]
fn odd_but_legal_encodings() {
    let (r, store) = receiver(ReceiverOptions::default());
    let sample = field(2, &[&[0x09][..], &2.5_f64.to_le_bytes(), &[0x10, 0x05]].concat());
    // Labels on both sides of the sample, unsorted, an unknown field between, metadata at the end.
    let ts =
        [label(b"z", b"1"), sample.clone(), vec![0x78, 0x01], label(b"__name__", b"odd"), label(b"e", b"")]
            .concat();
    let body = [field(1, &ts), field(3, b"\x08\x01")].concat();
    assert_eq!(r.write(MessageType::V1, &snappy(&body)).status, 204);
    assert_eq!(read(&store, "odd")[0].0, r#"{__name__="odd", z="1"}"#);
    // Doubled and non-UTF-8 names, an empty name: left out, the rest is stored.
    let doubled = [label(b"__name__", b"bad"), label(b"a", b"1"), label(b"a", b"2"), sample.clone()].concat();
    let bytes = [label(b"__name__", b"bad"), label(b"a\xff", b"1"), sample.clone()].concat();
    let value = [label(b"__name__", b"bad"), label(b"a", b"\xff"), sample.clone()].concat();
    let good = [label(b"__name__", b"good"), sample].concat();
    let body = [doubled, bytes, value, good].iter().flat_map(|ts| field(1, ts)).collect::<Vec<_>>();
    assert_eq!(r.write(MessageType::V1, &snappy(&body)).status, 204);
    assert_eq!((read(&store, "bad").len(), read(&store, "good").len()), (0, 1));
}

#[test]
fn symbols_are_bounds_checked() {
    let (r, store) = receiver(ReceiverOptions::default());
    let sample = field(2, &[&[0x09][..], &1_f64.to_le_bytes(), &[0x10, 0x05]].concat());
    let outside = field(5, &[field(1, &[1, 9]), sample.clone()].concat());
    let odd = field(5, &[field(1, &[1]), sample.clone()].concat());
    let huge = field(5, &[field(1, &[1, 0xff, 0xff, 0xff, 0xff, 0x0f]), sample.clone()].concat());
    let help = field(5, &[field(1, &[1, 2]), sample.clone(), field(5, &[0x18, 0x07])].concat());
    let good = field(5, &[field(1, &[1, 2]), sample].concat());
    let symbols = [field(4, b""), field(4, b"__name__"), field(4, b"m")].concat();
    // The table may follow the series.
    let body = [outside, odd, huge, help, good, symbols].concat();
    let answer = r.write(MessageType::V2, &snappy(&body));
    assert_eq!(answer.status, 400);
    assert_eq!(
        answer.error.lines().collect::<Vec<_>>(),
        [
            "parsing labels for series [1 9]: labelRefs 1 (name) = 9 (value) outside of symbols table (size 3)",
            "parsing labels for series [1]: invalid labelRefs length 1",
            "parsing labels for series [1 4294967295]: labelRefs 1 (name) = 4294967295 (value) outside of symbols table (size 3)",
            "parsing metadata for series [1 2]: metadata help_ref 7 outside of symbols table (size 3)",
        ]
    );
    assert_eq!(answer.written.unwrap().samples, 1);
    assert_eq!(read(&store, "m").len(), 1);
}

#[test]
fn broken_bodies_store_nothing() {
    let (r, store) = receiver(ReceiverOptions::default());
    let good = write_v1(&[series(&[("__name__", "m")], &[(1, 1.0)])]);
    let cut = &good[..good.len() - 3];
    let two = [good.as_slice(), cut].concat();
    let answer = r.write(MessageType::V1, &snappy(&two));
    assert_eq!((answer.status, answer.error.as_str()), (400, "unexpected EOF"));
    assert!(read(&store, "m").is_empty());
    assert_eq!(r.write(MessageType::V1, b"no snappy").status, 400);
    assert_eq!(r.write(MessageType::V1, &snappy(&[])).status, 204);
    let wrong = r.write(MessageType::V1, &snappy(&[0x08, 0x01]));
    assert_eq!((wrong.status, wrong.error.as_str()), (400, "proto: wrong wireType = 0 for field Timeseries"));
}

#[test]
fn headers_are_checked_first() {
    let (r, _) = receiver(ReceiverOptions { accepted: vec![MessageType::V2], ..ReceiverOptions::default() });
    let refused = |ct: &str, enc: &str| {
        let e = r.check(ct, enc).unwrap_err();
        assert_eq!(e.status, 415);
        e.error
    };
    assert_eq!(
        refused("application/x-protobuf", "snappy"),
        "prometheus.WriteRequest protobuf message is not accepted by this server; only accepts io.prometheus.write.v2.Request"
    );
    assert_eq!(
        refused("", "gzip"),
        "gzip encoding (compression) is not accepted by this server; only snappy is acceptable"
    );
    assert_eq!(
        refused("text/plain", ""),
        "expected application/x-protobuf as the first (media) part, got text/plain content-type"
    );
    assert!(
        refused("application/x-protobuf;proto=x.Y", "")
            .contains("unknown type for remote write protobuf message x.Y")
    );
    assert!(
        refused("application/x-protobuf;proto", "")
            .contains("expected parameters to be key-values, got proto")
    );
    assert_eq!(
        r.check("application/x-protobuf;proto=io.prometheus.write.v2.Request", "snappy").unwrap(),
        MessageType::V2
    );
}

proptest! {
    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let (r, _) = receiver(ReceiverOptions::default());
        for m in [MessageType::V1, MessageType::V2] {
            let status = r.write(m, &snappy(&bytes)).status;
            prop_assert!(status == 204 || status == 400);
        }
    }

    #[test]
    fn damaged_requests_are_survived(at in any::<prop::sample::Index>(), bit in 0..8_u8, cut in any::<prop::sample::Index>()) {
        let out: Vec<OutSeries> = histograms().into_iter().enumerate().map(|(i, h)| OutSeries {
            labels: Labels::from_pairs([("__name__", "h"), ("i", &i.to_string())]),
            samples: vec![(1, 1.0)],
            histograms: vec![(2, h)],
            exemplars: vec![Exemplar { labels: Labels::from_pairs([("t", "1")]), value: 1.0, timestamp_ms: 1, has_timestamp: true }],
            ..OutSeries::default()
        }).collect();
        for (m, mut body) in [(MessageType::V1, write_v1(&out)), (MessageType::V2, write_v2(&out))] {
            let (r, _) = receiver(ReceiverOptions::default());
            let i = at.index(body.len());
            body[i] ^= 1 << bit;
            let status = r.write(m, &snappy(&body)).status;
            prop_assert!(status == 204 || status == 400, "{}", status);
            let n = cut.index(body.len());
            let status = r.write(m, &snappy(&body[..n])).status;
            prop_assert!(status == 204 || status == 400, "{}", status);
        }
    }
}

#[test]
fn refused_new_series_are_told_and_existing_ones_stored() {
    for write in [v1, v2] {
        let (r, store) = receiver(ReceiverOptions::default());
        assert_eq!(write(&r, &[series(&[("__name__", "a")], &[(1000, 1.0)])]).status, 204);
        store.set_series_max(Some(1));
        let both = [
            series(&[("__name__", "b")], &[(2000, 1.0)]),
            series(&[("__name__", "a")], &[(2000, 2.0)]),
            series(&[("__name__", "c")], &[(2000, 1.0)]),
        ];
        let answer = write(&r, &both);
        assert_eq!(answer.status, 429);
        assert!(answer.error.contains("series limit reached"), "{}", answer.error);
        assert_eq!(read(&store, "a")[0].1.times, [1000, 2000]);
        store.set_series_max(None);
        assert_eq!(write(&r, &both).status, 204);
        assert_eq!((read(&store, "b").len(), read(&store, "a")[0].1.times.len()), (1, 2));
    }
}
