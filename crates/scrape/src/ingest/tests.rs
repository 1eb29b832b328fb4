//! The cached ways through a body against a plain one, and upstream's rules one by one.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use exposition::{Event, Format, Parser, ParserOptions, SampleValue};
use model::{Labels, LabelsBuilder, Matcher, is_stale_nan};
use proptest::prelude::*;
use storage::memory::MemoryStore;
use storage::{Appendable, Appender, QueryContext, Queryable, SampleBuf, SelectHints, SeriesRef};

use super::{IngestFailure, IngestOptions, IngestReport, LabelLimits, TargetCache};

fn options() -> IngestOptions {
    IngestOptions {
        target_labels: Labels::from_pairs([("job", "j"), ("instance", "i")]),
        ..IngestOptions::default()
    }
}

/// All samples as text, markers as "stale".
fn dump(store: &MemoryStore) -> Vec<String> {
    let q = store.querier(i64::MIN, i64::MAX).unwrap();
    let all = Matcher::new(model::MatchOp::Regex, "__name__", ".+").unwrap();
    let set = q.select(&QueryContext::unlimited(), true, &SelectHints::default(), &[all]).unwrap();
    let mut out = Vec::new();
    for series in set.series {
        let mut buf = SampleBuf::default();
        series.read(i64::MIN, i64::MAX, &mut buf).unwrap();
        let mut line = series.labels().to_string();
        for (i, (t, v)) in buf.times.iter().zip(&buf.values).enumerate() {
            let v = if is_stale_nan(*v) { "stale".to_string() } else { format!("{v}") };
            let h = if buf.histogram_at(i).is_some() { "h" } else { "" };
            let _ = write!(line, " {h}{v}@{t}");
        }
        out.push(line);
    }
    out
}

struct Target {
    store: MemoryStore,
    cache: TargetCache,
    opts: IngestOptions,
    format: Format,
    t_ms: i64,
}

impl Target {
    fn new(format: Format, opts: IngestOptions) -> Self {
        Target { store: MemoryStore::new(), cache: TargetCache::new(), opts, format, t_ms: 0 }
    }

    /// A scrape as the loop does it: commit, or roll back and mark stale.
    fn scrape(&mut self, body: impl AsRef<[u8]>) -> Result<IngestReport, IngestFailure> {
        self.t_ms += 1000;
        let mut app = self.store.appender();
        let done = self.cache.ingest(body.as_ref(), self.format, self.t_ms, &self.opts, app.as_mut());
        match done {
            Ok(report) => {
                app.commit().unwrap();
                Ok(report)
            }
            Err(e) => {
                app.rollback();
                let mut app = self.store.appender();
                self.cache.write_stale(self.t_ms, &self.opts, app.as_mut()).unwrap();
                app.commit().unwrap();
                Err(e.failure)
            }
        }
    }

    fn dump(&self) -> Vec<String> {
        dump(&self.store)
            .into_iter()
            .map(|l| l.replace(r#", instance="i", job="j""#, "").replace(r#"instance="i", job="j""#, ""))
            .collect()
    }
}

#[test]
fn second_scrape_takes_the_fast_path() {
    let mut t = Target::new(Format::Text, options());
    let page = "# HELP a h\n# TYPE a gauge\na{x=\"1\"} 1\na{x=\"2\"} 2.5\n# TYPE b counter\nb 1e+06\nc NaN\n";
    let first = t.scrape(page).unwrap();
    assert_eq!((first.scraped, first.post_relabel, first.series_added, first.fast), (4, 4, 4, 0));
    let second = t.scrape(page.replace("2.5", "-3.5")).unwrap();
    assert_eq!((second.scraped, second.post_relabel, second.series_added, second.fast), (4, 4, 0, 4));
    assert_eq!(
        t.dump(),
        [
            r#"{__name__="a", x="1"} 1@1000 1@2000"#,
            r#"{__name__="a", x="2"} 2.5@1000 -3.5@2000"#,
            r#"{__name__="b"} 1000000@1000 1000000@2000"#,
            r#"{__name__="c"} NaN@1000 NaN@2000"#
        ]
    );
    assert_eq!(t.cache.metadata().get("a").unwrap().help, "h");
}

#[test]
fn vanished_series_get_one_marker() {
    let mut t = Target::new(Format::Text, options());
    t.scrape("a 1\nb 1\nc 1\n").unwrap();
    assert_eq!(t.scrape("a 1\nc 1\n").unwrap().stale_markers, 1);
    assert_eq!(t.scrape("a 1\nc 1\n").unwrap().stale_markers, 0);
    // The same series in another spelling has not vanished.
    assert_eq!(t.scrape("a{} 1\nc 1\n").unwrap().stale_markers, 0);
    // An empty body has no series.
    assert_eq!(t.scrape("").unwrap().stale_markers, 2);
    let report = t.scrape("b 2\na 2\n").unwrap();
    assert_eq!((report.stale_markers, report.scraped), (0, 2));
    assert!(t.dump().contains(&r#"{__name__="b"} 1@1000 stale@2000 2@6000"#.to_string()), "{:?}", t.dump());
}

#[test]
fn failed_scrapes_mark_what_they_did_not_bring() {
    let mut t = Target::new(Format::Text, options());
    t.scrape("a 1\nb 1\nc 1\n").unwrap();
    assert!(matches!(t.scrape("a 2\n{\n"), Err(IngestFailure::Parse(_))));
    // As upstream: `a` was read before the error and is spared this once.
    t.scrape("b 3\n").unwrap();
    assert_eq!(
        t.dump(),
        [
            r#"{__name__="a"} 1@1000 stale@3000"#,
            r#"{__name__="b"} 1@1000 stale@2000 3@3000"#,
            r#"{__name__="c"} 1@1000 stale@2000"#
        ]
    );
}

#[test]
fn duplicates_are_counted() {
    let mut t = Target::new(Format::Text, options());
    for _ in 0..3 {
        let r = t.scrape("a 1\na 1\na 2\nb 1\n").unwrap();
        assert_eq!((r.scraped, r.post_relabel, r.duplicates), (4, 4, 2));
    }
    assert_eq!(t.dump()[0], r#"{__name__="a"} 1@1000 1@2000 1@3000"#);
}

#[test]
fn timestamps() {
    let body = "a 1 500\nb 2\n";
    let mut t = Target::new(Format::Text, options());
    t.scrape(body).unwrap();
    let r = t.scrape("a 1 1500\nb 2\n").unwrap();
    assert_eq!(r.fast, 2);
    // Series with own times are not tracked.
    assert_eq!(t.scrape("b 2\n").unwrap().stale_markers, 0);
    assert_eq!(t.dump()[0], r#"{__name__="a"} 1@500 1@1500"#);

    let mut t = Target::new(Format::Text, IngestOptions { track_timestamps_staleness: true, ..options() });
    t.scrape(body).unwrap();
    t.scrape("a 1 600\nb 2\n").unwrap();
    assert_eq!(t.scrape("b 2\n").unwrap().stale_markers, 1);

    let mut t = Target::new(Format::Text, IngestOptions { honor_timestamps: false, ..options() });
    t.scrape(body).unwrap();
    t.scrape(body).unwrap();
    assert_eq!(t.dump()[0], r#"{__name__="a"} 1@1000 1@2000"#);

    let mut t = Target::new(Format::Text, IngestOptions { max_time_ms: 10_000, ..options() });
    for _ in 0..2 {
        assert_eq!(t.scrape("a 1 10001\nb 2\n").unwrap().out_of_bounds, 1);
    }
    // Older than the newest: counted, not fatal.
    t.scrape("a 1 9000\n").unwrap();
    assert_eq!(t.scrape("a 1 8000\n").unwrap().out_of_order, 1);
}

#[test]
fn limits_fail_the_scrape() {
    let limits = |labels_max| LabelLimits { labels_max, ..LabelLimits::default() };
    let mut t = Target::new(Format::Text, IngestOptions { label_limits: limits(3), ..options() });
    t.scrape("a 1\n").unwrap();
    assert!(matches!(t.scrape("a{x=\"1\"} 1\n"), Err(IngestFailure::LabelLimit(_))));

    let mut t = Target::new(Format::Text, IngestOptions { sample_limit: 2, ..options() });
    t.scrape("a 1\nb 1\n").unwrap();
    t.t_ms += 1000;
    let mut app = t.store.appender();
    let e = t.cache.ingest(b"a 1\nb 1\nc 1\nd 1\n", Format::Text, t.t_ms, &t.opts, app.as_mut()).unwrap_err();
    assert_eq!((e.failure, e.report.scraped, e.report.post_relabel), (IngestFailure::SampleLimit, 4, 4));
}

#[test]
fn labels_that_cannot_be() {
    let mut t = Target::new(Format::Text, options());
    assert_eq!(t.scrape("a{b=\"1\",b=\"2\"} 1\n"), Err(IngestFailure::DuplicateLabel("b".into())));
    assert!(t.scrape("a{b=\"\",b=\"2\"} 1\n").is_ok());
    t.opts.validation = model::name::ValidationScheme::Legacy;
    assert!(matches!(t.scrape("{\"a.b\"} 1\n"), Err(IngestFailure::InvalidNames(_))));
    assert!(matches!(t.scrape("{\"x\"=\"1\"} 1\n"), Err(IngestFailure::Parse(_))));
}

#[test]
fn native_histograms_and_limits() {
    use exposition::{Family, Metric, MetricData, write_families};
    let h = |n: i64| {
        let h = model::Histogram {
            schema: 3,
            count: 8 * n as u64,
            sum: 1.0,
            positive_spans: vec![model::Span { offset: 1, length: 8 }],
            positive_buckets: vec![n, 0, 0, 0, 0, 0, 0, 0],
            ..model::Histogram::default()
        };
        let data = MetricData::Native(model::HistogramValue::Int(Arc::new(h)));
        let metrics = vec![Metric { data, ..Metric::default() }];
        let kind = model::MetricType::Histogram;
        let family = Family { name: "n".into(), kind, metrics, ..Family::default() };
        write_families(&[family], Format::Protobuf, exposition::EscapingScheme::None)
    };
    let run = |opts: IngestOptions| {
        let mut t = Target::new(Format::Protobuf, IngestOptions { native_histograms: true, ..opts });
        for n in 1..3 {
            let body = h(n);
            let mut app = t.store.appender();
            let done = t.cache.ingest(&body, Format::Protobuf, n * 1000, &t.opts, app.as_mut());
            if let Err(e) = done {
                return Err(e.failure);
            }
            app.commit().unwrap();
        }
        let mut app = t.store.appender();
        t.cache.write_stale(3000, &t.opts, app.as_mut()).unwrap();
        app.commit().unwrap();
        let q = t.store.querier(0, 9999).unwrap();
        let all = Matcher::equal("__name__", "n");
        let set = q.select(&QueryContext::unlimited(), true, &SelectHints::default(), &[all]).unwrap();
        let mut buf = SampleBuf::default();
        set.series[0].read(0, 9999, &mut buf).unwrap();
        assert!(buf.histogram_at(2).unwrap().is_stale());
        Ok(buf.histogram_at(1).unwrap().to_float())
    };
    assert_eq!(run(options()).unwrap().positive_buckets, [2.0; 8]);
    let limited = run(IngestOptions { bucket_limit: 1, ..options() }).unwrap();
    assert_eq!((limited.schema, limited.positive_buckets.clone()), (0, vec![16.0]));
    let coarse = run(IngestOptions { native_histogram_min_bucket_factor: 1.4, ..options() }).unwrap();
    assert_eq!((coarse.schema, coarse.positive_buckets.clone()), (1, vec![8.0, 8.0]));
    let none =
        run(IngestOptions { bucket_limit: 2, native_histogram_min_bucket_factor: 65_536.0, ..options() });
    assert_eq!(none.unwrap().schema, -4);
}

#[test]
fn metadata_ages_out() {
    let mut t = Target::new(Format::Text, options());
    t.scrape("# TYPE a counter\na 1\n# HELP b x\nb 1\n").unwrap();
    for _ in 0..10 {
        t.scrape("# HELP b x\nb 1\n").unwrap();
        assert_eq!(t.cache.metadata().len(), 2);
    }
    t.scrape("# HELP b y\nb 1\n").unwrap();
    assert_eq!(t.cache.metadata().len(), 1);
    assert_eq!(t.cache.metadata().get("b").unwrap().help, "y");
}

#[test]
fn growth_through_failures_is_bounded() {
    let mut t = Target::new(Format::Text, options());
    t.scrape("a 1\n").unwrap();
    for round in 0..50 {
        let mut body = String::new();
        for i in 0..200 {
            let _ = writeln!(body, "x{{r=\"{round}\",i=\"{i}\"}} 1");
        }
        body.push_str("{\n");
        assert!(t.scrape(&body).is_err());
    }
    assert!(t.cache.lines() < 2000, "{} lines", t.cache.lines());
    assert_eq!(t.scrape("a 1\n").unwrap().scraped, 1);
    assert_eq!(t.cache.lines(), 1);
}

/// What upstream's loop does, without any memory of lines: the yardstick for the cache.
#[derive(Default)]
struct Plain {
    live: HashMap<SeriesRef, Labels>,
}

impl Plain {
    fn scrape(
        &mut self,
        body: &str,
        format: Format,
        t_ms: i64,
        opts: &IngestOptions,
        app: &mut dyn Appender,
    ) -> bool {
        let mut parser = Parser::new(body.as_bytes(), format, &ParserOptions::default());
        let mut seen: HashMap<SeriesRef, Labels> = HashMap::new();
        let mut builder = LabelsBuilder::new();
        loop {
            match parser.next() {
                Err(_) => return false,
                Ok(Event::Eof) => break,
                Ok(Event::Series(s)) => {
                    let SampleValue::Float(v) = s.value else { return false };
                    s.source.build(&mut builder).unwrap();
                    for (n, v) in &opts.target_labels {
                        builder.set(n, v);
                    }
                    let labels = builder.build();
                    if let Ok(r) = app.append(SeriesRef::NONE, &labels, 0, s.timestamp_ms.unwrap_or(t_ms), v)
                        && s.timestamp_ms.is_none()
                    {
                        seen.insert(r, labels);
                    }
                }
                Ok(_) => {}
            }
        }
        for (r, labels) in &self.live {
            if !seen.contains_key(r) {
                let _ = app.append(*r, labels, 0, t_ms, model::stale_nan());
            }
        }
        self.live = seen;
        true
    }
}

fn page(lines: &[(u8, u8, u8)], openmetrics: bool) -> String {
    let mut out = String::new();
    for (kind, name, value) in lines {
        match kind % 8 {
            0 => {
                let _ = writeln!(out, "# TYPE m{} gauge", name % 6);
            }
            1 => {
                let _ = writeln!(out, "# HELP m{} text {}", name % 6, value % 3);
            }
            2 if !openmetrics => {
                let _ = writeln!(out, "m{} {value} {}", name % 6, 100_000 + u32::from(*value));
            }
            3 => {
                let _ = writeln!(out, "m{}{{a=\"{}\"}} {value}.5", name % 6, name % 4);
            }
            4 => {
                let _ = writeln!(out, "m{} 1e{}", name % 6, value % 30);
            }
            _ => {
                let _ = writeln!(out, "m{}{{b=\"{}\"}} {value}", name % 6, name);
            }
        }
    }
    if openmetrics {
        out.push_str("# EOF\n");
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    /// Pages that change at random: lines come, go, move, repeat. The cache must store what the plain way
    /// stores.
    #[test]
    fn cache_stores_what_plain_parsing_stores(
        base in proptest::collection::vec((0..8_u8, 0..24_u8, any::<u8>()), 0..40),
        edits in proptest::collection::vec((0..5_u8, any::<u8>(), any::<u8>(), (0..8_u8, 0..24_u8, any::<u8>())), 0..30),
        openmetrics in any::<bool>(),
    ) {
        let format = if openmetrics { Format::OpenMetrics } else { Format::Text };
        let opts = options();
        let mut cached = Target::new(format, opts.clone());
        let (plain_store, mut plain) = (MemoryStore::new(), Plain::default());
        let mut lines = base;
        let mut edits = edits.into_iter();
        for round in 1..12_i64 {
            let body = page(&lines, openmetrics);
            cached.scrape(&body).unwrap();
            let mut app = plain_store.appender();
            if body.is_empty() {
                for (r, labels) in plain.live.drain() {
                    let _ = app.append(r, &labels, 0, round * 1000, model::stale_nan());
                }
            } else {
                prop_assert!(plain.scrape(&body, format, round * 1000, &opts, app.as_mut()));
            }
            app.commit().unwrap();
            prop_assert_eq!(dump(&cached.store), dump(&plain_store), "round {}", round);
            for (what, at, to, line) in edits.by_ref().take(3) {
                let n = lines.len();
                match what {
                    0 => lines.insert(usize::from(at) % (n + 1), line),
                    1 if n > 0 => { lines.remove(usize::from(at) % n); }
                    2 if n > 0 => lines.swap(usize::from(at) % n, usize::from(to) % n),
                    3 if n > 0 => lines[usize::from(at) % n].2 = to,
                    4 if n > 0 => lines.rotate_left(usize::from(at) % n),
                    _ => {}
                }
            }
        }
    }
}

#[test]
fn a_store_that_forgot_its_series_gets_them_again_by_their_labels() {
    let metric = |x: &str, v| exposition::Metric {
        labels: Labels::from_pairs([("x", x)]),
        data: exposition::MetricData::Number(v),
        ..exposition::Metric::default()
    };
    let family = exposition::Family {
        name: "a".to_string(),
        kind: model::MetricType::Gauge,
        metrics: vec![metric("1", 1.0), metric("2", 2.0)],
        ..exposition::Family::default()
    };
    let protobuf = exposition::write_families(&[family], Format::Protobuf, exposition::EscapingScheme::None);
    for (format, page) in [
        (Format::Text, b"# TYPE a counter\na{x=\"1\"} 1\na{x=\"2\"} 2\n".to_vec()),
        (Format::Text, b"a{x=\"1\"} 1 4000\n".to_vec()),
        (Format::OpenMetrics, b"# TYPE a counter\na_total{x=\"1\"} 1\na_total{x=\"2\"} 2\n# EOF\n".to_vec()),
        (Format::Protobuf, protobuf),
    ] {
        let mut t = Target::new(format, options());
        t.scrape(&page).unwrap();
        t.scrape(&page).unwrap();
        // As after a long time without a scrape: the store is another one for all that the cache knows.
        t.store = MemoryStore::new();
        let report = t.scrape(&page).unwrap();
        let mut fresh = Target::new(format, options());
        fresh.t_ms = t.t_ms - 1000;
        fresh.scrape(&page).unwrap();
        assert!(!t.dump().is_empty());
        assert_eq!(t.dump(), fresh.dump(), "{format:?}");
        assert_eq!(report.series_added, 0);
        t.scrape(&page).unwrap();
        fresh.scrape(&page).unwrap();
        assert_eq!(t.dump(), fresh.dump(), "{format:?}");
    }
}

#[test]
fn refused_series_cost_neither_memory_nor_existing_ones() {
    let lines =
        |names: std::ops::Range<usize>| -> String { names.map(|i| format!("m{{i=\"{i}\"}} 1\n")).collect() };
    for format in [Format::Text, Format::OpenMetrics] {
        let end = if format == Format::OpenMetrics { "# EOF\n" } else { "" };
        let mut t = Target::new(format, options());
        // Series that the store has, but this cache does not know: as after a restart.
        t.scrape(lines(500..510) + end).unwrap();
        t.cache = TargetCache::new();
        t.store.set_series_max(Some(20));
        let page = lines(0..1000) + end;
        let first = t.scrape(&page).unwrap();
        // Ten new ones fit, and those that exist are found behind those that do not fit.
        assert_eq!((first.scraped, first.post_relabel, first.series_refused), (1000, 1000, 980));
        assert_eq!((t.cache.lines(), t.store.refused()), (20, (980, 0)));
        assert!(t.cache.refused_for().is_some());
        let second = t.scrape(&page).unwrap();
        assert_eq!((second.scraped, second.post_relabel, second.series_refused), (1000, 1000, 980));
        let (offered, counted) = t.store.refused();
        assert!(offered < 980 + 80 + 64 && counted > 800, "{offered} {counted}");
        assert_eq!(t.cache.lines(), 20);
        assert!(t.dump().iter().all(|l| !l.contains("stale")), "{:?}", t.dump());
        assert!(
            t.dump().iter().filter(|l| l.contains("i=\"50")).all(|l| l.ends_with("1@3000")),
            "{:?}",
            t.dump()
        );
        // Room again: all come in within the scrape that finds it, and the next.
        t.store.set_series_max(None);
        t.scrape(&page).unwrap();
        let open = t.scrape(&page).unwrap();
        assert_eq!((open.series_refused, t.cache.lines(), t.dump().len()), (0, 1000, 1000));
        assert!(t.cache.refused_for().is_none());
        // A limit of samples counts what is passed over.
        t.store.set_series_max(Some(0));
        let other = lines(2000..3000) + end;
        t.scrape(&other).unwrap();
        t.opts.sample_limit = 900;
        assert_eq!(t.scrape(&other), Err(IngestFailure::SampleLimit));
    }
}
