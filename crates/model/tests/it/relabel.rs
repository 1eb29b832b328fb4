//! Rules, label sets and what upstream's relabel package makes of them.

use std::collections::BTreeMap;

use model::name::ValidationScheme;
use model::relabel::{RelabelAction, RelabelConfig, RelabelError, RelabelParts, process, trace};
use model::{Labels, LabelsBuilder};
use serde_json::{Value, json};

fn parse(rule: &Value, scheme: ValidationScheme) -> Result<RelabelConfig, RelabelError> {
    let text = |name: &str| rule.get(name).map(|v| v.as_str().unwrap().to_string());
    let defaults = RelabelParts::default();
    let names = |v: &Value| v.as_array().unwrap().iter().map(|n| n.as_str().unwrap().to_string()).collect();
    let parts = RelabelParts {
        source_labels: rule.get("source_labels").map(names),
        separator: text("separator").unwrap_or(defaults.separator),
        regex: text("regex"),
        modulus: rule.get("modulus").map_or(0, |v| v.as_u64().unwrap()),
        target_label: text("target_label").unwrap_or_default(),
        replacement: text("replacement").unwrap_or(defaults.replacement),
        action: text("action").map_or(Ok(defaults.action), |name| RelabelAction::parse(&name))?,
    };
    RelabelConfig::new(parts, scheme)
}

fn builder(labels: &Value) -> LabelsBuilder {
    let map: BTreeMap<String, String> = serde_json::from_value(labels.clone()).unwrap();
    Labels::from_pairs(map).to_builder()
}

#[test]
fn does_what_upstream_does() {
    let (mut applied, mut refused, mut wrong) = (0, 0, Vec::new());
    for line in include_str!("../../testdata/relabel.jsonl").lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let scheme = ValidationScheme::parse(case["scheme"].as_str().unwrap()).unwrap();
        let rules: Result<Vec<_>, _> =
            case["rules"].as_array().unwrap().iter().map(|r| parse(r, scheme)).collect();
        if let Some(want) = case.get("error") {
            refused += 1;
            let got = rules.map_or_else(|e| e.to_string(), |_| "accepted".to_string());
            if got != want.as_str().unwrap() {
                wrong.push(format!("{}: want {want}, got {got}", case["rules"]));
            }
            continue;
        }
        applied += 1;
        let rules = rules.unwrap_or_else(|e| panic!("{}: {e}", case["rules"]));
        let mut labels = builder(&case["in"]);
        let keep = process(&rules, &mut labels);
        let got: BTreeMap<_, _> = labels.iter().collect();
        let got = if keep { json!(got) } else { Value::Null };
        if got != case["out"] {
            wrong.push(format!("{} on {}: want {}, got {got}", case["rules"], case["in"], case["out"]));
        }
    }
    assert!(applied >= 800 && refused > 100, "{applied} {refused}");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn hash_of_stock_sharding() {
    let rule = json!({"source_labels": ["a"], "modulus": 1000, "target_label": "shard", "action": "hashmod"});
    let mut labels = builder(&json!({"a": "foo"}));
    assert!(parse(&rule, ValidationScheme::Utf8).unwrap().apply(&mut labels));
    // MD5 of "foo" is acbd18db4cc2f85c edef654fccc4a4d8.
    assert_eq!(labels.get("shard"), (0xedef_654f_ccc4_a4d8_u64 % 1000).to_string());
}

#[test]
fn steps_are_told_to_the_end() {
    let rules: Vec<_> = [
        json!({"target_label": "b", "replacement": "2"}),
        json!({"source_labels": ["b"], "regex": "2", "action": "drop"}),
        json!({"target_label": "c", "replacement": "3"}),
    ]
    .iter()
    .map(|r| parse(r, ValidationScheme::Utf8).unwrap())
    .collect();
    let steps = trace(&rules, &mut builder(&json!({"a": "1"})));
    let told: Vec<_> = steps.iter().map(|s| (s.output.to_string(), s.keep)).collect();
    assert_eq!(
        told,
        [(r#"{a="1", b="2"}"#.to_string(), true), ("{}".to_string(), false), ("{}".to_string(), false)]
    );
}

#[test]
fn prints_as_the_api_does() {
    let rule = json!({"source_labels": ["a"], "regex": "x", "target_label": "b"});
    let rule = parse(&rule, ValidationScheme::Utf8).unwrap();
    let want = r#"{"source_labels":["a"],"separator":";","regex":"x","target_label":"b","replacement":"$1","action":"replace"}"#;
    assert_eq!(serde_json::to_string(&rule).unwrap(), want);
}
