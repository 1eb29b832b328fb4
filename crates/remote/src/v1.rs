//! `prometheus.WriteRequest`, read series by series into reused columns. Labels stay bytes: a series that
//! the cache knows is never decoded further.
//!
//! Rejected: the whole message in flat vectors first. It reads every byte twice, and 32 MiB of empty
//! messages would grow to many times that; series by series, memory is bounded by the largest series.

use model::{Exemplar, Labels};

use crate::wire::{BYTES, FIXED64, Reader, VARINT, WireError, expect};

/// Samples of one series in a request; 32 MiB hold 2.8 million real ones. 16 bytes each: 64 MiB.
pub(crate) const SAMPLES_MAX: usize = 1 << 22;
/// Labels of one series; the default of upstream's other limits is far below.
pub(crate) const LABELS_MAX: usize = 1 << 16;

/// One series of a request; fields are reused from series to series.
#[derive(Debug, Default)]
pub struct DecodedV1 {
    /// Where the label fields are, if all stand together, as every sender writes them.
    labels: (usize, usize),
    /// Copies of the label fields where they do not.
    scattered: Vec<u8>,
    is_scattered: bool,
    pub(crate) times: Vec<i64>,
    pub(crate) values: Vec<f64>,
    pub(crate) exemplars: Vec<(usize, usize)>,
    pub(crate) histograms: Vec<(usize, usize)>,
}

impl DecodedV1 {
    /// Calls `each` for every series of a request. `known` is asked for label fields as they stand in the
    /// request, and must answer only for such; what it says goes to `each`. Where it knows them they are not
    /// read field by field, which is a quarter of the cost of a request otherwise.
    ///
    /// # Errors
    /// Those of `each`; a [`WireError`] where the bytes are not such a message. Series before the fault were
    /// handed out by then.
    pub fn for_each<K, E: From<WireError>>(
        &mut self,
        body: &[u8],
        known: impl Fn(&[u8]) -> Option<K>,
        mut each: impl FnMut(&mut DecodedV1, Option<K>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut r = Reader::new(body);
        while !r.done() {
            let (field, wire) = r.tag()?;
            if field == 1 {
                expect(wire, BYTES, "Timeseries")?;
                let range = r.bytes()?;
                self.clear();
                let found = match last_sample(body, range) {
                    Some((at, t, v)) => body.get(range.0..at).and_then(&known).map(|k| (k, at, t, v)),
                    None => None,
                };
                match found {
                    Some((k, at, t, v)) => {
                        // Label fields, then one sample to the end and nothing else.
                        self.labels = (range.0, at);
                        self.times.push(t);
                        self.values.push(v);
                        each(self, Some(k))?;
                    }
                    None => {
                        self.read(body, range)?;
                        each(self, None)?;
                    }
                }
            } else {
                // Field 3, metadata, is for others: upstream's receiver reads and forgets it too.
                r.skip(wire)?;
            }
        }
        Ok(())
    }

    /// Number of float samples.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.times.len()
    }

    fn clear(&mut self) {
        self.labels = (0, 0);
        self.is_scattered = false;
        self.scattered.clear();
        self.times.clear();
        self.values.clear();
        self.exemplars.clear();
        self.histograms.clear();
    }

    #[inline]
    fn read(&mut self, body: &[u8], range: (usize, usize)) -> Result<(), WireError> {
        let mut r = Reader::range(body, range.0, range.1);
        self.labels = (range.0, range.0);
        while !r.done() {
            let field_start = r.at();
            let (field, wire) = r.tag()?;
            match field {
                1 => {
                    expect(wire, BYTES, "Labels")?;
                    r.bytes()?;
                    self.add_label(body, field_start, r.at());
                }
                2 => {
                    expect(wire, BYTES, "Samples")?;
                    let at = r.bytes()?;
                    let (t, v) = sample(body, at)?;
                    if self.times.len() >= SAMPLES_MAX {
                        return Err(WireError::TooMany(SAMPLES_MAX, "samples in a series"));
                    }
                    self.times.push(t);
                    self.values.push(v);
                }
                3 => {
                    expect(wire, BYTES, "Exemplars")?;
                    push(&mut self.exemplars, r.bytes()?, "exemplars in a series")?;
                }
                4 => {
                    expect(wire, BYTES, "Histograms")?;
                    push(&mut self.histograms, r.bytes()?, "histograms in a series")?;
                }
                _ => r.skip(wire)?,
            }
        }
        Ok(())
    }

    #[inline]
    fn add_label(&mut self, body: &[u8], start: usize, end: usize) {
        if !self.is_scattered && (self.labels.1 == start || self.labels.0 == self.labels.1) {
            if self.labels.0 == self.labels.1 {
                self.labels.0 = start;
            }
            self.labels.1 = end;
            return;
        }
        if !self.is_scattered {
            self.is_scattered = true;
            let together = body.get(self.labels.0..self.labels.1).unwrap_or_default();
            self.scattered.extend_from_slice(together);
        }
        self.scattered.extend_from_slice(body.get(start..end).unwrap_or_default());
    }

    /// Label fields as they stand in the request.
    #[inline]
    pub(crate) fn label_bytes<'a>(&'a self, body: &'a [u8]) -> &'a [u8] {
        if self.is_scattered {
            &self.scattered
        } else {
            body.get(self.labels.0..self.labels.1).unwrap_or_default()
        }
    }

    /// Where the labels are within the body; `None` where they do not stand together.
    #[inline]
    pub(crate) fn label_range(&self) -> Option<(usize, usize)> {
        (!self.is_scattered).then_some(self.labels)
    }
}

fn push(to: &mut Vec<(usize, usize)>, range: (usize, usize), what: &'static str) -> Result<(), WireError> {
    if to.len() >= SAMPLES_MAX {
        return Err(WireError::TooMany(SAMPLES_MAX, what));
    }
    to.push(range);
    Ok(())
}

/// Where the field of a series' only sample would begin, its time and its value, if the series ends with one
/// as every sender writes it: a value (left out where it is 0) and a time of six bytes (the years 1971 to
/// 2109). Bytes within a label may look the same; whether what stands before are label fields is for the caller
/// to find out.
#[inline]
fn last_sample(body: &[u8], (start, end): (usize, usize)) -> Option<(usize, i64, f64)> {
    const TIME: u8 = 0x10;
    const VALUE: u8 = 0x09;
    const SAMPLE: u8 = 0x12;
    let series = body.get(start..end)?;
    let tail = series.last_chunk::<18>()?;
    if tail[11] != TIME {
        return None;
    }
    let [.., b0, b1, b2, b3, b4, b5] = *tail;
    let long = b0 & b1 & b2 & b3 & b4 & 0x80 != 0 && b5 < 0x80;
    if !long {
        return None;
    }
    let t = [b0, b1, b2, b3, b4, b5].iter().rev().fold(0, |t, b| t << 7 | i64::from(b & 0x7f));
    if tail[..3] == [SAMPLE, 16, VALUE] {
        let [_, _, _, value @ .., _, _, _, _, _, _, _] = *tail;
        return Some((end - 18, t, f64::from_le_bytes(value)));
    }
    (tail[9..11] == [SAMPLE, 7]).then_some((end - 9, t, 0.0))
}

#[inline]
fn sample(body: &[u8], range: (usize, usize)) -> Result<(i64, f64), WireError> {
    let mut r = Reader::range(body, range.0, range.1);
    let (mut t, mut v) = (0, 0.0);
    while !r.done() {
        match r.tag()? {
            (1, wire) => {
                expect(wire, FIXED64, "Value")?;
                v = f64::from_bits(r.fixed64()?);
            }
            (2, wire) => {
                expect(wire, VARINT, "Timestamp")?;
                t = r.varint()? as i64;
            }
            (_, wire) => r.skip(wire)?,
        }
    }
    Ok((t, v))
}

/// Reads label fields (field 1 of a series or an exemplar) into pairs.
pub(crate) fn pairs<'a>(fields: &'a [u8], out: &mut Vec<(&'a [u8], &'a [u8])>) -> Result<(), WireError> {
    out.clear();
    let mut r = Reader::new(fields);
    while !r.done() {
        let (field, wire) = r.tag()?;
        if field != 1 {
            r.skip(wire)?;
            continue;
        }
        expect(wire, BYTES, "Labels")?;
        let (start, end) = r.bytes()?;
        let (mut name, mut value): (&[u8], &[u8]) = (b"", b"");
        let mut l = Reader::range(fields, start, end);
        while !l.done() {
            match l.tag()? {
                (1, wire) => {
                    expect(wire, BYTES, "Name")?;
                    let (a, b) = l.bytes()?;
                    name = fields.get(a..b).unwrap_or_default();
                }
                (2, wire) => {
                    expect(wire, BYTES, "Value")?;
                    let (a, b) = l.bytes()?;
                    value = fields.get(a..b).unwrap_or_default();
                }
                (_, wire) => l.skip(wire)?,
            }
        }
        if out.len() >= LABELS_MAX {
            return Err(WireError::TooMany(LABELS_MAX, "labels in a series"));
        }
        out.push((name, value));
    }
    Ok(())
}

/// Decodes an exemplar; its labels need not be valid as a series' labels are.
pub(crate) fn exemplar(body: &[u8], range: (usize, usize)) -> Result<Exemplar, WireError> {
    let fields = body.get(range.0..range.1).unwrap_or_default();
    let (mut value, mut t) = (0.0, 0);
    let mut r = Reader::new(fields);
    while !r.done() {
        match r.tag()? {
            (2, wire) => {
                expect(wire, FIXED64, "Value")?;
                value = f64::from_bits(r.fixed64()?);
            }
            (3, wire) => {
                expect(wire, VARINT, "Timestamp")?;
                t = r.varint()? as i64;
            }
            (_, wire) => r.skip(wire)?,
        }
    }
    let mut found = Vec::new();
    pairs(fields, &mut found)?;
    Ok(Exemplar { labels: exemplar_labels(&found), value, timestamp_ms: t, has_timestamp: true })
}

/// Labels of an exemplar: those that are text. The store bounds their length.
pub(crate) fn exemplar_labels(found: &[(&[u8], &[u8])]) -> Labels {
    let text = found.iter().filter_map(|(n, v)| {
        let fits = n.len() <= EXEMPLAR_STRING_MAX && v.len() <= EXEMPLAR_STRING_MAX;
        fits.then_some(())?;
        Some((std::str::from_utf8(n).ok()?, std::str::from_utf8(v).ok()?))
    });
    Labels::from_pairs(text)
}

/// Far above what a store takes (128 characters), so that it is the store that refuses and says why.
const EXEMPLAR_STRING_MAX: usize = 1 << 16;
