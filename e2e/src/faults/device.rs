//! A block device whose faults are ours: ext4 on a loop device on one file that this process serves. Unlike a
//! file system in memory it has a page cache of the kernel above it that can be thrown away, and below it a
//! cache of its own that forgets; unlike device-mapper it is in every kernel with FUSE and loop devices.
//!
//! What is written and not flushed yet is in the device's cache: [`Device::cut`] takes the power away, with all
//! of it or with all but some sectors of it. That is what disks with a volatile cache may do, and less than any
//! lying disk does: what a flush covered stays.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::disk::run;
use super::fuse::{Backing, Errno, NAME, mount};
use crate::kills::Dice;

/// What a disk writes whole.
const SECTOR: u64 = 512;
/// Unmounting waits for what the kernel still does.
const UNMOUNT_MAX: Duration = Duration::from_secs(60);

/// What becomes of written sectors that no flush covered when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgets {
    /// All of them are gone.
    All,
    /// Each is gone or not by chance: torn and reordered writes.
    Some,
}

#[derive(Default)]
struct Faults {
    /// Reads of these bytes fail.
    unreadable: Vec<std::ops::Range<u64>>,
    /// Writes and flushes fail.
    unwritable: bool,
    /// Nothing is answered.
    frozen: bool,
    /// Bytes a second.
    speed: Option<u64>,
    /// There is no device any more.
    gone: bool,
    /// The power goes after so many more writes.
    cut_after: Option<(u64, Forgets, Dice)>,
}

/// What a power cut did.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    /// When, in milliseconds.
    pub at_ms: i64,
    /// Written sectors that no flush covered and that are gone.
    pub forgotten: usize,
    /// Those that are there all the same.
    pub kept: usize,
}

/// What was done so far.
#[derive(Clone, Copy, Debug, Default)]
pub struct Done {
    /// Reads that failed.
    pub reads_failed: u64,
    /// Flushes.
    pub flushes: u64,
    /// Bytes written.
    pub written: u64,
    /// Most sectors that waited for a flush.
    pub waiting_max: usize,
}

struct State {
    file: File,
    len: u64,
    /// Sectors that no flush covered.
    cache: BTreeMap<u64, Vec<u8>>,
    faults: Faults,
    done: Done,
    cut: Option<Cut>,
}

#[derive(Clone)]
struct Shared(Arc<(Mutex<State>, Condvar)>);

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits while the device stands still, and for as long as its speed says.
    fn begin(&self, bytes: u64) -> Result<MutexGuard<'_, State>, Errno> {
        let speed = self.lock().faults.speed;
        if let Some(speed) = speed {
            std::thread::sleep(Duration::from_secs_f64(bytes as f64 / speed as f64));
        }
        let mut state = self.lock();
        while state.faults.frozen && !state.faults.gone {
            state = self.0.1.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.faults.gone { Err(Errno::Io) } else { Ok(state) }
    }
}

impl Backing for Shared {
    fn len(&self) -> u64 {
        self.lock().len
    }

    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), Errno> {
        let mut state = self.begin(bytes.len() as u64)?;
        let end = at + bytes.len() as u64;
        if state.faults.unreadable.iter().any(|r| r.start < end && at < r.end) {
            state.done.reads_failed += 1;
            return Err(Errno::Io);
        }
        state.file.read_exact_at(bytes, at).map_err(|_| Errno::Io)?;
        for (sector, data) in state.cache.range(at / SECTOR..end.div_ceil(SECTOR)) {
            let (from, to) = ((sector * SECTOR).max(at), (sector * SECTOR + SECTOR).min(end));
            let part = &data[(from - sector * SECTOR) as usize..(to - sector * SECTOR) as usize];
            bytes[(from - at) as usize..(to - at) as usize].copy_from_slice(part);
        }
        Ok(())
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), Errno> {
        let mut state = self.begin(bytes.len() as u64)?;
        // Loop devices write whole sectors.
        if state.faults.unwritable
            || !at.is_multiple_of(SECTOR)
            || !(bytes.len() as u64).is_multiple_of(SECTOR)
        {
            return Err(Errno::Io);
        }
        for (sector, data) in (at / SECTOR..).zip(bytes.chunks(SECTOR as usize)) {
            state.cache.insert(sector, data.to_vec());
        }
        state.done.written += bytes.len() as u64;
        state.done.waiting_max = state.done.waiting_max.max(state.cache.len());
        match state.faults.cut_after.take() {
            Some((0, forgets, dice)) => {
                state.cut(forgets, dice)?;
                Err(Errno::Io)
            }
            left => {
                state.faults.cut_after = left.map(|(n, forgets, dice)| (n - 1, forgets, dice));
                Ok(())
            }
        }
    }

    fn sync(&mut self) -> Result<(), Errno> {
        let mut state = self.begin(0)?;
        if state.faults.unwritable {
            return Err(Errno::Io);
        }
        state.done.flushes += 1;
        let cache = std::mem::take(&mut state.cache);
        state.put(&cache)
    }
}

impl State {
    fn cut(&mut self, forgets: Forgets, mut dice: Dice) -> Result<(), Errno> {
        let at_ms = crate::ledger::now_ms();
        self.faults = Faults { gone: true, ..Faults::default() };
        let mut cache = std::mem::take(&mut self.cache);
        let all = cache.len();
        cache.retain(|_, _| forgets == Forgets::Some && dice.below(2) == 0);
        self.cut = Some(Cut { at_ms, forgotten: all - cache.len(), kept: cache.len() });
        self.put(&cache)
    }

    fn put(&self, sectors: &BTreeMap<u64, Vec<u8>>) -> Result<(), Errno> {
        sectors
            .iter()
            .try_for_each(|(n, data)| self.file.write_all_at(data, n * SECTOR))
            .map_err(|_| Errno::Io)
    }
}

/// The device with ext4 on it; unmounted when dropped.
pub struct Device {
    /// Where the file system is.
    pub at: PathBuf,
    below: PathBuf,
    shared: Shared,
}

impl Device {
    /// A new one with an empty file system; what is on it is kept in a file beside `at`.
    ///
    /// # Errors
    /// No right to mount, no FUSE, no loop device.
    pub fn new(at: &Path, bytes: u64) -> Result<Device> {
        let (below, image) = (at.with_extension("fuse"), at.with_extension("raw"));
        std::fs::create_dir_all(at)?;
        std::fs::create_dir_all(&below)?;
        let file = File::options().read(true).write(true).create(true).truncate(true).open(&image)?;
        file.set_len(bytes)?;
        run("mkfs.ext4", &["-q", "-m", "0", "-b", "4096", &image.display().to_string()])?;
        let state = State {
            file,
            len: bytes,
            cache: BTreeMap::new(),
            faults: Faults::default(),
            done: Done::default(),
            cut: None,
        };
        let device = Device {
            at: at.to_path_buf(),
            below,
            shared: Shared(Arc::new((Mutex::new(state), Condvar::new()))),
        };
        device.mount()?;
        Ok(device)
    }

    fn mount(&self) -> Result<()> {
        mount(&self.below, self.shared.clone())?;
        let file = self.below.join(NAME).display().to_string();
        run("mount", &["-t", "ext4", "-o", "loop", &file, &self.at.display().to_string()])
    }

    /// Nobody may have a file of it open.
    fn unmount(&self) -> Result<()> {
        for at in [&self.at, &self.below] {
            let began = Instant::now();
            while let Err(error) = run("umount", &[&at.display().to_string()]) {
                if began.elapsed() > UNMOUNT_MAX {
                    return Err(error);
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        Ok(())
    }

    fn change(&self, change: impl FnOnce(&mut Faults)) {
        change(&mut self.shared.lock().faults);
        self.shared.0.1.notify_all();
    }

    /// Nothing is read, written or flushed while the guard lives.
    #[must_use]
    pub fn freeze(&self) -> Frozen<'_> {
        self.change(|f| f.frozen = true);
        Frozen(self)
    }

    /// So many bytes a second are read and written.
    pub fn speed(&self, bytes: Option<u64>) {
        self.change(|f| f.speed = bytes);
    }

    /// What was done so far.
    #[must_use]
    pub fn done(&self) -> Done {
        self.shared.lock().done
    }

    /// The power goes in the middle of the write that follows so many others: between a write and its flush,
    /// mostly. From there on nothing is read or written; [`Device::again`] brings the power back.
    pub fn cut_after(&self, writes: u64, forgets: Forgets, dice: Dice) {
        self.shared.lock().cut = None;
        self.change(|f| f.cut_after = Some((writes, forgets, dice)));
    }

    /// The cut, once it came.
    #[must_use]
    pub fn was_cut(&self) -> Option<Cut> {
        self.shared.lock().cut
    }

    /// Power again, nothing in any cache; faults are gone. Nobody may have a file open.
    ///
    /// # Errors
    /// It cannot be unmounted and mounted.
    pub fn again(&self) -> Result<()> {
        self.unmount()?;
        self.change(|f| *f = Faults::default());
        self.mount()
    }

    /// A copy of all that is on it. Nobody may have a file open.
    ///
    /// # Errors
    /// It cannot be unmounted, copied and mounted.
    pub fn save(&self, to: &Path) -> Result<()> {
        self.unmount()?;
        run(
            "cp",
            &[
                "--sparse=always",
                &self.at.with_extension("raw").display().to_string(),
                &to.display().to_string(),
            ],
        )?;
        self.mount()
    }

    /// What a copy has. Nobody may have a file open.
    ///
    /// # Errors
    /// As [`Device::save`].
    pub fn restore(&self, from: &Path) -> Result<()> {
        self.unmount()?;
        {
            let mut state = self.shared.lock();
            state.faults = Faults::default();
            state.cache.clear();
            std::io::copy(&mut File::open(from)?, &mut &state.file.try_clone()?)?;
            std::io::Seek::rewind(&mut &state.file)?;
        }
        self.mount()
    }

    /// A file's 4 KiB block cannot be read any more, as a whole sector that went bad. The page cache has to be
    /// thrown away before, with [`Device::again`]. Bytes of the device.
    ///
    /// # Errors
    /// It has no such block.
    pub fn spoil(&self, file: &Path, offset: u64) -> Result<std::ops::Range<u64>> {
        let at = physical(file, offset / 4096)? * 4096;
        let range = at..at + 4096;
        self.change(|f| f.unreadable.push(range.clone()));
        Ok(range)
    }

    /// All of the device can be read again.
    pub fn heal(&self) {
        self.change(|f| f.unreadable.clear());
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.change(|f| *f = Faults::default());
        // Lazily: a process under test may still be ending.
        for at in [&self.at, &self.below] {
            let _ = run("umount", &["-l", &at.display().to_string()]);
        }
    }
}

/// A device that stands still; it goes on when this is dropped, also by a test that failed: a process that waits
/// for it could not be ended.
pub struct Frozen<'a>(&'a Device);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        self.0.change(|f| f.frozen = false);
    }
}

/// The device's block of 4 KiB that holds a file's.
fn physical(file: &Path, block: u64) -> Result<u64> {
    let output =
        Command::new("filefrag").args(["-s", "-v", "-b4096"]).arg(file).output().context("filefrag")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in text.lines() {
        // `  0:        0..       3:      34816..     34819:      4: …`
        let parts: Vec<&str> = line.split(':').collect();
        let range = |part: Option<&&str>| {
            let (from, to) = part?.split_once("..")?;
            Some((from.trim().parse::<u64>().ok()?, to.trim().parse::<u64>().ok()?))
        };
        let (Some((from, to)), Some((at, _))) = (range(parts.get(1)), range(parts.get(2))) else { continue };
        if (from..=to).contains(&block) {
            ensure!(!line.contains("inline"), "{}: within its inode", file.display());
            return Ok(at + block - from);
        }
    }
    anyhow::bail!("{}: no block {block}:\n{text}", file.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_flush_covered_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let device = match Device::new(&folder.path().join("disk"), 16 << 20) {
            Ok(device) => device,
            Err(e) => {
                assert!(!rustix::process::geteuid().is_root(), "{e:#}");
                return;
            }
        };
        let path = |name: &str| device.at.join(name);
        let synced = File::create(path("synced")).unwrap();
        synced.write_all_at(&[7; 5000], 0).unwrap();
        synced.sync_all().unwrap();
        File::open(&device.at).unwrap().sync_all().unwrap();
        std::fs::write(path("not"), "text").unwrap();
        drop(synced);
        device.cut_after(0, Forgets::All, Dice::new(1));
        // Says that the device is gone.
        let _ = File::open(&device.at).unwrap().sync_all();
        assert!(device.was_cut().is_some_and(|cut| cut.forgotten > 0));
        device.again().unwrap();
        assert_eq!(std::fs::read(path("synced")).unwrap(), [7; 5000]);
        assert!(!path("not").exists());
        // A block of it that goes bad.
        device.again().unwrap();
        device.spoil(&path("synced"), 4096).unwrap();
        let file = File::open(path("synced")).unwrap();
        let mut bytes = [0; 904];
        assert!(file.read_exact_at(&mut bytes, 4096).is_err());
        assert!(device.done().reads_failed > 0);
        device.heal();
        assert!(file.read_exact_at(&mut bytes, 4096).is_ok());
    }
}
