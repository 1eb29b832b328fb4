//! Raw samples as `promtool tsdb dump` prints them and as the API answers them, in one form to compare.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::answers::Answer;

/// One value; floats by their bits, so that equal means equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Sample {
    /// A float.
    Float(u64),
    /// Count, sum, and buckets as (lower included, upper included, lower, upper, count), sorted.
    Histogram(u64, u64, Vec<(bool, bool, u64, u64, u64)>),
}

/// Samples by labels (as JSON) and milliseconds.
pub type Raw = BTreeMap<String, BTreeMap<i64, Sample>>;

fn bits(text: &str) -> Result<u64> {
    let number: f64 = text.parse().with_context(|| format!("not a number: {text}"))?;
    // -0 and 0 are one bound of a bucket.
    Ok(if number == 0.0 { 0 } else { number.to_bits() })
}

fn float(text: &str) -> Result<u64> {
    Ok(text.parse::<f64>().with_context(|| format!("not a number: {text}"))?.to_bits())
}

/// Leaves out NaN: a dump shows staleness markers as such, an answer does not show them.
fn keep(raw: &mut Raw, labels: &str, time: i64, sample: Sample) {
    let sum = match sample {
        Sample::Float(bits) | Sample::Histogram(_, bits, _) => bits,
    };
    if !f64::from_bits(sum).is_nan() {
        raw.entry(labels.to_string()).or_default().insert(time, sample);
    }
}

/// Reads the answer to an instant query for a range of raw samples.
///
/// # Errors
/// Not such an answer.
pub fn of_answer(answer: &Answer) -> Result<Raw> {
    let mut raw = Raw::new();
    for (labels, points) in answer {
        for (time, value) in points {
            let time = (time.parse::<f64>()? * 1000.0).round() as i64;
            let sample = match serde_json::from_str::<Value>(value)? {
                Value::String(number) => Sample::Float(float(&number)?),
                histogram => histogram_of_json(&histogram)?,
            };
            keep(&mut raw, labels, time, sample);
        }
    }
    Ok(raw)
}

fn histogram_of_json(json: &Value) -> Result<Sample> {
    let text = |v: &Value| v.as_str().map(str::to_string).context("a number is no string");
    let mut buckets = Vec::new();
    for bucket in json["buckets"].as_array().into_iter().flatten() {
        let bounds = bucket[0].as_u64().context("no kind of bounds")?;
        let (left, right) = (bounds == 1 || bounds == 3, bounds == 0 || bounds == 3);
        buckets.push((
            left,
            right,
            bits(&text(&bucket[1])?)?,
            bits(&text(&bucket[2])?)?,
            bits(&text(&bucket[3])?)?,
        ));
    }
    buckets.sort_unstable();
    Ok(Sample::Histogram(bits(&text(&json["count"])?)?, float(&text(&json["sum"])?)?, buckets))
}

/// Reads what `promtool tsdb dump` printed.
///
/// # Errors
/// A line that is none of a dump.
pub fn of_text(text: &str) -> Result<Raw> {
    let mut raw = Raw::new();
    for line in text.lines() {
        let (labels, rest) = labels(line).with_context(|| format!("no labels: {line}"))?;
        let (value, time) = rest.trim_start().rsplit_once(' ').with_context(|| format!("no time: {line}"))?;
        let sample = match value.strip_prefix('{').and_then(|v| v.strip_suffix('}')) {
            Some(inside) => histogram_of_text(inside).with_context(|| format!("histogram: {line}"))?,
            None => Sample::Float(float(value)?),
        };
        keep(&mut raw, &labels, time.parse()?, sample);
    }
    Ok(raw)
}

/// `count:5, sum:1.5, [-1,-0.5):2, (0.5,1]:3`.
fn histogram_of_text(text: &str) -> Result<Sample> {
    let (mut count, mut sum, mut buckets) = (None, None, Vec::new());
    for part in text.split(", ") {
        let (name, value) = part.rsplit_once(':').context("no colon")?;
        match name {
            "count" => count = Some(bits(value)?),
            "sum" => sum = Some(float(value)?),
            bounds => {
                let (left, right) = (bounds.starts_with('['), bounds.ends_with(']'));
                let inside = bounds.get(1..bounds.len() - 1).context("no bounds")?;
                let (lower, upper) = inside.split_once(',').context("no comma")?;
                buckets.push((left, right, bits(lower)?, bits(upper)?, bits(value)?));
            }
        }
    }
    buckets.sort_unstable();
    Ok(Sample::Histogram(count.context("no count")?, sum.context("no sum")?, buckets))
}

/// `{a="b", c="d"}` with Go's quoting; gives JSON and what follows.
fn labels(line: &str) -> Option<(String, &str)> {
    let mut rest = line.strip_prefix('{')?;
    let mut all = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(end) = rest.strip_prefix('}') {
            return Some((serde_json::to_string(&all).ok()?, end));
        }
        // A name that is no plain word is quoted too.
        let name;
        if rest.starts_with('"') {
            (name, rest) = quoted(rest)?;
        } else {
            let (plain, after) = rest.split_once('=')?;
            name = plain.to_string();
            rest = &rest[rest.len() - after.len() - 1..];
        }
        let (value, after) = quoted(rest.strip_prefix('=')?)?;
        all.insert(name, value);
        rest = after;
    }
}

fn quoted(text: &str) -> Option<(String, &str)> {
    let inside = text.strip_prefix('"')?;
    let mut out = String::new();
    let mut chars = inside.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, &inside[at + 1..])),
            '\\' => out.push(match chars.next()?.1 {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                kind @ ('x' | 'u') => {
                    let digits = if kind == 'x' { 2 } else { 4 };
                    let hex: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
                    char::from_u32(u32::from_str_radix(&hex, 16).ok()?)?
                }
                other => other,
            }),
            c => out.push(c),
        }
    }
    None
}

/// Says where two sets of samples differ, at most ten lines.
///
/// # Errors
/// They differ, or there are fewer than `at_least` samples.
pub fn same(want: &Raw, got: &Raw, at_least: usize) -> Result<()> {
    let mut found = Vec::new();
    for (labels, samples) in want {
        match got.get(labels) {
            None => found.push(format!("missing series {labels}")),
            Some(other) if samples != other => {
                let odd = samples.iter().find(|(time, sample)| other.get(time) != Some(sample));
                let odd = odd.map(|(time, sample)| (time, sample, other.get(time)));
                found.push(format!("{labels}: {} samples against {}: {odd:?}", samples.len(), other.len()));
            }
            Some(_) => {}
        }
    }
    found.extend(got.keys().filter(|k| !want.contains_key(*k)).map(|k| format!("additional series {k}")));
    let count: usize = want.values().map(BTreeMap::len).sum();
    let total = found.len();
    found.truncate(10);
    ensure!(found.is_empty(), "{total} of {} series: {found:#?}", want.len());
    ensure!(count >= at_least, "only {count} samples");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_same_samples_are_equal() {
        let text = "{__name__=\"a\", p=\"x\\\"y\\\\\\n\", \"q.r\"=\"é\"} 1e+06 1500\n\
                    {__name__=\"h\"} {count:7.5, sum:2, [-2,-1):3, [-0.001,0.001]:0.5, (1,2]:4} 2001\n\
                    {__name__=\"gone\"} NaN 3\n";
        let point = |time: &str, value: &str| vec![(time.to_string(), value.to_string())];
        let answer = Answer::from([
            (r#"{"__name__":"a","p":"x\"y\\\n","q.r":"é"}"#.to_string(), point("1.5", "\"1000000\"")),
            (
                r#"{"__name__":"h"}"#.to_string(),
                point(
                    "2.001",
                    r#"{"count":"7.5","sum":"2","buckets":[[1,"-2","-1","3"],[3,"-0.001","0.001","0.5"],[0,"1","2","4"]]}"#,
                ),
            ),
        ]);
        let (a, b) = (of_text(text).unwrap(), of_answer(&answer).unwrap());
        same(&a, &b, 2).unwrap();
        assert!(same(&a, &b, 3).is_err());
        let other = of_text(&text.replace("(1,2]:4", "(1,2]:5")).unwrap();
        assert!(same(&other, &b, 2).is_err());
    }
}
