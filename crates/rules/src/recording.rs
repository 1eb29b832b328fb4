//! Recording rules: the result of an expression under another name (upstream: `rules/recording.go`).

use std::collections::HashSet;

use model::labels::METRIC_NAME;
use promql::VectorSample;

use crate::evaluate::{EvalError, Written};
use crate::load::RuleSpec;

/// Names and labels put over a result.
pub(crate) fn written(
    spec: &RuleSpec,
    result: Vec<VectorSample>,
    limit: i64,
) -> Result<Vec<Written>, EvalError> {
    let mut seen = HashSet::with_capacity(result.len());
    let mut all = Vec::with_capacity(result.len());
    for sample in result {
        let mut labels = sample.labels.to_builder();
        labels.set(METRIC_NAME, &spec.name);
        for (name, value) in &spec.labels {
            labels.set(name, value);
        }
        let labels = labels.build();
        if !seen.insert(labels.clone()) {
            return Err(EvalError::DuplicateSeries);
        }
        all.push(Written { labels, value: sample.value });
    }
    if usize::try_from(limit).is_ok_and(|most| most > 0 && all.len() > most) {
        return Err(EvalError::Limit { limit, count: all.len(), what: "series" });
    }
    Ok(all)
}
