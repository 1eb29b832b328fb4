//! What is done to alerts before they are queued: external labels where they have none of that name, then
//! relabeling.

use std::sync::Arc;

use model::labels::STRING_BYTES_MAX;
use model::relabel::{self, RelabelConfig};
use model::{Alert, Labels};

/// The alerts that are to be sent, with their labels as they are to be sent.
pub(crate) fn prepare(rules: &[RelabelConfig], external: &Labels, alerts: &[Arc<Alert>]) -> Vec<Arc<Alert>> {
    alerts.iter().filter_map(|alert| prepare_one(rules, external, alert)).collect()
}

fn prepare_one(rules: &[RelabelConfig], external: &Labels, alert: &Arc<Alert>) -> Option<Arc<Alert>> {
    let mut builder = alert.labels.to_builder();
    for (name, value) in external {
        if alert.labels.get(name).is_empty() {
            builder.set(name, value);
        }
    }
    if !relabel::process(rules, &mut builder) {
        return None;
    }
    // Packed labels have no room for more.
    if builder.iter().any(|(name, value)| name.len().max(value.len()) > STRING_BYTES_MAX) {
        tracing::error!(
            alert = alert.labels.get("alertname"),
            "alert left out: relabeling made a label longer than {STRING_BYTES_MAX} bytes"
        );
        return None;
    }
    let labels = builder.build();
    Some(if labels == alert.labels {
        Arc::clone(alert)
    } else {
        Arc::new(Alert { labels, ..(**alert).clone() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::name::ValidationScheme;
    use model::relabel::{RelabelAction, RelabelParts};

    #[test]
    fn external_labels_fill_gaps_and_rules_have_the_last_word() {
        let alert = |pairs: &[(&str, &str)]| {
            Arc::new(Alert {
                labels: Labels::from_pairs(pairs.iter().copied()),
                annotations: Vec::new(),
                starts_at_ms: 0,
                ends_at_ms: 0,
                generator_url: String::new(),
            })
        };
        let external = Labels::from_pairs([("cluster", "a"), ("replica", "1")]);
        let drop = RelabelParts {
            source_labels: Some(vec!["alertname".into()]),
            regex: Some("Noise.*".into()),
            action: RelabelAction::Drop,
            ..RelabelParts::default()
        };
        let without = RelabelParts {
            regex: Some("replica".into()),
            action: RelabelAction::LabelDrop,
            ..RelabelParts::default()
        };
        let rules: Vec<_> = [drop, without]
            .into_iter()
            .map(|parts| RelabelConfig::new(parts, ValidationScheme::Utf8).unwrap())
            .collect();
        let given = [
            alert(&[("alertname", "Down")]),
            alert(&[("alertname", "Noisy")]),
            alert(&[("alertname", "Noise1")]),
            alert(&[("alertname", "Up"), ("cluster", "b")]),
        ];
        let made: Vec<_> = prepare(&rules, &external, &given).iter().map(|a| a.labels.clone()).collect();
        assert_eq!(
            made,
            [
                Labels::from_pairs([("alertname", "Down"), ("cluster", "a")]),
                Labels::from_pairs([("alertname", "Noisy"), ("cluster", "a")]),
                Labels::from_pairs([("alertname", "Up"), ("cluster", "b")]),
            ]
        );
        // Nothing to change: the same alert.
        assert!(Arc::ptr_eq(&prepare(&[], &Labels::empty(), &given)[0], &given[0]));
    }
}
