//! Says whether two answers are the same to the last character that a user sees, and if not, in what.

use anyhow::{Context, Result};
use serde_json::Value;

use super::client::Said;

/// What two answers differ in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Difference {
    /// One refuses what the other answers.
    Refused,
    /// Both refuse, in other words.
    Error,
    /// Another type of result.
    Type,
    /// Other series.
    Series,
    /// The same series, other times or kinds of samples, or values apart by more than rounding.
    Values,
    /// Values apart by rounding alone.
    LastBits,
    /// The same series in another order.
    Order,
    /// Other warnings or infos.
    Notes,
}

/// Whether the order of an instant query's result is what the query asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordered {
    /// It is not.
    Not,
    /// By value: equal ones as they come.
    ByValue,
    /// By labels: no two are equal.
    ByLabels,
}

/// How far apart values may be that count as [`Difference::LastBits`], in proportion to the larger.
const ROUNDING: f64 = 1e-9;

/// An answer taken apart.
pub struct Parsed(Value);

impl Parsed {
    /// Reads a body.
    ///
    /// # Errors
    /// It is no JSON.
    pub fn read(said: &Said) -> Result<Parsed> {
        // Upstream writes bytes as they are where labels are not UTF-8.
        let text = String::from_utf8_lossy(&said.1);
        let value =
            serde_json::from_str(&text).with_context(|| format!("status {}, not JSON: {text}", said.0))?;
        Ok(Parsed(value))
    }

    /// What is refused, in which words.
    #[must_use]
    pub fn error(&self) -> &str {
        self.0["error"].as_str().unwrap_or_default()
    }

    /// Number of series.
    #[must_use]
    pub fn series_count(&self) -> usize {
        self.0["data"]["result"].as_array().map_or(0, Vec::len)
    }

    /// True where all series have labels of the same names.
    #[must_use]
    pub fn has_equal_names(&self) -> bool {
        let names = |s: &Value| s["metric"].as_object().map(|m| m.keys().cloned().collect::<Vec<_>>());
        let all: Vec<_> = self.series().into_iter().map(names).collect();
        all.windows(2).all(|w| w[0] == w[1])
    }

    /// Series in the order of their labels, -0 as 0.
    #[must_use]
    pub fn without_signs_of_zero(&self) -> Vec<String> {
        let text = |s: &&Value| s.to_string().replace("\"-0\"", "\"0\"");
        let mut all: Vec<String> = self.series().iter().map(text).collect();
        all.sort_unstable();
        all
    }

    /// True where a query succeeded.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.0["status"] == "success"
    }

    /// True where there is at least one series, or a scalar or string.
    #[must_use]
    pub fn is_filled(&self) -> bool {
        self.0["data"]["result"].as_array().is_some_and(|a| !a.is_empty())
    }

    fn notes(&self, key: &str) -> Vec<String> {
        let all = self.0[key].as_array().into_iter().flatten().filter_map(Value::as_str);
        // Upstream doubles the count at each step (it merges a note with itself).
        let counted = |n: &str| match n.split_once(", over ") {
            Some((before, after)) => {
                format!("{before}{}", after.split_once(" samples").map_or(after, |a| a.1))
            }
            None => n.to_string(),
        };
        let mut all: Vec<String> = all.map(counted).collect();
        all.sort_unstable();
        // Of more than ten, upstream shows ten by chance.
        if all.len() > 10 {
            all.retain(|n| n.contains(" more "));
        }
        all
    }

    fn series(&self) -> Vec<&Value> {
        self.0["data"]["result"].as_array().into_iter().flatten().collect()
    }
}

/// Compares; `words` false: the words of errors and notes are those of another version.
#[must_use]
pub fn compare(
    theirs: (u16, &Parsed),
    ours: (u16, &Parsed),
    ordered: Ordered,
    words: bool,
) -> Option<Difference> {
    let (a, b) = (theirs.1, ours.1);
    if theirs.0 != ours.0 || a.succeeded() != b.succeeded() {
        return Some(Difference::Refused);
    }
    if !a.succeeded() {
        let same = a.0["errorType"] == b.0["errorType"] && (a.0["error"] == b.0["error"] || !words);
        return (!same).then_some(Difference::Error);
    }
    let kind = &a.0["data"]["resultType"];
    if *kind != b.0["data"]["resultType"] {
        return Some(Difference::Type);
    }
    if kind == "scalar" || kind == "string" {
        if a.0["data"] != b.0["data"] {
            return Some(apart(&a.0["data"]["result"], &b.0["data"]["result"]));
        }
    } else {
        let (mut x, mut y) = (a.series(), b.series());
        let metric = |s: &&Value| s["metric"].to_string();
        let moved = x.iter().map(metric).ne(y.iter().map(metric));
        if moved {
            x.sort_by_key(metric);
            y.sort_by_key(metric);
        }
        if x.iter().map(metric).ne(y.iter().map(metric)) {
            return Some(Difference::Series);
        }
        let worst = x.iter().zip(&y).filter(|(x, y)| x != y).map(|(x, y)| apart(x, y)).min();
        if worst.is_some() {
            return worst;
        }
        // Among equals there is no order.
        let values = |p: &Parsed| p.series().iter().map(|s| s["value"][1].to_string()).collect::<Vec<_>>();
        let moved = moved
            && match ordered {
                Ordered::Not => kind == "matrix",
                Ordered::ByLabels => true,
                Ordered::ByValue => kind == "matrix" || values(a) != values(b),
            };
        if moved {
            return Some(Difference::Order);
        }
    }
    let noted = ["warnings", "infos"].iter().all(|key| a.notes(key) == b.notes(key));
    (words && !noted).then_some(Difference::Notes)
}

/// How two values differ that are not equal: numbers in strings by rounding, or all else.
fn apart(a: &Value, b: &Value) -> Difference {
    let near = match (a, b) {
        (Value::Array(x), Value::Array(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(x, y)| x == y || apart(x, y) == Difference::LastBits)
        }
        (Value::Object(x), Value::Object(y)) => {
            x.len() == y.len()
                && x.iter()
                    .all(|(k, x)| y.get(k).is_some_and(|y| x == y || apart(x, y) == Difference::LastBits))
        }
        (Value::String(x), Value::String(y)) => match (x.parse::<f64>(), y.parse::<f64>()) {
            (Ok(x), Ok(y)) => (x - y).abs() <= ROUNDING * x.abs().max(y.abs()),
            _ => false,
        },
        _ => false,
    };
    if near { Difference::LastBits } else { Difference::Values }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(theirs: &str, ours: &str, ordered: Ordered) -> Option<Difference> {
        let parse = |text: &str| Parsed::read(&(200, text.as_bytes().to_vec())).unwrap();
        compare((200, &parse(theirs)), (200, &parse(ours)), ordered, true)
    }

    fn vector(result: &str, more: &str) -> String {
        format!(
            "{{\"status\":\"success\",\"data\":{{\"resultType\":\"vector\",\"result\":[{result}]}}{more}}}"
        )
    }

    #[test]
    fn every_difference_is_seen() {
        let a = "{\"metric\":{\"a\":\"1\"},\"value\":[1,\"2\"]}";
        let b = "{\"metric\":{\"b\":\"1\"},\"value\":[1,\"2\"]}";
        let near = "{\"metric\":{\"a\":\"1\"},\"value\":[1,\"2.0000000000000004\"]}";
        let far = "{\"metric\":{\"a\":\"1\"},\"value\":[1,\"3\"]}";
        let two = vector(&format!("{a},{b}"), "");
        assert_eq!(of(&two, &two, Ordered::ByLabels), None);
        assert_eq!(of(&two, &vector(&format!("{b},{a}"), ""), Ordered::ByLabels), Some(Difference::Order));
        assert_eq!(of(&two, &vector(&format!("{b},{a}"), ""), Ordered::ByValue), None);
        assert_eq!(of(&two, &vector(&format!("{b},{a}"), ""), Ordered::Not), None);
        assert_eq!(of(&two, &vector(a, ""), Ordered::Not), Some(Difference::Series));
        assert_eq!(of(&vector(a, ""), &vector(near, ""), Ordered::Not), Some(Difference::LastBits));
        assert_eq!(of(&vector(a, ""), &vector(far, ""), Ordered::Not), Some(Difference::Values));
        let noted = vector(a, ",\"infos\":[\"x\",\"y\"]");
        assert_eq!(of(&vector(a, ""), &noted, Ordered::Not), Some(Difference::Notes));
        assert_eq!(of(&noted, &vector(a, ",\"infos\":[\"y\",\"x\"]"), Ordered::Not), None);
        let failed = "{\"status\":\"error\",\"errorType\":\"bad_data\",\"error\":\"x\"}";
        assert_eq!(of(failed, &failed.replace("\"x\"", "\"y\""), Ordered::Not), Some(Difference::Error));
        assert_eq!(of(failed, &two, Ordered::Not), Some(Difference::Refused));
        assert_eq!(of(&two.replace("vector", "matrix"), &two, Ordered::Not), Some(Difference::Type));
    }
}
