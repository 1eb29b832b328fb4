//! Walks through a long section of a file once, with a small buffer, summing it up on the way.

use std::sync::Arc;

use storage::StorageError;

use super::codec::{Decoder, corrupt};
use crate::disk::ReadFile;

/// Bytes read at once.
const BUFFER_BYTES: usize = 256 << 10;
/// Longest item of a section: two strings of the longest label size and three numbers.
const ITEM_BYTES_MAX: usize = 2 * (1 << 24) + 64;

/// A section: 4 bytes of length, that many bytes, their CRC32C.
pub(super) struct Section {
    file: Arc<dyn ReadFile>,
    /// Offset of the next byte to take.
    pos: u64,
    /// Offset behind the content.
    end: u64,
    buf: Vec<u8>,
    /// Taken bytes of `buf`.
    taken: usize,
    crc: u32,
}

impl Section {
    /// Opens the section at `offset`.
    pub(super) fn open(file: &Arc<dyn ReadFile>, file_len: u64, offset: u64) -> Result<Self, StorageError> {
        let mut head = [0; 4];
        if offset.checked_add(8).is_none_or(|end| end > file_len) {
            return Err(corrupt(file.path(), offset, "section begins behind the end of the file"));
        }
        file.read_exact_at(&mut head, offset)?;
        let len = u64::from(u32::from_be_bytes(head));
        let end = offset + 4 + len;
        if end + 4 > file_len {
            return Err(corrupt(file.path(), offset, format!("section of {len} bytes goes beyond the file")));
        }
        Ok(Section { file: Arc::clone(file), pos: offset + 4, end, buf: Vec::new(), taken: 0, crc: 0 })
    }

    /// Offset of the next item.
    pub(super) fn pos(&self) -> u64 {
        self.pos
    }
    /// Bytes left.
    pub(super) fn left(&self) -> u64 {
        self.end - self.pos
    }

    /// Takes one item, as far as `parse` goes.
    pub(super) fn take<T>(
        &mut self,
        parse: impl Fn(&mut Decoder<'_>) -> Option<T>,
    ) -> Result<T, StorageError> {
        loop {
            let mut d = Decoder::new(&self.buf[self.taken..]);
            let before = d.len();
            if let Some(item) = parse(&mut d) {
                let n = before - d.len();
                self.crc = crc32c::crc32c_append(self.crc, &self.buf[self.taken..self.taken + n]);
                self.taken += n;
                self.pos += n as u64;
                return Ok(item);
            }
            let have = before as u64;
            if have == self.left() || before > ITEM_BYTES_MAX {
                return Err(corrupt(self.file.path(), self.pos, "invalid entry"));
            }
            // An entry longer than the buffer doubles it.
            let want = BUFFER_BYTES.max(before * 2).min((self.left()) as usize);
            self.buf.drain(..self.taken);
            self.taken = 0;
            self.buf.resize(want, 0);
            self.file.read_exact_at(&mut self.buf[before..], self.pos + have)?;
        }
    }

    /// Checks the sum; all content must have been taken but for padding.
    pub(super) fn finish(mut self) -> Result<(), StorageError> {
        while self.left() > 0 {
            let n = (self.left() as usize).min(BUFFER_BYTES);
            self.take(|d| d.bytes(d.len().min(n)).filter(|b| !b.is_empty()).map(|_| ()))?;
        }
        let mut crc = [0; 4];
        self.file.read_exact_at(&mut crc, self.end)?;
        if u32::from_be_bytes(crc) != self.crc {
            return Err(corrupt(self.file.path(), self.end, "checksum mismatch of the section before"));
        }
        Ok(())
    }
}
