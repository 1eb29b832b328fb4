//! From matchers to series of the head.
//!
//! The cheapest matcher comes first: of one that names its values, the series of those; of another one, the
//! values that must be compared. What is left decides about the next: to read a list of all series of a name,
//! or to compare each value of a label (a regular expression against the names of all pods), costs more than
//! to look at the labels of a few series, so then the series are looked at.

use hashbrown::HashMap;
use model::{MatchOp, Matcher};
use storage::{QueryContext, StorageError};

use super::index::HeadIndex;

/// Looking at the labels of a series costs some four times of looking at a value: a page's lock and ten
/// pairs against one string.
const SERIES_COST: usize = 4;
/// Values or series between two looks at whether the query is still wanted: a hard expression takes up to 10 us
/// for each, and the index is held meanwhile.
const CHECK_EVERY: usize = 1024;

/// A matcher that is tried on series.
struct Test<'m> {
    matcher: &'m Matcher,
    name: Option<u32>,
    /// Whether series without the label pass.
    without: bool,
    /// Verdicts by pair.
    known: HashMap<u32, bool>,
}

impl HeadIndex {
    /// Numbers of the series that match all matchers, ascending. `pairs_of` gives a series' pair numbers. Fails where
    /// the query is canceled or late.
    pub(crate) fn select(
        &self,
        ctx: &QueryContext,
        matchers: &[Matcher],
        pairs_of: &dyn Fn(u64, &mut Vec<u32>) -> bool,
    ) -> Result<Vec<u64>, StorageError> {
        // What narrows comes first; what only excludes is taken off at the end.
        let mut found: Option<Vec<u64>> = None;
        let costs = matchers.iter().map(|m| (self.cost(m), m));
        let (excluding, mut narrowing): (Vec<_>, Vec<_>) = costs.partition(|(_, m)| m.matches(""));
        narrowing.sort_by_key(|(cost, _)| *cost);
        let mut tests = Vec::new();
        for (cost, m) in narrowing {
            if found.as_ref().is_some_and(|f| f.len() * SERIES_COST <= cost) {
                tests.push(self.test(m));
                continue;
            }
            let with = self.with_value(ctx, m)?;
            let both = match found {
                None => with,
                Some(before) => intersect(&before, &with),
            };
            if both.is_empty() {
                return Ok(both);
            }
            found = Some(both);
        }
        let mut found = found.unwrap_or_else(|| self.all_series());
        for (cost, m) in excluding {
            if cost > 0 && found.len() * SERIES_COST <= cost {
                tests.push(self.test(m));
                continue;
            }
            let without = self.values_not_matching(ctx, m)?;
            if !without.is_empty() {
                found = subtract(&found, &without);
            }
        }
        if !tests.is_empty() {
            let mut pairs = Vec::with_capacity(16);
            let mut watch = Watch::new(ctx);
            found.retain(|series| {
                pairs.clear();
                // A number without a series is passed over.
                watch.goes_on()
                    && pairs_of(*series, &mut pairs)
                    && tests.iter_mut().all(|test| self.passes(test, &pairs))
            });
            watch.end()?;
        }
        Ok(found)
    }

    fn test<'m>(&self, matcher: &'m Matcher) -> Test<'m> {
        let name = self.name_id(matcher.name());
        Test { matcher, name, without: matcher.matches(""), known: HashMap::new() }
    }

    fn passes(&self, test: &mut Test<'_>, pairs: &[u32]) -> bool {
        let value_of = |id: &&u32| self.pair_parts(**id).is_some_and(|(name, _)| Some(name) == test.name);
        let Some(id) = pairs.iter().find(value_of) else { return test.without };
        let matcher = test.matcher;
        let verdict = || self.pair_parts(*id).is_some_and(|(_, value)| matcher.matches(value));
        *test.known.entry(*id).or_insert_with(verdict)
    }

    /// List entries to be read or values to be compared to find the series of a matcher.
    fn cost(&self, m: &Matcher) -> usize {
        if m.regex().is_some_and(|re| re.matches_all()) {
            return 0;
        }
        match self.named(m) {
            Some(values) => values.into_iter().map(|v| self.series_count(m.name(), v)).sum(),
            None => self.value_count(m.name()),
        }
    }

    /// The values that a matcher, or its negation, accepts, where it names them.
    fn named<'m>(&self, m: &'m Matcher) -> Option<Vec<&'m str>> {
        match (m.op(), m.regex()) {
            // Without the label is no value that a list is kept for.
            (MatchOp::Equal | MatchOp::NotEqual, _) => (!m.value().is_empty()).then(|| vec![m.value()]),
            (MatchOp::Regex | MatchOp::NotRegex, Some(re)) => {
                re.set_matches().map(|set| set.iter().map(String::as_str).collect())
            }
            _ => None,
        }
    }

    /// Series whose label has a value that passes.
    fn with_value(&self, ctx: &QueryContext, m: &Matcher) -> Result<Vec<u64>, StorageError> {
        if matches!(m.op(), MatchOp::Equal | MatchOp::Regex)
            && let Some(values) = self.named(m)
        {
            return Ok(self.union(values.into_iter().filter_map(|v| self.pair_id(m.name(), v)).collect()));
        }
        self.compared(ctx, m, true)
    }

    /// Series whose label has a value for which the matcher says `verdict`.
    fn compared(&self, ctx: &QueryContext, m: &Matcher, verdict: bool) -> Result<Vec<u64>, StorageError> {
        let value = |id: &u32| self.pair_parts(*id).map_or("", |(_, value)| value);
        let mut watch = Watch::new(ctx);
        let wanted = |id: &u32| watch.goes_on() && m.matches(value(id)) == verdict;
        let ids = self.values_of(m.name()).filter(wanted).collect();
        watch.end()?;
        Ok(self.union(ids))
    }

    /// Series whose label is there with a value that does not pass.
    fn values_not_matching(&self, ctx: &QueryContext, m: &Matcher) -> Result<Vec<u64>, StorageError> {
        if m.op() == MatchOp::Regex && m.regex().is_some_and(|re| re.matches_all()) {
            return Ok(Vec::new());
        }
        // `a!="x"` and `a!~"x|y"` exclude what the positive form names.
        if matches!(m.op(), MatchOp::NotEqual | MatchOp::NotRegex)
            && let Some(values) = self.named(m)
        {
            return Ok(self.union(values.into_iter().filter_map(|v| self.pair_id(m.name(), v)).collect()));
        }
        self.compared(ctx, m, false)
    }
}

/// Looks now and then whether the query is still wanted.
struct Watch<'a> {
    ctx: &'a QueryContext,
    seen: usize,
    state: Result<(), StorageError>,
}

impl<'a> Watch<'a> {
    fn new(ctx: &'a QueryContext) -> Self {
        Watch { ctx, seen: 0, state: Ok(()) }
    }

    fn goes_on(&mut self) -> bool {
        self.seen += 1;
        if self.seen.is_multiple_of(CHECK_EVERY) && self.state.is_ok() {
            self.state = self.ctx.check();
        }
        self.state.is_ok()
    }

    fn end(self) -> Result<(), StorageError> {
        self.state
    }
}

fn intersect(a: &[u64], b: &[u64]) -> Vec<u64> {
    let (small, large) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let mut out = Vec::with_capacity(small.len());
    if small.len() * 32 < large.len() {
        out.extend(small.iter().filter(|n| large.binary_search(n).is_ok()));
        return out;
    }
    let mut rest = large.iter().peekable();
    for n in small {
        while rest.next_if(|m| *m < n).is_some() {}
        if rest.peek() == Some(&n) {
            out.push(*n);
        }
    }
    out
}

fn subtract(a: &[u64], b: &[u64]) -> Vec<u64> {
    let mut rest = b.iter().peekable();
    let keep = |n: &&u64| {
        while rest.next_if(|m| m < n).is_some() {}
        rest.peek() != Some(n)
    };
    a.iter().filter(keep).copied().collect()
}
