//! A random expression as a tree of texts, so that one that differs can be made smaller piece by piece.

/// xorshift64*: the same expressions for the same seed on every machine.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A source of its own for each seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        // Mixed (splitmix64), so that neighbouring seeds have nothing in common.
        let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Random((z ^ (z >> 31)) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// 0 to n - 1; n above 0.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() >> 33) as usize % n
    }

    /// True once in n times.
    pub fn once_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of a list.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// Type of an expression, or of a part that is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Instant vector.
    Vector,
    /// Scalar.
    Scalar,
    /// Range vector.
    Matrix,
    /// String.
    Text,
}

/// A piece of an expression.
#[derive(Clone, Debug)]
pub enum Part {
    /// Text that belongs there.
    Text(String),
    /// Text that may be left out.
    Extra(String),
    /// An expression.
    Child(Node),
}

/// An expression.
#[derive(Clone, Debug)]
pub struct Node {
    /// Its type.
    pub kind: Kind,
    /// Its pieces in order.
    pub parts: Vec<Part>,
    /// What the table counts: functions, operators, modifiers of this node alone.
    pub marks: Vec<&'static str>,
}

impl Node {
    /// An expression without inner ones.
    pub fn leaf(kind: Kind, text: impl Into<String>) -> Node {
        Node { kind, parts: vec![Part::Text(text.into())], marks: Vec::new() }
    }

    /// An expression without pieces yet.
    #[must_use]
    pub fn new(kind: Kind) -> Node {
        Node { kind, parts: Vec::new(), marks: Vec::new() }
    }

    /// Adds text.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Node {
        self.parts.push(Part::Text(text.into()));
        self
    }

    /// Adds text that can be missed.
    #[must_use]
    pub fn extra(mut self, text: impl Into<String>) -> Node {
        self.parts.push(Part::Extra(text.into()));
        self
    }

    /// Adds an expression.
    #[must_use]
    pub fn child(mut self, node: Node) -> Node {
        self.parts.push(Part::Child(node));
        self
    }

    /// Adds what the table counts.
    #[must_use]
    pub fn mark(mut self, mark: &'static str) -> Node {
        self.marks.push(mark);
        self
    }

    /// The expression as sent.
    #[must_use]
    pub fn print(&self) -> String {
        let mut out = String::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        for part in &self.parts {
            match part {
                Part::Text(text) | Part::Extra(text) => out.push_str(text),
                Part::Child(node) => node.write(out),
            }
        }
    }

    /// All marks of the tree.
    pub fn all_marks(&self, into: &mut Vec<&'static str>) {
        into.extend(&self.marks);
        for part in &self.parts {
            if let Part::Child(node) = part {
                node.all_marks(into);
            }
        }
    }

    fn children(&self) -> impl Iterator<Item = &Node> {
        self.parts.iter().filter_map(|p| if let Part::Child(node) = p { Some(node) } else { None })
    }

    fn descendants<'a>(&'a self, kind: Kind, into: &mut Vec<&'a Node>) {
        for child in self.children() {
            if child.kind == kind {
                into.push(child);
            }
            child.descendants(kind, into);
        }
    }

    /// Smaller expressions of the same type, boldest first.
    #[must_use]
    pub fn smaller(&self) -> Vec<Node> {
        let mut all = Vec::new();
        let mut inner = Vec::new();
        self.descendants(self.kind, &mut inner);
        all.extend(inner.into_iter().cloned());
        if self.kind == Kind::Scalar && self.print() != "1" {
            all.push(Node::leaf(Kind::Scalar, "1"));
        }
        for (at, part) in self.parts.iter().enumerate() {
            match part {
                Part::Text(_) => {}
                Part::Extra(_) => {
                    let mut less = self.clone();
                    less.parts.remove(at);
                    all.push(less);
                }
                Part::Child(child) => {
                    for replacement in child.smaller() {
                        let mut less = self.clone();
                        less.parts[at] = Part::Child(replacement);
                        all.push(less);
                    }
                }
            }
        }
        all
    }
}

/// Smallest expression found that still shows what `shows` looks for; asks it at most `tries` times.
pub fn shrink(node: &Node, mut tries: usize, mut shows: impl FnMut(&Node) -> bool) -> Node {
    let mut best = node.clone();
    'again: loop {
        for less in best.smaller() {
            if tries == 0 {
                return best;
            }
            tries -= 1;
            if shows(&less) {
                best = less;
                continue 'again;
            }
        }
        return best;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_that_still_shows_it() {
        let x = Node::leaf(Kind::Vector, "x");
        let sum = Node::new(Kind::Vector).text("sum").extra(" by (a)").text("(").child(x).text(")");
        let abs = Node::new(Kind::Vector).text("abs(").child(sum).text(")").mark("abs");
        assert_eq!(abs.print(), "abs(sum by (a)(x))");
        let smallest = shrink(&abs, 100, |n| n.print().contains("sum"));
        assert_eq!(smallest.print(), "sum(x)");
        let mut marks = Vec::new();
        abs.all_marks(&mut marks);
        assert_eq!(marks, ["abs"]);
    }
}
