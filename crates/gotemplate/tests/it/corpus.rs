//! What Prometheus's own template package made of thousands of templates (`testdata/gen` wrote the corpus).

use std::sync::Arc;

use gotemplate::{AlertTemplate, List, Prometheus, Query, Sample, Value, alert_data, expand, expand_alert};
use model::{FloatHistogram, Span};

fn histogram() -> Value {
    Value::Histogram(Arc::new(FloatHistogram {
        count: 3.0,
        sum: 10.0,
        zero_threshold: 0.001,
        zero_count: 1.0,
        positive_spans: vec![Span { offset: 0, length: 2 }],
        positive_buckets: vec![1.0, 1.0],
        ..FloatHistogram::default()
    }))
}

struct Answers;

impl Query for Answers {
    fn query(&self, expression: &str) -> Result<Vec<Sample>, String> {
        let up = |instance: &str, v: f64| {
            let value = format!("v{instance}");
            let labels = [("__name__", "up"), ("instance", instance), ("__value__", value.as_str())];
            Sample::new(labels, Value::Float(v))
        };
        match expression {
            "up" => Ok(vec![up("b", 21.0), up("a", 11.0), up("c", 1e6)]),
            "one" => Ok(vec![Sample::new([], Value::Float(1.5))]),
            "hist" => Ok(vec![Sample::new([("a", "b")], histogram())]),
            "fail" => Err("query failed".into()),
            _ => Ok(Vec::new()),
        }
    }
}

/// Differs on purpose (COMPAT): `sortByLabel` leaves the list that it was given as it is.
const SORTED_IN_PLACE: &str =
    r#"{{$v := query "up"}}{{$s := sortByLabel "instance" $v}}{{range $v}}{{.Value}} {{end}}"#;

const URL: &str = "http://testhost:9090/path/prefix";

fn data(kind: &str) -> Value {
    let alert = |value: Value| {
        let labels = [
            ("alertname", "A"),
            ("instance", "foo.example.com:9100"),
            ("job", "node <1>"),
            ("n", "12.5"),
            ("empty", ""),
        ];
        let external = Value::text_map([("region", "eu"), ("zone", "1")]);
        alert_data(Value::text_map(labels), external, URL, value)
    };
    let list = |element, items| Value::List(Arc::new(List { element, items }));
    let floats = |all: &[f64]| list("float64", all.iter().map(|v| Value::Float(*v)).collect());
    let (inf, nan) = (f64::INFINITY, f64::NAN);
    match kind {
        "alert" => alert(Value::Float(1_234_567.891)),
        "hist" => alert(histogram()),
        "floats" => floats(&[
            0.0,
            1.0,
            -1.0,
            1_234_567.0,
            0.12,
            999.95,
            1e-9,
            1e30,
            60.0,
            3600.0,
            86400.0,
            90000.0,
            -183_845.0,
            899.99,
            0.0001,
            12.345,
            1.2345,
            1_048_576.0,
            1e300,
            inf,
            -inf,
            nan,
        ]),
        "small" => floats(&[0.0, 1.0, -1.0, 0.5, -0.25, 1_435_065_584.128, 1e9, 9e9, 1e-7, inf, nan]),
        // Go's list is of int64; there is one signed type here.
        "ints" => list("int64", [0, -1, 1, 1_234_567, i64::MAX, i64::MIN].map(Value::Int).to_vec()),
        "uints" => list("uint64", [0, 1, 1_234_567, u64::MAX].map(Value::Uint).to_vec()),
        "strings" => {
            let all = ["0", "1", "-1.5", "1e3", "0x10", "60.5", "+Inf", "NaN", ".12", "1_0"];
            list("string", all.map(Value::text).to_vec())
        }
        _ => Value::Nil,
    }
}

#[test]
fn templates_give_what_prometheus_gives() {
    let functions = Prometheus {
        query: &Answers,
        now_ms: 1_353_755_652_000,
        external_url: URL,
        path_prefix: "/path/prefix",
    };
    let mut count = 0;
    let mut wrong = Vec::new();
    for line in include_str!("../../testdata/corpus.jsonl").lines() {
        let case: std::collections::BTreeMap<String, String> = serde_json::from_str(line).unwrap();
        let (text, kind) = (case["t"].as_str(), case["d"].as_str());
        let got = match kind {
            "alert" | "hist" => {
                let got = expand_alert(text, "test", &data(kind), &functions);
                assert_eq!(AlertTemplate::new(text, "test").expand(&data(kind), &functions), got, "{text}");
                got
            }
            _ => expand(text, "test", &data(kind), &functions),
        };
        let want = case.get("o").cloned().ok_or_else(|| case["e"].clone());
        count += 1;
        if (got != want) != (text == SORTED_IN_PLACE) {
            wrong.push(format!("{kind} {text}\n  want {want:?}\n  got  {got:?}"));
        }
    }
    assert!(count > 3000, "{count} cases");
    let shown = wrong.iter().take(400).cloned().collect::<Vec<_>>().join("\n");
    assert!(wrong.is_empty(), "{} of {count} differ:\n{shown}", wrong.len());
}
