//! Upstream's parser said of each of these expressions whether it is one, how it prints, what is wrong.

use promql::{ParserOptions, parse};
use serde_json::Value;

/// Faults whose text or place may differ from upstream's. Only ever lowered.
const ERROR_TEXTS_DIFFERENT_MAX: usize = 1;

/// What 3.15 prints otherwise than 3.14, of which the corpus is: it keeps parentheses around a number in
/// the place of a duration.
const CHANGED_IN_3_15: [(&str, &str); 7] = [
    ("foo offset (5)", "foo offset (5)"),
    ("foo offset (5m)", "foo offset (5m)"),
    ("foo offset +(5)", "foo offset (5)"),
    ("foo offset -(5)", "foo offset -(5)"),
    ("foo[(5s)]", "foo[(5s)]"),
    ("foo[(5m):(1m)]", "foo[(5m):(1m)]"),
    (
        "count_over_time(metric1_total[((max_of(min_of((step()+1),((1h))),1ms)))])",
        "count_over_time(metric1_total[(max_of(min_of((step() + 1), (1h)), 1ms))])",
    ),
];

/// What 3.15 refuses and 3.14 took: modifiers without a number before a range.
const REFUSED_SINCE_3_15: [(&str, &str); 3] = [
    ("some_metric @ start() [5m]", "1:23: parse error: no @ modifiers allowed before range"),
    ("some_metric @ end()[5m]", "1:20: parse error: no @ modifiers allowed before range"),
    ("some_metric offset step()[5m]", "1:26: parse error: no offset modifiers allowed before range"),
];

#[test]
fn corpus() {
    let data = std::fs::read_to_string("testdata/parser.jsonl").unwrap();
    let (mut total, mut wrong_accept, mut wrong_canon, mut wrong_default, mut wrong_error) = (0, 0, 0, 0, 0);
    for line in data.lines().filter(|l| !l.is_empty()) {
        let case: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| case[key].as_str().unwrap_or_default().to_string();
        let (input, mut canon, error) = (text("Input"), text("Canon"), text("Err"));
        if let Some((_, newer)) = CHANGED_IN_3_15.iter().find(|(i, _)| *i == input) {
            canon = (*newer).to_string();
        }
        total += 1;
        if let Some((_, error)) = REFUSED_SINCE_3_15.iter().find(|(i, _)| *i == input) {
            let got = parse(&input, ParserOptions::all()).map_err(|e| e.to_string());
            assert_eq!(got.unwrap_err(), *error);
            continue;
        }
        let parsed = parse(&input, ParserOptions::all());
        if parsed.is_ok() != case["Ok"].as_bool().unwrap() {
            wrong_accept += 1;
            eprintln!("ACCEPT {input:?}\n   want {error:?}\n   got {parsed:?}");
            continue;
        }
        if parse(&input, ParserOptions::default()).is_ok() != case["Def"].as_bool().unwrap() {
            wrong_default += 1;
            eprintln!("DEFAULT {input:?}");
        }
        match parsed {
            Ok(expr) => {
                if expr.to_string() != canon {
                    wrong_canon += 1;
                    eprintln!("CANON {input:?}\n   want {canon}\n   got  {expr}");
                }
                let again = parse(&canon, ParserOptions::all()).map(|e| e.to_string());
                assert_eq!(again.as_deref().unwrap_or("refused"), canon, "canonical text is stable");
            }
            Err(e) if e.to_string() != error => {
                wrong_error += 1;
                eprintln!("ERROR {input:?}\n   want {error}\n   got  {e}");
            }
            Err(_) => {}
        }
    }
    eprintln!(
        "{total}: accept {wrong_accept} default {wrong_default} canon {wrong_canon} error {wrong_error}"
    );
    assert!(total >= 2097, "corpus is whole");
    assert_eq!((wrong_accept, wrong_default, wrong_canon), (0, 0, 0));
    assert!(wrong_error <= ERROR_TEXTS_DIFFERENT_MAX, "{wrong_error} error texts differ");
}

#[test]
fn deep_and_long_expressions_are_refused_not_fatal() {
    let all = ParserOptions::all();
    for (open, close) in [("(", ")"), ("-", ""), ("sum(", ")"), ("1^", ""), ("a+on(x)(", ")")] {
        let text = format!("{}a{}", open.repeat(10_000), close.repeat(10_000));
        assert!(parse(&text, all).unwrap_err().to_string().contains("deeper"), "{open}");
    }
    let text = format!("a[{}1{}]", "(".repeat(10_000), ")".repeat(10_000));
    assert!(parse(&text, all).is_err());
    assert!(parse(&format!("a[1{}]", "+1".repeat(10_000)), all).is_err());
    assert!(parse(&format!("a{}", " + a".repeat(10_000)), all).is_err());
    assert!(parse(&format!("a{}", " + a".repeat(1_000)), all).is_ok());
}
