//! Attributes: names and the texts that their values become.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::schema::{ANY, ARRAY, KEY_VALUE, KEY_VALUES, Range, each_field};
use crate::WireError;

/// Lists within lists; what a person could read has two or three.
const DEPTH_MAX: usize = 64;

pub(super) fn text(body: &[u8], range: Range) -> Cow<'_, str> {
    String::from_utf8_lossy(body.get(range.0..range.1).unwrap_or_default())
}

/// A value before it becomes text.
enum Any<'b> {
    Empty,
    Text(Cow<'b, str>),
    Bool(bool),
    Int(i64),
    Double(f64),
    Array(Range),
    Map(Range),
    Bytes(&'b [u8]),
}

fn any(body: &[u8], range: Range) -> Result<Any<'_>, WireError> {
    let mut value = Any::Empty;
    each_field(&ANY, body, range, |field, raw| {
        value = match field {
            1 => Any::Text(text(body, raw.range())),
            2 => Any::Bool(raw.number() != 0),
            3 => Any::Int(raw.number() as i64),
            4 => Any::Double(raw.float()),
            5 => Any::Array(raw.range()),
            6 => Any::Map(raw.range()),
            _ => Any::Bytes(body.get(raw.range().0..raw.range().1).unwrap_or_default()),
        };
        Ok(())
    })?;
    Ok(value)
}

fn key_value(body: &[u8], range: Range) -> Result<(Cow<'_, str>, Range), WireError> {
    let (mut key, mut value) = (Cow::Borrowed(""), (0, 0));
    each_field(&KEY_VALUE, body, range, |field, raw| {
        match field {
            1 => key = text(body, raw.range()),
            _ => value = raw.range(),
        }
        Ok(())
    })?;
    Ok((key, value))
}

/// One attribute: its name, and its value as text (upstream's `pcommon.Value.AsString`).
pub(super) fn attribute(body: &[u8], range: Range) -> Result<(Cow<'_, str>, String), WireError> {
    let (key, value) = key_value(body, range)?;
    let value = match any(body, value)? {
        Any::Empty => String::new(),
        Any::Text(text) => text.into_owned(),
        Any::Bool(b) => b.to_string(),
        Any::Int(n) => n.to_string(),
        Any::Double(v) if v.is_nan() => "NaN".to_string(),
        Any::Double(v) if v.is_infinite() => if v > 0.0 { "Infinity" } else { "-Infinity" }.to_string(),
        Any::Double(v) => json_float(v),
        Any::Bytes(bytes) => STANDARD.encode(bytes),
        nested @ (Any::Array(_) | Any::Map(_)) => {
            let mut out = String::new();
            // What JSON cannot say leaves nothing.
            if write_json(&mut out, body, nested, 0)? { out } else { String::new() }
        }
    };
    Ok((key, value))
}

/// Writes a value as Go's JSON encoder does; false where it refuses to.
fn write_json(out: &mut String, body: &[u8], value: Any<'_>, depth: usize) -> Result<bool, WireError> {
    if depth > DEPTH_MAX {
        return Err(WireError::TooMany(DEPTH_MAX, "lists within lists in an attribute"));
    }
    match value {
        Any::Empty => out.push_str("null"),
        Any::Text(text) => write_string(out, &text),
        Any::Bool(b) => out.push_str(if b { "true" } else { "false" }),
        Any::Int(n) => out.push_str(&n.to_string()),
        Any::Double(v) if !v.is_finite() => return Ok(false),
        Any::Double(v) => out.push_str(&json_float(v)),
        Any::Bytes(bytes) => write_string(out, &STANDARD.encode(bytes)),
        Any::Array(range) => {
            let mut all = Vec::new();
            each_field(&ARRAY, body, range, |_, raw| {
                all.push(raw.range());
                Ok(())
            })?;
            out.push('[');
            for (i, element) in all.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                if !write_json(out, body, any(body, element)?, depth + 1)? {
                    return Ok(false);
                }
            }
            out.push(']');
        }
        Any::Map(range) => {
            // Sorted, the last of equal keys.
            let mut all = BTreeMap::new();
            each_field(&KEY_VALUES, body, range, |_, raw| {
                let (key, value) = key_value(body, raw.range())?;
                all.insert(key, value);
                Ok(())
            })?;
            out.push('{');
            for (i, (key, element)) in all.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_string(out, &key);
                out.push(':');
                if !write_json(out, body, any(body, element)?, depth + 1)? {
                    return Ok(false);
                }
            }
            out.push('}');
        }
    }
    Ok(true)
}

fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if c < ' ' || c == '\u{2028}' || c == '\u{2029}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// A finite number as ECMAScript and Go's JSON print it.
fn json_float(v: f64) -> String {
    let size = v.abs();
    if size == 0.0 || (1e-6..1e21).contains(&size) {
        return model::float_text::format_f(v);
    }
    let text = model::float_text::format_e(v, None);
    // Exponents of one digit have no zero before it where they are negative.
    match text.split_once("e-0") {
        Some((head, digit)) if digit.len() == 1 => format!("{head}e-{digit}"),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_those_of_json() {
        for (v, want) in [
            (0.0, "0"),
            (1.5, "1.5"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1e-7, "1e-7"),
            (2.5e-10, "2.5e-10"),
        ] {
            assert_eq!(json_float(v), want);
        }
    }
}
