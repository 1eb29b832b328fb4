//! Writes a block's chunks, one segment file after the other.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use storage::ChunkEncoding;

use super::{CRC_BYTES, ChunkRef, HEADER_BYTES, LENGTH_BYTES_MAX, MAGIC, VERSION};
use crate::disk::{Disk, DiskResult, WriteFile, WriteMode};

/// Size at which a new segment file begins: upstream's 512 MiB.
pub const SEGMENT_BYTES: u64 = 512 << 20;
/// Bytes collected before they go to the file.
const BUFFER_BYTES: usize = 1 << 20;

/// Writes chunks behind each other.
#[derive(Debug)]
pub struct ChunkWriter {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    segment_bytes: u64,
    /// Number of the open segment, from 0; files are named from 1.
    segment: u32,
    file: Option<Box<dyn WriteFile>>,
    /// Size of the open segment with what is in `buf`.
    size: u64,
    buf: Vec<u8>,
    total: u64,
}

impl ChunkWriter {
    /// Makes `dir`; the first segment file is made with the first chunk.
    ///
    /// # Errors
    /// No permission, no room.
    pub fn create(disk: Arc<dyn Disk>, dir: &Path, segment_bytes: u64) -> DiskResult<Self> {
        disk.create_dir_all(dir)?;
        // Offsets have 32 bits.
        let segment_bytes = segment_bytes.min(u64::from(u32::MAX));
        Ok(ChunkWriter {
            disk,
            dir: dir.to_path_buf(),
            segment_bytes,
            segment: 0,
            file: None,
            size: 0,
            buf: Vec::with_capacity(BUFFER_BYTES + (64 << 10)),
            total: 0,
        })
    }

    /// Writes a chunk.
    ///
    /// # Errors
    /// No room, device failed.
    pub fn write(&mut self, encoding: ChunkEncoding, data: &[u8]) -> DiskResult<ChunkRef> {
        let need = (LENGTH_BYTES_MAX + 1 + data.len() + CRC_BYTES) as u64;
        if self.file.is_none() {
            self.open()?;
        } else if self.size + need > self.segment_bytes && self.size > HEADER_BYTES {
            self.close_segment()?;
            self.segment += 1;
            self.open()?;
        }
        let at = ChunkRef::new(self.segment, self.size as u32);
        let before = self.buf.len();
        crate::index::codec::put_uvarint(&mut self.buf, data.len() as u64);
        let body = self.buf.len();
        self.buf.push(encoding as u8);
        self.buf.extend_from_slice(data);
        let crc = crc32c::crc32c(&self.buf[body..]);
        self.buf.extend_from_slice(&crc.to_be_bytes());
        self.size += (self.buf.len() - before) as u64;
        if self.buf.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(at)
    }

    /// Completes the last segment and makes all durable. Gives the bytes written.
    ///
    /// # Errors
    /// No room, device failed.
    pub fn finish(mut self) -> DiskResult<u64> {
        self.close_segment()?;
        self.disk.sync_dir(&self.dir)?;
        Ok(self.total)
    }

    fn open(&mut self) -> DiskResult<()> {
        let path = self.dir.join(format!("{:06}", self.segment + 1));
        self.file = Some(self.disk.open_write(&path, WriteMode::CreateNew)?);
        self.buf.extend_from_slice(&MAGIC.to_be_bytes());
        self.buf.extend_from_slice(&[VERSION, 0, 0, 0]);
        self.size = HEADER_BYTES;
        Ok(())
    }

    fn flush(&mut self) -> DiskResult<()> {
        if let Some(file) = &mut self.file {
            file.append(&self.buf)?;
            self.buf.clear();
        }
        Ok(())
    }

    fn close_segment(&mut self) -> DiskResult<()> {
        self.flush()?;
        if let Some(mut file) = self.file.take() {
            file.sync()?;
            self.total += file.len();
        }
        Ok(())
    }
}
