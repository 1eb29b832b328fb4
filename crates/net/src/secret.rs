//! Secrets in files that change under us: Kubernetes swaps them, people rewrite them. Read again when the
//! file differs, which costs one `stat` a use instead of an open and a read.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use model::Secret;
use parking_lot::Mutex;

/// Most bytes read of a secret's file. Certificate bundles of whole distributions are below 300 KiB.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// A file that changed less than this before it was read may change again within the same tick of the
/// file system's clock, without a trace in its times. It is read again until it is older.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified_ns: i128,
    changed_ns: i128,
}

#[derive(Debug)]
struct Known {
    stamp: Stamp,
    settled: bool,
    text: Arc<str>,
}

/// A file whose text is kept as long as the file stays the same.
#[derive(Debug)]
pub(crate) struct WatchedFile {
    path: PathBuf,
    known: Mutex<Option<Known>>,
}

impl WatchedFile {
    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        WatchedFile { path: path.into(), known: Mutex::new(None) }
    }

    /// The file's text, white space around it removed. The same `Arc` as long as the file is the same.
    pub(crate) fn read(&self) -> Result<Arc<str>, String> {
        let fail =
            |e: std::io::Error| format!("unable to read file {}: {}", self.path.display(), os_text(&e));
        let meta = std::fs::metadata(&self.path).map_err(fail)?;
        let stamp = Stamp {
            device: meta.dev(),
            inode: meta.ino(),
            size: meta.size(),
            modified_ns: i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()),
            changed_ns: i128::from(meta.ctime()) * 1_000_000_000 + i128::from(meta.ctime_nsec()),
        };
        let mut known = self.known.lock();
        if let Some(k) = &*known
            && k.settled
            && k.stamp == stamp
        {
            return Ok(Arc::clone(&k.text));
        }
        if stamp.size > FILE_BYTES_MAX {
            return Err(format!(
                "file {} has {} bytes, more than the {FILE_BYTES_MAX} that a secret may have",
                self.path.display(),
                stamp.size
            ));
        }
        let bytes = {
            use std::io::Read as _;
            let mut bytes = Vec::new();
            let file = std::fs::File::open(&self.path).map_err(fail)?;
            file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).map_err(fail)?;
            bytes
        };
        let text = String::from_utf8(bytes)
            .map_err(|_| format!("file {} is not UTF-8 text", self.path.display()))?;
        let text = match &*known {
            Some(k) if *k.text == *text.trim() => Arc::clone(&k.text),
            _ => Arc::from(text.trim()),
        };
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let newest = stamp.modified_ns.max(stamp.changed_ns);
        let settled =
            i128::try_from(now.as_nanos()).unwrap_or(i128::MAX) - newest > SETTLED_AFTER.as_nanos() as i128;
        *known = Some(Known { stamp, settled, text: Arc::clone(&text) });
        Ok(text)
    }
}

/// A secret from the configuration or from a file.
#[derive(Debug)]
pub(crate) enum SecretSource {
    Inline(Secret),
    File(WatchedFile),
}

impl SecretSource {
    /// `None` where neither is given. `reference` names an entry of a secret manager, which there is none of.
    pub(crate) fn new(inline: &Secret, file: &str, reference: &str) -> Result<Option<Self>, String> {
        if !inline.is_empty() {
            Ok(Some(SecretSource::Inline(inline.clone())))
        } else if !file.is_empty() {
            Ok(Some(SecretSource::File(WatchedFile::new(file))))
        } else if !reference.is_empty() {
            Err("cannot use secret ref without manager".to_string())
        } else {
            Ok(None)
        }
    }

    pub(crate) fn read(&self) -> Result<Arc<str>, String> {
        match self {
            SecretSource::Inline(secret) => Ok(Arc::from(secret.expose())),
            SecretSource::File(file) => file.read(),
        }
    }

    pub(crate) fn is_file(&self) -> bool {
        matches!(self, SecretSource::File(_))
    }

    pub(crate) fn description(&self) -> String {
        match self {
            SecretSource::Inline(_) => "inline".to_string(),
            SecretSource::File(file) => format!("file {}", file.path.display()),
        }
    }
}

/// The system's words without Rust's `(os error N)`: `no such file or directory`, as Go prints them.
pub(crate) fn os_text(e: &std::io::Error) -> String {
    let text = e.to_string();
    match (e.raw_os_error(), text.find(" (os error")) {
        (Some(_), Some(end)) => {
            let mut text = text[..end].to_string();
            if let Some(first) = text.get(..1).map(str::to_ascii_lowercase) {
                text.replace_range(..1, &first);
            }
            text
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_seen_at_once_even_within_one_tick() {
        let path = std::env::temp_dir().join(format!("godwit-secret-{}", std::process::id()));
        let file = WatchedFile::new(&path);
        assert!(file.read().unwrap_err().contains("no such file or directory"));
        for i in 0..200 {
            std::fs::write(&path, format!(" {:03}\n", i)).unwrap();
            assert_eq!(&*file.read().unwrap(), format!("{i:03}"));
        }
        std::fs::remove_file(&path).unwrap();
        assert!(file.read().is_err());
    }

    #[test]
    fn a_settled_file_is_not_read_again() {
        let path = std::env::temp_dir().join(format!("godwit-secret-old-{}", std::process::id()));
        std::fs::write(&path, "x").unwrap();
        let file = WatchedFile::new(&path);
        let a = file.read().unwrap();
        if let Some(k) = &mut *file.known.lock() {
            k.settled = true;
        }
        assert!(Arc::ptr_eq(&a, &file.read().unwrap()));
        // Replaced by rename: another inode.
        let other = path.with_extension("new");
        std::fs::write(&other, "y").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_eq!(&*file.read().unwrap(), "y");
        std::fs::remove_file(&path).unwrap();
    }
}
