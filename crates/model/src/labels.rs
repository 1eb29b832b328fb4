//! Label sets: one packed, immutable, shared buffer, so that a clone is a reference count and a
//! comparison of equal sets is one `memcmp`.
//!
//! Encoding, for each label in bytewise order of names: size, name bytes, size, value bytes. A size
//! below 255 is one byte; else it is `0xff` and three bytes little-endian. That is the layout upstream
//! hashes (`model/labels/labels_stringlabels.go`), so [`Labels::hash`] equals `Labels.Hash()` there and
//! scrape offsets fall on the same phase. Rejected: a `Vec` of pairs (two allocations a label) and
//! interned ids (they need a table in every crate; the head of `tsdb` does that for itself).

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use xxhash_rust::xxh64::xxh64;

/// Label that holds the metric's name.
pub const METRIC_NAME: &str = "__name__";
/// Upper bound of one name or value in bytes: what three size bytes can say.
pub const STRING_BYTES_MAX: usize = (1 << 24) - 1;

/// An immutable label set, sorted bytewise by name, without duplicate names and without empty values.
#[derive(Clone, PartialEq, Eq)]
pub struct Labels {
    buf: Arc<[u8]>,
}

impl Default for Labels {
    fn default() -> Self {
        Labels::empty()
    }
}

impl Labels {
    /// The set without labels.
    #[must_use]
    pub fn empty() -> Self {
        Labels { buf: Arc::from(&[][..]) }
    }

    /// Builds a set from pairs in any order. Of equal names the last one counts; empty values are
    /// dropped, as an empty value and an absent label are the same thing.
    pub fn from_pairs<N: AsRef<str>, V: AsRef<str>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        let mut builder = LabelsBuilder::new();
        for (name, value) in pairs {
            builder.set(name.as_ref(), value.as_ref());
        }
        builder.build()
    }

    /// Builds a set from pairs that are sorted by name, unique and non-empty already (checked in debug
    /// builds). This is the way out of an index or a WAL record.
    pub fn from_sorted<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        // Labels of a container or a bucket have 200 bytes.
        let mut buf = Vec::with_capacity(256);
        #[cfg(debug_assertions)]
        let mut previous: Option<String> = None;
        for (name, value) in pairs {
            #[cfg(debug_assertions)]
            {
                debug_assert!(previous.as_deref().is_none_or(|p| p < name), "unsorted label {name:?}");
                previous = Some(name.to_string());
            }
            push_string(&mut buf, name);
            push_string(&mut buf, value);
        }
        Labels { buf: Arc::from(buf) }
    }

    /// The packed bytes: equal sets have equal bytes. Used as a map key and by [`Labels::hash`].
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.buf
    }

    /// Whether someone else holds the same buffer, whose bytes then are not this one's alone.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.buf) > 1
    }

    /// xxh64 of the packed bytes; equal to upstream's `Labels.Hash()`.
    #[must_use]
    pub fn hash(&self) -> u64 {
        xxh64(&self.buf, 0)
    }

    /// True for the set without labels.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// Number of labels. Walks the buffer: O(labels).
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Value of a label, or "" where it is absent (upstream's `Get`).
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.find(name).unwrap_or("")
    }

    /// Value of a label if present.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&str> {
        let mut rest = &*self.buf;
        while !rest.is_empty() {
            let (n, v) = (take_bytes(&mut rest), take_bytes(&mut rest));
            match n.cmp(name.as_bytes()) {
                Ordering::Less => {}
                Ordering::Equal => return Some(text(v)),
                Ordering::Greater => return None,
            }
        }
        None
    }

    /// The metric's name, or "".
    #[must_use]
    pub fn metric_name(&self) -> &str {
        self.get(METRIC_NAME)
    }

    /// Labels in order of names.
    #[must_use]
    pub fn iter(&self) -> Iter<'_> {
        Iter { rest: &self.buf }
    }

    /// Hash over the values of `names` (sorted), as name, 0xff, value, 0xff: upstream's `HashForLabels`.
    #[must_use]
    pub fn hash_for(&self, names: &[&str], scratch: &mut Vec<u8>) -> u64 {
        self.hash_filtered(scratch, |name| names.binary_search(&name).is_ok())
    }

    /// Hash over all labels but `names` (sorted) and the metric name: upstream's `HashWithoutLabels`.
    #[must_use]
    pub fn hash_without(&self, names: &[&str], scratch: &mut Vec<u8>) -> u64 {
        self.hash_filtered(scratch, |name| name != METRIC_NAME && names.binary_search(&name).is_err())
    }

    fn hash_filtered(&self, scratch: &mut Vec<u8>, keep: impl Fn(&str) -> bool) -> u64 {
        scratch.clear();
        for (name, value) in self {
            if keep(name) {
                scratch.extend_from_slice(name.as_bytes());
                scratch.push(0xff);
                scratch.extend_from_slice(value.as_bytes());
                scratch.push(0xff);
            }
        }
        xxh64(scratch, 0)
    }

    /// The labels for which `keep` holds.
    #[must_use]
    pub fn filtered(&self, keep: impl FnMut(&str) -> bool) -> Labels {
        let mut buf = Vec::with_capacity(self.buf.len());
        self.filtered_into(keep, &mut buf);
        Labels { buf: Arc::from(buf) }
    }

    /// The packed bytes of the labels for which `keep` holds, in place of what `out` has: [`Labels::as_bytes`] of
    /// [`Labels::filtered`] without its allocation. Values are copied unseen.
    pub fn filtered_into(&self, mut keep: impl FnMut(&str) -> bool, out: &mut Vec<u8>) {
        out.clear();
        let mut rest = &*self.buf;
        while !rest.is_empty() {
            let before = rest;
            let name = take_bytes(&mut rest);
            take_bytes(&mut rest);
            if keep(text(name)) {
                out.extend_from_slice(&before[..before.len() - rest.len()]);
            }
        }
    }

    /// The set without the metric name.
    #[must_use]
    pub fn without_name(&self) -> Labels {
        self.filtered(|name| name != METRIC_NAME)
    }

    /// A builder that starts from this set.
    #[must_use]
    pub fn to_builder(&self) -> LabelsBuilder {
        LabelsBuilder { pairs: self.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect() }
    }
}

/// Order of upstream's `labels.Compare`: label by label, name before value, a prefix first.
impl Ord for Labels {
    fn cmp(&self, other: &Self) -> Ordering {
        compare_packed(&self.buf, &other.buf)
    }
}

impl PartialOrd for Labels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl std::hash::Hash for Labels {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.buf.hash(state);
    }
}

/// `{a="1", b="2"}` with Go-quoted values, as upstream prints a label set.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (i, (name, value)) in self.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            if crate::name::is_legacy_label_name(name) {
                f.write_str(name)?;
            } else {
                crate::name::write_quoted(f, name)?;
            }
            f.write_str("=")?;
            crate::name::write_quoted(f, value)?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<'a> IntoIterator for &'a Labels {
    type Item = (&'a str, &'a str);
    type IntoIter = Iter<'a>;
    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// Iterator over (name, value).
#[derive(Clone)]
pub struct Iter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Iter<'a> {
    type Item = (&'a str, &'a str);
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let name = take_string(&mut self.rest);
        let value = take_string(&mut self.rest);
        Some((name, value))
    }
}

fn push_string(buf: &mut Vec<u8>, s: &str) {
    let n = s.len();
    assert!(n <= STRING_BYTES_MAX, "label string of {n} bytes; callers bound it to {STRING_BYTES_MAX}");
    if n < 255 {
        buf.push(n as u8);
    } else {
        buf.extend_from_slice(&[0xff, n as u8, (n >> 8) as u8, (n >> 16) as u8]);
    }
    buf.extend_from_slice(s.as_bytes());
}

/// Size of the string that begins here, and of what says so.
#[inline]
fn size_of_string(rest: &[u8]) -> (usize, usize) {
    match rest[0] {
        0xff => (usize::from(rest[1]) | usize::from(rest[2]) << 8 | usize::from(rest[3]) << 16, 4),
        n => (usize::from(n), 1),
    }
}

#[inline]
fn take_bytes<'a>(rest: &mut &'a [u8]) -> &'a [u8] {
    let (size, head) = size_of_string(rest);
    let (bytes, tail) = rest[head..].split_at(size);
    *rest = tail;
    bytes
}

/// Bytes that two buffers begin with in common.
fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    let mut n = 0;
    for (x, y) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        let different = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if different != 0 {
            return n + (different.trailing_zeros() / 8) as usize;
        }
        n += 8;
    }
    n + a[n..].iter().zip(&b[n..]).take_while(|(x, y)| x == y).count()
}

/// Compares two sets string by string. Sorting series spends most of its time here: the strings before the first
/// byte that differs are stepped over by their sizes, and only the two in which it lies are compared.
fn compare_packed(a: &[u8], b: &[u8]) -> Ordering {
    let differ = common_prefix(a, b);
    if differ == a.len().min(b.len()) {
        return a.len().cmp(&b.len());
    }
    let mut at = 0;
    loop {
        // Up to `differ` both are the same, so a string begins here in both.
        let (size, head) = size_of_string(&a[at..]);
        let next = at + head + size;
        if next > differ {
            return take_bytes(&mut &a[at..]).cmp(take_bytes(&mut &b[at..]));
        }
        at = next;
    }
}

fn take_string<'a>(rest: &mut &'a [u8]) -> &'a str {
    text(take_bytes(rest))
}

fn text(bytes: &[u8]) -> &str {
    // The buffer is only ever written from `&str` by `push_string`; a checked conversion costs 5 % of a
    // large `series` answer and saves an `unsafe`.
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// A mutable label set, for relabeling and for building. Kept sorted by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LabelsBuilder {
    pairs: Vec<(String, String)>,
}

impl LabelsBuilder {
    /// An empty builder.
    #[must_use]
    pub fn new() -> Self {
        LabelsBuilder::default()
    }

    /// Value of a label, or "".
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.position(name).map_or("", |i| &self.pairs[i].1)
    }

    /// Sets a label; an empty value deletes it.
    pub fn set(&mut self, name: &str, value: &str) -> &mut Self {
        match self.position(name) {
            Ok(i) if value.is_empty() => {
                self.pairs.remove(i);
            }
            Ok(i) => {
                self.pairs[i].1.clear();
                self.pairs[i].1.push_str(value);
            }
            Err(_) if value.is_empty() => {}
            Err(i) => self.pairs.insert(i, (name.to_string(), value.to_string())),
        }
        self
    }

    /// Removes a label.
    pub fn del(&mut self, name: &str) -> &mut Self {
        if let Ok(i) = self.position(name) {
            self.pairs.remove(i);
        }
        self
    }

    /// Keeps the labels for which `keep(name, value)` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &str) -> bool) {
        self.pairs.retain(|(n, v)| keep(n, v));
    }

    /// Labels in order of names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// Removes all labels and keeps the memory.
    pub fn clear(&mut self) {
        self.pairs.clear();
    }

    /// True where no label is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// The immutable set.
    #[must_use]
    pub fn build(&self) -> Labels {
        Labels::from_sorted(self.iter())
    }

    fn position(&self, name: &str) -> Result<usize, usize> {
        self.pairs.binary_search_by(|(n, _)| n.as_str().cmp(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_that_of_the_strings() {
        // Values short and long, prefixes of one another, of equal and unequal sizes.
        let long = "x".repeat(300);
        let values = [
            "",
            "a",
            "ab",
            "b",
            "ab\u{e9}",
            "aaaaaaaaaaaaaaaaaaaaaaaa",
            long.as_str(),
            &long[..299],
            &long[..254],
            &long[..255],
        ];
        let mut sets = Vec::new();
        for a in values {
            for b in values {
                sets.push(Labels::from_pairs([("a", a), ("name", b)]));
                sets.push(Labels::from_pairs([("__name__", a), ("name", b), ("z", a)]));
            }
        }
        for x in &sets {
            for y in &sets {
                assert_eq!(x.cmp(y), x.iter().cmp(y.iter()), "{x} {y}");
            }
            let mut out = vec![1];
            x.filtered_into(|n| n != "name", &mut out);
            assert_eq!(out, Labels::from_sorted(x.iter().filter(|(n, _)| *n != "name")).as_bytes());
            assert_eq!(x.find("name"), x.iter().find(|(n, _)| *n == "name").map(|(_, v)| v));
            assert_eq!(x.find("nothing"), None);
        }
    }

    #[test]
    fn sorted_unique_without_empty_values() {
        let l = Labels::from_pairs([("b", "2"), ("a", "1"), ("c", ""), ("b", "3")]);
        assert_eq!(l.to_string(), r#"{a="1", b="3"}"#);
        assert_eq!((l.get("b"), l.get("c"), l.find("c"), l.len()), ("3", "", None, 2));
    }

    #[test]
    fn long_values_round_trip() {
        for n in [254, 255, 256, 65_536, 1 << 20] {
            let v = "x".repeat(n);
            let l = Labels::from_pairs([("a", v.as_str()), ("b", "y")]);
            assert_eq!((l.get("a").len(), l.get("b")), (n, "y"));
        }
    }

    #[test]
    fn order_is_by_label_not_by_bytes() {
        let a = Labels::from_pairs([("a", "zz")]);
        let b = Labels::from_pairs([("aa", "b")]);
        assert!(a < b && Labels::empty() < a);
    }
}
