//! The same bytes scraped by godwit and by a real Prometheus end as the same samples, in every format.

use std::path::Path;
use std::time::{Duration, Instant};

use e2e::answers::{Answer, differences, instant, query};
use e2e::pages::{Page, serve};
use e2e::process::{Server, godwit, peer};

const TEXT: &str = "text/plain;version=0.0.4";
const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0";
const PROTOBUF: &str =
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

fn now() -> f64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
}

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

fn config(port: u16, pages: &[Page]) -> String {
    let mut text = "global: {scrape_interval: 1s}\nscrape_configs:\n".to_string();
    for page in pages {
        let job = page.path.replace('/', "_");
        text += &format!(
            "- {{job_name: job{job}, metrics_path: {}, scrape_protocols: [PrometheusProto, OpenMetricsText1.0.0, PrometheusText1.0.0, PrometheusText0.0.4], static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n",
            page.path
        );
    }
    text
}

fn all_up(server: &Server, jobs: usize) {
    let began = Instant::now();
    loop {
        let up = query(server.port, &instant("up == 1", now())).unwrap();
        if up.len() == jobs {
            return;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "only {up:?}\n{}", server.log_tail());
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Newest value of every series, without the time and without what depends on how long a scrape took.
fn newest(server: &Server) -> Answer {
    let own = "scrape_duration_seconds|scrape_series_added|scrape_timeout_seconds|scrape_body_size_bytes";
    let expression = format!("{{__name__=~\".+\",__name__!~\"{own}\"}}");
    let mut answer = query(server.port, &instant(&expression, now())).unwrap();
    for points in answer.values_mut() {
        points.iter_mut().for_each(|p| p.0.clear());
    }
    answer
}

fn compare(flags: &[&str], skip: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let mut pages = pages(folder.path());
    pages.retain(|p| !skip.contains(&p.path.as_str()));
    let port = serve(pages.clone()).unwrap();
    std::fs::write(folder.path().join("prometheus.yml"), config(port, &pages)).unwrap();
    let start = |program: &Path, data: &str| {
        let data = format!("--storage.tsdb.path={data}");
        let mut arguments =
            vec!["--web.listen-address=127.0.0.1:{port}", "--config.file=prometheus.yml", &data];
        arguments.extend(flags);
        Server::start(program, &arguments, folder.path(), "/-/ready").unwrap()
    };
    let theirs = start(&peer("prometheus").unwrap(), "theirs");
    let ours = start(&godwit().unwrap(), "ours");
    all_up(&theirs, pages.len());
    all_up(&ours, pages.len());
    let (want, got) = (newest(&theirs), newest(&ours));
    assert!(want.len() > 1000, "only {} series", want.len());
    let found = differences(&want, &got);
    assert!(found.is_empty(), "{} of {} series: {found:#?}", found.len(), want.len());
    for server in [theirs, ours] {
        server.stop().unwrap();
    }
}

#[test]
fn classic() {
    // With native histograms off, 3.5 drops a histogram that has native buckets, as newer versions do not:
    // they read its classic ones.
    compare(&[], &["/self/proto"]);
}

#[test]
fn native_histograms() {
    compare(&["--enable-feature=native-histograms,exemplar-storage"], &[]);
}
