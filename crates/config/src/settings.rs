//! godwit's own settings (`--godwit.config`): a file beside `prometheus.yml`, which stays readable for
//! every tool of Prometheus.

use std::path::Path;
use std::time::Duration;

use crate::error::ConfigError;
use crate::http::join;
use crate::load::{LoadOptions, decode_text, read_text};
use crate::yaml::record::yaml_record;
use crate::yaml::value::Size;
use crate::yaml::{Decoder, Hooks, Invalid, Node};

/// godwit's own settings. The default is what runs without a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GodwitSettings {
    /// Memory the process aims to stay below, in bytes. 0: 80 % of the cgroup's or machine's limit.
    pub memory_budget: u64,
    /// The built-in collector of the machine's metrics.
    pub host_collector: HostCollectorSettings,
    /// How the data folder is treated.
    pub storage: StorageSettings,
    /// What is told of queries.
    pub query: QuerySettings,
}

/// `query`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QuerySettings {
    /// Queries that take at least so long are told of in the server's log. Zero: none.
    pub slow_threshold: Duration,
    /// `global.query_log_file` takes only these.
    pub log_slow_only: bool,
}

/// `storage`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StorageSettings {
    /// A scrape's commit or a write's 2xx comes when its samples are on the disk, power loss included.
    pub strict_sync: bool,
    /// Memory for log records while the disk refuses them, in bytes. 0: 256 MiB.
    pub held_log: u64,
    /// `None`: on. Blocks are read again in the background to find damage.
    pub scrub: Option<bool>,
    /// How much of them each minute, in bytes. 0: 32 MiB.
    pub scrub_per_minute: u64,
    /// `None`: on. Images of the head are written, from which a start goes on.
    pub head_image: Option<bool>,
    /// Bytes of log after which the next one is written at the earliest. 0: 4 MiB.
    pub head_image_log: u64,
    /// Series in memory from which on new ones are refused. 0: as many as the memory budget holds.
    pub series_max: u64,
    /// The same for series with one value of the label `job`. 0: no limit.
    pub job_series_max: u64,
    /// `None`: on. Series that went stale leave memory for a block before the rest does.
    pub evict_stale: Option<bool>,
    /// Series that are kept for a time of their own; the first that matches a series counts.
    pub retention: Vec<SeriesRetention>,
    /// How much of blocks is written anew for that each minute, in bytes. 0: 1 GiB.
    pub retention_rewrite_per_minute: u64,
    /// Samples that a chunk of floats aims at in blocks. 0: 480; 120: chunks stay as the head cut them.
    pub compacted_chunk_samples: u64,
}

/// One of `storage.retention`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeriesRetention {
    /// A selector: `{namespace="x"}`. Its text is checked by whoever knows PromQL.
    pub selector: String,
    /// How long, behind the newest block's end.
    pub keep: Duration,
}

/// `host_collector`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostCollectorSettings {
    /// `None`: on where godwit runs on its embedded default config, else off.
    pub enabled: Option<bool>,
    /// Root under which /proc and /sys are read, for containers. "": "/".
    pub rootfs: String,
    /// Folder of `*.prom` files to add. "": none.
    pub textfile_directory: String,
}

yaml_record!(GodwitSettings, "godwit's settings", {
    memory_budget: with(Size),
    host_collector: omit,
    storage: omit,
    query: omit,
});
yaml_record!(QuerySettings, "query", {
    slow_threshold: omit,
    log_slow_only: omit,
});
yaml_record!(StorageSettings, "storage", {
    strict_sync: omit,
    held_log: with(Size),
    scrub: omit,
    scrub_per_minute: with(Size),
    head_image: omit,
    head_image_log: with(Size),
    series_max: omit,
    job_series_max: omit,
    evict_stale: omit,
    retention: omit,
    retention_rewrite_per_minute: with(Size),
    compacted_chunk_samples: omit,
});
yaml_record!(SeriesRetention, "storage.retention", {
    selector = "match": omit,
    keep: omit,
});
yaml_record!(HostCollectorSettings, "host_collector", {
    enabled: omit,
    rootfs: omit,
    textfile_directory: omit,
});

impl Hooks for HostCollectorSettings {}
/// A chunk's header counts up to 65,535; above this a look at one sample costs more than it saves.
const CHUNK_SAMPLES_MAX: u64 = 4000;

impl Hooks for StorageSettings {
    fn finish(&mut self, _node: &Node, _cx: &mut Decoder) -> Result<(), Invalid> {
        let n = self.compacted_chunk_samples;
        if n != 0 && !(120..=CHUNK_SAMPLES_MAX).contains(&n) {
            return Err(Invalid::at(
                "compacted_chunk_samples",
                "compacted_chunk_samples must be 120 to 4000",
            ));
        }
        Ok(())
    }
}

impl Hooks for QuerySettings {
    fn finish(&mut self, _node: &Node, _cx: &mut Decoder) -> Result<(), Invalid> {
        if self.log_slow_only && self.slow_threshold.is_zero() {
            return Err(Invalid::at(
                "log_slow_only",
                "log_slow_only needs slow_threshold: from when a query is slow, as 5s",
            ));
        }
        Ok(())
    }
}

impl Hooks for SeriesRetention {
    fn finish(&mut self, _node: &Node, _cx: &mut Decoder) -> Result<(), Invalid> {
        if self.selector.is_empty() {
            return Err("match is missing: which series, as {namespace=\"x\"}".into());
        }
        if self.keep.is_zero() {
            return Err("keep is missing: how long these series are kept, as 7d".into());
        }
        Ok(())
    }
}

/// Below this a server cannot hold even its own series and a query.
const MEMORY_BUDGET_MIN: u64 = 32 << 20;

impl Hooks for GodwitSettings {
    fn finish(&mut self, _node: &Node, _cx: &mut Decoder) -> Result<(), Invalid> {
        if self.memory_budget != 0 && self.memory_budget < MEMORY_BUDGET_MIN {
            return Err(Invalid::at("memory_budget", "memory_budget must be at least 32MB"));
        }
        Ok(())
    }
}

impl GodwitSettings {
    /// Reads and checks a file; relative paths are joined to its folder.
    ///
    /// # Errors
    /// An unreadable file, or all problems found in it.
    pub fn load_file(path: &Path) -> Result<GodwitSettings, ConfigError> {
        let mut cx = Decoder::new(&LoadOptions::default());
        let text = read_text(path)?;
        let Some(mut settings) = decode_text(&text, GodwitSettings::default(), &mut cx, |_, _, _| {}) else {
            return Err(ConfigError::Invalid {
                file: path.display().to_string(),
                problems: cx.into_problems(),
            });
        };
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        join(dir, &mut settings.host_collector.rootfs);
        join(dir, &mut settings.host_collector.textfile_directory);
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_refuses() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("godwit.yml");
        std::fs::write(
            &file,
            "memory_budget: 2GB\nhost_collector: {enabled: false, textfile_directory: text}\n",
        )
        .unwrap();
        let settings = GodwitSettings::load_file(&file).unwrap();
        assert_eq!((settings.memory_budget, settings.host_collector.enabled), (2 << 30, Some(false)));
        assert_eq!(Path::new(&settings.host_collector.textfile_directory), dir.path().join("text"));
        assert_eq!(settings.storage, StorageSettings::default());
        let text = "storage: {strict_sync: true, held_log: 64MB, scrub: false, scrub_per_minute: 1MB, series_max: 1000000, job_series_max: 5, evict_stale: false, head_image: false, head_image_log: 64KB}\n";
        std::fs::write(&file, text).unwrap();
        let storage = GodwitSettings::load_file(&file).unwrap().storage;
        assert_eq!((storage.strict_sync, storage.held_log), (true, 64 << 20));
        assert_eq!((storage.scrub, storage.scrub_per_minute), (Some(false), 1 << 20));
        assert_eq!((storage.series_max, storage.job_series_max), (1_000_000, 5));
        assert_eq!(storage.evict_stale, Some(false));
        assert_eq!((storage.head_image, storage.head_image_log), (Some(false), 64 << 10));
        let text = "storage:\n  retention:\n  - {match: '{namespace=\"x\"}', keep: 7d}\n  compacted_chunk_samples: 240\n";
        std::fs::write(&file, text).unwrap();
        let storage = GodwitSettings::load_file(&file).unwrap().storage;
        let kept =
            SeriesRetention { selector: "{namespace=\"x\"}".into(), keep: Duration::from_secs(7 * 86_400) };
        assert_eq!((storage.retention, storage.compacted_chunk_samples), (vec![kept], 240));
        for bad in ["{retention: [{keep: 7d}]}", "{retention: [{match: up}]}", "{compacted_chunk_samples: 7}"]
        {
            std::fs::write(&file, format!("storage: {bad}\n")).unwrap();
            assert!(GodwitSettings::load_file(&file).is_err(), "{bad}");
        }
        std::fs::write(&file, "query: {slow_threshold: 5s, log_slow_only: true}\n").unwrap();
        let query = GodwitSettings::load_file(&file).unwrap().query;
        assert_eq!((query.slow_threshold, query.log_slow_only), (Duration::from_secs(5), true));
        std::fs::write(&file, "query: {log_slow_only: true}\n").unwrap();
        assert!(GodwitSettings::load_file(&file).is_err());
        std::fs::write(&file, "memory_buget: 2GB\n").unwrap();
        let error = GodwitSettings::load_file(&file).unwrap_err().to_string();
        assert!(
            error.contains(":1:1: unknown field \"memory_buget\"")
                && error.contains("did you mean \"memory_budget\"?"),
            "{error}"
        );
        std::fs::write(&file, "memory_budget: 1MB\n").unwrap();
        assert!(GodwitSettings::load_file(&file).is_err());
    }
}
