//! Runs a template. Follows Go's `text/template/exec.go` in values, types and texts of errors, with bounds
//! that Go does not have: a template is foreign input.

use std::sync::Arc;

use crate::ast::{Arg, Branch, Command, Node, Number, Pipe, Template, Term};
use crate::builtins;
use crate::format;
use crate::source;
use crate::value::Value;

/// Nodes that one run may visit: at about 0.3 µs each this is a third of a second. A loop such as
/// `range 1000000000` ends here.
pub const STEPS_MAX: usize = 1_000_000;
/// Bytes that one run may print and, on their own, that its functions may make: a hundred times the
/// longest annotation that anyone reads, and small beside the memory of a server.
pub const OUTPUT_BYTES_MAX: usize = 4 << 20;
/// Blocks, parentheses and templates within one another while running. Go allows 100,000 templates; each
/// level here takes some 2 KiB of stack (more without optimisation) of a thread's 2 MiB. The parser allows
/// 200 in one text.
pub const DEPTH_MAX: usize = 250;

/// Why a template could not be run, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExecError(pub String);

type Result<T> = std::result::Result<T, ExecError>;

/// Types of parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// `interface {}`
    Any,
    /// Any value; `nil` stays distinct.
    Reflect,
    /// `string`
    Text,
    /// `*template.sample`
    Sample,
    /// `template.queryResult`
    Samples,
    /// `time.Duration`
    Duration,
    /// `time.Time`
    Time,
    /// `int`
    Int,
}

impl Type {
    fn name(self) -> &'static str {
        match self {
            Type::Any => "interface {}",
            Type::Reflect => "reflect.Value",
            Type::Text => "string",
            Type::Sample => "*template.sample",
            Type::Samples => "template.queryResult",
            Type::Duration => "time.Duration",
            Type::Time => "time.Time",
            Type::Int => "int",
        }
    }

    /// What `nil` becomes.
    fn zero(self) -> Option<Value> {
        match self {
            Type::Any | Type::Reflect => Some(Value::Nil),
            Type::Sample => Some(Value::Sample(None)),
            Type::Samples => Some(Value::Samples(Arc::from(Vec::new()))),
            _ => None,
        }
    }

    fn takes(self, value: &Value) -> bool {
        match self {
            Type::Any | Type::Reflect => true,
            Type::Text => matches!(value, Value::Text(_)),
            Type::Sample => matches!(value, Value::Sample(_)),
            Type::Samples => matches!(value, Value::Samples(_)),
            Type::Duration => matches!(value, Value::Duration { .. }),
            Type::Time => matches!(value, Value::Time { .. }),
            Type::Int => matches!(value, Value::Int(_)),
        }
    }
}

/// What a function takes.
#[derive(Clone, Copy, Debug)]
pub struct Signature {
    /// Types of its fixed parameters.
    pub fixed: &'static [Type],
    /// Type of any number of further ones.
    pub variadic: Option<Type>,
}

/// Functions besides the language's own.
pub trait Functions {
    /// What it takes; `None` where there is no such function.
    fn signature(&self, name: &str) -> Option<Signature>;

    /// Calls it with arguments of the types it said.
    ///
    /// # Errors
    /// The text that follows `error calling name: `.
    fn call(&self, name: &str, args: Vec<Value>) -> std::result::Result<Value, String>;
}

/// Runs a template; `name` is what errors call it.
///
/// # Errors
/// The first fault, as Go prints it; or a bound is reached.
pub fn execute(template: &Template, name: &str, data: &Value, functions: &dyn Functions) -> Result<String> {
    let mut run = Run {
        template,
        name,
        current: name,
        functions,
        out: String::new(),
        variables: vec![("$", data.clone())],
        place: Place::None,
        depth: 0,
        steps: 0,
        made: 0,
    };
    run.list(data, &template.root)?;
    Ok(run.out)
}

/// The node that an error shows.
#[derive(Clone, Copy)]
enum Place<'t> {
    None,
    Arg(&'t Arg),
    Command(&'t Command),
    Pipe(&'t Pipe),
    Template { name: &'t str, pipe: Option<&'t Pipe>, at: usize },
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Flow {
    Next,
    Break,
    Continue,
}

struct Run<'t> {
    template: &'t Template,
    name: &'t str,
    current: &'t str,
    functions: &'t dyn Functions,
    out: String,
    variables: Vec<(&'t str, Value)>,
    place: Place<'t>,
    depth: usize,
    steps: usize,
    made: usize,
}

impl<'t> Run<'t> {
    fn fail<T>(&self, text: impl AsRef<str>) -> Result<T> {
        let (at, shown) = match self.place {
            Place::None => {
                return Err(ExecError(format!("template: {}: {}", self.current, text.as_ref())));
            }
            Place::Arg(a) => (a.at, source::arg(a)),
            Place::Command(c) => (c.args.first().map_or(0, |a| a.at), source::command(c)),
            Place::Pipe(p) => (p.at, source::pipe(p)),
            Place::Template { name, pipe, at } => {
                let pipe = pipe.map(|p| format!(" {}", source::pipe(p))).unwrap_or_default();
                (at, format!("{{{{template {}{pipe}}}}}", model::name::Quoted(name)))
            }
        };
        let before = self.template.text.get(..at).unwrap_or("");
        let column = before.rfind('\n').map_or(at, |newline| at - newline - 1);
        let line = 1 + before.matches('\n').count();
        let (name, text) = (self.name, text.as_ref());
        let current = model::name::Quoted(self.current);
        Err(ExecError(format!("template: {name}:{line}:{column}: executing {current} at <{shown}>: {text}")))
    }

    fn step(&mut self) -> Result<()> {
        self.steps += 1;
        if self.steps > STEPS_MAX {
            return self.fail(format!("the template takes more than {STEPS_MAX} steps"));
        }
        Ok(())
    }

    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= DEPTH_MAX {
            return self.fail(format!("exceeded maximum template depth ({DEPTH_MAX})"));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn print(&mut self, text: &str) -> Result<()> {
        if self.out.len() + text.len() > OUTPUT_BYTES_MAX {
            return self.fail(format!("the output is larger than {OUTPUT_BYTES_MAX} bytes"));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn list(&mut self, dot: &Value, nodes: &'t [Node]) -> Result<Flow> {
        self.deeper(|run| {
            for node in nodes {
                let flow = run.node(dot, node)?;
                if flow != Flow::Next {
                    return Ok(flow);
                }
            }
            Ok(Flow::Next)
        })
    }

    fn node(&mut self, dot: &Value, node: &'t Node) -> Result<Flow> {
        self.step()?;
        match node {
            Node::Text(text) => self.print(text)?,
            Node::Action(pipe) => {
                let value = self.pipe(dot, pipe)?;
                if pipe.variables.is_empty() {
                    match &value {
                        Value::Nil => self.print("<no value>")?,
                        Value::Text(text) => self.print(text)?,
                        other => self.print(&format::sprint(&[other.indirect()]))?,
                    }
                }
            }
            Node::If(branch) => return self.branch(dot, branch, false),
            Node::With(branch) => return self.branch(dot, branch, true),
            Node::Range(branch) => return self.range(dot, branch),
            Node::Template { name, pipe, at } => self.call_template(dot, name, pipe.as_ref(), *at)?,
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn branch(&mut self, dot: &Value, branch: &'t Branch, with: bool) -> Result<Flow> {
        let mark = self.variables.len();
        let value = self.pipe(dot, &branch.pipe)?;
        let flow = if value.is_true() {
            self.list(if with { &value } else { dot }, &branch.body)
        } else {
            self.list(dot, &branch.otherwise)
        };
        self.variables.truncate(mark);
        flow
    }

    fn range(&mut self, dot: &Value, branch: &'t Branch) -> Result<Flow> {
        let mark = self.variables.len();
        let value = self.pipe(dot, &branch.pipe)?.indirect();
        let ran = self.range_over(branch, &value);
        let flow = match ran {
            Ok(false) => self.list(dot, &branch.otherwise),
            Ok(true) => Ok(Flow::Next),
            Err(e) => Err(e),
        };
        self.variables.truncate(mark);
        flow
    }

    /// Whether there was anything to run over.
    fn range_over(&mut self, branch: &'t Branch, value: &Value) -> Result<bool> {
        let count = |n: i128, make: &dyn Fn(i128) -> Value, run: &mut Self| {
            if branch.pipe.variables.len() > 1 {
                let shown = format::sprint(std::slice::from_ref(value));
                return run.fail(format!("can't use {shown} to iterate over more than one variable"));
            }
            let mut i = 0;
            while i < n && run.once(branch, Value::Nil, make(i))? {
                i += 1;
            }
            Ok(n > 0)
        };
        match value {
            Value::Nil => Ok(false),
            Value::Int(n) => count(i128::from(*n), &|i| Value::Int(i as i64), self),
            Value::Month(n) => count(i128::from(*n), &|i| Value::Month(i as i64), self),
            Value::Weekday(n) => count(i128::from(*n), &|i| Value::Weekday(i as i64), self),
            Value::Duration { ns, .. } => {
                count(i128::from(*ns), &|i| Value::Duration { ns: i as i64, pointer: false }, self)
            }
            Value::Uint(n) => count(i128::from(*n), &|i| Value::Uint(i as u64), self),
            Value::Byte(n) => count(i128::from(*n), &|i| Value::Byte(i as u8), self),
            Value::List(list) => {
                for (i, item) in list.items.iter().enumerate() {
                    if !self.once(branch, Value::Int(i as i64), item.clone())? {
                        break;
                    }
                }
                Ok(!list.items.is_empty())
            }
            Value::Samples(samples) => {
                for (i, sample) in samples.iter().enumerate() {
                    if !self.once(branch, Value::Int(i as i64), Value::Sample(Some(Arc::clone(sample))))? {
                        break;
                    }
                }
                Ok(!samples.is_empty())
            }
            Value::Map(map) => {
                for (key, item) in &map.entries {
                    if !self.once(branch, Value::text(key), item.clone())? {
                        break;
                    }
                }
                Ok(!map.entries.is_empty())
            }
            other => {
                let shown = format::sprint(std::slice::from_ref(other));
                self.fail(format!("range can't iterate over {shown}"))
            }
        }
    }

    /// One turn of a loop; false where it breaks.
    fn once(&mut self, branch: &'t Branch, index: Value, item: Value) -> Result<bool> {
        self.step()?;
        let mark = self.variables.len();
        let pipe = &branch.pipe;
        match pipe.variables.as_slice() {
            [] => {}
            [one] => self.set(one, item.clone(), !pipe.assign, 1)?,
            [first, second, ..] => {
                self.set(first, index, !pipe.assign, 2)?;
                self.set(second, item.clone(), !pipe.assign, 1)?;
            }
        }
        let flow = self.list(&item, &branch.body)?;
        self.variables.truncate(mark);
        Ok(flow != Flow::Break)
    }

    /// Sets the variable that is `from_top` of the stack where it is the loop's own, else by its name.
    fn set(&mut self, name: &str, value: Value, own: bool, from_top: usize) -> Result<()> {
        let slot = if own {
            self.variables.iter_mut().rev().nth(from_top - 1)
        } else {
            self.variables.iter_mut().rev().find(|(n, _)| *n == name)
        };
        match slot {
            Some((_, old)) => {
                *old = value;
                Ok(())
            }
            None => self.fail(format!("undefined variable: {name}")),
        }
    }

    fn call_template(&mut self, dot: &Value, name: &'t str, pipe: Option<&'t Pipe>, at: usize) -> Result<()> {
        self.place = Place::Template { name, pipe, at };
        let template = self.template;
        let body = match template.defined.get(name) {
            Some(body) => body,
            None if name == self.name => &template.root,
            None => return self.fail(format!("template {} not defined", model::name::Quoted(name))),
        };
        let dot = match pipe {
            Some(pipe) => self.pipe(dot, pipe)?,
            None => Value::Nil,
        };
        let variables = std::mem::replace(&mut self.variables, vec![("$", dot.clone())]);
        let current = std::mem::replace(&mut self.current, name);
        self.list(&dot, body)?;
        (self.variables, self.current) = (variables, current);
        Ok(())
    }

    fn pipe(&mut self, dot: &Value, pipe: &'t Pipe) -> Result<Value> {
        self.place = Place::Pipe(pipe);
        let mut value = None;
        for command in &pipe.commands {
            value = Some(self.command(dot, command, value)?);
        }
        let value = value.unwrap_or(Value::Nil);
        for variable in &pipe.variables {
            if pipe.assign {
                self.set(variable, value.clone(), false, 0)?;
            } else {
                self.variables.push((variable, value.clone()));
            }
        }
        Ok(value)
    }

    fn command(&mut self, dot: &Value, command: &'t Command, last: Option<Value>) -> Result<Value> {
        self.step()?;
        let Some(first) = command.args.first() else { return Ok(Value::Nil) };
        match &first.term {
            Term::Field(_) | Term::Chain(..) => return self.fields(dot, first, &command.args, last),
            Term::Variable(_, fields) if !fields.is_empty() => {
                return self.fields(dot, first, &command.args, last);
            }
            Term::Function(name) => {
                self.place = Place::Arg(first);
                return self.function(dot, name, Place::Command(command), &command.args, last);
            }
            Term::Pipe(pipe) => {
                self.not_a_function(first, &command.args, last.as_ref())?;
                return self.deeper(|run| run.pipe(dot, pipe));
            }
            _ => {}
        }
        self.place = Place::Arg(first);
        self.not_a_function(first, &command.args, last.as_ref())?;
        match &first.term {
            Term::Nil => self.fail("nil is not a command"),
            _ => self.constant(dot, first),
        }
    }

    fn not_a_function(&self, first: &Arg, args: &[Arg], last: Option<&Value>) -> Result<()> {
        if args.len() > 1 || last.is_some() {
            return self.fail(format!("can't give argument to non-function {}", source::arg(first)));
        }
        Ok(())
    }

    /// A constant, the dot or a variable.
    fn constant(&mut self, dot: &Value, arg: &'t Arg) -> Result<Value> {
        self.place = Place::Arg(arg);
        match &arg.term {
            Term::Bool(b) => Ok(Value::Bool(*b)),
            Term::Text(text, _) => Ok(Value::text(text)),
            Term::Number(number, text) => self.number(*number, text),
            Term::Dot => Ok(dot.clone()),
            Term::Variable(name, _) => match self.variables.iter().rev().find(|(n, _)| n == name) {
                Some((_, value)) => Ok(value.clone()),
                None => self.fail(format!("undefined variable: {name}")),
            },
            _ => Ok(Value::Nil),
        }
    }

    fn number(&self, number: Number, text: &str) -> Result<Value> {
        let hex = text.len() > 2 && text.to_ascii_lowercase().starts_with("0x") && !text.contains(['p', 'P']);
        if let Some((re, im)) = number.complex {
            return Ok(Value::Complex(re, im));
        }
        match number.float {
            Some(v) if !hex && !text.starts_with('\'') && text.contains(['.', 'e', 'E', 'p', 'P']) => {
                return Ok(Value::Float(v));
            }
            _ => {}
        }
        match (number.int, number.uint) {
            (Some(n), _) => Ok(Value::Int(n)),
            (None, Some(_)) => self.fail(format!("{text} overflows int")),
            (None, None) => Ok(Value::Nil),
        }
    }

    /// `.A.B`, `$x.A`, `(pipe).A`, perhaps with arguments where the last is a method.
    fn fields(&mut self, dot: &Value, node: &'t Arg, args: &'t [Arg], last: Option<Value>) -> Result<Value> {
        self.place = Place::Arg(node);
        let (mut receiver, fields) = match &node.term {
            Term::Field(fields) => (dot.clone(), fields),
            Term::Variable(_, fields) => (self.constant(dot, node)?, fields),
            Term::Chain(inner, fields) if matches!(inner.term, Term::Nil) => {
                return self.fail(format!("indirection through explicit nil in nil.{}", fields.join(".")));
            }
            Term::Chain(inner, fields) => {
                let value = match &inner.term {
                    Term::Pipe(_) | Term::Function(_) => self.deeper(|run| run.arg(dot, Type::Any, inner))?,
                    _ => self.arg(dot, Type::Any, inner)?,
                };
                (value, fields)
            }
            _ => return Ok(Value::Nil),
        };
        let Some((end, front)) = fields.split_last() else { return Ok(receiver) };
        let mut boxed = false;
        for field in front {
            (receiver, boxed) = self.field(dot, field, node, &[], None, &receiver, boxed)?;
        }
        Ok(self.field(dot, end, node, args, last, &receiver, boxed)?.0)
    }

    /// One field: its value, and whether its type is `interface {}`. `boxed` says that of the receiver.
    #[allow(clippy::too_many_arguments, reason = "the shape of Go's evalField")]
    fn field(
        &mut self,
        dot: &Value,
        name: &str,
        node: &'t Arg,
        args: &'t [Arg],
        last: Option<Value>,
        receiver: &Value,
        boxed: bool,
    ) -> Result<(Value, bool)> {
        let type_name = if boxed { "interface {}".to_string() } else { receiver.type_name() };
        if let Some(signature) = builtins::method(receiver, name) {
            let mut all = vec![receiver.clone()];
            all.extend(self.arguments(dot, name, signature, args, last)?);
            return match builtins::call_method(name, &all) {
                Ok(value) => Ok((value, false)),
                Err(text) => {
                    self.place = Place::Arg(node);
                    self.fail(format!("error calling {name}: {text}"))
                }
            };
        }
        let has_args = args.len() > 1 || last.is_some();
        match receiver {
            Value::Nil if boxed => return self.fail(format!("nil pointer evaluating {type_name}.{name}")),
            Value::Nil => return Ok((Value::Nil, false)),
            Value::Map(map) => {
                if has_args {
                    return self.fail(format!("{name} is not a method but has arguments"));
                }
                let missing = || if map.any { Value::Nil } else { Value::text("") };
                return Ok((map.entries.get(name).cloned().unwrap_or_else(missing), map.any));
            }
            Value::Sample(None) if matches!(name, "Labels" | "Value") => {
                return self.fail(format!("nil pointer evaluating {type_name}.{name}"));
            }
            _ => {}
        }
        let found = match receiver {
            Value::Record(record) => find(&record.fields, name),
            Value::Sample(Some(sample)) => find(&sample.record().fields, name),
            Value::Histogram(h) => histogram_field(h, name).map(|v| (v, false)),
            _ => None,
        };
        match found {
            Some(_) if has_args => {
                self.fail(format!("{name} has arguments but cannot be invoked as function"))
            }
            Some(found) => Ok(found),
            None => self.fail(format!("can't evaluate field {name} in type {type_name}")),
        }
    }

    fn function(
        &mut self,
        dot: &Value,
        name: &'t str,
        node: Place<'t>,
        args: &'t [Arg],
        last: Option<Value>,
    ) -> Result<Value> {
        let own = builtins::signature(name);
        let Some(signature) = self.functions.signature(name).or(own) else {
            return self.fail(format!("{} is not a defined function", model::name::Quoted(name)));
        };
        if matches!(name, "and" | "or") {
            return self.and_or(dot, name, signature, args, last);
        }
        let values = self.arguments(dot, name, signature, args, last)?;
        let shown = args.get(1).map(source::arg);
        let result = match own {
            Some(_) => builtins::call(name, &values, shown.as_deref()),
            None => self.functions.call(name, values),
        };
        match result {
            Ok(value) => {
                if let Value::Text(text) = &value {
                    self.made += text.len();
                    if self.made > OUTPUT_BYTES_MAX {
                        return self.fail(format!("functions made more than {OUTPUT_BYTES_MAX} bytes"));
                    }
                }
                Ok(value)
            }
            Err(text) => {
                self.place = node;
                self.fail(format!("error calling {name}: {text}"))
            }
        }
    }

    /// `and` and `or` evaluate no more than they need.
    fn and_or(
        &mut self,
        dot: &Value,
        name: &str,
        signature: Signature,
        args: &'t [Arg],
        last: Option<Value>,
    ) -> Result<Value> {
        self.check_count(name, signature, args.len().saturating_sub(1), last.is_some())?;
        let mut value = Value::Nil;
        for arg in args.iter().skip(1) {
            value = self.deeper(|run| run.arg(dot, Type::Reflect, arg))?;
            if value.is_true() == (name == "or") {
                return Ok(value);
            }
        }
        Ok(last.unwrap_or(value))
    }

    fn check_count(&self, name: &str, signature: Signature, given: usize, last: bool) -> Result<()> {
        let fixed = signature.fixed.len();
        let all = given + usize::from(last);
        match signature.variadic {
            Some(_) if all < fixed => {
                self.fail(format!("wrong number of args for {name}: want at least {fixed} got {given}"))
            }
            None if all != fixed => {
                self.fail(format!("wrong number of args for {name}: want {fixed} got {all}"))
            }
            _ => Ok(()),
        }
    }

    fn arguments(
        &mut self,
        dot: &Value,
        name: &str,
        signature: Signature,
        args: &'t [Arg],
        last: Option<Value>,
    ) -> Result<Vec<Value>> {
        self.check_count(name, signature, args.len().saturating_sub(1), last.is_some())?;
        let wanted = |i: usize| signature.fixed.get(i).copied().or(signature.variadic).unwrap_or(Type::Any);
        let mut values = Vec::with_capacity(args.len());
        for (i, arg) in args.iter().skip(1).enumerate() {
            values.push(self.deeper(|run| run.arg(dot, wanted(i), arg))?);
        }
        if let Some(last) = last {
            values.push(self.fit(last, wanted(values.len()))?);
        }
        Ok(values)
    }

    fn arg(&mut self, dot: &Value, wanted: Type, arg: &'t Arg) -> Result<Value> {
        self.step()?;
        self.place = Place::Arg(arg);
        match &arg.term {
            Term::Nil => match wanted.zero() {
                Some(value) => Ok(value),
                None => self.fail(format!("cannot assign nil to {}", wanted.name())),
            },
            Term::Dot => self.fit(dot.clone(), wanted),
            Term::Variable(_, fields) if fields.is_empty() => {
                let value = self.constant(dot, arg)?;
                self.fit(value, wanted)
            }
            Term::Field(_) | Term::Variable(..) | Term::Chain(..) => {
                let value = self.fields(dot, arg, &[], None)?;
                self.fit(value, wanted)
            }
            Term::Pipe(pipe) => {
                let value = self.pipe(dot, pipe)?;
                self.fit(value, wanted)
            }
            Term::Function(name) => {
                let value = self.function(dot, name, Place::Arg(arg), &[], None)?;
                self.fit(value, wanted)
            }
            Term::Bool(_) | Term::Number(..) | Term::Text(..) => self.literal(dot, wanted, arg),
        }
    }

    fn literal(&mut self, dot: &Value, wanted: Type, arg: &'t Arg) -> Result<Value> {
        let found = source::arg(arg);
        let int = match &arg.term {
            Term::Number(number, _) => number.int,
            _ => None,
        };
        match (wanted, &arg.term, int) {
            (Type::Any | Type::Reflect, ..) | (Type::Text, Term::Text(..), _) => self.constant(dot, arg),
            (Type::Text, ..) => self.fail(format!("expected string; found {found}")),
            (Type::Int, _, Some(n)) => Ok(Value::Int(n)),
            (Type::Duration, _, Some(ns)) => Ok(Value::Duration { ns, pointer: false }),
            (Type::Int | Type::Duration, ..) => self.fail(format!("expected integer; found {found}")),
            _ => self.fail(format!("can't handle {found} for arg of type {}", wanted.name())),
        }
    }

    /// The value as an argument of a type.
    fn fit(&self, value: Value, wanted: Type) -> Result<Value> {
        if matches!(value, Value::Nil) {
            return match wanted.zero() {
                Some(value) => Ok(value),
                None => self.fail(format!("invalid value; expected {}", wanted.name())),
            };
        }
        if wanted.takes(&value) {
            return Ok(value);
        }
        let got = value.type_name();
        self.fail(format!("wrong type for value; expected {}; got {got}", wanted.name()))
    }
}

fn find(fields: &[(&'static str, bool, Value)], name: &str) -> Option<(Value, bool)> {
    fields.iter().find(|(n, ..)| *n == name).map(|(_, boxed, value)| (value.clone(), *boxed))
}

fn histogram_field(h: &model::FloatHistogram, name: &str) -> Option<Value> {
    Some(match name {
        "Count" => Value::Float(h.count),
        "Sum" => Value::Float(h.sum),
        "ZeroCount" => Value::Float(h.zero_count),
        "ZeroThreshold" => Value::Float(h.zero_threshold),
        "Schema" => Value::Int(i64::from(h.schema)),
        _ => return None,
    })
}
