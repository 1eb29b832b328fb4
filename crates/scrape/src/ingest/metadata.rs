//! TYPE, HELP and UNIT of a target's families, shared with the API.

use std::collections::HashMap;
use std::sync::Arc;

use model::MetricMetadata;
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
/// writes. Locked once per change, never per sample.
#[derive(Clone, Debug, Default)]
pub struct TargetMetadata {
    families: Arc<Mutex<HashMap<String, MetricMetadata>>>,
}

impl TargetMetadata {
    /// All families, in no order.
    #[must_use]
    pub fn list(&self) -> Vec<MetadataEntry> {
        let families = self.families.lock();
        let entry = |(family, metadata): (&String, &MetricMetadata)| MetadataEntry {
            family: family.clone(),
            metadata: metadata.clone(),
        };
        families.iter().map(entry).collect()
    }

    /// One family.
    #[must_use]
    pub fn get(&self, family: &str) -> Option<MetricMetadata> {
        self.families.lock().get(family).cloned()
    }

    /// Number of families.
    #[must_use]
    pub fn len(&self) -> usize {
        self.families.lock().len()
    }

    /// True where there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of type, help and unit, for `prometheus_target_metadata_cache_bytes`.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let families = self.families.lock();
        families.values().map(|m| m.kind.as_str().len() + m.help.len() + m.unit.len()).sum()
    }

    pub(super) fn update(&self, family: &str, change: impl FnOnce(&mut MetricMetadata)) {
        let mut families = self.families.lock();
        match families.get_mut(family) {
            Some(metadata) => change(metadata),
            None => change(families.entry(family.to_string()).or_default()),
        }
    }

    pub(super) fn remove(&self, family: &str) {
        self.families.lock().remove(family);
    }
}
