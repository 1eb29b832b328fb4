//! Writes JSON as upstream's encoder does, straight into bytes: the order of fields, the escapes of Go's
//! `encoding/json` (HTML-safe), floats in strings, times as decimal seconds.
//!
//! Rejected: `serde_json::Value` trees or derived serialisers on the hot answers. A range query's answer is
//! millions of `[time,"value"]` pairs; here each costs two number conversions and no allocation.

use std::time::SystemTime;

use model::{FloatHistogram, Labels};

use crate::buckets;

/// A growing JSON text. Commas are the caller's where lists are written by hand.
#[derive(Default)]
pub(crate) struct Json {
    buf: Vec<u8>,
    ints: itoa::Buffer,
}

const HEX: &[u8; 16] = b"0123456789abcdef";

impl Json {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Json { buf: Vec::with_capacity(bytes), ints: itoa::Buffer::new() }
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.buf
    }

    /// Text that is JSON already.
    pub(crate) fn raw(&mut self, text: &str) -> &mut Self {
        self.buf.extend_from_slice(text.as_bytes());
        self
    }

    pub(crate) fn int(&mut self, v: i64) -> &mut Self {
        self.buf.extend_from_slice(self.ints.format(v).as_bytes());
        self
    }

    pub(crate) fn uint(&mut self, v: u64) -> &mut Self {
        self.buf.extend_from_slice(self.ints.format(v).as_bytes());
        self
    }

    pub(crate) fn bool(&mut self, v: bool) -> &mut Self {
        self.raw(if v { "true" } else { "false" })
    }

    /// A quoted string. Escapes as Go does with HTML escaping on: `"`, `\`, control characters, `<`, `>`,
    /// `&`, U+2028 and U+2029.
    pub(crate) fn string(&mut self, s: &str) -> &mut Self {
        self.escaped(s, true)
    }

    /// As [`Json::string`], but `<`, `>`, `&`, U+2028 and U+2029 stay as they are: label sets, which upstream
    /// writes by another way, and `/api/v1/features`.
    pub(crate) fn string_plain(&mut self, s: &str) -> &mut Self {
        self.escaped(s, false)
    }

    fn escaped(&mut self, s: &str, html: bool) -> &mut Self {
        let bytes = s.as_bytes();
        self.buf.push(b'"');
        let mut done = 0;
        for (i, &b) in bytes.iter().enumerate() {
            let plain = match b {
                b'"' | b'\\' | 0..0x20 => false,
                b'<' | b'>' | b'&' => !html,
                // First byte of U+2028 and U+2029: e2 80 a8 / a9.
                0xe2 => !html || !matches!(bytes.get(i + 1..i + 3), Some([0x80, 0xa8 | 0xa9])),
                _ => true,
            };
            if plain {
                continue;
            }
            self.buf.extend_from_slice(&bytes[done..i]);
            done = i + 1;
            match b {
                b'"' => self.buf.extend_from_slice(b"\\\""),
                b'\\' => self.buf.extend_from_slice(b"\\\\"),
                b'\n' => self.buf.extend_from_slice(b"\\n"),
                b'\r' => self.buf.extend_from_slice(b"\\r"),
                b'\t' => self.buf.extend_from_slice(b"\\t"),
                0xe2 => {
                    self.buf.extend_from_slice(b"\\u202");
                    self.buf.push(if bytes[i + 2] == 0xa8 { b'8' } else { b'9' });
                    done = i + 3;
                }
                _ => {
                    self.buf.extend_from_slice(b"\\u00");
                    self.buf.push(HEX[usize::from(b >> 4)]);
                    self.buf.push(HEX[usize::from(b & 15)]);
                }
            }
        }
        self.buf.extend_from_slice(&bytes[done.min(bytes.len())..]);
        self.buf.push(b'"');
        self
    }

    /// `"name":` with a name that needs no escapes.
    pub(crate) fn key(&mut self, name: &str) -> &mut Self {
        self.buf.push(b'"');
        self.buf.extend_from_slice(name.as_bytes());
        self.buf.extend_from_slice(b"\":");
        self
    }

    /// Milliseconds as decimal seconds: `1435781451.781`.
    pub(crate) fn time_ms(&mut self, t_ms: i64) -> &mut Self {
        if t_ms < 0 {
            self.buf.push(b'-');
        }
        let t = t_ms.unsigned_abs();
        self.uint(t / 1000);
        let fraction = t % 1000;
        if fraction != 0 {
            let digits = [
                b'0' + (fraction / 100) as u8,
                b'0' + (fraction / 10 % 10) as u8,
                b'0' + (fraction % 10) as u8,
            ];
            self.buf.push(b'.');
            self.buf.extend_from_slice(&digits);
        }
        self
    }

    /// A float in quotes, `'f'` form; `'e'` form below 1e-6 and from 1e21 on, as upstream.
    pub(crate) fn quoted_float(&mut self, v: f64) -> &mut Self {
        self.buf.push(b'"');
        write_float(&mut self.buf, v, "0");
        self.buf.push(b'"');
        self
    }

    /// A float in quotes, `'f'` form whatever its size: scalars, which upstream writes by another way.
    pub(crate) fn quoted_float_f(&mut self, v: f64) -> &mut Self {
        self.buf.push(b'"');
        if v.is_finite() && v != 0.0 && !(1e-6..1e21).contains(&v.abs()) {
            self.raw(&model::float_text::format_f(v));
        } else {
            write_float(&mut self.buf, v, "");
        }
        self.buf.push(b'"');
        self
    }

    /// Milliseconds as decimal seconds without zeros at the end: the time of a scalar or a string.
    pub(crate) fn time_ms_short(&mut self, t_ms: i64) -> &mut Self {
        self.time_ms(t_ms);
        if t_ms % 1000 != 0 {
            while self.buf.last() == Some(&b'0') {
                self.buf.pop();
            }
        }
        self
    }

    /// A float as a JSON number, as Go's `encoding/json` writes one. NaN and infinities have no JSON form
    /// and become 0.
    pub(crate) fn float(&mut self, v: f64) -> &mut Self {
        write_float(&mut self.buf, if v.is_finite() { v } else { 0.0 }, "");
        self
    }

    /// A label set as an object.
    pub(crate) fn labels(&mut self, labels: &Labels) -> &mut Self {
        self.buf.push(b'{');
        for (i, (name, value)) in labels.iter().enumerate() {
            if i > 0 {
                self.buf.push(b',');
            }
            self.string_plain(name);
            self.buf.push(b':');
            self.string_plain(value);
        }
        self.buf.push(b'}');
        self
    }

    /// A list of strings.
    pub(crate) fn strings<S: AsRef<str>>(&mut self, list: impl IntoIterator<Item = S>) -> &mut Self {
        self.list(list, |json, s| {
            json.string(s.as_ref());
        })
    }

    /// A list, items written by `write`.
    pub(crate) fn list<T>(
        &mut self,
        list: impl IntoIterator<Item = T>,
        mut write: impl FnMut(&mut Self, T),
    ) -> &mut Self {
        self.buf.push(b'[');
        for (i, item) in list.into_iter().enumerate() {
            if i > 0 {
                self.buf.push(b',');
            }
            write(self, item);
        }
        self.buf.push(b']');
        self
    }

    /// A time in RFC 3339 with as many digits below the second as it has: Go's `time.Time` in UTC.
    pub(crate) fn time(&mut self, at: SystemTime) -> &mut Self {
        self.buf.push(b'"');
        self.raw(&crate::time::rfc3339(at));
        self.buf.push(b'"');
        self
    }

    /// A native histogram: count, sum and the buckets that hold something.
    pub(crate) fn histogram(&mut self, h: &FloatHistogram) -> &mut Self {
        self.raw("{\"count\":").quoted_float(h.count);
        self.raw(",\"sum\":").quoted_float(h.sum);
        let mut any = false;
        buckets::for_each(h, |b| {
            if b.count == 0.0 {
                return;
            }
            self.raw(if any { "," } else { ",\"buckets\":[" });
            any = true;
            let bounds = match (b.lower_inclusive, b.upper_inclusive) {
                (false, true) => "[0,",
                (true, false) => "[1,",
                (false, false) => "[2,",
                (true, true) => "[3,",
            };
            self.raw(bounds).quoted_float(b.lower);
            self.raw(",").quoted_float(b.upper);
            self.raw(",").quoted_float(b.count);
            self.raw("]");
        });
        if any {
            self.raw("]");
        }
        self.raw("}")
    }
}

/// Digits of a float as upstream's API prints them. `zmij` finds the shortest digits; only their layout is
/// done here. Integers below 2^53, the most common values by far, take a shorter way.
///
/// `pad` stands before an exponent of one digit: "0" in strings (`1e-07`), "" in JSON numbers (`1e-7`).
fn write_float(out: &mut Vec<u8>, v: f64, pad: &str) {
    if v.is_nan() {
        return out.extend_from_slice(b"NaN");
    }
    if v.is_infinite() {
        return out.extend_from_slice(if v > 0.0 { b"+Inf" } else { b"-Inf" });
    }
    const EXACT_INTEGERS: f64 = 9_007_199_254_740_992.0;
    if v.trunc() == v && v.abs() < EXACT_INTEGERS && (v != 0.0 || v.is_sign_positive()) {
        return out.extend_from_slice(itoa::Buffer::new().format(v as i64).as_bytes());
    }
    if v == 0.0 {
        return out.extend_from_slice(b"-0");
    }
    let mut buffer = zmij::Buffer::new();
    let text = buffer.format_finite(v);
    let (sign, text) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    out.extend_from_slice(sign.as_bytes());
    let (mantissa, exponent) = text.split_once('e').map_or((text, 0), |(m, e)| (m, e.parse().unwrap_or(0)));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = if fraction == "0" { "" } else { fraction };
    // The digits without leading and trailing zeros, and where the point stands from their left.
    let mut digits = [0_u8; 40];
    let mut len = 0;
    for b in whole.bytes().chain(fraction.bytes()) {
        if let Some(slot) = digits.get_mut(len) {
            *slot = b;
            len += 1;
        }
    }
    let digits = &digits[..len];
    let leading = digits.iter().take_while(|b| **b == b'0').count();
    let mut point = whole.len() as i32 + exponent - leading as i32;
    let mut digits = &digits[leading..];
    while let [head @ .., b'0'] = digits {
        digits = head;
    }
    let magnitude = v.abs();
    if !(1e-6..1e21).contains(&magnitude) {
        // 'e' form: d.ddde±XX with at least two digits of exponent.
        point -= 1;
        out.extend_from_slice(&digits[..1]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.extend_from_slice(if point < 0 { b"e-" } else { b"e+" });
        if point.abs() < 10 {
            out.extend_from_slice(pad.as_bytes());
        }
        out.extend_from_slice(itoa::Buffer::new().format(point.abs()).as_bytes());
    } else if point <= 0 {
        out.extend_from_slice(b"0.");
        out.extend(std::iter::repeat_n(b'0', (-point) as usize));
        out.extend_from_slice(digits);
    } else {
        let point = point as usize;
        if point >= digits.len() {
            out.extend_from_slice(digits);
            out.extend(std::iter::repeat_n(b'0', point - digits.len()));
        } else {
            out.extend_from_slice(&digits[..point]);
            out.push(b'.');
            out.extend_from_slice(&digits[point..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(write: impl FnOnce(&mut Json)) -> String {
        let mut json = Json::default();
        write(&mut json);
        String::from_utf8(json.into_bytes()).unwrap()
    }

    #[test]
    fn floats_print_as_upstream() {
        for (v, want) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (1e6, "1000000"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.25e22, "1.25e+22"),
            (1e-6, "0.000001"),
            (1.5e-6, "0.0000015"),
            (1e-7, "1e-07"),
            (1.5e-300, "1.5e-300"),
            (5e-324, "5e-324"),
            (f64::MAX, "1.7976931348623157e+308"),
            (123_456_789.123_456_79, "123456789.12345679"),
            (9_007_199_254_740_993.0, "9007199254740992"),
            (12_345_678_901_234_567_890.0, "12345678901234567000"),
            // Ties go to the even digit, as a real Prometheus answers.
            (2_039_481_331_754_732.2, "2039481331754732.2"),
            (2_039_481_331_754_733.8, "2039481331754733.8"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(
                text(|j| {
                    let _ = j.quoted_float(v);
                }),
                format!("\"{want}\""),
                "{v:?}"
            );
        }
    }

    #[test]
    fn strings_escape_as_go() {
        assert_eq!(
            text(|j| {
                let _ = j.string("a\"\\\n\r\t\u{1}<>&\u{2028}\u{2029}é€\u{7f}");
            }),
            "\"a\\\"\\\\\\n\\r\\t\\u0001\\u003c\\u003e\\u0026\\u2028\\u2029é€\u{7f}\""
        );
        assert_eq!(
            text(|j| {
                let _ = j.string_plain("<=&");
            }),
            "\"<=&\""
        );
    }

    #[test]
    fn times_are_decimal_seconds() {
        for (t, want) in [
            (0, "0"),
            (1, "0.001"),
            (-1, "-0.001"),
            (1_435_781_451_781, "1435781451.781"),
            (12_050, "12.050"),
            (-61_000, "-61"),
        ] {
            assert_eq!(
                text(|j| {
                    let _ = j.time_ms(t);
                }),
                want
            );
        }
        assert_eq!(
            text(|j| {
                let _ = j.time_ms(i64::MIN);
            }),
            "-9223372036854775.808"
        );
    }

    #[test]
    fn scalars_have_their_own_form() {
        for (v, want) in [
            (-1.5e-9, "-0.0000000015"),
            (1e21, "1000000000000000000000"),
            (0.5, "0.5"),
            (f64::INFINITY, "+Inf"),
        ] {
            let t = text(|j| {
                let _ = j.quoted_float_f(v);
            });
            assert_eq!(t, format!("\"{want}\""));
        }
        for (t, want) in [(4250, "4.25"), (12_050, "12.05"), (10_000, "10"), (-500, "-0.5")] {
            let got = text(|j| {
                let _ = j.time_ms_short(t);
            });
            assert_eq!(got, want);
        }
    }

    proptest! {
        #[test]
        fn every_float_reads_back(bits in any::<u64>()) {
            let v = f64::from_bits(bits);
            let t = text(|j| { let _ = j.quoted_float(v); });
            let t = t.trim_matches('"');
            if v.is_nan() {
                prop_assert_eq!(t, "NaN");
            } else {
                let back: f64 = t.replace("Inf", "inf").parse().unwrap();
                prop_assert_eq!(back.to_bits(), v.to_bits());
                // Between the limits of the 'e' form, Rust's own `{}` has as many digits; of two texts that
                // are equally near it takes the other one than Go (2039481331754732.25 ends in .3, not .2).
                if v.is_finite() && (v == 0.0 || (1e-6..1e21).contains(&v.abs())) {
                    prop_assert_eq!(t.len(), format!("{v}").len());
                }
            }
        }

        #[test]
        fn every_string_is_json(s in any::<String>()) {
            let t = text(|j| { let _ = j.string(&s); });
            prop_assert_eq!(serde_json::from_str::<String>(&t).unwrap(), s);
        }
    }
}
