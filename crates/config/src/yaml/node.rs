//! A document as a tree in which every node knows its place.

use std::collections::HashMap;
use std::rc::Rc;

use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle, Tag};

use crate::error::Problem;

/// Largest file read: a 20,000-job config is about 10 MB; this leaves six times that.
pub(crate) const FILE_BYTES_MAX: u64 = 64 << 20;
/// Nodes of one document: about 100 a job, so 60,000 jobs; 6,000,000 x 80 bytes = 480 MB at the very worst.
const NODES_MAX: usize = 6_000_000;
/// Nesting; a real config has 8 levels. Bounds every recursion over the tree.
const DEPTH_MAX: usize = 100;

/// Line and column, both from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pos {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl Pos {
    fn of(span: &Span) -> Pos {
        let line = u32::try_from(span.start.line()).unwrap_or(u32::MAX);
        Pos { line, column: u32::try_from(span.start.col()).unwrap_or(u32::MAX).saturating_add(1) }
    }
    fn below(self, lines: u32) -> Pos {
        Pos { line: self.line.saturating_add(lines), ..self }
    }
    pub(crate) fn problem(self, text: impl Into<String>) -> Problem {
        Problem { line: self.line, column: self.column, text: text.into() }
    }
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) pos: Pos,
    /// Long form (`tag:yaml.org,2002:str`), "!" for the non-specific tag.
    pub(crate) tag: Option<Box<str>>,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Scalar {
        text: String,
        plain: bool,
    },
    Seq(Vec<Node>),
    Map(Vec<(Node, Node)>),
    /// A node that has an anchor (`alias` false) or a use of it (`alias` true).
    Shared {
        target: Rc<Node>,
        alias: bool,
    },
}

/// What [`Node::parse_part`] finds.
pub(crate) struct Part {
    pub(crate) root: Node,
    /// Whether a value has a name that other values may use.
    pub(crate) has_anchors: bool,
}

impl Node {
    /// The first document of a text; `None` where there is none. Later documents are not looked at, as
    /// upstream does.
    pub(crate) fn parse(text: &str) -> Result<Option<Node>, Problem> {
        check_characters(text)?;
        Ok(Node::parse_part(text, 0)?.map(|part| part.root))
    }

    /// The fault of a text that is not YAML, without a tree.
    pub(crate) fn fault(text: &str) -> Option<Problem> {
        if let Err(problem) = check_characters(text) {
            return Some(problem);
        }
        for next in events(text) {
            match next {
                Ok((Event::DocumentEnd, _)) => break,
                Ok(_) => {}
                Err(error) => return Some(not_yaml(&error, 0)),
            }
        }
        None
    }

    /// As [`Node::parse`] for a part of a document whose characters were checked, below so many lines.
    pub(crate) fn parse_part(text: &str, lines_above: u32) -> Result<Option<Part>, Problem> {
        let mut builder = Builder { lines_above, ..Builder::default() };
        for next in events(text) {
            let (event, span) = next.map_err(|e| not_yaml(&e, lines_above))?;
            if builder.event(event, &span)? {
                break;
            }
        }
        let has_anchors = !builder.anchors.is_empty();
        Ok(builder.root.map(|root| Part { root, has_anchors }))
    }

    /// The node itself, through anchors and aliases.
    pub(crate) fn target(&self) -> &Node {
        let mut node = self;
        while let Kind::Shared { target, .. } = &node.kind {
            node = target;
        }
        node
    }

    /// Elements of a sequence, else nothing.
    pub(crate) fn items(&self) -> &[Node] {
        match &self.target().kind {
            Kind::Seq(items) => items,
            _ => &[],
        }
    }

    /// The value of a key (merge keys are not looked into).
    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        let Kind::Map(pairs) = &self.target().kind else { return None };
        pairs.iter().find(|(key, _)| key.scalar_text() == Some(name)).map(|(_, value)| value)
    }

    pub(crate) fn scalar_text(&self) -> Option<&str> {
        match &self.target().kind {
            Kind::Scalar { text, .. } => Some(text),
            _ => None,
        }
    }
}

fn events(text: &str) -> Parser<'_, granit_parser::StrInput<'_>> {
    let mut options = granit_parser::Options::default();
    options.set_emit_comments(false);
    Parser::new_from_str_with_options(text, options)
}

fn not_yaml(error: &granit_parser::ScanError, lines_above: u32) -> Problem {
    let marker = error.marker();
    let at = Pos::of(&Span::new(*marker, *marker)).below(lines_above);
    at.problem(format!("this is not YAML: {}", error.kind()))
}

/// libyaml's reader refuses control characters; the parser here is laxer.
pub(crate) fn check_characters(text: &str) -> Result<(), Problem> {
    let allowed = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='~' | '\u{85}' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    let Some((at, bad)) = text.char_indices().find(|(_, c)| !allowed(*c)) else { return Ok(()) };
    let before = &text[..at];
    let line = before.bytes().filter(|b| *b == b'\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |l| l.chars().count()) + 1;
    let pos = Pos {
        line: u32::try_from(line).unwrap_or(u32::MAX),
        column: u32::try_from(column).unwrap_or(u32::MAX),
    };
    Err(pos.problem(format!("control characters are not allowed (U+{:04X})", bad as u32)))
}

/// A collection whose end has not come.
enum Open {
    Seq { node: Node, anchor: usize, items: Vec<Node> },
    Map { node: Node, anchor: usize, block: bool, pairs: Vec<(Node, Node)>, key: Option<Node> },
}

#[derive(Default)]
struct Builder {
    stack: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    root: Option<Node>,
    nodes: usize,
    lines_above: u32,
}

impl Builder {
    /// Takes one event; true at the end of the first document.
    fn event(&mut self, event: Event<'_>, span: &Span) -> Result<bool, Problem> {
        let pos = Pos::of(span).below(self.lines_above);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let node = Node {
                    pos,
                    tag: tag_text(tag.as_deref()),
                    kind: Kind::Scalar { text: text.into_owned(), plain },
                };
                self.finish(node, anchor)?;
            }
            Event::SequenceStart(_, anchor, tag) => {
                let node = Node { pos, tag: tag_text(tag.as_deref()), kind: Kind::Seq(Vec::new()) };
                self.open(Open::Seq { node, anchor, items: Vec::new() }, pos)?;
            }
            Event::MappingStart(style, anchor, tag) => {
                let node = Node { pos, tag: tag_text(tag.as_deref()), kind: Kind::Map(Vec::new()) };
                let block = style == StructureStyle::Block;
                self.open(Open::Map { node, anchor, block, pairs: Vec::new(), key: None }, pos)?;
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let (node, anchor) = match self.stack.pop() {
                    Some(Open::Seq { mut node, anchor, mut items }) => {
                        // A vector begins with room for four: half of a large file's tree.
                        items.shrink_to_fit();
                        node.kind = Kind::Seq(items);
                        (node, anchor)
                    }
                    Some(Open::Map { mut node, anchor, block, mut pairs, .. }) => {
                        pairs.shrink_to_fit();
                        // A block mapping's event begins at its first ':'; its first key is the better place.
                        if let Some((key, _)) = pairs.first().filter(|_| block) {
                            node.pos = key.pos;
                        }
                        node.kind = Kind::Map(pairs);
                        (node, anchor)
                    }
                    None => return Err(pos.problem("this is not YAML: an end without a beginning")),
                };
                self.finish(node, anchor)?;
            }
            Event::Alias(id) => {
                let Some(target) = self.anchors.get(&id).cloned() else {
                    return Err(pos.problem("the value of this anchor contains itself"));
                };
                self.finish(Node { pos, tag: None, kind: Kind::Shared { target, alias: true } }, 0)?;
            }
            Event::DocumentEnd => return Ok(true),
            _ => {}
        }
        Ok(false)
    }

    fn open(&mut self, open: Open, pos: Pos) -> Result<(), Problem> {
        if self.stack.len() >= DEPTH_MAX {
            return Err(pos.problem(format!("nested more than {DEPTH_MAX} levels deep")));
        }
        self.stack.push(open);
        Ok(())
    }

    fn finish(&mut self, mut node: Node, anchor: usize) -> Result<(), Problem> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(node.pos.problem(format!("more than {NODES_MAX} values in one file")));
        }
        if anchor != 0 {
            let pos = node.pos;
            let target = Rc::new(node);
            self.anchors.insert(anchor, Rc::clone(&target));
            node = Node { pos, tag: None, kind: Kind::Shared { target, alias: false } };
        }
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Open::Seq { items, .. }) => items.push(node),
            Some(Open::Map { pairs, key, .. }) => match key.take() {
                None => *key = Some(node),
                Some(name) => pairs.push((name, node)),
            },
        }
        Ok(())
    }
}

fn tag_text(tag: Option<&Tag>) -> Option<Box<str>> {
    tag.map(|t| t.to_string().into_boxed_str())
}
