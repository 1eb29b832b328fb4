//! The file of an image: frames, each with its kind, length and checksum, so that they can be read, checked
//! and decoded by several threads, and a trailer that says where the last of them is.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{Disk, DiskResult, ReadFile, WriteFile, WriteMode};
use crate::wal::bytes::{Bytes, put_u64};

/// Kind, length of what follows, checksum of both.
const HEADER_BYTES: usize = 1 + 8 + 4;
/// Offset of the last frame, the image's number, magic number.
const TRAILER_BYTES: usize = 24;
/// "godwit" and the format's version; another version is another image, which nobody reads.
const MAGIC: u64 = 0x676f_6477_6974_0004;
/// A frame is written when it is at least this long: one call for some thousand series.
pub(super) const FRAME_BYTES: usize = 1 << 20;

/// Extension of the file that an image is written to.
pub(super) const TMP: &str = "tmp";
/// Of the image before, for the instant in which it becomes that file.
pub(super) const SPARE: &str = "spare";

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Pages = 1,
    Names = 2,
    Pairs = 3,
    All = 4,
    Hashes = 5,
    Record = 6,
    Expiry = 7,
    Renamed = 8,
    /// Two records: series under numbers of this frame only, and exemplars of these.
    GoneExemplars = 9,
    End = 10,
}

impl Kind {
    fn from_u8(n: u8) -> Option<Self> {
        use Kind::{All, End, Expiry, GoneExemplars, Hashes, Names, Pages, Pairs, Record, Renamed};
        [Pages, Names, Pairs, All, Hashes, Record, Expiry, Renamed, GoneExemplars, End]
            .into_iter()
            .find(|k| *k as u8 == n)
    }
}

/// With the image's number: where a power cut leaves parts of the image that was overwritten, their frames are
/// none of this one's.
fn checksum(id: u64, header: &[u8], content: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&id.to_be_bytes()), header), content)
}

/// Writes an image under a name that is none until it is complete, over the image before the newest where that
/// is still there: pages that the system has already cost it a third of fresh ones.
pub(super) struct FrameWriter {
    disk: Arc<dyn Disk>,
    tmp: PathBuf,
    path: PathBuf,
    file: Box<dyn WriteFile>,
    buf: Vec<u8>,
    kind: Kind,
    id: u64,
    written: u64,
    last: u64,
    done: bool,
}

impl FrameWriter {
    /// `id` is no other image's of the folder.
    pub(super) fn create(disk: &Arc<dyn Disk>, path: &Path, id: u64) -> DiskResult<Self> {
        let tmp = path.with_extension(TMP);
        let file = match disk.open_write(&tmp, WriteMode::Existing) {
            Err(e) if e.is_not_found() => disk.open_write(&tmp, WriteMode::Truncate)?,
            other => other?,
        };
        Ok(FrameWriter {
            disk: Arc::clone(disk),
            tmp,
            path: path.to_path_buf(),
            file,
            buf: Vec::with_capacity(FRAME_BYTES + FRAME_BYTES / 4),
            kind: Kind::End,
            id,
            written: 0,
            last: 0,
            done: false,
        })
    }

    /// Begins a frame: what is pushed to the buffer becomes its content.
    pub(super) fn begin(&mut self, kind: Kind) -> &mut Vec<u8> {
        self.kind = kind;
        self.buf.clear();
        self.buf.resize(HEADER_BYTES, 0);
        &mut self.buf
    }

    /// The buffer of the frame that was begun.
    pub(super) fn buf(&mut self) -> &mut Vec<u8> {
        &mut self.buf
    }

    /// Whether the frame has anything.
    pub(super) fn is_begun(&self) -> bool {
        self.buf.len() > HEADER_BYTES
    }

    /// Writes the frame, and gives its bytes.
    pub(super) fn end(&mut self) -> DiskResult<usize> {
        let Some((header, content)) = self.buf.split_first_chunk_mut::<HEADER_BYTES>() else { return Ok(0) };
        header[0] = self.kind as u8;
        header[1..9].copy_from_slice(&(content.len() as u64).to_be_bytes());
        let sum = checksum(self.id, &header[..9], content);
        header[9..].copy_from_slice(&sum.to_be_bytes());
        self.put()?;
        self.last = self.written - self.buf.len() as u64;
        let n = self.buf.len();
        self.buf.clear();
        Ok(n)
    }

    /// Writes the trailer and gives the file its name.
    pub(super) fn finish(mut self) -> DiskResult<u64> {
        self.buf.clear();
        put_u64(&mut self.buf, self.last);
        put_u64(&mut self.buf, self.id);
        put_u64(&mut self.buf, MAGIC);
        self.put()?;
        if self.file.len() > self.written {
            self.file.set_len(self.written)?;
        }
        // The one before becomes the next one's file. There is an image under the name at every instant.
        let spare = self.path.with_extension(SPARE);
        let _ = self.disk.remove_file(&spare);
        let kept = self.disk.hard_link(&self.path, &spare).is_ok();
        self.disk.rename(&self.tmp, &self.path)?;
        self.done = true;
        if kept {
            self.disk.rename(&spare, &self.tmp)?;
        }
        Ok(self.written)
    }

    fn put(&mut self) -> DiskResult<()> {
        let end = self.written + self.buf.len() as u64;
        if end <= self.file.len() {
            self.file.write_at(&self.buf, self.written)?;
        } else {
            if self.written < self.file.len() {
                self.file.set_len(self.written)?;
            }
            self.file.append(&self.buf)?;
        }
        self.written = end;
        Ok(())
    }
}

impl Drop for FrameWriter {
    fn drop(&mut self) {
        if !self.done {
            // A leftover is overwritten by the next one.
            let _ = self.disk.remove_file(&self.tmp);
        }
    }
}

/// Why an image is not used. None of it is an error: the log has everything.
#[derive(Debug)]
pub(super) struct Unusable(pub(super) String);

impl<E: std::fmt::Display> From<E> for Unusable {
    fn from(e: E) -> Self {
        Unusable(e.to_string())
    }
}

/// Reads frames, for several threads at once.
pub(super) struct FrameReader {
    file: Arc<dyn ReadFile>,
    len: u64,
    end: u64,
    id: u64,
    next: Mutex<u64>,
}

impl FrameReader {
    /// Opens an image; `None` where there is none.
    pub(super) fn open(disk: &dyn Disk, path: &Path) -> Result<Option<Self>, Unusable> {
        if !disk.exists(path)? {
            return Ok(None);
        }
        let file = disk.open_read(path)?;
        let len = file.len()?;
        let mut trailer = [0; TRAILER_BYTES];
        let Some(at) = len.checked_sub(TRAILER_BYTES as u64) else {
            return Err(Unusable("it is too short".to_string()));
        };
        file.read_exact_at(&mut trailer, at)?;
        let mut b = Bytes(&trailer);
        let (end, id, magic) = (b.u64()?, b.u64()?, b.u64()?);
        if magic != MAGIC || end >= at {
            return Err(Unusable("it is incomplete or of another version".to_string()));
        }
        Ok(Some(FrameReader { file, len, end, id, next: Mutex::new(0) }))
    }

    /// Bytes of the file.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The last frame.
    pub(super) fn end(&self) -> Result<Vec<u8>, Unusable> {
        let mut buf = Vec::new();
        let (kind, len, sum, head) = self.header(self.end)?;
        self.content(self.end, len, sum, head, &mut buf)?;
        if kind != Kind::End {
            return Err(Unusable("its last frame is none".to_string()));
        }
        Ok(buf)
    }

    /// The next frame's kind, with its content in `buf`; `None` behind the last but one.
    pub(super) fn next(&self, buf: &mut Vec<u8>) -> Result<Option<Kind>, Unusable> {
        let (at, (kind, len, sum, head)) = {
            let mut next = self.next.lock();
            if *next >= self.end {
                return Ok(None);
            }
            let at = *next;
            let header = self.header(at)?;
            *next = at + HEADER_BYTES as u64 + header.1;
            (at, header)
        };
        self.content(at, len, sum, head, buf)?;
        Ok(Some(kind))
    }

    fn header(&self, at: u64) -> Result<(Kind, u64, u32, [u8; 9]), Unusable> {
        let mut bytes = [0; HEADER_BYTES];
        self.file.read_exact_at(&mut bytes, at)?;
        let mut b = Bytes(&bytes);
        let kind = Kind::from_u8(b.byte()?);
        let len = b.u64()?;
        let Some((head, sum)) = bytes.split_first_chunk::<9>() else {
            return Err(Unusable("a frame is too short".to_string()));
        };
        let sum = sum.first_chunk::<4>().map_or(0, |s| u32::from_be_bytes(*s));
        // A length is believed as far as the file goes.
        let left = self.len.saturating_sub(at + HEADER_BYTES as u64);
        match kind {
            Some(kind) if len <= left => Ok((kind, len, sum, *head)),
            _ => Err(Unusable(format!("damaged at {at}"))),
        }
    }

    fn content(&self, at: u64, len: u64, sum: u32, head: [u8; 9], buf: &mut Vec<u8>) -> Result<(), Unusable> {
        // Made longer, never filled anew: most frames are of one size.
        buf.truncate(len as usize);
        buf.resize(len as usize, 0);
        self.file.read_exact_at(buf, at + HEADER_BYTES as u64)?;
        if checksum(self.id, &head, buf) != sum {
            return Err(Unusable(format!("damaged at {at}")));
        }
        Ok(())
    }
}
