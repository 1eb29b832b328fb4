//! `tsdb repair`: mends a folder that nobody has open, as a start of the server would, and reads all blocks
//! besides. What cannot be mended is moved to `damaged/`; nothing is thrown away.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tsdb::{Db, DbOptions, ReadOnlyDb, Retention};

use super::list::reason;
use super::output::Progress;
use super::{Failed, emit, emit_json};
use crate::cmd::flags::Found;

/// What the store says while it mends: warnings and errors, which is what a server would log.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<Map<String, Value>>>>);

#[derive(Default)]
struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name().to_string(), format!("{value:?}").into());
    }
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_string(), value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_string(), value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_string(), value.into());
    }
}

impl<S: Subscriber> tracing_subscriber::Layer<S> for Said {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() > Level::WARN {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let level = event.metadata().level().to_string().to_lowercase();
        fields.0.insert("level".to_string(), level.into());
        self.0.lock().push(fields.0);
    }
}

fn line(said: &Map<String, Value>) -> String {
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_string);
    let mut out = said.get("message").map(text).unwrap_or_default();
    for (name, value) in said.iter().filter(|(n, _)| !["message", "level"].contains(&n.as_str())) {
        out += &format!(" {name}={}", text(value));
    }
    out
}

fn mend(path: &Path, dry: bool) -> Result<(), Failed> {
    let mut bar: Option<Progress> = None;
    let mut progress = |done: u64, total: u64| {
        let bar = bar.get_or_insert_with(|| Progress::new("repair", "B", total));
        bar.add(done);
    };
    if dry {
        let folder = ReadOnlyDb::open(path, None)?;
        folder.db().mend(&mut progress)?;
        return Ok(());
    }
    let mut options = DbOptions::new(path);
    options.retention = Retention::default();
    let db = Db::open(options)?;
    let mended = db.mend(&mut progress);
    db.close()?;
    Ok(mended?)
}

pub(super) fn run(found: &Found) -> Result<u8, Failed> {
    let path = Path::new(found.arg(0));
    std::fs::read_dir(path)
        .map_err(|e| Failed::Work(format!("opening the db dir: open {}: {}", path.display(), reason(&e))))?;
    let said = Said::default();
    let subscriber = tracing_subscriber::registry().with(said.clone());
    let dry = found.on("dry-run");
    let done = tracing::subscriber::with_default(subscriber, || mend(path, dry));
    let said = std::mem::take(&mut *said.0.lock());
    if found.text("output") == "json" {
        emit_json(&json!({"dryRun": dry, "ok": done.is_ok(), "mended": said}))?;
    } else {
        let all: String = said.iter().map(|s| line(s) + "\n").collect();
        let end = match (said.is_empty(), dry) {
            (true, _) => "nothing to mend\n".to_string(),
            (false, true) => format!("{} findings; nothing was changed (--dry-run)\n", said.len()),
            (false, false) => format!(
                "{} findings, mended; what was cut out is kept beside (*.damaged, damaged/)\n",
                said.len()
            ),
        };
        emit(&(all + &end))?;
    }
    done.map(|()| 0)
}
