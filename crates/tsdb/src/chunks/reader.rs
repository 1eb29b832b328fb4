//! Reads chunks of a block by reference, several with one read where they lie together.

use std::path::Path;
use std::sync::Arc;

use storage::{ChunkEncoding, StorageError};

use super::{CRC_BYTES, ChunkData, ChunkMeta, ChunkRef, HEADER_BYTES, LENGTH_BYTES_MAX, MAGIC, VERSION};
use crate::disk::{Disk, ReadFile};
use crate::index::codec::Decoder;

/// What one read fetches at most, but for a single larger chunk: 1 MiB holds the 24 hours of 40 series.
const READ_BYTES_MAX: u64 = 1 << 20;
/// Chunks this near to each other are fetched together: a page and a half costs less than a system call.
const GAP_BYTES_MAX: u64 = 6 << 10;
/// Bytes fetched for a chunk whose end is not known. Chunks are cut near 1 KiB; histograms may be longer.
const TAIL_BYTES: u64 = 1536;
/// Longest chunk that is read: what fits in a segment file.
const CHUNK_BYTES_MAX: u64 = super::SEGMENT_BYTES;

/// Files that may be missing in a row: more than any block has.
const GAP_FILES_MAX: usize = 4096;

/// The open segment files of one block.
#[derive(Debug)]
pub struct ChunkReader {
    /// `None` for one that is missing in the sequence.
    segments: Vec<Option<Segment>>,
}

#[derive(Debug)]
struct Segment {
    file: Arc<dyn ReadFile>,
    len: u64,
}

fn corrupt(file: &dyn ReadFile, offset: u64, what: impl Into<String>) -> StorageError {
    crate::index::codec::corrupt(file.path(), offset, what)
}

impl ChunkReader {
    /// Opens all segment files of `dir` and checks their headers.
    ///
    /// # Errors
    /// A file that is too short, of another kind or version; a gap in the sequence.
    pub fn open(disk: &dyn Disk, dir: &Path) -> Result<Self, StorageError> {
        let (reader, faults) = ChunkReader::open_damaged(disk, dir)?;
        faults.into_iter().next().map_or(Ok(reader), Err)
    }

    /// As [`ChunkReader::open`], with what is wrong with files beside it: chunks have checksums of their own,
    /// so a damaged header costs nothing, and a missing file what it held.
    ///
    /// # Errors
    /// The folder is absent; the device failed.
    pub fn open_damaged(disk: &dyn Disk, dir: &Path) -> Result<(Self, Vec<StorageError>), StorageError> {
        let mut segments: Vec<Option<Segment>> = Vec::new();
        let mut faults = Vec::new();
        for entry in disk.list(dir)? {
            // Other names are left alone: tools put notes and temporary files beside ours.
            let Ok(number) = entry.name.parse::<u32>() else { continue };
            let file = crate::disk::open_around(disk, &dir.join(&entry.name))?;
            if number as usize != segments.len() + 1 {
                let text = format!("segment {:06} is missing", segments.len() + 1);
                faults.push(corrupt(&*file, 0, text));
                if (number as usize) <= segments.len() || number as usize > segments.len() + GAP_FILES_MAX {
                    continue;
                }
                segments.resize_with(number as usize - 1, || None);
            }
            let len = file.len()?;
            let mut header = [0; HEADER_BYTES as usize];
            if len < HEADER_BYTES {
                faults.push(corrupt(&*file, len, "segment is shorter than its header"));
                segments.push(None);
                continue;
            }
            file.read_exact_at(&mut header, 0)?;
            let [m0, m1, m2, m3, version, ..] = header;
            let kind = u32::from_be_bytes([m0, m1, m2, m3]);
            if kind != MAGIC {
                faults.push(corrupt(&*file, 0, "not a chunk segment (wrong magic number)"));
            } else if version != VERSION {
                faults.push(corrupt(&*file, 4, format!("unknown chunk segment version {version}")));
            }
            segments.push(Some(Segment { file, len }));
        }
        Ok((ChunkReader { segments }, faults))
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.segments.iter().flatten().map(|s| s.len).sum()
    }

    /// File and offset of a chunk, for error texts.
    #[must_use]
    pub fn place(&self, at: ChunkRef) -> String {
        match self.segments.get(at.segment() as usize) {
            Some(Some(s)) => format!("{} at offset {}", s.file.path().display(), at.offset()),
            _ => format!("chunk reference {:#x}", at.0),
        }
    }

    fn segment(&self, at: ChunkRef) -> Result<&Segment, StorageError> {
        self.segments.get(at.segment() as usize).and_then(Option::as_ref).ok_or_else(|| {
            StorageError::Corrupt {
                place: format!("chunk reference {:#x}", at.0),
                what: format!(
                    "segment {} of {} does not exist",
                    u64::from(at.segment()) + 1,
                    self.segments.len()
                ),
            }
        })
    }

    /// Reads chunks of one series (in order of their references) and hands each to `each` with its index.
    /// `behind` is the reference after the last one, where known, which saves a guess. `buf` is scratch.
    ///
    /// # Errors
    /// A chunk outside its file, of unknown encoding, or with a wrong checksum; what `each` returns.
    pub fn read<E>(
        &self,
        metas: &[ChunkMeta],
        behind: Option<ChunkRef>,
        buf: &mut Vec<u8>,
        mut each: E,
    ) -> Result<(), StorageError>
    where
        E: FnMut(usize, ChunkData<'_>) -> Result<(), StorageError>,
    {
        self.read_each(metas, behind, buf, |i, chunk| each(i, chunk?))
    }

    /// As [`ChunkReader::read`], but a damaged chunk is handed over as its error, and the others follow.
    ///
    /// # Errors
    /// The device failed; what `each` returns.
    pub fn read_each<E>(
        &self,
        metas: &[ChunkMeta],
        behind: Option<ChunkRef>,
        buf: &mut Vec<u8>,
        mut each: E,
    ) -> Result<(), StorageError>
    where
        E: FnMut(usize, Result<ChunkData<'_>, StorageError>) -> Result<(), StorageError>,
    {
        let mut i = 0;
        // Chunks before this one are read one at a time.
        let mut alone_until = 0;
        while let Some(first) = metas.get(i) {
            let segment = match self.segment(first.chunk) {
                Ok(segment) => segment,
                Err(e) => {
                    each(i, Err(e))?;
                    i += 1;
                    continue;
                }
            };
            let start = u64::from(first.chunk.offset());
            // How many of the following chunks lie close behind.
            let mut next = i + 1;
            let mut last = start;
            while let Some(meta) = metas.get(next) {
                let offset = u64::from(meta.chunk.offset());
                let near = meta.chunk.segment() == first.chunk.segment() && offset > last;
                if next < alone_until
                    || !near
                    || offset - start > READ_BYTES_MAX
                    || offset - last > GAP_BYTES_MAX
                {
                    break;
                }
                last = offset;
                next += 1;
            }
            let follower = metas.get(next).map(|m| m.chunk).or(behind);
            let end = match follower {
                Some(f) if f.segment() == first.chunk.segment() => u64::from(f.offset()),
                _ => u64::MAX,
            };
            let end = end.clamp(last + 1, last + TAIL_BYTES).min(segment.len);
            if start < HEADER_BYTES || end <= start {
                each(i, Err(corrupt(&*segment.file, start, "chunk reference outside the file")))?;
                i += 1;
                continue;
            }
            buf.resize((end - start) as usize, 0);
            match segment.file.read_exact_at(buf, start) {
                Ok(()) => {}
                // Cut since it was opened: those before the cut are still there.
                Err(e) if e.source.kind() == std::io::ErrorKind::UnexpectedEof && next - i > 1 => {
                    alone_until = next;
                    continue;
                }
                Err(e) if e.source.kind() == std::io::ErrorKind::UnexpectedEof => {
                    each(i, Err(corrupt(&*segment.file, start, "the file ends before the chunk")))?;
                    i = next;
                    continue;
                }
                Err(e) => return Err(e.into()),
            }
            for (index, meta) in metas.iter().enumerate().take(next).skip(i) {
                let offset = u64::from(meta.chunk.offset());
                let bytes = buf.get((offset - start) as usize..).unwrap_or_default();
                match parse(segment, offset, bytes) {
                    Ok(Parsed::Chunk(chunk)) => each(index, Ok(chunk))?,
                    Ok(Parsed::Needs(total)) => {
                        let mut whole = vec![0; total];
                        segment.file.read_exact_at(&mut whole, offset)?;
                        match parse(segment, offset, &whole) {
                            Ok(Parsed::Chunk(chunk)) => each(index, Ok(chunk))?,
                            Ok(Parsed::Needs(_)) => {
                                let e = corrupt(&*segment.file, offset, "chunk changed while being read");
                                each(index, Err(e))?;
                            }
                            Err(e) => each(index, Err(e))?,
                        }
                    }
                    Err(e) => each(index, Err(e))?,
                }
            }
            i = next;
        }
        Ok(())
    }

    /// Reads one chunk.
    ///
    /// # Errors
    /// As [`ChunkReader::read`].
    pub fn read_one(&self, at: ChunkRef) -> Result<(ChunkEncoding, Vec<u8>), StorageError> {
        let mut found = None;
        let meta = ChunkMeta { mint_ms: 0, maxt_ms: 0, chunk: at };
        self.read(&[meta], None, &mut Vec::new(), |_, chunk| {
            found = Some((chunk.encoding, chunk.data.to_vec()));
            Ok(())
        })?;
        found.ok_or(StorageError::NotReady)
    }
}

enum Parsed<'a> {
    Chunk(ChunkData<'a>),
    /// The chunk goes beyond the buffer; it has so many bytes with its frame.
    Needs(usize),
}

fn parse<'a>(segment: &Segment, offset: u64, bytes: &'a [u8]) -> Result<Parsed<'a>, StorageError> {
    let mut d = Decoder::new(bytes);
    let Some(len) = d.uvarint() else {
        // The length itself may be cut by the end of the buffer, but not by the end of the file.
        let whole = segment.len - offset.min(segment.len);
        if (bytes.len() as u64) < whole && bytes.len() < LENGTH_BYTES_MAX {
            return Ok(Parsed::Needs(whole.min(LENGTH_BYTES_MAX as u64 + TAIL_BYTES) as usize));
        }
        return Err(corrupt(&*segment.file, offset, "invalid chunk length"));
    };
    let head = bytes.len() - d.len();
    let total = head as u64 + 1 + len.min(CHUNK_BYTES_MAX) + CRC_BYTES as u64;
    if len > CHUNK_BYTES_MAX || offset + total > segment.len {
        let text = format!("chunk of {len} bytes goes beyond the segment's {} bytes", segment.len);
        return Err(corrupt(&*segment.file, offset, text));
    }
    let (Some(body), Some(crc)) = (d.bytes(len as usize + 1), d.be32()) else {
        return Ok(Parsed::Needs(total as usize));
    };
    if crc32c::crc32c(body) != crc {
        let text = format!("chunk checksum mismatch: expected {crc:08x}, got {:08x}", crc32c::crc32c(body));
        return Err(corrupt(&*segment.file, offset, text));
    }
    let Some((encoding, data)) = body.split_first() else {
        return Err(corrupt(&*segment.file, offset, "empty chunk"));
    };
    let Some(encoding) = ChunkEncoding::from_u8(*encoding) else {
        return Err(corrupt(&*segment.file, offset, format!("unknown chunk encoding {encoding}")));
    };
    Ok(Parsed::Chunk(ChunkData { encoding, data }))
}
