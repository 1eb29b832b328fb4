//! A source behind an agent on a port of this machine, and what an agent does with those who should not ask.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use migrate::wire::{Agent, Key, RemoteDoor};
use migrate::{Door, Engine, Kept, LocalDoor, MigrateError};
use storage::{Appendable, CancelToken, SeriesRef};
use tempfile::TempDir;
use tsdb::Db;
use tsdb::disk::{Disk, MemDisk};

use crate::schedules::{MINUTE, all, labels, options};

pub(crate) fn door(disk: Arc<dyn Disk>, data: &str) -> LocalDoor {
    LocalDoor { disk, data: data.into(), pin: None }
}

/// An agent in a thread.
pub(crate) struct Served {
    address: SocketAddr,
    folder: Arc<TempDir>,
    door: RemoteDoor,
    cancel: CancelToken,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    pub(crate) fn start(disk: Arc<dyn Disk>, data: &str) -> Self {
        let folder = Arc::new(tempfile::tempdir().unwrap());
        Served::start_at(disk, data, folder, "127.0.0.1:0".parse().unwrap())
    }

    fn start_at(disk: Arc<dyn Disk>, data: &str, folder: Arc<TempDir>, address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let key_file = folder.path().join("key");
        let key = Key::read_or_make(&key_file).unwrap().0;
        // By itself it does nothing here: a schedule comes again from its seed.
        let agent =
            Agent::new(door(disk, data), &key, "vm-7".to_string()).unwrap().keeping_every(Duration::MAX);
        let cancel = CancelToken::default();
        let thread = std::thread::spawn({
            let cancel = cancel.clone();
            move || agent.serve(&listener, &cancel).unwrap()
        });
        let door = RemoteDoor::new(&address.to_string(), &key_file).unwrap();
        Served { address, folder, door, cancel, thread: Some(thread) }
    }

    pub(crate) fn door(&self) -> &RemoteDoor {
        &self.door
    }

    fn stop(&mut self) {
        self.cancel.cancel();
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(crate) fn source(disk: &MemDisk) -> Db {
    let db = Db::open(options(Arc::new(disk.clone()), "/source", 0, 7)).unwrap();
    for scrape in 0..200_i64 {
        let mut app = db.appender();
        for n in 0..9 {
            let t = 1_700_000_000_000 + scrape * 10_000;
            app.append(SeriesRef::NONE, &labels(n), 0, t, scrape as f64).unwrap();
        }
        app.commit().unwrap();
        if scrape % 50 == 49 {
            db.maintain().unwrap();
        }
    }
    db
}

#[test]
fn an_agent_that_comes_and_goes_costs_time_and_no_sample() {
    let disk = MemDisk::new();
    let source = source(&disk);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let far: Arc<dyn Disk> = Arc::new(MemDisk::new());
    let mut served = Served::start(Arc::clone(&shared), "/source");
    let ours = Db::open(options(Arc::clone(&far), "/ours", 0, 8)).unwrap();
    let never = CancelToken::default();
    {
        let engine =
            Engine::open(ours.clone(), (Arc::clone(&far), Path::new("/ours")), served.door()).unwrap();
        engine.run_once(&never).unwrap();
        assert_eq!(all(&source).unwrap(), all(&ours).unwrap());
        assert!(engine.verify(&never, |_, _| ()).unwrap().is_equal());
        // Nobody answers: an error that says who, and the next try goes on.
        served.stop();
        let error = engine.run_once(&never).unwrap_err().to_string();
        assert!(error.contains(&served.address.to_string()), "{error}");
    }
    let (folder, address) = (Arc::clone(&served.folder), served.address);
    served = Served::start_at(shared, "/source", folder, address);
    let mut app = source.appender();
    app.append(SeriesRef::NONE, &labels(3), 0, 1_700_000_000_000 + 90 * MINUTE, 3.0).unwrap();
    app.commit().unwrap();
    let engine = Engine::open(ours.clone(), (far, Path::new("/ours")), served.door()).unwrap();
    engine.run_once(&never).unwrap();
    assert_eq!(all(&source).unwrap(), all(&ours).unwrap());
    engine.release().unwrap();
    assert!(!disk.exists("/source/godwit-pin".as_ref()).unwrap());
    // What is released is not pinned again by a question.
    let error =
        served.door().open(None, false).and_then(|s| s.release().and_then(|()| s.follow())).unwrap_err();
    assert!(
        matches!(error, MigrateError::Agent { .. }) && error.to_string().contains("not pinned"),
        "{error}"
    );
}

#[test]
fn who_has_no_key_gets_nothing() {
    let disk = MemDisk::new();
    let _source = source(&disk);
    let shared: Arc<dyn Disk> = Arc::new(disk);
    let served = Served::start(Arc::clone(&shared), "/source");
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let other = folder.path().join("key");
    Key::read_or_make(&other).unwrap();
    let stranger = RemoteDoor::new(&served.address.to_string(), &other).unwrap();
    let error = stranger.open(None, false).unwrap_err();
    assert!(matches!(error, MigrateError::Agent { .. }), "{error}");
    // The other way round: a destination does not believe who has another key.
    let impostor = Served::start_at(shared, "/source", folder, "127.0.0.1:0".parse().unwrap());
    let door = RemoteDoor::new(&impostor.address.to_string(), &served.folder.path().join("key")).unwrap();
    assert!(door.open(None, false).is_err());
    // Bytes that are no TLS, a connection that says nothing: closed, and nobody else is kept waiting.
    let _silent = TcpStream::connect(served.address).unwrap();
    for junk in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 300], &[22, 3, 1, 0xff, 0xff, 1, 0, 0, 0]] {
        let mut line = TcpStream::connect(served.address).unwrap();
        line.write_all(junk).unwrap();
        line.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = line.read_to_end(&mut Vec::new());
    }
    assert_eq!(served.door().open(None, false).unwrap().blocks_in(Kept::Pinned).unwrap().len(), 4);
}

#[test]
fn nothing_outside_of_the_source_is_read_and_nothing_is_written() {
    let disk = MemDisk::new();
    let _source = source(&disk);
    disk.open_write("/secret".as_ref(), tsdb::disk::WriteMode::Truncate).unwrap().append(b"no").unwrap();
    let served = Served::start(Arc::new(disk.clone()), "/source");
    let source = served.door().open(None, false).unwrap();
    let files = source.disk();
    let wal = files.list(&source.log_dir(migrate::PinnedLog::Wal)).unwrap();
    assert!(!wal.is_empty());
    for path in [
        "data/../../secret",
        "/secret",
        "data//../secret",
        "secret",
        "",
        "pin/../..",
        "data/wal/../../../secret",
    ] {
        let path = served.door().name().join(path);
        assert!(files.size(&path).is_err() && files.list(&path).is_err(), "{}", path.display());
    }
    let path = source.log_dir(migrate::PinnedLog::Wal).join(&wal.iter().find(|e| !e.is_dir).unwrap().name);
    assert!(files.remove_file(&path).is_err() && files.rename(&path, &path).is_err());
    assert!(source.describe("../secret").is_err());
    // Beyond the end there is nothing, and a piece is what it is.
    let (mut piece, size) = (Vec::new(), files.size(&path).unwrap());
    let hash = source.piece(&path, 0, 1 << 20, &mut piece).unwrap();
    assert_eq!((piece.len() as u64, blake3::hash(&piece)), (size, hash));
    source.piece(&path, u64::MAX, 100, &mut piece).unwrap();
    assert!(piece.is_empty());
}
