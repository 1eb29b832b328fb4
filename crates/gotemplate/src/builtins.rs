//! The language's own functions (Go's `text/template/funcs.go`), and the methods of times and durations.

use std::sync::Arc;

use crate::exec::{Signature, Type};
use crate::format;
use crate::gotime;
use crate::value::{List, Value};

type Outcome = Result<Value, String>;

const fn takes(fixed: &'static [Type], variadic: Option<Type>) -> Option<Signature> {
    Some(Signature { fixed, variadic })
}

/// What a function of the language takes.
pub(crate) fn signature(name: &str) -> Option<Signature> {
    use Type::{Any, Reflect, Text};
    match name {
        "and" | "or" | "call" | "index" | "slice" | "eq" => takes(&[Reflect], Some(Reflect)),
        "ne" | "lt" | "le" | "gt" | "ge" => takes(&[Reflect, Reflect], None),
        "not" | "len" => takes(&[Reflect], None),
        "print" | "println" | "html" | "js" | "urlquery" => takes(&[], Some(Any)),
        "printf" => takes(&[Text], Some(Any)),
        _ => None,
    }
}

/// Calls a function of the language; `shown` is its first argument as written.
pub(crate) fn call(name: &str, args: &[Value], shown: Option<&str>) -> Outcome {
    let (first, rest) = args.split_first().map_or((&Value::Nil, args), |(a, b)| (a, b));
    let second = rest.first().unwrap_or(&Value::Nil);
    let bool = |b: Result<bool, String>| b.map(Value::Bool);
    match name {
        "eq" => bool(equal(first, rest)),
        "ne" => bool(equal(first, rest).map(|b| !b)),
        "lt" => bool(less(first, second)),
        "le" => bool(less_or_equal(first, second)),
        "gt" => bool(less_or_equal(first, second).map(|b| !b)),
        "ge" => bool(less(first, second).map(|b| !b)),
        "not" => Ok(Value::Bool(!first.is_true())),
        "len" => length(first),
        "index" => index(first, rest),
        "slice" => slice(first, rest),
        "print" => Ok(Value::text(&format::sprint(args))),
        "println" => Ok(Value::text(&format::sprintln(args))),
        "printf" => match first {
            Value::Text(text) => Ok(Value::text(&format::sprintf(text, rest))),
            _ => Ok(Value::text("")),
        },
        "html" => Ok(Value::text(&html(&joined(args)))),
        "js" => Ok(Value::text(&js(&joined(args)))),
        "urlquery" => Ok(Value::text(&url_query(&joined(args)))),
        "call" => match first {
            Value::Nil => Err("call of nil".into()),
            other => {
                // One that comes through a pipe is shown as reflection shows it.
                let shown = shown.map_or_else(
                    || match other {
                        Value::Text(text) => text.to_string(),
                        other => format!("<{} Value>", other.type_name()),
                    },
                    str::to_string,
                );
                Err(format!("non-function {shown} of type {}", other.type_name()))
            }
        },
        _ => Err(format!("no function {name}")),
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Basic<'a> {
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Complex(f64, f64),
    Text(&'a str),
}

fn basic(v: &Value) -> Option<Basic<'_>> {
    Some(match v {
        Value::Bool(b) => Basic::Bool(*b),
        Value::Int(n) | Value::Month(n) | Value::Weekday(n) => Basic::Int(*n),
        Value::Duration { ns, pointer: false } => Basic::Int(*ns),
        Value::Uint(n) => Basic::Uint(*n),
        Value::Byte(n) => Basic::Uint(u64::from(*n)),
        Value::Float(x) => Basic::Float(*x),
        Value::Complex(re, im) => Basic::Complex(*re, *im),
        Value::Text(t) | Value::Html(t) => Basic::Text(t),
        _ => return None,
    })
}

const BAD_TYPE: &str = "invalid type for comparison";

fn incompatible(a: &Value, b: &Value) -> String {
    format!("incompatible types for comparison: {} and {}", a.type_name(), b.type_name())
}

fn equal(first: &Value, others: &[Value]) -> Result<bool, String> {
    if others.is_empty() {
        return Err("missing argument for comparison".into());
    }
    for other in others {
        if equal_pair(first, other)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn equal_pair(a: &Value, b: &Value) -> Result<bool, String> {
    let unsigned = |n: i64, u: u64| u64::try_from(n) == Ok(u);
    match (basic(a), basic(b)) {
        (Some(Basic::Int(n)), Some(Basic::Uint(u))) | (Some(Basic::Uint(u)), Some(Basic::Int(n))) => {
            Ok(unsigned(n, u))
        }
        (Some(x), Some(y)) if std::mem::discriminant(&x) == std::mem::discriminant(&y) => Ok(x == y),
        (None, None) => equal_others(a, b),
        _ if matches!(a, Value::Nil) || matches!(b, Value::Nil) => Ok(false),
        _ => Err(incompatible(a, b)),
    }
}

fn equal_others(a: &Value, b: &Value) -> Result<bool, String> {
    let nil = |v: &Value| matches!(v, Value::Nil | Value::Sample(None));
    let kind = |v: &Value| match v {
        Value::Nil => 0,
        Value::Map(_) => 1,
        Value::List(_) | Value::Samples(_) => 2,
        Value::Record(_) | Value::Time { pointer: false, .. } => 3,
        _ => 4,
    };
    let shown = |v: &Value| format::sprint(std::slice::from_ref(v));
    if kind(a) != kind(b) && kind(a) != 0 && kind(b) != 0 {
        let (ta, tb) = (a.type_name(), b.type_name());
        return Err(format!("non-comparable types {}: {ta}, {tb}: {}", shown(a), shown(b)));
    }
    if matches!(a, Value::Nil) || matches!(b, Value::Nil) || matches!((a, b), (Value::Sample(_), _)) && nil(a)
    {
        return Ok(nil(a) && nil(b));
    }
    match (a, b) {
        (Value::Sample(Some(x)), Value::Sample(Some(y))) => Ok(Arc::ptr_eq(x, y)),
        (Value::Histogram(x), Value::Histogram(y)) => Ok(Arc::ptr_eq(x, y)),
        (Value::Time { ns: x, pointer: false }, Value::Time { ns: y, pointer: false }) => Ok(x == y),
        (Value::Map(_) | Value::List(_) | Value::Samples(_) | Value::Record(_), _) => {
            Err(format!("non-comparable type {}: {}", shown(b), b.type_name()))
        }
        _ => Ok(false),
    }
}

fn less(a: &Value, b: &Value) -> Result<bool, String> {
    let (x, y) = (basic(a).ok_or(BAD_TYPE)?, basic(b).ok_or(BAD_TYPE)?);
    match (x, y) {
        (Basic::Int(n), Basic::Uint(u)) => Ok(u64::try_from(n).map_or(true, |n| n < u)),
        (Basic::Uint(u), Basic::Int(n)) => Ok(u64::try_from(n).is_ok_and(|n| u < n)),
        (Basic::Float(x), Basic::Float(y)) => Ok(x < y),
        (Basic::Int(x), Basic::Int(y)) => Ok(x < y),
        (Basic::Uint(x), Basic::Uint(y)) => Ok(x < y),
        (Basic::Text(x), Basic::Text(y)) => Ok(x < y),
        (Basic::Bool(_), Basic::Bool(_)) | (Basic::Complex(..), Basic::Complex(..)) => Err(BAD_TYPE.into()),
        _ => Err(incompatible(a, b)),
    }
}

fn less_or_equal(a: &Value, b: &Value) -> Result<bool, String> {
    Ok(less(a, b)? || equal_pair(a, b)?)
}

fn length(v: &Value) -> Outcome {
    let n = match v {
        Value::Text(t) | Value::Html(t) => t.len(),
        Value::List(list) => list.items.len(),
        Value::Map(map) => map.entries.len(),
        Value::Samples(samples) => samples.len(),
        Value::Nil => return Err("reflect: call of reflect.Value.Type on zero Value".into()),
        Value::Sample(None) => return Err("len of nil pointer".into()),
        Value::Histogram(_) => return Err("len of type histogram.FloatHistogram".into()),
        other => return Err(format!("len of type {}", other.indirect().type_name())),
    };
    Ok(Value::Int(n as i64))
}

/// An index into something of `length` elements.
fn position(index: &Value, length: usize) -> Result<usize, String> {
    let n = match index {
        Value::Int(n) | Value::Month(n) | Value::Weekday(n) | Value::Duration { ns: n, pointer: false } => *n,
        Value::Byte(n) => i64::from(*n),
        Value::Uint(n) => *n as i64,
        Value::Nil => return Err("cannot index slice/array with nil".into()),
        other => return Err(format!("cannot index slice/array with type {}", other.type_name())),
    };
    let at = usize::try_from(n).ok().filter(|at| *at <= length);
    at.ok_or_else(|| format!("index out of range: {n}"))
}

fn index(first: &Value, indexes: &[Value]) -> Outcome {
    if matches!(first, Value::Nil) {
        return Err("index of untyped nil".into());
    }
    let mut item = first.clone();
    for by in indexes {
        let of_slice = || "reflect: slice index out of range".to_string();
        item = match item.indirect() {
            Value::Text(t) | Value::Html(t) => {
                let at = position(by, t.len())?;
                Value::Byte(*t.as_bytes().get(at).ok_or("reflect: string index out of range")?)
            }
            Value::List(list) => {
                list.items.get(position(by, list.items.len())?).cloned().ok_or_else(of_slice)?
            }
            Value::Samples(samples) => {
                let at = position(by, samples.len())?;
                Value::Sample(Some(Arc::clone(samples.get(at).ok_or_else(of_slice)?)))
            }
            Value::Map(map) => match by {
                Value::Text(key) => {
                    let missing = || if map.any { Value::Nil } else { Value::text("") };
                    map.entries.get(&**key).cloned().unwrap_or_else(missing)
                }
                Value::Nil => return Err("value is nil; should be of type string".into()),
                other => return Err(format!("value has type {}; should be string", other.type_name())),
            },
            Value::Nil | Value::Sample(None) => return Err("index of nil pointer".into()),
            Value::Histogram(_) => return Err("can't index item of type histogram.FloatHistogram".into()),
            other => return Err(format!("can't index item of type {}", other.type_name())),
        };
    }
    Ok(item)
}

fn slice(item: &Value, indexes: &[Value]) -> Outcome {
    match item {
        Value::Nil => return Err("slice of untyped nil".into()),
        Value::Sample(None) => return Err("slice of nil pointer".into()),
        _ if indexes.len() > 3 => return Err(format!("too many slice indexes: {}", indexes.len())),
        _ => {}
    }
    let length = match item {
        Value::Text(_) | Value::Html(_) if indexes.len() == 3 => {
            return Err("cannot 3-index slice a string".into());
        }
        Value::Text(t) | Value::Html(t) => t.len(),
        Value::List(list) => list.items.len(),
        Value::Samples(samples) => samples.len(),
        Value::Histogram(_) => return Err("can't slice item of type histogram.FloatHistogram".into()),
        other => return Err(format!("can't slice item of type {}", other.indirect().type_name())),
    };
    let mut bounds = [0, length, length];
    for (slot, by) in bounds.iter_mut().zip(indexes) {
        *slot = position(by, length)?;
    }
    let [from, to, cap] = bounds;
    if from > to {
        return Err(format!("invalid slice index: {from} > {to}"));
    }
    if indexes.len() == 3 && to > cap {
        return Err(format!("invalid slice index: {to} > {cap}"));
    }
    Ok(match item {
        // Go cuts bytes; half a character becomes U+FFFD here.
        Value::Text(t) => Value::text(&String::from_utf8_lossy(t.as_bytes().get(from..to).unwrap_or(&[]))),
        Value::Html(t) => {
            Value::Html(String::from_utf8_lossy(t.as_bytes().get(from..to).unwrap_or(&[])).into())
        }
        Value::List(list) => {
            let items = list.items.get(from..to).unwrap_or(&[]).to_vec();
            Value::List(Arc::new(List { element: list.element, items }))
        }
        Value::Samples(samples) => Value::Samples(samples.get(from..to).unwrap_or(&[]).into()),
        other => other.clone(),
    })
}

/// The arguments of an escaper, printed as `{{ }}` would.
fn joined(args: &[Value]) -> String {
    let shown = |v: &Value| if matches!(v, Value::Nil) { Value::text("<no value>") } else { v.indirect() };
    format::sprint(&args.iter().map(shown).collect::<Vec<_>>())
}

pub(crate) fn html(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\0' => out.push('\u{fffd}'),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            c => out.push(c),
        }
    }
    out
}

fn js(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\'' => out.push_str("\\'"),
            '"' => out.push_str("\\\""),
            '<' | '>' | '&' | '=' | '\0'..' ' => out.push_str(&format!("\\u{:04X}", c as u32)),
            c if c.is_ascii() || goregex::unicode::is_print(c) => out.push(c),
            c => out.push_str(&format!("\\u{:04X}", c as u32)),
        }
    }
    out
}

/// `url.QueryEscape`.
pub(crate) fn url_query(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for b in text.bytes() {
        match b {
            b' ' => out.push('+'),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(b)),
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

/// What a method takes besides its receiver; `None` where the value has none of this name.
pub(crate) fn method(receiver: &Value, name: &str) -> Option<Signature> {
    use Type::{Duration, Text, Time};
    match receiver {
        Value::Time { .. } => match name {
            "Unix" | "UnixMilli" | "UnixMicro" | "UnixNano" | "Year" | "Month" | "Day" | "Hour"
            | "Minute" | "Second" | "Nanosecond" | "YearDay" | "Weekday" | "String" | "UTC" | "IsZero" => {
                takes(&[], None)
            }
            "Format" => takes(&[Text], None),
            "Add" | "Truncate" => takes(&[Duration], None),
            "Sub" | "Before" | "After" | "Equal" => takes(&[Time], None),
            _ => None,
        },
        Value::Duration { .. } => match name {
            "Seconds" | "Minutes" | "Hours" | "Milliseconds" | "Microseconds" | "Nanoseconds" | "String"
            | "Abs" => takes(&[], None),
            "Truncate" => takes(&[Duration], None),
            _ => None,
        },
        Value::Month(_) | Value::Weekday(_) | Value::Histogram(_) if name == "String" => takes(&[], None),
        _ => None,
    }
}

/// Calls a method; the receiver is the first argument.
pub(crate) fn call_method(name: &str, args: &[Value]) -> Outcome {
    let second = args.get(1).unwrap_or(&Value::Nil);
    match (args.first().unwrap_or(&Value::Nil), second) {
        (Value::Time { ns, .. }, second) => time_method(name, *ns, second),
        (Value::Duration { ns, .. }, second) => duration_method(name, *ns, second),
        (other, _) => Ok(Value::text(&format::sprint(std::slice::from_ref(other)))),
    }
}

fn time_method(name: &str, ns: i128, second: &Value) -> Outcome {
    let p = gotime::parts(ns);
    let by = |unit: i128| Value::Int(i64::try_from(ns.div_euclid(unit)).unwrap_or(i64::MAX));
    Ok(match (name, second) {
        ("Unix", _) => by(1_000_000_000),
        ("UnixMilli", _) => by(1_000_000),
        ("UnixMicro", _) => by(1000),
        ("UnixNano", _) => Value::Int(ns as i64),
        ("Year", _) => Value::Int(p.year),
        ("Month", _) => Value::Month(p.month),
        ("Day", _) => Value::Int(p.day),
        ("Hour", _) => Value::Int(p.hour),
        ("Minute", _) => Value::Int(p.minute),
        ("Second", _) => Value::Int(p.second),
        ("Nanosecond", _) => Value::Int(p.ns),
        ("YearDay", _) => Value::Int(p.year_day),
        ("Weekday", _) => Value::Weekday(p.weekday),
        ("UTC", _) => Value::Time { ns, pointer: false },
        // Year 1.
        ("IsZero", _) => Value::Bool(ns == -62_135_596_800_000_000_000),
        ("Format", Value::Text(layout)) => Value::text(&gotime::format(ns, layout)),
        ("Add", Value::Duration { ns: more, .. }) => {
            Value::Time { ns: ns.saturating_add(i128::from(*more)), pointer: false }
        }
        ("Truncate", Value::Duration { ns: unit, .. }) if *unit > 0 => {
            // Go counts from year 1.
            let since = ns + 62_135_596_800_000_000_000;
            Value::Time { ns: ns - since.rem_euclid(i128::from(*unit)), pointer: false }
        }
        ("Truncate", _) => Value::Time { ns, pointer: false },
        ("Sub", Value::Time { ns: o, .. }) => {
            let apart = ns.saturating_sub(*o).clamp(i128::from(i64::MIN), i128::from(i64::MAX));
            Value::Duration { ns: apart as i64, pointer: false }
        }
        ("Before", Value::Time { ns: o, .. }) => Value::Bool(ns < *o),
        ("After", Value::Time { ns: o, .. }) => Value::Bool(ns > *o),
        ("Equal", Value::Time { ns: o, .. }) => Value::Bool(ns == *o),
        _ => Value::text(&gotime::show(ns)),
    })
}

fn duration_method(name: &str, ns: i64, second: &Value) -> Outcome {
    let float = |unit: i64| Value::Float((ns / unit) as f64 + (ns % unit) as f64 / unit as f64);
    Ok(match (name, second) {
        ("Seconds", _) => float(1_000_000_000),
        ("Minutes", _) => float(60_000_000_000),
        ("Hours", _) => float(3_600_000_000_000),
        ("Milliseconds", _) => Value::Int(ns / 1_000_000),
        ("Microseconds", _) => Value::Int(ns / 1000),
        ("Nanoseconds", _) => Value::Int(ns),
        ("Abs", _) => Value::Duration { ns: ns.saturating_abs(), pointer: false },
        ("Truncate", Value::Duration { ns: unit, .. }) => {
            Value::Duration { ns: if *unit > 0 { ns - ns % unit } else { ns }, pointer: false }
        }
        _ => Value::text(&gotime::show_duration(ns)),
    })
}
