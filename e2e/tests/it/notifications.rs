//! Alerts reach real Alertmanagers.

use std::collections::BTreeSet;
use std::path::Path;

use config::{Config, LoadOptions};
use e2e::http;
use e2e::process::{Server, free_port, godwit, peer};
use model::{Alert, Labels};
use serde_json::Value;
use telemetry::Registry;
use tokio_util::sync::CancellationToken;

fn until(what: &str, holds: impl Fn() -> bool) {
    let look = || if holds() { Ok(()) } else { Err(anyhow::anyhow!("not yet")) };
    e2e::wait::until(what, look).unwrap();
}

pub(crate) fn alertmanager(folder: &Path) -> Server {
    let data = folder.join("am");
    std::fs::create_dir_all(&data).unwrap();
    std::fs::write(folder.join("alertmanager.yml"), "route: {receiver: none}\nreceivers: [{name: none}]\n")
        .unwrap();
    let args = [
        "--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
        "--config.file=alertmanager.yml",
        "--storage.path=am",
    ];
    Server::start(&peer("prometheus-alertmanager").unwrap(), &args, folder, "/-/ready").unwrap()
}

/// Alerts as it has them, by their label `n`.
fn has(server: &Server) -> Vec<Value> {
    let mut all =
        http::get(server.port, "/api/v2/alerts").unwrap().json().unwrap().as_array().unwrap().clone();
    all.sort_by_key(|a| a["labels"]["n"].as_str().unwrap().parse::<u32>().unwrap());
    all
}

fn alerts(numbers: std::ops::Range<u32>) -> Vec<Alert> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let alert = |n: u32| Alert {
        labels: Labels::from_pairs([
            ("alertname", "Test"),
            ("n", &n.to_string()),
            ("severity", if n.is_multiple_of(2) { "info" } else { "page" }),
        ]),
        annotations: vec![("summary".into(), format!("\"{n}\" <é>\n"))],
        starts_at_ms: now - 60_000,
        ends_at_ms: now + 3_600_000,
        generator_url: format!("http://x:9090/graph?g0.expr=up&n={n}"),
    };
    numbers.map(alert).collect()
}

/// The manager with its discovery, as the server ties them.
struct Sender {
    manager: notifier::Manager,
    discovery: discovery::Manager,
    registry: Registry,
    runtime: tokio::runtime::Runtime,
}

impl Sender {
    fn start(drain: bool) -> Sender {
        let (registry, runtime) = (Registry::new(), tokio::runtime::Runtime::new().unwrap());
        let options = notifier::Options {
            queue_capacity: 2_000,
            batch_max: 256,
            drain,
            user_agent: "Prometheus/3".into(),
        };
        let manager = notifier::Manager::new(options, &registry);
        let options = discovery::Options::new("notify");
        let metrics = discovery::Metrics::new(&registry);
        let (discovery, sets) = discovery::Manager::new(options, metrics, CancellationToken::new());
        let (running, finding) = (manager.clone(), discovery.clone());
        runtime.spawn(async move { running.run(sets).await });
        runtime.spawn(async move { finding.run().await });
        Sender { manager, discovery, registry, runtime }
    }

    fn configure(&self, text: &str, alertmanagers: usize) {
        let config = Config::parse(text, &LoadOptions::default()).unwrap();
        self.manager.apply_config(&config).unwrap();
        let sets = notifier::discovery_sets(&config);
        let sets = sets.iter().map(|(name, sd)| (name.as_str(), *sd)).collect();
        self.runtime.block_on(self.discovery.apply_config(&sets));
        until("Alertmanagers", || self.manager.alertmanagers().active.len() == alertmanagers);
    }

    /// The sum of a metric over all Alertmanagers.
    fn sum(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|f| f.name == name).unwrap();
        let value = |m: &exposition::Metric| match m.data {
            exposition::MetricData::Number(value) => value,
            _ => panic!("{name}"),
        };
        family.metrics.iter().map(value).sum()
    }
}

#[test]
fn alerts_reach_alertmanagers() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (all, pages) = (alertmanager(folders[0].path()), alertmanager(folders[1].path()));
    let config = |pages: u16| {
        format!(
            "global: {{external_labels: {{cluster: c1, severity: none}}}}
alerting:
  alert_relabel_configs: [{{regex: replica, action: labeldrop}}]
  alertmanagers:
  - static_configs: [{{targets: ['127.0.0.1:{}']}}]
  - timeout: 2s
    static_configs: [{{targets: ['127.0.0.1:{pages}', 'dropped:1']}}]
    relabel_configs: [{{source_labels: [__address__], regex: 'dropped.*', action: drop}}]
    alert_relabel_configs: [{{source_labels: [severity], regex: page, action: keep}}]
",
            all.port
        )
    };
    let sender = Sender::start(true);
    sender.configure(&config(pages.port), 2);
    assert_eq!(sender.manager.alertmanagers().dropped, ["http://dropped:1/api/v2/alerts"]);
    sender.manager.send(alerts(0..600));
    until("all alerts", || has(&all).len() == 600 && has(&pages).len() == 300);
    let shown = &has(&all)[7];
    assert_eq!(
        shown["labels"].to_string(),
        r#"{"alertname":"Test","cluster":"c1","n":"7","severity":"page"}"#
    );
    assert_eq!(shown["annotations"]["summary"], "\"7\" <é>\n");
    assert_eq!(shown["generatorURL"], "http://x:9090/graph?g0.expr=up&n=7");
    let names =
        |s: &Server| has(s).iter().map(|a| a["labels"]["severity"].to_string()).collect::<BTreeSet<_>>();
    assert_eq!(names(&pages), BTreeSet::from(["\"page\"".to_string()]));
    until("counts", || sender.sum("prometheus_notifications_sent_total") == 900.0);

    // One that is gone costs itself: the other has its own queue.
    let gone = free_port().unwrap();
    sender.configure(&config(gone), 2);
    sender.manager.send(alerts(600..700));
    until("the other's alerts", || has(&all).len() == 700);
    until("lost ones are counted", || sender.sum("prometheus_notifications_dropped_total") == 50.0);
    assert_eq!(sender.sum("prometheus_notifications_errors_total"), 50.0);

    // At the end what waits is sent.
    sender.manager.send(alerts(700..2_000));
    sender.runtime.block_on(sender.manager.stop());
    assert_eq!(has(&all).len(), 2_000);
    sender.manager.send(alerts(2_000..2_001));
    assert_eq!(has(&all).len(), 2_000);
}

/// The API says of Alertmanagers what Prometheus says.
#[test]
fn alertmanagers_are_shown_as_there() {
    let config = "scrape_configs: []
alerting:
  alertmanagers:
  - path_prefix: /am
    scheme: https
    static_configs: [{targets: ['b:9093', 'a:9093', 'b:9093', 'no:1']}]
    relabel_configs: [{source_labels: [__address__], regex: 'no.*', action: drop}]
";
    let shown = |program: &Path| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let args = [
            "--config.file=prometheus.yml",
            "--web.listen-address=127.0.0.1:{port}",
            "--storage.tsdb.path=data",
        ];
        let server = Server::start(program, &args, folder.path(), "/-/ready").unwrap();
        let read = || http::get(server.port, "/api/v1/alertmanagers").unwrap().text();
        until("Alertmanagers", || read().contains("http"));
        read()
    };
    assert_eq!(shown(&godwit().unwrap()), shown(&peer("prometheus").unwrap()));
}
