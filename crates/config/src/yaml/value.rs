//! Scalars with a grammar of their own.

use std::collections::BTreeMap;
use std::time::Duration;

use super::node::Kind;
use super::resolve::Meaning;
use super::{Decode, Decoder, Encode, Node, Out};
use crate::url::ConfigUrl;

/// Byte sizes as upstream reads them (`alecthomas/units`, base 2): `10MB` and `10MiB` are both 10 x 2^20.
pub(crate) struct Size;

impl Size {
    pub(crate) fn decode(into: &mut u64, node: &Node, cx: &mut Decoder) -> bool {
        let mut text = String::new();
        if !cx.decode(node, &mut text) {
            return false;
        }
        if text.is_empty() {
            *into = 0;
            return true;
        }
        match parse_size(&text) {
            Ok(value) => {
                *into = value;
                true
            }
            Err(error) => {
                cx.fail(node.pos, error);
                false
            }
        }
    }
    pub(crate) fn encode(value: &u64) -> Out {
        Out::Text(format_size(*value))
    }
    pub(crate) fn is_zero(value: &u64) -> bool {
        *value == 0
    }
}

const SIZE_UNITS: [&str; 7] = ["", "K", "M", "G", "T", "P", "E"];

/// Reads `512MB`, `1.5GiB`, `1GB512MB`, `0`.
///
/// # Errors
/// A missing or unknown unit, a negative size, more than 2^63 bytes.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let invalid = || format!("{text:?} is not a size, write for instance 512MB or 2GB");
    let body = text.strip_prefix('+').unwrap_or(text);
    if body == "0" {
        return Ok(0);
    }
    let (mut rest, mut total) = (body, 0_f64);
    if rest.is_empty() || rest.starts_with('-') {
        return Err(invalid());
    }
    // All units of one size are written in the same way: all with "i" or all without.
    for infix in ["i", ""] {
        (rest, total) = (body, 0.0);
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
            let (number, tail) = rest.split_at(digits);
            let letters = tail.bytes().take_while(|b| !b.is_ascii_digit() && *b != b'.').count();
            let (unit, tail) = tail.split_at(letters);
            let power = SIZE_UNITS.iter().position(|prefix| match *prefix {
                "" => unit == "B",
                prefix => unit.strip_prefix(prefix).and_then(|u| u.strip_prefix(infix)) == Some("B"),
            });
            let well_formed = number.bytes().any(|b| b.is_ascii_digit()) && number.matches('.').count() <= 1;
            let (Some(power), true, Ok(value)) = (power, well_formed, number.parse::<f64>()) else { break };
            total += value * 1024_f64.powi(i32::try_from(power).unwrap_or(0));
            rest = tail;
        }
        if rest.is_empty() {
            break;
        }
    }
    if !rest.is_empty() {
        return Err(invalid());
    }
    if total >= 9_223_372_036_854_775_808.0 {
        return Err(format!("{text:?} is more than 8EiB"));
    }
    Ok(total as u64)
}

/// Prints as upstream: `1GiB`, `1MiB512KiB`, `0B`.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    if bytes == 0 {
        return "0B".to_string();
    }
    let mut parts = Vec::new();
    let mut rest = bytes;
    for prefix in SIZE_UNITS {
        if !rest.is_multiple_of(1024) {
            let suffix = if prefix.is_empty() { "B" } else { "iB" };
            parts.push(format!("{}{prefix}{suffix}", rest % 1024));
        }
        rest /= 1024;
    }
    parts.reverse();
    parts.concat()
}

/// Go's `time.Duration` in YAML: `1m30s`, `1.5s`, or nanoseconds as an integer.
pub(crate) struct GoDuration;

impl GoDuration {
    pub(crate) fn decode(into: &mut Duration, node: &Node, cx: &mut Decoder) -> bool {
        let mut text = String::new();
        if !cx.decode(node, &mut text) {
            return false;
        }
        let nanos = if text.is_empty() { Some(0) } else { text.parse::<u64>().ok() };
        match nanos.map(Duration::from_nanos).or_else(|| parse_go_duration(&text)) {
            Some(value) => {
                *into = value;
                true
            }
            None => {
                cx.mismatch(node.target(), "a duration such as 1m30s");
                false
            }
        }
    }
    pub(crate) fn encode(value: &Duration) -> Out {
        value.encode()
    }
    pub(crate) fn is_zero(value: &Duration) -> bool {
        value.is_zero()
    }
}

/// Reads Go's `time.ParseDuration` form: decimal numbers with units ns, us, ms, s, m, h, not negative.
#[must_use]
pub fn parse_go_duration(text: &str) -> Option<Duration> {
    parse_units(text, false)
}

/// Reads a duration as flags take it (upstream: kingpin, which takes days and weeks besides).
#[must_use]
pub fn parse_flag_duration(text: &str) -> Option<Duration> {
    parse_units(text, true)
}

fn parse_units(text: &str, days: bool) -> Option<Duration> {
    let body = text.strip_prefix('+').unwrap_or(text);
    if body == "0" {
        return Some(Duration::ZERO);
    }
    let (mut rest, mut total) = (body, Duration::ZERO);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(|b| b.is_ascii_digit() || *b == b'.').count();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "d" if days => 24.0 * 3600.0,
            "w" if days => 7.0 * 24.0 * 3600.0,
            _ => return None,
        };
        let value = if number == "." { None } else { number.parse::<f64>().ok() }?;
        total = total.checked_add(Duration::try_from_secs_f64(value * seconds).ok()?)?;
        rest = tail;
    }
    (!body.is_empty()).then_some(total)
}

impl Decode for ConfigUrl {
    fn zero() -> Self {
        ConfigUrl::default()
    }
    fn decode(&mut self, node: &Node, cx: &mut Decoder) -> bool {
        let mut text = String::new();
        if !text.decode(node, cx) {
            return false;
        }
        match ConfigUrl::parse(&text) {
            Ok(url) => {
                *self = url;
                true
            }
            Err(error) => {
                cx.fail(node.pos, error);
                false
            }
        }
    }
}

impl Encode for ConfigUrl {
    fn encode(&self) -> Out {
        Out::Text(self.redacted())
    }
    fn is_zero(&self) -> bool {
        false
    }
}

/// An enum that is a word in the file.
pub(crate) trait Word: Copy {
    fn word(self) -> &'static str;
    fn from_word(text: &str) -> Option<Self>;
    /// What to say about another word.
    fn unknown(text: &str) -> String;
}

/// A field with such a word; "" and null are `None`.
pub(crate) struct OptWord<T>(std::marker::PhantomData<T>);

impl<T: Word> OptWord<T> {
    pub(crate) fn decode(into: &mut Option<T>, node: &Node, cx: &mut Decoder) -> bool {
        let mut text = String::new();
        if !cx.decode(node, &mut text) {
            return false;
        }
        if text.is_empty() {
            *into = None;
            return true;
        }
        let value = T::from_word(&text);
        if value.is_none() {
            cx.fail(node.pos, T::unknown(&text));
        }
        *into = value;
        value.is_some()
    }
    pub(crate) fn encode(value: &Option<T>) -> Out {
        Out::Text(value.map_or("", Word::word).to_string())
    }
    pub(crate) fn is_zero(value: &Option<T>) -> bool {
        value.is_none()
    }
}

/// Writes [`Word`] for an enum, and `as_str` for its users.
macro_rules! yaml_words {
    ($ty:ty, { $( $word:literal => $value:expr ),* $(,)? }, |$text:ident| $unknown:expr) => {
        impl $ty {
            /// Its word in the file.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                const WORDS: &[($ty, &str)] = &[ $( ($value, $word) ),* ];
                WORDS.iter().find(|(value, _)| *value == self).map_or("", |(_, word)| word)
            }
        }
        impl $crate::yaml::value::Word for $ty {
            fn word(self) -> &'static str {
                self.as_str()
            }
            fn from_word(text: &str) -> Option<Self> {
                match text {
                    $( $word => Some($value), )*
                    _ => None,
                }
            }
            fn unknown($text: &str) -> String {
                $unknown
            }
        }
    };
}
pub(crate) use yaml_words;

impl Decode for serde_json::Value {
    fn zero() -> Self {
        serde_json::Value::Null
    }
    fn decode(&mut self, node: &Node, cx: &mut Decoder) -> bool {
        use serde_json::Value;
        *self = match &node.kind {
            Kind::Seq(_) => {
                let mut items: Vec<Value> = Vec::new();
                let good = items.decode(node, cx);
                *self = Value::Array(items);
                return good;
            }
            Kind::Map(_) => {
                let mut pairs: BTreeMap<String, Value> = BTreeMap::new();
                let good = pairs.decode(node, cx);
                *self = Value::Object(pairs.into_iter().collect());
                return good;
            }
            _ => match cx.meaning(node) {
                Some(Meaning::Bool(v)) => v.into(),
                Some(Meaning::Int(v)) => v.into(),
                Some(Meaning::Uint(v)) => v.into(),
                Some(Meaning::Float(v)) => v.into(),
                Some(Meaning::Null) => Value::Null,
                _ => node.scalar_text().unwrap_or("").into(),
            },
        };
        true
    }
}

impl Encode for serde_json::Value {
    fn encode(&self) -> Out {
        use serde_json::Value;
        match self {
            Value::Null => Out::Null,
            Value::Bool(v) => v.encode(),
            Value::Number(v) => {
                v.as_i64().map_or_else(|| v.as_f64().map_or(Out::Null, |f| f.encode()), |i| i.encode())
            }
            Value::String(v) => v.encode(),
            Value::Array(items) => items.encode(),
            Value::Object(pairs) => {
                pairs.iter().map(|(k, v)| (k.clone(), v.clone())).collect::<BTreeMap<_, _>>().encode()
            }
        }
    }
    fn is_zero(&self) -> bool {
        self.is_null()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_read_and_print_like_upstream() {
        for (text, bytes, back) in [
            ("0", 0, "0B"),
            ("1B", 1, "1B"),
            ("10MB", 10 << 20, "10MiB"),
            ("10MiB", 10 << 20, "10MiB"),
            ("1.5GB", 3 << 29, "1GiB512MiB"),
            ("1GB512MB", 3 << 29, "1GiB512MiB"),
            ("1500KB", 1500 << 10, "1MiB476KiB"),
            (".5KB", 512, "512B"),
            ("7EB", 7 << 60, "7EiB"),
        ] {
            assert_eq!(
                parse_size(text).map(|b| (b, format_size(b))),
                Ok((bytes, back.to_string())),
                "{text}"
            );
        }
        for text in [
            "",
            "10",
            "10kB",
            "10mb",
            "MB",
            ".MB",
            "-1MB",
            "1GiB1MB",
            "8EB",
            "1..5MB",
            "1 MB",
            "9999999999999999999999999999999EB",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
