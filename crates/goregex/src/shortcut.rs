//! What can be decided without the engine: sets of literals, globs (`a.*b.+`), required literals.
//!
//! Most matchers of dashboards are of these forms; a set turns into look-ups in the index, and a glob
//! is a few `memcmp` and `memmem` (upstream has the same idea in `model/labels/regexp.go`).

use memchr::memmem::Finder;

use crate::ast::{Look, Node};
use crate::unicode;

/// Alternatives that a pattern may be expanded to, where it is not itself a longer list. An index
/// look-up costs about 1 µs and a match about 0.1 µs, so a set of 256 is worth it from 2,560 values on,
/// and never costs more than a quarter of a millisecond.
const WORDS_MAX: usize = 256;
/// Bytes of all alternatives together, besides four times the pattern's own: 256 of 256 bytes.
const WORD_BYTES_MAX: usize = 64 << 10;
/// Globs tried one after the other, at 10 to 50 ns each; above that one pass of the automaton is quicker.
const GLOBS_MAX: usize = 16;
/// Length of a required literal that is looked for, in characters; longer ones do not filter better.
const REQUIRED_CHARS_MAX: usize = 256;

/// How to match.
#[derive(Debug)]
pub(crate) enum Plan {
    /// Every text.
    All,
    /// One of these: sorted, unique. Empty for an expression that matches never.
    Set(TextSet),
    /// Any of these.
    Globs(Vec<Glob>),
    /// The automaton, behind checks that most texts fail.
    Engine(Box<Required>),
}

/// A sorted set of texts.
#[derive(Debug)]
pub(crate) struct TextSet {
    pub(crate) texts: Vec<String>,
    /// Bit n: there is a text of n bytes (63: of 63 or more).
    lengths: u64,
}

fn length_bit(text: &str) -> u64 {
    1 << text.len().min(63)
}

impl TextSet {
    fn new(mut texts: Vec<String>) -> Self {
        texts.sort_unstable();
        texts.dedup();
        let lengths = texts.iter().fold(0, |mask, t| mask | length_bit(t));
        TextSet { texts, lengths }
    }

    pub(crate) fn contains(&self, text: &str) -> bool {
        self.lengths & length_bit(text) != 0 && self.texts.binary_search_by(|t| t.as_str().cmp(text)).is_ok()
    }
}

/// Literals with gaps between them: `prefix`, then each of `inner` behind a gap, then a gap and `suffix`.
#[derive(Debug)]
pub(crate) struct Glob {
    prefix: String,
    /// Least characters of the gap before, and the literal.
    inner: Vec<(usize, Finder<'static>)>,
    /// Least characters of the last gap; `None` where the glob is a literal (`prefix` alone).
    last_gap: Option<usize>,
    suffix: String,
}

impl Glob {
    fn new(word: Vec<Piece>) -> Self {
        let mut glob =
            Glob { prefix: String::new(), inner: Vec::new(), last_gap: None, suffix: String::new() };
        for piece in word {
            match piece {
                Piece::Text(text) if glob.last_gap.is_none() => glob.prefix.push_str(&text),
                Piece::Text(text) => glob.suffix.push_str(&text),
                Piece::Gap(n) if glob.suffix.is_empty() => {
                    glob.last_gap = Some(glob.last_gap.unwrap_or(0) + n)
                }
                Piece::Gap(n) => {
                    let text = std::mem::take(&mut glob.suffix);
                    glob.inner.push((glob.last_gap.unwrap_or(0), Finder::new(text.as_bytes()).into_owned()));
                    glob.last_gap = Some(n);
                }
            }
        }
        glob
    }

    /// Taking each inner literal at its first place is right: gaps have no upper bound, so an earlier
    /// place never spoils what follows.
    pub(crate) fn is_match(&self, text: &str) -> bool {
        let Some(mut rest) = text.strip_prefix(self.prefix.as_str()) else { return false };
        let Some(last_gap) = self.last_gap else { return rest.is_empty() };
        for (gap, finder) in &self.inner {
            let Some(after) = skip_chars(rest, *gap) else { return false };
            let Some(at) = finder.find(after.as_bytes()) else { return false };
            let Some(tail) = after.get(at + finder.needle().len()..) else { return false };
            rest = tail;
        }
        rest.strip_suffix(self.suffix.as_str()).is_some_and(|gap| skip_chars(gap, last_gap).is_some())
    }

    fn is_everything(&self) -> bool {
        self.prefix.is_empty() && self.inner.is_empty() && self.last_gap == Some(0) && self.suffix.is_empty()
    }
}

/// What is left behind the first `n` characters.
fn skip_chars(text: &str, n: usize) -> Option<&str> {
    match n {
        0 => Some(text),
        n => {
            let (last, c) = text.char_indices().nth(n - 1)?;
            text.get(last + c.len_utf8()..)
        }
    }
}

/// Literals that every match has.
#[derive(Debug, Default)]
pub(crate) struct Required {
    pub(crate) prefix: String,
    suffix: String,
    inner: Option<Finder<'static>>,
}

impl Required {
    pub(crate) fn is_in(&self, text: &str) -> bool {
        // Each looks at the whole text: prefix and suffix may share characters, as in `ab*b`, and the inner
        // literal may be part of the prefix, as in `(a)b.?c`.
        text.starts_with(self.prefix.as_str())
            && text.ends_with(self.suffix.as_str())
            && self.inner.as_ref().is_none_or(|finder| finder.find(text.as_bytes()).is_some())
    }
}

#[derive(Clone, Debug)]
enum Piece {
    Text(String),
    /// `.*` (0) or `.+` (1), any characters.
    Gap(usize),
}

/// The content of `^...$`; `None` where the expression is not anchored so.
fn anchored_content(root: &Node) -> Option<&[Node]> {
    match root {
        Node::Concat(nodes) => match nodes.as_slice() {
            [Node::Look(Look::TextStart), inner @ .., Node::Look(Look::TextEnd)] => Some(inner),
            _ => None,
        },
        _ => None,
    }
}

/// Chooses how to match; also gives what every match begins with.
pub(crate) fn plan(root: &Node, pattern_bytes: usize) -> (Plan, String) {
    let Some(content) = anchored_content(root) else {
        return (Plan::Engine(Box::default()), String::new());
    };
    let prefix = required_run(content, Side::Front);
    let budget = Budget {
        words: WORDS_MAX.max(pattern_bytes / 2),
        bytes: WORD_BYTES_MAX.saturating_add(pattern_bytes.saturating_mul(4)),
    };
    if let Some(words) = words_of_all(content, &budget) {
        let literals: Option<Vec<String>> = words.iter().map(literal_of).collect();
        if let Some(texts) = literals {
            return (Plan::Set(TextSet::new(texts)), prefix);
        }
        if words.len() <= GLOBS_MAX {
            let globs: Vec<Glob> = words.into_iter().map(Glob::new).collect();
            let everything = globs.iter().any(Glob::is_everything);
            return (if everything { Plan::All } else { Plan::Globs(globs) }, prefix);
        }
    }
    let required = Required {
        prefix: prefix.clone(),
        suffix: required_run(content, Side::Back),
        inner: inner_literal(content).map(|text| Finder::new(text.as_bytes()).into_owned()),
    };
    (Plan::Engine(Box::new(required)), prefix)
}

fn literal_of(word: &Vec<Piece>) -> Option<String> {
    let mut out = String::new();
    for piece in word {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Gap(_) => return None,
        }
    }
    Some(out)
}

struct Budget {
    words: usize,
    bytes: usize,
}

impl Budget {
    fn allows(&self, words: &[Vec<Piece>]) -> bool {
        let size = |p: &Piece| if let Piece::Text(t) = p { t.len() } else { 1 };
        words.len() <= self.words && words.iter().flatten().map(size).sum::<usize>() <= self.bytes
    }
}

type Words = Vec<Vec<Piece>>;

fn one(text: String) -> Words {
    vec![vec![Piece::Text(text)]]
}

/// All forms of an expression as literals and gaps; `None` where there are none or too many.
fn words(node: &Node, budget: &Budget) -> Option<Words> {
    match node {
        Node::Empty => Some(vec![Vec::new()]),
        Node::Char { c, fold: false } => Some(one(c.to_string())),
        Node::Char { c, fold: true } => {
            Some(unicode::fold_ring(*c).into_iter().flat_map(|c| one(c.to_string())).collect())
        }
        Node::Class(ranges) => {
            let count: u64 = ranges.iter().map(|(lo, hi)| u64::from(hi - lo) + 1).sum();
            if count > WORDS_MAX as u64 {
                return None;
            }
            let chars = ranges.iter().flat_map(|(lo, hi)| *lo..=*hi).filter_map(char::from_u32);
            Some(chars.flat_map(|c| one(c.to_string())).collect())
        }
        Node::Capture { node, .. } => words(node, budget),
        Node::Repeat { min, max: None, node, .. } if **node == (Node::Any { newline: true }) => {
            Some(vec![vec![Piece::Gap(*min as usize)]])
        }
        Node::Repeat { min, max: Some(max), node, .. } => repeated(node, *min, *max, budget),
        Node::Concat(nodes) => words_of_all(nodes, budget),
        Node::Alternate(nodes) => {
            let mut all = Words::new();
            for node in nodes {
                all.extend(words(node, budget)?);
                if all.len() > budget.words {
                    return None;
                }
            }
            budget.allows(&all).then_some(all)
        }
        Node::Any { .. } | Node::Look(_) | Node::Repeat { .. } => None,
    }
}

fn words_of_all(nodes: &[Node], budget: &Budget) -> Option<Words> {
    let mut all: Words = vec![Vec::new()];
    for node in nodes {
        all = product(all, &words(node, budget)?, budget)?;
    }
    Some(all)
}

fn repeated(node: &Node, min: u32, max: u32, budget: &Budget) -> Option<Words> {
    let once = words(node, budget)?;
    let mut power: Words = vec![Vec::new()];
    let mut all = Words::new();
    for times in 0..=max {
        if times > 0 {
            power = product(power, &once, budget)?;
        }
        if times >= min {
            all.extend(power.iter().cloned());
        }
        if !budget.allows(&all) {
            return None;
        }
    }
    Some(all)
}

fn product(left: Words, right: &Words, budget: &Budget) -> Option<Words> {
    if left.len().checked_mul(right.len())? > budget.words {
        return None;
    }
    // One continuation is the common case: append in place.
    if let [only] = right.as_slice() {
        let mut left = left;
        for word in &mut left {
            append(word, only);
        }
        return budget.allows(&left).then_some(left);
    }
    let mut all = Words::with_capacity(left.len() * right.len());
    for head in &left {
        for tail in right {
            let mut word = head.clone();
            append(&mut word, tail);
            all.push(word);
        }
    }
    budget.allows(&all).then_some(all)
}

fn append(word: &mut Vec<Piece>, tail: &[Piece]) {
    for piece in tail {
        match (word.last_mut(), piece) {
            (Some(Piece::Text(last)), Piece::Text(text)) => last.push_str(text),
            _ => word.push(piece.clone()),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Front,
    Back,
}

/// The literal that everything begins (or ends) with.
fn required_run(nodes: &[Node], side: Side) -> String {
    let mut chars = Vec::new();
    run_of_all(nodes, side, &mut chars);
    if side == Side::Back {
        chars.reverse();
    }
    chars.into_iter().collect()
}

fn run_of_all(nodes: &[Node], side: Side, out: &mut Vec<char>) -> bool {
    match side {
        Side::Front => nodes.iter().all(|node| run(node, side, out)),
        Side::Back => nodes.iter().rev().all(|node| run(node, side, out)),
    }
}

/// Adds what `node` must begin with; true where that is all that it can be.
fn run(node: &Node, side: Side, out: &mut Vec<char>) -> bool {
    if out.len() >= REQUIRED_CHARS_MAX {
        return false;
    }
    match node {
        Node::Empty | Node::Look(_) => true,
        Node::Char { .. } | Node::Class(_) => {
            let single = single_char(node);
            out.extend(single);
            single.is_some()
        }
        Node::Any { .. } => false,
        Node::Capture { node, .. } => run(node, side, out),
        Node::Repeat { min: 0, .. } => false,
        Node::Repeat { min, max, node, .. } => {
            let whole = (0..*min).all(|_| run(node, side, out));
            whole && *max == Some(*min)
        }
        Node::Concat(nodes) => run_of_all(nodes, side, out),
        Node::Alternate(nodes) => {
            let mut common: Option<Vec<char>> = None;
            let mut whole = true;
            for node in nodes {
                let mut mine = Vec::new();
                whole &= run(node, side, &mut mine);
                common = Some(match common {
                    None => mine,
                    Some(common) => {
                        let same = common.iter().zip(&mine).take_while(|(a, b)| a == b).count();
                        whole &= same == common.len() && same == mine.len();
                        mine.truncate(same);
                        mine
                    }
                });
            }
            out.extend(common.unwrap_or_default());
            whole
        }
    }
}

/// The only character that a node matches, if there is only one.
fn single_char(node: &Node) -> Option<char> {
    match node {
        Node::Char { c, fold } => (!fold || unicode::fold_ring(*c).len() == 1).then_some(*c),
        Node::Class(ranges) => match ranges.as_slice() {
            [(lo, hi)] if lo == hi => char::from_u32(*lo),
            _ => None,
        },
        _ => None,
    }
}

/// The longest literal between the first and the last node.
fn inner_literal(nodes: &[Node]) -> Option<String> {
    let (mut best, mut run) = (String::new(), String::new());
    // The run at the front is the prefix, which is checked already.
    let behind_prefix = nodes.iter().skip_while(|node| single_char(node).is_some());
    for node in behind_prefix {
        match single_char(node) {
            Some(c) => run.push(c),
            None => {
                if run.len() > best.len() {
                    best = std::mem::take(&mut run);
                }
                run.clear();
            }
        }
    }
    (!best.is_empty()).then_some(best)
}
