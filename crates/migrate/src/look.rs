//! What a source is, found out without changing anything: for a plan.

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use storage::ChunkEncoding;
use tsdb::block::{BlockMeta, CHUNKS_DIR, INDEX_FILE};
use tsdb::disk::{Mount, RealDisk};

use crate::error::MigrateError;
use crate::source::PIN_DIR;

/// Head of a file of chunks: magic number, version, padding.
const CHUNKS_HEADER_BYTES: usize = 8;
/// Problems of one kind that are named; all are counted.
const NAMED_MAX: usize = 5;

/// A source, as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// Its data folder.
    pub data: PathBuf,
    /// Who owns that, by number, and who asks.
    pub owner: (u32, u32),
    /// Who asks, by number.
    pub reader: (u32, u32),
    /// The file system, as the kernel calls it.
    pub fs_type: String,
    /// It is on another machine.
    pub fs_remote: bool,
    /// Links can be made beside the data.
    pub can_link: bool,
    /// Bytes that are free there, and all.
    pub free_bytes: u64,
    /// Size of the file system in bytes.
    pub total_bytes: u64,
    /// Whole blocks.
    pub blocks: u64,
    /// Their bytes.
    pub block_bytes: u64,
    /// Bytes of both logs.
    pub log_bytes: u64,
    /// First and last time in blocks, in milliseconds.
    pub range_ms: (i64, i64),
    /// Samples in blocks.
    pub samples: u64,
    /// Blocks that cannot be read, and why, some of them.
    pub unreadable: Vec<String>,
    /// Files of a form that this version does not know, some of them.
    pub unknown: Vec<String>,
    /// A process holds the folder's lock.
    pub running: bool,
    /// A file that is large, to read of it how fast that goes; relative to the folder.
    pub largest: Option<PathBuf>,
    /// Name of the machine; of an agent.
    pub host: String,
}

impl Facts {
    /// Looks at a data folder of this machine.
    ///
    /// # Errors
    /// It cannot be read, or is none of a Prometheus.
    pub fn of(data: &Path) -> Result<Facts, MigrateError> {
        if data.is_dir() && !data.join("wal").is_dir() {
            let why = "it has no folder wal".to_string();
            return Err(MigrateError::NoSource { path: data.to_path_buf(), why });
        }
        Facts::of_still(data)
    }

    /// The same of one that may have no log: a snapshot.
    pub(crate) fn of_still(data: &Path) -> Result<Facts, MigrateError> {
        let no = |why: String| MigrateError::NoSource { path: data.to_path_buf(), why };
        let folder = std::fs::metadata(data).map_err(|e| no(e.to_string()))?;
        let mount = Mount::of(data);
        let stat = rustix::fs::statvfs(data).map_err(|e| no(e.to_string()))?;
        let mut facts = Facts {
            data: data.to_path_buf(),
            owner: (folder.uid(), folder.gid()),
            reader: (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
            fs_type: mount.as_ref().map_or_else(|| "unknown".into(), |m| m.fs_type.clone()),
            fs_remote: mount.is_some_and(|m| m.is_remote()),
            can_link: rustix::fs::access(data, rustix::fs::Access::WRITE_OK).is_ok(),
            free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
            total_bytes: stat.f_blocks.saturating_mul(stat.f_frsize),
            running: is_locked(data),
            range_ms: (i64::MAX, i64::MIN),
            ..Facts::default()
        };
        let mut largest = 0;
        for entry in std::fs::read_dir(data).map_err(|e| no(e.to_string()))? {
            let name = entry.map_err(|e| no(e.to_string()))?.file_name().to_string_lossy().into_owned();
            if name == PIN_DIR {
                continue;
            }
            if name == "wal" || name == "wbl" {
                facts.log_bytes += tree_bytes(&data.join(name));
            } else if ulid::Ulid::from_string(&name).is_ok() {
                facts.block(&name, &mut largest);
            }
        }
        if facts.blocks == 0 {
            facts.range_ms = (0, 0);
        }
        Ok(facts)
    }

    fn block(&mut self, name: &str, largest: &mut u64) {
        let dir = self.data.join(name);
        let meta = match BlockMeta::read(&RealDisk, &dir) {
            Ok(meta) => meta,
            // Without a description it is on its way to be one, or no more.
            Err(_) if !dir.join("meta.json").exists() => return,
            Err(e) => return named(&mut self.unreadable, e.to_string()),
        };
        self.blocks += 1;
        self.samples += meta.stats.num_samples;
        self.range_ms = (self.range_ms.0.min(meta.mint_ms), self.range_ms.1.max(meta.maxt_ms));
        self.block_bytes += tree_bytes(&dir);
        if let Err(e) = std::fs::File::open(dir.join(INDEX_FILE)) {
            named(&mut self.unreadable, format!("{name}/{INDEX_FILE}: {e}"));
        }
        let files = std::fs::read_dir(dir.join(CHUNKS_DIR)).into_iter().flatten().flatten();
        for file in files.filter(|f| f.file_name().to_string_lossy().parse::<u32>().is_ok()) {
            let shown = format!("{name}/{CHUNKS_DIR}/{}", file.file_name().to_string_lossy());
            match first_encoding(&file.path()) {
                Ok(encoding) if encoding.is_none_or(|e| ChunkEncoding::from_u8(e).is_some()) => {}
                Ok(encoding) => {
                    named(
                        &mut self.unknown,
                        format!("{shown}: chunks of encoding {}", encoding.unwrap_or(0)),
                    );
                }
                Err(e) => named(&mut self.unreadable, format!("{shown}: {e}")),
            }
            let bytes = file.metadata().map_or(0, |m| m.len());
            if bytes > *largest {
                *largest = bytes;
                self.largest = Some(PathBuf::from(shown));
            }
        }
    }
}

fn named(list: &mut Vec<String>, what: String) {
    if list.len() < NAMED_MAX {
        list.push(what);
    }
}

/// The kind of the first chunk in a file; `None` where it has none. A version writes one kind for floats and one for
/// histograms, so the first of each file shows a newer one; each chunk is looked at when it is read.
fn first_encoding(path: &Path) -> std::io::Result<Option<u8>> {
    let mut head = Vec::new();
    // A length of up to five bytes, then the kind.
    std::fs::File::open(path)?.take(CHUNKS_HEADER_BYTES as u64 + 6).read_to_end(&mut head)?;
    let mut rest = head.get(CHUNKS_HEADER_BYTES..).unwrap_or_default().iter();
    let _length = rest.by_ref().find(|b| **b < 0x80);
    Ok(rest.next().copied())
}

/// Prometheus locks a file for as long as it runs.
fn is_locked(data: &Path) -> bool {
    let Ok(file) = std::fs::File::open(data.join("lock")) else { return false };
    matches!(file.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock))
}

fn tree_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    entries
        .map(|e| match e.file_type() {
            Ok(kind) if kind.is_dir() => tree_bytes(&e.path()),
            _ => e.metadata().map_or(0, |m| m.len()),
        })
        .sum()
}
