//! What cutting a head and merging blocks takes beside what is there already: peak memory and time, by the number
//! of series. Three heads of `SERIES` (1000000) are written and cut, a third of the series others each time,
//! then merged.

#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::time::Instant;

use model::Labels;
use storage::{Appendable, SeriesRef, StatusSource};
use tsdb::{Db, DbOptions};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const HOUR_MS: i64 = 3_600_000;
const SCRAPE: usize = 1000;

fn status(field: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix(field)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or_default() / 1024.0
}

fn labels(id: usize) -> Labels {
    Labels::from_pairs([
        ("__name__", format!("app_metric_{:03}_total", id % 250)),
        ("code", ["200", "404", "500", "503"][(id / 250) % 4].to_string()),
        ("container", "main".to_string()),
        ("endpoint", "http".to_string()),
        ("handler", format!("/api/v1/h{}", id % 17)),
        ("instance", format!("10.0.{}.{}:8080", id / SCRAPE / 256, id / SCRAPE % 256)),
        ("job", format!("job-{}", id % 20)),
        ("namespace", format!("ns-{}", id % 50)),
        ("pod", format!("app-{:07}-x7k2p", id / 100)),
    ])
}

/// Calls `f` and prints what it took at its peak.
fn measured(what: &str, f: impl FnOnce()) {
    // "5" sets the mark of the most memory back.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
    let (before, began) = (status("VmRSS:"), Instant::now());
    f();
    println!(
        "{what}: {:.0} MiB before, {:.0} MiB at its peak, {:.1} s",
        before,
        status("VmHWM:"),
        began.elapsed().as_secs_f64()
    );
}

fn main() {
    let series: usize = std::env::var("SERIES").ok().and_then(|n| n.parse().ok()).unwrap_or(1_000_000);
    let dir = tempfile::tempdir().unwrap();
    let mut options = DbOptions::new(dir.path());
    options.max_block_ms = 6 * HOUR_MS;
    options.stale = None;
    options.scrub_bytes = 0;
    let db = Db::open(options).unwrap();
    let begin = 1_699_999_200_000 / (6 * HOUR_MS) * 6 * HOUR_MS;
    for round in 0..4 {
        let start = begin + round * 2 * HOUR_MS;
        // The last one only lets the third be cut and merged.
        let count = if round == 3 { SCRAPE } else { series };
        let first = round as usize * series / 3;
        let mut refs: Vec<Vec<SeriesRef>> = Vec::new();
        for t in (start..start + 2 * HOUR_MS).step_by(600_000) {
            for number in 0..count / SCRAPE {
                let mut app = db.appender();
                if refs.len() <= number {
                    let ids = first + number * SCRAPE..first + (number + 1) * SCRAPE;
                    refs.push(
                        ids.map(|id| app.append(SeriesRef::NONE, &labels(id), 0, t, id as f64).unwrap())
                            .collect(),
                    );
                } else {
                    let none = Labels::empty();
                    for (i, one) in refs[number].iter_mut().enumerate() {
                        let value = (t / 1000 + i as i64) as f64;
                        *one = app.append(*one, &none, 0, t, value).unwrap();
                    }
                }
                app.commit().unwrap();
            }
        }
        drop(refs);
        measured(&format!("upkeep with {} blocks before", db.blocks().unwrap().len()), || {
            db.maintain().unwrap()
        });
    }
    measured("upkeep", || db.maintain().unwrap());
    println!("{} blocks", db.blocks().unwrap().len());
}
