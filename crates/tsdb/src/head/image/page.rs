//! A page of series in an image. Neighbours were made by one scrape and have much in common, so most fields
//! are differences to the slot before: some 20 bytes a series beside its chunk's own. Before them is a summary,
//! so that a start can leave the page as it is until someone asks for it.

use std::sync::Arc;

use crate::chunkenc::{
    CHUNK_BYTES_MAX, FloatHistogramAppender, HistogramAppender, XOR_SAMPLE_BYTES_MAX, XorAppender, XorState,
};
use crate::head::mapped::{MappedChunk, OooChunk};
use crate::head::ooo::Late;
use crate::head::open::{self, Blocks};
use crate::head::series::{OpenHistogram, OpenHistogramChunk, Slot};
use crate::head::table::{PAGE_SERIES, Page, PageInner};
use crate::wal::bytes::{Bytes, put_u64, put_uvarint, put_varint};
use crate::wal::record::{self, HistogramRecord, Record, histogram_type};
use model::HistogramValue;

use super::asleep::Sleeper;
use super::frames::Unusable;

const STALE: u8 = 1;
const FLOAT: u8 = 2;
const HISTOGRAM: u8 = 4;
const FLOAT_HISTOGRAM: u8 = 8;
const END_COMPUTED: u8 = 16;
const MAPPED: u8 = 32;

/// What a slot's fields are differences to.
#[derive(Default)]
struct Before {
    pairs: Vec<u32>,
    xor: XorState,
    min_time: i64,
    next_at: i64,
    first_mapped: i64,
    file: u32,
}

/// What a start must know of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    /// Bytes of the slots, and of late samples behind them.
    len: u32,
    chunks: u32,
    stale: u32,
    /// Oldest file of its chunks; `u32::MAX` where all are open.
    oldest_file: u32,
    /// First and last time.
    times: (i64, i64),
    /// Where the first of the oldest chunks of all series ends.
    first_end: i64,
    /// It has late samples, or a series without chunks, which a start lets go of.
    restless: bool,
}

impl Summary {
    const BYTES: usize = 4 * 4 + 3 * 8 + 1;

    fn new() -> Self {
        let times = (i64::MAX, i64::MIN);
        Summary {
            len: 0,
            chunks: 0,
            stale: 0,
            oldest_file: u32::MAX,
            times,
            first_end: i64::MAX,
            restless: false,
        }
    }

    fn note(&mut self, slot: &Slot) {
        self.chunks += slot.chunk_count();
        self.stale += u32::from(slot.stale);
        self.oldest_file = slot.mapped.iter().map(MappedChunk::file).fold(self.oldest_file, u32::min);
        let (first, last) = (slot.min_time(), slot.max_time());
        self.times.0 = self.times.0.min(first.unwrap_or(i64::MAX));
        self.times.1 = self.times.1.max(last.unwrap_or(i64::MIN));
        let end = slot.mapped.first().map(MappedChunk::max_time).or(last);
        self.first_end = self.first_end.min(end.unwrap_or(i64::MAX));
        self.restless |= end.is_none();
    }

    fn put(&self, out: &mut Vec<u8>) {
        for n in [self.len, self.chunks, self.stale, self.oldest_file] {
            out.extend_from_slice(&n.to_be_bytes());
        }
        for n in [self.times.0, self.times.1, self.first_end] {
            put_u64(out, n as u64);
        }
        out.push(u8::from(self.restless));
    }

    fn read(b: &mut Bytes<'_>) -> Result<Self, Unusable> {
        let (a, c) = (b.u64()?, b.u64()?);
        let times = (b.u64()? as i64, b.u64()? as i64);
        let first_end = b.u64()? as i64;
        let restless = b.byte()? != 0;
        let (len, chunks) = ((a >> 32) as u32, a as u32);
        Ok(Summary {
            len,
            chunks,
            stale: (c >> 32) as u32,
            oldest_file: c as u32,
            times,
            first_end,
            restless,
        })
    }

    /// Whether samples before `mint` may go and nothing of the page does, nor is there anything to do with it.
    pub(super) fn stays(&self, mint: i64) -> bool {
        !self.restless && self.first_end >= mint && self.times.0 >= mint
    }
}

fn less(a: i64, b: i64) -> i64 {
    a.wrapping_sub(b)
}

/// Appends a page's series up to `last`; false where it has none.
pub(super) fn put(out: &mut Vec<u8>, base: u64, inner: &PageInner, last: u64) -> bool {
    let mut present = inner.present;
    if last < base {
        return false;
    }
    let kept = (last - base + 1).min(PAGE_SERIES);
    for (i, word) in present.iter_mut().enumerate() {
        let bits = kept.saturating_sub(i as u64 * 64).min(64);
        *word &= if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
    }
    let count: u32 = present.iter().map(|w| w.count_ones()).sum();
    if count == 0 {
        return false;
    }
    put_uvarint(out, base / PAGE_SERIES);
    present.iter().for_each(|w| put_u64(out, *w));
    let summary_at = out.len();
    let mut summary = Summary::new();
    summary.put(out);
    let mut before = Before::default();
    for slot in inner.slots.iter().take(count as usize) {
        put_slot(out, slot, inner.pairs(slot), &inner.blocks, &mut before);
        summary.note(slot);
    }
    let late: Vec<(u8, &Late)> = inner.late.iter().map(|(at, late)| (*at, late)).collect();
    let late = late.iter().filter(|(at, late)| u64::from(*at) < kept && !late.mapped.is_empty());
    let count = late.clone().count() as u64;
    put_uvarint(out, count);
    summary.restless |= count > 0;
    for (at, late) in late {
        out.push(*at);
        put_uvarint(out, late.mapped.len() as u64);
        for c in &late.mapped {
            put_varint(out, c.min_time);
            put_varint(out, c.max_time);
            put_mapped(out, &c.chunk, 0, 0);
        }
    }
    summary.len = (out.len() - summary_at - Summary::BYTES) as u32;
    let mut bytes = Vec::with_capacity(Summary::BYTES);
    summary.put(&mut bytes);
    out.iter_mut().skip(summary_at).zip(bytes).for_each(|(at, byte)| *at = byte);
    true
}

fn put_mapped(out: &mut Vec<u8>, c: &MappedChunk, time: i64, before: u32) {
    let (span, file, offset, encoding) = c.parts();
    put_varint(out, less(c.min_time, time));
    put_uvarint(out, u64::from(span));
    put_varint(out, i64::from(file) - i64::from(before));
    put_uvarint(out, u64::from(offset));
    put_uvarint(out, u64::from(c.samples));
    out.push(encoding);
}

fn put_slot(out: &mut Vec<u8>, slot: &Slot, pairs: &[u32], blocks: &Blocks, before: &mut Before) {
    let mut flags = if slot.stale { STALE } else { 0 };
    match &slot.histogram {
        Some(h) => {
            flags |= HISTOGRAM;
            flags |= if matches!(h.chunk, OpenHistogram::Float(..)) { FLOAT_HISTOGRAM } else { 0 };
            flags |= if h.end_computed { END_COMPUTED } else { 0 };
        }
        None if !slot.xor.is_empty() => flags |= FLOAT,
        None => {}
    }
    flags |= if slot.mapped.is_empty() { 0 } else { MAPPED };
    out.push(flags);
    put_uvarint(out, pairs.len() as u64);
    for (i, pair) in pairs.iter().enumerate() {
        let own = before.pairs.get(i).copied().unwrap_or_default();
        put_varint(out, i64::from(*pair) - i64::from(own));
    }
    before.pairs.clear();
    before.pairs.extend_from_slice(pairs);
    if flags & (FLOAT | HISTOGRAM) != 0 {
        put_varint(out, less(slot.min_time, before.min_time));
        put_varint(out, less(slot.next_at, before.next_at));
        (before.min_time, before.next_at) = (slot.min_time, slot.next_at);
    }
    match &slot.histogram {
        Some(h) => {
            put_bytes(out, h.chunk.bytes());
            let value = match &h.chunk {
                OpenHistogram::Int(_, last) => HistogramValue::Int(last.clone()),
                OpenHistogram::Float(_, last) => HistogramValue::Float(last.clone()),
            };
            let last = HistogramRecord { series: 0, start_ms: 0, t_ms: 0, value };
            let mut bytes = Vec::new();
            record::encode_histograms(&mut bytes, histogram_type(&last), [&last]);
            put_bytes(out, &bytes);
        }
        None if flags & FLOAT != 0 => {
            let s = slot.xor.state();
            put_varint(out, less(s.t_ms, before.xor.t_ms));
            put_varint(out, s.delta.wrapping_sub(before.xor.delta) as i64);
            put_u64(out, s.value);
            out.extend_from_slice(&[s.window.0, s.window.1, s.free]);
            put_uvarint(out, u64::from(s.samples));
            put_uvarint(out, open::len(&slot.tail, &slot.chain) as u64);
            open::collect(&slot.tail, &slot.chain, blocks, out);
            before.xor = s;
        }
        None => {}
    }
    if let Some(first) = slot.mapped.first() {
        put_uvarint(out, slot.mapped.len() as u64);
        let mut time = before.first_mapped;
        for c in &slot.mapped {
            put_mapped(out, c, time, before.file);
            (time, before.file) = (c.max_time(), c.file());
        }
        before.first_mapped = first.min_time;
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_uvarint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// What the pages of an image come to.
#[derive(Clone, Copy, Debug)]
pub(in crate::head) struct Tally {
    pub(in crate::head) series: u64,
    pub(in crate::head) chunks: i64,
    pub(in crate::head) stale: i64,
    pub(in crate::head) times: (i64, i64),
    pub(in crate::head) late_times: (i64, i64),
    /// Oldest file of a chunk that ends at `min_valid` or later.
    pub(in crate::head) oldest_file: u32,
}

impl Default for Tally {
    fn default() -> Self {
        let none = (i64::MAX, i64::MIN);
        Tally { series: 0, chunks: 0, stale: 0, times: none, late_times: none, oldest_file: u32::MAX }
    }
}

impl Tally {
    pub(super) fn add(&mut self, other: &Tally) {
        let widest = |a: (i64, i64), b: (i64, i64)| (a.0.min(b.0), a.1.max(b.1));
        self.series += other.series;
        self.chunks += other.chunks;
        self.stale += other.stale;
        self.times = widest(self.times, other.times);
        self.late_times = widest(self.late_times, other.late_times);
        self.oldest_file = self.oldest_file.min(other.oldest_file);
    }
}

/// Pages of a frame, those that may be left asleep apart. Samples before `min_valid` are in blocks.
pub(super) fn read(
    frame: &Arc<Vec<u8>>,
    (min_valid, may_sleep): (i64, bool),
    tally: &mut Tally,
    (awake, asleep): (&mut Vec<Page>, &mut Vec<Sleeper>),
) -> Result<(), Unusable> {
    let mut b = Bytes(frame);
    while !b.is_empty() {
        let base = b.uvarint()?.checked_mul(PAGE_SERIES).ok_or_else(too_large)?;
        let mut present = [0; 4];
        for word in &mut present {
            *word = b.u64()?;
        }
        let summary = Summary::read(&mut b)?;
        let from = frame.len() - b.0.len();
        let body = b.take(u64::from(summary.len))?;
        tally.series += present.iter().map(|w| u64::from(w.count_ones())).sum::<u64>();
        tally.chunks += i64::from(summary.chunks);
        tally.stale += i64::from(summary.stale);
        tally.times = (tally.times.0.min(summary.times.0), tally.times.1.max(summary.times.1));
        if may_sleep && summary.stays(min_valid) {
            tally.oldest_file = tally.oldest_file.min(summary.oldest_file);
            asleep.push(Sleeper::new(base, present, Arc::clone(frame), from..from + body.len(), summary));
            continue;
        }
        let mut inner = PageInner { present, ..PageInner::default() };
        read_body(body, &mut inner)?;
        for c in inner.slots.iter().flat_map(|s| &s.mapped).filter(|c| c.max_time() >= min_valid) {
            tally.oldest_file = tally.oldest_file.min(c.file());
        }
        for c in inner.late.values().flat_map(|late| &late.mapped) {
            tally.chunks += 1;
            tally.late_times = (tally.late_times.0.min(c.min_time), tally.late_times.1.max(c.max_time));
            tally.oldest_file = tally.oldest_file.min(c.chunk.file());
        }
        awake.push(Page::new(base, inner));
    }
    Ok(())
}

/// Reads the slots of a page, and its late samples, into one that knows which are present.
pub(super) fn read_body(body: &[u8], inner: &mut PageInner) -> Result<(), Unusable> {
    let b = &mut Bytes(body);
    let count: u32 = inner.present.iter().map(|w| w.count_ones()).sum();
    inner.slots.reserve_exact(count as usize);
    let mut before = Before::default();
    for _ in 0..count {
        let slot = read_slot(b, inner, &mut before)?;
        inner.slots.push(slot);
    }
    inner.pairs.shrink_to_fit();
    for _ in 0..b.uvarint()? {
        let at = b.byte()?;
        let mut own = Late::default();
        for _ in 0..b.uvarint()? {
            let (min_time, max_time) = (b.varint()?, b.varint()?);
            own.mapped.push(OooChunk { min_time, max_time, chunk: read_mapped(b, 0, 0)? });
        }
        inner.late.insert(at, own);
    }
    if !b.is_empty() {
        return Err(Unusable("a page is longer than its series".to_string()));
    }
    Ok(())
}

fn too_large() -> Unusable {
    Unusable("a number is too large".to_string())
}

fn read_mapped(b: &mut Bytes<'_>, time: i64, before: u32) -> Result<MappedChunk, Unusable> {
    let min_time = time.wrapping_add(b.varint()?);
    let span = u32::try_from(b.uvarint()?)?;
    let file = u32::try_from(i64::from(before).wrapping_add(b.varint()?))?;
    let offset = u32::try_from(b.uvarint()?)?;
    let samples = u16::try_from(b.uvarint()?)?;
    Ok(MappedChunk::from_parts(min_time, samples, (span, file, offset, b.byte()?)))
}

fn read_slot(b: &mut Bytes<'_>, page: &mut PageInner, before: &mut Before) -> Result<Slot, Unusable> {
    let mut slot = Slot::default();
    let flags = b.byte()?;
    slot.stale = flags & STALE != 0;
    let n = b.count(1)?;
    slot.labels_len = u16::try_from(n)?;
    slot.labels_at = u32::try_from(page.pairs.len())?;
    before.pairs.resize(n, 0);
    for own in &mut before.pairs {
        *own = u32::try_from(i64::from(*own).wrapping_add(b.varint()?))?;
    }
    page.pairs.extend_from_slice(&before.pairs);
    if flags & (FLOAT | HISTOGRAM) != 0 {
        before.min_time = before.min_time.wrapping_add(b.varint()?);
        before.next_at = before.next_at.wrapping_add(b.varint()?);
        (slot.min_time, slot.next_at) = (before.min_time, before.next_at);
    }
    if flags & HISTOGRAM != 0 {
        let bytes = b.str_bytes()?.to_vec();
        let value = match record::decode(b.str_bytes()?)? {
            Record::Histograms(mut all) => all.pop().map(|h| h.value),
            _ => None,
        };
        let chunk = match (flags & FLOAT_HISTOGRAM != 0, value) {
            (false, Some(HistogramValue::Int(last))) => {
                OpenHistogram::Int(HistogramAppender::resume(bytes)?, last)
            }
            (true, Some(HistogramValue::Float(last))) => {
                OpenHistogram::Float(FloatHistogramAppender::resume(bytes)?, last)
            }
            _ => return Err(Unusable("a histogram of another kind than its chunk".to_string())),
        };
        let end_computed = flags & END_COMPUTED != 0;
        slot.histogram = Some(Box::new(OpenHistogramChunk { chunk, end_computed }));
    } else if flags & FLOAT != 0 {
        before.xor.t_ms = before.xor.t_ms.wrapping_add(b.varint()?);
        before.xor.delta = before.xor.delta.wrapping_add(b.varint()? as u64);
        before.xor.value = b.u64()?;
        before.xor.window = (b.byte()?, b.byte()?);
        before.xor.free = b.byte()?;
        before.xor.samples = u16::try_from(b.uvarint()?)?;
        let xor = XorAppender::from_state(before.xor)?;
        let bytes = b.str_bytes()?;
        if bytes.len() > CHUNK_BYTES_MAX + XOR_SAMPLE_BYTES_MAX {
            return Err(Unusable(format!("an open chunk of {} bytes", bytes.len())));
        }
        slot.resume_float(&mut page.blocks, xor, bytes);
    }
    if flags & MAPPED != 0 {
        let n = b.count(6)?;
        slot.mapped.reserve_exact(n);
        let mut time = before.first_mapped;
        for i in 0..n {
            let c = read_mapped(b, time, before.file)?;
            if i == 0 {
                before.first_mapped = c.min_time;
            }
            (time, before.file) = (c.max_time(), c.file());
            slot.mapped.push(c);
        }
    }
    Ok(slot)
}
