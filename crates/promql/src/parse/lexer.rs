//! Cuts the text into tokens. What a character means depends on the brackets around it, as upstream's
//! `promql/parser/lex.go`: inside braces words are labels, inside square brackets they are durations.

use super::ast::{BinaryOp, PosRange};
use super::text::go_quote_char;
use super::token::{Keyword, Kind, Preprocessor, Token, keyword};

/// A fault: first byte and text. It reaches to the end of the input.
#[derive(Debug)]
pub(crate) struct LexError {
    pub(crate) start: usize,
    pub(crate) text: String,
}

type Lexed = Result<Option<Kind>, LexError>;

/// The scanner.
#[derive(Debug)]
pub(crate) struct Lexer<'a> {
    input: &'a str,
    pos: usize,
    start: usize,
    paren_depth: usize,
    brace_open: bool,
    bracket_open: bool,
    got_colon: bool,
    got_duration: bool,
    in_duration: bool,
    /// Raised where upstream emits a token and fails on the next call.
    pending: Option<LexError>,
}

fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\r')
}
fn is_alpha(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic()
}
fn is_alnum(c: char) -> bool {
    is_alpha(c) || c.is_ascii_digit()
}
fn starts_duration_word(c: char) -> bool {
    matches!(c.to_ascii_lowercase(), 's' | 'r' | 'm')
}

impl<'a> Lexer<'a> {
    pub(crate) fn new(input: &'a str) -> Self {
        Lexer {
            input,
            pos: 0,
            start: 0,
            paren_depth: 0,
            brace_open: false,
            bracket_open: false,
            got_colon: false,
            got_duration: false,
            in_duration: false,
            pending: None,
        }
    }

    /// The next token; comments are left out.
    pub(crate) fn next_token(&mut self) -> Result<Token, LexError> {
        loop {
            if let Some(e) = self.pending.take() {
                return Err(e);
            }
            let lexed = if self.in_duration {
                self.in_duration_expr()
            } else if self.brace_open {
                self.in_braces()
            } else {
                self.in_statement()
            };
            let kind = lexed?;
            let pos = PosRange { start: self.start, end: self.pos };
            self.start = self.pos;
            match kind {
                None | Some(Kind::Comment) => {}
                Some(kind) => return Ok(Token { kind, pos }),
            }
        }
    }

    fn peek(&self) -> Option<char> {
        self.input.get(self.pos..).and_then(|rest| rest.chars().next())
    }

    fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.pos += c.len_utf8();
        Some(c)
    }

    fn accept(&mut self, f: impl Fn(char) -> bool) -> bool {
        let found = self.peek().is_some_and(f);
        if found {
            self.next();
        }
        found
    }

    fn accept_run(&mut self, f: impl Fn(char) -> bool) {
        while self.accept(&f) {}
    }

    fn fail<T>(&self, text: impl Into<String>) -> Result<T, LexError> {
        Err(LexError { start: self.start, text: text.into() })
    }

    fn space(&mut self) -> Lexed {
        self.accept_run(is_space);
        Ok(None)
    }

    fn comment(&mut self) -> Lexed {
        self.accept_run(|c| c != '\n' && c != '\r');
        Ok(Some(Kind::Comment))
    }

    fn in_statement(&mut self) -> Lexed {
        let Some(c) = self.next() else {
            if self.paren_depth != 0 {
                return self.fail("unclosed left parenthesis");
            }
            if self.bracket_open {
                return self.fail("unclosed left bracket");
            }
            return Ok(Some(Kind::Eof));
        };
        let op = |op| Ok(Some(Kind::Op(op)));
        match c {
            '#' => self.comment(),
            ',' => Ok(Some(Kind::Comma)),
            c if is_space(c) => self.space(),
            '*' => op(BinaryOp::Mul),
            '/' => op(BinaryOp::Div),
            '%' => op(BinaryOp::Mod),
            '+' => op(BinaryOp::Add),
            '-' => op(BinaryOp::Sub),
            '^' => op(BinaryOp::Pow),
            '=' => match self.peek() {
                Some('=') => {
                    self.next();
                    op(BinaryOp::Eq)
                }
                c @ Some('~') => self.fail(format!("unexpected character after '=': {}", go_quote_char(c))),
                _ => Ok(Some(Kind::Assign)),
            },
            '!' => match self.next() {
                Some('=') => op(BinaryOp::Ne),
                c => self.fail(format!("unexpected character after '!': {}", go_quote_char(c))),
            },
            '<' if self.accept(|c| c == '=') => op(BinaryOp::Le),
            '<' if self.accept(|c| c == '/') => op(BinaryOp::TrimUpper),
            '<' => op(BinaryOp::Lt),
            '>' if self.accept(|c| c == '=') => op(BinaryOp::Ge),
            '>' if self.accept(|c| c == '/') => op(BinaryOp::TrimLower),
            '>' => op(BinaryOp::Gt),
            c if c.is_ascii_digit() || (c == '.' && self.peek().is_some_and(|c| c.is_ascii_digit())) => {
                self.pos -= 1;
                self.number_or_duration()
            }
            '"' | '\'' => self.string(c),
            '`' => self.raw_string(),
            c if is_alpha(c) || c == ':' => self.word(c),
            '(' => {
                self.paren_depth += 1;
                Ok(Some(Kind::LeftParen))
            }
            ')' => self.right_paren(),
            '{' => {
                self.brace_open = true;
                Ok(Some(Kind::LeftBrace))
            }
            '[' => {
                if self.bracket_open {
                    return self.fail(format!("unexpected left bracket {}", go_quote_char(Some(c))));
                }
                self.got_colon = false;
                self.bracket_open = true;
                self.in_duration = true;
                Ok(Some(Kind::LeftBracket))
            }
            ']' => {
                if !self.bracket_open {
                    return self.fail(format!("unexpected right bracket {}", go_quote_char(Some(c))));
                }
                self.bracket_open = false;
                Ok(Some(Kind::RightBracket))
            }
            '@' => Ok(Some(Kind::At)),
            c => self.fail(format!("unexpected character: {}", go_quote_char(Some(c)))),
        }
    }

    fn right_paren(&mut self) -> Lexed {
        match self.paren_depth.checked_sub(1) {
            Some(depth) => self.paren_depth = depth,
            // Upstream hands out the parenthesis first; the parser rarely gets to see the fault behind it.
            None => {
                let text = format!("unexpected right parenthesis {}", go_quote_char(Some(')')));
                return Err(LexError { start: self.pos, text });
            }
        }
        Ok(Some(Kind::RightParen))
    }

    fn word(&mut self, first: char) -> Lexed {
        if !self.bracket_open {
            self.accept_run(|c| is_alnum(c) || c == ':');
            let word = self.input.get(self.start..self.pos).unwrap_or_default();
            return Ok(Some(match keyword(word) {
                Some(Kind::Keyword(Keyword::Fill | Keyword::FillLeft | Keyword::FillRight))
                    if !self.paren_follows() =>
                {
                    Kind::Identifier
                }
                Some(kind) => kind,
                None if word.contains(':') => Kind::MetricIdentifier,
                None => Kind::Identifier,
            }));
        }
        if first == ':' {
            if self.got_colon {
                return self.fail(format!("unexpected colon {}", go_quote_char(Some(first))));
            }
            self.got_colon = true;
            return Ok(Some(Kind::Colon));
        }
        if starts_duration_word(first)
            && let Some(kind) = self.duration_word()
        {
            return Ok(Some(kind));
        }
        self.fail(format!("unexpected character: {}, expected ':'", go_quote_char(Some(first))))
    }

    fn duration_word(&mut self) -> Option<Kind> {
        self.accept_run(is_alpha);
        let word = self.input.get(self.start..self.pos).unwrap_or_default();
        match keyword(word) {
            Some(kind @ Kind::Preprocessor(Preprocessor::Step | Preprocessor::Range)) => Some(kind),
            Some(kind @ Kind::Preprocessor(Preprocessor::MaxOf | Preprocessor::MinOf)) => Some(kind),
            _ => None,
        }
    }

    fn paren_follows(&self) -> bool {
        let rest = self.input.get(self.pos..).unwrap_or_default();
        rest.chars().find(|c| !is_space(*c)) == Some('(')
    }

    fn in_braces(&mut self) -> Lexed {
        let Some(c) = self.next() else {
            return self.fail("unexpected end of input inside braces");
        };
        match c {
            '#' => self.comment(),
            c if is_space(c) => self.space(),
            c if is_alpha(c) => {
                self.accept_run(is_alnum);
                Ok(Some(Kind::Identifier))
            }
            ',' => Ok(Some(Kind::Comma)),
            '"' | '\'' => self.string(c),
            '`' => self.raw_string(),
            '=' if self.accept(|c| c == '~') => Ok(Some(Kind::MatchRegex)),
            '=' => Ok(Some(Kind::Assign)),
            '!' => match self.next() {
                Some('~') => Ok(Some(Kind::MatchNotRegex)),
                Some('=') => Ok(Some(Kind::Op(BinaryOp::Ne))),
                c => self.fail(format!("unexpected character after '!' inside braces: {}", go_quote_char(c))),
            },
            '{' => self.fail(format!("unexpected left brace {}", go_quote_char(Some(c)))),
            '}' => {
                self.brace_open = false;
                Ok(Some(Kind::RightBrace))
            }
            c => self.fail(format!("unexpected character inside braces: {}", go_quote_char(Some(c)))),
        }
    }

    /// Behind `[`, up to the first number; from there on `in_statement` goes on, as upstream does.
    fn in_duration_expr(&mut self) -> Lexed {
        let Some(c) = self.next() else {
            return self.fail("unexpected end of input in duration expression");
        };
        let op = |op| Ok(Some(Kind::Op(op)));
        match c {
            ']' => {
                self.bracket_open = false;
                self.got_colon = false;
                self.in_duration = false;
                Ok(Some(Kind::RightBracket))
            }
            ':' => {
                let text = match (self.got_duration, self.got_colon) {
                    (false, _) => "unexpected colon before duration in duration expression",
                    (true, true) => "unexpected repeated colon in duration expression",
                    (true, false) => {
                        self.got_colon = true;
                        return Ok(Some(Kind::Colon));
                    }
                };
                // The colon is emitted first and overwritten by the fault, which begins behind it.
                Err(LexError { start: self.pos, text: text.to_string() })
            }
            '(' => {
                self.paren_depth += 1;
                Ok(Some(Kind::LeftParen))
            }
            ')' => self.right_paren(),
            c if is_space(c) => self.space(),
            '+' => op(BinaryOp::Add),
            '-' => op(BinaryOp::Sub),
            '*' => op(BinaryOp::Mul),
            '/' => op(BinaryOp::Div),
            '%' => op(BinaryOp::Mod),
            '^' => op(BinaryOp::Pow),
            ',' => Ok(Some(Kind::Comma)),
            c if starts_duration_word(c) => match self.duration_word() {
                Some(kind) => Ok(Some(kind)),
                None => self
                    .fail(format!("unexpected character in duration expression: {}", go_quote_char(Some(c)))),
            },
            c if c.is_ascii_digit() || (c == '.' && self.peek().is_some_and(|c| c.is_ascii_digit())) => {
                self.pos -= 1;
                self.got_duration = true;
                self.in_duration = false;
                self.number_or_duration()
            }
            c => {
                self.fail(format!("unexpected character in duration expression: {}", go_quote_char(Some(c))))
            }
        }
    }

    fn string(&mut self, quote: char) -> Lexed {
        loop {
            match self.next() {
                Some('\\') => self.escape(quote)?,
                Some('\u{fffd}') => return self.fail("invalid UTF-8 rune"),
                None | Some('\n') => return self.fail("unterminated quoted string"),
                Some(c) if c == quote => return Ok(Some(Kind::String)),
                Some(_) => {}
            }
        }
    }

    fn raw_string(&mut self) -> Lexed {
        loop {
            match self.next() {
                Some('\u{fffd}') => return self.fail("invalid UTF-8 rune"),
                None => return self.fail("unterminated raw string"),
                Some('`') => return Ok(Some(Kind::String)),
                Some(_) => {}
            }
        }
    }

    fn escape(&mut self, quote: char) -> Result<(), LexError> {
        let (n, base, max) = match self.next() {
            Some('a' | 'b' | 'f' | 'n' | 'r' | 't' | 'v' | '\\') => return Ok(()),
            Some(c) if c == quote => return Ok(()),
            Some('0'..='7') => {
                self.pos -= 1;
                (3, 8, 255)
            }
            Some('x') => (2, 16, 255),
            Some('u') => (4, 16, 0x10_ffff),
            Some('U') => (8, 16, 0x10_ffff),
            None => return self.fail("escape sequence not terminated"),
            Some(c) => return self.fail(format!("unknown escape sequence {}", unicode_name(c))),
        };
        let mut value = 0_u64;
        for _ in 0..n {
            let Some(c) = self.next() else {
                return self.fail("escape sequence not terminated");
            };
            let Some(digit) = c.to_digit(base) else {
                return self.fail(format!("illegal character {} in escape sequence", unicode_name(c)));
            };
            value = value * u64::from(base) + u64::from(digit);
        }
        if value > max || (0xd800..0xe000).contains(&value) {
            return self.fail("escape sequence is an invalid Unicode code point");
        }
        Ok(())
    }

    fn number_or_duration(&mut self) -> Lexed {
        if self.scan_number() {
            return Ok(Some(Kind::Number));
        }
        if self.rest_of_duration() {
            return Ok(Some(Kind::Duration));
        }
        let text = self.input.get(self.start..self.pos).unwrap_or_default();
        self.fail(format!("bad number or duration syntax: {}", super::text::go_quote(text)))
    }

    fn rest_of_duration(&mut self) -> bool {
        if !self.accept(|c| "smhdwy".contains(c)) {
            return false;
        }
        self.accept(|c| c == 's');
        while self.accept(|c| c.is_ascii_digit()) {
            self.accept_run(|c| c.is_ascii_digit());
            if !self.accept(|c| "smhdw".contains(c)) {
                return false;
            }
            self.accept(|c| c == 's');
        }
        // Upstream has read one character more when it refuses, and shows it.
        if self.peek().is_some_and(is_alnum) {
            self.next();
            return false;
        }
        true
    }

    /// Scans what may be a number; whether it is one, the parser says.
    fn scan_number(&mut self) -> bool {
        let begin = self.pos;
        let mut hex = false;
        if self.accept(|c| c == '0') && self.accept(|c| c == 'x' || c == 'X') {
            self.accept(|c| c == '_');
            hex = true;
        }
        let digit = |c: char| if hex { c.is_ascii_hexdigit() } else { c.is_ascii_digit() };
        let exponent = |c: char| c == 'e' || c == 'E';
        self.accept(|c| c == '.');
        self.accept(digit);
        let (mut dot_seen, mut exponent_seen) = (false, false);
        while let Some(c) = self.peek().filter(|c| digit(*c) || *c == '.' || *c == '_' || exponent(*c)) {
            if (c == '.' && dot_seen) || (exponent(c) && exponent_seen) {
                self.next();
                return false;
            }
            if self.accept(|c| c == '.') {
                dot_seen = true;
                if self.accept(|c| c == '_' || c == '.') || hex {
                    return false;
                }
            } else if self.accept(exponent) {
                exponent_seen = true;
                self.accept(|c| c == '+' || c == '-');
                if self.accept(|c| "._eE".contains(c)) || self.peek().is_none() {
                    return false;
                }
            } else if self.accept(|c| c == '_') {
                if self.accept(|c| "._eE".contains(c)) || self.peek().is_none() {
                    return false;
                }
            } else {
                self.accept_run(digit);
            }
        }
        self.pos != begin && !self.peek().is_some_and(is_alnum)
    }
}

/// `%#U`: `U+0041 'A'`.
fn unicode_name(c: char) -> String {
    format!("U+{:04X} '{c}'", c as u32)
}
