//! Lists of series numbers: ascending, so each entry is the distance to the one before as a varint, one or
//! two bytes where upstream keeps eight.

use crate::wal::bytes::{Bytes, put_uvarint};

/// A list that only grows at its end.
#[derive(Clone, Debug, Default)]
pub(crate) struct Postings {
    bytes: Vec<u8>,
    last: u64,
    len: u32,
}

impl Postings {
    /// Number of entries.
    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// Bytes in memory, for statistics.
    pub(crate) fn memory(&self) -> usize {
        self.bytes.capacity() + size_of::<Postings>()
    }

    /// Encoded numbers up to `last`, the last one of them, and how many they are.
    pub(crate) fn up_to(&self, last: u64) -> (&[u8], u64, u32) {
        if self.last <= last {
            return (&self.bytes, self.last, self.len);
        }
        let mut bytes = Bytes(&self.bytes);
        let (mut at, mut len, mut end) = (0_u64, 0, 0);
        while let Ok(step) = bytes.uvarint() {
            if at.wrapping_add(step) > last {
                break;
            }
            at = at.wrapping_add(step);
            len += 1;
            end = self.bytes.len() - bytes.0.len();
        }
        (self.bytes.get(..end).unwrap_or_default(), at, len)
    }

    /// Of what [`Postings::up_to`] gave.
    pub(crate) fn from_encoded(bytes: &[u8], last: u64, len: u32) -> Self {
        Postings { bytes: bytes.to_vec(), last, len }
    }

    /// Adds a number. Numbers mostly come in ascending order; where not (a log whose series were written
    /// out of order), the list is rebuilt: O(n), rare.
    pub(crate) fn push(&mut self, series: u64) {
        if self.len > 0 && series <= self.last {
            let mut all: Vec<u64> = self.iter().collect();
            if let Err(at) = all.binary_search(&series) {
                all.insert(at, series);
                *self = all.into_iter().collect();
            }
            return;
        }
        // Doubling wastes half of a long list; a quarter is paid with few more moves.
        if self.bytes.capacity() - self.bytes.len() < 10 && self.bytes.len() >= 64 {
            self.bytes.reserve_exact(self.bytes.len() / 4);
        } else if self.bytes.capacity() == 0 {
            self.bytes.reserve_exact(4);
        }
        put_uvarint(&mut self.bytes, series.wrapping_sub(self.last));
        self.last = series;
        self.len += 1;
    }

    /// The numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        let mut bytes = Bytes(&self.bytes);
        let mut at = 0_u64;
        std::iter::from_fn(move || {
            at = at.wrapping_add(bytes.uvarint().ok()?);
            Some(at)
        })
    }
}

impl FromIterator<u64> for Postings {
    fn from_iter<I: IntoIterator<Item = u64>>(all: I) -> Self {
        let mut list = Postings::default();
        for series in all {
            put_uvarint(&mut list.bytes, series.wrapping_sub(list.last));
            list.last = series;
            list.len += 1;
        }
        list.bytes.shrink_to_fit();
        list
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_order_whatever_comes() {
        let mut list = Postings::default();
        for n in [5, 9, 1 << 39, 7, 7, 1, 300] {
            list.push(n);
        }
        assert_eq!(list.iter().collect::<Vec<_>>(), [1, 5, 7, 9, 300, 1 << 39]);
        assert_eq!(list.len(), 6);
    }
}
