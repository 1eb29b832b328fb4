//! `queries.active`: the queries under way, in a file that survives a crash, so that the next start can name
//! those that did not finish. The format is upstream's (`promql/query_logger.go`): `[`, then one slot of
//! 1,000 bytes for each query that may run at once, a JSON object and a comma at the slot's end.
//!
//! Written with plain file writes, by a thread of their own: on a disk that hangs a write stands still, and
//! queries must not stand still with it. A query that ends before its entry is written costs no write at all.
//! Rejected: upstream's memory map, whose page faults on a full disk kill the process.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::{Condvar, Mutex};

use crate::json::Json;

/// Bytes of one slot.
const SLOT_BYTES: usize = 1000;
/// Bytes read back at start: slots of far more concurrency than anyone configures.
const READ_BYTES_MAX: u64 = 16 << 20;

/// What a slot shall hold; the newest wins.
type Slots = BTreeMap<usize, Option<Box<[u8; SLOT_BYTES]>>>;

#[derive(Default)]
struct Waiting {
    /// One entry a slot at most, so that a disk that hangs costs no memory: [`SLOT_BYTES`] for each query that
    /// may run at once.
    slots: Slots,
    /// What is in the file for certain, as far as entries go.
    written: BTreeSet<usize>,
    /// The writer is writing.
    busy: bool,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

impl Shared {
    fn put(&self, slot: usize, bytes: Option<Box<[u8; SLOT_BYTES]>>) {
        let mut waiting = self.waiting.lock();
        if bytes.is_none() && !waiting.busy && !waiting.written.contains(&slot) {
            // Never got there.
            waiting.slots.remove(&slot);
            return;
        }
        waiting.slots.insert(slot, bytes);
        drop(waiting);
        self.changed.notify_all();
    }

    /// Writes what comes until the owner is gone.
    fn write_to(&self, file: &File) {
        let mut waiting = self.waiting.lock();
        loop {
            let slots = std::mem::take(&mut waiting.slots);
            if slots.is_empty() {
                if waiting.closed {
                    return;
                }
                self.changed.wait(&mut waiting);
                continue;
            }
            waiting.busy = true;
            drop(waiting);
            for (slot, bytes) in &slots {
                write_slot(file, *slot, bytes.as_deref().unwrap_or(&[0; SLOT_BYTES]));
            }
            waiting = self.waiting.lock();
            waiting.busy = false;
            for (slot, bytes) in slots {
                if bytes.is_some() {
                    waiting.written.insert(slot)
                } else {
                    waiting.written.remove(&slot)
                };
            }
            self.changed.notify_all();
        }
    }
}

struct Inner {
    /// None without a file.
    shared: Option<Arc<Shared>>,
    free: Mutex<Vec<usize>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.waiting.lock().closed = true;
            shared.changed.notify_all();
        }
    }
}

/// The file and its free slots. Cheap to clone.
#[derive(Clone)]
pub(crate) struct ActiveQueries(Arc<Inner>);

impl ActiveQueries {
    /// Logs what an earlier run left behind and starts afresh. Without a folder, or where the file cannot be
    /// made, queries run all the same.
    pub(crate) fn open(dir: Option<&Path>, concurrency: usize) -> Self {
        let shared = dir.and_then(|dir| {
            let path = dir.join("queries.active");
            if let Some(queries) = unfinished(&path) {
                tracing::info!(queries, "These queries didn't finish in prometheus' last run:");
            }
            match create(&path, concurrency).and_then(start_writer) {
                Ok(shared) => Some(shared),
                Err(e) => {
                    tracing::error!(file = %path.display(), error = %e, "cannot make the file of active queries; going on without it");
                    None
                }
            }
        });
        let free = (0..concurrency).rev().collect();
        ActiveQueries(Arc::new(Inner { shared, free: Mutex::new(free) }))
    }

    /// Enters a query; it leaves when the guard is dropped.
    pub(crate) fn enter(&self, query: &str) -> ActiveGuard {
        let slot = self.0.free.lock().pop();
        if let (Some(slot), Some(shared)) = (slot, &self.0.shared) {
            shared.put(slot, Some(Box::new(entry(query))));
        }
        ActiveGuard { owner: Arc::clone(&self.0), slot }
    }

    /// Waits until the file is as it should be.
    #[cfg(test)]
    fn settle(&self) {
        let shared = self.0.shared.as_ref().unwrap();
        let mut waiting = shared.waiting.lock();
        while waiting.busy || !waiting.slots.is_empty() {
            shared.changed.wait(&mut waiting);
        }
    }
}

fn start_writer(file: File) -> std::io::Result<Arc<Shared>> {
    let shared = Arc::<Shared>::default();
    let writer = Arc::clone(&shared);
    std::thread::Builder::new().name("active-queries".to_string()).spawn(move || writer.write_to(&file))?;
    Ok(shared)
}

/// A query's place in the file.
pub(crate) struct ActiveGuard {
    owner: Arc<Inner>,
    slot: Option<usize>,
}

impl Drop for ActiveGuard {
    fn drop(&mut self) {
        let Some(slot) = self.slot else { return };
        if let Some(shared) = &self.owner.shared {
            shared.put(slot, None);
        }
        self.owner.free.lock().push(slot);
    }
}

fn write_slot(file: &File, slot: usize, bytes: &[u8; SLOT_BYTES]) {
    if let Err(e) = file.write_all_at(bytes, (1 + slot * SLOT_BYTES) as u64) {
        tracing::debug!(error = %e, "cannot write the file of active queries");
    }
}

/// A slot's bytes: the object, zeros, a comma at the end. A long query is cut at a character.
fn entry(query: &str) -> [u8; SLOT_BYTES] {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let object = |query: &str| {
        let mut json = Json::with_capacity(256);
        json.raw("{\"query\":").string(query).raw(",\"timestamp_sec\":").uint(now).raw("}");
        json.into_bytes()
    };
    let room = SLOT_BYTES - 1;
    let mut cut = query.len().min(room.saturating_sub(object("").len()));
    let mut bytes;
    // Escapes may make the text longer than the query: cut again until it fits.
    loop {
        while !query.is_char_boundary(cut) {
            cut -= 1;
        }
        bytes = object(query.get(..cut).unwrap_or_default());
        if bytes.len() <= room || cut == 0 {
            break;
        }
        // In proportion, and by one at least, so that the loop ends.
        cut = (cut * room / bytes.len()).min(cut - 1);
    }
    let mut slot = [0; SLOT_BYTES];
    let n = bytes.len().min(room);
    slot[..n].copy_from_slice(&bytes[..n]);
    slot[room] = b',';
    slot
}

fn create(path: &Path, concurrency: usize) -> std::io::Result<File> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir)?;
    }
    let file = File::options().create(true).read(true).write(true).truncate(true).open(path)?;
    file.set_len((1 + concurrency * SLOT_BYTES) as u64)?;
    file.write_all_at(b"[", 0)?;
    Ok(file)
}

/// The queries in a file of an earlier run as a JSON list, if there are any.
fn unfinished(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(READ_BYTES_MAX).read_to_end(&mut bytes).ok()?;
    bytes.retain(|b| *b != 0);
    let text = String::from_utf8_lossy(&bytes);
    let body = text.strip_suffix(',')?;
    Some(format!("{body}]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entered_left_and_found_after_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        let active = ActiveQueries::open(Some(dir.path()), 2);
        let path = dir.path().join("queries.active");
        let first = active.enter("up");
        let second = active.enter("rate(x[5m])");
        let third = active.enter("one too many");
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 2001);
        active.settle();
        drop(first);
        drop(third);
        active.settle();
        let left = unfinished(&path).unwrap();
        let v: serde_json::Value = serde_json::from_str(&left).unwrap();
        assert_eq!((v.as_array().unwrap().len(), v[0]["query"].as_str()), (1, Some("rate(x[5m])")));
        drop(second);
        active.settle();
        assert_eq!(unfinished(&path), None);
        let _again = active.enter("up");
        active.settle();
        assert!(unfinished(&path).is_some());
    }

    #[test]
    fn long_queries_are_cut_at_a_character() {
        for unit in ["x", "é", "\"", "\u{1}", "<"] {
            let slot = entry(&unit.repeat(2000));
            let n = slot.iter().position(|b| *b == 0).unwrap_or(SLOT_BYTES - 1);
            let v: serde_json::Value = serde_json::from_slice(&slot[..n]).unwrap();
            let q = v["query"].as_str().unwrap();
            assert!(!q.is_empty() && unit.repeat(2000).starts_with(q), "{unit}");
            assert_eq!(slot[SLOT_BYTES - 1], b',');
        }
    }

    #[test]
    fn a_hostile_file_is_survived() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("queries.active"), [0xff, 0x00, b','].repeat(1000)).unwrap();
        let _ = ActiveQueries::open(Some(dir.path()), 1);
        let _ = ActiveQueries::open(Some(Path::new("/proc/nope")), 1).enter("up");
    }
}
