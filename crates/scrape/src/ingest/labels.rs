//! From exposed labels to stored ones: target labels, relabeling, limits (upstream: `mutateSampleLabels`,
//! `verifyLabelLimits`).

use exposition::{BuildNotes, LabelSource};
use model::labels::METRIC_NAME;
use model::name::ValidationScheme;
use model::{Labels, LabelsBuilder};

use super::{IngestFailure, IngestOptions, LabelLimits};

/// Prefix of exposed labels that give way to the target's.
const EXPORTED: &str = "exported_";

/// The labels a line is stored under, or `None` where relabeling drops it.
pub(super) fn final_labels(
    source: LabelSource<'_>,
    opts: &IngestOptions,
    builder: &mut LabelsBuilder,
) -> Result<Option<Labels>, IngestFailure> {
    let notes = source.build(builder).map_err(|e| IngestFailure::InvalidNames(e.0))?;
    add_target_labels(&opts.target_labels, opts.honor_labels, &notes, builder);
    if !model::relabel::process(&opts.metric_relabel, builder) || builder.is_empty() {
        return Ok(None);
    }
    if let Some(name) = notes.duplicate
        && !builder.get(&name).is_empty()
    {
        return Err(IngestFailure::DuplicateLabel(name));
    }
    if builder.get(METRIC_NAME).is_empty() {
        return Err(IngestFailure::NameMissing);
    }
    if !valid(builder, opts.validation) {
        return Err(IngestFailure::InvalidNames(builder.build().to_string()));
    }
    check_limits(builder, &opts.label_limits)?;
    Ok(Some(builder.build()))
}

fn add_target_labels(target: &Labels, honor: bool, notes: &BuildNotes, builder: &mut LabelsBuilder) {
    let mut conflicts: Vec<(&str, String)> = Vec::new();
    for (name, value) in target {
        let exposed = builder.get(name);
        if honor {
            // A label exposed as empty is exposed all the same.
            if exposed.is_empty() && !notes.emptied.iter().any(|n| n == name) {
                builder.set(name, value);
            }
            continue;
        }
        if !exposed.is_empty() {
            conflicts.push((name, exposed.to_string()));
        }
        builder.set(name, value);
    }
    // Short names first, so that `exported_` names that the target exposes itself find a place.
    conflicts.sort_by_key(|(name, _)| name.len());
    for (name, value) in conflicts {
        let mut renamed = format!("{EXPORTED}{name}");
        while !builder.get(&renamed).is_empty() {
            renamed.insert_str(0, EXPORTED);
        }
        builder.set(&renamed, &value);
    }
}

fn valid(builder: &LabelsBuilder, scheme: ValidationScheme) -> bool {
    let good = |(name, value): (&str, &str)| {
        scheme.is_valid_label_name(name) && (name != METRIC_NAME || scheme.is_valid_metric_name(value))
    };
    builder.iter().all(good)
}

fn first_chars(text: &str) -> &str {
    text.char_indices().nth(50).map_or(text, |(at, _)| text.get(..at).unwrap_or(text))
}

fn check_limits(builder: &LabelsBuilder, limits: &LabelLimits) -> Result<(), IngestFailure> {
    let metric = || first_chars(builder.get(METRIC_NAME));
    let exceeds = |n: usize, max: u64| max > 0 && n as u64 > max;
    let count = builder.iter().count();
    if exceeds(count, limits.labels_max) {
        let limit = limits.labels_max;
        return Err(IngestFailure::LabelLimit(format!(
            "label_limit exceeded (metric: {}, number of labels: {count}, limit: {limit})",
            metric()
        )));
    }
    if limits.name_bytes_max == 0 && limits.value_bytes_max == 0 {
        return Ok(());
    }
    for (name, value) in builder.iter() {
        if exceeds(name.len(), limits.name_bytes_max) {
            let (n, limit) = (name.len(), limits.name_bytes_max);
            return Err(IngestFailure::LabelLimit(format!(
                "label_name_length_limit exceeded (metric: {}, label name: {}, length: {n}, limit: {limit})",
                metric(),
                first_chars(name)
            )));
        }
        if exceeds(value.len(), limits.value_bytes_max) {
            let (n, limit) = (value.len(), limits.value_bytes_max);
            return Err(IngestFailure::LabelLimit(format!(
                "label_value_length_limit exceeded (metric: {}, label name: {}, value: {}, length: {n}, limit: {limit})",
                metric(),
                first_chars(name),
                model::name::Quoted(first_chars(value))
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(target: &[(&str, &str)], honor: bool, exposed: &[(&str, &str)], emptied: &[&str]) -> String {
        let mut b = Labels::from_pairs(exposed.iter().copied()).to_builder();
        let notes =
            BuildNotes { duplicate: None, emptied: emptied.iter().map(|s| (*s).to_string()).collect() };
        add_target_labels(&Labels::from_pairs(target.iter().copied()), honor, &notes, &mut b);
        b.build().to_string()
    }

    #[test]
    fn exported_labels_find_a_place() {
        assert_eq!(merged(&[("foo", "1")], false, &[("foo", "2")], &[]), r#"{exported_foo="2", foo="1"}"#);
        assert_eq!(
            merged(&[("foo", "1")], false, &[("foo", "2"), ("exported_foo", "3")], &[]),
            r#"{exported_exported_foo="2", exported_foo="3", foo="1"}"#
        );
        assert_eq!(
            merged(
                &[("foo", "1"), ("exported_foo", "4")],
                false,
                &[("foo", "2"), ("exported_foo", "3")],
                &[]
            ),
            r#"{exported_exported_exported_foo="3", exported_exported_foo="2", exported_foo="4", foo="1"}"#
        );
    }

    #[test]
    fn honored_labels_win_even_empty() {
        assert_eq!(merged(&[("job", "t")], true, &[("job", "x")], &[]), r#"{job="x"}"#);
        assert_eq!(merged(&[("job", "t")], true, &[], &["job"]), r"{}");
        assert_eq!(merged(&[("job", "t")], false, &[], &["job"]), r#"{job="t"}"#);
    }

    #[test]
    fn limits_word_what_they_limit() {
        let b = Labels::from_pairs([("__name__", "m"), ("abcdef", "x\ty")]).to_builder();
        let text = |l: LabelLimits| check_limits(&b, &l).err().map(|e| e.to_string());
        let none = LabelLimits::default();
        assert_eq!(text(none), None);
        assert_eq!(
            text(LabelLimits { labels_max: 1, ..none }).as_deref(),
            Some("label_limit exceeded (metric: m, number of labels: 2, limit: 1)")
        );
        assert_eq!(
            text(LabelLimits { name_bytes_max: 7, ..none }).as_deref(),
            Some("label_name_length_limit exceeded (metric: m, label name: __name__, length: 8, limit: 7)")
        );
        assert_eq!(
            text(LabelLimits { value_bytes_max: 2, ..none }).as_deref(),
            Some(
                r#"label_value_length_limit exceeded (metric: m, label name: abcdef, value: "x\ty", length: 3, limit: 2)"#
            )
        );
    }
}
