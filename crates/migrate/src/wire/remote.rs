//! The source as a destination sees it through an agent: a [`Source`] whose files are read over the network.

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use blake3::Hash;
use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use tsdb::block::BlockMeta;
use tsdb::disk::{DirEntry, Disk, DiskError, DiskResult, LockGuard, ReadFile, WriteFile, WriteMode};

use super::key::Key;
use super::message::{ANSWER_BYTES_MAX, Answer, DATA_BYTES_MAX, PROTOCOL, Request, receive, send};
use super::now_ms;
use crate::error::MigrateError;
use crate::look::Facts;
use crate::pin::PinnedLog;
use crate::source::{Door, Machine, Place, Source, Who};
use crate::verify::Digest;

/// A machine in another continent answers within a second.
const CONNECT: Duration = Duration::from_secs(10);
/// Making links to thousands of blocks, or reading a piece on a disk that is busy.
const ANSWER: Duration = Duration::from_secs(120);
/// Connections that wait for the next request.
const IDLE_MAX: usize = 4;
/// Read at once where readers ask for little: at a millisecond a round trip 256 MB/s.
const AHEAD_BYTES: usize = 256 << 10;

/// A source behind an agent.
#[derive(Debug)]
pub struct RemoteDoor {
    name: PathBuf,
    key_file: PathBuf,
    line: Arc<Line>,
}

impl RemoteDoor {
    /// `address`: the agent's, as `host:port`; `key_file` is what it made, brought here.
    ///
    /// # Errors
    /// The key cannot be read.
    pub fn new(address: &str, key_file: &Path) -> Result<Self, MigrateError> {
        let key = Key::read(key_file)?;
        let bad = |why: String| MigrateError::Agent { address: address.to_string(), why };
        let tls = key.destination().map_err(|e| bad(e.to_string()))?;
        let line = Line {
            address: address.to_string(),
            tls,
            idle: Mutex::new(Vec::new()),
            machine: Mutex::new(None),
        };
        Ok(RemoteDoor {
            name: PathBuf::from(address),
            key_file: key_file.to_path_buf(),
            line: Arc::new(line),
        })
    }
}

impl Door for RemoteDoor {
    fn name(&self) -> &Path {
        &self.name
    }

    fn key_file(&self) -> Option<&Path> {
        Some(&self.key_file)
    }

    fn look(&self) -> Result<(Facts, Option<Machine>), MigrateError> {
        // Measured now, not when the connection was made.
        self.line.idle.lock().clear();
        match self.line.ask(&Request::Look)? {
            Answer::Facts(facts) => Ok((*facts, self.line.machine.lock().clone())),
            other => Err(self.line.strange(&other)),
        }
    }

    fn read(&self, path: &Path, offset: u64, len: usize, into: &mut Vec<u8>) -> Result<(), MigrateError> {
        let disk = RemoteDisk { root: self.name.clone(), line: Arc::clone(&self.line) };
        Ok(disk.fetch(&self.name.join("data").join(path), offset, len, true, into).map(|_| ())?)
    }

    fn open(&self, _place: Option<&Path>, anew: bool) -> Result<Arc<dyn Source>, MigrateError> {
        let id = match self.line.ask(&Request::Open { anew })? {
            Answer::Names(names) => names.into_iter().next().unwrap_or_default(),
            other => return Err(self.line.strange(&other)),
        };
        let disk = Arc::new(RemoteDisk { root: self.name.clone(), line: Arc::clone(&self.line) });
        let (data, dir) = (self.name.join("data"), self.name.join("pin"));
        let (name, line) = (self.name.clone(), Arc::clone(&self.line));
        Ok(Arc::new(RemoteSource { name, line, disk, data, dir, id }))
    }
}

type Stream = StreamOwned<ClientConnection, TcpStream>;

/// Connections to one agent.
#[derive(Debug)]
struct Line {
    address: String,
    tls: Arc<ClientConfig>,
    idle: Mutex<Vec<Stream>>,
    machine: Mutex<Option<Machine>>,
}

impl Line {
    fn failed(&self, why: impl ToString) -> MigrateError {
        MigrateError::Agent { address: self.address.clone(), why: why.to_string() }
    }

    fn strange(&self, answer: &Answer) -> MigrateError {
        self.failed(format_args!("an answer to another question: {answer:?}"))
    }

    fn connect(&self) -> io::Result<Stream> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in self.address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    stream.set_read_timeout(Some(ANSWER))?;
                    stream.set_write_timeout(Some(ANSWER))?;
                    let name = ServerName::try_from("godwit").map_err(io::Error::other)?;
                    let tls = ClientConnection::new(Arc::clone(&self.tls), name).map_err(io::Error::other)?;
                    let mut line = StreamOwned::new(tls, stream);
                    // The handshake is over with the first exchange, so that the second one is a round trip.
                    exchange(&mut line, &Request::Hello { protocol: PROTOCOL }, None)?;
                    let asked_ms = now_ms();
                    return match exchange(&mut line, &Request::Hello { protocol: PROTOCOL }, None)? {
                        Answer::Hello { protocol: PROTOCOL, host, now_ms: theirs, .. } => {
                            let ahead_ms = theirs - (asked_ms + now_ms()) / 2;
                            *self.machine.lock() = Some(Machine { host, ahead_ms });
                            Ok(line)
                        }
                        Answer::Failed(fault) => {
                            Err(io::Error::other(fault.at(Path::new(&self.address)).to_string()))
                        }
                        other => Err(io::Error::other(format!("it says {other:?}"))),
                    };
                }
                Err(e) => last = e,
            }
        }
        Err(last)
    }

    /// Asks, over a new connection where the one that was kept has ended. Every request may be asked twice.
    fn exchange(&self, request: &Request, mut data: Option<&mut Vec<u8>>) -> io::Result<Answer> {
        let kept = self.idle.lock().pop();
        if let Some(mut line) = kept
            && let Ok(answer) = exchange(&mut line, request, data.as_deref_mut())
        {
            self.keep(line);
            return Ok(answer);
        }
        let mut line = self.connect()?;
        let answer = exchange(&mut line, request, data)?;
        self.keep(line);
        Ok(answer)
    }

    fn keep(&self, line: Stream) {
        let mut idle = self.idle.lock();
        if idle.len() < IDLE_MAX {
            idle.push(line);
        }
    }

    fn ask(&self, request: &Request) -> Result<Answer, MigrateError> {
        match self.exchange(request, None).map_err(|e| self.failed(e))? {
            Answer::Failed(fault) => Err(fault.at(Path::new(&self.address))),
            answer => Ok(answer),
        }
    }
}

fn exchange(line: &mut Stream, request: &Request, data: Option<&mut Vec<u8>>) -> io::Result<Answer> {
    send(line, request, &[])?;
    let answer = receive(line, ANSWER_BYTES_MAX)?.ok_or(io::ErrorKind::UnexpectedEof)?;
    if let Answer::Data { len, .. } = &answer {
        if *len > DATA_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "more bytes than were asked for"));
        }
        let mut unasked = Vec::new();
        let data = data.unwrap_or(&mut unasked);
        data.resize(*len as usize, 0);
        line.read_exact(data)?;
    }
    Ok(answer)
}

#[derive(Debug)]
struct RemoteSource {
    name: PathBuf,
    line: Arc<Line>,
    disk: Arc<dyn Disk>,
    data: PathBuf,
    dir: PathBuf,
    id: String,
}

impl RemoteSource {
    fn done(&self, request: &Request) -> Result<(), MigrateError> {
        match self.line.ask(request)? {
            Answer::Done => Ok(()),
            other => Err(self.line.strange(&other)),
        }
    }

    fn blocks(&self, request: &Request) -> Result<Option<Vec<BlockMeta>>, MigrateError> {
        match self.line.ask(request)? {
            Answer::Blocks(blocks) => Ok(blocks),
            other => Err(self.line.strange(&other)),
        }
    }
}

impl Source for RemoteSource {
    fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    fn dir(&self) -> &Path {
        &self.dir
    }

    fn data(&self) -> &Path {
        &self.data
    }

    fn machine(&self) -> Option<Machine> {
        self.line.machine.lock().clone()
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn follow(&self) -> Result<(), MigrateError> {
        self.done(&Request::Follow)
    }

    fn follow_deletions(&self) -> Result<(), MigrateError> {
        self.done(&Request::FollowDeletions)
    }

    fn first_held(&self, log: PinnedLog) -> Result<Option<u64>, MigrateError> {
        match self.line.ask(&Request::FirstHeld(log))? {
            Answer::Number(n) => Ok(n),
            other => Err(self.line.strange(&other)),
        }
    }

    fn block_names(&self) -> Result<BTreeSet<String>, MigrateError> {
        match self.line.ask(&Request::BlockNames)? {
            Answer::Names(names) => Ok(names),
            other => Err(self.line.strange(&other)),
        }
    }

    fn describe(&self, name: &str) -> Result<Option<BlockMeta>, MigrateError> {
        Ok(self.blocks(&Request::Describe(name.to_string()))?.and_then(|mut metas| metas.pop()))
    }

    fn all_blocks(&self) -> Result<Vec<BlockMeta>, MigrateError> {
        Ok(self.blocks(&Request::AllBlocks)?.unwrap_or_default())
    }

    fn blocks_in(&self, place: Place) -> Result<Vec<BlockMeta>, MigrateError> {
        Ok(self.blocks(&Request::BlocksIn(place))?.unwrap_or_default())
    }

    fn hold(&self, who: Who, (from_ms, end_ms): (i64, i64)) -> Result<Option<Vec<BlockMeta>>, MigrateError> {
        self.blocks(&Request::Hold { who, from_ms, end_ms })
    }

    fn digest(&self, (from_ms, to_ms): (i64, i64)) -> Result<Option<Vec<Digest>>, MigrateError> {
        match self.line.ask(&Request::Digest { from_ms, to_ms })? {
            Answer::Digests(all) => Ok(all),
            other => Err(self.line.strange(&other)),
        }
    }

    fn let_go(&self, who: Who) -> Result<(), MigrateError> {
        self.done(&Request::LetGo(who))
    }

    fn piece(&self, path: &Path, offset: u64, len: usize, into: &mut Vec<u8>) -> Result<Hash, MigrateError> {
        let disk = RemoteDisk { root: self.name.clone(), line: Arc::clone(&self.line) };
        let hash = disk.fetch(path, offset, len, true, into)?;
        let hash = hash.and_then(|text| Hash::from_hex(text).ok());
        hash.ok_or_else(|| self.line.failed("a piece came without its hash"))
    }

    fn forget_before(&self) -> Result<(), MigrateError> {
        self.done(&Request::ForgetBefore)
    }

    fn void(&self) -> Result<(), MigrateError> {
        self.done(&Request::Void)
    }

    fn release(&self) -> Result<(), MigrateError> {
        self.done(&Request::Release)
    }
}

/// The source's files, to be read. Their paths begin with the agent's address.
#[derive(Clone, Debug)]
struct RemoteDisk {
    root: PathBuf,
    line: Arc<Line>,
}

impl RemoteDisk {
    /// Reads at most so much, and its hash where `bulk` asks for it.
    fn fetch(
        &self,
        path: &Path,
        offset: u64,
        len: usize,
        bulk: bool,
        into: &mut Vec<u8>,
    ) -> DiskResult<Option<String>> {
        let len = len.min(DATA_BYTES_MAX as usize) as u32;
        let request = Request::Read { path: self.relative(path), offset, len, bulk };
        match self.ask("read", path, &request, Some(into))? {
            Answer::Data { len: got, hash } if got <= len => Ok(hash),
            _ => strange("read", path),
        }
    }

    fn relative(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).unwrap_or(path).to_path_buf()
    }

    fn ask(
        &self,
        op: &'static str,
        path: &Path,
        request: &Request,
        data: Option<&mut Vec<u8>>,
    ) -> DiskResult<Answer> {
        match self.line.exchange(request, data) {
            Ok(Answer::Failed(fault)) => Err(match fault.at(Path::new(&self.line.address)) {
                MigrateError::Disk(e) => e,
                other => DiskError::new(op, path, io::Error::other(other.to_string())),
            }),
            Ok(answer) => Ok(answer),
            Err(e) => Err(DiskError::new(op, path, e)),
        }
    }
}

fn strange<T>(op: &'static str, path: &Path) -> DiskResult<T> {
    Err(DiskError::new(op, path, io::Error::other("the agent answered another question")))
}

fn only_read<T>(op: &'static str, path: &Path) -> DiskResult<T> {
    Err(DiskError::new(op, path, io::ErrorKind::ReadOnlyFilesystem.into()))
}

impl Disk for RemoteDisk {
    fn open_read(&self, path: &Path) -> DiskResult<Arc<dyn ReadFile>> {
        let len = self.size(path)?;
        let (disk, path) = (self.clone(), path.to_path_buf());
        Ok(Arc::new(RemoteFile { disk, path, len, ahead: Mutex::default() }))
    }

    fn open_write(&self, path: &Path, _mode: WriteMode) -> DiskResult<Box<dyn WriteFile>> {
        only_read("open", path)
    }

    fn rename(&self, from: &Path, _to: &Path) -> DiskResult<()> {
        only_read("rename", from)
    }

    fn hard_link(&self, from: &Path, _to: &Path) -> DiskResult<()> {
        only_read("link", from)
    }

    fn remove_file(&self, path: &Path) -> DiskResult<()> {
        only_read("remove", path)
    }

    fn remove_dir_all(&self, path: &Path) -> DiskResult<()> {
        only_read("remove", path)
    }

    fn create_dir_all(&self, path: &Path) -> DiskResult<()> {
        only_read("create directory", path)
    }

    fn list(&self, path: &Path) -> DiskResult<Vec<DirEntry>> {
        match self.ask("list", path, &Request::List(self.relative(path)), None)? {
            Answer::Entries(all) => {
                Ok(all.into_iter().map(|(name, is_dir)| DirEntry { name, is_dir }).collect())
            }
            _ => strange("list", path),
        }
    }

    fn exists(&self, path: &Path) -> DiskResult<bool> {
        match self.ask("stat", path, &Request::Exists(self.relative(path)), None)? {
            Answer::Flag(there) => Ok(there),
            _ => strange("stat", path),
        }
    }

    fn size(&self, path: &Path) -> DiskResult<u64> {
        match self.ask("stat", path, &Request::Size(self.relative(path)), None)? {
            Answer::Number(Some(size)) => Ok(size),
            _ => strange("stat", path),
        }
    }

    fn sync_dir(&self, path: &Path) -> DiskResult<()> {
        only_read("fsync", path)
    }

    fn lock(&self, path: &Path) -> DiskResult<Box<dyn LockGuard>> {
        only_read("open", path)
    }

    fn free_bytes(&self, path: &Path) -> DiskResult<u64> {
        only_read("stat", path)
    }

    fn total_bytes(&self, path: &Path) -> DiskResult<u64> {
        only_read("stat", path)
    }
}

/// A file of the source, with what was read last and some more.
#[derive(Debug)]
struct RemoteFile {
    disk: RemoteDisk,
    path: PathBuf,
    /// When it was opened: who wants what came since opens it again.
    len: u64,
    ahead: Mutex<(u64, Vec<u8>)>,
}

impl ReadFile for RemoteFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> DiskResult<usize> {
        let mut ahead = self.ahead.lock();
        let (begin, bytes) = &mut *ahead;
        let there = |begin: u64, bytes: &[u8]| {
            let at = usize::try_from(offset.checked_sub(begin)?).ok()?;
            bytes.get(at..).filter(|rest| !rest.is_empty()).map(|_| at)
        };
        let at = match there(*begin, bytes) {
            Some(at) => at,
            None => {
                bytes.clear();
                *begin = offset;
                self.disk.fetch(&self.path, offset, buf.len().max(AHEAD_BYTES), false, bytes)?;
                0
            }
        };
        let rest = bytes.get(at..).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        Ok(n)
    }

    fn len(&self) -> DiskResult<u64> {
        Ok(self.len)
    }

    fn path(&self) -> &Path {
        &self.path
    }
}
