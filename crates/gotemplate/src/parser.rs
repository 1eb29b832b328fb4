//! From tokens to the tree. Follows Go's `text/template/parse/parse.go` in what is taken and what is refused.

use std::collections::BTreeMap;

use crate::ast::{Arg, Branch, Command, Node, Pipe, Template, Term};
use crate::lexer::{Kind, Token, tokens};
use crate::literal;

/// Blocks and parentheses within one another. Upstream has no bound but its stack; each level costs some
/// kilobytes of ours.
pub const NESTING_MAX: usize = 200;

/// Why a template is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: {text}")]
pub struct TemplateError {
    /// What is wrong, in Go's words.
    pub text: String,
    /// Line of the template, from 1.
    pub line: usize,
    /// Character in the line, from 1.
    pub column: usize,
}

impl TemplateError {
    /// As Go prints it: `template: name:1: text`.
    #[must_use]
    pub fn in_template(&self, name: &str) -> String {
        format!("template: {name}:{}: {}", self.line, self.text)
    }
}

type Result<T> = std::result::Result<T, TemplateError>;

/// Parses a template. `variables` are known beforehand (with their `$`), `is_function` says which functions
/// there are.
///
/// # Errors
/// The first fault.
pub fn parse(text: &str, variables: &[&str], is_function: impl Fn(&str) -> bool) -> Result<Template> {
    let mut parser = Parser {
        tokens: tokens(text),
        at: 0,
        variables: std::iter::once("$").chain(variables.iter().copied()).map(str::to_string).collect(),
        is_function: &is_function,
        ranges: 0,
        depth: 0,
        defined: BTreeMap::new(),
    };
    let root = parser.top()?;
    Ok(Template { root, text: text.to_string(), defined: parser.defined })
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
    at: usize,
    variables: Vec<String>,
    is_function: &'a dyn Fn(&str) -> bool,
    /// `range`s around.
    ranges: usize,
    depth: usize,
    defined: BTreeMap<String, Vec<Node>>,
}

/// What ended a list of nodes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    End,
    Else,
    /// `else if`, `else with`: the keyword is still to be read.
    ElseBranch,
}

impl Ended {
    fn shown(self) -> &'static str {
        if self == Ended::End { "{{end}}" } else { "{{else}}" }
    }
}

enum Item {
    Node(Node),
    Ended(Ended),
}

/// Only spaces: such a template may be defined again.
fn is_empty(nodes: &[Node]) -> bool {
    nodes.iter().all(|n| matches!(n, Node::Text(text) if text.trim().is_empty()))
}

fn shown(token: &Token<'_>) -> String {
    match token.kind {
        Kind::Eof => "EOF".to_string(),
        Kind::Error => token.text.to_string(),
        kind if kind.is_keyword() => format!("<{}>", token.text),
        _ if token.text.chars().count() > 10 => {
            format!("{:?}...", token.text.chars().take(10).collect::<String>())
        }
        _ => format!("{:?}", token.text),
    }
}

impl<'a> Parser<'a> {
    /// The next token; the last one again where there are no more.
    fn peek(&self) -> &Token<'a> {
        // The lexer always gives at least one token.
        static END: Token<'static> =
            Token { kind: Kind::Eof, text: std::borrow::Cow::Borrowed(""), line: 1, column: 1, at: 0 };
        self.tokens.get(self.at).or(self.tokens.last()).unwrap_or(&END)
    }

    fn next(&mut self) -> Token<'a> {
        let token = self.peek().clone();
        self.at += 1;
        token
    }

    fn skip_space(&mut self) {
        while self.peek().kind == Kind::Space {
            self.at += 1;
        }
    }

    fn peek_word(&mut self) -> Kind {
        self.skip_space();
        self.peek().kind
    }

    fn next_word(&mut self) -> Token<'a> {
        self.skip_space();
        self.next()
    }

    fn fail<T>(&self, text: impl Into<String>) -> Result<T> {
        let last = self.tokens.get(self.at.saturating_sub(1)).unwrap_or(self.peek());
        Err(TemplateError { text: text.into(), line: last.line, column: last.column })
    }

    fn unexpected<T>(&self, token: &Token<'_>, context: &str) -> Result<T> {
        let text = match token.kind {
            Kind::Error => token.text.to_string(),
            _ => format!("unexpected {} in {context}", shown(token)),
        };
        Err(TemplateError { text, line: token.line, column: token.column })
    }

    fn expect(&mut self, kind: Kind, context: &str) -> Result<Token<'a>> {
        let token = self.next_word();
        if token.kind == kind { Ok(token) } else { self.unexpected(&token, context) }
    }

    /// Runs `inner` one level deeper.
    fn deeper<T>(&mut self, inner: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        if self.depth >= NESTING_MAX {
            return self.fail(format!("more than {NESTING_MAX} levels of nesting"));
        }
        self.depth += 1;
        let result = inner(self);
        self.depth -= 1;
        result
    }

    fn top(&mut self) -> Result<Vec<Node>> {
        let mut root = Vec::new();
        while self.peek().kind != Kind::Eof {
            let begin = self.at;
            if self.peek().kind == Kind::LeftDelim {
                self.at += 1;
                if self.next_word().kind == Kind::Define {
                    self.define()?;
                    continue;
                }
                self.at = begin;
            }
            match self.item()? {
                Item::Node(node) => root.push(node),
                Item::Ended(ended) => return self.fail(format!("unexpected {}", ended.shown())),
            }
        }
        Ok(root)
    }

    fn define(&mut self) -> Result<()> {
        const CONTEXT: &str = "define clause";
        let name = self.next_word();
        let name = self.name(&name, CONTEXT)?;
        self.expect(Kind::RightDelim, CONTEXT)?;
        self.body_of(name, CONTEXT)
    }

    /// The content of `define` and `block`, which sees no variables and no `range` from around it.
    fn body_of(&mut self, name: String, context: &str) -> Result<()> {
        let variables = std::mem::replace(&mut self.variables, vec!["$".to_string()]);
        let ranges = std::mem::take(&mut self.ranges);
        let (body, ended) = self.deeper(Self::list)?;
        (self.variables, self.ranges) = (variables, ranges);
        if ended != Ended::End {
            return self.fail(format!("unexpected {} in {context}", ended.shown()));
        }
        match self.defined.get(&name) {
            Some(known) if !is_empty(known) => {
                if !is_empty(&body) {
                    return self.fail(format!("template: multiple definition of template {name:?}"));
                }
            }
            _ => drop(self.defined.insert(name, body)),
        }
        Ok(())
    }

    fn name(&self, token: &Token<'_>, context: &str) -> Result<String> {
        match token.kind {
            Kind::Str | Kind::RawStr => literal::unquote(&token.text).or_else(|e| self.fail(e)),
            _ => self.unexpected(token, context),
        }
    }

    /// Nodes up to `end` or `else`.
    fn list(&mut self) -> Result<(Vec<Node>, Ended)> {
        let mut nodes = Vec::new();
        while self.peek_word() != Kind::Eof {
            match self.item()? {
                Item::Node(node) => nodes.push(node),
                Item::Ended(ended) => return Ok((nodes, ended)),
            }
        }
        self.at += 1;
        self.fail("unexpected EOF")
    }

    fn item(&mut self) -> Result<Item> {
        let token = self.next_word();
        match token.kind {
            Kind::Text => Ok(Item::Node(Node::Text(token.text.into_owned()))),
            Kind::LeftDelim => self.action(),
            _ => self.unexpected(&token, "input"),
        }
    }

    fn action(&mut self) -> Result<Item> {
        let kind = self.peek_word();
        let before = self.at;
        self.at += 1;
        let node = match kind {
            Kind::Block => self.block()?,
            Kind::Break => self.loop_control(Node::Break, "{{break}}")?,
            Kind::Continue => self.loop_control(Node::Continue, "{{continue}}")?,
            Kind::Else => {
                if matches!(self.peek_word(), Kind::If | Kind::With) {
                    return Ok(Item::Ended(Ended::ElseBranch));
                }
                self.expect(Kind::RightDelim, "else")?;
                return Ok(Item::Ended(Ended::Else));
            }
            Kind::End => {
                self.expect(Kind::RightDelim, "end")?;
                return Ok(Item::Ended(Ended::End));
            }
            Kind::If => Node::If(self.branch("if")?),
            Kind::Range => Node::Range(self.branch("range")?),
            Kind::With => Node::With(self.branch("with")?),
            Kind::Template => self.template()?,
            _ => {
                self.at = before;
                Node::Action(self.pipeline("command", Kind::RightDelim)?)
            }
        };
        Ok(Item::Node(node))
    }

    fn loop_control(&mut self, node: Node, shown: &str) -> Result<Node> {
        self.expect(Kind::RightDelim, shown)?;
        if self.ranges == 0 {
            return self.fail(format!("{shown} outside {{{{range}}}}"));
        }
        Ok(node)
    }

    fn branch(&mut self, context: &'static str) -> Result<Branch> {
        self.deeper(|p| {
            let variables = p.variables.len();
            let branch = p.branch_inside(context);
            p.variables.truncate(variables);
            branch
        })
    }

    fn branch_inside(&mut self, context: &'static str) -> Result<Branch> {
        let pipe = self.pipeline(context, Kind::RightDelim)?;
        let looping = usize::from(context == "range");
        self.ranges += looping;
        let list = self.list();
        self.ranges -= looping;
        let (body, ended) = list?;
        let otherwise = match ended {
            Ended::End => Vec::new(),
            Ended::ElseBranch if context == "if" && self.peek().kind == Kind::If => {
                self.at += 1;
                vec![Node::If(self.branch("if")?)]
            }
            Ended::ElseBranch if context == "with" && self.peek().kind == Kind::With => {
                self.at += 1;
                vec![Node::With(self.branch("with")?)]
            }
            Ended::Else | Ended::ElseBranch => {
                let (otherwise, ended) = self.list()?;
                if ended != Ended::End {
                    return self.fail(format!("expected end; found {}", ended.shown()));
                }
                otherwise
            }
        };
        Ok(Branch { pipe, body, otherwise })
    }

    fn block(&mut self) -> Result<Node> {
        const CONTEXT: &str = "block clause";
        let token = self.next_word();
        let name = self.name(&token, CONTEXT)?;
        let pipe = self.pipeline(CONTEXT, Kind::RightDelim)?;
        self.body_of(name.clone(), CONTEXT)?;
        Ok(Node::Template { name, pipe: Some(pipe), at: token.at })
    }

    fn template(&mut self) -> Result<Node> {
        const CONTEXT: &str = "template clause";
        let token = self.next_word();
        let name = self.name(&token, CONTEXT)?;
        let pipe = if self.peek_word() == Kind::RightDelim {
            self.at += 1;
            None
        } else {
            Some(self.pipeline(CONTEXT, Kind::RightDelim)?)
        };
        Ok(Node::Template { name, pipe, at: token.at })
    }

    fn pipeline(&mut self, context: &str, end: Kind) -> Result<Pipe> {
        self.skip_space();
        let mut pipe = Pipe { at: self.peek().at, ..Pipe::default() };
        self.declarations(context, &mut pipe)?;
        loop {
            let before = self.at;
            let token = self.next_word();
            match token.kind {
                kind if kind == end => break,
                Kind::Bool
                | Kind::CharConstant
                | Kind::Complex
                | Kind::Dot
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::Nil
                | Kind::RawStr
                | Kind::Str
                | Kind::Variable
                | Kind::LeftParen => {
                    self.at = before;
                    pipe.commands.push(self.command()?);
                }
                _ => return self.unexpected(&token, context),
            }
        }
        if pipe.commands.is_empty() {
            return self.fail(format!("missing value for {context}"));
        }
        let constant = |c: &Command| {
            let first = c.args.first().map(|a| &a.term);
            matches!(first, Some(Term::Bool(_) | Term::Dot | Term::Nil | Term::Number(..) | Term::Text(..)))
        };
        match pipe.commands.iter().skip(1).position(constant) {
            Some(i) => self.fail(format!("non executable command in pipeline stage {}", i + 2)),
            None => Ok(pipe),
        }
    }

    /// `$x :=`, `$x =`, and `$i, $x :=` of a range.
    fn declarations(&mut self, context: &str, pipe: &mut Pipe) -> Result<()> {
        while self.peek_word() == Kind::Variable {
            let before = self.at;
            let variable = self.next().text.into_owned();
            self.skip_space();
            let next = self.peek().clone();
            let comma = next.kind == Kind::Char && next.text == ",";
            if !comma && !matches!(next.kind, Kind::Assign | Kind::Declare) {
                self.at = before;
                return Ok(());
            }
            self.at += 1;
            pipe.variables.push(variable.clone());
            self.variables.push(variable);
            if !comma {
                pipe.assign = next.kind == Kind::Assign;
                return Ok(());
            }
            if context != "range" || pipe.variables.len() >= 2 {
                return self.fail(format!("too many declarations in {context}"));
            }
            if !matches!(self.peek_word(), Kind::Variable | Kind::RightDelim | Kind::RightParen) {
                return self.fail("range can only initialize variables");
            }
        }
        Ok(())
    }

    fn command(&mut self) -> Result<Command> {
        let mut command = Command::default();
        loop {
            if let Some(operand) = self.operand()? {
                command.args.push(operand);
            }
            let token = self.next();
            match token.kind {
                Kind::Space => continue,
                Kind::RightDelim | Kind::RightParen => self.at -= 1,
                Kind::Pipe => {}
                _ => return self.unexpected(&token, "operand"),
            }
            break;
        }
        if command.args.is_empty() { self.fail("empty command") } else { Ok(command) }
    }

    /// A term and the fields behind it; `None` where the next token begins none.
    fn operand(&mut self) -> Result<Option<Arg>> {
        let Some(term) = self.term()? else { return Ok(None) };
        let chain_at = self.peek().at;
        let mut fields = Vec::new();
        while self.peek().kind == Kind::Field {
            fields.push(self.next().text.trim_start_matches('.').to_string());
        }
        if fields.is_empty() {
            return Ok(Some(term));
        }
        let whole = match term.term {
            Term::Field(mut own) => {
                own.extend(fields);
                Term::Field(own)
            }
            Term::Variable(name, mut own) => {
                own.extend(fields);
                Term::Variable(name, own)
            }
            constant @ (Term::Bool(_) | Term::Text(..) | Term::Number(..) | Term::Nil | Term::Dot) => {
                let shown = crate::source::arg(&Arg { at: term.at, term: constant });
                return self.fail(format!("unexpected . after term {}", model::name::Quoted(&shown)));
            }
            other => Term::Chain(Box::new(Arg { at: term.at, term: other }), fields),
        };
        Ok(Some(Arg { at: chain_at, term: whole }))
    }

    fn term(&mut self) -> Result<Option<Arg>> {
        self.skip_space();
        let token = self.next();
        let text = token.text.as_ref();
        let mut at = token.at;
        let term = match token.kind {
            Kind::Identifier if (self.is_function)(text) => Term::Function(text.to_string()),
            Kind::Identifier => return self.fail(format!("function {text:?} not defined")),
            Kind::Dot => Term::Dot,
            Kind::Nil => Term::Nil,
            Kind::Variable if self.variables.iter().any(|v| v == text) => {
                Term::Variable(text.to_string(), Vec::new())
            }
            Kind::Variable => return self.fail(format!("undefined variable {text:?}")),
            Kind::Field => Term::Field(vec![text.trim_start_matches('.').to_string()]),
            Kind::Bool => Term::Bool(text == "true"),
            Kind::CharConstant | Kind::Complex | Kind::Number => {
                let number = literal::number(text, token.kind).or_else(|e| self.fail(e))?;
                Term::Number(number, text.to_string())
            }
            Kind::LeftParen => {
                let inner = |p: &mut Self| p.pipeline("parenthesized pipeline", Kind::RightParen);
                let pipe = self.deeper(inner)?;
                at = pipe.at;
                Term::Pipe(Box::new(pipe))
            }
            Kind::Str | Kind::RawStr => {
                Term::Text(literal::unquote(text).or_else(|e| self.fail(e))?, text.to_string())
            }
            _ => {
                self.at -= 1;
                return Ok(None);
            }
        };
        Ok(Some(Arg { at, term }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(text: &str) -> Result<Template> {
        parse(text, &["$labels", "$value"], crate::is_known)
    }

    #[test]
    fn templates_that_people_write() {
        for text in [
            "",
            "plain } text",
            "{{ $labels.instance }} of {{$labels.job}} is at {{ $value | humanize }}%",
            "{{ with query \"up\" }}{{ . | first | value }}{{ else }}none{{ end }}",
            "{{ range $i, $x := query `up` }}{{ $i }}: {{ $x.Labels.job }}{{ else }}-{{ end }}",
            "{{ if eq $value 1.0 }}a{{ else if gt $value 2.5 }}b{{ else }}c{{ end }}",
            "{{- /* note */ -}} x {{- $value -}} y",
            "{{ define \"t\" }}{{ . }}{{ end }}{{ template \"t\" $value }}{{ template \"t\" }}",
            "{{ block \"b\" . }}x{{ end }}",
            "{{ range query \"up\" }}{{ if true }}{{ break }}{{ end }}{{ continue }}{{ end }}",
            "{{ printf \"%.2f\" (index (query \"x\" | first).Labels \"a\") }}",
            "{{ $x := 1 }}{{ $x = 2 }}{{ $x }}",
            "{{ 'a' }}{{ 0x1F }}{{ -1.5e3 }}{{ nil | printf \"%v\" }}",
            "{{ (query \"up\").x.y }}{{ $labels.a.b }}{{ .Labels.x }}{{ now.x }}",
            "{{with $x := 1}}{{$x}}{{else with $y := 2}}{{$y}}{{end}}",
            "{{ define \"a\" }} {{ end }}{{ define \"a\" }}x{{ end }}",
        ] {
            assert!(of(text).is_ok(), "{text}: {:?}", of(text));
        }
        let tree = of("a{{- if true}}b{{end -}}  c").unwrap();
        assert_eq!(tree.root.len(), 3);
        assert_eq!(tree.root[2], Node::Text("c".into()));
        let tree = of("{{ $labels.a | printf \"%s\" }}").unwrap();
        let Node::Action(pipe) = &tree.root[0] else { panic!("{tree:?}") };
        assert_eq!(pipe.commands.len(), 2);
        assert_eq!(pipe.commands[0].args[0].term, Term::Variable("$labels".into(), vec!["a".into()]));
    }

    /// The texts are those of Go 1.26.
    #[test]
    fn faults_are_named_as_go_names_them() {
        for (text, want) in [
            ("{{ $labels.a ", "unclosed action"),
            ("{{ $lables.a }}", "undefined variable \"$lables\""),
            ("{{ foo }}", "function \"foo\" not defined"),
            ("{{}}", "missing value for command"),
            ("{{ if true }}", "unexpected EOF"),
            ("{{ end }}", "unexpected {{end}}"),
            ("{{ else }}", "unexpected {{else}}"),
            ("{{ if true }}a{{ else }}b{{ else }}c{{ end }}", "expected end; found {{else}}"),
            ("{{ (1 }}", "unclosed left paren"),
            ("{{ 1) }}", "unexpected right paren"),
            ("{{ \"a }}", "unterminated quoted string"),
            ("{{ `a }}", "unterminated raw quoted string"),
            ("{{ 'a }}", "unterminated character constant"),
            ("{{ /* x }}", "unexpected \"/\" in command"),
            ("{{/* x }}", "unclosed comment"),
            ("{{/* x */ 1}}", "comment ends before closing delimiter"),
            ("{{ 1 | 2 }}", "non executable command in pipeline stage 2"),
            ("{{ $a, $b := 1 }}", "too many declarations in command"),
            ("{{ range $a, $b, $c := 1 }}{{ end }}", "too many declarations in range"),
            ("{{ range $a, 1 }}{{ end }}", "range can only initialize variables"),
            ("{{ break }}", "{{break}} outside {{range}}"),
            ("{{ range 1 }}{{ define \"x\" }}{{ end }}{{ end }}", "unexpected <define> in command"),
            ("{{ template x }}", "unexpected \"x\" in template clause"),
            ("{{ 1.x }}", "bad number syntax: \"1.x\""),
            ("{{ $value.a! }}", "bad character U+0021 '!'"),
            ("{{ \u{1} }}", "unrecognized character in action: U+0001"),
            ("{{ 1 : }}", "expected :="),
            ("{{ true.a }}", "unexpected . after term \"true\""),
            ("{{ \"\\q\" }}", "invalid syntax"),
            (
                "{{ define \"a\" }}x{{ end }}{{ define \"a\" }}y{{ end }}",
                "multiple definition of template \"a\"",
            ),
            ("{{ if $x := 1 }}{{ end }}{{ $x }}", "undefined variable \"$x\""),
            ("{{ define \"a\" }}{{ $labels }}{{ end }}", "undefined variable \"$labels\""),
            ("{{ 99999999999999999999 }}", "integer overflow"),
        ] {
            let error = of(text).expect_err(text);
            assert!(error.text.contains(want), "{text}: {error}");
        }
        let error = of("a\n {{ foo }}").unwrap_err();
        assert_eq!((error.line, error.column), (2, 5));
    }

    #[test]
    fn nesting_is_bounded() {
        for text in [
            "{{if true}}".repeat(10_000),
            format!("{{{{{}", "(".repeat(10_000)),
            "{{if 1}}{{else if 1}}".repeat(9000),
        ] {
            assert!(of(&text).is_err());
        }
        let deep = NESTING_MAX - 1;
        assert!(of(&format!("{}{}", "{{if true}}".repeat(deep), "{{end}}".repeat(deep))).is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_safe(text in "(\\{\\{|\\}\\}|-|\\||\\$|\\.|if|range|end|else|\"|`|'|/\\*|\\*/|[a-z0-9 \n(),:=é]){0,40}") {
            let _ = of(&text);
        }
    }
}
