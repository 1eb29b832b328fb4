//! Small whole files: read at once, replaced at once.

use std::io;
use std::path::Path;

use super::{Disk, DiskError, DiskResult, WriteMode};

/// Reads a whole file of at most `limit` bytes.
///
/// # Errors
/// Absent, larger than `limit`, or shrinking while it is read.
pub fn read_all(disk: &dyn Disk, path: &Path, limit: u64) -> DiskResult<Vec<u8>> {
    let file = disk.open_read(path)?;
    let len = file.len()?;
    if len > limit {
        let text = format!("file has {len} bytes, more than the {limit} that belong here");
        return Err(DiskError::new("read", path, io::Error::new(io::ErrorKind::InvalidData, text)));
    }
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Replaces a file as a whole: after a crash there is the old content or the new, durable when this
/// returns. Goes by `<name>.tmp` beside it, which a crash may leave behind and the next call overwrites.
///
/// # Errors
/// No room, no permission; the old file is untouched then.
pub fn write_atomic(disk: &dyn Disk, path: &Path, content: &[u8]) -> DiskResult<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(".tmp");
    let tmp = path.with_file_name(name);
    let written = (|| {
        let mut file = disk.open_write(&tmp, WriteMode::Truncate)?;
        file.append(content)?;
        file.sync()?;
        drop(file);
        disk.rename(&tmp, path)
    })();
    if let Err(e) = written {
        // The first error is the one to tell; a leftover is overwritten next time.
        let _ = disk.remove_file(&tmp);
        return Err(e);
    }
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => disk.sync_dir(dir),
        _ => disk.sync_dir(Path::new(".")),
    }
}

/// Makes a directory and its parents, so that they survive a power cut.
///
/// # Errors
/// No permission, no room, a file in the way.
pub fn create_dir_durable(disk: &dyn Disk, path: &Path) -> DiskResult<()> {
    let missing = |p: &&Path| !p.as_os_str().is_empty() && matches!(disk.exists(p), Ok(false));
    let made: Vec<&Path> = path.ancestors().take_while(missing).collect();
    disk.create_dir_all(path)?;
    for dir in made.iter().rev() {
        match dir.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => disk.sync_dir(parent)?,
            _ => disk.sync_dir(Path::new("."))?,
        }
    }
    Ok(())
}
