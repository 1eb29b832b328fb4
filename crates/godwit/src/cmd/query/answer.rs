//! What a query came to, read from the API's JSON.

use std::collections::BTreeMap;

use serde_json::Value;

/// Labels by name.
pub(in crate::cmd) type LabelSet = BTreeMap<String, String>;

/// A bucket: which bounds belong to it (upstream's code), both bounds, observations.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::cmd) struct Bucket {
    pub(in crate::cmd) bounds: i64,
    pub(in crate::cmd) lower: f64,
    pub(in crate::cmd) upper: f64,
    pub(in crate::cmd) count: f64,
}

/// A histogram as the API shows it.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cmd) struct Histogram {
    pub(in crate::cmd) count: f64,
    pub(in crate::cmd) sum: f64,
    pub(in crate::cmd) buckets: Vec<Bucket>,
}

/// A series with its points: (seconds since 1970, value).
#[derive(Clone, Debug, Default, PartialEq)]
pub(in crate::cmd) struct Series {
    pub(in crate::cmd) metric: LabelSet,
    pub(in crate::cmd) floats: Vec<(f64, f64)>,
    pub(in crate::cmd) histograms: Vec<(f64, Histogram)>,
}

/// A result.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::cmd) enum Answer {
    Scalar(f64, f64),
    Text(f64, String),
    /// A point each.
    Vector(Vec<Series>),
    Matrix(Vec<Series>),
}

/// What is wrong where a text is no number.
fn number(value: &Value) -> Result<f64, String> {
    match value {
        Value::Number(n) => n.as_f64().ok_or_else(|| format!("{n} is out of range")),
        Value::String(s) => s.parse().map_err(|_| format!("{s:?} is no number")),
        other => Err(format!("{other} is no number")),
    }
}

fn pair(value: &Value) -> Result<(f64, &Value), String> {
    match value.as_array().map(Vec::as_slice) {
        Some([t, v]) => Ok((number(t)?, v)),
        _ => Err(format!("{value} is no point")),
    }
}

fn float(value: &Value) -> Result<(f64, f64), String> {
    let (t, v) = pair(value)?;
    Ok((t, number(v)?))
}

fn histogram(value: &Value) -> Result<(f64, Histogram), String> {
    let (t, h) = pair(value)?;
    let bucket = |b: &Value| match b.as_array().map(Vec::as_slice) {
        Some([bounds, lower, upper, count]) => Ok(Bucket {
            bounds: bounds.as_i64().ok_or_else(|| format!("{b} is no bucket"))?,
            lower: number(lower)?,
            upper: number(upper)?,
            count: number(count)?,
        }),
        _ => Err(format!("{b} is no bucket")),
    };
    let buckets = h["buckets"].as_array().map(Vec::as_slice).unwrap_or_default();
    let buckets = buckets.iter().map(bucket).collect::<Result<_, String>>()?;
    Ok((t, Histogram { count: number(&h["count"])?, sum: number(&h["sum"])?, buckets }))
}

fn all<T>(value: &Value, read: impl Fn(&Value) -> Result<T, String>) -> Result<Vec<T>, String> {
    value.as_array().map(Vec::as_slice).unwrap_or_default().iter().map(read).collect()
}

fn series(value: &Value) -> Result<Series, String> {
    let metric = value["metric"].as_object().ok_or("a series without labels")?;
    let label = |(k, v): (&String, &Value)| (k.clone(), v.as_str().unwrap_or_default().to_string());
    let mut s = Series { metric: metric.iter().map(label).collect(), ..Series::default() };
    s.floats = all(&value["values"], float)?;
    s.histograms = all(&value["histograms"], histogram)?;
    if let Some(v) = value.get("value") {
        s.floats.push(float(v)?);
    }
    if let Some(h) = value.get("histogram") {
        s.histograms.push(histogram(h)?);
    }
    Ok(s)
}

impl Answer {
    /// Reads `data` of a query's answer.
    pub(in crate::cmd) fn read(data: &Value) -> Result<Answer, String> {
        let result = &data["result"];
        match data["resultType"].as_str() {
            Some("scalar") => float(result).map(|(t, v)| Answer::Scalar(t, v)),
            Some("string") => {
                let (t, v) = pair(result)?;
                Ok(Answer::Text(t, v.as_str().unwrap_or_default().to_string()))
            }
            Some("vector") => all(result, series).map(Answer::Vector),
            Some("matrix") => all(result, series).map(Answer::Matrix),
            other => Err(format!("unexpected value type {:?}", other.unwrap_or_default())),
        }
    }

    /// With the part that follows.
    pub(in crate::cmd) fn joined(self, next: Answer) -> Answer {
        let (Answer::Matrix(mut all), Answer::Matrix(more)) = (self, next) else {
            return Answer::Matrix(Vec::new());
        };
        let mut places: BTreeMap<LabelSet, usize> =
            all.iter().enumerate().map(|(i, s)| (s.metric.clone(), i)).collect();
        for s in more {
            match places.get(&s.metric).and_then(|i| all.get_mut(*i)) {
                Some(known) => {
                    known.floats.extend(s.floats);
                    known.histograms.extend(s.histograms);
                }
                None => {
                    places.insert(s.metric.clone(), all.len());
                    all.push(s);
                }
            }
        }
        Answer::Matrix(all)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn parts_are_joined_by_series() {
        let part = |name: &str, t: f64| {
            Answer::read(
                &json!({"resultType": "matrix", "result": [{"metric": {"a": name}, "values": [[t, "1"]]}]}),
            )
            .unwrap()
        };
        let Answer::Matrix(all) = part("x", 1.0).joined(part("y", 2.0)).joined(part("x", 3.0)) else {
            panic!()
        };
        assert_eq!(all.len(), 2);
        assert_eq!(all[0].floats, [(1.0, 1.0), (3.0, 1.0)]);
        for bad in [
            json!({"resultType": "vector", "result": [{"metric": {}, "value": [1]}]}),
            json!({"resultType": "vector", "result": [{"value": [1, "1"]}]}),
            json!({"resultType": "matrix", "result": [{"metric": {}, "values": [[1, "x"]]}]}),
            json!({"resultType": "tensor"}),
        ] {
            assert!(Answer::read(&bad).is_err(), "{bad}");
        }
    }
}
