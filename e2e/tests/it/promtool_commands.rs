//! Commands that ask a server or rewrite an expression, beside promtool: the same output and exit code, each
//! asked of both servers.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use e2e::process::{Server, godwit, peer};
use e2e::push::push;
use serde_json::Value;

/// Exit code, standard output, standard error.
type Outcome = (i32, String, String);

fn run(program: &Path, args: &[String], folder: &Path) -> Outcome {
    let output = Command::new(program).args(args).current_dir(folder).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn server(program: &Path, folder: &Path) -> Server {
    std::fs::create_dir_all(folder).unwrap();
    std::fs::write(folder.join("p.yml"), "scrape_configs: []\n").unwrap();
    let args = [
        "--config.file=p.yml",
        "--storage.tsdb.path=data",
        "--web.listen-address=127.0.0.1:{port}",
        "--web.enable-remote-write-receiver",
        "--enable-feature=native-histograms",
    ];
    Server::start(program, &args, folder, "/-/ready").unwrap()
}

/// The binary under the name by which it is promtool.
fn ours(folder: &Path) -> PathBuf {
    let path = folder.join("promtool");
    std::os::unix::fs::symlink(godwit().unwrap(), &path).unwrap();
    path
}

/// What discovery found, sorted (promtool's order is by chance), without the labels that 3.5 does not have.
fn targets(json: &str) -> String {
    let Ok(Value::Array(mut all)) = serde_json::from_str::<Value>(json) else { return json.to_string() };
    for labels in all.iter_mut().flat_map(|t| t.as_object_mut().unwrap().values_mut()) {
        labels.as_object_mut().unwrap().retain(|name, _| !name.contains("histograms"));
    }
    let mut all: Vec<String> = all.iter().map(Value::to_string).collect();
    all.sort();
    all.join("\n")
}

#[test]
fn output_and_exit_codes_are_those_of_promtool() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let (tool, theirs) = (ours(folder.path()), peer("promtool").unwrap());
    let servers =
        [server(&godwit().unwrap(), &at("godwit")), server(&peer("prometheus").unwrap(), &at("prometheus"))];
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let (from, to) = (now - 3600, now);
    for server in &servers {
        push(server.port, from, to).unwrap();
    }
    std::fs::write(at("http.yml"), "basic_auth: {username: a, password: b}\n").unwrap();
    std::fs::write(at("bad.yml"), "basic_authority: {}\n").unwrap();
    std::fs::write(
        at("sd.yml"),
        "scrape_configs:\n- job_name: fixed\n  relabel_configs: [{source_labels: [a], regex: x, action: drop}]\n  static_configs: [{targets: ['h:1'], labels: {a: '<b>'}}, {targets: ['h:2'], labels: {a: x}}]\n",
    )
    .unwrap();
    std::fs::write(
        at("page.prom"),
        "# HELP h A & b.\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\nh_sum 3\nh_count 2\n# TYPE s summary\ns{quantile=\"0.5\"} 1\ns_sum 3\ns_count 2\n# TYPE c counter\nc_total{job=\"mine\"} 5\nplain 1e6\n",
    )
    .unwrap();
    std::fs::write(at("bad.prom"), "a{ 1\n").unwrap();
    let (t, start, end) = (format!("{}.5", to - 60), (to - 1200).to_string(), (to - 60).to_string());
    let lines = format!(
        "query instant --time={t} URL count(pushed_float)
query instant --time={t} URL pushed_float{{series=~\"[0-4]\"}}
query instant --time={t} -o json URL pushed_float{{series=~\"[0-4]\"}}
query -o json instant --time={t} URL pushed_histogram
query instant --time={t} URL pushed_histogram
query instant --time={t} URL rate(pushed_histogram[5m])
query instant --time={t} URL 1e-7
query instant --time={t} --format=json URL 1/0
query instant --time={t} URL pushed_float{{series=\"2\"}}[5m]
query instant --time={t} URL nothing
query instant --time={t} -o json URL nothing
query instant --time={t} --http.config.file=http.yml URL vector(1)
query instant --time={t} --http.config.file=bad.yml URL vector(1)
query instant --time={t} --http.config.file=none.yml URL vector(1)
query instant --time=2024-01-02T03:04:05.25Z URL vector(time())
query instant --time=tomorrow URL vector(1)
query instant --time={t} URL sum(
query instant --time={t} URL label_replace(pushed_float,\"a\",\"b\",\"c\",\"(\")
query instant --time={t} URL
query instant --time={t} -o xml URL 1
query instant http://127.0.0.1:1 1
query range --start={start} --end={end} --step=60s URL pushed_float{{series=~\"1.?\"}}
query range --start={start} --end={end} --step=5m -o json URL {{__name__=~\"pushed.*\",series=~\"[12]\"}}
query range --start={start} --end={end} URL sum(pushed_float)
query range --start={start} --end={end} --step=1ms URL sum(pushed_float)
query range --start={end} --end={start} URL sum(pushed_float)
query range --start={start} --end={end} --step=1d URL sum(pushed_float)
query series --match=pushed_float{{series=~\"1.*\"}} --match=pushed_histogram URL
query series --match=pushed_float --start={start} --end={end} -o json URL
query series URL
query series --match={{}} URL
query labels URL series
query labels --match=pushed_histogram URL series -o json
query labels URL no-label
query analyze --server=URL --type=histogram --match=pushed_histogram --duration=10m --time={t}
query analyze --server=URL --type=summary --match=pushed_histogram
query analyze --server=URL --type=histogram
query
query instance URL 1
check service-discovery --timeout=1s sd.yml fixed
check service-discovery --timeout=1s sd.yml other
check service-discovery --timeout=1s none.yml other
push metrics URL/api/v1/write page.prom
push metrics URL/api/v1/write page.prom bad.prom
push metrics URL/api/v1/write page.prom none.prom
push metrics --label=a=b --label=job=x URL/api/v1/write page.prom
push metrics URL/api/v1/nothing page.prom
query instant URL {{job=~\"promtool|x\",__name__!=\"up\"}}*0
query series --match={{job=~\"promtool|x\"}} URL
push metrics --label=a URL/api/v1/write page.prom
debug metrics URL
debug metrics http://127.0.0.1:1
check healthy --url=URL
check ready --url=URL
check ready --url=URL/
check healthy --url=http://127.0.0.1:1
check healthy --url=URL/nowhere
--experimental promql format sum(rate(x{{a=\"b\"}}[5m]))by(job)/on(job)group_left()avg(y)*very_long_name_of_a_metric{{with=\"labels\"}}
--experimental promql format sum(
--experimental promql label-matchers set --type==~ rate(x{{a=\"b\"}}[5m])+{{__name__=\"y\"}} a c.*
--experimental promql label-matchers set x{{a!=\"1\"}}[5m:1m] b 2
promql --experimental label-matchers delete x{{a!=\"1\",b=\"2\"}}+sum(y{{a=\"1\"}}[5m:]) a
--experimental promql label-matchers delete x
--experimental promql label-matchers
--enable-feature=promql-experimental-functions --experimental promql format sort_by_label(x,\"a\")
--experimental promql format sort_by_label(x,\"a\")"
    );
    let mut differences = Vec::new();
    for line in lines.lines() {
        for (server, name) in servers.iter().zip(["godwit", "prometheus"]) {
            let url = format!("http://127.0.0.1:{}", server.port);
            let args: Vec<String> = line.split(' ').map(|word| word.replace("URL", &url)).collect();
            let (us, them) = (run(&tool, &args, folder.path()), run(&theirs, &args, folder.path()));
            // Where something is wrong, both say so.
            let text = |out: &str| if line.contains("sd.yml") { targets(out) } else { out.to_string() };
            let seen = |o: &Outcome| (o.0, text(&o.1), o.2.is_empty());
            if seen(&us) != seen(&them) {
                differences.push(format!("{line} ({name})\n  ours:   {us:?}\n  theirs: {them:?}"));
            }
            if !line.contains("URL") {
                break;
            }
        }
    }
    assert!(differences.is_empty(), "{} differ:\n{}", differences.len(), differences.join("\n"));
}
