//! Which rules of a group may be evaluated at the same time: those that do not read what others write
//! (upstream: `buildDependencyMap`, `SplitGroupIntoBatches`).

use model::Matcher;
use model::labels::METRIC_NAME;
use promql::Expr;
use promql::parse::ast::VectorSelector;

use crate::alerting::ALERT_NAME;
use crate::load::RuleSpec;

/// Rules by their index, in batches that run one after the other; those within one may run at once.
pub(crate) fn batches(rules: &[RuleSpec]) -> Vec<Vec<usize>> {
    let one_by_one = || (0..rules.len()).map(|i| vec![i]).collect();
    if rules.len() <= 1 {
        return one_by_one();
    }
    let (mut reads, mut is_read) = (vec![false; rules.len()], vec![false; rules.len()]);
    for (i, rule) in rules.iter().enumerate() {
        let mut unknown = false;
        selectors(&rule.expr, &mut |selector| {
            let Some(name) = name_of(selector) else {
                unknown = true;
                return;
            };
            // Only rules before this one: their results are what it has always read.
            for (j, other) in rules.iter().enumerate().take(i) {
                if name.matches(&other.name) || reads_alerts_of(other, &name, selector) {
                    reads[i] = true;
                    is_read[j] = true;
                }
            }
        });
        // It may read anything.
        if unknown {
            return one_by_one();
        }
    }
    let (mut first, mut between, mut last) = (Vec::new(), Vec::new(), Vec::new());
    for i in 0..rules.len() {
        match (reads.get(i), is_read.get(i)) {
            (Some(false), _) => first.push(i),
            (_, Some(true)) => between.push(vec![i]),
            _ => last.push(i),
        }
    }
    let mut all = vec![first];
    all.extend(between);
    all.push(last);
    all.retain(|batch| !batch.is_empty());
    all
}

fn name_of(selector: &VectorSelector) -> Option<Matcher> {
    if !selector.name.is_empty() {
        return Some(Matcher::equal(METRIC_NAME, selector.name.as_str()));
    }
    selector.matchers.iter().find(|m| m.name() == METRIC_NAME).cloned()
}

fn reads_alerts_of(other: &RuleSpec, name: &Matcher, selector: &VectorSelector) -> bool {
    if !other.is_alerting() || !(name.matches("ALERTS") || name.matches(crate::alerting::ALERTS_FOR_STATE)) {
        return false;
    }
    let alert = selector.matchers.iter().find(|m| m.name() == ALERT_NAME);
    alert.is_none_or(|m| m.matches(&other.name))
}

/// All selectors of an expression. The parser bounds its height.
fn selectors(expr: &Expr, found: &mut impl FnMut(&VectorSelector)) {
    match expr {
        Expr::Vector(selector) => found(selector),
        Expr::Matrix(matrix) => found(&matrix.selector),
        Expr::Aggregate(a) => {
            selectors(&a.expr, found);
            if let Some(param) = &a.param {
                selectors(param, found);
            }
        }
        Expr::Binary(b) => {
            selectors(&b.lhs, found);
            selectors(&b.rhs, found);
        }
        Expr::Call(call) => call.args.iter().for_each(|arg| selectors(arg, found)),
        Expr::Paren(p) => selectors(&p.expr, found),
        Expr::Subquery(s) => selectors(&s.expr, found),
        Expr::Unary(u) => selectors(&u.expr, found),
        Expr::Number(_) | Expr::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::load::RuleKind;

    fn rule(name: &str, expr: &str) -> RuleSpec {
        let expr = promql::parse(expr, promql::ParserOptions::all()).unwrap();
        let alert = RuleKind::Alerting {
            hold: Duration::ZERO,
            keep_firing_for: Duration::ZERO,
            annotations: Vec::new(),
        };
        let kind = if name.starts_with('A') { alert } else { RuleKind::Recording };
        RuleSpec {
            name: name.into(),
            query: expr.to_string(),
            expr: Arc::new(expr),
            labels: Vec::new(),
            kind,
        }
    }

    #[test]
    fn rules_that_read_others_wait_for_them() {
        let of = |rules: &[(&str, &str)]| {
            batches(&rules.iter().map(|(name, expr)| rule(name, expr)).collect::<Vec<_>>())
        };
        assert_eq!(of(&[("a", "x"), ("b", "y"), ("c", "sum(rate(z[5m]))")]), [vec![0, 1, 2]]);
        assert_eq!(of(&[("a", "x"), ("b", "a + y"), ("c", "b")]), [vec![0], vec![1], vec![2]]);
        // A rule may read one after it: it gets the value of last time.
        assert_eq!(of(&[("a", "b"), ("b", "y"), ("c", "y")]), [vec![0, 1, 2]]);
        assert_eq!(of(&[("a", "x"), ("b", "y"), ("c", "{job=\"x\"}")]), [vec![0], vec![1], vec![2]]);
        assert_eq!(of(&[("A1", "x"), ("b", "ALERTS{alertname=\"A1\"}"), ("c", "y")]), [vec![0, 2], vec![1]]);
        assert_eq!(of(&[("A1", "x"), ("b", "ALERTS{alertname=\"A2\"}")]), [vec![0, 1]]);
        assert_eq!(of(&[("A1", "x"), ("b", "count({__name__=~\"ALERTS.*\"})")]), [vec![0], vec![1]]);
    }
}
