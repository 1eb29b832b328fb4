//! Bounded reads of kernel files below a root that tests can move.

use std::io::Read;
use std::path::{Path, PathBuf};

use crate::output::CollectError;

/// Largest kernel file read. `/proc/stat` of a 1,024-CPU machine is about 100 KiB, `mountinfo` of a node
/// with 2,000 mounts about 500 KiB.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// Where the kernel's files are.
#[derive(Clone, Debug)]
pub(crate) struct Roots {
    pub(crate) proc: PathBuf,
    pub(crate) sys: PathBuf,
    pub(crate) udev: PathBuf,
    /// Prefix under which the host's file systems are mounted in a container ("/" outside).
    pub(crate) rootfs: PathBuf,
}

/// Reads a kernel file as text; invalid UTF-8 (a device name, a mount point) is replaced.
pub(crate) fn read(path: &Path) -> Result<String, CollectError> {
    let fail = |source| CollectError::Read { path: path.display().to_string(), source };
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(fail)?;
    file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(fail)?;
    Ok(match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(e) => String::from_utf8_lossy(e.as_bytes()).into_owned(),
    })
}

/// Reads a kernel file that a kernel may lack.
pub(crate) fn read_optional(path: &Path) -> Result<Option<String>, CollectError> {
    match read(path) {
        Ok(text) => Ok(Some(text)),
        Err(CollectError::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e),
    }
}

/// A number alone in a file; `None` where it is missing or not a number.
pub(crate) fn read_number(path: &Path) -> Option<f64> {
    number(read(path).ok()?.trim())
}

/// A decimal number of the kernel.
pub(crate) fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

/// An error that names a file and what is wrong in it.
pub(crate) fn format_error(path: &Path, what: impl Into<String>) -> CollectError {
    CollectError::Format { path: path.display().to_string(), what: what.into() }
}
