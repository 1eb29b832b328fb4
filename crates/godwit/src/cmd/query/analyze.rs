//! `query analyze`: how many buckets of histograms are in use (upstream: `cmd/promtool/analyze.go`).

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

use model::float_text::format_f;

use super::answer::{Answer, LabelSet, Series};
use super::text::{label_set, metric};
use super::{now, parse_time};
use crate::args::value::show_go_duration;
use crate::cmd::api::Api;
use crate::cmd::flags::Found;
use crate::cmd::group::{Failed, emit};

const HEADER: &str = "\
Bucket stats for each histogram series over time
------------------------------------------------
First the min, avg, and max number of populated buckets, followed by the total
number of buckets (only if different from the max number of populated buckets
which is typical for classic but not native histograms).";
const FOOTER: &str = "\
Aggregated bucket stats
-----------------------
Each line shows min/avg/max over the series above.";

/// Populated buckets of a series over time, and all of its buckets.
struct Populated {
    min: usize,
    avg: f64,
    max: usize,
    total: usize,
}

impl fmt::Display for Populated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:.3}/{}", self.min, self.avg, self.max)?;
        if self.max == self.total { Ok(()) } else { write!(f, "/{}", self.total) }
    }
}

impl Populated {
    fn of(counts: &[usize], total: usize) -> Option<Populated> {
        let sum: usize = counts.iter().sum();
        Some(Populated {
            min: *counts.iter().min()?,
            avg: sum as f64 / counts.len() as f64,
            max: *counts.iter().max()?,
            total,
        })
    }
}

/// One figure over all series.
#[derive(Clone, Copy, PartialEq)]
struct Spread {
    min: usize,
    max: usize,
    count: usize,
    avg: f64,
}

impl Spread {
    fn add(&mut self, n: usize) {
        self.min = self.min.min(n);
        self.max = self.max.max(n);
        self.count += 1;
        // Upstream's incremental mean, to its last digit.
        self.avg += n as f64 / self.count as f64 - self.avg / self.count as f64;
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:.3}/{}", self.min, self.avg, self.max)
    }
}

/// All figures over all series of a kind.
struct All([Spread; 4]);

impl All {
    fn new() -> Self {
        All([Spread { min: usize::MAX, max: 0, count: 0, avg: 0.0 }; 4])
    }

    fn add(&mut self, p: &Populated) {
        for (spread, n) in self.0.iter_mut().zip([p.min, p.avg as usize, p.max, p.total]) {
            spread.add(n);
        }
    }

    fn write(&self, out: &mut String, kind: &str) {
        let All([min, avg, max, total]) = self;
        if min.count == 0 {
            return;
        }
        let _ = write!(
            out,
            "\n{kind} histogram series ({} in total):\n- min populated: {min}\n- avg populated: {avg}\n- max populated: {max}",
            min.count
        );
        if max != total {
            let _ = write!(out, "\n- total: {total}");
        }
        out.push('\n');
    }
}

/// `None` where there are fewer than two points.
fn native(s: &Series) -> Option<Populated> {
    if s.histograms.len() < 2 {
        return None;
    }
    let mut all: Vec<(i64, u64, u64)> = Vec::new();
    for (_, h) in &s.histograms {
        all.extend(h.buckets.iter().map(|b| (b.bounds, b.upper.to_bits(), b.lower.to_bits())));
    }
    all.sort_unstable();
    all.dedup();
    let counts: Vec<usize> = s.histograms.iter().map(|(_, h)| h.buckets.len()).collect();
    Populated::of(&counts, all.len())
}

/// The buckets of one classic histogram; `None` where there are fewer than two points.
fn classic(buckets: &mut [Series]) -> Result<Option<Populated>, Failed> {
    let le = |s: &Series| s.metric.get("le").and_then(|le| le.parse::<f64>().ok()).unwrap_or(0.0);
    // Upstream looks at the length before it sorts.
    let points = buckets.first().map_or(0, |s| s.floats.len());
    if points < 2 {
        return Ok(None);
    }
    buckets.sort_by(|a, b| le(a).total_cmp(&le(b)));
    let mut counts = Vec::with_capacity(points);
    for i in 0..points {
        let mut before: Option<(f64, f64)> = None;
        let mut populated = 0;
        for bucket in &*buckets {
            // Those after one that is shorter count as empty.
            let Some((t, v)) = bucket.floats.get(i).copied() else { break };
            let count = match before {
                Some((at, _)) if at != t => {
                    return Err(Failed::Work("matrix result is not time aligned".into()));
                }
                Some((_, lower)) => v - lower,
                None => v,
            };
            populated += usize::from(count as i64 != 0);
            before = Some((t, v));
        }
        counts.push(populated);
    }
    Ok(Populated::of(&counts, buckets.len()))
}

pub(super) fn run(found: &Found) -> Result<u8, Failed> {
    let kind = found.text("type");
    if kind != "histogram" {
        return Err(Failed::Work(format!("analyze type is {kind}, must be 'histogram'")));
    }
    let api = Api::new(found, found.text("server"))?;
    let at = match found.text("time") {
        "" => now(),
        text => parse_time(text).map_err(|e| Failed::Work(format!("error parsing time '{text}': {e}")))?,
    };
    let duration = found.duration("duration").map_err(Failed::usage)?.unwrap_or_default();
    let mut out = format!("{HEADER}\n\n");
    let (mut natives, mut classics) = (All::new(), All::new());
    for selector in found.texts("match") {
        let query = format!("{selector}[{}]", show_go_duration(duration));
        let data = api.ask("/api/v1/query", &[("query", &query), ("time", &format_f(at))])?;
        let Answer::Matrix(all) = Answer::read(&data).map_err(super::bad)? else {
            return Err(Failed::Work("query of buckets resulted in non-Matrix".into()));
        };
        let mut groups: BTreeMap<String, Vec<Series>> = BTreeMap::new();
        for s in all {
            if s.floats.is_empty() {
                let Some(p) = native(&s) else { continue };
                let _ = writeln!(out, "- {} (native): {p}", metric(&s.metric));
                natives.add(&p);
                continue;
            }
            let name = s.metric.get("__name__").cloned().unwrap_or_default();
            if !s.metric.contains_key("le") || !name.ends_with("_bucket") {
                continue;
            }
            let mut labels: LabelSet = s.metric.clone();
            labels.retain(|k, _| k != "le" && k != "__name__");
            groups.entry(name + &label_set(&labels)).or_default().push(s);
        }
        for (key, mut buckets) in groups {
            let Some(p) = classic(&mut buckets)? else { continue };
            let _ = writeln!(out, "- {key} (classic): {p}");
            classics.add(&p);
        }
    }
    let _ = writeln!(out, "\n{FOOTER}");
    natives.write(&mut out, "Native");
    classics.write(&mut out, "Classic");
    emit(&out)
}
