//! The sender between a real store's log and a receiver over HTTP: ours, behind a door that can be closed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use config::{Config, LoadOptions};
use model::{Exemplar, Histogram, HistogramValue, Labels, Matcher};
use remote::{MessageType, Receiver, ReceiverOptions, Sender, SenderOptions};
use storage::memory::MemoryStore;
use storage::{Appendable as _, QueryContext, Queryable, SampleBuf, SelectHints, SeriesRef};
use telemetry::Registry;
use testkit::{Answer, FakeTarget};
use tsdb::{Db, DbOptions};

/// How long anything may take on a loaded machine.
const LIMIT: Duration = Duration::from_secs(60);
const T0: i64 = 1_700_000_000_000;

#[derive(Debug)]
struct FixedClock;

impl model::clock::Clock for FixedClock {
    fn now(&self) -> Duration {
        Duration::from_millis(T0 as u64 + 3_600_000)
    }
}

/// A receiver that answers with a status of the test's choice, or as ours does.
struct Far {
    target: FakeTarget,
    store: MemoryStore,
    /// 0: as ours.
    status: Arc<AtomicU16>,
}

impl Far {
    async fn start() -> Far {
        let store = MemoryStore::new();
        let options = ReceiverOptions::default();
        let receiver =
            Receiver::new(Arc::new(store.clone()), Arc::new(FixedClock), &Registry::new(), options);
        let status = Arc::new(AtomicU16::new(0));
        let forced = Arc::clone(&status);
        let target = FakeTarget::start(move |request| match forced.load(Ordering::SeqCst) {
            0 => {
                let v2 = request.header("Content-Type").unwrap_or("").contains("v2");
                let kind = if v2 { MessageType::V2 } else { MessageType::V1 };
                let done = receiver.write(kind, &request.body);
                let answer = Answer::text(done.error.clone()).status(done.status);
                done.headers().into_iter().fold(answer, |a, (name, value)| a.with(name, &value.to_string()))
            }
            status => Answer::text("closed").status(status),
        })
        .await
        .unwrap();
        Far { target, store, status }
    }

    fn set(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// Times by series.
    fn has(&self) -> BTreeMap<String, Vec<i64>> {
        times(&self.store)
    }
}

fn times(store: &impl Queryable) -> BTreeMap<String, Vec<i64>> {
    let q = store.querier(i64::MIN, i64::MAX).unwrap();
    let m = [Matcher::new(model::MatchOp::Regex, "__name__", ".+").unwrap()];
    let set = q.select(&QueryContext::unlimited(), true, &SelectHints::default(), &m).unwrap();
    let one = |s: &Arc<dyn storage::Series>| {
        let mut buf = SampleBuf::default();
        s.read(i64::MIN, i64::MAX, &mut buf).unwrap();
        (s.labels().to_string(), buf.times)
    };
    set.series.iter().map(one).collect()
}

struct Near {
    db: Db,
    folder: tempfile::TempDir,
    registry: Registry,
}

impl Near {
    fn new() -> Near {
        let folder = tempfile::tempdir().unwrap();
        let mut options = DbOptions::new(folder.path());
        options.exemplars_max = 1000;
        let db = Db::open(options).unwrap();
        db.set_out_of_order_window(3_600_000).unwrap();
        Near { db, folder, registry: Registry::new() }
    }

    fn sender(&self) -> Sender {
        let metadata = || vec![("m".to_string(), model::MetricMetadata::default())];
        let options = SenderOptions {
            user_agent: "test/1".into(),
            flush_deadline: LIMIT,
            metadata: Arc::new(metadata),
        };
        Sender::new(options, &self.registry)
    }

    fn begin(&self, config: &str) -> Sender {
        let sender = self.sender();
        sender.apply_config(&parse(config)).unwrap();
        sender.open(Arc::new(self.db.clone()));
        sender
    }

    /// One sample for each of ten series.
    fn write(&self, t_ms: i64) {
        let mut app = self.db.appender();
        for n in 0..10 {
            let labels = Labels::from_pairs([("__name__", "m".to_string()), ("n", n.to_string())]);
            app.append(SeriesRef::NONE, &labels, 0, t_ms, n as f64).unwrap();
        }
        app.commit().unwrap();
    }

    fn metric(&self, name: &str) -> f64 {
        let families = self.registry.gather();
        let all = families.iter().filter(|f| f.name == name).flat_map(|f| &f.metrics);
        all.map(|m| match m.data {
            exposition::MetricData::Number(v) => v,
            _ => 0.0,
        })
        .sum()
    }

    fn position_file(&self) -> std::path::PathBuf {
        let mut all = std::fs::read_dir(self.folder.path().join("remote_write")).unwrap();
        all.next().unwrap().unwrap().path()
    }
}

fn parse(text: &str) -> Config {
    Config::parse(text, &LoadOptions::default()).unwrap()
}

fn config(far: &Far, more: &str) -> String {
    format!(
        "global: {{external_labels: {{dc: x}}}}\nremote_write:\n- {{url: '{}', {more} queue_config: \
         {{batch_send_deadline: 50ms, max_samples_per_send: 25, max_backoff: 100ms}}}}\n",
        far.target.url("/api/v1/write")
    )
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LIMIT, "not within {LIMIT:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What the store has, with the external label.
fn expected(near: &Near) -> BTreeMap<String, Vec<i64>> {
    let with = |l: String| l.replacen(r#"{__name__="m", "#, r#"{__name__="m", dc="x", "#, 1);
    times(&near.db).into_iter().map(|(labels, all)| (with(labels), all)).collect()
}

async fn all_there(near: &Near, far: &Far) {
    until("all has arrived", || far.has() == expected(near)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_arrives_whatever_the_receiver_says_meanwhile() {
    for message in ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"] {
        let (near, far) = (Near::new(), Far::start().await);
        // Before there was a destination: not for it.
        near.write(T0 - 1000);
        let more = format!("protobuf_message: {message}, headers: {{x-own: 'y'}}, ");
        let sender = near.begin(&config(&far, &more));
        near.write(T0);
        until("the first arrive", || far.has().len() == 10).await;
        far.set(503);
        for round in 1..20 {
            near.write(T0 + round * 1000);
        }
        until("tried again", || near.metric("prometheus_remote_storage_samples_retried_total") > 50.0).await;
        far.set(0);
        let want = || (0..20).map(|r| T0 + r * 1000).collect::<Vec<_>>();
        until("all has arrived", || far.has().values().all(|t| *t == want())).await;
        let request = far.target.requests().pop().unwrap();
        assert_eq!(request.header("x-own"), Some("y"));
        assert_eq!(request.header("user-agent"), Some("test/1"));
        assert_eq!(request.header("content-encoding"), Some("snappy"));
        let v1 = message == "prometheus.WriteRequest";
        let (kind, version) = match v1 {
            true => ("application/x-protobuf", "0.1.0"),
            false => ("application/x-protobuf;proto=io.prometheus.write.v2.Request", "2.0.0"),
        };
        assert_eq!(request.header("content-type"), Some(kind));
        assert_eq!(request.header("x-prometheus-remote-write-version"), Some(version));
        assert!(far.target.requests().iter().any(|r| r.header("retry-attempt") == Some("1")));
        assert_eq!(near.metric("prometheus_remote_storage_samples_failed_total"), 0.0);
        until("nothing waits", || near.metric("prometheus_remote_storage_samples_pending") == 0.0).await;
        // Late ones have a log of their own.
        far.set(204);
        let before = far.target.requests().len();
        near.write(T0 - 5000);
        until("late ones are sent", || far.target.requests().len() > before).await;
        sender.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_goes_on_where_the_last_one_was_and_nothing_new_is_lost_among_the_old() {
    let (near, far) = (Near::new(), Far::start().await);
    let text = config(&far, "");
    let sender = near.begin(&text);
    let path = near.position_file();
    let begin = std::fs::read(&path).unwrap();
    for round in 0..10 {
        near.write(T0 + round * 1000);
    }
    all_there(&near, &far).await;
    sender.stop().await;
    // While nobody sends.
    near.write(T0 + 10_000);
    let requests = far.target.requests().len();
    let sender = near.begin(&text);
    all_there(&near, &far).await;
    sender.stop().await;
    assert_eq!(far.target.requests().len(), requests + 1);
    // As after a kill that came before the position was kept: most is refused, which must not cost the rest.
    near.write(T0 + 11_000);
    std::fs::write(&path, begin).unwrap();
    let sender = near.begin(&text);
    all_there(&near, &far).await;
    sender.stop().await;
    // A damaged position is none.
    std::fs::write(&path, "x").unwrap();
    let sender = near.begin(&text);
    near.write(T0 + 12_000);
    all_there(&near, &far).await;
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_keeps_what_is_as_before_and_goes_on_where_it_is_not() {
    let (near, far, other) = (Near::new(), Far::start().await, Far::start().await);
    let both = |more: &str| {
        let second = config(&other, "");
        config(&far, more) + second.split_once("remote_write:\n").unwrap().1
    };
    let sender = near.begin(&both(""));
    near.write(T0);
    all_there(&near, &far).await;
    far.set(500);
    for round in 1..10 {
        near.write(T0 + round * 1000);
    }
    all_there(&near, &other).await;
    // Another timeout, and then other rules.
    for more in ["remote_timeout: 7s, ", "write_relabel_configs: [{regex: nothing, action: labeldrop}], "] {
        sender.apply_config(&parse(&both(more))).unwrap();
        near.write(T0 + 20_000 + more.len() as i64);
    }
    far.set(0);
    all_there(&near, &far).await;
    all_there(&near, &other).await;
    assert!(sender.apply_config(&parse(&both("tls_config: {ca_file: /there/is/none}, "))).is_err());
    // Without it, nothing more comes.
    let only_other = config(&other, "");
    sender.apply_config(&parse(&only_other)).unwrap();
    let before = far.has();
    near.write(T0 + 30_000);
    all_there(&near, &other).await;
    sender.stop().await;
    assert_eq!(far.has(), before);
    let shown = near.registry.gather();
    assert!(shown.iter().all(|f| f.name != "prometheus_remote_storage_shards"), "its metrics are gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_for_good_is_counted_and_rules_drop() {
    let (near, far) = (Near::new(), Far::start().await);
    let rules =
        "write_relabel_configs: [{source_labels: [n], regex: '[0-4]', action: drop}], send_exemplars: true, ";
    let sender = near.begin(&config(&far, rules));
    far.set(429);
    near.write(T0);
    until("refused", || near.metric("prometheus_remote_storage_samples_failed_total") == 5.0).await;
    assert_eq!(near.metric("prometheus_remote_storage_samples_dropped_total"), 5.0);
    far.set(0);
    let mut app = near.db.appender();
    let labels = Labels::from_pairs([("__name__", "h")]);
    let plain = Histogram { count: 1, zero_count: 1, ..Histogram::default() };
    let h = HistogramValue::Int(Arc::new(plain));
    let series = app.append_histogram(SeriesRef::NONE, &labels, 0, T0, &h).unwrap();
    let exemplar = Exemplar {
        labels: Labels::from_pairs([("trace", "x")]),
        value: 1.0,
        timestamp_ms: T0,
        has_timestamp: true,
    };
    app.append_exemplar(series, &exemplar).unwrap();
    app.commit().unwrap();
    near.write(T0 + 1000);
    until("the rest arrives", || far.has().len() == 5).await;
    until("exemplars", || near.metric("prometheus_remote_storage_exemplars_total") == 1.0).await;
    // Not asked for.
    assert_eq!(near.metric("prometheus_remote_storage_histograms_total"), 0.0);
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_does_not_wait_for_a_receiver_that_fails() {
    let (near, far) = (Near::new(), Far::start().await);
    let text = config(&far, "");
    let sender = near.begin(&text);
    far.set(503);
    near.write(T0);
    until("it fails", || !far.target.requests().is_empty()).await;
    let began = Instant::now();
    sender.stop().await;
    assert!(began.elapsed() < LIMIT, "not by its deadline");
    far.set(0);
    let sender = near.begin(&text);
    all_there(&near, &far).await;
    sender.stop().await;
}
