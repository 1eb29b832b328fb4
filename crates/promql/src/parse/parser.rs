//! The grammar of expressions: precedence climbing over the lexer's tokens.
//!
//! Upstream's parser is an LALR table that goes on after a fault and reports the first one; this one
//! stops at the first. To name the same fault, it looks ahead only where that table must, and it keeps
//! the innermost place (`context`) to which that table would fall back.

use model::{MatchOp, Matcher, labels::METRIC_NAME};
use storage::{Budget, PatternError, StorageError};

use super::ast::{
    Aggregate, AggregateOp, At, Binary, BinaryOp, Call, Cardinality, Expr, MatrixSelector, NumberLiteral,
    Paren, PosRange, StringLiteral, Subquery, Unary, VectorMatching, VectorSelector,
};
use super::lexer::Lexer;
use super::number::parse_number;
use super::text::{go_quote, go_quote_bytes, unquote};
use super::token::{Keyword, Kind, Preprocessor, Token};
use super::{ParseError, ParseFault, ParserOptions, function};

/// Brackets, calls and signs may nest this deep: 200 levels of about 1 KiB of stack each leave most of a
/// thread's 2 MiB free.
pub(super) const NESTING_MAX: usize = 200;
/// The tree may be this high, long chains of operators included. Walkers need at most about 200 bytes a
/// level; the evaluator takes a larger stack for high trees.
pub(super) const HEIGHT_MAX: usize = 3000;

/// Precedence of `^`; signs bind as `*`, so their operand may hold only what binds closer.
pub(super) const PREC_POW: u8 = 6;
pub(super) const PREC_MIN: u8 = 1;

pub(super) fn precedence(op: BinaryOp) -> u8 {
    match op {
        BinaryOp::Or => 1,
        BinaryOp::And | BinaryOp::Unless => 2,
        BinaryOp::Eq | BinaryOp::Ne | BinaryOp::Lt | BinaryOp::Le | BinaryOp::Gt | BinaryOp::Ge => 3,
        BinaryOp::TrimUpper | BinaryOp::TrimLower => 3,
        BinaryOp::Add | BinaryOp::Sub => 4,
        BinaryOp::Mul | BinaryOp::Div | BinaryOp::Mod | BinaryOp::Atan2 => 5,
        BinaryOp::Pow => PREC_POW,
    }
}

/// Where upstream's recovery would end up: the words after "in" and after "expected".
pub(super) type Context = (&'static str, &'static str);

pub(super) type Parsed<T> = Result<T, ParseError>;

pub(super) struct Parser<'a> {
    pub(super) query: &'a str,
    pub(super) options: ParserOptions,
    lexer: Lexer<'a>,
    peeked: Option<Token>,
    /// The newest token read, looked at or taken.
    newest: Token,
    /// End of the newest closing bracket or number read.
    pub(super) last_closing: usize,
    pub(super) context: Context,
    nesting: usize,
    /// Height of the expression parsed last.
    height: usize,
    /// What regular expressions are charged to.
    memory: Option<&'a Budget>,
    /// Why it ended, where memory is the reason.
    short: Option<StorageError>,
}

impl<'a> Parser<'a> {
    pub(super) fn new(query: &'a str, options: ParserOptions) -> Self {
        Parser {
            query,
            options,
            lexer: Lexer::new(query),
            peeked: None,
            newest: Token { kind: Kind::Eof, pos: PosRange::default() },
            last_closing: 0,
            context: ("", ""),
            nesting: 0,
            height: 0,
            memory: None,
            short: None,
        }
    }

    /// Charges what regular expressions compile to.
    pub(super) fn within(mut self, memory: &'a Budget) -> Self {
        self.memory = Some(memory);
        self
    }

    /// What came of it, once it has ended.
    pub(super) fn finished<T>(self, parsed: Parsed<T>) -> Result<T, ParseFault> {
        match self.short {
            Some(short) => Err(ParseFault::Memory(short)),
            None => Ok(parsed?),
        }
    }

    /// A whole expression.
    pub(super) fn expression(&mut self) -> Parsed<Expr> {
        if self.peek()? == Kind::Eof {
            return self.error(PosRange::default(), "no expression found in input");
        }
        let expr = self.binary(PREC_MIN)?;
        self.end()?;
        Ok(expr)
    }

    /// A selector and nothing else.
    pub(super) fn selector(&mut self) -> Parsed<VectorSelector> {
        let token = self.take()?;
        let selector = match token.kind {
            Kind::LeftBrace => self.braces(token, None)?,
            kind if names_metric(kind) => self.metric(token)?,
            _ => return self.unexpected_token(token),
        };
        self.end()?;
        Ok(selector)
    }

    fn end(&mut self) -> Parsed<()> {
        match self.peek()? {
            Kind::Eof => Ok(()),
            _ => {
                self.context = ("", "");
                self.unexpected()
            }
        }
    }

    // --- tokens ---

    pub(super) fn peek(&mut self) -> Parsed<Kind> {
        if let Some(token) = self.peeked {
            return Ok(token.kind);
        }
        let token = match self.lexer.next_token() {
            Ok(token) => token,
            Err(e) => return self.error(PosRange { start: e.start, end: self.query.len() }, e.text),
        };
        if matches!(
            token.kind,
            Kind::RightBrace | Kind::RightParen | Kind::RightBracket | Kind::Duration | Kind::Number
        ) {
            self.last_closing = token.pos.end;
        }
        self.newest = token;
        self.peeked = Some(token);
        Ok(token.kind)
    }

    pub(super) fn take(&mut self) -> Parsed<Token> {
        self.peek()?;
        // `peek` has just filled both.
        Ok(self.peeked.take().unwrap_or(self.newest))
    }

    pub(super) fn expect(&mut self, kind: Kind) -> Parsed<Token> {
        if self.peek()? == kind { self.take() } else { self.unexpected() }
    }

    pub(super) fn accept(&mut self, kind: Kind) -> Parsed<Option<Token>> {
        if self.peek()? == kind { Ok(Some(self.take()?)) } else { Ok(None) }
    }

    pub(super) fn text(&self, token: Token) -> &'a str {
        self.query.get(token.pos.start..token.pos.end).unwrap_or_default()
    }

    // --- faults ---

    pub(super) fn error<T>(&self, pos: PosRange, text: impl Into<String>) -> Parsed<T> {
        Err(ParseError { pos, place: pos.line_col(self.query), text: text.into() })
    }

    /// The newest token does not fit here.
    pub(super) fn unexpected<T>(&self) -> Parsed<T> {
        self.unexpected_token(self.newest)
    }

    fn unexpected_token<T>(&self, token: Token) -> Parsed<T> {
        let mut text = format!("unexpected {}", token.describe(self.text(token)));
        let (context, expected) = self.context;
        if !context.is_empty() {
            text.push_str(" in ");
            text.push_str(context);
        }
        if !expected.is_empty() {
            text.push_str(", expected ");
            text.push_str(expected);
        }
        self.error(token.pos, text)
    }

    pub(super) fn unexpected_in<T>(&mut self, context: &'static str, expected: &'static str) -> Parsed<T> {
        self.context = (context, expected);
        self.unexpected()
    }

    pub(super) fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.nesting >= NESTING_MAX {
            return self
                .error(self.newest.pos, format!("expression nested deeper than {NESTING_MAX} levels"));
        }
        self.nesting += 1;
        let result = parse(self);
        self.nesting -= 1;
        result
    }

    fn grow(&mut self, height: usize) -> Parsed<()> {
        if height > HEIGHT_MAX {
            return self
                .error(self.newest.pos, format!("expression of more than {HEIGHT_MAX} operators in a row"));
        }
        self.height = height;
        Ok(())
    }

    // --- expressions ---

    fn binary(&mut self, min: u8) -> Parsed<Expr> {
        let mut lhs = self.unary()?;
        loop {
            let Kind::Op(op) = self.peek()? else { return Ok(lhs) };
            let prec = precedence(op);
            if prec < min {
                return Ok(lhs);
            }
            let left_height = self.height;
            self.take()?;
            let (return_bool, matching) = self.modifiers()?;
            let right_min = if op == BinaryOp::Pow { prec } else { prec + 1 };
            let rhs = self.nested(|p| p.binary(right_min))?;
            let height = 1 + left_height.max(self.height);
            self.grow(height)?;
            let filled = matching.fill_left.is_some() || matching.fill_right.is_some();
            lhs = Expr::Binary(Binary {
                op,
                lhs: Box::new(lhs),
                rhs: Box::new(rhs),
                matching: Some(matching),
                return_bool,
            });
            if filled && !self.options.fill_modifiers {
                return self.error(lhs.pos(), "binop fill modifiers are experimental and not enabled");
            }
        }
    }

    fn unary(&mut self) -> Parsed<Expr> {
        let negative = match self.peek()? {
            Kind::Op(BinaryOp::Sub) => true,
            Kind::Op(BinaryOp::Add) => false,
            _ => return self.postfix(),
        };
        let sign = self.take()?;
        let operand = self.nested(|p| p.binary(PREC_POW))?;
        if let Expr::Number(mut n) = operand {
            n.value = if negative { -n.value } else { n.value };
            n.pos.start = sign.pos.start;
            return Ok(Expr::Number(n));
        }
        let height = self.height + 1;
        self.grow(height)?;
        Ok(Expr::Unary(Unary { negative, expr: Box::new(operand), start: sign.pos.start }))
    }

    fn postfix(&mut self) -> Parsed<Expr> {
        let mut expr = self.primary()?;
        loop {
            match self.peek()? {
                Kind::LeftBracket => expr = self.brackets(expr)?,
                Kind::Keyword(Keyword::Offset) => self.offset(&mut expr)?,
                Kind::At => self.at(&mut expr)?,
                Kind::Keyword(Keyword::Anchored) => self.extended(&mut expr, true)?,
                Kind::Keyword(Keyword::Smoothed) => self.extended(&mut expr, false)?,
                _ => return Ok(expr),
            }
        }
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let kind = self.peek()?;
        if !starts_expression(kind) {
            return self.unexpected();
        }
        self.height = 1;
        let token = self.take()?;
        match kind {
            Kind::Number | Kind::Duration => Ok(Expr::Number(self.number_literal(token)?)),
            Kind::String => {
                let (value, raw) = self.unquoted_bytes(token)?;
                Ok(Expr::String(StringLiteral { value, raw, pos: token.pos }))
            }
            Kind::LeftParen => {
                let expr = self.nested(|p| p.binary(PREC_MIN))?;
                let close = self.expect(Kind::RightParen)?;
                let height = self.height + 1;
                self.grow(height)?;
                Ok(Expr::Paren(Paren { expr: Box::new(expr), pos: token.pos.to(close.pos) }))
            }
            Kind::LeftBrace => Ok(Expr::Vector(self.braces(token, None)?)),
            Kind::Identifier | Kind::Preprocessor(_) if self.peek()? == Kind::LeftParen => self.call(token),
            Kind::Aggregator(op)
                if matches!(
                    self.peek()?,
                    Kind::LeftParen | Kind::Keyword(Keyword::By) | Kind::Keyword(Keyword::Without)
                ) =>
            {
                self.aggregate(token, op)
            }
            _ => Ok(Expr::Vector(self.metric(token)?)),
        }
    }

    pub(super) fn number_literal(&self, token: Token) -> Parsed<NumberLiteral> {
        let text = self.text(token);
        let duration = token.kind == Kind::Duration;
        let value = if duration {
            match model::duration::parse(text) {
                Ok(d) => d.as_nanos() as f64 / 1e9,
                Err(e) => return self.error(token.pos, e.to_string()),
            }
        } else {
            match parse_number(text) {
                Ok(n) => n,
                Err(e) => return self.error(token.pos, format!("error parsing number: {e}")),
            }
        };
        Ok(NumberLiteral { value, duration, pos: token.pos })
    }

    fn unquoted(&self, token: Token) -> Parsed<String> {
        Ok(self.unquoted_bytes(token)?.0)
    }

    /// The text, and its bytes where they are not UTF-8.
    fn unquoted_bytes(&self, token: Token) -> Parsed<(String, Option<Vec<u8>>)> {
        let text = self.text(token);
        match unquote(text).map(String::from_utf8) {
            Some(Ok(s)) => Ok((s, None)),
            Some(Err(e)) => Ok((String::from_utf8_lossy(e.as_bytes()).into_owned(), Some(e.into_bytes()))),
            None => self
                .error(self.newest.pos, format!("error unquoting string {}: invalid syntax", go_quote(text))),
        }
    }

    // --- calls and aggregations ---

    fn arguments(&mut self) -> Parsed<Vec<Expr>> {
        self.expect(Kind::LeftParen)?;
        let mut args = Vec::new();
        let mut height = 0;
        if self.accept(Kind::RightParen)?.is_some() {
            self.height = 1;
            return Ok(args);
        }
        loop {
            args.push(self.nested(|p| p.binary(PREC_MIN))?);
            height = height.max(self.height);
            if self.accept(Kind::RightParen)?.is_some() {
                self.grow(height + 1)?;
                return Ok(args);
            }
            let comma = self.expect(Kind::Comma)?;
            if !starts_expression(self.peek()?) {
                return self.error(comma.pos, "trailing commas not allowed in function call args");
            }
        }
    }

    fn call(&mut self, name: Token) -> Parsed<Expr> {
        let args = self.arguments()?;
        let text = self.text(name);
        let Some(func) = function(text) else {
            return self.error(name.pos, format!("unknown function with name {}", go_quote(text)));
        };
        if func.experimental && !self.options.experimental_functions {
            return self.error(name.pos, format!("function {} is not enabled", go_quote(text)));
        }
        let pos = PosRange { start: name.pos.start, end: self.last_closing };
        Ok(Expr::Call(Call { func, args, pos }))
    }

    fn aggregate(&mut self, op_token: Token, op: AggregateOp) -> Parsed<Expr> {
        let outer = std::mem::replace(&mut self.context, ("aggregation", ""));
        let mut modifier = self.aggregate_modifier()?;
        let early = modifier.is_some();
        self.context = ("aggregation", "");
        let mut args = self.arguments()?;
        let mut end = self.last_closing;
        if !early {
            let height = self.height;
            modifier = self.aggregate_modifier()?;
            end = if modifier.is_some() { self.last_closing } else { self.closing_before_lookahead() };
            self.height = height;
        }
        self.context = outer;
        let pos = PosRange { start: op_token.pos.start, end };
        let (grouping, without) = modifier.unwrap_or_default();
        if args.is_empty() {
            return self.error(pos, "no arguments for aggregate expression provided");
        }
        if op.is_experimental() && !self.options.experimental_functions {
            return self.error(
                pos,
                format!(
                    "{}() is experimental and must be enabled with --enable-feature=promql-experimental-functions",
                    op.as_str()
                ),
            );
        }
        let wanted = if op.has_param() { 2 } else { 1 };
        let got = args.len();
        match (args.pop(), args.pop()) {
            (Some(expr), param) if got == wanted => {
                Ok(Expr::Aggregate(Aggregate { op, expr: Box::new(expr), param: param.map(Box::new), grouping, without, pos }))
            }
            _ => self.error(
                pos,
                format!("wrong number of arguments for aggregate expression provided, expected {wanted}, got {got}"),
            ),
        }
    }

    /// Upstream notes the end of the newest bracket it has read, and mends it where that is the lookahead.
    fn closing_before_lookahead(&self) -> usize {
        let bytes = self.query.as_bytes();
        let (closing, last) = (self.last_closing, self.newest.pos.start);
        if closing == 0 || closing > bytes.len() || last == 0 || bytes.get(last) != Some(&b')') {
            return closing;
        }
        for i in (1..last).rev() {
            match bytes[i] {
                b')' => return i + 1,
                b' ' | b'\t' | b'\n' | b'\r' => {}
                _ => return closing,
            }
        }
        closing
    }

    fn aggregate_modifier(&mut self) -> Parsed<Option<(Vec<String>, bool)>> {
        let without = match self.peek()? {
            Kind::Keyword(Keyword::By) => false,
            Kind::Keyword(Keyword::Without) => true,
            _ => return Ok(None),
        };
        self.take()?;
        Ok(Some((self.grouping_labels()?, without)))
    }

    fn grouping_labels(&mut self) -> Parsed<Vec<String>> {
        if self.peek()? != Kind::LeftParen {
            return self.unexpected_in("grouping opts", "\"(\"");
        }
        self.take()?;
        let mut labels = Vec::new();
        loop {
            let kind = self.peek()?;
            if kind == Kind::RightParen {
                self.take()?;
                return Ok(labels);
            }
            let name = match kind {
                Kind::String => {
                    let token = self.take()?;
                    let (name, raw) = self.unquoted_bytes(token)?;
                    if name.is_empty() || raw.is_some() {
                        let shown = go_quote_bytes(raw.as_deref().unwrap_or_default());
                        return self.error(token.pos, format!("invalid label name for grouping: {shown}"));
                    }
                    name
                }
                kind if names_label(kind) => {
                    let token = self.take()?;
                    self.text(token).to_string()
                }
                _ => return self.unexpected_in("grouping opts", "label"),
            };
            labels.push(name);
            match self.peek()? {
                Kind::RightParen => {}
                Kind::Comma => {
                    self.take()?;
                }
                _ => return self.unexpected_in("grouping opts", "\",\" or \")\""),
            }
        }
    }

    // --- what stands between an operator and its right side ---

    fn modifiers(&mut self) -> Parsed<(bool, VectorMatching)> {
        let return_bool = self.accept(Kind::Keyword(Keyword::Bool))?.is_some();
        let mut m = VectorMatching::default();
        let matches_labels = match self.peek()? {
            Kind::Keyword(Keyword::On) => {
                m.on = true;
                true
            }
            Kind::Keyword(Keyword::Ignoring) => true,
            _ => false,
        };
        if matches_labels {
            self.take()?;
            m.labels = self.kept(Self::grouping_labels)?;
            m.card = match self.peek()? {
                Kind::Keyword(Keyword::GroupLeft) => Cardinality::ManyToOne,
                Kind::Keyword(Keyword::GroupRight) => Cardinality::OneToMany,
                _ => Cardinality::OneToOne,
            };
            if m.card != Cardinality::OneToOne {
                self.take()?;
                let next = self.peek()?;
                if next == Kind::LeftParen || !starts_expression(next) {
                    m.include = self.kept(Self::grouping_labels)?;
                }
            }
        }
        match self.peek()? {
            Kind::Keyword(Keyword::Fill) => {
                self.take()?;
                let v = self.fill_value()?;
                (m.fill_left, m.fill_right) = (Some(v), Some(v));
            }
            Kind::Keyword(Keyword::FillLeft) => {
                self.take()?;
                m.fill_left = Some(self.fill_value()?);
                if self.accept(Kind::Keyword(Keyword::FillRight))?.is_some() {
                    m.fill_right = Some(self.fill_value()?);
                }
            }
            Kind::Keyword(Keyword::FillRight) => {
                self.take()?;
                m.fill_right = Some(self.fill_value()?);
                if self.accept(Kind::Keyword(Keyword::FillLeft))?.is_some() {
                    m.fill_left = Some(self.fill_value()?);
                }
            }
            _ => {}
        }
        Ok((return_bool, m))
    }

    /// Runs `parse` and puts the context back afterwards.
    pub(super) fn kept<T>(&mut self, parse: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        let context = self.context;
        let result = parse(self)?;
        self.context = context;
        Ok(result)
    }

    fn fill_value(&mut self) -> Parsed<f64> {
        self.expect(Kind::LeftParen)?;
        let negative = match self.peek()? {
            Kind::Op(BinaryOp::Sub) => true,
            Kind::Op(BinaryOp::Add) => false,
            _ => return self.fill_number(),
        };
        self.take()?;
        let v = self.fill_number()?;
        Ok(if negative { -v } else { v })
    }

    fn fill_number(&mut self) -> Parsed<f64> {
        if !matches!(self.peek()?, Kind::Number | Kind::Duration) {
            return self.unexpected();
        }
        let token = self.take()?;
        let n = self.number_literal(token)?;
        self.expect(Kind::RightParen)?;
        Ok(n.value)
    }

    // --- selectors ---

    fn metric(&mut self, name: Token) -> Parsed<VectorSelector> {
        let text = self.text(name).to_string();
        if self.peek()? == Kind::LeftBrace {
            let open = self.take()?;
            return self.braces(open, Some((name, text)));
        }
        Ok(VectorSelector {
            matchers: vec![Matcher::equal(METRIC_NAME, text.clone())],
            name: text,
            pos: name.pos,
            ..VectorSelector::empty()
        })
    }

    fn braces(&mut self, open: Token, name: Option<(Token, String)>) -> Parsed<VectorSelector> {
        let context = self.context;
        let mut matchers = Vec::new();
        let close = loop {
            if self.peek()? == Kind::RightBrace {
                break self.take()?;
            }
            matchers.push(self.matcher()?);
            match self.peek()? {
                Kind::RightBrace => {}
                Kind::Comma => {
                    self.take()?;
                }
                _ => return self.unexpected_in("label matching", "\",\" or \"}\""),
            }
        };
        self.context = context;
        let mut vs = VectorSelector { matchers, pos: open.pos.to(close.pos), ..VectorSelector::empty() };
        if let Some((token, text)) = name {
            vs.pos.start = token.pos.start;
            vs.matchers.push(Matcher::equal(METRIC_NAME, text.clone()));
            vs.name = text;
        }
        Ok(vs)
    }

    fn matcher(&mut self) -> Parsed<Matcher> {
        let kind = self.peek()?;
        let (label, name) = match kind {
            Kind::Identifier => {
                let token = self.take()?;
                (token, self.text(token).to_string())
            }
            Kind::String => {
                let token = self.take()?;
                (token, self.unquoted(token)?)
            }
            _ => return self.unexpected_in("label matching", "identifier or \"}\""),
        };
        let op = match self.peek()? {
            Kind::Assign => MatchOp::Equal,
            Kind::Op(BinaryOp::Ne) => MatchOp::NotEqual,
            Kind::MatchRegex => MatchOp::Regex,
            Kind::MatchNotRegex => MatchOp::NotRegex,
            _ if kind == Kind::String => return Ok(Matcher::equal(METRIC_NAME, name)),
            _ => return self.unexpected_in("label matching", "label matching operator"),
        };
        self.take()?;
        if self.peek()? != Kind::String {
            return self.unexpected_in("label matching", "string");
        }
        let value = self.take()?;
        let text = self.unquoted(value)?;
        let made = match self.memory {
            Some(memory) => storage::matcher(memory, op, &name, &text),
            None => Matcher::new(op, name, text).map_err(|e| PatternError::Pattern(e.to_string())),
        };
        let place = label.pos.to(value.pos);
        match made {
            Ok(m) => Ok(m),
            Err(PatternError::Pattern(e)) => self.error(place, e),
            Err(PatternError::Memory(e)) => {
                let text = e.to_string();
                self.short = Some(e);
                self.error(place, text)
            }
        }
    }

    fn brackets(&mut self, expr: Expr) -> Parsed<Expr> {
        let open = self.take()?;
        let context = self.context;
        self.context = ("subquery or range selector", "number, duration, step(), or range()");
        let (range_ns, range_expr) = self.positive_duration()?;
        match self.peek()? {
            Kind::RightBracket => {
                let close = self.take()?;
                self.context = context;
                let range = open.pos.to(close.pos);
                let selector = match expr {
                    Expr::Vector(v) => v,
                    _ => return self.error(range, "ranges only allowed for vector selectors"),
                };
                if selector.offset_ns != 0 || selector.offset_expr.is_some() {
                    return self.error(range, "no offset modifiers allowed before range");
                }
                if selector.at.is_some() {
                    return self.error(range, "no @ modifiers allowed before range");
                }
                let end = self.last_closing;
                Ok(Expr::Matrix(MatrixSelector { selector, range_ns, range_expr, end }))
            }
            Kind::Colon => {
                self.take()?;
                let (mut step_ns, mut step_expr) = (0, None);
                if self.peek()? != Kind::RightBracket {
                    self.context = ("subquery selector", "number, duration, step(), range(), or \"]\"");
                    (step_ns, step_expr) = self.positive_duration()?;
                    if self.peek()? != Kind::RightBracket {
                        return self.unexpected_in("subquery selector", "\"]\"");
                    }
                }
                let close = self.take()?;
                self.context = context;
                let height = self.height + 1;
                self.grow(height)?;
                Ok(Expr::Subquery(Subquery {
                    expr: Box::new(expr),
                    range_ns,
                    range_expr,
                    step_ns,
                    step_expr,
                    offset_ns: 0,
                    offset_expr: None,
                    at: None,
                    end: close.pos.start + 1,
                }))
            }
            _ => self.unexpected_in("subquery or range", "\":\" or \"]\""),
        }
    }

    // --- modifiers of selectors ---

    fn at(&mut self, expr: &mut Expr) -> Parsed<()> {
        self.take()?;
        let context = std::mem::replace(&mut self.context, ("@", "timestamp"));
        let negative = match self.peek()? {
            Kind::Op(BinaryOp::Sub) => {
                self.take()?;
                true
            }
            Kind::Op(BinaryOp::Add) => {
                self.take()?;
                false
            }
            Kind::Preprocessor(p @ (Preprocessor::Start | Preprocessor::End)) => {
                self.take()?;
                self.expect(Kind::LeftParen)?;
                self.expect(Kind::RightParen)?;
                self.context = context;
                let at = if p == Preprocessor::Start { At::Start } else { At::End };
                return self.set_at(expr, at);
            }
            _ => false,
        };
        if !matches!(self.peek()?, Kind::Number | Kind::Duration) {
            return self.unexpected();
        }
        let token = self.take()?;
        self.context = context;
        let n = self.number_literal(token)?.value;
        let seconds = if negative { -n } else { n };
        // Upstream's bounds: those of i64, checked in seconds.
        if !seconds.is_finite() || seconds >= i64::MAX as f64 || seconds <= i64::MIN as f64 {
            let shown = match seconds {
                s if s.is_nan() => "NaN".to_string(),
                f64::INFINITY => "+Inf".to_string(),
                f64::NEG_INFINITY => "-Inf".to_string(),
                s => format!("{s:.6}"),
            };
            return self.error(expr.pos(), format!("timestamp out of bounds for @ modifier: {shown}"));
        }
        self.set_at(expr, At::Timestamp((seconds * 1000.0).round() as i64))
    }

    fn set_at(&mut self, expr: &mut Expr, value: At) -> Parsed<()> {
        let pos = expr.pos();
        let (at, end) = match expr {
            Expr::Vector(v) => (&mut v.at, &mut v.pos.end),
            Expr::Matrix(m) => (&mut m.selector.at, &mut m.end),
            Expr::Subquery(s) => (&mut s.at, &mut s.end),
            _ => {
                let text = "@ modifier must be preceded by an instant vector selector or range vector selector or a subquery";
                return self.error(pos, text);
            }
        };
        if at.is_some() {
            return self.error(pos, "@ <timestamp> may not be set multiple times");
        }
        *at = Some(value);
        *end = self.last_closing;
        Ok(())
    }

    fn offset(&mut self, expr: &mut Expr) -> Parsed<()> {
        self.take()?;
        let context =
            std::mem::replace(&mut self.context, ("offset", "number, duration, step(), or range()"));
        let duration = self.offset_duration()?;
        self.context = context;
        let (ns, calculation) = Self::split_duration(duration);
        let pos = expr.pos();
        let (offset_ns, offset_expr, end) = match expr {
            Expr::Vector(v) => (&mut v.offset_ns, &mut v.offset_expr, &mut v.pos.end),
            Expr::Matrix(m) => (&mut m.selector.offset_ns, &mut m.selector.offset_expr, &mut m.end),
            Expr::Subquery(s) => (&mut s.offset_ns, &mut s.offset_expr, &mut s.end),
            _ => {
                let text = "offset modifier must be preceded by an instant vector selector or range vector selector or a subquery";
                return self.error(pos, text);
            }
        };
        if *offset_ns != 0 || offset_expr.is_some() {
            return self.error(pos, "offset may not be set multiple times");
        }
        (*offset_ns, *offset_expr, *end) = (ns, calculation, self.last_closing);
        Ok(())
    }

    fn extended(&mut self, expr: &mut Expr, anchored: bool) -> Parsed<()> {
        self.take()?;
        let word = if anchored { "anchored" } else { "smoothed" };
        let pos = expr.pos();
        if !self.options.extended_range_selectors {
            return self.error(pos, format!("{word} modifier is experimental and not enabled"));
        }
        let vs = match expr {
            Expr::Vector(v) => v,
            Expr::Matrix(m) => &mut m.selector,
            Expr::Subquery(_) => {
                return self.error(pos, format!("{word} modifier is not supported for subqueries"));
            }
            _ => return self.error(pos, format!("{word} modifier not implemented")),
        };
        if anchored {
            vs.anchored = true;
        } else {
            vs.smoothed = true;
        }
        if vs.anchored && vs.smoothed {
            return self.error(pos, "anchored and smoothed modifiers cannot be used together");
        }
        Ok(())
    }
}

impl VectorSelector {
    fn empty() -> Self {
        VectorSelector {
            name: String::new(),
            matchers: Vec::new(),
            offset_ns: 0,
            offset_expr: None,
            at: None,
            anchored: false,
            smoothed: false,
            allow_empty_matchers: false,
            pos: PosRange::default(),
        }
    }
}

fn names_metric(kind: Kind) -> bool {
    use Keyword::{Anchored, By, Fill, FillLeft, FillRight, Offset, Smoothed, Without};
    match kind {
        Kind::Identifier | Kind::MetricIdentifier | Kind::Aggregator(_) | Kind::Preprocessor(_) => true,
        Kind::Op(op) => op.is_set(),
        Kind::Keyword(k) => {
            matches!(k, Anchored | By | Fill | FillLeft | FillRight | Offset | Smoothed | Without)
        }
        _ => false,
    }
}

fn names_label(kind: Kind) -> bool {
    match kind {
        Kind::Identifier | Kind::MetricIdentifier | Kind::Aggregator(_) | Kind::Preprocessor(_) => true,
        Kind::Op(op) => op.is_set() || op == BinaryOp::Atan2,
        Kind::Keyword(k) => k != Keyword::Without,
        _ => false,
    }
}

fn starts_expression(kind: Kind) -> bool {
    names_metric(kind)
        || matches!(
            kind,
            Kind::Number
                | Kind::Duration
                | Kind::String
                | Kind::LeftParen
                | Kind::LeftBrace
                | Kind::Op(BinaryOp::Add | BinaryOp::Sub)
        )
}
