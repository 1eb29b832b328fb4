//! One view over blocks and head.

use model::Matcher;
use storage::{LabelHints, Querier, QueryContext, SelectHints, SeriesSet, StorageError, merge_sets};

/// A view made of views, oldest data first.
pub(super) struct DbQuerier {
    parts: Vec<Box<dyn Querier>>,
}

impl DbQuerier {
    pub(super) fn new(parts: Vec<Box<dyn Querier>>) -> Self {
        DbQuerier { parts }
    }

    fn merged(
        &self,
        hints: LabelHints,
        read: impl Fn(&dyn Querier) -> Result<Vec<String>, StorageError>,
    ) -> Result<Vec<String>, StorageError> {
        if let [only] = self.parts.as_slice() {
            return read(&**only);
        }
        let mut all = Vec::new();
        for part in &self.parts {
            all.append(&mut read(&**part)?);
        }
        // Each part's are in order: a stable sort finds these runs and merges them.
        all.sort();
        all.dedup();
        let limit = if hints.limit == 0 { usize::MAX } else { hints.limit };
        all.truncate(limit);
        Ok(all)
    }
}

impl Querier for DbQuerier {
    fn select(
        &self,
        ctx: &QueryContext,
        sorted: bool,
        hints: &SelectHints,
        matchers: &[Matcher],
    ) -> Result<SeriesSet, StorageError> {
        // Several parts are joined by order, whatever the caller asked for.
        let sorted = sorted || self.parts.len() > 1;
        let mut sets = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            sets.push(part.select(ctx, sorted, hints, matchers)?);
        }
        let mut merged = merge_sets(sets);
        if hints.limit > 0 {
            merged.series.truncate(hints.limit);
        }
        Ok(merged)
    }

    fn label_values(
        &self,
        ctx: &QueryContext,
        name: &str,
        hints: LabelHints,
        matchers: &[Matcher],
    ) -> Result<Vec<String>, StorageError> {
        self.merged(hints, |part| part.label_values(ctx, name, hints, matchers))
    }

    fn label_names(
        &self,
        ctx: &QueryContext,
        hints: LabelHints,
        matchers: &[Matcher],
    ) -> Result<Vec<String>, StorageError> {
        self.merged(hints, |part| part.label_names(ctx, hints, matchers))
    }
}
