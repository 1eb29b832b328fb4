//! Replays the recorded answers of a real Prometheus.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::calls::{Compare, Line, all};
use crate::parts::{Answer, headers_of, request, send, server};

pub(crate) fn name(l: &Line) -> String {
    let origin = if l.origin { " (origin)" } else { "" };
    format!("{} {} {}{origin}", l.method, l.path, l.body).trim_end().to_string()
}

pub(crate) fn headers(l: &Line) -> Vec<(&'static str, &'static str)> {
    let mut h = Vec::new();
    if !l.body.is_empty() {
        h.push(("content-type", "application/x-www-form-urlencoded"));
    }
    if l.origin {
        h.push(("origin", "http://example.org"));
    }
    h
}

/// The shape of a value: names of fields in order, kinds of values, the first element of lists.
fn shape(v: &Value) -> Value {
    match v {
        // serde_json sorts the fields of an object; their order is checked on the text.
        Value::Object(o) => Value::Object(o.iter().map(|(k, v)| (k.clone(), shape(v))).collect()),
        Value::Array(a) => Value::Array(a.iter().take(1).map(shape).collect()),
        Value::String(_) => "string".into(),
        Value::Number(_) => "number".into(),
        Value::Bool(_) => "bool".into(),
        Value::Null => Value::Null,
    }
}

/// Field names of the top two levels in the order of the text.
fn order(text: &str) -> Vec<String> {
    let (mut names, mut depth, mut rest) = (Vec::new(), 0, text);
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            '"' => {
                let mut end = 0;
                while let Some(i) = rest[end..].find(['"', '\\']) {
                    if rest[end + i..].starts_with('\\') {
                        end += i + 2;
                    } else {
                        end += i;
                        break;
                    }
                }
                let (word, tail) = rest.split_at(end);
                rest = tail.strip_prefix('"').unwrap_or(tail);
                if rest.starts_with(':') && depth <= 2 {
                    names.push(word.to_string());
                }
            }
            _ => {}
        }
    }
    names
}

/// Sorts the series of an answer whose order is not defined.
fn sorted(body: &str, path: &str) -> String {
    let ordered = path.contains("sort") || path.contains("limit=") && !path.contains("/series");
    let Ok(mut v) = serde_json::from_str::<Value>(body) else { return body.to_string() };
    if ordered {
        return body.to_string();
    }
    let list = match v.pointer("/data/result") {
        Some(Value::Array(_))
            if v.pointer("/data/resultType").is_some_and(|t| t == "vector" || t == "matrix") =>
        {
            "/data/result"
        }
        _ if path.starts_with("/api/v1/series") => "/data",
        _ => return body.to_string(),
    };
    // The text of each element stays as it is, so that float and escape texts are compared to the byte.
    let Some(Value::Array(items)) = v.pointer_mut(list) else { return body.to_string() };
    let mut texts = elements(body, list);
    assert_eq!(texts.len(), items.len(), "{body}");
    texts.sort();
    texts.join("\n")
}

/// Texts of the elements of the list that `pointer` names, and what stands around them as the last one.
fn elements(body: &str, pointer: &str) -> Vec<String> {
    let key = if pointer == "/data" { "\"data\":[" } else { "\"result\":[" };
    let from = body.find(key).unwrap() + key.len();
    let (mut depth, mut start, mut in_string, mut escaped) = (0, from, false, false);
    let mut out = Vec::new();
    for (i, c) in body[from..].char_indices() {
        let at = from + i;
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
            continue;
        }
        match c {
            '"' => in_string = true,
            '{' | '[' => depth += 1,
            ']' if depth == 0 => {
                if at > start {
                    out.push(body[start..at].to_string());
                }
                return out;
            }
            '}' | ']' => depth -= 1,
            ',' if depth == 0 => {
                out.push(body[start..at].to_string());
                start = at + 1;
            }
            _ => {}
        }
    }
    out
}

/// The difference between two answers, if there is one that counts.
pub(crate) fn difference(l: &Line, ours: &Answer, theirs: &Answer) -> Option<String> {
    if ours.status != theirs.status || ours.headers != theirs.headers {
        return Some(format!(
            "ours {} {:?}\n  theirs {} {:?}\n  ours: {:.300}\n  theirs: {:.300}",
            ours.status, ours.headers, theirs.status, theirs.headers, ours.body, theirs.body
        ));
    }
    // Over the wire an answer to HEAD has no body.
    if l.method == "HEAD" {
        return None;
    }
    let (a, b) = match l.compare {
        Compare::Status => return None,
        Compare::Exact => (sorted(&ours.body, &l.path), sorted(&theirs.body, &l.path)),
        Compare::Shape => {
            let of = |body: &str| serde_json::from_str::<Value>(body).map(|v| shape(&v).to_string());
            match (of(&ours.body), of(&theirs.body)) {
                (Ok(a), Ok(b)) if a == b => (order(&ours.body).join(" "), order(&theirs.body).join(" ")),
                (Ok(a), Ok(b)) => (a, b),
                (a, b) => return Some(format!("not JSON: {a:?} {b:?}")),
            }
        }
    };
    (a != b).then(|| format!("ours:   {a}\n  theirs: {b}"))
}

/// Ours to one call.
pub(crate) async fn ask(router: &axum::Router, l: &Line) -> Answer {
    let r = request(l.method, &l.path, &headers(l), l.body.clone().into_bytes());
    let (parts, body) = send(router, r).await;
    Answer {
        status: parts.status.as_u16(),
        headers: headers_of(&parts.headers),
        body: String::from_utf8_lossy(&body).into_owned(),
    }
}

pub(crate) async fn differences(theirs: &BTreeMap<String, Answer>) -> Vec<String> {
    let s = server(|_| {});
    let mut out = Vec::new();
    for l in all() {
        let name = name(&l);
        let Some(theirs) = theirs.get(&name) else {
            out.push(format!("{name}: not recorded"));
            continue;
        };
        if let Some(d) = difference(&l, &ask(&s.router, &l).await, theirs) {
            out.push(format!("{name}\n  {d}"));
        }
    }
    out
}

#[tokio::test]
async fn answers_equal_the_recorded_ones() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/golden.json");
    let text = std::fs::read_to_string(path).unwrap();
    let recorded: BTreeMap<String, Answer> = serde_json::from_str(&text).unwrap();
    assert!(recorded.len() > 150);
    let found = differences(&recorded).await;
    assert!(found.is_empty(), "{} of {} calls differ:\n{}", found.len(), recorded.len(), found.join("\n"));
}
