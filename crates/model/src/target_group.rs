//! What discovery hands to scrape: targets that share labels, under a name that says where they come from.

use std::collections::BTreeMap;

/// Labels of discovered targets, before relabeling.
pub type LabelMap = BTreeMap<String, String>;

/// A group of targets from one source. A later group with the same `source` replaces it; one without
/// targets removes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetGroup {
    /// Each target's own labels; `__address__` is the one that must be there.
    pub targets: Vec<LabelMap>,
    /// Labels common to all.
    pub labels: LabelMap,
    /// Identifies the group within its provider: a file and index, a URL, a DNS name.
    pub source: String,
}
