//! Sizes of folders for the page of metrics, which must come also while the disk hangs: listing a folder notes
//! when it was read, and on a journalling file system that waits for the disk.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::disk::Disk;

/// A healthy disk lists a folder in a millisecond; a page of metrics may take seconds.
const PATIENCE: Duration = Duration::from_millis(200);

/// The size of one folder. Cheap to clone.
#[derive(Clone)]
pub(super) struct FolderSize(Arc<Inner>);

struct Inner {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    bytes: AtomicU64,
    /// Somebody looks, or hangs.
    looking: AtomicBool,
}

impl FolderSize {
    pub(super) fn new(disk: Arc<dyn Disk>, folder: PathBuf) -> Self {
        FolderSize(Arc::new(Inner {
            disk,
            folder,
            bytes: AtomicU64::new(0),
            looking: AtomicBool::new(false),
        }))
    }

    /// Bytes now, or as they were when the disk last answered in time. A thread for each look: one that hangs is
    /// the only one until it goes on.
    pub(super) fn get(&self) -> u64 {
        let inner = &self.0;
        if !inner.looking.swap(true, Ordering::AcqRel) {
            let (done, wait) = std::sync::mpsc::channel();
            let looker = Arc::clone(inner);
            let spawned = std::thread::Builder::new().name("tsdb-size".into()).spawn(move || {
                let bytes = super::dir_size(&*looker.disk, &looker.folder);
                looker.bytes.store(bytes, Ordering::Relaxed);
                looker.looking.store(false, Ordering::Release);
                // Who waited may have gone on.
                let _ = done.send(());
            });
            match spawned {
                Ok(_) => drop(wait.recv_timeout(PATIENCE)),
                Err(_) => inner.looking.store(false, Ordering::Release),
            }
        }
        inner.bytes.load(Ordering::Relaxed)
    }
}
