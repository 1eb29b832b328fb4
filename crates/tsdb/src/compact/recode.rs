//! Samples back into chunks: for overlapping chunks, chunks across a block's boundary, and chunks with
//! deleted samples.

use std::sync::Arc;

use model::HistogramValue;
use storage::{ChunkEncoding, RawChunk, SampleBuf};

use crate::block::retain_samples;
use crate::chunkenc::{
    self, Appended, ChunkError, FloatHistogramAppender, HistogramAppender, SAMPLES_PER_CHUNK, XorAppender,
};
use crate::tombstones::{self, Interval};

/// The chunk that is being filled.
#[derive(Debug)]
enum Open {
    None,
    Float(XorAppender, Vec<u8>),
    Int(Box<HistogramAppender>),
    FloatHistogram(Box<FloatHistogramAppender>),
}

/// Cuts samples of one series into chunks, in order of time.
#[derive(Debug)]
pub struct ChunkBuilder {
    open: Open,
    mint_ms: i64,
    maxt_ms: i64,
    count: usize,
    limit: usize,
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
        ChunkBuilder { open: Open::None, mint_ms: 0, maxt_ms: 0, count: 0, limit, done: Vec::new() }
    }

    /// Adds a float.
    ///
    /// # Errors
    /// None today; the chunk is cut before it is full.
    pub fn push(&mut self, t_ms: i64, v: f64) -> Result<(), ChunkError> {
        if !matches!(self.open, Open::Float(..)) || self.count >= self.limit {
            self.cut();
            self.open = Open::Float(XorAppender::new(), Vec::with_capacity(128));
        }
        if let Open::Float(app, bytes) = &mut self.open {
            app.append(bytes, t_ms, v)?;
        }
        self.note(t_ms);
        Ok(())
    }

    /// Adds a histogram.
    ///
    /// # Errors
    /// A histogram whose spans and buckets disagree.
    pub fn push_histogram(&mut self, t_ms: i64, h: &HistogramValue) -> Result<(), ChunkError> {
        let full = self.count >= self.limit;
        match h {
            HistogramValue::Int(h) => {
                let previous = match std::mem::replace(&mut self.open, Open::None) {
                    Open::Int(app) if !full => {
                        self.open = Open::Int(app);
                        None
                    }
                    Open::Int(app) => {
                        self.close(Open::Int(app.clone()));
                        Some(app)
                    }
                    other => {
                        self.close(other);
                        None
                    }
                };
                if let Open::None = self.open {
                    self.open = Open::Int(Box::new(HistogramAppender::new(false)));
                }
                if let Open::Int(app) = &mut self.open
                    && let Appended::Cut(next) = app.append(previous.as_deref(), 0, t_ms, h)?
                {
                    let old = std::mem::replace(&mut self.open, Open::None);
                    self.close(old);
                    self.open = Open::Int(next);
                }
            }
            HistogramValue::Float(h) => {
                let previous = match std::mem::replace(&mut self.open, Open::None) {
                    Open::FloatHistogram(app) if !full => {
                        self.open = Open::FloatHistogram(app);
                        None
                    }
                    Open::FloatHistogram(app) => {
                        self.close(Open::FloatHistogram(app.clone()));
                        Some(app)
                    }
                    other => {
                        self.close(other);
                        None
                    }
                };
                if let Open::None = self.open {
                    self.open = Open::FloatHistogram(Box::new(FloatHistogramAppender::new(false)));
                }
                if let Open::FloatHistogram(app) = &mut self.open
                    && let Appended::Cut(next) = app.append(previous.as_deref(), 0, t_ms, h)?
                {
                    let old = std::mem::replace(&mut self.open, Open::None);
                    self.close(old);
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
            match histograms.next_if(|(at, _)| *at as usize == i) {
                Some((_, h)) => self.push_histogram(*t, h)?,
                None => self.push(*t, *v)?,
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
        let open = std::mem::replace(&mut self.open, Open::None);
        self.close(open);
    }

    fn close(&mut self, open: Open) {
        let (encoding, data) = match open {
            Open::None => return,
            Open::Float(_, bytes) => (ChunkEncoding::Xor, bytes),
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
    let mut builder = ChunkBuilder::new(usize::MAX);
    builder.push_all(&samples)?;
    out.extend(builder.finish());
    Ok(())
}

/// Brings chunks of several sources into order: chunks that overlap are decoded together and written anew,
/// the others stay as they are. Of samples with equal times the first source's stays.
///
/// # Errors
/// Malformed bytes.
pub(super) fn merge_chunks(mut chunks: Vec<RawChunk>) -> Result<Vec<RawChunk>, ChunkError> {
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
