//! A file system in memory, for tests and as the ground that the faulty one builds on.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::{DirEntry, Disk, DiskError, DiskResult, LockGuard, ReadFile, WriteFile, WriteMode};

type Content = Arc<RwLock<Vec<u8>>>;

#[derive(Clone, Debug)]
enum Node {
    Dir,
    File(Content),
}

#[derive(Debug, Default)]
struct State {
    // Sorted by path components, so that a directory's tree is one range behind it.
    nodes: BTreeMap<PathBuf, Node>,
    locked: BTreeSet<PathBuf>,
}

/// A disk in memory; clones share it. The root and the current directory exist from the start. A removed
/// file stays readable through open handles, as on Unix.
#[derive(Clone, Debug)]
pub struct MemDisk {
    state: Arc<Mutex<State>>,
    capacity: u64,
}

impl Default for MemDisk {
    fn default() -> Self {
        MemDisk::new()
    }
}

fn err<T>(op: &'static str, path: &Path, kind: io::ErrorKind) -> DiskResult<T> {
    Err(DiskError::new(op, path, io::Error::from(kind)))
}

fn is_root(path: &Path) -> bool {
    path.parent().is_none() || path.as_os_str().is_empty() || path == Path::new(".")
}

impl State {
    fn node(&self, op: &'static str, path: &Path) -> DiskResult<&Node> {
        if is_root(path) {
            return Ok(&Node::Dir);
        }
        match self.nodes.get(path) {
            Some(node) => Ok(node),
            None => err(op, path, io::ErrorKind::NotFound),
        }
    }
    fn file(&self, op: &'static str, path: &Path) -> DiskResult<&Content> {
        match self.node(op, path)? {
            Node::File(content) => Ok(content),
            Node::Dir => err(op, path, io::ErrorKind::IsADirectory),
        }
    }
    fn parent_is_dir(&self, op: &'static str, path: &Path) -> DiskResult<()> {
        match self.node(op, path.parent().unwrap_or(Path::new("")))? {
            Node::Dir => Ok(()),
            Node::File(_) => err(op, path, io::ErrorKind::NotADirectory),
        }
    }
    fn below(&self, dir: &Path) -> Vec<PathBuf> {
        let behind = self.nodes.range(dir.to_path_buf()..).map(|(p, _)| p);
        behind.take_while(|p| p.starts_with(dir)).filter(|p| *p != dir).cloned().collect()
    }
    fn used(&self) -> u64 {
        let size = |n: &Node| match n {
            Node::Dir => 0,
            Node::File(c) => c.read().len() as u64,
        };
        self.nodes.values().map(size).sum()
    }
}

impl MemDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        // 1 TiB: more than any test fills.
        MemDisk { state: Arc::default(), capacity: 1 << 40 }
    }
}

#[derive(Debug)]
struct MemFile {
    content: Content,
    path: PathBuf,
}

impl ReadFile for MemFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> DiskResult<usize> {
        let content = self.content.read();
        let rest = usize::try_from(offset).ok().and_then(|o| content.get(o..)).unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
    fn len(&self) -> DiskResult<u64> {
        Ok(self.content.read().len() as u64)
    }
    fn path(&self) -> &Path {
        &self.path
    }
}

impl WriteFile for MemFile {
    fn append(&mut self, bytes: &[u8]) -> DiskResult<()> {
        self.content.write().extend_from_slice(bytes);
        Ok(())
    }
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> DiskResult<()> {
        let mut content = self.content.write();
        let start = offset as usize;
        let end = start + bytes.len();
        if content.len() < end {
            content.resize(end, 0);
        }
        content[start..end].copy_from_slice(bytes);
        Ok(())
    }
    fn set_len(&mut self, len: u64) -> DiskResult<()> {
        self.content.write().resize(len as usize, 0);
        Ok(())
    }
    fn len(&self) -> u64 {
        self.content.read().len() as u64
    }
    fn sync(&mut self) -> DiskResult<()> {
        Ok(())
    }
    fn path(&self) -> &Path {
        &self.path
    }
}

#[derive(Debug)]
struct MemLock {
    state: Arc<Mutex<State>>,
    path: PathBuf,
}

impl LockGuard for MemLock {}

impl Drop for MemLock {
    fn drop(&mut self) {
        self.state.lock().locked.remove(&self.path);
    }
}

impl Disk for MemDisk {
    fn open_read(&self, path: &Path) -> DiskResult<Arc<dyn ReadFile>> {
        let content = Arc::clone(self.state.lock().file("open", path)?);
        Ok(Arc::new(MemFile { content, path: path.to_path_buf() }))
    }

    fn open_write(&self, path: &Path, mode: WriteMode) -> DiskResult<Box<dyn WriteFile>> {
        let mut state = self.state.lock();
        state.parent_is_dir("open", path)?;
        let content = match state.nodes.get(path) {
            Some(_) if mode == WriteMode::CreateNew => {
                return err("open", path, io::ErrorKind::AlreadyExists);
            }
            Some(Node::Dir) => return err("open", path, io::ErrorKind::IsADirectory),
            Some(Node::File(content)) => Arc::clone(content),
            None if mode == WriteMode::Existing => return err("open", path, io::ErrorKind::NotFound),
            None => {
                let content = Content::default();
                state.nodes.insert(path.to_path_buf(), Node::File(Arc::clone(&content)));
                content
            }
        };
        if mode == WriteMode::Truncate {
            content.write().clear();
        }
        Ok(Box::new(MemFile { content, path: path.to_path_buf() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> DiskResult<()> {
        let mut state = self.state.lock();
        let source = state.node("rename", from)?.clone();
        state.parent_is_dir("rename", to)?;
        if from == to {
            return Ok(());
        }
        match (&source, state.nodes.get(to)) {
            (Node::File(_), Some(Node::Dir)) => return err("rename", from, io::ErrorKind::IsADirectory),
            (Node::Dir, Some(Node::File(_))) => return err("rename", from, io::ErrorKind::NotADirectory),
            (Node::Dir, Some(Node::Dir)) if !state.below(to).is_empty() => {
                return err("rename", from, io::ErrorKind::DirectoryNotEmpty);
            }
            _ => {}
        }
        for path in state.below(from) {
            if let (Some(node), Ok(rest)) = (state.nodes.remove(&path), path.strip_prefix(from)) {
                state.nodes.insert(to.join(rest), node);
            }
        }
        state.nodes.remove(from);
        state.nodes.insert(to.to_path_buf(), source);
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> DiskResult<()> {
        let mut state = self.state.lock();
        let content = Arc::clone(state.file("link", from)?);
        state.parent_is_dir("link", to)?;
        if state.nodes.contains_key(to) {
            return err("link", from, io::ErrorKind::AlreadyExists);
        }
        state.nodes.insert(to.to_path_buf(), Node::File(content));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> DiskResult<()> {
        let mut state = self.state.lock();
        state.file("remove", path)?;
        state.nodes.remove(path);
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> DiskResult<()> {
        let mut state = self.state.lock();
        for inner in state.below(path) {
            state.nodes.remove(&inner);
        }
        state.nodes.remove(path);
        Ok(())
    }

    fn create_dir_all(&self, path: &Path) -> DiskResult<()> {
        let mut state = self.state.lock();
        for dir in path.ancestors().filter(|d| !is_root(d)) {
            match state.nodes.get(dir) {
                Some(Node::File(_)) => return err("create directory", path, io::ErrorKind::AlreadyExists),
                Some(Node::Dir) => {}
                None => {
                    state.nodes.insert(dir.to_path_buf(), Node::Dir);
                }
            }
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> DiskResult<Vec<DirEntry>> {
        let state = self.state.lock();
        if let Node::File(_) = state.node("list", path)? {
            return err("list", path, io::ErrorKind::NotADirectory);
        }
        let mut entries = Vec::new();
        for inner in state.below(path).iter().filter(|p| p.parent() == Some(path)) {
            let name = inner.file_name().and_then(|n| n.to_str());
            let is_dir = matches!(state.nodes.get(inner), Some(Node::Dir));
            entries.extend(name.map(|n| DirEntry { name: n.to_string(), is_dir }));
        }
        entries.sort();
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> DiskResult<bool> {
        Ok(self.state.lock().node("stat", path).is_ok())
    }

    fn size(&self, path: &Path) -> DiskResult<u64> {
        Ok(self.state.lock().file("stat", path)?.read().len() as u64)
    }

    fn sync_dir(&self, path: &Path) -> DiskResult<()> {
        self.state.lock().node("fsync", path).map(|_| ())
    }

    fn lock(&self, path: &Path) -> DiskResult<Box<dyn LockGuard>> {
        drop(self.open_write(path, WriteMode::Append)?);
        if !self.state.lock().locked.insert(path.to_path_buf()) {
            return err("lock", path, io::ErrorKind::WouldBlock);
        }
        Ok(Box::new(MemLock { state: Arc::clone(&self.state), path: path.to_path_buf() }))
    }

    fn free_bytes(&self, path: &Path) -> DiskResult<u64> {
        let state = self.state.lock();
        state.node("statfs", path)?;
        Ok(self.capacity.saturating_sub(state.used()))
    }

    fn total_bytes(&self, path: &Path) -> DiskResult<u64> {
        self.state.lock().node("statfs", path)?;
        Ok(self.capacity)
    }
}
