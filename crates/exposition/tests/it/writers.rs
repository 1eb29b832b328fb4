//! What the writers write, the parsers read back.

use std::sync::Arc;

use exposition::{Family, Format, Metric, MetricData, read_families, write_families};
use model::name::EscapingScheme;
use model::{Histogram, HistogramValue, Labels, MetricType, Span};

fn family(name: &str, kind: MetricType, labels: &[(&str, &str)], data: MetricData) -> Family {
    let labels = Labels::from_pairs(labels.iter().copied());
    let metric = Metric { labels, data, ..Metric::default() };
    Family {
        name: name.into(),
        help: format!("Help of \"{name}\"\\\n."),
        unit: String::new(),
        kind,
        metrics: vec![metric],
    }
}

fn families() -> Vec<Family> {
    let buckets = vec![(0.5, 1), (1.0, 2), (1e6, 3)];
    vec![
        family("c_total", MetricType::Counter, &[("a", "x\"\\\ny")], MetricData::Number(5.0)),
        family("g.dotted", MetricType::Gauge, &[("l.x", "é")], MetricData::Number(-1.25e300)),
        family("u", MetricType::Unknown, &[], MetricData::Number(f64::INFINITY)),
        family(
            "h",
            MetricType::Histogram,
            &[("b", "1")],
            MetricData::Histogram { count: 4, sum: 2.5, buckets },
        ),
        family(
            "s",
            MetricType::Summary,
            &[],
            MetricData::Summary { count: 3, sum: 0.1, quantiles: vec![(0.5, 1.5), (0.99, 7.0)] },
        ),
    ]
}

#[test]
fn text_is_as_expfmt_writes_it() {
    let text =
        String::from_utf8(write_families(&families(), Format::Text, EscapingScheme::Underscores)).unwrap();
    assert_eq!(
        text,
        r#"# HELP c_total Help of "c_total"\\\n.
# TYPE c_total counter
c_total{a="x\"\\\ny"} 5
# HELP g_dotted Help of "g.dotted"\\\n.
# TYPE g_dotted gauge
g_dotted{l_x="é"} -1.25e+300
# HELP u Help of "u"\\\n.
# TYPE u untyped
u +Inf
# HELP h Help of "h"\\\n.
# TYPE h histogram
h_bucket{b="1",le="0.5"} 1
h_bucket{b="1",le="1"} 2
h_bucket{b="1",le="1e+06"} 3
h_bucket{b="1",le="+Inf"} 4
h_sum{b="1"} 2.5
h_count{b="1"} 4
# HELP s Help of "s"\\\n.
# TYPE s summary
s{quantile="0.5"} 1.5
s{quantile="0.99"} 7
s_sum 0.1
s_count 3
"#
    );
}

#[test]
fn all_formats_read_back() {
    let before = families();
    for format in [Format::Text, Format::OpenMetrics, Format::Protobuf] {
        let body = write_families(&before, format, EscapingScheme::None);
        let after = read_families(&body, format).unwrap_or_else(|e| panic!("{format:?}: {e}"));
        assert_eq!(after.len(), before.len(), "{format:?}");
        for (a, b) in after.iter().zip(&before) {
            let name =
                if format == Format::OpenMetrics { b.name.trim_end_matches("_total") } else { &b.name };
            assert_eq!((a.name.as_str(), &a.help, a.kind), (name, &b.help, b.kind), "{format:?}");
            assert_eq!(format!("{:?}", a.metrics), format!("{:?}", b.metrics), "{format:?}");
        }
    }
}

#[test]
fn native_histograms_read_back() {
    for spans in [vec![Span { offset: -2, length: 2 }], vec![]] {
        let h = Histogram {
            schema: 3,
            zero_threshold: 0.001,
            zero_count: 1,
            count: 1 + 3 * spans.len() as u64,
            sum: 1.5,
            positive_buckets: if spans.is_empty() { vec![] } else { vec![1, 1] },
            positive_spans: spans,
            ..Histogram::default()
        };
        let value = HistogramValue::Int(Arc::new(h));
        let before = [family("n", MetricType::Histogram, &[], MetricData::Native(value.clone()))];
        let body = write_families(&before, Format::Protobuf, EscapingScheme::None);
        let after = read_families(&body, Format::Protobuf).unwrap();
        assert!(matches!(&after[0].metrics[0].data, MetricData::Native(back) if *back == value));
    }
}
