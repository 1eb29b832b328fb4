//! The same bytes scraped by godwit and by a real Prometheus end as the same samples, in every format.

use std::path::Path;

use anyhow::{Result, bail, ensure};
use e2e::answers::{Answer, differences, instant, query};
use e2e::http;
use e2e::pages::{Page, serve};
use e2e::process::{Server, peer};
use e2e::program::Program;
use e2e::wait::{now, until};
use serde_json::Value;

const TEXT: &str = "text/plain;version=0.0.4";
const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0";
const EVERYTHING: &str = "{__name__=~\".+\"}";
const PROTOBUF: &str =
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

/// Pages of a real node_exporter and a real Prometheus in each format, and one of our own writing that has
/// what they lack.
fn pages(folder: &Path) -> Vec<Page> {
    let listen = "--web.listen-address=127.0.0.1:{port}";
    let exporter = Server::start(&peer("prometheus-node-exporter").unwrap(), &[listen], folder, "/").unwrap();
    std::fs::write(folder.join("self.yml"), "scrape_configs: []\n").unwrap();
    let arguments = [listen, "--config.file=self.yml", "--storage.tsdb.path=self"];
    let prometheus = Server::start(&peer("prometheus").unwrap(), &arguments, folder, "/-/ready").unwrap();
    let mut pages = Vec::new();
    for (name, port) in [("node", exporter.port), ("self", prometheus.port)] {
        for (format, accept) in [("text", TEXT), ("om", OPEN_METRICS), ("proto", PROTOBUF)] {
            pages.push(Page::fetch(port, "/metrics", accept, &format!("/{name}/{format}")).unwrap());
        }
    }
    let written = include_str!("../data/odd.om");
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8".to_string();
    pages.push(Page { path: "/odd/om".into(), content_type, body: written.into() });
    let written = include_str!("../data/odd.txt");
    let content_type = "text/plain; version=1.0.0; escaping=allow-utf-8".to_string();
    pages.push(Page { path: "/odd/text".into(), content_type, body: written.into() });
    pages
}

/// `left_out` are pages whose classic histograms are not converted.
fn config(program: Program, native: bool, port: u16, pages: &[Page], left_out: &[&str]) -> String {
    let global = if native { program.global() } else { "" };
    let mut text = format!("global:\n  scrape_interval: 2s\n  {global}\nscrape_configs:\n");
    for page in pages {
        let job = page.path.replace('/', "_");
        text += &format!(
            "- {{job_name: job{job}, metrics_path: {}, scrape_protocols: [PrometheusProto, OpenMetricsText1.0.0, PrometheusText1.0.0, PrometheusText0.0.4], static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n",
            page.path
        );
        if native && !left_out.contains(&page.path.as_str()) {
            text += &format!(
                "- {{job_name: both{job}, metrics_path: {}, scrape_protocols: [PrometheusProto, OpenMetricsText1.0.0, PrometheusText1.0.0, PrometheusText0.0.4], convert_classic_histograms_to_nhcb: true, always_scrape_classic_histograms: true, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n",
                page.path
            );
        }
    }
    text
}

/// Exemplars without a time of their own have that of the scrape.
fn without_scrape_times(mut series: Value) -> String {
    for exemplar in series["exemplars"].as_array_mut().into_iter().flatten() {
        if exemplar["timestamp"].as_f64().is_some_and(|t| t > now() - 3600.0) {
            exemplar["timestamp"] = Value::Null;
        }
    }
    series.to_string()
}

/// Lists that a server tells about what it scraped, in an order of our own.
fn told(server: &Server, path: &str) -> Result<Vec<String>> {
    let json = http::get(server.port, path)?.json()?;
    let mut all: Vec<String> = match &json["data"] {
        Value::Array(list) => list.iter().cloned().map(without_scrape_times).collect(),
        Value::Object(map) => map.iter().map(|(name, value)| format!("{name} {value}")).collect(),
        other => bail!("{path}: {other}"),
    };
    all.sort();
    Ok(all)
}

/// Newest value of every series, without the time and without what depends on how long a scrape took.
fn newest(server: &Server, jobs: usize) -> Result<Answer> {
    let up = query(server.port, &instant("up == 1", now()))?;
    ensure!(up.len() == jobs, "only {up:?}\n{}", server.log_tail());
    let own = "scrape_duration_seconds|scrape_series_added|scrape_timeout_seconds|scrape_body_size_bytes";
    let expression = format!("{{__name__=~\".+\",__name__!~\"{own}\"}}");
    let mut answer = query(server.port, &instant(&expression, now()))?;
    for points in answer.values_mut() {
        points.iter_mut().for_each(|p| p.0.clear());
    }
    Ok(answer)
}

fn compare(peer: Program, native: bool, skip: &[&str]) {
    if !peer.at_hand() {
        return println!("{peer:?} is not at hand: `e2e/peers.sh --go` builds it");
    }
    let folder = tempfile::tempdir().unwrap();
    let mut pages = pages(folder.path());
    pages.retain(|p| !skip.contains(&p.path.as_str()));
    // 3.5 loses the `_created` series of a converted histogram, as newer versions do not.
    let left_out = if peer == Program::Lts { &["/odd/om"][..] } else { &[] };
    let port = serve(pages.clone()).unwrap();
    let start = |program: Program| {
        let (file, data) = (format!("{program:?}.yml"), format!("--storage.tsdb.path={program:?}"));
        std::fs::write(folder.path().join(&file), config(program, native, port, &pages, left_out)).unwrap();
        let config = format!("--config.file={file}");
        let mut arguments = vec!["--web.listen-address=127.0.0.1:{port}", &config, &data];
        if native {
            arguments.push(program.features());
        }
        Server::start(&program.path().unwrap(), &arguments, folder.path(), "/-/ready").unwrap()
    };
    let (theirs, ours) = (start(peer), start(Program::Godwit));
    let jobs = if native { pages.len() * 2 - left_out.len() } else { pages.len() };
    // A scrape that came too late on a loaded machine is made good by the next one.
    until("the same samples", || {
        let (want, got) = (newest(&theirs, jobs)?, newest(&ours, jobs)?);
        ensure!(want.len() > 1000, "only {} series", want.len());
        let found = differences(&want, &got);
        ensure!(found.is_empty(), "{} of {} series: {found:#?}", found.len(), want.len());
        let exemplars =
            format!("/api/v1/query_exemplars?query={}&start=1&end={}", http::encode(EVERYTHING), now());
        for path in ["/api/v1/metadata", &exemplars] {
            let (want, got) = (told(&theirs, path)?, told(&ours, path)?);
            let odd = want.iter().zip(&got).find(|(a, b)| a != b);
            ensure!(
                odd.is_none() && want.len() == got.len(),
                "{path}: {} against {}: {odd:?}",
                want.len(),
                got.len()
            );
            ensure!(!want.is_empty() || path == exemplars && !native, "{path}: nothing");
        }
        Ok(())
    })
    .unwrap();
    for server in [theirs, ours] {
        server.stop().unwrap();
    }
}

#[test]
fn classic() {
    // With native histograms off, 3.5 drops a histogram that has native buckets, as newer versions do not:
    // they read its classic ones.
    compare(Program::Lts, false, &["/self/proto"]);
}

#[test]
fn native_histograms() {
    compare(Program::Lts, true, &[]);
}

#[test]
fn classic_as_3_15() {
    compare(Program::New, false, &[]);
}

#[test]
fn native_histograms_as_3_15() {
    compare(Program::New, true, &[]);
}
