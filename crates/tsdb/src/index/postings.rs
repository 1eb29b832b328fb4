//! Sorted lists of series ids and what is done with them. Lists are slices without duplicates; results are
//! new lists. Rejected: upstream's lazy iterators, whose virtual call per id costs more than decoding the
//! list, and which cannot gallop over what was not decoded.

use std::borrow::Cow;

/// A list, borrowed where it lies in memory already.
pub type List<'a> = Cow<'a, [u32]>;

/// Index of the first element not below `id`, by doubling steps and then halving: O(log distance).
#[inline]
fn gallop(list: &[u32], from: usize, id: u32) -> usize {
    let (mut step, mut low) = (1, from);
    while list.get(low + step).is_some_and(|v| *v < id) {
        low += step;
        step *= 2;
    }
    let high = (low + step).min(list.len());
    low + list[low.min(high)..high].partition_point(|v| *v < id)
}

/// Ids that are in both, appended to `out`.
fn intersect_two(a: &[u32], b: &[u32], out: &mut Vec<u32>) {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    // Beyond this ratio jumping wins; below, one step at a time keeps the pipeline full.
    const GALLOP_RATIO: usize = 8;
    if long.len() / GALLOP_RATIO < short.len() {
        let (mut i, mut j) = (0, 0);
        while i < short.len() && j < long.len() {
            let (x, y) = (short[i], long[j]);
            if x == y {
                out.push(x);
            }
            i += usize::from(x <= y);
            j += usize::from(y <= x);
        }
        return;
    }
    let mut at = 0;
    for id in short {
        at = gallop(long, at, *id);
        match long.get(at) {
            None => return,
            Some(found) if found == id => out.push(*id),
            Some(_) => {}
        }
    }
}

/// Ids that are in all lists; nothing for no lists.
#[must_use]
pub fn intersect<'a>(mut lists: Vec<List<'a>>) -> List<'a> {
    lists.sort_by_key(|l| l.len());
    let mut lists = lists.into_iter();
    let Some(mut result) = lists.next() else { return List::default() };
    for list in lists {
        if result.is_empty() {
            break;
        }
        let mut out = Vec::with_capacity(result.len());
        intersect_two(&result, &list, &mut out);
        result = Cow::Owned(out);
    }
    result
}

/// Ids that are in any list.
#[must_use]
pub fn union<'a>(mut lists: Vec<List<'a>>) -> List<'a> {
    lists.retain(|l| !l.is_empty());
    if lists.len() <= 1 {
        return lists.pop().unwrap_or_default();
    }
    let total = lists.iter().map(|l| l.len()).sum();
    let mut all = Vec::with_capacity(total);
    for list in &lists {
        all.extend_from_slice(list);
    }
    // Lists of one label are disjoint runs: the sort finds runs and merges them.
    all.sort();
    all.dedup();
    Cow::Owned(all)
}

/// Ids of `list` that are not in `removed`.
#[must_use]
pub fn without<'a>(list: List<'a>, removed: &[u32]) -> List<'a> {
    if list.is_empty() || removed.is_empty() {
        return list;
    }
    let mut out = Vec::with_capacity(list.len());
    let mut at = 0;
    for id in list.iter() {
        at = gallop(removed, at, *id);
        if removed.get(at) != Some(id) {
            out.push(*id);
        }
    }
    Cow::Owned(out)
}

/// Whether two lists share an id.
#[must_use]
pub fn intersects(a: &[u32], b: &[u32]) -> bool {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let mut at = 0;
    short.iter().any(|id| {
        at = gallop(long, at, *id);
        long.get(at) == Some(id)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn set() -> impl Strategy<Value = BTreeSet<u32>> {
        prop_oneof![
            prop::collection::btree_set(0_u32..200, 0..100),
            prop::collection::btree_set(any::<u32>(), 0..20),
            prop::collection::btree_set(0_u32..100_000, 0..2000),
        ]
    }

    fn list(s: &BTreeSet<u32>) -> List<'static> {
        Cow::Owned(s.iter().copied().collect())
    }

    proptest! {
        #[test]
        fn as_sets_do(sets in prop::collection::vec(set(), 1..5)) {
            let lists = || sets.iter().map(list).collect::<Vec<_>>();
            let all = sets.iter().skip(1).fold(sets[0].clone(), |a, b| &a & b);
            prop_assert_eq!(&*intersect(lists()), &*list(&all));
            let any = sets.iter().fold(BTreeSet::new(), |a, b| &a | b);
            prop_assert_eq!(&*union(lists()), &*list(&any));
            let (a, b) = (&sets[0], &sets[sets.len() - 1]);
            prop_assert_eq!(&*without(list(a), &list(b)), &*list(&(a - b)));
            prop_assert_eq!(intersects(&list(a), &list(b)), !a.is_disjoint(b));
        }
    }
}
