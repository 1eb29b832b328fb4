//! Types and the rules that the grammar cannot say, in upstream's order (`checkAST`), so that the first
//! fault is the same.

use model::labels::METRIC_NAME;

use super::ParseError;
use super::ast::{AggregateOp, Binary, Call, Cardinality, Expr, PosRange, ValueType, VectorSelector};
use super::functions::FunctionId;
use super::parser::Parsed;
use super::text::go_quote;

pub(super) struct Checker<'a> {
    pub(super) query: &'a str,
}

impl Checker<'_> {
    fn error<T>(&self, pos: PosRange, text: impl Into<String>) -> Parsed<T> {
        Err(ParseError { pos, place: pos.line_col(self.query), text: text.into() })
    }

    pub(super) fn check(&self, expr: &mut Expr) -> Parsed<ValueType> {
        let value_type = expr.value_type();
        let pos = expr.pos();
        match expr {
            Expr::Aggregate(a) => {
                self.expect(&mut a.expr, ValueType::Vector, "aggregation expression")?;
                if let Some(param) = &mut a.param {
                    let want = match a.op {
                        AggregateOp::CountValues => ValueType::String,
                        _ => ValueType::Scalar,
                    };
                    self.expect(param, want, "aggregation parameter")?;
                }
            }
            Expr::Binary(b) => self.binary(b, pos)?,
            Expr::Call(c) => self.call(c)?,
            Expr::Paren(p) => {
                self.check(&mut p.expr)?;
            }
            Expr::Unary(u) => {
                let t = self.check(&mut u.expr)?;
                if t != ValueType::Scalar && t != ValueType::Vector {
                    let text = format!(
                        "unary expression only allowed on expressions of type scalar or instant vector, got {}",
                        go_quote(t.documented())
                    );
                    return self.error(pos, text);
                }
            }
            Expr::Subquery(s) => {
                let t = self.check(&mut s.expr)?;
                if t != ValueType::Vector {
                    return self.error(
                        pos,
                        format!("subquery is only allowed on instant vector, got {} instead", t.as_str()),
                    );
                }
            }
            Expr::Matrix(m) => self.selector(&m.selector)?,
            Expr::Vector(v) => self.selector(v)?,
            Expr::Number(_) | Expr::String(_) => {}
        }
        Ok(value_type)
    }

    fn expect(&self, expr: &mut Expr, want: ValueType, context: &str) -> Parsed<()> {
        let got = self.check(expr)?;
        if got == want {
            return Ok(());
        }
        let text = format!("expected type {} in {context}, got {}", want.documented(), got.documented());
        self.error(expr.pos(), text)
    }

    /// The operator between two sides, without the space around it. As upstream measures it: up to the
    /// byte before the right side.
    fn operator_pos(&self, b: &Binary) -> PosRange {
        let bytes = self.query.as_bytes();
        let space = |i: usize| bytes.get(i).is_some_and(|c| matches!(c, b' ' | b'\t' | b'\n' | b'\r'));
        let mut start = b.lhs.pos().end;
        while space(start) {
            start += 1;
        }
        let mut end = b.rhs.pos().start.saturating_sub(1);
        while end > 0 && space(end) {
            end -= 1;
        }
        PosRange { start, end }
    }

    fn binary(&self, b: &mut Binary, pos: PosRange) -> Parsed<()> {
        let lt = self.check(&mut b.lhs)?;
        let rt = self.check(&mut b.rhs)?;
        if b.return_bool && !b.op.is_comparison() {
            return self
                .error(self.operator_pos(b), "bool modifier can only be used on comparison operators");
        }
        if b.op.is_comparison() && !b.return_bool && lt == ValueType::Scalar && rt == ValueType::Scalar {
            return self.error(self.operator_pos(b), "comparisons between scalars must use BOOL modifier");
        }
        let Some(mut m) = b.matching.take() else { return Ok(()) };
        if b.op.is_set() && m.card == Cardinality::OneToOne {
            m.card = Cardinality::ManyToMany;
        }
        if m.on
            && let Some(both) = m.labels.iter().find(|l| m.include.contains(l))
        {
            let text = format!("label {} must not occur in ON and GROUP clause at once", go_quote(both));
            return self.error(self.operator_pos(b), text);
        }
        for (t, side) in [(lt, &b.lhs), (rt, &b.rhs)] {
            if t != ValueType::Scalar && t != ValueType::Vector {
                return self.error(
                    side.pos(),
                    "binary expression must contain only scalar and instant vector types",
                );
            }
        }
        let fills = m.fill_left.is_some() || m.fill_right.is_some();
        if lt != ValueType::Vector || rt != ValueType::Vector {
            if !m.labels.is_empty() {
                return self.error(pos, "vector matching only allowed between instant vectors");
            }
            if fills {
                return self.error(pos, "filling in missing series only allowed between instant vectors");
            }
            if b.op.is_set() {
                let text = format!(
                    "set operator {} not allowed in binary scalar expression",
                    go_quote(b.op.as_str())
                );
                return self.error(pos, text);
            }
            return Ok(());
        }
        if b.op.is_set() {
            if matches!(m.card, Cardinality::OneToMany | Cardinality::ManyToOne) {
                let text = format!("no grouping allowed for {} operation", go_quote(b.op.as_str()));
                return self.error(pos, text);
            }
            if fills {
                return self.error(pos, "filling in missing series not allowed for set operators");
            }
        }
        b.matching = Some(m);
        Ok(())
    }

    fn call(&self, c: &mut Call) -> Parsed<()> {
        let name = go_quote(c.func.name);
        let (wanted, got) = (c.func.args.len(), c.args.len());
        if c.func.variadic == 0 {
            if wanted != got {
                return self
                    .error(c.pos, format!("expected {wanted} argument(s) in call to {name}, got {got}"));
            }
        } else {
            let least = wanted.saturating_sub(1);
            if least > got {
                let text = format!("expected at least {least} argument(s) in call to {name}, got {got}");
                return self.error(c.pos, text);
            }
            if let Ok(more) = usize::try_from(c.func.variadic)
                && least + more < got
            {
                let text =
                    format!("expected at most {} argument(s) in call to {name}, got {got}", least + more);
                return self.error(c.pos, text);
            }
        }
        if c.func.id == FunctionId::Info
            && let Some(second) = c.args.get_mut(1)
        {
            if second.value_type() != ValueType::Vector {
                let text = format!(
                    "expected type instant vector in call to function {name}, got {}",
                    second.value_type().documented()
                );
                return self.error(c.pos, text);
            }
            let pos = second.pos();
            match second {
                Expr::Vector(v) if v.name.is_empty() => v.allow_empty_matchers = true,
                Expr::Vector(_) => {
                    return self.error(pos, "expected label selectors only, got vector selector instead");
                }
                _ => return self.error(pos, "expected label selectors only"),
            }
        }
        for (i, arg) in c.args.iter_mut().enumerate() {
            let Some(want) = c.func.args.get(i.min(wanted.saturating_sub(1))).copied() else { break };
            let got = self.check(arg)?;
            if got != want {
                let text = format!(
                    "expected type {} in call to function {name}, got {}",
                    want.documented(),
                    got.documented()
                );
                return self.error(arg.pos(), text);
            }
        }
        Ok(())
    }

    fn selector(&self, v: &VectorSelector) -> Parsed<()> {
        if !v.name.is_empty() {
            let others = v.matchers.split_last().map_or(&[][..], |(_, rest)| rest);
            if let Some(m) = others.iter().find(|m| m.name() == METRIC_NAME) {
                let text = format!(
                    "metric name must not be set twice: {} or {}",
                    go_quote(&v.name),
                    go_quote(m.value())
                );
                return self.error(v.pos, text);
            }
            return Ok(());
        }
        if !v.allow_empty_matchers && v.matchers.iter().all(|m| m.matches("")) {
            return self.error(v.pos, "vector selector must contain at least one non-empty matcher");
        }
        Ok(())
    }
}
