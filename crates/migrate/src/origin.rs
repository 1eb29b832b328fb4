//! What an operator says of a source, and the door that it is.

use std::path::PathBuf;
use std::sync::Arc;

use tsdb::disk::Disk;

use crate::error::MigrateError;
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
}

impl Origin {
    /// What a migration was begun with.
    #[must_use]
    pub fn of(state: &State) -> Self {
        Origin { source: state.source.clone(), key_file: state.key_file.clone() }
    }

    /// The way to it. `disk` is that of this machine.
    ///
    /// # Errors
    /// The key cannot be read.
    pub fn door(&self, disk: Arc<dyn Disk>) -> Result<Box<dyn Door>, MigrateError> {
        Ok(match &self.key_file {
            Some(key_file) => Box::new(RemoteDoor::new(&self.source.to_string_lossy(), key_file)?),
            None => Box::new(LocalDoor { disk, data: self.source.clone(), pin: None }),
        })
    }
}
