//! What it costs to find a few series by a regular expression on a label with many values: 200,000 pods with
//! two metrics each, of which a namespace holds 200, in the head.

#![allow(clippy::unwrap_used, missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use model::{Labels, MatchOp, Matcher};
use storage::{Appendable, QueryContext, Queryable, SelectHints, SeriesRef};
use tsdb::{Db, DbOptions};

const PODS: usize = 200_000;

fn bench(c: &mut Criterion) {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(DbOptions::new(dir.path())).unwrap();
    for pod in 0..PODS {
        let mut app = db.appender();
        for metric in ["cpu", "memory"] {
            let labels = Labels::from_pairs([
                ("__name__", metric.to_string()),
                ("namespace", format!("ns-{}", pod % 1000)),
                ("pod", format!("app-{pod:06}-{:05x}", pod * 7919 % 0xfffff)),
            ]);
            app.append(SeriesRef::NONE, &labels, 0, 0, 1.0).unwrap();
        }
        app.commit().unwrap();
    }
    let m = |op, name: &str, value: &str| Matcher::new(op, name, value).unwrap();
    let mut group = c.benchmark_group("select");
    group.sample_size(10);
    for (name, matchers) in [
        ("one pod", vec![m(MatchOp::Equal, "pod", "app-000007-0d889")]),
        (
            "regex within a namespace",
            vec![
                m(MatchOp::Equal, "__name__", "cpu"),
                m(MatchOp::Regex, "pod", "app-.*1.*"),
                m(MatchOp::Equal, "namespace", "ns-7"),
            ],
        ),
        ("regex over all", vec![m(MatchOp::Regex, "pod", "app-1.*11.*")]),
    ] {
        group.bench_function(name, |b| {
            b.iter(|| {
                let q = db.querier(0, 10).unwrap();
                q.select(&QueryContext::unlimited(), false, &SelectHints::default(), &matchers)
                    .unwrap()
                    .series
                    .len()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
