//! Power cuts: godwit and the ledger's load run in a second Linux kernel (user-mode-linux, an ordinary process)
//! on a file system of its own, and that kernel is killed. What it had not written to its disk is gone, as with
//! a machine that loses its power; the next boot looks at what is there.
//!
//! The guest's disk is a file of the host. What its kernel gave to its disk is in that file, also where no flush
//! followed: a disk without a cache of its own, or with one that outlives the cut. What is tested is what godwit
//! asks its kernel for, not a disk that forgets.
//!
//! The ledger lies on the host. An entry is in it before its samples leave for godwit; an acknowledgement that
//! the cut keeps from it is not required.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, getpgid, kill_process_group};

use crate::kills::{Dice, RECEIVES, SHORT_BLOCKS, messages};
use crate::ledger::{Check, Ledger, Load, Plan, check, now_ms};
use crate::process::Server;
use crate::program::Program;

/// What the default mode may lose: acknowledged samples are on the disk within a second in which the guest ran.
const WITHIN_MS: i64 = 1000;
/// The guest's disk.
const DISK_BYTES: u64 = 256 << 20;
/// Targets of the guest; a kernel inside a process is slow.
const TARGETS: u64 = 3;
/// A boot, a start and a check take seconds; on a machine that does other things too, many.
const BOOT_MAX: Duration = Duration::from_secs(240);
/// What must be there after a boot: retention (8 minutes) less the ends of blocks.
const KEPT_MS: i64 = 400_000;

/// How to do it.
#[derive(Clone, Debug)]
pub struct Order {
    /// Cuts.
    pub cuts: u64,
    /// Moments follow from it.
    pub seed: u64,
    /// `storage.strict_sync`.
    pub strict: bool,
    /// For the guest's first program and the kernel's log.
    pub folder: PathBuf,
    /// What host and guest share, and the guest's disk: best in memory, where a flush takes no time. A disk that
    /// is slow because other programs use it says nothing about godwit.
    pub share: PathBuf,
    /// The kernel.
    pub kernel: PathBuf,
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Cuts.
    pub cuts: u64,
    /// A line of each boot.
    pub boots: Vec<String>,
    /// Boots that found something lost, doubled or altered.
    pub bad: u64,
}

/// Guest: a line for the host, on its disk when this returns.
fn tell(share: &Path, line: &str) -> Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(share.join("status"))?;
    writeln!(file, "{line}")?;
    file.sync_all()?;
    Ok(())
}

/// What the guest does: looks at what the cut left, then works until the next one.
///
/// # Errors
/// Something of it fails; the host sees the text.
pub fn guest(share: &Path, disk: &Path, strict: bool) -> Result<()> {
    let done = guest_life(share, disk, strict);
    if let Err(error) = &done {
        let text = format!("{error:#}").replace('\n', " | ");
        tell(share, &format!("failed {text}"))?;
    }
    done
}

fn guest_life(share: &Path, disk: &Path, strict: bool) -> Result<()> {
    let ledger = Ledger::open(&share.join("ledger"))?;
    let forgiven = match std::fs::read_to_string(share.join("cut")) {
        Ok(cut) if !strict => {
            let moment = ledger.ran_since(cut.trim().parse()?, WITHIN_MS);
            ledger.forgive_after(moment)
        }
        _ => 0,
    };
    let mut plan = Plan::new(&ledger, TARGETS, Path::new("/tmp/prometheus.yml"))?;
    plan.reload = false;
    // A query shows what is committed, also before it is durable.
    plan.seen_counts = false;
    plan.put(true)?;
    ledger.next_life();
    let mut arguments: Vec<String> = SHORT_BLOCKS.iter().chain(&RECEIVES).map(ToString::to_string).collect();
    arguments.push("--web.listen-address=127.0.0.1:{port}".into());
    arguments.push("--config.file=/tmp/prometheus.yml".into());
    arguments.push(format!("--storage.tsdb.path={}", disk.join("data").display()));
    if strict {
        std::fs::write("/tmp/godwit.yml", "storage: {strict_sync: true}\n")?;
        arguments.push("--godwit.config=/tmp/godwit.yml".into());
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let began = Instant::now();
    let program = Program::Godwit.path()?;
    let mut server = Server::spawn(&program, &arguments, Path::new("/tmp"), 9090)?;
    server.until_ready(&program, "/-/ready", BOOT_MAX)?;
    let ready = began.elapsed();
    let found =
        check(&ledger, 9090, &Check { from_ms: now_ms() - KEPT_MS, power_cut: true, ..Check::default() })?;
    let mut said = std::collections::BTreeMap::new();
    messages(&server.log_text(), &mut said);
    let word = if found.is_clean() { "clean" } else { "BAD" };
    tell(
        share,
        &format!(
            "{word} ready in {} ms, {found}; {forgiven} of the last second forgiven; {said:?} {:?}",
            ready.as_millis(),
            found.faults
        ),
    )?;
    ledger.keep_beating();
    let load = Load::start(&ledger, 9090, &plan);
    tell(share, "loading")?;
    loop {
        std::thread::sleep(Duration::from_millis(200));
        ensure!(server.is_running(), "godwit died: {}", server.log_tail());
        ensure!(!ledger.is_broken(), "the ledger cannot be written");
        let figures = load.figures();
        ensure!(figures.refused == 0, "writes refused: {:?}", figures.refusals);
    }
}

/// The first process of the guest: mounts, and becomes [`guest`].
fn init(order: &Order) -> Result<PathBuf> {
    let Order { folder, share, strict, .. } = order;
    // Their own folders may be hidden in the guest: its /tmp is another one.
    std::fs::copy(std::env::current_exe()?, share.join("power"))?;
    std::fs::copy(Program::Godwit.path()?, share.join("godwit"))?;
    let path = folder.join("init");
    let text = format!(
        "#!/bin/sh\n\
         export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root GODWIT_BIN=/run/share/godwit\n\
         mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs run /run\n\
         mkdir /run/share /run/disk; mount -t hostfs none /run/share -o '{share}'\n\
         mount -t tmpfs tmp /tmp; ip link set lo up || ifconfig lo up\n\
         {{ mount /dev/ubdb /run/disk && /run/share/power guest /run/share /run/disk {strict}; }} >/run/share/output 2>&1\n\
         sync; echo o >/proc/sysrq-trigger; sleep 10\n",
        share = share.display(),
    );
    std::fs::write(&path, text)?;
    let status = Command::new("chmod").arg("+x").arg(&path).status()?;
    ensure!(status.success(), "chmod");
    Ok(path)
}

struct Guest {
    kernel: Child,
}

impl Guest {
    fn boot(order: &Order, init: &Path) -> Result<Guest> {
        let log = std::fs::File::create(order.folder.join("kernel.log"))?;
        let kernel = Command::new(&order.kernel)
            .args(["mem=512M", "root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "quiet"])
            .args(["con=null", "con0=null,fd:1", "ssl=null"])
            .arg(format!("init={}", init.display()))
            .arg(format!("ubdb={}", order.share.join("disk.img").display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .spawn()
            .with_context(|| order.kernel.display().to_string())?;
        Ok(Guest { kernel })
    }

    /// Waits until the guest says that it works; what it found.
    fn until_loading(&mut self, order: &Order, boots: usize) -> Result<String> {
        let began = Instant::now();
        loop {
            let status = std::fs::read_to_string(order.share.join("status")).unwrap_or_default();
            if let Some(failed) = status.lines().find(|l| l.starts_with("failed")) {
                bail!("{failed}");
            }
            if status.lines().filter(|l| *l == "loading").count() == boots {
                return Ok(status.lines().rfind(|l| *l != "loading").unwrap_or_default().to_string());
            }
            let log = |path: PathBuf| std::fs::read_to_string(path).unwrap_or_default();
            let ended = self.kernel.try_wait()?;
            ensure!(
                ended.is_none() && began.elapsed() < BOOT_MAX,
                "the guest does not work, {ended:?}:\n{}\n{}",
                log(order.folder.join("kernel.log")),
                log(order.share.join("output"))
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// By the system call: `kill -KILL -GROUP` of procps 4.0.2 takes the group for -1 and ends every process of
    /// the machine.
    fn kill(&self) -> Result<()> {
        let group = Pid::from_child(&self.kernel);
        ensure!(getpgid(Some(group))? == group, "the guest has no group of its own");
        kill_process_group(group, Signal::KILL)?;
        Ok(())
    }

    /// The power goes. Everything of the kernel is in one group of processes.
    fn cut(mut self, order: &Order) -> Result<()> {
        self.kill()?;
        let at = now_ms();
        self.kernel.wait()?;
        std::fs::write(order.share.join("cut"), at.to_string())?;
        Ok(())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if matches!(self.kernel.try_wait(), Ok(None)) {
            let _ = self.kill();
            let _ = self.kernel.wait();
        }
    }
}

/// A folder in memory where there is one, else anywhere.
///
/// # Errors
/// No folder can be made.
pub fn share() -> Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    Ok(if memory.is_dir() { tempfile::tempdir_in(memory)? } else { tempfile::tempdir()? })
}

/// Host: cuts the power again and again.
///
/// # Errors
/// The kernel does not run here, or godwit does not start; what is wrong with its answers is in the report.
pub fn run(order: &Order, mut say: impl FnMut(&str)) -> Result<Report> {
    let image = order.share.join("disk.img");
    std::fs::File::create(&image)?.set_len(DISK_BYTES)?;
    let made = Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(&image).status()?;
    ensure!(made.success(), "mkfs.ext4");
    let init = init(order)?;
    let mut dice = Dice::new(order.seed);
    let mut report = Report::default();
    for boot in 1..=order.cuts + 1 {
        let mut guest = Guest::boot(order, &init)?;
        let line = guest.until_loading(order, boot as usize).with_context(|| format!("boot {boot}"))?;
        say(&format!("boot {boot}: {line}"));
        report.bad += u64::from(!line.starts_with("clean"));
        report.boots.push(line);
        if boot <= order.cuts {
            std::thread::sleep(Duration::from_millis(1500 + dice.below(9000)));
            report.cuts += 1;
        }
        guest.cut(order)?;
    }
    Ok(report)
}
