//! Numbers and strings of the index, tombstone and chunk files: Go's varints, big-endian words, strings
//! with their length before them.

use std::path::Path;

use storage::StorageError;

/// An error that names file and offset.
pub(crate) fn corrupt(path: &Path, offset: u64, what: impl Into<String>) -> StorageError {
    StorageError::Corrupt { place: format!("{} at offset {offset}", path.display()), what: what.into() }
}

/// Appends a number of 7-bit groups.
pub(crate) fn put_uvarint(buf: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        buf.push(v as u8 | 0x80);
        v >>= 7;
    }
    buf.push(v as u8);
}

/// Appends a signed number, zigzag.
pub(crate) fn put_varint(buf: &mut Vec<u8>, v: i64) {
    put_uvarint(buf, ((v << 1) ^ (v >> 63)) as u64);
}

/// Appends a string with its length.
pub(crate) fn put_str(buf: &mut Vec<u8>, s: &[u8]) {
    put_uvarint(buf, s.len() as u64);
    buf.extend_from_slice(s);
}

/// Takes numbers and strings off the front of a slice; `None` where it ends or a number is too long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Decoder<'a> {
    rest: &'a [u8],
}

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Decoder { rest: bytes }
    }
    /// Bytes left.
    pub(crate) fn len(&self) -> usize {
        self.rest.len()
    }
    pub(crate) fn bytes(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(n)?;
        self.rest = rest;
        Some(taken)
    }
    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.bytes(1).map(|b| b[0])
    }
    pub(crate) fn be32(&mut self) -> Option<u32> {
        let (taken, rest) = self.rest.split_first_chunk::<4>()?;
        self.rest = rest;
        Some(u32::from_be_bytes(*taken))
    }
    pub(crate) fn be64(&mut self) -> Option<u64> {
        let (taken, rest) = self.rest.split_first_chunk::<8>()?;
        self.rest = rest;
        Some(u64::from_be_bytes(*taken))
    }
    pub(crate) fn uvarint(&mut self) -> Option<u64> {
        let mut v = 0_u64;
        for (i, byte) in self.rest.iter().take(10).enumerate() {
            // The tenth byte has room for one bit.
            if i == 9 && *byte > 1 {
                return None;
            }
            v |= u64::from(byte & 0x7f) << (7 * i);
            if *byte < 0x80 {
                self.rest = &self.rest[i + 1..];
                return Some(v);
            }
        }
        None
    }
    pub(crate) fn varint(&mut self) -> Option<i64> {
        let v = self.uvarint()?;
        Some((v >> 1) as i64 ^ -((v & 1) as i64))
    }
    pub(crate) fn uvarint32(&mut self) -> Option<u32> {
        self.uvarint().and_then(|v| u32::try_from(v).ok())
    }
    pub(crate) fn string(&mut self) -> Option<&'a [u8]> {
        let n = self.uvarint()?;
        self.bytes(usize::try_from(n).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_round_trip(signed: i64, unsigned: u64, text: Vec<u8>) {
            let mut buf = Vec::new();
            put_varint(&mut buf, signed);
            put_uvarint(&mut buf, unsigned);
            put_str(&mut buf, &text);
            let mut d = Decoder::new(&buf);
            prop_assert_eq!((d.varint(), d.uvarint(), d.string()), (Some(signed), Some(unsigned), Some(&text[..])));
            prop_assert_eq!(d.len(), 0);
        }

        #[test]
        fn any_bytes_are_taken(bytes: Vec<u8>) {
            let mut d = Decoder::new(&bytes);
            let _ = (d.uvarint(), d.varint(), d.string(), d.be32(), d.be64(), d.byte());
        }
    }
}
