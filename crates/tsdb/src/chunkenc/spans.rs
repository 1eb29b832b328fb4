//! Comparing and joining bucket layouts.
//!
//! Upstream keeps lists of inserts (position, number) and applies them to deltas. Here a layout is a sorted
//! run of bucket indices, joining is a merge of two runs, and values move by index; the bytes that come
//! out are the same.

use model::Span;

/// Bucket indices of a layout.
pub(super) fn indices(spans: &[Span]) -> impl Iterator<Item = i64> + '_ {
    let mut next = 0_i64;
    spans.iter().flat_map(move |span| {
        let start = next + i64::from(span.offset);
        next = start + i64::from(span.length);
        start..next
    })
}

/// Number of buckets of a layout.
pub(super) fn bucket_count(spans: &[Span]) -> usize {
    spans.iter().map(|s| s.length as usize).sum()
}

/// How a new layout relates to an old one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// The new one has buckets that the old one has not: the chunk must be recoded.
    pub(super) forward: bool,
    /// The old one has buckets that the new one has not: the new sample must be widened.
    pub(super) backward: bool,
}

/// Walks two layouts side by side; `step(old, new)` says for each bucket what each side has, and whether
/// to go on.
fn walk<T: Copy>(
    old: impl Iterator<Item = (i64, T)>,
    new: impl Iterator<Item = (i64, T)>,
    mut step: impl FnMut(Option<T>, Option<T>, i64) -> bool,
) -> bool {
    let (mut old, mut new) = (old.peekable(), new.peekable());
    loop {
        let index = match (old.peek(), new.peek()) {
            (None, None) => return true,
            (Some((a, _)), None) => *a,
            (None, Some((b, _))) => *b,
            (Some((a, _)), Some((b, _))) => *a.min(b),
        };
        let a = old.next_if(|(i, _)| *i == index).map(|(_, v)| v);
        let b = new.next_if(|(i, _)| *i == index).map(|(_, v)| v);
        if !step(a, b, index) {
            return false;
        }
    }
}

/// Compares counters bucket by bucket; `None` where a count went down or a used bucket vanished.
pub(super) fn compare_counters<T: Copy + PartialOrd + Default>(
    old_spans: &[Span],
    old: impl Iterator<Item = T>,
    new_spans: &[Span],
    new: impl Iterator<Item = T>,
) -> Option<Difference> {
    let mut difference = Difference::default();
    let no_reset = walk(indices(old_spans).zip(old), indices(new_spans).zip(new), |a, b, _| match (a, b) {
        // Counts that cannot be ordered (NaN) are no reset.
        (Some(a), Some(b)) => a.partial_cmp(&b) != Some(std::cmp::Ordering::Greater),
        (Some(a), None) => {
            difference.backward = true;
            a == T::default()
        }
        _ => {
            difference.forward = true;
            true
        }
    });
    no_reset.then_some(difference)
}

/// Compares layouts only.
pub(super) fn compare_layouts(old: &[Span], new: &[Span]) -> Difference {
    let mut difference = Difference::default();
    walk(indices(old).map(|i| (i, ())), indices(new).map(|i| (i, ())), |a, b, _| {
        difference.backward |= b.is_none();
        difference.forward |= a.is_none();
        true
    });
    difference
}

/// Both layouts in one, without empty or touching spans.
pub(super) fn union(a: &[Span], b: &[Span]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let mut next = 0_i64;
    walk(indices(a).map(|i| (i, ())), indices(b).map(|i| (i, ())), |_, _, index| {
        match spans.last_mut() {
            Some(last) if index == next => last.length += 1,
            // Both ends fit in 32 bits: layouts are checked when they come in.
            _ => spans.push(Span { offset: (index - next) as i32, length: 1 }),
        }
        next = index + 1;
        true
    });
    spans
}

/// Moves absolute counts to a layout that has all their buckets; the others get 0.
pub(super) fn relayout<T: Copy + Default>(
    old_spans: &[Span],
    old: impl Iterator<Item = T>,
    new_spans: &[Span],
) -> Vec<T> {
    let mut old = indices(old_spans).zip(old).peekable();
    let value = |index| old.next_if(|(i, _)| *i == index).map_or(T::default(), |(_, v)| v);
    indices(new_spans).map(value).collect()
}

/// True where a layout can be stored: buckets fit the spans, offsets are not negative behind the first
/// span, indices fit 32 bits.
pub(super) fn is_valid(spans: &[Span], buckets: usize) -> bool {
    let end = spans.iter().try_fold(0_i64, |end, s| {
        let end = end + i64::from(s.offset) + i64::from(s.length);
        i32::try_from(end).ok().map(i64::from)
    });
    end.is_some() && bucket_count(spans) == buckets && spans.iter().skip(1).all(|s| s.offset >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(parts: &[(i32, u32)]) -> Vec<Span> {
        parts.iter().map(|(offset, length)| Span { offset: *offset, length: *length }).collect()
    }

    #[test]
    fn layouts_join() {
        let a = spans(&[(0, 2), (2, 1), (3, 2)]);
        let b = spans(&[(0, 3), (1, 1), (1, 0), (0, 4)]);
        assert_eq!(indices(&a).collect::<Vec<_>>(), [0, 1, 4, 8, 9]);
        assert_eq!(indices(&b).collect::<Vec<_>>(), [0, 1, 2, 4, 6, 7, 8, 9]);
        assert_eq!(union(&a, &b), spans(&[(0, 3), (1, 1), (1, 4)]));
        assert_eq!(compare_layouts(&a, &b), Difference { forward: true, backward: false });
        assert_eq!(compare_layouts(&b, &a), Difference { forward: false, backward: true });
        assert_eq!(relayout(&a, [1, 2, 3, 4, 5].into_iter(), &b), [1, 2, 0, 3, 0, 0, 4, 5]);
        assert_eq!(union(&spans(&[(-3, 1)]), &spans(&[(2, 1)])), spans(&[(-3, 1), (4, 1)]));
    }

    #[test]
    fn counters_compare() {
        let a = spans(&[(0, 3)]);
        let b = spans(&[(0, 1), (1, 2)]);
        let cmp = |old: [i64; 3], new: [i64; 3]| compare_counters(&a, old.into_iter(), &b, new.into_iter());
        assert_eq!(cmp([1, 0, 2], [1, 2, 0]), Some(Difference { forward: true, backward: true }));
        assert_eq!(cmp([1, 1, 2], [1, 2, 0]), None);
        assert_eq!(cmp([1, 0, 2], [1, 1, 0]), None);
    }
}
