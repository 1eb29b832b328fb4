//! Bringing a block over in pieces: whole or not at all, each piece read back from the disk before it counts, and gone
//! on with after a kill where it was.
//!
//! The source hashes a piece when it reads it, this side hashes what it finds on its own disk after writing. What is
//! durable and compared is noted in a journal beside the scratch folder, so a kill costs one batch. Rejected: a hash
//! for each file, which has all of a file read again after a kill; comparing with the source's file, which reads that
//! twice.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use blake3::Hash;
use parking_lot::Mutex;
use storage::CancelToken;
use tsdb::block::{BlockMeta, CHUNKS_DIR, HINT_OUT_OF_ORDER, INDEX_FILE, META_FILE};
use tsdb::disk::{Disk, WriteFile, WriteMode, read_all, write_atomic};
use tsdb::tombstones::FILE_NAME as TOMBSTONES;

use crate::error::MigrateError;
use crate::pin::TOMBSTONES_BYTES_MAX;
use crate::source::Source;
use crate::throttle::Throttle;

/// Where blocks are put together. Prometheus and we look only at names of blocks.
const INCOMING_DIR: &str = "godwit-incoming";
/// Read, hashed and written at once.
pub(crate) const PIECE_BYTES: usize = 4 << 20;
/// So many pieces are synced, read back and noted together: 64 MiB, a third of a second at 200 MB/s.
const BATCH: usize = 16;
/// Pieces that are on their way at once, in a thread each: one is read while another is sent.
const FETCHERS: usize = 2;
/// Batches that wait to be synced, beside the one that is and the one that is written: a kill costs three.
const BATCHES_WAITING: usize = 1;
/// Pieces that wait to be written: 32 MiB.
const WAITING_MAX: usize = 8;
/// An entry of the journal: file, length, hash, checksum.
const ENTRY_BYTES: usize = 4 + 4 + 32 + 4;
/// 200,000 pieces: a block of 800 GB.
const JOURNAL_BYTES_MAX: u64 = 200_000 * ENTRY_BYTES as u64;
/// Descriptions are some kilobytes.
const META_BYTES_MAX: u64 = 16 << 20;

/// What copies took.
#[derive(Debug, Default)]
pub(crate) struct Spent {
    /// Bytes that were written.
    pub(crate) copied: AtomicU64,
    /// Microseconds in which files were copied, reading back beside that among them.
    pub(crate) copying: AtomicU64,
    /// Microseconds in which they were read back and compared.
    pub(crate) reading_back: AtomicU64,
}

/// Copies blocks of one source into one data folder.
pub(crate) struct Fetch<'a> {
    pub(crate) source: &'a dyn Source,
    pub(crate) to: &'a Arc<dyn Disk>,
    pub(crate) data: &'a Path,
    pub(crate) piece_bytes: usize,
    /// Pieces are written on while those before them are synced and read back. Not where a test wants each step to come
    /// after the one before.
    pub(crate) beside: bool,
    pub(crate) throttle: &'a Throttle,
    pub(crate) cancel: &'a CancelToken,
    pub(crate) spent: &'a Spent,
    /// Whether our head may have samples of a block's time.
    pub(crate) reaches_head: &'a (dyn Fn(&BlockMeta) -> bool + Sync),
}

/// A piece that is on our disk: its length and hash.
type Pieces = Vec<(u32, Hash)>;

impl Fetch<'_> {
    /// Brings a pinned block over; false where it was cancelled before the end.
    ///
    /// # Errors
    /// The source or our disk failed, no room; what is on our disk is not what was sent.
    pub(crate) fn block(&self, name: &str) -> Result<bool, MigrateError> {
        let (place, incoming) = (self.data.join(name), self.data.join(INCOMING_DIR));
        let (scratch, journal) = (incoming.join(name), incoming.join(format!("{name}.pieces")));
        let from = self.source.dir().join(name);
        let files = self.files(&from)?;
        if self.to.exists(&place)? {
            // Ours, from a run that ended before it could say so; or somebody else brought it.
            if !self.to.exists(&journal)? {
                self.compare(&from, &place, &files)?;
            }
            return Ok(true);
        }
        let mut done = self.noted(&journal)?;
        if !self.has(&scratch, &files, &done)? {
            // A power cut took what nothing had made durable yet: names of files.
            self.forget(name)?;
            done.clear();
        }
        self.to.create_dir_all(&scratch.join(CHUNKS_DIR))?;
        let mut notes = self.to.open_write(&journal, WriteMode::Append)?;
        let valid: usize = done.values().map(|pieces| pieces.len() * ENTRY_BYTES).sum();
        notes.set_len(valid as u64)?;
        for (n, file) in files.iter().enumerate() {
            let pieces = done.remove(&(n as u32)).unwrap_or_default();
            let copied = self.file(&from.join(file), &scratch.join(file), (n as u32, &pieces), &mut *notes);
            if let Err(MigrateError::Differs { .. }) = &copied {
                // The next try is not to build upon it.
                self.forget(name)?;
            }
            if !copied? {
                return Ok(false);
            }
        }
        let stones = from.join(TOMBSTONES);
        if self.source.disk().exists(&stones)? {
            let bytes = read_all(&**self.source.disk(), &stones, TOMBSTONES_BYTES_MAX)?;
            write_atomic(&**self.to, &scratch.join(TOMBSTONES), &bytes)?;
        }
        let meta = read_all(&**self.source.disk(), &from.join(META_FILE), META_BYTES_MAX)?;
        write_atomic(&**self.to, &scratch.join(META_FILE), &meta)?;
        let mut meta = BlockMeta::read(&**self.to, &scratch)?;
        // From the moment that it is there: killed before it is read, a start would pass over what our log has of its
        // time.
        if (self.reaches_head)(&meta) && !meta.compaction.has_hint(HINT_OUT_OF_ORDER) {
            meta.compaction.set_hint(HINT_OUT_OF_ORDER);
            meta.write(&**self.to, &scratch)?;
        }
        self.to.sync_dir(&scratch.join(CHUNKS_DIR))?;
        self.to.sync_dir(&scratch)?;
        self.to.rename(&scratch, &place)?;
        self.to.sync_dir(self.data)?;
        Ok(true)
    }

    /// Forgets what is known of a block that is in place, or how far it is.
    pub(crate) fn forget(&self, name: &str) -> Result<(), MigrateError> {
        let incoming = self.data.join(INCOMING_DIR);
        self.to.remove_dir_all(&incoming.join(name))?;
        match self.to.remove_file(&incoming.join(format!("{name}.pieces"))) {
            Err(e) if !e.is_not_found() => Err(e.into()),
            _ => Ok(()),
        }
    }

    /// Whether the scratch folder has what the journal says.
    fn has(
        &self,
        scratch: &Path,
        files: &[PathBuf],
        done: &BTreeMap<u32, Pieces>,
    ) -> Result<bool, MigrateError> {
        for (number, pieces) in done {
            let Some(file) = files.get(*number as usize) else { return Ok(false) };
            let path = scratch.join(file);
            if !self.to.exists(&path)? || self.to.size(&path)? < bytes_of(pieces) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Chunks first: who reads an index finds what it names.
    fn files(&self, from: &Path) -> Result<Vec<PathBuf>, MigrateError> {
        let mut files = Vec::new();
        for entry in self.source.disk().list(&from.join(CHUNKS_DIR))? {
            // Other names are notes and temporary files of tools.
            if !entry.is_dir && entry.name.parse::<u32>().is_ok() {
                files.push(Path::new(CHUNKS_DIR).join(entry.name));
            }
        }
        files.push(INDEX_FILE.into());
        Ok(files)
    }

    /// Brings what is missing of a file.
    fn file(
        &self,
        from: &Path,
        to: &Path,
        (number, done): (u32, &Pieces),
        notes: &mut dyn WriteFile,
    ) -> Result<bool, MigrateError> {
        let size = self.source.disk().size(from)?;
        let mut out = self.to.open_write(to, WriteMode::Append)?;
        let at = bytes_of(done);
        out.set_len(at)?;
        let (next, first) = (AtomicU64::new(at), at);
        std::thread::scope(|scope| {
            let (tx, rx) = mpsc::sync_channel(WAITING_MAX);
            // One for each piece on its way: who is far ahead of a thread that hangs waits for it.
            let (permit, permits) = mpsc::sync_channel(WAITING_MAX);
            (0..WAITING_MAX).for_each(|_| _ = permit.send(()));
            let permits = Arc::new(Mutex::new(permits));
            for _ in 0..FETCHERS {
                let (tx, next, permits) = (tx.clone(), &next, Arc::clone(&permits));
                scope.spawn(move || {
                    while !self.cancel.is_cancelled() && permits.lock().recv().is_ok() {
                        let at = next.fetch_add(self.piece_bytes as u64, Ordering::Relaxed);
                        if at >= size {
                            return;
                        }
                        self.throttle.take(self.piece_bytes.min((size - at) as usize) as u64, self.cancel);
                        let mut bytes = Vec::new();
                        let got = self.source.piece(from, at, self.piece_bytes, &mut bytes);
                        let failed = got.is_err();
                        // Nobody takes it: the writer has failed, and says so.
                        if tx.send((at, got.map(|hash| (bytes, hash)))).is_err() || failed {
                            return;
                        }
                    }
                });
            }
            drop(tx);
            let begun = Instant::now();
            let (hand, batches) = mpsc::sync_channel::<(u64, Pieces)>(BATCHES_WAITING);
            let mut settler = None;
            let mut own = None;
            if self.beside {
                // Syncing a file is the same by whichever handle.
                let mut handle = self.to.open_write(to, WriteMode::Existing)?;
                settler = Some(scope.spawn(move || -> Result<(), MigrateError> {
                    batches
                        .into_iter()
                        .try_for_each(|(end, batch)| self.settle(&mut *handle, (number, end), &batch, notes))
                }));
            } else {
                own = Some((batches, notes));
            }
            // Sent as they come.
            let mut early = BTreeMap::new();
            let (mut at, mut batch) = (first, Pieces::new());
            let write = || -> Result<(), MigrateError> {
                let mut done = |at: u64, batch: &mut Pieces, out: &mut dyn WriteFile| match &mut own {
                    _ if batch.is_empty() => Ok(true),
                    Some((_, notes)) => {
                        self.settle(out, (number, at), &std::mem::take(batch), &mut **notes).map(|()| true)
                    }
                    // Nobody takes it: the settler has failed, and says so.
                    None => Ok(hand.send((at, std::mem::take(batch))).is_ok()),
                };
                for (offset, got) in rx {
                    early.insert(offset, got?);
                    while let Some((bytes, hash)) = early.remove(&at) {
                        if bytes.is_empty() {
                            let why = format!("{} ends at {at} and not at {size}", from.display());
                            return Err(self.differs(to, why));
                        }
                        out.append(&bytes)?;
                        let _ = permit.try_send(());
                        at += bytes.len() as u64;
                        batch.push((bytes.len() as u32, hash));
                        self.spent.copied.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                        if batch.len() >= BATCH && !done(at, &mut batch, &mut *out)? {
                            return Ok(());
                        }
                    }
                }
                done(at, &mut batch, &mut *out).map(|_| ())
            };
            let written = write();
            drop(hand);
            // A panic is an error of ours; there is none that could be told of it but the caller.
            let settled = settler.map_or(Ok(()), |s| s.join().unwrap_or(Err(MigrateError::Copier)));
            spend(&self.spent.copying, begun.elapsed());
            written.and(settled)?;
            Ok(at == size)
        })
    }

    /// Makes the last pieces durable, reads them back, and notes them.
    fn settle(
        &self,
        out: &mut dyn WriteFile,
        (number, end): (u32, u64),
        batch: &Pieces,
        notes: &mut dyn WriteFile,
    ) -> Result<(), MigrateError> {
        out.sync()?;
        let begun = Instant::now();
        let len: u64 = batch.iter().map(|(len, _)| u64::from(*len)).sum();
        let file = self.to.open_read(out.path())?;
        // From the disk, not from memory, which has what we meant to write.
        file.forget(end - len, len);
        let (mut at, mut bytes, mut entries) = (end - len, Vec::new(), Vec::new());
        for (len, hash) in batch.iter() {
            bytes.resize(*len as usize, 0);
            file.read_exact_at(&mut bytes, at)?;
            if blake3::hash(&bytes) != *hash {
                return Err(
                    self.differs(out.path(), format!("what is there from byte {at} on is not what was sent"))
                );
            }
            at += u64::from(*len);
            entries.extend(entry(number, *len, hash));
        }
        file.forget(end - len, len);
        notes.append(&entries)?;
        spend(&self.spent.reading_back, begun.elapsed());
        Ok(())
    }

    fn differs(&self, path: &Path, why: String) -> MigrateError {
        MigrateError::Differs { path: path.to_path_buf(), why }
    }

    /// What the journal says of each file. Its end may be cut off, and what is behind a bad entry counts no more.
    fn noted(&self, journal: &Path) -> Result<BTreeMap<u32, Pieces>, MigrateError> {
        let bytes = match read_all(&**self.to, journal, JOURNAL_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(e) if e.is_not_found() => Vec::new(),
            Err(e) => return Err(e.into()),
        };
        let mut done: BTreeMap<u32, Pieces> = BTreeMap::new();
        for (number, len, hash) in bytes.chunks_exact(ENTRY_BYTES).map_while(read_entry) {
            done.entry(number).or_default().push((len, hash));
        }
        Ok(done)
    }

    /// Whether a block that is there already is the source's.
    fn compare(&self, from: &Path, place: &Path, files: &[PathBuf]) -> Result<(), MigrateError> {
        let (mut bytes, mut mine) = (Vec::new(), Vec::new());
        for file in files {
            let (from, to) = (from.join(file), place.join(file));
            let out = self.to.open_read(&to)?;
            let mut at = 0;
            loop {
                self.throttle.take(self.piece_bytes as u64, self.cancel);
                let hash = self.source.piece(&from, at, self.piece_bytes, &mut bytes)?;
                mine.resize(bytes.len(), 0);
                let same = out.read_exact_at(&mut mine, at).is_ok() && blake3::hash(&mine) == hash;
                if !same || (bytes.is_empty() && out.len()? != at) {
                    let why = format!("it is another block of the same name than {}", from.display());
                    return Err(self.differs(&to, why));
                }
                if bytes.is_empty() {
                    break;
                }
                at += bytes.len() as u64;
            }
        }
        Ok(())
    }
}

fn bytes_of(pieces: &Pieces) -> u64 {
    pieces.iter().map(|(len, _)| u64::from(*len)).sum()
}

fn spend(on: &AtomicU64, time: Duration) {
    on.fetch_add(time.as_micros() as u64, Ordering::Relaxed);
}

fn entry(file: u32, len: u32, hash: &Hash) -> [u8; ENTRY_BYTES] {
    let mut entry = [0; ENTRY_BYTES];
    let (body, sum) = entry.split_at_mut(ENTRY_BYTES - 4);
    let parts = file.to_le_bytes().into_iter().chain(len.to_le_bytes()).chain(*hash.as_bytes());
    body.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    sum.copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
    entry
}

fn read_entry(bytes: &[u8]) -> Option<(u32, u32, Hash)> {
    let (body, sum) = bytes.split_last_chunk::<4>()?;
    if u32::from_le_bytes(*sum) != crc32c::crc32c(body) {
        return None;
    }
    let (file, rest) = body.split_first_chunk::<4>()?;
    let (len, hash) = rest.split_first_chunk::<4>()?;
    let hash = <[u8; 32]>::try_from(hash).ok()?;
    Some((u32::from_le_bytes(*file), u32::from_le_bytes(*len), hash.into()))
}
