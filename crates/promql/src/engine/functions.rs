//! Functions over instant vectors, scalars and time.

use std::sync::Arc;

use model::{Labels, Matcher};

use super::error::{QueryError, execution};
use super::eval::{Eval, Out, instant_row, merge_equal};
use super::math::{go_max, go_min};
use super::plan::{Kind, Node, absent_labels};
use super::read::Columns;
use super::row::{Cell, Frame, Grid, Row, absent, is_absent};
use super::time::{civil, days_in_month};
use super::{natural, parallel};
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
            F::Time => Ok(Out::Scalar((0..grid.count).map(|i| grid.at(i) as f64 / 1000.0).collect())),
            F::Vector => {
                let values = self.scalar(&args[0], grid)?;
                self.frame(vec![Row { floats: values, ..Row::empty(Labels::empty(), 0) }])
            }
            F::Scalar => {
                let frame = self.rows(&args[0], grid)?;
                Ok(Out::Scalar((0..grid.count).map(|step| only_float(&frame.rows, step)).collect()))
            }
            F::MaxOf | F::MinOf => {
                let (a, b) = (self.scalar(&args[0], grid)?, self.scalar(&args[1], grid)?);
                let pick = if id == F::MaxOf { go_max } else { go_min };
                Ok(Out::Scalar(a.iter().zip(&b).map(|(a, b)| pick(*a, *b)).collect()))
            }
            F::Timestamp | F::StartTimestamp => self.timestamp(id, &args[0], grid),
            F::Absent => {
                let frame = self.rows(&args[0], grid)?;
                let mut row = Row::empty(absent_labels(&args[0]), grid.count);
                for step in 0..grid.count {
                    let any = frame.rows.iter().any(|r| !matches!(r.cell(step), Cell::None));
                    row.floats[step] = if any { absent() } else { 1.0 };
                }
                drop(frame);
                self.frame(if row.is_empty() { Vec::new() } else { vec![row] })
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
        self.map_frame(frame, |_, v| f(v))
    }

    fn map_frame(&mut self, mut frame: Frame, f: impl Fn(usize, f64) -> f64) -> Result<Out, QueryError> {
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
        let rows = merge_equal(rows)?;
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
        self.map_frame(frame, |step, v| match id {
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
                let floats = (0..grid.count).map(|i| field(grid.at(i) / 1000)).collect();
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
            return self.map_frame(frame, |_, v| v);
        };
        if id == F::StartTimestamp && !self.settings.use_starts {
            return self.frame(Vec::new());
        }
        let (lookback, series) = (self.settings.lookback_ms, self.series(selector.slot));
        let meter = Arc::clone(&self.meter);
        let selector = selector.clone();
        let rows = parallel::map(series.len(), self.settings.threads, Columns::default, |columns, i| {
            meter.ctx.check()?;
            // With `@` every step looks at that one time.
            let at_or_offset = |step: usize| match selector.at_ms {
                Some(t) => grid.at(step) - t + selector.offset_ms,
                None => selector.offset_ms,
            };
            if selector.at_ms.is_none() && id == F::Timestamp {
                let fold = |t: i64, _: f64| t as f64 / 1000.0;
                let row = instant_row(
                    columns,
                    series[i].as_ref(),
                    grid,
                    (selector.offset_ms, false),
                    lookback,
                    &meter,
                    fold,
                )?;
                return Ok(row.map(|row| with_histogram_times(row, columns, grid, selector.offset_ms)));
            }
            let mut row = Row::empty(series[i].labels().clone(), grid.count);
            for step in 0..grid.count {
                let reference = grid.at(step) - at_or_offset(step);
                let buf = columns.read_raw(series[i].as_ref(), reference - lookback + 1, reference, false)?;
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
        let frame = Frame::new(&self.meter, rows.into_iter().flatten().collect())?;
        self.map_frame(frame, |_, v| v)
    }

    fn sort(&mut self, node: &Node, id: F, args: &[Node], grid: Grid) -> Result<Out, QueryError> {
        let mut frame = self.rows(&args[0], grid)?;
        if grid.start != grid.end {
            self.notes.sort_in_range(node.pos);
        }
        let mut rows = frame.take_rows();
        match id {
            F::SortByLabel | F::SortByLabelDesc => {
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
                rows.sort_by(|a, b| if id == F::SortByLabel { by_label(a, b) } else { by_label(b, a) });
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
        let Ok(regex) = goregex::Regex::wrapped(pattern) else {
            return execution(format!("invalid regular expression in label_replace(): {pattern}"));
        };
        if dst.is_empty() || !is_utf8(&args[1]) {
            return execution(format!("invalid destination label name in label_replace(): {dst}"));
        }
        let mut frame = self.rows(&args[0], grid)?;
        let mut rows = frame.take_rows();
        for row in &mut rows {
            self.meter.ctx.check()?;
            let value = row.labels.get(src).to_string();
            if let Some(captures) = regex.captures(&value) {
                let mut builder = row.labels.to_builder();
                let mut text = String::new();
                regex.expand(replacement, &value, &captures, &mut text);
                builder.set(dst, &text);
                row.labels = builder.build();
                if dst == model::labels::METRIC_NAME {
                    row.drop_name = false;
                }
            }
        }
        drop(frame);
        let rows = merge_equal(rows)?;
        self.frame(rows)
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
        let mut rows = frame.take_rows();
        for row in &mut rows {
            let joined = sources.iter().map(|s| row.labels.get(s)).collect::<Vec<_>>().join(separator);
            let mut builder = row.labels.to_builder();
            builder.set(dst, &joined);
            row.labels = builder.build();
            if dst == model::labels::METRIC_NAME {
                row.drop_name = false;
            }
        }
        drop(frame);
        let rows = merge_equal(rows)?;
        self.frame(rows)
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
        F::Exp => f64::exp,
        F::Sqrt => f64::sqrt,
        F::Ln => f64::ln,
        F::Log2 => f64::log2,
        F::Log10 => f64::log10,
        F::Sin => f64::sin,
        F::Cos => f64::cos,
        F::Tan => f64::tan,
        F::Asin => f64::asin,
        F::Acos => f64::acos,
        F::Atan => f64::atan,
        F::Sinh => f64::sinh,
        F::Cosh => f64::cosh,
        F::Tanh => f64::tanh,
        F::Asinh => f64::asinh,
        F::Acosh => f64::acosh,
        F::Atanh => f64::atanh,
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
