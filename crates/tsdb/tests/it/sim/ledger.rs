//! What must be in the database, may be, and must not: kept beside it sample by sample.

use std::collections::BTreeMap;

use model::{HistogramValue, Labels, Span};

/// A value as it must come back, to the bit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    Float(u64),
    /// Schema, zero count, count, sum, filled buckets of both sides.
    Histogram(i32, u64, u64, u64, Vec<(i32, u64)>, Vec<(i32, u64)>),
}

fn buckets(spans: &[Span], counts: &[f64]) -> Vec<(i32, u64)> {
    let mut next = 0;
    let mut all = Vec::new();
    let mut counts = counts.iter();
    for span in spans {
        next += span.offset;
        for _ in 0..span.length {
            let count = counts.next().copied().unwrap_or(f64::NAN);
            if count != 0.0 {
                all.push((next, count.to_bits()));
            }
            next += 1;
        }
    }
    all
}

impl Value {
    pub(super) fn float(v: f64) -> Self {
        Value::Float(v.to_bits())
    }
    pub(super) fn histogram(v: &HistogramValue) -> Self {
        let h = v.to_float();
        let (zero, count, sum) = (h.zero_count.to_bits(), h.count.to_bits(), h.sum.to_bits());
        let positive = buckets(&h.positive_spans, &h.positive_buckets);
        Value::Histogram(
            h.schema,
            zero,
            count,
            sum,
            positive,
            buckets(&h.negative_spans, &h.negative_buckets),
        )
    }
}

/// How sure a sample is, or that it is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hold {
    /// Damage took it, or retention may; it may come back where another file has it too.
    Gone,
    /// Its commit failed: not visible, but a crash may show that the log had it.
    Maybe,
    /// Acknowledged and visible; the disk refused it so far.
    Memory,
    /// Acknowledged, survives a kill.
    Logged,
    /// Survives a power cut.
    Synced,
    /// More than anything: nothing is required.
    Never,
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) value: Value,
    pub(super) hold: Hold,
    /// The step that committed it.
    pub(super) commit: u64,
    /// Deleted, and how sure that is.
    pub(super) deleted: Option<Hold>,
}

pub(super) type Samples = BTreeMap<i64, Value>;
pub(super) type Found = BTreeMap<Labels, Samples>;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) series: BTreeMap<Labels, BTreeMap<i64, Entry>>,
    /// Exemplars: bits of the value, how sure it is.
    pub(super) exemplars: BTreeMap<Labels, BTreeMap<i64, (u64, Hold)>>,
    /// Samples that may not be durable yet, or deleted for good.
    young: Vec<(Labels, i64)>,
    /// What only memory had when the process ended: the file may have had it before the write failed and was
    /// cut back, so that a power cut brings it back until the next sync.
    ghosts: Vec<(Labels, i64)>,
    /// Newest time that was ever tried.
    pub(super) newest: i64,
    pub(super) samples: u64,
    pub(super) lost: u64,
    /// A file was damaged that may say what is deleted, or hide what is: that may come back.
    pub(super) deletes_in_doubt: bool,
}

impl Ledger {
    pub(super) fn add(&mut self, labels: &Labels, t: i64, value: Value, hold: Hold, commit: u64) {
        self.samples += 1;
        self.newest = self.newest.max(t);
        self.young.push((labels.clone(), t));
        let entries = self.series.entry(labels.clone()).or_default();
        entries.insert(t, Entry { value, hold, commit, deleted: None });
    }

    /// Whether this time of a series was never written.
    pub(super) fn is_free(&self, labels: &Labels, t: i64) -> bool {
        self.series.get(labels).is_none_or(|s| !s.contains_key(&t))
    }

    /// Raises all that is at least `from` to `to`.
    pub(super) fn promote(&mut self, from: Hold, to: Hold) {
        let series = &mut self.series;
        self.young.retain(|(labels, t)| {
            let Some(entry) = series.get_mut(labels).and_then(|s| s.get_mut(t)) else { return false };
            for hold in std::iter::once(&mut entry.hold).chain(&mut entry.deleted) {
                if *hold >= from && *hold < to {
                    *hold = to;
                }
            }
            entry.hold < Hold::Synced || entry.deleted.is_some_and(|d| d < Hold::Synced)
        });
        for (_, hold) in self.exemplars.values_mut().flat_map(BTreeMap::values_mut) {
            if *hold >= from && *hold < to {
                *hold = to;
            }
        }
    }

    /// All that was written is synced: what did not come back until now must not come any more.
    pub(super) fn lay_ghosts(&mut self) {
        for (labels, t) in std::mem::take(&mut self.ghosts) {
            let Some(entries) = self.series.get_mut(&labels) else { continue };
            if !self.deletes_in_doubt && entries.get(&t).is_some_and(|e| e.hold == Hold::Gone) {
                entries.remove(&t);
            }
        }
        self.series.retain(|_, entries| !entries.is_empty());
    }

    /// What is held in memory only will not be logged any more: it stays at that.
    pub(super) fn pin_memory(&mut self) {
        let series = &mut self.series;
        self.young.retain(|(labels, t)| {
            let entry = series.get(labels).and_then(|s| s.get(t));
            entry.is_some_and(|e| e.hold != Hold::Memory && e.deleted != Some(Hold::Memory))
        });
        for (_, hold) in self.exemplars.values_mut().flat_map(BTreeMap::values_mut) {
            if *hold == Hold::Memory {
                *hold = Hold::Gone;
            }
        }
    }

    /// Samples of a series within [mint, maxt] are deleted, this sure; `None`: perhaps.
    pub(super) fn delete(&mut self, labels: &Labels, (mint, maxt): (i64, i64), sure: Option<Hold>) {
        let Some(entries) = self.series.get_mut(labels) else { return };
        for (t, e) in entries.range_mut(mint..=maxt) {
            match sure {
                Some(hold) if e.hold >= Hold::Memory => e.deleted = Some(e.deleted.unwrap_or(hold).max(hold)),
                // What is not there for sure is not deleted for sure either.
                _ => e.hold = Hold::Gone,
            }
            self.young.push((labels.clone(), *t));
        }
    }

    /// What is deleted may come back.
    pub(super) fn doubt_deletes(&mut self) {
        for e in self.series.values_mut().flat_map(BTreeMap::values_mut) {
            if e.deleted.take().is_some() {
                e.hold = Hold::Gone;
            }
        }
    }

    /// Samples before `mint` may go.
    pub(super) fn release_before(&mut self, mint: i64) {
        for entries in self.series.values_mut() {
            entries.range_mut(..mint).for_each(|(_, e)| {
                (e.hold, e.deleted) = (Hold::Gone, None);
            });
        }
    }

    /// Samples before `mint` of series with such names may go.
    pub(super) fn release_named_before(&mut self, prefix: &str, mint: i64) {
        for (labels, entries) in &mut self.series {
            if labels.find("__name__").is_some_and(|name| name.starts_with(prefix)) {
                entries.range_mut(..mint).for_each(|(_, e)| {
                    (e.hold, e.deleted) = (Hold::Gone, None);
                });
            }
        }
    }

    /// Compares what the database has within [mint, maxt]. Samples held less than `required` may be missing;
    /// those of a failed commit must be unless `maybe_visible`. Gives what is wrong.
    pub(super) fn compare(
        &self,
        found: &Found,
        (mint, maxt): (i64, i64),
        required: Hold,
        maybe_visible: bool,
    ) -> Result<(), String> {
        for (labels, samples) in found {
            let Some(known) = self.series.get(labels) else {
                return Err(format!("invented series {labels}"));
            };
            for (t, value) in samples {
                match known.get(t) {
                    None => return Err(format!("invented sample of {labels} at {t}: {value:?}")),
                    Some(e) if e.value != *value => {
                        return Err(format!(
                            "altered sample of {labels} at {t}: {value:?}, wrote {:?}",
                            e.value
                        ));
                    }
                    Some(e) if e.hold == Hold::Maybe && !maybe_visible => {
                        return Err(format!("sample of {labels} at {t} is visible though its commit failed"));
                    }
                    Some(e) if e.deleted.is_some_and(|d| d >= required) && !self.deletes_in_doubt => {
                        return Err(format!(
                            "deleted sample of {labels} at {t} is back, deleted {:?}",
                            e.deleted
                        ));
                    }
                    Some(_) => {}
                }
            }
        }
        for (labels, entries) in &self.series {
            let there = found.get(labels);
            for (t, e) in entries.range(mint..=maxt).filter(|(_, e)| e.deleted.is_none()) {
                if e.hold >= required && !there.is_some_and(|s| s.contains_key(t)) {
                    return Err(format!("lost sample of {labels} at {t}, which was {:?}", e.hold));
                }
            }
        }
        Ok(())
    }

    /// Nothing that is deleted for sure is back.
    pub(super) fn check_deleted(&self, found: &Found) -> Result<(), String> {
        for (labels, samples) in found {
            let Some(known) = self.series.get(labels) else { continue };
            let back = samples
                .keys()
                .find(|t| known.get(t).is_some_and(|e| e.deleted.is_some_and(|d| d >= Hold::Logged)));
            if let Some(t) = back.filter(|_| !self.deletes_in_doubt) {
                return Err(format!("deleted sample of {labels} at {t} is back after damage elsewhere"));
            }
        }
        Ok(())
    }

    /// After a crash: what is there is held at least so, what is not is forgotten.
    pub(super) fn settle(&mut self, found: &Found, hold: Hold, may_return: bool, blocks_unread: bool) {
        self.young.clear();
        for (labels, entries) in &mut self.series {
            let there = found.get(labels);
            entries.retain(|t, e| {
                let present = there.is_some_and(|s| s.contains_key(t));
                if present {
                    e.deleted = None;
                    // What the log brought back of a block that could not be read goes again with the next start.
                    if !(blocks_unread && e.hold == Hold::Gone) {
                        e.hold = e.hold.max(hold);
                    }
                    if e.hold < Hold::Synced {
                        self.young.push((labels.clone(), *t));
                    }
                    return true;
                }
                if e.deleted.is_some() {
                    e.deleted = e.deleted.max(Some(hold));
                    if e.deleted < Some(Hold::Synced) {
                        self.young.push((labels.clone(), *t));
                    }
                    return true;
                }
                // What damage took may come back at any later time: a block that is set aside bares what
                // the log still has of its range.
                let ghost = matches!(e.hold, Hold::Maybe | Hold::Memory);
                if ghost {
                    self.ghosts.push((labels.clone(), *t));
                }
                let kept = may_return || ghost || e.hold == Hold::Gone;
                self.lost += u64::from(e.hold > Hold::Gone);
                e.hold = Hold::Gone;
                kept
            });
        }
        self.series.retain(|_, entries| !entries.is_empty());
    }

    /// Compares exemplars; those from `mint` on that are held so must be there.
    pub(super) fn compare_exemplars(
        &self,
        found: &BTreeMap<Labels, BTreeMap<i64, u64>>,
        mint: i64,
        required: Hold,
    ) -> Result<(), String> {
        for (labels, all) in found {
            for (t, v) in all {
                let known = self.exemplars.get(labels).and_then(|e| e.get(t));
                if known.is_none_or(|(value, _)| value != v) {
                    return Err(format!("exemplar of {labels} at {t} is {v}, wrote {known:?}"));
                }
            }
        }
        for (labels, all) in &self.exemplars {
            for (t, (_, hold)) in all.range(mint..) {
                if *hold >= required && !found.get(labels).is_some_and(|f| f.contains_key(t)) {
                    return Err(format!("lost exemplar of {labels} at {t}, which was {hold:?}"));
                }
            }
        }
        Ok(())
    }

    /// As [`Ledger::settle`].
    pub(super) fn settle_exemplars(&mut self, found: &BTreeMap<Labels, BTreeMap<i64, u64>>, hold: Hold) {
        for (labels, all) in &mut self.exemplars {
            for (t, (_, own)) in all {
                let there = found.get(labels).is_some_and(|f| f.contains_key(t));
                *own = if there { (*own).max(hold) } else { Hold::Gone };
            }
        }
    }
}
