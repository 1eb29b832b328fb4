//! Disks that are full or stand still, and memory that is short. Needs root; a test says so where it cannot.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

pub(super) fn run(program: &str, arguments: &[&str]) -> Result<()> {
    let output = Command::new(program).args(arguments).output().with_context(|| program.to_string())?;
    let text = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments:?}: {text}");
    Ok(())
}

/// A file system of its own; it is unmounted when dropped.
pub struct Mounted {
    /// Where it is.
    pub at: PathBuf,
    frozen: bool,
}

impl Mounted {
    /// One in memory.
    ///
    /// # Errors
    /// No right to mount.
    pub fn tmpfs(at: &Path, bytes: u64) -> Result<Mounted> {
        std::fs::create_dir_all(at)?;
        let at_text = at.display().to_string();
        run("mount", &["-t", "tmpfs", "-o", &format!("size={bytes}"), "tmpfs", &at_text])?;
        Ok(Mounted { at: at.to_path_buf(), frozen: false })
    }

    /// ext4 in a file beside.
    ///
    /// # Errors
    /// No loop device, or no right to mount.
    pub fn ext4(at: &Path, bytes: u64) -> Result<Mounted> {
        std::fs::create_dir_all(at)?;
        let image = at.with_extension("img");
        std::fs::File::create(&image)?.set_len(bytes)?;
        let (image, at_text) = (image.display().to_string(), at.display().to_string());
        // No part reserved for root: full means full.
        run("mkfs.ext4", &["-q", "-m", "0", &image])?;
        run("mount", &["-o", "loop", &image, &at_text])?;
        Ok(Mounted { at: at.to_path_buf(), frozen: false })
    }

    /// All writes and syncs stand still, until [`Mounted::thaw`].
    ///
    /// # Errors
    /// The file system cannot be frozen.
    pub fn freeze(&mut self) -> Result<()> {
        run("fsfreeze", &["-f", &self.at.display().to_string()])?;
        self.frozen = true;
        Ok(())
    }

    /// They go on.
    ///
    /// # Errors
    /// It was not frozen.
    pub fn thaw(&mut self) -> Result<()> {
        self.frozen = false;
        run("fsfreeze", &["-u", &self.at.display().to_string()])
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.frozen {
            let _ = self.thaw();
        }
        // Lazily: a process under test may still be ending.
        let _ = run("umount", &["-l", &self.at.display().to_string()]);
    }
}

/// A file that fills a disk; room comes back when it is dropped.
pub struct Ballast(PathBuf);

impl Ballast {
    /// Fills a file system to the last byte.
    ///
    /// # Errors
    /// It fails for another reason than that it is full.
    pub fn fill(folder: &Path) -> Result<Ballast> {
        let path = folder.join("ballast");
        let mut file = std::fs::File::create(&path)?;
        for size in [1 << 20, 4096, 1] {
            let block = vec![0_u8; size];
            loop {
                match file.write(&block) {
                    Ok(_) => {}
                    Err(e) if e.kind() == std::io::ErrorKind::StorageFull => break,
                    Err(e) => return Err(e.into()),
                }
            }
        }
        Ok(Ballast(path))
    }
}

impl Drop for Ballast {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A limit of memory for a process (control groups, version 1 or 2).
pub struct Memory {
    group: PathBuf,
}

impl Memory {
    /// A new group.
    ///
    /// # Errors
    /// No right to make one.
    pub fn limit(bytes: u64) -> Result<Memory> {
        let name = format!("godwit-test-{}-{}", std::process::id(), crate::process::free_port()?);
        let v1 = Path::new("/sys/fs/cgroup/memory");
        let (group, file) = if v1.exists() {
            (v1.join(name), "memory.limit_in_bytes")
        } else {
            (Path::new("/sys/fs/cgroup").join(name), "memory.max")
        };
        std::fs::create_dir(&group).with_context(|| group.display().to_string())?;
        let memory = Memory { group };
        std::fs::write(memory.group.join(file), bytes.to_string())?;
        Ok(memory)
    }

    /// Words before a command that put it into the group.
    #[must_use]
    pub fn wrapper(&self) -> Vec<String> {
        let script =
            format!("echo $$ > '{}' && exec \"$0\" \"$@\"", self.group.join("cgroup.procs").display());
        vec!["sh".into(), "-c".into(), script]
    }

    /// The most that was used, in bytes.
    #[must_use]
    pub fn peak(&self) -> u64 {
        let read = |name: &str| std::fs::read_to_string(self.group.join(name)).ok()?.trim().parse().ok();
        read("memory.max_usage_in_bytes").or_else(|| read("memory.peak")).unwrap_or(0)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir(&self.group);
    }
}
