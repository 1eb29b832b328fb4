//! Helps whoever has to find out what went wrong: what logs and blocks have of the series that
//! an error names.

use std::path::Path;
use std::sync::Arc;

use model::Labels;
use tsdb::block::{Block, list_blocks};
use tsdb::disk::{Disk, Restart};
use tsdb::wal::record::{self, Record};
use tsdb::wal::{SegmentReader, checkpoint_path, checkpoints, segment_path, segments};

use super::world::{World, read_all};

impl World {
    /// Prints what logs and blocks have of the series that an error names.
    pub(super) fn explain(&self, what: &str) {
        let named: Vec<&Labels> =
            self.ledger.series.keys().filter(|l| what.contains(&l.to_string())).collect();
        let Some(labels) = named.first() else { return };
        if self.disk.is_off() {
            self.disk.restart(Restart::Kill);
        }
        let disk: &dyn Disk = &self.disk;
        let wal = Path::new("/data/wal");
        let mut files: Vec<_> = Vec::new();
        for n in checkpoints(disk, wal).unwrap() {
            let dir = checkpoint_path(wal, n);
            files.extend(segments(disk, &dir).unwrap().into_iter().map(|s| segment_path(&dir, s)));
        }
        files.extend(segments(disk, wal).unwrap().into_iter().map(|s| segment_path(wal, s)));
        let late = Path::new("/data/wbl");
        files.extend(segments(disk, late).unwrap().into_iter().map(|s| segment_path(late, s)));
        let mut numbers = Vec::new();
        for path in files {
            let mut reader = SegmentReader::open(disk, &path).unwrap();
            while let Some(bytes) = reader.next_record().unwrap() {
                let say = |text: String| eprintln!("{}: {text}", path.display());
                match record::decode(bytes) {
                    Ok(Record::Series(all)) => all.iter().filter(|s| s.labels == **labels).for_each(|s| {
                        numbers.push(s.series);
                        say(format!("series {}", s.series));
                    }),
                    Ok(Record::Samples(all)) => all
                        .iter()
                        .filter(|s| numbers.contains(&s.series))
                        .for_each(|s| say(format!("{} at {}: {}", s.series, s.t_ms, s.value))),
                    Ok(Record::Histograms(all)) => all
                        .iter()
                        .filter(|s| numbers.contains(&s.series))
                        .for_each(|s| say(format!("{} at {}: histogram", s.series, s.t_ms))),
                    Ok(Record::Tombstones(all)) => all
                        .iter()
                        .filter(|s| numbers.contains(&s.series))
                        .for_each(|s| say(format!("{} deleted {} to {}", s.series, s.mint_ms, s.maxt_ms))),
                    Ok(Record::MmapMarkers(all)) => all
                        .iter()
                        .filter(|s| numbers.contains(&s.series))
                        .for_each(|s| say(format!("{} marker {:x}", s.series, s.chunk))),
                    Ok(_) => {}
                    Err(e) => say(e.to_string()),
                }
            }
            reader.losses().iter().for_each(|l| eprintln!("{l}"));
        }
        let what_time: Option<u64> =
            what.split_once(" at ").and_then(|(_, rest)| rest.split([',', ':', ' ']).next()?.parse().ok());
        for entry in disk.list(Path::new("/data/chunks_head")).unwrap() {
            let path = Path::new("/data/chunks_head").join(&entry.name);
            let bytes = tsdb::disk::read_all(disk, &path, 1 << 30).unwrap();
            let mut rest = bytes.get(8..).unwrap_or_default();
            // Series, first and last time, encoding, length, data, checksum.
            while let Some(head) = rest.get(..27) {
                let number = |at: usize| u64::from_be_bytes(head[at..at + 8].try_into().unwrap());
                let (short, long) = (usize::from(head[25] & 0x7f), usize::from(head[26]) << 7);
                let len = if head[25] < 0x80 { 26 + short } else { 27 + short + long };
                // Of any number: one whose series record is lost is in no log.
                let lost = !numbers.contains(&number(0))
                    && what_time.is_some_and(|t| (number(8)..=number(16)).contains(&t));
                if numbers.contains(&number(0)) || lost {
                    let kind = head[24];
                    eprintln!(
                        "{}: {} kind {kind} {} to {}",
                        path.display(),
                        number(0),
                        number(8),
                        number(16)
                    );
                }
                rest = rest.get(len + 4..).unwrap_or_default();
            }
        }
        for (ulid, dir) in list_blocks(disk, Path::new("/data")).unwrap() {
            let block = match Block::open(Arc::new(self.disk.clone()), &dir) {
                Ok(block) => block,
                Err(e) => {
                    eprintln!("block {ulid}: {e}");
                    continue;
                }
            };
            let meta = block.meta();
            let times: Vec<i64> = read_all(&block.querier(i64::MIN, i64::MAX), i64::MIN, i64::MAX)
                .map(|all| all.get(*labels).map(|s| s.keys().copied().collect()).unwrap_or_default())
                .unwrap_or_default();
            let parents: Vec<String> = meta.compaction.parents.iter().map(|p| p.ulid.to_string()).collect();
            eprintln!(
                "block {ulid} [{}, {}) level {} hints {:?} parents {parents:?} has {times:?}",
                meta.mint_ms, meta.maxt_ms, meta.compaction.level, meta.compaction.hints
            );
        }
        for (t, e) in &self.ledger.series[*labels] {
            eprintln!("ledger {t} {:?} deleted {:?} {:?}", e.hold, e.deleted, e.value);
        }
    }
}
