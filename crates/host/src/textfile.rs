//! `*.prom` files that scripts leave for the collector, in text format without timestamps.
//!
//! A file with an error is left out whole and shown by `node_textfile_scrape_error`; the others go on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use exposition::{Event, Family, Metric, MetricData, ParserOptions, SampleValue, TextParser};
use model::labels::METRIC_NAME;
use model::{Labels, LabelsBuilder, MetricType};

use crate::output::Output;

/// Largest file: a page of 100,000 samples. Scripts leave some hundreds.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Files read at most.
const FILES_MAX: usize = 1000;

pub(crate) fn collect(folders: &[String], out: &mut Output) {
    let mut failed = false;
    let mut read = Vec::new();
    for folder in folders.iter().filter(|f| !f.is_empty()) {
        match files(Path::new(folder)) {
            Ok(paths) => read.extend(paths),
            Err(error) => {
                failed = true;
                tracing::error!(%folder, %error, "failed to read textfile collector directory");
            }
        }
    }
    let mut helps: BTreeMap<String, String> = BTreeMap::new();
    for path in read.into_iter().take(FILES_MAX) {
        match families(&path) {
            Ok(families) => {
                for family in families {
                    // The first help text counts; a family that contradicts it is left out.
                    if *helps.entry(family.name.clone()).or_insert_with(|| family.help.clone()) != family.help
                    {
                        failed = true;
                        tracing::error!(file = %path.display(), metric = family.name, "inconsistent metric help text");
                        continue;
                    }
                    let to = out.family(&family.name, &family.help, family.kind);
                    to.metrics.extend(family.metrics);
                }
                mtime(&path, out);
            }
            Err(error) => {
                failed = true;
                tracing::error!(file = %path.display(), error, "failed to collect textfile data");
            }
        }
    }
    let help = "1 if there was an error opening or reading a file, 0 otherwise";
    out.gauge("node_textfile_scrape_error", help, &[], f64::from(u8::from(failed)));
}

fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "prom") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn mtime(path: &Path, out: &mut Output) {
    let modified = path.metadata().and_then(|m| m.modified()).ok();
    if let Some(age) = modified.and_then(|t| t.duration_since(UNIX_EPOCH).ok()) {
        let file = path.display().to_string();
        let help = "Unixtime mtime of textfiles successfully read.";
        out.gauge("node_textfile_mtime_seconds", help, &[("file", &file)], age.as_secs() as f64);
    }
}

fn families(path: &Path) -> Result<Vec<Family>, String> {
    let size = path.metadata().map_err(|e| e.to_string())?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("{size} bytes, more than {FILE_BYTES_MAX}"));
    }
    let body = std::fs::read(path).map_err(|e| e.to_string())?;
    let mut page = Page::default();
    let options = ParserOptions::default();
    let mut parser = TextParser::new(&body, &options);
    loop {
        match parser.next().map_err(|e| e.to_string())? {
            Event::Eof => break,
            Event::Type { family, kind } => page.entry(&family).kind = kind,
            Event::Help { family, help } => page.entry(&family).help = Some(help.into_owned()),
            Event::Unit { .. } | Event::Comment => {}
            Event::Series(series) => {
                if series.timestamp_ms.is_some() {
                    return Err("contains unsupported client-side timestamps, skipping entire file".into());
                }
                let SampleValue::Float(value) = series.value else { continue };
                let mut labels = LabelsBuilder::new();
                series.source.build(&mut labels).map_err(|e| e.to_string())?;
                page.sample(&mut labels, value);
            }
        }
    }
    Ok(page.finish(path))
}

/// Families by name, samples put where their TYPE says.
#[derive(Default)]
struct Page(BTreeMap<String, Entry>);

#[derive(Default)]
struct Entry {
    kind: MetricType,
    help: Option<String>,
    metrics: BTreeMap<Labels, MetricData>,
}

impl Page {
    fn entry(&mut self, family: &str) -> &mut Entry {
        self.0.entry(family.to_string()).or_default()
    }

    fn sample(&mut self, labels: &mut LabelsBuilder, value: f64) {
        let name = labels.get(METRIC_NAME).to_string();
        labels.del(METRIC_NAME);
        let part = ["_bucket", "_sum", "_count", ""].into_iter().find_map(|suffix| {
            let family = name.strip_suffix(suffix)?;
            let kind = self.0.get(family)?.kind;
            let fits = match suffix {
                "_bucket" => kind == MetricType::Histogram,
                "" => true,
                _ => matches!(kind, MetricType::Histogram | MetricType::Summary),
            };
            fits.then(|| (family.to_string(), kind, suffix))
        });
        let (family, kind, suffix) = part.unwrap_or((name, MetricType::Unknown, ""));
        let bound = match kind {
            MetricType::Histogram => "le",
            MetricType::Summary => "quantile",
            _ => "",
        };
        let at = labels.get(bound).parse::<f64>().ok();
        labels.del(bound);
        let entry = self.entry(&family);
        let empty = || match kind {
            MetricType::Histogram => MetricData::Histogram { count: 0, sum: 0.0, buckets: Vec::new() },
            MetricType::Summary => MetricData::Summary { count: 0, sum: 0.0, quantiles: Vec::new() },
            _ => MetricData::Number(0.0),
        };
        match (entry.metrics.entry(labels.build()).or_insert_with(empty), suffix) {
            (MetricData::Histogram { count, .. } | MetricData::Summary { count, .. }, "_count") => {
                *count = value as u64
            }
            (MetricData::Histogram { sum, .. } | MetricData::Summary { sum, .. }, "_sum") => *sum = value,
            (MetricData::Histogram { buckets, .. }, "_bucket") => {
                buckets.extend(at.filter(|b| b.is_finite()).map(|b| (b, value as u64)));
            }
            (MetricData::Summary { quantiles, .. }, _) => quantiles.extend(at.map(|q| (q, value))),
            (data, _) => *data = MetricData::Number(value),
        }
    }

    fn finish(self, path: &Path) -> Vec<Family> {
        let family = |(name, entry): (String, Entry)| Family {
            help: entry.help.unwrap_or_else(|| format!("Metric read from {}", path.display())),
            kind: entry.kind,
            metrics: entry
                .metrics
                .into_iter()
                .map(|(labels, data)| Metric { labels, data, ..Metric::default() })
                .collect(),
            name,
            ..Family::default()
        };
        self.0.into_iter().filter(|(_, e)| !e.metrics.is_empty()).map(family).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collected(files: &[(&str, &str)]) -> BTreeMap<String, Family> {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let mut out = Output::default();
        collect(&[folder.path().display().to_string()], &mut out);
        out.into_families().into_iter().map(|f| (f.name.clone(), f)).collect()
    }

    fn number(family: &Family) -> f64 {
        let MetricData::Number(value) = family.metrics[0].data else { unreachable!() };
        value
    }

    #[test]
    fn files_become_families() {
        let text = "# HELP backup_age Age.\n# TYPE backup_age gauge\nbackup_age{db=\"x\"} 12.5\n\
                    # TYPE took summary\ntook{quantile=\"0.5\"} 1\ntook_sum 3\ntook_count 2\n\
                    # TYPE size histogram\nsize_bucket{le=\"1\"} 1\nsize_bucket{le=\"+Inf\"} 4\nsize_sum 9\nsize_count 4\nplain 7\n";
        let found = collected(&[("a.prom", text), ("ignored.txt", "x 1\n")]);
        assert_eq!((number(&found["backup_age"]), number(&found["plain"])), (12.5, 7.0));
        assert_eq!(found["backup_age"].help, "Age.");
        let MetricData::Summary { count, sum, quantiles } = &found["took"].metrics[0].data else {
            unreachable!()
        };
        assert_eq!((*count, *sum, quantiles.as_slice()), (2, 3.0, &[(0.5, 1.0)][..]));
        let MetricData::Histogram { count, buckets, .. } = &found["size"].metrics[0].data else {
            unreachable!()
        };
        assert_eq!((*count, buckets.as_slice()), (4, &[(1.0, 1)][..]));
        assert_eq!(number(&found["node_textfile_scrape_error"]), 0.0);
        assert_eq!(found["node_textfile_mtime_seconds"].metrics.len(), 1);
        assert!(!found.contains_key("x"));
    }

    #[test]
    fn a_bad_file_is_left_out_and_shown() {
        for bad in ["broken{ 1\n", "stamped 1 1700000000000\n"] {
            let found = collected(&[("a.prom", "good 1\n"), ("b.prom", bad)]);
            assert_eq!(number(&found["node_textfile_scrape_error"]), 1.0, "{bad}");
            assert!(found.contains_key("good") && found.len() == 3, "{:?}", found.keys());
        }
    }
}
