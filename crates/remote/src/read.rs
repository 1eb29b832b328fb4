//! Remote read, the answering side: the request, and both forms of the answer (upstream:
//! `storage/remote/read_handler.go`, `codec.go`, `chunked.go`; messages: `prompb/remote.proto`).

use model::{Labels, MatchOp, Matcher};
use storage::{Budget, PatternError, RawChunk, SampleBuf, SelectHints};

use crate::encode::{bytes, double, histogram, labels_v1, message, number, tag, varint};
use crate::snappy::decompress;
use crate::wire::{BYTES, Reader, VARINT, WireError, expect};

/// Queries of one request. Prometheus sends one; Thanos one.
const QUERIES_MAX: usize = 1024;
/// Matchers of one query, and labels of its grouping.
const MATCHERS_MAX: usize = 4096;
/// Matchers of a request: 56 bytes each, 3.5 MiB, where two bytes of the message make one.
const MATCHERS_IN_ALL_MAX: usize = 1 << 16;

/// How the answer is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadForm {
    /// All samples in one message.
    Samples,
    /// Encoded chunks in a stream of frames.
    StreamedChunks,
}

/// One query.
#[derive(Clone, Debug, Default)]
pub struct ReadQuery {
    /// First time wanted.
    pub start_ms: i64,
    /// Last time wanted.
    pub end_ms: i64,
    /// Which series: operator, name, value; not compiled yet.
    pub matchers: Vec<(u64, String, String)>,
    /// What the asking engine does with the answer.
    pub hints: Option<SelectHints>,
}

/// A request.
#[derive(Clone, Debug)]
pub struct ReadRequest {
    /// In the order of the answer.
    pub queries: Vec<ReadQuery>,
    /// The first form of those the asker takes that is known here.
    pub form: ReadForm,
}

impl ReadRequest {
    /// Decompresses and decodes a body.
    ///
    /// # Errors
    /// In words for the sender (status 400).
    pub fn decode(body: &[u8]) -> Result<Self, String> {
        let mut plain = Vec::new();
        decompress(body, &mut plain)?;
        let (queries, accepted) = request(&plain).map_err(|e| e.to_string())?;
        let form = match accepted.iter().find(|n| **n <= 1) {
            Some(1) => ReadForm::StreamedChunks,
            Some(_) => ReadForm::Samples,
            None if accepted.is_empty() => ReadForm::Samples,
            None => {
                return Err(format!(
                    "server does not support any of the requested response types: {accepted:?}; supported: SAMPLES, STREAMED_XOR_CHUNKS"
                ));
            }
        };
        Ok(ReadRequest { queries, form })
    }
}

impl ReadQuery {
    /// The matchers as the store is to be asked. One that asks for an external label's own value passes
    /// every series, as stored series do not have that label.
    ///
    /// # Errors
    /// A regular expression that does not compile, or not within the memory; an unknown operator.
    pub fn local_matchers(
        &self,
        external: &Labels,
        memory: &Budget,
    ) -> Result<Vec<Matcher>, PatternError<String>> {
        let of = |(op, name, value): &(u64, String, String)| {
            let op = match op {
                0 => MatchOp::Equal,
                1 => MatchOp::NotEqual,
                2 => MatchOp::Regex,
                3 => MatchOp::NotRegex,
                _ => return Err(PatternError::Pattern("invalid matcher type".to_string())),
            };
            if op == MatchOp::Equal && external.get(name) == value {
                return Ok(Matcher::equal(name, ""));
            }
            storage::matcher(memory, op, name, value)
        };
        self.matchers.iter().map(of).collect()
    }
}

fn text(r: &mut Reader<'_>, buf: &[u8], wire: u8, field: &'static str) -> Result<String, WireError> {
    expect(wire, BYTES, field)?;
    let (start, end) = r.bytes()?;
    Ok(String::from_utf8_lossy(buf.get(start..end).unwrap_or_default()).into_owned())
}

fn int(r: &mut Reader<'_>, wire: u8, field: &'static str) -> Result<i64, WireError> {
    expect(wire, VARINT, field)?;
    Ok(r.varint()? as i64)
}

fn push<T>(to: &mut Vec<T>, item: T, max: usize, what: &'static str) -> Result<(), WireError> {
    if to.len() >= max {
        return Err(WireError::TooMany(max, what));
    }
    to.push(item);
    Ok(())
}

fn request(buf: &[u8]) -> Result<(Vec<ReadQuery>, Vec<u64>), WireError> {
    let (mut queries, mut accepted, mut matchers) = (Vec::new(), Vec::new(), 0);
    let mut r = Reader::new(buf);
    while !r.done() {
        let (field, wire) = r.tag()?;
        match field {
            1 => {
                expect(wire, BYTES, "Queries")?;
                let (start, end) = r.bytes()?;
                let query = query(buf, start, end)?;
                matchers += query.matchers.len();
                if matchers > MATCHERS_IN_ALL_MAX {
                    return Err(WireError::TooMany(MATCHERS_IN_ALL_MAX, "matchers"));
                }
                push(&mut queries, query, QUERIES_MAX, "queries")?;
            }
            2 if wire == BYTES => {
                let (start, end) = r.bytes()?;
                let mut packed = Reader::range(buf, start, end);
                while !packed.done() {
                    push(&mut accepted, packed.varint()?, QUERIES_MAX, "response types")?;
                }
            }
            2 => {
                expect(wire, VARINT, "AcceptedResponseTypes")?;
                push(&mut accepted, r.varint()?, QUERIES_MAX, "response types")?;
            }
            _ => r.skip(wire)?,
        }
    }
    Ok((queries, accepted))
}

fn query(buf: &[u8], start: usize, end: usize) -> Result<ReadQuery, WireError> {
    let mut q = ReadQuery::default();
    let mut r = Reader::range(buf, start, end);
    while !r.done() {
        let (field, wire) = r.tag()?;
        match field {
            1 => q.start_ms = int(&mut r, wire, "StartTimestampMs")?,
            2 => q.end_ms = int(&mut r, wire, "EndTimestampMs")?,
            3 => {
                expect(wire, BYTES, "Matchers")?;
                let (start, end) = r.bytes()?;
                push(&mut q.matchers, matcher(buf, start, end)?, MATCHERS_MAX, "matchers in a query")?;
            }
            4 => {
                expect(wire, BYTES, "Hints")?;
                let (start, end) = r.bytes()?;
                q.hints = Some(hints(buf, start, end)?);
            }
            _ => r.skip(wire)?,
        }
    }
    Ok(q)
}

fn matcher(buf: &[u8], start: usize, end: usize) -> Result<(u64, String, String), WireError> {
    let mut m = (0, String::new(), String::new());
    let mut r = Reader::range(buf, start, end);
    while !r.done() {
        let (field, wire) = r.tag()?;
        match field {
            1 => m.0 = int(&mut r, wire, "Type")? as u64,
            2 => m.1 = text(&mut r, buf, wire, "Name")?,
            3 => m.2 = text(&mut r, buf, wire, "Value")?,
            _ => r.skip(wire)?,
        }
    }
    Ok(m)
}

fn hints(buf: &[u8], start: usize, end: usize) -> Result<SelectHints, WireError> {
    let mut h = SelectHints::default();
    let mut r = Reader::range(buf, start, end);
    while !r.done() {
        let (field, wire) = r.tag()?;
        match field {
            1 => h.step_ms = int(&mut r, wire, "StepMs")?,
            2 => h.func = text(&mut r, buf, wire, "Func")?,
            3 => h.start_ms = int(&mut r, wire, "StartMs")?,
            4 => h.end_ms = int(&mut r, wire, "EndMs")?,
            5 => {
                let label = text(&mut r, buf, wire, "Grouping")?;
                push(&mut h.grouping, label, MATCHERS_MAX, "labels of a grouping")?;
            }
            6 => h.by = int(&mut r, wire, "By")? != 0,
            7 => h.range_ms = int(&mut r, wire, "RangeMs")?,
            _ => r.skip(wire)?,
        }
    }
    Ok(h)
}

/// Appends one series to a `prometheus.QueryResult`. `scratch` is reused from series to series.
pub fn write_series(out: &mut Vec<u8>, scratch: &mut Vec<u8>, labels: &Labels, samples: &SampleBuf) {
    scratch.clear();
    labels_v1(scratch, labels);
    let mut histograms = samples.histograms.iter().peekable();
    for (i, (t, v)) in samples.times.iter().zip(&samples.values).enumerate() {
        if histograms.peek().is_some_and(|(at, _)| *at as usize == i) {
            histograms.next();
            continue;
        }
        float(scratch, *t, *v);
    }
    for (at, h) in &samples.histograms {
        if let Some(t) = samples.times.get(*at as usize) {
            message(scratch, 4, |p| histogram(p, *t, 0, h));
        }
    }
    bytes(out, 1, scratch);
}

/// A `prometheus.Sample` in field 2, without an allocation of its own.
fn float(out: &mut Vec<u8>, t_ms: i64, value: f64) {
    let value_size = if value.to_bits() == 0 { 0 } else { 9 };
    let time_size = if t_ms == 0 { 0 } else { 1 + varint_size(t_ms as u64) };
    tag(out, 2, 2);
    varint(out, (value_size + time_size) as u64);
    double(out, 1, value);
    number(out, 2, t_ms as u64);
}

fn varint_size(v: u64) -> usize {
    (64 - (v | 1).leading_zeros() as usize).div_ceil(7)
}

/// A `prometheus.ReadResponse` of results, compressed.
///
/// # Errors
/// More than 4 GiB.
pub fn samples_answer(results: &[Vec<u8>]) -> Result<Vec<u8>, String> {
    let mut plain = Vec::with_capacity(results.iter().map(|r| r.len() + 8).sum());
    for result in results {
        bytes(&mut plain, 1, result);
    }
    snap::raw::Encoder::new().compress_vec(&plain).map_err(|e| e.to_string())
}

/// Bytes of labels as the bound of a frame counts them.
#[must_use]
pub fn labels_size(labels: &Labels) -> usize {
    let size = |s: &str| if s.is_empty() { 0 } else { 1 + varint_size(s.len() as u64) + s.len() };
    labels.iter().map(|(name, value)| size(name) + size(value)).sum()
}

/// Bytes of a chunk as the bound of a frame counts them.
#[must_use]
pub fn chunk_size(chunk: &RawChunk) -> usize {
    let time = |t: i64| if t == 0 { 0 } else { 1 + varint_size(t as u64) };
    let data = chunk.data.len();
    time(chunk.mint_ms) + time(chunk.maxt_ms) + 2 + 1 + varint_size(data as u64) + data
}

/// One frame of the stream: size, checksum, and a `prometheus.ChunkedReadResponse` with chunks of one series.
#[must_use]
pub fn chunks_frame(query: usize, labels: &Labels, chunks: &[RawChunk]) -> Vec<u8> {
    let mut body = Vec::new();
    message(&mut body, 1, |series| {
        labels_v1(series, labels);
        for chunk in chunks {
            message(series, 2, |c| {
                number(c, 1, chunk.mint_ms as u64);
                number(c, 2, chunk.maxt_ms as u64);
                number(c, 3, u64::from(chunk.encoding as u8));
                bytes(c, 4, &chunk.data);
            });
        }
    });
    number(&mut body, 2, query as u64);
    let mut frame = Vec::with_capacity(body.len() + 14);
    varint(&mut frame, body.len() as u64);
    frame.extend_from_slice(&crc32c::crc32c(&body).to_be_bytes());
    frame.extend_from_slice(&body);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sent(accepted: &[u64]) -> Vec<u8> {
        let mut out = Vec::new();
        message(&mut out, 1, |q| {
            number(q, 1, 5);
            number(q, 2, 10);
            message(q, 3, |m| {
                number(m, 1, 2);
                bytes(m, 2, b"job");
                bytes(m, 3, b"a|b");
            });
            message(q, 3, |m| {
                bytes(m, 2, b"zone");
                bytes(m, 3, b"eu");
            });
            message(q, 4, |h| {
                bytes(h, 2, b"rate");
                number(h, 3, 4);
            });
        });
        message(&mut out, 2, |p| accepted.iter().for_each(|n| varint(p, *n)));
        out
    }

    #[test]
    fn requests() {
        let of = |accepted: &[u64]| ReadRequest::decode(&crate::encode::snappy(&sent(accepted)));
        let request = of(&[1, 0]).unwrap();
        assert_eq!((request.form, request.queries.len()), (ReadForm::StreamedChunks, 1));
        let q = &request.queries[0];
        assert_eq!((q.start_ms, q.end_ms), (5, 10));
        assert_eq!(q.hints.as_ref().map(|h| (h.func.as_str(), h.start_ms)), Some(("rate", 4)));
        let external = Labels::from_pairs([("zone", "eu")]);
        let matchers = q.local_matchers(&external, &Budget::new(1 << 20, None)).unwrap();
        assert!(matchers[0].matches("a") && !matchers[0].matches("c"));
        assert!(matchers[1].matches("") && !matchers[1].matches("eu"));
        assert_eq!(of(&[7, 0]).unwrap().form, ReadForm::Samples);
        assert_eq!(of(&[]).unwrap().form, ReadForm::Samples);
        assert!(of(&[7]).unwrap_err().contains("[7]"));
        assert_eq!(ReadRequest::decode(b"no").unwrap_err(), "snappy: corrupt input");
    }

    #[test]
    fn frames_have_size_and_checksum() {
        let labels = Labels::from_pairs([("__name__", "up")]);
        let data: std::sync::Arc<[u8]> = vec![1, 2, 3].into();
        let chunk = RawChunk { mint_ms: 1, maxt_ms: 300, encoding: storage::ChunkEncoding::Xor, data };
        let frame = chunks_frame(3, &labels, std::slice::from_ref(&chunk));
        let size = usize::from(frame[0]);
        assert_eq!(frame.len(), 1 + 4 + size);
        assert_eq!(frame[1..5], crc32c::crc32c(&frame[5..]).to_be_bytes());
        assert_eq!(frame[frame.len() - 2..], [0x10, 3]);
        assert_eq!((labels_size(&labels), chunk_size(&chunk)), (14, 2 + 3 + 2 + 5));
    }

    #[test]
    fn series_hold_floats_and_histograms() {
        let mut samples = SampleBuf::default();
        samples.push(1000, 1.5);
        let h = model::HistogramValue::Float(std::sync::Arc::new(model::FloatHistogram::default()));
        samples.push_histogram(2000, h);
        samples.push(0, 0.0);
        let (mut out, mut scratch) = (Vec::new(), Vec::new());
        write_series(&mut out, &mut scratch, &Labels::from_pairs([("a", "b")]), &samples);
        // The same as the write message, but for the order of fields.
        let series = crate::encode::OutSeries {
            labels: Labels::from_pairs([("a", "b")]),
            samples: vec![(1000, 1.5), (0, 0.0)],
            histograms: vec![(2000, samples.histograms[0].1.clone())],
            ..Default::default()
        };
        assert_eq!(out, crate::encode::write_v1(&[series]));
        assert!(samples_answer(&[out]).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = request(&body);
        }

        #[test]
        fn sizes_of_numbers(v in any::<u64>()) {
            let mut out = Vec::new();
            varint(&mut out, v);
            prop_assert_eq!(out.len(), varint_size(v));
        }
    }
}
