//! The series that each scrape reports about itself: `up` and its kin (upstream: `scrapeLoop.report`).

use model::{Labels, MetricMetadata, MetricType};
use storage::{AppendError, Appender, SeriesRef};

/// Name, help and unit of the reported series, in the order in which they are appended; the last three
/// only with `extra_scrape_metrics`.
const SERIES: [(&str, &str, &str); 8] = [
    ("up", "Health of the scrape target. 1 means the target is healthy, 0 if the scrape failed.", "targets"),
    ("scrape_duration_seconds", "Duration of the last scrape in seconds.", "seconds"),
    ("scrape_samples_scraped", "Number of samples last scraped.", "samples"),
    (
        "scrape_samples_post_metric_relabeling",
        "Number of samples remaining after metric relabeling was applied.",
        "samples",
    ),
    ("scrape_series_added", "Number of series in the last scrape.", "series"),
    ("scrape_timeout_seconds", "The configured scrape timeout for a target.", "seconds"),
    (
        "scrape_sample_limit",
        "The configured sample limit for a target. Returns zero if there is no limit configured.",
        "samples",
    ),
    (
        "scrape_body_size_bytes",
        "The uncompressed size of the last scrape response, if successful. Scrapes failing because body_size_limit is exceeded report -1, other scrape failures report 0.",
        "bytes",
    ),
];
/// Those without `extra_scrape_metrics`.
const PLAIN: usize = 5;

/// One scrape's figures.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) healthy: bool,
    pub(crate) duration_seconds: f64,
    pub(crate) scraped: u64,
    pub(crate) post_relabel: u64,
    pub(crate) series_added: u64,
    pub(crate) timeout_seconds: f64,
    pub(crate) sample_limit: u64,
    /// -1 where `body_size_limit` was exceeded.
    pub(crate) body_bytes: f64,
}

/// References of a target's reported series. Their labels are made where the store does not know a reference, the
/// first time as a rule: held, they would be a kilobyte a target.
#[derive(Debug)]
pub(crate) struct ReportSeries {
    target: Labels,
    refs: [SeriesRef; SERIES.len()],
}

impl ReportSeries {
    pub(crate) fn new(target: &Labels) -> Self {
        ReportSeries { target: target.clone(), refs: [SeriesRef::NONE; SERIES.len()] }
    }

    /// Appends the figures of a scrape.
    ///
    /// # Errors
    /// A refusal that has nothing to do with the samples' time: such a scrape must not be committed.
    pub(crate) fn append(
        &mut self,
        app: &mut dyn Appender,
        t_ms: i64,
        figures: &Figures,
        extra: bool,
        metadata: bool,
    ) -> Result<(), AppendError> {
        let values = [
            f64::from(u8::from(figures.healthy)),
            figures.duration_seconds,
            figures.scraped as f64,
            figures.post_relabel as f64,
            figures.series_added as f64,
            figures.timeout_seconds,
            figures.sample_limit as f64,
            figures.body_bytes,
        ];
        self.write(app, t_ms, &values, extra, metadata)
    }

    /// Appends staleness markers.
    ///
    /// # Errors
    /// As `append`.
    pub(crate) fn append_stale(
        &mut self,
        app: &mut dyn Appender,
        t_ms: i64,
        extra: bool,
    ) -> Result<(), AppendError> {
        self.write(app, t_ms, &[model::stale_nan(); SERIES.len()], extra, false)
    }

    fn write(
        &mut self,
        app: &mut dyn Appender,
        t_ms: i64,
        values: &[f64; SERIES.len()],
        extra: bool,
        metadata: bool,
    ) -> Result<(), AppendError> {
        let n = if extra { SERIES.len() } else { PLAIN };
        let ReportSeries { target, refs } = self;
        // With labels the store would make a series of those where it lost the reference.
        let none = Labels::empty();
        let rows = refs.iter_mut().zip(values).zip(&SERIES);
        for ((series, value), (name, help, unit)) in rows.take(n) {
            let mut result = Err(AppendError::UnknownSeries);
            if !series.is_none() {
                result = app.append(*series, &none, 0, t_ms, *value);
            }
            if matches!(result, Err(AppendError::UnknownSeries)) {
                result = app.append(SeriesRef::NONE, &labels_of(name, target), 0, t_ms, *value);
            }
            match result {
                Ok(found) => {
                    if metadata && series.is_none() {
                        let about = MetricMetadata {
                            kind: MetricType::Gauge,
                            help: (*help).to_string(),
                            unit: (*unit).to_string(),
                        };
                        // A store without metadata records is no reason to lose the sample.
                        let _ = app.update_metadata(found, &about);
                    }
                    *series = found;
                }
                // Expected where a target went away and came back with a new loop.
                Err(AppendError::OutOfOrder | AppendError::TooOld | AppendError::Duplicate) => {}
                // The target's known series are not to suffer.
                Err(AppendError::SeriesLimit(_)) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }
}

/// The name and the target's labels. A target label `__name__` cannot be: such labels are not public.
fn labels_of(name: &str, target: &Labels) -> Labels {
    let mut builder = target.to_builder();
    builder.set(model::labels::METRIC_NAME, name);
    builder.build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_targets_labels_are_on_them() {
        let target = Labels::from_pairs([("job", "j"), ("instance", "i:1")]);
        let up = labels_of(SERIES[0].0, &target);
        assert_eq!(up.to_string(), r#"{__name__="up", instance="i:1", job="j"}"#);
    }
}
