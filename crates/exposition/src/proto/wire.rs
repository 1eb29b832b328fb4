//! Protobuf's wire format over a slice: nothing is copied, no length is believed before it is checked.

/// A malformed message, and how far from its end the reader was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed(pub(crate) &'static str);

/// Groups may nest; nothing that Prometheus reads has any, so a shallow bound is enough.
const GROUP_DEPTH_MAX: usize = 100;

/// Wire types.
pub(crate) const VARINT: u8 = 0;
pub(crate) const FIXED64: u8 = 1;
pub(crate) const BYTES: u8 = 2;
const GROUP: u8 = 3;
const GROUP_END: u8 = 4;
const FIXED32: u8 = 5;

/// Reads one message's fields in order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    pub(crate) fn left(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for i in 0..10 {
            let Some((byte, rest)) = self.rest.split_first() else {
                return Err(Malformed("unexpected end of a number"));
            };
            self.rest = rest;
            value |= u64::from(byte & 0x7f) << (7 * i);
            if *byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed("integer overflow"))
    }

    /// Field number and wire type of the next field, `None` at the end.
    pub(crate) fn tag(&mut self) -> Result<Option<(u32, u8)>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let wire = self.varint()?;
        let kind = (wire & 7) as u8;
        if kind == GROUP_END {
            return Err(Malformed("wiretype end group for non-group"));
        }
        // Upstream reads the number as a signed 32-bit one and refuses what is not positive.
        match (wire >> 3) as i32 {
            n if n > 0 => Ok(Some((n as u32, kind))),
            _ => Err(Malformed("illegal tag")),
        }
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.varint()?;
        let split = usize::try_from(length).ok().and_then(|n| self.rest.split_at_checked(n));
        let Some((bytes, rest)) = split else {
            return Err(Malformed("length beyond the end of the message"));
        };
        self.rest = rest;
        Ok(bytes)
    }

    pub(crate) fn double(&mut self) -> Result<f64, Malformed> {
        let Some((bytes, rest)) = self.rest.split_first_chunk::<8>() else {
            return Err(Malformed("unexpected end of a double"));
        };
        self.rest = rest;
        Ok(f64::from_le_bytes(*bytes))
    }

    pub(crate) fn skip(&mut self, kind: u8) -> Result<(), Malformed> {
        let mut depth = 0_usize;
        let mut kind = kind;
        loop {
            match kind {
                VARINT => {
                    self.varint()?;
                }
                FIXED64 => {
                    self.double()?;
                }
                BYTES => {
                    self.bytes()?;
                }
                GROUP if depth < GROUP_DEPTH_MAX => depth += 1,
                GROUP => return Err(Malformed("groups nested too deeply")),
                GROUP_END => {
                    depth = depth.checked_sub(1).ok_or(Malformed("unexpected end of group"))?;
                }
                FIXED32 => {
                    let Some((_, rest)) = self.rest.split_first_chunk::<4>() else {
                        return Err(Malformed("unexpected end of a field"));
                    };
                    self.rest = rest;
                }
                _ => return Err(Malformed("illegal wire type")),
            }
            if depth == 0 {
                return Ok(());
            }
            if self.rest.is_empty() {
                return Err(Malformed("unexpected end of a group"));
            }
            kind = (self.varint()? & 7) as u8;
        }
    }
}

/// Signed integers of `sint32` and `sint64`.
pub(crate) fn zigzag(n: u64) -> i64 {
    ((n >> 1) as i64) ^ -((n & 1) as i64)
}

/// Refuses a known field of another wire type.
pub(crate) fn expect(kind: u8, wanted: u8) -> Result<(), Malformed> {
    if kind == wanted { Ok(()) } else { Err(Malformed("wrong wire type")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_that_lie() {
        for bytes in [
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01][..],
            &[0x05, 0x00][..],
            &[0x80][..],
            &[][..],
        ] {
            assert!(Reader::new(bytes).bytes().is_err(), "{bytes:?}");
        }
        assert_eq!(Reader::new(&[0xff; 11]).varint(), Err(Malformed("integer overflow")));
    }

    #[test]
    fn groups_are_bounded() {
        let deep = vec![0x0b; 10_000];
        assert!(Reader::new(&deep).skip(GROUP).is_err());
        let mut fine = Reader::new(&[0x08, 0x01, 0x0b, 0x0c, 0x0c, 0x07]);
        fine.skip(GROUP).unwrap();
        assert_eq!(fine.left(), 1);
    }
}
