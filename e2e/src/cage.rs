//! A control group with a memory limit, for programs that are to be tried within one. Version 1 or 2, whichever
//! the machine has; needs root.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// A group. It goes with its last process, when dropped.
pub struct Cage {
    dir: PathBuf,
    unified: bool,
}

impl Cage {
    /// A group that allows so many bytes; `None` where there are no groups or no rights to make one.
    #[must_use]
    pub fn new(name: &str, bytes: u64) -> Option<Cage> {
        let root = Path::new("/sys/fs/cgroup");
        let unified = root.join("cgroup.controllers").exists();
        let parent = if unified { root.to_path_buf() } else { root.join("memory") };
        let dir = parent.join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir(&dir).ok()?;
        let cage = Cage { dir, unified };
        let limit = if unified { "memory.max" } else { "memory.limit_in_bytes" };
        std::fs::write(cage.dir.join(limit), bytes.to_string()).ok()?;
        Some(cage)
    }

    /// Program and arguments that start a program within the group.
    #[must_use]
    pub fn wrap(&self, program: &Path, args: &[&str]) -> (PathBuf, Vec<String>) {
        let script = "echo $$ >\"$1\" && shift && exec \"$@\"";
        let mut all: Vec<String> = ["-c", script, "cage"].iter().map(ToString::to_string).collect();
        all.push(self.dir.join("cgroup.procs").display().to_string());
        all.push(program.display().to_string());
        all.extend(args.iter().map(ToString::to_string));
        ("/bin/sh".into(), all)
    }

    /// Changes the limit.
    ///
    /// # Errors
    /// The system refuses, for instance as more is used.
    pub fn set_limit(&self, bytes: u64) -> Result<()> {
        let file = if self.unified { "memory.max" } else { "memory.limit_in_bytes" };
        std::fs::write(self.dir.join(file), bytes.to_string()).context("the limit is not taken")
    }

    /// Most bytes that were used, file cache included.
    #[must_use]
    pub fn peak_bytes(&self) -> u64 {
        let file = if self.unified { "memory.peak" } else { "memory.max_usage_in_bytes" };
        let text = std::fs::read_to_string(self.dir.join(file)).unwrap_or_default();
        text.trim().parse().unwrap_or_default()
    }

    /// Processes that the system ended for lack of memory.
    #[must_use]
    pub fn kills(&self) -> u64 {
        let file = if self.unified { "memory.events" } else { "memory.oom_control" };
        let text = std::fs::read_to_string(self.dir.join(file)).unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix("oom_kill "));
        line.and_then(|n| n.trim().parse().ok()).unwrap_or_default()
    }
}

impl Drop for Cage {
    fn drop(&mut self) {
        // A process that was killed a moment ago may still count.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.dir).is_ok() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}
