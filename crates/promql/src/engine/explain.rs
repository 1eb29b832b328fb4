//! Where the time of a query went: the tree of what was evaluated, each part with its time, series, samples and
//! bytes. Off unless asked for; then it costs a clock's look and a text a node, nothing a sample.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::error::QueryError;
use super::eval::{Eval, Out};
use super::plan::{Kind, Node};
use super::row::{Grid, Meter};

/// Bytes of a part's text that are kept: a tree of 3,000 levels then has 600 kB of it.
const TEXT_BYTES_MAX: usize = 200;

/// A part of a query, with what it was made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explain {
    /// What it does: a function, an operator, `select`.
    pub what: String,
    /// Its text in the query, or matchers; long ones are cut.
    pub text: String,
    /// From its begin to its end, parts within.
    pub seconds: f64,
    /// Series that came of it.
    pub series: u64,
    /// Samples read from the store for it, parts within.
    pub samples: u64,
    /// Bytes of what came of it.
    pub bytes: u64,
    /// What it was made of, in the order in which it was evaluated.
    pub parts: Vec<Explain>,
}

impl Explain {
    /// A part without parts.
    pub(crate) fn leaf(what: &str, text: &str, seconds: f64, series: u64) -> Explain {
        Explain { what: what.to_string(), text: cut(text), seconds, series, ..Explain::default() }
    }

    /// Time of it alone.
    #[must_use]
    pub fn own_seconds(&self) -> f64 {
        (self.seconds - self.parts.iter().map(|p| p.seconds).sum::<f64>()).max(0.0)
    }
}

fn cut(text: &str) -> String {
    if text.len() <= TEXT_BYTES_MAX {
        return text.to_string();
    }
    let at = (0..=TEXT_BYTES_MAX).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    format!("{}…", text.get(..at).unwrap_or_default())
}

/// Takes parts down while they are evaluated.
#[derive(Debug)]
pub(crate) struct Recorder<'a> {
    /// The whole query.
    pub(crate) query: &'a str,
    /// Parts of the node that is being evaluated.
    pub(crate) parts: Vec<Explain>,
}

fn name(kind: &Kind) -> &str {
    match kind {
        Kind::Number(_) => "number",
        Kind::Text(..) => "string",
        Kind::Vector(_) => "select",
        Kind::Matrix(..) => "select range",
        Kind::Subquery(_) => "subquery",
        Kind::Call(_, name, _) => name,
        Kind::Aggregate(a) => a.op.as_str(),
        Kind::Binary { op, .. } => op.as_str(),
        Kind::Negate(_) => "-",
        Kind::Plus(_) => "+",
        Kind::Invariant(_) => "once for all steps",
    }
}

fn samples(meter: &Meter) -> u64 {
    meter.read.load(Ordering::Relaxed)
}

impl Eval<'_> {
    /// Evaluates a node and takes it down.
    pub(crate) fn explained(&mut self, node: &Node, grid: Grid) -> Result<Out, QueryError> {
        let before = self.explain.as_mut().map(|e| std::mem::take(&mut e.parts));
        let (begun, read) = (Instant::now(), samples(&self.meter));
        let out = self.eval_node(node, grid)?;
        let (Some(explain), Some(before)) = (&mut self.explain, before) else { return Ok(out) };
        let (series, bytes) = match &out {
            Out::Rows(frame) => (frame.rows.len() as u64, frame.bytes()),
            Out::Scalar(values) => (1, 8 * values.len() as u64),
            Out::Text(text) => (0, text.len() as u64),
        };
        let text = explain.query.get(node.pos.start..node.pos.end).unwrap_or_default();
        let part = Explain {
            what: name(&node.kind).to_string(),
            text: cut(text),
            seconds: begun.elapsed().as_secs_f64(),
            series,
            samples: samples(&self.meter).saturating_sub(read),
            bytes,
            parts: std::mem::replace(&mut explain.parts, before),
        };
        explain.parts.push(part);
        Ok(out)
    }
}
