//! Whether the source and this server say the same, sample by sample, over all times that the source has in blocks.
//!
//! Both sides are read as their users read them: deleted samples are none, overlapping blocks are merged, so that a
//! compaction on either side changes nothing. Values are compared by their bits. What differs is looked at again
//! before it is told, since both sides live on meanwhile.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use model::{CounterResetHint, FloatHistogram, Histogram, HistogramValue, Labels};
use serde::Serialize;
use storage::{CancelToken, QueryContext, Queryable, SampleBuf, SelectHints, SeriesSet};
use tsdb::Db;
use tsdb::block::BlockMeta;

use crate::audit::{Extra, Extras, everything, prove_by_blocks, prove_by_logs, select_all};
use crate::blocks::in_order_end_ms;
use crate::error::MigrateError;
use crate::pin::PinnedLog;
use crate::source::{Place, Source, Who};

/// Compared at once: handles of the series of so much time are in memory.
const RANGE_MS: i64 = 2 * 3600 * 1000;
/// Differences that are shown; all are counted.
const EXAMPLES_MAX: usize = 20;
/// A range that differs is compared so often before that is said.
const TRIES: usize = 3;
/// Samples that are here alone and asked for in the source's logs, 40 bytes each.
const EXTRA_MAX: usize = 1 << 20;

/// What was compared, and what came of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Samples of the source.
    pub samples: u64,
    /// Of them, those that are not here.
    pub missing: u64,
    /// Those that have another value here.
    pub altered: u64,
    /// Samples that came from the source, and that it has no more.
    pub more: u64,
    /// Samples of series that the source has as well, at times when it has none: this server's own.
    pub own: u64,
    /// A sum over all samples of the source, in any order: of series, time and bits of the value.
    #[serde(serialize_with = "hex")]
    pub source_sum: u64,
    /// The same of what is here and was compared with those.
    #[serde(serialize_with = "hex")]
    pub here_sum: u64,
}

/// As text: readers of JSON keep 53 bits of a number.
fn hex<S: serde::Serializer>(sum: &u64, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{sum:016x}"))
}

impl Counts {
    fn differs(&self) -> bool {
        self.missing + self.altered + self.more > 0
    }

    fn add(&mut self, other: &Counts) {
        for (a, b) in [
            (&mut self.samples, other.samples),
            (&mut self.missing, other.missing),
            (&mut self.altered, other.altered),
            (&mut self.more, other.more),
            (&mut self.own, other.own),
            (&mut self.source_sum, other.source_sum),
            (&mut self.here_sum, other.here_sum),
        ] {
            *a = a.wrapping_add(b);
        }
    }
}

/// A range in which both sides differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// First time.
    pub from_ms: i64,
    /// Behind the last time.
    pub to_ms: i64,
    /// What differs.
    pub counts: Counts,
    /// Some of it, in words.
    pub examples: Vec<String>,
}

/// The result of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// First time that was compared.
    pub from_ms: i64,
    /// Behind the last time: what is newer is in the source's log alone, which is followed.
    pub to_ms: i64,
    /// Ranges of two hours that were compared.
    pub ranges: u64,
    /// All in all.
    pub counts: Counts,
    /// Ranges that differ.
    pub differences: Vec<Difference>,
}

impl Report {
    /// Whether both sides say the same.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.differences.is_empty() && self.counts.source_sum == self.counts.here_sum
    }
}

/// Compares all that the source has in blocks with what is here. `progress` is told ranges that were compared, and
/// how many there are.
///
/// # Errors
/// A block or a log cannot be read; the source's blocks did not stay as they are for long enough.
pub(crate) fn verify(
    db: &Db,
    (pin, fence_ms): (&dyn Source, i64),
    (cancel, pause): (&CancelToken, Duration),
    mut progress: impl FnMut(u64, u64),
) -> Result<Report, MigrateError> {
    let metas = pin.all_blocks()?;
    let from = metas.iter().map(|m| m.mint_ms).min().unwrap_or(0);
    // From the fence on both take samples of their own.
    let to = in_order_end_ms(&metas).min(fence_ms).max(from);
    let begins: Vec<i64> = ranges(&metas, to);
    let mut report = Report { from_ms: from, to_ms: to, ..Report::default() };
    let theirs = series_of_source(pin, &metas)?;
    for (n, begin) in begins.iter().enumerate() {
        progress(n as u64, begins.len() as u64);
        let range = (*begin, begin.saturating_add(RANGE_MS - 1).min(to - 1));
        let mut found = Compared::default();
        for attempt in 0..TRIES {
            if cancel.is_cancelled() {
                return Err(MigrateError::Stopped);
            }
            if attempt > 0 {
                std::thread::sleep(pause);
            }
            found = compare(db, pin, range, &theirs)?;
            if !found.counts.differs() {
                break;
            }
        }
        report.ranges += 1;
        report.counts.add(&found.counts);
        if found.counts.differs() {
            report.differences.push(Difference {
                from_ms: range.0,
                to_ms: range.1 + 1,
                counts: found.counts,
                examples: found.examples,
            });
        }
    }
    progress(begins.len() as u64, begins.len() as u64);
    Ok(report)
}

/// Begins of ranges in which a block has something.
fn ranges(metas: &[BlockMeta], to: i64) -> Vec<i64> {
    let mut all = BTreeMap::new();
    for meta in metas {
        let mut begin = meta.mint_ms.div_euclid(RANGE_MS) * RANGE_MS;
        while begin < meta.maxt_ms.min(to) {
            all.insert(begin, ());
            begin += RANGE_MS;
        }
    }
    all.into_keys().collect()
}

/// Hashes of the labels of all series that the source's blocks have, and had when it was pinned.
fn series_of_source(pin: &dyn Source, metas: &[BlockMeta]) -> Result<HashSet<u64>, MigrateError> {
    let mut all = HashSet::new();
    let pinned = pin.blocks_in(Place::Pinned)?;
    for (dir, metas) in [(pin.dir(), &pinned[..]), (pin.data(), metas)] {
        for meta in metas {
            let one = std::slice::from_ref(meta);
            match select_all(pin.disk(), dir, one, (meta.mint_ms, meta.maxt_ms)) {
                Ok(set) => all.extend(set.series.iter().map(|s| s.labels().hash())),
                // Merged meanwhile.
                Err(_) if pin.describe(&meta.ulid.to_string())?.is_none() => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(all)
}

#[derive(Default)]
struct Compared {
    counts: Counts,
    examples: Vec<String>,
}

impl Compared {
    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(text());
        }
    }
}

/// What a series has within a range: its labels as a number, how many samples, and a sum over them in any order.
pub type Digest = (u64, u32, u64);

/// Digests of all series of the source's blocks within a range, where the files are; `None` where its blocks changed
/// meanwhile.
pub(crate) fn digest(pin: &dyn Source, range: (i64, i64)) -> Result<Option<Vec<Digest>>, MigrateError> {
    let Some(held) = pin.hold(Who::Verify, (range.0, range.1.saturating_add(1)))? else { return Ok(None) };
    let set = select_all(pin.disk(), &pin.held_dir(Who::Verify), &held, range)?;
    let mut all = Vec::with_capacity(set.series.len());
    let mut buf = SampleBuf::default();
    for series in &set.series {
        buf.clear();
        series.read(range.0, range.1, &mut buf)?;
        if !buf.times.is_empty() {
            all.push(digest_of(series.labels(), &buf));
        }
    }
    drop(set);
    pin.let_go(Who::Verify)?;
    Ok(Some(all))
}

fn digest_of(labels: &Labels, buf: &SampleBuf) -> Digest {
    let name = labels.hash();
    let sums = buf.times.iter().enumerate().map(|(at, t_ms)| mixed(name, *t_ms, value_sum(buf, at)));
    (name, buf.times.len() as u32, sums.fold(0, u64::wrapping_add))
}

/// Whether both sides have the same by their digests, which is nearly always so and sends twenty bytes a series; else
/// nothing is said, and each sample is looked at.
fn same_digests(
    db: &Db,
    pin: &dyn Source,
    range: (i64, i64),
    known: &HashSet<u64>,
) -> Result<Option<Counts>, MigrateError> {
    let Some(theirs) = pin.digest(range)? else { return Ok(None) };
    let mut counts = Counts::default();
    let mut waiting = HashMap::with_capacity(theirs.len());
    for (name, samples, sum) in theirs {
        counts.samples += u64::from(samples);
        counts.source_sum = counts.source_sum.wrapping_add(sum);
        if waiting.insert(name, (samples, sum)).is_some() {
            // Two series with one number: not for this to tell apart.
            return Ok(None);
        }
    }
    let ctx = QueryContext::unlimited();
    let ours = db.querier(range.0, range.1)?.select(&ctx, true, &SelectHints::default(), &everything()?)?;
    let mut buf = SampleBuf::default();
    for series in &ours.series {
        let name = series.labels().hash();
        if !waiting.contains_key(&name) && !known.contains(&name) {
            continue;
        }
        buf.clear();
        series.read(range.0, range.1, &mut buf)?;
        let (name, samples, sum) = digest_of(series.labels(), &buf);
        if samples > 0 && waiting.remove(&name) != Some((samples, sum)) {
            return Ok(None);
        }
        counts.here_sum = counts.here_sum.wrapping_add(sum);
    }
    Ok(waiting.is_empty().then_some(counts))
}

fn compare(
    db: &Db,
    pin: &dyn Source,
    range: (i64, i64),
    known: &HashSet<u64>,
) -> Result<Compared, MigrateError> {
    if let Some(counts) = same_digests(db, pin, range, known)? {
        return Ok(Compared { counts, ..Compared::default() });
    }
    // First, as what leaves that log is in a block by then.
    let first_late = pin.first_held(PinnedLog::Wbl)?;
    let mut held = None;
    for _ in 0..HOLDS {
        held = pin.hold(Who::Verify, (range.0, range.1 + 1))?;
        if held.is_some() {
            break;
        }
    }
    let held = held.ok_or_else(|| MigrateError::Restless { path: pin.data().to_path_buf(), tries: HOLDS })?;
    let theirs = select_all(pin.disk(), &pin.held_dir(Who::Verify), &held, range)?;
    let ctx = QueryContext::unlimited();
    let ours = db.querier(range.0, range.1)?.select(&ctx, true, &SelectHints::default(), &everything()?)?;
    let (mut found, mut extras) = (Compared::default(), Extras::new());
    walk(&theirs, &ours, range, known, &mut found, &mut extras)?;
    drop((theirs, ours));
    if !extras.is_empty() {
        prove_by_blocks(pin, range, &mut extras)?;
        prove_by_logs(pin, first_late, &mut extras)?;
        for (labels, extras) in &extras {
            for extra in extras {
                if extra.proven {
                    found.counts.more += 1;
                    found.example(|| format!("{labels} at {}: here and not in the source", extra.t_ms));
                } else {
                    found.counts.own += 1;
                }
            }
        }
    }
    pin.let_go(Who::Verify)?;
    Ok(found)
}

/// A merge ends within minutes; this is tried within milliseconds.
const HOLDS: usize = 20;

fn walk(
    theirs: &SeriesSet,
    ours: &SeriesSet,
    (mint, maxt): (i64, i64),
    known: &HashSet<u64>,
    found: &mut Compared,
    extras: &mut Extras,
) -> Result<(), MigrateError> {
    let (mut a, mut b) = (theirs.series.iter().peekable(), ours.series.iter().peekable());
    let (mut there, mut here) = (SampleBuf::default(), SampleBuf::default());
    let mut waiting = 0;
    loop {
        let order = match (a.peek(), b.peek()) {
            (Some(a), Some(b)) => a.labels().cmp(b.labels()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return Ok(()),
        };
        there.clear();
        here.clear();
        let mut labels: Option<&Labels> = None;
        if order != Ordering::Greater
            && let Some(s) = a.next()
        {
            s.read(mint, maxt, &mut there)?;
            labels = Some(s.labels());
        }
        if order != Ordering::Less
            && let Some(s) = b.next()
        {
            if order == Ordering::Greater && !known.contains(&s.labels().hash()) {
                continue;
            }
            s.read(mint, maxt, &mut here)?;
            labels = Some(s.labels());
        }
        let Some(labels) = labels else { continue };
        let extra = pair(labels, &there, &here, found);
        if !extra.is_empty() && waiting < EXTRA_MAX {
            waiting += extra.len();
            extras.insert(labels.clone(), extra);
        }
    }
}

/// Compares the samples of one series; gives those that are here alone.
fn pair(labels: &Labels, there: &SampleBuf, here: &SampleBuf, found: &mut Compared) -> Vec<Extra> {
    let (name, mut extra) = (labels.hash(), Vec::new());
    let (mut i, mut j) = (0, 0);
    loop {
        let order = match (there.times.get(i), here.times.get(j)) {
            (Some(a), Some(b)) => a.cmp(b),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => return extra,
        };
        let t_ms = there.times.get(i).filter(|_| order != Ordering::Greater).or(here.times.get(j)).copied();
        let t_ms = t_ms.unwrap_or_default();
        if order == Ordering::Greater {
            extra.push(Extra { t_ms, nth: j, proven: false });
            j += 1;
            continue;
        }
        found.counts.samples += 1;
        let theirs = value_sum(there, i);
        found.counts.source_sum = found.counts.source_sum.wrapping_add(mixed(name, t_ms, theirs));
        i += 1;
        if order == Ordering::Less {
            found.counts.missing += 1;
            found.example(|| format!("{labels} at {t_ms}: missing here"));
            continue;
        }
        let ours = value_sum(here, j);
        found.counts.here_sum = found.counts.here_sum.wrapping_add(mixed(name, t_ms, ours));
        j += 1;
        if theirs != ours {
            found.counts.altered += 1;
            found.example(|| format!("{labels} at {t_ms}: another value here"));
        }
    }
}

/// A number for a value: the bits of a float, a sum over the fields of a histogram. Whether a histogram begins anew
/// depends on the chunk that it is in, and does not count.
fn value_sum(buf: &SampleBuf, at: usize) -> u64 {
    match buf.histogram_at(at) {
        None => buf.values.get(at).map_or(0, |v| v.to_bits()),
        Some(HistogramValue::Int(h)) => {
            let plain = Histogram { reset_hint: CounterResetHint::Unknown, ..(**h).clone() };
            text_sum(&format!("{plain:?}"), h.sum.to_bits())
        }
        Some(HistogramValue::Float(h)) => {
            let plain = FloatHistogram { reset_hint: CounterResetHint::Unknown, ..(**h).clone() };
            text_sum(&format!("{plain:?}"), h.sum.to_bits())
        }
    }
}

/// `Debug` writes floats so that they read back the same; of a NaN the bits are apart.
fn text_sum(text: &str, bits: u64) -> u64 {
    let mut sum = bits;
    for part in text.as_bytes().chunks(8) {
        let mut word = [0; 8];
        word.iter_mut().zip(part).for_each(|(w, p)| *w = *p);
        sum = mixed(sum, 0, u64::from_le_bytes(word));
    }
    sum
}

/// Steps of splitmix64 (Steele, Lea and Flood, 2014): a changed bit changes half of the result's.
fn mixed(a: u64, t_ms: i64, b: u64) -> u64 {
    let mut x = a;
    for word in [t_ms as u64, b] {
        x = (x ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^= x >> 31;
    }
    x
}
