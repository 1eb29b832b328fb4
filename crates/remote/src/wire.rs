//! Protobuf's wire format over a borrowed slice: checked, without allocation. Texts are those of upstream's
//! decoder, since they travel back to senders.

/// Why bytes are not the message they claim to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The message ends within a field.
    #[error("unexpected EOF")]
    Eof,
    /// A number of more than 64 bits.
    #[error("proto: integer overflow")]
    Overflow,
    /// Field number 0 or an unknown wire type.
    #[error("proto: illegal tag or wire type {0}")]
    Tag(u64),
    /// A known field in another wire type than its own.
    #[error("proto: wrong wireType = {wire} for field {field}")]
    WrongType {
        /// Name of the field.
        field: &'static str,
        /// Wire type found.
        wire: u8,
    },
    /// Groups within groups, more than any sender writes.
    #[error("proto: groups nested too deeply")]
    Nesting,
    /// More of something than the limits allow.
    #[error("message has more than {0} {1}")]
    TooMany(usize, &'static str),
}

pub(crate) const VARINT: u8 = 0;
pub(crate) const FIXED64: u8 = 1;
pub(crate) const BYTES: u8 = 2;
const GROUP: u8 = 3;
const GROUP_END: u8 = 4;
const FIXED32: u8 = 5;
/// Unknown groups are skipped to this depth; nobody has sent groups since protobuf 2.
const GROUP_DEPTH_MAX: u32 = 16;

/// Reads fields from a slice. Offsets are those within the slice that the first reader was made of.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    buf: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(buf: &'a [u8]) -> Self {
        Reader { buf, at: 0, end: buf.len() }
    }

    /// A reader of `start..end` of the same buffer; the range must come from this reader's buffer.
    pub(crate) fn range(buf: &'a [u8], start: usize, end: usize) -> Self {
        let end = end.min(buf.len());
        Reader { buf, at: start.min(end), end }
    }

    pub(crate) fn done(&self) -> bool {
        self.at >= self.end
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    /// Bytes not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.buf.get(self.at..self.end).unwrap_or_default()
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, WireError> {
        // One byte is by far the most common: tags, sizes below 128, small numbers.
        match self.buf.get(self.at) {
            Some(&b) if b < 0x80 && self.at < self.end => {
                self.at += 1;
                Ok(u64::from(b))
            }
            _ => self.varint_slow(),
        }
    }

    fn varint_slow(&mut self) -> Result<u64, WireError> {
        let mut v = 0_u64;
        for (i, &b) in self.rest().iter().enumerate() {
            if i == 9 && b > 1 || i > 9 {
                return Err(WireError::Overflow);
            }
            v |= u64::from(b & 0x7f) << (7 * i);
            if b < 0x80 {
                self.at += i + 1;
                return Ok(v);
            }
        }
        Err(WireError::Eof)
    }

    /// Next field's number and wire type.
    #[inline]
    pub(crate) fn tag(&mut self) -> Result<(u32, u8), WireError> {
        let tag = self.varint()?;
        let field = tag >> 3;
        if field == 0 || field > u64::from(u32::MAX >> 3) {
            return Err(WireError::Tag(tag));
        }
        Ok((field as u32, (tag & 7) as u8))
    }

    /// A length-delimited field: its bounds within the buffer.
    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<(usize, usize), WireError> {
        let size = self.varint()?;
        let left = self.end - self.at;
        if size > left as u64 {
            return Err(WireError::Eof);
        }
        let start = self.at;
        self.at += size as usize;
        Ok((start, self.at))
    }

    #[inline]
    pub(crate) fn fixed64(&mut self) -> Result<u64, WireError> {
        let word = self.rest().first_chunk::<8>().ok_or(WireError::Eof)?;
        self.at += 8;
        Ok(u64::from_le_bytes(*word))
    }

    /// Skips a field that is not known.
    pub(crate) fn skip(&mut self, wire: u8) -> Result<(), WireError> {
        self.skip_nested(wire, 0)
    }

    fn skip_nested(&mut self, wire: u8, depth: u32) -> Result<(), WireError> {
        match wire {
            VARINT => self.varint().map(drop),
            FIXED64 => self.fixed64().map(drop),
            BYTES => self.bytes().map(drop),
            FIXED32 => {
                if self.end - self.at < 4 {
                    return Err(WireError::Eof);
                }
                self.at += 4;
                Ok(())
            }
            GROUP if depth >= GROUP_DEPTH_MAX => Err(WireError::Nesting),
            GROUP => loop {
                let (_, inner) = self.tag()?;
                if inner == GROUP_END {
                    return Ok(());
                }
                self.skip_nested(inner, depth + 1)?;
            },
            other => Err(WireError::Tag(u64::from(other))),
        }
    }
}

/// Checks the wire type of a known field.
#[inline]
pub(crate) fn expect(wire: u8, want: u8, field: &'static str) -> Result<(), WireError> {
    if wire == want { Ok(()) } else { Err(WireError::WrongType { field, wire }) }
}

/// Signed numbers as `sint32` and `sint64` write them.
#[inline]
pub(crate) fn zigzag(v: u64) -> i64 {
    (v >> 1) as i64 ^ -((v & 1) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints() {
        for (bytes, want) in [
            (&[0x00][..], Ok(0)),
            (&[0x7f], Ok(127)),
            (&[0x80, 0x01], Ok(128)),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01], Ok(u64::MAX)),
            (&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], Err(WireError::Overflow)),
            (&[0x80; 11], Err(WireError::Overflow)),
            (&[0x80], Err(WireError::Eof)),
            (&[], Err(WireError::Eof)),
        ] {
            assert_eq!(Reader::new(bytes).varint(), want, "{bytes:?}");
        }
    }

    #[test]
    fn nothing_reads_past_its_range() {
        let buf = [0x01; 20];
        let mut r = Reader::range(&buf, 4, 8);
        assert_eq!(r.fixed64(), Err(WireError::Eof));
        for _ in 0..4 {
            assert_eq!(r.varint(), Ok(1));
        }
        assert_eq!((r.varint(), r.done()), (Err(WireError::Eof), true));
        let mut long = Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x0f, 1]);
        assert_eq!(long.bytes(), Err(WireError::Eof));
    }

    #[test]
    fn unknown_fields_are_skipped_and_groups_bounded() {
        let mut r = Reader::new(&[0x0b, 0x10, 0x05, 0x0c, 0x08, 0x07]);
        let (_, wire) = r.tag().unwrap();
        r.skip(wire).unwrap();
        assert_eq!(r.tag(), Ok((1, VARINT)));
        let deep = [0x0b; 100];
        let mut r = Reader::new(&deep);
        let (_, wire) = r.tag().unwrap();
        assert_eq!(r.skip(wire), Err(WireError::Nesting));
        assert_eq!(zigzag(1), -1);
        assert_eq!(zigzag(u64::MAX), i64::MIN);
    }
}
