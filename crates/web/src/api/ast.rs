//! The syntax tree of an expression as JSON: `/parse_query` (upstream: `web/api/v1/translate_ast.go`). Keys
//! are in alphabetical order, as Go writes a map.

use model::{MatchOp, Matcher};
use promql::parse::ast::{
    Aggregate, At, Binary, Call, Duration, DurationExpr, Expr, MatrixSelector, NumberLiteral, Subquery,
    VectorMatching, VectorSelector,
};

use crate::json::Json;

/// Nanoseconds of a millisecond: the tree has whole milliseconds, cut towards zero.
const NS_PER_MS: i64 = 1_000_000;

/// Writes an expression. Recursion is bounded by the parser, which bounds the height of the tree.
pub(super) fn write(json: &mut Json, expr: &Expr) {
    match expr {
        Expr::Aggregate(a) => aggregate(json, a),
        Expr::Binary(b) => binary(json, b),
        Expr::Call(c) => call(json, c),
        Expr::Matrix(m) => matrix(json, m),
        Expr::Subquery(s) => subquery(json, s),
        Expr::Vector(v) => vector(json, v),
        Expr::Number(n) => {
            json.raw("{\"type\":\"numberLiteral\",\"val\":").string(&decimal(n)).raw("}");
        }
        Expr::Paren(p) => {
            json.raw("{\"expr\":");
            write(json, &p.expr);
            json.raw(",\"type\":\"parenExpr\"}");
        }
        Expr::String(s) => {
            json.raw("{\"type\":\"stringLiteral\",\"val\":").string(&s.value).raw("}");
        }
        Expr::Unary(u) => {
            json.raw("{\"expr\":");
            write(json, &u.expr);
            json.raw(if u.negative { ",\"op\":\"-\"" } else { ",\"op\":\"+\"" });
            json.raw(",\"type\":\"unaryExpr\"}");
        }
    }
}

fn decimal(n: &NumberLiteral) -> String {
    model::float_text::format_f(n.value)
}

fn aggregate(json: &mut Json, a: &Aggregate) {
    json.raw("{\"expr\":");
    write(json, &a.expr);
    json.raw(",\"grouping\":").strings(&a.grouping).raw(",\"op\":").string(a.op.as_str());
    json.raw(",\"param\":");
    match &a.param {
        Some(param) => write(json, param),
        None => {
            json.raw("null");
        }
    }
    json.raw(",\"type\":\"aggregation\",\"without\":").bool(a.without).raw("}");
}

fn binary(json: &mut Json, b: &Binary) {
    json.raw("{\"bool\":").bool(b.return_bool).raw(",\"lhs\":");
    write(json, &b.lhs);
    json.raw(",\"matching\":");
    match &b.matching {
        Some(m) => matching(json, m),
        None => {
            json.raw("null");
        }
    }
    json.raw(",\"op\":").string(b.op.as_str()).raw(",\"rhs\":");
    write(json, &b.rhs);
    json.raw(",\"type\":\"binaryExpr\"}");
}

fn matching(json: &mut Json, m: &VectorMatching) {
    let fill = |json: &mut Json, key: &str, value: Option<f64>| {
        json.key(key);
        match value {
            Some(v) => json.float(v),
            None => json.raw("null"),
        };
    };
    json.raw("{\"card\":").string(m.card.as_str()).raw(",\"fillValues\":{");
    fill(json, "lhs", m.fill_left);
    json.raw(",");
    fill(json, "rhs", m.fill_right);
    json.raw("},\"include\":").strings(&m.include).raw(",\"labels\":").strings(&m.labels);
    json.raw(",\"on\":").bool(m.on).raw("}");
}

fn call(json: &mut Json, c: &Call) {
    json.raw("{\"args\":").list(&c.args, write);
    json.raw(",\"func\":{\"argTypes\":").strings(c.func.args.iter().map(|t| t.as_str()));
    json.raw(",\"name\":").string(c.func.name).raw(",\"returnType\":").string(c.func.returns.as_str());
    json.raw(",\"variadic\":").int(i64::from(c.func.variadic)).raw("},\"type\":\"call\"}");
}

fn selector(json: &mut Json, v: &VectorSelector) {
    json.raw("{\"anchored\":").bool(v.anchored).raw(",\"matchers\":").list(&v.matchers, matcher);
    json.raw(",\"name\":").string(&v.name);
    offset(json, v.offset_ns, v.offset_expr.as_ref());
}

fn vector(json: &mut Json, v: &VectorSelector) {
    selector(json, v);
    json.raw(",\"smoothed\":").bool(v.smoothed);
    at(json, v.at);
    json.raw(",\"type\":\"vectorSelector\"}");
}

fn matrix(json: &mut Json, m: &MatrixSelector) {
    selector(json, &m.selector);
    range(json, m.range_ns, m.range_expr.as_ref());
    json.raw(",\"smoothed\":").bool(m.selector.smoothed);
    at(json, m.selector.at);
    json.raw(",\"type\":\"matrixSelector\"}");
}

fn subquery(json: &mut Json, s: &Subquery) {
    json.raw("{\"expr\":");
    write(json, &s.expr);
    offset(json, s.offset_ns, s.offset_expr.as_ref());
    range(json, s.range_ns, s.range_expr.as_ref());
    start_or_end(json, s.at);
    json.raw(",\"step\":").int(s.step_ns / NS_PER_MS).raw(",\"stepExpr\":");
    duration_expr(json, s.step_expr.as_ref());
    timestamp(json, s.at);
    json.raw(",\"type\":\"subquery\"}");
}

fn offset(json: &mut Json, ns: i64, expr: Option<&DurationExpr>) {
    json.raw(",\"offset\":").int(ns / NS_PER_MS).raw(",\"offsetExpr\":");
    duration_expr(json, expr);
}

fn range(json: &mut Json, ns: i64, expr: Option<&DurationExpr>) {
    json.raw(",\"range\":").int(ns / NS_PER_MS).raw(",\"rangeExpr\":");
    duration_expr(json, expr);
}

fn at(json: &mut Json, at: Option<At>) {
    start_or_end(json, at);
    timestamp(json, at);
}

fn start_or_end(json: &mut Json, at: Option<At>) {
    json.raw(match at {
        Some(At::Start) => ",\"startOrEnd\":\"start\"",
        Some(At::End) => ",\"startOrEnd\":\"end\"",
        _ => ",\"startOrEnd\":null",
    });
}

fn timestamp(json: &mut Json, at: Option<At>) {
    json.raw(",\"timestamp\":");
    match at {
        Some(At::Timestamp(ms)) => json.int(ms),
        _ => json.raw("null"),
    };
}

fn matcher(json: &mut Json, m: &Matcher) {
    let op = match m.op() {
        MatchOp::Equal => "=",
        MatchOp::NotEqual => "!=",
        MatchOp::Regex => "=~",
        MatchOp::NotRegex => "!~",
    };
    json.raw("{\"name\":").string(m.name()).raw(",\"type\":\"").raw(op).raw("\",\"value\":");
    json.string(m.value()).raw("}");
}

fn duration_expr(json: &mut Json, expr: Option<&DurationExpr>) {
    let Some(e) = expr else {
        json.raw("null");
        return;
    };
    json.raw("{\"lhs\":");
    duration(json, e.lhs.as_ref());
    json.raw(",\"op\":").string(e.op.as_str()).raw(",\"rhs\":");
    duration(json, e.rhs.as_ref());
    json.raw(",\"type\":\"durationExpr\",\"wrapped\":").bool(e.wrapped).raw("}");
}

fn duration(json: &mut Json, d: Option<&Duration>) {
    match d {
        None => {
            json.raw("null");
        }
        Some(Duration::Expr(e)) => duration_expr(json, Some(e)),
        Some(Duration::Number(n)) => {
            json.raw("{\"duration\":").bool(n.duration).raw(",\"type\":\"numberLiteral\",\"val\":");
            json.string(&decimal(n)).raw("}");
        }
    }
}
