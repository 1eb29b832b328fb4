//! `file_sd_configs`: files with target groups, read again when their folders change and every interval
//! (upstream: `discovery/file/file.go`).
//!
//! Folders are watched, not files: a file that is replaced by rename, or reached through a symlink that
//! is swapped (`..data` of a mounted ConfigMap), would otherwise be lost.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use config::{BadPattern, ConfigError, FileSdConfig, StaticConfig, try_glob};
use model::TargetGroup;
use notify::event::ModifyKind;
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::{Notify, mpsc};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::provider::{Mechanism, Running, target_group};
use crate::room::{NoRoom, Room};

/// Label of the file that named a target.
const FILEPATH_LABEL: &str = "__meta_filepath";
/// Most bytes of a file: as for an answer of HTTP discovery, 200,000 targets of 300 bytes.
const FILE_BYTES_MAX: u64 = 64 << 20;
/// Least pause between an event and reading, so that a file which is written in pieces is read whole.
const SETTLE: Duration = Duration::from_millis(50);
/// Reading takes at most a tenth of the time, however often the folder changes.
const SCAN_SHARE: u32 = 10;
/// Shortest interval between two scans, where the configuration says 0.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// The files of one configuration.
pub struct FileDiscovery {
    config: FileSdConfig,
    room: Room,
    metrics: Metrics,
    /// Files found the last time, and the number of their groups.
    known: BTreeMap<String, usize>,
}

#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    #[error("larger than {FILE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("not UTF-8: {0}")]
    NotText(#[from] std::str::Utf8Error),
    #[error(transparent)]
    Content(#[from] ConfigError),
}

/// What one scan read.
#[derive(Default)]
struct Scan {
    files: BTreeMap<String, Result<(Vec<StaticConfig>, f64), FileError>>,
    bad_patterns: Vec<(String, BadPattern)>,
    unwatched: Vec<(String, notify::Error)>,
}

impl FileDiscovery {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(config: FileSdConfig, room: Room, metrics: Metrics) -> Self {
        FileDiscovery { config, room, metrics, known: BTreeMap::new() }
    }

    /// A watcher that wakes the loop on anything but reads and changes of attributes.
    fn watcher(&self, wake: &Arc<Notify>) -> Option<RecommendedWatcher> {
        let (wake, errors) = (Arc::clone(wake), self.metrics.file_watcher_errors.clone());
        let on_event = move |event: notify::Result<Event>| match event {
            Ok(event) if is_change(event.kind) => wake.notify_one(),
            Ok(_) => {}
            Err(error) => {
                errors.inc();
                tracing::error!(discovery = "file", err = %error, "Error watching file");
            }
        };
        match notify::recommended_watcher(on_event) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                // Upstream gives up here; reading every interval is better than no targets.
                self.metrics.file_watcher_errors.inc();
                tracing::error!(discovery = "file", err = %error, "Error adding file watcher; files are read every refresh_interval only");
                None
            }
        }
    }

    /// Turns a scan into updates. A file that cannot be read keeps what it had.
    fn take(&mut self, scan: Scan) -> Vec<TargetGroup> {
        for (pattern, error) in &scan.bad_patterns {
            tracing::error!(discovery = "file", glob = %pattern, err = %error, "Error expanding glob");
        }
        for (path, error) in &scan.unwatched {
            tracing::error!(discovery = "file", path = %path, err = %error, "Error adding file watch");
        }
        let mut updates = Vec::new();
        let mut known = BTreeMap::new();
        for (path, read) in scan.files {
            match read {
                Ok((groups, modified)) => {
                    self.metrics.file_mtime.with(&[&path]).set(modified);
                    known.insert(path.clone(), groups.len());
                    for (i, group) in groups.into_iter().enumerate() {
                        let mut group = target_group(group, source(&path, i));
                        group.labels.insert(FILEPATH_LABEL.to_string(), path.clone());
                        updates.push(group);
                    }
                }
                Err(error) => {
                    self.metrics.file_read_errors.inc();
                    tracing::error!(discovery = "file", path = %path, err = %error, "Error reading file");
                    let before = self.known.get(&path).copied().unwrap_or(0);
                    known.insert(path, before);
                }
            }
        }
        for (path, before) in &self.known {
            let now = known.get(path).copied();
            if now.is_none() {
                self.metrics.file_mtime.remove(&[path]);
            }
            let gone = (now.unwrap_or(0)..*before).map(|i| source(path, i));
            updates.extend(gone.map(|source| TargetGroup { source, ..TargetGroup::default() }));
        }
        self.known = known;
        updates
    }

    async fn watch_and_read(&mut self, updates: mpsc::Sender<Vec<TargetGroup>>) {
        let wake = Arc::new(Notify::new());
        let mut watcher = self.watcher(&wake);
        let mut ticker = tokio::time::interval(self.config.refresh_interval.max(INTERVAL_MIN));
        ticker.set_missed_tick_behavior(MissedTickBehavior::Skip);
        // The first tick is at once.
        let mut settle = SETTLE;
        loop {
            tokio::select! {
                _ = ticker.tick() => {}
                () = wake.notified() => {
                    tokio::time::sleep(settle).await;
                }
            }
            let begin = Instant::now();
            let (patterns, room) = (self.config.files.clone(), self.room.clone());
            let work = tokio::task::spawn_blocking(move || {
                let scan = scan(&patterns, watcher.as_mut(), &room);
                (scan, watcher)
            });
            let Ok((scan, returned)) = work.await else { return };
            watcher = returned;
            let took = begin.elapsed();
            settle = SETTLE.max(took * SCAN_SHARE);
            self.metrics.file_scan_duration.observe(took.as_secs_f64());
            if updates.send(self.take(scan)).await.is_err() {
                return;
            }
        }
    }
}

fn source(path: &str, index: usize) -> String {
    format!("{path}:{index}")
}

fn is_change(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(_) | EventKind::Modify(ModifyKind::Metadata(_)))
}

/// Watches the folders and reads the files. In this order: what changes in between is seen again.
fn scan(patterns: &[String], watcher: Option<&mut RecommendedWatcher>, room: &Room) -> Scan {
    let mut scan = Scan::default();
    if let Some(watcher) = watcher {
        let folders: BTreeSet<&str> = patterns.iter().map(|p| folder(p)).collect();
        for dir in folders {
            // Again every time: a folder that was made anew has lost its watch.
            if let Err(error) = watcher.watch(Path::new(dir), RecursiveMode::NonRecursive) {
                scan.unwatched.push((dir.to_string(), error));
            }
        }
    }
    for pattern in patterns {
        match try_glob(pattern) {
            Err(error) => scan.bad_patterns.push((pattern.clone(), error)),
            Ok(paths) => scan.files.extend(paths.into_iter().map(|path| {
                let read = read(&path, room);
                (path, read)
            })),
        }
    }
    scan
}

fn folder(pattern: &str) -> &str {
    pattern.rfind('/').and_then(|at| pattern.get(..=at)).unwrap_or("./")
}

fn read(path: &str, room: &Room) -> Result<(Vec<StaticConfig>, f64), FileError> {
    let file = std::fs::File::open(path)?;
    let metadata = file.metadata()?;
    room.for_list(metadata.len())?;
    let mut content = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut content)?;
    if content.len() as u64 > FILE_BYTES_MAX {
        return Err(FileError::TooLarge);
    }
    let modified = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let groups = if path.to_ascii_lowercase().ends_with(".json") {
        config::parse_targets_json(&content, path)?
    } else {
        config::parse_targets_yaml(std::str::from_utf8(&content)?, path)?
    };
    Ok((groups, modified))
}

impl Mechanism for FileDiscovery {
    fn name(&self) -> &'static str {
        "file"
    }
    fn run(mut self: Box<Self>, updates: mpsc::Sender<Vec<TargetGroup>>, stop: CancellationToken) -> Running {
        Box::pin(async move {
            tokio::select! {
                () = self.watch_and_read(updates) => {}
                () = stop.cancelled() => {}
            }
            for path in self.known.keys() {
                self.metrics.file_mtime.remove(&[path]);
            }
        })
    }
}
