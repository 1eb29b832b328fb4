//! Files are damaged while nobody has them open; a start finds, names and mends it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use model::Labels;
use tsdb::block::{Block, BlockMeta};
use tsdb::disk::{Disk, Spoil};

use super::ledger::{Found, Hold};
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
        let (lost, commits) = self.lost(&found);
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
        self.ledger.deletes_in_doubt = true;
        self.settle_damage(&found, n)
    }

    /// What is there after damage is what there is.
    fn settle_damage(&mut self, found: &Found, lost: usize) -> Outcome {
        self.figures.damaged_samples += lost as u64;
        self.ledger.compare(found, (i64::MIN, i64::MAX), Hold::Never, true)?;
        self.ledger.settle(found, Hold::Logged, true, false);
        let exemplars = self.read_exemplars()?;
        self.ledger.settle_exemplars(&exemplars, Hold::Logged);
        self.sync()
    }

    /// Synced samples that are not there, and the steps that committed them.
    fn lost(&self, found: &Found) -> (BTreeMap<Labels, Vec<i64>>, BTreeSet<u64>) {
        let mut lost: BTreeMap<Labels, Vec<i64>> = BTreeMap::new();
        let mut commits = BTreeSet::new();
        for (labels, entries) in &self.ledger.series {
            for (t, e) in entries.iter().filter(|(_, e)| e.deleted.is_none()) {
                if e.hold == Hold::Synced && !found.get(labels).is_some_and(|s| s.contains_key(t)) {
                    lost.entry(labels.clone()).or_default().push(*t);
                    commits.insert(e.commit);
                }
            }
        }
        (lost, commits)
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
        let place = path;
        let path = place.display().to_string();
        self.note(format!("{how:?} of {path} at {at}"));
        self.figures.event(match how {
            Spoil::Bit => "flipped bits",
            Spoil::Sector => "sectors of zeros",
            Spoil::Cut => "files cut short",
            Spoil::Lost => "files gone",
        });
        self.disk.crash_after(u64::MAX >> 2);
        let reach = self.reach(&place, how, at);
        self.open()?;
        // One query may fail, and says why; upkeep mends what it can reach.
        let _ = self.read(i64::MIN, i64::MAX);
        // A block that was set aside is told by each upkeep that still finds its remains.
        let _ = self.db()?.maintain();
        self.maintain()?;
        self.release();
        let found = self.read(i64::MIN, i64::MAX)?;
        let (lost, commits) = self.lost(&found);
        let n: usize = lost.values().map(Vec::len).sum();
        let bit = how == Spoil::Bit;
        let allowed = match &*path {
            // Notes of ours.
            p if p.contains("godwit") || p.ends_with("/lock") => n == 0,
            p if p.ends_with("/meta.json") || p.ends_with("/tombstones") => n == 0,
            // All chunks are in the log as well, unless a power cut or a full disk took that, or other damage.
            p if p.contains("/chunks_head/")
                && self.disk.counts().damaged == 1
                && !self.plan.full
                && !self.plan.errors
                && self.disk.counts().power_cuts == 0 =>
            {
                n == 0
            }
            // One record: of one commit, or the series that one commit made.
            p if p.contains("/wal/0") && bit => commits.len() <= 1 || lost.len() <= 45,
            // Of the index a list or a table can be made again from the rest; an entry costs its series.
            p if p.ends_with("/index") && bit => lost.len() <= 1,
            _ => true,
        };
        let within = reach.is_none_or(|reach| lost.iter().all(|(l, ts)| ts.iter().all(|t| reach.has(l, *t))));
        // A log or a block's other files may say what is deleted, or its samples come from the log.
        let deletes_in_doubt = !(path.contains("/chunks_head/")
            || path.ends_with("/synced.godwit")
            || path.contains("/godwit_head/")
            || path.ends_with("/lock")
            // What is deleted of a block of which nothing is left is noted for the head.
            || path.contains("/chunks/")
            || path.ends_with("/index"));
        self.note(format!("{n} samples of {} series lost", lost.len()));
        if !allowed || !within {
            return Err(format!(
                "{how:?} of {path} cost {n} samples of {} series, {} commits",
                lost.len(),
                commits.len()
            ));
        }
        if !deletes_in_doubt {
            self.ledger.check_deleted(&found)?;
        }
        self.ledger.deletes_in_doubt |= deletes_in_doubt;
        self.settle_damage(&found, n)
    }

    /// What damage of a file of a block may take: chunks that it hit; of other files anything between the
    /// block's times. Asked before the block is mended.
    fn reach(&self, path: &Path, how: Spoil, at: u64) -> Option<Reach> {
        let file = path.file_name()?.to_str()?;
        let folder = path.parent()?;
        let of_chunks = folder.file_name()? == "chunks";
        let dir = if of_chunks { folder.parent()? } else { folder };
        ulid::Ulid::from_string(dir.file_name()?.to_str()?).ok()?;
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let meta = BlockMeta::read(&*disk, dir).ok()?;
        let within = Reach::Within(meta.mint_ms, meta.maxt_ms);
        let (true, Ok(number)) = (of_chunks, file.parse::<u32>()) else { return Some(within) };
        let block = Block::open(disk, dir).ok()?;
        let (from, to) = match how {
            Spoil::Bit => (at, at + 1),
            Spoil::Sector => (at, at + 512),
            Spoil::Cut => (at, u64::MAX),
            Spoil::Lost => (0, u64::MAX),
        };
        let mut chunks: Vec<(u64, Labels, i64, i64)> = Vec::new();
        for series in block.series().ok()? {
            let series = series.ok()?;
            let of_file = series.chunks.iter().filter(|c| c.chunk.segment() + 1 == number);
            chunks.extend(
                of_file.map(|c| (u64::from(c.chunk.offset()), series.labels.clone(), c.mint_ms, c.maxt_ms)),
            );
        }
        chunks.sort_by_key(|(offset, ..)| *offset);
        let ends: Vec<u64> = chunks.iter().skip(1).map(|(offset, ..)| *offset).chain([u64::MAX]).collect();
        let hit = chunks.into_iter().zip(ends).filter(|((begin, ..), end)| *begin < to && *end > from);
        Some(Reach::Chunks(hit.map(|((_, labels, mint, maxt), _)| (labels, mint, maxt)).collect()))
    }
}

/// What damage may take.
enum Reach {
    /// Samples from a time until before another.
    Within(i64, i64),
    /// These chunks: series, first and last time.
    Chunks(Vec<(Labels, i64, i64)>),
}

impl Reach {
    fn has(&self, labels: &Labels, t: i64) -> bool {
        match self {
            Reach::Within(mint, end) => (*mint..*end).contains(&t),
            Reach::Chunks(all) => {
                all.iter().any(|(l, mint, maxt)| l == labels && (*mint..=*maxt).contains(&t))
            }
        }
    }
}
