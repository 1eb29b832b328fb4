//! Why a migration cannot go on. Each text says what, where, and what to do.

use std::path::PathBuf;

use storage::StorageError;
use tsdb::disk::DiskError;

/// Why a migration cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// The source's folder, or ours, cannot be read or written.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Our store refused.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The folder is none of a Prometheus.
    #[error("{}: {why}; name the folder that the source has as --storage.tsdb.path", path.display())]
    NoSource {
        /// The folder.
        path: PathBuf,
        /// What is missing.
        why: String,
    },
    /// A folder or an archive that nobody writes cannot be taken.
    #[error("{}: {why}", path.display())]
    Offline {
        /// The folder or the archive.
        path: PathBuf,
        /// Why, and what to do.
        why: String,
    },
    /// Links cannot be made beside the data.
    #[error(
        "{}: the pin must be on the file system of the data, as it is made of hard links; leave --pin-dir away or name another folder",
        path.display()
    )]
    OtherFileSystem {
        /// Where the pin was to be.
        path: PathBuf,
    },
    /// Files went faster than they could be linked.
    #[error("{}: files came and went {tries} times while they were linked; try again", path.display())]
    Restless {
        /// The source's folder.
        path: PathBuf,
        /// How often it was tried.
        tries: usize,
    },
    /// Segments of the source's log went before they were linked: nobody looked for longer than the log is kept.
    #[error(
        "the log of the source was cut from segment {from} up to {found} before it was read; the source has to be pinned again, what was copied stays"
    )]
    Gap {
        /// The segment that was expected.
        from: u64,
        /// The first one that is there.
        found: u64,
    },
    /// The source was started again and gave numbers of series that ended to others.
    #[error(
        "the source was started again and numbers its series anew; it has to be pinned again, what was copied stays"
    )]
    Renumbered,
    /// A record of a kind that a newer Prometheus writes.
    #[error(
        "the log of the source has a record of type {kind} in segment {segment} at {offset}, which this version does not know; use a newer godwit, nothing was taken over half"
    )]
    UnknownRecord {
        /// Its type byte.
        kind: u8,
        /// Segment.
        segment: u64,
        /// Offset in it.
        offset: u64,
    },
    /// The agent does not answer, or says no.
    #[error("agent at {address}: {why}")]
    Agent {
        /// Its address.
        address: String,
        /// Why.
        why: String,
    },
    /// The agent was told to read a source that is not pinned.
    #[error("the source is not pinned any more; it is when the migration is run again")]
    Unpinned,
    /// The key of the migration cannot be read.
    #[error("key file {}: {why}; the agent makes it when it starts, bring it here unchanged", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// What was written is not what was read.
    #[error("{}: {why}; the disk or the memory of this machine is bad, or someone else writes there", path.display())]
    Differs {
        /// The file of ours.
        path: PathBuf,
        /// From which file, and where.
        why: String,
    },
    /// Asked for before it can be.
    #[error("blocks of the source are still on their way; verify when status says: following")]
    Early,
    /// The duty cannot change hands now.
    #[error("{why}")]
    Switch {
        /// Why.
        why: String,
    },
    /// Whoever asked wants it no more.
    #[error("stopped before the end; begin again")]
    Stopped,
    /// The thread that copies blocks ended without a result.
    #[error("the copy of the blocks ended without a result; please report it, running again goes on")]
    Copier,
    /// The state of a migration cannot be read.
    #[error("{}: {why}; remove the file to begin anew, blocks that were copied stay", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}
