//! Records of the log: series, samples, histograms, exemplars, tombstones, metadata, chunk markers.
//! Follows upstream's `tsdb/record/record.go` and `tsdb/docs/format/wal.md`; all types of 3.14 are read.
//!
//! A record is a type byte and elements until its end. Positions and times are deltas against the first
//! element (version 1) or the one before (version 2, which also has start timestamps).

use std::borrow::Cow;

use model::labels::STRING_BYTES_MAX;
use model::{HistogramValue, Labels, MetricMetadata, MetricType};
pub use storage::{ExemplarRecord, HistogramRecord, MetadataRecord, SampleRecord, SeriesRecord};

use super::bytes::{Bytes, BytesError, put_str, put_u64, put_uvarint, put_varint};
use super::histogram;

/// Type byte of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordType {
    /// References and labels.
    Series = 1,
    /// Floats.
    Samples = 2,
    /// Deleted ranges.
    Tombstones = 3,
    /// Exemplars.
    Exemplars = 4,
    /// Which out-of-order chunks are on disk (only in the out-of-order log).
    MmapMarkers = 5,
    /// TYPE, UNIT, HELP by series.
    Metadata = 6,
    /// Integer histograms.
    Histograms = 7,
    /// Float histograms.
    FloatHistograms = 8,
    /// Integer histograms with custom bounds.
    CustomHistograms = 9,
    /// Float histograms with custom bounds.
    CustomFloatHistograms = 10,
    /// Floats with start timestamps.
    SamplesV2 = 11,
    /// Integer histograms with start timestamps.
    HistogramsV2 = 12,
    /// Float histograms with start timestamps.
    FloatHistogramsV2 = 13,
}

/// A deleted range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TombstoneRecord {
    /// Series.
    pub series: u64,
    /// First deleted time.
    pub mint_ms: i64,
    /// Last deleted time.
    pub maxt_ms: i64,
}

/// An out-of-order chunk that was written to `chunks_head`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmapMarkerRecord {
    /// Series.
    pub series: u64,
    /// File number in the upper, offset in the lower 32 bits.
    pub chunk: u64,
}

/// A decoded record.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// Series.
    Series(Vec<SeriesRecord>),
    /// Floats, with or without start timestamps.
    Samples(Vec<SampleRecord>),
    /// Histograms of any kind.
    Histograms(Vec<HistogramRecord>),
    /// Tombstones.
    Tombstones(Vec<TombstoneRecord>),
    /// Exemplars.
    Exemplars(Vec<ExemplarRecord>),
    /// Metadata.
    Metadata(Vec<MetadataRecord>),
    /// Chunk markers.
    MmapMarkers(Vec<MmapMarkerRecord>),
    /// A type of a later version: skipped, as upstream does.
    Unknown(u8),
}

/// A record that does not decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Broken fields.
    #[error(transparent)]
    Bytes(#[from] BytesError),
    /// A label name or value above 16 MiB.
    #[error("label string of {0} bytes")]
    LabelTooLong(usize),
    /// No type byte.
    #[error("empty record")]
    Empty,
}

/// Start timestamp markers of version 2.
const START_NONE: u8 = 0;
const START_SAME: u8 = 1;
const START_EXPLICIT: u8 = 2;

/// Decodes a record, whole or not at all.
///
/// # Errors
/// Fields that reach behind the end, counts that cannot be.
pub fn decode(record: &[u8]) -> Result<Record, RecordError> {
    let (kind, rest) = record.split_first().ok_or(RecordError::Empty)?;
    let mut b = Bytes(rest);
    Ok(match *kind {
        1 => Record::Series(decode_series(&mut b)?),
        2 | 11 => {
            let mut samples = Vec::new();
            decode_samples(record, &mut samples)?;
            Record::Samples(samples)
        }
        3 => Record::Tombstones(decode_tombstones(&mut b)?),
        4 => Record::Exemplars(decode_exemplars(&mut b)?),
        5 => {
            let mut all = Vec::new();
            while !b.is_empty() {
                all.push(MmapMarkerRecord { series: b.u64()?, chunk: b.u64()? });
            }
            Record::MmapMarkers(all)
        }
        6 => Record::Metadata(decode_metadata(&mut b)?),
        7 | 9 => Record::Histograms(decode_histograms(&mut b, false, false)?),
        8 | 10 => Record::Histograms(decode_histograms(&mut b, true, false)?),
        12 => Record::Histograms(decode_histograms(&mut b, false, true)?),
        13 => Record::Histograms(decode_histograms(&mut b, true, true)?),
        other => Record::Unknown(other),
    })
}

/// Decodes a record of floats into a vector that is kept from record to record.
///
/// # Errors
/// As [`decode`]; `out` then holds what came before.
pub fn decode_samples(record: &[u8], out: &mut Vec<SampleRecord>) -> Result<(), RecordError> {
    let (kind, rest) = record.split_first().ok_or(RecordError::Empty)?;
    let mut b = Bytes(rest);
    if b.is_empty() {
        return Ok(());
    }
    // A sample takes at least 10 bytes.
    out.reserve(rest.len() / 10);
    if *kind == RecordType::SamplesV2 as u8 {
        let mut deltas = DeltasV2::default();
        while !b.is_empty() {
            let (series, t_ms, start_ms) = deltas.next(&mut b)?;
            out.push(SampleRecord { series, start_ms, t_ms, value: b.f64()? });
        }
        return Ok(());
    }
    let base = (b.u64()?, b.u64()? as i64);
    while !b.is_empty() {
        let series = base.0.wrapping_add(b.varint()? as u64);
        let t_ms = base.1.wrapping_add(b.varint()?);
        out.push(SampleRecord { series, start_ms: 0, t_ms, value: b.f64()? });
    }
    Ok(())
}

/// The running values of version 2.
#[derive(Default)]
struct DeltasV2 {
    begun: bool,
    first_t: i64,
    first_start: i64,
    series: i64,
    start: i64,
}

impl DeltasV2 {
    fn next(&mut self, b: &mut Bytes<'_>) -> Result<(u64, i64, i64), BytesError> {
        if !self.begun {
            *self = DeltasV2 {
                begun: true,
                series: b.varint()?,
                first_t: b.varint()?,
                first_start: b.varint()?,
                start: 0,
            };
            self.start = self.first_start;
            return Ok((self.series as u64, self.first_t, self.start));
        }
        self.series = self.series.wrapping_add(b.varint()?);
        let t = self.first_t.wrapping_add(b.varint()?);
        self.start = match b.byte()? {
            START_NONE => 0,
            START_SAME => self.start,
            _ => self.first_start.wrapping_add(b.varint()?),
        };
        Ok((self.series as u64, t, self.start))
    }

    fn put(&mut self, out: &mut Vec<u8>, series: u64, t: i64, start: i64) {
        let series = series as i64;
        if !self.begun {
            put_varint(out, series);
            put_varint(out, t);
            put_varint(out, start);
            *self = DeltasV2 { begun: true, first_t: t, first_start: start, series, start };
            return;
        }
        put_varint(out, series.wrapping_sub(self.series));
        put_varint(out, t.wrapping_sub(self.first_t));
        if start == 0 {
            out.push(START_NONE);
        } else if start == self.start {
            out.push(START_SAME);
        } else {
            out.push(START_EXPLICIT);
            put_varint(out, start.wrapping_sub(self.first_start));
        }
        self.series = series;
        self.start = start;
    }
}

fn decode_labels(b: &mut Bytes<'_>) -> Result<Labels, RecordError> {
    let n = b.count(2)?;
    let mut pairs: Vec<(Cow<'_, str>, Cow<'_, str>)> = Vec::with_capacity(n);
    let mut sorted = true;
    for _ in 0..n {
        let mut string = || -> Result<Cow<'_, str>, RecordError> {
            let bytes = b.str_bytes()?;
            // Other bytes than UTF-8 become U+FFFD, three bytes each at most.
            if bytes.len() > STRING_BYTES_MAX / 3 {
                return Err(RecordError::LabelTooLong(bytes.len()));
            }
            Ok(String::from_utf8_lossy(bytes))
        };
        let (name, value) = (string()?, string()?);
        sorted &= !value.is_empty() && pairs.last().is_none_or(|(last, _)| *last < name);
        pairs.push((name, value));
    }
    if sorted {
        return Ok(Labels::from_sorted(pairs.iter().map(|(n, v)| (n.as_ref(), v.as_ref()))));
    }
    Ok(Labels::from_pairs(pairs))
}

fn decode_series(b: &mut Bytes<'_>) -> Result<Vec<SeriesRecord>, RecordError> {
    let mut all = Vec::new();
    while !b.is_empty() {
        all.push(SeriesRecord { series: b.u64()?, labels: decode_labels(b)? });
    }
    Ok(all)
}

fn decode_tombstones(b: &mut Bytes<'_>) -> Result<Vec<TombstoneRecord>, RecordError> {
    let mut all = Vec::new();
    while !b.is_empty() {
        all.push(TombstoneRecord { series: b.u64()?, mint_ms: b.varint()?, maxt_ms: b.varint()? });
    }
    Ok(all)
}

fn decode_exemplars(b: &mut Bytes<'_>) -> Result<Vec<ExemplarRecord>, RecordError> {
    let mut all = Vec::new();
    if b.is_empty() {
        return Ok(all);
    }
    let base = (b.u64()?, b.u64()? as i64);
    while !b.is_empty() {
        all.push(ExemplarRecord {
            series: base.0.wrapping_add(b.varint()? as u64),
            t_ms: base.1.wrapping_add(b.varint()?),
            value: b.f64()?,
            labels: decode_labels(b)?,
        });
    }
    Ok(all)
}

fn decode_metadata(b: &mut Bytes<'_>) -> Result<Vec<MetadataRecord>, RecordError> {
    let mut all = Vec::new();
    while !b.is_empty() {
        let series = b.uvarint()?;
        let mut metadata = MetricMetadata { kind: metric_type(b.byte()?), ..MetricMetadata::default() };
        for _ in 0..b.count(2)? {
            let name = b.str_bytes()?;
            let value = b.str_bytes()?;
            match name {
                b"UNIT" => metadata.unit = String::from_utf8_lossy(value).into_owned(),
                b"HELP" => metadata.help = String::from_utf8_lossy(value).into_owned(),
                _ => {}
            }
        }
        all.push(MetadataRecord { series, metadata });
    }
    Ok(all)
}

fn metric_type(n: u8) -> MetricType {
    use MetricType::{Counter, Gauge, GaugeHistogram, Histogram, Info, Stateset, Summary, Unknown};
    match n {
        1 => Counter,
        2 => Gauge,
        3 => Histogram,
        4 => GaugeHistogram,
        5 => Summary,
        6 => Info,
        7 => Stateset,
        _ => Unknown,
    }
}

fn decode_histograms(b: &mut Bytes<'_>, float: bool, v2: bool) -> Result<Vec<HistogramRecord>, RecordError> {
    let mut all = Vec::new();
    if b.is_empty() {
        return Ok(all);
    }
    let mut deltas = DeltasV2::default();
    let base = if v2 { (0, 0) } else { (b.u64()?, b.u64()? as i64) };
    while !b.is_empty() {
        let (series, t_ms, start_ms) = if v2 {
            deltas.next(b)?
        } else {
            (base.0.wrapping_add(b.varint()? as u64), base.1.wrapping_add(b.varint()?), 0)
        };
        // Of an unknown schema (a later version): left out, the others stay.
        if let Some(value) = histogram::decode(b, float)? {
            all.push(HistogramRecord { series, start_ms, t_ms, value });
        }
    }
    Ok(all)
}

fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    put_uvarint(out, labels.len() as u64);
    for (name, value) in labels {
        put_str(out, name);
        put_str(out, value);
    }
}

/// Appends a series record to `out`.
pub fn encode_series(out: &mut Vec<u8>, all: &[SeriesRecord]) {
    out.push(RecordType::Series as u8);
    for s in all {
        put_u64(out, s.series);
        put_labels(out, &s.labels);
    }
}

/// Appends a record of floats to `out`: version 2 only where a start timestamp is known, since older
/// versions do not read it.
pub fn encode_samples(out: &mut Vec<u8>, all: &[SampleRecord]) {
    let Some(first) = all.first() else { return };
    if all.iter().any(|s| s.start_ms != 0) {
        out.push(RecordType::SamplesV2 as u8);
        let mut deltas = DeltasV2::default();
        for s in all {
            deltas.put(out, s.series, s.t_ms, s.start_ms);
            put_u64(out, s.value.to_bits());
        }
        return;
    }
    out.reserve(17 + all.len() * 11);
    out.push(RecordType::Samples as u8);
    put_u64(out, first.series);
    put_u64(out, first.t_ms as u64);
    for s in all {
        put_varint(out, s.series.wrapping_sub(first.series) as i64);
        put_varint(out, s.t_ms.wrapping_sub(first.t_ms));
        put_u64(out, s.value.to_bits());
    }
}

/// Appends one record of histograms to `out`. All must be of one kind: see [`histogram_type`].
pub fn encode_histograms<'a>(
    out: &mut Vec<u8>,
    kind: RecordType,
    all: impl IntoIterator<Item = &'a HistogramRecord>,
) {
    out.push(kind as u8);
    let v2 = matches!(kind, RecordType::HistogramsV2 | RecordType::FloatHistogramsV2);
    let mut deltas = DeltasV2::default();
    let mut base = None;
    for h in all {
        if v2 {
            deltas.put(out, h.series, h.t_ms, h.start_ms);
        } else {
            let (series, t) = *base.get_or_insert_with(|| {
                put_u64(out, h.series);
                put_u64(out, h.t_ms as u64);
                (h.series, h.t_ms)
            });
            put_varint(out, h.series.wrapping_sub(series) as i64);
            put_varint(out, h.t_ms.wrapping_sub(t));
        }
        histogram::encode(out, &h.value);
    }
}

/// The record type that a histogram belongs in.
#[must_use]
pub fn histogram_type(h: &HistogramRecord) -> RecordType {
    match (&h.value, h.start_ms != 0) {
        (HistogramValue::Int(_), true) => RecordType::HistogramsV2,
        (HistogramValue::Float(_), true) => RecordType::FloatHistogramsV2,
        (HistogramValue::Int(i), false) if i.uses_custom_buckets() => RecordType::CustomHistograms,
        (HistogramValue::Int(_), false) => RecordType::Histograms,
        (HistogramValue::Float(f), false) if f.uses_custom_buckets() => RecordType::CustomFloatHistograms,
        (HistogramValue::Float(_), false) => RecordType::FloatHistograms,
    }
}

/// Appends a record of tombstones to `out`.
pub fn encode_tombstones(out: &mut Vec<u8>, all: &[TombstoneRecord]) {
    out.push(RecordType::Tombstones as u8);
    for s in all {
        put_u64(out, s.series);
        put_varint(out, s.mint_ms);
        put_varint(out, s.maxt_ms);
    }
}

/// Appends a record of chunk markers to `out`.
pub fn encode_mmap_markers(out: &mut Vec<u8>, all: &[MmapMarkerRecord]) {
    out.push(RecordType::MmapMarkers as u8);
    for m in all {
        put_u64(out, m.series);
        put_u64(out, m.chunk);
    }
}

/// Appends a record of exemplars to `out`.
pub fn encode_exemplars(out: &mut Vec<u8>, all: &[ExemplarRecord]) {
    let Some(first) = all.first() else { return };
    out.push(RecordType::Exemplars as u8);
    put_u64(out, first.series);
    put_u64(out, first.t_ms as u64);
    for e in all {
        put_varint(out, e.series.wrapping_sub(first.series) as i64);
        put_varint(out, e.t_ms.wrapping_sub(first.t_ms));
        put_u64(out, e.value.to_bits());
        put_labels(out, &e.labels);
    }
}

/// Appends a record of metadata to `out`.
pub fn encode_metadata(out: &mut Vec<u8>, all: &[MetadataRecord]) {
    out.push(RecordType::Metadata as u8);
    for m in all {
        put_uvarint(out, m.series);
        out.push(m.metadata.kind as u8);
        put_uvarint(out, 2);
        put_str(out, "UNIT");
        put_str(out, &m.metadata.unit);
        put_str(out, "HELP");
        put_str(out, &m.metadata.help);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{FloatHistogram, Histogram, Span};
    use proptest::prelude::*;
    use std::sync::Arc;

    fn labels(v: &str) -> Labels {
        Labels::from_pairs([("__name__", "up"), ("job", v)])
    }

    fn round_trip(encode: impl Fn(&mut Vec<u8>), expected: &Record) {
        let mut out = Vec::new();
        encode(&mut out);
        assert_eq!(&decode(&out).unwrap(), expected);
        // Any prefix is refused or shorter, never a panic.
        for n in 0..out.len() {
            if let Ok(short) = decode(&out[..n]) {
                assert_ne!(&short, expected);
            }
        }
    }

    #[test]
    fn all_kinds_round_trip() {
        let series = vec![
            SeriesRecord { series: 1, labels: labels("a") },
            SeriesRecord { series: 1 << 39, labels: Labels::empty() },
        ];
        round_trip(|o| encode_series(o, &series), &Record::Series(series.clone()));
        let stones = vec![TombstoneRecord { series: 3, mint_ms: i64::MIN, maxt_ms: i64::MAX }];
        round_trip(|o| encode_tombstones(o, &stones), &Record::Tombstones(stones.clone()));
        let markers = vec![MmapMarkerRecord { series: 9, chunk: 3 << 32 | 8 }];
        round_trip(|o| encode_mmap_markers(o, &markers), &Record::MmapMarkers(markers.clone()));
        let exemplars = vec![
            ExemplarRecord { series: 9, t_ms: 100, value: 1.5, labels: labels("x") },
            ExemplarRecord { series: 2, t_ms: -4, value: f64::INFINITY, labels: labels("y") },
        ];
        round_trip(|o| encode_exemplars(o, &exemplars), &Record::Exemplars(exemplars.clone()));
        let metadata = MetricMetadata { kind: MetricType::Summary, help: "h".into(), unit: "s".into() };
        let metadata = vec![MetadataRecord { series: 77, metadata }];
        round_trip(|o| encode_metadata(o, &metadata), &Record::Metadata(metadata.clone()));
        let int = |schema: i32, custom: &[f64]| {
            HistogramValue::Int(Arc::new(Histogram {
                schema,
                count: 7,
                zero_count: 1,
                sum: 3.25,
                zero_threshold: 0.001,
                positive_spans: vec![Span { offset: -3, length: 2 }, Span { offset: 4, length: 1 }],
                positive_buckets: vec![1, 2, -2],
                custom_values: Arc::from(custom),
                ..Histogram::default()
            }))
        };
        let float = HistogramValue::Float(Arc::new(FloatHistogram {
            count: 2.5,
            negative_spans: vec![Span { offset: 0, length: 1 }],
            negative_buckets: vec![2.5],
            ..FloatHistogram::default()
        }));
        for (value, start_ms) in [(int(3, &[]), 0), (int(-53, &[1.0, 2.0]), 0), (float, 0), (int(0, &[]), 50)]
        {
            let one = |series, t_ms| HistogramRecord { series, start_ms, t_ms, value: value.clone() };
            let all = vec![one(5, 1000), one(7, 1001), one(4, 999)];
            let kind = histogram_type(&all[0]);
            round_trip(|o| encode_histograms(o, kind, &all), &Record::Histograms(all.clone()));
        }
        assert_eq!(decode(&[200, 1]), Ok(Record::Unknown(200)));
        assert_eq!(decode(&[]), Err(RecordError::Empty));
    }

    proptest! {
        #[test]
        fn samples_round_trip(raw in proptest::collection::vec((1_u64..1 << 40, any::<i64>(), any::<u64>(), 0_i64..3), 1..50)) {
            let sample = |(series, t_ms, bits, start_ms): &(u64, i64, u64, i64)| SampleRecord {
                series: *series, start_ms: *start_ms, t_ms: *t_ms, value: f64::from_bits(*bits),
            };
            let all: Vec<SampleRecord> = raw.iter().map(sample).collect();
            let mut out = Vec::new();
            encode_samples(&mut out, &all);
            let mut back = Vec::new();
            decode_samples(&out, &mut back).unwrap();
            let bits = |s: &SampleRecord| (s.series, s.start_ms, s.t_ms, s.value.to_bits());
            prop_assert!(all.iter().map(bits).eq(back.iter().map(bits)));
        }

        #[test]
        fn foreign_bytes_do_not_panic(kind in 0_u8..16, mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            bytes.insert(0, kind);
            let _ = decode(&bytes);
        }
    }
}
