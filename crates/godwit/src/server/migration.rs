//! The migration that this server is the destination of: begun over the API, gone on with after a restart, told of
//! while it runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use migrate::{Engine, MigrateError, Origin, Progress, Report, Stage, State, StillDoor, Unpacking};
use parking_lot::Mutex;
use serde_json::json;
use storage::CancelToken;
use tsdb::disk::{Disk, RealDisk};

use super::duty::{self, Workers};
use crate::late::LateDb;

/// After an error: long enough not to fill the log, short enough that a source that comes back is not waited for.
const TRY_AGAIN: Duration = Duration::from_secs(5);
/// From the order to the fence: longer than a sample takes to come by the log.
const LEAD_MS: i64 = 2_000;
/// How often a waiting thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(100);

/// The migration, if there is one. Cheap to clone.
#[derive(Clone)]
pub struct Migrations(Arc<Inner>);

struct Inner {
    late: LateDb,
    data: PathBuf,
    workers: Workers,
    running: Mutex<Option<Running>>,
}

struct Running {
    origin: Origin,
    engine: Arc<Mutex<Option<Arc<Engine>>>>,
    error: Arc<Mutex<Option<String>>>,
    cancel: CancelToken,
    thread: JoinHandle<()>,
    verification: Option<Verification>,
    /// Bytes of an archive that were unpacked.
    unpacked: Arc<AtomicU64>,
}

/// A comparison of both sides, under way or done.
struct Verification {
    seen: Arc<Mutex<Verified>>,
    thread: JoinHandle<()>,
}

/// How far it is.
#[derive(Default)]
struct Verified {
    /// Ranges that were compared, and all.
    ranges: (u64, u64),
    report: Option<Result<Report, String>>,
}

impl Migrations {
    /// For the store whose folder is `data`.
    #[must_use]
    pub fn new(late: LateDb, data: PathBuf, workers: Workers) -> Self {
        Migrations(Arc::new(Inner { late, data, workers, running: Mutex::new(None) }))
    }

    /// Goes on with the migration that the data folder tells of.
    pub fn resume(&self) {
        match State::read(&RealDisk, &self.0.data) {
            Ok(None) => {}
            Ok(Some(state)) if state.released => {}
            Ok(Some(state)) => {
                tracing::info!(source = %state.source.display(), "migration goes on");
                let mut running = self.0.running.lock();
                // A source that is not there yet is asked again.
                match self.start(Origin::of(&state), None) {
                    Ok(started) => *running = Some(started),
                    Err(error) => tracing::error!(error, "migration does not go on"),
                }
            }
            Err(error) => tracing::error!(%error, "migration does not go on"),
        }
    }

    /// Ends the thread; the migration goes on with the next start.
    pub fn stop(&self) {
        if let Some(running) = self.0.running.lock().take() {
            running.end();
        }
    }

    fn begin(&self, order: &web::MigrationOrder) -> Result<(), String> {
        let origin = origin_of(order);
        let mut running = self.0.running.lock();
        // Nothing of it comes by itself: what failed is tried when it is asked for.
        let failed = |r: &mut Running| r.origin == origin && origin.offline && r.error.lock().is_some();
        if let Some(failed) = running.take_if(failed) {
            failed.end();
        }
        if let Some(running) = &*running {
            if running.origin != origin {
                let source = running.origin.source.display();
                return Err(format!("a migration from {source} is under way; release it first"));
            }
            let engine = running.engine.lock().clone();
            return match (order.bwlimit, engine) {
                (None, _) => Ok(()),
                (Some(cap), Some(engine)) => engine.cap(cap).map_err(|e| e.to_string()),
                (Some(_), None) => Err("the migration is stopped by an error; see its status".to_string()),
            };
        }
        if origin.offline {
            if order.hold {
                return Err(
                    "a source that nobody writes has no duty to take over: leave --hold away".to_string()
                );
            }
            let unpacking = Unpacking { ours: self.0.data.clone(), ..Unpacking::default() };
            let door = origin.still_door(Arc::new(RealDisk), unpacking);
            door.check().map_err(|e| e.to_string())?;
            *running = Some(self.start_capped(origin, None, order.bwlimit)?);
            return Ok(());
        }
        // What is wrong with the source is said to who asks.
        let engine = self.open(&origin, &Unpacking::default()).map_err(|e| e.to_string())?;
        if let Some(cap) = order.bwlimit {
            engine.cap(cap).map_err(|e| e.to_string())?;
        }
        if order.hold || self.0.workers.are_held() {
            engine.hold().map_err(|e| e.to_string())?;
            self.0.workers.hold();
        }
        *running = Some(self.start(origin, Some(engine))?);
        Ok(())
    }

    fn start(&self, origin: Origin, engine: Option<Arc<Engine>>) -> Result<Running, String> {
        self.start_capped(origin, engine, None)
    }

    /// `cap`: for an engine that the thread opens.
    fn start_capped(
        &self,
        origin: Origin,
        engine: Option<Arc<Engine>>,
        cap: Option<u64>,
    ) -> Result<Running, String> {
        let (slot, error) = (Arc::new(Mutex::new(engine)), Arc::new(Mutex::new(None)));
        let cancel = CancelToken::default();
        let unpacked = Arc::new(AtomicU64::new(0));
        let work = {
            let unpacking =
                Unpacking { ours: self.0.data.clone(), cancel: cancel.clone(), bytes: Arc::clone(&unpacked) };
            let (this, origin) = (self.clone(), origin.clone());
            let (slot, error, cancel) = (Arc::clone(&slot), Arc::clone(&error), cancel.clone());
            move || this.follow((&origin, &unpacking, cap), &slot, &error, &cancel)
        };
        let thread =
            std::thread::Builder::new().name("migrate".into()).spawn(work).map_err(|e| e.to_string())?;
        Ok(Running { origin, engine: slot, error, cancel, thread, verification: None, unpacked })
    }

    fn open(&self, origin: &Origin, unpacking: &Unpacking) -> Result<Arc<Engine>, MigrateError> {
        let db = self.0.late.get().ok_or(storage::StorageError::NotReady)?.clone();
        let disk: Arc<dyn Disk> = Arc::new(RealDisk);
        let door = origin.door(Arc::clone(&disk), unpacking.clone())?;
        Engine::open(db, (disk, self.0.data.as_path()), &*door).map(Arc::new)
    }

    fn follow(
        &self,
        (origin, unpacking, cap): (&Origin, &Unpacking, Option<u64>),
        slot: &Mutex<Option<Arc<Engine>>>,
        told: &Mutex<Option<String>>,
        cancel: &CancelToken,
    ) {
        while !cancel.is_cancelled() {
            let engine = slot.lock().clone();
            let done = match engine {
                Some(engine) => engine.run(cancel),
                None => self.open(origin, unpacking).and_then(|engine| {
                    cap.map_or(Ok(()), |cap| engine.cap(cap))?;
                    *slot.lock() = Some(engine);
                    Ok(())
                }),
            };
            match done {
                Ok(()) => *told.lock() = None,
                Err(error) => {
                    // Opened again, it finds what has to be done anew.
                    *slot.lock() = None;
                    let text = error.to_string();
                    tracing::error!(error = text, again_in_s = TRY_AGAIN.as_secs(), "migration");
                    *told.lock() = Some(text);
                    let began = Instant::now();
                    // What nobody writes is the same in five seconds: it is tried when it is asked for again.
                    while (origin.offline || began.elapsed() < TRY_AGAIN) && !cancel.is_cancelled() {
                        std::thread::sleep(LOOK);
                    }
                }
            }
        }
    }
}

/// A file, or a folder without a log, can only be one that nobody writes.
fn origin_of(order: &web::MigrationOrder) -> Origin {
    let (source, key_file) = (order.source.clone(), order.key_file.clone());
    let offline = key_file.is_none() && (order.offline || StillDoor::fits(&source));
    Origin { source, key_file, offline }
}

impl Running {
    /// Gives the engine, if it is open.
    fn end(self) -> Option<Arc<Engine>> {
        self.cancel.cancel();
        if let Some(verification) = self.verification {
            let _ = verification.thread.join();
        }
        let _ = self.thread.join();
        self.engine.lock().take()
    }
}

impl web::Migrations for Migrations {
    fn run(&self, order: &web::MigrationOrder) -> Result<(), String> {
        self.begin(order)
    }

    fn plan(&self, order: &web::MigrationOrder) -> Result<String, String> {
        let unpacking = Unpacking { ours: self.0.data.clone(), ..Unpacking::default() };
        let door = origin_of(order).door(Arc::new(RealDisk), unpacking).map_err(|e| e.to_string())?;
        let plan =
            migrate::plan(&*door, &self.0.data, order.bwlimit.unwrap_or(0)).map_err(|e| e.to_string())?;
        serde_json::to_string(&json!({ "possible": plan.is_possible(), "plan": plan }))
            .map_err(|e| e.to_string())
    }

    fn status(&self) -> String {
        let running = self.0.running.lock();
        let Some(running) = &*running else { return json!({ "migration": null }).to_string() };
        let progress = running.engine.lock().as_ref().map(|e| e.progress());
        // Not open while the source does not answer: what is noted holds all the same.
        let progress = progress.unwrap_or_else(|| {
            let noted = State::read(&RealDisk, &self.0.data).ok().flatten().unwrap_or_default();
            Progress { fence_ms: noted.fence_ms, bwlimit: noted.bwlimit, ..Progress::default() }
        });
        let held = self.0.workers.are_held();
        let unpacking = running.origin.offline && running.engine.lock().is_none();
        let mut shown = shown((&running.origin.source, held), &progress, running.error.lock().clone());
        shown["offline"] = json!(running.origin.offline);
        if running.origin.offline && progress.stage == Stage::Following {
            // Nothing more comes.
            shown["stage"] = json!("complete");
        }
        if unpacking {
            shown["stage"] = json!("unpacking");
            shown["unpackedBytes"] = json!(running.unpacked.load(Ordering::Relaxed));
        }
        if let Some(verification) = &running.verification {
            let seen = verification.seen.lock();
            let mut told = json!({ "ranges": { "done": seen.ranges.0, "all": seen.ranges.1 } });
            match &seen.report {
                None => {}
                Some(Ok(report)) => {
                    told["equal"] = json!(report.is_equal());
                    told["report"] = json!(report);
                }
                Some(Err(e)) => told["error"] = json!(e),
            }
            shown["verification"] = told;
        }
        json!({ "migration": shown }).to_string()
    }

    fn verify(&self) -> Result<(), String> {
        let mut running = self.0.running.lock();
        let running = running.as_mut().ok_or("there is no migration to verify")?;
        if running.verification.as_ref().is_some_and(|v| !v.thread.is_finished()) {
            return Ok(());
        }
        let engine = running.engine.lock().clone();
        let engine = engine.ok_or("the migration is stopped by an error; see its status")?;
        if !engine.is_copied() {
            return Err(MigrateError::Early.to_string());
        }
        let seen = Arc::new(Mutex::new(Verified::default()));
        let work = {
            let (seen, cancel) = (Arc::clone(&seen), running.cancel.clone());
            move || {
                let report = engine.verify(&cancel, |done, all| seen.lock().ranges = (done, all));
                // Whoever waits for the report may end the migration at once.
                drop(engine);
                seen.lock().report = Some(report.map_err(|e| e.to_string()));
            }
        };
        let thread =
            std::thread::Builder::new().name("verify".into()).spawn(work).map_err(|e| e.to_string())?;
        running.verification = Some(Verification { seen, thread });
        Ok(())
    }

    fn switch(&self) -> Result<(), String> {
        let running = self.0.running.lock();
        let running = running.as_ref().ok_or("there is no migration to switch")?;
        let engine = running.engine.lock().clone();
        let engine = engine.ok_or("the migration is stopped by an error; see its status")?;
        if !engine.progress().held {
            return Err("this server has the duty already: begin with --hold, or start it with --godwit.hold, to have it wait".to_string());
        }
        let fence_ms = duty::now_ms() + LEAD_MS;
        let host = engine.switch(fence_ms).map_err(|e| e.to_string())?;
        tracing::info!(fence_ms, "the duty changes hands");
        self.0.workers.begin(fence_ms, host);
        Ok(())
    }

    fn rollback(&self) -> Result<(), String> {
        let mut running = self.0.running.lock();
        let before = running.as_ref().ok_or("there is no migration to roll back")?;
        let (engine, origin) = (before.engine.lock().clone(), before.origin.clone());
        let engine = match engine {
            Some(engine) => engine,
            None if origin.offline => return Err("it was not switched".to_string()),
            None => self.open(&origin, &Unpacking::default()).map_err(|e| e.to_string())?,
        };
        // Nothing that ends later may write down what it knows of the fence.
        if let Some(before) = running.take() {
            before.end();
        }
        let done = engine.rollback().map_err(|e| e.to_string());
        drop(engine);
        if done.is_ok() {
            tracing::info!("the duty is the source's again");
            self.0.workers.hold();
        }
        *running = Some(self.start(origin, None)?);
        done
    }

    fn release(&self, abandon: bool) -> Result<(), String> {
        let mut running = self.0.running.lock();
        let before = running.as_ref().ok_or("there is no migration to release")?;
        let (engine, origin) = (before.engine.lock().clone(), before.origin.clone());
        let progress = engine.map(|e| e.progress());
        let unswitched = progress.as_ref().is_some_and(|p| p.held && p.fence_ms.is_none());
        if unswitched && !abandon {
            return Err("this server waits for its duty: switch first, or release with --abandon to have it scrape all the same".to_string());
        }
        if let Some(before) = running.take() {
            before.end();
        }
        if origin.offline {
            // Nothing of the source's was touched, and it need not be there any more.
            let state = State::read(&RealDisk, &self.0.data).map_err(|e| e.to_string())?;
            let ended = state.map_or(Ok(()), |state| state.end(&RealDisk, &self.0.data));
            return ended.and_then(|()| StillDoor::clear(&RealDisk, &self.0.data)).map_err(|e| e.to_string());
        }
        let released =
            self.open(&origin, &Unpacking::default()).and_then(|engine| match Arc::into_inner(engine) {
                Some(engine) => engine.release(),
                None => Err(MigrateError::Early),
            });
        match released {
            Ok(()) => {}
            Err(error) if abandon => {
                tracing::warn!(%error, "the links of the source stay: remove its folder godwit-pin by hand");
                let state = State::read(&RealDisk, &self.0.data).map_err(|e| e.to_string())?;
                state.unwrap_or_default().end(&RealDisk, &self.0.data).map_err(|e| e.to_string())?;
            }
            Err(error) => {
                *running = Some(self.start(origin, None)?);
                return Err(error.to_string());
            }
        }
        if unswitched {
            self.0.workers.begin(duty::now_ms(), None);
        }
        Ok(())
    }
}

fn shown((source, held): (&Path, bool), progress: &Progress, error: Option<String>) -> serde_json::Value {
    let stage = match progress.stage {
        Stage::Pinning => "pinning",
        Stage::CatchingUp => "catching up",
        Stage::Copying => "copying",
        Stage::Following => "following",
    };
    let a = progress.applied;
    json!({
        "source": source,
        "stage": stage,
        "error": error,
        "held": held,
        "fenceMs": progress.fence_ms,
        "blocks": { "here": progress.blocks.0, "all": progress.blocks.1, "copiedBytes": progress.copied_bytes,
            "copyingSeconds": progress.copying.as_secs_f64(), "readingBackSeconds": progress.reading_back.as_secs_f64(),
            "bwlimit": progress.bwlimit },
        "log": {
            "samples": a.samples, "passedOver": a.passed_over, "exemplars": a.exemplars, "deletions": a.deleted,
            "nameless": a.nameless, "behindSeconds": progress.caught_up.map(|t| t.elapsed().as_secs_f64()),
            "losses": progress.losses.iter().map(ToString::to_string).collect::<Vec<_>>(),
        },
    })
}
