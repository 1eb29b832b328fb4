//! Integers, characters and floats under `fmt`'s verbs.

use model::float_text;

use super::{Printer, ascii};
use crate::value::Value;

impl Printer {
    pub(super) fn integer(&mut self, size: u64, negative: bool, verb: char, v: &Value) {
        let digits = match verb {
            'v' | 'd' => size.to_string(),
            'b' => format!("{size:b}"),
            'o' | 'O' => format!("{size:o}"),
            'x' => format!("{size:x}"),
            'X' => format!("{size:X}"),
            'c' => return self.pad(&character(size, negative).to_string()),
            'q' => {
                let c = character(size, negative);
                let quoted = model::name::Quoted(&c.to_string()).to_string();
                let inner = quoted.trim_start_matches('"');
                let inner = inner.strip_suffix('"').unwrap_or(inner);
                let shown = match c {
                    '"' => "'\"'".to_string(),
                    '\'' => "'\\''".to_string(),
                    _ => format!("'{inner}'"),
                };
                let shown = if self.f.plus { ascii(&shown) } else { shown };
                return self.pad(&shown);
            }
            'U' => {
                let mut shown = format!("U+{:04X}", if negative { size.wrapping_neg() } else { size });
                let c = u32::try_from(size).ok().filter(|_| !negative).and_then(char::from_u32);
                if let Some(c) = c.filter(|c| self.f.sharp && goregex::unicode::is_print(*c)) {
                    shown.push_str(&format!(" '{c}'"));
                }
                let zero = std::mem::replace(&mut self.f.zero, false);
                self.pad(&shown);
                self.f.zero = zero;
                return;
            }
            _ => return self.bad_verb(v, verb),
        };
        let zero = std::mem::replace(&mut self.f.zero, false);
        let mut least = 0;
        if let Some(precision) = self.f.precision {
            if precision == 0 && size == 0 {
                self.pad("");
                self.f.zero = zero;
                return;
            }
            least = precision;
        } else if let Some(width) = self.f.width.filter(|_| zero && !self.f.minus) {
            least = width.saturating_sub(usize::from(negative || self.f.plus || self.f.space));
        }
        let mut shown = "0".repeat(least.saturating_sub(digits.len())) + &digits;
        if self.f.sharp {
            match verb {
                'b' => shown.insert_str(0, "0b"),
                'o' if !shown.starts_with('0') => shown.insert(0, '0'),
                'x' => shown.insert_str(0, "0x"),
                'X' => shown.insert_str(0, "0X"),
                _ => {}
            }
        }
        if verb == 'O' {
            shown.insert_str(0, "0o");
        }
        if negative {
            shown.insert(0, '-');
        } else if self.f.plus {
            shown.insert(0, '+');
        } else if self.f.space {
            shown.insert(0, ' ');
        }
        self.pad(&shown);
        self.f.zero = zero;
    }

    pub(super) fn float(&mut self, x: f64, verb: char, v: &Value) {
        let precision = self.f.precision;
        let mut shown = match verb {
            'v' | 'g' | 'G' => match precision {
                None => float_text::format_g(x),
                Some(p) => float_text::format_g_precision(x, p),
            },
            'e' | 'E' => float_text::format_e(x, Some(precision.unwrap_or(6))),
            'f' | 'F' => float_text::format_f_precision(x, precision.unwrap_or(6)),
            'x' | 'X' => hexadecimal(x, precision),
            'b' => binary(x),
            _ => return self.bad_verb(v, verb),
        };
        if matches!(verb, 'E' | 'G' | 'X') && x.is_finite() {
            shown = shown.to_uppercase();
        }
        if self.f.sharp && verb != 'b' && x.is_finite() {
            shown = sharpened(&shown, verb, precision);
        }
        if !shown.starts_with(['+', '-']) {
            shown.insert(0, '+');
        }
        let plus = self.f.plus;
        if self.f.space && !plus && shown.starts_with('+') {
            shown.replace_range(..1, " ");
        }
        let zero = self.f.zero;
        if !x.is_finite() {
            self.f.zero = false;
            if x.is_nan() && !self.f.space && !plus {
                shown.remove(0);
            }
            self.pad(&shown);
        } else if plus || !shown.starts_with('+') {
            let width = self.f.width.filter(|w| zero && !self.f.minus && *w > shown.len());
            if let Some(width) = width {
                let zeros = "0".repeat(width - shown.len());
                shown.insert_str(1, &zeros);
            }
            self.pad(&shown);
        } else {
            self.pad(shown.get(1..).unwrap_or(""));
        }
        self.f.zero = zero;
    }

    pub(super) fn complex(&mut self, re: f64, im: f64, verb: char, v: &Value) {
        if !matches!(verb, 'v' | 'b' | 'g' | 'G' | 'x' | 'X' | 'f' | 'F' | 'e' | 'E') {
            return self.bad_verb(v, verb);
        }
        let plus = self.f.plus;
        self.out.push('(');
        self.float(re, verb, v);
        self.f.plus = true;
        self.float(im, verb, v);
        self.out.push_str("i)");
        self.f.plus = plus;
    }
}

fn character(size: u64, negative: bool) -> char {
    let code = u32::try_from(size).ok().filter(|_| !negative);
    code.and_then(char::from_u32).unwrap_or('\u{fffd}')
}

/// `%#g` and the like: a decimal point always, and zeros up to the precision, 6 digits by default.
fn sharpened(shown: &str, verb: char, precision: Option<usize>) -> String {
    let hexadecimal = matches!(verb, 'x' | 'X');
    let tail = shown.find(|c| matches!(c, 'p' | 'P') || matches!(c, 'e' | 'E') && !hexadecimal);
    let (body, tail) = shown.split_at(tail.unwrap_or(shown.len()));
    // As in Go the `x` of `0x` counts as a digit.
    let counted = body.trim_start_matches('-').trim_start_matches(['0', '.']).chars();
    let mut seen = counted.filter(|c| *c != '.').count();
    let point = if body.contains('.') { "" } else { "." };
    if body == "0" {
        seen += 1;
    }
    let least = match verb {
        'v' | 'g' | 'G' | 'x' => precision.unwrap_or(6),
        _ => 0,
    };
    format!("{body}{point}{}{tail}", "0".repeat(least.saturating_sub(seen)))
}

/// `%b`: mantissa and power of two.
fn binary(x: f64) -> String {
    if !x.is_finite() {
        return float_text::format_g(x);
    }
    let bits = x.to_bits();
    let fraction = bits & ((1 << 52) - 1);
    let exponent = ((bits >> 52) & 0x7ff) as i64;
    let (mantissa, power) =
        if exponent == 0 { (fraction, -1074) } else { (fraction | 1 << 52, exponent - 1075) };
    format!("{}{mantissa}p{power:+}", if x.is_sign_negative() { "-" } else { "" })
}

/// `%x`: `0x1.8p+00`.
fn hexadecimal(x: f64, precision: Option<usize>) -> String {
    if !x.is_finite() {
        return float_text::format_g(x);
    }
    let sign = if x.is_sign_negative() { "-" } else { "" };
    let bits = x.to_bits();
    let mut mantissa = bits & ((1 << 52) - 1);
    let mut power = ((bits >> 52) & 0x7ff) as i64 - 1023;
    if power == -1023 {
        power = -1022;
    } else {
        mantissa |= 1 << 52;
    }
    if mantissa == 0 {
        power = 0;
    }
    while mantissa != 0 && mantissa & (1 << 52) == 0 {
        mantissa <<= 1;
        power -= 1;
    }
    if let Some(p) = precision.filter(|p| *p < 13) {
        let shift = (13 - p) * 4;
        let extra = mantissa & ((1 << shift) - 1);
        mantissa >>= shift;
        if extra > (1 << (shift - 1)) || extra == (1 << (shift - 1)) && mantissa & 1 == 1 {
            mantissa += 1;
        }
        mantissa <<= shift;
        if mantissa >> 53 != 0 {
            mantissa >>= 1;
            power += 1;
        }
    }
    let digits = format!("{:013x}", mantissa & ((1 << 52) - 1));
    let fraction = match precision {
        None => digits.trim_end_matches('0').to_string(),
        Some(p) if p <= 13 => digits.get(..p).unwrap_or("").to_string(),
        Some(p) => digits + &"0".repeat(p - 13),
    };
    let point = if fraction.is_empty() { "" } else { "." };
    let exponent_sign = if power < 0 { '-' } else { '+' };
    format!("{sign}0x{}{point}{fraction}p{exponent_sign}{:02}", mantissa >> 52, power.abs())
}
