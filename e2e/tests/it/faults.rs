//! Disks that are full, stand still or rot, clocks that jump, targets that want to hurt: the whole process with
//! the ledger's load on it. `docs/faults.md` has the pass lines.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::faults::{Ballast, Memory, Mounted, Rig, damage, percent, said, time};
use e2e::kills::{Dice, SHORT_BLOCKS};
use e2e::ledger::{Check, Found, Ledger};
use e2e::wait::until;

pub(crate) fn long() -> bool {
    std::env::var_os("GODWIT_TEST_LONG").is_some()
}

/// The limit under which the peers' figures were measured.
const MEMORY: u64 = 512 << 20;
/// A server of a few hundred series that scrapes and answers uses less than this, whatever happens.
const HELD: &str = "godwit_tsdb_wal_held_bytes";

/// A file system, or the reason why there is none on this machine.
fn mounted(what: anyhow::Result<Mounted>) -> Option<Mounted> {
    what.inspect_err(|e| println!("skipped, this needs root and file systems to mount: {e:#}")).ok()
}

pub(crate) fn limited(rig: &mut Rig) -> Option<Memory> {
    let memory = Memory::limit(MEMORY).inspect_err(|e| println!("without a memory limit: {e:#}")).ok();
    rig.wrapper = memory.as_ref().map(Memory::wrapper).unwrap_or_default();
    memory
}

pub(crate) fn clean(what: &str, found: &Found) {
    println!("{what}: {found}");
    assert!(found.is_clean() && found.acknowledged > 20, "{what}: {found:#?}");
}

/// Kills, says what the log had to say, and starts: all is there.
pub(crate) fn all_there_after_a_kill(rig: &mut Rig, what: &str) {
    println!("{:?}", said(&rig.kill().unwrap()));
    rig.start_alone().unwrap();
    clean(what, &rig.check(&Check::default()).unwrap());
}

/// Shares of scrapes and queries between two moments.
pub(crate) struct Shares {
    from: i64,
    queries: (u64, u64),
}

impl Shares {
    pub(crate) fn begin(rig: &Rig) -> Shares {
        let figures = rig.figures();
        Shares { from: time(), queries: (figures.queries, figures.queries_failed) }
    }

    pub(crate) fn look(self, rig: &Rig) -> Share {
        let figures = rig.figures();
        Share {
            scrapes: rig.scrapes(self.from, time()),
            good: figures.queries - self.queries.0,
            bad: figures.queries_failed - self.queries.1,
            longest_ms: figures.query_ms_max,
            seconds: (time() - self.from) as u64 / 1000,
        }
    }

    pub(crate) fn end(self, what: &str, rig: &Rig) {
        self.look(rig).hold(what);
    }
}

pub(crate) struct Share {
    pub(crate) scrapes: (u64, u64),
    good: u64,
    bad: u64,
    longest_ms: u64,
    seconds: u64,
}

impl Share {
    /// A loaded machine may be late with one scrape in ten; a server that stands still with its disk makes none.
    /// Four queries a second are asked; a server that answers slowly because of the machine answers one.
    pub(crate) fn hold(&self, what: &str) {
        let Share { scrapes: (came, due), good, bad, longest_ms, seconds } = *self;
        println!(
            "{what}: {} of scrapes, {good} queries answered, {bad} not, the longest {longest_ms} ms",
            percent(came, due)
        );
        assert!(came * 10 >= due * 9, "{what}: {came} of {due} scrapes");
        assert!(bad == 0 && good >= seconds / 2, "{what}: {good} queries answered, {bad} failed");
    }
}

/// All of the log that was held is on the disk.
pub(crate) fn nothing_held(rig: &mut Rig) {
    until("the log is written out", || {
        rig.alive()?;
        let held = rig.metric(HELD)?;
        anyhow::ensure!(held == 0.0, "{held} bytes are held\n{}", rig.server()?.log_tail());
        Ok(())
    })
    .unwrap();
}

/// A disk fills up, stays full over head cuts, and has room again; then the same with a kill and a start in the
/// middle.
fn full_disk(folder: &Path, disk: &Mounted, seconds: f64) {
    let mut rig = Rig::new(folder, &disk.at.join("data"), &SHORT_BLOCKS).unwrap();
    let memory = limited(&mut rig);
    rig.start().unwrap();
    rig.go_on(6.0).unwrap();
    let ballast = Ballast::fill(&disk.at).unwrap();
    let shares = Shares::begin(&rig);
    rig.go_on(seconds).unwrap();
    shares.end("full disk", &rig);
    println!("held: {} bytes", rig.metric(HELD).unwrap());
    drop(ballast);
    let began = Instant::now();
    nothing_held(&mut rig);
    println!("written out {:.1} s after there was room", began.elapsed().as_secs_f64());
    clean("full disk, later", &rig.check(&Check::default()).unwrap());
    println!("{:?}", said(&rig.kill().unwrap()));
    rig.start().unwrap();
    clean("full disk, after kill -9", &rig.check(&Check::default()).unwrap());

    rig.go_on(2.0).unwrap();
    let full_from = time();
    let ballast = Ballast::fill(&disk.at).unwrap();
    rig.go_on(seconds / 2.0).unwrap();
    rig.kill().unwrap();
    // What could not be written: acknowledged from memory, and gone with it.
    println!("given up: {} entries", rig.ledger.forgive_after(full_from - 1000));
    rig.start().unwrap();
    clean("start on a full disk", &rig.check(&Check::default()).unwrap());
    let shares = Shares::begin(&rig);
    rig.go_on(seconds / 2.0).unwrap();
    shares.end("full disk, started on it", &rig);
    drop(ballast);
    nothing_held(&mut rig);
    rig.go_on(1.0).unwrap();
    all_there_after_a_kill(&mut rig, "started on a full disk, after kill -9");
    let writes = rig.figures();
    assert_eq!(writes.refused, 0, "{writes:?}");
    println!("{:?}", said(&rig.stop().unwrap()));
    if let Some(memory) = memory {
        println!("peak memory {} MiB", memory.peak() >> 20);
    }
}

#[test]
fn a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = mounted(Mounted::tmpfs(&folder.path().join("disk"), 48 << 20)) else { return };
    full_disk(folder.path(), &disk, if long() { 30.0 } else { 6.0 });
}

#[test]
fn a_full_ext4() {
    if !long() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = mounted(Mounted::ext4(&folder.path().join("disk"), 64 << 20)) else { return };
    full_disk(folder.path(), &disk, 30.0);
}

/// `shared`: remote writes go on beside the scrapes.
fn a_frozen_disk(shared: bool) {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut disk) = mounted(Mounted::ext4(&folder.path().join("disk"), 128 << 20)) else { return };
    let mut rig = Rig::new(folder.path(), &disk.at.join("data"), &SHORT_BLOCKS).unwrap();
    rig.plan.pushes = shared;
    let memory = limited(&mut rig);
    rig.start().unwrap();
    rig.go_on(5.0).unwrap();
    let shares = Shares::begin(&rig);
    disk.freeze().unwrap();
    let went = rig.go_on(if long() { 60.0 } else { 8.0 });
    let frozen = rig.figures();
    let share = shares.look(&rig);
    disk.thaw().unwrap();
    went.unwrap();
    share.hold("disk stood still");
    println!("writes: {} taken, {} not now", frozen.taken, frozen.not_now);
    nothing_held(&mut rig);
    rig.go_on(1.0).unwrap();
    all_there_after_a_kill(&mut rig, "disk stood still, after kill -9");
    rig.stop().unwrap();
    if let Some(memory) = memory {
        println!("peak memory {} MiB", memory.peak() >> 20);
    }
}

#[test]
fn a_disk_that_stands_still() {
    a_frozen_disk(true);
}

#[test]
fn a_disk_that_stands_still_under_scrapes_alone() {
    a_frozen_disk(false);
}

/// A process whose system calls on the log's files go wrong while this lives.
struct Injected(std::process::Child);

impl Injected {
    fn begin(rig: &mut Rig, fault: &str) -> Option<Injected> {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-o", "/dev/null", "-p", &rig.server().unwrap().pid().to_string()]);
        let calls = "write,writev,pwrite64,pwritev,fsync,fdatasync";
        command.args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{fault}")]);
        // Those that are there, and those that come.
        for segment in 0..64 {
            command.arg("-P").arg(rig.data.join(format!("wal/{segment:08}")));
        }
        match command.spawn() {
            Ok(child) => Some(Injected(child)),
            Err(e) => {
                println!("skipped, no strace: {e}");
                None
            }
        }
    }
}

impl Drop for Injected {
    fn drop(&mut self) {
        // Let go of the process as strace does when it is asked to.
        let _ = Command::new("kill").args(["-INT", &self.0.id().to_string()]).status();
        let _ = self.0.wait();
    }
}

/// The log's calls go wrong for some seconds; everything is there afterwards.
fn bad_calls(what: &str, fault: &str, seconds: f64) {
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(folder.path(), &folder.path().join("data"), &SHORT_BLOCKS).unwrap();
    let memory = limited(&mut rig);
    rig.start().unwrap();
    rig.go_on(4.0).unwrap();
    let Some(injected) = Injected::begin(&mut rig, fault) else { return };
    let shares = Shares::begin(&rig);
    rig.go_on(seconds).unwrap();
    let share = shares.look(&rig);
    drop(injected);
    share.hold(what);
    nothing_held(&mut rig);
    rig.go_on(1.5).unwrap();
    println!("{what}: {} failed writes", rig.metric("prometheus_tsdb_wal_writes_failed_total").unwrap());
    let log = rig.kill().unwrap();
    println!("{:?}", said(&log));
    assert!(!fault.starts_with("error") || !said(&log).is_empty(), "nothing was said:\n{log}");
    rig.start_alone().unwrap();
    clean(what, &rig.check(&Check::default()).unwrap());
    rig.stop().unwrap();
    drop(memory);
}

#[test]
fn a_log_that_cannot_be_written() {
    bad_calls("write errors for 4 s", "error=EIO", 4.0);
}

#[test]
fn a_disk_that_takes_two_seconds() {
    if long() {
        bad_calls("2 s for each call", "delay_enter=2000000", 20.0);
    }
}

/// A folder with everything in it, of a server that was killed.
fn grown(folder: &Path) -> Rig {
    let mut rig = Rig::new(folder, &folder.join("data"), &SHORT_BLOCKS).unwrap();
    grow(&mut rig);
    rig
}

/// Runs until the folder has everything in it, then kills.
pub(crate) fn grow(rig: &mut Rig) {
    rig.start().unwrap();
    until("blocks, a checkpoint, late samples", || {
        rig.alive()?;
        let done = [
            "prometheus_tsdb_checkpoint_creations_total",
            "prometheus_tsdb_compactions_total",
            "prometheus_tsdb_head_out_of_order_samples_appended_total",
        ];
        for name in done {
            anyhow::ensure!(rig.metric(name)? > 0.0, "no {name} yet");
        }
        Ok(())
    })
    .unwrap();
    rig.go_on(4.0).unwrap();
    rig.kill().unwrap();
    rig.start_alone().unwrap();
    clean("before any damage", &rig.check(&Check::default()).unwrap());
    rig.kill().unwrap();
}

/// The first query that meets damage in a block fails, and says so; later ones answer, at the latest when upkeep
/// has looked at the block, once a minute. What was found, and whether one failed.
fn ask(rig: &mut Rig, what: &Check) -> (Found, bool) {
    let (mut failed, began) = (0, Instant::now());
    let found = until("an answer", || {
        rig.check(what).inspect_err(|error| {
            if failed == 0 {
                println!(
                    "  first answer: {}",
                    format!("{error:#}").chars().skip(100).take(300).collect::<String>()
                );
            }
            failed += 1;
        })
    })
    .unwrap();
    if failed > 0 {
        println!("  answered after {failed} failures, {:.1} s", began.elapsed().as_secs_f64());
    }
    (found, failed > 0)
}

#[test]
fn rotten_files() {
    let seed = time() as u64;
    println!("seed {seed}");
    let mut dice = Dice::new(seed);
    let folder = tempfile::tempdir().unwrap();
    let grown = grown(folder.path());
    let book: Ledger = grown.ledger.copy();
    let what = Check { before_life: Some(book.life() + 1), ..Check::default() };
    let (mut silent, mut refused, mut named, mut whole, mut lost) = (0, 0, 0, 0, 0);
    let (mut trials, mut worst) = (0, 0);
    for number in 0..if long() { 72 } else { 9 } {
        let data = folder.path().join("rotten");
        let _ = std::fs::remove_dir_all(&data);
        let status = Command::new("cp").arg("-a").arg(&grown.data).arg(&data).status().unwrap();
        assert!(status.success());
        let Some(trial) = damage(&data, number, &mut dice).unwrap() else { continue };
        trials += 1;
        let mut rig = Rig::new(folder.path(), &data, &SHORT_BLOCKS).unwrap();
        // Nothing is scraped: the folder alone is asked.
        rig.plan.targets.clear();
        rig.ledger = book.copy();
        if let Err(error) = rig.start_alone() {
            refused += 1;
            println!("refused to start: {trial:?}: {error:#}");
            continue;
        }
        let (found, failed) = ask(&mut rig, &what);
        let log = rig.stop().unwrap();
        let messages = said(&log);
        let wrong = found.doubled + found.altered;
        let missing = found.lost + found.torn;
        lost += missing;
        worst = worst.max(missing);
        if wrong > 0 || (missing > 0 && messages.is_empty() && !failed) {
            silent += 1;
            println!("wrong or silent: {trial:?}: {found:#?} {messages:?}");
        } else if missing > 0 {
            named += 1;
            println!("{trial:?}: {missing} of {} entries gone, named: {messages:?}", found.acknowledged);
        } else {
            whole += 1;
        }
    }
    println!(
        "{trials} trials: {whole} without any loss, {named} with a loss that was named ({lost} entries, {worst} at most), {silent} wrong or silent, {refused} refused to start"
    );
    assert_eq!((silent, refused), (0, 0), "seed {seed}");
    assert!(trials >= 8);
}

/// Wall clock of a process that can be set while it runs.
struct Clock<'a>(&'a Path);

impl Clock<'_> {
    fn set(&self, offset: &str) {
        let file = self.0.join("clock");
        std::fs::write(self.0.join("clock.new"), offset).unwrap();
        std::fs::rename(self.0.join("clock.new"), file).unwrap();
    }
}

fn faketime() -> Option<String> {
    let paths = [
        "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
        "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    ];
    paths.into_iter().find(|p| Path::new(p).exists()).map(String::from)
}

#[test]
fn a_clock_that_jumps() {
    let Some(library) = faketime() else { return println!("skipped: `apt-get install faketime`") };
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock(folder.path());
    clock.set("+0");
    let mut rig =
        Rig::new(folder.path(), &folder.path().join("data"), &["--storage.tsdb.retention.time=30d"]).unwrap();
    // Late by two days and more is taken, from a day ahead to a day behind, so that nothing need be lost.
    rig.plan.window_seconds = 60 * 3600;
    rig.plan.seen_counts = false;
    rig.wrapper = vec![
        "env".into(),
        format!("LD_PRELOAD={library}"),
        format!("FAKETIME_TIMESTAMP_FILE={}", folder.path().join("clock").display()),
        "FAKETIME_NO_CACHE=1".into(),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".into(),
    ];
    rig.start_alone().unwrap();
    rig.go_on(4.0).unwrap();
    let jumps = if long() {
        vec!["+3600", "+0", "-3600", "+0", "+86400", "+0", "-86400", "+0"]
    } else {
        vec!["+3600", "+0", "-3600", "+0"]
    };
    for jump in jumps {
        clock.set(jump);
        let from = time();
        rig.go_on(4.0).unwrap();
        let (came, due) = rig.scrapes(from, time());
        println!("clock at {jump}: {} of scrapes", percent(came, due));
        assert!(came * 4 >= due * 3, "clock at {jump}: {came} of {due} scrapes");
    }
    let what = Check { clock_off_ms: 25 * 3_600_000, ..Check::default() };
    clean("clock jumps", &rig.check(&what).unwrap());
    let log = rig.kill().unwrap();
    println!("{:?}, {} lines of log", said(&log), log.lines().count());
    assert!(log.lines().count() < 300, "a storm of messages");
    rig.start_alone().unwrap();
    clean("clock jumps, after kill -9", &rig.check(&what).unwrap());
    rig.stop().unwrap();
}

#[test]
fn targets_that_want_to_hurt() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut rig = Rig::new(folder.path(), &folder.path().join("data"), &[]).unwrap();
    let memory = limited(&mut rig);
    let hostile: Vec<testkit::FakeTarget> = runtime.block_on(async {
        let mut all = Vec::new();
        for what in testkit::Hostile::all() {
            let answer = testkit::Answer::Hostile(what);
            all.push(testkit::FakeTarget::start(move |_| answer.clone()).await.unwrap());
        }
        all
    });
    rig.plan.more = hostile.iter().map(testkit::FakeTarget::address).collect();
    rig.start().unwrap();
    rig.go_on(2.0).unwrap();
    let (from, began) = (time(), Instant::now());
    while began.elapsed() < Duration::from_secs(if long() { 60 } else { 8 }) {
        rig.go_on(1.0).unwrap();
    }
    let (came, due) = rig.scrapes(from, time());
    let page = e2e::http::get(rig.port, "/api/v1/targets").unwrap().json().unwrap();
    let targets = page["data"]["activeTargets"].as_array().unwrap();
    let bad: Vec<_> = targets.iter().filter(|t| t["scrapePool"] == "more").collect();
    println!("ordinary targets: {} of scrapes", percent(came, due));
    assert_eq!(bad.len(), hostile.len());
    for target in &bad {
        let error = target["lastError"].as_str().unwrap();
        assert!(target["health"] == "down" && error.len() > 5, "{target}");
    }
    rig.kill().unwrap();
    rig.start_alone().unwrap();
    clean("hostile targets", &rig.check(&Check::default()).unwrap());
    // The hostile targets burn the cores of this very machine.
    assert!(came * 10 >= due * 8, "{came} of {due} ordinary scrapes");
    if let Some(memory) = memory {
        println!("peak memory {} MiB", memory.peak() >> 20);
    }
}
