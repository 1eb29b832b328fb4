//! Making the log durable, and writing anew what a failed fsync may have dropped.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use super::queue::{Record, Unsynced};
use super::{Inherited, Log, State, Synced};
use crate::disk::{DiskError, DiskResult, WriteMode};
use crate::wal::segment::segment_path;
use crate::wal::writer::Suspect;
use crate::wal::{SyncWork, WalWriter};

/// Bytes that are written once more at a time.
const REWRITE_BYTES: u64 = 1 << 20;
/// Longest file that is read whole, as a bound: upstream's largest segment is 256 MiB.
const SEGMENT_BYTES_MAX: u64 = 1 << 30;

impl Log {
    /// Writes what is held and makes all that was committed survive a power cut. True where there was
    /// something to do.
    ///
    /// # Errors
    /// What is not durable yet; the next call tries again.
    pub fn sync(&self) -> DiskResult<bool> {
        let mut synced = self.syncing.lock();
        self.sync_locked(&mut synced)
    }

    /// Waits until commit `seq` is synced, by this call or another one's.
    pub(super) fn sync_to(&self, seq: u64) -> DiskResult<()> {
        let mut synced = self.syncing.lock();
        if synced.seq >= seq {
            return Ok(());
        }
        self.sync_locked(&mut synced).map(|_| ())
    }

    fn sync_locked(&self, synced: &mut Synced) -> DiskResult<bool> {
        let mut worked = false;
        synced.note.begin(&*self.disk)?;
        // Twice: what a failed fsync dropped is written anew and synced at once.
        for last_try in [false, true] {
            self.queue.lock().sync_begins();
            let mut state = self.state.lock();
            let held = self.write_queue(&mut state).and_then(|()| self.cut_suspects(&mut state));
            let inherited = std::mem::take(&mut state.inherited);
            let work = state.writer.as_mut().and_then(WalWriter::take_sync_work);
            let covered = std::mem::take(&mut state.unsynced);
            let seq = state.seq;
            drop(state);
            if work.is_none() && inherited.is_empty() {
                // Records without work are those of a writer that is gone.
                let mut state = self.state.lock();
                state.unsynced.restore(covered);
                synced.seq = synced.seq.max(seq);
                if held.is_ok() {
                    self.queue.lock().syncing_since = None;
                }
                return held.map(|()| worked);
            }
            worked = true;
            let reaches = work.as_ref().map(SyncWork::reaches);
            let old = self.sync_inherited(inherited);
            let done = work.map_or(Ok(()), SyncWork::try_run);
            let mut state = self.state.lock();
            if let Err((e, left)) = old {
                state.inherited = left;
                if let Some(writer) = &mut state.writer {
                    writer.sync_failed();
                }
                match done {
                    Ok(()) => state.unsynced.restore(covered),
                    Err((e, suspects)) => self.anew(&mut state, covered, suspects, &e),
                }
                return Err(e);
            }
            match done {
                Ok(()) => {
                    synced.seq = synced.seq.max(seq);
                    if let (Some(writer), Some((segment, _))) = (&mut state.writer, reaches) {
                        writer.sync_done(segment);
                    }
                    drop(state);
                    drop(covered);
                    if held.is_ok() {
                        self.queue.lock().syncing_since = None;
                    }
                    if let (Ok(()), Some((segment, offset))) = (&held, reaches) {
                        synced.note.reached(&*self.disk, segment, offset);
                    }
                    return held.map(|()| true);
                }
                Err((e, suspects)) => {
                    self.anew(&mut state, covered, suspects, &e);
                    if last_try {
                        return Err(e);
                    }
                }
            }
        }
        Ok(worked)
    }

    /// After a failed fsync: all that the last good one did not cover goes to a new segment.
    fn anew(&self, state: &mut State, covered: Unsynced, suspects: Vec<Suspect>, e: &DiskError) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
        let later = std::mem::take(&mut state.unsynced);
        let left_out = covered.left_out + later.left_out;
        tracing::error!(
            error = %e,
            records = covered.records.len() + later.records.len(),
            bytes_without_copy = left_out,
            "log segment cannot be synced and is given up; what it may have lost is written anew"
        );
        if left_out > 0 {
            // Without a copy of all of them, the file is what there is.
            self.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            state.suspects.extend(suspects);
        }
        {
            let mut queue = self.queue.lock();
            // Bounded where the copies are made; the budget must not take what the file is cut back for.
            let again = covered.records.into_iter().chain(later.records);
            queue.push_front(again.map(|r| Record { keep: true, ..r }));
            queue.holding = true;
            self.tell(&mut queue);
        }
        state.distrust = true;
        if let Some(writer) = &mut state.writer {
            writer.sync_failed();
        }
    }

    /// Replaces a file by a copy of itself, as the cache has it.
    fn rewrite(&self, path: &Path) -> DiskResult<()> {
        let content = crate::disk::read_all(&*self.disk, path, SEGMENT_BYTES_MAX)?;
        crate::disk::write_atomic(&*self.disk, path, &content)
    }

    /// Cuts segments back to what was synced of them, now that their other records are in a new one: what a
    /// failed fsync dropped would leave holes there after a power cut, and the records behind a hole would
    /// then come before those in it.
    fn cut_suspects(&self, state: &mut State) -> DiskResult<()> {
        // An empty one was used on, for those very records.
        let current = state.writer.as_ref().map(|w| segment_path(&self.dir, w.segment()));
        state.suspects.retain(|(path, _)| Some(path) != current.as_ref());
        while let Some((path, synced)) = state.suspects.last() {
            match self.disk.open_write(path, WriteMode::Existing) {
                Ok(mut file) if file.len() > *synced => {
                    file.set_len(*synced)?;
                    file.sync()?;
                }
                // Cut by a try whose fsync failed, it may be: then the medium has it as it was, and a second
                // fsync would not know of the cut.
                Ok(_) => self.rewrite(path)?,
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err(e),
            }
            state.suspects.pop();
        }
        Ok(())
    }

    fn sync_inherited(&self, mut files: Vec<Inherited>) -> Result<(), (DiskError, Vec<Inherited>)> {
        // Whatever fails, no later fsync is to be relied on for any of them.
        let all: Vec<Inherited> =
            files.iter().map(|f| Inherited { path: f.path.clone(), rewrite_from: Some(0) }).collect();
        let dirs: BTreeSet<PathBuf> =
            all.iter().filter_map(|f| f.path.parent().map(Path::to_path_buf)).collect();
        while let Some(Inherited { path, rewrite_from }) = files.pop() {
            let synced = self.sync_again(&path, rewrite_from);
            // A second fsync would succeed without what the first one dropped: a copy is written.
            let synced = synced.or_else(|e| if e.is_not_found() { Err(e) } else { self.rewrite(&path) });
            match synced {
                Ok(()) => {}
                // A checkpoint has taken its place.
                Err(e) if e.is_not_found() => {}
                Err(e) => return Err((e, all)),
            }
        }
        for dir in dirs {
            // A file of each comes again if this fails, and brings its folder with it.
            self.disk.sync_dir(&dir).map_err(|e| (e, all.clone()))?;
        }
        Ok(())
    }

    /// Makes a file durable; from an offset on it is written once more, with the bytes that it has.
    fn sync_again(&self, path: &Path, rewrite_from: Option<u64>) -> DiskResult<()> {
        let mut file = self.disk.open_write(path, WriteMode::Existing)?;
        if let Some(mut at) = rewrite_from {
            let (reader, len) = (self.disk.open_read(path)?, file.len());
            let mut bytes = vec![0; REWRITE_BYTES.min(len.saturating_sub(at)) as usize];
            while at < len {
                bytes.truncate((len - at).min(REWRITE_BYTES) as usize);
                reader.read_exact_at(&mut bytes, at)?;
                file.write_at(&bytes, at)?;
                at += bytes.len() as u64;
            }
        }
        file.sync()
    }
}
