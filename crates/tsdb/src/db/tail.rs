//! What remote write follows: the log and that of late samples as one, and where each destination is in them.

use std::path::PathBuf;
use std::sync::Arc;

use storage::{LogEvent, LogPosition, LogSource, LogTail, LogTotals, LogWants, StorageError};

use super::{Db, Inner};
use crate::disk::{DiskError, read_all_around, write_atomic};
use crate::head::Head;
use crate::wal::{Place, Tail};

/// Folder of the positions in the data folder, which Prometheus passes over as it is no block.
const FOLDER: &str = "remote_write";
/// First line of a position.
const HEADER: &str = "godwit remote write position 1";
/// Longest file: the header, four numbers of 20 digits and a checksum are 150 bytes.
const POSITION_BYTES_MAX: u64 = 4096;

struct DbTail {
    head: Arc<Head>,
    wants: LogWants,
    log: Tail,
    /// Once there is one.
    late: Option<Tail>,
    late_from: Option<Place>,
    /// Where the late one is read to before the log is looked at again.
    late_until: Option<Place>,
}

impl DbTail {
    fn late(&mut self) -> Result<Option<&mut Tail>, StorageError> {
        if self.late.is_none() {
            let Some(log) = self.head.late_log() else { return Ok(None) };
            let from = self.late_from.unwrap_or_default();
            self.late = Some(Tail::new(self.head.disk(), log, (Some(from), false), self.wants)?);
        }
        Ok(self.late.as_mut())
    }
}

impl LogTail for DbTail {
    fn next(&mut self) -> Result<Option<LogEvent>, StorageError> {
        if self.late_until.is_none() {
            // A late sample is logged behind its series: what is in its log now, the other's end knows.
            let until = self.late()?.map(|late| late.end());
            if let Some(event) = self.log.next(None)? {
                return Ok(Some(event));
            }
            self.late_until = until;
        }
        let until = self.late_until;
        match (self.late()?, until) {
            (Some(late), Some(until)) => {
                let event = late.next(Some(until))?;
                if event.is_none() {
                    self.late_until = None;
                }
                Ok(event)
            }
            _ => Ok(None),
        }
    }

    fn position(&self) -> LogPosition {
        let (segment, offset) = self.log.place();
        let late = self.late.as_ref().map(Tail::place).or(self.late_from);
        let (late_segment, late_offset) = late.unwrap_or_default();
        LogPosition { segment, offset, late_segment, late_offset }
    }
}

impl Inner {
    fn position_path(&self, name: &str) -> PathBuf {
        self.options.path.join(FOLDER).join(format!("{name}.godwit"))
    }
}

fn text(position: LogPosition) -> String {
    let LogPosition { segment, offset, late_segment, late_offset } = position;
    let body = format!("{HEADER}\nlog {segment} {offset}\nlate {late_segment} {late_offset}\n");
    let sum = crc32c::crc32c(body.as_bytes());
    format!("{body}crc32c {sum:08x}\n")
}

fn parse(bytes: &[u8]) -> Option<LogPosition> {
    let whole = std::str::from_utf8(bytes).ok()?;
    let mut lines = whole.lines().skip(1);
    let mut numbers = |word: &str| {
        let (a, b) = lines.next()?.strip_prefix(word)?.split_once(' ')?;
        Some((a.parse().ok()?, b.parse().ok()?))
    };
    let (segment, offset) = numbers("log ")?;
    let (late_segment, late_offset) = numbers("late ")?;
    let position = LogPosition { segment, offset, late_segment, late_offset };
    // The checksum and whatever else is not as it was written.
    (text(position) == whole).then_some(position)
}

impl LogSource for Db {
    fn tail(&self, from: Option<LogPosition>, wants: LogWants) -> Result<Box<dyn LogTail>, StorageError> {
        let head = Arc::clone(&self.0.head);
        let log = Tail::new(head.disk(), &head.log, (from.map(|p| (p.segment, p.offset)), true), wants)?;
        // Whoever begins now begins now with late ones, too; where there is no log of them yet, at its begin.
        let late_from = match from {
            Some(p) => Some((p.late_segment, p.late_offset)),
            None => head.late_log().map(|log| log.end()),
        };
        Ok(Box::new(DbTail { head, wants, log, late: None, late_from, late_until: None }))
    }

    fn totals(&self) -> LogTotals {
        let head = &self.0.head;
        let [samples, histograms, exemplars] = head.appended();
        let newest = head.max_time();
        LogTotals { samples, histograms, exemplars, newest_ms: (newest != i64::MIN).then_some(newest) }
    }

    fn position(&self, name: &str) -> Result<Option<LogPosition>, StorageError> {
        let path = self.0.position_path(name);
        match read_all_around(&*self.0.options.disk, &path, POSITION_BYTES_MAX) {
            Ok(bytes) => {
                let position = parse(&bytes);
                if position.is_none() {
                    tracing::warn!(path = %path.display(), "position of remote write is damaged; it begins anew");
                }
                Ok(position)
            }
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    fn keep_position(&self, name: &str, position: LogPosition) -> Result<(), StorageError> {
        let disk = &*self.0.options.disk;
        let path = self.0.position_path(name);
        let write = || write_atomic(disk, &path, text(position).as_bytes());
        let made = |e: DiskError| match path.parent() {
            Some(folder) if e.is_not_found() => {
                crate::disk::create_dir_durable(disk, folder)?;
                write()
            }
            _ => Err(e),
        };
        Ok(write().or_else(made)?)
    }

    fn forget_positions(&self, but: &[String]) -> Result<(), StorageError> {
        let disk = &*self.0.options.disk;
        let folder = self.0.options.path.join(FOLDER);
        if !disk.exists(&folder)? {
            return Ok(());
        }
        for entry in disk.list(&folder)? {
            let name = entry.name.split('.').next().unwrap_or_default();
            if !entry.is_dir && !but.iter().any(|b| b == name) {
                disk.remove_file(&folder.join(&entry.name))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_whole_or_none() {
        let position = LogPosition { segment: 7, offset: 32768, late_segment: 0, late_offset: u64::MAX };
        let whole = text(position);
        assert_eq!(parse(whole.as_bytes()), Some(position));
        for n in 0..whole.len() {
            assert_eq!(parse(&whole.as_bytes()[..n]), None);
            let mut bent = whole.clone().into_bytes();
            bent[n] ^= 1;
            assert_eq!(parse(&bent), None, "byte {n}");
        }
    }
}
