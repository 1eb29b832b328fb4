//! A day in which a tenth of the series is replaced each minute, on a simulated clock and the real disk: memory
//! by the hour. At the end some of the series that came and went are read back and compared.
//!
//! `ACTIVE` (20000), `HOURS` (24), `STEP` seconds between two samples (30), `EARLY=0` without early leaving.

#![allow(clippy::print_stdout, clippy::unwrap_used, missing_docs)]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use model::clock::Clock;
use model::{Labels, Matcher, is_stale_nan, stale_nan};
use storage::{Appendable, QueryContext, Queryable, SampleBuf, SelectHints, SeriesRef, StatusSource};
use tsdb::{Clocks, Db, DbOptions};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const MINUTE_MS: i64 = 60_000;
/// Series of one transaction.
const SCRAPE: usize = 1000;

#[derive(Clone)]
struct ManualClock(Arc<AtomicI64>);

impl Clock for ManualClock {
    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed).max(0).unsigned_abs())
    }
}

/// A field of `/proc/self/status` in MiB.
fn status(field: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix(field)).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or_default() / 1024.0
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

fn labels(id: usize) -> Labels {
    Labels::from_pairs([
        ("__name__", format!("app_metric_{:03}_total", id % 250)),
        ("container", "main".to_string()),
        ("instance", format!("10.0.{}.{}:8080", id / SCRAPE % 200, id % 7)),
        ("job", format!("job-{}", id % 20)),
        ("pod", format!("app-{:07}-x7k2p", id / 10)),
        ("shard", format!("{}", id % 10)),
    ])
}

struct Live {
    id: usize,
    series: SeriesRef,
}

fn main() {
    let (active, hours, step) =
        (number("ACTIVE", 20_000), number("HOURS", 24), number("STEP", 30).clamp(1, 60));
    let dir = tempfile::tempdir().unwrap();
    let clock = ManualClock(Arc::new(AtomicI64::new(0)));
    let mut options = DbOptions::new(dir.path());
    options.clock = Clocks(Arc::new(clock.clone()));
    options.max_block_ms = 31 * 3_600_000;
    if number("EARLY", 1) == 0 {
        options.stale = None;
    }
    let db = Db::open(options.clone()).unwrap();
    let begin = 1_700_000_000_000_i64;
    let began = Instant::now();
    let mut live: Vec<Live> = (0..active).map(|id| Live { id, series: SeriesRef::NONE }).collect();
    let (mut next, mut samples) = (active, 0_u64);
    // When some of them began and ended.
    let mut ledger: Vec<(usize, i64, Option<i64>)> = Vec::new();
    println!(
        "| hour | series in all | in memory, most | RSS, MiB | peak RSS, MiB | blocks | wall, s |\n|---|---|---|---|---|---|---|"
    );
    let (mut most, mut rss_most) = (0, 0.0_f64);
    for minute in 0..(hours * 60) as i64 {
        let at = begin + minute * MINUTE_MS;
        let replaced = if minute == 0 { 0 } else { active / 10 };
        let from = (minute as usize).wrapping_mul(active / 10) % active;
        for (turn, t) in (at..at + MINUTE_MS).step_by(step * 1000).enumerate() {
            for (number, chunk) in live.chunks_mut(SCRAPE).enumerate() {
                let mut app = db.appender();
                for (i, one) in chunk.iter_mut().enumerate() {
                    let place = number * SCRAPE + i;
                    let goes = turn == 0 && (place + active - from) % active < replaced;
                    if goes {
                        // The end of one and the begin of another.
                        app.append(one.series, &labels(one.id), 0, t, stale_nan()).unwrap();
                        samples += 1;
                        if let Some(entry) = ledger.iter_mut().find(|e| e.0 == one.id) {
                            entry.2 = Some(t);
                        }
                        *one = Live { id: next, series: SeriesRef::NONE };
                        next += 1;
                        if one.id.is_multiple_of(100_003) {
                            ledger.push((one.id, t, None));
                        }
                    }
                    let none = Labels::empty();
                    let value = (t - begin) as f64 / 1000.0 + one.id as f64;
                    let done = match one.series.is_none() {
                        false => app.append(one.series, &none, 0, t, value),
                        true => app.append(SeriesRef::NONE, &labels(one.id), 0, t, value),
                    };
                    one.series = done.unwrap();
                    samples += 1;
                }
                app.commit().unwrap();
            }
        }
        clock.0.store(at + MINUTE_MS, Ordering::Relaxed);
        db.sync().unwrap();
        db.maintain().unwrap();
        most = most.max(db.tsdb_status(&QueryContext::unlimited(), 1).unwrap().head.series);
        rss_most = rss_most.max(status("VmRSS:"));
        if (minute + 1) % 60 == 0 {
            println!(
                "| {} | {next} | {most} | {rss_most:.0} | {:.0} | {} | {:.0} |",
                (minute + 1) / 60,
                status("VmHWM:"),
                db.blocks().unwrap().len(),
                began.elapsed().as_secs_f64()
            );
            (most, rss_most) = (0, 0.0);
        }
    }
    println!("\n{samples} samples");
    let check = |db: &Db| {
        for (id, first, last) in &ledger {
            let q = db.querier(i64::MIN, i64::MAX).unwrap();
            let all: Vec<Matcher> = labels(*id).iter().map(|(n, v)| Matcher::equal(n, v)).collect();
            let set = q.select(&QueryContext::unlimited(), true, &SelectHints::default(), &all).unwrap();
            let mut out = SampleBuf::default();
            set.series.iter().for_each(|s| s.read(i64::MIN, i64::MAX, &mut out).unwrap());
            assert_eq!(set.series.len(), 1, "series {id} is lost");
            let end = last.unwrap_or(begin + (hours as i64) * 60 * MINUTE_MS);
            let times: Vec<i64> = (*first..end).step_by(step * 1000).chain(*last).collect();
            assert_eq!(out.times, times, "series {id}");
            assert_eq!(out.values.last().is_some_and(|v| is_stale_nan(*v)), last.is_some());
        }
    };
    check(&db);
    let began = Instant::now();
    drop(db);
    let db = Db::open(options).unwrap();
    let series = db.tsdb_status(&QueryContext::unlimited(), 1).unwrap().head.series;
    println!(
        "{} series read back; again after a start of {:.1} s, {series} series in memory",
        ledger.len(),
        began.elapsed().as_secs_f64()
    );
    check(&db);
}
