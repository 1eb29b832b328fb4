//! Blocks come in pieces: what is there is not fetched again, and what is another block is not taken for this one.

use std::path::Path;
use std::sync::Arc;

use migrate::{Engine, MigrateError};
use storage::CancelToken;
use tsdb::Db;
use tsdb::disk::{Disk, FaultDisk, MemDisk, WriteMode, read_all};

use crate::schedules::{all, options};
use crate::served::{Served, door, source};

/// An engine whose log is read already: blocks are next.
fn engine(disk: &MemDisk, far: &Arc<dyn Disk>, db: &Db) -> Engine {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    Engine::open(db.clone(), (Arc::clone(far), Path::new("/ours")), &door(shared, "/source"))
        .unwrap()
        .in_pieces_of(100)
}

#[test]
fn a_copy_goes_on_where_it_was() {
    let disk = MemDisk::new();
    let theirs = source(&disk);
    let never = CancelToken::default();
    // How much there is.
    let far: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let ours = Db::open(options(Arc::clone(&far), "/ours", 0, 8)).unwrap();
    let whole = engine(&disk, &far, &ours);
    whole.run_once(&never).unwrap();
    let bytes = whole.progress().copied_bytes;
    assert!(bytes > 4_000, "{bytes}");
    drop(whole);
    // The disk is full again and again, each time a little later.
    let full = FaultDisk::new(1);
    let far: Arc<dyn Disk> = Arc::new(full.clone());
    let ours = Db::open(options(Arc::clone(&far), "/ours", 0, 8)).unwrap();
    let (mut copied, mut tries) = (0, 0);
    loop {
        let room = full.used() + 1_700;
        full.set_capacity(room);
        let engine = engine(&disk, &far, &ours);
        let done = engine.run_once(&never);
        copied += engine.progress().copied_bytes;
        match done {
            Ok(()) => break,
            Err(e) => assert!(tries < 200, "{room} bytes: {e}"),
        }
        tries += 1;
    }
    assert_eq!(all(&theirs).unwrap(), all(&ours).unwrap());
    // A try repeats three batches of 16 pieces at most.
    assert!(copied <= bytes + tries * 3 * 16 * 100, "{copied} bytes of {bytes} in {tries} tries");
    assert!(tries > 2, "{tries}");
    assert!(far.list("/ours/godwit-incoming".as_ref()).unwrap().is_empty());
}

#[test]
fn another_block_of_the_same_name_is_refused() {
    let disk = MemDisk::new();
    let _theirs = source(&disk);
    let far: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let ours = Db::open(options(Arc::clone(&far), "/ours", 0, 8)).unwrap();
    let block = disk.list("/source".as_ref()).unwrap().into_iter().find(|e| e.name.len() == 26).unwrap().name;
    for file in ["index", "chunks/000001", "meta.json", "tombstones"] {
        let (from, to) =
            (Path::new("/source").join(&block).join(file), Path::new("/ours").join(&block).join(file));
        let Ok(mut bytes) = read_all(&disk, &from, 1 << 20) else { continue };
        if file == "chunks/000001" {
            *bytes.last_mut().unwrap() ^= 1;
        }
        far.create_dir_all(to.parent().unwrap()).unwrap();
        far.open_write(&to, WriteMode::Truncate).unwrap().append(&bytes).unwrap();
    }
    let error = engine(&disk, &far, &ours).run_once(&CancelToken::default()).unwrap_err();
    assert!(
        matches!(&error, MigrateError::Differs { path, .. } if path.ends_with("chunks/000001")),
        "{error}"
    );
}

#[test]
fn a_cap_is_kept_and_can_be_lifted() {
    let disk = MemDisk::new();
    let theirs = source(&disk);
    let served = Served::start(Arc::new(disk), "/source");
    let far: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let ours = Db::open(options(Arc::clone(&far), "/ours", 0, 8)).unwrap();
    let engine = Engine::open(ours.clone(), (Arc::clone(&far), Path::new("/ours")), served.door()).unwrap();
    let engine = engine.in_pieces_of(100);
    // At a byte a second it would take hours.
    engine.cap(1).unwrap();
    let cancel = CancelToken::default();
    std::thread::scope(|scope| {
        let run = scope.spawn(|| engine.run_once(&cancel));
        while engine.progress().copied_bytes == 0 {
            std::thread::yield_now();
        }
        // The cap is what a later run has as well.
        let noted = migrate::State::read(&*far, Path::new("/ours")).unwrap().unwrap();
        assert_eq!((noted.bwlimit, engine.progress().bwlimit), (1, 1));
        assert!(engine.progress().copied_bytes < 1000 && !run.is_finished());
        engine.cap(0).unwrap();
        run.join().unwrap().unwrap();
    });
    assert_eq!(all(&theirs).unwrap(), all(&ours).unwrap());
}
