//! From matchers to series ids, over blocks and head alike (upstream: `PostingsForMatchers` in
//! `tsdb/querier.go`).
//!
//! A matcher either adds (series that have a value which passes) or takes away (series that have a value
//! which does not, because series without the label pass too). Taking away from nothing means from all.

use std::borrow::Cow;

use model::{MatchOp, Matcher};
use storage::{QueryContext, StorageError};

use super::postings::{self, List};

type Result<T> = std::result::Result<T, StorageError>;

/// A store of postings: sorted series ids per label pair.
pub trait PostingSource {
    /// All series.
    ///
    /// # Errors
    /// Corrupt data.
    fn all(&self) -> Result<List<'_>>;
    /// Series with this label; empty where there is none.
    ///
    /// # Errors
    /// Corrupt data.
    fn postings(&self, name: &str, value: &str) -> Result<List<'_>>;
    /// Series lists of the values of `name` that begin with `prefix` and that `keep` wants; each value is
    /// shown to `keep` once, in any order.
    ///
    /// # Errors
    /// Corrupt data.
    fn postings_where(
        &self,
        name: &str,
        prefix: &str,
        keep: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Vec<List<'_>>>;
    /// Number of values of `name`.
    fn value_count(&self, name: &str) -> u64;
    /// Of these series those whose labels all `matchers` accept.
    ///
    /// # Errors
    /// Corrupt data.
    fn retain(&self, ids: Vec<u32>, matchers: &[&Matcher]) -> Result<Vec<u32>>;
    /// Shows each value of `name` in order, with its series, until `each` says false.
    ///
    /// # Errors
    /// Corrupt data; what `each` gives.
    fn each_value(
        &self,
        name: &str,
        each: &mut dyn FnMut(&str, &mut dyn FnMut() -> Result<List<'static>>) -> Result<bool>,
    ) -> Result<()>;
}

/// Reading the labels of a series costs some sixteen times of looking at a value in the table of postings:
/// an entry somewhere in the file and ten symbols against the next string of a page.
const SERIES_COST: u64 = 16;

/// Series that match all matchers, sorted. No matchers: all series.
///
/// Matchers that name their values come first. What they leave decides about the others: to look at each
/// value of a label (a regular expression against the names of all pods) costs more than to look at the
/// labels of a few series, so then the series are looked at.
///
/// # Errors
/// Corrupt data, cancelled.
pub fn postings_for_matchers<'a>(
    source: &'a dyn PostingSource,
    ctx: &QueryContext,
    matchers: &[Matcher],
) -> Result<List<'a>> {
    let mut costs: Vec<(u64, &Matcher)> =
        matchers.iter().map(|m| (values_to_look_at(source, m), m)).collect();
    costs.sort_by_key(|(cost, _)| *cost);
    let mut add: Vec<List<'a>> = Vec::new();
    let mut take: Vec<List<'a>> = Vec::new();
    let mut tests: Vec<&Matcher> = Vec::new();
    for (cost, m) in costs {
        ctx.check()?;
        if cost > 0 && !add.is_empty() {
            let found = postings::intersect(std::mem::take(&mut add));
            if found.is_empty() {
                return Ok(found);
            }
            let few = (found.len() as u64).saturating_mul(SERIES_COST) <= cost;
            add.push(found);
            if few {
                tests.push(m);
                continue;
            }
        }
        let negative = matches!(m.op(), MatchOp::NotEqual | MatchOp::NotRegex);
        match (m.matches(""), negative) {
            _ if m.name().is_empty() && m.value().is_empty() && m.op() == MatchOp::Equal => {
                add.push(source.all()?)
            }
            (true, false) if passes_everything(m) => {}
            (false, true) if passes_nothing(m) => return Ok(List::default()),
            // `l=""`, `l=~".*a"`: series whose value does not pass go; those without the label stay.
            // `l!="a"`: series with that value go.
            (true, _) => take.extend(failing(source, m)?),
            // `l!=""`, `l!~"a|"`: the label is there, and its value passes.
            (false, _) => {
                let lists = passing(source, m)?;
                let list = postings::union(lists);
                if list.is_empty() {
                    return Ok(List::default());
                }
                add.push(list);
            }
        }
    }
    if add.is_empty() {
        add.push(source.all()?);
    }
    let mut result = postings::intersect(add);
    for list in take {
        ctx.check()?;
        result = postings::without(result, &list);
    }
    if tests.is_empty() {
        return Ok(result);
    }
    Ok(Cow::Owned(source.retain(result.into_owned(), &tests)?))
}

/// Number of values that must be compared to find the series of a matcher; 0 where it names them.
fn values_to_look_at(source: &dyn PostingSource, m: &Matcher) -> u64 {
    let named = match m.op() {
        MatchOp::Equal | MatchOp::NotEqual => !m.value().is_empty() || m.name().is_empty(),
        MatchOp::Regex | MatchOp::NotRegex => m
            .regex()
            .is_none_or(|re| re.matches_all() || re.literal().is_some() || re.set_matches().is_some()),
    };
    if named { 0 } else { source.value_count(m.name()) }
}

fn passes_everything(m: &Matcher) -> bool {
    m.op() == MatchOp::Regex && m.regex().is_some_and(|re| re.matches_all())
}

fn passes_nothing(m: &Matcher) -> bool {
    m.op() == MatchOp::NotRegex && m.regex().is_some_and(|re| re.matches_all())
}

/// The values that a regular expression accepts, where they can be listed.
fn listed(m: &Matcher) -> Option<&[String]> {
    m.regex().and_then(|re| re.set_matches())
}

/// Lists of the series whose value of this label passes (or, for a negated matcher, does not fail).
fn passing<'a>(source: &'a dyn PostingSource, m: &Matcher) -> Result<Vec<List<'a>>> {
    let name = m.name();
    match m.op() {
        MatchOp::Equal => Ok(vec![source.postings(name, m.value())?]),
        MatchOp::Regex => match (m.regex().and_then(|re| re.literal()), listed(m)) {
            (Some(literal), _) => Ok(vec![source.postings(name, literal)?]),
            (None, Some(values)) => values.iter().map(|v| source.postings(name, v)).collect(),
            (None, None) => {
                let prefix = m.regex().map_or("", |re| re.prefix());
                source.postings_where(name, prefix, &mut |v| m.matches(v))
            }
        },
        MatchOp::NotEqual | MatchOp::NotRegex => source.postings_where(name, "", &mut |v| m.matches(v)),
    }
}

/// Lists of the series that have the label with a value that does not pass.
fn failing<'a>(source: &'a dyn PostingSource, m: &Matcher) -> Result<Vec<List<'a>>> {
    let name = m.name();
    match m.op() {
        MatchOp::NotEqual => Ok(vec![source.postings(name, m.value())?]),
        MatchOp::NotRegex => match (m.regex().and_then(|re| re.literal()), listed(m)) {
            (Some(literal), _) => Ok(vec![source.postings(name, literal)?]),
            (None, Some(values)) => values.iter().map(|v| source.postings(name, v)).collect(),
            (None, None) => {
                let prefix = m.regex().map_or("", |re| re.prefix());
                Ok(vec![postings::union(source.postings_where(name, prefix, &mut |v| !m.matches(v))?)])
            }
        },
        MatchOp::Equal | MatchOp::Regex => {
            Ok(vec![postings::union(source.postings_where(name, "", &mut |v| !m.matches(v))?)])
        }
    }
}

/// Sorted values of a label, of series that match; at most `limit` (0 for all).
///
/// # Errors
/// Corrupt data, cancelled.
pub fn label_values_of(
    source: &dyn PostingSource,
    ctx: &QueryContext,
    name: &str,
    limit: usize,
    matchers: &[Matcher],
) -> Result<Vec<String>> {
    // Matchers on the label itself decide by the value; only the others need series.
    let (own, others): (Vec<_>, Vec<_>) = matchers.iter().partition(|m| m.name() == name);
    let others: Vec<Matcher> = others.into_iter().cloned().collect();
    let matching = if others.is_empty() {
        None
    } else {
        let found = postings_for_matchers(source, ctx, &others)?;
        if found.is_empty() {
            return Ok(Vec::new());
        }
        Some(found)
    };
    let mut values = Vec::new();
    let mut seen = 0_u32;
    source.each_value(name, &mut |value, list| {
        seen += 1;
        if seen.is_multiple_of(1024) {
            ctx.check()?;
        }
        let wanted = !value.is_empty()
            && own.iter().all(|m| m.matches(value))
            && match &matching {
                None => true,
                Some(matching) => postings::intersects(matching, &list()?),
            };
        if wanted {
            values.push(value.to_string());
        }
        Ok(limit == 0 || values.len() < limit)
    })?;
    Ok(values)
}

/// A source in memory, for tests here and for small sets.
impl PostingSource for std::collections::BTreeMap<(String, String), Vec<u32>> {
    fn all(&self) -> Result<List<'_>> {
        let lists = self.values().map(|l| Cow::Borrowed(&l[..])).collect();
        Ok(postings::union(lists))
    }
    fn postings(&self, name: &str, value: &str) -> Result<List<'_>> {
        let found = self.get(&(name.to_string(), value.to_string()));
        Ok(found.map_or(List::default(), |l| Cow::Borrowed(&l[..])))
    }
    fn postings_where(
        &self,
        name: &str,
        prefix: &str,
        keep: &mut dyn FnMut(&str) -> bool,
    ) -> Result<Vec<List<'_>>> {
        let of_name = self.iter().filter(|((n, v), _)| n == name && v.starts_with(prefix));
        Ok(of_name.filter(|((_, v), _)| keep(v)).map(|(_, l)| Cow::Borrowed(&l[..])).collect())
    }
    fn value_count(&self, name: &str) -> u64 {
        self.keys().filter(|(n, _)| n == name).count() as u64
    }
    fn retain(&self, mut ids: Vec<u32>, matchers: &[&Matcher]) -> Result<Vec<u32>> {
        let value_of = |id: u32, name: &str| {
            let has = |((n, _), list): &(&(String, String), &Vec<u32>)| n == name && list.contains(&id);
            self.iter().find(has).map_or("", |((_, v), _)| v)
        };
        ids.retain(|id| matchers.iter().all(|m| m.matches(value_of(*id, m.name()))));
        Ok(ids)
    }
    fn each_value(
        &self,
        name: &str,
        each: &mut dyn FnMut(&str, &mut dyn FnMut() -> Result<List<'static>>) -> Result<bool>,
    ) -> Result<()> {
        for ((n, v), list) in self {
            if n == name && !each(v, &mut || Ok(Cow::Owned(list.clone())))? {
                break;
            }
        }
        Ok(())
    }
}
