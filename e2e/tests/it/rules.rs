//! The same rule files over the same targets in a real Prometheus and here: the same series, the same alerts; and
//! alerts that were pending go on after a restart.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use e2e::answers::{Answer, instant, query};
use e2e::http;
use e2e::process::{Server, godwit, peer};
use e2e::wait::{now, until};
use serde_json::Value;
use testkit::{Answer as Page, FakeTarget};

const PAGE: &str = "\
# TYPE requests_total counter
requests_total{job_name=\"a <1>\",code=\"200\"} 1234567
requests_total{job_name=\"a <1>\",code=\"500\"} 12.5
requests_total{job_name=\"b\",code=\"200\"} 0.000125
# TYPE temperature gauge
temperature{room=\"east\",empty=\"\"} 21.5
temperature{room=\"west\"} 41
temperature{room=\"north\"} -3
";

const RULES: &str = r#"groups:
- name: recorded
  interval: 1s
  labels: {team: infra, from: group}
  rules:
  - {record: 'code:requests:sum', expr: sum by (code) (requests_total)}
  - {record: 'code:requests:double', expr: '2 * code:requests:sum', labels: {from: rule, code: ""}}
  - {record: number, expr: "1 + 2"}
  - {record: limited, expr: requests_total offset 1d or temperature}
  - {record: broken, expr: requests_total * on(job_name) group_left requests_total}
- name: limit
  interval: 1s
  limit: 2
  rules:
  - {record: over, expr: temperature}
  - {alert: OverLimit, expr: temperature}
- name: alerts
  interval: 1s
  rules:
  - alert: Hot
    expr: temperature > 20
    labels:
      severity: '{{ if gt $value 40.0 }}page{{ else }}info{{ end }}'
      room_upper: '{{ $labels.room | toUpper }}'
      cluster: '{{ $externalLabels.cluster }}'
      gone: ''
      fixed: yes
    annotations:
      summary: 'Room {{ $labels.room }} has {{ $value | humanize }} °C, {{ printf "%.3e" $value }}'
      queried: '{{ with query "sort(requests_total)" }}{{ range . }}{{ .Labels.code }}={{ .Value }};{{ end }}{{ end }}'
      first: '{{ with printf "temperature{room=''%s''}" $labels.room | query }}{{ . | first | value | humanize1024 }}{{ end }}'
      broken: '{{ template "nowhere" }}'
      missing: '[{{ $labels.nothing }}]'
      empty: ''
  - {alert: Waits, expr: temperature < 0, for: 1h, keep_firing_for: 5m}
  - {alert: Never, expr: temperature > 1000}
  - {alert: SameLabels, expr: temperature, labels: {room: one}}
  - {alert: OfAlerts, expr: 'count by (alertstate) (ALERTS{alertname="Hot"}) > 0'}
"#;

fn configuration(target: &str) -> String {
    format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s, external_labels: {{cluster: c1}}}}
rule_files: [rules*.yml]
scrape_configs:
- job_name: test
  static_configs: [{{targets: ['{target}'], labels: {{instance: i}}}}]
"
    )
}

fn start(program: &Path, folder: &Path, data: &str, more: &[&str]) -> Server {
    let data = format!("--storage.tsdb.path={data}");
    let mut args = vec![
        "--config.file=prometheus.yml",
        "--web.listen-address=127.0.0.1:{port}",
        "--web.external-url=http://prom.example:9090/prefix/",
        "--web.route-prefix=/",
        &data,
    ];
    args.extend(more);
    Server::start(program, &args, folder, "/-/ready").unwrap()
}

/// Times and durations away: they are never the same.
fn without_times(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            // 3.15 shows them where there are none, too.
            fields.retain(|name, value| name != "labels" || value.as_object().is_none_or(|l| !l.is_empty()));
            for (name, value) in fields.iter_mut() {
                match name.as_str() {
                    "lastEvaluation" | "activeAt" | "evaluationTime" | "groupNextToken" => {
                        *value = Value::Null
                    }
                    // Which one fails first is chance there.
                    "lastError"
                        if value.as_str().is_some_and(|t| t.starts_with("found duplicate series")) =>
                    {
                        *value = "found duplicate series".into();
                    }
                    _ => without_times(value),
                }
            }
        }
        Value::Array(items) => {
            items.iter_mut().for_each(without_times);
            if items.iter().any(|item| item.get("activeAt").is_some()) {
                items.sort_by_key(|item| item["labels"].to_string());
            }
        }
        _ => {}
    }
}

fn get(server: &Server, path: &str) -> Result<Value> {
    let answer = http::get(server.port, path)?;
    ensure!(answer.status == 200, "{path}: {} {}", answer.status, answer.text());
    let mut value = answer.json()?;
    without_times(&mut value);
    Ok(value)
}

/// Series that rules write, with their values now.
fn recorded(server: &Server) -> Result<BTreeMap<String, String>> {
    let expression = "{__name__=~\"code:.*|number|limited|broken|over|ALERTS\"}";
    let answer: Answer = query(server.port, &instant(expression, now()))?;
    Ok(answer.into_iter().map(|(series, values)| (series, values[0].1.clone())).collect())
}

fn equal<T: PartialEq + std::fmt::Debug>(
    what: &str,
    servers: [&Server; 2],
    look: impl Fn(&Server) -> Result<T>,
) {
    until(what, || {
        let (want, got) = (look(servers[0])?, look(servers[1])?);
        ensure!(want == got, "{what}\nPrometheus: {want:?}\n    godwit: {got:?}\n{}", servers[1].log_tail());
        Ok(())
    })
    .unwrap();
}

#[test]
fn the_same_rules_give_the_same() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let target = runtime.block_on(FakeTarget::start(|_| Page::text(PAGE))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rules.yml"), RULES).unwrap();
    std::fs::write(folder.path().join("prometheus.yml"), configuration(&target.address())).unwrap();
    let prometheus =
        start(&peer("prometheus").unwrap(), folder.path(), "theirs", &["--web.enable-lifecycle"]);
    let own = start(&godwit().unwrap(), folder.path(), "ours", &["--web.enable-lifecycle"]);
    let servers = [&prometheus, &own];
    until("everything is there", || {
        let series = recorded(&own)?;
        let alerts = get(&own, "/api/v1/alerts")?.to_string();
        for part in ["OfAlerts", "Waits", "\"alertname\":\"Hot\""] {
            ensure!(alerts.contains(part), "{part} is not in {alerts}\n{}", own.log_tail());
        }
        ensure!(series.len() >= 10, "{series:?}\n{}", own.log_tail());
        Ok(())
    })
    .unwrap();
    equal("series", servers, recorded);
    for path in [
        "/api/v1/rules",
        "/api/v1/alerts",
        "/api/v1/rules?type=alert",
        "/api/v1/rules?type=record&rule_group[]=recorded",
        "/api/v1/rules?rule_name[]=Hot&rule_name[]=over",
        "/api/v1/rules?file[]=rules.yml",
        "/api/v1/rules?file[]=nowhere",
        "/api/v1/rules?exclude_alerts=true",
        "/api/v1/rules?match[]={team=\"infra\"}&match[]={severity=~\".%2B\"}",
        "/api/v1/rules?group_limit=1",
        "/api/v1/rules?group_limit=2&rule_group[]=limit&rule_group[]=recorded",
    ] {
        equal(path, servers, |server| get(server, path));
    }
    // Tokens are SHA-1 in 3.5.
    equal("the second page", servers, |server| {
        let first = http::get(server.port, "/api/v1/rules?group_limit=1")?.json()?;
        let token = first["data"]["groupNextToken"].as_str().context("no token")?.to_string();
        get(server, &format!("/api/v1/rules?group_limit=1&group_next_token={token}"))
    });

    // A reload: a group that goes ends its series, rules that stay keep their alerts, others come.
    let before = get_alert(&own, "Waits").unwrap();
    let changed = RULES.replace("- name: limit", "- name: renamed").replace("> 1000", "> 30");
    std::fs::write(folder.path().join("rules.yml"), changed).unwrap();
    for server in servers {
        let answer = http::request(server.port, "POST", "/-/reload", &[], b"").unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    until("the new alert", || get_alert(&own, "Never")).unwrap();
    equal("series after a reload", servers, recorded);
    equal("rules after a reload", servers, |server| get(server, "/api/v1/rules"));
    assert_eq!(get_alert(&own, "Waits").unwrap(), before, "it began anew");
    // A wrong file changes nothing.
    std::fs::write(
        folder.path().join("rules-2.yml"),
        "groups: [{name: x, rules: [{record: a, expr: 'sum('}]}]\n",
    )
    .unwrap();
    for server in servers {
        let answer = http::request(server.port, "POST", "/-/reload", &[], b"").unwrap();
        assert_eq!(answer.status, 500, "{}", answer.text());
    }
    equal("rules after a failed reload", servers, |server| get(server, "/api/v1/rules"));
    let figures = |server: &Server| -> Result<Vec<String>> {
        let page = http::get(server.port, "/metrics")?.text();
        // 3.5 has no histograms of durations.
        let of_rules = page.lines().filter(|l| l.starts_with("# TYPE prometheus_rule_"));
        let of_rules = of_rules.filter(|l| !l.contains("_histogram_seconds"));
        Ok(of_rules.map(str::to_string).collect())
    };
    equal("metrics", servers, figures);
}

/// `activeAt` of the first alert of a name.
fn get_alert(server: &Server, name: &str) -> Result<String> {
    let alerts = http::get(server.port, "/api/v1/alerts")?.json()?;
    let alerts = alerts["data"]["alerts"].as_array().cloned().unwrap_or_default();
    let alert = alerts.iter().find(|a| a["labels"]["alertname"] == name).context("no such alert yet")?;
    Ok(alert["activeAt"].as_str().unwrap_or_default().to_string())
}

fn value(server: &Server, expression: &str) -> Result<f64> {
    let answer = query(server.port, &instant(expression, now()))?;
    let values = answer.values().next().with_context(|| format!("{expression} is empty"))?;
    Ok(values[0].1.trim_matches('"').parse()?)
}

/// All samples of the one series of a range selector: times in seconds, and values.
fn samples(server: &Server, expression: &str) -> Result<Vec<(f64, f64)>> {
    let answer = query(server.port, &instant(expression, now()))?;
    let values = answer.values().next().with_context(|| format!("{expression} is empty"))?;
    values.iter().map(|(t, v)| Ok((t.parse()?, v.trim_matches('"').parse()?))).collect()
}

#[test]
fn pending_goes_on_after_a_restart() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let target = runtime.block_on(FakeTarget::start(|_| Page::text(PAGE))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rules.yml"), RULES).unwrap();
    std::fs::write(folder.path().join("prometheus.yml"), configuration(&target.address())).unwrap();
    let program = godwit().unwrap();
    let flags = ["--rules.alert.for-grace-period=1m"];
    let state = "ALERTS_FOR_STATE{alertname=\"Waits\"}";
    let server = start(&program, folder.path(), "data", &flags);
    let before = until("the state is stored", || value(&server, state)).unwrap();
    until("some time of pending", || {
        ensure!(now() - before > 8.0);
        Ok(())
    })
    .unwrap();
    assert!(server.stop().unwrap().success());
    let started = now();
    let server = start(&program, folder.path(), "data", &flags);
    let (stored, seen) = until("the state is stored again", || {
        let all = samples(&server, &format!("{state}[1h]"))?;
        ensure!(all.iter().any(|(t, _)| *t > started), "{all:?}\n{}", server.log_tail());
        Ok((all, now()))
    })
    .unwrap();
    let (old, new): (Vec<_>, Vec<_>) = stored.into_iter().partition(|(t, _)| *t <= started);
    assert!(old.iter().all(|(_, since)| *since == before), "{before} {old:?}");
    let (down, after) = (old.last().unwrap().0.floor(), new[0].1);
    assert!(new.iter().all(|(_, since)| *since == after), "it changed once more: {new:?}");
    // Seen last at `down`, taken up when the difference says so, as the time when nobody looked does not count:
    // that second lies behind the start and before we look. One that began anew has its eight seconds of pending
    // on top, and is in the future. A machine that stalls moves these times, and can only hide that.
    let taken_up = down + after - before;
    assert!(taken_up >= started.floor(), "{before} {down} {started} {after} {seen}");
    assert!(taken_up <= seen, "it began anew: {before} {down} {started} {after} {seen}");
}
