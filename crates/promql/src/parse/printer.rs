//! Canonical text of an expression: parsing it again gives the same tree. Follows upstream's
//! `promql/parser/printer.go`.

use std::fmt::{self, Display, Write as _};

use model::MatchOp;
use model::labels::METRIC_NAME;

use super::ast::{
    Aggregate, At, Binary, Cardinality, Duration, DurationExpr, DurationOp, Expr, MatrixSelector,
    NumberLiteral, Subquery, VectorMatching, VectorSelector,
};
use super::text::{go_quote, go_quote_bytes};

impl Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Expr::Aggregate(a) => {
                f.write_str(&a.head())?;
                f.write_str("(")?;
                if let Some(param) = &a.param {
                    write!(f, "{param}, ")?;
                }
                write!(f, "{})", a.expr)
            }
            Expr::Binary(b) => write!(f, "{} {} {}", b.lhs, b.operator(), b.rhs),
            Expr::Call(c) => {
                write!(f, "{}(", c.func.name)?;
                for (i, arg) in c.args.iter().enumerate() {
                    if i > 0 {
                        f.write_str(", ")?;
                    }
                    write!(f, "{arg}")?;
                }
                f.write_str(")")
            }
            Expr::Matrix(m) => m.fmt(f),
            Expr::Number(n) => n.fmt(f),
            Expr::Paren(p) => write!(f, "({})", p.expr),
            Expr::String(s) => match &s.raw {
                Some(raw) => f.write_str(&go_quote_bytes(raw)),
                None => f.write_str(&go_quote(&s.value)),
            },
            Expr::Subquery(s) => write!(f, "{}{}", s.expr, s.suffix()),
            Expr::Unary(u) => write!(f, "{}{}", if u.negative { "-" } else { "+" }, u.expr),
            Expr::Vector(v) => v.fmt(f),
        }
    }
}

fn labels(names: &[String]) -> String {
    let one = |n: &String| if model::name::is_legacy_label_name(n) { n.clone() } else { go_quote(n) };
    names.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// A duration in nanoseconds, as Prometheus prints one; below a millisecond is cut.
pub(super) fn duration_text(ns: i64) -> String {
    let text = model::duration::format(std::time::Duration::from_millis(ns.unsigned_abs() / 1_000_000));
    if ns < 0 { format!("-{text}") } else { text }
}

fn at_text(at: Option<At>) -> String {
    match at {
        None => String::new(),
        Some(At::Timestamp(ms)) => format!(" @ {:.3}", ms as f64 / 1000.0),
        Some(At::Start) => " @ start()".to_string(),
        Some(At::End) => " @ end()".to_string(),
    }
}

fn offset_text(ns: i64, expr: Option<&DurationExpr>) -> String {
    match expr {
        Some(e) => format!(" offset {e}"),
        None if ns != 0 => format!(" offset {}", duration_text(ns)),
        None => String::new(),
    }
}

impl Aggregate {
    /// `sum by (x) `
    pub(super) fn head(&self) -> String {
        let op = self.op.as_str();
        match (self.without, self.grouping.is_empty()) {
            (true, _) => format!("{op} without ({}) ", labels(&self.grouping)),
            (false, false) => format!("{op} by ({}) ", labels(&self.grouping)),
            (false, true) => op.to_string(),
        }
    }
}

impl Binary {
    /// `== bool on (x) group_left (y)`
    pub(super) fn operator(&self) -> String {
        let mut out = self.op.as_str().to_string();
        if self.return_bool {
            out.push_str(" bool");
        }
        if let Some(m) = &self.matching {
            out.push_str(&m.text());
        }
        out
    }
}

impl VectorMatching {
    fn text(&self) -> String {
        let mut out = String::new();
        let side = match self.card {
            Cardinality::ManyToOne => Some("left"),
            Cardinality::OneToMany => Some("right"),
            _ => None,
        };
        if !self.labels.is_empty() || self.on || side.is_some() {
            let word = if self.on { "on" } else { "ignoring" };
            let _ = write!(out, " {word} ({})", labels(&self.labels));
        }
        if let Some(side) = side {
            let _ = write!(out, " group_{side} ({})", labels(&self.include));
        }
        match (self.fill_left, self.fill_right) {
            (Some(l), Some(r)) if l == r => {
                let _ = write!(out, " fill ({})", model::float_text::format_g(l));
            }
            (l, r) => {
                if let Some(l) = l {
                    let _ = write!(out, " fill_left ({})", model::float_text::format_g(l));
                }
                if let Some(r) = r {
                    let _ = write!(out, " fill_right ({})", model::float_text::format_g(r));
                }
            }
        }
        out
    }
}

impl Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Duration::Number(n) => n.fmt(f),
            Duration::Expr(e) => e.fmt(f),
        }
    }
}

impl Display for DurationExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (open, close) = if self.wrapped { ("(", ")") } else { ("", "") };
        let sign = self.op.as_str();
        match (self.op, &self.lhs, &self.rhs) {
            (DurationOp::Step | DurationOp::Range, ..) => write!(f, "{open}{sign}(){close}"),
            (DurationOp::MinOf | DurationOp::MaxOf, Some(l), Some(r)) => {
                write!(f, "{open}{sign}({l}, {r}){close}")
            }
            (_, Some(l), Some(r)) => write!(f, "{open}{l} {sign} {r}{close}"),
            (DurationOp::Sub, None, Some(r)) => write!(f, "{open}-{r}{close}"),
            (_, None, Some(r)) => write!(f, "{open}{r}{close}"),
            (_, _, None) => Ok(()),
        }
    }
}

impl Display for NumberLiteral {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.duration {
            return f.write_str(&duration_text((self.value * 1e9) as i64));
        }
        f.write_str(&model::float_text::format_f(self.value))
    }
}

impl Display for MatrixSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.selector.bare())?;
        f.write_str(&self.suffix())
    }
}

impl MatrixSelector {
    fn suffix(&self) -> String {
        let v = &self.selector;
        let extended = match (v.anchored, v.smoothed) {
            (true, _) => " anchored",
            (_, true) => " smoothed",
            _ => "",
        };
        let range = match &self.range_expr {
            Some(e) => e.to_string(),
            None => duration_text(self.range_ns),
        };
        let offset = offset_text(v.offset_ns, v.offset_expr.as_ref());
        format!("[{range}]{extended}{}{offset}", at_text(v.at))
    }
}

impl Subquery {
    /// `[5m:1m] @ 0.000 offset 1m`
    pub(super) fn suffix(&self) -> String {
        let range = match &self.range_expr {
            Some(e) => e.to_string(),
            None => duration_text(self.range_ns),
        };
        let step = match &self.step_expr {
            _ if self.step_ns != 0 => duration_text(self.step_ns),
            Some(e) => e.to_string(),
            None => String::new(),
        };
        let offset = offset_text(self.offset_ns, self.offset_expr.as_ref());
        format!("[{range}:{step}]{}{offset}", at_text(self.at))
    }
}

impl VectorSelector {
    fn bare(&self) -> String {
        let own_name = |m: &model::Matcher| {
            m.name() == METRIC_NAME
                && m.op() == MatchOp::Equal
                && m.value() == self.name
                && !m.value().is_empty()
        };
        let mut matchers: Vec<String> =
            self.matchers.iter().filter(|m| !own_name(m)).map(ToString::to_string).collect();
        if matchers.is_empty() {
            return self.name.clone();
        }
        matchers.sort();
        format!("{}{{{}}}", self.name, matchers.join(","))
    }
}

impl Display for VectorSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.bare())?;
        f.write_str(&at_text(self.at))?;
        match (self.anchored, self.smoothed) {
            (true, _) => f.write_str(" anchored")?,
            (_, true) => f.write_str(" smoothed")?,
            _ => {}
        }
        f.write_str(&offset_text(self.offset_ns, self.offset_expr.as_ref()))
    }
}
