//! `tsdb snapshot`: by the admin API of a running server, or of a folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tsdb::{How, ReadOnlyDb};

use super::list::reason;
use super::{Failed, emit, emit_json};
use crate::cmd::api::Api;
use crate::cmd::flags::Found;

/// A snapshot writes the head as a block: minutes for many millions of series.
const TIMEOUT: Duration = Duration::from_secs(3600);

fn tell(found: &Found, place: &str, blocks: Option<(usize, usize)>) -> Result<u8, Failed> {
    if found.text("output") == "json" {
        let mut value = json!({"snapshot": place});
        if let (Some((blocks, linked)), Some(fields)) = (blocks, value.as_object_mut()) {
            fields.insert("blocks".into(), blocks.into());
            fields.insert("linked".into(), linked.into());
        }
        return emit_json(&value);
    }
    emit(&format!("{place}\n"))
}

pub(super) fn run(found: &Found) -> Result<u8, Failed> {
    let with_head = !found.on("skip-head");
    if !found.text("url").is_empty() {
        let name = ask(found, with_head)?;
        return tell(found, &name, None);
    }
    let path = Path::new(found.arg(0));
    std::fs::read_dir(path)
        .map_err(|e| Failed::Work(format!("opening the db dir: open {}: {}", path.display(), reason(&e))))?;
    let place = match found.arg(1) {
        "" => {
            let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
            let folder = path.join("snapshots");
            std::fs::create_dir_all(&folder)?;
            folder.join(format!("{now}-{:016x}", std::process::id()))
        }
        out => PathBuf::from(out),
    };
    let copied = ReadOnlyDb::open(path, None)?.snapshot(&place, with_head)?;
    let linked = copied.iter().filter(|c| c.how == How::Linked).count();
    tell(found, &place.display().to_string(), Some((copied.len(), linked)))
}

fn ask(found: &Found, with_head: bool) -> Result<String, Failed> {
    let (api, path) = (Api::new(found, found.text("url"))?, "/api/v1/admin/tsdb/snapshot");
    let skip_head = if with_head { "false" } else { "true" };
    let data = api.tell(path, &[("skip_head", skip_head)], TIMEOUT)?;
    let name = data["name"].as_str().map(str::to_string);
    name.ok_or_else(|| Failed::Work(format!("{}: no name in the answer", api.url(path))))
}
