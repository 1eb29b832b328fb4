//! Reloads: what differs changes, what does not is not touched.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use testkit::{Answer, FakeTarget, steady};

use crate::rig::{Rig, is_stale, job_yaml, until};

#[test]
fn an_unchanged_job_keeps_its_connection_and_series() {
    steady(async || {
        let target = FakeTarget::start(|_| Answer::text("a 1\n")).await.unwrap();
        let rig = Rig::job("", &[&target.address()]).await;
        until("two scrapes", || rig.values("a").len() >= 2).await;
        for i in 0..5 {
            rig.configure(&format!("global: {{evaluation_interval: {}s}}\n{}", i + 1, job_yaml(""))).await;
            rig.targets("j", &[&target.address()]).await;
            tokio::time::sleep(Duration::from_millis(120)).await;
        }
        until("more scrapes", || rig.values("a").len() >= 6).await;
        assert!(target.requests().iter().all(|r| r.connection == 0));
        let added: f64 = rig.values("scrape_series_added").iter().sum();
        assert_eq!(added, 1.0, "the cache survived");
        assert_eq!(rig.metric("prometheus_target_scrape_pool_reloads_total"), 0.0);
        assert_eq!(rig.metric("prometheus_target_scrape_pools_total"), 1.0);
    });
}

#[test]
fn request_settings_change_without_a_gap() {
    steady(async || {
        let target = FakeTarget::start(|_| Answer::text("a 1\n")).await.unwrap();
        let rig = Rig::job("", &[&target.address()]).await;
        until("two scrapes", || rig.values("a").len() >= 2).await;
        rig.configure(&job_yaml("  enable_compression: false\n  basic_auth: {username: u}\n")).await;
        until("the new header", || target.last_request().unwrap().header("authorization").is_some()).await;
        assert_eq!(target.last_request().unwrap().header("accept-encoding"), Some("identity"));
        until("more scrapes", || rig.values("a").len() >= 6).await;
        assert_eq!(rig.values("scrape_series_added").iter().sum::<f64>(), 1.0, "the cache survived");
        // A restart of the loop would choose another phase; a busy machine moves single scrapes only.
        let times: Vec<i64> = rig.series("a").into_values().next().unwrap().iter().map(|s| s.0).collect();
        let on_grid = times.iter().filter(|t| (*t - times[0] + 30).rem_euclid(200) <= 60).count();
        assert!(on_grid * 2 > times.len(), "{times:?}");
    });
}

#[test]
fn new_metric_rules_end_the_series_they_no_longer_make() {
    steady(async || {
        let target = FakeTarget::start(|_| Answer::text("a 1\nb 1\n")).await.unwrap();
        let rig = Rig::job("", &[&target.address()]).await;
        until("two scrapes", || rig.values("b").len() >= 2).await;
        let rule = "  metric_relabel_configs:\n  - {source_labels: [__name__], regex: b, action: drop}\n";
        rig.configure(&job_yaml(rule)).await;
        until("b is marked", || rig.values("b").last().is_some_and(|v| is_stale(*v))).await;
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert!(rig.values("a").iter().all(|v| !is_stale(*v)));
        assert!(rig.values("up").iter().all(|v| !is_stale(*v)));
    });
}

#[test]
fn target_rules_are_applied_to_known_groups() {
    steady(async || {
        let target = FakeTarget::start(|_| Answer::text("a 1\n")).await.unwrap();
        let rig = Rig::job("", &[&target.address()]).await;
        until("a scrape", || !rig.values("a").is_empty()).await;
        rig.configure(&job_yaml("  relabel_configs:\n  - {target_label: zone, replacement: z}\n")).await;
        // Discovery sends the very same groups, or nothing at all.
        until("the new label", || rig.series("a").keys().any(|l| l.get("zone") == "z")).await;
        until("the old series is marked", || {
            rig.series("a")
                .iter()
                .any(|(l, s)| l.get("zone").is_empty() && s.last().is_some_and(|s| is_stale(s.1)))
        })
        .await;
    });
}

#[test]
fn the_interval_changes_with_the_groups() {
    steady(async || {
        let target = FakeTarget::start(|_| Answer::text("a 1\n")).await.unwrap();
        let rig = Rig::job("", &[&target.address()]).await;
        until("a scrape", || !rig.values("a").is_empty()).await;
        rig.configure(&job_yaml("").replace("200ms", "300ms")).await;
        rig.targets("j", &[&target.address()]).await;
        until("the new interval", || rig.active().iter().any(|t| t.interval_text() == "300ms")).await;
        // Aligned times are exact, but a busy machine may delay any single scrape.
        until("two scrapes at the new distance", || {
            let times: Vec<i64> = rig.series("a").into_values().flatten().map(|s| s.0).collect();
            times.windows(2).any(|w| w[1] - w[0] == 300)
        })
        .await;
        assert!(rig.values("up").iter().all(|v| !is_stale(*v)), "the series goes on");
        assert_eq!(rig.values("scrape_series_added").iter().sum::<f64>(), 1.0, "the cache goes on");
    });
}

#[test]
fn series_that_end_while_the_interval_changes_are_marked() {
    steady(async || {
        let both = Arc::new(AtomicBool::new(true));
        let has_both = Arc::clone(&both);
        let page = move || if has_both.load(Ordering::Relaxed) { "a 1\nb 1\n" } else { "a 1\n" };
        let target = FakeTarget::start(move |_| Answer::text(page())).await.unwrap();
        let rig = Rig::job("", &[&target.address()]).await;
        until("two scrapes", || rig.values("b").len() >= 2).await;
        both.store(false, Ordering::Relaxed);
        rig.configure(&job_yaml("").replace("200ms", "400ms")).await;
        rig.targets("j", &[&target.address()]).await;
        until("the end is marked", || rig.values("b").last().is_some_and(|v| is_stale(*v))).await;
        assert!(rig.values("a").iter().all(|v| !is_stale(*v)));
    });
}

#[test]
fn a_job_that_is_gone_is_marked_and_one_that_comes_starts() {
    steady(async || {
        let target = FakeTarget::start(|_| Answer::text("a 1\n")).await.unwrap();
        let rig = Rig::job("", &[&target.address()]).await;
        until("a scrape", || !rig.values("a").is_empty()).await;
        rig.configure(&job_yaml("").replace("job_name: j", "job_name: k")).await;
        assert!(rig.active().is_empty());
        rig.targets("k", &[&target.address()]).await;
        until("the new job", || rig.series("a").keys().any(|l| l.get("job") == "k")).await;
        until("the old one is marked", || {
            rig.series("a")
                .iter()
                .any(|(l, s)| l.get("job") == "j" && s.last().is_some_and(|s| is_stale(s.1)))
        })
        .await;
        assert_eq!(rig.manager.scrape_pools(), ["k"]);
    });
}

#[test]
fn too_many_targets_fail_all_until_the_limit_is_raised() {
    steady(async || {
        let (a, b) = (
            FakeTarget::start(|_| Answer::text("a 1\n")).await.unwrap(),
            FakeTarget::start(|_| Answer::text("a 1\n")).await.unwrap(),
        );
        let rig = Rig::job("  target_limit: 1\n", &[&a.address(), &b.address()]).await;
        let all_up = |value: f64| {
            let up = rig.series("up");
            up.len() == 2 && up.values().all(|s| s.last().is_some_and(|s| s.1 == value))
        };
        until("both down", || all_up(0.0)).await;
        let error = rig.active()[0].status().last_error.to_string();
        assert_eq!(error, "target_limit exceeded (number of targets: 2, limit: 1)");
        assert!(a.requests().is_empty() && b.requests().is_empty());
        assert!(rig.metric("prometheus_target_scrape_pool_exceeded_target_limit_total") >= 1.0);
        rig.configure(&job_yaml("  target_limit: 2\n")).await;
        until("both up", || all_up(1.0)).await;
    });
}

#[test]
fn a_configuration_that_cannot_work_changes_nothing() {
    steady(async || {
        let target = FakeTarget::start(|_| Answer::text("a 1\n")).await.unwrap();
        let rig = Rig::job("", &[&target.address()]).await;
        until("a scrape", || !rig.values("a").is_empty()).await;
        let load = config::LoadOptions::default();
        for settings in [
            "  enable_compression: false\n  tls_config: {ca_file: /nonexistent/ca.pem}\n",
            "  enable_compression: false\n  scrape_failure_log_file: /nonexistent/dir/log\n",
        ] {
            let config = config::Config::parse(&job_yaml(settings), &load).unwrap();
            let jobs = config.scrape_configs_all(&load).unwrap();
            let error = rig.manager.apply_config(&config, jobs).await.unwrap_err().to_string();
            assert!(error.contains("/nonexistent/"), "{error}");
            let n = rig.values("a").len();
            until("scrapes go on", || rig.values("a").len() > n + 1).await;
            assert_eq!(target.last_request().unwrap().header("accept-encoding"), Some("gzip"));
        }
    });
}

#[test]
fn failures_go_to_a_log_that_is_opened_anew_at_reload() {
    steady(async || {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("failures.json");
        let target = FakeTarget::start(|_| Answer::text("").status(503)).await.unwrap();
        let settings = format!("  scrape_failure_log_file: {}\n", path.display());
        let rig = Rig::job(&settings, &[&target.address()]).await;
        let lines = || std::fs::read_to_string(&path).unwrap_or_default().lines().count();
        until("lines", || lines() >= 2).await;
        let text = std::fs::read_to_string(&path).unwrap();
        let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
        assert_eq!(line["level"], "ERROR");
        assert_eq!(line["msg"], "server returned HTTP status 503 Service Unavailable");
        assert_eq!(line["job_name"], "j");
        assert_eq!(line["target"], target.url("/metrics"));
        std::fs::rename(&path, dir.path().join("rotated")).unwrap();
        rig.configure(&job_yaml(&settings)).await;
        until("a new file", || lines() >= 1).await;
    });
}
