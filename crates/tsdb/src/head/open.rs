//! Bytes of open float chunks. The newest ones lie in the series' slot, which an append has in the cache
//! anyway; those before are in blocks of an arena that the series of a page share. An append touches the
//! arena once in [`BLOCK_BYTES`] bytes, a block is written once, and blocks that neighbours fill at one time
//! lie side by side. Buffers of their own would cost each append a cache line that no cache has, and be moved
//! to a larger place twenty times in a chunk's life.

use crate::chunkenc::{CHUNK_BYTES_MAX, ChunkBuf};

use super::table::PAGE_SERIES;

/// Bytes of a block and of a slot's tail. With the link a block is 16 bytes, a quarter of a cache line.
const BLOCK_BYTES: usize = 14;
/// No block.
const NONE: u16 = u16::MAX;
/// The arena grows by this many blocks: 4 KiB, as a chunk's bytes are not worth more to a page.
const GROW_BLOCKS: usize = 256;

// Numbers of blocks suffice for a page of series with the longest chunks.
const _: () = assert!(PAGE_SERIES as usize * CHUNK_BYTES_MAX.div_ceil(BLOCK_BYTES) < NONE as usize);

#[derive(Clone, Copy, Debug)]
struct Block {
    bytes: [u8; BLOCK_BYTES],
    /// The one behind it, of the chunk or of the free ones.
    next: u16,
}

/// The arena of a page.
#[derive(Debug)]
pub(crate) struct Blocks {
    all: Vec<Block>,
    free: u16,
    used: usize,
}

impl Default for Blocks {
    fn default() -> Self {
        Blocks { all: Vec::new(), free: NONE, used: 0 }
    }
}

impl Blocks {
    fn add(&mut self, bytes: [u8; BLOCK_BYTES]) -> u16 {
        self.used += 1;
        let block = Block { bytes, next: NONE };
        if let Some(place) = self.all.get_mut(usize::from(self.free)) {
            let at = self.free;
            self.free = place.next;
            *place = block;
            return at;
        }
        if self.all.len() == self.all.capacity() {
            self.all.reserve_exact(GROW_BLOCKS);
        }
        self.all.push(block);
        (self.all.len() - 1) as u16
    }

    /// Bytes that it holds, for statistics.
    pub(super) fn memory(&self) -> usize {
        self.all.capacity() * size_of::<Block>()
    }
}

/// Blocks of a chunk, and its newest bytes: the last one at least, unless there are none at all.
#[derive(Debug)]
pub(super) struct Tail {
    bytes: [u8; BLOCK_BYTES],
    len: u8,
}

/// The full blocks of a chunk.
#[derive(Debug)]
pub(super) struct Chain {
    first: u16,
    last: u16,
    blocks: u16,
}

impl Default for Tail {
    fn default() -> Self {
        Tail { bytes: [0; BLOCK_BYTES], len: 0 }
    }
}

impl Default for Chain {
    fn default() -> Self {
        Chain { first: NONE, last: NONE, blocks: 0 }
    }
}

/// A chunk's bytes, to append to.
pub(super) struct OpenBytes<'a> {
    pub(super) tail: &'a mut Tail,
    pub(super) chain: &'a mut Chain,
    pub(super) blocks: &'a mut Blocks,
}

/// Length in bytes.
#[inline]
pub(super) fn len(tail: &Tail, chain: &Chain) -> usize {
    usize::from(chain.blocks) * BLOCK_BYTES + usize::from(tail.len)
}

/// Appends a chunk's bytes to `out`.
pub(super) fn collect(tail: &Tail, chain: &Chain, blocks: &Blocks, out: &mut Vec<u8>) {
    out.reserve(len(tail, chain));
    let mut at = chain.first;
    for _ in 0..chain.blocks {
        let Some(block) = blocks.all.get(usize::from(at)) else { break };
        out.extend_from_slice(&block.bytes);
        at = block.next;
    }
    out.extend_from_slice(tail.bytes.get(..usize::from(tail.len)).unwrap_or_default());
}

impl OpenBytes<'_> {
    /// Forgets the bytes.
    pub(super) fn clear(&mut self) {
        let chain = std::mem::take(self.chain);
        *self.tail = Tail::default();
        let blocks = &mut *self.blocks;
        if let Some(last) = blocks.all.get_mut(usize::from(chain.last)) {
            last.next = blocks.free;
            blocks.free = chain.first;
            blocks.used -= usize::from(chain.blocks);
        }
        if blocks.used == 0 && blocks.free != NONE {
            // In order again.
            *blocks = Blocks { all: std::mem::take(&mut blocks.all), ..Blocks::default() };
            blocks.all.clear();
        }
    }

    fn push_many(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if usize::from(self.tail.len) == BLOCK_BYTES {
                self.spill();
            }
            let at = usize::from(self.tail.len);
            let (now, later) = bytes.split_at(bytes.len().min(BLOCK_BYTES - at));
            if let Some(room) = self.tail.bytes.get_mut(at..at + now.len()) {
                room.copy_from_slice(now);
            }
            self.tail.len += now.len() as u8;
            bytes = later;
        }
    }

    #[inline(never)]
    fn spill(&mut self) {
        let at = self.blocks.add(self.tail.bytes);
        match self.blocks.all.get_mut(usize::from(self.chain.last)) {
            Some(last) => last.next = at,
            None => self.chain.first = at,
        }
        self.chain.last = at;
        self.chain.blocks += 1;
        self.tail.len = 0;
    }
}

impl ChunkBuf for OpenBytes<'_> {
    #[inline]
    fn push_bytes(&mut self, bytes: &[u8]) {
        if bytes.len() > 8 {
            return self.push_many(bytes);
        }
        // One by one: a copy of a length that is not known is a call.
        for byte in bytes {
            if usize::from(self.tail.len) == BLOCK_BYTES {
                self.spill();
            }
            if let Some(room) = self.tail.bytes.get_mut(usize::from(self.tail.len)) {
                *room = *byte;
                self.tail.len += 1;
            }
        }
    }

    #[inline]
    fn or_last(&mut self, bits: u8) {
        let at = usize::from(self.tail.len).wrapping_sub(1);
        if let Some(last) = self.tail.bytes.get_mut(at) {
            *last |= bits;
        }
    }

    fn set(&mut self, at: usize, byte: u8) {
        let (block, at) = (at / BLOCK_BYTES, at % BLOCK_BYTES);
        let mut bytes = Some(&mut self.tail.bytes);
        if block < usize::from(self.chain.blocks) {
            let mut number = self.chain.first;
            for _ in 0..block {
                number = self.blocks.all.get(usize::from(number)).map_or(NONE, |b| b.next);
            }
            bytes = self.blocks.all.get_mut(usize::from(number)).map(|b| &mut b.bytes);
        }
        if let Some(place) = bytes.and_then(|b| b.get_mut(at)) {
            *place = byte;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunkenc::XorAppender;
    use proptest::prelude::*;

    #[derive(Default)]
    struct One {
        xor: XorAppender,
        plain: Vec<u8>,
        again: XorAppender,
        tail: Tail,
        chain: Chain,
    }

    impl One {
        fn open<'a>(&'a mut self, blocks: &'a mut Blocks) -> OpenBytes<'a> {
            OpenBytes { tail: &mut self.tail, chain: &mut self.chain, blocks }
        }
        fn bytes(&self, blocks: &Blocks) -> Vec<u8> {
            let mut out = Vec::new();
            collect(&self.tail, &self.chain, blocks, &mut out);
            assert_eq!(out.len(), len(&self.tail, &self.chain));
            out
        }
    }

    proptest! {
        /// Chunks that grow side by side, and end now and then, have the bytes of buffers of their own.
        #[test]
        fn bytes_are_those_of_buffers(
            samples in proptest::collection::vec((0_usize..5, 0_i64..100_000, any::<u64>(), 0_u32..60, 0_u8..40), 1..400)
        ) {
            let mut blocks = Blocks::default();
            let mut all: [One; 5] = Default::default();
            let mut t = 0;
            for (which, step, value, shift, end) in samples {
                t += step;
                let value = f64::from_bits(value >> shift);
                let one = &mut all[which];
                if end == 0 {
                    one.open(&mut blocks).clear();
                    *one = One::default();
                }
                one.xor.append(&mut one.plain, t, value).unwrap();
                let mut again = one.again;
                again.append(&mut one.open(&mut blocks), t, value).unwrap();
                one.again = again;
                for one in &all {
                    prop_assert_eq!(&one.bytes(&blocks), &one.plain);
                }
            }
            let used: usize = all.iter().map(|o| usize::from(o.chain.blocks)).sum();
            prop_assert_eq!(blocks.used, used);
            all.iter_mut().for_each(|one| one.open(&mut blocks).clear());
            prop_assert!(blocks.all.is_empty() && blocks.free == NONE);
        }
    }

    #[test]
    fn any_length_and_place() {
        let (mut blocks, mut one) = (Blocks::default(), One::default());
        let mut open = one.open(&mut blocks);
        open.push_bytes(&[0; 3]);
        open.push_bytes(&[0; 40]);
        open.or_last(7);
        (0..43).for_each(|at| open.set(at, at as u8));
        assert_eq!(one.bytes(&blocks), (0..43).collect::<Vec<u8>>());
    }
}
