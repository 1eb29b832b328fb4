//! `info()`: adds labels of info series (`target_info`) to series of the same instance and job.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use model::labels::METRIC_NAME;
use model::{Labels, MatchOp, Matcher};
use storage::SelectHints;

use super::error::{QueryError, execution};
use super::eval::{Eval, Out, effective_offset, instant_row, merge_equal};
use super::plan::{Kind, Node};
use super::read::Columns;
use super::row::{Cell, Grid, Row, is_absent};
use crate::parse::{FunctionId, ValueType};

const TARGET_INFO: &str = "target_info";
const IDENTIFYING: [&str; 2] = ["instance", "job"];

/// Offset and `@` of a selector, those of the subqueries around it included.
type Reference = (i64, Option<i64>);

/// Looks for selectors in everything that makes a vector.
#[derive(Default)]
struct References {
    first: Option<Reference>,
    differ: bool,
    /// A vector without any selector, such as `vector(1)`: its time is that of the evaluation.
    free: bool,
}

impl References {
    fn see(&mut self, (mut offset, mut at): Reference, subqueries: &[Reference]) {
        for (o, a) in subqueries.iter().rev() {
            if at.is_some() {
                break;
            }
            offset += o;
            at = *a;
        }
        match self.first {
            None => self.first = Some((offset, at)),
            Some((o, a)) => {
                self.differ |= match (a, at) {
                    (Some(a), Some(b)) => a - o != b - offset,
                    (None, None) => o != offset,
                    _ => true,
                };
            }
        }
    }

    /// Whether there is a selector below.
    fn look(&mut self, node: &Node, subqueries: &mut Vec<Reference>) -> bool {
        if !matches!(node.value_type, ValueType::Vector | ValueType::Matrix) {
            return false;
        }
        let mut found = false;
        match &node.kind {
            Kind::Vector(s) | Kind::Matrix(s, _) => {
                self.see((s.offset_ms, s.at_ms), subqueries);
                return true;
            }
            Kind::Call(FunctionId::Info, _, args) => {
                return args.first().is_some_and(|a| self.look(a, subqueries));
            }
            Kind::Negate(inner) | Kind::Plus(inner) | Kind::Invariant(inner) => {
                return self.look(inner, subqueries);
            }
            Kind::Subquery(s) => {
                subqueries.push((s.offset_ms, s.at_ms));
                found = self.look(&s.expr, subqueries);
                subqueries.pop();
            }
            Kind::Call(_, _, args) => args.iter().for_each(|a| found |= self.look(a, subqueries)),
            Kind::Aggregate(a) => {
                found = self.look(&a.expr, subqueries);
                a.param.iter().for_each(|p| found |= self.look(p, subqueries));
            }
            Kind::Binary { lhs, rhs, .. } => {
                found = self.look(lhs, subqueries);
                found |= self.look(rhs, subqueries);
            }
            Kind::Number(_) | Kind::Text(..) => {}
        }
        self.free |= !found;
        found
    }
}

/// Offset and `@` that all selectors of `info`'s first argument share; info series are those of that time.
/// `None`: they differ, or something has no selector, and info series are those of the evaluation's time.
pub(crate) fn reference(node: &Node) -> Option<Reference> {
    let mut all = References::default();
    all.look(node, &mut Vec::new());
    all.first.filter(|_| !all.differ && !all.free)
}

/// Matchers on the info metric's name: what was given, `.+_info` where that only excludes, else `target_info`.
fn name_matchers(given: &[Matcher]) -> Vec<Matcher> {
    let names: Vec<Matcher> = given.iter().filter(|m| m.name() == METRIC_NAME).cloned().collect();
    if names.iter().any(|m| matches!(m.op(), MatchOp::Equal | MatchOp::Regex)) {
        return names;
    }
    if names.is_empty() {
        return vec![Matcher::equal(METRIC_NAME, TARGET_INFO)];
    }
    let mut all: Vec<Matcher> = Matcher::new(MatchOp::Regex, METRIC_NAME, ".+_info").into_iter().collect();
    all.extend(names);
    all
}

fn quote_regex(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

impl Eval<'_> {
    pub(crate) fn info(&mut self, args: &[Node], grid: Grid) -> Result<Out, QueryError> {
        let (offset_ms, at_ms) = reference(&args[0]).unwrap_or((0, None));
        let given = args.get(1).map_or(&[][..], Self::matchers_of).to_vec();
        let mut frame = self.rows(&args[0], grid)?;
        let base = frame.take_rows();
        let names = name_matchers(&given);
        let data: Vec<&Matcher> = given.iter().filter(|m| m.name() != METRIC_NAME).collect();
        // Info series themselves pass unchanged.
        let ignored: Vec<bool> =
            base.iter().map(|r| names.iter().all(|m| m.matches(r.labels.metric_name()))).collect();
        let info = self.info_rows(&base, &ignored, &data, names, (offset_ms, at_ms), grid)?;
        drop(frame);
        let rows = self.with_info(base, &ignored, &info, &data, grid)?;
        self.frame(rows)
    }

    fn info_rows(
        &mut self,
        base: &[Row],
        ignored: &[bool],
        data: &[&Matcher],
        names: Vec<Matcher>,
        (offset_ms, at_ms): (i64, Option<i64>),
        grid: Grid,
    ) -> Result<Vec<Row>, QueryError> {
        let mut values: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (row, _) in base.iter().zip(ignored).filter(|(_, i)| !**i) {
            for label in IDENTIFYING {
                if let Some(v) = row.labels.find(label) {
                    values.entry(label).or_default().insert(v);
                }
            }
        }
        if values.is_empty() {
            return Ok(Vec::new());
        }
        let mut matchers = Vec::new();
        for (label, values) in values {
            let pattern = values.into_iter().map(quote_regex).collect::<Vec<_>>().join("|");
            matchers.push(
                Matcher::new(MatchOp::Regex, label, pattern)
                    .map_err(|e| QueryError::Execution(e.to_string()))?,
            );
        }
        matchers.extend(data.iter().map(|m| (*m).clone()));
        matchers.extend(names);
        let lookback = self.settings.lookback_ms;
        let (start, end) = at_ms.map_or((grid.start, grid.last()), |t| (t, t));
        let hints = SelectHints {
            start_ms: start - lookback + 1 - offset_ms,
            end_ms: end - offset_ms,
            step_ms: grid.step,
            func: "info".to_string(),
            ..SelectHints::default()
        };
        let set = self.querier.select(&self.meter.ctx, true, &hints, &matchers)?;
        set.warnings.into_iter().for_each(|w| self.notes.storage(w));
        let (meter, ahead) = (Arc::clone(&self.meter), self.ahead());
        let series = set.series;
        let rows = self.workers.map(series.len(), Columns::default, |columns, i| {
            meter.ctx.check()?;
            let time = |t: i64, _: f64| t as f64;
            let Some(_) = at_ms else {
                return instant_row(
                    columns,
                    series[i].as_ref(),
                    grid,
                    (offset_ms, false),
                    lookback,
                    &ahead,
                    &meter,
                    time,
                );
            };
            // With `@` each step looks at that one time.
            let one = grid.first();
            let offset = effective_offset(offset_ms, at_ms, one);
            let row = instant_row(
                columns,
                series[i].as_ref(),
                one,
                (offset, false),
                lookback,
                &ahead,
                &meter,
                time,
            )?;
            Ok(row.map(|r| Row { floats: vec![r.floats[0]; grid.count], ..r }))
        })?;
        let rows: Vec<Row> = rows.into_iter().flatten().collect();
        if let Some(row) = rows.iter().find(|r| r.hists.is_some()) {
            return execution(format!("this should be an info metric, with float samples: {}", row.labels));
        }
        Ok(rows)
    }

    fn with_info(
        &mut self,
        base: Vec<Row>,
        ignored: &[bool],
        info: &[Row],
        data: &[&Matcher],
        grid: Grid,
    ) -> Result<Vec<Row>, QueryError> {
        let identity = |labels: &Labels| IDENTIFYING.map(|l| labels.get(l).to_string());
        let mut by_identity: HashMap<[String; 2], Vec<usize>> = HashMap::new();
        for (i, row) in info.iter().enumerate() {
            by_identity.entry(identity(&row.labels)).or_default().push(i);
        }
        let needs_match = data.iter().any(|m| !m.matches(""));
        let allowed: HashSet<&str> = data.iter().map(|m| m.name()).collect();
        let mut out: Vec<Row> = Vec::new();
        for (row, ignored) in base.into_iter().zip(ignored) {
            let candidates = by_identity.get(&identity(&row.labels));
            let (false, Some(candidates)) = (*ignored, candidates) else {
                if *ignored || !needs_match {
                    out.push(row);
                }
                continue;
            };
            let mut made: HashMap<Labels, Row> = HashMap::new();
            for step in 0..grid.count {
                self.meter.ctx.check()?;
                let cell = row.cell(step);
                if matches!(cell, Cell::None) {
                    continue;
                }
                let newest = newest_by_name(info, candidates, step)?;
                if newest.is_empty() && needs_match {
                    continue;
                }
                let mut extra: BTreeMap<&str, &str> = BTreeMap::new();
                for i in newest.values() {
                    for (name, value) in &info[*i].labels {
                        if name == METRIC_NAME || (!allowed.is_empty() && !allowed.contains(name)) {
                            continue;
                        }
                        if extra.get(name).is_some_and(|v| *v != value) {
                            return execution(format!("conflicting label: {name}"));
                        }
                        if row.labels.find(name).is_none() {
                            extra.insert(name, value);
                        }
                    }
                }
                let mut builder = row.labels.to_builder();
                extra.into_iter().for_each(|(n, v)| {
                    builder.set(n, v);
                });
                let labels = builder.build();
                let target = made
                    .entry(labels.clone())
                    .or_insert_with(|| Row { drop_name: row.drop_name, ..Row::empty(labels, grid.count) });
                match cell {
                    Cell::Float(v) => target.floats[step] = v,
                    Cell::Hist(h) => target.set_hist(step, Arc::clone(h)),
                    Cell::None => {}
                }
            }
            out.extend(made.into_values());
        }
        merge_equal(out)
    }
}

/// Of the info series of one identity, the one with the newest sample for each metric.
fn newest_by_name<'a>(
    info: &'a [Row],
    candidates: &[usize],
    step: usize,
) -> Result<BTreeMap<&'a str, usize>, QueryError> {
    let mut newest: BTreeMap<&str, usize> = BTreeMap::new();
    for i in candidates {
        let t = info[*i].floats[step];
        if is_absent(t) {
            continue;
        }
        let name = info[*i].labels.metric_name();
        let Some(existing) = newest.get(name).copied() else {
            newest.insert(name, *i);
            continue;
        };
        let other = info[existing].floats[step];
        if other < t {
            newest.insert(name, *i);
        } else if other == t {
            return execution(format!(
                "found duplicate series for info metric: existing {} @ {}, new {} @ {}",
                info[existing].labels, other as i64, info[*i].labels, t as i64
            ));
        }
    }
    Ok(newest)
}
