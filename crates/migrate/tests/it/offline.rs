//! Folders, snapshots and archives that nobody writes, into a store that runs and has younger data.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use migrate::{Engine, MigrateError, StillDoor};
use model::Matcher;
use storage::{Appendable, CancelToken, QueryContext, SeriesRef, StatusSource};
use tempfile::TempDir;
use tsdb::Db;
use tsdb::disk::{Disk, RealDisk};

use crate::schedules::{Found, all, labels, options};

const BEGIN: i64 = 1_700_000_000_000;

struct World {
    folder: TempDir,
    theirs: Found,
}

fn open(folder: &Path, seed: u64) -> Db {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let mut options = options(disk, folder.to_str().unwrap(), 3_600_000, seed);
    // Otherwise it waits for a clock that stands still.
    options.simulated = None;
    Db::open(options).unwrap()
}

/// Blocks, a log, late samples, deletions in both; a snapshot.
fn world() -> World {
    let folder = tempfile::tempdir().unwrap();
    let db = open(&folder.path().join("theirs"), 1);
    let put = |n: usize, t: i64, v: f64| {
        let mut app = db.appender();
        app.append(SeriesRef::NONE, &labels(n as _), 0, t, v).unwrap();
        app.commit().unwrap();
    };
    for scrape in 0..200_i64 {
        let mut app = db.appender();
        for n in 0..9 {
            app.append(SeriesRef::NONE, &labels(n), 0, BEGIN + scrape * 10_000, scrape as f64).unwrap();
        }
        app.commit().unwrap();
        if scrape % 50 == 49 {
            db.maintain().unwrap();
            put(3, BEGIN + scrape * 10_000 - 95_000, 7.5);
        }
    }
    let one = |n: usize| {
        labels(n as _).iter().map(|(name, value)| Matcher::equal(name, value)).collect::<Vec<Matcher>>()
    };
    let ctx = QueryContext::unlimited();
    db.delete_series(&ctx, BEGIN + 100_000, BEGIN + 300_000, &one(4)).unwrap();
    db.delete_series(&ctx, BEGIN + 1_900_000, BEGIN + 1_950_000, &one(5)).unwrap();
    StatusSource::snapshot(&db, true).unwrap();
    let theirs = all(&db).unwrap();
    db.sync().unwrap();
    drop(db);
    World { folder, theirs }
}

/// Overlaps with theirs, in blocks and in the head, and goes on behind it.
fn ours(folder: &Path) -> (Db, Found) {
    let db = open(&folder.join("ours"), 2);
    for scrape in 0..120_i64 {
        let mut app = db.appender();
        for n in 2..6 {
            let t = BEGIN + 1_203_000 + scrape * 10_000;
            app.append(SeriesRef::NONE, &labels(n), 0, t, -(scrape as f64)).unwrap();
        }
        app.commit().unwrap();
        if scrape % 40 == 39 {
            db.maintain().unwrap();
        }
    }
    let own = all(&db).unwrap();
    (db, own)
}

fn door(folder: &Path, source: PathBuf) -> StillDoor {
    StillDoor {
        disk: Arc::new(RealDisk),
        source,
        ours: folder.join("ours"),
        cancel: CancelToken::default(),
        unpacked: Arc::new(AtomicU64::new(0)),
    }
}

fn engine(folder: &Path, db: &Db, source: &Path) -> Result<Engine, MigrateError> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let ours = folder.join("ours");
    Engine::open(db.clone(), (disk, &ours), &door(folder, source.to_path_buf()))
}

/// Takes it, and has what both had, now, after a compaction, and after a restart.
fn taken(w: &World, source: &Path) {
    let folder = w.folder.path();
    let (db, own) = ours(folder);
    let mut wanted = own;
    wanted.extend(w.theirs.clone());
    let never = CancelToken::default();
    {
        let engine = engine(folder, &db, source).unwrap();
        engine.run_once(&never).unwrap();
        assert!(engine.progress().copied_bytes > 0);
        assert!(all(&db).unwrap() == wanted, "{}", source.display());
        let report = engine.verify(&never, |_, _| ()).unwrap();
        assert!(report.is_equal() && report.counts.samples > 1000, "{report:?}");
    }
    // Again: nothing is copied twice.
    let again = engine(folder, &db, source).unwrap();
    again.run_once(&never).unwrap();
    assert_eq!(again.progress().copied_bytes, 0);
    assert!(all(&db).unwrap() == wanted);
    again.release().unwrap();
    assert!(!folder.join("ours/godwit-unpacked").exists() && source.exists());
    db.maintain().unwrap();
    assert!(all(&db).unwrap() == wanted);
    drop(db);
    let db = open(&folder.join("ours"), 3);
    assert!(all(&db).unwrap() == wanted, "after a restart");
    drop(db);
    std::fs::remove_dir_all(folder.join("ours")).unwrap();
}

fn snapshot_of(w: &World) -> PathBuf {
    let all = w.folder.path().join("theirs/snapshots");
    std::fs::read_dir(all).unwrap().next().unwrap().unwrap().path()
}

/// All files of a data folder but its snapshots.
fn pack(from: &Path, prefix: &str, out: impl Write) {
    let mut tar = tar::Builder::new(out);
    let mut dirs = vec![PathBuf::new()];
    while let Some(dir) = dirs.pop() {
        for entry in std::fs::read_dir(from.join(&dir)).unwrap().flatten() {
            let name = dir.join(entry.file_name());
            if entry.path().is_dir() {
                if entry.file_name() != "snapshots" {
                    dirs.push(name);
                }
            } else {
                tar.append_path_with_name(entry.path(), Path::new(prefix).join(name)).unwrap();
            }
        }
    }
    tar.into_inner().unwrap().flush().unwrap();
}

#[test]
fn a_folder_a_snapshot_and_archives_come_whole() {
    let w = world();
    let folder = w.folder.path();
    let theirs = folder.join("theirs");
    taken(&w, &theirs);
    assert!(!StillDoor::fits(&theirs), "it may run");
    let snapshot = snapshot_of(&w);
    assert!(StillDoor::fits(&snapshot));
    taken(&w, &snapshot);
    let archive = |name: &str| (folder.join(name), File::create(folder.join(name)).unwrap());
    let (plain, out) = archive("a.tar");
    pack(&theirs, "", out);
    let (gz, out) = archive("a.tar.gz");
    pack(&theirs, "var/lib/prometheus", flate2::write::GzEncoder::new(out, flate2::Compression::fast()));
    let (zst, out) = archive("a.tar.zst");
    pack(&snapshot, "20261123T160000Z-0123456789abcdef", zstd::Encoder::new(out, 1).unwrap().auto_finish());
    for path in [plain, gz, zst] {
        assert!(StillDoor::fits(&path));
        taken(&w, &path);
    }
}

/// Nothing of ours is altered by what is refused.
fn refused(w: &World, source: &Path, why: &str) {
    let folder = w.folder.path();
    let (db, own) = ours(folder);
    let names = || {
        let all = std::fs::read_dir(folder.join("ours")).unwrap().flatten();
        all.filter(|e| e.file_name().len() == 26).count()
    };
    let before = names();
    let error = engine(folder, &db, source)
        .and_then(|engine| engine.run_once(&CancelToken::default()))
        .unwrap_err()
        .to_string();
    assert!(error.contains(why), "{error}");
    assert!(all(&db).unwrap() == own && names() == before, "{why}");
    drop(db);
    std::fs::remove_dir_all(folder.join("ours")).unwrap();
}

#[test]
fn what_is_no_whole_source_is_refused_and_nothing_of_ours_is_altered() {
    let w = world();
    let folder = w.folder.path();
    // A process runs on it.
    let theirs = folder.join("theirs");
    let lock = File::create(theirs.join("lock")).unwrap();
    lock.lock().unwrap();
    refused(&w, &theirs, "without --offline");
    drop(lock);
    std::fs::create_dir(folder.join("empty")).unwrap();
    refused(&w, &folder.join("empty"), "neither blocks nor");
    refused(&w, &folder.join("absent"), "absent");
    refused(&w, &folder.join("ours"), "own folder");
    let path = folder.join("x.tar");
    std::fs::write(&path, [7; 1000]).unwrap();
    refused(&w, &path, "no archive");
    // Cut off, at the end of what gzip checks and within.
    let mut whole = Vec::new();
    pack(&theirs, "d", flate2::write::GzEncoder::new(&mut whole, flate2::Compression::fast()));
    for len in [whole.len() / 2, whole.len() - 9] {
        std::fs::write(&path, &whole[..len]).unwrap();
        refused(&w, &path, "cut off or damaged");
    }
    let mut plain = Vec::new();
    pack(&theirs, "d", &mut plain);
    // Between two files, and within one.
    for len in [plain.len() - 1024, plain.len() / 2 / 512 * 512, plain.len() / 2] {
        std::fs::write(&path, &plain[..len]).unwrap();
        refused(&w, &path, "cut off or damaged");
    }
    // Names and kinds of entries that are no files of a data folder.
    let block = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
    let crafted = |name: &str, kind: tar::EntryType| {
        let mut header = tar::Header::new_gnu();
        let bytes = name.as_bytes();
        header.as_old_mut().name[..bytes.len()].copy_from_slice(bytes);
        header.set_entry_type(kind);
        header.set_size(0);
        header.set_link_name("/etc/passwd").unwrap();
        header.set_cksum();
        let mut tar = tar::Builder::new(File::create(&path).unwrap());
        tar.append(&header, &[][..]).unwrap();
        tar.finish().unwrap();
    };
    crafted(&format!("../../{block}/index"), tar::EntryType::Regular);
    refused(&w, &path, "leads out");
    crafted(&format!("{block}/index"), tar::EntryType::Symlink);
    refused(&w, &path, "no file but");
    crafted(&format!("{block}/index"), tar::EntryType::Link);
    refused(&w, &path, "link to another file");
    crafted("etc/passwd", tar::EntryType::Regular);
    refused(&w, &path, "neither blocks nor");
}

#[test]
fn damage_and_unknown_chunks_are_refused_before_a_block_is_copied() {
    let w = world();
    let snapshot = snapshot_of(&w);
    let mut blocks: Vec<PathBuf> =
        std::fs::read_dir(&snapshot).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_dir()).collect();
    blocks.sort();
    // Only one of them, so that it is the first that is read.
    for other in &blocks[1..] {
        std::fs::remove_dir_all(other).unwrap();
    }
    let file = blocks[0].join("chunks/000001");
    let good = std::fs::read(&file).unwrap();
    let mut bad = good.clone();
    bad[20] ^= 1;
    std::fs::remove_file(&file).unwrap();
    std::fs::write(&file, &bad).unwrap();
    refused(&w, &snapshot, "damaged");
    // A chunk of a kind of the future, with its right checksum.
    let mut new = good;
    let (at, len) = match new[8] {
        short if short < 0x80 => (9, usize::from(short)),
        low => (10, usize::from(low & 0x7f) | usize::from(new[9]) << 7),
    };
    new[at] = 99;
    let sum = crc32c::crc32c(&new[at..=at + len]).to_be_bytes();
    new[at + 1 + len..at + 5 + len].copy_from_slice(&sum);
    std::fs::write(&file, &new).unwrap();
    refused(&w, &snapshot, "encoding 99");
}
