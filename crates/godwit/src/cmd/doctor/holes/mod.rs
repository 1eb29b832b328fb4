//! Holes in a data folder: times that no sample is of though series go on behind them.
//!
//! A copy of the folder of a running Prometheus by name takes the blocks first and the log later: what was compacted
//! in between is in neither, and nobody says so. A missing block does the same. So some series of each target are
//! followed through all blocks and the log, `up` first: it has a sample at each scrape, also while the target is down.
//! Rejected: the ranges that blocks tell, which have no gap where a server was down within a block's range, and one
//! where none is after a long stop.

mod judge;
#[cfg(test)]
mod tests;
mod track;

use std::collections::HashMap;

use model::Labels;
use storage::{SampleBuf, StorageError};
use tsdb::block::{Block, BlockMeta};
use tsdb::wal::record::Record;

use track::Track;

/// Series that are followed of each job and instance.
const SERIES_A_GROUP: u32 = 8;
/// Jobs and instances that are looked at; with names of 100 bytes 2 MiB.
const GROUPS_MAX: usize = 16_384;
/// Series that are followed: with labels of 300 bytes and some runs 40 MiB.
const TRACKS_MAX: usize = 65_536;
/// Numbers of followed series in the log. A series has one for each time that the server gave it a new one: 3 MiB.
const REFS_MAX: usize = 4 * TRACKS_MAX;

/// A job and an instance.
#[derive(Debug)]
struct Group {
    name: String,
    /// Its series in the part that has most of them.
    series: u64,
    /// Its series in this part, and how many of them are followed.
    in_part: u64,
    followed: u32,
}

/// What is known of the times of a folder.
#[derive(Debug, Default)]
pub(super) struct Holes {
    groups: Vec<Group>,
    by_name: HashMap<String, u32>,
    tracks: Vec<Track>,
    by_labels: HashMap<Labels, u32>,
    refs: HashMap<u64, u32>,
    /// Ranges of blocks.
    blocks: Vec<(i64, i64)>,
    /// Ranges of which nothing is known.
    unread: Vec<(i64, i64)>,
    /// First and last time in the log.
    log: Option<(i64, i64)>,
    /// Scratch.
    name: String,
}

impl Holes {
    /// A block whose samples are not looked at.
    pub(super) fn pass_over(&mut self, meta: &BlockMeta) {
        self.blocks.push((meta.mint_ms, meta.maxt_ms));
        self.unread.push((meta.mint_ms, meta.maxt_ms));
    }

    /// A log of which a part is not looked at: it may have what is younger than `since_ms`.
    pub(super) fn pass_over_log(&mut self) {
        let end = self.blocks.iter().map(|b| b.1).max().unwrap_or(i64::MIN);
        self.unread.push((end, i64::MAX));
    }

    /// Looks at a whole block.
    pub(super) fn block(&mut self, block: &Block) {
        let meta = block.meta();
        match self.read_block(block) {
            Ok(()) => self.blocks.push((meta.mint_ms, meta.maxt_ms)),
            // What is wrong with it is told by who reads all of it.
            Err(_) => self.pass_over(&meta),
        }
    }

    fn read_block(&mut self, block: &Block) -> Result<(), StorageError> {
        self.begin_part();
        let (mut bytes, mut samples) = (Vec::new(), SampleBuf::default());
        for series in block.series()? {
            let series = series?;
            let Some(track) = self.follow(&series.labels) else { continue };
            let mut damaged = false;
            block.chunk_reader().read(&series.chunks, None, &mut bytes, |_, chunk| {
                samples.clear();
                // Deleted samples are no hole: they are here, and someone wanted them gone.
                damaged |= tsdb::chunkenc::decode_all(chunk.encoding, chunk.data, &mut samples).is_err();
                if let Some(track) = self.tracks.get_mut(track as usize) {
                    track.add(&samples.times);
                }
                Ok(())
            })?;
            if damaged {
                self.unread.push((block.meta().mint_ms, block.meta().maxt_ms));
            }
        }
        Ok(())
    }

    /// A block, or the log, begins: what is there of each target is counted anew.
    pub(super) fn begin_part(&mut self) {
        for group in &mut self.groups {
            (group.in_part, group.followed) = (0, 0);
        }
        self.refs.clear();
    }

    /// The number of a series, if it is followed.
    fn follow(&mut self, labels: &Labels) -> Option<u32> {
        let metric = labels.get("__name__");
        // They come and go with what they tell of.
        if metric == "ALERTS" || metric == "ALERTS_FOR_STATE" {
            return None;
        }
        let (job, instance) = (labels.get("job"), labels.get("instance"));
        self.name.clear();
        for part in [job, "/", instance] {
            self.name.push_str(part);
        }
        let group = match self.by_name.get(&self.name) {
            Some(group) => *group,
            None if self.groups.len() >= GROUPS_MAX => return None,
            None => {
                let new = self.groups.len() as u32;
                self.groups.push(Group { name: self.name.clone(), series: 0, in_part: 0, followed: 0 });
                self.by_name.insert(self.name.clone(), new);
                new
            }
        };
        let told = self.groups.get_mut(group as usize)?;
        told.in_part += 1;
        told.series = told.series.max(told.in_part);
        let up = metric == "up";
        if let Some(known) = self.by_labels.get(labels) {
            told.followed += 1;
            return Some(*known);
        }
        if !up && (told.followed >= SERIES_A_GROUP || self.tracks.len() >= TRACKS_MAX) {
            return None;
        }
        told.followed += 1;
        let new = self.tracks.len() as u32;
        self.tracks.push(Track::new(group, up));
        self.by_labels.insert(labels.clone(), new);
        Some(new)
    }

    /// A record of the log, or of that of late samples.
    pub(super) fn record(&mut self, record: &Record) {
        match record {
            Record::Series(all) => {
                for s in all {
                    match self.follow(&s.labels) {
                        Some(track) if self.refs.len() < REFS_MAX => {
                            self.refs.insert(s.series, track);
                        }
                        // The number may have been another's.
                        _ => {
                            self.refs.remove(&s.series);
                        }
                    }
                }
            }
            Record::Samples(all) => all.iter().for_each(|s| self.logged(s.series, s.t_ms)),
            Record::Histograms(all) => all.iter().for_each(|s| self.logged(s.series, s.t_ms)),
            _ => {}
        }
    }

    fn logged(&mut self, series: u64, t_ms: i64) {
        let (first, last) = self.log.unwrap_or((t_ms, t_ms));
        self.log = Some((first.min(t_ms), last.max(t_ms)));
        let track = self.refs.get(&series).and_then(|t| self.tracks.get_mut(*t as usize));
        if let Some(track) = track {
            track.add(&[t_ms]);
        }
    }
}
