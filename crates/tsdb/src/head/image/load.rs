//! Reading an image, on as many threads as there are processors. What is wrong with it is a reason not to use
//! it and no error.

use std::path::Path;
use std::sync::Arc;

use model::{Exemplar, Labels};

use super::asleep::{Sleeper, Waker};
use super::frames::{FrameReader, Unusable};
use super::index::Pieces;
use super::page::Tally;
use super::{End, Position};
use crate::disk::Disk;
use crate::head::index::HeadIndex;
use crate::head::mapped::is_whole;
use crate::head::table::{Page, SeriesTable};
use crate::wal::segments;

/// Threads that read: more than this wait for memory.
const THREADS_MAX: usize = 8;

/// What an image has beside series.
#[derive(Default)]
pub(in crate::head) struct Restored {
    pub(in crate::head) tally: Tally,
    /// Metadata, tombstones, exemplars.
    pub(in crate::head) records: Vec<Vec<u8>>,
    pub(in crate::head) expiry: Vec<(u64, i64)>,
    /// Numbers in the logs that have become others here: the logs behind the image have them as well.
    pub(in crate::head) renamed: Vec<(u64, u64)>,
    /// Of series that are gone.
    pub(in crate::head) exemplars: Vec<(Labels, Exemplar)>,
    /// Bytes of the image.
    pub(in crate::head) size: u64,
}

/// A head as an image has it.
pub(in crate::head) struct Image {
    pub(in crate::head) index: HeadIndex,
    awake: Vec<Page>,
    asleep: Vec<Sleeper>,
    pub(in crate::head) restored: Restored,
    /// Files before the position's segment, and bytes, that the log had.
    pub(in crate::head) log: (u64, u64),
    /// The log goes on from here.
    pub(in crate::head) start: Position,
    /// Chunk files have chunks that it does not know from here on.
    pub(in crate::head) chunks_from: (u32, u64),
}

impl Image {
    /// Its series. Whatever wakes pages must be ready.
    pub(in crate::head) fn take_table(&mut self, waker: &Arc<Waker>) -> SeriesTable {
        let asleep = std::mem::take(&mut self.asleep).into_iter().map(|s| s.page(waker));
        std::mem::take(&mut self.awake).into_iter().chain(asleep).collect()
    }
}

/// Loads the image of a data folder, where there is one that belongs to what the folder has. Pages without
/// anything before `min_valid` may be left asleep where `may_sleep` says so.
pub(in crate::head) fn load(
    disk: &Arc<dyn Disk>,
    data: &Path,
    wal: &Path,
    (min_valid, may_sleep): (i64, bool),
    threads: bool,
) -> Option<Image> {
    match try_load(&**disk, data, wal, (min_valid, may_sleep), threads) {
        Ok(image) => image,
        Err(Unusable(why)) => {
            tracing::warn!(why, "head image is not used; the whole log is replayed");
            None
        }
    }
}

fn try_load(
    disk: &dyn Disk,
    data: &Path,
    wal: &Path,
    sleep: (i64, bool),
    threads: bool,
) -> Result<Option<Image>, Unusable> {
    let Some(reader) = FrameReader::open(disk, &super::path(data))? else { return Ok(None) };
    let end = End::read(&reader.end()?)?;
    if let Some(why) = misfit(&end, disk, wal)? {
        // A Prometheus ran in between, or a kill came before the image that follows a cut of the log.
        tracing::info!(why, "head image does not belong to the log any more; all of the log is replayed");
        return Ok(None);
    }
    let mut all = read_frames(&reader, sleep, threads)?;
    if all.tally.series != end.series {
        return Err(Unusable("pages are missing".to_string()));
    }
    let chunks = data.join("chunks_head");
    for (file, len) in end.files.iter().filter(|(file, _)| *file >= all.tally.oldest_file) {
        // The log has what a damaged chunk had: a full replay makes it anew, a query could only fail.
        if !is_whole(disk, &chunks, *file, *len)? {
            return Err(Unusable(format!("head chunks file {file:06} is damaged or shorter")));
        }
    }
    let index = all.index(end.last)?;
    Ok(Some(Image {
        index,
        awake: all.awake,
        asleep: all.asleep,
        restored: Restored {
            tally: all.tally,
            records: all.records,
            expiry: all.expiry,
            renamed: all.renamed,
            exemplars: all.exemplars,
            size: reader.len(),
        },
        log: end.log,
        start: end.start,
        chunks_from: end.chunks_from,
    }))
}

/// Why an image does not belong to the log that is there.
fn misfit(end: &End, disk: &dyn Disk, wal: &Path) -> Result<Option<&'static str>, Unusable> {
    if !end.anchor.holds(disk, wal)? {
        return Ok(Some("the log is another one or shorter"));
    }
    if super::newest_checkpoint(disk, wal)? != end.checkpoint {
        return Ok(Some("the log was cut since"));
    }
    let there = segments(disk, wal)?;
    let gone = (end.start.segment..=end.anchor.at.segment).any(|s| there.binary_search(&s).is_err());
    Ok(gone.then_some("segments of the log are gone"))
}

fn read_frames(reader: &FrameReader, sleep: (i64, bool), threads: bool) -> Result<Pieces, Unusable> {
    let work = || -> Result<Pieces, Unusable> {
        let (mut pieces, mut buf) = (Pieces::default(), Arc::new(Vec::new()));
        loop {
            // Pages that sleep keep theirs.
            if Arc::get_mut(&mut buf).is_none() {
                buf = Arc::new(Vec::new());
            }
            let Some(own) = Arc::get_mut(&mut buf) else { continue };
            let Some(kind) = reader.next(own)? else { break };
            pieces.take(kind, &buf, sleep)?;
        }
        Ok(pieces)
    };
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let others = if threads { processors.min(THREADS_MAX) - 1 } else { 0 };
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..others).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for handle in handles {
            let other = handle.join().unwrap_or_else(|_| Err(Unusable("a reading thread died".to_string())));
            all = match (all, other) {
                (Ok(mut all), Ok(other)) => {
                    all.add(other);
                    Ok(all)
                }
                (Err(e), _) | (_, Err(e)) => Err(e),
            };
        }
        all
    })
}
