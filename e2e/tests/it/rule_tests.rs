//! Unit tests of rules beside promtool: passing, failing and broken files, the same output and exit code.

use std::path::Path;
use std::process::{Command, Stdio};

use e2e::process::{godwit, peer};

const RULES: &str = r#"groups:
- name: late
  labels: {team: infra}
  rules:
  - {alert: Hot, expr: 'twice > 2', for: 1m, keep_firing_for: 2m, labels: {of: '{{ $labels.i | toUpper }}', cluster: '{{ $externalLabels.cluster }}'}, annotations: {v: '{{ $value }} <at> {{ $externalURL }}', empty: ''}}
  - {alert: Gone, expr: absent(x)}
- name: early
  interval: 30s
  rules:
  - {record: twice, expr: 2 * x}
  - {record: h:rate, expr: 'rate(h[5m])'}
"#;

const PASSING: &str = r#"rule_files: [rules.yml, ./ru*s.yml]
evaluation_interval: 30s
group_eval_order: [early, late]
tests:
- name: alerts
  interval: 1m
  external_labels: {cluster: c1}
  external_url: http://prom/x
  input_series:
  - {series: 'x{i="a"}', values: '0+1x5 _x3 stale'}
  - {series: 'x{i="b"}', values: 1 stale}
  alert_rule_test:
  - {alertname: Hot, eval_time: 2m}
  - alertname: Hot
    eval_time: 3m30s
    exp_alerts: [{exp_labels: {i: a, of: A, cluster: c1, team: infra}, exp_annotations: {v: '6 <at> http://prom/x', empty: ''}}]
  - {alertname: Gone, eval_time: 20m, exp_alerts: [{exp_labels: {team: infra}}]}
  promql_expr_test:
  - {expr: twice, eval_time: 4m, exp_samples: [{labels: 'twice{i="a"}', value: 8}]}
  - {expr: 'count_over_time(x{i="b"}[10m])', eval_time: 4m, exp_samples: [{labels: '{i="b"}', value: 1}]}
  - {expr: 'vector(1) + scalar(vector(0x10))', exp_samples: [{labels: '{}', value: 17}]}
- name: histograms
  input_series: [{series: h, values: '{{schema:0 sum:1 count:4 buckets:[1 2 1]}}+{{sum:60 count:60 buckets:[20 20 20]}}x20'}]
  promql_expr_test:
  - {expr: 'h:rate', eval_time: 8m, exp_samples: [{labels: 'h:rate', histogram: '{{sum:2 count:2 counter_reset_hint:gauge buckets:[0.6666666666666667 0.6666666666666667 0.6666666666666667]}}'}]}
"#;

const FAILING: &str = r#"rule_files: [rules.yml, nowhere*.yml]
group_eval_order: [early, late]
fuzzy_compare: true
tests:
- name: one
  input_series: [{series: 'x{i="1"}', values: 1 2 3 4}, {series: 'x{i="2"}', values: 3 3 3 3}]
  alert_rule_test:
  - {alertname: Hot, eval_time: 3m, exp_alerts: [{exp_labels: {i: 1, x: ""}, exp_annotations: {v: "\"q\""}}]}
  - {alertname: Hot, eval_time: 1m}
  - {alertname: Nowhere, eval_time: 2m, exp_alerts: [{}]}
  promql_expr_test:
  - {expr: x, eval_time: 1m, exp_samples: [{labels: 'x{i="1"}', value: 2}]}
  - {expr: 'label_replace(x, "i", "", "", "")', eval_time: 1m}
  - {expr: '"ü"', eval_time: 90s}
  - {expr: vector(NaN), exp_samples: [{labels: "", value: .nan}]}
  - {expr: vector(1e9), exp_samples: [{labels: "{}", histogram: "{{schema:1 count:3 sum:1.5 buckets:[1 0 2]}}"}]}
  - {expr: "vector(", exp_samples: []}
- input_series: [{series: y, values: 1x3}]
  promql_expr_test:
  - {expr: y, eval_time: 1m, exp_samples: [{labels: y, value: 1.0000000000000002}]}
  - {expr: y, eval_time: 1m, exp_samples: [{labels: y, value: 1.0000000000000004}]}
"#;

/// `start_timestamp` came after 3.5.
const DATED: &str = r#"tests:
- start_timestamp: 2025-01-01T00:00:00Z
  input_series: [{series: x, values: 1x3}]
  promql_expr_test: [{expr: timestamp(x), eval_time: 1m, exp_samples: [{labels: '{}', value: 1735689660}]}]
- start_timestamp: 1735689600.5
  input_series: [{series: x, values: 1x3}]
  promql_expr_test: [{expr: timestamp(x), eval_time: 1m, exp_samples: [{labels: '{}', value: 1735689660.5}]}]
"#;

/// Exit code, standard output, standard error, results as XML without times.
fn run(program: &Path, folder: &Path, args: &[&str]) -> (Option<i32>, String, String, String) {
    let xml = folder.join("junit.xml");
    let output = Command::new(program)
        .args(["test", "rules", "--junit=junit.xml"])
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let results: Vec<String> = std::fs::read_to_string(xml)
        .unwrap_or_default()
        .split(" timestamp=\"")
        .enumerate()
        .map(|(i, part)| if i == 0 { part.to_string() } else { part[part.find('"').unwrap()..].to_string() })
        .collect();
    (output.status.code(), text(&output.stdout), text(&output.stderr), results.concat())
}

#[test]
fn tests_of_rules_as_promtool_runs_them() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    for (name, text) in [
        ("rules.yml", RULES),
        ("passing.yml", PASSING),
        ("failing.yml", FAILING),
        ("wrong.yml", "groups: [{name: g, rules: [{record: x, expr: 'sum('}]}]\n"),
        ("more.yml", "groups: [{name: g, owner: me, rules: [{record: x, expr: '1'}]}]\n"),
        ("of-wrong.yml", "rule_files: [wrong.yml]\ntests: [{}]\n"),
        ("of-more.yml", "rule_files: [more.yml]\ntests: [{}]\n"),
        ("nameless.yml", "tests: [{name: a, alert_rule_test: [{eval_time: 1m}]}]\n"),
        ("twice.yml", "group_eval_order: [a, b, a]\ntests: [{}]\n"),
        ("empty.yml", ""),
        ("dated.yml", DATED),
    ] {
        std::fs::write(at(name), text).unwrap();
    }
    let (tool, theirs) = (at("promtool"), peer("promtool").unwrap());
    std::os::unix::fs::symlink(godwit().unwrap(), &tool).unwrap();
    for (code, args) in [
        (0, &["passing.yml"][..]),
        (1, &["failing.yml"]),
        (1, &["--diff", "failing.yml"]),
        (0, &["--run=no", "--run=^x", "failing.yml"]),
        (1, &["--run=^on", "passing.yml", "failing.yml", "empty.yml"]),
        (1, &["of-wrong.yml", "nameless.yml", "twice.yml"]),
        (0, &["--ignore-unknown-fields", "of-more.yml"]),
    ] {
        let (want, got) = (run(&theirs, folder.path(), args), run(&tool, folder.path(), args));
        assert_eq!(got.0, Some(code), "{args:?}: {got:?}");
        assert_eq!(got, want, "{args:?}");
    }
    let got = run(&tool, folder.path(), &["dated.yml"]);
    assert_eq!(got.0, Some(0), "{got:?}");
    // The words are godwit's own where Go's name its types and functions.
    for args in [&["of-more.yml"][..], &["rules.yml"]] {
        let (want, got) = (run(&theirs, folder.path(), args), run(&tool, folder.path(), args));
        assert_eq!((got.0, want.0), (Some(1), Some(1)), "{args:?}: {got:?}");
    }
}
