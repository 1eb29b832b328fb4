//! `tsdb import`: old data into a folder that has younger data, beside a running server or by it.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tsdb::ReadOnlyDb;

use super::list::reason;
use super::output::{go_duration, table, utc};
use super::{Failed, emit, emit_json};
use crate::cmd::api::Api;
use crate::cmd::flags::Found;

/// All blocks are read whole: hours for terabytes.
const TIMEOUT: Duration = Duration::from_secs(24 * 3600);

pub(super) fn run(found: &Found) -> Result<u8, Failed> {
    let source = Path::new(found.arg(0));
    let source = std::fs::canonicalize(source).map_err(|e| {
        Failed::Work(format!("opening the source: stat {}: {}", source.display(), reason(&e)))
    })?;
    let blocks: Vec<Value> = match found.text("url") {
        "" => {
            let target = Path::new(found.arg(1));
            std::fs::create_dir_all(target)?;
            // What the target's log has, and a server that runs on it, is not known here.
            let copied = ReadOnlyDb::open(&source, None)?.import_into(target, &|_| true, &|_| true)?;
            let one = |b: tsdb::CopiedBlock| {
                json!({
                    "ulid": b.meta.ulid.to_string(), "minTime": b.meta.mint_ms, "maxTime": b.meta.maxt_ms,
                    "numSamples": b.meta.stats.num_samples, "how": b.how.word(),
                })
            };
            copied.into_iter().map(one).collect()
        }
        url => {
            let source = source.to_string_lossy();
            let api = Api::new(found, url)?;
            let mut data = api.tell("/api/v1/admin/tsdb/import", &[("path", &source)], TIMEOUT)?;
            serde_json::from_value(data["blocks"].take()).unwrap_or_default()
        }
    };
    if found.text("output") == "json" {
        return emit_json(&json!({ "blocks": blocks }));
    }
    let head = ["BLOCK ULID", "MIN TIME", "MAX TIME", "DURATION", "NUM SAMPLES", "HOW"];
    let mut lines = vec![head.iter().map(ToString::to_string).collect::<Vec<_>>()];
    for b in &blocks {
        let number = |name: &str| b[name].as_i64().unwrap_or_default();
        let (mint, maxt) = (number("minTime"), number("maxTime"));
        let text = |name: &str| b[name].as_str().unwrap_or_default().to_string();
        lines.push(vec![
            text("ulid"),
            utc(mint),
            utc(maxt),
            go_duration(maxt.saturating_sub(mint)),
            number("numSamples").to_string(),
            text("how"),
        ]);
    }
    emit(&table(&lines))
}
