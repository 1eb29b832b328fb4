//! Label sets of results: what is dropped, kept, joined.

use model::Labels;
use model::labels::METRIC_NAME;

/// Without name, type and unit, which say what the samples are and end when they are calculated with.
pub(crate) fn without_metadata(labels: &Labels) -> Labels {
    if !labels.iter().any(|(n, _)| is_metadata(n)) {
        return labels.clone();
    }
    labels.filtered(|n| !is_metadata(n))
}

pub(crate) fn is_metadata(name: &str) -> bool {
    matches!(name, METRIC_NAME | "__type__" | "__unit__")
}

/// The labels that two sides are matched by.
pub(crate) fn match_labels(labels: &Labels, on: bool, names: &[String]) -> Labels {
    labels.filtered(|n| {
        let named = names.iter().any(|x| x == n);
        if on { named } else { !named && n != METRIC_NAME }
    })
}

/// Labels of a group. `names` is sorted.
pub(crate) fn group_labels(labels: &Labels, without: bool, names: &[String]) -> Labels {
    match (without, names.is_empty()) {
        (true, _) => {
            labels.filtered(|n| n != METRIC_NAME && names.binary_search_by(|x| x.as_str().cmp(n)).is_err())
        }
        (false, true) => Labels::empty(),
        (false, false) => labels.filtered(|n| names.binary_search_by(|x| x.as_str().cmp(n)).is_ok()),
    }
}
