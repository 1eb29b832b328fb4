//! What a comparison of both sides finds: nothing where they are equal, and every sample that was dropped, altered,
//! moved or added since. From printed seeds.

use std::path::Path;
use std::sync::Arc;

use migrate::{Door, Engine, Report};
use model::{Labels, Matcher};
use storage::{Appendable, CancelToken, QueryContext, SeriesRef, StatusSource};
use tsdb::Db;
use tsdb::disk::{Disk, MemDisk, Rng};

use crate::schedules::{MINUTE, histogram, labels, options};
use crate::served::{Served, door};

const BEGIN: i64 = 1_700_000_000_000;
const SERIES: u64 = 12;
/// The last of these series has histograms.
const SCRAPES: i64 = 300;

struct Pair {
    source: Db,
    ours: Db,
    engine: Engine,
    _served: Option<Served>,
}

fn time(scrape: i64) -> i64 {
    BEGIN + scrape * 10_000
}

fn value(n: u64, scrape: i64) -> f64 {
    (n as i64 * 1000 + scrape) as f64 / 3.0
}

fn pair(seed: u64) -> Pair {
    let disk: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let source = Db::open(options(Arc::clone(&disk), "/source", 3 * MINUTE, seed)).unwrap();
    for scrape in 0..SCRAPES {
        let mut app = source.appender();
        for n in 0..SERIES - 1 {
            // Some come late.
            let scrape = if n % 5 == 3 && scrape % 7 == 2 { scrape - 2 } else { scrape };
            let _ = app.append(SeriesRef::NONE, &labels(n), 0, time(scrape), value(n, scrape));
        }
        let h = histogram(scrape as u64);
        app.append_histogram(SeriesRef::NONE, &labels(SERIES - 1), 0, time(scrape), &h).unwrap();
        app.commit().unwrap();
        if scrape % 40 == 39 {
            source.maintain().unwrap();
        }
    }
    let gone = [Matcher::equal("i", "4")];
    source.delete_series(&QueryContext::unlimited(), time(50), time(60), &gone).unwrap();
    source.maintain().unwrap();
    let far: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let ours = Db::open(options(Arc::clone(&far), "/ours", 0, seed + 1)).unwrap();
    let local = door(Arc::clone(&disk), "/source");
    // Every fourth is behind a port, which stays open for as long as its engine may ask.
    let served = seed.is_multiple_of(4).then(|| Served::start(disk, "/source"));
    let door: &dyn Door = match &served {
        Some(served) => served.door(),
        None => &local,
    };
    let engine = Engine::open(ours.clone(), (far, Path::new("/ours")), door).unwrap();
    let engine = engine.settling_after(std::time::Duration::ZERO);
    engine.run_once(&CancelToken::default()).unwrap();
    Pair { source, ours, engine, _served: served }
}

impl Pair {
    fn verify(&self) -> Report {
        self.engine.verify(&CancelToken::default(), |_, _| ()).unwrap()
    }

    fn drop_samples(&self, n: u64, from: i64, to: i64) {
        let one = [Matcher::equal("i", n.to_string())];
        self.ours.delete_series(&QueryContext::unlimited(), from, to, &one).unwrap();
    }

    fn put(&self, labels: &Labels, t_ms: i64, value: f64) {
        let mut app = self.ours.appender();
        app.take_any_age().unwrap();
        app.append(SeriesRef::NONE, labels, 0, t_ms, value).unwrap();
        app.commit().unwrap();
    }
}

#[test]
fn equal_sides_are_equal_whatever_else_this_server_has() {
    let pair = pair(1);
    let report = pair.verify();
    assert!(report.is_equal(), "{report:#?}");
    let c = report.counts;
    assert!(c.samples > 2000 && c.missing + c.altered + c.more + c.own == 0, "{c:?}");
    assert_eq!(c.source_sum, c.here_sum);
    // Series of our own are none of the source's business.
    let own = Labels::from_pairs([("__name__", "own"), ("job", "godwit")]);
    pair.put(&own, time(20), 1.0);
    // Nor is a sample of ours in a series that both have.
    pair.put(&labels(2), time(20) + 1, 1.0);
    let report = pair.verify();
    assert!(report.is_equal() && report.counts.own == 1, "{report:#?}");
    // Both merge and forget in their own ways.
    pair.source.maintain().unwrap();
    pair.ours.maintain().unwrap();
    assert!(pair.verify().is_equal());
}

#[test]
fn every_corruption_is_found() {
    for seed in 1..=100 {
        let pair = pair(seed);
        let before = pair.verify();
        assert!(before.is_equal(), "seed {seed}: {before:#?}");
        let mut rng = Rng::new(seed);
        // What is in blocks of the source: the newest minutes are in its log alone.
        let last = (before.to_ms - BEGIN) / 10_000 - 1;
        // Neither a late one, nor deleted.
        let (n, scrape) =
            ([0, 1, 2, 5, 6, 7, 9, 10][rng.below(8) as usize], 1 + rng.below(last as u64 - 1) as i64);
        let t = time(scrape);
        let (what, found): (&str, fn(&Report) -> bool) = match rng.below(4) {
            0 => {
                pair.drop_samples(n, t, t);
                ("dropped", |r| (r.counts.missing, r.counts.altered) == (1, 0))
            }
            1 => {
                pair.drop_samples(n, t, t);
                let bits = value(n, scrape).to_bits() ^ (1 << rng.below(52));
                pair.put(&labels(n), t, f64::from_bits(bits));
                ("altered", |r| (r.counts.missing, r.counts.altered) == (0, 1))
            }
            2 => {
                pair.drop_samples(n, t, t);
                pair.put(&labels(n), t + 1, value(n, scrape));
                ("moved", |r| (r.counts.missing, r.counts.own) == (1, 1))
            }
            _ => {
                pair.drop_samples(n, i64::MIN, i64::MAX);
                ("a series is gone", |r| r.counts.missing > 100)
            }
        };
        let report = pair.verify();
        assert!(!report.is_equal() && found(&report), "seed {seed}, {what} {n} at {t}: {report:#?}");
        assert!(report.differences.iter().any(|d| !d.examples.is_empty()), "{report:#?}");
    }
}
