//! The grammar of durations: literals, and the arithmetic of `promql-duration-expr`.

use super::ast::{BinaryOp, Duration, DurationExpr, DurationOp, NumberLiteral, PosRange};
use super::parser::{PREC_MIN, PREC_POW, Parsed, Parser, precedence};
use super::token::{Kind, Preprocessor, Token};

/// Seconds that fit 2^63 nanoseconds.
const SECONDS_MAX: f64 = 9_223_372_036.854_776;

fn out_of_range(seconds: f64) -> bool {
    !(-SECONDS_MAX..=SECONDS_MAX).contains(&seconds) && !seconds.is_nan()
}

fn operator(op: BinaryOp) -> Option<DurationOp> {
    Some(match op {
        BinaryOp::Add => DurationOp::Add,
        BinaryOp::Sub => DurationOp::Sub,
        BinaryOp::Mul => DurationOp::Mul,
        BinaryOp::Div => DurationOp::Div,
        BinaryOp::Mod => DurationOp::Mod,
        BinaryOp::Pow => DurationOp::Pow,
        _ => return None,
    })
}

fn expr(op: DurationOp, lhs: Option<Duration>, rhs: Option<Duration>, pos: PosRange) -> Duration {
    Duration::Expr(Box::new(DurationExpr { op, lhs, rhs, wrapped: false, start: pos.start, end: pos.end }))
}

fn wrap(duration: Duration, pos: PosRange) -> Duration {
    let mut wrapped = match duration {
        Duration::Expr(e) => e,
        // A bare number cannot say that it was in parentheses, so it becomes a unary plus, as upstream.
        n @ Duration::Number(_) => match expr(DurationOp::Add, None, Some(n), pos) {
            Duration::Expr(e) => e,
            n @ Duration::Number(_) => return n,
        },
    };
    wrapped.wrapped = true;
    Duration::Expr(wrapped)
}

impl Parser<'_> {
    /// Nanoseconds of a literal, or the calculation.
    pub(super) fn split_duration(duration: Duration) -> (i64, Option<DurationExpr>) {
        match duration {
            Duration::Number(n) => ((n.value * 1e9).round() as i64, None),
            Duration::Expr(e) => (0, Some(*e)),
        }
    }

    /// Inside square brackets.
    pub(super) fn positive_duration(&mut self) -> Parsed<(i64, Option<DurationExpr>)> {
        let duration = self.duration(PREC_MIN)?;
        if let Duration::Number(n) = &duration
            && n.value <= 0.0
        {
            return self.error(n.pos, "duration must be greater than 0");
        }
        Ok(Self::split_duration(duration))
    }

    /// Behind `offset`: a simple duration ends at once, so that what follows is an operator of the
    /// expression; one in parentheses or with two signs goes on.
    pub(super) fn offset_duration(&mut self) -> Parsed<Duration> {
        let start = match self.peek()? {
            Kind::Op(BinaryOp::Add | BinaryOp::Sub) => {
                let sign = self.take()?;
                match self.peek()? {
                    Kind::Number | Kind::Duration => {
                        let token = self.take()?;
                        let n = self.number_literal(token)?;
                        return self.signed(sign, n).map(Duration::Number);
                    }
                    Kind::Preprocessor(_) => {
                        let operand = self.duration_function()?;
                        let op = if is_minus(sign) { DurationOp::Sub } else { DurationOp::Add };
                        let whole = expr(op, None, Some(operand), sign.pos);
                        self.gate(&whole)?;
                        return Ok(whole);
                    }
                    Kind::LeftParen => {
                        self.take()?;
                        let inner = self.nested(|p| p.duration(PREC_MIN))?;
                        self.expect(Kind::RightParen)?;
                        let pos = inner.pos();
                        return self.apply_sign(sign, wrap(inner, pos));
                    }
                    _ => {
                        let operand = self.nested(|p| p.duration(PREC_POW))?;
                        self.apply_sign(sign, operand)?
                    }
                }
            }
            Kind::Preprocessor(_) => {
                let whole = self.duration_function()?;
                self.gate(&whole)?;
                return Ok(whole);
            }
            Kind::Number | Kind::Duration => return self.duration_primary(),
            _ => self.duration_primary()?,
        };
        self.duration_rest(start, PREC_MIN)
    }

    fn duration(&mut self, min: u8) -> Parsed<Duration> {
        let lhs = match self.peek()? {
            Kind::Op(BinaryOp::Add | BinaryOp::Sub) => {
                let sign = self.take()?;
                let operand = self.nested(|p| p.duration(PREC_POW))?;
                self.apply_sign(sign, operand)?
            }
            _ => self.duration_primary()?,
        };
        self.duration_rest(lhs, min)
    }

    fn duration_rest(&mut self, mut lhs: Duration, min: u8) -> Parsed<Duration> {
        // Chains grow the tree without nesting; a chain as long as the nesting allows is long enough.
        for _ in 0..super::parser::NESTING_MAX {
            let Kind::Op(op) = self.peek()? else { return Ok(lhs) };
            let Some(duration_op) = operator(op).filter(|_| precedence(op) >= min) else { return Ok(lhs) };
            let token = self.take()?;
            let right_min = if op == BinaryOp::Pow { precedence(op) } else { precedence(op) + 1 };
            let rhs = self.nested(|p| p.duration(right_min))?;
            self.gate(&lhs)?;
            if let Duration::Number(n) = &rhs
                && n.value == 0.0
            {
                match op {
                    BinaryOp::Div => return self.error(token.pos, "division by zero"),
                    BinaryOp::Mod => return self.error(token.pos, "modulo by zero"),
                    _ => {}
                }
            }
            lhs = expr(duration_op, Some(lhs), Some(rhs), token.pos);
        }
        self.error(lhs.pos(), "duration expression too long")
    }

    fn duration_primary(&mut self) -> Parsed<Duration> {
        match self.peek()? {
            Kind::Number | Kind::Duration => {
                let token = self.take()?;
                let n = self.number_literal(token)?;
                if out_of_range(n.value) {
                    return self.error(n.pos, "duration out of range");
                }
                Ok(Duration::Number(n))
            }
            Kind::Preprocessor(_) => {
                let whole = self.duration_function()?;
                self.gate(&whole)?;
                Ok(whole)
            }
            Kind::LeftParen => {
                let open = self.take()?;
                let inner = self.nested(|p| p.duration(PREC_MIN))?;
                let close = self.expect(Kind::RightParen)?;
                self.gate(&inner)?;
                Ok(wrap(inner, open.pos.to(close.pos)))
            }
            _ => self.unexpected(),
        }
    }

    fn duration_function(&mut self) -> Parsed<Duration> {
        let Kind::Preprocessor(which) = self.peek()? else { return self.unexpected() };
        let op = match which {
            Preprocessor::Step => DurationOp::Step,
            Preprocessor::Range => DurationOp::Range,
            Preprocessor::MaxOf => DurationOp::MaxOf,
            Preprocessor::MinOf => DurationOp::MinOf,
            Preprocessor::Start | Preprocessor::End => return self.unexpected(),
        };
        let name = self.take()?;
        self.expect(Kind::LeftParen)?;
        let (mut lhs, mut rhs) = (None, None);
        if matches!(op, DurationOp::MaxOf | DurationOp::MinOf) {
            lhs = Some(self.nested(|p| p.duration(PREC_MIN))?);
            self.expect(Kind::Comma)?;
            rhs = Some(self.nested(|p| p.duration(PREC_MIN))?);
        }
        let close = self.expect(Kind::RightParen)?;
        Ok(expr(op, lhs, rhs, name.pos.to(close.pos)))
    }

    fn gate(&self, duration: &Duration) -> Parsed<()> {
        if self.options.duration_expressions {
            return Ok(());
        }
        self.error(duration.pos(), "experimental duration expression is not enabled")
    }

    fn signed(&self, sign: Token, mut n: NumberLiteral) -> Parsed<NumberLiteral> {
        if is_minus(sign) {
            n.value = -n.value;
        }
        if out_of_range(n.value) {
            return self.error(sign.pos, "duration out of range");
        }
        n.pos.start = sign.pos.start;
        Ok(n)
    }

    fn apply_sign(&self, sign: Token, operand: Duration) -> Parsed<Duration> {
        match operand {
            Duration::Number(n) => self.signed(sign, n).map(Duration::Number),
            e if is_minus(sign) => Ok(expr(DurationOp::Sub, None, Some(e), sign.pos)),
            e => Ok(e),
        }
    }
}

fn is_minus(sign: Token) -> bool {
    sign.kind == Kind::Op(BinaryOp::Sub)
}
