//! Go's varints and big-endian numbers, written to a vector and read from a slice that may be short.

/// What is wrong with a record's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BytesError {
    /// A field reaches behind the end.
    #[error("record ends inside a field")]
    Short,
    /// A variable-length number of more than 64 bits.
    #[error("number of more than 64 bits")]
    Overflow,
    /// A count or length that the rest of the record cannot hold.
    #[error("count of {0} is more than the record holds")]
    Count(u64),
}

pub(crate) fn put_u64(out: &mut Vec<u8>, v: u64) {
    out.extend_from_slice(&v.to_be_bytes());
}

#[inline]
pub(crate) fn put_uvarint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

#[inline]
pub(crate) fn put_varint(out: &mut Vec<u8>, v: i64) {
    put_uvarint(out, ((v << 1) ^ (v >> 63)) as u64);
}

pub(crate) fn put_str(out: &mut Vec<u8>, s: &str) {
    put_uvarint(out, s.len() as u64);
    out.extend_from_slice(s.as_bytes());
}

/// Appends the checksum that [`sealed`] wants: a small file of our own ends with it.
pub(crate) fn seal(bytes: &mut Vec<u8>) {
    let sum = crc32c::crc32c(bytes);
    bytes.extend_from_slice(&sum.to_be_bytes());
}

/// What is between the magic number and the checksum; `None` where either is wrong.
pub(crate) fn sealed<'a>(bytes: &'a [u8], magic: &[u8]) -> Option<Bytes<'a>> {
    let (content, sum) = bytes.split_last_chunk::<4>()?;
    let good = crc32c::crc32c(content) == u32::from_be_bytes(*sum);
    content.strip_prefix(magic).filter(|_| good).map(Bytes)
}

/// A cursor over foreign bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bytes<'a>(pub(crate) &'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, n: u64) -> Result<&'a [u8], BytesError> {
        let n = usize::try_from(n).map_err(|_| BytesError::Count(n))?;
        let (head, tail) = self.0.split_at_checked(n).ok_or(BytesError::Short)?;
        self.0 = tail;
        Ok(head)
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8, BytesError> {
        let (first, tail) = self.0.split_first().ok_or(BytesError::Short)?;
        self.0 = tail;
        Ok(*first)
    }

    #[inline]
    pub(crate) fn u64(&mut self) -> Result<u64, BytesError> {
        let (head, tail) = self.0.split_first_chunk::<8>().ok_or(BytesError::Short)?;
        self.0 = tail;
        Ok(u64::from_be_bytes(*head))
    }

    pub(crate) fn f64(&mut self) -> Result<f64, BytesError> {
        Ok(f64::from_bits(self.u64()?))
    }

    /// Most numbers have one byte.
    #[inline]
    pub(crate) fn uvarint(&mut self) -> Result<u64, BytesError> {
        match self.0.split_first() {
            Some((first, tail)) if *first < 0x80 => {
                self.0 = tail;
                Ok(u64::from(*first))
            }
            _ => self.long_uvarint(),
        }
    }

    fn long_uvarint(&mut self) -> Result<u64, BytesError> {
        let mut value = 0_u64;
        for shift in (0..).step_by(7) {
            let b = self.byte()?;
            // The tenth byte holds one bit.
            if shift > 63 || (shift == 63 && b > 1) {
                return Err(BytesError::Overflow);
            }
            value |= u64::from(b & 0x7f) << shift;
            if b < 0x80 {
                return Ok(value);
            }
        }
        Err(BytesError::Overflow)
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<i64, BytesError> {
        let u = self.uvarint()?;
        Ok((u >> 1) as i64 ^ -((u & 1) as i64))
    }

    /// A count of elements that take at least `min_size` bytes each.
    pub(crate) fn count(&mut self, min_size: usize) -> Result<usize, BytesError> {
        let n = self.uvarint()?;
        if n > (self.0.len() / min_size) as u64 {
            return Err(BytesError::Count(n));
        }
        Ok(n as usize)
    }

    pub(crate) fn str_bytes(&mut self) -> Result<&'a [u8], BytesError> {
        let n = self.uvarint()?;
        self.take(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_round_trip(a: u64, b: i64) {
            let mut out = Vec::new();
            put_uvarint(&mut out, a);
            put_varint(&mut out, b);
            let mut bytes = Bytes(&out);
            prop_assert_eq!((bytes.uvarint(), bytes.varint()), (Ok(a), Ok(b)));
            prop_assert!(bytes.is_empty());
        }
    }

    #[test]
    fn too_long_numbers_are_refused() {
        assert_eq!(Bytes(&[0xff; 11]).uvarint(), Err(BytesError::Overflow));
        assert_eq!(Bytes(&[0x80; 3]).uvarint(), Err(BytesError::Short));
        assert_eq!(Bytes(&[200, 1, 0]).count(1), Err(BytesError::Count(200)));
    }
}
