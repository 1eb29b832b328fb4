//! Go's `fmt`: `Sprint`, `Sprintf`, verbs and flags (`%-8.2f`, `%[2]*d`, `%!d(string=x)`).

mod number;

use crate::exec::OUTPUT_BYTES_MAX;
use crate::gotime;
use crate::value::Value;

/// Widths and precisions above it are refused, as in Go.
const WIDTH_MAX: usize = 1_000_000;

#[derive(Clone, Copy, Default)]
pub(crate) struct Flags {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    plus_v: bool,
    sharp_v: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

#[derive(Default)]
pub(crate) struct Printer {
    out: String,
    f: Flags,
}

fn is_text(v: &Value) -> bool {
    matches!(v, Value::Text(_) | Value::Html(_))
}

/// `fmt.Sprint`: spaces between operands of which neither is a string.
pub(crate) fn sprint(args: &[Value]) -> String {
    let mut p = Printer::default();
    let mut text_before = false;
    for (i, arg) in args.iter().enumerate() {
        if i > 0 && !is_text(arg) && !text_before {
            p.out.push(' ');
        }
        p.value(arg, 'v', 0);
        text_before = is_text(arg);
    }
    p.out
}

/// `fmt.Sprintln`.
pub(crate) fn sprintln(args: &[Value]) -> String {
    let mut p = Printer::default();
    for (i, arg) in args.iter().enumerate() {
        if i > 0 {
            p.out.push(' ');
        }
        p.value(arg, 'v', 0);
    }
    p.out + "\n"
}

/// `fmt.Sprintf`.
pub(crate) fn sprintf(format: &str, args: &[Value]) -> String {
    let mut p = Printer::default();
    let mut scan = Scan { rest: format, args, next: 0, reordered: false, good: true };
    while !scan.rest.is_empty() && p.out.len() < OUTPUT_BYTES_MAX {
        let (plain, verb) = scan.rest.split_once('%').map_or((scan.rest, None), |(a, b)| (a, Some(b)));
        p.out.push_str(plain);
        let Some(after) = verb else { break };
        scan.rest = after;
        p.directive(&mut scan);
    }
    if !scan.reordered && scan.next < args.len() {
        p.f = Flags::default();
        p.out.push_str("%!(EXTRA ");
        for (i, arg) in args.iter().skip(scan.next).enumerate() {
            if i > 0 {
                p.out.push_str(", ");
            }
            p.typed(arg);
        }
        p.out.push(')');
    }
    p.out
}

struct Scan<'a> {
    rest: &'a str,
    args: &'a [Value],
    next: usize,
    reordered: bool,
    good: bool,
}

impl Scan<'_> {
    fn eat(&mut self, c: char) -> bool {
        let found = self.rest.strip_prefix(c);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    fn number(&mut self) -> Option<usize> {
        let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let (text, tail) = self.rest.split_at(digits);
        let n = text.parse().ok();
        if digits > 0 {
            self.rest = tail;
        }
        n.filter(|n| *n <= WIDTH_MAX)
    }

    /// `[2]`; true where there was one.
    fn index(&mut self) -> bool {
        let Some(body) = self.rest.strip_prefix('[') else { return false };
        self.reordered = true;
        let Some((inner, tail)) = body.split_once(']') else {
            self.good = false;
            self.rest = body;
            return false;
        };
        self.rest = tail;
        match inner.parse::<usize>() {
            Ok(n) if n >= 1 && n <= self.args.len() => {
                self.next = n - 1;
                true
            }
            _ => {
                self.good = false;
                true
            }
        }
    }

    /// The argument that a `*` takes.
    fn star(&mut self) -> Option<i64> {
        let arg = self.args.get(self.next);
        if arg.is_some() {
            self.next += 1;
        }
        let n = match arg {
            Some(Value::Int(n)) => *n,
            Some(Value::Byte(n)) => i64::from(*n),
            Some(Value::Uint(n)) => i64::try_from(*n).ok()?,
            _ => return None,
        };
        (n.unsigned_abs() <= WIDTH_MAX as u64).then_some(n)
    }
}

impl Printer {
    /// What follows a `%`.
    fn directive(&mut self, scan: &mut Scan<'_>) {
        self.f = Flags::default();
        (scan.good, scan.reordered) = (true, false);
        loop {
            match scan.rest.chars().next() {
                Some('#') => self.f.sharp = true,
                Some('0') => self.f.zero = true,
                Some('+') => self.f.plus = true,
                Some('-') => self.f.minus = true,
                Some(' ') => self.f.space = true,
                _ => break,
            }
            scan.rest = scan.rest.get(1..).unwrap_or("");
        }
        let mut after_index = scan.index();
        if scan.eat('*') {
            match scan.star() {
                Some(n) => {
                    self.f.minus |= n < 0;
                    self.f.width = Some(usize::try_from(n.unsigned_abs()).unwrap_or(0));
                }
                None => self.out.push_str("%!(BADWIDTH)"),
            }
            after_index = false;
        } else {
            self.f.width = scan.number();
            if after_index && self.f.width.is_some() {
                scan.good = false;
            }
        }
        if scan.eat('.') {
            if after_index {
                scan.good = false;
            }
            after_index = scan.index();
            if scan.eat('*') {
                match scan.star() {
                    Some(n) => self.f.precision = usize::try_from(n).ok(),
                    None => self.out.push_str("%!(BADPREC)"),
                }
                after_index = false;
            } else {
                self.f.precision = Some(scan.number().unwrap_or(0));
            }
        }
        if !after_index {
            scan.index();
        }
        let Some(verb) = scan.rest.chars().next() else {
            self.out.push_str("%!(NOVERB)");
            return;
        };
        scan.rest = scan.rest.get(verb.len_utf8()..).unwrap_or("");
        self.f.zero &= !self.f.minus || matches!(verb, 'v');
        if verb == '%' {
            self.out.push('%');
        } else if !scan.good {
            self.out.push_str(&format!("%!{verb}(BADINDEX)"));
        } else if let Some(arg) = scan.args.get(scan.next) {
            scan.next += 1;
            if verb == 'v' {
                (self.f.sharp_v, self.f.sharp) = (self.f.sharp, false);
                (self.f.plus_v, self.f.plus) = (self.f.plus, false);
            }
            self.value(arg, verb, 0);
        } else {
            self.out.push_str(&format!("%!{verb}(MISSING)"));
        }
    }

    fn bad_verb(&mut self, v: &Value, verb: char) {
        self.out.push_str(&format!("%!{verb}("));
        self.typed(v);
        self.out.push(')');
    }

    /// A value that no verb fits, with its type.
    fn typed(&mut self, v: &Value) {
        if matches!(v, Value::Nil) {
            self.out.push_str("<nil>");
        } else {
            self.out.push_str(&v.type_name());
            self.out.push('=');
            self.value(v, 'v', 0);
        }
    }

    fn pad(&mut self, text: &str) {
        let count = text.chars().count();
        let fill = self.f.width.unwrap_or(0).saturating_sub(count);
        if self.f.minus {
            self.out.push_str(text);
            self.out.extend(std::iter::repeat_n(' ', fill));
        } else {
            self.out.extend(std::iter::repeat_n(if self.f.zero { '0' } else { ' ' }, fill));
            self.out.push_str(text);
        }
    }

    fn value(&mut self, v: &Value, verb: char, depth: usize) {
        if self.out.len() > OUTPUT_BYTES_MAX {
            return;
        }
        if verb == 'T' && depth == 0 {
            let name = v.type_name();
            return self.text(&name, 's', v);
        }
        if verb == 'w' && !matches!(v, Value::Nil) {
            return self.bad_verb(v, verb);
        }
        match v {
            Value::Nil if depth > 0 => self.out.push_str("<nil>"),
            Value::Nil if verb == 'v' => self.pad("<nil>"),
            Value::Nil => self.bad_verb(v, verb),
            Value::Bool(b) if matches!(verb, 't' | 'v') => self.pad(if *b { "true" } else { "false" }),
            Value::Int(n) => self.integer(n.unsigned_abs(), *n < 0, verb, v),
            Value::Byte(n) if self.f.sharp_v && verb == 'v' => self.out.push_str(&format!("{n:#x}")),
            Value::Uint(n) if self.f.sharp_v && verb == 'v' => self.out.push_str(&format!("{n:#x}")),
            Value::Byte(n) => self.integer(u64::from(*n), false, verb, v),
            Value::Uint(n) => self.integer(*n, false, verb, v),
            Value::Float(x) => self.float(*x, verb, v),
            Value::Complex(re, im) => self.complex(*re, *im, verb, v),
            Value::Text(t) | Value::Html(t) => self.text(t, verb, v),
            Value::List(list) => self.sequence(&list.items, &v.type_name(), verb, depth),
            Value::Map(map) => {
                let sharp = self.f.sharp_v;
                self.out.push_str(&if sharp { v.type_name() + "{" } else { "map[".into() });
                for (i, (key, item)) in map.entries.iter().enumerate() {
                    if i > 0 {
                        self.out.push_str(if sharp { ", " } else { " " });
                    }
                    self.value(&Value::text(key), verb, depth + 1);
                    self.out.push(':');
                    self.value(item, verb, depth + 1);
                }
                self.out.push(if sharp { '}' } else { ']' });
            }
            Value::Record(record) => {
                let sharp = self.f.sharp_v;
                if sharp {
                    self.out.push_str(record.type_name);
                }
                self.out.push('{');
                for (i, (name, _, item)) in record.fields.iter().enumerate() {
                    if i > 0 {
                        self.out.push_str(if sharp { ", " } else { " " });
                    }
                    if self.f.plus_v || sharp {
                        self.out.push_str(name);
                        self.out.push(':');
                    }
                    self.value(item, verb, depth + 1);
                }
                self.out.push('}');
            }
            // Go prints addresses here; nothing can depend on them.
            Value::Samples(samples) => {
                let addresses = vec!["0xc000000000"; samples.len()].join(" ");
                if self.f.sharp_v {
                    self.out.push_str("template.queryResult");
                    self.out.push_str(if samples.is_empty() { "{}" } else { "{...}" });
                } else {
                    self.out.push_str(&format!("[{addresses}]"));
                }
            }
            Value::Sample(None) => {
                self.pad(if verb == 'v' { "<nil>" } else { "%!s(*template.sample=<nil>)" })
            }
            Value::Sample(Some(_)) if depth == 0 => {
                self.out.push('&');
                self.value(&v.indirect(), verb, 1);
            }
            Value::Sample(Some(_)) => self.out.push_str("0xc000000000"),
            Value::Histogram(h) => self.text(&h.to_string(), if verb == 'v' { 's' } else { verb }, v),
            Value::Time { ns, .. } => {
                let text = gotime::show(*ns);
                self.text(&text, if verb == 'v' { 's' } else { verb }, v);
            }
            Value::Duration { ns, .. } | Value::Month(ns) | Value::Weekday(ns) => {
                let text = match v {
                    Value::Month(_) => gotime::month_name(*ns),
                    Value::Weekday(_) => gotime::weekday_name(*ns),
                    _ => gotime::show_duration(*ns),
                };
                match verb {
                    'v' => self.text(&text, 's', v),
                    's' | 'q' | 'x' | 'X' => self.text(&text, verb, v),
                    _ => self.integer(ns.unsigned_abs(), *ns < 0, verb, v),
                }
            }
            Value::Bool(_) => self.bad_verb(v, verb),
        }
    }

    fn sequence(&mut self, items: &[Value], type_name: &str, verb: char, depth: usize) {
        let sharp = self.f.sharp_v;
        if sharp {
            self.out.push_str(type_name);
        }
        self.out.push(if sharp { '{' } else { '[' });
        for (i, item) in items.iter().enumerate() {
            if i > 0 {
                self.out.push_str(if sharp { ", " } else { " " });
            }
            self.value(item, verb, depth + 1);
        }
        self.out.push(if sharp { '}' } else { ']' });
    }

    fn truncated<'a>(&self, text: &'a str) -> &'a str {
        let end = self.f.precision.and_then(|p| text.char_indices().nth(p)).map_or(text.len(), |(i, _)| i);
        text.get(..end).unwrap_or(text)
    }

    fn text(&mut self, text: &str, verb: char, v: &Value) {
        match verb {
            'v' if self.f.sharp_v => self.quoted(text),
            'v' | 's' => {
                let cut = self.truncated(text);
                self.pad(cut);
            }
            'q' => self.quoted(text),
            'x' | 'X' => {
                let bytes = text.as_bytes();
                let bytes = bytes.get(..self.f.precision.unwrap_or(bytes.len())).unwrap_or(bytes);
                let mut shown = String::new();
                for (i, byte) in bytes.iter().enumerate() {
                    if i > 0 && self.f.space {
                        shown.push(' ');
                    }
                    if self.f.sharp && (i == 0 || self.f.space) {
                        shown.push_str(if verb == 'x' { "0x" } else { "0X" });
                    }
                    shown.push_str(&if verb == 'x' { format!("{byte:02x}") } else { format!("{byte:02X}") });
                }
                self.pad(&shown);
            }
            _ => self.bad_verb(v, verb),
        }
    }

    fn quoted(&mut self, text: &str) {
        let text = self.truncated(text);
        let raw = self.f.sharp && can_backquote(text);
        let shown = match raw {
            true => format!("`{text}`"),
            false if self.f.plus => ascii(&model::name::Quoted(text).to_string()),
            false => model::name::Quoted(text).to_string(),
        };
        self.pad(&shown);
    }
}

/// Whether Go writes it between backquotes (`strconv.CanBackquote`).
pub(crate) fn can_backquote(text: &str) -> bool {
    text.chars().all(|c| c != '`' && c != '\u{feff}' && c != '\x7f' && (c >= ' ' || c == '\t'))
}

fn ascii(text: &str) -> String {
    let escape = |c: char| match c as u32 {
        0..0x80 => c.to_string(),
        n @ 0x80..0x1_0000 => format!("\\u{n:04x}"),
        n => format!("\\U{n:08x}"),
    };
    text.chars().map(escape).collect()
}
