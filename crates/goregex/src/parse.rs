//! The grammar of Go's `regexp/syntax` with the flags of `regexp.Compile`, its limits and its errors.
//!
//! One pass with a stack of open groups, no recursion: the depth of a pattern is foreign input.

use std::sync::Arc;

use crate::ast::{Ast, Look, Node};
use crate::unicode::Ranges;
use crate::{Error, ErrorKind, classes, escape};

/// Go's bound of a counted repetition, nested ones multiplied.
const REPEAT_MAX: u32 = 1000;
/// Go's bound of the tree's height.
const HEIGHT_MAX: u32 = 1000;
/// Go's bound of the compiled program: 128 MiB of 40-byte instructions.
const SIZE_MAX: u64 = (128 << 20) / 40;
/// Bounds of all classes together: 2^20 ranges are 8 MiB. Go allows 16 times that; a pattern of 20,000
/// times `\pL` is nobody's.
const CLASS_RANGES_MAX: usize = 1 << 20;

/// What `(?imsU)` sets.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Flags {
    /// i: case does not count.
    pub fold: bool,
    /// m: `^` and `$` match at lines.
    pub multi_line: bool,
    /// s: `.` matches `\n`.
    pub dot_newline: bool,
    /// U: repetitions are lazy unless marked.
    pub lazy: bool,
}

/// An expression and what the limits ask of it.
struct Item {
    node: Node,
    height: u32,
    /// Go's count of instructions.
    size: u64,
    /// Product of nested counted repetitions.
    repeats: u32,
}

impl Item {
    fn leaf(node: Node) -> Self {
        Item { node, height: 1, size: 1, repeats: 1 }
    }
}

/// An open group.
struct Frame {
    branches: Vec<Item>,
    concat: Vec<Item>,
    /// In force outside.
    flags: Flags,
    /// Number of the group; `None` without capture.
    capture: Option<u32>,
}

impl Frame {
    fn new(flags: Flags, capture: Option<u32>) -> Self {
        Frame { branches: Vec::new(), concat: Vec::new(), flags, capture }
    }
}

struct Parser<'p> {
    whole: &'p str,
    flags: Flags,
    /// The group that is being filled; those around it are in `open`.
    frame: Frame,
    open: Vec<Frame>,
    names: Vec<Option<Box<str>>>,
    class_ranges: usize,
}

/// Parses a pattern.
pub(crate) fn parse(pattern: &str, flags: Flags) -> Result<Ast, Error> {
    let mut parser = Parser {
        whole: pattern,
        flags,
        frame: Frame::new(flags, None),
        open: Vec::new(),
        names: vec![None],
        class_ranges: 0,
    };
    parser.run()?;
    if !parser.open.is_empty() {
        return Err(parser.whole_error(ErrorKind::MissingParen));
    }
    let root = parser.close_alternation()?;
    Ok(Ast { root: root.node, names: parser.names, height: root.height })
}

pub(crate) fn error(kind: ErrorKind, expr: &str) -> Error {
    Error { kind, expr: expr.to_string() }
}

/// The part of `from` that was consumed when `rest` is left.
pub(crate) fn consumed<'s>(from: &'s str, rest: &str) -> &'s str {
    from.get(..from.len().saturating_sub(rest.len())).unwrap_or(from)
}

impl<'p> Parser<'p> {
    fn run(&mut self) -> Result<(), Error> {
        let mut rest = self.whole;
        // Where the repetition operator right before began: `a**` is an error.
        let mut last_repeat: Option<&str> = None;
        while let Some(c) = rest.chars().next() {
            let before = rest;
            let tail = rest.get(c.len_utf8()..).unwrap_or("");
            let mut repeat = None;
            match c {
                '(' if tail.starts_with('?') => rest = self.perl_group(rest)?,
                '(' => {
                    self.open_group(true, None);
                    rest = tail;
                }
                '|' => {
                    let branch = self.close_concat()?;
                    self.frame.branches.push(branch);
                    rest = tail;
                }
                ')' => {
                    self.close_group()?;
                    rest = tail;
                }
                '^' | '$' => {
                    let look = match (c, self.flags.multi_line) {
                        ('^', false) => Look::TextStart,
                        ('^', true) => Look::LineStart,
                        (_, false) => Look::TextEnd,
                        (_, true) => Look::LineEnd,
                    };
                    self.push(Item::leaf(Node::Look(look)))?;
                    rest = tail;
                }
                '.' => {
                    self.push(Item::leaf(Node::Any { newline: self.flags.dot_newline }))?;
                    rest = tail;
                }
                '[' => {
                    let (ranges, after) = classes::bracket(rest, self.flags)?;
                    self.class(ranges)?;
                    rest = after;
                }
                '*' | '+' | '?' => {
                    let (min, max) = match c {
                        '*' => (0, None),
                        '+' => (1, None),
                        _ => (0, Some(1)),
                    };
                    rest = self.repeat(min, max, false, before, tail, last_repeat)?;
                    repeat = Some(before);
                }
                '{' => match counts(rest) {
                    None => {
                        self.literal('{')?;
                        rest = tail;
                    }
                    Some((bounds, after)) => {
                        let invalid = error(ErrorKind::InvalidRepeatSize, consumed(before, after));
                        let Some((min, max)) = bounds else { return Err(invalid) };
                        rest = self.repeat(min, max, true, before, after, last_repeat)?;
                        repeat = Some(before);
                    }
                },
                '\\' => rest = self.backslash(rest)?,
                c => {
                    self.literal(c)?;
                    rest = tail;
                }
            }
            last_repeat = repeat;
        }
        Ok(())
    }

    fn whole_error(&self, kind: ErrorKind) -> Error {
        error(kind, self.whole)
    }

    fn checked(&self, item: Item) -> Result<Item, Error> {
        if item.size > SIZE_MAX || self.class_ranges > CLASS_RANGES_MAX {
            return Err(self.whole_error(ErrorKind::Large));
        }
        if item.height > HEIGHT_MAX {
            return Err(self.whole_error(ErrorKind::NestingDepth));
        }
        Ok(item)
    }

    fn push(&mut self, item: Item) -> Result<(), Error> {
        let item = self.checked(item)?;
        self.frame.concat.push(item);
        Ok(())
    }

    fn literal(&mut self, c: char) -> Result<(), Error> {
        self.push(Item::leaf(Node::Char { c, fold: self.flags.fold }))
    }

    fn class(&mut self, ranges: Ranges) -> Result<(), Error> {
        self.class_ranges = self.class_ranges.saturating_add(ranges.len());
        self.push(Item::leaf(Node::Class(Arc::new(ranges))))
    }

    fn open_group(&mut self, captures: bool, name: Option<&str>) {
        let capture = captures.then(|| {
            self.names.push(name.map(Into::into));
            u32::try_from(self.names.len() - 1).unwrap_or(u32::MAX)
        });
        let outer = std::mem::replace(&mut self.frame, Frame::new(self.flags, capture));
        self.open.push(outer);
    }

    fn close_group(&mut self) -> Result<(), Error> {
        let inner = self.close_alternation()?;
        let outer = self.open.pop().ok_or_else(|| self.whole_error(ErrorKind::UnexpectedParen))?;
        let closed = std::mem::replace(&mut self.frame, outer);
        self.flags = closed.flags;
        let item = match closed.capture {
            None => inner,
            Some(index) => Item {
                node: Node::Capture { index, node: Box::new(inner.node) },
                height: inner.height + 1,
                size: inner.size + 2,
                repeats: inner.repeats,
            },
        };
        self.push(item)
    }

    fn close_concat(&mut self) -> Result<Item, Error> {
        let items = std::mem::take(&mut self.frame.concat);
        self.checked(join(items, Kind::Concat))
    }

    fn close_alternation(&mut self) -> Result<Item, Error> {
        let last = self.close_concat()?;
        let mut branches = std::mem::take(&mut self.frame.branches);
        branches.push(last);
        let extra = branches.len() as u64 - 1;
        let mut item = join(branches, Kind::Alternate);
        item.size += extra;
        self.checked(item)
    }

    /// `{n,m}` and its short forms, applied to what was parsed last.
    fn repeat(
        &mut self,
        min: u32,
        max: Option<u32>,
        counted: bool,
        before: &'p str,
        after: &'p str,
        last_repeat: Option<&str>,
    ) -> Result<&'p str, Error> {
        let (after, swapped) = after.strip_prefix('?').map_or((after, false), |tail| (tail, true));
        if let Some(last) = last_repeat {
            return Err(error(ErrorKind::InvalidRepeatOp, consumed(last, after)));
        }
        let missing = || error(ErrorKind::MissingRepeatArgument, consumed(before, after));
        let inner = self.frame.concat.pop().ok_or_else(missing)?;
        let size = match (min, max) {
            (0, None) => inner.size + 2,
            (1, None) | (0, Some(1)) if !counted => inner.size + 1,
            (_, None) => 1 + inner.size * u64::from(min),
            (_, Some(max)) => inner.size * u64::from(max) + u64::from(max - min),
        };
        let times = max.unwrap_or(min);
        let mut repeats = inner.repeats;
        if counted && max != Some(0) {
            repeats = repeats.saturating_mul(times.max(1));
        } else if counted {
            repeats = 1;
        }
        let item = Item {
            node: Node::Repeat { min, max, greedy: swapped == self.flags.lazy, node: Box::new(inner.node) },
            height: inner.height + 1,
            size: size.max(1),
            repeats,
        };
        let item = self.checked(item)?;
        if counted && times >= 2 && item.repeats > REPEAT_MAX {
            return Err(error(ErrorKind::InvalidRepeatSize, consumed(before, after)));
        }
        self.frame.concat.push(item);
        Ok(after)
    }

    /// `(?flags)`, `(?flags:`, `(?P<name>` and `(?<name>`; returns what follows.
    fn perl_group(&mut self, at: &'p str) -> Result<&'p str, Error> {
        let body = at.get(2..).unwrap_or("");
        let named = body.strip_prefix("P<").or_else(|| body.strip_prefix('<')).filter(|t| !t.is_empty());
        if let Some(tail) = named {
            let unclosed = || error(ErrorKind::InvalidNamedCapture, at);
            let (name, after) = tail.split_once('>').ok_or_else(unclosed)?;
            if name.is_empty() || !name.bytes().all(|b| b == b'_' || b.is_ascii_alphanumeric()) {
                return Err(error(ErrorKind::InvalidNamedCapture, consumed(at, after)));
            }
            self.open_group(true, Some(name));
            return Ok(after);
        }
        let mut flags = self.flags;
        let (mut on, mut saw_flag) = (true, false);
        let mut rest = body;
        while let Some(c) = rest.chars().next() {
            rest = rest.get(c.len_utf8()..).unwrap_or("");
            let flag = match c {
                'i' => &mut flags.fold,
                'm' => &mut flags.multi_line,
                's' => &mut flags.dot_newline,
                'U' => &mut flags.lazy,
                '-' if on => {
                    (on, saw_flag) = (false, false);
                    continue;
                }
                ':' | ')' if on || saw_flag => {
                    if c == ':' {
                        self.open_group(false, None);
                    }
                    self.flags = flags;
                    return Ok(rest);
                }
                _ => break,
            };
            *flag = on;
            saw_flag = true;
        }
        Err(error(ErrorKind::InvalidPerlOp, consumed(at, rest)))
    }

    fn backslash(&mut self, at: &'p str) -> Result<&'p str, Error> {
        let mut chars = at.chars();
        chars.next();
        let look = match chars.next() {
            Some('A') => Look::TextStart,
            Some('z') => Look::TextEnd,
            Some('b') => Look::WordBoundary,
            Some('B') => Look::NoWordBoundary,
            Some('C') => return Err(error(ErrorKind::InvalidEscape, "\\C")),
            Some('Q') => {
                let body = at.get(2..).unwrap_or("");
                let (text, after) = body.split_once("\\E").unwrap_or((body, ""));
                for c in text.chars() {
                    self.literal(c)?;
                }
                return Ok(after);
            }
            _ => {
                let mut ranges = Ranges::new();
                if let Some(after) = classes::escaped_class(at, self.flags, &mut ranges)? {
                    self.class(crate::unicode::clean(ranges))?;
                    return Ok(after);
                }
                let (code, after) = escape::character(at)?;
                match char::from_u32(code) {
                    Some(c) => self.literal(c)?,
                    // A surrogate: valid in Go, and no text holds one.
                    None => self.class(Ranges::new())?,
                }
                return Ok(after);
            }
        };
        self.push(Item::leaf(Node::Look(look)))?;
        Ok(chars.as_str())
    }
}

/// One node of several, with the sums and maxima of their measures. Nested nodes of the same kind are
/// flattened, and runs of characters count as one leaf, as Go has it when it measures the height.
fn join(mut items: Vec<Item>, kind: Kind) -> Item {
    if items.len() == 1
        && let Some(only) = items.pop()
    {
        return only;
    }
    let mut nodes = Vec::with_capacity(items.len());
    let (mut height, mut size, mut repeats, mut leaves) = (0, 0_u64, 1, true);
    for item in items {
        size = size.saturating_add(item.size);
        repeats = repeats.max(item.repeats);
        leaves &= matches!((&item.node, kind), (Node::Char { .. }, _) | (Node::Class(_), Kind::Alternate));
        match (item.node, kind) {
            (Node::Concat(inner), Kind::Concat) | (Node::Alternate(inner), Kind::Alternate) => {
                height = height.max(item.height.saturating_sub(1));
                nodes.extend(inner);
            }
            (node, _) => {
                height = height.max(item.height);
                nodes.push(node);
            }
        }
    }
    let height = if leaves { 1 } else { height + 1 };
    let node = match kind {
        Kind::Concat if nodes.is_empty() => Node::Empty,
        Kind::Concat => Node::Concat(nodes),
        Kind::Alternate => Node::Alternate(nodes),
    };
    Item { node, height, size: size.max(1), repeats }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Concat,
    Alternate,
}

/// Least and most times.
type Counts = (u32, Option<u32>);

/// Reads `{n}`, `{n,}` or `{n,m}`. `None` where it has no such form (then `{` is a character);
/// `Some(None)` where the numbers are out of bounds.
fn counts(at: &str) -> Option<(Option<Counts>, &str)> {
    let (min, rest) = number(at.strip_prefix('{')?)?;
    let (max, rest) = match rest.strip_prefix(',') {
        None => (Some(min), rest),
        Some(rest) if rest.starts_with('}') => (None, rest),
        Some(rest) => {
            let (max, rest) = number(rest)?;
            (Some(max), rest)
        }
    };
    let rest = rest.strip_prefix('}')?;
    let fits = min <= REPEAT_MAX && max.is_none_or(|max| min <= max && max <= REPEAT_MAX);
    Some((fits.then_some((min, max)), rest))
}

/// A decimal number without leading zeros; one too large is `u32::MAX`.
fn number(at: &str) -> Option<(u32, &str)> {
    let digits = at.bytes().take_while(u8::is_ascii_digit).count();
    let (text, rest) = at.split_at_checked(digits)?;
    if text.is_empty() || (text.len() > 1 && text.starts_with('0')) {
        return None;
    }
    Some((text.parse().unwrap_or(u32::MAX), rest))
}
