//! Whether there is memory for what a mechanism wants to read. Targets that are known stay in force where there
//! is none: an error, as for a file that cannot be read.

use std::sync::Arc;

/// Memory that a written list takes while it is read, by each of its bytes. An address of 20 bytes: as text, as a
/// string of 56, as a target of 90; those of before are there until all are read. YAML has a tree of nodes besides.
const BYTES_EACH: u64 = 16;
/// Lists up to so many bytes are read whatever memory is left: some 10,000 targets, which take 4 MiB.
const FREE_BYTES: u64 = 256 << 10;

/// Tells how many bytes of memory there are for discovery. `Default`: as many as are asked for.
#[derive(Clone, Default)]
pub struct Room(pub Option<Arc<dyn Fn() -> u64 + Send + Sync>>);

impl std::fmt::Debug for Room {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Room")
    }
}

/// Memory does not suffice.
#[derive(Debug, thiserror::Error)]
#[error(
    "a list of {bytes} bytes takes more memory than there is ({} MiB left); targets known before stay. Give the \
     server more memory or split the list",
    left >> 20
)]
pub(crate) struct NoRoom {
    bytes: u64,
    left: u64,
}

impl Room {
    /// Asks for a list of so many bytes.
    ///
    /// # Errors
    /// There is no memory for it now.
    pub(crate) fn for_list(&self, bytes: u64) -> Result<(), NoRoom> {
        let Some(left) = &self.0 else { return Ok(()) };
        if bytes <= FREE_BYTES {
            return Ok(());
        }
        match left() {
            left if bytes.saturating_mul(BYTES_EACH) > left => Err(NoRoom { bytes, left }),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_memory_has_no_room_for() {
        let room = Room(Some(Arc::new(|| 16 << 20)));
        assert!(room.for_list(1 << 20).is_ok() && room.for_list((1 << 20) + 1).is_err());
        assert!(Room(Some(Arc::new(|| 0))).for_list(FREE_BYTES).is_ok());
        assert!(Room::default().for_list(u64::MAX).is_ok());
    }
}
