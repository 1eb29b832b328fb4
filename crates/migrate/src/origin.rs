//! What an operator says of a source, and the door that it is.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use storage::CancelToken;
use tsdb::disk::Disk;

use crate::error::MigrateError;
use crate::offline::StillDoor;
use crate::source::{Door, LocalDoor};
use crate::state::State;
use crate::wire::RemoteDoor;

/// Where a source is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// A data folder, or `host:port` of the agent beside it.
    pub source: PathBuf,
    /// The key of an agent.
    pub key_file: Option<PathBuf>,
    /// Nobody writes it: a folder, or an archive of one, that is read in place.
    pub offline: bool,
}

/// What an archive is unpacked with.
#[derive(Clone, Debug, Default)]
pub struct Unpacking {
    /// Our data folder.
    pub ours: PathBuf,
    /// Ends it.
    pub cancel: CancelToken,
    /// Bytes that were unpacked.
    pub bytes: Arc<AtomicU64>,
}

impl Origin {
    /// What a migration was begun with.
    #[must_use]
    pub fn of(state: &State) -> Self {
        Origin { source: state.source.clone(), key_file: state.key_file.clone(), offline: state.offline }
    }

    /// The way to one that nobody writes.
    #[must_use]
    pub fn still_door(&self, disk: Arc<dyn Disk>, unpacking: Unpacking) -> StillDoor {
        let Unpacking { ours, cancel, bytes } = unpacking;
        StillDoor { disk, source: self.source.clone(), ours, cancel, unpacked: bytes }
    }

    /// The way to it. `disk` is that of this machine.
    ///
    /// # Errors
    /// The key cannot be read.
    pub fn door(&self, disk: Arc<dyn Disk>, unpacking: Unpacking) -> Result<Box<dyn Door>, MigrateError> {
        Ok(match &self.key_file {
            None if self.offline => Box::new(self.still_door(disk, unpacking)),
            Some(key_file) => Box::new(RemoteDoor::new(&self.source.to_string_lossy(), key_file)?),
            None => Box::new(LocalDoor { disk, data: self.source.clone(), pin: None }),
        })
    }
}
