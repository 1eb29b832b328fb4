//! Samples back into chunks: for overlapping chunks, chunks across a block's boundary, and chunks with
//! deleted samples.

use std::sync::Arc;

use model::HistogramValue;
use storage::{ChunkEncoding, RawChunk, SampleBuf};

use crate::block::retain_samples;
use crate::chunkenc::{
    self, Appended, ChunkError, FloatHistogramAppender, HistogramAppender, SAMPLES_PER_CHUNK, TightXor,
    Xor2Appender, XorAppender,
};
use crate::tombstones::{self, Interval};

/// The chunk that is being filled.
#[derive(Debug)]
enum Open {
    None,
    Float(XorAppender, Vec<u8>),
    FloatSt(Xor2Appender, Vec<u8>),
    Int(Box<HistogramAppender>),
    FloatHistogram(Box<FloatHistogramAppender>),
}

/// Cuts samples of one series into chunks, in order of time. A start timestamp goes into an encoding that
/// keeps it; without one the encodings are those that every version reads.
#[derive(Debug)]
pub struct ChunkBuilder {
    open: Open,
    mint_ms: i64,
    maxt_ms: i64,
    count: usize,
    limit: usize,
    /// Encodings with start timestamps also for samples without.
    with_starts: bool,
    done: Vec<RawChunk>,
}

impl Default for ChunkBuilder {
    fn default() -> Self {
        ChunkBuilder::new(SAMPLES_PER_CHUNK)
    }
}

impl ChunkBuilder {
    /// With at most `limit` samples a chunk.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        let limit = limit.clamp(1, usize::from(chunkenc::SAMPLES_MAX));
        ChunkBuilder {
            open: Open::None,
            mint_ms: 0,
            maxt_ms: 0,
            count: 0,
            limit,
            with_starts: false,
            done: Vec::new(),
        }
    }

    /// For what is left of a chunk: it keeps its encoding.
    fn like(encoding: ChunkEncoding) -> Self {
        use ChunkEncoding::{FloatHistogramSt, HistogramSt, Xor2};
        let with_starts = matches!(encoding, Xor2 | HistogramSt | FloatHistogramSt);
        ChunkBuilder { with_starts, ..ChunkBuilder::new(usize::MAX) }
    }

    /// Adds a float; `start_ms` is 0 where unknown.
    ///
    /// # Errors
    /// None today; the chunk is cut before it is full.
    pub fn push(&mut self, start_ms: i64, t_ms: i64, v: f64) -> Result<(), ChunkError> {
        // An open chunk with start timestamps takes samples without; the other way it cannot.
        let fits = match &self.open {
            Open::Float(..) => start_ms == 0,
            Open::FloatSt(..) => true,
            _ => false,
        };
        if !fits || self.count >= self.limit {
            self.cut();
            let bytes = Vec::with_capacity(128);
            self.open = match start_ms != 0 || self.with_starts {
                true => Open::FloatSt(Xor2Appender::new(), bytes),
                false => Open::Float(XorAppender::new(), bytes),
            };
        }
        match &mut self.open {
            Open::Float(app, bytes) => app.append(bytes, t_ms, v)?,
            Open::FloatSt(app, bytes) => app.append(bytes, start_ms, t_ms, v)?,
            _ => {}
        }
        self.note(t_ms);
        Ok(())
    }

    /// Adds a histogram; `start_ms` is 0 where unknown.
    ///
    /// # Errors
    /// A histogram whose spans and buckets disagree.
    pub fn push_histogram(&mut self, start_ms: i64, t_ms: i64, h: &HistogramValue) -> Result<(), ChunkError> {
        let with_starts = start_ms != 0 || self.with_starts;
        match h {
            HistogramValue::Int(h) => {
                let mut previous = None;
                let fits = match &self.open {
                    Open::Int(app) => (app.encoding() == ChunkEncoding::HistogramSt) == with_starts,
                    _ => false,
                };
                if !fits || self.count >= self.limit {
                    if let (true, Open::Int(app)) = (fits, &self.open) {
                        previous = Some(app.clone());
                    }
                    self.cut();
                    self.open = Open::Int(Box::new(HistogramAppender::new(with_starts)));
                }
                if let Open::Int(app) = &mut self.open
                    && let Appended::Cut(next) = app.append(previous.as_deref(), start_ms, t_ms, h)?
                {
                    self.cut();
                    self.open = Open::Int(next);
                }
            }
            HistogramValue::Float(h) => {
                let mut previous = None;
                let fits = match &self.open {
                    Open::FloatHistogram(app) => {
                        (app.encoding() == ChunkEncoding::FloatHistogramSt) == with_starts
                    }
                    _ => false,
                };
                if !fits || self.count >= self.limit {
                    if let (true, Open::FloatHistogram(app)) = (fits, &self.open) {
                        previous = Some(app.clone());
                    }
                    self.cut();
                    self.open = Open::FloatHistogram(Box::new(FloatHistogramAppender::new(with_starts)));
                }
                if let Open::FloatHistogram(app) = &mut self.open
                    && let Appended::Cut(next) = app.append(previous.as_deref(), start_ms, t_ms, h)?
                {
                    self.cut();
                    self.open = Open::FloatHistogram(next);
                }
            }
        }
        self.note(t_ms);
        Ok(())
    }

    /// Adds all samples of a buffer.
    ///
    /// # Errors
    /// As [`ChunkBuilder::push_histogram`].
    pub fn push_all(&mut self, samples: &SampleBuf) -> Result<(), ChunkError> {
        let mut histograms = samples.histograms.iter().peekable();
        for (i, (t, v)) in samples.times.iter().zip(&samples.values).enumerate() {
            let start = samples.starts.get(i).copied().unwrap_or(0);
            match histograms.next_if(|(at, _)| *at as usize == i) {
                Some((_, h)) => self.push_histogram(start, *t, h)?,
                None => self.push(start, *t, *v)?,
            }
        }
        Ok(())
    }

    /// Completes the last chunk and gives all.
    #[must_use]
    pub fn finish(mut self) -> Vec<RawChunk> {
        self.cut();
        self.done
    }

    fn note(&mut self, t_ms: i64) {
        if self.count == 0 {
            self.mint_ms = t_ms;
        }
        self.maxt_ms = t_ms;
        self.count += 1;
    }

    fn cut(&mut self) {
        let (encoding, data) = match std::mem::replace(&mut self.open, Open::None) {
            Open::None => return,
            Open::Float(app, mut bytes) => {
                app.put_count(&mut bytes);
                (ChunkEncoding::Xor, bytes)
            }
            Open::FloatSt(_, bytes) => (ChunkEncoding::Xor2, bytes),
            Open::Int(app) => (app.encoding(), app.into_bytes()),
            Open::FloatHistogram(app) => (app.encoding(), app.into_bytes()),
        };
        if self.count > 0 {
            let (mint_ms, maxt_ms) = (self.mint_ms, self.maxt_ms);
            self.done.push(RawChunk { mint_ms, maxt_ms, encoding, data: data.into() });
        }
        self.count = 0;
    }
}

/// Appends what is left of a chunk within [mint_ms, maxt_ms] without its deleted ranges: the chunk itself
/// where that is all of it, nothing where it is nothing, else its samples written anew.
///
/// # Errors
/// Malformed bytes.
pub fn clip_chunk(
    chunk: RawChunk,
    mint_ms: i64,
    maxt_ms: i64,
    deleted: &[Interval],
    out: &mut Vec<RawChunk>,
) -> Result<(), ChunkError> {
    if chunk.maxt_ms < mint_ms
        || chunk.mint_ms > maxt_ms
        || tombstones::covers(deleted, chunk.mint_ms, chunk.maxt_ms)
    {
        return Ok(());
    }
    let inside = chunk.mint_ms >= mint_ms && chunk.maxt_ms <= maxt_ms;
    if inside && !tombstones::touches(deleted, chunk.mint_ms, chunk.maxt_ms) {
        out.push(chunk);
        return Ok(());
    }
    let mut samples = SampleBuf::default();
    chunkenc::decode(chunk.encoding, &chunk.data, mint_ms, maxt_ms, &mut samples)?;
    retain_samples(&mut samples, 0, |t| !deleted.iter().any(|i| i.contains(t)));
    let mut builder = ChunkBuilder::like(chunk.encoding);
    builder.push_all(&samples)?;
    out.extend(builder.finish());
    Ok(())
}

/// Brings chunks of several sources into order: chunks that overlap are decoded together and written anew,
/// the others stay as they are. Of samples with equal times the first source's stays.
///
/// # Errors
/// Malformed bytes.
pub(crate) fn merge_chunks(mut chunks: Vec<RawChunk>) -> Result<Vec<RawChunk>, ChunkError> {
    // Stable: equal starts keep the order of their sources.
    chunks.sort_by_key(|c| c.mint_ms);
    let mut out = Vec::with_capacity(chunks.len());
    let mut chunks = chunks.into_iter().peekable();
    while let Some(first) = chunks.next() {
        let mut end = first.maxt_ms;
        let mut group = vec![first];
        while let Some(next) = chunks.next_if(|c| c.mint_ms <= end) {
            end = end.max(next.maxt_ms);
            // The same chunk from two replicas is one.
            let twin = |c: &RawChunk| {
                (c.mint_ms, c.maxt_ms, c.encoding) == (next.mint_ms, next.maxt_ms, next.encoding)
                    && c.data == next.data
            };
            if !group.iter().any(twin) {
                group.push(next);
            }
        }
        match group.len() {
            1 => out.append(&mut group),
            _ => out.extend(recode(&group)?),
        }
    }
    Ok(out)
}

/// How compactions encode floats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recode {
    /// XOR2, which Prometheus 3.14 reads and 3.5 does not; else what every version reads.
    pub xor2: bool,
    /// Samples that a chunk aims at; fewer than twice as many are in one.
    pub samples: usize,
}

impl Recode {
    fn encoding(self) -> ChunkEncoding {
        if self.xor2 { ChunkEncoding::Xor2 } else { ChunkEncoding::Xor }
    }
}

/// Memory that is used from one series to the next.
#[derive(Debug, Default)]
pub(crate) struct RecodeWork {
    samples: SampleBuf,
    tight: TightXor,
}

/// Samples of a chunk that is as large as wanted: what the head cuts early is left alone.
const FULL_PERCENT: usize = 60;

/// From its 128th sample on a chunk of XOR2 has a start timestamp beside each, known or not: some 20 bits.
const XOR2_SAMPLES_MAX: usize = 127;

/// Encodes floats anew where they are not as wanted: of another encoding, or neighbours in chunks that are
/// smaller. Histograms and floats with start timestamps stay as they are, and so do chunks that are large enough:
/// each sample is written anew twice on its way from the head to a block of days, not with every merge.
///
/// # Errors
/// Malformed bytes.
pub(crate) fn recode_floats(
    chunks: Vec<RawChunk>,
    mut wanted: Recode,
    work: &mut RecodeWork,
) -> Result<Vec<RawChunk>, ChunkError> {
    if wanted.xor2 {
        wanted.samples = wanted.samples.min(XOR2_SAMPLES_MAX);
    }
    let mut out = Vec::with_capacity(chunks.len());
    let mut run: Vec<RawChunk> = Vec::new();
    for chunk in chunks {
        if is_loose(&chunk, wanted)? {
            run.push(chunk);
        } else {
            recode_run(&mut run, wanted, work, &mut out)?;
            out.push(chunk);
        }
    }
    recode_run(&mut run, wanted, work, &mut out)?;
    Ok(out)
}

/// To be written anew if it has a neighbour that is, too.
fn is_loose(chunk: &RawChunk, wanted: Recode) -> Result<bool, ChunkError> {
    if !matches!(chunk.encoding, ChunkEncoding::Xor | ChunkEncoding::Xor2) {
        return Ok(false);
    }
    let samples = usize::from(chunkenc::sample_count(chunk.encoding, &chunk.data)?);
    Ok(chunk.encoding != wanted.encoding() || samples * 100 < wanted.samples * FULL_PERCENT)
}

fn recode_run(
    run: &mut Vec<RawChunk>,
    wanted: Recode,
    work: &mut RecodeWork,
    out: &mut Vec<RawChunk>,
) -> Result<(), ChunkError> {
    // One small chunk has nobody to be joined with.
    if run.len() <= 1 && run.iter().all(|c| c.encoding == wanted.encoding()) {
        out.append(run);
        return Ok(());
    }
    let RecodeWork { samples, tight } = work;
    samples.clear();
    for chunk in run.drain(..) {
        chunkenc::decode_all(chunk.encoding, &chunk.data, samples)?;
    }
    let limit = wanted.samples.clamp(1, usize::from(chunkenc::SAMPLES_MAX));
    if wanted.xor2 || !samples.starts.is_empty() {
        let mut builder = ChunkBuilder { with_starts: wanted.xor2, ..ChunkBuilder::new(limit) };
        builder.push_all(samples)?;
        out.extend(builder.finish());
        return Ok(());
    }
    // In equal parts of at least as many as wanted, if there are so many: a rest would be a small chunk that no
    // later merge can join with anything.
    let total = samples.times.len();
    let limit = total.div_ceil((total / limit).max(1)).clamp(1, usize::from(chunkenc::SAMPLES_MAX));
    for (times, values) in samples.times.chunks(limit).zip(samples.values.chunks(limit)) {
        if let (Some(mint_ms), Some(maxt_ms)) = (times.first(), times.last()) {
            let data = tight.encode(times, values).into();
            let (mint_ms, maxt_ms) = (*mint_ms, *maxt_ms);
            out.push(RawChunk { mint_ms, maxt_ms, encoding: ChunkEncoding::Xor, data });
        }
    }
    Ok(())
}

fn recode(group: &[RawChunk]) -> Result<Vec<RawChunk>, ChunkError> {
    let mut samples = SampleBuf::default();
    for chunk in group {
        chunkenc::decode_all(chunk.encoding, &chunk.data, &mut samples)?;
    }
    crate::block::sort_by_time(&mut samples, 0);
    // Samples of two sources between each other: what one chunk knew about resets does not hold any more.
    for (_, h) in &mut samples.histograms {
        match h {
            HistogramValue::Int(h) if h.reset_hint != model::CounterResetHint::Gauge => {
                Arc::make_mut(h).reset_hint = model::CounterResetHint::Unknown;
            }
            HistogramValue::Float(h) if h.reset_hint != model::CounterResetHint::Gauge => {
                Arc::make_mut(h).reset_hint = model::CounterResetHint::Unknown;
            }
            _ => {}
        }
    }
    let mut builder = ChunkBuilder::default();
    builder.push_all(&samples)?;
    Ok(builder.finish())
}
