//! Requests and answers: a length, JSON, and with some answers bytes behind it.
//!
//! JSON, because all but the bytes is small and rare; a person can read what went over.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tsdb::block::BlockMeta;
use tsdb::disk::DiskError;

use crate::error::MigrateError;
use crate::look::Facts;
use crate::pin::PinnedLog;
use crate::source::{Place, Who};
use crate::verify::Digest;

/// Counted up when a side could not understand the other.
pub(super) const PROTOCOL: u32 = 1;
/// A request names a path at most: 4 KiB.
pub(super) const REQUEST_BYTES_MAX: u32 = 16 << 10;
/// Digests are the largest: some 45 bytes each, so that 1.4 million series of two hours fit. Descriptions of blocks are
/// some 2 KiB each, 180 days of two-hour blocks are 2,160 = 5 MiB.
pub(super) const ANSWER_BYTES_MAX: u32 = 64 << 20;
/// Bytes of a file that one answer brings. Each connection holds so much at both ends.
pub(super) const DATA_BYTES_MAX: u32 = 4 << 20;

/// What an agent is asked for. Paths are relative: `data/...` in the source's folder, `pin/...` in its pin.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    Hello { protocol: u32 },
    Look,
    Open { anew: bool },
    Follow,
    FollowDeletions,
    FirstHeld(PinnedLog),
    BlockNames,
    Describe(String),
    AllBlocks,
    BlocksIn(Place),
    Hold { who: Who, from_ms: i64, end_ms: i64 },
    LetGo(Who),
    Digest { from_ms: i64, to_ms: i64 },
    ForgetBefore,
    Void,
    Release,
    List(PathBuf),
    Exists(PathBuf),
    Size(PathBuf),
    Read { path: PathBuf, offset: u64, len: u32, bulk: bool },
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Hello {
        protocol: u32,
        version: String,
        host: String,
        now_ms: i64,
    },
    Facts(Box<Facts>),
    Done,
    Number(Option<u64>),
    Flag(bool),
    Digests(Option<Vec<Digest>>),
    Names(BTreeSet<String>),
    Entries(Vec<(String, bool)>),
    Blocks(Option<Vec<BlockMeta>>),
    /// So many bytes follow; of a bulk read their BLAKE3.
    Data {
        len: u32,
        hash: Option<String>,
    },
    Failed(Fault),
}

/// Why not.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Fault {
    Disk { op: String, path: PathBuf, errno: Option<i32>, not_found: bool, text: String },
    Gap { from: u64, found: u64 },
    NoSource { path: PathBuf, why: String },
    OtherFileSystem(PathBuf),
    Restless { path: PathBuf, tries: usize },
    Other(String),
}

impl From<MigrateError> for Fault {
    fn from(e: MigrateError) -> Self {
        match e {
            MigrateError::Disk(DiskError { op, path, source }) => Fault::Disk {
                op: op.to_string(),
                path,
                errno: source.raw_os_error(),
                not_found: source.kind() == io::ErrorKind::NotFound,
                text: source.to_string(),
            },
            MigrateError::Gap { from, found } => Fault::Gap { from, found },
            MigrateError::NoSource { path, why } => Fault::NoSource { path, why },
            MigrateError::OtherFileSystem { path } => Fault::OtherFileSystem(path),
            MigrateError::Restless { path, tries } => Fault::Restless { path, tries },
            other => Fault::Other(other.to_string()),
        }
    }
}

/// Names of operations are told apart by nobody but readers of logs, and have to live for ever here.
fn operation(op: &str) -> &'static str {
    ["read", "open", "stat", "list", "link", "rename", "remove", "create directory", "fsync", "sync"]
        .into_iter()
        .find(|known| *known == op)
        .unwrap_or("use")
}

impl Fault {
    /// As it would have been here; paths get the source's address before them.
    pub(super) fn at(self, agent: &Path) -> MigrateError {
        let told = |path: PathBuf| PathBuf::from(format!("{}:{}", agent.display(), path.display()));
        match self {
            Fault::Disk { op, path, errno, not_found, text } => {
                let source = match errno {
                    Some(errno) => io::Error::from_raw_os_error(errno),
                    None if not_found => io::Error::new(io::ErrorKind::NotFound, text),
                    None => io::Error::other(text),
                };
                DiskError::new(operation(&op), told(path), source).into()
            }
            Fault::Gap { from, found } => MigrateError::Gap { from, found },
            Fault::NoSource { path, why } => MigrateError::NoSource { path: told(path), why },
            Fault::OtherFileSystem(path) => MigrateError::OtherFileSystem { path: told(path) },
            Fault::Restless { path, tries } => MigrateError::Restless { path: told(path), tries },
            Fault::Other(why) => MigrateError::Agent { address: agent.display().to_string(), why },
        }
    }
}

/// Sends a message and the bytes behind it.
pub(super) fn send(to: &mut impl Write, message: &impl Serialize, bytes: &[u8]) -> io::Result<()> {
    let json = serde_json::to_vec(message)?;
    let len = u32::try_from(json.len()).ok().filter(|len| *len <= ANSWER_BYTES_MAX);
    let len = len.ok_or_else(|| io::Error::other("the answer is larger than any may be"))?;
    to.write_all(&len.to_le_bytes())?;
    to.write_all(&json)?;
    to.write_all(bytes)?;
    to.flush()
}

/// Receives one; `None` where the other side has closed before it.
pub(super) fn receive<T: DeserializeOwned>(from: &mut impl Read, max: u32) -> io::Result<Option<T>> {
    let mut len = [0; 4];
    if from.read(&mut len[..1])? == 0 {
        return Ok(None);
    }
    from.read_exact(&mut len[1..])?;
    let len = u32::from_le_bytes(len);
    if len > max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a message of {len} bytes")));
    }
    // Room as it comes, not as it is promised.
    let mut json = Vec::new();
    from.take(len.into()).read_to_end(&mut json)?;
    if json.len() as u64 != u64::from(len) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    serde_json::from_slice(&json).map(Some).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
}
