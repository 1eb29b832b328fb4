//! The tree of a parsed template.

use std::collections::BTreeMap;

/// A template with those it defines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Template {
    /// Its own content.
    pub root: Vec<Node>,
    /// The text it was parsed from: errors of execution say line and column of a byte in it.
    pub text: String,
    /// Content of each `define` and `block`, by name.
    pub defined: BTreeMap<String, Vec<Node>>,
}

/// One piece of a template.
#[derive(Clone, Debug, PartialEq)]
pub enum Node {
    /// Text, printed as it is.
    Text(String),
    /// `{{pipeline}}`
    Action(Pipe),
    /// `{{if pipeline}}…{{else}}…{{end}}`
    If(Branch),
    /// `{{range pipeline}}…{{else}}…{{end}}`
    Range(Branch),
    /// `{{with pipeline}}…{{else}}…{{end}}`
    With(Branch),
    /// `{{template "name" pipeline}}`
    Template {
        /// Which.
        name: String,
        /// Its dot.
        pipe: Option<Pipe>,
        /// Byte where its name begins.
        at: usize,
    },
    /// `{{break}}`
    Break,
    /// `{{continue}}`
    Continue,
}

/// The parts of `if`, `range` and `with`.
#[derive(Clone, Debug, PartialEq)]
pub struct Branch {
    /// Condition or what is ranged over.
    pub pipe: Pipe,
    /// What comes where it is not empty.
    pub body: Vec<Node>,
    /// What comes else. `else if` is an `if` in here.
    pub otherwise: Vec<Node>,
}

/// Commands, each taking the value of the one before as its last argument.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pipe {
    /// Byte where it begins.
    pub at: usize,
    /// `$x =` rather than `$x :=`.
    pub assign: bool,
    /// Variables that take the value, with their `$`.
    pub variables: Vec<String>,
    /// At least one.
    pub commands: Vec<Command>,
}

/// A value, or a function or field with its arguments.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Command {
    /// At least one.
    pub args: Vec<Arg>,
}

/// An operand and the byte where it begins (of a chain: where its fields begin, as Go counts).
#[derive(Clone, Debug, PartialEq)]
pub struct Arg {
    /// Byte of the text.
    pub at: usize,
    /// What it is.
    pub term: Term,
}

/// What an operand can be.
#[derive(Clone, Debug, PartialEq)]
pub enum Term {
    /// `true`, `false`
    Bool(bool),
    /// A number or a character, and as it is written.
    Number(Number, String),
    /// `"…"` or `` `…` ``, unquoted and as it is written.
    Text(String, String),
    /// `nil`
    Nil,
    /// `.`
    Dot,
    /// `.A.B`: fields of the dot.
    Field(Vec<String>),
    /// `$x.A.B`: the variable with its `$`, then fields.
    Variable(String, Vec<String>),
    /// A function.
    Function(String),
    /// `(pipeline)`
    Pipe(Box<Pipe>),
    /// `(pipeline).A` or `function.A`
    Chain(Box<Arg>, Vec<String>),
}

/// A constant without a type: all that it can be.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Number {
    /// As a signed integer.
    pub int: Option<i64>,
    /// As an unsigned integer.
    pub uint: Option<u64>,
    /// As a float.
    pub float: Option<f64>,
    /// As a complex number: real and imaginary part.
    pub complex: Option<(f64, f64)>,
}
