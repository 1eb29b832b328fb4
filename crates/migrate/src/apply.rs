//! What a source's log says, put into our own store as the source itself took it.
//!
//! The log has every sample in the order of the commits, late ones among them; the log of late samples has those that
//! the source really took, once more. So of the first only what is newer than all before it of its series counts, as
//! in a replay by the source itself, and of the second everything, however late. A sample that is there already is
//! left as it is, so that after a kill the last seconds may be read again.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use hashbrown::HashMap;
use model::{Exemplar, Labels, Matcher};
use storage::{
    AppendError, Appendable, Appender, LabelHints, QueryContext, Queryable, SeriesRef, StatusSource,
    StorageError,
};
use tsdb::Db;
use tsdb::wal::record::{
    ExemplarRecord, HistogramRecord, Record, SampleRecord, SeriesRecord, TombstoneRecord,
};

use crate::error::MigrateError;
use crate::offline::Stones;
use crate::pin::PinnedLog;

/// Samples of one commit. At 100 bytes for a histogram of a few buckets a few megabytes; a record of a scrape of a
/// million series goes whole.
const COMMIT_SAMPLES: usize = 20_000;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Samples that were put in.
    pub samples: u64,
    /// Samples that a block has, or that only the other log is asked for.
    pub passed_over: u64,
    /// Exemplars.
    pub exemplars: u64,
    /// Ranges of series that were deleted.
    pub deleted: u64,
    /// Samples of series that the log does not name: damage took the name, from the source as well.
    pub nameless: u64,
}

#[derive(Debug)]
struct Known {
    labels: Labels,
    ours: SeriesRef,
    /// Newest sample of the log.
    newest_ms: i64,
}

/// Puts records into a store.
#[derive(Debug)]
pub struct Apply {
    db: Db,
    /// Samples of the log before this are in blocks.
    blocks_end_ms: i64,
    /// Samples from this on are this server's own to take.
    fence_ms: Arc<AtomicI64>,
    known: HashMap<u64, Known>,
    /// To be put in.
    floats: Vec<SampleRecord>,
    histograms: Vec<HistogramRecord>,
    exemplars: Vec<ExemplarRecord>,
    applied: Applied,
    /// What is deleted by records that come later, where that is known.
    stones: Option<Stones>,
}

impl Apply {
    /// `blocks_end_ms`: behind the newest sample in order that the source's blocks have; what the log has before it
    /// is there too.
    /// `fence_ms`: from when on samples are not taken.
    #[must_use]
    pub fn new(db: Db, blocks_end_ms: i64, fence_ms: Arc<AtomicI64>) -> Self {
        Apply {
            db,
            blocks_end_ms,
            fence_ms,
            known: HashMap::new(),
            floats: Vec::new(),
            histograms: Vec::new(),
            exemplars: Vec::new(),
            applied: Applied::default(),
            stones: None,
        }
    }

    /// Leaves out what is deleted later, instead of deleting it here: this store may have samples of its own there.
    pub(crate) fn leave_out(&mut self, stones: Stones) {
        self.stones = Some(stones);
    }

    /// What was done so far.
    #[must_use]
    pub fn applied(&self) -> Applied {
        self.applied
    }

    /// Whether all series of a record are known. Those of late samples stand in the other log.
    #[must_use]
    pub fn knows(&self, record: &Record) -> bool {
        match record {
            Record::Samples(all) => all.iter().all(|s| self.known.contains_key(&s.series)),
            Record::Histograms(all) => all.iter().all(|s| self.known.contains_key(&s.series)),
            _ => true,
        }
    }

    /// Whether a number that was another series' is among these.
    #[must_use]
    pub fn renames(&self, all: &[SeriesRecord]) -> bool {
        all.iter().any(|s| self.known.get(&s.series).is_some_and(|k| k.labels != s.labels))
    }

    /// Takes a record. Samples are in the store after [`Apply::commit`], and perhaps before.
    ///
    /// # Errors
    /// The store refused, see [`Apply::commit`].
    pub fn record(&mut self, log: PinnedLog, record: Record) -> Result<(), MigrateError> {
        match record {
            Record::Series(all) => {
                // A source that was started again gives numbers of series that its log has forgotten to others.
                if self.renames(&all) {
                    self.commit()?;
                }
                for s in all {
                    if self.known.get(&s.series).is_none_or(|k| k.labels != s.labels) {
                        let (labels, ours) = (s.labels, SeriesRef::NONE);
                        self.known.insert(s.series, Known { labels, ours, newest_ms: i64::MIN });
                    }
                }
            }
            Record::Samples(all) => {
                for s in all {
                    if self.wanted(log, s.series, s.t_ms) {
                        self.floats.push(s);
                    }
                }
            }
            Record::Histograms(all) => {
                // A series may have both; floats of a batch come first, so what came before goes before.
                if !self.floats.is_empty() && self.histograms.is_empty() {
                    self.commit()?;
                }
                for s in all {
                    if self.wanted(log, s.series, s.t_ms) {
                        self.histograms.push(s);
                    }
                }
                self.commit()?;
            }
            Record::Exemplars(all) => {
                let fence_ms = self.fence_ms.load(Ordering::Acquire);
                self.exemplars.extend(all.into_iter().filter(|e| e.t_ms < fence_ms));
            }
            Record::Tombstones(all) if log == PinnedLog::Wal && self.stones.is_some() => {
                self.applied.deleted += all.len() as u64;
                if let Some(stones) = &mut self.stones {
                    stones.pass();
                }
            }
            Record::Tombstones(all) if log == PinnedLog::Wal => {
                self.commit()?;
                all.iter().try_for_each(|stone| self.delete(stone))?;
            }
            // Metadata of series is what the next scrape brings again. Markers say which late samples a file of
            // head chunks has; their log has them as well.
            Record::Tombstones(_) | Record::Metadata(_) | Record::MmapMarkers(_) | Record::Unknown(_) => {}
        }
        if self.floats.len() >= COMMIT_SAMPLES { self.commit() } else { Ok(()) }
    }

    /// Whether a sample is to be put in.
    fn wanted(&mut self, log: PinnedLog, series: u64, t_ms: i64) -> bool {
        let Some(known) = self.known.get_mut(&series) else {
            self.applied.nameless += 1;
            return false;
        };
        if t_ms >= self.fence_ms.load(Ordering::Acquire) {
            self.applied.passed_over += 1;
            return false;
        }
        if log == PinnedLog::Wbl {
            return true;
        }
        if t_ms < self.blocks_end_ms || t_ms <= known.newest_ms {
            self.applied.passed_over += 1;
            return false;
        }
        known.newest_ms = t_ms;
        if self.stones.as_ref().is_some_and(|s| s.covers(series, t_ms)) {
            self.applied.passed_over += 1;
            return false;
        }
        true
    }

    /// Puts what was taken into the store: visible, and it survives a kill, when this returns.
    ///
    /// # Errors
    /// No room, no memory for new series, the disk failed. Some of it may be in: begin anew from a place that was noted.
    pub fn commit(&mut self) -> Result<(), MigrateError> {
        if self.floats.is_empty() && self.histograms.is_empty() && self.exemplars.is_empty() {
            return Ok(());
        }
        let db = self.db.clone();
        let mut app = db.appender();
        app.take_any_age()?;
        // What existing data says outranks what is new here.
        app.outrank(true);
        let mut done = self.applied;
        for s in &self.floats {
            let Some(Known { labels, ours, .. }) = self.known.get_mut(&s.series) else { continue };
            let put = |app: &mut dyn Appender, ours| app.append(ours, labels, s.start_ms, s.t_ms, s.value);
            offer(&mut *app, ours, &mut done, put)?;
        }
        for s in &self.histograms {
            let Some(Known { labels, ours, .. }) = self.known.get_mut(&s.series) else { continue };
            let put = |app: &mut dyn Appender, ours| {
                app.append_histogram(ours, labels, s.start_ms, s.t_ms, &s.value)
            };
            offer(&mut *app, ours, &mut done, put)?;
        }
        for e in &self.exemplars {
            let Some(series) = self.known.get(&e.series).filter(|s| !s.ours.is_none()) else { continue };
            let exemplar = Exemplar {
                labels: e.labels.clone(),
                value: e.value,
                timestamp_ms: e.t_ms,
                has_timestamp: true,
            };
            // Storage that is off, one that came before: no loss of samples.
            done.exemplars += u64::from(app.append_exemplar(series.ours, &exemplar).is_ok());
        }
        app.commit()?;
        self.applied = done;
        self.floats.clear();
        self.histograms.clear();
        self.exemplars.clear();
        Ok(())
    }

    fn delete(&mut self, stone: &TombstoneRecord) -> Result<(), MigrateError> {
        let Some(series) = self.known.get(&stone.series) else { return Ok(()) };
        delete_exactly(&self.db, &series.labels, (stone.mint_ms, stone.maxt_ms))?;
        self.applied.deleted += 1;
        Ok(())
    }
}

/// Deletes samples within [mint, maxt] of one series, and not of those with more labels.
pub(crate) fn delete_exactly(db: &Db, labels: &Labels, (mint, maxt): (i64, i64)) -> Result<(), MigrateError> {
    let ctx = QueryContext::unlimited();
    let mut matchers: Vec<Matcher> = labels.iter().map(|(name, value)| Matcher::equal(name, value)).collect();
    let querier = db.querier(mint, maxt)?;
    let others = querier.label_names(&ctx, LabelHints::default(), &matchers)?;
    drop(querier);
    matchers
        .extend(others.iter().filter(|n| labels.find(n).is_none()).map(|n| Matcher::equal(n.as_str(), "")));
    Ok(db.delete_series(&ctx, mint, maxt, &matchers)?)
}

/// Appends a sample, by labels where the store has forgotten the series.
fn offer(
    app: &mut dyn Appender,
    ours: &mut SeriesRef,
    applied: &mut Applied,
    put: impl Fn(&mut dyn Appender, SeriesRef) -> Result<SeriesRef, AppendError>,
) -> Result<(), MigrateError> {
    let mut done = put(app, *ours);
    if matches!(done, Err(AppendError::UnknownSeries)) {
        done = put(app, SeriesRef::NONE);
    }
    match done {
        Ok(found) => {
            *ours = found;
            applied.samples += 1;
            Ok(())
        }
        // There, from before.
        Err(AppendError::Duplicate | AppendError::OutOfOrder) => {
            applied.passed_over += 1;
            Ok(())
        }
        Err(e) => Err(StorageError::Other(format!("a sample of the source is refused: {e}")).into()),
    }
}
