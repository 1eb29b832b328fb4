//! The syntax tree, after flags have been applied: every node says by itself what it matches.

use std::sync::Arc;

use crate::unicode::Ranges;

/// A place between characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// `\A`, and `^` without the flag m.
    TextStart,
    /// `\z`, and `$` without the flag m.
    TextEnd,
    /// `^` with the flag m.
    LineStart,
    /// `$` with the flag m.
    LineEnd,
    /// `\b`, of ASCII words.
    WordBoundary,
    /// `\B`.
    NoWordBoundary,
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Node {
    /// Matches nothing at all.
    Empty,
    /// One character, or with `fold` any that equals it when case does not count.
    Char { c: char, fold: bool },
    /// One character of a class; an empty class matches never.
    Class(Arc<Ranges>),
    /// `.`, with or without `\n`.
    Any { newline: bool },
    /// A place.
    Look(Look),
    /// A group by number.
    Capture { index: u32, node: Box<Node> },
    /// Repetition; `max` of `None` is without bound.
    Repeat { min: u32, max: Option<u32>, greedy: bool, node: Box<Node> },
    /// One behind the other.
    Concat(Vec<Node>),
    /// The first that leads to a match.
    Alternate(Vec<Node>),
}

/// A parsed pattern.
#[derive(Debug)]
pub(crate) struct Ast {
    /// The tree.
    pub root: Node,
    /// Names by group number; the first entry is the whole match.
    pub names: Vec<Option<Box<str>>>,
    /// Height of the tree.
    pub height: u32,
}
