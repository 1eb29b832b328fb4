//! `godwit tsdb` beside the real promtool on the same folders: equal output, equal exit codes. Where promtool
//! has no such command (verify, repair, snapshot, import), what it does is read back.

use std::collections::BTreeSet;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::http;
use e2e::process::{Server, godwit, peer};
use e2e::program::Program;
use e2e::push::push;
use e2e::wait::{now, until};
use serde_json::Value;

use crate::folders::{LISTEN, blocks};

/// Exit code, standard output, standard error.
type Ran = (i32, String, String);
type Tool = fn(&[&str], &Path) -> Ran;

fn run(program: &Path, name: &str, arguments: &[&str], folder: &Path) -> Ran {
    let out = Command::new(program).arg0(name).args(arguments).current_dir(folder).output().unwrap();
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    (out.status.code().unwrap_or(-1), text(&out.stdout), text(&out.stderr))
}

fn ours(arguments: &[&str], folder: &Path) -> Ran {
    // Under promtool's name, as scripts call it.
    run(&godwit().unwrap(), "promtool", arguments, folder)
}

fn theirs(arguments: &[&str], folder: &Path) -> Ran {
    run(&peer("promtool").unwrap(), "promtool", arguments, folder)
}

/// The sections of `analyze`, each as a set of lines: promtool leaves the order of equal ones to chance.
/// Where that decides which ones are shown, only the numbers are compared.
fn sections(text: &str) -> Vec<BTreeSet<String>> {
    text.split("\n\n")
        .map(|part| {
            let lines: Vec<&str> = part.lines().collect();
            let last = lines.last().and_then(|l| l.split(' ').next()).unwrap_or("");
            let number = |l: &&str| l.split(' ').next() == Some(last);
            let ties = lines.len() > 20;
            lines
                .iter()
                .map(|l| if ties && number(l) { last.to_string() } else { (*l).to_string() })
                .collect()
        })
        .collect()
}

/// Lines of floats in their order, and of histograms.
fn dumped(text: &str) -> (Vec<&str>, BTreeSet<&str>) {
    let histogram = |l: &&str| l.contains("} {count:");
    (text.lines().filter(|l| !histogram(l)).collect(), text.lines().filter(histogram).collect())
}

/// Without the deleted series: promtool shows again what of it came late and was in no block yet when it was
/// deleted, which is a matter of timing.
fn kept(text: &str) -> Vec<&str> {
    let deleted = |l: &&str| l.contains("pushed_float") && l.contains("series=\"2\"}");
    text.lines().filter(|l| !deleted(l)).collect()
}

/// Compares all commands on a folder that nobody has open.
fn same_on(folder: &Path, data: &str) {
    for arguments in [
        vec!["tsdb", "list", data],
        vec!["tsdb", "list", "-r", data],
        vec!["tsdb", "dump-openmetrics", data],
        vec![
            "tsdb",
            "dump",
            "--match={__name__=~\"pushed_float\",series=~\"1.*\"}",
            "--match",
            "old_metric",
            data,
        ],
        vec!["tsdb", "list", "nowhere"],
        vec!["tsdb", "list", "--nonsense", data],
        vec!["tsdb", "list", data, "b"],
        vec!["tsdb", "dump", "--match=}{", data],
        vec!["tsdb", "analyze", data, "nothing"],
        vec!["tsdb", "analyze", "--limit=x", data],
        vec!["tsdb", "nothing"],
        vec!["tsdb"],
        vec!["tsdb", "create-blocks-from", "openmetrics"],
        vec!["tsdb", "create-blocks-from", "openmetrics", "nowhere"],
    ] {
        let (a, b) = (ours(&arguments, folder), theirs(&arguments, folder));
        assert_eq!((a.0, kept(&a.1)), (b.0, kept(&b.1)), "{arguments:?}: {} {}", a.2, b.2);
        assert_eq!(a.2.is_empty(), b.2.is_empty(), "{arguments:?}: {} {}", a.2, b.2);
    }
    let (a, b) = (ours(&["tsdb", "dump", data], folder), theirs(&["tsdb", "dump", data], folder));
    assert_eq!((a.0, b.0), (0, 0), "{} {}", a.2, b.2);
    let (a, b) = (kept(&a.1).join("\n"), kept(&b.1).join("\n"));
    let ((floats, all), (their_floats, some)) = (dumped(&a), dumped(&b));
    assert!(floats == their_floats && floats.len() > 1000);
    // promtool 3.5 loses the first ones of a series.
    assert!(some.is_subset(&all) && some.len() * 10 > all.len() * 8, "{} {}", some.len(), all.len());
    for id in blocks(&folder.join(data)).0 {
        for more in [&[][..], &["--extended"], &["--match={__name__=~\"pushed.*\"}", "--limit=3"]] {
            let mut arguments = vec!["tsdb", "analyze"];
            arguments.extend(more);
            arguments.extend([data, id.as_str()]);
            let (a, b) = (ours(&arguments, folder), theirs(&arguments, folder));
            assert_eq!((a.0, a.2.as_str()), (b.0, b.2.as_str()), "{arguments:?}");
            let limit = more.contains(&"--limit=3");
            assert!(limit || sections(&a.1) == sections(&b.1), "{arguments:?}\n{}\n{}", a.1, b.1);
            assert_eq!(a.1.lines().count(), b.1.lines().count());
        }
    }
    // The last one without a name.
    let first = |r: Ran| r.1.lines().next().map(str::to_string);
    let last = ["tsdb", "analyze", data];
    assert_eq!(first(ours(&last, folder)), first(theirs(&last, folder)));
}

/// A folder of a real Prometheus: blocks of several levels, floats and histograms, late samples, deleted ones,
/// and a log.
fn filled(folder: &Path) -> Server {
    let config = "storage: {tsdb: {out_of_order_time_window: 12h}}\nscrape_configs: []\n";
    std::fs::write(folder.join("p.yml"), config).unwrap();
    let program = Program::Lts;
    let arguments = [
        LISTEN,
        "--config.file=p.yml",
        "--storage.tsdb.path=data",
        program.features(),
        "--web.enable-remote-write-receiver",
        "--web.enable-admin-api",
        "--storage.tsdb.min-block-duration=30m",
        "--storage.tsdb.max-block-duration=90m",
    ];
    for _ in 0..8 {
        let _ = std::fs::remove_dir_all(folder.join("data"));
        let server = Server::start(&program.path().unwrap(), &arguments, folder, "/-/ready").unwrap();
        match fill(&server, folder) {
            Ok(()) => return server,
            // A race of its own: two threads begin a file of head chunks (tsdb/chunks/head_chunks.go, cutFileHandler).
            Err(_) if server.log_text().contains("panic: expected newly cut file to have sequence") => {}
            Err(e) => panic!("{e:#}\n{}", server.log_tail()),
        }
    }
    panic!("the peer's own compaction killed it eight times");
}

fn fill(server: &Server, folder: &Path) -> anyhow::Result<()> {
    let end = now() as i64 - 60;
    push(server.port, end - 5 * 3600, end)?;
    // Late: a part of the same hours again, and some before them.
    push(server.port, end - 7 * 3600, end - 6 * 3600)?;
    until("blocks of the head", || {
        // What died says so with the next request.
        let died = server.log_text().contains("panic: ");
        anyhow::ensure!(died || blocks(&folder.join("data")).0.len() >= 2, "{}", server.log_tail());
        Ok(())
    })?;
    // Waits for the compaction that goes on.
    let deleted = "/api/v1/admin/tsdb/delete_series?match[]=pushed_float%7Bseries%3D%222%22%7D";
    let answer = http::request(server.port, "POST", deleted, &[], &[])?;
    anyhow::ensure!(answer.status == 204, "{} {}", answer.status, String::from_utf8_lossy(&answer.body));
    Ok(())
}

/// All columns but names, which differ between two runs, and sizes: our meta.json has a sum.
fn tables(text: &str) -> Vec<Vec<&str>> {
    let human = text.contains(" UTC");
    let wanted = if human { 12 } else { 6 };
    text.lines().map(|l| l.split_ascii_whitespace().skip(1).take(wanted).collect()).collect()
}

#[test]
fn commands_say_what_promtool_says() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let server = filled(folder);
    // In use: both read it, and the server does not notice.
    let live = ["tsdb", "dump", "--match=pushed_float", "data"];
    let (a, b) = (ours(&live, folder), theirs(&live, folder));
    assert_eq!((a.0, b.0), (0, 0), "{} {}", a.2, b.2);
    assert!(a.1.lines().count() >= 30 * 300 && a.1.lines().next() == b.1.lines().next());
    assert!(server.stop().unwrap().success());
    same_on(folder, "data");
    // Nothing was left in the folder, nothing changed: it is sound, and a Prometheus starts on it.
    let (code, text, _) = ours(&["tsdb", "verify", "--output=json", "data"], folder);
    let report: Value = serde_json::from_str(&text).unwrap();
    assert!(code == 0 && report["ok"] == Value::Bool(true), "{text}");

    // Text to blocks, both ways.
    let text = theirs(&["tsdb", "dump-openmetrics", "data"], folder).1;
    std::fs::write(folder.join("all.om"), &text).unwrap();
    for more in [&[][..], &["-r", "--label=dc=a", "--label=series=over"], &["--max-block-duration=24h"]] {
        let mut made = Vec::new();
        let tools: [(Tool, &str); 2] = [(ours, "om-ours"), (theirs, "om-theirs")];
        for (tool, out) in tools {
            let _ = std::fs::remove_dir_all(folder.join(out));
            let mut arguments = vec!["tsdb", "create-blocks-from"];
            let (before, label): (Vec<&str>, Vec<&str>) =
                more.iter().copied().partition(|m| !m.starts_with("--label"));
            arguments.extend(before);
            arguments.push("openmetrics");
            arguments.extend(label);
            arguments.extend(["all.om", out]);
            // Flags of the outer command may stand before the inner one, in kingpin.
            let ran = tool(&arguments, folder);
            assert_eq!(ran.0, 0, "{arguments:?}: {}", ran.2);
            std::fs::create_dir_all(folder.join(out).join("wal")).unwrap();
            made.push((ran.1, ours(&["tsdb", "dump", out], folder).1));
        }
        assert!(made[0].1 == made[1].1 && made[0].1.lines().count() > 100, "{more:?}");
        assert_eq!(tables(&made[0].0), tables(&made[1].0), "{more:?}");
    }

    // A snapshot of a folder: the same data, by hard links.
    let taken = ours(&["tsdb", "snapshot", "data", "taken"], folder);
    assert_eq!((taken.0, taken.1.as_str()), (0, "taken\n"), "{}", taken.2);
    std::fs::create_dir_all(folder.join("taken/wal")).unwrap();
    let all = |data: &str| {
        let out = ours(&["tsdb", "dump", "--match={__name__!=\"\"}", data], folder).1;
        out.lines().map(str::to_string).collect::<BTreeSet<_>>()
    };
    assert!(all("taken") == all("data") && theirs(&["tsdb", "list", "taken"], folder).0 == 0);
    assert_eq!(ours(&["tsdb", "snapshot", "data", "taken"], folder).0, 1);
}

fn first_chunks(data: &Path) -> PathBuf {
    let id = blocks(data).0.into_iter().next().unwrap();
    data.join(id).join("chunks/000001")
}

#[test]
fn damage_is_told_and_mended() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    assert!(filled(folder).stop().unwrap().success());
    let file = first_chunks(&folder.join("data"));
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, &bytes).unwrap();
    let before = std::fs::read_dir(folder.join("data")).unwrap().count();
    let (code, text, _) = ours(&["tsdb", "verify", "data"], folder);
    assert!(code == 1 && text.contains("chunks/000001") && text.contains("samples of 1"), "{text}");
    let dry = ours(&["tsdb", "repair", "--dry-run", "data"], folder);
    assert!(dry.0 == 0 && dry.1.contains("nothing was changed"), "{} {}", dry.1, dry.2);
    assert_eq!(std::fs::read_dir(folder.join("data")).unwrap().count(), before);
    let done = ours(&["tsdb", "repair", "--output=json", "data"], folder);
    let report: Value = serde_json::from_str(&done.1).unwrap();
    assert!(done.0 == 0 && !report["mended"].as_array().unwrap().is_empty(), "{} {}", done.1, done.2);
    let (code, text, _) = ours(&["tsdb", "verify", "data"], folder);
    assert!(code == 0 && text.contains("damaged/"), "{text}");
    assert_eq!(theirs(&["tsdb", "list", "data"], folder).0, 0);
}

#[test]
fn old_data_comes_into_a_running_server() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    assert!(filled(folder).stop().unwrap().success());
    std::fs::write(folder.join("g.yml"), "scrape_configs: []\n").unwrap();
    let arguments = [
        LISTEN,
        "--config.file=g.yml",
        "--storage.tsdb.path=young",
        "--web.enable-admin-api",
        "--web.enable-remote-write-receiver",
        "--enable-feature=native-histograms",
    ];
    let server = Server::start(&godwit().unwrap(), &arguments, folder, "/-/ready").unwrap();
    let end = now() as i64 - 30;
    push(server.port, end - 1200, end).unwrap();
    let url = format!("--url=http://127.0.0.1:{}", server.port);
    let done = ours(&["tsdb", "import", &url, "--output=json", "data"], folder);
    let report: Value = serde_json::from_str(&done.1).unwrap_or_default();
    assert!(
        done.0 == 0 && report["blocks"].as_array().is_some_and(|b| b.len() >= 3),
        "{} {}",
        done.1,
        done.2
    );
    let samples = |data: &str| {
        let ran = ours(&["tsdb", "dump", data], folder);
        assert_eq!(ran.0, 0, "{}", ran.2);
        ran.1.lines().map(str::to_string).collect::<BTreeSet<_>>()
    };
    // Histograms of the same minute from both can differ in what they know about resets, not in their text.
    let (old, young) = (samples("data"), samples("young"));
    assert!(old.is_subset(&young) && young.len() > old.len(), "{} {}", old.len(), young.len());
    let snapshot = ours(&["tsdb", "snapshot", &url], folder);
    assert!(snapshot.0 == 0 && folder.join("young/snapshots").join(snapshot.1.trim()).exists());
    server.kill().unwrap();
    assert!(samples("young") == young);
}

/// Starts a program on a copy of a folder of blocks; gives the blocks that retention leaves.
fn left(program: Program, folder: &Path, flags: &[String]) -> BTreeSet<String> {
    let data = folder.join("kept");
    let _ = std::fs::remove_dir_all(&data);
    assert!(Command::new("cp").arg("-a").arg(folder.join("many")).arg(&data).status().unwrap().success());
    let fixed =
        [LISTEN, "--config.file=r.yml", "--storage.tsdb.path=kept", "--storage.tsdb.max-block-duration=2h"];
    let arguments: Vec<&str> = fixed.into_iter().chain(flags.iter().map(String::as_str)).collect();
    let server = Server::start(&program.path().unwrap(), &arguments, folder, "/-/ready").unwrap();
    // At the start already, and in godwit before it is ready.
    let mut before = blocks(&data);
    let began = std::time::Instant::now();
    while began.elapsed() < std::time::Duration::from_secs(70) {
        std::thread::sleep(std::time::Duration::from_millis(500));
        let now = blocks(&data);
        if now.0.len() < 40 && now == before {
            break;
        }
        before = now;
    }
    assert!(server.stop().unwrap().success());
    blocks(&data).0.into_iter().collect()
}

#[test]
fn retention_leaves_the_blocks_that_prometheus_leaves() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // 40 blocks of two hours, of growing size.
    let (mut text, end) = (String::new(), now() as i64 / 7200 * 7200);
    for block in 0..40 {
        for series in 0..=block * 5 {
            let from = end - (41 - block) * 7200;
            text +=
                &format!("m{{s=\"{series}\"}} {series}.5 {from}\nm{{s=\"{series}\"}} 1 {}\n", from + 7100);
        }
    }
    std::fs::write(folder.join("many.om"), text + "# EOF\n").unwrap();
    let made =
        ours(&["tsdb", "create-blocks-from", "--output=json", "openmetrics", "many.om", "many"], folder);
    let made: Vec<Value> = serde_json::from_str(&made.1).unwrap();
    assert_eq!(made.len(), 40);
    std::fs::write(folder.join("r.yml"), "scrape_configs: []\n").unwrap();
    // Half a block more than the newest 12: neither an empty log nor rounding decides.
    let size = |n: usize| made.iter().rev().take(n).map(|b| b["sizeBytes"].as_u64().unwrap()).sum::<u64>();
    let bytes = (size(12) + size(13)) / 2;
    let time = "--storage.tsdb.retention.time=20h".to_string();
    let by_size = format!("--storage.tsdb.retention.size={bytes}B");
    for flags in [vec![time.clone()], vec![by_size.clone()], vec![time, by_size]] {
        let (godwit, prometheus) =
            (left(Program::Godwit, folder, &flags), left(Program::Lts, folder, &flags));
        assert_eq!(godwit, prometheus, "{flags:?}");
        assert!(!godwit.is_empty() && godwit.len() < 40, "{flags:?}: {}", godwit.len());
    }
    if Program::New.at_hand() {
        let out = Command::new("stat").args(["-f", "-c", "%S %b"]).arg(folder).output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        let total: f64 = text.split_whitespace().map(|n| n.parse::<f64>().unwrap()).product();
        let percent = bytes as f64 * 100.0 / total;
        let config = format!(
            "storage: {{tsdb: {{retention: {{time: 300d, percentage: {percent:.12}}}}}}}\nscrape_configs: []\n"
        );
        std::fs::write(folder.join("r.yml"), config).unwrap();
        assert_eq!(left(Program::Godwit, folder, &[]), left(Program::New, folder, &[]), "{percent} %");
    }
}
