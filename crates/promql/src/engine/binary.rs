//! Operators between two values. Series are matched once, then whole rows are calculated; only groups
//! with several series on the "one" side, which may take turns in time, go step by step.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use model::{FloatHistogram, Labels, go_math};

use super::annotations::{Annotations, HistogramOperation};
use super::error::{QueryError, execution};
use super::eval::{Eval, Out};
use super::labels::{is_metadata, match_labels};

use super::plan::Node;
use super::row::{Ahead, Cell, Frame, Grid, Hist, Row, is_absent};
use crate::parse::PosRange;
use crate::parse::ast::{BinaryOp, Cardinality, VectorMatching};

/// `a op b` of numbers; comparisons give 0 or 1.
pub(crate) fn scalar_op(op: BinaryOp, a: f64, b: f64) -> f64 {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Mod => a % b,
        BinaryOp::Pow => go_math::pow(a, b),
        BinaryOp::Atan2 => go_math::atan2(a, b),
        _ => f64::from(u8::from(compare(op, a, b))),
    }
}

fn compare(op: BinaryOp, a: f64, b: f64) -> bool {
    match op {
        BinaryOp::Eq => a == b,
        BinaryOp::Ne => a != b,
        BinaryOp::Lt => a < b,
        BinaryOp::Le => a <= b,
        BinaryOp::Gt => a > b,
        BinaryOp::Ge => a >= b,
        _ => false,
    }
}

/// Arithmetic changes what the samples are, so the name goes.
fn changes_schema(op: BinaryOp) -> bool {
    use BinaryOp::{Add, Atan2, Div, Mod, Mul, Pow, Sub};
    matches!(op, Add | Sub | Mul | Div | Mod | Pow | Atan2)
}

/// Cuts a histogram, and means nothing for two numbers.
pub(crate) fn trims(op: BinaryOp) -> bool {
    matches!(op, BinaryOp::TrimLower | BinaryOp::TrimUpper)
}

/// Rows between two looks at the deadline.
const ROWS_A_LOOK: usize = 1024;

enum Operand<'a> {
    Float(f64),
    Hist(&'a Hist),
}

impl<'a> Operand<'a> {
    fn of(cell: Cell<'a>) -> Option<Operand<'a>> {
        match cell {
            Cell::None => None,
            Cell::Float(v) => Some(Operand::Float(v)),
            Cell::Hist(h) => Some(Operand::Hist(h)),
        }
    }
    fn word(&self) -> &'static str {
        match self {
            Operand::Float(_) => "float",
            Operand::Hist(_) => "histogram",
        }
    }
}

enum Result2 {
    /// No result at all (types that do not go together).
    Nothing,
    /// A value, and whether a comparison keeps it.
    Float(f64, bool),
    Hist(Hist, bool),
}

fn finish(mut h: FloatHistogram) -> Result2 {
    h.compact();
    Result2::Hist(Arc::new(h), true)
}

/// Notes of pairs: of the pairs of a step upstream shows the note of the last one that has any.
#[derive(Default)]
struct StepNotes(BTreeMap<usize, (usize, Annotations)>);

impl StepNotes {
    /// `order`: the pair's place among those of its step.
    fn note(&mut self, step: usize, order: usize, notes: Annotations) {
        if !notes.is_empty() && self.0.get(&step).is_none_or(|(old, _)| *old <= order) {
            self.0.insert(step, (order, notes));
        }
    }

    fn finish(self, into: &mut Annotations) {
        self.0.into_values().for_each(|(_, notes)| into.merge(notes));
    }
}

/// One pair of samples.
fn element(
    op: BinaryOp,
    l: &Operand<'_>,
    r: &Operand<'_>,
    pos: PosRange,
    notes: &mut Annotations,
) -> Result2 {
    use BinaryOp::{Add, Div, Eq, Mul, Ne, Sub, TrimLower, TrimUpper};
    match (l, r) {
        (Operand::Float(a), Operand::Float(b)) if !matches!(op, TrimLower | TrimUpper) => {
            if op.is_comparison() {
                Result2::Float(*a, compare(op, *a, *b))
            } else {
                Result2::Float(scalar_op(op, *a, *b), true)
            }
        }
        (Operand::Float(f), Operand::Hist(h)) | (Operand::Hist(h), Operand::Float(f)) if op == Mul => {
            let mut h = FloatHistogram::clone(h);
            h.mul(*f);
            finish(h)
        }
        (Operand::Hist(h), Operand::Float(f)) if op == Div => {
            let mut h = FloatHistogram::clone(h);
            h.div(*f);
            finish(h)
        }
        (Operand::Hist(h), Operand::Float(f)) if matches!(op, TrimLower | TrimUpper) => {
            let mut h = FloatHistogram::clone(h);
            h.trim_buckets(*f, op == TrimUpper);
            Result2::Hist(Arc::new(h), true)
        }
        (Operand::Hist(a), Operand::Hist(b)) if matches!(op, Add | Sub) => {
            let mut h = FloatHistogram::clone(a);
            let (done, operation) = if op == Add {
                (h.add(b), HistogramOperation::Add)
            } else {
                (h.sub(b), HistogramOperation::Sub)
            };
            let Ok(met) = done else {
                notes.incompatible_layout(op.as_str(), pos);
                return Result2::Nothing;
            };
            if op == Sub {
                h.reset_hint = model::CounterResetHint::Gauge;
            }
            // Upstream loses the value where hints collide: the warning takes the place of an error.
            if met.reset_collision {
                notes.reset_collision(operation, pos);
                return Result2::Nothing;
            }
            if met.bounds_reconciled {
                notes.mismatched_custom_buckets(operation, pos);
            }
            finish(h)
        }
        (Operand::Hist(a), Operand::Hist(b)) if op == Eq => Result2::Hist(Arc::clone(a), a.equals(b)),
        (Operand::Hist(a), Operand::Hist(b)) if op == Ne => Result2::Hist(Arc::clone(a), !a.equals(b)),
        _ => {
            notes.incompatible_types(l.word(), op.as_str(), r.word(), pos);
            Result2::Nothing
        }
    }
}

/// Where a result goes.
fn store(row: &mut Row, step: usize, result: Result2, return_bool: bool) {
    match result {
        Result2::Nothing => {}
        Result2::Float(_, keep) | Result2::Hist(_, keep) if return_bool => {
            row.floats[step] = f64::from(u8::from(keep))
        }
        Result2::Float(v, true) => row.floats[step] = v,
        Result2::Hist(h, true) => row.set_hist(step, h),
        Result2::Float(_, false) | Result2::Hist(_, false) => {}
    }
}

impl Eval<'_> {
    pub(crate) fn binary(
        &mut self,
        node: &Node,
        op: BinaryOp,
        lhs: &Node,
        rhs: &Node,
        matching: Option<&VectorMatching>,
        return_bool: bool,
        grid: Grid,
    ) -> Result<Out, QueryError> {
        let left = self.eval(lhs, grid)?;
        let right = self.eval(rhs, grid)?;
        match (left, right) {
            (Out::Scalar(_), Out::Scalar(_)) if trims(op) => {
                execution(format!("operator \"{}\" not allowed for Scalar operations", op.as_str()))
            }
            (Out::Scalar(mut a), Out::Scalar(b)) => {
                a.iter_mut().zip(b.iter()).for_each(|(a, b)| *a = scalar_op(op, *a, *b));
                Ok(Out::Scalar(a))
            }
            (Out::Rows(rows), Out::Scalar(s)) => {
                self.with_scalar(op, rows, &s, false, return_bool, node.pos, grid)
            }
            (Out::Scalar(s), Out::Rows(rows)) => {
                self.with_scalar(op, rows, &s, true, return_bool, node.pos, grid)
            }
            (Out::Rows(l), Out::Rows(r)) => {
                let default = VectorMatching::default();
                let matching = matching.unwrap_or(&default);
                let ahead = self.ahead();
                let rows = if op.is_set() {
                    self.set_op(op, l, r, matching, &ahead, grid)?
                } else {
                    self.matched(op, l, r, matching, return_bool, node.pos, &ahead, grid)?
                };
                let rows = self.join_equal(rows, grid)?;
                self.settled(rows, ahead)
            }
            _ => execution("operator on a string"),
        }
    }

    fn with_scalar(
        &mut self,
        op: BinaryOp,
        mut frame: Frame,
        scalar: &[f64],
        scalar_left: bool,
        return_bool: bool,
        pos: PosRange,
        grid: Grid,
    ) -> Result<Out, QueryError> {
        let mut rows = frame.take_rows();
        let drops = changes_schema(op) || return_bool;
        let simple = !matches!(op, BinaryOp::TrimLower | BinaryOp::TrimUpper);
        let mut noted = StepNotes::default();
        for (at, row) in rows.iter_mut().enumerate() {
            self.meter.ctx.check()?;
            if row.hists.is_none() && simple {
                float_row_with_scalar(op, &mut row.floats, scalar, scalar_left, return_bool);
            } else {
                let mut out = Row::empty(row.labels.clone(), row.floats.len());
                for (step, s) in scalar.iter().enumerate() {
                    let Some(cell) = Operand::of(row.cell(step)) else { continue };
                    let s = Operand::Float(*s);
                    let mut local = Annotations::default();
                    let result = if scalar_left {
                        element(op, &s, &cell, pos, &mut local)
                    } else {
                        element(op, &cell, &s, pos, &mut local)
                    };
                    noted.note(step, at, local);
                    // A comparison keeps the vector's value, on whichever side it stands.
                    let result = match (result, &cell) {
                        (Result2::Float(_, keep), Operand::Float(v)) if op.is_comparison() => {
                            Result2::Float(*v, keep)
                        }
                        (r, _) => r,
                    };
                    store(&mut out, step, result, return_bool);
                }
                (row.floats, row.hists) = (out.floats, out.hists);
            }
            if drops {
                self.drop_name(row);
            }
        }
        noted.finish(&mut self.notes);
        rows.retain(|r| !r.is_empty());
        let rows = self.join_equal(rows, grid)?;
        drop(frame);
        self.frame(rows)
    }

    fn matched(
        &mut self,
        op: BinaryOp,
        mut left: Frame,
        mut right: Frame,
        m: &VectorMatching,
        return_bool: bool,
        pos: PosRange,
        ahead: &Ahead,
        grid: Grid,
    ) -> Result<Vec<Row>, QueryError> {
        let fills = m.fill_left.is_some() || m.fill_right.is_some();
        if (left.rows.is_empty() && right.rows.is_empty())
            || ((left.rows.is_empty() || right.rows.is_empty()) && !fills)
        {
            return Ok(Vec::new());
        }
        let swapped = m.card == Cardinality::OneToMany;
        let (many, one) = if swapped {
            (right.take_rows(), left.take_rows())
        } else {
            (left.take_rows(), right.take_rows())
        };
        let groups = group_by_signature(&many, &one, m);
        let job = Matched {
            op,
            m,
            swapped,
            return_bool,
            drop_now: !self.settings.delayed_names && return_bool,
            pos,
            steps: grid.count,
            ahead,
            many: &many,
            one: &one,
        };
        // (position in upstream's output, row)
        let mut out: Vec<(usize, Row)> = Vec::new();
        let mut first_error: Option<Failure> = None;
        let mut noted = StepNotes::default();
        let mut present = None;
        for group in &groups {
            self.meter.ctx.check()?;
            if !fills && group.many.is_empty() && group.one.len() < 2 {
                continue;
            }
            let metrics = job.metrics(group)?;
            if !fills
                && group.one.len() <= 1
                && all_different(&metrics)
                && (m.card != Cardinality::OneToOne || group.many.len() == 1)
            {
                if let Some(o) = group.one.first() {
                    for (n, metric) in group.many.iter().zip(metrics) {
                        ahead.row(grid.count)?;
                        let row = job.pair(*n, *o, metric, &mut noted);
                        out.push((*n, row));
                    }
                }
                continue;
            }
            // Steps at which either side has anything at all decide whether upstream looks at the groups.
            let any =
                present.get_or_insert_with(|| (presence(&many, grid.count), presence(&one, grid.count)));
            if let Err(failure) = job.stepwise(group, any, &mut out, &mut noted)?
                && first_error.as_ref().is_none_or(|first| failure.at < first.at)
            {
                first_error = Some(failure);
            }
        }
        if let Some(Failure { text, .. }) = first_error {
            return execution(text);
        }
        noted.finish(&mut self.notes);
        out.sort_by_key(|(at, _)| *at);
        Ok(out.into_iter().map(|(_, row)| row).filter(|r| !r.is_empty()).collect())
    }
}

fn float_row_with_scalar(
    op: BinaryOp,
    floats: &mut [f64],
    scalar: &[f64],
    scalar_left: bool,
    return_bool: bool,
) {
    for (v, s) in floats.iter_mut().zip(scalar) {
        if is_absent(*v) {
            continue;
        }
        let (a, b) = if scalar_left { (*s, *v) } else { (*v, *s) };
        if !op.is_comparison() || return_bool {
            *v = scalar_op(op, a, b);
        } else if !compare(op, a, b) {
            *v = super::row::absent();
        }
    }
}

/// Why a matching fails, and when upstream would find that: step, 0 for the side "one" and 1 for the other, row.
struct Failure {
    at: (usize, u8, usize),
    text: String,
}

/// Indices of the rows of one signature.
#[derive(Default)]
struct Group {
    many: Vec<usize>,
    one: Vec<usize>,
}

fn signature(labels: &Labels, m: &VectorMatching, names: &[&str], buf: &mut Vec<u8>) {
    buf.clear();
    for (n, v) in labels {
        let named = names.binary_search(&n).is_ok();
        let keep = if m.on { named } else { !named && n != model::labels::METRIC_NAME };
        if keep {
            buf.extend_from_slice(n.as_bytes());
            buf.push(0xff);
            buf.extend_from_slice(v.as_bytes());
            buf.push(0xff);
        }
    }
}

fn group_by_signature(many: &[Row], one: &[Row], m: &VectorMatching) -> Vec<Group> {
    let mut names: Vec<&str> = m.labels.iter().map(String::as_str).collect();
    names.sort_unstable();
    let mut ordinals: HashMap<Vec<u8>, usize> = HashMap::with_capacity(many.len());
    let mut groups: Vec<Group> = Vec::new();
    let mut buf = Vec::new();
    let mut ordinal = |labels: &Labels, groups: &mut Vec<Group>| {
        signature(labels, m, &names, &mut buf);
        if let Some(i) = ordinals.get(buf.as_slice()) {
            return *i;
        }
        groups.push(Group::default());
        ordinals.insert(buf.clone(), groups.len() - 1);
        groups.len() - 1
    };
    for (i, row) in many.iter().enumerate() {
        let at = ordinal(&row.labels, &mut groups);
        groups[at].many.push(i);
    }
    for (i, row) in one.iter().enumerate() {
        let at = ordinal(&row.labels, &mut groups);
        groups[at].one.push(i);
    }
    groups
}

fn presence(rows: &[Row], steps: usize) -> Vec<bool> {
    let mut any = vec![false; steps];
    for row in rows {
        for (step, any) in any.iter_mut().enumerate() {
            *any = *any || !matches!(row.cell(step), Cell::None);
        }
    }
    any
}

fn all_different(metrics: &[Labels]) -> bool {
    let mut seen = std::collections::HashSet::with_capacity(metrics.len());
    metrics.iter().all(|m| seen.insert(m.as_bytes()))
}

struct Matched<'a> {
    op: BinaryOp,
    m: &'a VectorMatching,
    swapped: bool,
    return_bool: bool,
    drop_now: bool,
    pos: PosRange,
    steps: usize,
    ahead: &'a Ahead,
    many: &'a [Row],
    one: &'a [Row],
}

impl Matched<'_> {
    /// Labels of a result. `many` and `one` as matched, not as written.
    fn metric(&self, many: &Labels, one: &Labels) -> Labels {
        let drop_metadata = self.drop_now || changes_schema(self.op);
        let one_to_one = self.m.card == Cardinality::OneToOne;
        let kept = many.filtered(|n| {
            let named = self.m.labels.iter().any(|x| x == n);
            !(drop_metadata && is_metadata(n)) && (!one_to_one || named == self.m.on)
        });
        if self.m.include.is_empty() {
            return kept;
        }
        let mut builder = kept.to_builder();
        for name in &self.m.include {
            builder.set(name, one.get(name));
        }
        builder.build()
    }

    fn metrics(&self, group: &Group) -> Result<Vec<Labels>, QueryError> {
        let empty = Labels::empty();
        let one = group.one.first().map_or(&empty, |o| &self.one[*o].labels);
        let mut all = Vec::with_capacity(group.many.len());
        for n in &group.many {
            let metric = self.metric(&self.many[*n].labels, one);
            self.ahead.take(metric.as_bytes().len() as u64)?;
            if all.len() % ROWS_A_LOOK == 0 {
                self.ahead.check()?;
            }
            all.push(metric);
        }
        Ok(all)
    }

    /// `at`: the step, and the pair's place among those of the step.
    fn calculate(
        &self,
        many: &Operand<'_>,
        one: &Operand<'_>,
        at: (usize, usize),
        noted: &mut StepNotes,
    ) -> Result2 {
        let (l, r) = if self.swapped { (one, many) } else { (many, one) };
        let mut notes = Annotations::default();
        let result = element(self.op, l, r, self.pos, &mut notes);
        noted.note(at.0, at.1, notes);
        result
    }

    /// A row with a row, all steps.
    fn pair(&self, many: usize, one: usize, labels: Labels, noted: &mut StepNotes) -> Row {
        let (m, o) = (&self.many[many], &self.one[one]);
        let mut row = Row::empty(labels, self.steps);
        row.drop_name = self.return_bool;
        if m.hists.is_none()
            && o.hists.is_none()
            && !matches!(self.op, BinaryOp::TrimLower | BinaryOp::TrimUpper)
        {
            for (step, out) in row.floats.iter_mut().enumerate() {
                let (a, b) = (m.floats[step], o.floats[step]);
                if is_absent(a) || is_absent(b) {
                    continue;
                }
                let (a, b) = if self.swapped { (b, a) } else { (a, b) };
                if !self.op.is_comparison() || self.return_bool {
                    *out = scalar_op(self.op, a, b);
                } else if compare(self.op, a, b) {
                    *out = a;
                }
            }
            return row;
        }
        for step in 0..self.steps {
            let (Some(a), Some(b)) = (Operand::of(m.cell(step)), Operand::of(o.cell(step))) else { continue };
            let result = self.calculate(&a, &b, (step, many), noted);
            store(&mut row, step, result, self.return_bool);
        }
        row
    }

    /// A group step by step: several series that take turns, or values to fill in.
    fn stepwise(
        &self,
        group: &Group,
        (any_many, any_one): &(Vec<bool>, Vec<bool>),
        out: &mut Vec<(usize, Row)>,
        noted: &mut StepNotes,
    ) -> Result<Result<(), Failure>, QueryError> {
        // By side as matched, not as written: so does upstream.
        let (fill_one, fill_many) = (self.m.fill_right, self.m.fill_left);
        let fills = fill_one.is_some() || fill_many.is_some();
        let mut rows: HashMap<Labels, (usize, Row)> = HashMap::new();
        for step in 0..self.steps {
            let (many_here, one_here) = (any_many[step], any_one[step]);
            let worth_it = if fills { many_here || one_here } else { many_here && one_here };
            if !worth_it {
                continue;
            }
            let mut one = None;
            for o in &group.one {
                let Some(cell) = Operand::of(self.one[*o].cell(step)) else { continue };
                if let Some((other, _)) = one {
                    return Ok(Err(Failure { at: (step, 0, *o), text: self.duplicate(other, *o) }));
                }
                one = Some((*o, cell));
            }
            let mut matched: HashSet<Labels> = HashSet::new();
            let mut put = |labels: Labels, at: usize, result: Result2| -> Result<(), QueryError> {
                if !rows.contains_key(&labels) {
                    self.ahead.row(self.steps)?;
                    self.ahead.take(labels.as_bytes().len() as u64)?;
                }
                let fresh = || {
                    let mut row = Row::empty(labels.clone(), self.steps);
                    row.drop_name = self.return_bool;
                    (at, row)
                };
                let (_, row) = rows.entry(labels.clone()).or_insert_with(fresh);
                store(row, step, result, self.return_bool);
                Ok(())
            };
            let mut emit = |labels: Labels,
                            at: usize,
                            result: Result2|
             -> Result<Option<Failure>, QueryError> {
                // A pair without a result does not count as a match.
                if matches!(result, Result2::Nothing) {
                    return Ok(None);
                }
                if self.m.card == Cardinality::OneToOne && !matched.is_empty() {
                    let text = "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)";
                    return Ok(Some(Failure { at: (step, 1, at), text: text.to_string() }));
                }
                if !matched.insert(labels.clone()) {
                    let text = "multiple matches for labels: grouping labels must ensure unique matches";
                    return Ok(Some(Failure { at: (step, 1, at), text: text.to_string() }));
                }
                put(labels, at, result)?;
                Ok(None)
            };
            for (i, n) in group.many.iter().enumerate() {
                if i % ROWS_A_LOOK == 0 {
                    self.ahead.check()?;
                }
                let Some(cell) = Operand::of(self.many[*n].cell(step)) else { continue };
                let many_labels = &self.many[*n].labels;
                let (labels, result) = match (&one, fill_one) {
                    (Some((o, other)), _) => {
                        let labels = self.metric(many_labels, &self.one[*o].labels);
                        (labels, self.calculate(&cell, other, (step, *n), noted))
                    }
                    (None, Some(fill)) => {
                        let other = match_labels(many_labels, self.m.on, &self.m.labels);
                        (
                            self.metric(many_labels, &other),
                            self.calculate(&cell, &Operand::Float(fill), (step, *n), noted),
                        )
                    }
                    (None, None) => continue,
                };
                if let Some(failure) = emit(labels, *n, result)? {
                    return Ok(Err(failure));
                }
            }
            if let (Some((o, cell)), Some(fill), true) = (&one, fill_many, matched.is_empty()) {
                let one_labels = &self.one[*o].labels;
                let other = match_labels(one_labels, self.m.on, &self.m.labels);
                let labels = self.metric(&other, one_labels);
                let at = self.many.len() + *o;
                let result = self.calculate(&Operand::Float(fill), cell, (step, at), noted);
                put(labels, at, result)?;
            }
        }
        out.extend(rows.into_values());
        Ok(Ok(()))
    }

    fn duplicate(&self, a: usize, b: usize) -> String {
        let (a, b) = (&self.one[a].labels, &self.one[b].labels);
        let group = match_labels(b, self.m.on, &self.m.labels);
        let side = if self.swapped { "left" } else { "right" };
        let (mut first, mut second) = (b.to_string(), a.to_string());
        if first > second {
            std::mem::swap(&mut first, &mut second);
        }
        format!(
            "found duplicate series for the match group {group} on the {side} hand-side of the operation: \
             [{first}, {second}];many-to-many matching not allowed: matching labels must be unique on one side"
        )
    }
}

impl Eval<'_> {
    /// `and`, `or`, `unless`.
    fn set_op(
        &mut self,
        op: BinaryOp,
        mut left: Frame,
        mut right: Frame,
        m: &VectorMatching,
        ahead: &Ahead,
        grid: Grid,
    ) -> Result<Vec<Row>, QueryError> {
        let (mut l, mut r) = (left.take_rows(), right.take_rows());
        l.iter_mut().chain(&mut r).for_each(Row::keep_floats);
        let groups = group_by_signature(&l, &r, m);
        let keep = |rows: &mut [Row], which: &[usize], others: &[bool], when: bool| {
            for i in which {
                ahead.check()?;
                let row = &mut rows[*i];
                for (step, present) in others.iter().enumerate() {
                    if *present != when {
                        row.floats[step] = super::row::absent();
                        if let Some(h) = &mut row.hists {
                            h[step] = None;
                        }
                    }
                }
            }
            Ok::<(), QueryError>(())
        };
        let some = |rows: &[Row], which: &[usize]| {
            let mut any = vec![false; grid.count];
            for i in which {
                ahead.check()?;
                for (step, any) in any.iter_mut().enumerate() {
                    *any = *any || !matches!(rows[*i].cell(step), Cell::None);
                }
            }
            Ok::<Vec<bool>, QueryError>(any)
        };
        for g in &groups {
            match op {
                BinaryOp::And => {
                    let present = some(&r, &g.one)?;
                    keep(&mut l, &g.many, &present, true)?;
                }
                BinaryOp::Unless => {
                    let present = some(&r, &g.one)?;
                    keep(&mut l, &g.many, &present, false)?;
                }
                _ => {
                    let present = some(&l, &g.many)?;
                    keep(&mut r, &g.one, &present, false)?;
                }
            }
        }
        if op == BinaryOp::Or {
            l.append(&mut r);
        }
        l.retain(|row| !row.is_empty());
        Ok(l)
    }
}
