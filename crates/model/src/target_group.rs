//! What discovery hands to scrape: targets that share labels, under a name that says where they come from.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// Labels of discovered targets, before relabeling.
pub type LabelMap = BTreeMap<String, String>;

/// Label with a target's host and port, which every target has.
const ADDRESS: &str = "__address__";

/// One target's own labels. Most have nothing but an address: as a map that would be 600 bytes, here it is 90, and
/// discovery holds them for as long as the target is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetLabels(Box<[(Cow<'static, str>, Box<str>)]>);

impl TargetLabels {
    /// Nothing but an address.
    #[must_use]
    pub fn address(address: &str) -> Self {
        TargetLabels(Box::new([(Cow::Borrowed(ADDRESS), address.into())]))
    }

    /// The value of a label. Targets have a handful of labels: they are looked through.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// Whether it has a label.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    /// Names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }
}

impl From<LabelMap> for TargetLabels {
    fn from(map: LabelMap) -> Self {
        let name = |name: String| match name.as_str() {
            ADDRESS => Cow::Borrowed(ADDRESS),
            _ => Cow::Owned(name),
        };
        TargetLabels(map.into_iter().map(|(n, value)| (name(n), value.into_boxed_str())).collect())
    }
}

/// A group of targets from one source. A later group with the same `source` replaces it; one without
/// targets removes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetGroup {
    /// Each target's own labels; `__address__` is the one that must be there.
    pub targets: Vec<TargetLabels>,
    /// Labels common to all.
    pub labels: LabelMap,
    /// Identifies the group within its provider: a file and index, a URL, a DNS name.
    pub source: String,
}
