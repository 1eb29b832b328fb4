//! Prints a tree as upstream's library does (go-yaml v2 over libyaml's emitter): two spaces, lists at the
//! level of their key, plain text where it stays text, folded at column 80.

use super::encode::Out;
use super::resolve::needs_quotes;

/// Column after which a space becomes a line break.
const WIDTH: usize = 80;
/// Keys longer than this take the explicit form `? key`.
const SIMPLE_KEY_BYTES_MAX: usize = 128;

/// Prints a document.
pub(crate) fn to_text(root: &Out) -> String {
    let mut emitter = Emitter { whitespace: true, indention: true, ..Emitter::default() };
    emitter.node(root, Place::Root, 0);
    if emitter.column > 0 {
        emitter.line_break();
    }
    emitter.out
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Item,
    Value,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Single,
    Double,
    Literal,
}

#[derive(Default)]
struct Emitter {
    out: String,
    column: usize,
    /// The last thing written was white space.
    whitespace: bool,
    /// Only indentation (and `-`, `?`, `:`) stands on this line so far.
    indention: bool,
}

impl Emitter {
    /// `indent` is the column of the collection this node stands in (0 at the root).
    fn node(&mut self, node: &Out, place: Place, indent: usize) {
        let next = if place == Place::Root { 0 } else { indent + 2 };
        match node {
            Out::Null => self.raw("null"),
            Out::Raw(text) => self.raw(text),
            Out::Text(text) => self.text(text, false, false, next),
            Out::Seq { items, flow } if *flow || items.is_empty() => self.flow_list(items, next),
            Out::Seq { items, .. } => {
                // A list in a mapping stands at the level of its key.
                let column = if place == Place::Value && !self.indention { indent } else { next };
                for item in items {
                    self.indent(column);
                    self.indicator("-", true, false, true);
                    self.node(item, Place::Item, column);
                }
            }
            Out::Later(later) => self.node(&later.0.encode(), place, indent),
            Out::Map(pairs) if pairs.is_empty() => {
                self.indicator("{", true, true, false);
                self.indicator("}", false, false, false);
            }
            Out::Map(pairs) => {
                for (key, value) in pairs {
                    self.indent(next);
                    let multiline = key.contains(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']);
                    if multiline || key.len() > SIMPLE_KEY_BYTES_MAX {
                        self.indicator("?", true, false, true);
                        self.text(key, false, false, next + 2);
                        self.indent(next);
                        self.indicator(":", true, false, true);
                    } else {
                        self.text(key, true, false, next);
                        self.indicator(":", false, false, false);
                    }
                    self.node(value, Place::Value, next);
                }
            }
        }
    }

    fn flow_list(&mut self, items: &[Out], indent: usize) {
        self.indicator("[", true, true, false);
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.indicator(",", false, false, false);
            }
            if self.column > WIDTH {
                self.indent(indent);
            }
            match item {
                Out::Text(text) => self.text(text, false, true, indent),
                Out::Raw(text) => self.raw(text),
                other => self.node(other, Place::Item, indent),
            }
        }
        self.indicator("]", false, false, false);
    }

    fn put(&mut self, c: char) {
        self.out.push(c);
        self.column += 1;
    }

    fn line_break(&mut self) {
        self.out.push('\n');
        self.column = 0;
    }

    fn indent(&mut self, column: usize) {
        if !self.indention || self.column > column || (self.column == column && !self.whitespace) {
            self.line_break();
        }
        while self.column < column {
            self.put(' ');
        }
        self.whitespace = true;
        self.indention = true;
    }

    fn indicator(&mut self, text: &str, space_before: bool, whitespace: bool, indention: bool) {
        if space_before && !self.whitespace {
            self.put(' ');
        }
        text.chars().for_each(|c| self.put(c));
        self.whitespace = whitespace;
        self.indention = self.indention && indention;
    }

    fn raw(&mut self, text: &str) {
        self.indicator(text, true, false, false);
    }

    fn text(&mut self, text: &str, key: bool, flow: bool, indent: usize) {
        let shape = Shape::of(text);
        let mut style = if text.contains('\n') {
            Style::Literal
        } else if needs_quotes(text) {
            Style::Double
        } else {
            Style::Plain
        };
        if key && shape.multiline {
            style = Style::Double;
        }
        let plain_allowed = if flow { shape.flow_plain } else { shape.block_plain };
        if style == Style::Plain && !plain_allowed {
            style = Style::Single;
        }
        if style == Style::Single && !shape.single {
            style = Style::Double;
        }
        if style == Style::Literal && (!shape.literal || flow || key) {
            style = Style::Double;
        }
        match style {
            Style::Plain => self.plain(text, !key, indent),
            Style::Single => self.single(text, !key, indent),
            Style::Double => self.double(text, !key, indent),
            Style::Literal => self.literal(text, indent),
        }
    }

    fn plain(&mut self, text: &str, fold: bool, indent: usize) {
        if !self.whitespace {
            self.put(' ');
        }
        self.folded(text, fold, indent, false);
        self.whitespace = false;
        self.indention = false;
    }

    fn single(&mut self, text: &str, fold: bool, indent: usize) {
        self.indicator("'", true, false, false);
        self.folded(text, fold, indent, true);
        self.indicator("'", false, false, false);
        self.whitespace = false;
        self.indention = false;
    }

    fn folded(&mut self, text: &str, fold: bool, indent: usize, quoted: bool) {
        let (mut spaces, mut breaks) = (false, false);
        let mut chars = text.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            let next = chars.peek().map(|(_, c)| *c);
            if c == ' ' {
                let inside = !quoted || (at > 0 && next.is_some());
                if fold && !spaces && self.column > WIDTH && inside && next != Some(' ') {
                    self.indent(indent);
                } else {
                    self.put(c);
                }
                spaces = true;
            } else if is_break(c) {
                if !breaks && c == '\n' {
                    self.line_break();
                }
                self.write_break(c);
                self.indention = true;
                breaks = true;
            } else {
                if breaks {
                    self.indent(indent);
                }
                if quoted && c == '\'' {
                    self.put('\'');
                }
                self.put(c);
                self.indention = false;
                (spaces, breaks) = (false, false);
            }
        }
    }

    fn write_break(&mut self, c: char) {
        self.out.push(c);
        self.column = 0;
    }

    fn double(&mut self, text: &str, fold: bool, indent: usize) {
        self.indicator("\"", true, false, false);
        let mut spaces = false;
        let mut chars = text.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            let next = chars.peek().map(|(_, c)| *c);
            if !is_printable(c) || is_break(c) || matches!(c, '"' | '\\' | '\u{feff}') {
                self.escape(c);
                spaces = false;
            } else if c == ' ' {
                if fold && !spaces && self.column > WIDTH && at > 0 && next.is_some() {
                    self.indent(indent);
                    if next == Some(' ') {
                        self.put('\\');
                    }
                } else {
                    self.put(c);
                }
                spaces = true;
            } else {
                self.put(c);
                spaces = false;
            }
        }
        self.indicator("\"", false, false, false);
        self.whitespace = false;
        self.indention = false;
    }

    fn escape(&mut self, c: char) {
        let short = match c {
            '\0' => '0',
            '\u{7}' => 'a',
            '\u{8}' => 'b',
            '\t' => 't',
            '\n' => 'n',
            '\u{b}' => 'v',
            '\u{c}' => 'f',
            '\r' => 'r',
            '\u{1b}' => 'e',
            '"' => '"',
            '\\' => '\\',
            '\u{85}' => 'N',
            '\u{a0}' => '_',
            '\u{2028}' => 'L',
            '\u{2029}' => 'P',
            _ => '\0',
        };
        let code = c as u32;
        let text = match code {
            _ if short != '\0' => format!("\\{short}"),
            ..=0xff => format!("\\x{code:02X}"),
            0x100..=0xffff => format!("\\u{code:04X}"),
            _ => format!("\\U{code:08X}"),
        };
        text.chars().for_each(|c| self.put(c));
    }

    fn literal(&mut self, text: &str, indent: usize) {
        self.indicator("|", true, false, false);
        if text.starts_with(|c| c == ' ' || is_break(c)) {
            self.indicator("2", false, false, false);
        }
        let mut tail = text.chars().rev();
        match (tail.next().is_some_and(is_break), tail.next()) {
            (false, _) => self.indicator("-", false, false, false),
            (true, None) => self.indicator("+", false, false, false),
            (true, Some(c)) if is_break(c) => self.indicator("+", false, false, false),
            _ => {}
        }
        self.line_break();
        self.indention = true;
        self.whitespace = true;
        let mut breaks = true;
        for c in text.chars() {
            if is_break(c) {
                self.write_break(c);
                self.indention = true;
                breaks = true;
            } else {
                if breaks {
                    self.indent(indent);
                }
                self.put(c);
                self.indention = false;
                breaks = false;
            }
        }
    }
}

fn is_break(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_printable(c: char) -> bool {
    matches!(c, '\n' | ' '..='~' | '\u{a0}'..='\u{d7ff}' | '\u{e000}'..='\u{fffd}') && c != '\u{feff}'
}

/// In which styles a text may be written.
struct Shape {
    multiline: bool,
    flow_plain: bool,
    block_plain: bool,
    single: bool,
    literal: bool,
}

impl Shape {
    fn of(text: &str) -> Shape {
        if text.is_empty() {
            return Shape {
                multiline: false,
                flow_plain: false,
                block_plain: true,
                single: true,
                literal: false,
            };
        }
        let marker = text.starts_with("---") || text.starts_with("...");
        let (mut block_indicator, mut flow_indicator) = (marker, marker);
        let (mut breaks, mut special, mut break_space, mut space_break) = (false, false, false, false);
        let mut previous: Option<char> = None;
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            let followed = chars.peek().is_none_or(|n| matches!(n, ' ' | '\t'));
            let (flow, block) = match (previous, c) {
                (
                    None,
                    '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@'
                    | '`',
                ) => (true, true),
                (None, '?' | ':') | (Some(_), ':') => (true, followed),
                (None, '-') => (followed, followed),
                (Some(_), ',' | '?' | '[' | ']' | '{' | '}') => (true, false),
                (Some(p), '#') if matches!(p, ' ' | '\t') || is_break(p) => (true, true),
                _ => (false, false),
            };
            flow_indicator |= flow;
            block_indicator |= block;
            special |= !is_printable(c);
            break_space |= c == ' ' && previous.is_some_and(is_break);
            space_break |= is_break(c) && previous == Some(' ');
            breaks |= is_break(c);
            previous = Some(c);
        }
        let edge = |c: char| c == ' ' || is_break(c);
        let edges = text.starts_with(edge) || text.ends_with(edge);
        let unfit = space_break || special;
        let plain = !(edges || break_space || unfit || breaks);
        Shape {
            multiline: breaks,
            flow_plain: plain && !flow_indicator,
            block_plain: plain && !block_indicator,
            single: !(break_space || unfit),
            literal: !(text.ends_with(' ') || unfit),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seq(items: Vec<Out>) -> Out {
        Out::Seq { items, flow: false }
    }
    fn map(pairs: Vec<(&str, Out)>) -> Out {
        Out::Map(pairs.into_iter().map(|(k, v)| (k.to_string(), v)).collect())
    }
    fn text(t: &str) -> Out {
        Out::Text(t.to_string())
    }

    #[test]
    fn collections() {
        let doc = map(vec![
            (
                "a",
                seq(vec![
                    text("x"),
                    seq(vec![text("u"), text("z")]),
                    map(vec![("k", text("v")), ("l", seq(vec![text("w")]))]),
                ]),
            ),
            ("b", map(vec![("c", Out::Raw("1".into())), ("d", Out::Map(vec![])), ("e", seq(vec![]))])),
            ("f", seq(vec![text("a"), text("b c"), text("yes"), text("a,b")]).flow()),
            ("g", Out::Null),
        ]);
        let want = "a:\n- x\n- - u\n  - z\n- k: v\n  l:\n  - w\nb:\n  c: 1\n  d: {}\n  e: []\nf: [a, b c, \"yes\", 'a,b']\ng: null\n";
        assert_eq!(to_text(&doc), want);
        assert_eq!(to_text(&map(vec![])), "{}\n");
    }

    #[test]
    fn scalars() {
        let show = |t: &str| to_text(&map(vec![("k", text(t))]));
        for (t, want) in [
            ("a b", "k: a b\n"),
            ("", "k: \"\"\n"),
            ("12", "k: \"12\"\n"),
            ("a: b", "k: 'a: b'\n"),
            ("a #b", "k: 'a #b'\n"),
            ("it's: so", "k: 'it''s: so'\n"),
            (" a", "k: ' a'\n"),
            ("a\tb", "k: \"a\\tb\"\n"),
            ("a\nb", "k: |-\n  a\n  b\n"),
            ("a\nb\n", "k: |\n  a\n  b\n"),
            ("a\n\n", "k: |+\n  a\n\n"),
            (" a\nb", "k: |2-\n   a\n  b\n"),
            ("a \nb", "k: \"a \\nb\"\n"),
            ("- a", "k: '- a'\n"),
            ("-a", "k: -a\n"),
            ("\u{1f600}", "k: \"\\U0001F600\"\n"),
            ("\u{e9}", "k: \u{e9}\n"),
            ("(.*)", "k: (.*)\n"),
            ("[a]", "k: '[a]'\n"),
        ] {
            assert_eq!(show(t), want, "{t:?}");
        }
    }
}
