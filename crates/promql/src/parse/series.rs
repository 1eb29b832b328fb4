//! Series descriptions of test files: `metric{a="b"} 1+2x3 _ stale {{schema:0 buckets:[1 2]}}`.

use std::sync::Arc;

use model::{CounterResetHint, FloatHistogram, Labels, LabelsBuilder, Span, labels::METRIC_NAME};

use super::lexer::Lexer;
use super::number::parse_number;
use super::text::{go_quote, unquote};
use super::token::{Kind, Token};

/// Values that one item may expand to: a test file of a year in minutes is about 500,000.
const REPEAT_MAX: u64 = 10_000_000;

/// One value of a sequence.
#[derive(Clone, Debug, PartialEq)]
pub enum SequenceValue {
    /// `_`: no sample.
    Omitted,
    /// A number; `stale` is the staleness marker.
    Float(f64),
    /// A histogram, and whether its counter reset hint was written out.
    Histogram(Arc<FloatHistogram>, bool),
}

/// Parses a series with its values.
///
/// # Errors
/// What is wrong, in words.
pub fn parse_series(text: &str) -> Result<(Labels, Vec<SequenceValue>), String> {
    let (labels, rest) = metric(text.trim())?;
    let mut cursor = Cursor { rest };
    let mut values = Vec::new();
    loop {
        cursor.spaces();
        if cursor.rest.is_empty() {
            return Ok((labels, values));
        }
        cursor.item(&mut values)?;
        if !cursor.rest.is_empty() && !cursor.rest.starts_with([' ', '\t']) {
            return Err(format!("unexpected {} in series values", go_quote(cursor.rest)));
        }
    }
}

fn metric(text: &str) -> Result<(Labels, &str), String> {
    let mut lexer = Lexer::new(text);
    let slice = |t: Token| text.get(t.pos.start..t.pos.end).unwrap_or_default();
    let mut builder = LabelsBuilder::new();
    let mut next = || lexer.next_token().map_err(|e| e.text);
    let mut token = next()?;
    let mut end = 0;
    if token.kind != Kind::LeftBrace {
        builder.set(METRIC_NAME, slice(token));
        end = token.pos.end;
        if !text[end..].starts_with('{') {
            return Ok((builder.build(), &text[end..]));
        }
        token = next()?;
    }
    debug_assert_eq!(token.kind, Kind::LeftBrace);
    loop {
        let name = next()?;
        let label = match name.kind {
            Kind::RightBrace => {
                end = end.max(name.pos.end);
                return Ok((builder.build(), text.get(end..).unwrap_or_default()));
            }
            Kind::Identifier => slice(name).to_string(),
            Kind::String => string(slice(name))?,
            _ => return Err(format!("unexpected {} in label set", name.describe(slice(name)))),
        };
        let mut after = next()?;
        if after.kind == Kind::Assign {
            let value = next()?;
            if value.kind != Kind::String {
                return Err(format!(
                    "unexpected {} in label set, expected string",
                    value.describe(slice(value))
                ));
            }
            builder.set(&label, &string(slice(value))?);
            after = next()?;
        } else {
            builder.set(METRIC_NAME, &label);
        }
        match after.kind {
            Kind::Comma => {}
            Kind::RightBrace => return Ok((builder.build(), text.get(after.pos.end..).unwrap_or_default())),
            _ => return Err(format!("unexpected {} in label set", after.describe(slice(after)))),
        }
    }
}

fn string(text: &str) -> Result<String, String> {
    unquote(text)
        .and_then(|b| String::from_utf8(b).ok())
        .ok_or_else(|| format!("error unquoting string {}", go_quote(text)))
}

struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn spaces(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn eat(&mut self, prefix: &str) -> bool {
        match self.rest.strip_prefix(prefix) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn take(&mut self, bytes: usize) -> &'a str {
        let (head, tail) = self.rest.split_at_checked(bytes).unwrap_or((self.rest, ""));
        self.rest = tail;
        head
    }

    /// A count behind `x`.
    fn count(&mut self) -> Result<u64, String> {
        let digits = self.rest.bytes().take_while(u8::is_ascii_digit).count();
        let n: u64 =
            self.take(digits).parse().map_err(|e| format!("invalid repetition in series values: {e}"))?;
        if n > REPEAT_MAX {
            return Err(format!("repetition of {n} values is too large"));
        }
        Ok(n)
    }

    fn number(&mut self) -> Result<f64, String> {
        let negative = self.eat("-");
        if !negative {
            self.eat("+");
        }
        let v = self.unsigned()?;
        Ok(if negative { -v } else { v })
    }

    fn unsigned(&mut self) -> Result<f64, String> {
        let bytes = self.rest.as_bytes();
        let word = bytes.iter().take_while(|b| b.is_ascii_alphabetic()).count();
        if word > 0 {
            return match self.rest.get(..3).map(str::to_ascii_lowercase).as_deref() {
                Some("inf") => {
                    self.take(3);
                    Ok(f64::INFINITY)
                }
                Some("nan") => {
                    self.take(3);
                    Ok(f64::NAN)
                }
                _ => Err(format!(
                    "unexpected {} in series values, expected number or \"stale\"",
                    go_quote(self.rest)
                )),
            };
        }
        let mut n = 0;
        while n < bytes.len() {
            let exponent_sign =
                matches!(bytes[n], b'+' | b'-') && n > 0 && matches!(bytes[n - 1], b'e' | b'E');
            if !(bytes[n].is_ascii_digit() || matches!(bytes[n], b'.' | b'e' | b'E' | b'_') || exponent_sign)
            {
                break;
            }
            n += 1;
        }
        // Durations count as numbers of seconds.
        let unit = bytes[n..].iter().take_while(|b| b"smhdwy0123456789".contains(b)).count();
        if unit > 0 && bytes[n..].first().is_some_and(u8::is_ascii_alphabetic) {
            let text = self.take(n + unit);
            return model::duration::parse(text).map(|d| d.as_secs_f64()).map_err(|e| e.to_string());
        }
        parse_number(self.take(n)).map_err(|e| format!("error parsing number: {e}"))
    }

    fn item(&mut self, out: &mut Vec<SequenceValue>) -> Result<(), String> {
        if self.eat("_") {
            let n = if self.eat("x") { self.count()? } else { 1 };
            out.extend((0..n).map(|_| SequenceValue::Omitted));
            return Ok(());
        }
        if self.rest.starts_with("{{") {
            return self.histograms(out);
        }
        let mut value = if self.eat("stale") { model::stale_nan() } else { self.number()? };
        let step = if self.rest.starts_with(['+', '-']) { Some(self.number()?) } else { None };
        if step.is_none() && !self.rest.starts_with('x') {
            out.push(SequenceValue::Float(value));
            return Ok(());
        }
        if !self.eat("x") {
            return Err(format!("unexpected {} in series values, expected \"x\"", go_quote(self.rest)));
        }
        for _ in 0..=self.count()? {
            out.push(SequenceValue::Float(value));
            value += step.unwrap_or(0.0);
        }
        Ok(())
    }

    fn histograms(&mut self, out: &mut Vec<SequenceValue>) -> Result<(), String> {
        let (first, hint) = self.histogram()?;
        let sign = if self.eat("+") {
            1.0
        } else if self.eat("-") {
            -1.0
        } else {
            0.0
        };
        if sign == 0.0 {
            let n = if self.eat("x") { self.count()? + 1 } else { 1 };
            let h = Arc::new(first);
            out.extend((0..n).map(|_| SequenceValue::Histogram(Arc::clone(&h), hint)));
            return Ok(());
        }
        let (step, hint) = self.histogram()?;
        if !self.eat("x") {
            return Err("histogram series needs a repetition".to_string());
        }
        let n = self.count()?;
        if first.schema > step.schema {
            let text = "error combining histograms: cannot merge from schema";
            return Err(format!("{text} {} to {}", step.schema, first.schema));
        }
        let mut current = first;
        for i in 0..=n {
            if i > 0 {
                let done = if sign > 0.0 { current.add(&step) } else { current.sub(&step) };
                done.map_err(|e| e.to_string())?;
            }
            out.push(SequenceValue::Histogram(Arc::new(current.clone()), hint));
        }
        Ok(())
    }

    fn histogram(&mut self) -> Result<(FloatHistogram, bool), String> {
        let body = self.rest.strip_prefix("{{").and_then(|r| r.split_once("}}"));
        let Some((body, rest)) = body else { return Err("histogram description incomplete".to_string()) };
        self.rest = rest;
        let mut h = FloatHistogram::default();
        let (mut offset, mut negative_offset, mut hint_given) = (0, 0, false);
        let mut inner = Cursor { rest: body };
        loop {
            inner.spaces();
            if inner.rest.is_empty() {
                break;
            }
            let Some((key, rest)) = inner.rest.split_once(':') else {
                return Err(format!("bad histogram descriptor found: {}", go_quote(inner.rest)));
            };
            inner.rest = rest;
            match key.to_ascii_lowercase().as_str() {
                "schema" => h.schema = inner.number()? as i32,
                "sum" => h.sum = inner.number()?,
                "count" => h.count = inner.number()?,
                "z_bucket" => h.zero_count = inner.number()?,
                "z_bucket_w" => h.zero_threshold = inner.number()?,
                "offset" => offset = inner.number()? as i32,
                "n_offset" => negative_offset = inner.number()? as i32,
                "buckets" => h.positive_buckets = inner.list()?,
                "n_buckets" => h.negative_buckets = inner.list()?,
                "custom_values" => h.custom_values = Arc::from(inner.list()?),
                "counter_reset_hint" => {
                    hint_given = true;
                    let n = inner.rest.bytes().take_while(|b| b.is_ascii_alphabetic() || *b == b'_').count();
                    h.reset_hint = match inner.take(n) {
                        "unknown" => CounterResetHint::Unknown,
                        "reset" => CounterResetHint::Reset,
                        "not_reset" => CounterResetHint::NotReset,
                        "gauge" => CounterResetHint::Gauge,
                        other => return Err(format!("unknown counter_reset_hint {}", go_quote(other))),
                    };
                }
                other => return Err(format!("bad histogram descriptor found: {}", go_quote(other))),
            }
        }
        let span = |offset: i32, n: usize| match n {
            0 => Vec::new(),
            n => vec![Span { offset, length: n as u32 }],
        };
        h.positive_spans = span(offset, h.positive_buckets.len());
        h.negative_spans = span(negative_offset, h.negative_buckets.len());
        Ok((h, hint_given))
    }

    fn list(&mut self) -> Result<Vec<f64>, String> {
        if !self.eat("[") {
            return Err("bucket list must begin with \"[\"".to_string());
        }
        let mut all = Vec::new();
        loop {
            self.spaces();
            if self.eat("]") {
                return Ok(all);
            }
            all.push(self.number()?);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expands() {
        let (labels, values) = parse_series(r#"m{a="b"} 1 2+3x2 _ _x2 stale -1x1 Inf 1-1x1"#).unwrap();
        assert_eq!(labels.to_string(), r#"{__name__="m", a="b"}"#);
        let shown: Vec<String> = values
            .iter()
            .map(|v| match v {
                SequenceValue::Float(v) if model::is_stale_nan(*v) => "S".to_string(),
                SequenceValue::Float(v) => v.to_string(),
                _ => "_".to_string(),
            })
            .collect();
        assert_eq!(shown.join(" "), "1 2 5 8 _ _ _ S -1 -1 inf 1 0");
        let (_, h) = parse_series("m {{schema:1 sum:3 buckets:[1 2] offset:-1}}x1").unwrap();
        assert_eq!(h.len(), 2);
        for bad in ["m 1x", "m 1+1", "m {{", "m {{buckets:[1}}", "m{a} 1", "m foo", "m 1x99999999999"] {
            assert!(parse_series(bad).is_err() || bad == "m{a} 1", "{bad}");
        }
    }
}
