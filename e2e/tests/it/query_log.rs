//! What is told of queries: the query log beside a real Prometheus's line by line, slow queries, and the queries
//! that were under way when the server died.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use e2e::http;
use e2e::process::{Server, godwit, peer};
use e2e::wait::until;
use serde_json::{Value, json};

const CONFIG: &str = "global: {evaluation_interval: 1s, query_log_file: q.log}\nrule_files: [r.yml]\n";
const RULES: &str = "groups:\n- name: g\n  rules:\n  - {record: two, expr: 1+1}\n  - alert: A\n    expr: vector(3) > 2\n    annotations: {also: '{{ query \"vector(7)\" | first | value }}'}\n  - {record: bad, expr: 'label_replace(vector(1), \"\", \"x\", \"\", \"\")'}\n";
const HEAVY: &str = "sum_over_time(count_over_time(vector(1)[1m:1ms])[1h:1s])";

fn start(program: &Path, folder: &Path, more: &[&str]) -> Result<Server> {
    let mut arguments = vec![
        "--web.listen-address=127.0.0.1:{port}",
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
    ];
    arguments.extend(more);
    Server::start(program, &arguments, folder, "/-/ready")
}

/// Lines as far as both servers have them: no times, no place in the source, nothing newer than 3.5.
fn comparable(line: &str) -> Result<Value> {
    let mut v: Value = serde_json::from_str(line).with_context(|| line.to_string())?;
    let fields = v.as_object_mut().context("not an object")?;
    for own in ["time", "source", "traceID"] {
        fields.remove(own);
    }
    for (_, took) in v["stats"]["timings"].as_object_mut().context("no timings")? {
        ensure!(took.as_f64().is_some_and(|s| s >= 0.0), "{line}");
        *took = Value::Null;
    }
    // Newer than 3.5; the most samples held at once is each engine's own affair.
    let samples = v["stats"]["samples"].as_object_mut().context("no samples")?;
    samples.remove("samplesRead");
    samples.remove("peakSamples");
    Ok(v)
}

/// Lines of requests in order, and those of rules as a set, as they come again each second.
fn lines(folder: &Path) -> Result<(Vec<Value>, BTreeSet<String>)> {
    let text = std::fs::read_to_string(folder.join("q.log"))?;
    let (mut asked, mut rules) = (Vec::new(), BTreeSet::new());
    for line in text.lines() {
        let mut v = comparable(line)?;
        if v.get("httpRequest").is_some() {
            asked.push(v);
            continue;
        }
        for at in ["start", "end"] {
            ensure!(v["params"][at].as_str().is_some_and(|t| t.ends_with('Z')), "{line}");
            v["params"][at] = Value::Null;
        }
        rules.insert(v.to_string());
    }
    Ok((asked, rules))
}

fn logged(program: &Path) -> Result<(Vec<Value>, BTreeSet<String>)> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("prometheus.yml"), CONFIG)?;
    std::fs::write(folder.path().join("r.yml"), RULES)?;
    let server = start(program, folder.path(), &[])?;
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let range = "start=1000&end=1600.5&step=1.5";
    for (method, path, body) in [
        ("GET", "/api/v1/query?query=1%2B1&time=1795331297.645".to_string(), String::new()),
        ("GET", format!("/api/v1/query_range?query=vector(1)&{range}"), String::new()),
        ("POST", "/api/v1/query_range".into(), format!("query=time()%20%3E%20%22%22&{range}")),
        ("POST", "/api/v1/query_range".into(), format!("query=sum_over_time(vector(2)%5B1m:10s%5D)&{range}")),
        ("GET", "/api/v1/query?query=up{".into(), String::new()),
        (
            "POST",
            "/api/v1/query".into(),
            format!(
                "query={}&time=0",
                http::encode("label_replace(vector(1), \"\", \"x\", \"\", \"\") # \u{e9} <b>")
            ),
        ),
        ("GET", format!("/api/v1/query?time=-1&query={}", http::encode("1 +\n 2")), String::new()),
    ] {
        http::request(server.port, method, &path, &form, body.as_bytes())?;
    }
    let result = until("lines of all queries", || {
        let (asked, rules) = lines(folder.path())?;
        ensure!(asked.len() >= 5 && rules.len() >= 4, "{asked:?} {rules:?}");
        Ok((asked, rules))
    })?;
    ensure!(server.stop()?.success(), "did not end well");
    Ok(result)
}

#[test]
fn lines_are_those_of_a_real_prometheus() -> Result<()> {
    let (want, want_rules) = logged(&peer("prometheus")?)?;
    let (got, got_rules) = logged(&godwit()?)?;
    ensure!(want.len() == got.len(), "{want:#?}\n{got:#?}");
    for (want, got) in want.iter().zip(&got) {
        ensure!(want == got, "wanted {want:#}\ngot {got:#}");
    }
    ensure!(want_rules == got_rules, "wanted {want_rules:#?}\ngot {got_rules:#?}");
    Ok(())
}

#[test]
fn slow_ones_alone() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("prometheus.yml"), "global: {query_log_file: q.log}\n")?;
    let settings = folder.path().join("godwit.yml");
    std::fs::write(&settings, "query: {slow_threshold: 1h, log_slow_only: true}\n")?;
    let more = ["--godwit.config=godwit.yml", "--web.enable-lifecycle"];
    let server = start(&godwit()?, folder.path(), &more)?;
    let slow = "count_over_time(vector(1)[1h:10ms])";
    let ask = || http::get(server.port, &format!("/api/v1/query?query={}", http::encode(slow)));
    ensure!(ask()?.status == 200, "refused");
    ensure!(std::fs::read_to_string(folder.path().join("q.log"))?.is_empty(), "a quick one is logged");
    // 360,000 steps take longer than a millisecond anywhere.
    std::fs::write(&settings, "query: {slow_threshold: 1ms, log_slow_only: true}\n")?;
    ensure!(http::request(server.port, "POST", "/-/reload", &[], &[])?.status == 200, "no reload");
    ensure!(ask()?.status == 200, "refused");
    let text = std::fs::read_to_string(folder.path().join("q.log"))?;
    ensure!(
        text.lines().count() == 1 && comparable(text.trim())?["params"]["query"] == json!(slow),
        "{text}"
    );
    let log = server.log_text();
    ensure!(log.matches("slow query").count() == 1 && log.contains("/api/v1/query"), "{log}");
    Ok(())
}

#[test]
fn what_ran_when_it_died_is_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("prometheus.yml"), "global: {}\n")?;
    let server = start(&godwit()?, folder.path(), &[])?;
    let port = server.port;
    let asker = std::thread::spawn(move || {
        http::get(port, &format!("/api/v1/query?query={}", http::encode(HEAVY))).is_ok()
    });
    until("the query in the file", || {
        let bytes = std::fs::read(folder.path().join("data/queries.active"))?;
        ensure!(String::from_utf8_lossy(&bytes).contains(HEAVY), "not there");
        Ok(())
    })?;
    server.kill()?;
    let _ = asker.join();
    let server = start(&godwit()?, folder.path(), &[])?;
    let log = server.log_text();
    let line = log.lines().find(|l| l.contains("These queries didn't finish")).context(log.clone())?;
    ensure!(line.contains(HEAVY), "{line}");
    Ok(())
}

const SAMPLES: &str = "# TYPE a counter\n";

/// Counts of samples, step by step too, are a real Prometheus's.
#[test]
fn statistics_are_those_of_a_real_prometheus() -> Result<()> {
    let mut text = SAMPLES.to_string();
    for series in 0..3 {
        for i in 0..200 {
            // Every series has gaps of its own.
            if (i + series * 7) % 23 > 3 {
                text +=
                    &format!("a_total{{i=\"{series}\"}} {} {}\n", i * (series + 1), 1_700_000_000 + i * 15);
            }
        }
    }
    text += "# EOF\n";
    let ask = |program: &Path| -> Result<Vec<Value>> {
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("in"), &text)?;
        std::fs::write(folder.path().join("prometheus.yml"), "global: {}\n")?;
        let made = std::process::Command::new(peer("promtool")?)
            .args(["tsdb", "create-blocks-from", "openmetrics", "in", "data"])
            .current_dir(folder.path())
            .output()?;
        ensure!(made.status.success(), "{made:?}");
        let more = ["--enable-feature=promql-per-step-stats", "--storage.tsdb.retention.time=100y"];
        let server = start(program, folder.path(), &more)?;
        let mut all = Vec::new();
        for query in [
            "a_total",
            "sum(rate(a_total[1m]))",
            "a_total @ 1700000900 + rate(a_total[2m])",
            "max_over_time(rate(a_total[1m])[5m:30s]) - a_total",
            "sum(count_over_time(a_total[1m] @ 1700000900))",
            "a_total offset 5m and on() vector(1)",
            "timestamp(a_total) or absent(nothing)",
        ] {
            let query = http::encode(query);
            for path in [
                format!("/api/v1/query?stats=all&time=1700001000&query={query}"),
                format!(
                    "/api/v1/query_range?stats=all&start=1700000600&end=1700001200&step=60&query={query}"
                ),
                format!("/api/v1/query_range?stats=1&start=1700000600&end=1700001200&step=60&query={query}"),
            ] {
                let answer = http::get(server.port, &path)?;
                ensure!(answer.status == 200, "{path}: {}", answer.text());
                let samples = answer.json()?["data"]["stats"]["samples"].clone();
                let per_step = &samples["totalQueryableSamplesPerStep"];
                all.push(json!([path, samples["totalQueryableSamples"], per_step]));
            }
        }
        Ok(all)
    };
    let (want, got) = (ask(&peer("prometheus")?)?, ask(&godwit()?)?);
    for (want, got) in want.iter().zip(&got) {
        ensure!(want == got, "wanted {want}\ngot    {got}");
    }
    Ok(())
}

/// Where the time went, as the API and the command line say it.
#[test]
fn a_query_is_explained() -> Result<()> {
    let folder = tempfile::tempdir()?;
    std::fs::write(folder.path().join("prometheus.yml"), "global: {}\n")?;
    let server = start(&godwit()?, folder.path(), &[])?;
    let query = "max_over_time(sum(vector(time()))[10m:1s]) + 2";
    let path = format!("/api/v1/query?explain=true&query={}", http::encode(query));
    let data = http::get(server.port, &path)?.json()?["data"].clone();
    let root = &data["explain"];
    ensure!(root["what"] == "query" && root["text"] == query && root["series"] == 1, "{data:#}");
    let plus = &root["parts"][0];
    ensure!(plus["what"] == "+" && plus["parts"][0]["what"] == "max_over_time", "{data:#}");
    let sum = &plus["parts"][0]["parts"][0];
    ensure!(
        sum["what"] == "sum" && sum["text"] == "sum(vector(time()))" && sum["bytes"].as_u64() > Some(4800),
        "{data:#}"
    );
    let part = |a: &Value, b: &Value| a["seconds"].as_f64() <= b["seconds"].as_f64();
    ensure!(part(sum, plus) && part(plus, root), "{data:#}");
    let plain = http::get(server.port, &path.replace("explain=true&", ""))?.json()?;
    ensure!(plain["data"].get("explain").is_none(), "{plain}");

    let url = format!("http://127.0.0.1:{}", server.port);
    let drawn = |args: &[&str]| -> Result<String> {
        let out = std::process::Command::new(godwit()?).args(["query"]).args(args).output()?;
        ensure!(out.status.success(), "{out:?}");
        Ok(String::from_utf8(out.stdout)?)
    };
    let text = drawn(&["instant", "--explain", &url, query])?;
    ensure!(text.contains("  max_over_time  max_over_time(sum(vector(time()))[10m:1s])"), "{text}");
    let text = drawn(&["range", "--explain", "--output=json", &url, query])?;
    ensure!(serde_json::from_str::<Value>(&text)?["what"] == "query", "{text}");
    Ok(())
}
