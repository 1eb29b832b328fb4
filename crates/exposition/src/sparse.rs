//! Bucket layouts of native histograms as they arrive: compaction and lower resolution, for integer deltas
//! and float counts alike (upstream: `compactBuckets` and `reduceResolution` in `model/histogram/generic.go`).

use model::Span;

/// One side of a histogram as (index, absolute count).
type Side<C> = Vec<(i64, C)>;

/// Counts that can be zero and can be added.
trait Count: Copy + PartialEq + Default {
    /// Sum; integers wrap as upstream's do.
    #[must_use]
    fn plus(self, other: Self) -> Self;
}

impl Count for i64 {
    fn plus(self, other: Self) -> Self {
        self.wrapping_add(other)
    }
}

impl Count for f64 {
    fn plus(self, other: Self) -> Self {
        self + other
    }
}

/// Index and absolute count of each bucket; `None` where spans and buckets disagree or spans run backwards,
/// which the store's own check then words.
fn expand<C: Count>(spans: &[Span], counts: &[C]) -> Option<Side<C>> {
    let total: u64 = spans.iter().map(|s| u64::from(s.length)).sum();
    if total != counts.len() as u64 {
        return None;
    }
    let mut out = Vec::with_capacity(counts.len());
    let mut index = 0_i64;
    let mut counts = counts.iter();
    for (i, span) in spans.iter().enumerate() {
        if i > 0 && span.offset < 0 {
            return None;
        }
        index += i64::from(span.offset);
        for count in counts.by_ref().take(span.length as usize) {
            out.push((index, *count));
            index += 1;
        }
    }
    Some(out)
}

/// Spans over sorted, distinct indices; gaps up to `gap_max` are filled with zeros.
fn collect<C: Count>(side: &Side<C>, gap_max: i64) -> Option<(Vec<Span>, Vec<C>)> {
    let mut spans: Vec<Span> = Vec::new();
    let mut counts = Vec::with_capacity(side.len());
    let mut next = 0_i64;
    for (index, count) in side {
        let gap = index - next;
        match spans.last_mut() {
            Some(span) if gap <= gap_max => {
                counts.extend((0..gap).map(|_| C::default()));
                span.length += gap as u32 + 1;
            }
            _ => spans.push(Span { offset: i32::try_from(gap).ok()?, length: 1 }),
        }
        counts.push(*count);
        next = index + 1;
    }
    Some((spans, counts))
}

/// Removes empty buckets: all at the ends, and runs of more than `gap_max` in between.
fn compact_side<C: Count>(spans: &mut Vec<Span>, counts: &mut Vec<C>, gap_max: i64) {
    let zero = C::default();
    let tidy =
        spans.iter().enumerate().all(|(i, s)| s.length > 0 && (i == 0 || i64::from(s.offset) > gap_max));
    if tidy && counts.iter().all(|c| *c != zero) {
        return;
    }
    let Some(mut side) = expand(spans, counts) else { return };
    side.retain(|(_, c)| *c != zero);
    if let Some(done) = collect(&side, gap_max) {
        (*spans, *counts) = done;
    }
}

fn reduce_side<C: Count>(spans: &mut Vec<Span>, counts: &mut Vec<C>, steps: u32) -> Option<()> {
    let side = expand(spans, counts)?;
    let mut merged: Side<C> = Vec::with_capacity(side.len());
    for (index, count) in side {
        // Bucket i ends at 2^(i * 2^-schema): each step joins 2k-1 and 2k into k.
        let target = ((index - 1) >> steps) + 1;
        match merged.last_mut() {
            Some((last, sum)) if *last == target => *sum = sum.plus(count),
            _ => merged.push((target, count)),
        }
    }
    (*spans, *counts) = collect(&merged, 0)?;
    Some(())
}

fn absolute(deltas: &[i64]) -> Vec<i64> {
    let mut sum = 0_i64;
    let step = |d: &i64| {
        sum = sum.wrapping_add(*d);
        sum
    };
    deltas.iter().map(step).collect()
}

fn deltas(absolute: &[i64]) -> Vec<i64> {
    let mut before = 0_i64;
    let step = |a: &i64| a.wrapping_sub(std::mem::replace(&mut before, *a));
    absolute.iter().map(step).collect()
}

/// [`model::Histogram`] and [`model::FloatHistogram`] from targets.
pub trait Sparse {
    /// Removes empty buckets, keeping runs of up to `gap_max` between filled ones.
    fn drop_empty(&mut self, gap_max: i64);
    /// Goes to a lower exponential schema. False where the layout contradicts itself; nothing is changed
    /// then.
    fn reduce_to(&mut self, schema: i32) -> bool;
    /// Buckets of both sides.
    fn bucket_count(&self) -> usize;
}

impl Sparse for model::Histogram {
    fn drop_empty(&mut self, gap_max: i64) {
        for (spans, buckets) in [
            (&mut self.positive_spans, &mut self.positive_buckets),
            (&mut self.negative_spans, &mut self.negative_buckets),
        ] {
            let mut counts = absolute(buckets);
            compact_side(spans, &mut counts, gap_max);
            *buckets = deltas(&counts);
        }
    }

    fn reduce_to(&mut self, schema: i32) -> bool {
        let Ok(steps @ 1..=12) = u32::try_from(self.schema - schema) else { return false };
        let (mut positive, mut negative) =
            (absolute(&self.positive_buckets), absolute(&self.negative_buckets));
        let (mut ps, mut ns) = (self.positive_spans.clone(), self.negative_spans.clone());
        let done = reduce_side(&mut ps, &mut positive, steps)
            .and_then(|()| reduce_side(&mut ns, &mut negative, steps));
        if done.is_some() {
            (self.positive_spans, self.negative_spans, self.schema) = (ps, ns, schema);
            (self.positive_buckets, self.negative_buckets) = (deltas(&positive), deltas(&negative));
        }
        done.is_some()
    }

    fn bucket_count(&self) -> usize {
        self.positive_buckets.len() + self.negative_buckets.len()
    }
}

impl Sparse for model::FloatHistogram {
    fn drop_empty(&mut self, gap_max: i64) {
        compact_side(&mut self.positive_spans, &mut self.positive_buckets, gap_max);
        compact_side(&mut self.negative_spans, &mut self.negative_buckets, gap_max);
    }

    fn reduce_to(&mut self, schema: i32) -> bool {
        let Ok(steps @ 1..=12) = u32::try_from(self.schema - schema) else { return false };
        let (mut positive, mut negative) = (self.positive_buckets.clone(), self.negative_buckets.clone());
        let (mut ps, mut ns) = (self.positive_spans.clone(), self.negative_spans.clone());
        let done = reduce_side(&mut ps, &mut positive, steps)
            .and_then(|()| reduce_side(&mut ns, &mut negative, steps));
        if done.is_some() {
            (self.positive_spans, self.negative_spans, self.schema) = (ps, ns, schema);
            (self.positive_buckets, self.negative_buckets) = (positive, negative);
        }
        done.is_some()
    }

    fn bucket_count(&self) -> usize {
        self.positive_buckets.len() + self.negative_buckets.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Histogram;

    fn span(offset: i32, length: u32) -> Span {
        Span { offset, length }
    }

    #[test]
    fn compacts() {
        let mut h = Histogram {
            positive_spans: vec![span(0, 3), span(1, 0), span(2, 2)],
            positive_buckets: vec![0, 2, -2, 5, -1],
            ..Histogram::default()
        };
        // Absolute: 0 2 0 at 0..3, 5 4 at 6..8.
        h.drop_empty(0);
        assert_eq!(h.positive_spans, [span(1, 1), span(4, 2)]);
        assert_eq!(h.positive_buckets, [2, 3, -1]);
        h.drop_empty(4);
        assert_eq!(h.positive_spans, [span(1, 7)]);
        assert_eq!(h.positive_buckets, [2, -2, 0, 0, 0, 5, -1]);
    }

    #[test]
    fn reduces() {
        // Indices -1..=4 with counts 1..=6: one step gives (-1), (0, 1)... as 2k-1 and 2k join.
        let mut h = Histogram {
            schema: 1,
            positive_spans: vec![span(-1, 6)],
            positive_buckets: vec![1, 1, 1, 1, 1, 1],
            ..Histogram::default()
        };
        assert!(h.reduce_to(0));
        // -1 and 0 -> 0: 3; 1 and 2 -> 1: 7; 3 and 4 -> 2: 11.
        assert_eq!((h.schema, h.positive_spans.clone()), (0, vec![span(0, 3)]));
        assert_eq!(h.positive_buckets, [3, 4, 4]);
        h.positive_spans = vec![span(0, 9)];
        assert!(!h.reduce_to(-1));
        assert_eq!(h.schema, 0);
    }
}
