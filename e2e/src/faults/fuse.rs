//! As much of the kernel's protocol for file systems in user space as one file needs: the messages of
//! `include/uapi/linux/fuse.h`, little-endian.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;

use anyhow::{Context, Result};

/// The one file of the file system.
pub(super) const NAME: &str = "disk.img";
const FILE_NODE: u64 = 2;
/// Bytes of one write; the kernel's own default.
const WRITE_MAX: u32 = 128 << 10;
/// Room for a message: a write and its head.
const MESSAGE_MAX: usize = WRITE_MAX as usize + 8192;
const HEAD: usize = 40;
const READ: u64 = 15;
const WRITE: u64 = 16;
const FSYNC: u64 = 20;

/// Errors by their numbers in the protocol.
#[derive(Clone, Copy, Debug)]
pub(super) enum Errno {
    NoEntry = 2,
    Io = 5,
    NotKnown = 38,
}

/// What serves the file.
pub(super) trait Backing: Clone + Send + 'static {
    fn len(&self) -> u64;
    fn read(&mut self, at: u64, bytes: &mut [u8]) -> Result<(), Errno>;
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), Errno>;
    fn sync(&mut self) -> Result<(), Errno>;
}

fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    bytes.iter().skip(at).take(len).rev().fold(0, |n, b| n << 8 | u64::from(*b))
}

fn attributes(node: u64, len: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let file = node == FILE_NODE;
    for n in [node, if file { len } else { 0 }, len / 512, 0, 0, 0] {
        out.extend(n.to_le_bytes());
    }
    let mode: u32 = if file { 0o100_600 } else { 0o040_700 };
    for n in [0, 0, 0, mode, 1, 0, 0, 0, 4096, 0] {
        out.extend(n.to_le_bytes());
    }
    out
}

/// An answer's body, or an error, or nothing where none is wanted.
fn answer(backing: &mut impl Backing, message: &[u8]) -> Option<Result<Vec<u8>, Errno>> {
    let (opcode, node) = (number(message, 4, 4), number(message, 16, 8));
    let body = message.get(HEAD..)?;
    let (offset, size) = (number(body, 8, 8), number(body, 16, 4));
    Some(match opcode {
        // LOOKUP
        1 if body.split(|b| *b == 0).next() == Some(NAME.as_bytes()) => {
            let mut out = Vec::new();
            for n in [FILE_NODE, 0, 0, 0, 0] {
                out.extend(n.to_le_bytes());
            }
            out.extend(attributes(FILE_NODE, backing.len()));
            Ok(out)
        }
        1 => Err(Errno::NoEntry),
        // FORGET, INTERRUPT, BATCH_FORGET
        2 | 36 | 42 => return None,
        // GETATTR, SETATTR
        3 | 4 => {
            let mut out = vec![0; 16];
            out.extend(attributes(node, backing.len()));
            Ok(out)
        }
        // OPEN, OPENDIR: past the page cache of this file, so that all comes here.
        14 | 27 => Ok([0_u64.to_le_bytes(), 1_u64.to_le_bytes()].concat()),
        // READ
        READ => {
            let left = backing.len().saturating_sub(offset);
            let mut out = vec![0; size.min(left) as usize];
            backing.read(offset, &mut out).map(|()| out)
        }
        // WRITE
        WRITE => match body.get(40..).and_then(|data| data.get(..size as usize)) {
            Some(data) => backing.write(offset, data).map(|()| size.to_le_bytes().to_vec()),
            None => Err(Errno::Io),
        },
        // FSYNC
        FSYNC => backing.sync().map(|()| Vec::new()),
        // RELEASE, FLUSH, RELEASEDIR, DESTROY
        18 | 25 | 29 | 38 => Ok(Vec::new()),
        // INIT: version 7.31, nothing but large writes.
        26 => {
            let mut out = Vec::new();
            for n in [7, 31, WRITE_MAX, 1 << 5] {
                out.extend(u32::to_le_bytes(n));
            }
            out.extend([16, 0, 12, 0]);
            for n in [WRITE_MAX, 1] {
                out.extend(n.to_le_bytes());
            }
            out.resize(64, 0);
            Ok(out)
        }
        _ => Err(Errno::NotKnown),
    })
}

/// What such a mount is named in the list of mounts.
const SOURCE: &str = "godwit-test";

/// Takes away what a killed test left mounted: a mount that nobody serves, and the disk on it. Other programs
/// of the machine would see it (and show an error for it) until the machine ends.
fn sweep() -> Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let points =
        || mounts.lines().filter_map(|line| line.split(' ').nth(4).map(|point| (line, Path::new(point))));
    let dead = points().filter(|(line, point)| {
        line.contains(&format!(" - fuse {SOURCE} "))
            && rustix::fs::statfs(*point).is_err_and(|e| e == rustix::io::Errno::NOTCONN)
    });
    for (_, point) in dead {
        let above = point.with_extension("");
        for at in points().map(|(_, p)| p).filter(|p| *p == above).chain([point]) {
            // Where another test was quicker it is gone.
            let _ = rustix::mount::unmount(at, rustix::mount::UnmountFlags::DETACH);
        }
    }
    Ok(())
}

/// Mounts a folder with the one file in it, served by a thread until it is unmounted.
///
/// # Errors
/// No right to mount, or no such file systems in the kernel.
pub(super) fn mount(at: &Path, mut backing: impl Backing) -> Result<()> {
    sweep()?;
    let mut device = File::options().read(true).write(true).open("/dev/fuse").context("/dev/fuse")?;
    let options = format!("fd={},rootmode=40000,user_id=0,group_id=0,allow_other\0", device.as_raw_fd());
    let options = std::ffi::CStr::from_bytes_with_nul(options.as_bytes())?;
    rustix::mount::mount(SOURCE, at, "fuse", rustix::mount::MountFlags::empty(), Some(options))
        .with_context(|| format!("mount {}", at.display()))?;
    // Reads, writes and flushes may wait: for the others, which every look at any loop device of the machine
    // asks for, there is a thread of its own.
    let (sender, waiting) = std::sync::mpsc::channel::<Vec<u8>>();
    let mut other = (device.try_clone()?, backing.clone());
    std::thread::Builder::new().name("disk of ours".into()).spawn(move || {
        while let Ok(message) = waiting.recv() {
            respond(&mut other.0, &mut other.1, &message);
        }
    })?;
    std::thread::Builder::new().name("disk's front".into()).spawn(move || {
        let mut message = vec![0; MESSAGE_MAX];
        loop {
            let len = match device.read(&mut message) {
                Ok(len) => len,
                // ENODEV: unmounted. Others say that a request was taken back.
                Err(e) if e.raw_os_error() == Some(19) => return,
                Err(_) => continue,
            };
            let message = &message[..len];
            if matches!(number(message, 4, 4), READ | WRITE | FSYNC) {
                // The other thread ends with this one only.
                let _ = sender.send(message.to_vec());
            } else {
                respond(&mut device, &mut backing, message);
            }
        }
    })?;
    Ok(())
}

fn respond(device: &mut File, backing: &mut impl Backing, message: &[u8]) {
    let Some(answer) = answer(backing, message) else { return };
    let (error, body) = match answer {
        Ok(body) => (0, body),
        Err(errno) => (-(errno as i32), Vec::new()),
    };
    let mut out = Vec::with_capacity(16 + body.len());
    out.extend((16 + body.len() as u32).to_le_bytes());
    out.extend(error.to_le_bytes());
    out.extend(number(message, 8, 8).to_le_bytes());
    out.extend(body);
    // Who asked has gone.
    let _ = device.write_all(&out);
}
