//! A disk of our own below a real file system: its power goes and its cache forgets, blocks of it cannot be read,
//! it is slow, it stands still for long. The whole process with the ledger's load on it; `docs/faults.md` has the
//! pass lines.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use e2e::faults::{Cut, Device, Forgets, Rig, pick, said, time};
use e2e::http;
use e2e::kills::{Dice, SHORT_BLOCKS};
use e2e::ledger::{Check, Found};
use e2e::wait::until;
use testkit::Fleet;

use crate::faults::{Shares, clean, grow, limited, long, nothing_held};

/// A device, or the reason why there is none on this machine.
pub(crate) fn device(folder: &Path, bytes: u64) -> Option<Device> {
    let made = Device::new(&folder.join("disk"), bytes);
    made.inspect_err(|e| println!("skipped, this needs root, FUSE and loop devices: {e:#}")).ok()
}

/// Acknowledged samples are on the disk within a second in which the machine ran.
const WITHIN_MS: i64 = 1000;
/// Retention (8 minutes) less the ends of blocks.
const KEPT_MS: i64 = 400_000;

/// The power goes again and again; what no flush covered is forgotten, all of it or by chance.
fn power_cuts(cuts: u64, strict: bool) {
    let folder = e2e::power::share().unwrap();
    let Some(disk) = device(folder.path(), 256 << 20) else { return };
    let seed = time() as u64;
    println!("seed {seed}");
    let mut dice = Dice::new(seed);
    let settings = folder.path().join("godwit.yml").display().to_string();
    std::fs::write(&settings, format!("storage: {{strict_sync: {strict}}}\n")).unwrap();
    let settings = format!("--godwit.config={settings}");
    let flags: Vec<&str> = SHORT_BLOCKS.into_iter().chain([settings.as_str()]).collect();
    let mut rig = Rig::new(folder.path(), &disk.at.join("data"), &flags).unwrap();
    let memory = limited(&mut rig);
    // A query shows what is committed, also before it is durable.
    rig.plan.seen_counts = false;
    rig.ledger.keep_beating();
    let (mut total, mut forgotten, mut kept, mut forgiven) = (Found::default(), 0, 0, 0);
    for cut in 1..=cuts {
        rig.start().unwrap();
        rig.go_on(1.5 + dice.below(6000) as f64 / 1000.0).unwrap();
        let forgets = if cut % 2 == 0 { Forgets::All } else { Forgets::Some };
        // A sync of the log is a handful of writes, a block some dozens.
        disk.cut_after(dice.below(60), forgets, Dice::new(dice.below(u64::MAX)));
        let Cut { at_ms: at, forgotten: gone, kept: there } =
            until("the power goes", || disk.was_cut().context("not yet")).unwrap();
        rig.server().unwrap().signal("KILL").unwrap();
        rig.kill().unwrap();
        (forgotten, kept) = (forgotten + gone, kept + there);
        // After the cut a scrape that failed to commit is followed by the next one.
        let moment = if strict { at } else { rig.ledger.ran_since(at, WITHIN_MS) };
        forgiven += rig.ledger.forgive_after(moment);
        disk.again().unwrap();
        rig.start_alone().unwrap();
        let what = Check { from_ms: time() - KEPT_MS, power_cut: true, ..Check::default() };
        let found = rig.check(&what).unwrap();
        println!("cut {cut}, {forgets:?}: {gone} sectors forgotten, {there} kept; {found}");
        if !found.is_clean() {
            println!("{:#?} {:?}", found.faults, said(&rig.server().unwrap().log_text()));
        }
        total.add(found);
        rig.kill().unwrap();
    }
    println!(
        "{cuts} cuts, strict {strict}: {forgotten} sectors forgotten, {kept} kept, {forgiven} acknowledgements of the last second open"
    );
    clean("power cuts", &total);
    assert!(forgotten > 0 && total.acknowledged > 20);
    drop(memory);
}

#[test]
fn power_cuts_and_a_disk_that_forgets() {
    power_cuts(if long() { 50 } else { 2 }, false);
}

#[test]
fn power_cuts_and_a_disk_that_forgets_in_strict_mode() {
    power_cuts(if long() { 50 } else { 2 }, true);
}

/// A block of 4 KiB of one file cannot be read: what it costs is named, nothing is wrong, and nothing is thrown
/// away: when the disk is well again after a start, all is there.
#[test]
fn blocks_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = device(folder.path(), 64 << 20) else { return };
    let seed = time() as u64;
    println!("seed {seed}");
    let mut dice = Dice::new(seed);
    let data = disk.at.join("data");
    let mut rig = Rig::new(folder.path(), &data, &SHORT_BLOCKS).unwrap();
    let memory = limited(&mut rig);
    // Five hundred series more, so that an index is longer than a sector.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let fleet = runtime.block_on(Fleet::start(1, 1)).unwrap();
    rig.plan.more = fleet.addresses();
    grow(&mut rig);
    rig.plan.more.clear();
    let saved = folder.path().join("saved");
    disk.save(&saved).unwrap();
    let book = rig.ledger.copy();
    let what = Check { before_life: Some(book.life() + 1), ..Check::default() };
    rig.plan.targets.clear();
    let (mut silent, mut refused, mut named, mut whole, mut thrown_away, mut trials) = (0, 0, 0, 0, 0, 0);
    let (mut worst, mut mute) = (0, 0);
    for number in 0..if long() { 54 } else { 9 } {
        disk.restore(&saved).unwrap();
        let Some((file, offset)) = pick(&data, number, &mut dice).unwrap() else { continue };
        // Out of the page cache.
        disk.again().unwrap();
        disk.spoil(&data.join(&file), offset).unwrap();
        trials += 1;
        let before = disk.done().reads_failed;
        rig.ledger = book.copy();
        if let Err(error) = rig.start_alone() {
            refused += 1;
            println!("refused to start: {file:?} at {offset}: {error:#}");
            continue;
        }
        let (began, mut failures) = (Instant::now(), 0);
        let found = until("an answer", || {
            rig.alive()?;
            rig.check(&what).inspect_err(|error| {
                if failures == 0 {
                    let text = format!("{error:#}");
                    println!("  first answer: {}", text.chars().skip(100).take(300).collect::<String>());
                }
                failures += 1;
            })
        });
        let found = found.unwrap_or_else(|e| {
            mute += 1;
            println!("no answer: {file:?} at {offset}: {e:#}");
            Found::default()
        });
        if failures > 0 {
            println!("  {failures} answers failed, {:.1} s", began.elapsed().as_secs_f64());
        }
        let log = rig.kill().unwrap();
        let messages = said(&log);
        let (wrong, missing) = (found.doubled + found.altered, found.lost + found.torn);
        let met = disk.done().reads_failed - before;
        worst = worst.max(missing);
        if wrong > 0 || (missing > 0 && messages.is_empty() && failures == 0) {
            silent += 1;
            println!("wrong or silent: {file:?} at {offset}: {found:#?} {messages:?}");
        } else if missing > 0 || failures > 0 {
            named += 1;
            println!(
                "{file:?} at {offset}, {met} reads failed: {missing} of {} entries gone, {failures} answers failed, named: {messages:?}",
                found.acknowledged
            );
        } else {
            whole += 1;
            println!("{file:?} at {offset}, {met} reads failed: nothing gone: {messages:?}");
        }
        disk.heal();
        rig.ledger = book.copy();
        rig.start_alone().unwrap();
        let found = rig.check(&what).unwrap();
        if !found.is_clean() {
            thrown_away += 1;
            println!("thrown away: {file:?} at {offset}: {found}: {:?}", found.faults);
        }
        rig.kill().unwrap();
    }
    println!(
        "{trials} trials: {whole} without any loss, {named} with one that was named ({worst} entries at most), {silent} wrong or silent, {refused} refused to start, {mute} without an answer, {thrown_away} threw away what could be read again"
    );
    assert_eq!((silent, refused, mute), (0, 0, 0), "seed {seed}");
    assert!(trials >= 8);
    drop(memory);
}

/// What people are told of the disk.
fn notices(rig: &Rig) -> anyhow::Result<String> {
    Ok(http::get(rig.port, "/api/v1/notifications")?.text())
}

fn until_told(rig: &mut Rig, text: &str, wanted: bool) {
    until("the notice on the disk", || {
        rig.alive()?;
        let told = notices(rig)?;
        anyhow::ensure!(told.contains(text) == wanted, "{told}");
        Ok(())
    })
    .unwrap();
}

/// After the disk is well again: all is written out, and there after a kill.
fn all_there(rig: &mut Rig, what: &str) {
    nothing_held(rig);
    until_told(rig, "The disk", false);
    rig.go_on(1.5).unwrap();
    println!("{:?}", said(&rig.kill().unwrap()));
    rig.start_alone().unwrap();
    let found = rig.check(&Check { from_ms: time() - KEPT_MS, ..Check::default() }).unwrap();
    clean(what, &found);
    assert!(found.acknowledged > 20);
    rig.stop().unwrap();
}

/// A megabyte a second under sixteen thousand series of a scrape each second and blocks of ten seconds; then a
/// twentieth of that.
#[test]
fn a_disk_of_a_megabyte_a_second() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = device(folder.path(), 512 << 20) else { return };
    let fleet = runtime.block_on(Fleet::start(if long() { 16 } else { 2 }, 2)).unwrap();
    let mut rig = Rig::new(folder.path(), &disk.at.join("data"), &SHORT_BLOCKS).unwrap();
    rig.plan.more = fleet.addresses();
    let memory = limited(&mut rig);
    rig.start().unwrap();
    rig.go_on(5.0).unwrap();
    let written = disk.done().written;
    disk.speed(Some(1_000_000));
    let (shares, began) = (Shares::begin(&rig), Instant::now());
    let (mut behind, mut held, mut told) = (0.0_f64, 0.0_f64, false);
    while began.elapsed() < Duration::from_secs(if long() { 240 } else { 6 }) {
        rig.go_on(1.0).unwrap();
        behind = behind.max(rig.metric("godwit_tsdb_wal_behind_seconds").unwrap());
        held = held.max(rig.metric("godwit_tsdb_wal_held_bytes").unwrap());
        told |= notices(&rig).unwrap().contains("The disk");
    }
    let share = shares.look(&rig);
    println!(
        "1 MB/s: {:.2} MB/s written, the log at most {behind:.1} s behind, {held} bytes held, told {told}",
        (disk.done().written - written) as f64 / 1e6 / began.elapsed().as_secs_f64()
    );
    disk.speed(Some(50_000));
    until_told(&mut rig, "The disk", true);
    println!("50 kB/s: {}", notices(&rig).unwrap());
    disk.speed(None);
    share.hold("1 MB/s");
    all_there(&mut rig, "1 MB/s, after kill -9");
    if let Some(memory) = memory {
        println!("peak memory {} MiB", memory.peak() >> 20);
    }
}

/// The device answers nothing, reads neither, for ten minutes.
#[test]
fn a_device_that_stands_still() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = device(folder.path(), 128 << 20) else { return };
    let mut rig = Rig::new(folder.path(), &disk.at.join("data"), &SHORT_BLOCKS).unwrap();
    let memory = limited(&mut rig);
    rig.start().unwrap();
    rig.go_on(5.0).unwrap();
    let shares = Shares::begin(&rig);
    let frozen = disk.freeze();
    let went = rig.go_on(if long() { 600.0 } else { 6.0 });
    let share = shares.look(&rig);
    until_told(&mut rig, "held in memory", true);
    println!("held: {} bytes", rig.metric("godwit_tsdb_wal_held_bytes").unwrap());
    let writes = rig.figures();
    drop(frozen);
    went.unwrap();
    share.hold("device stood still");
    println!("writes: {} taken, {} not now", writes.taken, writes.not_now);
    all_there(&mut rig, "device stood still, after kill -9");
    if let Some(memory) = memory {
        println!("peak memory {} MiB", memory.peak() >> 20);
    }
}
