//! What happens in a simulated world, step by step: scrapes and writes, upkeep and troubles.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use model::clock::Clock;
use model::{Exemplar, Labels, stale_nan};
use storage::{AppendError, Appendable, SeriesRef};
use tsdb::disk::{FaultKind, Op};

use super::ledger::Value;
use super::plan::Generation;
use super::targets::{Kind, churn, next_float, next_histogram, stale_histogram};
use super::world::{Outcome, World};

/// Times that are refused as they must be where clocks jump.
pub(super) fn too_old(e: &AppendError) -> bool {
    matches!(e, AppendError::OutOfBounds | AppendError::OutOfOrder | AppendError::TooOld)
}

impl World {
    pub(super) fn step(&mut self) -> Outcome {
        let advance = match self.rng.below(40) {
            0 => 60_000 + self.rng.below(240_000) as i64,
            _ => self.rng.below(4_000) as i64,
        };
        self.clock.0.fetch_add(advance, Ordering::Relaxed);
        self.passed_ms += advance;
        match self.plan.generation {
            Generation::First => self.first_step(),
            Generation::Second | Generation::Third => self.second_step(),
            Generation::Fourth | Generation::Fifth => match self.rng.below(24) {
                0 if self.plan.imports => self.import(),
                _ => self.second_step(),
            },
        }
    }

    /// Frozen: seeds of this generation are replayed.
    fn first_step(&mut self) -> Outcome {
        match self.rng.below(100) {
            0..70 => self.scrape(),
            70..76 => self.write_batch(),
            76..84 => self.save_image().and_then(|()| self.sync()),
            84..90 => self.maintain(),
            90..93 => self.check_live(),
            93..95 => self.check_part(),
            95 if self.plan.crashes => self.crash(),
            96 | 97 if self.plan.crashes => {
                let calls = 1 + self.rng.below(60);
                self.note(format!("crash in {calls} calls"));
                self.disk.crash_after(calls);
                Ok(())
            }
            98 => self.reopen(),
            97 | 99 if self.plan.damage && self.rng.one_in(2) => self.damage(),
            _ if self.full || self.failing => {
                if self.rng.one_in(3) {
                    self.heal()?;
                }
                Ok(())
            }
            _ if self.plan.full && self.rng.one_in(2) => {
                self.fill();
                Ok(())
            }
            _ if self.plan.errors => {
                self.fail();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The steps of the second generation.
    fn second_step(&mut self) -> Outcome {
        match self.rng.below(120) {
            0..60 => self.scrape(),
            60..66 => self.write_batch(),
            66..72 if self.plan.late => self.write_late(),
            72..79 => self.save_image().and_then(|()| self.sync()),
            79..86 => self.maintain(),
            86..89 => self.check_live(),
            89..91 => self.check_part(),
            91..94 if self.plan.deletes => self.delete(),
            94 if self.plan.deletes => self.clean_tombstones(),
            95 if self.plan.snapshots => self.snapshot(),
            96 if self.plan.jumps => {
                self.jump();
                Ok(())
            }
            97 if self.plan.crashes => self.crash(),
            98..101 if self.plan.crashes => {
                let calls = 1 + self.rng.below(90);
                self.note(format!("crash in {calls} calls"));
                self.disk.crash_after(calls);
                Ok(())
            }
            101 => self.reopen(),
            102 | 103 if self.plan.damage => self.damage(),
            104 if self.plan.slow && !self.slow => {
                self.slow = true;
                self.note("disk is slow");
                self.figures.event("spells of a slow disk");
                let clock = Arc::clone(&self.clock.0);
                self.disk.set_latency(Some((clock, 1 + self.rng.below(3000) as i64)));
                Ok(())
            }
            105..110 if self.full || self.failing || self.slow => {
                if self.rng.one_in(2) {
                    self.heal()?;
                }
                Ok(())
            }
            110 | 111 if self.plan.full && !self.full => {
                self.fill();
                Ok(())
            }
            112 | 113 if self.plan.errors && !self.failing => {
                self.fail();
                Ok(())
            }
            _ => self.scrape(),
        }
    }

    fn fill(&mut self) {
        self.full = true;
        let room = if self.rng.one_in(2) { 0 } else { self.rng.below(20_000) };
        self.note(format!("disk is full but for {room} bytes"));
        self.figures.event("spells of a full disk");
        self.disk.set_capacity(self.disk.used() + room);
    }

    fn fail(&mut self) {
        self.failing = true;
        self.note("calls fail now and then");
        self.figures.event("spells of failing calls");
        let kind = if self.rng.one_in(4) { FaultKind::Full } else { FaultKind::Io };
        for op in
            [Op::Write, Op::Sync, Op::SyncDir, Op::Create, Op::Rename, Op::Remove, Op::Read, Op::MakeDir]
        {
            if self.rng.one_in(3) {
                self.disk.set_rate(op, kind, 1 + self.rng.below(20));
            }
        }
    }

    pub(super) fn scrape(&mut self) -> Outcome {
        let t = self.clock.now_ms();
        let at = self.rng.below(self.targets.len() as u64) as usize;
        let World { targets, rng, db, ledger, plan, .. } = self;
        let target = &mut targets[at];
        churn(target, rng);
        let Some(db) = db.clone() else { return Ok(()) };
        ledger.newest = ledger.newest.max(t);
        let mut app = db.appender();
        let mut batch = Vec::new();
        // Known floats go by reference, all at once, as a scrape loop does it.
        let (mut refs, mut values, mut who) = (Vec::new(), Vec::new(), Vec::new());
        for (i, s) in target.series.iter_mut().enumerate() {
            if s.last_t >= t && !(plan.late && ledger.is_free(&s.labels, t)) {
                continue;
            }
            let stale = !s.alive;
            let done = match s.kind {
                Kind::Counter | Kind::Gauge => {
                    let v = if stale { stale_nan() } else { next_float(s, rng) };
                    if s.reference.is_none() {
                        let done = app.append(SeriesRef::NONE, &s.labels, 0, t, v);
                        done.map(|reference| (reference, Value::float(v)))
                    } else {
                        refs.push(s.reference);
                        values.push(v);
                        who.push(i);
                        continue;
                    }
                }
                Kind::Histogram | Kind::FloatHistogram => {
                    let h = if stale { stale_histogram(s.kind) } else { next_histogram(s, rng) };
                    let done = app.append_histogram(s.reference, &s.labels, 0, t, &h);
                    done.map(|reference| (reference, Value::histogram(&h)))
                }
            };
            match done {
                Ok((reference, value)) => {
                    s.reference = reference;
                    s.last_t = s.last_t.max(t);
                    batch.push((s.labels.clone(), t, value));
                }
                Err(e) if plan.jumps && too_old(&e) => {}
                Err(e) => return Err(format!("{} at {t} refused: {e}", s.labels)),
            }
        }
        let mut rejected = Vec::new();
        app.append_batch(t, &refs, &values, &mut rejected);
        for (n, i) in who.into_iter().enumerate() {
            let s = &mut target.series[i];
            match rejected.iter().find(|r| r.index == n).map(|r| &r.error) {
                None => {}
                Some(AppendError::UnknownSeries) => {
                    match app.append(SeriesRef::NONE, &s.labels, 0, t, values[n]) {
                        Ok(reference) => s.reference = reference,
                        Err(e) if plan.jumps && too_old(&e) => continue,
                        Err(e) => return Err(format!("{} at {t} refused: {e}", s.labels)),
                    }
                }
                Some(e) if plan.jumps && too_old(e) => continue,
                Some(e) => return Err(format!("{} at {t} refused: {e}", s.labels)),
            }
            s.last_t = s.last_t.max(t);
            batch.push((s.labels.clone(), t, Value::float(values[n])));
        }
        let mut exemplars: Vec<(Labels, i64, u64)> = Vec::new();
        for s in target.series.iter().filter(|_| plan.exemplars) {
            if s.kind == Kind::Counter && s.last_t == t && rng.one_in(4) {
                let value = rng.below(1 << 30) as f64;
                let labels = Labels::from_pairs([("trace_id", value.to_string().as_str())]);
                let exemplar = Exemplar { labels, value, timestamp_ms: t, has_timestamp: true };
                if app.append_exemplar(s.reference, &exemplar).is_ok() {
                    exemplars.push((s.labels.clone(), t, value.to_bits()));
                }
            }
        }
        target.series.retain(|s| s.alive);
        if self.rng.one_in(30) {
            app.rollback();
            return Ok(());
        }
        let done = app.commit();
        drop(db);
        self.note(format!(
            "scrape {at}: {} samples, {}",
            batch.len(),
            if done.is_ok() { "ok" } else { "error" }
        ));
        self.committed(batch, exemplars, done)
    }

    /// As a remote write: series of its own, several samples each.
    pub(super) fn write_batch(&mut self) -> Outcome {
        let now = self.clock.now_ms();
        let Some(db) = self.db.clone() else { return Ok(()) };
        self.ledger.newest = self.ledger.newest.max(now);
        let mut app = db.appender();
        let mut batch = Vec::new();
        let sender = self.figures.steps;
        for i in 0..1 + self.rng.below(4) {
            let labels = Labels::from_pairs([
                ("__name__", "written"),
                ("i", &i.to_string()),
                ("step", &sender.to_string()),
            ]);
            for k in 0..1 + self.rng.below(20) as i64 {
                let (t, v) = (now - 5_000 + k * 250, self.rng.next_u64() as f64);
                match app.append(SeriesRef::NONE, &labels, 0, t, v) {
                    Ok(_) => batch.push((labels.clone(), t, Value::float(v))),
                    Err(AppendError::OutOfBounds) => {}
                    Err(e) if self.plan.jumps && too_old(&e) => {}
                    Err(e) => return Err(format!("{labels} at {t} refused: {e}")),
                }
            }
        }
        let done = app.commit();
        drop(db);
        self.note(format!("write: {} samples", batch.len()));
        self.committed(batch, Vec::new(), done)
    }
}
