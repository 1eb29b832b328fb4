//! Checkpoints: the series that live on and the samples that no block has yet, out of segments that are
//! deleted afterwards. Follows upstream's `tsdb/wlog/checkpoint.go`.

use std::path::Path;
use std::sync::Arc;

use hashbrown::HashMap;

use super::record::{self, MetadataRecord, Record, SeriesRecord};
use super::{
    SegmentReader, WalCompression, WalLoss, WalWriter, checkpoint_path, checkpoints, segment_path, segments,
};
use crate::disk::{Disk, DiskResult};

/// Records are collected up to this size before they are written.
const BATCH_BYTES: usize = 1 << 20;
/// Series in a record, of some 300 bytes and 60 compressed: about a sector. A record of series that is lost takes
/// all that the log has of them along, and the first scrape of a target has its thousands in one.
const SERIES_PER_RECORD: usize = 64;

/// Calls with records of all series there are, some hundred at a time.
pub type Living<'a> = &'a dyn Fn(&mut dyn FnMut(&[SeriesRecord]));

/// What a checkpoint kept and left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointStats {
    /// Series kept.
    pub series: u64,
    /// Series left out.
    pub series_dropped: u64,
    /// Samples kept, histograms included.
    pub samples: u64,
    /// Samples left out.
    pub samples_dropped: u64,
    /// Damage met on the way.
    pub losses: Vec<WalLoss>,
}

/// Writes `checkpoint.<to>` out of the newest checkpoint and the segments up to `to`: series for which
/// `keep` holds, samples from `mint_ms` and exemplars from `exemplars_from_ms` on, tombstones that reach there, the newest metadata.
/// Nothing is deleted: see [`truncate`].
///
/// Where something was lost to damage, it may have been the record of a series that goes on, and later
/// samples without that are nobody's. Then, and where that is known before (`lost`), all series that `living`
/// gives stand before everything else.
///
/// # Errors
/// The device failed, no room; an unfinished folder is removed.
pub fn write(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    to: u64,
    compression: WalCompression,
    (mint_ms, exemplars_from_ms): (i64, i64),
    keep: &dyn Fn(u64) -> bool,
    (lost, living): (bool, Living<'_>),
) -> DiskResult<CheckpointStats> {
    let mut sources = Vec::new();
    let previous = checkpoints(&**disk, dir)?.last().copied();
    if let Some(n) = previous {
        let folder = checkpoint_path(dir, n);
        sources.extend(segments(&**disk, &folder)?.into_iter().map(|s| segment_path(&folder, s)));
    }
    let newer = |s: &u64| *s <= to && previous.is_none_or(|p| *s > p);
    sources.extend(segments(&**disk, dir)?.into_iter().filter(newer).map(|s| segment_path(dir, s)));

    let finished = checkpoint_path(dir, to);
    let tmp = finished.with_extension(format!("{to:08}.tmp"));
    let collect = |ahead: Living<'_>| {
        disk.remove_dir_all(&tmp)?;
        let mut writer = WalWriter::open(Arc::clone(disk), &tmp, compression, super::writer_segment_bytes())?;
        let mut pass = Pass {
            mint_ms,
            exemplars_from_ms,
            keep,
            stats: CheckpointStats::default(),
            metadata: HashMap::new(),
        };
        let mut batch = Batch::default();
        let mut led = Ok(());
        ahead(&mut |series| {
            if led.is_ok() {
                for part in series.chunks(SERIES_PER_RECORD) {
                    batch.push(|out| record::encode_series(out, part));
                }
                led = batch.write(&mut writer);
            }
        });
        led?;
        for source in &sources {
            let mut reader = SegmentReader::open(&**disk, source)?;
            while let Some(bytes) = reader.next_record()? {
                match record::decode(bytes) {
                    Ok(record) => pass.take(record, &mut batch),
                    Err(e) => reader.reject_record(&e),
                }
                if batch.bytes.len() > BATCH_BYTES {
                    batch.write(&mut writer)?;
                }
            }
            pass.stats.losses.extend_from_slice(reader.losses());
        }
        let mut newest: Vec<MetadataRecord> = pass.metadata.into_values().collect();
        newest.sort_by_key(|m| m.series);
        if !newest.is_empty() {
            batch.push(|out| record::encode_metadata(out, &newest));
        }
        batch.write(&mut writer)?;
        if let Some(work) = writer.take_sync_work() {
            work.run()?;
        }
        Ok(pass.stats)
    };
    let result = (|| {
        let mut stats = collect(if lost { living } else { &|_| () })?;
        if !stats.losses.is_empty() && !lost {
            stats = collect(living)?;
        }
        disk.remove_dir_all(&finished)?;
        disk.rename(&tmp, &finished)?;
        disk.sync_dir(dir)?;
        Ok(stats)
    })();
    if result.is_err() {
        let _ = disk.remove_dir_all(&tmp);
    }
    result
}

/// Deletes segments up to `to` and checkpoints before it, now that `checkpoint.<to>` stands for them.
///
/// # Errors
/// No permission. What is left does no harm and goes next time.
pub fn truncate(disk: &dyn Disk, dir: &Path, to: u64) -> DiskResult<()> {
    for segment in segments(disk, dir)?.into_iter().filter(|s| *s <= to) {
        disk.remove_file(&segment_path(dir, segment))?;
    }
    for old in checkpoints(disk, dir)?.into_iter().filter(|c| *c < to) {
        disk.remove_dir_all(&checkpoint_path(dir, old))?;
    }
    disk.sync_dir(dir)
}

/// Removes what a crash left of an unfinished checkpoint.
///
/// # Errors
/// No permission.
pub fn remove_unfinished(disk: &dyn Disk, dir: &Path) -> DiskResult<()> {
    for entry in disk.list(dir)? {
        let unfinished = entry.name.ends_with(".tmp") || entry.name.ends_with(".mend");
        match (unfinished, entry.is_dir) {
            (true, true) => disk.remove_dir_all(&dir.join(&entry.name))?,
            (true, false) => disk.remove_file(&dir.join(&entry.name))?,
            _ => {}
        }
    }
    Ok(())
}

#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Batch {
    fn push(&mut self, encode: impl FnOnce(&mut Vec<u8>)) {
        encode(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    fn write(&mut self, writer: &mut WalWriter) -> DiskResult<()> {
        let mut from = 0;
        let bytes = &self.bytes;
        writer.log(self.ends.iter().map(|end| {
            let record = bytes.get(from..*end).unwrap_or_default();
            from = *end;
            record
        }))?;
        self.bytes.clear();
        self.ends.clear();
        Ok(())
    }
}

struct Pass<'a> {
    mint_ms: i64,
    exemplars_from_ms: i64,
    keep: &'a dyn Fn(u64) -> bool,
    stats: CheckpointStats,
    metadata: HashMap<u64, MetadataRecord>,
}

impl Pass<'_> {
    fn take(&mut self, record: Record, batch: &mut Batch) {
        let mint = self.mint_ms;
        match record {
            Record::Series(mut all) => {
                let before = all.len() as u64;
                all.retain(|s| (self.keep)(s.series));
                self.stats.series += all.len() as u64;
                self.stats.series_dropped += before - all.len() as u64;
                for part in all.chunks(SERIES_PER_RECORD) {
                    batch.push(|out| record::encode_series(out, part));
                }
            }
            Record::Samples(mut all) => {
                let before = all.len() as u64;
                all.retain(|s| s.t_ms >= mint);
                self.count_samples(before, all.len() as u64);
                if !all.is_empty() {
                    batch.push(|out| record::encode_samples(out, &all));
                }
            }
            Record::Histograms(mut all) => {
                let before = all.len() as u64;
                all.retain(|h| h.t_ms >= mint);
                self.count_samples(before, all.len() as u64);
                // A record of version 1 holds one kind only; their order among each other does not matter
                // within a record, since one series has one kind at a time.
                for run in all.chunk_by(|a, b| record::histogram_type(a) == record::histogram_type(b)) {
                    if let Some(first) = run.first() {
                        batch.push(|out| record::encode_histograms(out, record::histogram_type(first), run));
                    }
                }
            }
            Record::Tombstones(mut all) => {
                all.retain(|s| (self.keep)(s.series) && s.maxt_ms >= mint);
                if !all.is_empty() {
                    batch.push(|out| record::encode_tombstones(out, &all));
                }
            }
            Record::Exemplars(mut all) => {
                // Nothing else on disk has them.
                all.retain(|e| e.t_ms >= mint || (e.t_ms >= self.exemplars_from_ms && (self.keep)(e.series)));
                if !all.is_empty() {
                    batch.push(|out| record::encode_exemplars(out, &all));
                }
            }
            Record::Metadata(all) => {
                for m in all.into_iter().filter(|m| (self.keep)(m.series)) {
                    self.metadata.insert(m.series, m);
                }
            }
            Record::MmapMarkers(_) | Record::Unknown(_) => {}
        }
    }

    fn count_samples(&mut self, before: u64, kept: u64) {
        self.stats.samples += kept;
        self.stats.samples_dropped += before - kept;
    }
}
