//! Gzip by the piece, with output into a buffer whose room the caller controls: the caller decides how far
//! a body may grow, whatever its sender says. flate2's own gzip readers either pull (we are pushed) or
//! grow their output by themselves.

use flate2::{Crc, Decompress, FlushDecompress, Status};

/// Optional header fields (name, comment, extra) of one member. Real ones have a file name at most.
const HEADER_BYTES_MAX: usize = 64 << 10;

const FLAG_HEADER_CRC: u8 = 1 << 1;
const FLAG_EXTRA: u8 = 1 << 2;
const FLAG_NAME: u8 = 1 << 3;
const FLAG_COMMENT: u8 = 1 << 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Fixed part of a member's header; `usize` bytes of it are in `pending`.
    Fixed,
    ExtraSize,
    Extra(usize),
    Name,
    Comment,
    HeaderCrc,
    Deflate,
    Trailer,
}

/// Why it stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// All input was taken.
    NeedInput,
    /// The output has no room left; call again with more.
    NeedRoom,
}

/// A decoder of one or more gzip members in a row.
pub(crate) struct Gunzip {
    inflate: Decompress,
    crc: Crc,
    stage: Stage,
    flags: u8,
    pending: Vec<u8>,
    header_bytes: usize,
    members: u64,
}

impl Gunzip {
    pub(crate) fn new() -> Self {
        Gunzip {
            inflate: Decompress::new(false),
            crc: Crc::new(),
            stage: Stage::Fixed,
            flags: 0,
            pending: Vec::with_capacity(16),
            header_bytes: 0,
            members: 0,
        }
    }

    /// Forgets everything but its memory.
    pub(crate) fn reset(&mut self) {
        self.inflate.reset(false);
        self.crc.reset();
        (self.stage, self.flags, self.header_bytes, self.members) = (Stage::Fixed, 0, 0, 0);
        self.pending.clear();
    }

    /// Takes bytes off `input` and appends to `out` within its capacity, which is never grown here.
    pub(crate) fn step(&mut self, input: &mut &[u8], out: &mut Vec<u8>) -> Result<Step, &'static str> {
        loop {
            match self.stage {
                Stage::Deflate => {
                    if out.len() == out.capacity() {
                        return Ok(Step::NeedRoom);
                    }
                    let (before_in, before_out, start) =
                        (self.inflate.total_in(), self.inflate.total_out(), out.len());
                    let status = self
                        .inflate
                        .decompress_vec(input, out, FlushDecompress::None)
                        .map_err(|_| "flate: corrupt input")?;
                    let taken = (self.inflate.total_in() - before_in) as usize;
                    let made = (self.inflate.total_out() - before_out) as usize;
                    *input = input.get(taken..).unwrap_or_default();
                    self.crc.update(out.get(start..).unwrap_or_default());
                    if status == Status::StreamEnd {
                        self.stage = Stage::Trailer;
                        self.pending.clear();
                    } else if out.len() == out.capacity() {
                        return Ok(Step::NeedRoom);
                    } else if input.is_empty() || (taken == 0 && made == 0) {
                        return Ok(Step::NeedInput);
                    }
                }
                _ => {
                    if input.is_empty() {
                        return Ok(Step::NeedInput);
                    }
                    self.frame(input)?;
                }
            }
        }
    }

    /// True where the input may end here.
    pub(crate) fn is_complete(&self) -> bool {
        self.members > 0 && self.stage == Stage::Fixed && self.pending.is_empty()
    }

    /// Headers and trailers, a few bytes at a time.
    fn frame(&mut self, input: &mut &[u8]) -> Result<(), &'static str> {
        const BAD: &str = "gzip: invalid header";
        match self.stage {
            Stage::Fixed => {
                if !self.collect(input, 10) {
                    return Ok(());
                }
                let [0x1f, 0x8b, 8, flags, ..] = self.pending[..] else { return Err(BAD) };
                self.flags = flags;
                self.header_bytes = 10;
                self.stage = Stage::ExtraSize;
                self.next_field();
            }
            Stage::ExtraSize => {
                if self.collect(input, 2) {
                    let size = usize::from(self.pending[0]) | usize::from(self.pending[1]) << 8;
                    self.stage = Stage::Extra(size);
                    self.pending.clear();
                }
            }
            Stage::Extra(left) => {
                let n = left.min(input.len());
                *input = input.get(n..).unwrap_or_default();
                self.stage = if left == n { Stage::Name } else { Stage::Extra(left - n) };
                self.next_field();
            }
            Stage::Name | Stage::Comment => {
                let end = memchr_zero(input);
                let n = end.map_or(input.len(), |i| i + 1);
                self.header_bytes += n;
                if self.header_bytes > HEADER_BYTES_MAX {
                    return Err(BAD);
                }
                *input = input.get(n..).unwrap_or_default();
                if end.is_some() {
                    self.stage = if self.stage == Stage::Name { Stage::Comment } else { Stage::HeaderCrc };
                    self.next_field();
                }
            }
            Stage::HeaderCrc => {
                if self.collect(input, 2) {
                    self.start_deflate();
                }
            }
            Stage::Trailer => {
                if self.collect(input, 8) {
                    let word = |at: usize| {
                        let bytes = self.pending.get(at..at + 4).unwrap_or_default();
                        bytes.iter().rev().fold(0_u32, |acc, b| acc << 8 | u32::from(*b))
                    };
                    if word(0) != self.crc.sum() || word(4) != self.crc.amount() {
                        return Err("gzip: invalid checksum");
                    }
                    self.members += 1;
                    self.inflate.reset(false);
                    self.crc.reset();
                    self.pending.clear();
                    self.stage = Stage::Fixed;
                }
            }
            Stage::Deflate => {}
        }
        Ok(())
    }

    /// Skips to the first field from `stage` on that the flags announce.
    fn next_field(&mut self) {
        self.pending.clear();
        loop {
            let announced = match self.stage {
                Stage::ExtraSize => FLAG_EXTRA,
                Stage::Name => FLAG_NAME,
                Stage::Comment => FLAG_COMMENT,
                Stage::HeaderCrc => FLAG_HEADER_CRC,
                _ => return,
            };
            if self.flags & announced != 0 {
                return;
            }
            self.stage = match self.stage {
                Stage::ExtraSize => Stage::Name,
                Stage::Name => Stage::Comment,
                Stage::Comment => Stage::HeaderCrc,
                _ => return self.start_deflate(),
            };
        }
    }

    fn start_deflate(&mut self) {
        self.pending.clear();
        self.stage = Stage::Deflate;
    }

    fn collect(&mut self, input: &mut &[u8], n: usize) -> bool {
        let take = n.saturating_sub(self.pending.len()).min(input.len());
        let (head, tail) = input.split_at(take);
        self.pending.extend_from_slice(head);
        *input = tail;
        self.pending.len() >= n
    }
}

fn memchr_zero(bytes: &[u8]) -> Option<usize> {
    bytes.iter().position(|b| *b == 0)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn gzip(data: &[u8]) -> Vec<u8> {
        let mut e = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        e.write_all(data).unwrap();
        e.finish().unwrap()
    }

    fn decode(
        g: &mut Gunzip,
        data: &[u8],
        piece: usize,
        room: usize,
    ) -> Result<(Vec<u8>, bool), &'static str> {
        let mut out = Vec::new();
        for chunk in data.chunks(piece.max(1)) {
            let mut input = chunk;
            while g.step(&mut input, &mut out)? == Step::NeedRoom {
                out.reserve_exact(room);
            }
            assert!(input.is_empty());
        }
        Ok((out, g.is_complete()))
    }

    #[test]
    fn any_split_any_room_any_number_of_members() {
        let text: Vec<u8> =
            (0..20_000_u32).flat_map(|i| format!("line {}\n", i % 977).into_bytes()).collect();
        let mut with_fields = vec![0x1f, 0x8b, 8, FLAG_EXTRA | FLAG_NAME | FLAG_COMMENT | FLAG_HEADER_CRC];
        with_fields.extend_from_slice(&[0, 0, 0, 0, 0, 3, 3, 0, 1, 2, 3]);
        with_fields.extend_from_slice(b"name\0comment\0\xaa\xbb");
        with_fields.extend_from_slice(&gzip(&text)[10..]);
        let two = [gzip(b"first"), with_fields, gzip(b"")].concat();
        let want = [b"first".as_slice(), &text].concat();
        let mut g = Gunzip::new();
        for (piece, room) in [(1, 7), (3, 1), (17, 4096), (1 << 20, 1 << 20)] {
            g.reset();
            assert_eq!(decode(&mut g, &two, piece, room), Ok((want.clone(), true)), "{piece} {room}");
        }
    }

    #[test]
    fn damage_is_an_error_and_a_cut_is_seen() {
        let good = gzip(&b"abc".repeat(1000));
        let mut g = Gunzip::new();
        for end in 0..good.len() {
            g.reset();
            let done = decode(&mut g, &good[..end], 5, 100).map(|(_, done)| done);
            assert_ne!(done, Ok(true), "cut at {end}");
        }
        for at in [0, 1, 2, good.len() - 1, good.len() - 5] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            g.reset();
            assert!(decode(&mut g, &bad, 7, 100).is_err(), "flip at {at}");
        }
        g.reset();
        assert_eq!(
            decode(&mut g, &[good, b"garbage...".to_vec()].concat(), 64, 100),
            Err("gzip: invalid header")
        );
    }

    #[test]
    fn ten_thousand_empty_members_cost_no_memory() {
        let bomb = gzip(b"").repeat(10_000);
        let mut g = Gunzip::new();
        assert_eq!(decode(&mut g, &bomb, 4096, 64), Ok((Vec::new(), true)));
    }
}
