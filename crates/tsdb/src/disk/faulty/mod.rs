//! A disk that fails on purpose, reproducibly from a seed: full at any byte or call, errors of the device,
//! torn and reordered writes, directory entries that a power cut takes back, flipped bits, calls that hang.
//!
//! It is a file system in memory that knows what was synced. Rules are the strictest that real ones have:
//! what no successful fsync covered may be lost in whole or part and in any order, names included; after a
//! failed fsync the next one succeeds without writing what the first one dropped.

mod model;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::{Condvar, Mutex};

use super::{DirEntry, Disk, DiskError, DiskResult, LockGuard, ReadFile, WriteFile, WriteMode};
use model::{Change, DirNode, FileNode, Id, Node, ROOT, Tree};

/// A small generator of reproducible numbers (splitmix64).
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Rng(seed)
    }
    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    /// From 0 up to `n`, which is not included; 0 for 0.
    pub fn below(&mut self, n: u64) -> u64 {
        if n == 0 { 0 } else { self.next_u64() % n }
    }
    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// Kinds of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Opening for reads.
    Open,
    /// Opening for writes, with creation.
    Create,
    /// Reading.
    Read,
    /// Writing and extending.
    Write,
    /// Fsync of a file.
    Sync,
    /// Fsync of a directory.
    SyncDir,
    /// Rename and link.
    Rename,
    /// Removing.
    Remove,
    /// Making a directory.
    MakeDir,
    /// Listing, sizes, existence, room.
    Look,
    /// Locking.
    Lock,
}

/// What a fault looks like to the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// `ENOSPC`.
    Full,
    /// `EIO`.
    Io,
}

impl FaultKind {
    fn error(self) -> io::Error {
        match self {
            FaultKind::Full => io::Error::from(io::ErrorKind::StorageFull),
            FaultKind::Io => io::Error::other("input/output error"),
        }
    }
}

/// A fault to come.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Which calls.
    pub op: Op,
    /// On paths that contain this.
    pub path: String,
    /// So many matching calls go well before.
    pub skip: u64,
    /// So many fail then.
    pub times: u64,
    /// How.
    pub kind: FaultKind,
}

/// What a restart finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// The process was killed: the system wrote on.
    Kill,
    /// The machine lost power: what was not synced may be gone.
    PowerCut,
}

/// How a file is damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spoil {
    /// A bit flips.
    Bit,
    /// A sector is zeros.
    Sector,
    /// The file ends early.
    Cut,
    /// The file is gone.
    Lost,
}

/// What was injected so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Calls made.
    pub calls: u64,
    /// Errors given, those for want of room included.
    pub errors: u64,
    /// Power cuts.
    pub power_cuts: u64,
    /// Damaged bytes.
    pub damaged: u64,
}

#[derive(Debug)]
struct State {
    tree: Tree,
    rng: Rng,
    /// Handles and locks of an earlier process do not work any more.
    epoch: u64,
    off: bool,
    crash_at: Option<u64>,
    capacity: u64,
    faults: Vec<Fault>,
    /// One in so many calls of a kind fails.
    rates: Vec<(Op, FaultKind, u64)>,
    locks: Vec<(PathBuf, u64)>,
    counts: FaultCounts,
    trace: u64,
    /// A clock in milliseconds that each fsync advances by so much, and other writes by a hundredth.
    latency: Option<(Arc<AtomicI64>, i64)>,
    /// Reads that touch these bytes of files fail.
    unreadable: Vec<(Id, std::ops::Range<u64>)>,
}

#[derive(Debug, Default)]
struct Gate {
    frozen: Mutex<bool>,
    thawed: Condvar,
}

/// The disk; clones share it. The root and the current directory are the same and exist from the start.
#[derive(Clone, Debug)]
pub struct FaultDisk {
    state: Arc<Mutex<State>>,
    gate: Arc<Gate>,
}

fn err<T>(op: &'static str, path: &Path, kind: io::ErrorKind) -> DiskResult<T> {
    Err(DiskError::new(op, path, io::Error::from(kind)))
}

fn power_off(op: &'static str, path: &Path) -> DiskError {
    DiskError::new(op, path, io::Error::other("power is off"))
}

impl State {
    /// Counts a call and decides whether it fails.
    fn enter(&mut self, epoch: u64, op: Op, what: &'static str, path: &Path) -> DiskResult<()> {
        if self.off || epoch != self.epoch {
            return Err(power_off(what, path));
        }
        self.counts.calls += 1;
        tracing::trace!(call = self.counts.calls, op = what, path = %path.display());
        for b in what.bytes().chain(path.as_os_str().as_encoded_bytes().iter().copied()) {
            self.trace = (self.trace ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.crash_at.is_some_and(|at| self.counts.calls >= at) {
            self.off = true;
            return Err(power_off(what, path));
        }
        if let Some((clock, fsync_ms)) = &self.latency {
            let ms = match op {
                Op::Sync | Op::SyncDir => *fsync_ms,
                Op::Write | Op::Create | Op::Rename | Op::Remove => fsync_ms / 100,
                _ => 0,
            };
            clock.fetch_add(ms, Ordering::Relaxed);
        }
        let text = path.to_string_lossy();
        let mut kind = None;
        if let Some(fault) = self.faults.iter_mut().find(|f| f.op == op && text.contains(f.path.as_str())) {
            if fault.skip > 0 {
                fault.skip -= 1;
            } else if fault.times > 0 {
                fault.times -= 1;
                kind = Some(fault.kind);
            }
        }
        self.faults.retain(|f| f.times > 0);
        for (rated, as_kind, one_in) in &self.rates {
            if *rated == op && self.rng.one_in(*one_in) {
                kind = Some(*as_kind);
            }
        }
        match kind {
            None => Ok(()),
            Some(kind) => {
                self.counts.errors += 1;
                Err(DiskError::new(what, path, kind.error()))
            }
        }
    }

    fn find(&self, op: &'static str, path: &Path) -> DiskResult<Id> {
        match self.tree.find(path) {
            Some(id) => Ok(id),
            None => err(op, path, io::ErrorKind::NotFound),
        }
    }

    fn file(&self, op: &'static str, path: &Path) -> DiskResult<Id> {
        let id = self.find(op, path)?;
        match self.tree.dir(id) {
            None => Ok(id),
            Some(_) => err(op, path, io::ErrorKind::IsADirectory),
        }
    }

    fn parent(&self, op: &'static str, path: &Path) -> DiskResult<(Id, String)> {
        match self.tree.parent(path) {
            Some((dir, _)) if self.tree.dir(dir).is_none() => err(op, path, io::ErrorKind::NotADirectory),
            Some(found) => Ok(found),
            None => err(op, path, io::ErrorKind::NotFound),
        }
    }

    fn room(&self) -> u64 {
        if self.capacity == u64::MAX {
            return u64::MAX;
        }
        self.capacity.saturating_sub(self.tree.used())
    }

    fn open_file(&self, op: &'static str, epoch: u64, path: &Path) -> DiskResult<()> {
        if self.off || epoch != self.epoch { Err(power_off(op, path)) } else { Ok(()) }
    }
}

impl FaultDisk {
    /// An empty disk without faults.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = State {
            tree: Tree::default(),
            rng: Rng::new(seed),
            epoch: 0,
            off: false,
            crash_at: None,
            capacity: u64::MAX,
            faults: Vec::new(),
            rates: Vec::new(),
            locks: Vec::new(),
            counts: FaultCounts::default(),
            trace: 0xcbf2_9ce4_8422_2325,
            latency: None,
            unreadable: Vec::new(),
        };
        FaultDisk { state: Arc::new(Mutex::new(state)), gate: Arc::default() }
    }

    /// Bytes that files may take together; `u64::MAX` for no bound. May be below what is used.
    pub fn set_capacity(&self, bytes: u64) {
        self.state.lock().capacity = bytes;
    }

    /// Bytes that files take.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.state.lock().tree.used()
    }

    /// Lets calls fail.
    pub fn inject(&self, fault: Fault) {
        self.state.lock().faults.push(fault);
    }

    /// One in `one_in` calls of a kind fails from here on.
    pub fn set_rate(&self, op: Op, kind: FaultKind, one_in: u64) {
        self.state.lock().rates.push((op, kind, one_in.max(1)));
    }

    /// No faults from here on; capacity stays.
    pub fn heal(&self) {
        let mut state = self.state.lock();
        state.faults.clear();
        state.rates.clear();
        state.unreadable.clear();
    }

    /// The `calls`-th call from now fails, and all after it until [`FaultDisk::restart`].
    pub fn crash_after(&self, calls: u64) {
        let mut state = self.state.lock();
        state.crash_at = Some(state.counts.calls + calls.max(1));
    }

    /// Whether a crash is under way.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.state.lock().off
    }

    /// The world after a crash (which need not have been announced): old handles and locks are gone.
    pub fn restart(&self, how: Restart) {
        let mut state = self.state.lock();
        let State { tree, rng, .. } = &mut *state;
        if how == Restart::PowerCut {
            tree.power_cut(rng);
            state.counts.power_cuts += 1;
        }
        state.epoch += 1;
        state.off = false;
        state.crash_at = None;
        state.locks.clear();
    }

    /// Bytes of a file cannot be read any more, as bad sectors; another file under its name can.
    pub fn make_unreadable(&self, path: &Path, bytes: std::ops::Range<u64>) {
        let mut state = self.state.lock();
        let found = state.tree.find(path);
        state.unreadable.extend(found.map(|id| (id, bytes)));
    }

    /// Changes one bit of a file at a place chosen by chance, within the first `len` bytes; the path and the
    /// offset, or `None` where no file's path satisfies `wanted`.
    pub fn flip_bit(&self, wanted: impl Fn(&str, u64) -> bool) -> Option<(PathBuf, u64)> {
        let mut state = self.state.lock();
        let State { tree, rng, counts, .. } = &mut *state;
        let mut files = tree.files();
        files.retain(|(path, id)| {
            tree.file_mut(*id).is_some_and(|f| !f.data.is_empty() && wanted(path, f.data.len() as u64))
        });
        let (path, id) = files.get(rng.below(files.len() as u64) as usize)?.clone();
        let file = tree.file_mut(id)?;
        let at = rng.below(file.data.len() as u64);
        let bit = rng.below(8);
        file.damage(at as usize, |b| *b ^= 1 << bit);
        counts.damaged += 1;
        Some((PathBuf::from(path), at))
    }

    /// Damages a file whose path satisfies `wanted`, at a place chosen by chance; the path and the offset, or
    /// `None` where there is none.
    pub fn spoil(&self, how: Spoil, wanted: impl Fn(&str) -> bool) -> Option<(PathBuf, u64)> {
        if how == Spoil::Bit {
            return self.flip_bit(|path, _| wanted(path));
        }
        let mut state = self.state.lock();
        let State { tree, rng, counts, .. } = &mut *state;
        let mut files = tree.files();
        files.retain(|(path, id)| tree.file_mut(*id).is_some_and(|f| !f.data.is_empty() && wanted(path)));
        let (path, id) = files.get(rng.below(files.len() as u64) as usize)?.clone();
        let len = tree.file_mut(id)?.data.len() as u64;
        let mut at = rng.below(len);
        match how {
            Spoil::Bit => {}
            Spoil::Sector => {
                at -= at % 512;
                let file = tree.file_mut(id)?;
                (at..len.min(at + 512)).for_each(|i| file.damage(i as usize, |b| *b = 0));
            }
            Spoil::Cut => tree.file_mut(id)?.cut(at as usize),
            Spoil::Lost => {
                let (dir, name) = tree.parent(Path::new(&path))?;
                tree.change(vec![(dir, name, None)]);
                tree.sync_dir(dir);
            }
        }
        counts.damaged += 1;
        Some((PathBuf::from(path), at))
    }

    /// From here on each fsync advances a clock by so many milliseconds, each other write by a hundredth.
    pub fn set_latency(&self, latency: Option<(Arc<AtomicI64>, i64)>) {
        self.state.lock().latency = latency;
    }

    /// Calls hang from here on.
    pub fn freeze(&self) {
        *self.gate.frozen.lock() = true;
    }

    /// Calls go on.
    pub fn thaw(&self) {
        *self.gate.frozen.lock() = false;
        self.gate.thawed.notify_all();
    }

    /// What was injected.
    #[must_use]
    pub fn counts(&self) -> FaultCounts {
        self.state.lock().counts
    }

    /// A number made of all calls so far: equal for equal runs.
    #[must_use]
    pub fn trace(&self) -> u64 {
        self.state.lock().trace
    }

    fn pass_gate(&self) {
        let mut frozen = self.gate.frozen.lock();
        while *frozen {
            self.gate.thawed.wait(&mut frozen);
        }
    }

    fn enter(
        &self,
        op: Op,
        what: &'static str,
        path: &Path,
    ) -> DiskResult<parking_lot::MutexGuard<'_, State>> {
        self.pass_gate();
        let mut state = self.state.lock();
        let epoch = state.epoch;
        state.enter(epoch, op, what, path)?;
        Ok(state)
    }
}

#[derive(Debug)]
struct Handle {
    disk: FaultDisk,
    epoch: u64,
    id: Id,
    path: PathBuf,
}

impl Handle {
    fn enter(&self, op: Op, what: &'static str) -> DiskResult<parking_lot::MutexGuard<'_, State>> {
        self.disk.pass_gate();
        let mut state = self.disk.state.lock();
        state.enter(self.epoch, op, what, &self.path)?;
        Ok(state)
    }

    fn write(&self, at: u64, bytes: &[u8]) -> DiskResult<()> {
        self.disk.pass_gate();
        let mut state = self.disk.state.lock();
        state.open_file("write", self.epoch, &self.path)?;
        let entered = state.enter(self.epoch, Op::Write, "write", &self.path);
        let len = state.tree.file_mut(self.id).map_or(0, |f| f.data.len() as u64);
        let room = state.room();
        let grows = (at + bytes.len() as u64).saturating_sub(len);
        let State { tree, rng, counts, .. } = &mut *state;
        let Some(file) = tree.file_mut(self.id) else {
            return err("write", &self.path, io::ErrorKind::NotFound);
        };
        let (n, done) = match entered {
            // A call that fails may have written a part.
            Err(e) => (
                rng.below(bytes.len() as u64 + 1)
                    .min(room.saturating_add(bytes.len() as u64).saturating_sub(grows)),
                Err(e),
            ),
            Ok(()) if grows > room => {
                counts.errors += 1;
                let full = DiskError::new("write", &self.path, FaultKind::Full.error());
                ((room + bytes.len() as u64).saturating_sub(grows), Err(full))
            }
            Ok(()) => (bytes.len() as u64, Ok(())),
        };
        let part = &bytes[..(n as usize).min(bytes.len())];
        if !part.is_empty() {
            file.change(Change::Bytes { at: at as usize, bytes: part.to_vec() });
        }
        done
    }
}

impl ReadFile for Handle {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> DiskResult<usize> {
        let mut state = self.enter(Op::Read, "read")?;
        let end = offset + buf.len() as u64;
        let bad = |(id, bytes): &(Id, std::ops::Range<u64>)| {
            *id == self.id && bytes.start < end && offset < bytes.end
        };
        if state.unreadable.iter().any(bad) {
            // `EIO` by its number, which `FaultKind::Io` does not have.
            return Err(DiskError::new("read", &*self.path, io::Error::from_raw_os_error(5)));
        }
        let Some(file) = state.tree.file_mut(self.id) else { return Ok(0) };
        let rest = usize::try_from(offset).ok().and_then(|o| file.data.get(o..)).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
    fn len(&self) -> DiskResult<u64> {
        let mut state = self.enter(Op::Look, "stat")?;
        Ok(state.tree.file_mut(self.id).map_or(0, |f| f.data.len() as u64))
    }
    fn path(&self) -> &Path {
        &self.path
    }
}

#[derive(Debug)]
struct Writer {
    handle: Handle,
    /// As this handle left it.
    len: u64,
}

impl WriteFile for Writer {
    fn append(&mut self, bytes: &[u8]) -> DiskResult<()> {
        self.handle.write(self.len, bytes)?;
        self.len += bytes.len() as u64;
        Ok(())
    }
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> DiskResult<()> {
        self.handle.write(offset, bytes)?;
        self.len = self.len.max(offset + bytes.len() as u64);
        Ok(())
    }
    fn set_len(&mut self, len: u64) -> DiskResult<()> {
        let mut state = self.handle.enter(Op::Write, "truncate")?;
        if let Some(file) = state.tree.file_mut(self.handle.id) {
            file.change(Change::Len(len as usize));
        }
        self.len = len;
        Ok(())
    }
    fn len(&self) -> u64 {
        self.len
    }
    fn sync(&mut self) -> DiskResult<()> {
        self.handle.disk.pass_gate();
        let mut state = self.handle.disk.state.lock();
        let entered = state.enter(self.handle.epoch, Op::Sync, "fsync", &self.handle.path);
        let State { tree, rng, off, .. } = &mut *state;
        if let Some(file) = tree.file_mut(self.handle.id) {
            match &entered {
                Ok(()) => file.sync(),
                // Off: the power cut decides about these.
                Err(_) if *off => {}
                Err(_) => file.sync_fails(rng),
            }
        }
        entered
    }
    fn path(&self) -> &Path {
        &self.handle.path
    }
}

#[derive(Debug)]
struct Lock {
    disk: FaultDisk,
    epoch: u64,
    path: PathBuf,
}

impl LockGuard for Lock {}

impl Drop for Lock {
    fn drop(&mut self) {
        self.disk.state.lock().locks.retain(|(p, e)| *p != self.path || *e != self.epoch);
    }
}

impl Disk for FaultDisk {
    fn open_read(&self, path: &Path) -> DiskResult<Arc<dyn ReadFile>> {
        let state = self.enter(Op::Open, "open", path)?;
        let id = state.file("open", path)?;
        Ok(Arc::new(Handle { disk: self.clone(), epoch: state.epoch, id, path: path.to_path_buf() }))
    }

    fn open_write(&self, path: &Path, mode: WriteMode) -> DiskResult<Box<dyn WriteFile>> {
        let mut state = self.enter(Op::Create, "open", path)?;
        let (dir, name) = state.parent("open", path)?;
        let id = match state.tree.find(path) {
            Some(_) if mode == WriteMode::CreateNew => {
                return err("open", path, io::ErrorKind::AlreadyExists);
            }
            Some(id) if state.tree.dir(id).is_some() => {
                return err("open", path, io::ErrorKind::IsADirectory);
            }
            Some(id) => id,
            None if mode == WriteMode::Existing => return err("open", path, io::ErrorKind::NotFound),
            None => {
                let id = state.tree.make(Node::File(FileNode::default()));
                state.tree.change(vec![(dir, name, Some(id))]);
                id
            }
        };
        let mut len = 0;
        if let Some(file) = state.tree.file_mut(id) {
            if mode == WriteMode::Truncate && !file.data.is_empty() {
                file.change(Change::Len(0));
            }
            len = file.data.len() as u64;
        }
        let handle = Handle { disk: self.clone(), epoch: state.epoch, id, path: path.to_path_buf() };
        Ok(Box::new(Writer { handle, len }))
    }

    fn rename(&self, from: &Path, to: &Path) -> DiskResult<()> {
        let mut state = self.enter(Op::Rename, "rename", from)?;
        let source = state.find("rename", from)?;
        let (from_dir, from_name) = state.parent("rename", from)?;
        let (to_dir, to_name) = state.parent("rename", to)?;
        let source_is_dir = state.tree.dir(source).is_some();
        match state.tree.find(to) {
            Some(target) if target == source => return Ok(()),
            Some(target) => match (source_is_dir, state.tree.dir(target)) {
                (false, Some(_)) => return err("rename", from, io::ErrorKind::IsADirectory),
                (true, None) => return err("rename", from, io::ErrorKind::NotADirectory),
                (true, Some(dir)) if !dir.now.is_empty() => {
                    return err("rename", from, io::ErrorKind::DirectoryNotEmpty);
                }
                _ => {}
            },
            None => {}
        }
        state.tree.change(vec![(from_dir, from_name, None), (to_dir, to_name, Some(source))]);
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> DiskResult<()> {
        let mut state = self.enter(Op::Rename, "link", from)?;
        let source = state.file("link", from)?;
        let (dir, name) = state.parent("link", to)?;
        if state.tree.find(to).is_some() {
            return err("link", from, io::ErrorKind::AlreadyExists);
        }
        state.tree.change(vec![(dir, name, Some(source))]);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> DiskResult<()> {
        let mut state = self.enter(Op::Remove, "remove", path)?;
        state.file("remove", path)?;
        let (dir, name) = state.parent("remove", path)?;
        state.tree.change(vec![(dir, name, None)]);
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> DiskResult<()> {
        // Entry by entry, deepest first, as the real one: a crash leaves a part.
        let ids = {
            let state = self.enter(Op::Remove, "remove", path)?;
            match state.tree.find(path) {
                None | Some(ROOT) => return Ok(()),
                Some(id) => state.tree.below(id),
            }
        };
        for id in ids.iter().rev() {
            let state = self.enter(Op::Remove, "remove", path)?;
            let names = state.tree.dir(*id).map(|d| d.now.keys().cloned().collect::<Vec<_>>());
            drop(state);
            for name in names.into_iter().flatten() {
                let mut state = self.enter(Op::Remove, "remove", path)?;
                state.tree.change(vec![(*id, name, None)]);
            }
        }
        let mut state = self.enter(Op::Remove, "remove", path)?;
        let (dir, name) = state.parent("remove", path)?;
        state.tree.change(vec![(dir, name, None)]);
        Ok(())
    }

    fn create_dir_all(&self, path: &Path) -> DiskResult<()> {
        let mut state = self.enter(Op::MakeDir, "create directory", path)?;
        let mut ancestors: Vec<&Path> = path.ancestors().collect();
        ancestors.reverse();
        for dir in ancestors {
            match state.tree.find(dir) {
                Some(id) if state.tree.dir(id).is_none() => {
                    return err("create directory", path, io::ErrorKind::AlreadyExists);
                }
                Some(_) => {}
                None => {
                    let (parent, name) = state.parent("create directory", dir)?;
                    let id = state.tree.make(Node::Dir(DirNode::default()));
                    state.tree.change(vec![(parent, name, Some(id))]);
                }
            }
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> DiskResult<Vec<DirEntry>> {
        let state = self.enter(Op::Look, "list", path)?;
        let id = state.find("list", path)?;
        let Some(dir) = state.tree.dir(id) else { return err("list", path, io::ErrorKind::NotADirectory) };
        let entry = |(name, id): (&String, &Id)| DirEntry {
            name: name.clone(),
            is_dir: state.tree.dir(*id).is_some(),
        };
        Ok(dir.now.iter().map(entry).collect())
    }

    fn exists(&self, path: &Path) -> DiskResult<bool> {
        Ok(self.enter(Op::Look, "stat", path)?.tree.find(path).is_some())
    }

    fn size(&self, path: &Path) -> DiskResult<u64> {
        let mut state = self.enter(Op::Look, "stat", path)?;
        let id = state.file("stat", path)?;
        Ok(state.tree.file_mut(id).map_or(0, |f| f.data.len() as u64))
    }

    fn sync_dir(&self, path: &Path) -> DiskResult<()> {
        let mut state = self.enter(Op::SyncDir, "fsync", path)?;
        let id = state.find("fsync", path)?;
        state.tree.sync_dir(id);
        Ok(())
    }

    fn lock(&self, path: &Path) -> DiskResult<Box<dyn LockGuard>> {
        drop(self.open_write(path, WriteMode::Append)?);
        let mut state = self.enter(Op::Lock, "lock", path)?;
        let epoch = state.epoch;
        if state.locks.iter().any(|(p, _)| p == path) {
            return err("lock", path, io::ErrorKind::WouldBlock);
        }
        state.locks.push((path.to_path_buf(), epoch));
        Ok(Box::new(Lock { disk: self.clone(), epoch, path: path.to_path_buf() }))
    }

    fn free_bytes(&self, path: &Path) -> DiskResult<u64> {
        let state = self.enter(Op::Look, "statfs", path)?;
        state.find("statfs", path)?;
        Ok(state.room())
    }

    fn total_bytes(&self, path: &Path) -> DiskResult<u64> {
        let state = self.enter(Op::Look, "statfs", path)?;
        state.find("statfs", path)?;
        Ok(state.capacity)
    }
}
