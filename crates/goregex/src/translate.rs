//! From the tree to the engine's intermediate form, and the engine's limits.

use regex_automata::meta;
use regex_automata::util::syntax;
use regex_syntax::hir::{self, Class, ClassUnicode, ClassUnicodeRange, Hir};

use crate::ast::{Look, Node};
use crate::unicode::{self, Ranges};

/// Bound of one compiled automaton. Go's own bound is 128 MiB of instructions that each match a whole
/// character; here a class of Unicode is hundreds of byte states, so that this takes `\pL{1000}` and not much more.
pub const NFA_BYTES_MAX: usize = 64 << 20;
/// Bound of the one-pass automaton, which makes captures quick: relabel rules need some tens of KiB.
const ONEPASS_BYTES_MAX: usize = 1 << 20;
/// Bound of the lazy automaton's cache, for each thread that uses the expression at the same time.
const LAZY_BYTES_MAX: usize = 2 << 20;
/// Trees higher than this are compiled on a thread with a stack of its own: the engine's compiler
/// recurses, about 2 KiB a level in a debug build, and worker threads have 2 MiB.
const HEIGHT_ON_STACK_MAX: u32 = 100;
/// 1,000 levels (the parser's bound) of 2 KiB, eight times.
const COMPILE_STACK_BYTES: usize = 16 << 20;

/// Compiles a tree. `None` where a bound is passed.
pub(crate) fn compile(root: &Node, height: u32, nfa_bytes_max: usize) -> Option<meta::Regex> {
    if height <= HEIGHT_ON_STACK_MAX {
        return build(root, nfa_bytes_max);
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(COMPILE_STACK_BYTES);
        thread.spawn_scoped(scope, || build(root, nfa_bytes_max)).ok()?.join().ok()?
    })
}

fn build(root: &Node, nfa_bytes_max: usize) -> Option<meta::Regex> {
    let config = meta::Regex::config()
        .nfa_size_limit(Some(nfa_bytes_max.min(NFA_BYTES_MAX)))
        .onepass_size_limit(Some(ONEPASS_BYTES_MAX))
        .hybrid_cache_capacity(LAZY_BYTES_MAX)
        .utf8_empty(true);
    let syntax = syntax::Config::new().utf8(true);
    meta::Builder::new().configure(config).syntax(syntax).build_from_hir(&hir(root)).ok()
}

fn hir(node: &Node) -> Hir {
    match node {
        Node::Empty => Hir::empty(),
        Node::Char { c, fold: false } => Hir::literal(c.to_string().into_bytes()),
        Node::Char { c, fold: true } => {
            let ring = unicode::fold_ring(*c);
            Hir::class(Class::Unicode(ClassUnicode::new(
                ring.into_iter().map(|c| ClassUnicodeRange::new(c, c)),
            )))
        }
        Node::Class(ranges) => Hir::class(Class::Unicode(class(ranges))),
        Node::Any { newline: true } => Hir::dot(hir::Dot::AnyChar),
        Node::Any { newline: false } => Hir::dot(hir::Dot::AnyCharExceptLF),
        Node::Look(look) => Hir::look(match look {
            Look::TextStart => hir::Look::Start,
            Look::TextEnd => hir::Look::End,
            Look::LineStart => hir::Look::StartLF,
            Look::LineEnd => hir::Look::EndLF,
            Look::WordBoundary => hir::Look::WordAscii,
            Look::NoWordBoundary => hir::Look::WordAsciiNegate,
        }),
        // Names stay here: Go allows two groups of one name, the engine does not.
        Node::Capture { index, node } => {
            Hir::capture(hir::Capture { index: *index, name: None, sub: Box::new(hir(node)) })
        }
        Node::Repeat { min, max, greedy, node } => Hir::repetition(hir::Repetition {
            min: *min,
            max: *max,
            greedy: *greedy,
            sub: Box::new(hir(node)),
        }),
        Node::Concat(nodes) => Hir::concat(nodes.iter().map(hir).collect()),
        Node::Alternate(nodes) => Hir::alternation(nodes.iter().map(hir).collect()),
    }
}

/// The class without surrogates, which no text holds.
fn class(ranges: &Ranges) -> ClassUnicode {
    let below = |lo: u32, hi: u32| (lo, hi.min(0xD7FF));
    let above = |lo: u32, hi: u32| (lo.max(0xE000), hi);
    let halves = ranges.iter().flat_map(|&(lo, hi)| {
        if hi < 0xD800 || lo > 0xDFFF {
            [Some((lo, hi)), None]
        } else {
            [Some(below(lo, hi)), Some(above(lo, hi))]
        }
    });
    let chars = halves.flatten().filter(|(lo, hi)| lo <= hi).filter_map(|(lo, hi)| {
        let (lo, hi) = (char::from_u32(lo)?, char::from_u32(hi)?);
        Some(ClassUnicodeRange::new(lo, hi))
    });
    ClassUnicode::new(chars)
}
