//! Steps of the second generation: late samples, deletes, snapshots, clocks that jump.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::clock::Clock;
use model::{Labels, Matcher};
use storage::{Appendable, QueryContext, SeriesRef, StatusSource};
use tsdb::block::{Block, list_blocks};
use tsdb::disk::Disk;

use super::ledger::{Found, Hold, Value};
use super::steps::too_old;
use super::targets::{Kind, next_float, next_histogram};
use super::world::{BLOCK_MS, Outcome, WINDOW_MS, World, read_all};

const HOUR_MS: i64 = 3_600_000;

impl World {
    /// Samples between those that are there, of series that are scraped and of some that are not.
    pub(super) fn write_late(&mut self) -> Outcome {
        let now = self.clock.now_ms();
        let Some(db) = self.db.clone() else { return Ok(()) };
        let World { targets, rng, ledger, .. } = self;
        let at = rng.below(targets.len() as u64) as usize;
        let mut app = db.appender();
        let mut batch: Vec<(Labels, i64, Value)> = Vec::new();
        for s in &mut targets[at].series {
            if !rng.one_in(3) {
                continue;
            }
            let most = if rng.one_in(5) { 70 } else { 8 };
            for _ in 0..1 + rng.below(most) {
                let t = now - 1 - rng.below(WINDOW_MS as u64) as i64;
                let taken = batch.iter().any(|(l, at, _)| *at == t && *l == s.labels);
                if taken || !ledger.is_free(&s.labels, t) {
                    continue;
                }
                let done = match s.kind {
                    Kind::Counter | Kind::Gauge => {
                        let v = next_float(s, rng);
                        app.append(SeriesRef::NONE, &s.labels, 0, t, v).map(|_| Value::float(v))
                    }
                    Kind::Histogram | Kind::FloatHistogram => {
                        let h = next_histogram(s, rng);
                        let done = app.append_histogram(SeriesRef::NONE, &s.labels, 0, t, &h);
                        done.map(|_| Value::histogram(&h))
                    }
                };
                match done {
                    Ok(value) => batch.push((s.labels.clone(), t, value)),
                    Err(e) if too_old(&e) => {}
                    Err(e) => return Err(format!("{} at {t} refused: {e}", s.labels)),
                }
                s.last_t = s.last_t.max(t);
            }
        }
        let done = app.commit();
        drop(db);
        self.figures.event("late writes");
        let went = done.as_ref().map_or_else(ToString::to_string, |_| "ok".to_string());
        self.note(format!("late: {} samples, {went}", batch.len()));
        self.committed(batch, Vec::new(), done)
    }

    pub(super) fn delete(&mut self) -> Outcome {
        let now = self.clock.now_ms();
        let span = 5 * BLOCK_MS as u64;
        let mint = now - self.rng.below(2 * span) as i64;
        let maxt = mint + self.rng.below(span) as i64;
        let known = self.ledger.series.len() as u64;
        let Some(labels) = self.ledger.series.keys().nth(self.rng.below(known) as usize) else {
            return Ok(());
        };
        let name = labels.find("__name__").unwrap_or_default().to_string();
        let all = self.rng.one_in(8);
        let matchers =
            [if all { Matcher::equal("instance", "t0") } else { Matcher::equal("__name__", &name) }];
        let done = self.db()?.delete_series(&QueryContext::unlimited(), mint, maxt, &matchers);
        let went = done.as_ref().map_or_else(ToString::to_string, |()| "ok".to_string());
        self.note(format!("delete {matchers:?} from {mint} to {maxt}: {went}"));
        self.figures.event("deletes");
        // Late samples are made blocks before.
        self.note_blocks(false);
        let sure = match done {
            Err(_) if self.trouble() => None,
            Err(e) => return Err(format!("delete fails: {e}")),
            Ok(()) if self.disk.is_off() || self.db()?.log_status().held_records > 0 => Some(Hold::Memory),
            Ok(()) if self.plan.strict => Some(Hold::Synced),
            Ok(()) => Some(Hold::Logged),
        };
        let matching: Vec<Labels> = self
            .ledger
            .series
            .keys()
            .filter(|l| matchers.iter().all(|m| m.matches(l.find(m.name()).unwrap_or_default())))
            .cloned()
            .collect();
        for labels in matching {
            self.ledger.delete(&labels, (mint, maxt), sure);
        }
        self.notice_drops()
    }

    pub(super) fn clean_tombstones(&mut self) -> Outcome {
        self.note("clean tombstones");
        self.figures.event("tombstones cleaned");
        match self.db()?.clean_tombstones() {
            Err(e) if !self.trouble() => Err(format!("tombstones are not cleaned: {e}")),
            _ => Ok(()),
        }
    }

    /// A snapshot has what the database has.
    pub(super) fn snapshot(&mut self) -> Outcome {
        let with_head = self.rng.one_in(2);
        let name = match self.db()?.snapshot(with_head) {
            Ok(name) => name,
            Err(_) if self.trouble() => return Ok(()),
            Err(e) => return Err(format!("snapshot fails: {e}")),
        };
        self.note(format!("snapshot {name}"));
        self.figures.event("snapshots");
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let folder = Path::new("/data/snapshots");
        let found = read_snapshot(&disk, &folder.join(name));
        let _ = disk.remove_dir_all(folder);
        let found = match found {
            Err(_) if self.disk.is_off() || self.failing => return Ok(()),
            other => other?,
        };
        self.release();
        let required = if with_head { Hold::Memory } else { Hold::Never };
        self.ledger
            .compare(&found, (i64::MIN, i64::MAX), required, false)
            .map_err(|e| format!("snapshot: {e}"))
    }

    /// The wall clock is set forward or back.
    pub(super) fn jump(&mut self) {
        let far = if self.rng.one_in(3) { 24 * HOUR_MS } else { HOUR_MS };
        let by = if self.rng.one_in(2) { far } else { -far };
        self.note(format!("clock jumps by {by} ms"));
        self.figures.event("jumps of the clock");
        self.clock.0.fetch_add(by, Ordering::Relaxed);
    }
}

fn read_snapshot(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Found, String> {
    let mut all = Found::new();
    for (_, dir) in list_blocks(&**disk, dir).map_err(|e| e.to_string())? {
        let block = Block::open(Arc::clone(disk), &dir).map_err(|e| e.to_string())?;
        for (labels, samples) in read_all(&block.querier(i64::MIN, i64::MAX), i64::MIN, i64::MAX)? {
            let own = all.entry(labels.clone()).or_default();
            for (t, v) in samples {
                if own.insert(t, v.clone()).is_some_and(|old| old != v) {
                    return Err(format!("snapshot has two samples of {labels} at {t}"));
                }
            }
        }
    }
    Ok(all)
}
