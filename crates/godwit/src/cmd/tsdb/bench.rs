//! `tsdb bench write`: promtool's benchmark of the store, with its words.

use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use model::{Labels, LabelsBuilder};
use serde_json::json;
use storage::{Appendable as _, SeriesRef};
use tsdb::{Db, DbOptions};

use super::list::reason;
use super::output::{Progress, go_duration};
use super::{Failed, emit, emit_json};
use crate::cmd::flags::Found;

/// Series of a scrape.
const SHARD: usize = 1000;
/// Scrapes of one shard before the next one's turn.
const ROUND: usize = 100;
const INTERVAL_MS: i64 = 30_000;

/// Label sets of lines like `{"__name__":"up","job":"x"}`; each once, at most `max`.
fn read_labels(text: &str, max: usize) -> Vec<Labels> {
    let mut seen = std::collections::HashSet::new();
    let mut all = Vec::new();
    for line in text.lines() {
        if all.len() >= max {
            break;
        }
        let plain: String = line.chars().filter(|c| !['"', '{', '}'].contains(c)).collect();
        let mut labels = LabelsBuilder::new();
        for pair in plain.split(',') {
            if let Some((name, value)) = pair.split_once(':') {
                labels.set(name, value);
            }
        }
        let labels = labels.build();
        if !labels.is_empty() && seen.insert(labels.clone()) {
            all.push(labels);
        }
    }
    all
}

/// Sets that look like those of a cluster.
fn made_up(n: usize) -> Vec<Labels> {
    let one = |i: usize| {
        Labels::from_pairs([
            ("__name__", format!("bench_metric_{}", i % 200)),
            ("instance", format!("10.0.{}.{}:9100", i / 200 / 250 % 250, i / 200 % 250)),
            ("job", "bench".to_string()),
            ("pod", format!("pod-{:08x}", i.wrapping_mul(2_654_435_761) & 0xffff_ffff)),
        ])
    };
    (0..n).map(one).collect()
}

struct Stages {
    json: bool,
    seconds: Vec<(&'static str, f64)>,
}

impl Stages {
    fn run<T>(&mut self, name: &'static str, work: impl FnOnce() -> Result<T, Failed>) -> Result<T, Failed> {
        if !self.json {
            emit(&format!(">> start stage={name}\n"))?;
        }
        let began = Instant::now();
        let done = work()?;
        let took = began.elapsed();
        self.seconds.push((name, took.as_secs_f64()));
        if !self.json {
            let shown = go_duration(i64::try_from(took.as_millis()).unwrap_or(i64::MAX));
            emit(&format!(">> completed stage={name} duration={shown}\n"))?;
        }
        Ok(done)
    }
}

fn ingest(db: &Db, labels: &[Labels], scrapes: usize) -> Result<u64, Failed> {
    let total = AtomicU64::new(0);
    let mut bar = Progress::new("ingest", "samples", (labels.len() * scrapes) as u64);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    for first in (0..scrapes).step_by(ROUND) {
        let next = AtomicUsize::new(0);
        let work = || -> Result<(), Failed> {
            while let Some(shard) = labels.chunks(SHARD).nth(next.fetch_add(1, Ordering::Relaxed)) {
                total.fetch_add(scrape(db, shard, first)?, Ordering::Relaxed);
            }
            Ok(())
        };
        let before = total.load(Ordering::Relaxed);
        std::thread::scope(|s| {
            let all: Vec<_> = (0..threads).map(|_| s.spawn(work)).collect();
            let died = || Err(Failed::Work("a thread of the benchmark died".to_string()));
            all.into_iter().map(|t| t.join().unwrap_or_else(|_| died())).collect::<Result<Vec<()>, Failed>>()
        })?;
        bar.add(total.load(Ordering::Relaxed) - before);
    }
    Ok(total.into_inner())
}

fn scrape(db: &Db, shard: &[Labels], first: usize) -> Result<u64, Failed> {
    let mut refs = vec![SeriesRef::NONE; shard.len()];
    let (mut value, mut stored) = (123_456_789.0, 0);
    for i in 1..=ROUND {
        let t = INTERVAL_MS.saturating_mul((first + i) as i64);
        value += 1000.0;
        let mut app = db.appender();
        for (labels, known) in shard.iter().zip(&mut refs) {
            *known = app
                .append(*known, labels, 0, t, value)
                .map_err(|e| Failed::Work(format!("{labels}: {e}")))?;
        }
        stored += app.commit()?.samples;
    }
    Ok(stored)
}

pub(super) fn run(found: &Found) -> Result<u8, Failed> {
    let count = |name| {
        let n = found.integer(name).map_err(Failed::usage)?;
        usize::try_from(n).map_err(|_| Failed::usage(format!("--{name} must not be negative")))
    };
    let (metrics, scrapes) = (count("metrics")?, count("scrapes")?);
    let out = Path::new(found.text("out"));
    match std::fs::remove_dir_all(out) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            return Err(Failed::Work(format!("remove {}: {}", out.display(), reason(&e))));
        }
        _ => std::fs::create_dir_all(out)?,
    }
    let mut options = DbOptions::new(out.join("storage"));
    options.retention.duration_ms = 15 * 24 * 3_600_000;
    let db = Db::open(options)?;
    let mut stages = Stages { json: found.text("output") == "json", seconds: Vec::new() };
    let labels = stages.run("readData", || match std::fs::read_to_string(found.arg(0)) {
        Ok(text) => Ok(read_labels(&text, metrics)),
        // The default is a file of Prometheus's source tree, which few have.
        Err(_) if found.arg(0).starts_with("../../tsdb/testdata/") => Ok(made_up(metrics)),
        Err(e) => Err(Failed::Work(format!("open {}: {}", found.arg(0), reason(&e)))),
    })?;
    let began = Instant::now();
    let total = stages.run("ingestScrapes", || {
        let total = ingest(&db, &labels, scrapes)?;
        if found.text("output") != "json" {
            emit("ingestion completed\n")?;
        }
        Ok(total)
    })?;
    let rate = total as f64 / began.elapsed().max(Duration::from_micros(1)).as_secs_f64();
    if !stages.json {
        let shown = model::float_text::format_g(rate);
        emit(&format!(" > total samples: {total}\n > samples/sec: {shown}\n"))?;
    }
    stages.run("stopStorage", || Ok(db.close()?))?;
    if stages.json {
        let seconds: serde_json::Map<_, _> =
            stages.seconds.iter().map(|(name, s)| ((*name).to_string(), json!(s))).collect();
        return emit_json(&json!({
            "samples": total, "samplesPerSecond": rate, "series": labels.len(), "stageSeconds": seconds,
        }));
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn lines_of_labels() {
        let text =
            "{\"__name__\":\"a\",\"b\":\"c\"}\n{\"__name__\":\"a\",\"b\":\"c\"}\n{\"__name__\":\"d\"}\n";
        let read: Vec<String> = super::read_labels(text, 10).iter().map(ToString::to_string).collect();
        assert_eq!(read, ["{__name__=\"a\", b=\"c\"}", "{__name__=\"d\"}"]);
        assert_eq!(super::read_labels(text, 1).len(), 1);
        let many = super::made_up(3000);
        assert_eq!(many.iter().collect::<std::collections::HashSet<_>>().len(), 3000);
    }
}
