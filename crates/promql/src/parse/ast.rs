//! The syntax tree of an expression, as the parser makes it and printers, checks and the engine read it.
//!
//! One closed enum, so that every walker is checked for completeness by the compiler. Durations are
//! nanoseconds, as upstream prints and compares them before it cuts them to milliseconds.

use model::Matcher;

use super::functions::Function;

/// Bytes [start, end) of the query text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PosRange {
    /// First byte.
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
}

impl PosRange {
    /// From the start of `self` to the end of `other`.
    #[must_use]
    pub fn to(self, other: PosRange) -> PosRange {
        PosRange { start: self.start, end: other.end }
    }

    /// `line:column` of the start, both from 1, columns in bytes; upstream's words where there is none.
    #[must_use]
    pub fn line_col(&self, query: &str) -> String {
        if query.is_empty() {
            return "unknown position".to_string();
        }
        let Some(before) = query.as_bytes().get(..self.start) else {
            return "invalid position".to_string();
        };
        let line = 1 + before.iter().filter(|b| **b == b'\n').count();
        let column = match before.iter().rposition(|b| *b == b'\n') {
            Some(newline) => self.start - newline,
            None => self.start + 1,
        };
        format!("{line}:{column}")
    }
}

/// What an expression evaluates to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ValueType {
    /// Instant vector.
    Vector,
    /// One number.
    Scalar,
    /// Range vector.
    Matrix,
    /// Text.
    String,
}

impl ValueType {
    /// Upstream's internal name, as the API's `resultType`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ValueType::Vector => "vector",
            ValueType::Scalar => "scalar",
            ValueType::Matrix => "matrix",
            ValueType::String => "string",
        }
    }
    /// The documentation's name, as error texts have it.
    #[must_use]
    pub fn documented(self) -> &'static str {
        match self {
            ValueType::Vector => "instant vector",
            ValueType::Matrix => "range vector",
            other => other.as_str(),
        }
    }
}

/// Operators between two expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum BinaryOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Atan2,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    TrimUpper,
    TrimLower,
    And,
    Or,
    Unless,
}

impl BinaryOp {
    /// As written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            BinaryOp::Add => "+",
            BinaryOp::Sub => "-",
            BinaryOp::Mul => "*",
            BinaryOp::Div => "/",
            BinaryOp::Mod => "%",
            BinaryOp::Pow => "^",
            BinaryOp::Atan2 => "atan2",
            BinaryOp::Eq => "==",
            BinaryOp::Ne => "!=",
            BinaryOp::Lt => "<",
            BinaryOp::Le => "<=",
            BinaryOp::Gt => ">",
            BinaryOp::Ge => ">=",
            BinaryOp::TrimUpper => "</",
            BinaryOp::TrimLower => ">/",
            BinaryOp::And => "and",
            BinaryOp::Or => "or",
            BinaryOp::Unless => "unless",
        }
    }
    /// `==` and its kin, without the trim operators.
    #[must_use]
    pub fn is_comparison(self) -> bool {
        matches!(
            self,
            BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge
        )
    }
    /// `and`, `or`, `unless`.
    #[must_use]
    pub fn is_set(self) -> bool {
        matches!(self, BinaryOp::And | BinaryOp::Or | BinaryOp::Unless)
    }
}

/// Aggregations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum AggregateOp {
    Avg,
    Bottomk,
    Count,
    CountValues,
    Group,
    Max,
    Min,
    Quantile,
    Stddev,
    Stdvar,
    Sum,
    Topk,
    Limitk,
    LimitRatio,
}

impl AggregateOp {
    /// As written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            AggregateOp::Avg => "avg",
            AggregateOp::Bottomk => "bottomk",
            AggregateOp::Count => "count",
            AggregateOp::CountValues => "count_values",
            AggregateOp::Group => "group",
            AggregateOp::Max => "max",
            AggregateOp::Min => "min",
            AggregateOp::Quantile => "quantile",
            AggregateOp::Stddev => "stddev",
            AggregateOp::Stdvar => "stdvar",
            AggregateOp::Sum => "sum",
            AggregateOp::Topk => "topk",
            AggregateOp::Limitk => "limitk",
            AggregateOp::LimitRatio => "limit_ratio",
        }
    }
    /// Takes a parameter before the vector.
    #[must_use]
    pub fn has_param(self) -> bool {
        use AggregateOp::{Bottomk, CountValues, LimitRatio, Limitk, Quantile, Topk};
        matches!(self, Topk | Bottomk | CountValues | Quantile | Limitk | LimitRatio)
    }
    /// Behind `promql-experimental-functions`.
    #[must_use]
    pub fn is_experimental(self) -> bool {
        matches!(self, AggregateOp::Limitk | AggregateOp::LimitRatio)
    }
}

/// The time of an `@` modifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Milliseconds since the epoch.
    Timestamp(i64),
    /// `start()`
    Start,
    /// `end()`
    End,
}

/// How many series of one side meet how many of the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cardinality {
    /// One with one.
    #[default]
    OneToOne,
    /// `group_left`
    ManyToOne,
    /// `group_right`
    OneToMany,
    /// Set operators.
    ManyToMany,
}

impl Cardinality {
    /// Upstream's words.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Cardinality::OneToOne => "one-to-one",
            Cardinality::ManyToOne => "many-to-one",
            Cardinality::OneToMany => "one-to-many",
            Cardinality::ManyToMany => "many-to-many",
        }
    }
}

/// How series of two vectors find each other.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VectorMatching {
    /// Cardinality.
    pub card: Cardinality,
    /// Labels of `on` or `ignoring`.
    pub labels: Vec<String>,
    /// `on` rather than `ignoring`.
    pub on: bool,
    /// Labels of `group_left` or `group_right`.
    pub include: Vec<String>,
    /// `fill` or `fill_left`.
    pub fill_left: Option<f64>,
    /// `fill` or `fill_right`.
    pub fill_right: Option<f64>,
}

/// Operators of duration expressions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum DurationOp {
    Add,
    Sub,
    Mul,
    Div,
    Mod,
    Pow,
    Step,
    Range,
    MinOf,
    MaxOf,
}

impl DurationOp {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            DurationOp::Add => "+",
            DurationOp::Sub => "-",
            DurationOp::Mul => "*",
            DurationOp::Div => "/",
            DurationOp::Mod => "%",
            DurationOp::Pow => "^",
            DurationOp::Step => "step",
            DurationOp::Range => "range",
            DurationOp::MinOf => "min_of",
            DurationOp::MaxOf => "max_of",
        }
    }
}

/// A number or a calculation in the place of a duration.
#[derive(Clone, Debug, PartialEq)]
pub enum Duration {
    /// A literal.
    Number(NumberLiteral),
    /// A calculation; without `lhs` it is unary.
    Expr(Box<DurationExpr>),
}

/// A calculation that gives a duration in seconds.
#[derive(Clone, Debug, PartialEq)]
pub struct DurationExpr {
    /// Operator or function.
    pub op: DurationOp,
    /// Left operand.
    pub lhs: Option<Duration>,
    /// Right or only operand.
    pub rhs: Option<Duration>,
    /// In parentheses.
    pub wrapped: bool,
    /// Start of a unary operator or function.
    pub start: usize,
    /// End of a function.
    pub end: usize,
}

impl Duration {
    /// Where it stands.
    #[must_use]
    pub fn pos(&self) -> PosRange {
        match self {
            Duration::Number(n) => n.pos,
            Duration::Expr(e) => e.pos(),
        }
    }
}

impl DurationExpr {
    /// Where it stands.
    #[must_use]
    pub fn pos(&self) -> PosRange {
        match (&self.lhs, &self.rhs) {
            (None, None) => PosRange { start: self.start, end: self.end },
            (Some(l), None) => PosRange { start: self.start, end: l.pos().end },
            (None, Some(r)) => PosRange { start: self.start, end: r.pos().end },
            (Some(l), Some(r)) => l.pos().to(r.pos()),
        }
    }
}

/// A number.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberLiteral {
    /// Its value; seconds for a duration.
    pub value: f64,
    /// Written as a duration.
    pub duration: bool,
    /// Where.
    pub pos: PosRange,
}

/// A text.
#[derive(Clone, Debug, PartialEq)]
pub struct StringLiteral {
    /// Unquoted; bytes that are not UTF-8 are replaced here and kept in `raw`.
    pub value: String,
    /// The bytes, where they are not UTF-8.
    pub raw: Option<Vec<u8>>,
    /// Where.
    pub pos: PosRange,
}

/// `name{matchers}` with modifiers.
#[derive(Clone, Debug, PartialEq)]
pub struct VectorSelector {
    /// Name before the braces, or "".
    pub name: String,
    /// All matchers; the one of `name` last.
    pub matchers: Vec<Matcher>,
    /// `offset` in nanoseconds.
    pub offset_ns: i64,
    /// `offset` as a calculation, which goes before `offset_ns`.
    pub offset_expr: Option<DurationExpr>,
    /// `@`
    pub at: Option<At>,
    /// `anchored`
    pub anchored: bool,
    /// `smoothed`
    pub smoothed: bool,
    /// May match the empty set (second argument of `info`).
    pub allow_empty_matchers: bool,
    /// Where.
    pub pos: PosRange,
}

/// `selector[range]`
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixSelector {
    /// The selector, which holds `@` and `offset`.
    pub selector: VectorSelector,
    /// Range in nanoseconds.
    pub range_ns: i64,
    /// Range as a calculation.
    pub range_expr: Option<DurationExpr>,
    /// End of the whole.
    pub end: usize,
}

/// `expr[range:step]`
#[derive(Clone, Debug, PartialEq)]
pub struct Subquery {
    /// Inner expression.
    pub expr: Box<Expr>,
    /// Range in nanoseconds.
    pub range_ns: i64,
    /// Range as a calculation.
    pub range_expr: Option<DurationExpr>,
    /// Step in nanoseconds, 0 for the default.
    pub step_ns: i64,
    /// Step as a calculation.
    pub step_expr: Option<DurationExpr>,
    /// `offset` in nanoseconds.
    pub offset_ns: i64,
    /// `offset` as a calculation.
    pub offset_expr: Option<DurationExpr>,
    /// `@`
    pub at: Option<At>,
    /// End of the whole.
    pub end: usize,
}

/// `sum by (x) (expr)`
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// Operation.
    pub op: AggregateOp,
    /// What is aggregated.
    pub expr: Box<Expr>,
    /// Parameter.
    pub param: Option<Box<Expr>>,
    /// Labels of `by` or `without`.
    pub grouping: Vec<String>,
    /// `without`
    pub without: bool,
    /// Where.
    pub pos: PosRange,
}

/// `a + b`
#[derive(Clone, Debug, PartialEq)]
pub struct Binary {
    /// Operator.
    pub op: BinaryOp,
    /// Left.
    pub lhs: Box<Expr>,
    /// Right.
    pub rhs: Box<Expr>,
    /// Matching; `None` unless both sides are vectors.
    pub matching: Option<VectorMatching>,
    /// `bool`
    pub return_bool: bool,
}

/// `f(args)`
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Which function.
    pub func: &'static Function,
    /// Arguments.
    pub args: Vec<Expr>,
    /// Where.
    pub pos: PosRange,
}

/// `(expr)`
#[derive(Clone, Debug, PartialEq)]
pub struct Paren {
    /// Inner.
    pub expr: Box<Expr>,
    /// Where.
    pub pos: PosRange,
}

/// `-expr`
#[derive(Clone, Debug, PartialEq)]
pub struct Unary {
    /// `-` rather than `+`.
    pub negative: bool,
    /// Operand.
    pub expr: Box<Expr>,
    /// Where the sign stands.
    pub start: usize,
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Expr {
    Aggregate(Aggregate),
    Binary(Binary),
    Call(Call),
    Matrix(MatrixSelector),
    Number(NumberLiteral),
    Paren(Paren),
    String(StringLiteral),
    Subquery(Subquery),
    Unary(Unary),
    Vector(VectorSelector),
}

impl Expr {
    /// What it evaluates to.
    #[must_use]
    pub fn value_type(&self) -> ValueType {
        match self {
            Expr::Aggregate(_) | Expr::Vector(_) => ValueType::Vector,
            Expr::Binary(b) => {
                let scalar = |e: &Expr| e.value_type() == ValueType::Scalar;
                if scalar(&b.lhs) && scalar(&b.rhs) { ValueType::Scalar } else { ValueType::Vector }
            }
            Expr::Call(c) => c.func.returns,
            Expr::Matrix(_) | Expr::Subquery(_) => ValueType::Matrix,
            Expr::Number(_) => ValueType::Scalar,
            Expr::Paren(p) => p.expr.value_type(),
            Expr::String(_) => ValueType::String,
            Expr::Unary(u) => u.expr.value_type(),
        }
    }

    /// Where it stands.
    #[must_use]
    pub fn pos(&self) -> PosRange {
        match self {
            Expr::Aggregate(a) => a.pos,
            Expr::Binary(b) => b.lhs.pos().to(b.rhs.pos()),
            Expr::Call(c) => c.pos,
            Expr::Matrix(m) => PosRange { start: m.selector.pos.start, end: m.end },
            Expr::Number(n) => n.pos,
            Expr::Paren(p) => p.pos,
            Expr::String(s) => s.pos,
            Expr::Subquery(s) => PosRange { start: s.expr.pos().start, end: s.end },
            Expr::Unary(u) => PosRange { start: u.start, end: u.expr.pos().end },
            Expr::Vector(v) => v.pos,
        }
    }

    /// The expression inside any parentheses.
    #[must_use]
    pub fn unparen(&self) -> &Expr {
        let mut e = self;
        while let Expr::Paren(p) = e {
            e = &p.expr;
        }
        e
    }

    /// Calls `f` on itself and everything below, parents first, in upstream's order.
    pub fn walk<'a>(&'a self, f: &mut impl FnMut(&'a Expr)) {
        f(self);
        match self {
            Expr::Aggregate(a) => {
                a.expr.walk(f);
                if let Some(p) = &a.param {
                    p.walk(f);
                }
            }
            Expr::Binary(b) => {
                b.lhs.walk(f);
                b.rhs.walk(f);
            }
            Expr::Call(c) => c.args.iter().for_each(|a| a.walk(f)),
            Expr::Paren(p) => p.expr.walk(f),
            Expr::Subquery(s) => s.expr.walk(f),
            Expr::Unary(u) => u.expr.walk(f),
            Expr::Matrix(_) | Expr::Number(_) | Expr::String(_) | Expr::Vector(_) => {}
        }
    }

    /// Calls `f` on all selectors, to change them.
    pub fn each_selector(&mut self, f: &mut impl FnMut(&mut VectorSelector)) {
        match self {
            Expr::Aggregate(a) => {
                a.expr.each_selector(f);
                if let Some(p) = &mut a.param {
                    p.each_selector(f);
                }
            }
            Expr::Binary(b) => {
                b.lhs.each_selector(f);
                b.rhs.each_selector(f);
            }
            Expr::Call(c) => c.args.iter_mut().for_each(|a| a.each_selector(f)),
            Expr::Paren(p) => p.expr.each_selector(f),
            Expr::Subquery(s) => s.expr.each_selector(f),
            Expr::Unary(u) => u.expr.each_selector(f),
            Expr::Matrix(m) => f(&mut m.selector),
            Expr::Vector(v) => f(v),
            Expr::Number(_) | Expr::String(_) => {}
        }
    }

    /// All selectors, in order of the text.
    #[must_use]
    pub fn selectors(&self) -> Vec<&VectorSelector> {
        let mut all = Vec::new();
        self.walk(&mut |e| match e {
            Expr::Vector(v) => all.push(v),
            Expr::Matrix(m) => all.push(&m.selector),
            _ => {}
        });
        all
    }
}
