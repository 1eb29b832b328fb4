//! Beside the source: makes and keeps the links, reads the files, and tells them to who has the key. It writes nothing
//! but its pin and asks the Prometheus for nothing.

use std::io::{self, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use storage::CancelToken;

use super::key::Key;
use super::message::{
    ANSWER_BYTES_MAX, Answer, DATA_BYTES_MAX, Fault, PROTOCOL, REQUEST_BYTES_MAX, Request, receive, send,
};
use super::now_ms;
use crate::error::MigrateError;
use crate::look::Facts;
use crate::source::{Door as _, LocalDoor, Source, read_piece};

/// Where an agent listens if it is not told.
pub const DEFAULT_PORT: u16 = 9191;

/// A destination has a handful: each may hold [`DATA_BYTES_MAX`], 32 MiB together.
const CONNECTIONS_MAX: usize = 8;
/// A stranger holds a connection no longer than this.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// A destination that asks nothing for so long is gone, or opens a new connection.
const IDLE: Duration = Duration::from_secs(300);
/// How often a waiting thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);
/// While nobody asks, segments are linked and deletions seen so often: a source keeps both for hours.
const KEEP_EVERY: Duration = Duration::from_secs(5);

/// Answers for one source.
#[derive(Debug)]
pub struct Agent {
    door: LocalDoor,
    tls: Arc<ServerConfig>,
    pin: Mutex<Option<Arc<dyn Source>>>,
    open: AtomicUsize,
    keep_every: Duration,
    host: String,
}

impl Agent {
    /// For the source behind `door` on the machine `host`, as a Prometheus there sees its name. A pin that is there already is gone on with at once.
    ///
    /// # Errors
    /// None that a sound TLS library could make; the folder is none of a Prometheus.
    pub fn new(door: LocalDoor, key: &Key, host: String) -> Result<Self, MigrateError> {
        door.check()?;
        let other = |e: rustls::Error| MigrateError::Agent { address: "TLS".into(), why: e.to_string() };
        let tls = key.agent().map_err(other)?;
        let agent = Agent {
            door,
            tls,
            pin: Mutex::new(None),
            open: AtomicUsize::new(0),
            keep_every: KEEP_EVERY,
            host,
        };
        agent.keep();
        Ok(agent)
    }

    /// Links what came so often while nobody asks.
    #[must_use]
    pub fn keeping_every(self, keep_every: Duration) -> Self {
        Agent { keep_every, ..self }
    }

    /// Answers until `cancel`.
    ///
    /// # Errors
    /// The listener failed.
    pub fn serve(&self, listener: &TcpListener, cancel: &CancelToken) -> io::Result<()> {
        listener.set_nonblocking(true)?;
        std::thread::scope(|scope| {
            let mut kept = Instant::now();
            while !cancel.is_cancelled() {
                if kept.elapsed() >= self.keep_every {
                    self.keep();
                    kept = Instant::now();
                }
                match listener.accept() {
                    Ok((stream, peer)) => {
                        if self.open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
                            self.open.fetch_sub(1, Ordering::Relaxed);
                            tracing::warn!(%peer, "refused: too many connections");
                            continue;
                        }
                        let work = move || {
                            if let Err(error) = self.connection(stream, cancel) {
                                tracing::info!(%peer, %error, "connection ended");
                            }
                            self.open.fetch_sub(1, Ordering::Relaxed);
                        };
                        std::thread::Builder::new().name("connection".into()).spawn_scoped(scope, work)?;
                    }
                    Err(e) if e.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(LOOK),
                    // One connection's, or too many files: the next may be better.
                    Err(error) => {
                        tracing::warn!(%error, "accept");
                        std::thread::sleep(LOOK);
                    }
                }
            }
            Ok(())
        })
    }

    /// Links what came, so that a destination that is away loses nothing.
    fn keep(&self) {
        let mut pin = self.pin.lock();
        let done = match &*pin {
            Some(pin) => pin.follow().and_then(|()| pin.follow_deletions()),
            None => match self.door.reopen() {
                Ok(found) => {
                    *pin = found;
                    Ok(())
                }
                Err(e) => Err(e),
            },
        };
        match done {
            Ok(()) => {}
            // The destination hears of it when it asks, and has it pinned anew.
            Err(error @ MigrateError::Gap { .. }) => {
                tracing::warn!(%error, "pin");
                *pin = None;
            }
            Err(error) => tracing::warn!(%error, "pin"),
        }
    }

    fn connection(&self, stream: TcpStream, cancel: &CancelToken) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(HANDSHAKE))?;
        stream.set_write_timeout(Some(IDLE))?;
        let tls = ServerConnection::new(Arc::clone(&self.tls)).map_err(io::Error::other)?;
        let mut line = StreamOwned::new(tls, stream);
        // A stranger gets no further than this.
        while line.conn.is_handshaking() {
            line.conn.complete_io(&mut line.sock)?;
        }
        let mut buf = Vec::new();
        let mut asked = Instant::now();
        line.sock.set_read_timeout(Some(LOOK * 4))?;
        while !cancel.is_cancelled() && asked.elapsed() < IDLE {
            // Only the wait for a request is short; within one the other side has its time.
            if line.conn.wants_read() && !waiting(&mut line)? {
                continue;
            }
            line.sock.set_read_timeout(Some(HANDSHAKE))?;
            let Some(request) = receive(&mut line, REQUEST_BYTES_MAX)? else { return Ok(()) };
            let answer = self.answer(request, &mut buf).unwrap_or_else(|e| Answer::Failed(e.into()));
            let bytes: &[u8] = if matches!(answer, Answer::Data { .. }) { &buf } else { &[] };
            send(&mut line, &answer, bytes)?;
            line.sock.set_read_timeout(Some(LOOK * 4))?;
            asked = Instant::now();
        }
        line.conn.send_close_notify();
        line.flush()
    }

    fn pin(&self) -> Result<Arc<dyn Source>, MigrateError> {
        let mut pin = self.pin.lock();
        if pin.is_none() {
            *pin = self.door.reopen()?;
        }
        pin.clone().ok_or(MigrateError::Unpinned)
    }

    fn answer(&self, request: Request, buf: &mut Vec<u8>) -> Result<Answer, MigrateError> {
        Ok(match request {
            Request::Hello { protocol: PROTOCOL } => {
                let (version, host) = (env!("CARGO_PKG_VERSION").to_string(), self.host.clone());
                Answer::Hello { protocol: PROTOCOL, version, host, now_ms: now_ms() }
            }
            Request::Hello { protocol } => Answer::Failed(Fault::Other(format!(
                "it speaks protocol {PROTOCOL} and was asked for {protocol}; use the same version of godwit on both sides"
            ))),
            Request::Look => {
                let facts = self.door.look()?.0;
                Answer::Facts(Box::new(Facts { host: self.host.clone(), ..facts }))
            }
            Request::Open { anew } => {
                let mut pin = self.pin.lock();
                let opened = self.door.open(None, anew)?;
                let id = opened.id().to_string();
                *pin = Some(opened);
                Answer::Names([id].into())
            }
            Request::Follow => self.pin()?.follow().map(|()| Answer::Done)?,
            Request::FollowDeletions => self.pin()?.follow_deletions().map(|()| Answer::Done)?,
            Request::FirstHeld(log) => Answer::Number(self.pin()?.first_held(log)?),
            Request::BlockNames => Answer::Names(self.pin()?.block_names()?),
            Request::Describe(name) => {
                named(&name)?;
                Answer::Blocks(self.pin()?.describe(&name)?.map(|meta| vec![meta]))
            }
            Request::AllBlocks => Answer::Blocks(Some(self.pin()?.all_blocks()?)),
            Request::BlocksIn(place) => Answer::Blocks(Some(self.pin()?.blocks_in(place)?)),
            Request::Hold { who, from_ms, end_ms } => {
                Answer::Blocks(self.pin()?.hold(who, (from_ms, end_ms))?)
            }
            Request::Digest { from_ms, to_ms } => Answer::Digests(self.pin()?.digest((from_ms, to_ms))?),
            Request::LetGo(who) => self.pin()?.let_go(who).map(|()| Answer::Done)?,
            Request::ForgetBefore => self.pin()?.forget_before().map(|()| Answer::Done)?,
            Request::Void => self.pin()?.void().map(|()| Answer::Done)?,
            Request::Release => {
                let mut pin = self.pin.lock();
                if pin.is_none() {
                    *pin = self.door.reopen()?;
                }
                if let Some(pin) = pin.take() {
                    pin.release()?;
                }
                Answer::Done
            }
            Request::List(path) => {
                let entries = self.door.disk.list(&self.place(&path)?)?;
                Answer::Entries(entries.into_iter().map(|e| (e.name, e.is_dir)).collect())
            }
            Request::Exists(path) => Answer::Flag(self.door.disk.exists(&self.place(&path)?)?),
            Request::Size(path) => Answer::Number(Some(self.door.disk.size(&self.place(&path)?)?)),
            Request::Read { path, offset, len, bulk } => {
                let path = self.place(&path)?;
                let len = len.min(DATA_BYTES_MAX) as usize;
                let hash = match bulk {
                    true => Some(read_piece(&*self.door.disk, &path, offset, len, buf)?.to_hex().to_string()),
                    false => {
                        let file = self.door.disk.open_read(&path)?;
                        let left = file.len()?.saturating_sub(offset).min(len as u64);
                        buf.resize(left as usize, 0);
                        // The end of a log grows meanwhile; that it shrinks, as a repair does, is an error.
                        file.read_exact_at(buf, offset)?;
                        None
                    }
                };
                Answer::Data { len: buf.len() as u32, hash }
            }
        })
    }

    /// Where a path of a request is. Nothing outside of both folders is.
    fn place(&self, path: &Path) -> Result<PathBuf, MigrateError> {
        let mut parts = path.components();
        let root = match parts.next() {
            Some(Component::Normal(root)) if root == "data" => self.door.data.clone(),
            Some(Component::Normal(root)) if root == "pin" => self.door.place(None),
            _ => return Err(outside(path)),
        };
        let rest = parts.as_path();
        match rest.components().all(|c| matches!(c, Component::Normal(_))) {
            true if rest.as_os_str().is_empty() => Ok(root),
            true => Ok(root.join(rest)),
            false => Err(outside(path)),
        }
    }
}

/// Whether something came, or the other side has closed, within the time that the socket has.
fn waiting(line: &mut StreamOwned<ServerConnection, TcpStream>) -> io::Result<bool> {
    match line.sock.peek(&mut [0]) {
        Ok(_) => Ok(true),
        Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(false),
        Err(e) => Err(e),
    }
}

fn outside(path: &Path) -> MigrateError {
    let why = format!("{} is none of the source's files", path.display());
    MigrateError::Agent { address: "agent".into(), why }
}

fn named(name: &str) -> Result<(), MigrateError> {
    ulid::Ulid::from_string(name).map(|_| ()).map_err(|_| outside(Path::new(name)))
}

// What an answer may take has to fit what the other side takes.
const _: () = assert!(DATA_BYTES_MAX < ANSWER_BYTES_MAX);
