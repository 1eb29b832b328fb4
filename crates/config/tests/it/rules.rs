//! Rule files: what is accepted, what is refused and where.

use config::{RuleChecks, RuleFile, ValidationScheme};

fn read(text: &str, scheme: ValidationScheme, ignore: bool) -> Result<RuleFile, String> {
    let mut checks = RuleChecks {
        scheme,
        ignore_unknown_fields: ignore,
        expression: &mut |expr| {
            if expr.contains("bad") { Err("1:1: parse error: bad".to_string()) } else { Ok(()) }
        },
        template: &mut |text| {
            if text.contains("{{") && !text.contains("}}") {
                Err("unclosed action".to_string())
            } else {
                Ok(())
            }
        },
    };
    RuleFile::parse(text, &mut checks).map_err(|e| e.to_string())
}

#[test]
fn a_full_file() {
    let text = "groups:\n- name: g\n  interval: 30s\n  query_offset: 1m\n  limit: 5\n  labels: {team: a}\n  rules:\n  - record: a:b\n    expr: sum(x)\n    labels: {l: v}\n  - alert: A\n    expr: up == 0\n    for: 5m\n    keep_firing_for: 1m\n    labels: {severity: page}\n    annotations: {summary: \"{{ $value }}\"}\n- name: h\n  rules: []\n";
    let file = read(text, ValidationScheme::Utf8, false).unwrap();
    let group = &file.groups[0];
    assert_eq!(
        (group.interval.as_secs(), group.query_offset.unwrap().as_secs(), group.limit, group.rules.len()),
        (30, 60, 5, 2)
    );
    assert_eq!(
        (group.rules[1].hold.as_secs(), group.rules[1].name(), group.rules[0].name()),
        (300, "A", "a:b")
    );
    // Null items are left out, as promtool does.
    for text in [
        "",
        "groups:\n",
        "groups: []\n",
        "groups: [{name: a}]\n",
        "groups: [null, {name: a, rules: [null]}]\n",
    ] {
        assert!(read(text, ValidationScheme::Utf8, false).is_ok(), "{text}");
    }
}

#[test]
fn refusals_name_their_place() {
    let rule = |body: &str| format!("groups:\n- name: g\n  rules:\n  - {body}\n");
    for (text, want) in [
        (
            rule("{record: a, alert: b, expr: x}"),
            "line 4, column 14: group \"g\", rule 1, \"b\": only one of 'record' and 'alert' must be set",
        ),
        (
            rule("{expr: x}"),
            "line 4, column 5: group \"g\", rule 1, \"\": one of 'record' or 'alert' must be set",
        ),
        (rule("{record: a}"), "field 'expr' must be set in rule"),
        (
            rule("{record: a, expr: bad}"),
            "line 4, column 23: group \"g\", rule 1, \"a\": could not parse expression: 1:1: parse error: bad",
        ),
        (
            rule("{record: a, expr: x, for: 5m}"),
            "line 4, column 31: group \"g\", rule 1, \"a\": invalid field 'for' in recording rule",
        ),
        (
            rule("{record: a, expr: x, keep_firing_for: 5m}"),
            "invalid field 'keep_firing_for' in recording rule",
        ),
        (rule("{record: a, expr: x, annotations: {a: b}}"), "invalid field 'annotations' in recording rule"),
        (
            rule("{record: 'a{}', expr: x}"),
            "braces present in the recording rule name; should it be in expr?: a{}",
        ),
        (rule("{record: a, expr: x, labels: {__name__: b}}"), "invalid label name: __name__"),
        (rule("{record: a, expr: x, labels: {'': b}}"), "invalid label name: "),
        (rule("{alert: a, expr: x, annotations: {'': b}}"), "invalid annotation name: "),
        (rule("{alert: a, expr: x, annotations: {b: '{{ x'}}"), "annotation \"b\": unclosed action"),
        (rule("{alert: a, expr: x, labels: {b: '{{ x'}}"), "label \"b\": unclosed action"),
        (
            rule("{alert: a, expr: x, fro: 5m}"),
            "line 4, column 25: unknown field \"fro\" in a rule, did you mean \"for\"?",
        ),
        ("groups:\n- rules: []\n".to_string(), "line 2, column 3: Groupname must not be empty"),
        (
            "groups:\n- name: a\n- name: a\n".to_string(),
            "line 3, column 9: groupname: \"a\" is repeated in the same file",
        ),
        ("groups:\n- name: a\n  labels: {__name__: x}\n".to_string(), "invalid label name: __name__"),
        ("groups:\n- name: a\n  interval: x\n".to_string(), "line 3, column 13: not a valid duration string"),
        ("group: []\n".to_string(), "did you mean \"groups\"?"),
        ("- a\n".to_string(), "expected a mapping"),
    ] {
        let error = read(&text, ValidationScheme::Utf8, false).expect_err(&text);
        assert!(error.contains(want), "{text}\n{error}");
    }
}

#[test]
fn schemes_and_unknown_fields() {
    let text = "groups: [{name: g, rules: [{record: a.b, expr: x, labels: {c.d: e}}]}]\n";
    assert!(read(text, ValidationScheme::Utf8, false).is_ok());
    let error = read(text, ValidationScheme::Legacy, false).unwrap_err();
    assert!(
        error.contains("invalid recording rule name: a.b") && error.contains("invalid label name: c.d"),
        "{error}"
    );
    let text = "groups: [{name: g, owner: me, rules: []}]\n";
    assert!(
        read(text, ValidationScheme::Utf8, false).is_err()
            && read(text, ValidationScheme::Utf8, true).is_ok()
    );
}
