//! Walks the plan: children first, each node over the whole grid at once.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::Labels;
use storage::{Querier, Series};

use super::annotations::Annotations;
use super::error::{QueryError, execution};
use super::explain::Recorder;
use super::labels;
use super::parallel::Workers;
use super::plan::{Kind, Node, Selector};
use super::read::{Columns, Stats};
use super::row::{Ahead, Cell, Frame, Grid, Meter, Numbers, Row, StepCounts, absent, hist_size, is_absent};
use super::value::MatrixSeries;

pub(super) const SAME_LABELSET: &str = "vector cannot contain metrics with the same labelset";

/// Settings that hold for a whole query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) lookback_ms: i64,
    pub(crate) delayed_names: bool,
    pub(crate) type_and_unit: bool,
    pub(crate) use_starts: bool,
}

/// The evaluator of one query.
pub(crate) struct Eval<'a> {
    pub(crate) settings: Settings,
    pub(crate) workers: &'a Workers,
    pub(crate) meter: Arc<Meter>,
    pub(crate) sets: &'a [Vec<Arc<dyn Series>>],
    pub(crate) querier: &'a dyn Querier,
    pub(crate) notes: Annotations,
    /// Where it is asked for.
    pub(crate) explain: Option<Recorder<'a>>,
    /// Likewise; none within subqueries and what is evaluated once for all steps.
    pub(crate) steps: Option<StepCounts>,
}

/// Value of a node.
pub(crate) enum Out {
    Rows(Frame),
    Scalar(Numbers),
    Text(String),
}

impl<'a> Eval<'a> {
    pub(crate) fn frame(&self, rows: Vec<Row>) -> Result<Out, QueryError> {
        Ok(Out::Rows(Frame::new(&self.meter, rows)?))
    }

    /// A frame of rows that were paid for ahead.
    pub(crate) fn settled(&self, rows: Vec<Row>, ahead: Ahead) -> Result<Out, QueryError> {
        Ok(Out::Rows(Frame::settled(rows, ahead)?))
    }

    pub(crate) fn ahead(&self) -> Ahead {
        Ahead::new(&self.meter, self.steps.clone())
    }

    pub(crate) fn numbers(&self, grid: Grid, value: impl FnMut(usize) -> f64) -> Result<Out, QueryError> {
        Ok(Out::Scalar(Numbers::new(&self.meter, grid.count, value)?))
    }

    pub(crate) fn rows(&mut self, node: &Node, grid: Grid) -> Result<Frame, QueryError> {
        match self.eval(node, grid)? {
            Out::Rows(frame) => Ok(frame),
            Out::Scalar(_) | Out::Text(_) => execution("unexpected scalar where a vector belongs"),
        }
    }

    pub(crate) fn scalar(&mut self, node: &Node, grid: Grid) -> Result<Numbers, QueryError> {
        match self.eval(node, grid)? {
            Out::Scalar(values) => Ok(values),
            Out::Rows(_) | Out::Text(_) => execution("unexpected vector where a scalar belongs"),
        }
    }

    pub(crate) fn eval(&mut self, node: &Node, grid: Grid) -> Result<Out, QueryError> {
        self.meter.ctx.check()?;
        if self.explain.is_some() { self.explained(node, grid) } else { self.eval_node(node, grid) }
    }

    pub(super) fn eval_node(&mut self, node: &Node, grid: Grid) -> Result<Out, QueryError> {
        match &node.kind {
            Kind::Number(v) => self.numbers(grid, |_| *v),
            Kind::Text(s, _) => Ok(Out::Text(s.clone())),
            _ if grid.count == 0 && node.value_type == crate::parse::ValueType::Scalar => {
                self.numbers(grid, |_| f64::NAN)
            }
            _ if grid.count == 0 => self.frame(Vec::new()),
            Kind::Vector(selector) => {
                let ahead = self.ahead();
                if selector.smoothed {
                    let rows = self.smooth(selector, grid, node.pos, &ahead)?;
                    return self.settled(rows, ahead);
                }
                let rows = self.select_vector(selector, grid, &ahead)?;
                Ok(Out::Rows(Frame::counted(rows, ahead)?))
            }
            Kind::Call(id, name, args) => self.call(node, *id, name, args, grid),
            Kind::Aggregate(a) => self.aggregate(node, a, grid),
            Kind::Binary { op, lhs, rhs, matching, return_bool } => {
                self.binary(node, *op, lhs, rhs, matching.as_ref(), *return_bool, grid)
            }
            Kind::Negate(inner) => self.negate(inner, grid),
            Kind::Plus(inner) => self.eval(inner, grid),
            Kind::Invariant(inner) => self.invariant(inner, grid),
            Kind::Matrix(..) | Kind::Subquery(_) => execution("unexpected range vector"),
        }
    }

    fn negate(&mut self, inner: &Node, grid: Grid) -> Result<Out, QueryError> {
        let mut frame = match self.eval(inner, grid)? {
            Out::Scalar(mut values) => {
                values.iter_mut().for_each(|v| *v = -*v);
                return Ok(Out::Scalar(values));
            }
            Out::Rows(frame) => frame,
            Out::Text(_) => return execution("unexpected string"),
        };
        let mut rows = frame.take_rows();
        for row in &mut rows {
            self.drop_name(row);
            for v in row.floats.iter_mut().filter(|v| !is_absent(**v)) {
                *v = -*v;
            }
            for h in row.hists.iter_mut().flatten().flatten() {
                let mut negative = model::FloatHistogram::clone(h);
                negative.mul(-1.0);
                *h = Arc::new(negative);
            }
        }
        let rows = if self.settings.delayed_names { rows } else { merge_apart(rows)? };
        drop(frame);
        self.frame(rows)
    }

    /// Evaluates at the first step and spreads the result over all.
    fn invariant(&mut self, inner: &Node, grid: Grid) -> Result<Out, QueryError> {
        let total = self.meter.total.load(Ordering::Relaxed);
        let steps = self.steps.take();
        let once = self.eval(inner, grid.first())?;
        let spent = self.meter.total.load(Ordering::Relaxed) - total;
        steps.iter().for_each(|s| s.add_all(spent));
        self.steps = steps;
        self.meter.total.fetch_add(spent * (grid.count as u64).saturating_sub(1), Ordering::Relaxed);
        let mut frame = match once {
            Out::Scalar(values) => {
                let v = values.first().copied().unwrap_or(f64::NAN);
                return self.numbers(grid, |_| v);
            }
            Out::Text(s) => return Ok(Out::Text(s)),
            Out::Rows(frame) => frame,
        };
        // Upstream's words for rows that were joined of both kinds.
        if frame.rows.iter().any(|r| r.floats.first().is_some_and(|v| !is_absent(*v)) && r.has_hist(0)) {
            return execution("unexpected number of samples");
        }
        if grid.count == 1 {
            return Ok(Out::Rows(frame));
        }
        let (mut rows, ahead) = (frame.take_rows(), self.ahead());
        ahead.rows(rows.len(), grid.count)?;
        for row in &mut rows {
            row.floats = vec![row.floats.first().copied().unwrap_or(absent()); grid.count];
            if let Some(hists) = &mut row.hists {
                *hists = vec![hists.first().cloned().flatten(); grid.count];
            }
        }
        drop(frame);
        self.settled(rows, ahead)
    }

    /// Marks or makes a row nameless, as the feature says.
    pub(crate) fn drop_name(&self, row: &mut Row) {
        if !self.settings.delayed_names {
            row.labels = labels::without_metadata(&row.labels);
        }
        row.drop_name = true;
    }

    /// The offset of a selector against this grid.
    pub(crate) fn offset_of(selector: &Selector, grid: Grid) -> i64 {
        effective_offset(selector.offset_ms, selector.at_ms, grid)
    }

    pub(crate) fn series(&self, slot: usize) -> &'a [Arc<dyn Series>] {
        self.sets.get(slot).map_or(&[], Vec::as_slice)
    }

    fn select_vector(
        &mut self,
        selector: &Selector,
        grid: Grid,
        ahead: &Ahead,
    ) -> Result<Vec<Row>, QueryError> {
        let (offset, stats) = (Self::offset_of(selector, grid), selector.stats_only);
        let lookback = self.settings.lookback_ms;
        let series = self.series(selector.slot);
        let meter = Arc::clone(&self.meter);
        let rows = self.workers.map(series.len(), Columns::default, |columns, i| {
            meter.ctx.check()?;
            instant_row(columns, series[i].as_ref(), grid, (offset, stats), lookback, ahead, &meter, |_, v| v)
        })?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// The range vector of an instant query.
    pub(crate) fn matrix(&mut self, node: &Node, grid: Grid) -> Result<Vec<MatrixSeries>, QueryError> {
        match &node.kind {
            Kind::Matrix(selector, range_ms) => self.matrix_selector(selector, *range_ms, grid),
            Kind::Subquery(s) => {
                let (frame, inner) = self.subquery(s, grid)?;
                let mut rows = { frame }.take_rows();
                if self.settings.delayed_names {
                    rows = self.finish_names(rows)?;
                }
                Ok(rows.into_iter().map(|row| to_series(row, inner)).collect())
            }
            _ => execution("unexpected expression where a range vector belongs"),
        }
    }

    fn matrix_selector(
        &mut self,
        selector: &Selector,
        range_ms: i64,
        grid: Grid,
    ) -> Result<Vec<MatrixSeries>, QueryError> {
        let offset = Self::offset_of(selector, grid);
        let (end, start) = (grid.start - offset, grid.start - offset - range_ms);
        let lookback = self.settings.lookback_ms;
        let extended = selector.anchored || selector.smoothed;
        let mint = if extended { start - lookback } else { start };
        let maxt = if selector.smoothed { end + lookback } else { end };
        let mut columns = Columns::default();
        let mut all = Vec::new();
        for series in self.series(selector.slot) {
            self.meter.ctx.check()?;
            let stats =
                if selector.stats_only { Stats::Only { grid, offset, back: range_ms } } else { Stats::Whole };
            columns.read(&self.meter, series.as_ref(), mint + 1, maxt, false, stats)?;
            let mut floats: Vec<(i64, f64)> =
                columns.ft.iter().copied().zip(columns.fv.iter().copied()).collect();
            let histograms: Vec<_> = columns.ht.iter().copied().zip(columns.hv.iter().cloned()).collect();
            if extended {
                let word = if selector.anchored { "anchored" } else { "smoothed" };
                if !histograms.is_empty() {
                    return execution(format!("{word} modifier is not supported with histograms"));
                }
                if floats.is_empty() {
                    continue;
                }
                floats = super::extended::extend(&columns.ft, &columns.fv, start, end, selector.smoothed);
            }
            let size = floats.len() as u64 + histograms.iter().map(|(_, h)| hist_size(h)).sum::<u64>();
            self.meter.total.fetch_add(size, Ordering::Relaxed);
            self.steps.iter().for_each(|s| s.add_last(size));
            self.meter.read.fetch_add(size, Ordering::Relaxed);
            // The result is handed out, so its samples stay taken.
            self.meter.take(size)?;
            self.meter.ctx.budget.charge(16 * size)?;
            if size > 0 {
                all.push(MatrixSeries { labels: series.labels().clone(), floats, histograms });
            }
        }
        Ok(all)
    }

    /// Evaluates a subquery's expression on its own grid, aligned to the epoch.
    pub(crate) fn subquery(
        &mut self,
        s: &super::plan::SubqueryPlan,
        grid: Grid,
    ) -> Result<(Frame, Grid), QueryError> {
        let offset = effective_offset(s.offset_ms, s.at_ms, grid);
        let end = grid.last() - offset;
        let edge = grid.start.saturating_sub(offset).saturating_sub(s.range_ms);
        let mut start = s.step_ms * (edge / s.step_ms);
        if start <= edge {
            start += s.step_ms;
        }
        let inner = Grid::new(start, end, s.step_ms);
        // Before anything is allocated: a grid of a year in milliseconds must fail on its size alone.
        if inner.count as u64 > super::STEPS_MAX {
            return execution(format!("subquery would evaluate {} steps; use a larger step", inner.count));
        }
        let (steps, total) = (self.steps.take(), self.meter.total.load(Ordering::Relaxed));
        let out = self.eval(&s.expr, inner)?;
        // Upstream counts all of it to the last step.
        steps.iter().for_each(|s| s.add_last(self.meter.total.load(Ordering::Relaxed) - total));
        self.steps = steps;
        let frame = match out {
            Out::Rows(frame) => frame,
            Out::Scalar(values) => {
                let row = Row { floats: values.into_vec(), ..Row::empty(Labels::empty(), 0) };
                Frame::new(&self.meter, vec![row])?
            }
            Out::Text(_) => return execution("unexpected string in a subquery"),
        };
        Ok((frame, inner))
    }

    /// Rows of a step-wise operation: those of equal labels are one. At a single time with late names upstream
    /// leaves them apart until the end.
    pub(crate) fn join_equal(&self, rows: Vec<Row>, grid: Grid) -> Result<Vec<Row>, QueryError> {
        if self.settings.delayed_names && grid.count == 1 { Ok(rows) } else { merge_equal(rows) }
    }

    /// Takes the names away that wait for the end, and joins series that are equal then.
    pub(crate) fn finish_names(&self, mut rows: Vec<Row>) -> Result<Vec<Row>, QueryError> {
        for row in rows.iter_mut().filter(|r| r.drop_name) {
            row.labels = labels::without_metadata(&row.labels);
        }
        merge_apart(rows)
    }
}

/// Offset that brings a step to the time to look at; with `@` that is the same time for the first step.
pub(crate) fn effective_offset(offset_ms: i64, at_ms: Option<i64>, grid: Grid) -> i64 {
    match at_ms {
        Some(t) => (grid.start - t).saturating_add(offset_ms),
        None => offset_ms,
    }
}

/// Steps between two looks at the deadline within one row.
pub(crate) const STEPS_A_LOOK: usize = 1 << 16;

/// A row from the newest sample within the lookback at each step; `None` where there is none at all.
pub(crate) fn instant_row(
    columns: &mut Columns,
    series: &dyn Series,
    grid: Grid,
    (offset, stats): (i64, bool),
    lookback: i64,
    ahead: &Ahead,
    meter: &Arc<Meter>,
    value: impl Fn(i64, f64) -> f64,
) -> Result<Option<Row>, QueryError> {
    let buf = columns.read_steps(meter, series, grid, offset, lookback, stats)?;
    if buf.is_empty() {
        return Ok(None);
    }
    ahead.row(grid.count)?;
    let mut row = Row::empty(series.labels().clone(), grid.count);
    let (mut next, mut found, mut hists) = (0, 0_u64, 0_u64);
    for step in 0..grid.count {
        if step % STEPS_A_LOOK == STEPS_A_LOOK - 1 {
            meter.ctx.check()?;
        }
        let reference = grid.at(step) - offset;
        while next < buf.times.len() && buf.times[next] <= reference {
            next += 1;
        }
        let Some(i) = next.checked_sub(1) else { continue };
        if buf.times[i] <= reference - lookback || model::is_stale_nan(buf.values[i]) {
            continue;
        }
        match buf.histogram_at(i) {
            _ if buf.histograms.is_empty() => {
                row.floats[step] = value(buf.times[i], buf.values[i]);
                found += 1;
            }
            None => {
                row.floats[step] = value(buf.times[i], buf.values[i]);
                found += 1;
            }
            Some(h) if h.is_stale() => {}
            Some(h) => {
                let h = match &row.hists {
                    // Steps that fall on one sample share its float form.
                    Some(hists) if step > 0 && buf.times[i] <= grid.at(step - 1) - offset => {
                        hists[step - 1].clone().unwrap_or_else(|| h.to_float())
                    }
                    _ => h.to_float(),
                };
                found += hist_size(&h);
                hists += 1;
                ahead.hist(hists)?;
                row.set_hist(step, h);
            }
        }
    }
    if let Some(counts) = &ahead.steps {
        for step in 0..grid.count {
            match row.cell(step) {
                Cell::None => {}
                Cell::Float(_) => counts.add(step, 1),
                Cell::Hist(h) => counts.add(step, hist_size(h)),
            }
        }
    }
    meter.total.fetch_add(found, Ordering::Relaxed);
    meter.read.fetch_add(found, Ordering::Relaxed);
    ahead.samples(found);
    Ok((found > 0).then_some(row))
}

/// Joins rows of equal labels whose values do not meet at any step.
pub(crate) fn merge_equal(rows: Vec<Row>) -> Result<Vec<Row>, QueryError> {
    merge(rows, false)
}

/// The same where names or labels were taken away: there upstream looks for floats that meet and histograms that
/// meet, so that a step may have one of each.
pub(crate) fn merge_apart(rows: Vec<Row>) -> Result<Vec<Row>, QueryError> {
    merge(rows, true)
}

fn merge(rows: Vec<Row>, both_kinds: bool) -> Result<Vec<Row>, QueryError> {
    if rows.is_sorted_by(|a, b| a.labels < b.labels) {
        return Ok(rows);
    }
    let mut seen: std::collections::HashMap<Labels, usize> =
        std::collections::HashMap::with_capacity(rows.len());
    let mut out: Vec<Row> = Vec::with_capacity(rows.len());
    for row in rows {
        let Some(at) = seen.get(&row.labels).copied() else {
            seen.insert(row.labels.clone(), out.len());
            out.push(row);
            continue;
        };
        let into = &mut out[at];
        let before: Vec<(bool, bool)> =
            (0..row.floats.len()).map(|step| (!is_absent(into.floats[step]), into.has_hist(step))).collect();
        for (step, v) in row.floats.iter().enumerate() {
            if !is_absent(*v) {
                if before[step].0 || (before[step].1 && !both_kinds) {
                    return execution(SAME_LABELSET);
                }
                into.floats[step] = *v;
            }
        }
        for (step, h) in row.hists.into_iter().flatten().enumerate() {
            if let Some(h) = h {
                if before[step].1 || (before[step].0 && !both_kinds) {
                    return execution(SAME_LABELSET);
                }
                into.put_hist(step, h);
            }
        }
    }
    Ok(out)
}

/// Refuses rows of equal labels, whether they meet or not.
pub(crate) fn refuse_equal(rows: &[Row]) -> Result<(), QueryError> {
    // Mostly they come in order, which needs no table.
    if rows.is_sorted_by(|a, b| a.labels < b.labels) {
        return Ok(());
    }
    let mut seen = std::collections::HashSet::with_capacity(rows.len());
    if rows.iter().all(|r| seen.insert(r.labels.as_bytes())) { Ok(()) } else { execution(SAME_LABELSET) }
}

/// A row as a series of the result.
pub(crate) fn to_series(row: Row, grid: Grid) -> MatrixSeries {
    let present = row.floats.iter().filter(|v| !is_absent(**v)).count();
    let mut floats = Vec::with_capacity(present);
    let cells = row.floats.iter().enumerate().filter(|(_, v)| !is_absent(**v));
    floats.extend(cells.map(|(i, v)| (grid.at(i), *v)));
    let histograms =
        row.hists.into_iter().flatten().enumerate().filter_map(|(i, h)| h.map(|h| (grid.at(i), h))).collect();
    MatrixSeries { labels: row.labels, floats, histograms }
}
