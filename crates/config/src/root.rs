//! The whole of `prometheus.yml`.

use std::path::Path;
use std::sync::Arc;

use crate::alerting::AlertingConfig;
use crate::error::{ConfigError, Problem};
use crate::global::{GlobalConfig, RuntimeConfig};
use crate::http::join;
use crate::jobs;
use crate::load::{LoadOptions, Taken, decode_text, expand, read_text};
use crate::otlp::{OtlpConfig, TranslationStrategy};
use crate::remote::{RemoteReadConfig, RemoteWriteConfig};
use crate::scrape::ScrapeConfig;
use crate::sd::is_rule_path;
use crate::storage::{StorageConfig, TsdbConfig};
use crate::tracing::TracingConfig;
use crate::yaml::encode::Later;
use crate::yaml::items::Items;
use crate::yaml::record::yaml_record;
use crate::yaml::{Decode, Decoder, Encode, Hooks, Invalid, Node, Out};
use model::Labels;
use model::name::ValidationScheme;

/// `prometheus.yml`, with defaults filled in.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// `global`.
    pub global: GlobalConfig,
    /// `runtime`.
    pub runtime: RuntimeConfig,
    /// `alerting`.
    pub alerting: AlertingConfig,
    /// Paths and globs, joined to the config's folder.
    pub rule_files: Vec<String>,
    /// Paths and globs, joined to the config's folder.
    pub scrape_config_files: Vec<String>,
    /// Jobs of the main file; [`Config::scrape_configs_all`] adds those of `scrape_config_files`.
    /// Shared: everything that needs a job holds this one.
    pub scrape_configs: Vec<Arc<ScrapeConfig>>,
    /// How the jobs were written, for [`Config::load_file_again`].
    pub(crate) written: jobs::Written,
    /// `storage`.
    pub storage: StorageConfig,
    /// `tracing`.
    pub tracing: TracingConfig,
    /// `remote_write`.
    pub remote_write: Vec<RemoteWriteConfig>,
    /// `remote_read`.
    pub remote_read: Vec<RemoteReadConfig>,
    /// `otlp`.
    pub otlp: OtlpConfig,
}

yaml_record!(Config, "the configuration", {
    global: keep,
    runtime: omit,
    alerting: omit,
    rule_files: omit,
    scrape_config_files: omit,
    scrape_configs: list("empty or null scrape config section"),
    storage: omit,
    tracing: omit,
    remote_write: list("empty or null remote write config section"),
    remote_read: list("empty or null remote read config section"),
    otlp: omit,
});

// A configuration is finished by `Config::finish`, once its jobs are there.
impl Hooks for Config {}

impl Config {
    fn finish(
        &mut self,
        node: &Node,
        cx: &mut Decoder,
        check_jobs: impl FnOnce(&mut Config, &mut Decoder),
    ) -> Result<(), Invalid> {
        self.check_paths(node, cx);
        check_jobs(self, cx);
        let scheme = self.global.metric_name_validation_scheme;
        self.alerting.apply_scheme(scheme, node.get("alerting").unwrap_or(node), cx);
        self.check_remotes(node, cx);
        let strategy = self.otlp.translation_strategy;
        let utf8 = matches!(
            strategy,
            TranslationStrategy::NoTranslation | TranslationStrategy::NoUtf8EscapingWithSuffixes
        );
        if utf8 && scheme == ValidationScheme::Legacy {
            let text = format!(
                "OTLP translation strategy {:?} is not allowed when UTF8 is disabled",
                strategy.as_str()
            );
            return Err(Invalid::at("otlp", text));
        }
        Ok(())
    }

    fn check_paths(&self, node: &Node, cx: &mut Decoder) {
        let lists = [
            ("rule_files", "rule", &self.rule_files),
            ("scrape_config_files", "scrape config", &self.scrape_config_files),
        ];
        for (key, what, paths) in lists {
            let items = node.get(key).map_or(&[][..], Node::items);
            for (i, path) in paths.iter().enumerate().filter(|(_, path)| !is_rule_path(path)) {
                cx.fail(items.get(i).unwrap_or(node).pos, format!("invalid {what} file path {path:?}"));
            }
        }
    }

    fn check_jobs(&mut self, node: &Node, cx: &mut Decoder) {
        let items = node.get("scrape_configs").map_or(&[][..], Node::items);
        let mut taken = Taken::new();
        for (i, job) in self.scrape_configs.iter_mut().enumerate() {
            let (job, node) = (Arc::make_mut(job), items.get(i).unwrap_or(node));
            job.inherit(&self.global, node, cx);
            if taken.insert(job.job_name.clone(), String::new()).is_some() {
                job.fail_taken(node, cx);
            }
        }
    }

    fn check_remotes(&mut self, node: &Node, cx: &mut Decoder) {
        let scheme = self.global.metric_name_validation_scheme;
        let mut taken = Taken::new();
        let items = node.get("remote_write").map_or(&[][..], Node::items);
        for (i, remote) in self.remote_write.iter_mut().enumerate() {
            let node = items.get(i).unwrap_or(node);
            if !remote.name.is_empty() && taken.insert(remote.name.clone(), String::new()).is_some() {
                let at = node.get("name").unwrap_or(node);
                cx.fail(
                    at.pos,
                    format!("found multiple remote write configs with job name {:?}", remote.name),
                );
            }
            remote.apply_scheme(scheme, node, cx);
        }
        taken.clear();
        let items = node.get("remote_read").map_or(&[][..], Node::items);
        for (i, remote) in self.remote_read.iter().enumerate() {
            if !remote.name.is_empty() && taken.insert(remote.name.clone(), String::new()).is_some() {
                let item = items.get(i).unwrap_or(node);
                let at = item.get("name").unwrap_or(item);
                cx.fail(
                    at.pos,
                    format!("found multiple remote read configs with job name {:?}", remote.name),
                );
            }
        }
    }

    /// Reads, checks and completes a file; relative paths are joined to its folder. The jobs of
    /// `scrape_config_files` are not looked at: see [`Config::scrape_configs_all`].
    ///
    /// # Errors
    /// An unreadable file, or all problems found in it.
    pub fn load_file(path: &Path, options: &LoadOptions) -> Result<Config, ConfigError> {
        Config::load_file_again(path, options, None)
    }

    /// As [`Config::load_file`], with what was last read from this path with these options: jobs that are written as
    /// they were there are those of `before`.
    ///
    /// # Errors
    /// As [`Config::load_file`].
    pub fn load_file_again(
        path: &Path,
        options: &LoadOptions,
        before: Option<&Config>,
    ) -> Result<Config, ConfigError> {
        let text = read_text(path)?;
        let file = path.display().to_string();
        let read = Config::parse_named(&text, &file, options, before)?;
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(read.in_directory(dir))
    }

    /// As [`Config::load_file`] for a text: relative paths stay as they are.
    ///
    /// # Errors
    /// All problems found.
    pub fn parse(text: &str, options: &LoadOptions) -> Result<Config, ConfigError> {
        Ok(Config::parse_named(text, "", options, None)?.config)
    }

    fn parse_named(
        text: &str,
        file: &str,
        options: &LoadOptions,
        before: Option<&Config>,
    ) -> Result<jobs::Read, ConfigError> {
        let read = match Items::split(text, "scrape_configs") {
            None => Config::parse_whole(text, options),
            Some(items) => Config::parse_items(&items, options, before).unwrap_or_else(|| {
                // What cannot be read job by job is most often no YAML: that is found without the memory of a tree.
                Node::fault(text).map_or_else(|| Config::parse_whole(text, options), |fault| Err(vec![fault]))
            }),
        };
        read.map_err(|problems| ConfigError::Invalid { file: file.to_string(), problems })
    }

    /// What the document is read over.
    pub(crate) fn start(options: &LoadOptions) -> Config {
        let runtime = RuntimeConfig { gogc: default_gogc(options), log_level: Some(options.log_level) };
        Config { global: options.global_defaults.clone(), runtime, ..Config::default() }
    }

    pub(crate) fn parse_whole(text: &str, options: &LoadOptions) -> Result<jobs::Read, Vec<Problem>> {
        let mut cx = Decoder::new(options);
        let loaded = decode_text(text, Config::start(options), &mut cx, |config, node, cx| {
            if let Some(node) = node.filter(|node| !cx.is_null(node)) {
                config.finish_at(node, cx, |config, cx| config.check_jobs(node, cx));
            }
            if cx.found() == 0 {
                config.complete(node, options, cx);
            }
        });
        loaded.map(jobs::Read::whole).ok_or_else(|| cx.into_problems())
    }

    /// [`Config::finish`], its own finding noted at its place.
    pub(crate) fn finish_at(
        &mut self,
        node: &Node,
        cx: &mut Decoder,
        check_jobs: impl FnOnce(&mut Config, &mut Decoder),
    ) {
        if let Err(invalid) = self.finish(node, cx, check_jobs) {
            cx.fail_at(node, invalid);
        }
    }

    /// Values that an open but empty block took away, the blocks that always exist, and variables.
    pub(crate) fn complete(&mut self, node: Option<&Node>, options: &LoadOptions, cx: &mut Decoder) {
        if self.runtime == RuntimeConfig::zero() {
            self.runtime = Config::start(options).runtime;
        }
        let tsdb = self.storage.tsdb.get_or_insert_with(TsdbConfig::default);
        tsdb.retention.get_or_insert(options.retention);
        for value in self.global.external_label_map.values_mut() {
            *value = expand(value, &mut |name| match name {
                "$" => "$".to_string(),
                name => (options.env)(name).unwrap_or_default(),
            });
        }
        self.global.external_labels = Labels::from_pairs(&self.global.external_label_map);
        if options.agent {
            self.check_agent(node, cx);
        }
    }

    fn check_agent(&self, node: Option<&Node>, cx: &mut Decoder) {
        let refused = [
            ("alerting", self.alerting != AlertingConfig::default()),
            ("rule_files", !self.rule_files.is_empty()),
            ("remote_read", !self.remote_read.is_empty()),
        ];
        for (key, given) in refused {
            if given && let Some(at) = node.and_then(|node| node.get(key)) {
                cx.fail(at.pos, format!("field {key} is not allowed in agent mode"));
            }
        }
    }

    /// Joins the paths of all but the jobs.
    pub(crate) fn set_directory(&mut self, dir: &Path) {
        join(dir, &mut self.global.query_log_file);
        join(dir, &mut self.global.scrape_failure_log_file);
        self.alerting.set_directory(dir);
        self.tracing.tls_config.set_directory(dir);
        self.rule_files.iter_mut().chain(&mut self.scrape_config_files).for_each(|file| join(dir, file));
        self.remote_write.iter_mut().for_each(|remote| remote.http.set_directory(dir));
        self.remote_read.iter_mut().for_each(|remote| remote.http.set_directory(dir));
    }

    /// Jobs of the main file and of all files that `scrape_config_files` names, complete and checked.
    ///
    /// # Errors
    /// An unreadable or wrong file, or a job name that another job has.
    pub fn scrape_configs_all(&self, options: &LoadOptions) -> Result<Vec<Arc<ScrapeConfig>>, ConfigError> {
        let mut jobs = self.scrape_configs.clone();
        let mut taken: Taken =
            jobs.iter().map(|job| (job.job_name.clone(), "main config file".to_string())).collect();
        for pattern in &self.scrape_config_files {
            if !crate::glob::is_sound_pattern(pattern) {
                let text =
                    format!("error retrieving scrape config files for {pattern:?}: syntax error in pattern");
                let problem = crate::error::Problem { line: 0, column: 0, text };
                return Err(ConfigError::Invalid { file: String::new(), problems: vec![problem] });
            }
            for path in crate::glob::glob(pattern) {
                jobs.extend(self.scrape_config_file(&path, &mut taken, options)?);
            }
        }
        Ok(jobs)
    }

    fn scrape_config_file(
        &self,
        path: &Path,
        taken: &mut Taken,
        options: &LoadOptions,
    ) -> Result<Vec<Arc<ScrapeConfig>>, ConfigError> {
        let text = read_text(path)?;
        let file = path.display().to_string();
        let mut cx = Decoder::new(options);
        let loaded = decode_text(&text, ScrapeConfigFile::default(), &mut cx, |read, node, cx| {
            let items = node.and_then(|node| node.get("scrape_configs")).map_or(&[][..], Node::items);
            for (job, node) in read.scrape_configs.iter_mut().zip(items) {
                let job = Arc::make_mut(job);
                job.inherit(&self.global, node, cx);
                let at = node.get("job_name").unwrap_or(node);
                match taken.get(&job.job_name) {
                    Some(first) => {
                        let text = format!(
                            "found multiple scrape configs with job name {:?}, first found in {first}",
                            job.job_name
                        );
                        cx.fail(at.pos, text);
                    }
                    None => {
                        taken.insert(job.job_name.clone(), format!("{file:?}"));
                    }
                }
            }
        });
        let Some(mut read) = loaded else {
            return Err(ConfigError::Invalid { file, problems: cx.into_problems() });
        };
        let dir = path.parent().unwrap_or(Path::new("."));
        read.scrape_configs.iter_mut().for_each(|job| Arc::make_mut(job).set_directory(dir));
        Ok(read.scrape_configs)
    }

    /// The config as upstream prints it in `/api/v1/status/config`: defaults filled in, secrets hidden.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let mut jobs: Vec<Out> =
            self.scrape_configs.iter().map(|job| Out::Later(Later(job.clone()))).collect();
        // One stands for all: where there are jobs they are printed.
        let one = self.scrape_configs.first().cloned().into_iter().collect();
        let mut out = Config { scrape_configs: one, ..self.clone() }.encode();
        if let Out::Map(pairs) = &mut out {
            for (_, value) in pairs.iter_mut().filter(|(key, _)| key == "scrape_configs") {
                *value = Out::Seq { items: std::mem::take(&mut jobs), flow: false };
            }
        }
        crate::yaml::emit::to_text(&out)
    }

    /// Every file the settings refer to besides rules, targets and further jobs: keys, certificates,
    /// passwords, tokens. For `check config`, which tests that they exist.
    #[must_use]
    pub fn referenced_files(&self) -> Vec<&str> {
        let mut files = Vec::new();
        for job in &self.scrape_configs {
            job.http.files(&mut files);
            job.sd.client_files(&mut files);
        }
        for group in &self.alerting.alertmanagers {
            group.http.files(&mut files);
            group.sd.client_files(&mut files);
        }
        self.remote_write.iter().for_each(|remote| remote.http.files(&mut files));
        self.remote_read.iter().for_each(|remote| remote.http.files(&mut files));
        self.tracing.tls_config.files(&mut files);
        files.retain(|file| !file.is_empty());
        files
    }
}

/// One job as upstream prints it in `/api/v1/scrape_pools/{pool}/config`.
impl ScrapeConfig {
    /// The job as YAML.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        crate::yaml::emit::to_text(&self.encode())
    }
}

/// A file named by `scrape_config_files`.
#[derive(Default)]
struct ScrapeConfigFile {
    scrape_configs: Vec<Arc<ScrapeConfig>>,
}

yaml_record!(ScrapeConfigFile, "a scrape config file", {
    scrape_configs: list("empty or null scrape config section"),
});

impl Hooks for ScrapeConfigFile {}

/// Upstream's default of `runtime.gogc`: GOGC from the environment, else 75.
fn default_gogc(options: &LoadOptions) -> i64 {
    match (options.env)("GOGC") {
        Some(text) if text.eq_ignore_ascii_case("off") => -1,
        Some(text) => text.parse().unwrap_or(75),
        None => 75,
    }
}
