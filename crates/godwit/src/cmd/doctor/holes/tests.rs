//! Folders with holes cut on purpose, and folders with all that happens to an intact one. From printed seeds.

use std::path::Path;
use std::sync::Arc;

use model::Labels;
use storage::{Appendable as _, SeriesRef};
use tsdb::block::{Backfill, BlockMeta};
use tsdb::disk::{Disk, RealDisk, Rng};
use tsdb::{Db, DbOptions};

use super::super::report::{Finding, Report, Status};

const HOUR: i64 = 3_600_000;
const INTERVAL: i64 = 15_000;
/// 2026-11-02T00:00:00Z: blocks begin at even hours.
const BEGIN: i64 = 1_793_577_600_000;
const BLOCKS: i64 = 6;

struct World {
    rng: Rng,
    /// Whether the server takes a sample.
    lost: Vec<(i64, i64)>,
    /// The log alone has lost it.
    lost_of_log: (i64, i64),
}

impl World {
    fn new(seed: u64) -> Self {
        World { rng: Rng::new(seed), lost: Vec::new(), lost_of_log: (0, 0) }
    }

    fn end_of_blocks() -> i64 {
        BEGIN + BLOCKS * 2 * HOUR
    }

    /// Every sample: a target's series together, each target at its own phase. Targets go down (`up` says so), start
    /// anew, are removed, come back.
    fn samples(&mut self) -> Vec<(Labels, i64, f64)> {
        let mut all = Vec::new();
        let end = World::end_of_blocks() + 4 * HOUR;
        for target in 0..6 {
            let phase = self.rng.below(INTERVAL as u64) as i64;
            let down = BEGIN + self.rng.below(14 * HOUR as u64) as i64;
            // One in the middle of its life, one that ends early, one that begins late.
            let (mut born, mut dies) = (BEGIN, end);
            let removed = if target == 3 { (down, down + HOUR) } else { (0, 0) };
            match target {
                1 => dies = BEGIN + 5 * HOUR,
                2 => born = BEGIN + 9 * HOUR,
                _ => {}
            }
            let instance = format!("host-{target}:9100");
            let of = |name: &str, i: i64| {
                Labels::from_pairs([
                    ("__name__", name),
                    ("i", &i.to_string()),
                    ("instance", &instance),
                    ("job", "node"),
                ])
            };
            let names: Vec<Labels> = (0..10).map(|i| of("m", i)).collect();
            let up = of("up", 0);
            let mut t = born + phase;
            while t < dies {
                let lost = self.lost.iter().any(|l| t >= l.0 && t < l.1);
                let away = t >= removed.0 && t < removed.1;
                if !lost && !away {
                    let is_down = t >= down && t < down + HOUR / 2;
                    all.push((up.clone(), t, f64::from(u8::from(!is_down))));
                    if !is_down {
                        all.extend(names.iter().map(|labels| (labels.clone(), t, t as f64)));
                    }
                }
                t += INTERVAL;
            }
        }
        all
    }

    fn write(&mut self, folder: &Path) {
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let mut fill = Backfill::new(2 * HOUR);
        let samples = self.samples();
        let (old, new): (Vec<_>, Vec<_>) = samples.into_iter().partition(|s| s.1 < World::end_of_blocks());
        for (labels, t, v) in &old {
            fill.add(labels, *t, *v);
        }
        let mut metas = Vec::new();
        fill.write(&disk, folder, |m| metas.push(m.clone())).unwrap();
        for mut meta in metas {
            // A head's block begins with its first sample and ends where its range does.
            let dir = folder.join(meta.ulid.to_string());
            meta.maxt_ms = (meta.mint_ms.div_euclid(2 * HOUR) + 1) * 2 * HOUR;
            meta.write(&*disk, &dir).unwrap();
        }
        let mut options = DbOptions::new(folder);
        options.min_block_ms = 2 * HOUR;
        let db = Db::open(options).unwrap();
        let mut app = db.appender();
        for (labels, t, v) in new {
            if t < self.lost_of_log.0 || t >= self.lost_of_log.1 {
                app.append(SeriesRef::NONE, &labels, 0, t, v).unwrap();
            }
        }
        app.commit().unwrap();
        db.sync().unwrap();
    }
}

fn holes(folder: &Path) -> (Report, Vec<Finding>) {
    let mut report = Report::default();
    super::super::blocks::examine(folder, true, &mut report, &mut |_| ());
    let holes = report.findings.iter().filter(|f| f.subject == "hole").cloned().collect();
    (report, holes)
}

/// One hole there, so wide, of that cause.
fn only(folder: &Path, (from, to): (i64, i64), cause: &str, status: Status, seed: u64) {
    let (report, holes) = holes(folder);
    let text = report.to_text();
    let [hole] = &*holes else { panic!("seed {seed}: {text}") };
    let detail = hole.detail.clone().unwrap();
    let near = |name: &str, wanted: i64| (detail[name].as_i64().unwrap() - wanted).abs() <= 2 * INTERVAL;
    assert!(near("fromMs", from) && near("toMs", to), "seed {seed}: {from} to {to}: {text}");
    assert_eq!(detail["cause"], cause, "seed {seed}: {text}");
    assert!(detail["series"].as_u64().unwrap() >= 33, "seed {seed}: {text}");
    assert_eq!(hole.status, status, "seed {seed}: {text}");
    assert_eq!(report.is_bad(), status == Status::Bad, "seed {seed}: {text}");
}

fn seeds() -> std::ops::Range<u64> {
    let many = std::env::var("GODWIT_HOLES_SEEDS").ok().and_then(|n| n.parse().ok());
    0..many.unwrap_or(3)
}

#[test]
fn an_intact_folder_has_none() {
    for seed in seeds() {
        let folder = tempfile::tempdir().unwrap();
        let mut world = World::new(seed);
        // An update of the server.
        let stop = BEGIN + world.rng.below(15 * HOUR as u64) as i64;
        world.lost = vec![(stop, stop + 150_000)];
        world.write(folder.path());
        let (report, holes) = holes(folder.path());
        assert!(holes.is_empty() && !report.is_bad(), "seed {seed}: {}", report.to_text());
        let told = report.findings.iter().find(|f| f.subject == "holes").unwrap();
        assert!(told.what.starts_with("none: samples of 6 jobs"), "seed {seed}: {}", told.what);
        assert!(told.what.contains("away"), "seed {seed}: {}", told.what);
    }
}

#[test]
fn a_copy_with_the_blocks_first_is_found() {
    for seed in seeds() {
        let folder = tempfile::tempdir().unwrap();
        let mut world = World::new(seed);
        let end = World::end_of_blocks();
        let lost = (end, end + 600_000 + world.rng.below(2 * HOUR as u64) as i64);
        world.lost_of_log = lost;
        world.write(folder.path());
        only(folder.path(), lost, "copied while running", Status::Bad, seed);
    }
}

#[test]
fn a_missing_block_is_found() {
    for seed in seeds() {
        let folder = tempfile::tempdir().unwrap();
        let mut world = World::new(seed);
        world.write(folder.path());
        let mut metas: Vec<BlockMeta> = std::fs::read_dir(folder.path())
            .unwrap()
            .filter_map(|e| BlockMeta::read(&RealDisk, &e.unwrap().path()).ok())
            .collect();
        metas.sort_by_key(|m| m.mint_ms);
        let gone = &metas[1 + world.rng.below(BLOCKS as u64 - 2) as usize];
        let dir = folder.path().join(gone.ulid.to_string());
        std::fs::remove_dir_all(&dir).unwrap();
        only(folder.path(), (gone.maxt_ms - 2 * HOUR, gone.maxt_ms), "no block", Status::Bad, seed);
    }
}

#[test]
fn a_stopped_server_is_told_apart() {
    for seed in seeds() {
        let folder = tempfile::tempdir().unwrap();
        let mut world = World::new(seed);
        // Not at a block's end, which the other holes begin with.
        let from = BEGIN + world.rng.below(6) as i64 * 2 * HOUR + 600_000 + world.rng.below(4_000_000) as i64;
        let lost = (from, from + 400_000 + world.rng.below(3 * HOUR as u64) as i64);
        world.lost = vec![lost];
        world.write(folder.path());
        only(folder.path(), lost, "stopped", Status::Warning, seed);
    }
}

#[test]
fn a_block_that_was_copied_in_part_is_bad_and_no_hole() {
    let folder = tempfile::tempdir().unwrap();
    World::new(1).write(folder.path());
    let mut dirs: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.join("meta.json").exists())
        .collect();
    dirs.sort();
    std::fs::remove_file(dirs[1].join("chunks/000001")).unwrap();
    let index = std::fs::File::options().write(true).open(dirs[2].join("index")).unwrap();
    index.set_len(index.metadata().unwrap().len() / 2).unwrap();
    std::fs::remove_file(dirs[3].join("meta.json")).unwrap();
    let (report, _) = holes(folder.path());
    let bad: Vec<&Finding> = report.findings.iter().filter(|f| f.subject == "block").collect();
    assert_eq!(bad.len(), 3, "{}", report.to_text());
}
