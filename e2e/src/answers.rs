//! Asks two servers the same and says where their answers differ.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::http::{encode, get};

/// Series of an answer by their labels: times and values as sent.
pub type Answer = BTreeMap<String, Vec<(String, String)>>;

/// Runs an instant or range query and orders the result by labels.
///
/// # Errors
/// The server refuses the query.
pub fn query(port: u16, path_and_parameters: &str) -> Result<Answer> {
    let answer = get(port, path_and_parameters)?;
    ensure!(answer.status == 200, "{path_and_parameters}: {} {}", answer.status, answer.text());
    let json = answer.json()?;
    let data = &json["data"];
    let mut all = Answer::new();
    let point = |p: &Value| (p[0].to_string(), p[1].to_string());
    match &data["result"] {
        Value::Array(series) if data["resultType"] != "scalar" && data["resultType"] != "string" => {
            for one in series {
                let mut points = Vec::new();
                for key in ["value", "histogram"] {
                    points.extend(one.get(key).map(point));
                }
                for key in ["values", "histograms"] {
                    points.extend(one[key].as_array().into_iter().flatten().map(point));
                }
                all.insert(one["metric"].to_string(), points);
            }
        }
        scalar => {
            all.insert(String::new(), vec![point(scalar)]);
        }
    }
    Ok(all)
}

/// Path of an instant query.
#[must_use]
pub fn instant(expression: &str, time: f64) -> String {
    format!("/api/v1/query?query={}&time={time:.3}", encode(expression))
}

/// Path of a range query.
#[must_use]
pub fn range(expression: &str, start: f64, end: f64, step: f64) -> String {
    format!("/api/v1/query_range?query={}&start={start:.3}&end={end:.3}&step={step}", encode(expression))
}

/// What differs between two answers, at most ten lines; empty where they are equal.
#[must_use]
pub fn differences(want: &Answer, got: &Answer) -> Vec<String> {
    let mut found = Vec::new();
    for (labels, points) in want {
        match got.get(labels) {
            None => found.push(format!("missing series {labels}")),
            Some(other) if points != other => {
                let at = points.iter().zip(other).find(|(a, b)| a != b);
                found.push(format!("{labels}: {} points against {}; {at:?}", points.len(), other.len()));
            }
            Some(_) => {}
        }
    }
    found.extend(got.keys().filter(|k| !want.contains_key(*k)).map(|k| format!("additional series {k}")));
    found.truncate(10);
    found
}
