//! Functions over instant vectors, scalars and time.

use std::sync::Arc;

use model::{Labels, Matcher, go_math};
use storage::PatternError;

use super::error::{QueryError, execution};
use super::eval::{Eval, Out, instant_row, merge_apart};
use super::math::{go_max, go_min};
use super::natural;
use super::plan::{Kind, Node, absent_labels};
use super::read::Columns;
use super::row::{Ahead, Cell, Frame, Grid, Numbers, Row, absent, is_absent};
use super::time::{civil, days_in_month};
use crate::parse::{FunctionId as F, ValueType};

impl Eval<'_> {
    pub(crate) fn call(
        &mut self,
        node: &Node,
        id: F,
        name: &str,
        args: &[Node],
        grid: Grid,
    ) -> Result<Out, QueryError> {
        if let Some(at) = args.iter().position(|a| a.value_type == ValueType::Matrix) {
            return self.range_call(id, name, args, at, grid);
        }
        match id {
            F::Time => self.numbers(grid, |i| grid.at(i) as f64 / 1000.0),
            F::Vector => {
                let values = self.scalar(&args[0], grid)?;
                self.frame(vec![Row { floats: values.into_vec(), ..Row::empty(Labels::empty(), 0) }])
            }
            F::Scalar => {
                let frame = self.rows(&args[0], grid)?;
                self.numbers(grid, |step| only_float(&frame.rows, step))
            }
            F::MaxOf | F::MinOf => {
                let (mut a, b) = (self.scalar(&args[0], grid)?, self.scalar(&args[1], grid)?);
                let pick = if id == F::MaxOf { go_max } else { go_min };
                a.iter_mut().zip(b.iter()).for_each(|(a, b)| *a = pick(*a, *b));
                Ok(Out::Scalar(a))
            }
            F::Timestamp | F::StartTimestamp => self.timestamp(id, &args[0], grid),
            F::Absent => {
                let frame = self.rows(&args[0], grid)?;
                let ahead = self.ahead();
                ahead.row(grid.count)?;
                let mut row = Row::empty(absent_labels(&args[0]), grid.count);
                for step in 0..grid.count {
                    let any = frame.rows.iter().any(|r| !matches!(r.cell(step), Cell::None));
                    row.floats[step] = if any { absent() } else { 1.0 };
                }
                drop(frame);
                self.settled(if row.is_empty() { Vec::new() } else { vec![row] }, ahead)
            }
            F::Sort | F::SortDesc | F::SortByLabel | F::SortByLabelDesc => self.sort(node, id, args, grid),
            F::LabelReplace => self.label_replace(args, grid),
            F::LabelJoin => self.label_join(args, grid),
            F::Info => self.info(args, grid),
            F::Clamp | F::ClampMin | F::ClampMax | F::Round => self.bounded(id, args, grid),
            F::HistogramQuantile | F::HistogramFraction | F::HistogramQuantiles => {
                self.classic_or_native(id, args, grid)
            }
            F::HistogramCount
            | F::HistogramSum
            | F::HistogramAvg
            | F::HistogramStddev
            | F::HistogramStdvar => self.histogram_figure(id, &args[0], grid),
            F::DaysInMonth
            | F::DayOfMonth
            | F::DayOfWeek
            | F::DayOfYear
            | F::Hour
            | F::Minute
            | F::Month
            | F::Year => self.calendar(id, args, grid),
            _ => match float_function(id) {
                Some(f) => self.map_floats(&args[0], grid, f),
                None => execution(format!("function {name} cannot be evaluated here")),
            },
        }
    }

    /// Applies `f` to floats; histograms fall out and the name goes.
    fn map_floats(&mut self, arg: &Node, grid: Grid, f: impl Fn(f64) -> f64) -> Result<Out, QueryError> {
        let frame = self.rows(arg, grid)?;
        self.map_frame(frame, grid, |_, v| f(v))
    }

    fn map_frame(
        &mut self,
        mut frame: Frame,
        grid: Grid,
        f: impl Fn(usize, f64) -> f64,
    ) -> Result<Out, QueryError> {
        let mut rows = frame.take_rows();
        for row in &mut rows {
            row.hists = None;
            for (step, v) in row.floats.iter_mut().enumerate() {
                if !is_absent(*v) {
                    *v = f(step, *v);
                }
            }
            self.drop_name(row);
        }
        rows.retain(|r| !r.is_empty());
        drop(frame);
        let rows = self.join_equal(rows, grid)?;
        self.frame(rows)
    }

    fn bounded(&mut self, id: F, args: &[Node], grid: Grid) -> Result<Out, QueryError> {
        let mut numbers = Vec::new();
        let frame = self.rows(&args[0], grid)?;
        for arg in &args[1..] {
            numbers.push(self.scalar(arg, grid)?);
        }
        let number = |i: usize, step: usize, default: f64| {
            numbers.get(i).and_then(|n| n.get(step)).map_or(default, |v| *v)
        };
        let mut frame = frame;
        if id == F::Clamp {
            // Where the bounds cross, nothing is left.
            for row in &mut frame.rows {
                for (step, v) in row.floats.iter_mut().enumerate() {
                    if number(1, step, 0.0) < number(0, step, 0.0) {
                        *v = absent();
                    }
                }
            }
        }
        self.map_frame(frame, grid, |step, v| match id {
            F::Clamp => go_max(number(0, step, 0.0), go_min(number(1, step, 0.0), v)),
            F::ClampMax => go_max(f64::NEG_INFINITY, go_min(number(0, step, 0.0), v)),
            F::ClampMin => go_max(number(0, step, 0.0), go_min(f64::INFINITY, v)),
            _ => {
                let inverse = 1.0 / number(0, step, 1.0);
                (v * inverse + 0.5).floor() / inverse
            }
        })
    }

    fn calendar(&mut self, id: F, args: &[Node], grid: Grid) -> Result<Out, QueryError> {
        let field = move |seconds: i64| {
            let c = civil(seconds);
            (match id {
                F::DaysInMonth => days_in_month(c.year, c.month),
                F::DayOfMonth => c.day,
                F::DayOfWeek => c.weekday,
                F::DayOfYear => c.year_day,
                F::Hour => c.hour,
                F::Minute => c.minute,
                F::Month => c.month,
                _ => c.year,
            }) as f64
        };
        match args.first() {
            Some(arg) => self.map_floats(arg, grid, |v| field(super::math::go_i64(v))),
            None => {
                let floats = Numbers::new(&self.meter, grid.count, |i| field(grid.at(i) / 1000))?.into_vec();
                self.frame(vec![Row { floats, ..Row::empty(Labels::empty(), 0) }])
            }
        }
    }

    fn timestamp(&mut self, id: F, arg: &Node, grid: Grid) -> Result<Out, QueryError> {
        let Kind::Vector(selector) = &arg.kind else {
            // Of a calculated vector the time is that of the step, and no start is known.
            let mut frame = self.rows(arg, grid)?;
            if id == F::StartTimestamp {
                frame.rows.clear();
            }
            for row in &mut frame.rows {
                for step in 0..grid.count {
                    if !matches!(row.cell(step), Cell::None) {
                        row.floats[step] = grid.at(step) as f64 / 1000.0;
                    }
                }
                row.hists = None;
            }
            return self.map_frame(frame, grid, |_, v| v);
        };
        if id == F::StartTimestamp && !self.settings.use_starts {
            return self.frame(Vec::new());
        }
        let (lookback, series) = (self.settings.lookback_ms, self.series(selector.slot));
        let (meter, ahead) = (Arc::clone(&self.meter), self.ahead());
        let selector = selector.clone();
        let rows = self.workers.map(series.len(), Columns::default, |columns, i| {
            meter.ctx.check()?;
            if selector.at_ms.is_none() && id == F::Timestamp {
                let fold = |t: i64, _: f64| t as f64 / 1000.0;
                let row = instant_row(
                    columns,
                    series[i].as_ref(),
                    grid,
                    (selector.offset_ms, false),
                    lookback,
                    &ahead,
                    &meter,
                    fold,
                )?;
                return Ok(row.map(|row| with_histogram_times(row, columns, grid, selector.offset_ms)));
            }
            ahead.row(grid.count)?;
            let mut row = Row::empty(series[i].labels().clone(), grid.count);
            for step in 0..grid.count {
                meter.ctx.check()?;
                // With `@` every step looks at that one time. As upstream, an offset beside it moves only what
                // is read, not the time that is looked at.
                let (from, to) = match selector.at_ms {
                    Some(t) => {
                        let read = t - selector.offset_ms;
                        ((read - lookback).max(t - lookback) + 1, read.min(t))
                    }
                    None => (
                        grid.at(step) - selector.offset_ms - lookback + 1,
                        grid.at(step) - selector.offset_ms,
                    ),
                };
                let buf = columns.read_raw(series[i].as_ref(), from, to)?;
                let Some(last) = buf.len().checked_sub(1) else { continue };
                let stale =
                    buf.histogram_at(last).map_or(model::is_stale_nan(buf.values[last]), |h| h.is_stale());
                if !stale {
                    row.floats[step] = match id {
                        F::Timestamp => buf.times[last] as f64 / 1000.0,
                        _ => buf.starts.get(last).copied().unwrap_or(0) as f64 / 1000.0,
                    };
                }
            }
            Ok((!row.is_empty()).then_some(row))
        })?;
        let frame = Frame::settled(rows.into_iter().flatten().collect(), ahead)?;
        self.map_frame(frame, grid, |_, v| v)
    }

    fn sort(&mut self, node: &Node, id: F, args: &[Node], grid: Grid) -> Result<Out, QueryError> {
        let mut frame = self.rows(&args[0], grid)?;
        if grid.start != grid.end {
            self.notes.sort_in_range(node.pos);
        }
        let mut rows = frame.take_rows();
        match id {
            F::SortByLabel | F::SortByLabelDesc => {
                rows.iter_mut().for_each(Row::keep_floats);
                let names: Vec<&str> = args[1..].iter().filter_map(text).collect();
                let by_label = |a: &Row, b: &Row| {
                    for name in &names {
                        let (x, y) = (a.labels.get(name), b.labels.get(name));
                        if x != y {
                            return natural::compare(x, y);
                        }
                    }
                    a.labels.cmp(&b.labels)
                };
                let in_order = |a: &Row, b: &Row| {
                    if id == F::SortByLabel { by_label(a, b) } else { by_label(b, a) }
                };
                if rows.len() > INSERTED_MAX {
                    rows.sort_by(in_order);
                } else {
                    insert_by_labels(&mut rows, &names, id == F::SortByLabel, in_order);
                }
            }
            _ => {
                rows.iter_mut().for_each(|r| r.hists = None);
                rows.retain(|r| !r.is_empty());
                if grid.count == 1 {
                    // NaN goes last both ways.
                    rows.sort_by(|a, b| match (a.floats[0].is_nan(), b.floats[0].is_nan()) {
                        (false, false) => {
                            let o =
                                a.floats[0].partial_cmp(&b.floats[0]).unwrap_or(std::cmp::Ordering::Equal);
                            if id == F::Sort { o } else { o.reverse() }
                        }
                        (x, y) => x.cmp(&y),
                    });
                }
            }
        }
        drop(frame);
        self.frame(rows)
    }

    fn label_replace(&mut self, args: &[Node], grid: Grid) -> Result<Out, QueryError> {
        let [Some(dst), Some(replacement), Some(src), Some(pattern)] =
            [1, 2, 3, 4].map(|i| args.get(i).and_then(text))
        else {
            return execution("label_replace needs string arguments");
        };
        let compiled = storage::compiled(
            &self.meter.ctx.budget,
            |bound| goregex::Regex::wrapped_within(pattern, bound),
            goregex::Error::is_large,
            goregex::Regex::memory_bytes,
        );
        let regex = match compiled {
            Ok(regex) => regex,
            Err(PatternError::Memory(e)) => return Err(e.into()),
            Err(PatternError::Pattern(_)) => {
                return execution(format!("invalid regular expression in label_replace(): {pattern}"));
            }
        };
        if dst.is_empty() || !is_utf8(&args[1]) {
            return execution(format!("invalid destination label name in label_replace(): {dst}"));
        }
        let mut frame = self.rows(&args[0], grid)?;
        let (mut rows, ahead) = (frame.take_rows(), self.ahead());
        for row in &mut rows {
            self.meter.ctx.check()?;
            let value = row.labels.get(src).to_string();
            if let Some(captures) = regex.captures(&value) {
                // Each reference gives at most the whole value.
                let most = replacement.matches('$').count().saturating_mul(value.len());
                refuse_long(dst, most.saturating_add(replacement.len()) / EXPANDED_PART)?;
                let mut text = String::new();
                regex.expand(replacement, &value, &captures, &mut text);
                row.labels = with_label(&ahead, &row.labels, dst, &text)?;
                if dst == model::labels::METRIC_NAME {
                    row.drop_name = false;
                }
            }
        }
        drop(frame);
        let rows = merge_apart(rows)?;
        self.settled(rows, ahead)
    }

    fn label_join(&mut self, args: &[Node], grid: Grid) -> Result<Out, QueryError> {
        let (Some(dst), Some(separator)) = (args.get(1).and_then(text), args.get(2).and_then(text)) else {
            return execution("label_join needs string arguments");
        };
        let sources: Vec<&str> = args[3..].iter().filter_map(text).collect();
        for (source, node) in sources.iter().zip(&args[3..]) {
            if source.is_empty() || !is_utf8(node) {
                return execution(format!("invalid source label name in label_join(): {source}"));
            }
        }
        if dst.is_empty() || !is_utf8(&args[1]) {
            return execution(format!("invalid destination label name in label_join(): {dst}"));
        }
        let mut frame = self.rows(&args[0], grid)?;
        let (mut rows, ahead) = (frame.take_rows(), self.ahead());
        for row in &mut rows {
            self.meter.ctx.check()?;
            let parts: Vec<&str> = sources.iter().map(|s| row.labels.get(s)).collect();
            refuse_long(dst, parts.iter().map(|p| p.len() + separator.len()).sum())?;
            row.labels = with_label(&ahead, &row.labels, dst, &parts.join(separator))?;
            if dst == model::labels::METRIC_NAME {
                row.drop_name = false;
            }
        }
        drop(frame);
        let rows = merge_apart(rows)?;
        self.settled(rows, ahead)
    }

    /// Matchers of a selector argument, for `info`.
    pub(crate) fn matchers_of(node: &Node) -> &[Matcher] {
        match &node.kind {
            Kind::Vector(s) => &s.matchers,
            Kind::Invariant(inner) => Self::matchers_of(inner),
            _ => &[],
        }
    }
}

pub(crate) fn text(node: &Node) -> Option<&str> {
    match &node.kind {
        Kind::Text(s, _) => Some(s),
        _ => None,
    }
}

fn is_utf8(node: &Node) -> bool {
    matches!(node.kind, Kind::Text(_, true))
}

/// Bytes of a label that is made here: a hundred times of what anyone stores, and doubled a few times more it
/// would be all memory.
const LABEL_BYTES_MAX: usize = 1 << 20;

/// A replacement may make at most so many times a label before it is looked at.
const EXPANDED_PART: usize = 16;

fn refuse_long(name: &str, bytes: usize) -> Result<(), QueryError> {
    if bytes <= LABEL_BYTES_MAX {
        return Ok(());
    }
    execution(format!("label {name} would have {bytes} bytes, more than {LABEL_BYTES_MAX}"))
}

/// Labels with one changed, paid for before they are made.
fn with_label(ahead: &Ahead, labels: &Labels, name: &str, value: &str) -> Result<Labels, QueryError> {
    refuse_long(name, value.len())?;
    ahead.take((labels.as_bytes().len() + name.len() + value.len()) as u64)?;
    let mut builder = labels.to_builder();
    builder.set(name, value);
    Ok(builder.build())
}

/// Up to this number upstream's sort is by insertion.
const INSERTED_MAX: usize = 12;

/// Sorts by insertion, so that rows which lack a label end where upstream has them: its comparison puts a text and
/// none the same way round whichever comes first.
fn insert_by_labels(
    rows: &mut [Row],
    names: &[&str],
    ascending: bool,
    in_order: impl Fn(&Row, &Row) -> std::cmp::Ordering,
) {
    let before = |a: &Row, b: &Row| {
        let first = names.iter().map(|n| (a.labels.get(n), b.labels.get(n))).find(|(x, y)| x != y);
        match first {
            Some((x, y)) if x.is_empty() || y.is_empty() => !ascending,
            _ => in_order(a, b).is_lt(),
        }
    };
    for i in 1..rows.len() {
        for j in (1..=i).rev() {
            if !before(&rows[j], &rows[j - 1]) {
                break;
            }
            rows.swap(j, j - 1);
        }
    }
}

/// The one float of a vector, or NaN.
fn only_float(rows: &[Row], step: usize) -> f64 {
    let mut floats = rows.iter().map(|r| r.floats[step]).filter(|v| !is_absent(*v));
    match (floats.next(), floats.next()) {
        (Some(v), None) => v,
        _ => f64::NAN,
    }
}

/// Times in the place of histograms.
fn with_histogram_times(mut row: Row, columns: &mut Columns, grid: Grid, offset: i64) -> Row {
    let Some(hists) = row.hists.take() else { return row };
    for (step, h) in hists.iter().enumerate() {
        if h.is_some() {
            let reference = grid.at(step) - offset;
            if let Some(t) = columns.newest_at_or_before(reference) {
                row.floats[step] = t as f64 / 1000.0;
            }
        }
    }
    row
}

fn float_function(id: F) -> Option<fn(f64) -> f64> {
    Some(match id {
        F::Abs => f64::abs,
        F::Ceil => f64::ceil,
        F::Floor => f64::floor,
        F::Exp => go_math::exp,
        F::Sqrt => f64::sqrt,
        F::Ln => go_math::ln,
        F::Log2 => go_math::log2,
        F::Log10 => go_math::log10,
        F::Sin => go_math::sin,
        F::Cos => go_math::cos,
        F::Tan => go_math::tan,
        F::Asin => go_math::asin,
        F::Acos => go_math::acos,
        F::Atan => go_math::atan,
        F::Sinh => go_math::sinh,
        F::Cosh => go_math::cosh,
        F::Tanh => go_math::tanh,
        F::Asinh => go_math::asinh,
        F::Acosh => go_math::acosh,
        F::Atanh => go_math::atanh,
        F::Rad => |v| v * std::f64::consts::PI / 180.0,
        F::Deg => |v| v * 180.0 / std::f64::consts::PI,
        F::Sgn => |v| {
            if v < 0.0 {
                -1.0
            } else if v > 0.0 {
                1.0
            } else {
                v
            }
        },
        _ => return None,
    })
}
