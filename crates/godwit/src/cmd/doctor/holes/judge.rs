//! Which of the gaps of single series are holes of the folder, and what made them.

use serde_json::json;

use super::super::blocks::range_text;
use super::super::report::{Report, Status};
use super::Holes;

/// A stop of a server for an update is no hole that anybody has to be told of; nor are gaps that a query bridges.
const STOP_MS: i64 = 300_000;
/// Targets start and end within so much of each other.
const SLACK_MS_MIN: i64 = 15_000;
/// Holes that are told one by one; the rest is counted.
const TOLD_MAX: usize = 20;

/// A gap that several series have.
#[derive(Clone, Debug)]
struct Gap {
    from: i64,
    to: i64,
    interval: i64,
    groups: Vec<u32>,
    /// Not of one lone series.
    strong: bool,
}

impl Gap {
    fn slack(&self) -> i64 {
        self.interval.saturating_mul(2).max(SLACK_MS_MIN)
    }
    fn is_near(&self, other: &Gap) -> bool {
        let slack = self.slack().max(other.slack());
        self.from.abs_diff(other.from) <= slack.unsigned_abs()
            && self.to.abs_diff(other.to) <= slack.unsigned_abs()
    }
}

/// What made a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    /// Blocks before the log.
    Copied,
    /// Nothing in the place of a block.
    NoBlock,
    /// Within a block, or from one into the next.
    Stopped,
}

impl Holes {
    /// Says what was found.
    pub(in super::super) fn tell(mut self, report: &mut Report) {
        self.tracks.iter_mut().for_each(super::Track::finish);
        let lives = self.lives();
        let mut gaps = self.gaps_of_groups();
        gaps.sort_by_key(|g| (g.from, g.to));
        let mut clusters: Vec<Gap> = Vec::new();
        for gap in gaps {
            // Sorted: what is near begins at most a slack before.
            let near = clusters.iter_mut().rev().take(64).find(|c| c.is_near(&gap));
            match near {
                Some(c) => {
                    c.interval = c.interval.max(gap.interval);
                    (c.from, c.to) = (c.from.max(gap.from), c.to.min(gap.to));
                    c.strong |= gap.strong || c.groups != gap.groups;
                    c.groups.extend(gap.groups);
                }
                None => clusters.push(gap),
            }
        }
        let (mut told, mut away) = (Vec::new(), 0_usize);
        for mut hole in clusters {
            hole.groups.sort_unstable();
            hole.groups.dedup();
            let unknown = self.unread.iter().any(|u| u.0 < hole.to && u.1 > hole.from);
            let cause = self.cause(&hole);
            if unknown || !hole.strong || (cause == Cause::Stopped && hole.to - hole.from < STOP_MS) {
                continue;
            }
            let lived =
                lives.iter().flatten().filter(|(first, last)| *first <= hole.from && *last >= hole.to);
            let lived = lived.count().max(hole.groups.len());
            if hole.groups.len() * 2 > lived {
                told.push((hole, cause, lived));
            } else {
                away += 1;
            }
        }
        for (hole, cause, lived) in told.iter().take(TOLD_MAX) {
            self.tell_one(hole, *cause, *lived, report);
        }
        if told.len() > TOLD_MAX {
            let more = told.len() - TOLD_MAX;
            let worst = if told.iter().skip(TOLD_MAX).any(|(_, c, _)| *c != Cause::Stopped) {
                Status::Bad
            } else {
                Status::Warning
            };
            report.hole(worst, format!("{more} more holes"), "as above".into(), json!({ "more": more }));
        }
        let bare = self.gaps_of_blocks(&told);
        for (from, to) in bare.iter().take(TOLD_MAX) {
            let what = format!("no block has samples of {}", range_text(*from, *to));
            report.hole(
                Status::Warning,
                what,
                "where a server wrote then, its blocks are missing: bring them from a copy (godwit tsdb import)".into(),
                json!({ "fromMs": from, "toMs": to, "series": null, "cause": "no block" }),
            );
        }
        if told.is_empty() && bare.is_empty() && !self.tracks.is_empty() {
            let targets = self.groups.len();
            let away = match away {
                0 => String::new(),
                n => format!(
                    "; {n} times some targets were away while others went on, as when they are removed and come back"
                ),
            };
            let unread = if self.unread.is_empty() { "" } else { " in what was read" };
            report.ok("holes", format!("none{unread}: samples of {targets} jobs and instances go on{away}"));
        }
    }

    /// First and last sample of each group.
    fn lives(&self) -> Vec<Option<(i64, i64)>> {
        let mut lives: Vec<Option<(i64, i64)>> = vec![None; self.groups.len()];
        for track in &self.tracks {
            let (Some(life), Some(of)) = (track.life(), lives.get_mut(track.group as usize)) else {
                continue;
            };
            *of = Some(of.map_or(life, |o| (o.0.min(life.0), o.1.max(life.1))));
        }
        lives
    }

    /// Gaps that at least half of a group's series have, of those that are there before and behind.
    fn gaps_of_groups(&self) -> Vec<Gap> {
        let mut of: Vec<Vec<&super::Track>> = vec![Vec::new(); self.groups.len()];
        for track in &self.tracks {
            if let Some(of) = of.get_mut(track.group as usize) {
                of.push(track);
            }
        }
        let mut gaps = Vec::new();
        for (group, tracks) in of.iter().enumerate() {
            let scraped = tracks.iter().any(|t| t.up && t.life().is_some());
            let mut mine: Vec<Gap> = Vec::new();
            for track in tracks.iter().filter(|t| t.up || !scraped) {
                for (from, to) in track.gaps() {
                    let gap = Gap {
                        from,
                        to,
                        interval: track.interval_ms(),
                        groups: vec![group as u32],
                        strong: false,
                    };
                    if mine.iter().any(|g| g.is_near(&gap)) {
                        continue;
                    }
                    let others = tracks.iter().filter_map(|t| t.shares((from, to)));
                    let (alive, sharing) =
                        others.fold((0, 0), |(a, s), shares| (a + 1, s + usize::from(shares)));
                    if sharing * 2 >= alive {
                        mine.push(Gap { strong: track.up || sharing > 1, ..gap });
                    }
                }
            }
            gaps.extend(mine);
        }
        gaps
    }

    fn cause(&self, hole: &Gap) -> Cause {
        let near = hole.interval.saturating_mul(2);
        let at_end = self.blocks.iter().any(|b| b.1 > hole.from && b.1 - hole.from <= near.max(1));
        if !at_end {
            return Cause::Stopped;
        }
        let behind = self.blocks.iter().any(|b| b.0 > hole.from && b.0 <= hole.to.saturating_add(near));
        // A block that goes on over the hole has nothing of it to miss.
        let over = self.blocks.iter().any(|b| b.0 <= hole.from && b.1 >= hole.to);
        match (over, behind) {
            (true, _) => Cause::Stopped,
            (false, true) => Cause::NoBlock,
            (false, false) => Cause::Copied,
        }
    }

    fn tell_one(&self, hole: &Gap, cause: Cause, lived: usize, report: &mut Report) {
        let series: u64 =
            hole.groups.iter().filter_map(|g| self.groups.get(*g as usize)).map(|g| g.series).sum();
        let names: Vec<&str> = hole
            .groups
            .iter()
            .take(3)
            .filter_map(|g| self.groups.get(*g as usize))
            .map(|g| &*g.name)
            .collect();
        let (status, word, text, remedy) = match cause {
            Cause::Copied => (
                Status::Bad,
                "copied while running",
                "the blocks end where it begins and the log begins where it ends: the folder was copied while its server ran, blocks before the log, and what was compacted meanwhile is in neither",
                "while the source is there, take it over with godwit migrate run, which takes the log first; from a copy that has this time: godwit tsdb import",
            ),
            Cause::NoBlock => (
                Status::Bad,
                "no block",
                "one block ends where it begins and the next begins where it ends: a block is missing, or the folder was once copied while its server ran, blocks before the log",
                "bring the blocks of this time from a copy, or from the source while it is there: godwit tsdb import",
            ),
            Cause::Stopped => (
                Status::Warning,
                "stopped",
                "no server wrote then: it was stopped, or had no targets",
                "nothing, if you know of it; else compare with a copy of this time",
            ),
        };
        let what = format!(
            "no samples of about {series} series from {} ({}), {} of {lived} jobs and instances, as {}; {text}",
            range_text(hole.from, hole.to),
            model::duration::format(std::time::Duration::from_millis(hole.to.abs_diff(hole.from))),
            hole.groups.len(),
            names.join(", "),
        );
        let detail = json!({
            "fromMs": hole.from, "toMs": hole.to, "series": series, "targets": hole.groups.len(),
            "targetsAlive": lived, "cause": word,
        });
        report.hole(status, what, remedy.to_string(), detail);
    }

    /// Times that neither a block nor the log has, and no hole tells of.
    fn gaps_of_blocks(&self, told: &[(Gap, Cause, usize)]) -> Vec<(i64, i64)> {
        let mut all: Vec<(i64, i64)> = self.blocks.iter().chain(&self.log).copied().collect();
        all.sort_unstable();
        let mut gaps = Vec::new();
        let mut end = all.first().map_or(i64::MAX, |a| a.1);
        for (from, to) in all {
            let known = |u: &(i64, i64)| u.0 < from && u.1 > end && u.1 == i64::MAX;
            let hole = told.iter().any(|(h, _, _)| h.from < from && h.to > end);
            if from.saturating_sub(end) > STOP_MS && !hole && !self.unread.iter().any(known) {
                gaps.push((end, from));
            }
            end = end.max(to);
        }
        gaps
    }
}
