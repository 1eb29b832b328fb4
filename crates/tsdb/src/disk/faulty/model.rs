//! What a faulty disk remembers: for each file and directory what is there now and what a power cut would
//! leave, with the writes in between.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path};

use super::Rng;

/// Smallest unit that a device writes as a whole.
const SECTOR_BYTES: usize = 512;
/// The other common unit: a page.
const PAGE_BYTES: usize = 4096;

/// Number of a file or directory.
pub(super) type Id = u64;

pub(super) const ROOT: Id = 0;

#[derive(Clone, Debug)]
pub(super) enum Change {
    Bytes { at: usize, bytes: Vec<u8> },
    Len(usize),
}

impl Change {
    fn apply(&self, data: &mut Vec<u8>) {
        match self {
            Change::Len(len) => data.resize(*len, 0),
            Change::Bytes { at, bytes } => put(data, *at, bytes),
        }
    }
}

fn put(data: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if data.len() < end {
        data.resize(end, 0);
    }
    data[at..end].copy_from_slice(bytes);
}

#[derive(Debug, Default)]
pub(super) struct FileNode {
    pub(super) data: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

impl FileNode {
    pub(super) fn change(&mut self, change: Change) {
        change.apply(&mut self.data);
        self.pending.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// As Linux after a failed fsync: what was not written is marked clean, is still read from the cache,
    /// and no later fsync writes it.
    pub(super) fn sync_fails(&mut self, rng: &mut Rng) {
        let pending = std::mem::take(&mut self.pending);
        for change in pending {
            if rng.one_in(3) {
                change.apply(&mut self.durable);
            }
        }
    }

    /// Damage of the medium: what is there now and what is durable alike.
    pub(super) fn damage(&mut self, at: usize, change: impl Fn(&mut u8)) {
        if let Some(b) = self.data.get_mut(at) {
            change(b);
        }
        if let Some(b) = self.durable.get_mut(at) {
            change(b);
        }
    }

    /// Damage of the medium: what is behind `len` is gone. What is before it and not synced still is not.
    pub(super) fn cut(&mut self, len: usize) {
        self.data.truncate(len);
        self.durable.truncate(len);
        self.pending.retain_mut(|change| match change {
            Change::Len(n) => {
                *n = (*n).min(len);
                true
            }
            Change::Bytes { at, bytes } => {
                bytes.truncate(len.saturating_sub(*at));
                !bytes.is_empty()
            }
        });
    }

    /// Some of what was not synced survives, at the granularity of sectors, in any order.
    fn power_cut(&mut self, rng: &mut Rng) {
        let pending = std::mem::take(&mut self.pending);
        let full_len = self.data.len();
        match rng.below(5) {
            0 => {}
            1 => pending.iter().for_each(|c| c.apply(&mut self.durable)),
            2 => {
                let n = rng.below(pending.len() as u64 + 1) as usize;
                pending.iter().take(n).for_each(|c| c.apply(&mut self.durable));
                if let Some(Change::Bytes { at, bytes }) = pending.get(n) {
                    // Torn: a prefix of whole sectors, or any prefix (the device's cache lost power).
                    let mut cut = rng.below(bytes.len() as u64 + 1) as usize;
                    if rng.one_in(2) {
                        cut = (*at + cut) / SECTOR_BYTES * SECTOR_BYTES;
                        cut = cut.saturating_sub(*at);
                    }
                    put(&mut self.durable, *at, &bytes[..cut]);
                }
            }
            _ => {
                let unit = if rng.one_in(2) { SECTOR_BYTES } else { PAGE_BYTES };
                for change in &pending {
                    match change {
                        Change::Len(_) if rng.one_in(2) => change.apply(&mut self.durable),
                        Change::Len(_) => {}
                        Change::Bytes { at, bytes } => {
                            let mut from = 0;
                            while from < bytes.len() {
                                let to = (((at + from) / unit + 1) * unit - at).min(bytes.len());
                                if !rng.one_in(3) {
                                    put(&mut self.durable, at + from, &bytes[from..to]);
                                }
                                from = to;
                            }
                        }
                    }
                }
                // The size may have been written where the data was not: zeros.
                if rng.one_in(4) && self.durable.len() < full_len {
                    self.durable.resize(full_len, 0);
                }
            }
        }
        self.data.clone_from(&self.durable);
    }
}

#[derive(Debug, Default)]
pub(super) struct DirNode {
    pub(super) now: BTreeMap<String, Id>,
    durable: BTreeMap<String, Id>,
}

#[derive(Debug)]
pub(super) enum Node {
    File(FileNode),
    Dir(DirNode),
}

/// Changes of directory entries that become durable together.
#[derive(Debug)]
struct DirOp(Vec<(Id, String, Option<Id>)>);

/// The tree.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) nodes: BTreeMap<Id, Node>,
    next: Id,
    pending: Vec<DirOp>,
}

impl Default for Tree {
    fn default() -> Self {
        let nodes = BTreeMap::from([(ROOT, Node::Dir(DirNode::default()))]);
        Tree { nodes, next: 1, pending: Vec::new() }
    }
}

/// A path's components below the root; `.` and the root itself have none.
fn parts(path: &Path) -> impl Iterator<Item = &str> {
    path.components().filter_map(|c| match c {
        Component::Normal(name) => name.to_str(),
        _ => None,
    })
}

impl Tree {
    pub(super) fn dir(&self, id: Id) -> Option<&DirNode> {
        match self.nodes.get(&id) {
            Some(Node::Dir(d)) => Some(d),
            _ => None,
        }
    }

    pub(super) fn file_mut(&mut self, id: Id) -> Option<&mut FileNode> {
        match self.nodes.get_mut(&id) {
            Some(Node::File(f)) => Some(f),
            _ => None,
        }
    }

    pub(super) fn find(&self, path: &Path) -> Option<Id> {
        parts(path).try_fold(ROOT, |at, name| self.dir(at)?.now.get(name).copied())
    }

    /// The directory that holds the path's last name, and that name.
    pub(super) fn parent(&self, path: &Path) -> Option<(Id, String)> {
        let name = parts(path).last()?.to_string();
        let parent = self.find(path.parent().unwrap_or(Path::new("")))?;
        Some((parent, name))
    }

    pub(super) fn make(&mut self, node: Node) -> Id {
        let id = self.next;
        self.next += 1;
        self.nodes.insert(id, node);
        id
    }

    /// Changes entries, all at once.
    pub(super) fn change(&mut self, changes: Vec<(Id, String, Option<Id>)>) {
        for (dir, name, target) in &changes {
            let Some(Node::Dir(d)) = self.nodes.get_mut(dir) else { continue };
            match target {
                Some(id) => d.now.insert(name.clone(), *id),
                None => d.now.remove(name),
            };
        }
        self.pending.push(DirOp(changes));
    }

    fn make_durable(&mut self, op: &DirOp) {
        for (dir, name, target) in &op.0 {
            let Some(Node::Dir(d)) = self.nodes.get_mut(dir) else { continue };
            match target {
                Some(id) => d.durable.insert(name.clone(), *id),
                None => d.durable.remove(name),
            };
        }
    }

    /// Makes a directory's entries durable, with what they depend on.
    pub(super) fn sync_dir(&mut self, dir: Id) {
        let mut keys: BTreeSet<(Id, String)> = BTreeSet::new();
        let (mut flushed, mut kept) = (Vec::new(), Vec::new());
        for op in std::mem::take(&mut self.pending).into_iter().rev() {
            let key = |(d, n, _): &(Id, String, Option<Id>)| (*d, n.clone());
            if op.0.iter().any(|c| c.0 == dir || keys.contains(&key(c))) {
                keys.extend(op.0.iter().map(key));
                flushed.push(op);
            } else {
                kept.push(op);
            }
        }
        flushed.iter().rev().for_each(|op| self.make_durable(op));
        kept.reverse();
        self.pending = kept;
    }

    /// Entries that were not synced: none, the first ones, or any of them survive.
    pub(super) fn power_cut(&mut self, rng: &mut Rng) {
        let pending = std::mem::take(&mut self.pending);
        match rng.below(4) {
            0 => {}
            1 => {
                let n = rng.below(pending.len() as u64 + 1) as usize;
                pending.iter().take(n).for_each(|op| self.make_durable(op));
            }
            _ => {
                for op in &pending {
                    if rng.one_in(2) {
                        self.make_durable(op);
                    }
                }
            }
        }
        for node in self.nodes.values_mut() {
            match node {
                Node::File(f) => f.power_cut(rng),
                Node::Dir(d) => d.now.clone_from(&d.durable),
            }
        }
        self.forget_unreachable();
    }

    /// Files and directories under the given one, itself included.
    pub(super) fn below(&self, id: Id) -> Vec<Id> {
        let mut found = vec![id];
        let mut at = 0;
        while let Some(id) = found.get(at) {
            if let Some(dir) = self.dir(*id) {
                found.extend(dir.now.values().copied());
            }
            at += 1;
        }
        found
    }

    /// Bytes of all files that have a name.
    pub(super) fn used(&self) -> u64 {
        let ids: BTreeSet<Id> = self.below(ROOT).into_iter().collect();
        let size = |id: &Id| match self.nodes.get(id) {
            Some(Node::File(f)) => f.data.len() as u64,
            _ => 0,
        };
        ids.iter().map(size).sum()
    }

    /// After a restart nobody holds what has no name.
    fn forget_unreachable(&mut self) {
        let ids: BTreeSet<Id> = self.below(ROOT).into_iter().collect();
        self.nodes.retain(|id, _| ids.contains(id));
    }

    /// Paths of all files.
    pub(super) fn files(&self) -> Vec<(String, Id)> {
        let mut found = Vec::new();
        let mut open = vec![(String::new(), ROOT)];
        while let Some((path, id)) = open.pop() {
            match self.nodes.get(&id) {
                Some(Node::Dir(d)) => {
                    open.extend(d.now.iter().map(|(n, id)| (format!("{path}/{n}"), *id)));
                }
                Some(Node::File(_)) => found.push((path, id)),
                None => {}
            }
        }
        found.sort();
        found
    }
}
