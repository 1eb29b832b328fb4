//! The same rule files over the same target, here and in a real Prometheus, each with a real Alertmanager of its
//! own: it gets the same alerts. Then both with one: it has each alert once, across a restart of ours in the
//! middle of `for`. Nothing is said about how soon something comes: a machine may stall at any moment.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, ensure};
use e2e::http;
use e2e::process::{Server, godwit, peer};
use e2e::wait::{now as wall_clock, until};
use serde_json::Value;
use testkit::{Answer as Page, FakeTarget, Recorded};

use crate::notifications::alertmanager;

const WARM: &str =
    "temperature{room=\"east\"} 21.5\ntemperature{room=\"west\"} 41\ntemperature{room=\"north\"} -3\n";
const COLD: &str = "temperature{room=\"east\"} 1\ntemperature{room=\"north\"} -3\n";

/// Long enough that a restart falls into it; a machine that stalls for longer makes it a restart behind it.
const HOLD_SECONDS: i64 = 30;

const RULES: &str = r#"groups:
- name: recorded
  interval: 1s
  rules:
  - {record: 'room:temperature', expr: temperature * 2}
- name: alerts
  interval: 1s
  labels: {team: infra, severity: group}
  rules:
  - alert: Hot
    expr: temperature > 20
    labels:
      severity: '{{ if gt $value 40.0 }}page{{ else }}info{{ end }}'
      upper: '{{ $labels.room | toUpper }}'
      of: '{{ $externalLabels.cluster }}'
      cluster: own
      gone: ''
    annotations:
      summary: 'Room {{ $labels.room }} has {{ $value | humanize }} °C, "{{ printf "%.3e" $value }}" <&>'
      others: '{{ range query "sort(temperature)" }}{{ .Labels.room }};{{ end }}'
      link: '{{ $externalURL }}/{{ $labels.room | reReplaceAll "(.)st" "$1_" | title }}'
      empty: ''
      broken: '{{ template "nowhere" }}'
  - {alert: Short, expr: temperature < 0, for: 2s}
  - {alert: Long, expr: temperature < 0, for: 30s}
  - {alert: Kept, expr: temperature > 40, keep_firing_for: 1h, annotations: {value: '{{ $value }}'}}
  - {alert: OfRecord, expr: 'room:temperature{room="east"} > 0 and on() absent(nowhere{a="b c"})'}
  - {alert: Absent, expr: 'absent(nowhere{a="b c"})'}
  - {alert: Never, expr: temperature > 1000}
- name: limited
  interval: 1s
  limit: 2
  rules:
  - {alert: OverLimit, expr: temperature}
  - {alert: UnderLimit, expr: temperature < 0}
- name: offset
  interval: 1s
  query_offset: 2s
  rules:
  - {alert: Late, expr: 'sum(temperature) > -100', annotations: {by: '{{ $labels }}'}}
"#;

/// One folder for both: the path of a rule file decides at which part of an interval its groups are evaluated.
fn configure(folder: &Path, name: &str, target: &str, alertmanager: u16) {
    let text = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s, external_labels: {{cluster: c1, replica: r}}}}
rule_files: [rules.yml]
alerting:
  alert_relabel_configs: [{{regex: replica, action: labeldrop}}]
  alertmanagers: [{{static_configs: [{{targets: ['127.0.0.1:{alertmanager}']}}]}}]
scrape_configs:
- job_name: test
  static_configs: [{{targets: ['{target}'], labels: {{instance: i}}}}]
"
    );
    std::fs::write(folder.join(format!("{name}.yml")), text).unwrap();
    std::fs::write(folder.join("rules.yml"), RULES).unwrap();
}

fn start(program: &Path, folder: &Path, name: &str) -> Server {
    let (config, data) = (format!("--config.file={name}.yml"), format!("--storage.tsdb.path={name}"));
    let args = [
        config.as_str(),
        data.as_str(),
        "--web.listen-address=127.0.0.1:{port}",
        "--web.external-url=http://prom.example:9090/prefix/",
        "--web.route-prefix=/",
        "--web.enable-lifecycle",
        "--rules.alert.resend-delay=1s",
        "--rules.alert.for-grace-period=1s",
    ];
    Server::start(program, &args, folder, "/-/ready").unwrap()
}

/// What an Alertmanager says of an alert.
#[derive(Clone, Debug, PartialEq)]
struct Shown {
    annotations: String,
    generator_url: String,
    starts_at_ms: i64,
}

fn time_ms(value: &Value) -> Result<i64> {
    let text = value.as_str().with_context(|| format!("{value} is no time"))?;
    Ok(text.parse::<jiff::Timestamp>()?.as_millisecond())
}

/// Alerts that fire, by their labels. Fails where one is there twice.
fn shown(pager: &Server) -> Result<BTreeMap<String, Shown>> {
    let mut all = BTreeMap::new();
    for alert in http::get(pager.port, "/api/v2/alerts")?.json()?.as_array().context("no list")? {
        let one = Shown {
            annotations: alert["annotations"].to_string(),
            generator_url: alert["generatorURL"].to_string(),
            starts_at_ms: time_ms(&alert["startsAt"])?,
        };
        ensure!(all.insert(alert["labels"].to_string(), one).is_none(), "twice: {alert}");
    }
    Ok(all)
}

/// How many alerts of each name: what has to be there.
fn names(all: &BTreeMap<String, Shown>) -> BTreeMap<String, usize> {
    let mut names = BTreeMap::new();
    for labels in all.keys() {
        let labels: Value = serde_json::from_str(labels).unwrap_or_default();
        *names.entry(labels["alertname"].as_str().unwrap_or_default().to_string()).or_default() += 1;
    }
    names
}

fn wanted(names: &[(&str, usize)]) -> BTreeMap<String, usize> {
    names.iter().map(|(name, n)| ((*name).to_string(), *n)).collect()
}

/// All but when.
fn texts(all: &BTreeMap<String, Shown>) -> BTreeMap<&str, (&str, &str)> {
    all.iter().map(|(k, v)| (k.as_str(), (v.annotations.as_str(), v.generator_url.as_str()))).collect()
}

/// Whether an alert of a name fires at a server.
fn fires(server: &Server, name: &str) -> Result<()> {
    let alerts = http::get(server.port, "/api/v1/alerts")?.json()?;
    let alerts = alerts["data"]["alerts"].as_array().cloned().unwrap_or_default();
    let alert = alerts.iter().find(|a| a["labels"]["alertname"] == name).context("no such alert yet")?;
    ensure!(alert["state"] == "firing", "{alert}");
    Ok(())
}

/// Alerts that an Alertmanager took from a server.
fn sent(server: &Server, pager: &Server) -> Result<f64> {
    let page = http::get(server.port, "/metrics")?.text();
    let start = format!(
        "prometheus_notifications_sent_total{{alertmanager=\"http://127.0.0.1:{}/api/v2/alerts\"}} ",
        pager.port
    );
    let value =
        page.lines().find_map(|line| line.strip_prefix(start.as_str())).context("nothing sent yet")?;
    Ok(value.parse()?)
}

#[test]
fn alertmanagers_get_the_same_alerts() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let warm = Arc::new(AtomicBool::new(true));
    let is_warm = Arc::clone(&warm);
    let page = move |_: &Recorded| Page::text(if is_warm.load(Ordering::Acquire) { WARM } else { COLD });
    let target = runtime.block_on(FakeTarget::start(page)).unwrap();
    let folders: Vec<tempfile::TempDir> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
    let [folder, pager_theirs, pager_ours, pager_both] = folders.as_slice() else { panic!() };
    let pagers = [alertmanager(pager_theirs.path()), alertmanager(pager_ours.path())];
    configure(folder.path(), "theirs", &target.address(), pagers[0].port);
    configure(folder.path(), "ours", &target.address(), pagers[1].port);
    let began = wall_clock();
    let prometheus = start(&peer("prometheus").unwrap(), folder.path(), "theirs");
    let own = start(&godwit().unwrap(), folder.path(), "ours");

    // Each with its own. `Long` still waits, or does no longer.
    let now = [
        ("Absent", 1),
        ("Hot", 2),
        ("Kept", 1),
        ("Late", 1),
        ("OfRecord", 1),
        ("Short", 1),
        ("UnderLimit", 1),
    ];
    until("the same alerts at both", || {
        let mut both = [shown(&pagers[0])?, shown(&pagers[1])?];
        for all in &mut both {
            all.retain(|labels, _| !labels.contains("\"Long\""));
        }
        let [want, got] = &both;
        ensure!(names(want) == wanted(&now), "Prometheus: {:?}", names(want));
        let (want_texts, got_texts) = (texts(want), texts(got));
        for (labels, text) in &want_texts {
            let other = got_texts.get(labels);
            ensure!(other == Some(text), "{labels}\nPrometheus: {text:?}\n    godwit: {other:?}");
        }
        ensure!(got.len() == want.len(), "godwit has more: {:?}", got_texts.keys());
        // Both evaluate a group at the same part of its second, whatever they missed.
        for (labels, alert) in want {
            let other = got[labels].starts_at_ms;
            ensure!((alert.starts_at_ms - other) % 1000 == 0, "{labels}: {} {other}", alert.starts_at_ms);
        }
        Ok(())
    })
    .unwrap();

    // Both with one, and ours starts anew while `Long` waits.
    let pager = alertmanager(pager_both.path());
    configure(folder.path(), "theirs", &target.address(), pager.port);
    configure(folder.path(), "ours", &target.address(), pager.port);
    let reloaded = http::request(prometheus.port, "POST", "/-/reload", &[], b"").unwrap();
    assert_eq!(reloaded.status, 200, "{}", reloaded.text());
    assert!(own.stop().unwrap().success());
    let own = start(&godwit().unwrap(), folder.path(), "ours");
    let mut later = now.to_vec();
    later.push(("Long", 1));
    let both_sent = |before: [f64; 2]| -> Result<()> {
        for (server, before) in [&prometheus, &own].into_iter().zip(before) {
            let sent = sent(server, &pager)?;
            ensure!(sent > before + 20.0, "{sent} sent\n{}", server.log_tail());
        }
        Ok(())
    };
    let all = until("each alert once", || {
        // They hold for both: what the one sends is what the other has sent.
        fires(&prometheus, "Long")?;
        fires(&own, "Long")?;
        both_sent([0.0; 2])?;
        let all = shown(&pager)?;
        ensure!(names(&all) == wanted(&later), "{:?}", names(&all));
        Ok(all)
    })
    .unwrap();
    // Not before it held for as long as it has to, whatever was restored.
    let long = all.iter().find(|(labels, _)| labels.contains("\"Long\"")).unwrap().1;
    assert!(long.starts_at_ms >= (began * 1000.0) as i64 + HOLD_SECONDS * 1000, "{began} {long:?}");

    // What is over is told by both; what is kept stays, with what it was.
    let before = [sent(&prometheus, &pager).unwrap(), sent(&own, &pager).unwrap()];
    warm.store(false, Ordering::Release);
    let rest = [("Absent", 1), ("Kept", 1), ("Late", 1), ("Long", 1), ("OfRecord", 1), ("OverLimit", 2)];
    let rest: Vec<(&str, usize)> = rest.into_iter().chain([("Short", 1), ("UnderLimit", 1)]).collect();
    let kept = |all: &BTreeMap<String, Shown>| {
        let found = all.iter().find(|(labels, _)| labels.contains("\"Kept\""));
        found.map(|(labels, alert)| (labels.clone(), alert.annotations.clone()))
    };
    until("the end of what is over", || {
        both_sent(before)?;
        let now = shown(&pager)?;
        ensure!(names(&now) == wanted(&rest), "{:?}", names(&now));
        ensure!(kept(&now) == kept(&all), "{now:#?}");
        Ok(())
    })
    .unwrap();
}
