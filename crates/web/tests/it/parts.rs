//! A server made of a store in memory and fixed views of everything else, with the data of all tests.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Method, Request};
use http_body_util::BodyExt;
use model::clock::Clock;
use model::relabel::{RelabelAction, RelabelConfig, RelabelParts};
use model::{Exemplar, FloatHistogram, Histogram, HistogramValue, Labels, MetricMetadata, MetricType, Span};
use remote::encode::OutSeries;
use storage::memory::MemoryStore;
use storage::{
    BlockStatus, CardinalityEntry, HeadStatus, QueryContext, StatusSource, StorageError, TsdbStatus,
};
use telemetry::Registry;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use web::{
    BuildInfo, ConfigView, Options, Parts, PoolTargets, Readiness, ReloadRequest, ScrapeViews, State,
    TargetMetadata, TargetView,
};

/// Start of the data: a Tuesday in November 2023, far in the past of any run.
pub(crate) const START_MS: i64 = 1_700_000_000_000;
/// Samples of each series, 15 s apart.
pub(crate) const SAMPLES: i64 = 21;

pub(crate) struct FixedClock;

impl Clock for FixedClock {
    fn now(&self) -> Duration {
        Duration::from_millis((START_MS + 300_000) as u64)
    }
}

struct Status;

impl StatusSource for Status {
    fn tsdb_status(&self, _: &QueryContext, limit: usize) -> Result<TsdbStatus, StorageError> {
        let row = |i: usize| CardinalityEntry { name: format!("n{i}"), value: 10 - i as u64 };
        let rows: Vec<_> = (0..limit.min(3)).map(row).collect();
        Ok(TsdbStatus {
            head: HeadStatus {
                series: 5,
                label_pairs: 6,
                chunks: 7,
                mint_ms: START_MS,
                maxt_ms: START_MS + 1,
            },
            series_by_metric: rows.clone(),
            values_by_label: rows.clone(),
            memory_by_label: rows.clone(),
            series_by_pair: rows,
        })
    }
    fn blocks(&self) -> Result<Vec<BlockStatus>, StorageError> {
        Ok(Vec::new())
    }
    fn replay_progress(&self) -> (u64, u64, u64) {
        (0, 3, 2)
    }
    fn start_time_ms(&self) -> Result<i64, StorageError> {
        Ok(START_MS)
    }
    fn delete_series(
        &self,
        _: &QueryContext,
        _: i64,
        _: i64,
        _: &[model::Matcher],
    ) -> Result<(), StorageError> {
        Ok(())
    }
    fn clean_tombstones(&self) -> Result<(), StorageError> {
        Ok(())
    }
    fn snapshot(&self, with_head: bool) -> Result<String, StorageError> {
        Ok(if with_head { "20240102T030405Z-with" } else { "20240102T030405Z-without" }.to_string())
    }
}

struct Scrape;

impl ScrapeViews for Scrape {
    fn pools(&self) -> Vec<String> {
        vec!["prometheus".into()]
    }
    fn targets(&self, pool: Option<&str>) -> Vec<PoolTargets> {
        let target = TargetView {
            discovered_labels: Labels::from_pairs([
                ("__address__", "127.0.0.1:1"),
                ("__always_scrape_classic_histograms__", "false"),
                ("__convert_classic_histograms_to_nhcb__", "false"),
                ("__metrics_path__", "/metrics"),
                ("__scheme__", "http"),
                ("__scrape_interval__", "15s"),
                ("__scrape_native_histograms__", "false"),
                ("__scrape_timeout__", "10s"),
                ("job", "prometheus"),
            ]),
            labels: Labels::from_pairs([("instance", "127.0.0.1:1"), ("job", "prometheus")]),
            url: "http://127.0.0.1:1/metrics".into(),
            last_error: "refused".into(),
            last_scrape: Some(std::time::UNIX_EPOCH + Duration::from_millis(START_MS as u64)),
            last_scrape_duration: Duration::from_micros(1500),
            health: "down",
            interval: "15s".into(),
            timeout: "10s".into(),
        };
        let active = if pool.is_none_or(|p| p == "prometheus") { vec![target] } else { Vec::new() };
        vec![PoolTargets { pool: "prometheus".into(), active, dropped: Vec::new(), dropped_count: 0 }]
    }
    fn metadata(&self, metric: Option<&str>) -> Vec<TargetMetadata> {
        let one = |name: &str, kind| {
            (name.to_string(), MetricMetadata { kind, help: format!("About {name}."), unit: String::new() })
        };
        let mut families = vec![one("a_total", MetricType::Counter), one("b", MetricType::Gauge)];
        families.retain(|(n, _)| metric.is_none_or(|m| m == n));
        vec![TargetMetadata { labels: Labels::from_pairs([("job", "prometheus")]), families }]
    }
}

pub(crate) struct Server {
    pub(crate) state: State,
    pub(crate) router: axum::Router,
    pub(crate) store: MemoryStore,
    pub(crate) reloads: mpsc::Receiver<ReloadRequest>,
    pub(crate) quit: CancellationToken,
    pub(crate) registry: Registry,
}

/// As upstream 3.15 without feature flags.
fn engine_options() -> promql::EngineOptions {
    let parser = promql::ParserOptions { duration_expressions: true, ..promql::ParserOptions::default() };
    promql::EngineOptions { parser, ..promql::EngineOptions::default() }
}

/// What `relabel_configs` of the oracle's configuration says.
#[derive(Debug)]
struct Texts(Vec<RelabelConfig>);

impl web::ConfigTexts for Texts {
    fn whole(&self) -> &str {
        "global: {}\n"
    }
    fn pool(&self, job: &str) -> Option<String> {
        (job == "prometheus").then(|| "job_name: prometheus\n".to_string())
    }
    fn relabel_rules(&self, job: &str) -> Option<&[RelabelConfig]> {
        (job == "prometheus").then_some(self.0.as_slice())
    }
}

fn relabel_rules() -> Vec<RelabelConfig> {
    let replace = RelabelParts {
        source_labels: Some(vec!["x".into()]),
        regex: Some("(.+)".into()),
        target_label: "y".into(),
        replacement: "<$1>".into(),
        ..RelabelParts::default()
    };
    let drop = RelabelParts {
        source_labels: Some(vec!["x".into(), "a".into()]),
        regex: Some("drop;b".into()),
        action: RelabelAction::Drop,
        ..RelabelParts::default()
    };
    let new = |parts| RelabelConfig::new(parts, model::name::ValidationScheme::Utf8).unwrap();
    vec![new(replace), new(drop)]
}

/// A ready server with the data of [`data`].
pub(crate) fn server(change: impl FnOnce(&mut Options)) -> Server {
    let store = MemoryStore::new();
    let registry = Registry::new();
    let (reload, reloads) = mpsc::channel(1);
    let quit = CancellationToken::new();
    let mut options = Options { enable_remote_write_receiver: true, ..Options::default() };
    change(&mut options);
    let shared = Arc::new(store.clone());
    let config = ConfigView {
        texts: Some(Arc::new(Texts(relabel_rules()))),
        external_labels: Labels::from_pairs([("cluster", "c1")]),
        storage_retention: "15d".into(),
        query_log_file: String::new(),
        slow_queries: web::SlowQueries::default(),
        ..ConfigView::default()
    };
    let parts = Parts {
        rules: Arc::new(Vec::new),
        alertmanagers: Arc::new(web::Alertmanagers::default),
        queryable: shared.clone(),
        local: shared.clone(),
        exemplars: shared.clone(),
        appendable: shared,
        status: Arc::new(Status),
        migrations: Arc::new(NoMigration),
        readers: None,
        engine: Arc::new(promql::Engine::new(engine_options(), &registry)),
        scrape: Arc::new(Scrape),
        config: Arc::new(arc_swap::ArcSwap::from_pointee(config)),
        flags: BTreeMap::from([("web.page-title".into(), "<T>".into()), ("agent".into(), "false".into())]),
        features: BTreeMap::from([("promql_operators".into(), BTreeMap::from([("<=".into(), true)]))]),
        build: BuildInfo {
            version: "3.15.0".into(),
            revision: "r".into(),
            branch: "b".into(),
            build_user: "u".into(),
            build_date: "d".into(),
            compiler: "rust".into(),
            godwit_version: "0.1.0".into(),
        },
        registry: registry.clone(),
        clock: Arc::new(FixedClock),
        reload,
        quit: quit.clone(),
        active_queries_dir: None,
        pages: Vec::new(),
        options,
    };
    let state = State::new(parts);
    state.set_readiness(Readiness::Ready);
    let server = Server { router: web::router(state.clone()), state, store, reloads, quit, registry };
    load(&server.store);
    server
}

fn load(store: &MemoryStore) {
    use storage::{Appendable, SeriesRef};
    let mut app = store.appender();
    for s in data() {
        let mut series = SeriesRef::NONE;
        for (t, v) in &s.samples {
            series = app.append(series, &s.labels, 0, *t, *v).unwrap();
        }
        for (t, h) in &s.histograms {
            series = app.append_histogram(series, &s.labels, 0, *t, h).unwrap();
        }
        for e in &s.exemplars {
            app.append_exemplar(series, e).unwrap();
        }
    }
    app.commit().unwrap();
}

/// The data: counters, gauges with odd values, odd names, native histograms of all kinds, exemplars.
pub(crate) fn data() -> Vec<OutSeries> {
    let times = || (0..SAMPLES).map(|i| START_MS + i * 15_000);
    let floats = |pairs: &[(&str, &str)], f: &dyn Fn(i64) -> f64| OutSeries {
        labels: Labels::from_pairs(pairs.iter().copied()),
        samples: times().enumerate().map(|(i, t)| (t, f(i as i64))).collect(),
        ..OutSeries::default()
    };
    let mut all = vec![
        floats(&[("__name__", "up"), ("instance", "a:1"), ("job", "x")], &|_| 1.0),
        floats(&[("__name__", "up"), ("instance", "b:2"), ("job", "x")], &|i| (i % 2) as f64),
        floats(&[("__name__", "up"), ("instance", "c:3"), ("job", "y")], &|_| 0.0),
        floats(&[("__name__", "requests_total"), ("code", "200"), ("instance", "a:1")], &|i| (i * 30) as f64),
        floats(&[("__name__", "requests_total"), ("code", "500"), ("instance", "a:1")], &|i| (i % 7) as f64),
        floats(&[("__name__", "odd_value"), ("v", "nan")], &|_| f64::NAN),
        floats(&[("__name__", "odd_value"), ("v", "inf")], &|_| f64::INFINITY),
        floats(&[("__name__", "odd_value"), ("v", "tiny")], &|i| 1.5e-9 * (i + 1) as f64),
        floats(&[("__name__", "odd_value"), ("v", "huge")], &|i| -1.25e25 * (i + 1) as f64),
        floats(&[("__name__", "odd_value"), ("v", "long")], &|i| 0.1 + 0.2 * i as f64),
        floats(
            &[("__name__", "odd_label"), ("path", "<a href=\"x\">&\\\n\u{2028}é€"), ("z", "1")],
            &|i| i as f64,
        ),
        floats(&[("__name__", "my.metric"), ("a.b", "c/d")], &|i| i as f64),
    ];
    if let Some(s) = all.get_mut(3) {
        s.exemplars = (0..3)
            .map(|i| Exemplar {
                labels: Labels::from_pairs([("trace_id", format!("t{i}"))]),
                value: 0.5 * f64::from(i),
                timestamp_ms: START_MS + i64::from(i) * 15_000 + 7,
                has_timestamp: true,
            })
            .collect();
    }
    let int = |i: i64| {
        HistogramValue::Int(Arc::new(Histogram {
            schema: 1,
            zero_threshold: 0.001,
            zero_count: 2,
            count: 10 + 4 * i as u64,
            sum: 18.4 * (i + 1) as f64,
            positive_spans: vec![Span { offset: 0, length: 2 }, Span { offset: 1, length: 1 }],
            positive_buckets: vec![1 + i, 1, -1],
            negative_spans: vec![Span { offset: 0, length: 2 }],
            negative_buckets: vec![2, 0].into_iter().map(|d| if d == 2 { 2 } else { d + i - i }).collect(),
            ..Histogram::default()
        }))
    };
    // The count of the integer histogram must be the sum of its buckets: 2 + (1+i) + (2+i) + (1+i) + 2 + 2.
    let int = move |i: i64| match int(i) {
        HistogramValue::Int(h) => {
            let mut h = (*h).clone();
            h.count = (10 + 3 * i) as u64;
            HistogramValue::Int(Arc::new(h))
        }
        other => other,
    };
    let custom = |i: i64| {
        HistogramValue::Float(Arc::new(FloatHistogram {
            schema: -53,
            count: (6 + 6 * i) as f64,
            sum: 12.5 * (i + 1) as f64,
            positive_spans: vec![Span { offset: 0, length: 3 }],
            positive_buckets: vec![(1 + i) as f64, (2 + 2 * i) as f64, (3 + 3 * i) as f64],
            custom_values: vec![1.0, 2.5].into(),
            ..FloatHistogram::default()
        }))
    };
    let histograms = |name: &str, f: &dyn Fn(i64) -> HistogramValue| OutSeries {
        labels: Labels::from_pairs([("__name__", name), ("job", "x")]),
        histograms: times().enumerate().map(|(i, t)| (t, f(i as i64))).collect(),
        ..OutSeries::default()
    };
    all.push(histograms("native", &int));
    all.push(histograms("custom", &custom));
    all
}

/// An answer, as far as tests look at it.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, Vec<String>>,
    pub(crate) body: String,
}

/// Headers that are compared.
pub(crate) const HEADERS: [&str; 9] = [
    "content-type",
    "vary",
    "allow",
    "location",
    "x-content-type-options",
    "access-control-allow-origin",
    "access-control-allow-methods",
    "access-control-allow-headers",
    "x-prometheus-stopping",
];

pub(crate) fn headers_of(headers: &http::HeaderMap) -> BTreeMap<String, Vec<String>> {
    let one = |name: &&str| {
        let mut all: Vec<String> =
            headers.get_all(*name).iter().map(|v| v.to_str().unwrap().to_string()).collect();
        all.sort();
        (!all.is_empty()).then(|| (name.to_string(), all))
    };
    HEADERS.iter().filter_map(one).collect()
}

pub(crate) fn request(method: &str, uri: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Request<Body> {
    let mut r = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(uri);
    for (k, v) in headers {
        r = r.header(*k, *v);
    }
    r.body(Body::from(body)).unwrap()
}

pub(crate) async fn send(router: &axum::Router, r: Request<Body>) -> (http::response::Parts, Vec<u8>) {
    let (parts, body) = router.clone().oneshot(r).await.unwrap().into_parts();
    (parts, body.collect().await.unwrap().to_bytes().to_vec())
}

pub(crate) async fn get(router: &axum::Router, uri: &str) -> (u16, String) {
    let (parts, body) = send(router, request("GET", uri, &[], Vec::new())).await;
    (parts.status.as_u16(), String::from_utf8(body).unwrap())
}

/// As in a server that is no destination of any.
struct NoMigration;

impl web::Migrations for NoMigration {
    fn run(&self, order: &web::MigrationOrder) -> Result<(), String> {
        Err(format!("{}: no store", order.source.display()))
    }
    fn plan(&self, order: &web::MigrationOrder) -> Result<String, String> {
        Err(format!("{}: no store", order.source.display()))
    }
    fn status(&self) -> String {
        "{\"migration\":null}".to_string()
    }
    fn verify(&self) -> Result<(), String> {
        Err("there is no migration to verify".to_string())
    }
    fn switch(&self) -> Result<(), String> {
        Err("there is no migration to switch".to_string())
    }
    fn rollback(&self) -> Result<(), String> {
        Err("there is no migration to roll back".to_string())
    }
    fn release(&self, _abandon: bool) -> Result<(), String> {
        Err("there is no migration to release".to_string())
    }
}
