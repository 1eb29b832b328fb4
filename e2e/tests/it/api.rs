//! The HTTP surface of the running process, as clients meet it: odd request lines, remote read by a real
//! Prometheus, live notices, bodies made to exhaust the memory.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use e2e::http;
use e2e::process::{Server, godwit, peer};

const CONFIG: &str = "global: {scrape_interval: 1s, external_labels: {zone: eu}}\nscrape_configs:\n- job_name: self\n  static_configs: [{targets: ['127.0.0.1:{port}']}]\n";

fn start(folder: &std::path::Path, more: &[&str]) -> Server {
    let mut arguments = vec![
        "--web.listen-address=127.0.0.1:{port}",
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        "--web.enable-lifecycle",
    ];
    arguments.extend(more);
    std::fs::write(folder.join("prometheus.yml"), "scrape_configs: []\n").unwrap();
    let server = Server::start(&godwit().unwrap(), &arguments, folder, "/-/ready").unwrap();
    let config = CONFIG.replace("{port}", &server.port.to_string());
    std::fs::write(folder.join("prometheus.yml"), config).unwrap();
    assert_eq!(http::request(server.port, "POST", "/-/reload", &[], &[]).unwrap().status, 200);
    server
}

fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "not in time: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// What people type: quotes, brackets and letters beyond ASCII in a URL, not percent-encoded.
#[test]
fn targets_as_people_type_them() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), &[]);
    for (path, want) in [
        ("/api/v1/query?query=\"a<b>\"&time=1", "[1,\"a\\u003cb\\u003e\"]"),
        ("/api/v1/query?query=1>bool(0)&time=1", "[1,\"1\"]"),
        ("/api/v1/query?query=\"\u{e9}\"&time=1", "[1,\"\u{e9}\"]"),
        ("/api/v1/series?match[]={job=\"nope\"}", "\"data\":[]"),
    ] {
        let answer = http::get(server.port, path).unwrap();
        assert!(answer.status == 200 && answer.text().contains(want), "{path}: {answer:?}");
    }
}

#[test]
fn a_real_prometheus_reads_from_it() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), &[]);
    let other = tempfile::tempdir().unwrap();
    let config = format!(
        "remote_read: [{{url: 'http://127.0.0.1:{}/api/v1/read', read_recent: true}}]\n",
        server.port
    );
    std::fs::write(other.path().join("prometheus.yml"), config).unwrap();
    let arguments =
        ["--web.listen-address=127.0.0.1:{port}", "--config.file=prometheus.yml", "--storage.tsdb.path=data"];
    let reader = Server::start(&peer("prometheus").unwrap(), &arguments, other.path(), "/-/ready").unwrap();
    // Two samples are enough for a rate; the time is fixed, so that both answer from the same samples.
    let at = until("two scrapes", || {
        let count = http::encode("count_over_time(up{job=\"self\"}[1h])");
        let answer = http::get(server.port, &format!("/api/v1/query?query={count}")).ok()?.json().ok()?;
        let pair = answer.pointer("/data/result/0/value")?;
        (pair[1].as_str()?.parse::<u64>().ok()? >= 2).then(|| pair[0].as_f64())?
    });
    let ask = |port: u16, text: &str| {
        let path = format!("/api/v1/query?time={at:.3}&query={}", http::encode(text));
        http::get(port, &path).unwrap().json().unwrap()["data"]["result"].clone()
    };
    for text in [
        "sort(count_over_time(up[1h]))",
        "sum by (job) (rate(process_cpu_seconds_total[1h]))",
        "sort(count by (__name__) ({__name__=~\"prometheus_http_requests_total|up\"}))",
    ] {
        let (ours, theirs) = (ask(server.port, text), ask(reader.port, text));
        // What is read from afar has the external labels; here they are aggregated away or looked at alone.
        let strip = |v: serde_json::Value| v.to_string().replace("\"zone\":\"eu\"", "").replace(",}", "}");
        assert_eq!(strip(ours), strip(theirs), "{text}");
    }
    assert_ne!(ask(reader.port, "up{zone=\"eu\"}").as_array().map_or(0, Vec::len), 0);
}

#[test]
fn notices_arrive_while_one_listens_and_do_not_hold_up_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let server = start(folder.path(), &[]);
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(b"GET /api/v1/notifications/live HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut heard = String::new();
    let mut hear = |what: &str| {
        while !heard.contains(what) {
            let mut buf = [0; 4096];
            let n = stream.read(&mut buf).unwrap();
            assert!(n > 0, "ended before {what:?}: {heard}");
            heard.push_str(&String::from_utf8_lossy(&buf[..n]));
        }
    };
    hear("text/event-stream");
    std::fs::write(folder.path().join("prometheus.yml"), "nonsense: 1\n").unwrap();
    assert_eq!(http::request(server.port, "POST", "/-/reload", &[], &[]).unwrap().status, 500);
    hear("data: {\"text\":\"Configuration reload has failed.\"");
    server.signal("TERM").unwrap();
    hear("shutting down");
    assert!(server.stop().unwrap().success());
}

/// Forty bodies at once, each 1.5 MiB that become 32.
#[test]
fn bodies_made_of_nothing_do_not_exhaust_the_memory() {
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("godwit.yml");
    std::fs::write(&settings, "memory_budget: 256MB\n").unwrap();
    let own = format!("--godwit.config={}", settings.display());
    let server = start(folder.path(), &["--web.enable-remote-write-receiver", &own]);
    let bomb = bomb();
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let one = || {
            let kind = "application/x-protobuf;proto=io.prometheus.write.v2.Request";
            let headers = [("Content-Encoding", "snappy"), ("Content-Type", kind)];
            http::request(server.port, "POST", "/api/v1/write", &headers, &bomb).map_or(0, |a| a.status)
        };
        let all: Vec<_> = (0..40).map(|_| scope.spawn(one)).collect();
        all.into_iter().map(|t| t.join().unwrap()).collect()
    });
    // 0: refused, and closed, while the body was still being sent.
    assert!(statuses.iter().all(|s| matches!(s, 0 | 400 | 503)), "{statuses:?}");
    assert!(statuses.contains(&400), "{statuses:?}");
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")).unwrap();
    let peak_kib: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak_kib < 600 << 10, "{peak_kib} KiB at most");
    assert_eq!(http::get(server.port, "/-/healthy").unwrap().status, 200);
}

/// 16 million empty symbols, 32 MiB, in snappy: the two bytes of one, then copies of 64.
fn bomb() -> Vec<u8> {
    let size: u32 = 32 << 20;
    let mut out = vec![0x80, 0x80, 0x80, 0x10, 1 << 2, 0x22, 0];
    let mut left = size - 2;
    while left > 0 {
        let n = left.min(64);
        out.extend([((n - 1) << 2) as u8 | 2, 2, 0]);
        left -= n;
    }
    out
}
