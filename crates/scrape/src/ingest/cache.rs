//! A target's previous page and what became of each of its lines.

use exposition::Format;
use storage::Appender;

use super::{IngestError, IngestOptions, IngestReport, TargetMetadata};

/// The memory of one target between scrapes.
#[derive(Debug, Default)]
pub struct TargetCache {
    metadata: TargetMetadata,
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
    pub fn ingest(
        &mut self,
        body: &[u8],
        format: Format,
        scrape_time_ms: i64,
        opts: &IngestOptions,
        app: &mut dyn Appender,
    ) -> Result<IngestReport, IngestError> {
        let _ = (body, format, scrape_time_ms, opts, app);
        Ok(IngestReport::default())
    }

    /// After a failed scrape, or at the end of a target: staleness markers for all series of the scrape
    /// before. Returns how many were written.
    ///
    /// # Errors
    /// A store that refuses markers for reasons other than their time.
    pub fn write_stale(
        &mut self,
        t_ms: i64,
        opts: &IngestOptions,
        app: &mut dyn Appender,
    ) -> Result<IngestReport, IngestError> {
        let _ = (t_ms, opts, app);
        Ok(IngestReport::default())
    }

    /// Metadata of the target's families; the handle stays valid and current while the cache lives.
    #[must_use]
    pub fn metadata(&self) -> &TargetMetadata {
        &self.metadata
    }

    /// Series remembered from the last scrape.
    #[must_use]
    pub fn series(&self) -> usize {
        0
    }
}
