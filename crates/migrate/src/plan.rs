//! A plan: what would stand in the way of a migration, what to do about it, and how long it would take. Changes nothing.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;
use tsdb::disk::Mount;

use crate::error::MigrateError;
use crate::look::Facts;
use crate::source::{Door, Machine};

/// Read of the source to see how fast that goes.
const PROBE_BYTES: u64 = 64 << 20;
/// Less than this says nothing.
const PROBE_BYTES_MIN: u64 = 4 << 20;
const PROBE_PIECE_BYTES: usize = 4 << 20;
/// Above this part of what comes, room has to be left for what the destination compacts: the newest blocks are merged
/// into one beside them.
const HEADROOM_PERCENT: u64 = 10;
/// Below this part of the source's file system compactions there may fill it up while links keep what they remove.
const SOURCE_FREE_PERCENT: u64 = 5;
/// Beyond this a switch is refused.
const SKEW_MS_MAX: i64 = 500;
/// Beyond this clocks are not kept by anything.
const SKEW_MS_USUAL: i64 = 100;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It will do; better mend it.
    Warning,
    /// The migration would fail.
    Refused,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// How it ended.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do; empty where nothing is.
    pub remedy: String,
}

/// All that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The source.
    pub source: Facts,
    /// In the order of their weight for an operator: what refuses is not first by itself.
    pub checks: Vec<Check>,
    /// Bytes that will be copied.
    pub bytes: u64,
    /// How fast the source could be read, in bytes a second; 0 where it has too little to say so.
    pub bytes_per_second: u64,
    /// How long copies will take by that, in seconds, at least.
    pub seconds: u64,
}

impl Plan {
    /// Whether nothing refuses.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        self.checks.iter().all(|c| c.verdict != Verdict::Refused)
    }
}

/// The destination, as far as a plan looks at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Room {
    free_bytes: u64,
    fs_type: String,
    fs_remote: bool,
}

/// Makes a plan for what is behind `door`, to come into the data folder `data`. `bwlimit`: as it would be given.
///
/// # Errors
/// The source cannot be looked at: no agent, no data folder.
pub fn plan(door: &dyn Door, data: &Path, bwlimit: u64) -> Result<Plan, MigrateError> {
    let (facts, machine) = door.look()?;
    let stat = rustix::fs::statvfs(data)
        .map_err(|e| MigrateError::NoSource { path: data.to_path_buf(), why: e.to_string() })?;
    let mount = Mount::of(data);
    let room = Room {
        free_bytes: stat.f_bavail.saturating_mul(stat.f_frsize),
        fs_type: mount.as_ref().map_or_else(|| "unknown".into(), |m| m.fs_type.clone()),
        fs_remote: mount.is_some_and(|m| m.is_remote()),
    };
    let rate = match &facts.largest {
        Some(path) if facts.unreadable.is_empty() => probe(door, path)?,
        _ => 0,
    };
    let rate = if bwlimit > 0 { rate.min(bwlimit) } else { rate };
    Ok(Plan {
        checks: checks(&facts, machine.as_ref(), &room),
        bytes: facts.block_bytes,
        bytes_per_second: rate,
        seconds: facts.block_bytes.checked_div(rate).unwrap_or(0),
        source: facts,
    })
}

fn probe(door: &dyn Door, path: &Path) -> Result<u64, MigrateError> {
    let (mut at, mut bytes) = (0, Vec::new());
    let begun = Instant::now();
    while at < PROBE_BYTES {
        door.read(path, at, PROBE_PIECE_BYTES, &mut bytes)?;
        if bytes.is_empty() {
            break;
        }
        at += bytes.len() as u64;
    }
    if at < PROBE_BYTES_MIN {
        return Ok(0);
    }
    let seconds = begun.elapsed().max(Duration::from_micros(1)).as_secs_f64();
    Ok((at as f64 / seconds) as u64)
}

/// What speaks for and against it. Pure.
fn checks(facts: &Facts, machine: Option<&Machine>, room: &Room) -> Vec<Check> {
    let mut all = Vec::new();
    let mut add = |name, verdict, found: String, remedy: &str| {
        let remedy = if verdict == Verdict::Ok { String::new() } else { remedy.to_string() };
        all.push(Check { name, verdict, found, remedy });
    };
    let either = |bad, verdict| if bad { verdict } else { Verdict::Ok };
    add(
        "running",
        either(!facts.running, Verdict::Warning),
        format!(
            "{} {}",
            facts.data.display(),
            if facts.running { "is in use" } else { "is in nobody's use" }
        ),
        "if its Prometheus runs, the folder is another one; if it was stopped, all of it comes, and nothing is followed",
    );
    let (uid, gid) = facts.owner;
    add(
        "owner",
        either(!facts.can_link, Verdict::Refused),
        format!("owned by {uid}:{gid}, read as {}:{}", facts.reader.0, facts.reader.1),
        &format!(
            "run the agent, or the server where there is none, as the owner: for instance with setpriv --reuid={uid} --regid={gid} --clear-groups"
        ),
    );
    add(
        "files",
        either(!facts.unreadable.is_empty(), Verdict::Refused),
        match facts.unreadable.is_empty() {
            true => format!("{} blocks can be read", facts.blocks),
            false => facts.unreadable.join("; "),
        },
        "give their owner to the data's, or remove what is damaged: godwit doctor looks closer",
    );
    add(
        "encodings",
        either(!facts.unknown.is_empty(), Verdict::Refused),
        if facts.unknown.is_empty() { "all are known".into() } else { facts.unknown.join("; ") },
        "a newer Prometheus wrote them: use a newer godwit",
    );
    let network = "locks and fsync depend on its server; use a local disk or a block volume";
    add("source's disk", either(facts.fs_remote, Verdict::Warning), facts.fs_type.clone(), network);
    let tight = facts.free_bytes < facts.total_bytes / 100 * SOURCE_FREE_PERCENT;
    add(
        "source's room",
        either(tight, Verdict::Warning),
        format!("{} of {} bytes free", facts.free_bytes, facts.total_bytes),
        "links keep what compaction and retention remove until the migration is released: make room, or be quick",
    );
    add("own disk", either(room.fs_remote, Verdict::Warning), room.fs_type.clone(), network);
    let wanted = facts.block_bytes + facts.log_bytes;
    let wanted = wanted.saturating_add(wanted / 100 * HEADROOM_PERCENT);
    add(
        "own room",
        either(room.free_bytes < wanted, Verdict::Refused),
        format!("{} bytes free, {wanted} wanted", room.free_bytes),
        &format!("a volume with {} bytes more", wanted.saturating_sub(room.free_bytes)),
    );
    if let Some(machine) = machine {
        let ahead = machine.ahead_ms;
        let verdict = match ahead.abs() {
            SKEW_MS_MAX.. => Verdict::Refused,
            SKEW_MS_USUAL.. => Verdict::Warning,
            _ => Verdict::Ok,
        };
        let found = format!("{} is {ahead} ms ahead", machine.host);
        add("clocks", verdict, found, "set both machines' clocks by NTP: samples get their times from them");
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> (Facts, Room) {
        let facts = Facts {
            can_link: true,
            running: true,
            free_bytes: 50,
            total_bytes: 100,
            blocks: 3,
            block_bytes: 1000,
            log_bytes: 100,
            ..Facts::default()
        };
        (facts, Room { free_bytes: 1210, ..Room::default() })
    }

    fn verdict(facts: &Facts, ahead_ms: i64, room: &Room, name: &str) -> (Verdict, bool) {
        let machine = Machine { host: "vm".into(), ahead_ms };
        let all = checks(facts, Some(&machine), room);
        let check = all.iter().find(|c| c.name == name).unwrap();
        (check.verdict, check.remedy.is_empty())
    }

    #[test]
    fn each_obstacle_is_found_with_its_remedy() {
        let (facts, room) = good();
        let all = checks(&facts, None, &room);
        assert!(all.iter().all(|c| c.verdict == Verdict::Ok && c.remedy.is_empty()), "{all:#?}");
        type Spoil = fn(&mut Facts, &mut Room, &mut i64);
        let cases: [(&str, Verdict, Spoil); 10] = [
            ("running", Verdict::Warning, |f, _, _| f.running = false),
            ("owner", Verdict::Refused, |f, _, _| f.can_link = false),
            ("files", Verdict::Refused, |f, _, _| f.unreadable = vec!["x".into()]),
            ("encodings", Verdict::Refused, |f, _, _| f.unknown = vec!["x".into()]),
            ("source's disk", Verdict::Warning, |f, _, _| f.fs_remote = true),
            ("source's room", Verdict::Warning, |f, _, _| f.free_bytes = 4),
            ("own disk", Verdict::Warning, |_, r, _| r.fs_remote = true),
            ("own room", Verdict::Refused, |_, r, _| r.free_bytes = 1209),
            ("clocks", Verdict::Warning, |_, _, ahead| *ahead = -150),
            ("clocks", Verdict::Refused, |_, _, ahead| *ahead = 900),
        ];
        for (name, wanted, spoil) in cases {
            let (mut facts, mut room) = good();
            let mut ahead = 3;
            spoil(&mut facts, &mut room, &mut ahead);
            assert_eq!(verdict(&facts, ahead, &room, name), (wanted, false), "{name}");
        }
    }
}
