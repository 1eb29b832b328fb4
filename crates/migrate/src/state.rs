//! What a migration has on disk of itself, so that it goes on after a kill at any point: one small file in the
//! destination's data folder, replaced whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use tsdb::disk::{Disk, read_all, write_atomic};

use crate::error::MigrateError;
use crate::follow::Place;

/// Name of the file. Prometheus passes over it.
const FILE_NAME: &str = "migration.godwit";
/// First line: the form, then a checksum of what follows.
const HEADER: &str = "godwit migration 1 ";
/// A block's name takes 30 bytes: 16 MiB hold half a million of them, 180 days of two-hour blocks are 2,160.
const FILE_BYTES_MAX: u64 = 16 << 20;

/// How far a migration is. All in here is durable, and so is what it says of the data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The source's data folder.
    pub source: PathBuf,
    /// The key of the migration, where the source is behind an agent: a file of ours.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// Nobody writes the source: it is read in place.
    #[serde(default)]
    pub offline: bool,
    /// Bytes a second that copies may read of it; 0 for no cap.
    #[serde(default)]
    pub bwlimit: u64,
    /// It was ended: what is told here is of the past.
    #[serde(default)]
    pub released: bool,
    /// This server has no duty before the fence: it only follows.
    #[serde(default)]
    pub held: bool,
    /// From this time on, in milliseconds, the duty is this server's: what the source has from then on does not come.
    #[serde(default)]
    pub fence_ms: Option<i64>,
    /// The source's machine by name: its places in time go on here.
    #[serde(default)]
    pub host: Option<String>,
    /// Where the logs had been read to when the fence was set; a rollback reads on from there.
    #[serde(default)]
    pub at_fence: Option<(Option<Place>, Option<Place>)>,
    /// Where it is pinned.
    pub pin: PathBuf,
    /// The source was pinned anew, and a part of its log never read: what its blocks lack may have been deleted there.
    #[serde(default)]
    pub anew: bool,
    /// Which pin this is of, see [`crate::Source::id`].
    #[serde(default)]
    pub pin_id: String,
    /// Behind the newest sample in order that the pinned blocks have, in milliseconds.
    pub blocks_end_ms: i64,
    /// Blocks that are here, with what was deleted of them.
    pub blocks: BTreeMap<String, Deleted>,
    /// The same of blocks that the source made since, whose samples came by the log.
    #[serde(default)]
    pub deletions: BTreeMap<String, Deleted>,
    /// The source's blocks, with their samples, whose deletions are known.
    #[serde(default)]
    pub seen: BTreeMap<String, Seen>,
    /// Behind the last record of the log that is in the store.
    pub wal: Option<Place>,
    /// The same of the log of late samples.
    pub wbl: Option<Place>,
}

/// A block of the source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Its samples.
    pub samples: u64,
    /// How far the log had been read.
    pub at: Option<Place>,
}

/// What was deleted of a block when that was last taken over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deleted {
    /// Checksum of its file; 0: nothing.
    pub sum: u32,
    /// How far the log had been read. Read once more from before it, samples are back that were deleted.
    pub at: Option<Place>,
}

impl State {
    /// Reads the state in a data folder; `None` where no migration was begun.
    ///
    /// # Errors
    /// The file cannot be read or is damaged.
    pub fn read(disk: &dyn Disk, data: &Path) -> Result<Option<Self>, MigrateError> {
        let path = data.join(FILE_NAME);
        let bytes = match read_all(disk, &path, FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(e) if e.is_not_found() => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let bad = |why: &str| MigrateError::State { path: path.clone(), why: why.to_string() };
        let text = std::str::from_utf8(&bytes).map_err(|_| bad("it is no text"))?;
        let (head, body) = text.split_once('\n').ok_or_else(|| bad("it is cut off"))?;
        let sum = head.strip_prefix(HEADER).ok_or_else(|| bad("it is of another version"))?;
        if sum != sum_of(body) {
            return Err(bad("its checksum is wrong"));
        }
        serde_json::from_str(body).map(Some).map_err(|e| bad(&e.to_string()))
    }

    /// Deletions that were taken over when the log had been read further than it is noted have to be once more.
    pub fn deletions_again(&mut self) {
        let noted = self.wal;
        for deleted in self.blocks.values_mut().chain(self.deletions.values_mut()) {
            if deleted.at > noted {
                *deleted = Deleted::default();
            }
        }
        self.seen.retain(|_, seen| seen.at <= noted);
    }

    /// Writes it: durable when this returns.
    ///
    /// # Errors
    /// The disk refused it; the old one stays.
    pub fn write(&self, disk: &dyn Disk, data: &Path) -> Result<(), MigrateError> {
        let path = data.join(FILE_NAME);
        let bad = |e: serde_json::Error| MigrateError::State { path: path.clone(), why: e.to_string() };
        let body = serde_json::to_string(self).map_err(bad)?;
        Ok(write_atomic(disk, &path, format!("{HEADER}{}\n{body}", sum_of(&body)).as_bytes())?)
    }

    /// Notes that the migration is over. What remains is that there was one, and the host whose places in time go on.
    ///
    /// # Errors
    /// The disk refused it.
    pub fn end(&self, disk: &dyn Disk, data: &Path) -> Result<(), MigrateError> {
        let (source, host) = (self.source.clone(), self.host.clone());
        State { released: true, source, host, ..State::default() }.write(disk, data)
    }
}

fn sum_of(body: &str) -> String {
    format!("{:08x}", crc32c::crc32c(body.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tsdb::disk::{MemDisk, WriteMode};

    #[test]
    fn what_is_written_is_read_and_damage_is_seen() {
        let (disk, data) = (MemDisk::new(), Path::new("/data"));
        disk.create_dir_all(data).unwrap();
        assert_eq!(State::read(&disk, data).unwrap(), None);
        let state = State {
            source: "/var/lib/prometheus".into(),
            blocks: BTreeMap::from([(
                "01HF7YTS2V0004M7VDHX02SGXQ".to_string(),
                Deleted { sum: 7, at: None },
            )]),
            wal: Some(Place { segment: 7, offset: 99 }),
            ..State::default()
        };
        state.write(&disk, data).unwrap();
        assert_eq!(State::read(&disk, data).unwrap().as_ref(), Some(&state));
        let path = data.join(FILE_NAME);
        let good = read_all(&disk, &path, FILE_BYTES_MAX).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            for bytes in [&bad[..], &good[..at]] {
                disk.open_write(&path, WriteMode::Truncate).unwrap().append(bytes).unwrap();
                assert!(State::read(&disk, data).is_err(), "byte {at}");
            }
        }
        state.end(&disk, data).unwrap();
        let ended = State::read(&disk, data).unwrap().unwrap();
        assert!(ended.released && ended.blocks.is_empty() && ended.wal.is_none());
    }
}
