//! The corpus: configs that a real Prometheus 3.15 took and printed back, and configs that it refused.
//!
//! `testdata/good/*.out` is the server's `/api/v1/status/config` for the file beside it. `testdata/bad.json`
//! has the place (`line:column`) that the first problem of each bad file must name.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod hostile;
mod rules;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use config::{Config, LoadOptions, RetentionConfig};

fn testdata(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name)
}

/// As the server that made the corpus was started: no flags, none of the variables that the files name.
fn options() -> LoadOptions {
    LoadOptions {
        env: Arc::new(|_| None),
        retention: RetentionConfig { time: Duration::from_secs(15 * 86_400), ..RetentionConfig::default() },
        unbuilt_discovery: true,
        ..LoadOptions::default()
    }
}

fn files(dir: &str, ext: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(testdata(dir)).unwrap();
    let mut files: Vec<PathBuf> =
        entries.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == ext)).collect();
    files.sort();
    files
}

#[test]
fn prints_configs_as_the_real_server_does() {
    let mut failed = Vec::new();
    let mut compared = 0;
    for file in files("good", "yml") {
        let text = std::fs::read_to_string(&file).unwrap();
        let printed = match Config::parse(&text, &options()) {
            Ok(config) => config.to_yaml(),
            Err(error) => {
                failed.push(format!("{}: refused: {error}", file.display()));
                continue;
            }
        };
        let want = std::fs::read_to_string(file.with_extension("out")).unwrap();
        compared += 1;
        if printed != want {
            let at = printed.lines().zip(want.lines()).position(|(a, b)| a != b).unwrap_or(0);
            failed.push(format!(
                "{}: line {}: printed {:?}, the server {:?}",
                file.display(),
                at + 1,
                printed.lines().nth(at),
                want.lines().nth(at)
            ));
        }
    }
    assert!(failed.is_empty() && compared >= 25, "{compared} compared\n{}", failed.join("\n"));
}

/// What is printed is a config again, and means the same.
#[test]
fn what_is_printed_reads_back() {
    for file in files("good", "yml") {
        let text = std::fs::read_to_string(&file).unwrap();
        let config = Config::parse(&text, &options()).unwrap();
        let printed = config.to_yaml();
        // A null or false that omitempty leaves out reads back as the default, and `$` would expand again: so upstream.
        if ["http", "otlp-null", "remote", "storage", "strings"]
            .iter()
            .any(|name| file.ends_with(format!("{name}.yml")))
        {
            continue;
        }
        let again = Config::parse(&printed, &options())
            .unwrap_or_else(|e| panic!("{}: {e}\n{printed}", file.display()));
        assert_eq!(again.to_yaml(), printed, "{}", file.display());
    }
}

#[test]
fn refuses_bad_configs_at_the_right_place() {
    let places: BTreeMap<String, Option<String>> =
        serde_json::from_str(&std::fs::read_to_string(testdata("bad.json")).unwrap()).unwrap();
    let mut failed = Vec::new();
    let mut seen = 0;
    for file in files("bad", "yml") {
        let name = file.file_stem().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        let Err(error) = Config::parse(&text, &options()) else {
            failed.push(format!("{name}: accepted"));
            continue;
        };
        seen += 1;
        let first = &error.problems()[0];
        let place = format!("{}:{}", first.line, first.column);
        if let Some(want) = places[&name].as_ref().filter(|want| **want != place) {
            failed.push(format!("{name}: at {place}, should be {want}: {}", first.text));
        }
    }
    assert!(failed.is_empty() && seen >= 100, "{seen} seen\n{}", failed.join("\n"));
}

#[test]
fn near_names_are_suggested() {
    for (text, want) in [
        (
            "scrape_config: []\n",
            "unknown field \"scrape_config\" in the configuration, did you mean \"scrape_configs\"?",
        ),
        ("global:\n  scrape_intervall: 5s\n", "did you mean \"scrape_interval\"?"),
        ("scrape_configs:\n- job_name: a\n  metric_path: /x\n", "did you mean \"metrics_path\"?"),
        ("scrape_configs:\n- job_name: a\n  basic_aut: {}\n", "did you mean \"basic_auth\"?"),
        ("scrape_configs:\n- job_name: a\n  consul_sd_config: []\n", "did you mean \"consul_sd_configs\"?"),
        ("global: {scrape_protocols: [PrometheusProt]}\n", "did you mean \"PrometheusProto\"?"),
        ("scrape_configs:\n- job_name: a\n  relabel_configs: [{action: dorp}]\n", "did you mean \"drop\"?"),
    ] {
        let error = Config::parse(text, &options()).unwrap_err().to_string();
        assert!(error.contains(want), "{text}: {error}");
    }
}

#[test]
fn unbuilt_discovery_is_refused_by_name_with_the_way_round() {
    let strict = LoadOptions { unbuilt_discovery: false, ..options() };
    for key in ["consul_sd_configs", "ec2_sd_configs", "kubernetes_sd_configs", "vultr_sd_configs"] {
        let body = if key.starts_with("kube") { "{role: pod}" } else { "{anything: 1}" };
        let text = format!("scrape_configs:\n- job_name: a\n  {key}: [{body}]\n");
        let error = Config::parse(&text, &strict).unwrap_err();
        let problem = &error.problems()[0];
        assert_eq!((problem.line, problem.column, error.problems().len()), (3, 3, 1), "{error}");
        assert!(
            problem.text.starts_with(key)
                && problem.text.contains("file_sd_configs")
                && problem.text.contains("http_sd_configs")
        );
    }
}

#[test]
fn all_problems_come_at_once_and_in_order() {
    let text = "global:\n  scrape_interval: x\n  foo: 1\nscrape_configs:\n- job_name: a\n  honor_labels: 5\n  bar: 2\n";
    let error = Config::parse(text, &options()).unwrap_err();
    let lines: Vec<u32> = error.problems().iter().map(|p| p.line).collect();
    assert_eq!(lines, [2, 3, 6, 7], "{error}");
}

#[test]
fn secrets_never_show() {
    let text = "scrape_configs:\n- job_name: a\n  basic_auth: {username: u, password: TOPSECRET}\n- job_name: b\n  proxy_url: http://u:TOPSECRET@p/\n- job_name: c\n  authorization: {credentials: TOPSECRET}\n- job_name: d\n  http_headers: {X: {secrets: [TOPSECRET]}}\nremote_write:\n- url: http://u:TOPSECRET@x/\n  sigv4: {access_key: a, secret_key: TOPSECRET}\n";
    let config = Config::parse(text, &options()).unwrap();
    assert!(!config.to_yaml().contains("TOPSECRET") && !format!("{config:?}").contains("TOPSECRET"));
    assert_eq!(config.scrape_configs[0].http.basic_auth.as_ref().unwrap().password.expose(), "TOPSECRET");
    for bad in [
        "scrape_configs:\n- job_name: a\n  basic_auth: {password: [TOPSECRET]}\n",
        "remote_write: [{url: \"http://u:TOPSECRET@x:y/\"}]\n",
    ] {
        let error = Config::parse(bad, &options()).unwrap_err();
        assert!(!error.to_string().contains("TOPSECRET"), "{error}");
    }
}

#[test]
fn files_load_with_paths_joined_and_jobs_of_further_files() {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write(
        "p.yml",
        "global: {scrape_interval: 5s, query_log_file: q.log, external_labels: {a: \"$A-${B}$$\"}}\nrule_files: [r/*.yml]\nscrape_config_files: [s/*.yml]\nscrape_configs: [{job_name: main, tls_config: {ca_file: ../ca.pem}}]\n",
    );
    write(
        "s/one.yml",
        "scrape_configs: [{job_name: one, file_sd_configs: [{files: [t.json]}], authorization: {credentials_file: /abs}}]\n",
    );
    let env = LoadOptions { env: Arc::new(|name| (name == "A").then(|| "x".to_string())), ..options() };
    let config = Config::load_file(&dir.path().join("p.yml"), &env).unwrap();
    let at = |name: &str| dir.path().join(name).display().to_string();
    assert_eq!(
        (config.global.query_log_file.clone(), config.rule_files[0].clone()),
        (at("q.log"), at("r/*.yml"))
    );
    assert_eq!(config.global.external_labels.get("a"), "x-$");
    let parent = dir.path().parent().unwrap().join("ca.pem").display().to_string();
    assert_eq!(config.scrape_configs[0].http.tls_config.ca_file, parent);
    let jobs = config.scrape_configs_all(&env).unwrap();
    assert_eq!((jobs.len(), jobs[1].job_name.as_str(), jobs[1].scrape_interval.as_secs()), (2, "one", 5));
    assert_eq!(jobs[1].sd.file_sd_configs[0].files[0], at("s/t.json"));
    write("s/two.yml", "scrape_configs:\n- job_name: two\n- job_name: main\n");
    let error = config.scrape_configs_all(&env).unwrap_err().to_string();
    assert!(error.contains("two.yml:3:13: found multiple scrape configs with job name \"main\", first found in main config file"), "{error}");
    write("s/two.yml", "job_name: a\n");
    assert!(
        config
            .scrape_configs_all(&env)
            .unwrap_err()
            .to_string()
            .contains("two.yml:1:1: unknown field \"job_name\"")
    );
    assert!(
        Config::load_file(&dir.path().join("none.yml"), &env)
            .unwrap_err()
            .to_string()
            .starts_with("cannot read ")
    );
}

#[test]
fn agent_mode_refuses_what_it_cannot_do() {
    let agent = LoadOptions { agent: true, ..options() };
    for (text, key) in [
        ("rule_files: [a]\n", "rule_files"),
        ("remote_read: [{url: \"http://a\"}]\n", "remote_read"),
        ("alerting: {alertmanagers: [{}]}\n", "alerting"),
    ] {
        assert!(Config::parse(text, &options()).is_ok());
        let error = Config::parse(text, &agent).unwrap_err().to_string();
        assert!(error.contains(&format!("field {key} is not allowed in agent mode")), "{error}");
    }
    assert!(Config::parse("alerting: {}\n", &agent).is_ok());
}
