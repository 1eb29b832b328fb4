//! What a scrape asks, and what it stores.

use std::collections::{BTreeMap, HashMap};

use model::{Labels, TargetGroup};
use scrape::TargetHealth;
use testkit::{Answer, FakeTarget, steady};

use crate::rig::{Rig, job_yaml, until};

const PAGE: &str = "# HELP a help of a\n# TYPE a counter\na{x=\"1\"} 1\na{x=\"2\"} 2\nb 3\n";

#[test]
fn requests_are_upstreams() {
    steady(async || {
        let target = FakeTarget::start(|_| Answer::text(PAGE)).await.unwrap();
        let rig =
            Rig::job("  metrics_path: /m x\n  params: {module: [a b, c], z: [q]}\n", &[&target.address()])
                .await;
        until("a scrape", || !rig.values("up").is_empty()).await;
        let request = target.last_request().unwrap();
        assert_eq!(request.method, "GET");
        assert_eq!(request.target, "/m%20x?module=a+b&module=c&z=q");
        assert_eq!(request.header("host"), Some(target.address().as_str()));
        assert_eq!(request.header("user-agent"), Some("Prometheus/3.15.0"));
        assert_eq!(request.header("accept-encoding"), Some("gzip"));
        assert_eq!(request.header("x-prometheus-scrape-timeout-seconds"), Some("0.15"));
        assert_eq!(
            request.header("accept"),
            Some(
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.7,\
             application/openmetrics-text;version=0.0.1;q=0.6,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.3"
            )
        );
        let shown = rig.active()[0].url();
        assert_eq!(shown.to_string(), target.url("/m%20x?module=a+b&module=c&z=q"));
    });
}

#[test]
fn samples_and_the_series_about_them() {
    steady(async || {
        let target = FakeTarget::start(|_| {
            Answer::text(testkit::gzip(PAGE.as_bytes())).with("Content-Encoding", "gzip")
        })
        .await
        .unwrap();
        let relabel = "  extra_scrape_metrics: true\n  sample_limit: 100\n  metric_relabel_configs:\n  - {source_labels: [x], regex: '2', action: drop}\n";
        let rig = Rig::job(relabel, &[&target.address()]).await;
        until("three scrapes", || rig.values("up").len() >= 3).await;
        let address = target.address();
        let labels =
            Labels::from_pairs([("__name__", "a"), ("instance", address.as_str()), ("job", "j"), ("x", "1")]);
        assert_eq!(rig.series("a").keys().collect::<Vec<_>>(), [&labels]);
        for (name, value) in [
            ("up", 1.0),
            ("scrape_samples_scraped", 3.0),
            ("scrape_samples_post_metric_relabeling", 2.0),
            ("scrape_timeout_seconds", 0.15),
            ("scrape_sample_limit", 100.0),
            ("scrape_body_size_bytes", PAGE.len() as f64),
        ] {
            let values = rig.values(name);
            assert!(values.iter().all(|v| *v == value) && values.len() >= 3, "{name}: {values:?}");
        }
        assert_eq!(rig.values("scrape_series_added")[..2], [2.0, 0.0]);
        assert!(rig.values("scrape_duration_seconds").iter().all(|v| *v > 0.0 && *v < 0.15));
        // Times: 200 ms apart to the millisecond, and the same for all series of a scrape.
        let times = |name: &str| -> Vec<i64> {
            rig.series(name).into_values().next().unwrap().iter().map(|s| s.0).collect()
        };
        let (ups, bs) = (times("up"), times("b"));
        assert_eq!(ups[..3], bs[..3]);
        let target = &rig.active()[0];
        let status = target.status();
        assert_eq!((status.health, &*status.last_error), (TargetHealth::Up, ""));
        assert!(status.last_scrape.is_some() && !status.last_scrape_duration.is_zero());
        assert_eq!((target.interval_text(), target.timeout_text()), ("200ms", "150ms"));
        let about = target.metadata_of("a").unwrap();
        assert_eq!((about.kind.as_str(), about.help.as_str()), ("counter", "help of a"));
        assert!(rig.metric("prometheus_target_metadata_cache_entries") >= 1.0);
        assert!(rig.metric("prometheus_target_interval_length_seconds") >= 1.0);
        assert!(rig.metric("prometheus_target_scrape_duration_seconds") >= 1.0);
    });
}

#[test]
fn failures_say_why() {
    steady(async || {
        let ok = FakeTarget::start(|r| match r.target.as_str() {
            "/status" => Answer::text("").status(404),
            "/type" => Answer::page("text/html", "<html>"),
            "/blank" => Answer::Page { status: 200, headers: vec![], body: b"a 1\n".to_vec() },
            "/syntax" => Answer::text("a 1\nb{ 2\n"),
            "/utf8" => Answer::text(b"a{b=\"\xff\xfe\"} 1\n".to_vec()),
            "/twice" => Answer::text("a{b=\"1\",b=\"2\"} 1\n"),
            "/big" => Answer::text("a 1\n".repeat(1000)),
            "/many" => Answer::text("a{x=\"1\"} 1\na{x=\"2\"} 1\na{x=\"3\"} 1\na{x=\"4\"} 1\n"),
            "/labels" => Answer::text("a{a=\"1\",b=\"1\",c=\"1\",d=\"1\",e=\"1\",f=\"1\",g=\"1\"} 1\n"),
            _ => Answer::text("a 1\n"),
        })
        .await
        .unwrap();
        let mut jobs = String::new();
        let expected = [
            ("status", "", "server returned HTTP status 404 Not Found"),
            (
                "type",
                "",
                "received unsupported Content-Type \"text/html\" and no fallback_scrape_protocol specified for target",
            ),
            (
                "blank",
                "",
                "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified for target",
            ),
            ("syntax", "", ""),
            ("utf8", "", "invalid UTF-8"),
            ("twice", "", ""),
            ("big", "  body_size_limit: 2KB\n  extra_scrape_metrics: true\n", "body size limit exceeded"),
            ("many", "  sample_limit: 3\n", "sample limit exceeded"),
            (
                "labels",
                "  label_limit: 5\n",
                "label_limit exceeded (metric: a, number of labels: 10, limit: 5)",
            ),
            ("fine", "", ""),
        ];
        for (path, settings, _) in &expected {
            jobs += &format!(
                "- job_name: {path}\n  scrape_interval: 200ms\n  scrape_timeout: 150ms\n  metrics_path: /{path}\n{settings}"
            );
        }
        let rig = Rig::new(&format!("scrape_configs:\n{jobs}")).await;
        for (path, _, _) in &expected {
            rig.targets(path, &[&ok.address()]).await;
        }
        until("two scrapes of each", || {
            rig.series("up").values().filter(|s| s.len() >= 2).count() == expected.len()
        })
        .await;
        for (path, _, error) in &expected {
            let targets = rig.manager.targets_active();
            let status = targets[*path][0].status();
            if *path == "fine" {
                assert_eq!((status.health, &*status.last_error), (TargetHealth::Up, ""));
                continue;
            }
            assert_eq!(status.health, TargetHealth::Down, "{path}");
            assert!(
                !status.last_error.is_empty() && status.last_error.contains(error),
                "{path}: {:?}",
                status.last_error
            );
            let of_job = |name: &str| {
                let series = rig.series(name).into_iter().find(|(l, _)| l.get("job") == *path);
                series.map(|(_, s)| s.iter().map(|s| s.1).collect::<Vec<_>>()).unwrap_or_default()
            };
            assert!(of_job("up").iter().all(|v| *v == 0.0), "{path}");
            assert!(of_job("a").is_empty(), "{path}: nothing of a refused body is stored");
            if *path == "big" {
                assert!(of_job("scrape_body_size_bytes").iter().all(|v| *v == -1.0));
            }
        }
        assert!(rig.metric("prometheus_target_scrapes_exceeded_sample_limit_total") >= 2.0);
        assert!(rig.metric("prometheus_target_scrapes_exceeded_body_size_limit_total") >= 2.0);
        assert!(rig.metric("prometheus_target_scrape_pool_exceeded_label_limits_total") >= 2.0);
    });
}

#[test]
fn a_dead_target_is_down_at_once_and_a_slow_one_at_its_timeout() {
    steady(async || {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let silent = FakeTarget::start(|_| Answer::Hostile(testkit::Hostile::Silence)).await.unwrap();
        let rig = Rig::job("", &[&free, &silent.address()]).await;
        until("two scrapes of both", || rig.series("up").values().filter(|s| s.len() >= 2).count() == 2)
            .await;
        let error = |address: &str| {
            let all = rig.active();
            let target = all.iter().find(|t| t.value("__address__") == address).unwrap();
            target.status().last_error.to_string()
        };
        assert_eq!(
            error(&free),
            format!("Get \"http://{free}/metrics\": dial tcp {free}: connect: connection refused")
        );
        let silent = silent.address();
        assert_eq!(error(&silent), format!("Get \"http://{silent}/metrics\": context deadline exceeded"));
    });
}

#[test]
fn labels_before_and_after_relabeling() {
    steady(async || {
        let target = FakeTarget::start(|_| Answer::text("a 1\n")).await.unwrap();
        let settings = r#"  params: {module: [m]}
  keep_dropped_targets: 1
  relabel_configs:
  - {source_labels: [__meta_role], regex: drop, action: drop}
  - {source_labels: [__meta_role], target_label: role}
  - {source_labels: [__param_module], target_label: module}
  - {target_label: __param_module, replacement: changed}
  - {target_label: __tmp_x, replacement: internal}
"#;
        let rig = Rig::new(&job_yaml(settings)).await;
        let make = |role: &str, more: &[(&str, &str)]| {
            let mut labels = BTreeMap::from([
                ("__address__".to_string(), target.address()),
                ("__meta_role".to_string(), role.to_string()),
            ]);
            labels.extend(more.iter().map(|(n, v)| (n.to_string(), v.to_string())));
            labels.into()
        };
        let group = TargetGroup {
            targets: vec![
                make("a", &[("own", "1")]),
                make("a", &[("own", "1")]),
                make("drop", &[]),
                make("drop", &[]),
                make("b", &[("__scrape_interval__", "1s"), ("__scrape_timeout__", "2s")]),
                make("b", &[("__address__", "")]),
                make("b", &[("__address__", "http://x/")]),
                make("b", &[("__scrape_interval__", "soon")]),
            ],
            labels: BTreeMap::from([
                ("own".to_string(), "group".to_string()),
                ("g".to_string(), "2".to_string()),
            ]),
            source: "file:0".to_string(),
        };
        rig.groups(HashMap::from([("j".to_string(), vec![group.into()])])).await;
        until("a scrape", || !rig.series("a").is_empty()).await;
        let active = rig.active();
        assert_eq!(active.len(), 1, "equal targets are one; broken ones are none");
        let address = target.address();
        assert_eq!(
            active[0].labels().to_string(),
            format!(r#"{{g="2", instance="{address}", job="j", module="m", own="1", role="a"}}"#)
        );
        assert_eq!(active[0].url().query, "module=changed");
        let discovered = active[0].discovered_labels();
        assert_eq!((discovered.get("__meta_role"), discovered.get("__param_module")), ("a", "m"));
        assert_eq!(discovered.get("__scrape_interval__"), "200ms");
        assert_eq!(discovered.get("__scrape_native_histograms__"), "false");
        assert_eq!(rig.manager.targets_dropped()["j"].len(), 1);
        assert_eq!(rig.manager.targets_dropped_counts()["j"], 2);
        assert_eq!(rig.manager.targets_dropped()["j"][0].discovered_labels().get("__meta_role"), "drop");
        assert_eq!(rig.metric("prometheus_target_sync_failed_total"), 4.0);
        assert_eq!(rig.metric("prometheus_target_scrape_pool_targets"), 1.0);
        assert_eq!(rig.series("a").keys().next().unwrap().get("module"), "m");
    });
}
