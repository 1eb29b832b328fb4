//! From text to tokens. Follows Go's `text/template/parse/lex.go` in what is one token and what is refused.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The text of the token says what is wrong; nothing comes after.
    Error,
    Eof,
    Text,
    LeftDelim,
    RightDelim,
    Space,
    Bool,
    Char,
    CharConstant,
    Complex,
    Number,
    Str,
    RawStr,
    Assign,
    Declare,
    Dot,
    Field,
    Variable,
    Identifier,
    LeftParen,
    RightParen,
    Pipe,
    Nil,
    Block,
    Break,
    Continue,
    Define,
    Else,
    End,
    If,
    Range,
    Template,
    With,
}

impl Kind {
    /// Words of the language.
    fn keyword(word: &str) -> Option<Kind> {
        Some(match word {
            "block" => Kind::Block,
            "break" => Kind::Break,
            "continue" => Kind::Continue,
            "define" => Kind::Define,
            "else" => Kind::Else,
            "end" => Kind::End,
            "if" => Kind::If,
            "range" => Kind::Range,
            "nil" => Kind::Nil,
            "template" => Kind::Template,
            "with" => Kind::With,
            "true" | "false" => Kind::Bool,
            _ => return None,
        })
    }

    pub(crate) fn is_keyword(self) -> bool {
        self as u8 >= Kind::Nil as u8 || self == Kind::Dot
    }
}

/// A token. Line and column begin at 1; columns count characters.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token<'a> {
    pub(crate) kind: Kind,
    pub(crate) text: std::borrow::Cow<'a, str>,
    pub(crate) line: usize,
    pub(crate) column: usize,
    /// Byte of the text where it begins.
    pub(crate) at: usize,
}

const LEFT: &str = "{{";
const RIGHT: &str = "}}";
const SPACES: [char; 4] = [' ', '\t', '\r', '\n'];

/// All tokens of a text; the last one is the end or an error.
pub(crate) fn tokens(input: &str) -> Vec<Token<'_>> {
    let mut lexer = Lexer { input, at: 0, line: 1, line_start: 0, out: Vec::new() };
    if let Err(text) = lexer.run() {
        lexer.push_owned(Kind::Error, text);
    } else {
        lexer.push(Kind::Eof, lexer.at);
    }
    lexer.out
}

struct Lexer<'a> {
    input: &'a str,
    at: usize,
    line: usize,
    line_start: usize,
    out: Vec<Token<'a>>,
}

fn is_word(c: char) -> bool {
    c == '_' || c.is_alphabetic() || c.is_numeric()
}

/// `-` and a space after `{{`.
fn trims_left(rest: &str) -> bool {
    rest.strip_prefix('-').is_some_and(|r| r.starts_with(SPACES))
}

/// A space and `-` before `}}`.
fn trims_right(rest: &str) -> bool {
    rest.strip_prefix(SPACES).is_some_and(|r| r.starts_with('-'))
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        self.input.get(self.at..).unwrap_or("")
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    /// Goes on to a byte, counting lines.
    fn advance(&mut self, to: usize) {
        let passed = self.input.get(self.at..to).unwrap_or("");
        if let Some(last) = passed.rfind('\n') {
            self.line += passed.matches('\n').count();
            self.line_start = self.at + last + 1;
        }
        self.at = to;
    }

    fn skip(&mut self, bytes: usize) {
        self.advance(self.at + bytes);
    }

    /// Emits what lies between here and `to`, and goes there.
    fn push(&mut self, kind: Kind, to: usize) {
        let text = self.input.get(self.at..to).unwrap_or("");
        let token = Token { kind, text: text.into(), line: self.line, column: self.column(), at: self.at };
        self.out.push(token);
        self.advance(to);
    }

    fn push_owned(&mut self, kind: Kind, text: String) {
        let token = Token { kind, text: text.into(), line: self.line, column: self.column(), at: self.at };
        self.out.push(token);
    }

    fn column(&self) -> usize {
        self.input.get(self.line_start..self.at).map_or(1, |passed| passed.chars().count() + 1)
    }

    fn run(&mut self) -> Result<(), String> {
        while let Some(found) = self.rest().find(LEFT) {
            let start = self.at + found;
            let after = start + LEFT.len();
            let trims = trims_left(self.input.get(after..).unwrap_or(""));
            let text = self.input.get(self.at..start).unwrap_or("");
            let kept = if trims { text.trim_end_matches(SPACES) } else { text };
            if !kept.is_empty() {
                self.push(Kind::Text, self.at + kept.len());
            }
            self.advance(start);
            let inside = if trims { after + 2 } else { after };
            if self.input.get(inside..).is_some_and(|r| r.starts_with("/*")) {
                self.comment(inside)?;
                continue;
            }
            self.push(Kind::LeftDelim, after);
            self.advance(inside);
            self.action()?;
        }
        if !self.rest().is_empty() {
            self.push(Kind::Text, self.input.len());
        }
        Ok(())
    }

    fn comment(&mut self, from: usize) -> Result<(), String> {
        self.advance(from + 2);
        let end = self.rest().find("*/").ok_or("unclosed comment")?;
        self.skip(end + 2);
        match self.right_delim() {
            Some(trims) => {
                self.pass_right_delim(trims);
                Ok(())
            }
            None => Err("comment ends before closing delimiter".to_string()),
        }
    }

    /// Whether the action ends here; true within where spaces behind it are trimmed.
    fn right_delim(&self) -> Option<bool> {
        let rest = self.rest();
        if trims_right(rest) && rest.get(2..).is_some_and(|r| r.starts_with(RIGHT)) {
            return Some(true);
        }
        rest.starts_with(RIGHT).then_some(false)
    }

    fn pass_right_delim(&mut self, trims: bool) {
        self.skip(RIGHT.len() + if trims { 2 } else { 0 });
        if trims {
            let rest = self.rest();
            self.skip(rest.len() - rest.trim_start_matches(SPACES).len());
        }
    }

    /// The tokens of one action, its right delimiter included.
    fn action(&mut self) -> Result<(), String> {
        let mut parens = 0_u32;
        loop {
            if let Some(trims) = self.right_delim() {
                if parens > 0 {
                    return Err("unclosed left paren".to_string());
                }
                self.push_owned(Kind::RightDelim, RIGHT.to_string());
                self.pass_right_delim(trims);
                return Ok(());
            }
            let Some(c) = self.peek() else { return Err("unclosed action".to_string()) };
            let next = self.rest().chars().nth(1);
            match c {
                _ if SPACES.contains(&c) => self.space(),
                '=' => self.push(Kind::Assign, self.at + 1),
                ':' if next == Some('=') => self.push(Kind::Declare, self.at + 2),
                ':' => return Err("expected :=".to_string()),
                '|' => self.push(Kind::Pipe, self.at + 1),
                '"' => self.quoted('"', Kind::Str, "unterminated quoted string")?,
                '\'' => self.quoted('\'', Kind::CharConstant, "unterminated character constant")?,
                '`' => self.raw()?,
                '$' => self.word(Kind::Variable)?,
                '.' if !next.is_some_and(|n| n.is_ascii_digit()) => self.word(Kind::Field)?,
                '.' | '+' | '-' | '0'..='9' => self.number()?,
                _ if is_word(c) => self.word(Kind::Identifier)?,
                '(' => {
                    parens += 1;
                    self.push(Kind::LeftParen, self.at + 1);
                }
                ')' => {
                    parens = parens.checked_sub(1).ok_or("unexpected right paren")?;
                    self.push(Kind::RightParen, self.at + 1);
                }
                '\x20'..='\x7e' => self.push(Kind::Char, self.at + 1),
                _ => return Err(format!("unrecognized character in action: {}", code_point(c))),
            }
        }
    }

    /// A run of spaces, without the one that belongs to a trimming delimiter.
    fn space(&mut self) {
        let run = self.rest().len() - self.rest().trim_start_matches(SPACES).len();
        let before_last = self.input.get(self.at + run - 1..).unwrap_or("");
        let trims = trims_right(before_last) && before_last.get(2..).is_some_and(|r| r.starts_with(RIGHT));
        let run = if trims { run - 1 } else { run };
        if run > 0 {
            self.push(Kind::Space, self.at + run);
        }
    }

    fn at_terminator(&self, at: usize) -> bool {
        let rest = self.input.get(at..).unwrap_or("");
        match rest.chars().next() {
            None => true,
            Some(c) => {
                SPACES.contains(&c)
                    || matches!(c, '.' | ',' | '|' | ':' | ')' | '(')
                    || rest.starts_with(RIGHT)
            }
        }
    }

    /// An identifier, a field with its dot, or a variable with its dollar.
    fn word(&mut self, kind: Kind) -> Result<(), String> {
        let sign = usize::from(kind != Kind::Identifier);
        let rest = self.rest().get(sign..).unwrap_or("");
        let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let end = self.at + sign + length;
        if !self.at_terminator(end) {
            let bad = self.input.get(end..).and_then(|r| r.chars().next()).unwrap_or('\0');
            self.advance(end);
            return Err(format!("bad character {}", code_point(bad)));
        }
        let kind = match kind {
            Kind::Field if length == 0 => Kind::Dot,
            Kind::Identifier => Kind::keyword(&rest[..length]).unwrap_or(Kind::Identifier),
            kind => kind,
        };
        self.push(kind, end);
        Ok(())
    }

    fn quoted(&mut self, quote: char, kind: Kind, unterminated: &str) -> Result<(), String> {
        let mut chars = self.rest().char_indices().skip(1);
        while let Some((i, c)) = chars.next() {
            match c {
                _ if c == quote => {
                    self.push(kind, self.at + i + 1);
                    return Ok(());
                }
                '\n' => break,
                '\\' if matches!(chars.next(), None | Some((_, '\n'))) => break,
                _ => {}
            }
        }
        Err(unterminated.to_string())
    }

    fn raw(&mut self) -> Result<(), String> {
        let end = self.rest().get(1..).and_then(|r| r.find('`')).ok_or("unterminated raw quoted string")?;
        self.push(Kind::RawStr, self.at + end + 2);
        Ok(())
    }

    fn number(&mut self) -> Result<(), String> {
        let bad = |end: usize| {
            let text = self.input.get(self.at..end).unwrap_or("");
            format!("bad number syntax: {text:?}")
        };
        let end = self.scan_number(self.at).map_err(bad)?;
        if !self.input.get(end..).is_some_and(|r| r.starts_with(['+', '-'])) {
            self.push(Kind::Number, end);
            return Ok(());
        }
        let end = self.scan_number(end).map_err(bad)?;
        if !self.input.get(..end).is_some_and(|r| r.ends_with('i')) {
            return Err(bad(end));
        }
        self.push(Kind::Complex, end);
        Ok(())
    }

    /// The end of a number that begins at `at`; the place of the fault where it is none.
    fn scan_number(&self, mut at: usize) -> Result<usize, usize> {
        let accept = |at: usize, valid: &str| {
            self.input.get(at..).and_then(|r| r.chars().next()).is_some_and(|c| valid.contains(c))
        };
        let run = |mut at: usize, valid: &str| {
            while accept(at, valid) {
                at += 1;
            }
            at
        };
        const DECIMAL: &str = "0123456789_";
        const HEX: &str = "0123456789abcdefABCDEF_";
        at += usize::from(accept(at, "+-"));
        let mut digits = DECIMAL;
        if accept(at, "0") {
            at += 1;
            for (prefix, of_prefix) in [("xX", HEX), ("oO", "01234567_"), ("bB", "01_")] {
                if accept(at, prefix) {
                    at += 1;
                    digits = of_prefix;
                    break;
                }
            }
        }
        at = run(at, digits);
        if accept(at, ".") {
            at = run(at + 1, digits);
        }
        let exponent = if digits == DECIMAL { "eE" } else { "pP" };
        if (digits == DECIMAL || digits == HEX) && accept(at, exponent) {
            at += 1;
            at += usize::from(accept(at, "+-"));
            at = run(at, DECIMAL);
        }
        at += usize::from(accept(at, "i"));
        match self.input.get(at..).and_then(|r| r.chars().next()) {
            Some(c) if is_word(c) => Err(at + c.len_utf8()),
            _ => Ok(at),
        }
    }
}

/// A character as Go's `%#U` shows it.
fn code_point(c: char) -> String {
    if !goregex::unicode::is_print(c) {
        return format!("U+{:04X}", c as u32);
    }
    format!("U+{:04X} '{c}'", c as u32)
}
