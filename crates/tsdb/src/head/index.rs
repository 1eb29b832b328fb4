//! The head's index: labels as numbers of interned (name, value) pairs, a list of series for each pair, and
//! the way from a label set to its series.
//!
//! A pair's number stands for its strings, for its list, and for the label in a series: four bytes a label.
//! Hash tables hold no keys: 24 bits of hash beside the series number, and strings compared only where
//! those agree.

use std::sync::OnceLock;

use hashbrown::HashTable;
use model::Labels;
use xxhash_rust::xxh3::xxh3_64;

use super::postings::Postings;

/// Series numbers stay below this, as in upstream's chunk references.
pub(crate) const SERIES_MAX: u64 = 1 << 40;
/// Sub-tables, so that growing one holds the index for a 64th of the time.
pub(super) const SHARDS: usize = 64;

#[derive(Debug)]
pub(super) struct Name {
    pub(super) name: Box<str>,
    pub(super) values: HashTable<u32>,
}

#[derive(Debug, Default)]
pub(super) struct Pair {
    pub(super) name: u32,
    pub(super) value: Box<str>,
    pub(super) postings: Postings,
}

/// The index. The owner locks around it.
#[derive(Debug, Default)]
pub(crate) struct HeadIndex {
    pub(super) names: Vec<Name>,
    pub(super) name_ids: HashTable<u32>,
    pub(super) pairs: Vec<Pair>,
    pub(super) free: Vec<u32>,
    pub(super) by_hash: Vec<Shard>,
    pub(super) all: Postings,
    removed: u64,
    pub(super) last: u64,
}

/// A sub-table. After a start from an image its entries only, until someone looks for one.
#[derive(Debug, Default)]
pub(super) struct Shard {
    entries: Vec<u64>,
    table: OnceLock<HashTable<u64>>,
}

impl Shard {
    /// Of entries, each once.
    pub(super) fn asleep(entries: Vec<u64>) -> Self {
        Shard { entries, table: OnceLock::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.table.get().map_or(self.entries.len(), HashTable::len)
    }

    pub(super) fn table(&self) -> &HashTable<u64> {
        self.table.get_or_init(|| {
            let mut table = HashTable::with_capacity(self.entries.len());
            for entry in &self.entries {
                table.insert_unique(entry_hash(entry), *entry, entry_hash);
            }
            table
        })
    }

    fn memory(&self) -> usize {
        self.table.get().map_or(0, |t| t.capacity() * 9) + self.entries.capacity() * 8
    }

    fn table_mut(&mut self) -> Option<&mut HashTable<u64>> {
        self.table();
        self.entries = Vec::new();
        self.table.get_mut()
    }
}

fn short_hash(hash: u64) -> u64 {
    hash >> 40
}

/// Spreads 24 bits over 64, since the table uses both ends of a hash.
fn table_hash(short: u64) -> u64 {
    short.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

pub(super) fn entry_hash(entry: &u64) -> u64 {
    table_hash(entry >> 40)
}

fn shard(hash: u64) -> usize {
    hash as usize % SHARDS
}

impl HeadIndex {
    pub(crate) fn new() -> Self {
        HeadIndex { by_hash: (0..SHARDS).map(|_| Shard::default()).collect(), ..HeadIndex::default() }
    }

    /// Number of series.
    pub(crate) fn len(&self) -> u64 {
        u64::from(self.all.len())
    }

    /// Says that numbers up to this one were used once.
    pub(crate) fn reserve_series(&mut self, series: u64) {
        if series < SERIES_MAX {
            self.last = self.last.max(series);
        }
    }

    pub(super) fn pair_id(&self, name: &str, value: &str) -> Option<u32> {
        let name = self.names.get(self.name_id(name)? as usize)?;
        let same = |id: &u32| self.pairs.get(*id as usize).is_some_and(|p| &*p.value == value);
        name.values.find(xxh3_64(value.as_bytes()), same).copied()
    }

    /// Number of series that have this label.
    pub(crate) fn series_with(&self, name: &str, value: &str) -> u64 {
        let pair = self.pair_id(name, value).and_then(|id| self.pairs.get(id as usize));
        pair.map_or(0, |p| u64::from(p.postings.len()))
    }

    pub(super) fn name_id(&self, name: &str) -> Option<u32> {
        let same = |id: &u32| self.names.get(*id as usize).is_some_and(|n| &*n.name == name);
        self.name_ids.find(xxh3_64(name.as_bytes()), same).copied()
    }

    fn intern(&mut self, name: &str, value: &str) -> u32 {
        let name_id = match self.name_id(name) {
            Some(id) => id,
            None => {
                let id = self.names.len() as u32;
                self.names.push(Name { name: name.into(), values: HashTable::new() });
                let names = &self.names;
                let hash = |id: &u32| names.get(*id as usize).map_or(0, |n| xxh3_64(n.name.as_bytes()));
                self.name_ids.insert_unique(xxh3_64(name.as_bytes()), id, hash);
                id
            }
        };
        let Some(entry) = self.names.get_mut(name_id as usize) else { return 0 };
        let value_hash = xxh3_64(value.as_bytes());
        let pairs = &self.pairs;
        let same = |id: &u32| pairs.get(*id as usize).is_some_and(|p| &*p.value == value);
        if let Some(id) = entry.values.find(value_hash, same) {
            return *id;
        }
        let pair = Pair { name: name_id, value: value.into(), postings: Postings::default() };
        let id = match self.free.pop() {
            Some(id) => {
                if let Some(slot) = self.pairs.get_mut(id as usize) {
                    *slot = pair;
                }
                id
            }
            None => {
                self.pairs.push(pair);
                self.pairs.len() as u32 - 1
            }
        };
        let pairs = &self.pairs;
        let hash = |id: &u32| pairs.get(*id as usize).map_or(0, |p| xxh3_64(p.value.as_bytes()));
        entry.values.insert_unique(value_hash, id, hash);
        id
    }

    /// The series of a label set. `pairs_of` gives a series' pair numbers.
    pub(crate) fn find(
        &self,
        hash: u64,
        labels: &Labels,
        pairs_of: &dyn Fn(u64, &mut Vec<u32>) -> bool,
    ) -> Option<u64> {
        let table = self.by_hash.get(shard(hash))?.table();
        let short = short_hash(hash);
        let mut pairs = Vec::new();
        let same = |entry: &u64| {
            entry >> 40 == short && {
                pairs.clear();
                pairs_of(entry % SERIES_MAX, &mut pairs) && self.equal(&pairs, labels)
            }
        };
        table.find(table_hash(short), same).map(|entry| entry % SERIES_MAX)
    }

    fn equal(&self, pairs: &[u32], labels: &Labels) -> bool {
        let mut other = labels.iter();
        pairs.iter().all(|id| self.pair(*id) == other.next()) && other.next().is_none()
    }

    fn pair(&self, id: u32) -> Option<(&str, &str)> {
        let pair = self.pairs.get(id as usize)?;
        Some((&self.names.get(pair.name as usize)?.name, &pair.value))
    }

    /// Adds a series that [`HeadIndex::find`] does not know, under the next number or the given one, and
    /// returns it with its pair numbers; `None` where numbers are used up.
    pub(crate) fn add(&mut self, hash: u64, labels: &Labels, number: Option<u64>) -> Option<(u64, Vec<u32>)> {
        let series = number.unwrap_or(self.last + 1);
        if series >= SERIES_MAX {
            return None;
        }
        self.last = self.last.max(series);
        let mut pairs = Vec::with_capacity(16);
        for (name, value) in labels {
            let id = self.intern(name, value);
            if let Some(pair) = self.pairs.get_mut(id as usize) {
                pair.postings.push(series);
            }
            pairs.push(id);
        }
        self.all.push(series);
        let entry = short_hash(hash) << 40 | series;
        if let Some(table) = self.by_hash.get_mut(shard(hash)).and_then(Shard::table_mut) {
            table.insert_unique(entry_hash(&entry), entry, entry_hash);
        }
        Some((series, pairs))
    }

    /// The label set behind pair numbers.
    pub(crate) fn labels(&self, pairs: &[u32]) -> Labels {
        Labels::from_sorted(pairs.iter().filter_map(|id| self.pair(*id)))
    }

    /// Takes series out: `gone` holds (label hash, number, pairs).
    pub(crate) fn remove(&mut self, gone: &[(u64, u64, Vec<u32>)]) {
        let numbers: hashbrown::HashSet<u64> = gone.iter().map(|(_, n, _)| *n).collect();
        gone.iter().for_each(|(hash, number, _)| self.unlink(*hash, *number));
        let mut pairs: Vec<u32> = gone.iter().flat_map(|(_, _, pairs)| pairs.iter().copied()).collect();
        pairs.sort_unstable();
        pairs.dedup();
        pairs.into_iter().for_each(|id| {
            self.sweep(id, &numbers);
        });
        self.sweep_all(&numbers);
    }

    /// Makes a series impossible to find by its labels. Lists have its number until they are swept; numbers
    /// never come again, so that a number without a series is passed over.
    pub(crate) fn unlink(&mut self, hash: u64, number: u64) {
        let entry = short_hash(hash) << 40 | number;
        if let Some(table) = self.by_hash.get_mut(shard(hash)).and_then(Shard::table_mut)
            && let Ok(found) = table.find_entry(entry_hash(&entry), |e| *e == entry)
        {
            found.remove();
        }
    }

    /// Takes numbers out of a pair's list; the pair goes where none is left. Returns how many it had.
    pub(crate) fn sweep(&mut self, id: u32, gone: &hashbrown::HashSet<u64>) -> usize {
        let Some(pair) = self.pairs.get_mut(id as usize) else { return 0 };
        let before = pair.postings.len() as usize;
        pair.postings = pair.postings.iter().filter(|s| !gone.contains(s)).collect();
        if before == 0 || pair.postings.len() > 0 {
            return before;
        }
        let pair = std::mem::take(pair);
        if let Some(name) = self.names.get_mut(pair.name as usize)
            && let Ok(found) = name.values.find_entry(xxh3_64(pair.value.as_bytes()), |v| *v == id)
        {
            found.remove();
        }
        self.free.push(id);
        before
    }

    /// Takes numbers out of the list of all series.
    pub(crate) fn sweep_all(&mut self, gone: &hashbrown::HashSet<u64>) {
        self.all = self.all.iter().filter(|s| !gone.contains(s)).collect();
        self.removed += gone.len() as u64;
    }

    /// Makes a sub-table of what a start left of it, if it has not been made.
    pub(super) fn wake(&mut self, shard: usize) {
        self.by_hash.get_mut(shard).map(Shard::table_mut);
    }

    /// All series.
    pub(super) fn all_series(&self) -> Vec<u64> {
        self.all.iter().collect()
    }

    /// Pairs of a name.
    pub(super) fn values_of(&self, name: &str) -> impl Iterator<Item = u32> {
        let entry = self.name_id(name).and_then(|id| self.names.get(id as usize));
        entry.into_iter().flat_map(|n| n.values.iter().copied())
    }

    /// How many pairs a name has.
    pub(super) fn value_count(&self, name: &str) -> usize {
        let entry = self.name_id(name).and_then(|id| self.names.get(id as usize));
        entry.map_or(0, |n| n.values.len())
    }

    /// How many series a pair has.
    pub(super) fn series_count(&self, name: &str, value: &str) -> usize {
        let pair = self.pair_id(name, value).and_then(|id| self.pairs.get(id as usize));
        pair.map_or(0, |p| p.postings.len() as usize)
    }

    /// Series of several pairs.
    pub(super) fn union(&self, ids: Vec<u32>) -> Vec<u64> {
        let lists = ids.iter().filter_map(|id| self.pairs.get(*id as usize));
        let mut all: Vec<u64> = lists.flat_map(|p| p.postings.iter()).collect();
        if ids.len() > 1 {
            // Runs of sorted numbers, which the standard sort merges.
            all.sort();
            all.dedup();
        }
        all
    }

    /// Sorted label names; only those of the given series where some are given.
    pub(crate) fn label_names(&self) -> Vec<String> {
        let used = self.names.iter().filter(|n| !n.values.is_empty());
        let mut all: Vec<String> = used.map(|n| n.name.to_string()).collect();
        all.sort_unstable();
        all
    }

    /// Sorted values of a label.
    pub(crate) fn label_values(&self, name: &str) -> Vec<String> {
        let Some(entry) = self.name_id(name).and_then(|id| self.names.get(id as usize)) else {
            return Vec::new();
        };
        let value = |id: &u32| self.pairs.get(*id as usize).map(|p| p.value.to_string());
        let mut all: Vec<String> = entry.values.iter().filter_map(value).collect();
        all.sort_unstable();
        all
    }

    /// Value and name number of each pair, for collecting names and values of some series.
    pub(crate) fn pair_strings(&self, id: u32) -> Option<(&str, &str)> {
        self.pair(id)
    }

    /// Calls `f(name, value, series count, bytes)` for each pair in use.
    pub(crate) fn each_pair(&self, mut f: impl FnMut(&str, &str, u64)) {
        for (id, pair) in self.pairs.iter().enumerate().filter(|(_, p)| p.postings.len() > 0) {
            if let Some((name, value)) = self.pair(id as u32) {
                f(name, value, u64::from(pair.postings.len()));
            }
        }
    }

    /// Name number and value of a pair, for copying strings.
    pub(crate) fn pair_parts(&self, id: u32) -> Option<(u32, &str)> {
        self.pairs.get(id as usize).map(|p| (p.name, &*p.value))
    }

    /// Label names by number.
    pub(crate) fn names(&self) -> Vec<Box<str>> {
        self.names.iter().map(|n| n.name.clone()).collect()
    }

    /// Bytes of the index, roughly.
    pub(crate) fn memory(&self) -> usize {
        let pairs: usize =
            self.pairs.iter().map(|p| size_of::<Pair>() + p.value.len() + p.postings.memory()).sum();
        let tables: usize = self.by_hash.iter().map(Shard::memory).sum();
        pairs + tables + self.all.memory()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{MatchOp, Matcher};
    use std::cell::RefCell;
    use std::collections::BTreeMap;

    struct World {
        index: HeadIndex,
        pairs: RefCell<BTreeMap<u64, Vec<u32>>>,
    }

    impl World {
        fn add(&mut self, pairs: &[(&str, &str)]) -> u64 {
            let labels = Labels::from_pairs(pairs.iter().copied());
            if let Some(found) = self.find(&labels) {
                return found;
            }
            let (series, ids) = self.index.add(labels.hash(), &labels, None).unwrap();
            assert_eq!(self.index.labels(&ids), labels);
            self.pairs.borrow_mut().insert(series, ids);
            series
        }
        fn find(&self, labels: &Labels) -> Option<u64> {
            self.index.find(labels.hash(), labels, &|series, out| self.pairs_of(series, out))
        }
        fn pairs_of(&self, series: u64, out: &mut Vec<u32>) -> bool {
            self.pairs.borrow().get(&series).is_some_and(|p| {
                out.extend_from_slice(p);
                true
            })
        }
        fn select(&self, matchers: &[(MatchOp, &str, &str)]) -> Vec<u64> {
            let make = |(op, n, v): &(MatchOp, &str, &str)| Matcher::new(*op, *n, *v).unwrap();
            let matchers: Vec<Matcher> = matchers.iter().map(make).collect();
            let ctx = storage::QueryContext::unlimited();
            self.index.select(&ctx, &matchers, &|series, out| self.pairs_of(series, out)).unwrap()
        }
    }

    #[test]
    fn finds_selects_and_forgets() {
        let mut w = World { index: HeadIndex::new(), pairs: RefCell::default() };
        let a = w.add(&[("__name__", "up"), ("job", "a")]);
        let b = w.add(&[("__name__", "up"), ("job", "b"), ("zone", "1")]);
        let c = w.add(&[("__name__", "down"), ("job", "a")]);
        assert_eq!((w.add(&[("__name__", "up"), ("job", "a")]), w.index.len()), (a, 3));
        use MatchOp::{Equal, NotEqual, NotRegex, Regex};
        assert_eq!(w.select(&[(Equal, "__name__", "up")]), [a, b]);
        assert_eq!(w.select(&[(Equal, "__name__", "up"), (NotEqual, "job", "a")]), [b]);
        assert_eq!(w.select(&[(Regex, "job", "a|b"), (NotRegex, "__name__", "up")]), [c]);
        assert_eq!(w.select(&[(Equal, "zone", "")]), [a, c]);
        assert_eq!(w.select(&[(NotEqual, "zone", "")]), [b]);
        assert_eq!(w.select(&[(Regex, "zone", ".*")]), [a, b, c]);
        assert_eq!(w.select(&[(Regex, "zone", ".+")]), [b]);
        assert_eq!(w.select(&[(Regex, "nope", "x?")]), [a, b, c]);
        assert_eq!(w.select(&[]), [a, b, c]);
        assert!(w.select(&[(Equal, "job", "zzz")]).is_empty());
        let gone = Labels::from_pairs([("__name__", "up"), ("job", "b"), ("zone", "1")]);
        let pairs = w.pairs.borrow_mut().remove(&b).unwrap();
        w.index.remove(&[(gone.hash(), b, pairs)]);
        assert_eq!((w.find(&gone), w.index.len()), (None, 2));
        assert_eq!(w.index.label_names(), ["__name__", "job"]);
        assert_eq!(w.index.label_values("job"), ["a"]);
        let d = w.add(&[("zone", "2")]);
        assert!(d > c && w.select(&[(Equal, "zone", "2")]) == [d]);
    }

    #[test]
    fn few_series_and_many_values_give_what_many_series_give() {
        let mut w = World { index: HeadIndex::new(), pairs: RefCell::default() };
        for pod in 0..400 {
            let (pod, job) = (format!("pod-{pod}"), format!("job-{}", pod % 100));
            w.add(&[("__name__", "up"), ("job", &job), ("pod", &pod)]);
            w.add(&[("__name__", "down"), ("job", &job)]);
        }
        use MatchOp::{Equal, NotEqual, NotRegex, Regex};
        let job = (Equal, "job", "job-7");
        for others in [
            &[(Regex, "pod", "pod-.*7")][..],
            &[(NotRegex, "pod", "pod-.*07")],
            &[(NotEqual, "pod", "")],
            &[(Equal, "pod", "")],
            &[(Regex, "pod", "(pod-1.*)?")],
            &[(Regex, "pod", ".+1.+"), (NotRegex, "pod", "pod-10.+"), (Regex, "__name__", "u.+")],
            &[(Regex, "none", ".+x")],
            &[(NotRegex, "none", ".+x")],
        ] {
            let all = w.select(others);
            let of_job = w.select(&[job]);
            let want: Vec<u64> = of_job.into_iter().filter(|s| all.contains(s)).collect();
            assert_eq!(w.select(&[others, &[job]].concat()), want, "{others:?}");
        }
    }
}
