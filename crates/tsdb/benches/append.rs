//! What a scrape costs: a million series in scrapes of a thousand, appended by reference and committed,
//! log included, on the real disk. Prints nanoseconds a sample, bytes a series, and the replay.
//!
//! No criterion: one run fills gigabytes, and what matters is the whole, not a mean of many.

#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::time::Instant;

use model::Labels;
use storage::{Appendable, SeriesRef};
use tsdb::{Db, DbOptions};

const SCRAPE: usize = 1000;
const INTERVAL_MS: i64 = 15_000;

/// Resident bytes of this process.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = text.split(' ').nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    pages * 4096
}

fn labels(target: usize, i: usize) -> Labels {
    Labels::from_pairs([
        ("__name__", format!("app_metric_{:03}_total", i % 250)),
        ("code", ["200", "404", "500", "503"][(i / 250) % 4].to_string()),
        ("container", "main".to_string()),
        ("endpoint", "http".to_string()),
        ("handler", format!("/api/v1/h{}", i % 17)),
        ("instance", format!("10.{}.{}.{}:8080", target / 65536, target / 256 % 256, target % 256)),
        ("job", format!("job-{}", target % 20)),
        ("namespace", format!("ns-{}", target % 50)),
        ("pod", format!("app-{:05}-x{:04}", target % 300, target)),
        ("service", format!("svc-{}", target % 100)),
    ])
}

fn main() {
    let series: usize = std::env::var("SERIES").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let scrapes: usize = std::env::var("SCRAPES").ok().and_then(|n| n.parse().ok()).unwrap_or(20);
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(DbOptions::new(dir.path())).unwrap();
    let targets = series / SCRAPE;
    let before = resident();
    let began = Instant::now();
    let mut refs: Vec<Vec<SeriesRef>> = Vec::new();
    for target in 0..targets {
        let mut app = db.appender();
        let made =
            (0..SCRAPE).map(|i| app.append(SeriesRef::NONE, &labels(target, i), 0, 0, i as f64).unwrap());
        refs.push(made.collect());
        app.commit().unwrap();
    }
    let n = (targets * SCRAPE) as f64;
    println!("creation: {:.0} ns a series", began.elapsed().as_nanos() as f64 / n);

    let value = |scrape: usize, target: usize, i: usize| match i % 4 {
        0 => 1.0,
        1 => (scrape * 7 + i) as f64,
        2 => (scrape as f64 * 13.37 + target as f64).floor(),
        _ => ((scrape * 31 + i * 17 + target) % 1000) as f64 * 0.1,
    };
    let mut values = vec![0.0; SCRAPE];
    let mut rejected = Vec::new();
    let mut spent = 0;
    for scrape in 1..=scrapes {
        let t = scrape as i64 * INTERVAL_MS;
        for (target, refs) in refs.iter().enumerate() {
            for (i, v) in values.iter_mut().enumerate() {
                *v = value(scrape, target, i);
            }
            let began = Instant::now();
            let mut app = db.appender();
            app.append_batch(t, refs, &values, &mut rejected);
            app.commit().unwrap();
            spent += began.elapsed().as_nanos();
        }
        if scrape % 10 == 0 {
            db.sync().unwrap();
        }
    }
    assert!(rejected.is_empty());
    println!(
        "append_batch and commit: {:.1} ns a sample over {scrapes} scrapes",
        spent as f64 / n / scrapes as f64
    );
    drop(refs);
    let (slots, index) = db.head_memory();
    println!(
        "memory: {:.0} B a series resident; counted: series {:.0} B, index {:.0} B",
        (resident() - before) as f64 / n,
        slots as f64 / n,
        index as f64 / n
    );
    db.close().unwrap();
    drop(db);
    let began = Instant::now();
    let db = Db::open(DbOptions::new(dir.path())).unwrap();
    println!(
        "replay: {:.2} s, {:.0} ns a sample",
        began.elapsed().as_secs_f64(),
        began.elapsed().as_nanos() as f64 / n / (scrapes + 1) as f64
    );
    db.close().unwrap();
}
