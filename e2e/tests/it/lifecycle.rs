//! Start, reload and stop as operators and scripts know them from Prometheus.

use std::path::Path;
use std::process::{Command, Output};

use e2e::answers::{instant, query};
use e2e::http;
use e2e::process::{Server, free_port, godwit, peer};
use e2e::wait::now;

const LISTEN: &str = "--web.listen-address=127.0.0.1:{port}";
const GOOD: &str = "global: {scrape_interval: 7s}\nscrape_configs: [{job_name: a}]\n";
const OTHER: &str = "global: {scrape_interval: 9s}\nscrape_configs: [{job_name: b}]\n";
const BAD: &str = "global:\n  scrape_intervall: 7s\n";

fn run(program: &Path, folder: &Path, arguments: &[&str]) -> Output {
    Command::new(program).args(arguments).current_dir(folder).output().unwrap()
}

fn write(folder: &Path, text: &str) {
    std::fs::write(folder.join("prometheus.yml"), text).unwrap();
}

fn start(folder: &Path, more: &[&str]) -> Server {
    let mut arguments = vec![LISTEN, "--config.file=prometheus.yml", "--storage.tsdb.path=data"];
    arguments.extend(more);
    Server::start(&godwit().unwrap(), &arguments, folder, "/-/ready").unwrap()
}

fn metric(server: &Server, name: &str) -> f64 {
    let text = http::get(server.port, "/metrics").unwrap().text();
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

fn pools(server: &Server) -> Vec<String> {
    let json = http::get(server.port, "/api/v1/scrape_pools").unwrap().json().unwrap();
    json["data"]["scrapePools"].as_array().unwrap().iter().map(|p| p.as_str().unwrap().to_string()).collect()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    e2e::wait::until(what, || if holds() { Ok(()) } else { Err(anyhow::anyhow!("not yet")) }).unwrap();
}

#[test]
fn a_bad_start_ends_with_the_exit_code_of_prometheus() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), BAD);
    let config = "--config.file=prometheus.yml";
    for arguments in [
        &[config][..],
        &["--no-such-flag"],
        &["--config.file=missing.yml"],
        &[config, "--query.timeout=soon"],
    ] {
        let theirs = run(&peer("prometheus").unwrap(), folder.path(), arguments);
        let ours = run(&godwit().unwrap(), folder.path(), arguments);
        let text = String::from_utf8_lossy(&ours.stderr).into_owned();
        assert_eq!(ours.status.code(), theirs.status.code(), "{arguments:?}: {text}");
    }
    let ours = run(&godwit().unwrap(), folder.path(), &[config]);
    let text = String::from_utf8_lossy(&ours.stderr).into_owned();
    for part in ["prometheus.yml", "2:3", "scrape_intervall", "scrape_interval"] {
        assert!(text.contains(part), "no {part:?} in {text}");
    }
    let ours = run(&godwit().unwrap(), folder.path(), &["--storage.tsdb.pth=x"]);
    assert!(String::from_utf8_lossy(&ours.stderr).contains("--storage.tsdb.path"), "no nearest flag");
}

#[test]
fn reload_by_signal_and_by_request() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), GOOD);
    let server = start(folder.path(), &["--web.enable-lifecycle"]);
    until("first pool", || pools(&server) == ["a"]);

    write(folder.path(), BAD);
    let answer = http::request(server.port, "POST", "/-/reload", &[], &[]).unwrap();
    assert_eq!(answer.status, 500);
    assert!(answer.text().contains("scrape_intervall"), "{}", answer.text());
    assert_eq!(metric(&server, "prometheus_config_last_reload_successful"), 0.0);
    assert_eq!(pools(&server), ["a"], "the old configuration stays in force");

    write(folder.path(), OTHER);
    server.signal("HUP").unwrap();
    until("reload by SIGHUP", || pools(&server) == ["b"]);
    until("success is shown", || metric(&server, "prometheus_config_last_reload_successful") == 1.0);
    let shown = http::get(server.port, "/api/v1/status/config").unwrap().json().unwrap();
    assert!(shown["data"]["yaml"].as_str().unwrap().contains("scrape_interval: 9s"), "{shown}");
    assert!(server.stop().unwrap().success());
}

#[test]
fn lifecycle_requests_are_refused_unless_allowed() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), GOOD);
    let server = start(folder.path(), &[]);
    for path in ["/-/reload", "/-/quit"] {
        assert_eq!(http::request(server.port, "POST", path, &[], &[]).unwrap().status, 403, "{path}");
    }
    let mut server = server;
    server.signal("INT").unwrap();
    assert!(server.wait().unwrap().success());

    let mut server = start(folder.path(), &["--web.enable-lifecycle"]);
    assert_eq!(http::request(server.port, "POST", "/-/quit", &[], &[]).unwrap().status, 200);
    assert!(server.wait().unwrap().success());
}

/// A ConfigMap volume: `prometheus.yml` is a link to `..data/prometheus.yml`, `..data` a link that is
/// swapped.
#[test]
fn a_swapped_config_map_is_reloaded() {
    let folder = tempfile::tempdir().unwrap();
    let volume = |name: &str, text: &str| {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::fs::write(folder.path().join(name).join("prometheus.yml"), text).unwrap();
    };
    volume("..1", GOOD);
    volume("..2", OTHER);
    let link = |to: &str, at: &str| std::os::unix::fs::symlink(to, folder.path().join(at)).unwrap();
    link("..1", "..data");
    link("..data/prometheus.yml", "prometheus.yml");
    let server =
        start(folder.path(), &["--enable-feature=auto-reload-config", "--config.auto-reload-interval=1s"]);
    until("first pool", || pools(&server) == ["a"]);
    link("..2", "..tmp");
    std::fs::rename(folder.path().join("..tmp"), folder.path().join("..data")).unwrap();
    until("reload of the swapped volume", || pools(&server) == ["b"]);
}

#[test]
fn one_server_a_folder() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), GOOD);
    let _server = start(folder.path(), &[]);
    let port = free_port().unwrap().to_string();
    let listen = LISTEN.replace("{port}", &port);
    let arguments = ["--config.file=prometheus.yml", "--storage.tsdb.path=data", &listen];
    let mut second =
        Server::spawn(&godwit().unwrap(), &arguments, folder.path(), port.parse().unwrap()).unwrap();
    let status = second.wait().unwrap();
    assert_eq!(status.code(), Some(1), "{}", second.log_tail());
    assert!(second.log_text().contains("lock"), "{}", second.log_tail());
}

#[test]
fn samples_survive_stop_and_kill() {
    let folder = tempfile::tempdir().unwrap();
    let config = "scrape_configs: [{job_name: self, scrape_interval: 200ms, scrape_timeout: 200ms, static_configs: [{targets: ['127.0.0.1:PORT']}]}]\n";
    let mut known = 0.0;
    for kill in [true, false, true, false] {
        write(folder.path(), "scrape_configs: []\n");
        let server = start(folder.path(), &["--web.enable-lifecycle"]);
        write(folder.path(), &config.replace("PORT", &server.port.to_string()));
        assert_eq!(http::request(server.port, "POST", "/-/reload", &[], &[]).unwrap().status, 200);
        let count = |server: &Server| {
            let answer = query(server.port, &instant("sum(count_over_time(up[1h]))", now())).unwrap();
            answer.values().next().map_or(0.0, |p| p[0].1.trim_matches('"').parse::<f64>().unwrap())
        };
        assert!(count(&server) >= known, "{} samples, {known} before the end", count(&server));
        let goal = known + 10.0;
        until("ten more samples", || {
            known = count(&server);
            known >= goal
        });
        if kill { server.kill().unwrap() } else { assert!(server.stop().unwrap().success()) }
    }
}
