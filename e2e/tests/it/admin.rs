//! The admin API beside a real Prometheus: the same samples pushed to both, then deleted, cleaned and
//! snapshotted in the same way. Status codes, answers and what a snapshot holds must be the same.

use e2e::http::{self, Answer, encode};
use e2e::process::{Server, godwit, peer};
use e2e::{answers, dump, push};
use serde_json::Value;

const ARGUMENTS: [&str; 7] = [
    "--web.listen-address=127.0.0.1:{port}",
    "--config.file=prometheus.yml",
    "--storage.tsdb.path=data",
    "--storage.tsdb.retention.time=100y",
    "--web.enable-remote-write-receiver",
    "--enable-feature=native-histograms",
    "--web.enable-admin-api",
];

struct Pair {
    ours: Server,
    theirs: Server,
    folders: [tempfile::TempDir; 2],
}

impl Pair {
    fn start(arguments: &[&str]) -> Pair {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        for folder in &folders {
            std::fs::write(folder.path().join("prometheus.yml"), "scrape_configs: []\n").unwrap();
        }
        let start = |program: &std::path::Path, folder: &tempfile::TempDir| {
            Server::start(program, arguments, folder.path(), "/-/ready").unwrap()
        };
        let ours = start(&godwit().unwrap(), &folders[0]);
        Pair { ours, theirs: start(&peer("prometheus").unwrap(), &folders[1]), folders }
    }

    fn both(&self, method: &str, path: &str) -> [Answer; 2] {
        [&self.ours, &self.theirs].map(|s| http::request(s.port, method, path, &[], &[]).unwrap())
    }

    /// The same status, and the same shape and error type where there is a body.
    fn same(&self, method: &str, path: &str) -> u16 {
        let [ours, theirs] = self.both(method, path);
        assert_eq!(ours.status, theirs.status, "{method} {path}: {} and {}", ours.text(), theirs.text());
        let shape = |a: &Answer| {
            let json: Value = serde_json::from_str(&a.text()).unwrap_or(Value::Null);
            (json["status"].clone(), json["errorType"].clone(), json["data"].is_object())
        };
        assert_eq!(shape(&ours), shape(&theirs), "{method} {path}: {} and {}", ours.text(), theirs.text());
        ours.status
    }

    fn raw(&self, until: f64) -> [dump::Raw; 2] {
        [&self.ours, &self.theirs].map(|s| {
            let path = answers::instant("{__name__=~\"pushed_.*\"}[30d]", until);
            dump::of_answer(&answers::query(s.port, &path).unwrap()).unwrap()
        })
    }

    fn agree(&self, until: f64, at_least: usize) {
        let [ours, theirs] = self.raw(until);
        dump::same(&theirs, &ours, at_least).unwrap();
    }
}

/// Blocks of two hours, a head, and a delete that spans both.
#[test]
fn deletes_cleanings_and_snapshots_are_those_of_prometheus() {
    let pair = Pair::start(&ARGUMENTS);
    let end = 1_700_006_400_i64;
    let begin = end - 7 * 3600;
    for server in [&pair.ours, &pair.theirs] {
        push::push(server.port, begin, end).unwrap();
    }
    let now = end as f64;
    pair.agree(now, 10_000);

    let delete = "/api/v1/admin/tsdb/delete_series";
    let some = encode("pushed_float{series=~\"1.*\"}");
    let middle = format!("start={}&end={}", end - 5 * 3600, end - 1800);
    for (method, path, want) in [
        ("POST", delete.to_string(), 400),
        ("POST", format!("{delete}?match[]={}", encode("pushed_float{")), 400),
        ("POST", format!("{delete}?match[]={some}&start=x"), 400),
        ("POST", format!("{delete}?match[]={some}&end=x"), 400),
        // No matcher selects nothing; one that accepts the empty value selects what lacks the label.
        ("POST", format!("{delete}?match[]={}", encode("{}")), 204),
        ("POST", format!("{delete}?match[]={}&end={}", encode("{series=\"\"}"), end - 3600), 204),
        ("GET", format!("{delete}?match[]={some}"), 405),
        ("POST", format!("{delete}?match[]={some}&{middle}"), 204),
        (
            "PUT",
            format!("{delete}?match[]={}&end={}", encode("pushed_histogram{series=\"3\"}"), end - 3600),
            204,
        ),
        ("POST", format!("{delete}?match[]={}", encode("nothing_of_this_name")), 204),
    ] {
        assert_eq!(pair.same(method, &path), want, "{method} {path}");
    }
    pair.agree(now, 1000);
    let [after, _] = pair.raw(now);
    assert!(after.keys().any(|labels| labels.contains("pushed_float")), "something is left");

    assert_eq!(pair.same("POST", "/api/v1/admin/tsdb/clean_tombstones"), 204);
    pair.agree(now, 1000);
    assert_eq!(pair.same("POST", "/api/v1/admin/tsdb/snapshot?skip_head=maybe"), 400);
    for skip_head in [false, true] {
        let path = format!("/api/v1/admin/tsdb/snapshot?skip_head={skip_head}");
        let answers = pair.both("POST", &path);
        let mut dumps = Vec::new();
        for (answer, folder) in answers.iter().zip(&pair.folders) {
            assert_eq!(answer.status, 200, "{}", answer.text());
            let name = answer.json().unwrap()["data"]["name"].as_str().unwrap().to_string();
            let snapshot = folder.path().join("data/snapshots").join(&name);
            // A date, a time and a random tail.
            assert_eq!((name.len(), name.as_bytes()[8], name.as_bytes()[16]), (33, b'T', b'-'), "{name}");
            // promtool wants a log, which a snapshot has none of.
            std::fs::create_dir(snapshot.join("wal")).unwrap();
            let out = std::process::Command::new(peer("promtool").unwrap())
                .args(["tsdb", "dump"])
                .arg(snapshot)
                .output()
                .unwrap();
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
            dumps.push(dump::of_text(&String::from_utf8_lossy(&out.stdout)).unwrap());
        }
        if skip_head {
            // Which hours are in blocks already is a matter of timing: only that there is less.
            continue;
        }
        dump::same(&dumps[1], &dumps[0], 1000).unwrap();
    }
}

#[test]
fn without_the_flag_it_is_refused_as_there() {
    let arguments = &ARGUMENTS[..6];
    let pair = Pair::start(arguments);
    for path in ["delete_series?match[]=up", "clean_tombstones", "snapshot"] {
        pair.same("POST", &format!("/api/v1/admin/tsdb/{path}"));
    }
}
