//! Binary operators of the generator: with scalars, between vectors that match, matching's modifiers.

use super::generate::{Flavor, Generator};
use super::node::{Kind, Node};

/// A vector and a scalar, either way round.
pub(super) fn with_scalar(g: &mut Generator, flavor: Flavor, d: usize) -> Node {
    let vector = g.vector(flavor, d);
    let scalar = g.scalar(d.min(1));
    let mut node = Node::new(Kind::Vector);
    if flavor == Flavor::Histogram && g.r.below(3) > 0 {
        let op = if g.newer { g.r.pick(&["*", "/", "</", ">/", "</", ">/"]) } else { g.r.pick(&["*", "/"]) };
        let scalar = if op.len() == 2 {
            let text = g.r.pick(&["0", "1", "2.5", "0.3", "-1", "Inf", "-Inf", "4", "NaN", "0.5"]);
            Node::leaf(Kind::Scalar, text)
        } else {
            scalar
        };
        return node.text("(").child(vector).text(format!(") {op} ")).child(scalar).mark(op);
    }
    let comparison = g.r.once_in(3);
    let (op, bool) = if comparison {
        (g.comparison(), if g.r.once_in(2) { " bool" } else { "" })
    } else {
        (g.arithmetic(), "")
    };
    let (left, right) = if g.r.once_in(4) { (scalar, vector) } else { (vector, scalar) };
    if !bool.is_empty() {
        node = node.mark("bool");
    }
    node.text("(").child(left).text(format!(") {op}")).extra(bool).text(" (").child(right).text(")").mark(op)
}

/// Labels that the vectors of the data have in common.
const SHARED: [&str; 4] = ["job, instance", "job", "instance", "job,instance"];

fn fills(g: &mut Generator, mut node: Node) -> Node {
    if !g.newer || g.r.below(6) > 0 {
        return node;
    }
    let (a, b) = (g.r.pick(&["0", "1", "-2.5", "NaN", "Inf"]), g.r.pick(&["0", "7", "+1"]));
    match g.r.below(4) {
        0 => node = node.extra(format!(" fill({a})")).mark("fill"),
        1 => node = node.extra(format!(" fill_left({a})")).mark("fill_left"),
        2 => node = node.extra(format!(" fill_right({a})")).mark("fill_right"),
        _ => {
            node = node.extra(format!(" fill_left({a}) fill_right({b})")).mark("fill_left").mark("fill_right")
        }
    }
    node
}

fn operator(g: &mut Generator, flavor: Flavor, node: Node) -> Node {
    if flavor == Flavor::Histogram && g.r.below(4) > 0 {
        let op = g.r.pick(&["+", "-", "+", "-", "==", "!="]);
        let node = node.text(format!(" {op}")).mark(op);
        return if op.len() == 2 && g.r.once_in(2) { node.extra(" bool").mark("bool") } else { node };
    }
    if g.r.once_in(3) {
        let op = g.comparison();
        let node = node.text(format!(" {op}")).mark(op);
        return if g.r.once_in(2) { node.extra(" bool").mark("bool") } else { node };
    }
    let op = g.arithmetic();
    node.text(format!(" {op}")).mark(op)
}

fn grouped(g: &mut Generator, flavor: Flavor, labels: &str, d: usize) -> Node {
    let inner = g.vector(flavor, d);
    let name = match flavor {
        Flavor::Histogram => g.r.pick(&["sum", "avg"]),
        Flavor::Float => g.r.pick(&["sum", "max", "count", "avg", "min"]),
    };
    let node = Node::new(Kind::Vector).text(format!("{name} by ({labels}) ("));
    node.child(inner).text(")").mark(name).mark("by")
}

/// Two vectors.
pub(super) fn binary(g: &mut Generator, flavor: Flavor, d: usize) -> Node {
    let open = Node::new(Kind::Vector).text("(");
    if g.r.once_in(5) {
        let (left, right) = (g.vector(flavor, d), g.vector(flavor, d));
        let right = if g.r.once_in(3) { similar(g, flavor, &left) } else { right };
        let op = g.set();
        let node = open.child(left).text(format!(") {op}")).mark(op);
        let labels = g.r.pick(&["job", "instance", "job, instance", "", "code"]);
        let node = match g.r.below(4) {
            0 => node.extra(format!(" on ({labels})")).mark("on"),
            1 => node.extra(format!(" ignoring ({labels})")).mark("ignoring"),
            _ => node,
        };
        return node.text(" (").child(right).text(")");
    }
    match g.r.below(10) {
        // The same series on both sides.
        0..=3 => {
            let left = g.vector(flavor, d);
            let right = similar(g, flavor, &left);
            let node = operator(g, flavor, open.child(left).text(")"));
            let node = match g.r.below(8) {
                0 => node.extra(" ignoring (nosuch)").mark("ignoring"),
                1 => node.extra(" on (job, instance, code, le, n, side)").mark("on"),
                _ => node,
            };
            fills(g, node).text(" (").child(right).text(")")
        }
        // Both folded to the same labels.
        4 | 5 => {
            let labels = g.r.pick(&SHARED);
            let (left, right) = (grouped(g, flavor, labels, d), grouped(g, flavor, labels, d));
            let node = operator(g, flavor, open.child(left).text(")"));
            let node = if g.r.once_in(2) { node.extra(format!(" on ({labels})")).mark("on") } else { node };
            fills(g, node).text(" (").child(right).text(")")
        }
        // Many to one.
        6..=8 => {
            let labels = g.r.pick(&SHARED);
            let many = g.vector(flavor, d);
            let (one, carried) = match g.r.below(4) {
                0 => (Node::leaf(Kind::Vector, "one"), "owner"),
                1 => (Node::leaf(Kind::Vector, "role"), "role"),
                _ => (grouped(g, Flavor::Float, labels, d), ""),
            };
            let labels = if carried == "owner" { "job" } else { labels };
            let carried =
                if g.r.once_in(4) { g.r.pick(&["code", "nosuch", "job", "instance"]) } else { carried };
            let (left, right, word, mark) = if g.r.once_in(2) {
                (many, one, "group_left", "group_left")
            } else {
                (one, many, "group_right", "group_right")
            };
            let node = if flavor == Flavor::Histogram && g.r.once_in(2) {
                open.child(left).text(") *").mark("*")
            } else {
                operator(g, Flavor::Float, open.child(left).text(")"))
            };
            let carried =
                if carried.is_empty() && g.r.once_in(2) { String::new() } else { format!(" ({carried})") };
            let node = node.text(format!(" on ({labels}) {word}{carried}")).mark("on").mark(mark);
            fills(g, node).text(" (").child(right).text(")")
        }
        // Whatever comes.
        _ => {
            let (left, right) = (g.vector(flavor, d), g.vector(flavor, d));
            let node = operator(g, flavor, open.child(left).text(")"));
            let node = match g.r.below(3) {
                0 => node.text(" ignoring (code, le, n, side)").mark("ignoring"),
                1 => {
                    node.text(" ignoring (code, le, side) group_left ()").mark("ignoring").mark("group_left")
                }
                _ => node,
            };
            fills(g, node).text(" (").child(right).text(")")
        }
    }
}

/// An expression over the same series as another.
fn similar(g: &mut Generator, flavor: Flavor, of: &Node) -> Node {
    let node = Node::new(Kind::Vector);
    match (g.r.below(5), flavor) {
        (0, _) => of.clone(),
        (1, Flavor::Float) => node.text("abs(").child(of.clone()).text(")").mark("abs"),
        (2, _) => node.text("(").child(of.clone()).text(") * 2").mark("*"),
        (3, Flavor::Float) => node.text("(").child(of.clone()).text(") > 3").mark(">"),
        (3, _) => node.text("-(").child(of.clone()).text(")").mark("unary -"),
        (_, Flavor::Histogram) => node.text("(").child(of.clone()).text(") / 4").mark("/"),
        _ => node.text("clamp_max(").child(of.clone()).text(", 7)").mark("clamp_max"),
    }
}
