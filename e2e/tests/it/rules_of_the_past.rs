//! `tsdb create-blocks-from rules` beside the real promtool: the same rule files asked of the same real Prometheus
//! give the same samples. Data and times are fixed, so nothing depends on when or how fast this runs.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::ensure;
use e2e::answers::{instant, query};
use e2e::process::{Server, godwit, peer};
use e2e::wait::until;

use crate::folders::{LISTEN, blocks};

/// In the middle of a block of two hours.
const START: i64 = 1_700_003_000;
const HOURS: i64 = 5;

const RULES: &str = r#"groups:
- name: first
  interval: 37s
  labels: {team: infra, from: group}
  rules:
  - {record: 'code:requests:rate5m', expr: 'sum by (code) (rate(requests_total[5m]))'}
  - {record: 'room:labels', expr: temperature, labels: {from: rule, room: "", extra: 'x y'}}
  - {record: constant, expr: "1 + 2"}
  - {record: nothing, expr: nowhere}
  - {record: odd, expr: temperature / 0}
- name: default interval
  rules:
  - {record: at_times, expr: timestamp(temperature)}
  - {alert: Hot, expr: temperature > 20}
- name: half a second more
  interval: 90s500ms
  rules:
  - {record: scalar, expr: 'scalar(temperature{room="east"})'}
"#;

fn tool(program: &Path, arguments: &[&str], folder: &Path) -> (i32, String, String) {
    let out = Command::new(program).arg0("promtool").args(arguments).current_dir(folder).output().unwrap();
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    (out.status.code().unwrap_or(-1), text(&out.stdout), text(&out.stderr))
}

fn data() -> String {
    let mut text = String::new();
    for (series, step, value) in [
        ("requests_total{code=\"200\"}", 15, 3),
        ("requests_total{code=\"500\"}", 30, 1),
        ("temperature{room=\"east\"}", 60, 0),
        ("temperature{room=\"west\"}", 60, 7),
    ] {
        for (n, t) in (START..START + HOURS * 3600).step_by(step).enumerate() {
            let n = n as i64;
            let value = if value == 0 { n * 7 % 50 - 5 } else { n * value };
            text += &format!("{series} {value} {t}\n");
        }
    }
    text + "# EOF\n"
}

#[test]
fn blocks_are_those_of_promtool() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (ours, theirs) = (godwit().unwrap(), peer("promtool").unwrap());
    std::fs::write(folder.join("rules.yml"), RULES).unwrap();
    std::fs::write(
        folder.join("more.yml"),
        RULES.replace("first", "other").replace("record: ", "record: more_"),
    )
    .unwrap();
    std::fs::write(folder.join("wrong.yml"), "groups: [{name: x, rules: [{record: a, expr: 'sum('}]}]\n")
        .unwrap();
    let many = "groups: [{name: x, rules: [{record: bad, expr: temperature * on() temperature}, {record: good, expr: temperature}]}]\n";
    std::fs::write(folder.join("many.yml"), many).unwrap();
    std::fs::write(folder.join("p.yml"), "scrape_configs: []\n").unwrap();
    std::fs::write(folder.join("all.om"), data()).unwrap();
    let made = tool(&theirs, &["tsdb", "create-blocks-from", "openmetrics", "all.om", "data"], folder);
    assert_eq!(made.0, 0, "{}", made.2);
    let arguments =
        [LISTEN, "--config.file=p.yml", "--storage.tsdb.path=data", "--storage.tsdb.retention.time=100y"];
    let server = Server::start(&peer("prometheus").unwrap(), &arguments, folder, "/-/ready").unwrap();
    until("the data is there", || {
        let found = query(server.port, &instant("temperature", (START + 7200) as f64))?;
        ensure!(found.len() == 2, "{found:?}\n{}", server.log_tail());
        Ok(())
    })
    .unwrap();

    let url = format!("--url=http://127.0.0.1:{}", server.port);
    let (start, end) =
        (format!("--start={}", START + 100), format!("--end={}.75", START + HOURS * 3600 - 50));
    let run = |program: &Path, out: &str, more: &[&str]| {
        let _ = std::fs::remove_dir_all(folder.join(out));
        let out = format!("--output-dir={out}");
        let mut arguments = vec!["tsdb", "create-blocks-from", "rules", &url, &out];
        arguments.extend(more);
        tool(program, &arguments, folder)
    };
    // Without the alert, whose name promtool gives to series although it says that it leaves alerts out.
    let dump = |out: &str| {
        std::fs::create_dir_all(folder.join(out).join("wal")).unwrap();
        let ran = tool(&theirs, &["tsdb", "dump", "--match={__name__!=\"Hot\"}", out], folder);
        assert_eq!(ran.0, 0, "{}", ran.2);
        let mut lines: Vec<String> = ran.1.lines().map(str::to_string).collect();
        lines.sort();
        lines
    };
    let times = [start.as_str(), end.as_str()];
    for (more, at_least) in [
        (&["rules.yml"][..], 2000),
        (&["rules.yml", "more.yml"], 4000),
        (&["--eval-interval=7m", "--quiet", "rules.yml"], 1500),
        (&["--max-block-duration=6h", "-r", "rules.yml"], 2000),
        (&["many.yml"], 500),
    ] {
        let more: Vec<&str> = times.iter().chain(more).copied().collect();
        let (a, b) = (run(&ours, "ours", &more), run(&theirs, "theirs", &more));
        assert_eq!((a.0, &a.1), (b.0, &b.1), "{more:?}\n{}\n{}", a.2, b.2);
        assert_eq!(a.0, i32::from(more.contains(&"many.yml")), "{more:?}\n{}\n{}", a.2, b.2);
        let (got, want) = (dump("ours"), dump("theirs"));
        let differ = want.iter().zip(&got).find(|(a, b)| a != b);
        assert!(got == want, "{more:?}: {} and {} samples, {differ:?}", got.len(), want.len());
        assert!(got.len() >= at_least, "{more:?}: {}", got.len());
        assert!(!got.iter().any(|line| line.contains("Hot")));
    }
    // A block for each rule and range; promtool has those of the alert on top.
    let rule = [times[0], times[1], "many.yml"];
    assert_eq!((run(&ours, "ours", &rule).0, run(&theirs, "theirs", &rule).0), (1, 1));
    assert_eq!(blocks(&folder.join("ours")).0.len(), blocks(&folder.join("theirs")).0.len());
    // What is refused.
    for more in [
        &["rules.yml"][..],
        &["--start=yesterday", "rules.yml"],
        &[times[0], "--end=tomorrow", "rules.yml"],
        &[times[1], times[0]],
        &["--start=2000000000", times[1], "rules.yml"],
        &[times[0], times[1], "nowhere.yml"],
        &[times[0], times[1], "wrong.yml"],
        &[times[0], times[1], "--eval-interval=x", "rules.yml"],
        &[times[0], times[1], "--url=http://127.0.0.1:1", "rules.yml"],
        &[times[0], times[1], "--http.config.file=nowhere", "rules.yml"],
    ] {
        let (a, b) = (run(&ours, "ours", more), run(&theirs, "theirs", more));
        assert_eq!((a.0, &a.1, a.2.is_empty()), (b.0, &b.1, b.2.is_empty()), "{more:?}\n{}\n{}", a.2, b.2);
        assert_eq!(a.0, 1, "{more:?}");
    }
    // A server that has these blocks answers with them.
    let told = run(&ours, "told", &[times[0], times[1], "--output=json", "rules.yml"]);
    let told: Vec<serde_json::Value> = serde_json::from_str(&told.1).unwrap();
    assert_eq!(told.len(), blocks(&folder.join("told")).0.len());
}
