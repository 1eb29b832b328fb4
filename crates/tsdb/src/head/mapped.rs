//! Complete chunks of the head on disk: the files of `chunks_head`, so that memory holds open chunks only.
//! Format of upstream's `tsdb/docs/format/head_chunks.md`.
//!
//! These files only spare memory and replay: all their samples are in the log as well, so nothing here is
//! synced, and a damaged file costs the time to replay what it held.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hashbrown::HashMap;
use parking_lot::Mutex;
use storage::{ChunkEncoding, RawChunk, StorageError};

use crate::disk::{Disk, DiskResult, ReadFile, WriteFile, WriteMode};
use crate::wal::bytes::{Bytes, put_u64, put_uvarint};

const MAGIC: u32 = 0x0130_bc91;
/// What each file begins with: magic number, format, padding.
const HEADER: [u8; 8] = [0x01, 0x30, 0xbc, 0x91, 1, 0, 0, 0];
/// Series, first and last time, encoding.
const CHUNK_HEADER_BYTES: usize = 8 + 8 + 8 + 1;
const SUM_BYTES: usize = 4;
/// Upstream's bound of a file.
const FILE_BYTES_MAX: u64 = 128 << 20;
/// Collected before a write; upstream's default.
const BUFFER_BYTES: usize = 4 << 20;
/// Complete chunks in memory while the disk refuses them. A chunk of 120 samples has some 200 bytes: those of
/// 100,000 series at 15 seconds for six hours of a full disk, twice as long as the log's records are held.
const PENDING_BYTES_MAX: usize = 256 << 20;
/// One read usually gets a whole chunk: 25 + 2 + 1,024 + 4 bytes at most for floats.
const READ_BYTES: usize = 512;
/// A histogram chunk of the most buckets stays far below; a length above is a damaged one.
const CHUNK_BYTES_MAX: u64 = 64 << 20;
/// Files made to fill a gap in the numbers: more than a head has, fewer than a file name can ask for.
const GAP_FILES_MAX: usize = 1024;
/// Set on chunks of out-of-order samples.
const OUT_OF_ORDER: u8 = 0x80;

/// A complete chunk on disk. 24 bytes: a series has about six.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MappedChunk {
    /// Time of the first sample.
    pub(crate) min_time: i64,
    /// Last time less first; a chunk spans at most one block range.
    span: u32,
    file: u32,
    offset: u32,
    /// Samples.
    pub(crate) samples: u16,
    /// As on disk.
    encoding: u8,
}

impl MappedChunk {
    /// Time of the last sample.
    pub(crate) fn max_time(&self) -> i64 {
        self.min_time.saturating_add(i64::from(self.span))
    }
    /// Sorts chunks of a series by time and leaves out those that overlap one before: a chunk holds all
    /// samples of its span, so what is left out comes from the log.
    pub(crate) fn restore_order(chunks: &mut Vec<MappedChunk>) {
        if chunks.is_sorted_by(|a, b| a.max_time() < b.min_time) {
            return;
        }
        chunks.sort_by_key(|c| (c.min_time, c.file, c.offset));
        let mut end = None;
        chunks.retain(|c| {
            let fits = end.is_none_or(|end| c.min_time > end);
            if fits {
                end = Some(c.max_time());
            }
            fits
        });
    }
    /// Span, file, offset and encoding, which with time and samples are all of it.
    pub(super) fn parts(&self) -> (u32, u32, u32, u8) {
        (self.span, self.file, self.offset, self.encoding)
    }
    /// Of such parts.
    pub(super) fn from_parts(min_time: i64, samples: u16, parts: (u32, u32, u32, u8)) -> Self {
        let (span, file, offset, encoding) = parts;
        MappedChunk { min_time, span, file, offset, samples, encoding }
    }
    /// Number of its file.
    pub(crate) fn file(&self) -> u32 {
        self.file
    }
    /// True for native histograms of either kind.
    pub(crate) fn encoding(&self) -> Option<ChunkEncoding> {
        ChunkEncoding::from_u8(self.encoding)
    }
}

/// A complete chunk of late samples on disk. It may span more than a [`MappedChunk`] can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OooChunk {
    /// Time of the first sample.
    pub(crate) min_time: i64,
    /// Time of the last sample.
    pub(crate) max_time: i64,
    /// Where it is.
    pub(crate) chunk: MappedChunk,
}

impl OooChunk {
    /// Its place as the log of late samples names it: file in the upper, offset in the lower 32 bits.
    pub(crate) fn place(&self) -> u64 {
        u64::from(self.chunk.file) << 32 | u64::from(self.chunk.offset)
    }
}

/// Bytes of one file that the disk has not taken yet.
#[derive(Clone, Debug)]
struct Piece {
    file: u32,
    /// Where in the file it goes; 0 with the file's header.
    base: u64,
    bytes: Arc<Vec<u8>>,
}

impl Piece {
    fn has(&self, chunk: &MappedChunk) -> bool {
        let offset = u64::from(chunk.offset);
        chunk.file == self.file && offset >= self.base && offset < self.base + self.bytes.len() as u64
    }
}

/// What there is, in memory and by handles. No input or output happens under its lock.
#[derive(Debug, Default)]
struct State {
    /// The file that `buf` goes to, behind `base` bytes.
    file: u32,
    base: u64,
    buf: Vec<u8>,
    /// Complete buffers, oldest first; at most the first two are of one file.
    pending: VecDeque<Piece>,
    pending_bytes: usize,
    readers: BTreeMap<u32, Arc<dyn ReadFile>>,
    /// Files and places of them that were given up for want of memory.
    given_up: Vec<Piece>,
    given_up_bytes: u64,
    /// Files below this number are durable; `None` after a failed fsync.
    synced_to: Option<u32>,
}

/// The file that is written to.
#[derive(Debug, Default)]
struct Output {
    file: u32,
    writer: Option<Box<dyn WriteFile>>,
    /// Good bytes; a failed write may have left others behind them.
    flushed: u64,
    failed: bool,
}

/// The files of one head.
#[derive(Debug)]
pub(crate) struct HeadChunks {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    state: Mutex<State>,
    /// One writes at a time. Order: output, state.
    output: Mutex<Output>,
    /// Who fills a buffer also writes it: while nobody else does, in a replay.
    inline: AtomicBool,
    buffer_bytes: usize,
    pending_bytes_max: usize,
}

/// What loading found.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// Chunks by series number in the log, in order of time.
    pub(crate) chunks: HashMap<u64, Vec<MappedChunk>>,
    /// Chunks of late samples by series number, in the order in which they were written.
    pub(crate) late: HashMap<u64, Vec<OooChunk>>,
    /// Files with damage, in words.
    pub(crate) damaged: Vec<String>,
}

fn file_path(dir: &Path, file: u32) -> PathBuf {
    dir.join(format!("{file:06}"))
}

fn files(disk: &dyn Disk, dir: &Path) -> DiskResult<Vec<u32>> {
    let entries = disk.list(dir)?;
    let digits = |n: &str| n.bytes().all(|b| b.is_ascii_digit());
    let mut all: Vec<u32> =
        entries.iter().filter(|e| digits(&e.name)).filter_map(|e| e.name.parse().ok()).collect();
    all.sort_unstable();
    Ok(all)
}

impl HeadChunks {
    /// Opens the folder, which is made where absent, and reads what is there, but for chunks before the place
    /// `from` (file, offset), which are known. Chunks that end before `min_time` are left out. A file is cut at
    /// its first damaged chunk.
    ///
    /// # Errors
    /// No permission, no room.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        min_time: i64,
        from: (u32, u64),
    ) -> DiskResult<(Self, Loaded)> {
        crate::disk::create_dir_durable(&*disk, dir)?;
        let mut loaded = Loaded::default();
        let mut state = State::default();
        let mut empty = Vec::new();
        for file in files(&*disk, dir)? {
            let path = file_path(dir, file);
            let read = match file.cmp(&from.0) {
                std::cmp::Ordering::Less => disk.open_read(&path).map(Some)?,
                std::cmp::Ordering::Equal => load(&*disk, &path, (file, from.1), min_time, &mut loaded)?,
                std::cmp::Ordering::Greater => load(&*disk, &path, (file, 0), min_time, &mut loaded)?,
            };
            match read {
                Some(reader) => {
                    let before = state.readers.last_key_value().map_or(file, |(last, _)| *last);
                    empty.extend((before + 1..file).take(GAP_FILES_MAX));
                    state.readers.insert(file, reader);
                    state.file = file;
                }
                None => disk.remove_file(&path)?,
            }
        }
        // Upstream does not start on a folder whose files are not numbered one by one: where one is gone
        // between others, a file without chunks is put. Numbers behind the last one are used again.
        for file in empty {
            match put_empty(&*disk, dir, file) {
                Ok(reader) => drop(state.readers.insert(file, reader)),
                // A start on a full disk works; the next one closes the gap, and we do not need it closed.
                Err(e) if e.is_full() => {
                    tracing::warn!(error = %e, "a gap in the numbers of head chunks files stays until there is room");
                }
                Err(e) => return Err(e),
            }
        }
        // The log's first sync covers all that is there, before anyone asks.
        state.synced_to = Some(state.file + 1);
        // Samples that were missing between chunks are written behind them.
        loaded.chunks.values_mut().for_each(MappedChunk::restore_order);
        let head = HeadChunks {
            disk,
            dir: dir.to_path_buf(),
            state: Mutex::new(state),
            output: Mutex::default(),
            inline: AtomicBool::new(true),
            buffer_bytes: BUFFER_BYTES,
            pending_bytes_max: PENDING_BYTES_MAX,
        };
        Ok((head, loaded))
    }

    /// Chunks up to `place` are gone: what comes now gets places behind it, though a power cut took the files that
    /// had them. Else a start would take the one for the other.
    pub(crate) fn begin_behind(&self, place: u64) {
        let mut state = self.state.lock();
        let gone = (place >> 32) as u32;
        // More are no file names of ours.
        if state.file < gone && (gone - state.file) as usize <= GAP_FILES_MAX {
            state.file = gone;
        }
    }

    /// From here on buffers are written by [`HeadChunks::flush`] and [`HeadChunks::flush_full`] alone: no
    /// commit waits for the disk.
    pub(crate) fn leave_to_upkeep(&self) {
        self.inline.store(false, Ordering::Release);
    }

    /// Place (file, offset) before which all chunks are that were taken so far.
    pub(crate) fn position(&self) -> (u32, u64) {
        let state = self.state.lock();
        match state.base + state.buf.len() as u64 {
            0 => (state.file + 1, 0),
            end => (state.file, end),
        }
    }

    /// Makes all chunks durable, so that who relies on their places need not look at them; gives the files and
    /// their lengths. `None` where the disk does not take them. One caller at a time.
    ///
    /// # Errors
    /// The device failed. From then on nothing is relied on: a second fsync would succeed without what the
    /// first one dropped.
    pub(crate) fn sync_all(&self) -> DiskResult<Option<Vec<(u32, u64)>>> {
        if !self.flush() {
            return Ok(None);
        }
        let (all, unsynced, current) = {
            let state = self.state.lock();
            // Of chunks that were given up there is no place to rely on.
            let Some(synced_to) = state.synced_to.filter(|_| state.given_up.is_empty()) else {
                return Ok(None);
            };
            let all = state.readers.iter().map(|(n, r)| Ok((*n, r.len()?)));
            let all = all.collect::<DiskResult<Vec<(u32, u64)>>>()?;
            let unsynced: Vec<u32> = state.readers.range(synced_to..).map(|(n, _)| *n).collect();
            (all, unsynced, state.readers.last_key_value().map_or(state.file, |(last, _)| *last))
        };
        // Handles of their own: chunks are written meanwhile.
        let sync = |n: &u32| self.disk.open_write(&file_path(&self.dir, *n), WriteMode::Existing)?.sync();
        let done = unsynced
            .iter()
            .try_for_each(sync)
            .and_then(|()| if unsynced.is_empty() { Ok(()) } else { self.disk.sync_dir(&self.dir) });
        self.state.lock().synced_to = done.is_ok().then_some(current);
        done.map(|()| Some(all))
    }

    /// Takes a chunk. It may stay in memory for a while and always does where the disk refuses.
    pub(crate) fn write(
        &self,
        series: u64,
        min_time: i64,
        max_time: i64,
        samples: u16,
        encoding: ChunkEncoding,
        data: &[u8],
    ) -> MappedChunk {
        self.put(series, min_time, max_time, samples, encoding, 0, data)
    }

    /// Takes a chunk of late samples, as [`HeadChunks::write`].
    pub(crate) fn write_late(&self, series: u64, chunk: &RawChunk, samples: u16) -> OooChunk {
        let (min_time, max_time) = (chunk.mint_ms, chunk.maxt_ms);
        let put = self.put(series, min_time, max_time, samples, chunk.encoding, OUT_OF_ORDER, &chunk.data);
        OooChunk { min_time, max_time, chunk: put }
    }

    #[allow(clippy::too_many_arguments)]
    fn put(
        &self,
        series: u64,
        min_time: i64,
        max_time: i64,
        samples: u16,
        encoding: ChunkEncoding,
        mark: u8,
        data: &[u8],
    ) -> MappedChunk {
        let mut state = self.state.lock();
        let size = (CHUNK_HEADER_BYTES + 5 + data.len() + SUM_BYTES) as u64;
        let at = state.base + state.buf.len() as u64;
        if at == 0 || at + size > FILE_BYTES_MAX {
            seal(&mut state);
            next_file(&mut state);
        }
        let (file, offset) = (state.file, state.base + state.buf.len() as u64);
        let buf = &mut state.buf;
        let from = buf.len();
        put_u64(buf, series);
        put_u64(buf, min_time as u64);
        put_u64(buf, max_time as u64);
        buf.push(encoding as u8 | mark);
        put_uvarint(buf, data.len() as u64);
        buf.extend_from_slice(data);
        let sum = crc32c::crc32c(buf.get(from..).unwrap_or_default());
        buf.extend_from_slice(&sum.to_be_bytes());
        if buf.len() > self.buffer_bytes {
            seal(&mut state);
            if state.pending.len() > 1 {
                // The disk does not keep up: from here on a file for each buffer, so that any of them may be
                // given up without a hole in a file.
                next_file(&mut state);
            }
            self.keep_budget(&mut state);
            if self.inline.load(Ordering::Acquire) {
                drop(state);
                self.flush_full();
            }
        }
        MappedChunk {
            min_time,
            span: u32::try_from(max_time.saturating_sub(min_time)).unwrap_or(u32::MAX),
            file,
            offset: offset as u32,
            samples,
            encoding: encoding as u8,
        }
    }

    /// Lets the oldest buffers go that the disk does not take.
    fn keep_budget(&self, state: &mut State) {
        while state.pending_bytes > self.pending_bytes_max {
            let Some(first) = state.pending.front().map(|p| p.file) else { break };
            while let Some(mut piece) = state.pending.pop_front_if(|p| p.file == first) {
                state.pending_bytes -= piece.bytes.len();
                if state.given_up_bytes == 0 {
                    tracing::error!(
                        dir = %self.dir.display(),
                        budget_bytes = self.pending_bytes_max,
                        "memory for head chunks that the disk refuses is used up; the oldest are given up: their samples are missing in queries and in the next block"
                    );
                }
                state.given_up_bytes += piece.bytes.len() as u64;
                piece.bytes = Arc::new(Vec::new());
                state.given_up.push(piece);
            }
        }
    }

    /// Writes complete buffers.
    pub(crate) fn flush_full(&self) {
        // Whoever is at it writes them all.
        let Some(mut output) = self.output.try_lock() else { return };
        self.write_pending(&mut output);
    }

    /// Writes all there is; false where the disk does not take it.
    pub(crate) fn flush(&self) -> bool {
        let mut output = self.output.lock();
        seal(&mut self.state.lock());
        self.write_pending(&mut output)
    }

    fn write_pending(&self, output: &mut Output) -> bool {
        loop {
            let Some(piece) = self.state.lock().pending.front().cloned() else { return true };
            match self.write_piece(output, &piece) {
                Ok(()) => output.failed = false,
                Err(e) => {
                    if !std::mem::replace(&mut output.failed, true) {
                        tracing::warn!(error = %e, "cannot write head chunks; they stay in memory");
                    }
                    return false;
                }
            }
            let mut state = self.state.lock();
            // It may have been given up meanwhile.
            if let Some(done) = state.pending.pop_front_if(|p| (p.file, p.base) == (piece.file, piece.base)) {
                state.pending_bytes -= done.bytes.len();
            } else {
                state.given_up.retain(|p| (p.file, p.base) != (piece.file, piece.base));
            }
        }
    }

    fn write_piece(&self, output: &mut Output, piece: &Piece) -> DiskResult<()> {
        if output.file != piece.file || output.writer.is_none() {
            self.fill_gap(piece.file)?;
            let path = file_path(&self.dir, piece.file);
            let mode = if piece.base == 0 { WriteMode::Truncate } else { WriteMode::Existing };
            let writer = self.disk.open_write(&path, mode)?;
            let reader = self.disk.open_read(&path)?;
            self.state.lock().readers.insert(piece.file, reader);
            *output = Output { file: piece.file, writer: Some(writer), flushed: piece.base, ..*output };
        }
        let Output { writer: Some(writer), flushed, .. } = output else { return Ok(()) };
        *flushed = piece.base;
        if writer.len() != piece.base {
            writer.set_len(piece.base)?;
        }
        match writer.append(&piece.bytes) {
            Ok(()) => *flushed += piece.bytes.len() as u64,
            Err(e) => {
                // Tried again with the next flush if it does not work now.
                let _ = writer.set_len(*flushed);
                return Err(e);
            }
        }
        Ok(())
    }

    /// Puts empty files where some were given up: upstream wants them numbered one by one.
    fn fill_gap(&self, file: u32) -> DiskResult<()> {
        let last = self.state.lock().readers.last_key_value().map(|(last, _)| *last);
        let Some(last) = last else { return Ok(()) };
        for missing in (last + 1..file).take(GAP_FILES_MAX) {
            let reader = put_empty(&*self.disk, &self.dir, missing)?;
            self.state.lock().readers.insert(missing, reader);
        }
        Ok(())
    }

    /// Reads a chunk's bytes into `out`; false, and nothing, where it was given up for want of memory.
    ///
    /// # Errors
    /// The device failed; the chunk's checksum does not hold.
    pub(crate) fn read(&self, chunk: &MappedChunk, out: &mut Vec<u8>) -> Result<bool, StorageError> {
        out.clear();
        let offset = u64::from(chunk.offset);
        let reader = {
            let state = self.state.lock();
            if chunk.file == state.file
                && offset >= state.base
                && offset < state.base + state.buf.len() as u64
            {
                let from = (offset - state.base) as usize;
                return take(state.buf.get(from..).unwrap_or_default(), out)
                    .map(|()| true)
                    .ok_or_else(|| self.corrupt(chunk));
            }
            if let Some(piece) = state.pending.iter().find(|p| p.has(chunk)) {
                let from = (offset - piece.base) as usize;
                return take(piece.bytes.get(from..).unwrap_or_default(), out)
                    .map(|()| true)
                    .ok_or_else(|| self.corrupt(chunk));
            }
            if state.given_up.iter().any(|p| p.file == chunk.file && offset >= p.base) {
                return Ok(false);
            }
            state.readers.get(&chunk.file).map(Arc::clone)
        };
        let reader = reader.ok_or_else(|| self.corrupt(chunk))?;
        let mut bytes = vec![0; READ_BYTES];
        let mut n = 0;
        loop {
            let got = reader.read_at(bytes.get_mut(n..).unwrap_or_default(), offset + n as u64)?;
            n += got;
            let needed = length(bytes.get(..n).unwrap_or_default()).ok_or_else(|| self.corrupt(chunk))?;
            if n >= needed {
                break;
            }
            if got == 0 {
                return Err(self.corrupt(chunk));
            }
            bytes.resize(needed, 0);
        }
        take(&bytes, out).map(|()| true).ok_or_else(|| self.corrupt(chunk))
    }

    fn corrupt(&self, chunk: &MappedChunk) -> StorageError {
        StorageError::Corrupt {
            place: format!("{} at {}", file_path(&self.dir, chunk.file).display(), chunk.offset),
            what: "head chunk's checksum or length does not hold".to_string(),
        }
    }

    /// Deletes files below `file`; a later write begins a new one, so that old data can go file by file.
    ///
    /// # Errors
    /// No permission.
    pub(crate) fn truncate(&self, file: u32) -> DiskResult<()> {
        let old: Vec<u32> = {
            // What is being written must not come back behind its removal.
            let _output = self.output.lock();
            let mut state = self.state.lock();
            if state.base + state.buf.len() as u64 > HEADER.len() as u64 {
                seal(&mut state);
                next_file(&mut state);
            }
            let file = file.min(state.file);
            let State { pending, pending_bytes, given_up, .. } = &mut *state;
            given_up.retain(|p| p.file >= file);
            pending.retain(|p| p.file >= file);
            *pending_bytes = pending.iter().map(|p| p.bytes.len()).sum();
            let kept = state.readers.split_off(&file);
            std::mem::replace(&mut state.readers, kept).into_keys().collect()
        };
        old.into_iter().try_for_each(|n| self.disk.remove_file(&file_path(&self.dir, n)))
    }

    /// Bytes in memory that the disk has not taken, and bytes given up since the start.
    pub(crate) fn held(&self) -> (usize, u64) {
        let state = self.state.lock();
        (state.pending_bytes + state.buf.len(), state.given_up_bytes)
    }

    /// The files that are there. What a process that was killed wrote to them may be nowhere else: its log
    /// may have been refused by the disk.
    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        self.state.lock().readers.keys().map(|n| file_path(&self.dir, *n)).collect()
    }

    /// Bytes of all files.
    pub(crate) fn size(&self) -> u64 {
        let state = self.state.lock();
        state.readers.values().filter_map(|r| r.len().ok()).sum()
    }
}

/// Makes what was collected a piece to be written.
fn seal(state: &mut State) {
    if state.buf.is_empty() {
        return;
    }
    let bytes = Arc::new(std::mem::take(&mut state.buf));
    let piece = Piece { file: state.file, base: state.base, bytes };
    state.base += piece.bytes.len() as u64;
    state.pending_bytes += piece.bytes.len();
    state.pending.push_back(piece);
}

fn next_file(state: &mut State) {
    (state.file, state.base, state.buf) = (state.file + 1, 0, HEADER.to_vec());
}

fn put_empty(disk: &dyn Disk, dir: &Path, file: u32) -> DiskResult<Arc<dyn ReadFile>> {
    let path = file_path(dir, file);
    disk.open_write(&path, WriteMode::Truncate)?.append(&HEADER)?;
    disk.open_read(&path)
}

/// Bytes of the chunk that begins here, header and checksum included; `None` for a length that cannot be.
fn length(bytes: &[u8]) -> Option<usize> {
    let mut rest = Bytes(bytes.get(CHUNK_HEADER_BYTES..)?);
    let before = rest.0.len();
    let size = rest.uvarint().ok().filter(|n| *n <= CHUNK_BYTES_MAX)?;
    Some(CHUNK_HEADER_BYTES + (before - rest.0.len()) + size as usize + SUM_BYTES)
}

/// Checks the chunk at the start of `bytes` and copies its data.
fn take(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let bytes = bytes.get(..length(bytes)?)?;
    let (content, sum) = bytes.split_last_chunk::<SUM_BYTES>()?;
    if crc32c::crc32c(content) != u32::from_be_bytes(*sum) {
        return None;
    }
    let mut rest = Bytes(content.get(CHUNK_HEADER_BYTES..)?);
    rest.uvarint().ok()?;
    out.extend_from_slice(rest.0);
    Some(())
}

/// Whether all chunks of a file up to `len` are as they were written: some 50 ns a chunk.
///
/// # Errors
/// Absent, the device failed.
pub(super) fn is_whole(disk: &dyn Disk, dir: &Path, file: u32, len: u64) -> DiskResult<bool> {
    let bytes = crate::disk::read_all(disk, &file_path(dir, file), 2 * FILE_BYTES_MAX)?;
    let Some(bytes) = bytes.get(..len as usize) else { return Ok(false) };
    let Some(mut rest) = bytes.strip_prefix(&HEADER) else { return Ok(bytes.is_empty()) };
    while !rest.is_empty() {
        let Some((chunk, behind)) = length(rest).and_then(|n| rest.split_at_checked(n)) else {
            return Ok(false);
        };
        let Some((content, sum)) = chunk.split_last_chunk::<SUM_BYTES>() else { return Ok(false) };
        if crc32c::crc32c(content) != u32::from_be_bytes(*sum) {
            return Ok(false);
        }
        rest = behind;
    }
    Ok(true)
}

/// Reads a file's chunks from a place on; `None` for one that is no file of ours or has nothing.
fn load(
    disk: &dyn Disk,
    path: &Path,
    (file, from): (u32, u64),
    min_time: i64,
    loaded: &mut Loaded,
) -> DiskResult<Option<Arc<dyn ReadFile>>> {
    if from > 0 && disk.size(path)? <= from {
        return disk.open_read(path).map(Some);
    }
    let bytes = crate::disk::read_all_around(disk, path, 2 * FILE_BYTES_MAX)?;
    let magic = bytes.first_chunk::<4>().map(|b| u32::from_be_bytes(*b));
    if magic != Some(MAGIC) || bytes.get(4) != Some(&1) {
        if bytes.iter().any(|b| *b != 0) {
            loaded.damaged.push(format!("{}: not a head chunks file", path.display()));
        }
        return Ok(None);
    }
    let mut at = HEADER.len().max(from as usize);
    let mut data = Vec::new();
    while let Some(rest) = bytes.get(at..).filter(|r| !r.is_empty()) {
        data.clear();
        let size = length(rest);
        let (Some(size), Some(())) = (size, take(rest, &mut data)) else {
            // Files are made larger ahead of time by upstream: zeros to the end are no damage.
            if rest.iter().any(|b| *b != 0) {
                loaded.damaged.push(format!("{}: damaged at {at}, cut there", path.display()));
            }
            let mut writer = disk.open_write(path, WriteMode::Append)?;
            writer.set_len(at as u64)?;
            break;
        };
        let mut b = Bytes(rest);
        if let (Ok(series), Ok(mint), Ok(maxt), Ok(encoding)) = (b.u64(), b.u64(), b.u64(), b.byte()) {
            let (mint, maxt) = (mint as i64, maxt as i64);
            let late = encoding & OUT_OF_ORDER != 0;
            let encoding = encoding & !OUT_OF_ORDER;
            let known = ChunkEncoding::from_u8(encoding);
            let samples = known.and_then(|e| crate::chunkenc::sample_count(e, &data).ok());
            let chunk = samples.map(|samples| MappedChunk {
                min_time: mint,
                span: u32::try_from(maxt.saturating_sub(mint)).unwrap_or(u32::MAX),
                file,
                offset: at as u32,
                samples,
                encoding,
            });
            if let (Some(chunk), true) = (chunk, late) {
                let chunk = OooChunk { min_time: mint, max_time: maxt, chunk };
                loaded.late.entry(series).or_default().push(chunk);
            } else if let (Some(chunk), true) = (chunk, maxt >= min_time) {
                loaded.chunks.entry(series).or_default().push(chunk);
            }
        }
        at += size;
    }
    if at == HEADER.len() {
        return Ok(None);
    }
    disk.open_read(path).map(Some)
}

/// What a file of head chunks holds.
#[derive(Clone, Debug, Default)]
pub struct HeadChunksFile {
    /// Whole chunks.
    pub chunks: u64,
    /// First and last time of these.
    pub range_ms: Option<(i64, i64)>,
    /// Where the first damaged chunk begins; nothing behind it can be read.
    pub damaged_at: Option<u64>,
}

/// Reads a file of head chunks and checks every sum; nothing is touched.
///
/// # Errors
/// The device failed; larger than any such file.
pub fn examine_head_chunks(disk: &dyn Disk, path: &Path) -> DiskResult<HeadChunksFile> {
    let bytes = crate::disk::read_all(disk, path, 2 * FILE_BYTES_MAX)?;
    let mut found = HeadChunksFile::default();
    if bytes.iter().all(|b| *b == 0) {
        return Ok(found);
    }
    if bytes.first_chunk::<4>().map(|b| u32::from_be_bytes(*b)) != Some(MAGIC) || bytes.get(4) != Some(&1) {
        found.damaged_at = Some(0);
        return Ok(found);
    }
    let (mut at, mut data) = (HEADER.len(), Vec::new());
    while let Some(rest) = bytes.get(at..).filter(|r| !r.is_empty()) {
        data.clear();
        let (Some(size), Some(())) = (length(rest), take(rest, &mut data)) else {
            found.damaged_at = rest.iter().any(|b| *b != 0).then_some(at as u64);
            break;
        };
        let mut b = Bytes(rest);
        if let (Ok(_), Ok(mint), Ok(maxt)) = (b.u64(), b.u64(), b.u64()) {
            let (first, last) = found.range_ms.unwrap_or((i64::MAX, i64::MIN));
            found.range_ms = Some((first.min(mint as i64), last.max(maxt as i64)));
        }
        found.chunks += 1;
        at += size;
    }
    Ok(found)
}
