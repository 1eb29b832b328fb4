//! From the syntax tree to what is executed: durations and `@` resolved, `start()` and its kin folded,
//! parts that do not depend on the step marked, selectors collected with their time ranges and hints.
//! Equal selections share one slot and are read from the store once.

use model::{Labels, MatchOp, Matcher, labels::METRIC_NAME};
use storage::SelectHints;

use super::error::QueryError;
use crate::parse::ast::{
    AggregateOp, At, BinaryOp, Duration, DurationExpr, DurationOp, Expr, NumberLiteral, VectorMatching,
    VectorSelector,
};
use crate::parse::{FunctionId, PosRange, ValueType};

/// A selection of series within an expression.
#[derive(Clone, Debug)]
pub(crate) struct Selector {
    /// Index into [`Plan::selections`].
    pub(crate) slot: usize,
    pub(crate) offset_ms: i64,
    pub(crate) at_ms: Option<i64>,
    pub(crate) anchored: bool,
    pub(crate) smoothed: bool,
    pub(crate) matchers: Vec<Matcher>,
    /// Only count and sum of histograms are looked at.
    pub(crate) stats_only: bool,
}

/// A node of the plan.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) pos: PosRange,
    pub(crate) value_type: ValueType,
}

#[derive(Debug)]
pub(crate) struct AggregatePlan {
    pub(crate) op: AggregateOp,
    pub(crate) expr: Node,
    pub(crate) param: Option<Node>,
    /// Sorted.
    pub(crate) grouping: Vec<String>,
    pub(crate) without: bool,
}

#[derive(Debug)]
pub(crate) struct SubqueryPlan {
    pub(crate) expr: Node,
    pub(crate) range_ms: i64,
    pub(crate) step_ms: i64,
    pub(crate) offset_ms: i64,
    pub(crate) at_ms: Option<i64>,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Number(f64),
    /// The text, and whether it is UTF-8.
    Text(String, bool),
    Vector(Selector),
    Matrix(Selector, i64),
    Subquery(Box<SubqueryPlan>),
    Call(FunctionId, &'static str, Vec<Node>),
    Aggregate(Box<AggregatePlan>),
    Binary {
        op: BinaryOp,
        lhs: Box<Node>,
        rhs: Box<Node>,
        matching: Option<VectorMatching>,
        return_bool: bool,
    },
    Negate(Box<Node>),
    /// `+x`: the same, at a place of its own and not a selector any more.
    Plus(Box<Node>),
    /// Evaluated at the first step only.
    Invariant(Box<Node>),
}

/// What to ask of the store.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) hints: SelectHints,
}

/// An executable query.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) root: Node,
    pub(crate) selections: Vec<Selection>,
    pub(crate) mint_ms: i64,
    pub(crate) maxt_ms: i64,
}

/// The query's times; `step_ms` is 0 for an instant query.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    pub(crate) start_ms: i64,
    pub(crate) end_ms: i64,
    pub(crate) step_ms: i64,
    pub(crate) lookback_ms: i64,
    pub(crate) default_step_ms: i64,
}

/// What stands above a selector.
#[derive(Clone, Default)]
struct Path {
    offset_ms: i64,
    range_ms: i64,
    at_ms: Option<i64>,
    subquery_step_ms: i64,
    func: &'static str,
    grouping: Option<(Vec<String>, bool)>,
    /// Under `histogram_count` and its kin.
    wants_stats: bool,
    /// Under something that needs the buckets.
    wants_buckets: bool,
}

struct Lowering {
    times: Times,
    selections: Vec<Selection>,
    mint_ms: i64,
    maxt_ms: i64,
}

/// Makes the plan.
///
/// # Errors
/// A duration that does not evaluate.
pub(crate) fn plan(expr: &Expr, times: Times) -> Result<Plan, QueryError> {
    let mut lowering = Lowering { times, selections: Vec::new(), mint_ms: i64::MAX, maxt_ms: i64::MIN };
    let lowered = lowering.lower(expr, &Path::default())?;
    let root = lowered.wrapped();
    let (mint_ms, maxt_ms) =
        if lowering.maxt_ms == i64::MIN { (0, 0) } else { (lowering.mint_ms, lowering.maxt_ms) };
    Ok(Plan { root, selections: lowering.selections, mint_ms, maxt_ms })
}

struct Lowered {
    node: Node,
    invariant: bool,
    wrap: bool,
}

impl Lowered {
    fn wrapped(self) -> Node {
        if !self.wrap {
            return self.node;
        }
        match self.node.kind {
            // Constants cost less than a copy of their row.
            Kind::Number(_) | Kind::Text(..) => self.node,
            _ => {
                let (pos, value_type) = (self.node.pos, self.node.value_type);
                Node { kind: Kind::Invariant(Box::new(self.node)), pos, value_type }
            }
        }
    }
}

/// Functions whose result depends on the step even where their arguments do not.
fn depends_on_step(id: FunctionId) -> bool {
    use FunctionId as F;
    matches!(
        id,
        F::DaysInMonth
            | F::DayOfMonth
            | F::DayOfWeek
            | F::DayOfYear
            | F::Hour
            | F::Minute
            | F::Month
            | F::Year
            | F::PredictLinear
            | F::Time
            | F::Timestamp
    )
}

impl Lowering {
    fn lower(&mut self, expr: &Expr, path: &Path) -> Result<Lowered, QueryError> {
        let (pos, value_type) = (expr.pos(), expr.value_type());
        let node = |kind| Node { kind, pos, value_type };
        let constant = |kind| Lowered { node: Node { kind, pos, value_type }, invariant: true, wrap: true };
        Ok(match expr {
            Expr::Number(n) => constant(Kind::Number(n.value)),
            Expr::String(s) => constant(Kind::Text(s.value.clone(), s.raw.is_none())),
            Expr::Paren(p) => self.lower(&p.expr, path)?,
            Expr::Unary(u) => {
                let below = Path { grouping: None, ..path.clone() };
                let inner = self.lower(&u.expr, &below)?;
                if let Kind::Number(n) = inner.node.kind {
                    return Ok(constant(Kind::Number(if u.negative { -n } else { n })));
                }
                let kind = if u.negative { Kind::Negate } else { Kind::Plus };
                Lowered {
                    node: node(kind(Box::new(inner.node))),
                    invariant: inner.invariant,
                    wrap: inner.wrap,
                }
            }
            Expr::Vector(v) => {
                let selector = self.selector(v, 0, path)?;
                let fixed = selector.at_ms.is_some();
                Lowered { node: node(Kind::Vector(selector)), invariant: fixed, wrap: fixed }
            }
            Expr::Matrix(m) => {
                let range_ms = match &m.range_expr {
                    Some(e) => self.duration(e, false)?,
                    None => m.range_ns / 1_000_000,
                };
                let selector = self.selector(&m.selector, range_ms, path)?;
                let fixed = selector.at_ms.is_some();
                Lowered { node: node(Kind::Matrix(selector, range_ms)), invariant: fixed, wrap: false }
            }
            Expr::Subquery(s) => {
                let range_ms = match &s.range_expr {
                    Some(e) => self.duration(e, false)?,
                    None => s.range_ns / 1_000_000,
                };
                let step_ms = match &s.step_expr {
                    Some(e) => self.duration(e, false)?,
                    None => s.step_ns / 1_000_000,
                };
                let step_ms = if step_ms == 0 { self.times.default_step_ms } else { step_ms };
                let offset_ms = self.offset(s.offset_ns, s.offset_expr.as_ref())?;
                let at_ms = self.at(s.at);
                let mut below =
                    Path { grouping: None, subquery_step_ms: step_ms, wants_buckets: true, ..path.clone() };
                if at_ms.is_some() {
                    (below.offset_ms, below.range_ms, below.at_ms) = (offset_ms, range_ms, at_ms);
                } else {
                    below.offset_ms += offset_ms;
                    below.range_ms += range_ms;
                }
                let inner = self.lower(&s.expr, &below)?;
                let invariant = inner.invariant;
                let inner = Lowered { wrap: invariant && inner.wrap, ..inner }.wrapped();
                let plan = SubqueryPlan { expr: inner, range_ms, step_ms, offset_ms, at_ms };
                Lowered {
                    node: node(Kind::Subquery(Box::new(plan))),
                    invariant: at_ms.is_some(),
                    wrap: false,
                }
            }
            Expr::Aggregate(a) => {
                let below = Path {
                    func: a.op.as_str(),
                    grouping: Some((a.grouping.clone(), !a.without)),
                    ..path.clone()
                };
                let inner = self.lower(a.expr.unparen(), &below)?;
                let param = match &a.param {
                    Some(p) => Some(self.lower(p.unparen(), &Path { grouping: None, ..below })?.wrapped()),
                    None => None,
                };
                let mut grouping = a.grouping.clone();
                grouping.sort();
                let (invariant, wrap) = (inner.invariant, inner.wrap);
                // Wrapped as a whole where nothing in it moves, a parameter from data included.
                let plan = AggregatePlan { op: a.op, expr: inner.node, param, grouping, without: a.without };
                Lowered { node: node(Kind::Aggregate(Box::new(plan))), invariant, wrap }
            }
            Expr::Binary(b) => {
                let trims = matches!(b.op, BinaryOp::TrimLower | BinaryOp::TrimUpper);
                let wants_buckets = path.wants_buckets || trims;
                let below = Path { func: "", grouping: None, wants_buckets, ..path.clone() };
                let lhs = self.lower(&b.lhs, &below)?;
                let rhs = self.lower(&b.rhs, &below)?;
                let invariant = lhs.invariant && rhs.invariant;
                if let (Kind::Number(l), Kind::Number(r), false) = (&lhs.node.kind, &rhs.node.kind, trims) {
                    return Ok(constant(Kind::Number(super::binary::scalar_op(b.op, *l, *r))));
                }
                let (lhs, rhs) =
                    if invariant { (lhs.node, rhs.node) } else { (lhs.wrapped(), rhs.wrapped()) };
                let kind = Kind::Binary {
                    op: b.op,
                    lhs: Box::new(lhs),
                    rhs: Box::new(rhs),
                    matching: b.matching.clone(),
                    return_bool: b.return_bool,
                };
                Lowered { node: node(kind), invariant, wrap: invariant }
            }
            Expr::Call(c) => {
                let t = self.times;
                let folded = match c.func.id {
                    FunctionId::Start => Some(t.start_ms as f64 / 1000.0),
                    FunctionId::End => Some(t.end_ms as f64 / 1000.0),
                    FunctionId::Range => Some((t.end_ms - t.start_ms) as f64 / 1000.0),
                    FunctionId::Step if t.start_ms == t.end_ms => Some(0.0),
                    FunctionId::Step => Some(t.step_ms as f64 / 1000.0),
                    FunctionId::Pi => Some(std::f64::consts::PI),
                    _ => None,
                };
                if let Some(v) = folded {
                    return Ok(constant(Kind::Number(v)));
                }
                let mut below = Path { func: c.func.name, grouping: None, ..path.clone() };
                match c.func.id {
                    FunctionId::HistogramCount | FunctionId::HistogramSum | FunctionId::HistogramAvg => {
                        below.wants_stats = true;
                    }
                    FunctionId::HistogramQuantile
                    | FunctionId::HistogramQuantiles
                    | FunctionId::HistogramFraction
                    | FunctionId::HistogramStddev
                    | FunctionId::HistogramStdvar => below.wants_buckets = true,
                    _ => {}
                }
                let mut invariant = !depends_on_step(c.func.id);
                let mut timestamp_of_fixed = c.func.id == FunctionId::Timestamp;
                let mut args = Vec::with_capacity(c.args.len());
                for (i, arg) in c.args.iter().enumerate() {
                    let mut arg = self.lower(arg.unparen(), &below)?;
                    if c.func.id == FunctionId::Info && i == 1 {
                        // Only its matchers count.
                        (arg.invariant, arg.wrap) = (true, false);
                    }
                    invariant &= arg.invariant;
                    timestamp_of_fixed &= arg.invariant && matches!(arg.node.kind, Kind::Vector(_));
                    args.push(arg);
                }
                if c.func.id == FunctionId::Info
                    && let Some(of) = args.first()
                {
                    let reference = super::info::reference(&of.node);
                    invariant &= reference.is_some();
                    self.info_times(reference.unwrap_or((0, None)), path);
                }
                let whole = invariant || timestamp_of_fixed;
                let args = if whole {
                    args.into_iter().map(|a| a.node).collect()
                } else {
                    args.into_iter().map(Lowered::wrapped).collect()
                };
                Lowered {
                    node: node(Kind::Call(c.func.id, c.func.name, args)),
                    invariant: whole,
                    wrap: whole,
                }
            }
        })
    }

    /// Widens what the store is opened for by the times at which `info` looks for info series.
    fn info_times(&mut self, (offset_ms, at_ms): (i64, Option<i64>), path: &Path) {
        let (start, end) = match (at_ms, path.at_ms) {
            (Some(t), _) => (t, t),
            (None, Some(t)) => (t - path.offset_ms - path.range_ms, t - path.offset_ms),
            (None, None) => {
                let times = self.times;
                (times.start_ms - path.offset_ms - path.range_ms, times.end_ms - path.offset_ms)
            }
        };
        self.mint_ms = self.mint_ms.min(start - self.times.lookback_ms + 1 - offset_ms);
        self.maxt_ms = self.maxt_ms.max(end - offset_ms);
    }

    fn at(&self, at: Option<At>) -> Option<i64> {
        at.map(|at| match at {
            At::Timestamp(ms) => ms,
            At::Start => self.times.start_ms,
            At::End => self.times.end_ms,
        })
    }

    fn offset(&self, ns: i64, expr: Option<&DurationExpr>) -> Result<i64, QueryError> {
        match expr {
            Some(e) => self.duration(e, true),
            None => Ok(ns / 1_000_000),
        }
    }

    fn selector(&mut self, v: &VectorSelector, range_ms: i64, path: &Path) -> Result<Selector, QueryError> {
        let offset_ms = self.offset(v.offset_ns, v.offset_expr.as_ref())?;
        let at_ms = self.at(v.at);
        let lookback = self.times.lookback_ms;
        let (mut start, mut end) = match path.at_ms {
            Some(t) => (t, t),
            None => (self.times.start_ms, self.times.end_ms),
        };
        match at_ms {
            Some(t) => (start, end) = (t, t),
            None => {
                start = start.saturating_sub(path.offset_ms).saturating_sub(path.range_ms);
                end = end.saturating_sub(path.offset_ms);
            }
        }
        // One millisecond less: windows are open on the left.
        let back = match (range_ms, v.anchored || v.smoothed) {
            (0, _) => lookback - 1,
            (r, true) => lookback.saturating_add(r) - 1,
            (r, false) => r - 1,
        };
        start = start.saturating_sub(back);
        if v.smoothed {
            end = end.saturating_add(lookback);
        }
        let (start_ms, end_ms) = (start.saturating_sub(offset_ms), end.saturating_sub(offset_ms));
        self.mint_ms = self.mint_ms.min(start_ms);
        self.maxt_ms = self.maxt_ms.max(end_ms);
        let step_ms = if path.subquery_step_ms > 0 { path.subquery_step_ms } else { self.times.step_ms };
        let (grouping, by) = path.grouping.clone().unwrap_or_default();
        let func = path.func.to_string();
        let hints = SelectHints { start_ms, end_ms, limit: 0, step_ms, func, grouping, by, range_ms };
        let slot = self.slot(&v.matchers, hints);
        Ok(Selector {
            slot,
            offset_ms,
            at_ms,
            anchored: v.anchored,
            smoothed: v.smoothed,
            matchers: v.matchers.clone(),
            stats_only: path.wants_stats && !path.wants_buckets,
        })
    }

    /// The slot of a selection. Equal matchers share one whatever the hints are: the widest range holds
    /// for all, and hints that differ are taken out.
    fn slot(&mut self, matchers: &[Matcher], hints: SelectHints) -> usize {
        let Some(i) = self.selections.iter().position(|s| s.matchers == matchers) else {
            self.selections.push(Selection { matchers: matchers.to_vec(), hints });
            return self.selections.len() - 1;
        };
        let shared = &mut self.selections[i].hints;
        shared.start_ms = shared.start_ms.min(hints.start_ms);
        shared.end_ms = shared.end_ms.max(hints.end_ms);
        if shared.func != hints.func || shared.grouping != hints.grouping || shared.by != hints.by {
            shared.func = String::new();
            shared.grouping = Vec::new();
            shared.by = false;
        }
        if shared.range_ms != hints.range_ms || shared.step_ms != hints.step_ms {
            (shared.range_ms, shared.step_ms) = (0, 0);
        }
        i
    }

    /// Milliseconds of a calculation.
    fn duration(&self, e: &DurationExpr, negative_allowed: bool) -> Result<i64, QueryError> {
        let pos = e.pos();
        let fail = |text: &str| Err(QueryError::BadData(format!("{}:{}: {text}", pos.start, pos.end)));
        let seconds = self.seconds_of(e)?;
        if !seconds.is_finite() {
            return fail("duration is NaN or infinite");
        }
        if seconds <= 0.0 && !negative_allowed {
            return fail("duration must be greater than 0");
        }
        if seconds.abs() > i64::MAX as f64 / 1e9 {
            return fail("duration is out of range");
        }
        Ok((seconds * 1000.0) as i64)
    }

    fn operand(&self, d: Option<&Duration>) -> Result<f64, QueryError> {
        match d {
            None => Ok(0.0),
            Some(Duration::Number(NumberLiteral { value, .. })) => Ok(*value),
            Some(Duration::Expr(e)) => self.seconds_of(e),
        }
    }

    fn seconds_of(&self, e: &DurationExpr) -> Result<f64, QueryError> {
        let (l, r) = (self.operand(e.lhs.as_ref())?, self.operand(e.rhs.as_ref())?);
        let pos = e.pos();
        let zero = |text: &str| Err(QueryError::BadData(format!("{}:{}: {text}", pos.start, pos.end)));
        Ok(match e.op {
            DurationOp::Step => self.times.step_ms as f64 / 1000.0,
            DurationOp::Range => (self.times.end_ms - self.times.start_ms) as f64 / 1000.0,
            DurationOp::MinOf => super::math::go_min(l, r),
            DurationOp::MaxOf => super::math::go_max(l, r),
            DurationOp::Add => l + r,
            DurationOp::Sub => l - r,
            DurationOp::Mul => l * r,
            DurationOp::Div if r == 0.0 => return zero("division by zero"),
            DurationOp::Div => l / r,
            DurationOp::Mod if r == 0.0 => return zero("modulo by zero"),
            DurationOp::Mod => l % r,
            DurationOp::Pow => model::go_math::pow(l, r),
        })
    }
}

/// Labels that a missing series would have: those that exactly one `=` matcher fixes.
pub(crate) fn absent_labels(node: &Node) -> Labels {
    let matchers = match &node.kind {
        Kind::Vector(s) | Kind::Matrix(s, _) => &s.matchers,
        _ => return Labels::empty(),
    };
    let mut builder = model::LabelsBuilder::new();
    let mut seen: Vec<&str> = Vec::new();
    // Upstream's store has sorted the matchers by then: last come those that only take away from the result.
    let must_be_set = |m: &Matcher| matchers.iter().any(|o| o.name() == m.name() && !o.matches(""));
    let takes_away = |m: &&Matcher| {
        !must_be_set(m) || (matches!(m.op(), MatchOp::NotEqual | MatchOp::NotRegex) && m.matches(""))
    };
    let mut ordered: Vec<&Matcher> = matchers.iter().collect();
    ordered.sort_by_key(takes_away);
    for m in ordered.into_iter().filter(|m| m.name() != METRIC_NAME) {
        if m.op() == MatchOp::Equal && !seen.contains(&m.name()) {
            builder.set(m.name(), m.value());
            seen.push(m.name());
        } else {
            builder.del(m.name());
        }
    }
    builder.build()
}
