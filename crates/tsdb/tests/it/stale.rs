//! Folders out of which series left memory early, in a real Prometheus: the versions before 3.14 know neither
//! the hint nor what the ranges in the log mean. Run where one is at hand, as in `peer`.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use model::clock::Clock;
use model::{Labels, stale_nan};
use storage::{Appendable, SeriesRef, StatusSource};
use tsdb::{Clocks, Db, DbOptions, StaleRules};

use crate::heads::{copy, sorted_dump};
use crate::peer::{get, serve};

const MINUTE: i64 = 60_000;
const BASE: i64 = 1_700_006_400_000;

#[derive(Clone, Default)]
struct ManualClock(Arc<AtomicI64>);

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed).max(0).unsigned_abs())
    }
}

fn options(path: &Path, clock: &ManualClock) -> DbOptions {
    let mut options = DbOptions::new(path);
    options.retention.duration_ms = 0;
    options.clock = Clocks(Arc::new(clock.clone()));
    options.stale = Some(StaleRules { series_min: 10, ..StaleRules::default() });
    options
}

/// Minutes of a life in which ten series are replaced each minute, and some come back an hour later.
fn fill(db: &Db, clock: &ManualClock, from: i64, to: i64) {
    for minute in from..to {
        let t = BASE + minute * MINUTE;
        let mut app = db.appender();
        let mut put = |name: &str, generation: i64, k: i64, t: i64, v: f64| {
            let labels =
                [("__name__", name.to_string()), ("g", generation.to_string()), ("k", k.to_string())];
            app.append(SeriesRef::NONE, &Labels::from_pairs(labels), 0, t, v).unwrap();
        };
        for k in 0..10 {
            put("our_steady", 0, k, t, (minute * 8 + k) as f64 / 8.0);
            put("our_short", minute, k, t, (minute * 8 + k) as f64 / 8.0);
            if minute > 0 {
                put("our_short", minute - 1, k, t + 1, stale_nan());
            }
            if minute % 20 == 10 && minute >= 60 && k < 3 {
                // Back from what left memory.
                put("our_short", minute - 60, k, t + 2, 0.25);
            }
        }
        app.commit().unwrap();
        clock.0.store(t, Ordering::Relaxed);
        db.maintain().unwrap();
    }
}

#[test]
fn a_real_prometheus_has_what_left_memory_early() {
    let Ok(prometheus) = std::env::var("PROMETHEUS") else {
        eprintln!("PROMETHEUS is not set: nothing compared");
        return;
    };
    let port: u16 = std::env::var("PEER_PORT").ok().and_then(|p| p.parse().ok()).unwrap_or(31_240) + 2;
    // Within the first block range, across it, and with whole blocks beside.
    for minutes in [100, 150, 420] {
        let scratch = tempfile::tempdir().unwrap();
        let (data, clock) = (scratch.path().join("data"), ManualClock::default());
        let db = Db::open(options(&data, &clock)).unwrap();
        fill(&db, &clock, 0, minutes);
        let ours = sorted_dump(&db);
        let blocks = db.blocks().unwrap();
        assert!(blocks.iter().any(|b| b.meta_json.contains("from-stale-series")), "{minutes}");
        std::mem::forget(db);
        let folder = scratch.path().join("copy");
        copy(&data, &folder);
        let server =
            serve(&prometheus, port, scratch.path(), &folder, "scrape_configs: []\n", "native-histograms");
        let end = BASE / 1000 + minutes * 60;
        let ask =
            |query: &str| get(port, &format!("/api/v1/query?query={query}&time={end}")).unwrap_or_default();
        for name in ["our_steady", "our_short"] {
            let own: Vec<&String> =
                ours.iter().filter(|l| l.contains(&format!("\"{name}\"")) && !l.contains("NaN")).collect();
            let answer = ask(&format!("sum(count_over_time({name}%5B1d%5D))"));
            assert!(
                answer.contains(&format!("\"{}\"", own.len())),
                "{minutes} {name} {}: {answer}",
                own.len()
            );
            let sum: f64 = own.iter().map(|l| l.rsplit(' ').nth(1).unwrap().parse::<f64>().unwrap()).sum();
            let answer = ask(&format!("sum(sum_over_time({name}%5B1d%5D))"));
            assert!(answer.contains(&format!("\"{sum}\"")), "{minutes} {name} {sum}: {answer}");
        }
        drop(server);
        let log = std::fs::read_to_string(scratch.path().join("log")).unwrap();
        let told = ["corrupt", "unknown series", "unknown refs", "torn"];
        let bad: Vec<&str> =
            log.lines().filter(|l| told.iter().any(|w| l.to_lowercase().contains(w))).collect();
        assert!(bad.is_empty(), "{minutes}: {bad:#?}");
        // And back.
        assert_eq!(sorted_dump(&Db::open(options(&folder, &clock)).unwrap()), ours, "{minutes}");
    }
}
