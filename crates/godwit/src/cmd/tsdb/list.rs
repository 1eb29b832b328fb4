//! `tsdb list`: the blocks of a folder.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use tsdb::block::{Block, list_blocks};
use tsdb::disk::RealDisk;

use super::output::{go_duration, sizes, table, utc};
use super::{Failed, emit, emit_json};
use crate::cmd::flags::Found;

/// The blocks of a folder that open, oldest first.
///
/// # Errors
/// The folder is absent; a block that does not open and that no other replaces, as promtool refuses it.
pub(super) fn open_blocks(path: &Path) -> Result<Vec<Block>, Failed> {
    std::fs::metadata(path)
        .map_err(|e| Failed::Work(format!("opening the db dir: stat {}: {}", path.display(), reason(&e))))?;
    let (mut blocks, mut broken) = (Vec::new(), BTreeMap::new());
    for (ulid, dir) in list_blocks(&RealDisk, path).map_err(Failed::from)? {
        match Block::open(Arc::new(RealDisk), &dir) {
            Ok(block) => blocks.push(block),
            // Removed since it was listed.
            Err(_) if !dir.exists() => {}
            Err(e) => {
                broken.insert(ulid, e);
            }
        }
    }
    for parent in blocks.iter().flat_map(|b: &Block| b.meta().compaction.parents.clone()) {
        broken.remove(&parent.ulid);
    }
    if !broken.is_empty() {
        let all: Vec<String> =
            broken.iter().map(|(ulid, e)| format!("corrupted block {ulid}: {e}")).collect();
        return Err(Failed::Work(format!(
            "{}\n(`godwit tsdb verify` looks closer, `repair` mends)",
            all.join("\n")
        )));
    }
    blocks.sort_by_key(|b| b.meta().mint_ms);
    Ok(blocks)
}

/// An answer of the operating system without Rust's number of it.
pub(super) fn reason(e: &std::io::Error) -> String {
    let text = e.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |c| c.to_lowercase().collect::<String>() + letters.as_str())
}

const HEAD: [&str; 8] =
    ["BLOCK ULID", "MIN TIME", "MAX TIME", "DURATION", "NUM SAMPLES", "NUM CHUNKS", "NUM SERIES", "SIZE"];

/// The table of promtool.
#[must_use]
pub(super) fn lines(blocks: &[Block], header: bool, human: bool) -> String {
    let mut lines: Vec<Vec<String>> = Vec::new();
    if header {
        lines.push(HEAD.iter().map(ToString::to_string).collect());
    }
    let time = |t: i64| if human { utc(t) } else { t.to_string() };
    for b in blocks {
        let meta = b.meta();
        let stats = meta.stats;
        lines.push(vec![
            meta.ulid.to_string(),
            time(meta.mint_ms),
            time(meta.maxt_ms),
            go_duration(meta.maxt_ms.saturating_sub(meta.mint_ms)),
            stats.num_samples.to_string(),
            stats.num_chunks.to_string(),
            stats.num_series.to_string(),
            if human { sizes(b.size_bytes()) } else { b.size_bytes().to_string() },
        ]);
    }
    table(&lines)
}

/// One block for scripts: its description with its size.
#[must_use]
pub(super) fn json(b: &Block) -> serde_json::Value {
    let mut value = serde_json::to_value(&*b.meta()).unwrap_or_default();
    if let Some(fields) = value.as_object_mut() {
        fields.insert("sizeBytes".to_string(), b.size_bytes().into());
    }
    value
}

pub(super) fn run(found: &Found) -> Result<u8, Failed> {
    let blocks = open_blocks(Path::new(found.arg(0)))?;
    if found.text("output") == "json" {
        return emit_json(&serde_json::Value::Array(blocks.iter().map(json).collect()));
    }
    emit(&lines(&blocks, true, found.on("human-readable")))
}
