//! The main job out of the box: started without arguments, godwit shows itself and its machine.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::ensure;
use e2e::answers::{Answer, instant, query};
use e2e::http;
use e2e::process::{Server, godwit, peer};
use e2e::wait::{now, until};

/// Asks until the answer is not empty.
fn eventually(server: &Server, expression: &str) -> Answer {
    until(expression, || {
        let answer = query(server.port, &instant(expression, now()))?;
        ensure!(!answer.is_empty(), "{}", server.log_tail());
        Ok(answer)
    })
    .unwrap()
}

#[test]
fn without_arguments_it_shows_itself_and_the_machine() {
    let folder = tempfile::tempdir().unwrap();
    // The default port may be taken on a developer's machine; only the port is changed.
    let server = Server::start(
        &godwit().unwrap(),
        &["--web.listen-address=127.0.0.1:{port}"],
        folder.path(),
        "/-/ready",
    )
    .unwrap();
    for job in ["prometheus", "node"] {
        eventually(&server, &format!("up{{job=\"{job}\"}} == 1"));
    }
    for expression in
        ["node_load1", "node_memory_MemTotal_bytes", "node_cpu_seconds_total", "node_uname_info"]
    {
        eventually(&server, expression);
    }
    let memory = eventually(&server, "node_memory_MemTotal_bytes");
    let shown: f64 = memory.values().next().unwrap()[0].1.trim_matches('"').parse().unwrap();
    let real = std::fs::read_to_string("/proc/meminfo").unwrap();
    let kib: f64 = real.lines().next().unwrap().split_ascii_whitespace().nth(1).unwrap().parse().unwrap();
    assert_eq!(shown, kib * 1024.0);
    assert!(folder.path().join("data/wal").is_dir(), "data is not under ./data");
    assert!(server.stop().unwrap().success());
}

type Samples = BTreeMap<String, f64>;

/// Samples and TYPE lines of a text page.
fn read_page(text: &str) -> (Samples, BTreeMap<String, String>) {
    let (mut samples, mut types) = (Samples::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            types.insert(name.to_string(), kind.to_string());
        } else if !line.starts_with('#') {
            let (series, value) = line.rsplit_once(' ').unwrap();
            samples.insert(sorted_labels(series), value.parse().unwrap());
        }
    }
    (samples, types)
}

/// The series with its labels in order of names: the two programs may order them differently.
fn sorted_labels(series: &str) -> String {
    let Some((name, labels)) = series.strip_suffix("\"}").and_then(|s| s.split_once('{')) else {
        return series.to_string();
    };
    // An empty label and none are the same once scraped.
    let mut parts: Vec<&str> = labels.split("\",").filter(|l| !l.ends_with("=\"")).collect();
    parts.sort_unstable();
    format!("{name}{{{}\"}}", parts.join("\","))
}

const COLLECTORS: [&str; 15] = [
    "cpu",
    "loadavg",
    "meminfo",
    "vmstat",
    "stat",
    "diskstats",
    "filesystem",
    "netdev",
    "netstat",
    "sockstat",
    "uname",
    "time",
    "pressure",
    "filefd",
    "textfile",
];

/// Names, labels and types are those of a real node_exporter; values that cannot move between the two
/// reads are equal, the others close.
#[test]
fn host_metrics_are_those_of_node_exporter() {
    let folder = tempfile::tempdir().unwrap();
    let mut flags =
        vec!["--web.listen-address=127.0.0.1:{port}".to_string(), "--collector.disable-defaults".into()];
    flags.extend(COLLECTORS.iter().map(|c| format!("--collector.{c}")));
    flags.push("--web.disable-exporter-metrics".into());
    // Upstream's default; the Debian package leaves out more.
    flags.push(
        "--collector.filesystem.mount-points-exclude=^/(dev|proc|run/credentials/.+|sys|var/lib/docker/.+|var/lib/containers/storage/.+)($|/)".into(),
    );
    flags.push("--collector.filesystem.fs-types-exclude=^(autofs|binfmt_misc|bpf|cgroup2?|configfs|debugfs|devpts|devtmpfs|fusectl|hugetlbfs|iso9660|mqueue|nsfs|overlay|proc|procfs|pstore|rpc_pipefs|securityfs|selinuxfs|squashfs|erofs|sysfs|tracefs)$".into());
    flags.push(format!("--collector.textfile.directory={}", folder.path().display()));
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let exporter =
        Server::start(&peer("prometheus-node-exporter").unwrap(), &flags, folder.path(), "/").unwrap();
    let listen = "--web.listen-address=127.0.0.1:{port}";
    let server = Server::start(&godwit().unwrap(), &[listen], folder.path(), "/-/ready").unwrap();

    let (theirs, their_types) = read_page(&http::get(exporter.port, "/metrics").unwrap().text());
    let (ours, our_types) = read_page(&http::get(server.port, "/metrics/host").unwrap().text());
    // Something may change between two reads (a mount comes or goes): the exporter is read on both sides.
    let (later, _) = read_page(&http::get(exporter.port, "/metrics").unwrap().text());
    // What the two processes do differently, not what the machine is.
    // node_exporter 1.11 says rotational="0" for every disk whose queue folder lacks a file that it does not need.
    let own = |series: &str| {
        ["node_exporter_build_info", "node_textfile_", "node_disk_info"].iter().any(|p| series.starts_with(p))
    };
    let keys = |s: &Samples| s.keys().filter(|k| !own(k)).cloned().collect::<BTreeSet<_>>();
    let missing: Vec<_> =
        keys(&theirs).difference(&keys(&ours)).filter(|k| later.contains_key(*k)).cloned().collect();
    assert!(missing.is_empty(), "missing: {missing:#?}");
    // node_exporter knows a fixed list of meminfo fields, we show all that the kernel has.
    let more: Vec<_> = keys(&ours)
        .difference(&keys(&theirs))
        .filter(|s| !s.starts_with("node_memory_") && !later.contains_key(*s))
        .cloned()
        .collect();
    assert!(more.is_empty(), "additional: {more:#?}");
    for (name, kind) in their_types.iter().filter(|(n, _)| !own(n)) {
        assert_eq!(our_types.get(name), Some(kind), "type of {name}");
    }
    // A counter read between two reads of another program lies between their values. The kernel's idle and
    // iowait times may fall by some hundredths.
    let counts = |series: &str| {
        let name = series.split('{').next().unwrap();
        let kind = their_types.get(name).map(String::as_str);
        kind == Some("counter") || name.starts_with("node_vmstat_")
    };
    let outside = |name: &&String| {
        let (Some(a), Some(b), Some(c)) = (theirs.get(*name), ours.get(*name), later.get(*name)) else {
            return false;
        };
        counts(name) && !(a - 0.05 <= *b && *b <= c + 0.05)
    };
    let all = keys(&theirs);
    let wrong: Vec<_> = all.iter().filter(outside).map(|k| (theirs[k], ours[k], later[k], k)).collect();
    assert!(wrong.is_empty(), "counters outside: {wrong:#?}");
    assert!(all.iter().filter(|k| counts(k)).count() > 60, "{all:?}");
    // What stands still must be equal (but readonly: node_exporter 1.11 says 0 of a tmpfs mounted ro).
    for (name, value) in &theirs {
        let still = [
            "_size_bytes",
            "MemTotal",
            "SwapTotal",
            "boot_time",
            "_info{",
            "filesystem_files{",
            "file_maximum",
        ];
        if still.iter().any(|s| name.contains(s)) && !own(name) && later.get(name) == Some(value) {
            assert_eq!(ours.get(name), Some(value), "{name}");
        }
    }
}
