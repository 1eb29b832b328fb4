//! Files are damaged while nobody has them open; a start finds, names and mends it.

use std::collections::BTreeMap;

use model::Labels;
use tsdb::disk::Spoil;

use super::ledger::Hold;
use super::plan::Generation;
use super::world::{Outcome, World};

impl World {
    /// A bit flips somewhere; a start finds, names and mends it, and loses no more than what it was in.
    pub(super) fn damage(&mut self) -> Outcome {
        self.heal()?;
        self.close()?;
        if self.disk.is_off() || self.db.is_some() {
            return Ok(());
        }
        if self.plan.generation != Generation::First {
            return self.spoil();
        }
        let kind = ["/wal/", "/chunks_head/", "/chunks/", "/index", "/meta.json", "/tombstones"]
            [self.rng.below(6) as usize];
        let fits = |path: &str, _: u64| path.contains(kind) && !path.contains("damaged");
        let Some((path, at)) = self.disk.flip_bit(fits) else { return self.open() };
        self.note(format!("bit of {} flips at {at}", path.display()));
        self.disk.crash_after(u64::MAX >> 2);
        self.open()?;
        // One query may fail, and says why; upkeep mends what it can reach.
        let _ = self.read(i64::MIN, i64::MAX);
        self.maintain()?;
        let found = self.read(i64::MIN, i64::MAX)?;
        let mut lost: BTreeMap<Labels, Vec<i64>> = BTreeMap::new();
        let mut commits = std::collections::BTreeSet::new();
        for (labels, entries) in &self.ledger.series {
            for (t, e) in entries {
                if e.hold == Hold::Synced && !found.get(labels).is_some_and(|s| s.contains_key(t)) {
                    lost.entry(labels.clone()).or_default().push(*t);
                    commits.insert(e.commit);
                }
            }
        }
        let n: usize = lost.values().map(Vec::len).sum();
        let most = match kind {
            // All chunks are in the log as well, unless a power cut took that.
            "/chunks_head/"
                if self.disk.counts().damaged == 1
                    && !self.plan.full
                    && !self.plan.errors
                    && self.disk.counts().power_cuts == 0 =>
            {
                n == 0
            }
            // One record: of one commit, or the series that one commit made.
            "/wal/" => commits.len() <= 1 || lost.len() <= 45,
            "/chunks/" => lost.len() <= 1 && n <= 20 || n == 0,
            "/meta.json" | "/tombstones" => n == 0,
            // A part of the index may take the block with it.
            _ => true,
        };
        self.note(format!("{n} samples of {} series lost", lost.len()));
        if !most {
            return Err(format!(
                "a bit in {kind} cost {n} samples of {} series, {} commits",
                lost.len(),
                commits.len()
            ));
        }
        self.figures.damaged_samples += n as u64;
        self.ledger.compare(&found, (i64::MIN, i64::MAX), Hold::Never, true)?;
        self.ledger.settle(&found, Hold::Logged, true);
        let exemplars = self.read_exemplars()?;
        self.ledger.settle_exemplars(&exemplars, Hold::Logged);
        self.sync()
    }

    /// As [`World::damage`], of any file and in any way. What it may cost depends on the file: a bit as
    /// before, and no part of a block more than what that block has, no part of the head's files more than
    /// what the head has.
    fn spoil(&mut self) -> Outcome {
        let kind = [
            "/wal/0",
            "/wal/checkpoint",
            "godwit",
            "/wbl/",
            "/chunks_head/",
            "/chunks/",
            "/index",
            "/meta.json",
            "/tombstones",
            "/",
        ][self.rng.below(10) as usize];
        let how =
            [Spoil::Bit, Spoil::Bit, Spoil::Sector, Spoil::Cut, Spoil::Lost][self.rng.below(5) as usize];
        let fits =
            |path: &str| path.contains(kind) && !path.contains("damaged") && !path.contains("snapshots");
        let Some((path, at)) = self.disk.spoil(how, fits) else { return self.open() };
        let path = path.display().to_string();
        self.note(format!("{how:?} of {path} at {at}"));
        self.figures.event(match how {
            Spoil::Bit => "flipped bits",
            Spoil::Sector => "sectors of zeros",
            Spoil::Cut => "files cut short",
            Spoil::Lost => "files gone",
        });
        self.disk.crash_after(u64::MAX >> 2);
        self.open()?;
        // One query may fail, and says why; upkeep mends what it can reach.
        let _ = self.read(i64::MIN, i64::MAX);
        // A block that was set aside is told by each upkeep that still finds its remains.
        let _ = self.db()?.maintain();
        self.maintain()?;
        self.release();
        let found = self.read(i64::MIN, i64::MAX)?;
        let mut lost: BTreeMap<Labels, Vec<i64>> = BTreeMap::new();
        let mut commits = std::collections::BTreeSet::new();
        for (labels, entries) in &self.ledger.series {
            for (t, e) in entries.iter().filter(|(_, e)| e.deleted.is_none()) {
                if e.hold == Hold::Synced && !found.get(labels).is_some_and(|s| s.contains_key(t)) {
                    lost.entry(labels.clone()).or_default().push(*t);
                    commits.insert(e.commit);
                }
            }
        }
        let n: usize = lost.values().map(Vec::len).sum();
        let bit = how == Spoil::Bit;
        let allowed = match &*path {
            // Notes of ours.
            p if p.contains("godwit") || p.ends_with("/lock") => n == 0,
            p if p.ends_with("/meta.json") && how != Spoil::Lost || p.ends_with("/tombstones") => n == 0,
            // One record: of one commit, or the series that one commit made.
            p if p.contains("/wal/0") && bit => commits.len() <= 1 || lost.len() <= 45,
            // Chunks of late samples are longer than those of the head.
            p if p.contains("/chunks/") && bit => lost.len() <= 1 && n <= 130 || n == 0,
            // Of the index a list or a table can be made again from the rest; an entry costs its series.
            p if p.ends_with("/index") && bit => lost.len() <= 1,
            _ => true,
        };
        self.note(format!("{n} samples of {} series lost", lost.len()));
        if !allowed {
            return Err(format!(
                "{how:?} of {path} cost {n} samples of {} series, {} commits",
                lost.len(),
                commits.len()
            ));
        }
        self.figures.damaged_samples += n as u64;
        self.ledger.compare(&found, (i64::MIN, i64::MAX), Hold::Never, true)?;
        self.ledger.settle(&found, Hold::Logged, true);
        let exemplars = self.read_exemplars()?;
        self.ledger.settle_exemplars(&exemplars, Hold::Logged);
        self.sync()
    }
}
