//! A target's memory between scrapes, and the three ways through a body: compared with the last page, event
//! by event, and empty.

use std::cell::Cell;
use std::sync::Arc;

use exposition::Format;
use model::LabelsBuilder;
use storage::{Appender, Rejected, SeriesRef};

use super::page::{EntryId, Page};
use super::session::{OWN_KEY, Session};
use super::{IngestError, IngestOptions, IngestReport, TargetMetadata};

/// Metadata is kept for so many scrapes after its family disappeared, as upstream keeps it.
const METADATA_SCRAPES: u32 = 10;
/// A survey is made anew after so many scrapes: a series may have come to the store by another way.
const SURVEY_SCRAPES: u8 = 16;
/// Failed scrapes may grow the cache to twice its size at the last success and this many lines more.
const GROWTH_SLACK: usize = 1000;

/// The memory of one target between scrapes. Make a new one where the job's relabeling, label or histogram
/// settings change: what a line became is remembered, not checked again.
#[derive(Debug)]
pub struct TargetCache {
    pub(super) page: Page,
    pub(super) metadata: TargetMetadata,
    /// By family number: scrape in which it was last read, and last changed.
    pub(super) families: Vec<FamilyTimes>,
    /// Number of this scrape; starts so that "the one before last" is a number too.
    pub(super) iteration: u32,
    /// Entries tracked for staleness in the scrape before, in this one, and in both: where the first and
    /// the last are equal, nothing vanished, and no entry needs to be looked at.
    pub(super) tracked_before: usize,
    pub(super) tracked_now: usize,
    pub(super) carried: usize,
    size_at_success: usize,
    /// Scrapes for which what the store has of this target is known to be remembered: set by a page whose every
    /// unknown line was offered. 0: not known.
    pub(super) survey: u8,
    /// Why the store refused new series in the last scrape.
    pub(super) refused_for: Option<Arc<str>>,
    pub(super) columns: Columns,
    pub(super) builder: LabelsBuilder,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FamilyTimes {
    pub(super) seen: u32,
    pub(super) changed: u32,
}

/// Samples that wait for the store, one column each.
#[derive(Debug, Default)]
pub(super) struct Columns {
    pub(super) series: Vec<SeriesRef>,
    pub(super) values: Vec<f64>,
    /// Entry of each sample; the highest bit says that it was tracked in the scrape before.
    pub(super) entries: Vec<EntryId>,
    /// Where each sample's key is.
    pub(super) keys: Vec<KeyPlace>,
    /// Keys that are not in the body.
    pub(super) own_keys: Vec<u8>,
    pub(super) rejected: Vec<Rejected>,
}

/// Place of a key: bytes of the body, or of [`Columns::own_keys`] where the highest bit of `at` is set.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyPlace {
    pub(super) at: u32,
    pub(super) bytes: u32,
}

/// Columns longer than this are not kept for the next page: at 28 bytes a sample that is 2 MiB a thread.
const COLUMNS_KEPT_MAX: usize = 64 << 10;
/// Nor is more text of keys than this.
const OWN_KEY_BYTES_KEPT_MAX: usize = 4 << 20;

thread_local! {
    /// A page's columns are of no use after it. One set a thread serves all targets; one a target would be
    /// 40 bytes a series.
    static COLUMNS: Cell<Columns> = Cell::default();
}

impl Columns {
    pub(super) fn clear(&mut self) {
        self.series.clear();
        self.values.clear();
        self.entries.clear();
        self.keys.clear();
        self.own_keys.clear();
        self.rejected.clear();
    }
}

impl Default for TargetCache {
    fn default() -> Self {
        TargetCache {
            page: Page::default(),
            metadata: TargetMetadata::default(),
            families: Vec::new(),
            iteration: 2,
            tracked_before: 0,
            tracked_now: 0,
            carried: 0,
            size_at_success: 0,
            survey: 0,
            refused_for: None,
            columns: Columns::default(),
            builder: LabelsBuilder::new(),
        }
    }
}

impl TargetCache {
    /// An empty cache.
    #[must_use]
    pub fn new() -> Self {
        TargetCache::default()
    }

    /// Ingests a body scraped at `scrape_time_ms` and marks series that vanished as stale. An empty body is
    /// a scrape without samples. The caller commits on success; on error it rolls back, opens another
    /// transaction and calls [`TargetCache::write_stale`].
    ///
    /// # Errors
    /// The body's syntax, a limit, or a store that refuses samples for reasons other than their time.
    #[allow(
        clippy::result_large_err,
        reason = "the report is wanted on failure, too, and one is made a scrape"
    )]
    pub fn ingest(
        &mut self,
        body: &[u8],
        format: Format,
        scrape_time_ms: i64,
        opts: &IngestOptions,
        app: &mut dyn Appender,
    ) -> Result<IngestReport, IngestError> {
        if body.is_empty() {
            return self.write_stale(scrape_time_ms, opts, app);
        }
        self.page.begin();
        self.refused_for = None;
        self.columns = COLUMNS.take();
        let mut session = Session::new(self, app, opts, body, scrape_time_ms);
        session.report.body_bytes = body.len() as u64;
        // Created timestamps need a look ahead, conversion a look back, unit labels more than a line.
        let plain = !(opts.convert_classic_histograms_to_nhcb || opts.type_and_unit_labels)
            && body.len() < OWN_KEY as usize;
        let done = match format {
            Format::Text if plain => session.read_text(body),
            Format::OpenMetrics if plain && !opts.wants_start() => session.read_openmetrics(body),
            _ => session.read_events(body, format),
        };
        let done = done.and_then(|()| session.finish());
        let (mut report, passed_over) = (session.report, session.passed_over);
        let columns = std::mem::take(&mut self.columns);
        if columns.series.capacity() <= COLUMNS_KEPT_MAX
            && columns.own_keys.capacity() <= OWN_KEY_BYTES_KEPT_MAX
        {
            COLUMNS.set(columns);
        }
        match done {
            Ok(()) => {
                self.survey = match (report.series_refused, passed_over) {
                    (0, _) => 0,
                    (_, 0) => SURVEY_SCRAPES,
                    _ => self.survey.saturating_sub(1),
                };
                report.cache_flush_forced = self.end(true);
                Ok(report)
            }
            Err(failure) => {
                self.survey = 0;
                Err(IngestError { report, failure })
            }
        }
    }

    /// Why the store refused new series of the last page; `None` where it refused none.
    #[must_use]
    pub fn refused_for(&self) -> Option<&Arc<str>> {
        self.refused_for.as_ref()
    }

    /// After a failed scrape, or at the end of a target: staleness markers for the series of the scrape
    /// before. As upstream, series that a failed body did bring are spared this once.
    ///
    /// # Errors
    /// A store that refuses markers for reasons other than their time.
    #[allow(clippy::result_large_err, reason = "as above")]
    pub fn write_stale(
        &mut self,
        t_ms: i64,
        opts: &IngestOptions,
        app: &mut dyn Appender,
    ) -> Result<IngestReport, IngestError> {
        let mut session = Session::new(self, app, opts, &[], t_ms);
        let done = session.mark_stale();
        let mut report = session.report;
        report.cache_flush_forced = self.end(false);
        done.map(|()| report).map_err(|failure| IngestError { report, failure })
    }

    /// Metadata of the target's families; the handle stays valid and current while the cache lives.
    #[must_use]
    pub fn metadata(&self) -> &TargetMetadata {
        &self.metadata
    }

    /// Lines remembered: series, dropped series, blocks of metadata.
    #[must_use]
    pub fn lines(&self) -> usize {
        self.page.len()
    }

    /// Bytes held, without metadata.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.page.bytes()
    }

    /// Ends the scrape. `flush` forgets what was not seen in it; so does growth through failed scrapes, which
    /// the result counts.
    fn end(&mut self, flush: bool) -> u64 {
        let size = self.page.len() + self.families.len();
        let forced = !flush && size > self.size_at_success * 2 + GROWTH_SLACK;
        if flush {
            self.size_at_success = size;
            self.page.finish(self.iteration);
        }
        if forced {
            self.page.evict(self.iteration, true);
        }
        if flush || forced {
            self.forget_families();
        }
        self.tracked_before = std::mem::take(&mut self.tracked_now);
        self.carried = 0;
        self.iteration = self.iteration.wrapping_add(1);
        u64::from(forced)
    }

    fn forget_families(&mut self) {
        let now = self.iteration;
        let old = |t: &FamilyTimes| t.seen != 0 && now.wrapping_sub(t.seen) > METADATA_SCRAPES;
        if !self.families.iter().any(old) {
            return;
        }
        let ids: Vec<u32> =
            self.families.iter().enumerate().filter(|(_, t)| old(t)).map(|(i, _)| i as u32).collect();
        self.metadata.remove(&ids);
        for id in ids {
            if let Some(times) = self.families.get_mut(id as usize) {
                *times = FamilyTimes::default();
            }
        }
    }
}
