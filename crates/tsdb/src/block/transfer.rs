//! Blocks from one folder to another: whole or not at all, by hard links where both are on one file system.

use std::path::Path;

use storage::StorageError;

use super::{BlockMeta, CHUNKS_DIR, CREATION_SUFFIX, HINT_OUT_OF_ORDER, INDEX_FILE, META_FILE};
use crate::disk::{Disk, WriteMode};
use crate::index::codec::corrupt;
use crate::tombstones;

/// Copied at once.
const COPY_BYTES: usize = 1 << 20;

/// Where a block is taken from.
#[derive(Debug)]
pub struct BlockSource<'a> {
    /// Its files are read through this.
    pub disk: &'a dyn Disk,
    /// Its directory.
    pub dir: &'a Path,
    /// Whether the same paths on the target's disk are the same files, which may be linked.
    pub link: bool,
    /// It comes to a folder whose head may have samples of its time. Its description says so from the moment
    /// that it is there: a start would else take all that the log has before its end for stored.
    pub foreign: bool,
}

/// Puts a block into `data_dir` under its own name, made durable; others see all of it or nothing. True
/// where all files were linked. Where a block of this name is there already, nothing is done.
///
/// # Errors
/// Files absent or not readable, no room; nothing is left then.
pub fn transfer_block(
    source: &BlockSource<'_>,
    target: &dyn Disk,
    data_dir: &Path,
) -> Result<bool, StorageError> {
    let meta = BlockMeta::read(source.disk, source.dir)?;
    let name = meta.ulid.to_string();
    let place = data_dir.join(&name);
    if target.exists(&place)? {
        return Ok(true);
    }
    let scratch = data_dir.join(format!("{name}{CREATION_SUFFIX}"));
    let done = fill(source, target, &scratch).and_then(|linked| {
        target.rename(&scratch, &place)?;
        target.sync_dir(data_dir)?;
        Ok(linked)
    });
    if done.is_err() {
        // The error before this one is what matters; the next start removes what is left.
        let _ = target.remove_dir_all(&scratch);
    }
    done
}

fn fill(source: &BlockSource<'_>, target: &dyn Disk, scratch: &Path) -> Result<bool, StorageError> {
    target.remove_dir_all(scratch)?;
    target.create_dir_all(&scratch.join(CHUNKS_DIR))?;
    let mut linked = true;
    for file in [INDEX_FILE, tombstones::FILE_NAME, META_FILE] {
        let from = source.dir.join(file);
        if file == META_FILE && source.foreign {
            let mut meta = BlockMeta::read(source.disk, source.dir)?;
            meta.compaction.set_hint(HINT_OUT_OF_ORDER);
            meta.write(target, scratch)?;
            continue;
        }
        // Blocks of others may have no tombstones.
        if file != tombstones::FILE_NAME || source.disk.exists(&from)? {
            // These two are replaced when they change, never written to: links are safe.
            linked &= put(source, target, &from, &scratch.join(file))?;
        }
    }
    let mut segments = 0;
    for entry in source.disk.list(&source.dir.join(CHUNKS_DIR))? {
        // Other names are notes and temporary files of tools.
        if entry.is_dir || entry.name.parse::<u32>().is_err() {
            continue;
        }
        let (from, to) =
            (source.dir.join(CHUNKS_DIR).join(&entry.name), scratch.join(CHUNKS_DIR).join(&entry.name));
        linked &= put(source, target, &from, &to)?;
        segments += 1;
    }
    if segments == 0 {
        return Err(corrupt(&source.dir.join(CHUNKS_DIR), 0, "the block has no chunk segments"));
    }
    target.sync_dir(&scratch.join(CHUNKS_DIR))?;
    target.sync_dir(scratch)?;
    Ok(linked)
}

fn put(source: &BlockSource<'_>, target: &dyn Disk, from: &Path, to: &Path) -> Result<bool, StorageError> {
    // Another file system, or one without links: copied.
    if source.link && target.hard_link(from, to).is_ok() {
        return Ok(true);
    }
    let file = source.disk.open_read(from)?;
    let mut out = target.open_write(to, WriteMode::Truncate)?;
    let (mut buf, mut at) = (vec![0; COPY_BYTES], 0);
    loop {
        let n = file.read_at(&mut buf, at)?;
        if n == 0 {
            break;
        }
        out.append(buf.get(..n).unwrap_or_default())?;
        at += n as u64;
    }
    out.sync()?;
    Ok(false)
}
