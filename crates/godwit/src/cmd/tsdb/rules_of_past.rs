//! `tsdb create-blocks-from rules`: what recording rules would have written, had they been there (upstream:
//! `cmd/promtool/rules.go`). A server evaluates the expressions, at the times at which it would have evaluated the
//! group; the answers become blocks here, as many as promtool makes: one for each rule and range of time.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::LabelsBuilder;
use model::float_text::format_f;
use model::name::ValidationScheme;
use rules::{GroupSpec, Loader, RuleSpec};
use tsdb::block::{Backfill, Block};
use tsdb::disk::{Disk, RealDisk};

use super::create_blocks::block_ms;
use super::list::{json, lines, reason};
use super::{Failed, emit, emit_json};
use crate::cmd::api::Api;
use crate::cmd::flags::Found;
use crate::cmd::promql::parser_options;
use crate::cmd::query::{Answer, parse_time};

const SECOND_NS: i64 = 1_000_000_000;
/// What of the last hours may still be in the head, and so would overlap: promtool's bound.
const RECENT_SECONDS: f64 = 3.0 * 3600.0;

/// What to make, and where.
struct Job<'a> {
    found: &'a Found,
    api: Api,
    disk: Arc<dyn Disk>,
    out: &'a Path,
    block_ms: i64,
    /// Whole seconds since 1970, both included.
    start: i64,
    end: i64,
    /// For scripts.
    made: Vec<serde_json::Value>,
    shown: bool,
}

/// Times of one request, all in one block: nanoseconds of the first, seconds of the last.
#[derive(Debug, PartialEq)]
struct Part {
    first_ns: i64,
    last: i64,
}

/// The group's times from `start` to `end`, cut where blocks are.
fn parts(group: &GroupSpec, start: i64, end: i64, block_ms: i64) -> impl Iterator<Item = Part> {
    let interval_ns = i64::try_from(group.interval.as_nanos()).unwrap_or(i64::MAX).max(1);
    let end_ms = end.saturating_mul(1000);
    let first_block = start.saturating_mul(1000).div_euclid(block_ms).saturating_mul(block_ms);
    let blocks = std::iter::successors(Some(first_block), move |at| at.checked_add(block_ms));
    let blocks = blocks.take_while(move |at| *at <= end_ms);
    blocks.map_while(move |at| {
        let from = at.div_euclid(1000).max(start);
        let mut first_ns = group.slot_ns(from.saturating_mul(SECOND_NS));
        // Compared as seconds, as upstream does: one that is less than a second early counts.
        if first_ns.div_euclid(SECOND_NS) < from {
            first_ns = first_ns.saturating_add(interval_ns);
            // An interval below a second may take several.
            while first_ns.div_euclid(SECOND_NS) < from {
                first_ns = first_ns.checked_add(interval_ns)?;
            }
        }
        let last = at.saturating_add(block_ms - 1).div_euclid(1000).min(end);
        // Groups whose interval is longer than a block end here, as in promtool.
        (last.saturating_mul(SECOND_NS) >= first_ns).then_some(Part { first_ns, last })
    })
}

impl Job<'_> {
    /// Asks for one rule and writes its blocks. Those written before an error stay: each is whole.
    fn rule(&mut self, group: &GroupSpec, rule: &RuleSpec) -> Result<(), Failed> {
        let step = format_f(group.interval.as_secs_f64());
        for part in parts(group, self.start, self.end, self.block_ms) {
            let second = part.first_ns.div_euclid(SECOND_NS);
            let first = second as f64 + part.first_ns.rem_euclid(SECOND_NS) as f64 / 1e9;
            let (first, last) = (format_f(first), format_f(part.last as f64));
            let params = [("query", rule.query.as_str()), ("start", &first), ("end", &last), ("step", &step)];
            let data = self.api.ask("/api/v1/query_range", &params).map_err(|e| {
                let text = e.to_string();
                Failed::Work(format!("query range: {}", text.strip_prefix("query error: ").unwrap_or(&text)))
            })?;
            let series = match Answer::read(&data) {
                Ok(Answer::Matrix(series)) => series,
                Ok(_) => return Err(Failed::Work("rule result is wrong type".into())),
                Err(e) => return Err(Failed::Work(format!("query range: bad_response: {e}"))),
            };
            // All of an answer is held, which `Api` bounds. Histograms are left out, as promtool leaves them out.
            let mut fill = Backfill::new(self.block_ms);
            for one in series {
                let mut builder = LabelsBuilder::new();
                for (name, value) in one.metric.iter().chain(rule.labels.iter().map(|(n, v)| (n, v))) {
                    builder.set(name, value);
                }
                builder.set(model::labels::METRIC_NAME, &rule.name);
                let labels = builder.build();
                for (seconds, value) in one.floats {
                    fill.add(&labels, (seconds * 1000.0).round() as i64, value);
                }
            }
            self.write(&mut fill)?;
        }
        Ok(())
    }

    fn write(&mut self, fill: &mut Backfill) -> Result<(), Failed> {
        let mut metas = Vec::new();
        let written = fill.write(&self.disk, self.out, |meta| metas.push(meta.clone()));
        for meta in metas {
            if self.found.text("output") == "json" {
                let block = Block::open(Arc::clone(&self.disk), &self.out.join(meta.ulid.to_string()))?;
                self.made.push(json(&block));
            } else if self.found.program == "godwit" && !self.found.on("quiet") {
                let block = Block::open(Arc::clone(&self.disk), &self.out.join(meta.ulid.to_string()))?;
                emit(&lines(&[block], !self.shown, self.found.on("human-readable")))?;
                self.shown = true;
            }
        }
        written.map_err(|e| Failed::Work(format!("flush and commit: {e}")))
    }
}

fn at(found: &Found, flag: &str) -> Result<f64, Failed> {
    parse_time(found.text(flag)).map_err(|e| Failed::Work(format!("error parsing {flag} time: {e}")))
}

pub(super) fn run(found: &Found) -> Result<u8, Failed> {
    let duration = |flag| found.duration(flag).map_err(Failed::usage).map(Option::unwrap_or_default);
    let (interval, longest): (Duration, Duration) =
        (duration("eval-interval")?, duration("max-block-duration")?);
    if interval.is_zero() {
        return Err(Failed::usage("--eval-interval must be above zero"));
    }
    let end = match found.text("end") {
        "" => jiff::Timestamp::now().as_second() as f64 - RECENT_SECONDS,
        _ => at(found, "end")?,
    };
    let start = at(found, "start")?;
    if start >= end {
        return Err(Failed::Work("start time is not before end time".into()));
    }
    let api = Api::new(found, found.text("url"))?;
    let loader = Loader { parser: parser_options(&found.features()), scheme: ValidationScheme::Utf8 };
    let mut groups = Vec::new();
    for file in found.args_from(0) {
        let loaded = loader.load_file(file, interval, false);
        groups.extend(loaded.map_err(|e| Failed::Work(format!("rule importer parse error: {e}")))?);
    }
    let out = Path::new(found.text("output-dir"));
    std::fs::create_dir_all(out)
        .map_err(|e| Failed::Work(format!("create output dir: mkdir {}: {}", out.display(), reason(&e))))?;
    let mut job = Job {
        found,
        api,
        disk: Arc::new(RealDisk),
        out,
        block_ms: block_ms(i64::try_from(longest.as_millis()).unwrap_or(i64::MAX)),
        start: start.floor() as i64,
        end: end.floor() as i64,
        made: Vec::new(),
        shown: false,
    };
    let mut failed = false;
    for group in &groups {
        // promtool says that it leaves alerts out, and writes series with their names: not wanted by anybody.
        for rule in group.rules.iter().filter(|rule| !rule.is_alerting()) {
            match job.rule(group, rule) {
                Ok(()) => {}
                Err(Failed::Work(e)) => {
                    failed = true;
                    eprintln!("rule importer error: {e}");
                }
                Err(other) => return Err(other),
            }
        }
    }
    if found.text("output") == "json" {
        emit_json(&job.made.into())?;
    }
    if failed { Err(Failed::Work("error importing rules".into())) } else { Ok(0) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_end_where_blocks_do() {
        let group = |seconds| GroupSpec {
            file: "f".into(),
            name: "g".into(),
            interval: Duration::from_secs(seconds),
            query_offset: None,
            limit: 0,
            rules: Vec::new(),
        };
        let (hour, minute) = (3600, group(60));
        let found: Vec<Part> = parts(&minute, hour + 1, 5 * hour, 2 * hour * 1000).collect();
        assert_eq!(found.iter().map(|p| p.last).collect::<Vec<_>>(), [2 * hour - 1, 4 * hour - 1, 5 * hour]);
        let phase = found[0].first_ns % (60 * SECOND_NS);
        for (part, from) in found.iter().zip([hour + 1, 2 * hour, 4 * hour]) {
            let first = part.first_ns / SECOND_NS;
            assert!(first >= from && first < from + 60 && part.first_ns % (60 * SECOND_NS) == phase);
        }
        // None of its times is in the range.
        let day = group(24 * 3600 * 1000);
        let first = day.slot_ns(i64::MAX / 2) / SECOND_NS;
        assert_eq!(parts(&day, first + 1, first + 10, 2 * hour * 1000).count(), 0);
    }
}
