//! A batch and its messages. What belongs to one series in a batch is one series of the message, where upstream
//! writes its labels again for each sample: a destination that catches up gets far smaller bodies.

use std::sync::Arc;

use model::{HistogramValue, Labels, MetricMetadata};

use super::series::{Form, Known};
use crate::encode::{self, Symbols, bytes, double, number, varint};

/// What is sent of a series.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Float(f64),
    Histogram(HistogramValue),
    Exemplar(f64, Labels),
}

/// One sample on its way.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) series: Arc<Known>,
    pub(crate) t_ms: i64,
    pub(crate) start_ms: i64,
    pub(crate) value: Value,
    /// Number of its record, see [`super::progress::Progress`].
    pub(crate) record: u64,
}

/// How many of what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) samples: u64,
    pub(crate) histograms: u64,
    pub(crate) exemplars: u64,
    /// Items with metadata.
    pub(crate) metadata: u64,
}

impl Counts {
    pub(crate) fn of<'a>(items: impl IntoIterator<Item = &'a Item>) -> Self {
        let mut counts = Counts::default();
        for item in items {
            match item.value {
                Value::Float(_) => counts.samples += 1,
                Value::Histogram(_) => counts.histograms += 1,
                Value::Exemplar(..) => counts.exemplars += 1,
            }
            counts.metadata += u64::from(item.series.metadata.is_some());
        }
        counts
    }

    /// Samples, histograms and exemplars.
    pub(crate) fn all(&self) -> u64 {
        self.samples + self.histograms + self.exemplars
    }
}

/// Items of one series in the order in which a receiver may take them: it reads all floats of a series before all
/// histograms, so a run has one of the two.
fn runs<'i, 'a>(items: &'i mut [&'a Item]) -> impl Iterator<Item = &'i [&'a Item]> {
    // Stable: times stay in order.
    items.sort_by_key(|item| Arc::as_ptr(&item.series));
    let mut rest: &'i [&'a Item] = items;
    std::iter::from_fn(move || {
        let first = *rest.first()?;
        let mut histograms = None;
        let end = rest.iter().position(|item| {
            let is = match item.value {
                Value::Float(_) => Some(false),
                Value::Histogram(_) => Some(true),
                Value::Exemplar(..) => None,
            };
            let other = is.is_some() && histograms.is_some() && is != histograms;
            histograms = histograms.or(is);
            other || !Arc::ptr_eq(&item.series, &first.series)
        });
        let (run, tail) = rest.split_at(end.unwrap_or(rest.len()));
        rest = tail;
        Some(run)
    })
}

/// Writes messages; kept for its memory.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    out: Vec<u8>,
    series: Vec<u8>,
    part: Vec<u8>,
    packed: Vec<u8>,
    snappy: snap_encoder::Encoder,
}

mod snap_encoder {
    /// `snap`'s, which does not say what it is.
    pub(super) struct Encoder(pub(super) snap::raw::Encoder);

    impl Default for Encoder {
        fn default() -> Self {
            Encoder(snap::raw::Encoder::new())
        }
    }

    impl std::fmt::Debug for Encoder {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("snappy")
        }
    }
}

impl Writer {
    /// A body with these items, compressed.
    pub(crate) fn body(&mut self, items: &mut [&Item], v2: bool) -> Vec<u8> {
        self.out.clear();
        if v2 {
            self.write_v2(items)
        } else {
            self.write_v1(items)
        }
        self.compress()
    }

    /// A 1.0 body with metadata only.
    pub(crate) fn metadata_body(&mut self, all: &[(String, MetricMetadata)]) -> Vec<u8> {
        self.out.clear();
        for (family, metadata) in all {
            encode::metadata_v1(&mut self.out, family, metadata);
        }
        self.compress()
    }

    fn compress(&mut self) -> Vec<u8> {
        // Fails above 4 GiB only: a batch is some thousand samples.
        self.packed.resize(snap::raw::max_compress_len(self.out.len()), 0);
        let n = self.snappy.0.compress(&self.out, &mut self.packed).unwrap_or(0);
        self.packed.get(..n).unwrap_or_default().to_vec()
    }

    fn write_v1(&mut self, items: &mut [&Item]) {
        let Writer { out, series, part, .. } = self;
        for run in runs(items) {
            let Some(Form::V1(labels)) = run.first().map(|item| &item.series.form) else { continue };
            series.clear();
            series.extend_from_slice(labels);
            for item in run {
                part.clear();
                let field = match &item.value {
                    Value::Float(v) => {
                        double(part, 1, *v);
                        number(part, 2, item.t_ms as u64);
                        2
                    }
                    Value::Exemplar(v, labels) => {
                        encode::labels_v1(part, labels);
                        double(part, 2, *v);
                        number(part, 3, item.t_ms as u64);
                        3
                    }
                    Value::Histogram(h) => {
                        encode::histogram(part, item.t_ms, 0, h);
                        4
                    }
                };
                bytes(series, field, part);
            }
            bytes(out, 1, series);
        }
    }

    fn write_v2(&mut self, items: &mut [&Item]) {
        let Writer { out, series, part, packed, .. } = self;
        let mut symbols = Symbols::default();
        symbols.of("");
        packed.clear();
        for run in runs(items) {
            let Some((first, Form::V2(labels))) = run.first().map(|item| (*item, &item.series.form)) else {
                continue;
            };
            series.clear();
            part.clear();
            for (name, value) in labels {
                varint(part, u64::from(symbols.of(name)));
                varint(part, u64::from(symbols.of(value)));
            }
            bytes(series, 1, part);
            for item in run {
                part.clear();
                let field = match &item.value {
                    Value::Float(v) => {
                        double(part, 1, *v);
                        number(part, 2, item.t_ms as u64);
                        number(part, 3, item.start_ms as u64);
                        2
                    }
                    Value::Histogram(h) => {
                        encode::histogram(part, item.t_ms, item.start_ms, h);
                        3
                    }
                    Value::Exemplar(v, labels) => {
                        encode::message(part, 1, |refs| {
                            for (name, value) in labels {
                                varint(refs, u64::from(symbols.of(name)));
                                varint(refs, u64::from(symbols.of(value)));
                            }
                        });
                        double(part, 2, *v);
                        number(part, 3, item.t_ms as u64);
                        4
                    }
                };
                bytes(series, field, part);
            }
            part.clear();
            if let Some(metadata) = &first.series.metadata {
                number(part, 1, metadata.kind as u64);
                number(part, 3, u64::from(symbols.of(&metadata.help)));
                number(part, 4, u64::from(symbols.of(&metadata.unit)));
            }
            bytes(series, 5, part);
            bytes(packed, 5, series);
        }
        for symbol in symbols.list() {
            bytes(out, 4, symbol.as_bytes());
        }
        out.extend_from_slice(packed);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{MessageType, Receiver, ReceiverOptions};
    use model::{CounterResetHint, FloatHistogram, Histogram, Matcher, Span};
    use proptest::prelude::*;
    use storage::memory::MemoryStore;
    use storage::{QueryContext, Queryable as _, SampleBuf, SelectHints};
    use telemetry::Registry;

    #[derive(Debug)]
    struct FixedClock;

    impl model::clock::Clock for FixedClock {
        fn now(&self) -> std::time::Duration {
            std::time::Duration::from_secs(1000)
        }
    }

    fn known(name: &str, v2: bool) -> Arc<Known> {
        let labels = Labels::from_pairs([("__name__", "m"), ("n", name)]);
        let form = if v2 {
            Form::V2(labels)
        } else {
            let mut out = Vec::new();
            encode::labels_v1(&mut out, &labels);
            Form::V1(out.into())
        };
        Arc::new(Known { form, metadata: None })
    }

    pub(crate) fn item(name: &str, t_ms: i64, v: f64) -> Item {
        Item { series: known(name, false), t_ms, start_ms: 0, value: Value::Float(v), record: 0 }
    }

    fn histogram(n: u64, float: bool) -> HistogramValue {
        if float {
            return HistogramValue::Float(Arc::new(FloatHistogram {
                reset_hint: CounterResetHint::Gauge,
                count: n as f64 + 0.5,
                sum: -1.25,
                negative_spans: vec![Span { offset: -2, length: 1 }],
                negative_buckets: vec![n as f64 + 0.5],
                ..FloatHistogram::default()
            }));
        }
        HistogramValue::Int(Arc::new(Histogram {
            schema: 2,
            count: n + 3,
            zero_count: n,
            zero_threshold: 1e-9,
            sum: 2.5,
            positive_spans: vec![Span { offset: 3, length: 2 }],
            positive_buckets: vec![1, 1],
            ..Histogram::default()
        }))
    }

    fn stored(store: &MemoryStore) -> Vec<(String, SampleBuf)> {
        let q = store.querier(i64::MIN, i64::MAX).unwrap();
        let m = [Matcher::equal("__name__", "m")];
        let set = q.select(&QueryContext::unlimited(), true, &SelectHints::default(), &m).unwrap();
        let one = |s: &Arc<dyn storage::Series>| {
            let mut buf = SampleBuf::default();
            s.read(i64::MIN, i64::MAX, &mut buf).unwrap();
            (s.labels().to_string(), buf)
        };
        set.series.iter().map(one).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// What our receiver stores of a batch is what another store is given directly.
        #[test]
        fn our_receiver_stores_what_is_sent(
            picks in proptest::collection::vec((0_usize..5, 0_u8..5, any::<u64>()), 1..80),
            v2 in any::<bool>(),
        ) {
            let names = ["a", "b", "", "sp ace", "\u{1f414}"];
            let series: Vec<Arc<Known>> = names.iter().map(|n| known(n, v2)).collect();
            let sent = MemoryStore::new();
            let expected = MemoryStore::new();
            let receiver = Receiver::new(
                Arc::new(sent.clone()), Arc::new(FixedClock), &Registry::new(), ReceiverOptions::default(),
            );
            let mut items = Vec::new();
            let mut app = storage::Appendable::appender(&expected);
            for (t, (n, kind, bits)) in picks.iter().enumerate() {
                let t_ms = t as i64;
                let value = match kind {
                    0 => Value::Histogram(histogram(bits % 1000, false)),
                    1 => Value::Histogram(histogram(bits % 1000, true)),
                    _ => Value::Float(f64::from_bits(*bits)),
                };
                let labels = Labels::from_pairs([("__name__", "m"), ("n", names[*n])]);
                match &value {
                    Value::Histogram(h) => drop(app.append_histogram(storage::SeriesRef::NONE, &labels, 0, t_ms, h)),
                    Value::Float(v) => drop(app.append(storage::SeriesRef::NONE, &labels, 0, t_ms, *v)),
                    Value::Exemplar(..) => {}
                }
                items.push(Item { series: Arc::clone(&series[*n]), t_ms, start_ms: 0, value, record: 0 });
            }
            app.commit().unwrap();
            let body = Writer::default().body(&mut items.iter().collect::<Vec<_>>(), v2);
            let kind = if v2 { MessageType::V2 } else { MessageType::V1 };
            let answer = receiver.write(kind, &body);
            prop_assert_eq!((answer.status, answer.error.as_str()), (204, ""));
            prop_assert_eq!(format!("{:?}", stored(&sent)), format!("{:?}", stored(&expected)));
        }
    }

    #[test]
    fn floats_and_histograms_of_a_series_do_not_change_places() {
        let a = known("a", false);
        let of = |t_ms, value| Item { series: Arc::clone(&a), t_ms, start_ms: 0, value, record: 0 };
        let exemplar = || Value::Exemplar(1.0, Labels::from_pairs([("trace", "x")]));
        let all = [
            of(1, Value::Float(1.0)),
            of(1, exemplar()),
            of(2, Value::Float(2.0)),
            of(3, Value::Histogram(histogram(1, false))),
            of(4, exemplar()),
            of(5, Value::Float(3.0)),
        ];
        let mut items: Vec<&Item> = all.iter().collect();
        let times: Vec<Vec<i64>> = runs(&mut items).map(|r| r.iter().map(|i| i.t_ms).collect()).collect();
        assert_eq!(times, [vec![1, 1, 2], vec![3, 4], vec![5]]);
        assert_eq!(Counts::of(&all), Counts { samples: 3, histograms: 1, exemplars: 2, metadata: 0 });
    }
}
