//! Nodes as Go prints them: errors of execution show the node where they happened.

use crate::ast::{Arg, Command, Pipe, Term};

pub(crate) fn pipe(p: &Pipe) -> String {
    let mut out = p.variables.join(", ");
    if !p.variables.is_empty() {
        out.push_str(if p.assign { " = " } else { " := " });
    }
    let commands: Vec<String> = p.commands.iter().map(command).collect();
    out + &commands.join(" | ")
}

pub(crate) fn command(c: &Command) -> String {
    c.args.iter().map(within).collect::<Vec<_>>().join(" ")
}

/// A pipeline among others has its parentheses.
fn within(a: &Arg) -> String {
    match &a.term {
        Term::Pipe(p) => format!("({})", pipe(p)),
        _ => arg(a),
    }
}

pub(crate) fn arg(a: &Arg) -> String {
    let dotted = |fields: &[String]| fields.iter().map(|f| format!(".{f}")).collect::<String>();
    match &a.term {
        Term::Bool(b) => b.to_string(),
        Term::Number(_, source) | Term::Text(_, source) => source.clone(),
        Term::Nil => "nil".to_string(),
        Term::Dot => ".".to_string(),
        Term::Field(fields) => dotted(fields),
        Term::Variable(name, fields) => format!("{name}{}", dotted(fields)),
        Term::Function(name) => name.clone(),
        Term::Pipe(p) => pipe(p),
        Term::Chain(inner, fields) => format!("{}{}", within(inner), dotted(fields)),
    }
}
