//! `godwit promql`: rewrites expressions.

use model::{MatchOp, Matcher};
use promql::{Expr, ParserOptions};

use super::flags::{Command, Found, required, valued};
use super::group::{Failed, Group, Run, emit};

/// All commands.
pub static GROUP: Group = Group { word: "promql", about: "Rewrite PromQL expressions.", commands: COMMANDS };

const COMMANDS: &[(Command, Run)] = &[
    (
        Command {
            path: "format",
            help: "Print an expression in lines with indentation.",
            flags: &[],
            args: &[required("query", "The expression.")],
        },
        |found| emit(&format!("{}\n", expr(found, 0)?.prettify())),
    ),
    (
        Command {
            path: "label-matchers set",
            help: "Set a matcher in all selectors of an expression: those that have one of this label get it in its place. For example: godwit promql label-matchers set 'rate(x[5m])' cluster a",
            flags: &[valued("type", "=|!=|=~|!~", "=", "Operator of the matcher.").letter('t')],
            args: &[
                required("query", "The expression."),
                required("name", "Name of the label."),
                required("value", "Value to match."),
            ],
        },
        set,
    ),
    (
        Command {
            path: "label-matchers delete",
            help: "Remove the matchers of a label from all selectors of an expression.",
            flags: &[],
            args: &[required("query", "The expression."), required("name", "Name of the label.")],
        },
        delete,
    ),
];

/// What the parser takes with these feature flags.
#[must_use]
pub fn parser_options(features: &[String]) -> ParserOptions {
    let has = |name: &str| features.iter().any(|f| f == name);
    ParserOptions {
        experimental_functions: has("promql-experimental-functions"),
        duration_expressions: true,
        extended_range_selectors: has("promql-extended-range-selectors"),
        fill_modifiers: has("promql-binop-fill-modifiers"),
    }
}

fn expr(found: &Found, arg: usize) -> Result<Expr, Failed> {
    promql::parse(found.arg(arg), parser_options(&found.features())).map_err(|e| Failed::Work(e.to_string()))
}

fn set(found: &Found) -> Result<u8, Failed> {
    let op = match found.text("type") {
        "=" => MatchOp::Equal,
        "!=" => MatchOp::NotEqual,
        "=~" => MatchOp::Regex,
        "!~" => MatchOp::NotRegex,
        other => return Err(Failed::usage(format!("enum value must be one of =,!=,=~,!~, got '{other}'"))),
    };
    let mut expr = expr(found, 0)?;
    let matcher = Matcher::new(op, found.arg(1), found.arg(2)).map_err(|e| Failed::Work(e.to_string()))?;
    expr.each_selector(&mut |selector| {
        let mut had = false;
        for known in selector.matchers.iter_mut().filter(|m| m.name() == matcher.name()) {
            *known = matcher.clone();
            had = true;
        }
        if !had {
            selector.matchers.push(matcher.clone());
        }
    });
    emit(&format!("{}\n", expr.prettify()))
}

fn delete(found: &Found) -> Result<u8, Failed> {
    let mut expr = expr(found, 0)?;
    expr.each_selector(&mut |selector| selector.matchers.retain(|m| m.name() != found.arg(1)));
    emit(&format!("{}\n", expr.prettify()))
}
