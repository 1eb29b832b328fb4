//! Label sets of results: what is dropped, kept, joined.

use model::Labels;
use model::labels::METRIC_NAME;

/// Without name, type and unit, which say what the samples are and end when they are calculated with.
pub(crate) fn without_metadata(labels: &Labels) -> Labels {
    if METADATA.iter().all(|n| labels.find(n).is_none()) {
        return labels.clone();
    }
    labels.filtered(|n| !is_metadata(n))
}

const METADATA: [&str; 3] = [METRIC_NAME, "__type__", "__unit__"];

pub(crate) fn is_metadata(name: &str) -> bool {
    METADATA.contains(&name)
}

/// The labels that two sides are matched by.
pub(crate) fn match_labels(labels: &Labels, on: bool, names: &[String]) -> Labels {
    labels.filtered(|n| {
        let named = names.iter().any(|x| x == n);
        if on { named } else { !named && n != METRIC_NAME }
    })
}

/// Which labels a group has. `names` is sorted.
pub(crate) fn of_group(without: bool, names: &[String]) -> impl Fn(&str) -> bool + '_ {
    move |n| {
        let named = names.binary_search_by(|x| x.as_str().cmp(n)).is_ok();
        if without { !named && n != METRIC_NAME } else { named }
    }
}

/// Labels of a group.
pub(crate) fn group_labels(labels: &Labels, without: bool, names: &[String]) -> Labels {
    if !without && names.is_empty() { Labels::empty() } else { labels.filtered(of_group(without, names)) }
}
