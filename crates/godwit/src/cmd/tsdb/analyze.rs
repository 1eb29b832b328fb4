//! `tsdb analyze`: where the series of a block come from, and how full its chunks are.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use model::HistogramValue;
use serde_json::{Value, json};
use storage::{ChunkEncoding, LabelHints, Querier as _, QueryContext, SampleBuf};
use tsdb::block::{Block, StoredSeries, list_blocks};
use tsdb::chunkenc;
use tsdb::disk::RealDisk;
use tsdb::index::postings_for_matchers;

use super::list::reason;
use super::output::{Progress, go_duration};
use super::{Failed, emit, emit_json};
use crate::cmd::flags::Found;

/// The block named, or the one made last.
fn block_of(path: &Path, name: &str) -> Result<Block, Failed> {
    std::fs::metadata(path)
        .map_err(|e| Failed::Work(format!("opening the db dir: stat {}: {}", path.display(), reason(&e))))?;
    let dir = if name.is_empty() {
        let blocks = list_blocks(&RealDisk, path)?;
        let newest = blocks.iter().map(|(ulid, _)| ulid.timestamp_ms()).max();
        // The first of those made in the same millisecond, as promtool takes it.
        let last = blocks.into_iter().find(|(ulid, _)| Some(ulid.timestamp_ms()) == newest);
        last.map(|(_, dir)| dir).ok_or_else(|| Failed::Work("no blocks found".to_string()))?
    } else {
        path.join(name)
    };
    if !dir.exists() {
        return Err(Failed::Work(format!("invalid block ID {name}")));
    }
    Ok(Block::open(Arc::new(RealDisk), &dir)?)
}

#[derive(Default)]
struct Pair {
    uncovered: u64,
    series: u64,
}

#[derive(Default)]
struct Chunks {
    total: u64,
    float_samples: Vec<u64>,
    float_bytes: Vec<u64>,
    histogram_samples: Vec<u64>,
    histogram_bytes: Vec<u64>,
    histogram_buckets: Vec<u64>,
}

impl Chunks {
    fn add(&mut self, encoding: ChunkEncoding, data: &[u8]) -> Result<(), chunkenc::ChunkError> {
        self.total += 1;
        let samples = u64::from(chunkenc::sample_count(encoding, data)?);
        if matches!(encoding, ChunkEncoding::Xor | ChunkEncoding::Xor2) {
            self.float_samples.push(samples);
            self.float_bytes.push(data.len() as u64);
            return Ok(());
        }
        self.histogram_samples.push(samples);
        self.histogram_bytes.push(data.len() as u64);
        let mut out = SampleBuf::default();
        chunkenc::decode_all(encoding, data, &mut out)?;
        let buckets = |h: &HistogramValue| match h {
            HistogramValue::Int(h) => h.positive_buckets.len() + h.negative_buckets.len(),
            HistogramValue::Float(h) => h.positive_buckets.len() + h.negative_buckets.len(),
        };
        self.histogram_buckets.push(out.histograms.iter().map(|(_, h)| buckets(h) as u64).sum());
        Ok(())
    }

    fn kinds(&mut self) -> [(&'static str, &mut Vec<u64>); 5] {
        [
            ("samples per float chunk", &mut self.float_samples),
            ("bytes per float chunk", &mut self.float_bytes),
            ("samples per histogram chunk", &mut self.histogram_samples),
            ("bytes per histogram chunk", &mut self.histogram_bytes),
            ("buckets per histogram chunk", &mut self.histogram_buckets),
        ]
    }
}

/// Bars of a distribution, as promtool draws them.
fn bars(name: &str, values: &mut [u64], total: u64) -> String {
    values.sort_unstable();
    let (Some(first), Some(last)) = (values.first().copied(), values.last().copied()) else {
        return format!("{name}: N/A\n\n");
    };
    let spread = (last - first) / 10;
    let mut step = 10;
    while step < spread && step <= 10_000 {
        step *= 10;
    }
    let (start, end) = (first - first % step, last - last % step + step);
    let mut counts: BTreeMap<u64, u64> = (0..=(end - start) / step).map(|b| (b, 0)).collect();
    for v in values.iter() {
        *counts.entry((v - start) / step).or_default() += 1;
    }
    let sum: u64 = values.iter().sum();
    let width = |n: u64| n.to_string().len();
    let most = counts.values().max().copied().unwrap_or(0);
    let (left, right, count_width) = (width(end), width(end + step), width(most));
    let mut out = format!("{name} (min/avg/max): {first}/{}/{last}\n", sum / values.len() as u64);
    for (bucket, count) in counts {
        let share = 100 * count / total.max(1);
        out += &format!(
            "[{:left$}, {:right$}]: {count:count_width$} {}\n",
            bucket * step + start + 1,
            (bucket + 1) * step + start,
            "#".repeat(share as usize)
        );
    }
    out + "\n"
}

/// Most first; equal ones by name, which promtool leaves to chance.
fn most(mut items: Vec<(String, u64)>, limit: usize) -> Vec<(String, u64)> {
    items.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    items.truncate(limit);
    items
}

const LISTS: [(&str, &str); 6] = [
    ("Label pairs most involved in churning", "churningLabelPairs"),
    ("Label names most involved in churning", "churningLabelNames"),
    ("Most common label pairs", "labelPairs"),
    ("Label names with highest cumulative label value length", "labelValueBytes"),
    ("Highest cardinality labels", "labelValues"),
    ("Highest cardinality metric names", "metricNames"),
];

pub(super) fn run(found: &Found) -> Result<u8, Failed> {
    let limit = found.integer("limit").map_err(Failed::usage)?;
    let limit = usize::try_from(limit).unwrap_or(0);
    let selector = found.text("match");
    let matchers = match selector {
        "" => Vec::new(),
        text => promql::parse_selector(text).map_err(|e| Failed::Work(e.to_string()))?,
    };
    let block = block_of(Path::new(found.arg(0)), found.arg(1))?;
    let (ctx, meta) = (QueryContext::unlimited(), block.meta());
    let span = meta.maxt_ms.wrapping_sub(meta.mint_ms) as u64;
    let matched = postings_for_matchers(block.index(), &ctx, &matchers)?.into_owned();
    let querier = block.querier(i64::MIN, i64::MAX);
    let names = querier.label_names(&ctx, LabelHints::default(), &matchers)?;

    let (mut pairs, mut by_name) = (BTreeMap::<String, Pair>::new(), BTreeMap::<String, Pair>::new());
    let (mut entries, mut metrics) = (0_u64, BTreeMap::<String, u64>::new());
    let (mut chunks, extended) = (Chunks::default(), found.on("extended"));
    let mut bar = Progress::new("series", "series", matched.len() as u64);
    let (mut wanted, mut buf) = (matched.iter().copied().peekable(), Vec::new());
    for series in block.series()? {
        let series: StoredSeries = series?;
        // Both ascend.
        if wanted.next_if_eq(&series.id).is_none() {
            continue;
        }
        bar.add(1);
        let covered = match (series.chunks.first(), series.chunks.last()) {
            (Some(first), Some(last)) => last.maxt_ms.wrapping_sub(first.mint_ms) as u64,
            _ => 0,
        };
        let uncovered = span.wrapping_sub(covered);
        for (name, value) in series.labels.iter() {
            let pair = pairs.entry(format!("{name}={value}")).or_default();
            pair.uncovered = pair.uncovered.wrapping_add(uncovered);
            pair.series += 1;
            let own = by_name.entry(name.to_string()).or_default();
            own.uncovered = own.uncovered.wrapping_add(uncovered);
            entries += 1;
        }
        if let Some(name) = series.labels.find("__name__") {
            *metrics.entry(name.to_string()).or_default() += 1;
        }
        if extended {
            block.chunk_reader().read(&series.chunks, None, &mut buf, |_, chunk| {
                chunks
                    .add(chunk.encoding, chunk.data)
                    .map_err(|e| storage::StorageError::Other(e.to_string()))
            })?;
        }
    }
    drop(bar);
    let share = |n: u64| (n as f64 / span as f64) as u64;
    let (mut lengths, mut counts) = (Vec::new(), Vec::new());
    for name in &names {
        let values = querier.label_values(&ctx, name, LabelHints::default(), &matchers)?;
        lengths.push((name.clone(), values.iter().map(|v| v.len() as u64).sum()));
        counts.push((name.clone(), values.len() as u64));
    }
    // Without a selector promtool counts postings, which is the same.
    let lists = [
        pairs.iter().map(|(k, p)| (k.clone(), share(p.uncovered))).collect(),
        by_name.iter().map(|(k, p)| (k.clone(), share(p.uncovered))).collect(),
        pairs.iter().map(|(k, p)| (k.clone(), p.series)).collect(),
        lengths,
        counts,
        metrics.into_iter().collect::<Vec<_>>(),
    ]
    .map(|list| most(list, limit));

    if found.text("output") == "json" {
        let mut value = json!({
            "ulid": meta.ulid.to_string(),
            "durationMs": span,
            "series": meta.stats.num_series,
            "labelNames": names.len(),
            "labelPairs": pairs.len(),
            "postingsEntries": entries,
        });
        if let Some(fields) = value.as_object_mut() {
            if !selector.is_empty() {
                fields.insert("matcher".into(), selector.into());
                fields.insert("matchedSeries".into(), matched.len().into());
            }
            let items = |l: &[(String, u64)]| -> Value {
                l.iter().map(|(k, n)| json!({"name": k, "value": n})).collect()
            };
            let all: serde_json::Map<String, Value> =
                LISTS.iter().zip(&lists).map(|((_, key), l)| ((*key).to_string(), items(l))).collect();
            fields.insert("top".into(), all.into());
            if extended {
                let spread = |v: &mut Vec<u64>| {
                    let sum: u64 = v.iter().sum();
                    json!({"min": v.iter().min(), "max": v.iter().max(), "sum": sum, "chunks": v.len()})
                };
                let all: serde_json::Map<String, Value> =
                    chunks.kinds().into_iter().map(|(k, v)| (k.replace(' ', "_"), spread(v))).collect();
                fields.insert("chunks".into(), all.into());
            }
        }
        return emit_json(&value);
    }
    let mut out = format!(
        "Block ID: {}\nDuration: {}\nTotal Series: {}\n",
        meta.ulid,
        go_duration(span as i64),
        meta.stats.num_series
    );
    if !selector.is_empty() {
        out += &format!("Matcher: {selector}\n");
    }
    out += &format!("Label names: {}\n", names.len());
    if !selector.is_empty() {
        out += &format!("Matched series: {}\n", matched.len());
    }
    out += &format!("Postings (unique label pairs): {}\n", pairs.len());
    out += &format!("Postings entries (total label pairs): {entries}\n");
    for ((title, _), list) in LISTS.iter().zip(&lists) {
        out += &format!("\n{title}:\n");
        out.extend(list.iter().map(|(name, n)| format!("{n} {name}\n")));
    }
    if extended {
        out += "\nCompaction analysis:\n\n";
        let total = chunks.total;
        out.extend(chunks.kinds().into_iter().map(|(name, values)| bars(name, values, total)));
    }
    emit(&out)
}

#[cfg(test)]
mod tests {
    #[test]
    fn bars_as_promtool_draws_them() {
        assert_eq!(super::bars("x", &mut [], 0), "x: N/A\n\n");
        let expected = format!(
            "x (min/avg/max): 8/82/120\n[  1, 100]: 1 {}\n[101, 200]: 2 {}\n[201, 300]: 0 \n\n",
            "#".repeat(33),
            "#".repeat(66)
        );
        assert_eq!(super::bars("x", &mut [120, 8, 120], 3), expected);
    }
}
