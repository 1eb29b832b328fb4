//! `tsdb create-blocks-from openmetrics`: a text of samples into blocks. Samples may come in any order, which
//! promtool refuses or, within 5,000 of them, drops.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use exposition::{Event, OpenMetricsParser, ParserOptions, SampleValue};
use model::LabelsBuilder;
use tsdb::block::{Backfill, Block};
use tsdb::disk::{Disk, RealDisk};

use super::list::{json, lines, reason};
use super::output::Progress;
use super::{Failed, emit, emit_json};
use crate::cmd::flags::Found;

/// Samples that are held at once, 16 bytes each and as much again while a column grows: 256 MiB. Blocks that
/// need more than that together are made one after the other, with a pass over the text for each such group.
const SAMPLES_MAX: u64 = 8 << 20;
const HOUR_MS: i64 = 3_600_000;

/// The largest of upstream's block sizes (2 h and each three times the one before) up to `max_ms`.
pub(super) fn block_ms(max_ms: i64) -> i64 {
    let sizes = std::iter::successors(Some(2 * HOUR_MS), |s| s.checked_mul(3)).take(10);
    sizes.take_while(|s| *s <= max_ms).last().unwrap_or(2 * HOUR_MS)
}

/// Shows each sample of the text with its series: (name of the series for an error, time, value).
fn each_sample(
    text: &[u8],
    mut each: impl FnMut(&exposition::SeriesEvent<'_>, i64, f64) -> Result<(), Failed>,
    bar: &mut Progress,
) -> Result<(), String> {
    let mut parser = OpenMetricsParser::new(text, &ParserOptions::default());
    let mut before = 0;
    loop {
        let at = parser.position();
        bar.add((at - before) as u64);
        before = at;
        match parser.next() {
            Err(e) => return Err(format!("next: {e}")),
            Ok(Event::Eof) => return Ok(()),
            Ok(Event::Series(series)) => {
                let key = || String::from_utf8_lossy(series.key).into_owned();
                let t = series
                    .timestamp_ms
                    .ok_or_else(|| format!("expected timestamp for series {}, got none", key()))?;
                let SampleValue::Float(v) = series.value else { continue };
                each(&series, t, v).map_err(|e| e.to_string())?;
            }
            Ok(_) => {}
        }
    }
}

pub(super) fn run(found: &Found) -> Result<u8, Failed> {
    let (input, out) = (found.arg(0), Path::new(found.arg(1)));
    let text = std::fs::read(input).map_err(|e| Failed::Work(format!("open {input}: {}", reason(&e))))?;
    std::fs::create_dir_all(out)
        .map_err(|e| Failed::Work(format!("create output dir: mkdir {}: {}", out.display(), reason(&e))))?;
    let max = found.duration("max-block-duration").map_err(Failed::usage)?.unwrap_or_default();
    let max_ms = i64::try_from(max.as_millis()).unwrap_or(i64::MAX);
    let extra: Vec<(String, String)> = found.map("label").map_err(Failed::usage)?.into_iter().collect();
    let mut fill = Backfill::new(block_ms(max_ms));
    let mut counts: BTreeMap<i64, u64> = BTreeMap::new();
    let count = |_: &exposition::SeriesEvent<'_>, t: i64, _: f64| {
        *counts.entry(fill.range_of(t)).or_default() += 1;
        Ok(())
    };
    each_sample(&text, count, &mut Progress::new("read", "B", text.len() as u64))
        .map_err(|e| Failed::Work(format!("getting min and max timestamp: {e}")))?;

    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let as_json = found.text("output") == "json";
    let (mut made, mut shown) = (Vec::new(), false);
    let mut counts = counts.into_iter().peekable();
    while let Some((first, mut sum)) = counts.next() {
        let mut last = first;
        while let Some((range, n)) = counts.next_if(|(_, n)| sum + n <= SAMPLES_MAX) {
            (last, sum) = (range, sum + n);
        }
        let mut builder = LabelsBuilder::new();
        let take = |series: &exposition::SeriesEvent<'_>, t: i64, v: f64| {
            let range = fill.range_of(t);
            if range < first || range > last {
                return Ok(());
            }
            series.source.build(&mut builder).map_err(|e| Failed::Work(format!("add sample: {e}")))?;
            for (name, value) in &extra {
                builder.set(name, value);
            }
            fill.add(&builder.build(), t, v);
            Ok(())
        };
        let mut bar = Progress::new("blocks", "B", text.len() as u64);
        each_sample(&text, take, &mut bar)
            .map_err(|e| Failed::Work(format!("block creation: process blocks: parse: {e}")))?;
        drop(bar);
        let mut metas = Vec::new();
        let written = fill.write(&disk, out, |meta| metas.push(meta.clone()));
        for meta in metas {
            let block = Block::open(Arc::clone(&disk), &out.join(meta.ulid.to_string()))?;
            if as_json {
                made.push(json(&block));
            } else if !found.on("quiet") {
                emit(&lines(&[block], !shown, found.on("human-readable")))?;
                shown = true;
            }
        }
        written.map_err(|e| Failed::Work(format!("block creation: process blocks: flush: {e}")))?;
    }
    if as_json { emit_json(&made.into()) } else { Ok(0) }
}

#[cfg(test)]
mod tests {
    #[test]
    fn block_sizes_are_upstreams() {
        let h = super::HOUR_MS;
        for (max, size) in [(0, 2), (2, 2), (5, 2), (6, 6), (24, 18), (1_000_000, 39_366)] {
            assert_eq!(super::block_ms(max * h), size * h, "{max}");
        }
    }
}
