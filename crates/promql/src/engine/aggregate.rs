//! Aggregations. Groups are found once; then each group folds its rows in their order, step by step in
//! columns, so that a sum has the same bits however the rows were made. Rows with histograms take a
//! slower way that keeps upstream's rules for mixtures.

use std::collections::HashMap;
use std::sync::Arc;

use model::{FloatHistogram, Labels};

use super::annotations::{Annotations, HistogramOperation};
use super::error::{QueryError, execution};
use super::eval::{Eval, Out, merge_equal};
use super::labels::group_labels;
use super::math::{kahan, quantile};
use super::plan::{AggregatePlan, Kind, Node};
use super::range_functions::{HistogramMean, Mean, ResetsSeen};
use super::row::{Ahead, Cell, Frame, Grid, Row, absent, is_absent};
use crate::parse::PosRange;
use crate::parse::ast::AggregateOp as Op;

/// Which group each row belongs to, and the groups' labels.
struct Groups {
    of_row: Vec<usize>,
    labels: Vec<Labels>,
}

/// Rows between two looks at the deadline.
const ROWS_A_LOOK: usize = 1024;
/// A group besides its labels and its row: places in the table and in the list.
const GROUP_BYTES: usize = 64;

fn group_rows(rows: &[Row], without: bool, grouping: &[String], ahead: &Ahead) -> Result<Groups, QueryError> {
    let mut seen: HashMap<Box<[u8]>, usize> = HashMap::new();
    let mut labels = Vec::new();
    let mut of_row = Vec::with_capacity(rows.len());
    // Rows are many and groups are few: a row costs no allocation.
    let mut key = Vec::new();
    for row in rows {
        row.labels.filtered_into(super::labels::of_group(without, grouping), &mut key);
        if of_row.len() % ROWS_A_LOOK == 0 {
            ahead.check()?;
        }
        let index = match seen.get(&*key) {
            Some(index) => *index,
            None => {
                let next = labels.len();
                // Twice: as the key here and as labels.
                ahead.take((GROUP_BYTES + 2 * key.len()) as u64)?;
                seen.insert(key.as_slice().into(), next);
                labels.push(group_labels(&row.labels, without, grouping));
                next
            }
        };
        of_row.push(index);
    }
    Ok(Groups { of_row, labels })
}

impl Eval<'_> {
    pub(crate) fn aggregate(
        &mut self,
        node: &Node,
        a: &AggregatePlan,
        grid: Grid,
    ) -> Result<Out, QueryError> {
        if a.op == Op::CountValues {
            return self.count_values(a, grid);
        }
        let params = match &a.param {
            Some(p) => Some((self.scalar(p, grid)?, p.pos)),
            None => None,
        };
        let frame = self.rows(&a.expr, grid)?;
        match (a.op, params) {
            (Op::Topk | Op::Bottomk | Op::Limitk | Op::LimitRatio, Some((values, pos))) => {
                self.pick_rows(a, frame, &values, pos, node.pos, grid)
            }
            (_, params) => {
                if let (Op::Quantile, Some((values, pos))) = (a.op, &params) {
                    note_quantiles(values, *pos, &mut self.notes);
                }
                let values: &[f64] = params.as_ref().map_or(&[], |(v, _)| v);
                let ahead = self.ahead();
                let groups = group_rows(&frame.rows, a.without, &a.grouping, &ahead)?;
                // A sum has its compensation beside it.
                let columns = if a.op == Op::Sum { 2 } else { 1 };
                ahead.rows(groups.labels.len(), grid.count.saturating_mul(columns))?;
                let rows = if frame.rows.iter().any(|r| r.hists.is_some()) {
                    self.fold_mixed(a, &frame.rows, &groups, values, grid)?
                } else {
                    self.fold_floats(a.op, &frame.rows, &groups, values, grid)?
                };
                let mut rows: Vec<Row> = rows.into_iter().filter(|r| !r.is_empty()).collect();
                // A group drops the name where one of its series does.
                mark_dropped(&mut rows, &frame.rows, &groups);
                drop(frame);
                self.settled(rows, ahead)
            }
        }
    }

    /// Floats only: columns of accumulators.
    fn fold_floats(
        &self,
        op: Op,
        rows: &[Row],
        groups: &Groups,
        params: &[f64],
        grid: Grid,
    ) -> Result<Vec<Row>, QueryError> {
        let steps = grid.count;
        let mut out: Vec<Row> = groups.labels.iter().map(|l| Row::empty(l.clone(), steps)).collect();
        match op {
            Op::Sum => {
                let mut comps = vec![0.0; steps * out.len()];
                for (row, g) in rows.iter().zip(&groups.of_row) {
                    self.meter.ctx.check()?;
                    let c = &mut comps[g * steps..(g + 1) * steps];
                    for ((acc, c), v) in out[*g].floats.iter_mut().zip(c).zip(&row.floats) {
                        if is_absent(*v) {
                            continue;
                        }
                        if is_absent(*acc) {
                            *acc = *v;
                        } else {
                            (*acc, *c) = kahan(*v, *acc, *c);
                        }
                    }
                }
                for (row, c) in out.iter_mut().zip(comps.chunks(steps.max(1))) {
                    for (acc, c) in row.floats.iter_mut().zip(c) {
                        if !is_absent(*acc) {
                            *acc += c;
                        }
                    }
                }
            }
            Op::Min | Op::Max | Op::Group | Op::Count => {
                for (row, g) in rows.iter().zip(&groups.of_row) {
                    self.meter.ctx.check()?;
                    for (acc, v) in out[*g].floats.iter_mut().zip(&row.floats) {
                        if is_absent(*v) {
                            continue;
                        }
                        let first = is_absent(*acc);
                        *acc = match op {
                            Op::Count if first => 1.0,
                            Op::Count => *acc + 1.0,
                            Op::Group => 1.0,
                            _ if first => *v,
                            Op::Max if *acc < *v || acc.is_nan() => *v,
                            Op::Min if *acc > *v || acc.is_nan() => *v,
                            _ => *acc,
                        };
                    }
                }
            }
            _ => {
                // Group by group, so that a group's state is one column.
                let mut members: Vec<Vec<usize>> = vec![Vec::new(); out.len()];
                groups.of_row.iter().enumerate().for_each(|(i, g)| members[*g].push(i));
                let mut values = Vec::new();
                for (row, members) in out.iter_mut().zip(&members) {
                    self.meter.ctx.check()?;
                    for (step, acc) in row.floats.iter_mut().enumerate() {
                        values.clear();
                        values
                            .extend(members.iter().map(|i| rows[*i].floats[step]).filter(|v| !is_absent(*v)));
                        if !values.is_empty() {
                            *acc =
                                fold_values(op, &mut values, params.get(step).copied().unwrap_or(f64::NAN));
                        }
                    }
                }
            }
        }
        Ok(out)
    }

    fn fold_mixed(
        &mut self,
        a: &AggregatePlan,
        rows: &[Row],
        groups: &Groups,
        params: &[f64],
        grid: Grid,
    ) -> Result<Vec<Row>, QueryError> {
        let mut out: Vec<Row> = groups.labels.iter().map(|l| Row::empty(l.clone(), grid.count)).collect();
        let mut members: Vec<Vec<usize>> = vec![Vec::new(); out.len()];
        groups.of_row.iter().enumerate().for_each(|(i, g)| members[*g].push(i));
        let mut floats = Vec::new();
        for (row, members) in out.iter_mut().zip(&members) {
            for step in 0..grid.count {
                self.meter.ctx.check()?;
                let cells: Vec<(&Row, Cell<'_>)> = members
                    .iter()
                    .map(|i| (&rows[*i], rows[*i].cell(step)))
                    .filter(|(_, c)| !matches!(c, Cell::None))
                    .collect();
                if cells.is_empty() {
                    continue;
                }
                match a.op {
                    Op::Sum | Op::Avg => fold_sum(a, &cells, row, step, &mut self.notes),
                    Op::Count => row.floats[step] = cells.len() as f64,
                    Op::Group => row.floats[step] = 1.0,
                    _ => {
                        floats.clear();
                        floats.extend(cells.iter().filter_map(|(_, c)| match c {
                            Cell::Float(v) => Some(*v),
                            _ => None,
                        }));
                        if floats.len() < cells.len() {
                            self.notes.histogram_ignored(a.op.as_str(), a.expr.pos);
                        }
                        if !floats.is_empty() {
                            let param = params.get(step).copied().unwrap_or(f64::NAN);
                            row.floats[step] = fold_values(a.op, &mut floats, param);
                        }
                    }
                }
            }
        }
        Ok(out)
    }

    fn count_values(&mut self, a: &AggregatePlan, grid: Grid) -> Result<Out, QueryError> {
        let Some(Node { kind: Kind::Text(label, valid), .. }) = &a.param else {
            return execution("count_values needs a label name");
        };
        if label.is_empty() || !valid {
            return execution(format!("invalid label name {}", crate::parse::text::go_quote(label)));
        }
        let mut grouping = a.grouping.clone();
        if !a.without {
            grouping.push(label.clone());
            grouping.sort();
        }
        let frame = self.rows(&a.expr, grid)?;
        let ahead = self.ahead();
        let mut out: Vec<Row> = Vec::new();
        let mut seen: HashMap<Labels, usize> = HashMap::new();
        for step in 0..grid.count {
            for (i, row) in frame.rows.iter().enumerate() {
                if i % ROWS_A_LOOK == 0 {
                    self.meter.ctx.check()?;
                }
                let text = match row.cell(step) {
                    Cell::None => continue,
                    Cell::Float(v) => model::float_text::format_f(v),
                    Cell::Hist(h) => h.to_string(),
                };
                let mut builder = row.labels.to_builder();
                builder.set(label, &text);
                let key = group_labels(&builder.build(), a.without, &grouping);
                let index = match seen.get(&key) {
                    Some(index) => *index,
                    None => {
                        ahead.row(grid.count)?;
                        ahead.take((GROUP_BYTES + key.as_bytes().len()) as u64)?;
                        seen.insert(key.clone(), out.len());
                        out.push(Row::empty(key, grid.count));
                        out.len() - 1
                    }
                };
                let cell = &mut out[index].floats[step];
                *cell = if is_absent(*cell) { 1.0 } else { *cell + 1.0 };
            }
        }
        drop(frame);
        drop(seen);
        self.settled(out, ahead)
    }

    /// `topk`, `bottomk`, `limitk`, `limit_ratio`: rows as they are, but fewer.
    fn pick_rows(
        &mut self,
        a: &AggregatePlan,
        mut frame: Frame,
        params: &[f64],
        param_pos: PosRange,
        pos: PosRange,
        grid: Grid,
    ) -> Result<Out, QueryError> {
        let max = params.iter().copied().fold(f64::NEG_INFINITY, super::math::go_max);
        let min = params.iter().copied().fold(f64::INFINITY, super::math::go_min);
        let any_nan = params.iter().any(|p| p.is_nan());
        if a.op == Op::LimitRatio {
            if max == 0.0 && min == 0.0 {
                return self.frame(Vec::new());
            }
            if any_nan {
                return execution("Ratio value is NaN");
            }
            if max > 1.0 {
                self.notes.invalid_ratio(max, 1.0, param_pos);
            }
            if min < -1.0 {
                self.notes.invalid_ratio(min, -1.0, param_pos);
            }
        } else {
            if max < 1.0 {
                return self.frame(Vec::new());
            }
            if any_nan {
                return execution("Parameter value is NaN");
            }
            if min <= -9_223_372_036_854_774_784.0 {
                return execution(format!(
                    "Scalar value {} underflows int64",
                    model::float_text::format_g(min)
                ));
            }
            if max >= 9_223_372_036_854_774_784.0 {
                return execution(format!(
                    "Scalar value {} overflows int64",
                    model::float_text::format_g(max)
                ));
            }
        }
        let (rows, ahead) = (frame.take_rows(), self.ahead());
        let groups = group_rows(&rows, a.without, &a.grouping, &ahead)?;
        ahead.rows(rows.len(), grid.count)?;
        let mut members: Vec<Vec<usize>> = vec![Vec::new(); groups.labels.len()];
        groups.of_row.iter().enumerate().for_each(|(i, g)| members[*g].push(i));
        let mut out: Vec<Row> = rows
            .iter()
            .map(|r| Row { drop_name: r.drop_name, ..Row::empty(r.labels.clone(), grid.count) })
            .collect();
        // Order of an instant vector: groups in turn, best first.
        let mut order: Vec<usize> = Vec::new();
        for members in &members {
            for (step, param) in params.iter().enumerate() {
                self.meter.ctx.check()?;
                let picked = self.pick_step(a.op, &rows, members, step, *param, pos);
                if grid.count == 1 {
                    order.extend(&picked);
                }
                for i in picked {
                    match rows[i].cell(step) {
                        Cell::Float(v) => out[i].floats[step] = v,
                        Cell::Hist(h) => out[i].set_hist(step, Arc::clone(h)),
                        Cell::None => {}
                    }
                }
            }
        }
        drop(frame);
        if grid.count == 1 {
            let mut slots: Vec<Option<Row>> = out.into_iter().map(Some).collect();
            let rows = order.into_iter().filter_map(|i| slots[i].take()).collect();
            return self.settled(rows, ahead);
        }
        out.retain(|r| !r.is_empty());
        let rows = merge_equal(out)?;
        self.settled(rows, ahead)
    }

    fn pick_step(
        &mut self,
        op: Op,
        rows: &[Row],
        members: &[usize],
        step: usize,
        param: f64,
        pos: PosRange,
    ) -> Vec<usize> {
        let present = members.iter().copied().filter(|i| !matches!(rows[*i].cell(step), Cell::None));
        if op == Op::LimitRatio {
            let ratio = param.clamp(-1.0, 1.0);
            return in_heap_order(present.filter(|i| in_ratio(ratio, &rows[*i].labels)), rows, step);
        }
        let k = param as i64;
        if k < 1 {
            return Vec::new();
        }
        let k = usize::try_from(k).unwrap_or(usize::MAX).min(rows.len());
        if op == Op::Limitk {
            return in_heap_order(present.take(k), rows, step);
        }
        let mut candidates: Vec<(usize, f64)> = Vec::new();
        for i in present {
            match rows[i].cell(step) {
                Cell::Float(v) => candidates.push((i, v)),
                _ => self.notes.histogram_ignored(op.as_str(), pos),
            }
        }
        best(k, op == Op::Topk, &candidates)
    }
}

/// Order of what `limitk` and `limit_ratio` leave: as pushed on a heap of values, where a histogram counts as 0.
/// Sums over it show the order in their last bits.
fn in_heap_order(picked: impl Iterator<Item = usize>, rows: &[Row], step: usize) -> Vec<usize> {
    let less = |a: f64, b: f64| a.is_nan() || a < b;
    let mut heap: Vec<(usize, f64)> = Vec::new();
    for i in picked {
        heap.push((i, if let Cell::Float(v) = rows[i].cell(step) { v } else { 0.0 }));
        sift_up(&mut heap, &less);
    }
    heap.into_iter().map(|(i, _)| i).collect()
}

/// The k best, best first: a heap with the worst on top, filled in order, as upstream, so that ties fall
/// the same way.
fn best(k: usize, top: bool, candidates: &[(usize, f64)]) -> Vec<usize> {
    // Whether `a` is worse than `b`: NaN is the worst on both ends.
    let less = |a: f64, b: f64| a.is_nan() || if top { a < b } else { a > b };
    let mut heap: Vec<(usize, f64)> = Vec::with_capacity(k.min(candidates.len()));
    for c in candidates {
        if heap.len() < k {
            heap.push(*c);
            sift_up(&mut heap, &less);
        } else {
            let worst = heap[0].1;
            let better = if top { worst < c.1 } else { worst > c.1 };
            if better || (worst.is_nan() && !c.1.is_nan()) {
                heap[0] = *c;
                sift_down(&mut heap, &less);
            }
        }
    }
    heap.sort_by(|a, b| match (a.1.is_nan(), b.1.is_nan()) {
        (true, true) => std::cmp::Ordering::Equal,
        (true, false) => std::cmp::Ordering::Greater,
        (false, true) => std::cmp::Ordering::Less,
        (false, false) => {
            let o = b.1.partial_cmp(&a.1).unwrap_or(std::cmp::Ordering::Equal);
            if top { o } else { o.reverse() }
        }
    });
    heap.into_iter().map(|(i, _)| i).collect()
}

fn sift_up(heap: &mut [(usize, f64)], less: &impl Fn(f64, f64) -> bool) {
    let mut j = heap.len() - 1;
    while j > 0 {
        let i = (j - 1) / 2;
        if !less(heap[j].1, heap[i].1) {
            break;
        }
        heap.swap(i, j);
        j = i;
    }
}

fn sift_down(heap: &mut [(usize, f64)], less: &impl Fn(f64, f64) -> bool) {
    let (mut i, n) = (0, heap.len());
    loop {
        let left = 2 * i + 1;
        if left >= n {
            return;
        }
        let mut j = left;
        if left + 1 < n && less(heap[left + 1].1, heap[left].1) {
            j = left + 1;
        }
        if !less(heap[j].1, heap[i].1) {
            return;
        }
        heap.swap(i, j);
        i = j;
    }
}

/// A series is in by the hash of its labels, so the choice is the same at each step and evaluation.
fn in_ratio(ratio: f64, labels: &Labels) -> bool {
    let offset = labels.hash() as f64 / u64::MAX as f64;
    (ratio >= 0.0 && offset < ratio) || (ratio < 0.0 && offset >= 1.0 + ratio)
}

fn note_quantiles(values: &[f64], pos: PosRange, notes: &mut Annotations) {
    if values.iter().any(|v| v.is_nan()) {
        notes.invalid_quantile(f64::NAN, pos);
    }
    let max = values.iter().copied().fold(f64::NEG_INFINITY, super::math::go_max);
    let min = values.iter().copied().fold(f64::INFINITY, super::math::go_min);
    if max > 1.0 {
        notes.invalid_quantile(max, pos);
    }
    if min < 0.0 {
        notes.invalid_quantile(min, pos);
    }
}

fn mark_dropped(out: &mut [Row], rows: &[Row], groups: &Groups) {
    if rows.iter().all(|r| !r.drop_name) {
        return;
    }
    let mut dropped: std::collections::HashSet<&Labels> = std::collections::HashSet::new();
    for (row, g) in rows.iter().zip(&groups.of_row) {
        if row.drop_name {
            dropped.insert(&groups.labels[*g]);
        }
    }
    for row in out {
        row.drop_name = dropped.contains(&row.labels);
    }
}

/// Folds the floats of one group at one step; `values` is not empty.
fn fold_values(op: Op, values: &mut [f64], param: f64) -> f64 {
    match op {
        Op::Sum => {
            let (mut sum, mut c) = (values[0], 0.0);
            for v in &values[1..] {
                (sum, c) = kahan(*v, sum, c);
            }
            sum + c
        }
        Op::Avg => {
            let mut mean = Mean::new(values[0]);
            values[1..].iter().for_each(|v| mean.add(*v));
            mean.get()
        }
        Op::Min => {
            values.iter().copied().reduce(|a, v| if a > v || a.is_nan() { v } else { a }).unwrap_or(absent())
        }
        Op::Max => {
            values.iter().copied().reduce(|a, v| if a < v || a.is_nan() { v } else { a }).unwrap_or(absent())
        }
        Op::Stddev => deviation(values).sqrt(),
        Op::Stdvar => deviation(values),
        Op::Quantile => quantile(param, values),
        _ => values.len() as f64,
    }
}

/// Variance by Welford, as upstream.
fn deviation(values: &[f64]) -> f64 {
    let mut count = 1.0;
    let mut mean = values[0];
    let mut sum = if values[0].is_finite() { 0.0 } else { f64::NAN };
    for v in &values[1..] {
        count += 1.0;
        let delta = v - mean;
        mean += delta / count;
        sum += delta * (v - mean);
    }
    sum / count
}

/// Sum or mean of a group with histograms in it.
fn fold_sum(
    a: &AggregatePlan,
    cells: &[(&Row, Cell<'_>)],
    row: &mut Row,
    step: usize,
    notes: &mut Annotations,
) {
    let pos = a.expr.pos;
    let floats = cells.iter().any(|(_, c)| matches!(c, Cell::Float(_)));
    let hists = cells.iter().any(|(_, c)| matches!(c, Cell::Hist(_)));
    if !hists {
        let mut values: Vec<f64> =
            cells.iter().filter_map(|(_, c)| if let Cell::Float(v) = c { Some(*v) } else { None }).collect();
        row.floats[step] = fold_values(a.op, &mut values, f64::NAN);
        return;
    }
    let mut seen = ResetsSeen::default();
    let mut sum: Option<FloatHistogram> = None;
    let mut mean: Option<HistogramMean> = None;
    let mut c = None;
    let mut count = 0.0;
    let mut incompatible = false;
    // Upstream adds up only what follows a histogram in the first place; else the mixture is void anyway.
    let first_is_hist = matches!(cells[0].1, Cell::Hist(_));
    for (source, cell) in cells {
        count += 1.0;
        let Cell::Hist(h) = cell else { continue };
        if !first_is_hist || incompatible {
            continue;
        }
        seen.see(h);
        let reconciled = match (a.op, &mut sum, &mut mean) {
            (Op::Sum, Some(sum), _) => sum.kahan_add(h, &mut c).ok().map(|m| m.bounds_reconciled),
            (Op::Sum, None, _) => {
                sum = Some(FloatHistogram::clone(h));
                Some(false)
            }
            (_, _, Some(mean)) => mean.add(h, count),
            (_, _, None) => {
                mean = Some(HistogramMean::new(h));
                Some(false)
            }
        };
        match reconciled {
            None => {
                notes.mixed_exponential_custom(source.labels.metric_name(), pos);
                incompatible = true;
            }
            Some(true) => notes.mismatched_custom_buckets(HistogramOperation::Aggregate, pos),
            Some(false) => {}
        }
    }
    if floats && !incompatible {
        notes.mixed_floats_histograms_agg(pos);
        return;
    }
    if incompatible {
        return;
    }
    let result = match (sum, mean) {
        (Some(mut sum), _) => {
            if let Some(c) = &c {
                // Schemas met before; the compensation has the sum's own.
                let _ = sum.add(c);
            }
            Some(sum)
        }
        (None, Some(mean)) => mean.get(),
        (None, None) => None,
    };
    if seen.collide() {
        notes.reset_collision(HistogramOperation::Aggregate, pos);
    }
    if let Some(mut h) = result {
        h.compact();
        row.set_hist(step, Arc::new(h));
    }
}
