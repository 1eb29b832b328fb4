//! A view on a disk that nothing can change: reads come from below, whatever is written goes elsewhere.
//!
//! With it a tool opens the folder of a running server with the server's own code, mends and truncates
//! what it likes, and leaves no trace. Rejected: a read-only mode of head, log and blocks, which is a second
//! way through each of them that nobody runs every day.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::{DirEntry, Disk, DiskError, DiskResult, LockGuard, ReadFile, WriteFile, WriteMode};

/// Copied at once when a file from below is written to.
const COPY_BYTES: usize = 1 << 20;

/// What became of a path; paths without an entry are as they are below.
#[derive(Clone, Debug)]
enum Node {
    /// Removed, with all below it.
    Gone,
    /// A directory that has only what the table says.
    Dir,
    /// A file from below, by another name.
    Below(PathBuf),
    /// A file of ours on the upper disk.
    Own(PathBuf),
}

/// Writes go to files numbered one by one in a folder of another disk; they stay there when this is dropped.
#[derive(Debug)]
pub struct SandboxDisk {
    below: Arc<dyn Disk>,
    upper: Arc<dyn Disk>,
    folder: PathBuf,
    next: AtomicU64,
    nodes: Mutex<BTreeMap<PathBuf, Node>>,
    locked: Arc<Mutex<BTreeSet<PathBuf>>>,
}

fn err<T>(op: &'static str, path: &Path, kind: io::ErrorKind) -> DiskResult<T> {
    Err(DiskError::new(op, path, io::Error::from(kind)))
}

type Nodes = BTreeMap<PathBuf, Node>;

/// The entry that decides about a path: its own, or that of the directory it lies in.
fn deciding<'n>(nodes: &'n Nodes, path: &Path) -> Option<(&'n Node, bool)> {
    path.ancestors().find_map(|p| Some((nodes.get(p)?, p == path)))
}

/// Entries strictly below a directory.
fn inside(nodes: &Nodes, dir: &Path) -> Vec<(PathBuf, Node)> {
    let from = (Bound::Excluded(dir.to_path_buf()), Bound::Unbounded);
    let all = nodes.range::<PathBuf, _>(from).take_while(|(p, _)| p.starts_with(dir));
    all.map(|(p, n)| (p.clone(), n.clone())).collect()
}

/// Where a file is.
enum Place {
    Below(PathBuf),
    Own(PathBuf),
}

impl SandboxDisk {
    /// Over `below`; what is written goes to `folder` of `upper`, which exists.
    #[must_use]
    pub fn new(below: Arc<dyn Disk>, upper: Arc<dyn Disk>, folder: &Path) -> Self {
        SandboxDisk {
            below,
            upper,
            folder: folder.to_path_buf(),
            next: AtomicU64::new(0),
            nodes: Mutex::default(),
            locked: Arc::default(),
        }
    }

    /// Paths that are not as they are below, sorted: what a run on the disk itself would have changed.
    #[must_use]
    pub fn changed(&self) -> Vec<PathBuf> {
        self.nodes.lock().keys().cloned().collect()
    }

    fn is_dir(&self, nodes: &Nodes, path: &Path) -> bool {
        match deciding(nodes, path) {
            Some((Node::Dir, true)) => true,
            Some(_) => false,
            None => self.below.list(path).is_ok(),
        }
    }

    fn place(&self, nodes: &Nodes, op: &'static str, path: &Path) -> DiskResult<Place> {
        match deciding(nodes, path) {
            Some((Node::Below(real), true)) => Ok(Place::Below(real.clone())),
            Some((Node::Own(own), true)) => Ok(Place::Own(own.clone())),
            Some((Node::Dir, true)) => err(op, path, io::ErrorKind::IsADirectory),
            Some(_) => err(op, path, io::ErrorKind::NotFound),
            None => Ok(Place::Below(path.to_path_buf())),
        }
    }

    fn exists_in(&self, nodes: &Nodes, path: &Path) -> DiskResult<bool> {
        match deciding(nodes, path) {
            Some((Node::Gone, _)) | Some((_, false)) => Ok(false),
            Some((_, true)) => Ok(true),
            None => self.below.exists(path),
        }
    }

    fn entries(&self, nodes: &Nodes, path: &Path) -> DiskResult<Vec<DirEntry>> {
        let mut found: BTreeMap<String, bool> = BTreeMap::new();
        match deciding(nodes, path) {
            Some((Node::Dir, true)) => {}
            Some((Node::Below(_) | Node::Own(_), true)) => {
                return err("list", path, io::ErrorKind::NotADirectory);
            }
            Some(_) => return err("list", path, io::ErrorKind::NotFound),
            None => found.extend(self.below.list(path)?.into_iter().map(|e| (e.name, e.is_dir))),
        }
        for (inner, node) in inside(nodes, path).into_iter().filter(|(p, _)| p.parent() == Some(path)) {
            let Some(name) = inner.file_name().and_then(|n| n.to_str()) else { continue };
            match node {
                Node::Gone => found.remove(name),
                node => found.insert(name.to_string(), matches!(node, Node::Dir)),
            };
        }
        Ok(found.into_iter().map(|(name, is_dir)| DirEntry { name, is_dir }).collect())
    }

    fn parent_is_dir(&self, nodes: &Nodes, op: &'static str, path: &Path) -> DiskResult<()> {
        let parent = path.parent().unwrap_or(Path::new(""));
        if parent.as_os_str().is_empty() || self.is_dir(nodes, parent) {
            return Ok(());
        }
        err(op, path, io::ErrorKind::NotFound)
    }

    fn fresh(&self) -> PathBuf {
        self.folder.join(format!("{:08}", self.next.fetch_add(1, Ordering::Relaxed)))
    }

    /// The tree of a directory, entry by entry, as it would stand in the table under another name.
    fn tree(&self, nodes: &Nodes, from: &Path, to: &Path, out: &mut Vec<(PathBuf, Node)>) -> DiskResult<()> {
        out.push((to.to_path_buf(), Node::Dir));
        // Two levels in a block, three in the log: no deeper than the folder itself, which others made.
        for entry in self.entries(nodes, from)? {
            let (inner, target) = (from.join(&entry.name), to.join(&entry.name));
            if entry.is_dir {
                self.tree(nodes, &inner, &target, out)?;
                continue;
            }
            let node = match self.place(nodes, "rename", &inner)? {
                Place::Below(real) => Node::Below(real),
                Place::Own(own) => Node::Own(own),
            };
            out.push((target, node));
        }
        Ok(())
    }
}

#[derive(Debug)]
struct SandboxLock(Arc<Mutex<BTreeSet<PathBuf>>>, PathBuf);

impl LockGuard for SandboxLock {}

impl Drop for SandboxLock {
    fn drop(&mut self) {
        self.0.lock().remove(&self.1);
    }
}

/// A file under the name by which it was opened: its owner syncs the folder that this name says.
#[derive(Debug)]
struct Named<F> {
    file: F,
    path: PathBuf,
}

impl ReadFile for Named<Arc<dyn ReadFile>> {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> DiskResult<usize> {
        self.file.read_at(buf, offset)
    }
    fn len(&self) -> DiskResult<u64> {
        self.file.len()
    }
    fn path(&self) -> &Path {
        &self.path
    }
}

impl WriteFile for Named<Box<dyn WriteFile>> {
    fn append(&mut self, bytes: &[u8]) -> DiskResult<()> {
        self.file.append(bytes)
    }
    fn write_at(&mut self, bytes: &[u8], offset: u64) -> DiskResult<()> {
        self.file.write_at(bytes, offset)
    }
    fn set_len(&mut self, len: u64) -> DiskResult<()> {
        self.file.set_len(len)
    }
    fn len(&self) -> u64 {
        self.file.len()
    }
    /// Gone with the process anyway.
    fn sync(&mut self) -> DiskResult<()> {
        Ok(())
    }
    fn path(&self) -> &Path {
        &self.path
    }
}

impl Disk for SandboxDisk {
    fn open_read(&self, path: &Path) -> DiskResult<Arc<dyn ReadFile>> {
        let place = self.place(&self.nodes.lock(), "open", path)?;
        match place {
            Place::Below(real) => self.below.open_read(&real),
            Place::Own(own) => {
                let file = self.upper.open_read(&own)?;
                Ok(Arc::new(Named { file, path: path.to_path_buf() }))
            }
        }
    }

    fn open_write(&self, path: &Path, mode: WriteMode) -> DiskResult<Box<dyn WriteFile>> {
        let mut nodes = self.nodes.lock();
        self.parent_is_dir(&nodes, "open", path)?;
        let exists = self.exists_in(&nodes, path)?;
        match mode {
            _ if self.is_dir(&nodes, path) => return err("open", path, io::ErrorKind::IsADirectory),
            WriteMode::CreateNew if exists => return err("open", path, io::ErrorKind::AlreadyExists),
            WriteMode::Existing if !exists => return err("open", path, io::ErrorKind::NotFound),
            _ => {}
        }
        if let Some((Node::Own(own), true)) = deciding(&nodes, path) {
            let file = self.upper.open_write(own, mode)?;
            return Ok(Box::new(Named { file, path: path.to_path_buf() }));
        }
        let own = self.fresh();
        let mut file = self.upper.open_write(&own, WriteMode::Truncate)?;
        if exists && mode != WriteMode::Truncate {
            let Place::Below(real) = self.place(&nodes, "open", path)? else {
                return err("open", path, io::ErrorKind::NotFound);
            };
            let source = self.below.open_read(&real)?;
            let (mut buf, mut at) = (vec![0; COPY_BYTES], 0);
            loop {
                let n = source.read_at(&mut buf, at)?;
                if n == 0 {
                    break;
                }
                file.append(buf.get(..n).unwrap_or_default())?;
                at += n as u64;
            }
        }
        nodes.insert(path.to_path_buf(), Node::Own(own));
        Ok(Box::new(Named { file, path: path.to_path_buf() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> DiskResult<()> {
        let mut nodes = self.nodes.lock();
        if !self.exists_in(&nodes, from)? {
            return err("rename", from, io::ErrorKind::NotFound);
        }
        self.parent_is_dir(&nodes, "rename", to)?;
        if from == to {
            return Ok(());
        }
        let mut moved = Vec::new();
        if self.is_dir(&nodes, from) {
            if self.exists_in(&nodes, to)? && !self.entries(&nodes, to)?.is_empty() {
                return err("rename", from, io::ErrorKind::DirectoryNotEmpty);
            }
            self.tree(&nodes, from, to, &mut moved)?;
        } else {
            if self.is_dir(&nodes, to) {
                return err("rename", from, io::ErrorKind::IsADirectory);
            }
            let node = match self.place(&nodes, "rename", from)? {
                Place::Below(real) => Node::Below(real),
                Place::Own(own) => Node::Own(own),
            };
            moved.push((to.to_path_buf(), node));
        }
        for (path, _) in inside(&nodes, from) {
            nodes.remove(&path);
        }
        nodes.insert(from.to_path_buf(), Node::Gone);
        nodes.extend(moved);
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> DiskResult<()> {
        let mut nodes = self.nodes.lock();
        if !self.exists_in(&nodes, from)? {
            return err("link", from, io::ErrorKind::NotFound);
        }
        if self.exists_in(&nodes, to)? {
            return err("link", from, io::ErrorKind::AlreadyExists);
        }
        self.parent_is_dir(&nodes, "link", to)?;
        let node = match self.place(&nodes, "link", from)? {
            Place::Below(real) => Node::Below(real),
            Place::Own(own) => Node::Own(own),
        };
        nodes.insert(to.to_path_buf(), node);
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> DiskResult<()> {
        let mut nodes = self.nodes.lock();
        if !self.exists_in(&nodes, path)? {
            return err("remove", path, io::ErrorKind::NotFound);
        }
        if self.is_dir(&nodes, path) {
            return err("remove", path, io::ErrorKind::IsADirectory);
        }
        // Our own file stays on the upper disk: another name may lead to it.
        nodes.insert(path.to_path_buf(), Node::Gone);
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> DiskResult<()> {
        let mut nodes = self.nodes.lock();
        if !self.exists_in(&nodes, path)? {
            return Ok(());
        }
        for (inner, _) in inside(&nodes, path) {
            nodes.remove(&inner);
        }
        nodes.insert(path.to_path_buf(), Node::Gone);
        Ok(())
    }

    fn create_dir_all(&self, path: &Path) -> DiskResult<()> {
        let mut nodes = self.nodes.lock();
        for dir in path.ancestors().filter(|d| !d.as_os_str().is_empty()) {
            if self.is_dir(&nodes, dir) {
                break;
            }
            if self.exists_in(&nodes, dir)? {
                return err("create directory", path, io::ErrorKind::AlreadyExists);
            }
            nodes.insert(dir.to_path_buf(), Node::Dir);
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> DiskResult<Vec<DirEntry>> {
        self.entries(&self.nodes.lock(), path)
    }

    fn exists(&self, path: &Path) -> DiskResult<bool> {
        self.exists_in(&self.nodes.lock(), path)
    }

    fn size(&self, path: &Path) -> DiskResult<u64> {
        let place = self.place(&self.nodes.lock(), "stat", path)?;
        match place {
            Place::Below(real) => self.below.size(&real),
            Place::Own(own) => self.upper.size(&own),
        }
    }

    fn sync_dir(&self, path: &Path) -> DiskResult<()> {
        if self.exists(path)? { Ok(()) } else { err("fsync", path, io::ErrorKind::NotFound) }
    }

    /// Whoever holds it below does not matter: nothing that others see is written.
    fn lock(&self, path: &Path) -> DiskResult<Box<dyn LockGuard>> {
        drop(self.open_write(path, WriteMode::Append)?);
        if !self.locked.lock().insert(path.to_path_buf()) {
            return err("lock", path, io::ErrorKind::WouldBlock);
        }
        Ok(Box::new(SandboxLock(Arc::clone(&self.locked), path.to_path_buf())))
    }

    fn free_bytes(&self, _: &Path) -> DiskResult<u64> {
        self.upper.free_bytes(&self.folder)
    }

    fn total_bytes(&self, path: &Path) -> DiskResult<u64> {
        self.below.total_bytes(path)
    }
}

#[cfg(test)]
mod tests {
    use super::super::MemDisk;
    use super::*;

    fn put(disk: &dyn Disk, path: &str, text: &[u8]) {
        disk.open_write(path.as_ref(), WriteMode::Truncate).unwrap().append(text).unwrap();
    }

    #[test]
    fn nothing_below_changes() {
        let below = MemDisk::new();
        below.create_dir_all("/d/block/chunks".as_ref()).unwrap();
        for (path, text) in [("/d/f", "one"), ("/d/block/index", "two"), ("/d/block/chunks/1", "three")] {
            put(&below, path, text.as_bytes());
        }
        let upper = MemDisk::new();
        upper.create_dir_all("/u".as_ref()).unwrap();
        let disk = SandboxDisk::new(Arc::new(below.clone()), Arc::new(upper), "/u".as_ref());
        let read = |path: &str| {
            super::super::read_all(&disk, path.as_ref(), 100).map(|b| String::from_utf8(b).unwrap())
        };
        disk.open_write("/d/f".as_ref(), WriteMode::Append).unwrap().append(b"!").unwrap();
        disk.rename("/d/block".as_ref(), "/d/away".as_ref()).unwrap();
        put(&disk, "/d/away/index", b"new");
        disk.remove_file("/d/away/chunks/1".as_ref()).unwrap();
        assert_eq!((read("/d/f").unwrap(), read("/d/away/index").unwrap()), ("one!".into(), "new".into()));
        assert!(read("/d/block/index").is_err() && !disk.exists("/d/block".as_ref()).unwrap());
        assert_eq!(disk.list("/d/away/chunks".as_ref()).unwrap(), []);
        let names: Vec<String> = disk.list("/d".as_ref()).unwrap().into_iter().map(|e| e.name).collect();
        assert_eq!(names, ["away", "f"]);
        disk.remove_dir_all("/d/away".as_ref()).unwrap();
        disk.create_dir_all("/d/block".as_ref()).unwrap();
        assert_eq!(disk.list("/d/block".as_ref()).unwrap(), []);
        let old = super::super::read_all(&below, "/d/f".as_ref(), 100).unwrap();
        assert_eq!((old.as_slice(), below.size("/d/block/chunks/1".as_ref()).unwrap()), (&b"one"[..], 5));
        assert!(disk.changed().contains(&PathBuf::from("/d/f")));
    }
}
