//! TYPE, HELP and UNIT of a target's families, shared with the API.

use std::collections::HashMap;
use std::sync::Arc;

use model::{MetricMetadata, MetricType};
use parking_lot::Mutex;

/// One family of a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataEntry {
    /// Family name.
    pub family: String,
    /// Its metadata.
    pub metadata: MetricMetadata,
}

/// Metadata of a target's families. Clones share the data: the API holds one while the scrape loop
/// writes. Locked once per metadata line that is not as last time, never per sample.
#[derive(Clone, Debug, Default)]
pub struct TargetMetadata {
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    slots: Vec<Option<MetadataEntry>>,
    index: HashMap<String, u32>,
    free: Vec<u32>,
}

impl TargetMetadata {
    /// All families, in no order.
    #[must_use]
    pub fn list(&self) -> Vec<MetadataEntry> {
        self.table.lock().slots.iter().flatten().cloned().collect()
    }

    /// One family.
    #[must_use]
    pub fn get(&self, family: &str) -> Option<MetricMetadata> {
        let table = self.table.lock();
        let id = *table.index.get(family)?;
        table.slots.get(id as usize)?.as_ref().map(|e| e.metadata.clone())
    }

    /// Number of families.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.lock().index.len()
    }

    /// True where there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of type, help and unit, for `prometheus_target_metadata_cache_bytes`.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let size = |e: &MetadataEntry| {
            e.metadata.kind.as_str().len() + e.metadata.help.len() + e.metadata.unit.len()
        };
        self.table.lock().slots.iter().flatten().map(size).sum()
    }
}

/// One line of metadata.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change<'a> {
    Kind(MetricType),
    Help(&'a str),
    Unit(&'a str),
}

impl TargetMetadata {
    /// Applies a line; gives the family's number and whether that changed anything known before.
    pub(super) fn apply(&self, family: &str, change: Change<'_>) -> (u32, bool) {
        let mut table = self.table.lock();
        let id = match table.index.get(family) {
            Some(id) => *id,
            None => table.add(family),
        };
        let Some(Some(entry)) = table.slots.get_mut(id as usize) else { return (id, false) };
        let known = &mut entry.metadata;
        let changed = match change {
            Change::Kind(kind) => std::mem::replace(&mut known.kind, kind) != kind,
            Change::Help(help) => replace(&mut known.help, help),
            Change::Unit(unit) => replace(&mut known.unit, unit),
        };
        (id, changed)
    }

    /// Name and metadata by number.
    pub(super) fn by_id(&self, id: u32) -> Option<MetadataEntry> {
        self.table.lock().slots.get(id as usize)?.clone()
    }

    /// Forgets families.
    pub(super) fn remove(&self, ids: &[u32]) {
        let mut table = self.table.lock();
        for id in ids {
            if let Some(entry) = table.slots.get_mut(*id as usize).and_then(Option::take) {
                table.index.remove(&entry.family);
                table.free.push(*id);
            }
        }
    }
}

impl Table {
    fn add(&mut self, family: &str) -> u32 {
        let entry = MetadataEntry { family: family.to_string(), metadata: MetricMetadata::default() };
        let id = self.free.pop().unwrap_or(self.slots.len() as u32);
        match self.slots.get_mut(id as usize) {
            Some(slot) => *slot = Some(entry),
            None => self.slots.push(Some(entry)),
        }
        self.index.insert(family.to_string(), id);
        id
    }
}

fn replace(known: &mut String, new: &str) -> bool {
    if known == new {
        return false;
    }
    known.clear();
    known.push_str(new);
    true
}

/// Whether a series bears the name of a family or one that its type derives from it (upstream:
/// `isSeriesPartOfFamily`).
pub(super) fn is_part_of_family(metric: &str, family: &str, kind: MetricType) -> bool {
    if !metric.starts_with(family) {
        return false;
    }
    let cut = |name: &str, suffixes: &[&str]| {
        let cut = suffixes.iter().find_map(|s| name.strip_suffix(s));
        cut.unwrap_or(name).to_string()
    };
    match kind {
        MetricType::Counter => cut(metric, &["_total"]) == cut(family, &["_total"]),
        MetricType::Info => cut(metric, &["_info"]) == cut(family, &["_info"]),
        MetricType::Histogram => cut(metric, &["_bucket", "_sum", "_count"]) == family,
        MetricType::GaugeHistogram => cut(metric, &["_bucket", "_gsum", "_gcount"]) == family,
        MetricType::Summary => cut(metric, &["_sum", "_count"]) == family,
        MetricType::Gauge | MetricType::Stateset | MetricType::Unknown => metric == family,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_reused() {
        let m = TargetMetadata::default();
        assert_eq!(m.apply("a", Change::Kind(MetricType::Counter)), (0, true));
        assert_eq!(m.apply("a", Change::Kind(MetricType::Counter)), (0, false));
        assert_eq!(m.apply("b", Change::Help("x")), (1, true));
        assert_eq!((m.len(), m.bytes()), (2, "counter".len() + "unknown".len() + 1));
        m.remove(&[0]);
        assert_eq!((m.get("a"), m.len()), (None, 1));
        assert_eq!(m.apply("c", Change::Unit("s")), (0, true));
    }

    #[test]
    fn families() {
        use MetricType::{Counter, Histogram, Summary, Unknown};
        for (metric, family, kind, want) in [
            ("a_total", "a", Counter, true),
            ("a_total", "a_total", Counter, true),
            ("a", "a_total", Counter, false),
            ("a_bucket", "a", Histogram, true),
            ("a_bucket", "a", Summary, false),
            ("ab", "a", Unknown, false),
            ("a", "a", Unknown, true),
        ] {
            assert_eq!(is_part_of_family(metric, family, kind), want, "{metric} {family}");
        }
    }
}
