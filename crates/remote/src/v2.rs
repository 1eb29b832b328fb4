//! `io.prometheus.write.v2.Request`: strings stand once in a table of symbols, series refer to them.

use model::{Exemplar, KeyHasher, MetricMetadata, MetricType};

use crate::v1::{LABELS_MAX, SAMPLES_MAX, exemplar_labels};
use crate::wire::{BYTES, FIXED64, Reader, VARINT, WireError, expect};

/// Symbols of a request: 2^20 of 24 bytes are 24 MiB; 32 MiB of real label strings are some 10^6.
const SYMBOLS_MAX: usize = 1 << 20;

/// One series of a request, and the request's symbols; reused from series to series and request to request.
#[derive(Debug, Default)]
pub struct DecodedV2 {
    symbols: Vec<(u32, u32)>,
    hashes: Vec<u128>,
    pub(crate) refs: Vec<u32>,
    pub(crate) times: Vec<i64>,
    pub(crate) values: Vec<f64>,
    pub(crate) starts: Vec<i64>,
    pub(crate) exemplars: Vec<(usize, usize)>,
    pub(crate) histograms: Vec<(usize, usize)>,
    kind: u64,
    help_ref: u32,
    unit_ref: u32,
    key_bytes: Vec<u8>,
}

impl DecodedV2 {
    /// Calls `each` with the range of every series, after reading it.
    ///
    /// # Errors
    /// Those of `each`; a [`WireError`] where the bytes are not such a message.
    pub fn for_each<E: From<WireError>>(
        &mut self,
        body: &[u8],
        hasher: KeyHasher,
        mut each: impl FnMut(&mut DecodedV2, (usize, usize)) -> Result<(), E>,
    ) -> Result<(), E> {
        self.read_symbols(body, hasher)?;
        let mut r = Reader::new(body);
        while !r.done() {
            let (field, wire) = r.tag()?;
            if field == 5 {
                expect(wire, BYTES, "Timeseries")?;
                let range = r.bytes()?;
                self.read(body, range)?;
                each(self, range)?;
            } else {
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

    /// Takes over the symbols of another decoder of the same request.
    pub(crate) fn share_symbols(&mut self, from: &DecodedV2) {
        if self.symbols.len() != from.symbols.len() {
            self.symbols.clone_from(&from.symbols);
        }
    }

    /// First pass: symbols may stand anywhere in the message.
    fn read_symbols(&mut self, body: &[u8], hasher: KeyHasher) -> Result<(), WireError> {
        self.symbols.clear();
        self.hashes.clear();
        let mut r = Reader::new(body);
        while !r.done() {
            let (field, wire) = r.tag()?;
            if field != 4 {
                r.skip(wire)?;
                continue;
            }
            expect(wire, BYTES, "Symbols")?;
            let (start, end) = r.bytes()?;
            if self.symbols.len() >= SYMBOLS_MAX {
                return Err(WireError::TooMany(SYMBOLS_MAX, "symbols"));
            }
            // A body has at most 32 MiB, so offsets fit.
            self.symbols.push((start as u32, end as u32));
            self.hashes.push(hasher.hash(body.get(start..end).unwrap_or_default()));
        }
        Ok(())
    }

    /// Reads the series at `range`.
    pub(crate) fn read(&mut self, body: &[u8], range: (usize, usize)) -> Result<(), WireError> {
        self.refs.clear();
        self.times.clear();
        self.values.clear();
        self.starts.clear();
        self.exemplars.clear();
        self.histograms.clear();
        (self.kind, self.help_ref, self.unit_ref) = (0, 0, 0);
        let mut r = Reader::range(body, range.0, range.1);
        while !r.done() {
            let (field, wire) = r.tag()?;
            match field {
                1 => read_refs(&mut r, body, wire, &mut self.refs)?,
                2 => {
                    expect(wire, BYTES, "Samples")?;
                    let at = r.bytes()?;
                    self.read_sample(body, at)?;
                }
                3 => {
                    expect(wire, BYTES, "Histograms")?;
                    push(&mut self.histograms, r.bytes()?)?;
                }
                4 => {
                    expect(wire, BYTES, "Exemplars")?;
                    push(&mut self.exemplars, r.bytes()?)?;
                }
                5 => {
                    expect(wire, BYTES, "Metadata")?;
                    let (start, end) = r.bytes()?;
                    self.read_metadata(Reader::range(body, start, end))?;
                }
                _ => r.skip(wire)?,
            }
        }
        Ok(())
    }

    fn read_sample(&mut self, body: &[u8], range: (usize, usize)) -> Result<(), WireError> {
        let mut r = Reader::range(body, range.0, range.1);
        let (mut v, mut t, mut start) = (0.0, 0, 0);
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
                (3, wire) => {
                    expect(wire, VARINT, "StartTimestamp")?;
                    start = r.varint()? as i64;
                }
                (_, wire) => r.skip(wire)?,
            }
        }
        if self.times.len() >= SAMPLES_MAX {
            return Err(WireError::TooMany(SAMPLES_MAX, "samples in a series"));
        }
        self.times.push(t);
        self.values.push(v);
        self.starts.push(start);
        Ok(())
    }

    fn read_metadata(&mut self, mut r: Reader<'_>) -> Result<(), WireError> {
        while !r.done() {
            let (field, wire) = r.tag()?;
            match field {
                1 => {
                    expect(wire, VARINT, "Type")?;
                    self.kind = r.varint()?;
                }
                3 => {
                    expect(wire, VARINT, "HelpRef")?;
                    self.help_ref = r.varint()? as u32;
                }
                4 => {
                    expect(wire, VARINT, "UnitRef")?;
                    self.unit_ref = r.varint()? as u32;
                }
                _ => r.skip(wire)?,
            }
        }
        Ok(())
    }

    /// Cache key of the series' labels; `None` where a reference is out of bounds.
    pub(crate) fn label_key(&mut self, hasher: KeyHasher) -> Option<u128> {
        self.key_bytes.clear();
        for r in &self.refs {
            self.key_bytes.extend_from_slice(&self.hashes.get(*r as usize)?.to_le_bytes());
        }
        Some(hasher.hash(&self.key_bytes))
    }

    fn symbol<'b>(&self, body: &'b [u8], r: u32) -> Option<&'b [u8]> {
        let (start, end) = *self.symbols.get(r as usize)?;
        body.get(start as usize..end as usize)
    }

    fn resolve<'b>(
        &self,
        body: &'b [u8],
        refs: &[u32],
        out: &mut Vec<(&'b [u8], &'b [u8])>,
    ) -> Result<(), String> {
        out.clear();
        if !refs.len().is_multiple_of(2) {
            return Err(format!("invalid labelRefs length {}", refs.len()));
        }
        for pair in refs.chunks_exact(2) {
            match (self.symbol(body, pair[0]), self.symbol(body, pair[1])) {
                (Some(name), Some(value)) => out.push((name, value)),
                _ => {
                    return Err(format!(
                        "labelRefs {} (name) = {} (value) outside of symbols table (size {})",
                        pair[0],
                        pair[1],
                        self.symbols.len()
                    ));
                }
            }
        }
        Ok(())
    }

    /// Label pairs of the series.
    pub(crate) fn pairs<'b>(
        &self,
        body: &'b [u8],
        out: &mut Vec<(&'b [u8], &'b [u8])>,
    ) -> Result<(), String> {
        self.resolve(body, &self.refs, out)
            .map_err(|e| format!("parsing labels for series {}: {e}", refs_text(&self.refs)))
    }

    /// Metadata of the series.
    pub(crate) fn metadata(&self, body: &[u8]) -> Result<MetricMetadata, String> {
        let outside = |what, r| {
            format!(
                "parsing metadata for series {}: metadata {what} {r} outside of symbols table (size {})",
                refs_text(&self.refs),
                self.symbols.len()
            )
        };
        let unit = self.symbol(body, self.unit_ref).ok_or_else(|| outside("unit_ref", self.unit_ref))?;
        let help = self.symbol(body, self.help_ref).ok_or_else(|| outside("help_ref", self.help_ref))?;
        let kind = match self.kind {
            1 => MetricType::Counter,
            2 => MetricType::Gauge,
            3 => MetricType::Histogram,
            4 => MetricType::GaugeHistogram,
            5 => MetricType::Summary,
            6 => MetricType::Info,
            7 => MetricType::Stateset,
            _ => MetricType::Unknown,
        };
        let text = |b| String::from_utf8_lossy(b).into_owned();
        Ok(MetricMetadata { kind, help: text(help), unit: text(unit) })
    }

    /// Whether the metadata's references are within the table: all that is needed where it is not used.
    pub(crate) fn metadata_in_bounds(&self) -> bool {
        (self.unit_ref as usize) < self.symbols.len() && (self.help_ref as usize) < self.symbols.len()
    }

    /// Decodes an exemplar.
    pub(crate) fn exemplar(
        &self,
        body: &[u8],
        range: (usize, usize),
    ) -> Result<Result<Exemplar, String>, WireError> {
        let mut refs = Vec::new();
        let (mut value, mut t) = (0.0, 0);
        let mut r = Reader::range(body, range.0, range.1);
        while !r.done() {
            let (field, wire) = r.tag()?;
            match field {
                1 => read_refs(&mut r, body, wire, &mut refs)?,
                2 => {
                    expect(wire, FIXED64, "Value")?;
                    value = f64::from_bits(r.fixed64()?);
                }
                3 => {
                    expect(wire, VARINT, "Timestamp")?;
                    t = r.varint()? as i64;
                }
                _ => r.skip(wire)?,
            }
        }
        let mut pairs = Vec::new();
        Ok(self.resolve(body, &refs, &mut pairs).map(|()| Exemplar {
            labels: exemplar_labels(&pairs),
            value,
            timestamp_ms: t,
            has_timestamp: true,
        }))
    }
}

/// References as Go prints a slice.
fn refs_text(refs: &[u32]) -> String {
    let shown: Vec<String> = refs.iter().take(64).map(u32::to_string).collect();
    format!("[{}]", shown.join(" "))
}

fn push(to: &mut Vec<(usize, usize)>, range: (usize, usize)) -> Result<(), WireError> {
    if to.len() >= SAMPLES_MAX {
        return Err(WireError::TooMany(SAMPLES_MAX, "elements in a series"));
    }
    to.push(range);
    Ok(())
}

fn read_refs(r: &mut Reader<'_>, body: &[u8], wire: u8, out: &mut Vec<u32>) -> Result<(), WireError> {
    let mut one = |r: &mut Reader<'_>| {
        if out.len() >= 2 * LABELS_MAX {
            return Err(WireError::TooMany(LABELS_MAX, "labels in a series"));
        }
        // A reference above 32 bits is out of bounds in any table; keep it so.
        out.push(u32::try_from(r.varint()?).unwrap_or(u32::MAX));
        Ok(())
    };
    if wire == VARINT {
        return one(r);
    }
    expect(wire, BYTES, "LabelsRefs")?;
    let (start, end) = r.bytes()?;
    let mut packed = Reader::range(body, start, end);
    while !packed.done() {
        one(&mut packed)?;
    }
    Ok(())
}
