//! Functions over range vectors: one series at a time over its columns, all steps, on all cores.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::{FloatHistogram, Labels};
use storage::Series;

use super::annotations::Annotations;
use super::error::{QueryError, execution};
use super::eval::{Eval, Out, effective_offset, refuse_equal};
use super::plan::{Kind, Node, absent_labels};
use super::range_functions::evaluate;
use super::rate_columns;
use super::read::{Columns, Cursor, Stats, Window};
use super::row::{Cell, Frame, Grid, Numbers, Row, absent, hist_size, is_absent};
use crate::parse::{FunctionId, PosRange};

/// What a range function gives at one step.
pub(crate) enum Answer {
    None,
    Float(f64),
    Hist(FloatHistogram),
}

/// What a range function may look at besides the window.
pub(crate) struct RangeCall<'a> {
    pub(crate) id: FunctionId,
    /// Scalar arguments at this step, in order.
    pub(crate) scalars: [f64; 2],
    pub(crate) range_ms: i64,
    pub(crate) anchored: bool,
    pub(crate) smoothed: bool,
    pub(crate) labels: &'a Labels,
    /// First argument, to which most notes point.
    pub(crate) pos: PosRange,
    pub(crate) use_starts: bool,
}

impl RangeCall<'_> {
    pub(crate) fn metric(&self) -> &str {
        self.labels.metric_name()
    }
}

enum Source<'a> {
    Series(&'a [Arc<dyn Series>]),
    Rows(&'a [Row], Grid),
}

/// Samples looked at between two looks at the deadline: a millisecond of the dearest functions.
const SAMPLES_A_LOOK: u64 = 1 << 15;

fn uses_starts(id: FunctionId) -> bool {
    use FunctionId::{Increase, Irate, Rate, Resets};
    matches!(id, Rate | Irate | Increase | Resets)
}

impl Eval<'_> {
    /// Evaluates a call whose argument `at` is a range vector.
    pub(crate) fn range_call(
        &mut self,
        id: FunctionId,
        name: &str,
        args: &[Node],
        at: usize,
        grid: Grid,
    ) -> Result<Out, QueryError> {
        let mut scalars: Vec<Numbers> = Vec::new();
        let from_subquery = matches!(args[at].kind, Kind::Subquery(_));
        let subquery = match &args[at].kind {
            Kind::Subquery(s) => {
                // What the windows see of it is counted, not what it saw itself (upstream: `evalSubquery`).
                let (steps, total) = (self.steps.take(), self.meter.total.load(Ordering::Relaxed));
                let out = self.subquery(s, grid)?;
                self.meter.total.store(total, Ordering::Relaxed);
                self.steps = steps;
                Some(out)
            }
            _ => None,
        };
        for (i, arg) in args.iter().enumerate() {
            if i != at {
                scalars.push(self.scalar(arg, grid)?);
            }
        }
        let (source, range_ms, offset, fixed, anchored, smoothed) = match (&args[at].kind, &subquery) {
            (Kind::Subquery(s), Some((frame, inner))) => {
                let offset = effective_offset(s.offset_ms, s.at_ms, grid);
                (Source::Rows(&frame.rows, *inner), s.range_ms, offset, s.at_ms.is_some(), false, false)
            }
            (Kind::Matrix(s, range), _) => {
                let offset = Self::offset_of(s, grid);
                (
                    Source::Series(self.series(s.slot)),
                    *range,
                    offset,
                    s.at_ms.is_some(),
                    s.anchored,
                    s.smoothed,
                )
            }
            _ => return execution("unexpected expression where a range vector belongs"),
        };
        refuse_extended(id, name, anchored, smoothed)?;
        let lookback = self.settings.lookback_ms;
        let back = if anchored || smoothed { lookback } else { 0 };
        let forward = if smoothed { lookback } else { 0 };
        let count = match &source {
            Source::Series(s) => s.len(),
            Source::Rows(r, _) => r.len(),
        };
        let use_starts = self.settings.use_starts && uses_starts(id);
        let stats = match &args[at].kind {
            Kind::Matrix(s, _) if s.stats_only => {
                Stats::Only { grid: if fixed { grid.first() } else { grid }, offset, back: range_ms + back }
            }
            _ => Stats::Whole,
        };
        let keeps_name = matches!(id, FunctionId::LastOverTime | FunctionId::FirstOverTime);
        let (settings, meter) = (self.settings, Arc::clone(&self.meter));
        // A subquery's result has no place of its own upstream, so that notes point to the beginning.
        let pos = if from_subquery && at == 0 { PosRange::default() } else { args[0].pos };
        let ahead = self.ahead();
        let work = |columns: &mut Columns, i: usize| -> Result<Option<(Row, Annotations)>, QueryError> {
            meter.ctx.check()?;
            let (labels, drop_already) = match &source {
                Source::Series(all) => {
                    let series = all[i].as_ref();
                    let mint = (grid.start - offset).saturating_sub(range_ms).saturating_sub(back);
                    let last = if fixed { grid.start } else { grid.last() };
                    columns.read(
                        &meter,
                        series,
                        mint.saturating_add(1),
                        last - offset + forward,
                        use_starts,
                        stats,
                    )?;
                    (series.labels(), false)
                }
                Source::Rows(rows, inner) => {
                    columns.read_row(&rows[i], *inner);
                    (&rows[i].labels, rows[i].drop_name)
                }
            };
            if columns.ft.is_empty() && columns.ht.is_empty() {
                return Ok(None);
            }
            let held = (columns.ft.len() + columns.ht.len()) as u64;
            meter.take(held)?;
            let mut notes = Annotations::default();
            ahead.row(grid.count)?;
            let mut row = Row::empty(labels.clone(), grid.count);
            let mut call = RangeCall {
                id,
                scalars: [0.0; 2],
                range_ms,
                anchored,
                smoothed,
                labels,
                pos,
                use_starts: columns.has_starts,
            };
            let plain = columns.ht.is_empty() && !columns.has_starts && !anchored && !smoothed && !fixed;
            let in_one_loop =
                plain && matches!(id, FunctionId::Rate | FunctionId::Increase | FunctionId::Delta);
            let (mut floats, mut hists) = (Cursor::default(), Cursor::default());
            let (mut f, mut h) = (0..0, 0..0);
            let counts_falls = matches!(id, FunctionId::Rate | FunctionId::Increase) && !columns.has_starts;
            if counts_falls {
                columns.find_falls();
            }
            // Those before it are behind the window.
            let mut fall = 0;
            let (mut looked_at, mut any, mut hists_made) = (0_u64, false, 0_u64);
            let mut next_look = SAMPLES_A_LOOK;
            if in_one_loop {
                let call = rate_columns::Call {
                    offset,
                    range_ms,
                    counter: id != FunctionId::Delta,
                    per_second: id == FunctionId::Rate,
                };
                (looked_at, any) = rate_columns::fill(columns, grid, call, &mut row.floats, &meter, &ahead)?;
            }
            let windows = if in_one_loop { 0 } else { grid.count };
            for step in 0..windows {
                if looked_at + step as u64 >= next_look {
                    meter.ctx.check()?;
                    next_look = looked_at + step as u64 + SAMPLES_A_LOOK;
                }
                let ts = grid.at(step);
                let (start, end) = (ts - offset - range_ms, ts - offset);
                if step == 0 || !fixed {
                    f = floats.advance(&columns.ft, start - back, end + forward);
                    h = hists.advance(&columns.ht, start - back, end + forward);
                }
                let starts = |s: &'_ [i64], r: &std::ops::Range<usize>| {
                    if columns.has_starts { r.clone() } else { s.len()..s.len() }
                };
                let falls = counts_falls.then(|| {
                    let all = &columns.falls[fall..];
                    fall += all.iter().take_while(|i| **i as usize <= f.start).count();
                    let all = &columns.falls[fall..];
                    (f.start, &all[..all.iter().take_while(|i| (**i as usize) < f.end).count()])
                });
                let window = Window {
                    falls,
                    ft: &columns.ft[f.clone()],
                    fv: &columns.fv[f.clone()],
                    fs: &columns.fs[starts(&columns.fs, &f)],
                    ht: &columns.ht[h.clone()],
                    hv: &columns.hv[h.clone()],
                    hs: &columns.hs[starts(&columns.hs, &h)],
                    ts,
                    start,
                    end,
                };
                if window.is_empty() {
                    continue;
                }
                let seen = window.ft.len() as u64 + window.hv.iter().map(|h| hist_size(h)).sum::<u64>();
                looked_at += seen;
                if let Some(counts) = &ahead.steps {
                    counts.add(step, seen);
                }
                for (slot, values) in call.scalars.iter_mut().zip(&scalars) {
                    *slot = values[step];
                }
                match evaluate(&call, &window, &mut notes)? {
                    Answer::None => {}
                    Answer::Float(v) => {
                        row.floats[step] = v;
                        any = true;
                    }
                    Answer::Hist(h) => {
                        hists_made += 1;
                        ahead.hist(hists_made)?;
                        row.set_hist(step, Arc::new(h));
                        any = true;
                    }
                }
            }
            meter.give(held);
            meter.total.fetch_add(looked_at, Ordering::Relaxed);
            if !from_subquery {
                meter.read.fetch_add(held, Ordering::Relaxed);
            }
            row.drop_name = !keeps_name || drop_already;
            if row.drop_name && !settings.delayed_names {
                row.labels = super::labels::without_metadata(&row.labels);
            }
            if matches!(id, FunctionId::Rate | FunctionId::Increase)
                && row.floats.iter().any(|v| !is_absent(*v))
            {
                note_non_counter(labels, pos, settings.type_and_unit, &mut notes);
            }
            if any {
                ahead.samples(row.samples());
            }
            Ok((any || !notes.is_empty()).then_some((row, notes)))
        };
        let answers = self.workers.map(count, Columns::default, work)?;
        let mut rows = Vec::with_capacity(answers.len());
        for (row, notes) in answers.into_iter().flatten() {
            self.notes.merge(notes);
            if !row.is_empty() {
                rows.push(row);
            }
        }
        drop(subquery);
        if id == FunctionId::AbsentOverTime {
            ahead.row(grid.count)?;
            rows = absent_over_time(&rows, absent_labels(&args[at]), grid);
            return self.settled(rows, ahead);
        }
        if !settings.delayed_names {
            refuse_equal(&rows)?;
        }
        Ok(Out::Rows(Frame::counted(rows, ahead)?))
    }
}

fn refuse_extended(id: FunctionId, name: &str, anchored: bool, smoothed: bool) -> Result<(), QueryError> {
    use FunctionId::{Changes, Delta, Increase, Rate, Resets};
    if anchored && !matches!(id, Changes | Delta | Increase | Rate | Resets) {
        let safe = "changes, delta, increase, rate, resets";
        return execution(format!("anchored modifier can only be used with: {safe} - not with {name}"));
    }
    if smoothed && !matches!(id, Delta | Increase | Rate) {
        return execution(format!(
            "smoothed modifier can only be used with: delta, increase, rate - not with {name}"
        ));
    }
    Ok(())
}

fn note_non_counter(labels: &Labels, pos: PosRange, type_and_unit: bool, notes: &mut Annotations) {
    let name = labels.metric_name();
    if name.is_empty() {
        return;
    }
    if type_and_unit {
        let kind = labels.get("__type__");
        if kind != "counter" && kind != "histogram" {
            notes.possible_non_counter_label(name, kind, pos);
        }
    } else if !["_total", "_sum", "_count", "_bucket"].iter().any(|s| name.ends_with(s)) {
        notes.possible_non_counter(name, pos);
    }
}

/// One series of ones where no series has a value.
fn absent_over_time(rows: &[Row], labels: Labels, grid: Grid) -> Vec<Row> {
    let mut row = Row::empty(labels, grid.count);
    row.drop_name = true;
    for step in 0..grid.count {
        let present = rows.iter().any(|r| !matches!(r.cell(step), Cell::None));
        row.floats[step] = if present { absent() } else { 1.0 };
    }
    if row.is_empty() { Vec::new() } else { vec![row] }
}
