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

/// How sure a sample is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hold {
    /// Damage took it; it may come back where another file has it too.
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
}

pub(super) type Samples = BTreeMap<i64, Value>;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    pub(super) series: BTreeMap<Labels, BTreeMap<i64, Entry>>,
    /// Samples that may not be durable yet.
    young: Vec<(Labels, i64)>,
    pub(super) samples: u64,
    pub(super) lost: u64,
}

impl Ledger {
    pub(super) fn add(&mut self, labels: &Labels, t: i64, value: Value, hold: Hold, commit: u64) {
        self.samples += 1;
        self.young.push((labels.clone(), t));
        let entries = self.series.entry(labels.clone()).or_default();
        entries.insert(t, Entry { value, hold, commit });
    }

    /// Raises all that is at least `from` to `to`.
    pub(super) fn promote(&mut self, from: Hold, to: Hold) {
        let series = &mut self.series;
        self.young.retain(|(labels, t)| {
            let Some(entry) = series.get_mut(labels).and_then(|s| s.get_mut(t)) else { return false };
            if entry.hold >= from && entry.hold < to {
                entry.hold = to;
            }
            entry.hold < Hold::Synced
        });
    }

    /// What is held in memory only will not be logged any more: it stays at that.
    pub(super) fn pin_memory(&mut self) {
        let series = &mut self.series;
        self.young.retain(|(labels, t)| {
            let entry = series.get(labels).and_then(|s| s.get(t));
            entry.is_some_and(|e| e.hold != Hold::Memory)
        });
    }

    /// Compares what the database has within [mint, maxt]. Samples held less than `required` may be missing;
    /// those of a failed commit must be unless `maybe_visible`. Gives what is wrong.
    pub(super) fn compare(
        &self,
        found: &BTreeMap<Labels, Samples>,
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
                    Some(_) => {}
                }
            }
        }
        for (labels, entries) in &self.series {
            let there = found.get(labels);
            for (t, e) in entries.range(mint..=maxt) {
                if e.hold >= required && !there.is_some_and(|s| s.contains_key(t)) {
                    return Err(format!("lost sample of {labels} at {t}, which was {:?}", e.hold));
                }
            }
        }
        Ok(())
    }

    /// After a crash: what is there is held at least so, what is not is forgotten.
    pub(super) fn settle(&mut self, found: &BTreeMap<Labels, Samples>, hold: Hold, damaged: bool) {
        self.young.clear();
        for (labels, entries) in &mut self.series {
            let there = found.get(labels);
            entries.retain(|t, e| {
                let present = there.is_some_and(|s| s.contains_key(t));
                if present {
                    e.hold = e.hold.max(hold);
                    if e.hold < Hold::Synced {
                        self.young.push((labels.clone(), *t));
                    }
                } else {
                    self.lost += u64::from(e.hold > Hold::Gone);
                    e.hold = Hold::Gone;
                }
                present || damaged
            });
        }
        self.series.retain(|_, entries| !entries.is_empty());
    }
}
