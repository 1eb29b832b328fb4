//! The long list of a document, item by item. The tree of a file with twenty thousand jobs takes fifteen times
//! its size, and reading it most of a reload; item by item only one of them is in memory as a tree, and one that is
//! known from the last reading is not read at all.
//!
//! A block sequence may be cut at the lines on which its items begin, as long as nothing reaches across (a quoted
//! text, an alias) and nothing hides there (a block scalar of the same look). Whatever does not look simple, or does
//! not turn out to be one item when it is read, is left to the reader of whole documents.

use super::node::{Kind, Node, check_characters};

/// Line breaks of YAML besides the usual one: a text with one of them is not cut.
const OTHER_BREAKS: [char; 4] = ['\r', '\u{85}', '\u{2028}', '\u{2029}'];

/// A document cut into its long list's items and the rest.
pub(crate) struct Items<'t> {
    key: &'t str,
    key_line: u32,
    /// The document with empty lines where the items are.
    pub(crate) head: String,
    pub(crate) items: Vec<Item<'t>>,
}

/// One item as it is written.
#[derive(Clone, Copy)]
pub(crate) struct Item<'t> {
    pub(crate) text: &'t str,
    lines_above: u32,
}

#[derive(PartialEq)]
enum At {
    Before,
    Inside,
    Behind,
}

impl<'t> Items<'t> {
    /// Cuts the list that is the value of `key` in the outermost mapping. `None` where that is not simple.
    pub(crate) fn split(text: &'t str, key: &'t str) -> Option<Items<'t>> {
        if text.contains(OTHER_BREAKS) || check_characters(text).is_err() {
            return None;
        }
        let (mut at, mut column, mut offset) = (At::Before, None, 0);
        let (mut key_line, mut begins) = (0, Vec::new());
        let mut end = (text.len(), 0);
        for (line, number) in text.split_inclusive('\n').zip(0_u32..) {
            let start = offset;
            offset += line.len();
            end.1 = if at == At::Behind { end.1 } else { number + 1 };
            match at {
                At::Before | At::Behind if !is_key(line, key) => {}
                At::Before => (at, key_line) = (At::Inside, number + 1),
                // Given twice.
                At::Behind => return None,
                At::Inside => {
                    let rest = line.trim_end_matches('\n');
                    let inner = rest.trim_start_matches(' ');
                    if inner.is_empty() || inner.starts_with('#') {
                        continue;
                    }
                    let indent = rest.len() - inner.len();
                    let begins_item = inner == "-" || inner.starts_with("- ");
                    if begins_item && column.is_none_or(|c| c == indent) {
                        column = Some(indent);
                        begins.push((start, number));
                    } else if column? < indent {
                        // Goes on.
                    } else if indent == 0
                        && !["---", "..."].iter().any(|end| inner.starts_with(end))
                        && !is_key(line, key)
                    {
                        at = At::Behind;
                        end = (start, number);
                    } else {
                        return None;
                    }
                }
            }
        }
        let ends = begins.iter().skip(1).map(|(start, _)| *start).chain([end.0]);
        let items: Vec<Item<'t>> = begins
            .iter()
            .zip(ends)
            .map(|((start, line), end)| Some(Item { text: text.get(*start..end)?, lines_above: *line }))
            .collect::<Option<_>>()?;
        let (first, first_line) = *begins.first()?;
        let empty = usize::try_from(end.1 - first_line).unwrap_or(0);
        let head = [text.get(..first)?, &"\n".repeat(empty), text.get(end.0..)?].concat();
        Some(Items { key, key_line, head, items })
    }

    /// Whether the head, as read, has the key where it was seen, without a value.
    pub(crate) fn fit(&self, head: &Node) -> bool {
        let Kind::Map(pairs) = &head.kind else { return false };
        let mut found = pairs.iter().filter(|(key, _)| key.scalar_text() == Some(self.key));
        // The parser writes an empty value so.
        let empty = |value: &Node| matches!(&value.kind, Kind::Scalar { text, plain: true } if text == "~");
        found
            .next()
            .is_some_and(|(key, value)| key.pos.line == self.key_line && value.tag.is_none() && empty(value))
    }
}

impl Item<'_> {
    /// The item as a tree of its own, with its places in the document. `None` where it is not one.
    pub(crate) fn node(&self) -> Option<Node> {
        let part = Node::parse_part(self.text, self.lines_above).ok()??;
        if part.has_anchors {
            return None;
        }
        match part.root.kind {
            Kind::Seq(mut items) if items.len() == 1 && part.root.tag.is_none() => items.pop(),
            _ => None,
        }
    }
}

/// Whether a line is `key:`, perhaps with a comment.
fn is_key(line: &str, key: &str) -> bool {
    let Some(rest) = line.strip_prefix(key).and_then(|rest| rest.strip_prefix(':')) else { return false };
    let rest = rest.trim_end_matches('\n');
    let inner = rest.trim_start_matches(' ');
    inner.is_empty() || inner.starts_with('#') && inner.len() < rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(text: &str) -> Option<(String, Vec<&str>)> {
        Items::split(text, "list").map(|i| (i.head, i.items.iter().map(|item| item.text).collect()))
    }

    #[test]
    fn lists_are_cut_where_items_begin() {
        let text = "# c\na: 1\nlist: # here\n# d\n- x: 1\n\n  y: 2\n# e\n-\n  - z\n  - |\n    - u\nb: 2\n";
        let (head, items) = cut(text).unwrap();
        assert_eq!(head, "# c\na: 1\nlist: # here\n# d\n\n\n\n\n\n\n\n\nb: 2\n");
        assert_eq!(items, ["- x: 1\n\n  y: 2\n# e\n", "-\n  - z\n  - |\n    - u\n"]);
        let (head, items) = cut("list:\n   - a\n   - b").unwrap();
        assert_eq!((head.as_str(), items), ("list:\n\n\n", vec!["   - a\n", "   - b"]));
        let all = Items::split("list:\n\n- a: 'x'\n  b: {c: d}\n", "list").unwrap();
        let node = all.items[0].node().unwrap();
        assert_eq!(
            node.get("b").unwrap().get("c").unwrap().pos,
            crate::yaml::node::Pos { line: 4, column: 10 }
        );
        assert!(all.fit(&Node::parse(&all.head).unwrap().unwrap()));
    }

    #[test]
    fn what_is_not_simple_is_left_alone() {
        for text in [
            "",
            "a: 1\n",
            "list: []\n",
            "list:\n",
            "list:\n  a: 1\n",
            "list:\n- a\nlist:\n- b\n",
            "list:\n- a\n--- \n- b\n",
            "list:\n  - a\n - b\n",
            "list:\r\n- a\r\n",
            "list:\n- a\u{85}- b\n",
            "list:\n- \u{1}\n",
        ] {
            assert_eq!(cut(text), None, "{text:?}");
        }
        // Cut, but not an item.
        for text in ["list:\n- 'a\n- b'\n", "list:\n- &x a\n- b\n", "list:\n- *x\n", "list:\n- [a\n"] {
            assert!(Items::split(text, "list").unwrap().items[0].node().is_none(), "{text:?}");
        }
        // Within a text that looks like a list.
        for text in ["a: |\n list:\nlist: &x\n", "a: 'b\n\nlist:\n- c\n'\n", "---\na: 1\n---\nlist:\n- a\n"] {
            let Some(items) = Items::split(text, "list") else { continue };
            let head = Node::parse(&items.head).ok().flatten();
            assert!(!head.is_some_and(|head| items.fit(&head)), "{text:?}");
        }
    }
}
