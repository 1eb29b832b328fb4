//! Block directories within a data folder: found, removed, cleaned up after a crash.

use std::path::{Path, PathBuf};

use storage::StorageError;
use ulid::Ulid;

use super::{CREATION_SUFFIX, DELETION_SUFFIX};
use crate::disk::{Disk, create_dir_durable};

/// Blocks of a data folder by name, which is by age.
///
/// # Errors
/// The folder cannot be listed.
pub fn list_blocks(disk: &dyn Disk, data_dir: &Path) -> Result<Vec<(Ulid, PathBuf)>, StorageError> {
    let entries = disk.list(data_dir)?.into_iter().filter(|e| e.is_dir);
    let named = entries.filter_map(|e| Some((Ulid::from_string(&e.name).ok()?, data_dir.join(&e.name))));
    Ok(named.collect())
}

/// Removes directories that a crash left half written or half removed. Gives their names.
///
/// # Errors
/// The folder cannot be listed, or one cannot be removed.
pub fn clean_leftovers(disk: &dyn Disk, data_dir: &Path) -> Result<Vec<String>, StorageError> {
    let mut removed = Vec::new();
    for entry in disk.list(data_dir)?.into_iter().filter(|e| e.is_dir) {
        // ".tmp" alone is how versions before 2.20 called them.
        let stem = [CREATION_SUFFIX, DELETION_SUFFIX, ".tmp"].iter().find_map(|s| entry.name.strip_suffix(s));
        if stem.is_some_and(|s| Ulid::from_string(s).is_ok()) {
            disk.remove_dir_all(&data_dir.join(&entry.name))?;
            removed.push(entry.name);
        }
    }
    if !removed.is_empty() {
        disk.sync_dir(data_dir)?;
    }
    Ok(removed)
}

/// Folder for blocks that cannot be used: nobody takes it for a block.
const QUARANTINE_DIR: &str = "damaged";

/// Moves a block to where nobody reads it, and keeps it. Gives the new place.
///
/// # Errors
/// The device failed, no room.
pub fn quarantine_block(disk: &dyn Disk, block_dir: &Path) -> Result<PathBuf, StorageError> {
    let parent = block_dir.parent().unwrap_or(Path::new("."));
    let name = block_dir.file_name().and_then(|n| n.to_str()).unwrap_or("block");
    let folder = parent.join(QUARANTINE_DIR);
    create_dir_durable(disk, &folder)?;
    let mut place = folder.join(name);
    for n in 2.. {
        if !disk.exists(&place)? {
            break;
        }
        place = folder.join(format!("{name}.{n}"));
    }
    disk.rename(block_dir, &place)?;
    disk.sync_dir(&folder)?;
    disk.sync_dir(parent)?;
    Ok(place)
}

/// Removes a block: it vanishes by one rename first, so that a crash leaves it whole or a leftover.
///
/// # Errors
/// The rename or the removal failed.
pub fn remove_block(disk: &dyn Disk, block_dir: &Path) -> Result<(), StorageError> {
    let mut name = block_dir.as_os_str().to_os_string();
    name.push(DELETION_SUFFIX);
    let doomed = PathBuf::from(name);
    disk.remove_dir_all(&doomed)?;
    match disk.rename(block_dir, &doomed) {
        Err(e) if e.is_not_found() => return Ok(()),
        other => other?,
    }
    if let Some(parent) = block_dir.parent() {
        disk.sync_dir(parent)?;
    }
    disk.remove_dir_all(&doomed)?;
    Ok(())
}
