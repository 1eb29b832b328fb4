//! Answers as promtool prints them (upstream: `common/model`'s String and MarshalJSON methods).

use std::cmp::Ordering;
use std::fmt::Write as _;

use model::float_text::{format_f, format_f_precision, format_g};
use serde_json::Value;

use super::answer::{Answer, Histogram, LabelSet, Series};

const NAME: &str = "__name__";

/// `%q`.
fn quoted(text: &str) -> String {
    let mut out = String::new();
    // Writing to a string does not fail.
    let _ = model::name::write_quoted(&mut out, text);
    out
}

/// A label set in braces, the name among them.
pub(super) fn label_set(set: &LabelSet) -> String {
    let pairs: Vec<String> = set.iter().map(|(k, v)| format!("{k}={}", quoted(v))).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// A metric: its name before the braces.
pub(super) fn metric(set: &LabelSet) -> String {
    let name = set.get(NAME).map(String::as_str);
    let mut pairs: Vec<String> =
        set.iter().filter(|(k, _)| *k != NAME).map(|(k, v)| format!("{k}={}", quoted(v))).collect();
    if pairs.is_empty() {
        return name.unwrap_or("{}").to_string();
    }
    // Sorted as texts, value and all: what upstream does.
    pairs.sort();
    format!("{}{{{}}}", name.unwrap_or_default(), pairs.join(", "))
}

fn histogram(h: &Histogram) -> String {
    let buckets: Vec<String> = h
        .buckets
        .iter()
        .map(|b| {
            let left = if matches!(b.bounds, 1 | 3) { '[' } else { '(' };
            let right = if matches!(b.bounds, 0 | 3) { ']' } else { ')' };
            format!("{left}{},{}{right}:{}", format_g(b.lower), format_g(b.upper), format_f(b.count))
        })
        .collect();
    let (count, sum) = (format_f_precision(h.count, 6), format_f_precision(h.sum, 6));
    format!("Count: {count}, Sum: {sum}, Buckets: [{}]", buckets.join(" "))
}

fn points(s: &Series) -> Vec<String> {
    let floats = s.floats.iter().map(|(t, v)| format!("{} @[{}]", format_f(*v), format_f(*t)));
    let histograms = s.histograms.iter().map(|(t, h)| format!("{} @[{}]", histogram(h), format_f(*t)));
    floats.chain(histograms).collect()
}

/// Upstream's order of series in a matrix: fewer labels first, then by the first label that differs.
pub(super) fn order(a: &LabelSet, b: &LabelSet) -> Ordering {
    let by_size = a.len().cmp(&b.len());
    let names = || {
        let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
        names.sort();
        names
    };
    by_size.then_with(|| {
        for name in names() {
            match (a.get(name), b.get(name)) {
                (None, _) => return Ordering::Less,
                (_, None) => return Ordering::Greater,
                (x, y) if x != y => return x.cmp(&y),
                _ => {}
            }
        }
        Ordering::Equal
    })
}

/// For people and for scripts of old.
pub(super) fn promql(answer: &Answer) -> String {
    match answer {
        Answer::Scalar(t, v) => format!("scalar: {} @[{}]", format_f(*v), format_f(*t)),
        Answer::Text(_, text) => text.clone(),
        Answer::Vector(all) => {
            let line = |s: &Series| format!("{} => {}", metric(&s.metric), points(s).join("\n"));
            all.iter().map(line).collect::<Vec<_>>().join("\n")
        }
        Answer::Matrix(all) => {
            let mut all: Vec<&Series> = all.iter().collect();
            all.sort_by(|a, b| order(&a.metric, &b.metric));
            let part = |s: &&Series| format!("{} =>\n{}", metric(&s.metric), points(s).join("\n"));
            all.iter().map(part).collect::<Vec<_>>().join("\n")
        }
    }
}

/// JSON as Go writes it: what HTML takes for its own is escaped.
#[must_use]
pub fn go_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out
}

fn string(text: &str) -> String {
    go_json(&Value::String(text.to_string()).to_string())
}

fn json_float((t, v): &(f64, f64)) -> String {
    format!("[{},\"{}\"]", format_f(*t), format_f(*v))
}

fn json_histogram((t, h): &(f64, Histogram)) -> String {
    let bucket = |b: &super::answer::Bucket| {
        format!(
            "[{},\"{}\",\"{}\",\"{}\"]",
            b.bounds,
            format_f(b.lower),
            format_f(b.upper),
            format_f(b.count)
        )
    };
    let buckets: Vec<String> = h.buckets.iter().map(bucket).collect();
    let buckets = if buckets.is_empty() { "null".to_string() } else { format!("[{}]", buckets.join(",")) };
    let (count, sum) = (format_f(h.count), format_f(h.sum));
    format!("[{},{{\"count\":\"{count}\",\"sum\":\"{sum}\",\"buckets\":{buckets}}}]", format_f(*t))
}

fn json_series(s: &Series, many: bool) -> String {
    let mut out = format!("{{\"metric\":{}", go_json(&serde_json::json!(s.metric).to_string()));
    let floats: Vec<String> = s.floats.iter().map(json_float).collect();
    let histograms: Vec<String> = s.histograms.iter().map(json_histogram).collect();
    for (one, several, points) in [("value", "values", &floats), ("histogram", "histograms", &histograms)] {
        if many && (!points.is_empty() || (several == "values" && histograms.is_empty())) {
            let _ = write!(out, ",\"{several}\":[{}]", points.join(","));
        } else if let Some(point) = points.first().filter(|_| !many) {
            let _ = write!(out, ",\"{one}\":{point}");
        }
    }
    out + "}"
}

/// For scripts.
pub(super) fn json(answer: &Answer) -> String {
    let list = |all: &[Series], many: bool| {
        format!("[{}]", all.iter().map(|s| json_series(s, many)).collect::<Vec<_>>().join(","))
    };
    match answer {
        Answer::Scalar(t, v) => json_float(&(*t, *v)),
        Answer::Text(t, text) => format!("[{},{}]", format_f(*t), string(text)),
        Answer::Vector(all) => list(all, false),
        Answer::Matrix(all) => list(all, true),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn as_promtool_prints() {
        let h =
            json!([1.5, {"count": "3", "sum": "1e3", "buckets": [[3, "-1", "1", "1"], [0, "1", "2", "2"]]}]);
        let vector = json!({"resultType": "vector", "result": [
            {"metric": {"__name__": "x", "b": "<\"", "a": "1"}, "value": [1700000000.123, "1e-7"]},
            {"metric": {}, "histogram": h},
        ]});
        let answer = Answer::read(&vector).unwrap();
        assert_eq!(
            promql(&answer),
            "x{a=\"1\", b=\"<\\\"\"} => 0.0000001 @[1700000000.123]\n{} => Count: 3.000000, Sum: 1000.000000, Buckets: [[-1,1]:1 (1,2]:2] @[1.5]"
        );
        assert_eq!(
            json(&answer),
            "[{\"metric\":{\"__name__\":\"x\",\"a\":\"1\",\"b\":\"\\u003c\\\"\"},\"value\":[1700000000.123,\"0.0000001\"]},{\"metric\":{},\"histogram\":[1.5,{\"count\":\"3\",\"sum\":\"1000\",\"buckets\":[[3,\"-1\",\"1\",\"1\"],[0,\"1\",\"2\",\"2\"]]}]}]"
        );
        let matrix = json!({"resultType": "matrix", "result": [
            {"metric": {"b": "1", "c": "1"}, "values": [[1, "2"], [2, "NaN"]]},
            {"metric": {"z": "1"}, "values": [[1, "+Inf"]]},
        ]});
        let answer = Answer::read(&matrix).unwrap();
        assert_eq!(promql(&answer), "{z=\"1\"} =>\n+Inf @[1]\n{b=\"1\", c=\"1\"} =>\n2 @[1]\nNaN @[2]");
        assert_eq!(promql(&Answer::Scalar(1.0, 2.0)), "scalar: 2 @[1]");
    }
}
