//! The ordered table of what a reload changes.

use std::sync::{Arc, OnceLock};

use config::{Config, RetentionConfig, ScrapeConfig};
use model::relabel::RelabelConfig;
use tsdb::compact::Recode;
use tsdb::{Db, Retention};
use web::ConfigView;

use super::not_built;
use super::parts::Handles;
use crate::args::ServerArgs;
use crate::late::LateDb;
use crate::reload::{Loaded, Reloader};

/// Fills the table. Those that can refuse come first.
pub fn add(reloader: &mut Reloader, args: &ServerArgs, late: &LateDb, handles: &Handles) {
    let manager = handles.scrape.clone();
    reloader.step("scrape", move |loaded| {
        let manager = manager.clone();
        async move { manager.apply_config(&loaded.config, loaded.jobs.clone()).await.map_err(|e| e.to_string()) }
    });
    let manager = handles.notifier.clone();
    reloader.step("notify", move |loaded| {
        std::future::ready(manager.apply_config(&loaded.config).map_err(|e| e.to_string()))
    });
    let sender = handles.sender.clone();
    reloader.step("remote_storage", move |loaded| {
        let sender = sender.clone();
        async move {
            // Looks at the log's folder.
            let applied = tokio::task::spawn_blocking(move || sender.apply_config(&loaded.config)).await;
            applied.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
        }
    });
    let (state, view) = (handles.state.clone(), Arc::clone(&handles.config));
    reloader.step("web_handler", move |loaded| {
        let before = view.swap(Arc::new(config_view(&loaded)));
        let reopened = state.config_reloaded().map_err(|e| {
            view.store(before);
            format!("cannot open {}: {e}", loaded.config.global.query_log_file)
        });
        async move { reopened }
    });
    let manager = handles.rules.clone();
    let (engine, parser) = (Arc::clone(&handles.engine), handles.engine.options().parser);
    reloader.step("rules", move |loaded| {
        let (manager, engine) = (manager.clone(), Arc::clone(&engine));
        async move {
            let global = &loaded.config.global;
            let interval = global.evaluation_interval;
            let loader = rules::Loader { parser, scheme: global.metric_name_validation_scheme };
            let patterns = loaded.config.rule_files.clone();
            let groups = tokio::task::spawn_blocking(move || loader.load(&patterns, interval)).await;
            let groups = groups.map_err(|e| e.to_string())?.map_err(|e| e.to_string())?;
            engine.set_default_step_ms(i64::try_from(interval.as_millis()).unwrap_or(i64::MAX));
            manager.update(groups, &global.external_labels, global.rule_query_offset).await;
            Ok(())
        }
    });
    let (late, of_flags) = (late.clone(), OfFlags::new(args));
    reloader.step("db_storage", move |loaded| {
        // Before it is open, `set_store` is called when it is.
        std::future::ready(late.get().map_or(Ok(()), |db| of_flags.set(db, &loaded)))
    });
    let manager = handles.discovery.clone();
    reloader.step("scrape_sd", move |loaded| {
        let manager = manager.clone();
        async move {
            let jobs = loaded.jobs.iter().map(|j| (j.job_name.as_str(), &j.sd)).collect();
            manager.apply_config(&jobs).await;
            Ok(())
        }
    });
    let manager = handles.notify_discovery.clone();
    reloader.step("notify_sd", move |loaded| {
        let manager = manager.clone();
        async move {
            let sets = notifier::discovery_sets(&loaded.config);
            manager.apply_config(&sets.iter().map(|(name, sd)| (name.as_str(), *sd)).collect()).await;
            Ok(())
        }
    });
    reloader.step("not_built_yet", |loaded| {
        for part in not_built::configured(&loaded.config) {
            tracing::warn!(
                part,
                "this part of the configuration is checked but not in force yet in this version of godwit"
            );
        }
        std::future::ready(Ok(()))
    });
}

/// What the store's settings take from flags.
#[derive(Clone, Copy)]
struct OfFlags {
    exemplars: Exemplars,
    xor2: bool,
}

impl OfFlags {
    fn new(args: &ServerArgs) -> Self {
        OfFlags { exemplars: exemplars_max(args), xor2: args.features.has("xor2-encoding") }
    }

    fn set(self, db: &Db, loaded: &Loaded) -> Result<(), String> {
        let tsdb = loaded.config.storage.tsdb.clone().unwrap_or_default();
        db.set_retention(retention(tsdb.retention.unwrap_or_default()));
        db.set_stale_share(tsdb.stale_series_compaction_threshold);
        db.set_exemplars_max(self.exemplars.max(&loaded.config));
        db.set_keep_rules(loaded.keep.clone());
        db.set_recode(recode(loaded, self.xor2));
        db.set_out_of_order_window(tsdb.out_of_order_time_window_ms).map_err(|e| e.to_string())
    }
}

/// Gives a store that was just opened the settings in force.
///
/// # Errors
/// What of them cannot be set.
pub fn set_store(db: &Db, loaded: &Loaded, args: &ServerArgs) -> Result<(), String> {
    OfFlags::new(args).set(db, loaded)
}

/// What flags say about exemplars; the configuration's number goes before where the feature is on.
#[derive(Clone, Copy)]
pub struct Exemplars {
    enabled: bool,
}

/// Reads the feature flag.
pub fn exemplars_max(args: &ServerArgs) -> Exemplars {
    Exemplars { enabled: args.features.has("exemplar-storage") }
}

impl Exemplars {
    /// Exemplars to keep; 0 switches them off.
    pub fn max(self, config: &Config) -> usize {
        let configured = config.storage.exemplars.map(|e| usize::try_from(e.max_exemplars).unwrap_or(0));
        if self.enabled { configured.unwrap_or(0) } else { 0 }
    }
}

/// How compactions encode floats. `xor2`: what the feature flag says where the configuration does not.
fn recode(loaded: &Loaded, xor2: bool) -> Option<Recode> {
    let tsdb = loaded.config.storage.tsdb.as_ref();
    let xor2 = match tsdb.map_or("", |t| t.chunk_encoding.floats.as_str()) {
        "" => xor2,
        floats => floats == "xor2",
    };
    let samples = match usize::try_from(loaded.settings.storage.compacted_chunk_samples).unwrap_or(0) {
        0 => COMPACTED_CHUNK_SAMPLES,
        samples => samples,
    };
    // What the head aims at is what blocks have without us.
    (xor2 || samples > tsdb::SAMPLES_PER_CHUNK).then_some(Recode { xor2, samples })
}

/// Four times what the head cuts: the first sample of a chunk, its sum and its place in the index cost some
/// 30 bytes, as much as a dozen samples. A query that looks at one sample decodes up to 480, a microsecond.
const COMPACTED_CHUNK_SAMPLES: usize = 480;

/// The store's form of the retention settings.
pub fn retention(r: RetentionConfig) -> Retention {
    Retention {
        duration_ms: i64::try_from(r.time.as_millis()).unwrap_or(i64::MAX),
        size_bytes: r.size,
        percentage: r.percentage,
    }
}

/// The configuration printed back when somebody asks for it: the text of twenty thousand jobs takes a second
/// and twenty megabytes.
#[derive(Debug)]
struct Printed {
    loaded: Arc<Loaded>,
    whole: OnceLock<String>,
}

impl Printed {
    fn job(&self, name: &str) -> Option<&ScrapeConfig> {
        self.loaded.jobs.iter().find(|job| job.job_name == name).map(|job| &**job)
    }
}

impl web::ConfigTexts for Printed {
    fn whole(&self) -> &str {
        self.whole.get_or_init(|| self.loaded.config.to_yaml())
    }
    fn pool(&self, name: &str) -> Option<String> {
        self.job(name).map(ScrapeConfig::to_yaml)
    }
    fn relabel_rules(&self, name: &str) -> Option<&[RelabelConfig]> {
        self.job(name).map(|job| job.relabel_configs.as_slice())
    }
}

fn config_view(loaded: &Arc<Loaded>) -> ConfigView {
    let kept = loaded.config.storage.tsdb.as_ref().and_then(|t| t.retention).unwrap_or_default();
    let mut words = Vec::new();
    if !kept.time.is_zero() {
        words.push(model::duration::format(kept.time));
    }
    if kept.size > 0 {
        words.push(config::format_size(kept.size));
    }
    if kept.percentage > 0.0 {
        words.push(format!("{}%", kept.percentage));
    }
    ConfigView {
        texts: Some(Arc::new(Printed { loaded: Arc::clone(loaded), whole: OnceLock::new() })),
        external_labels: loaded.config.global.external_labels.clone(),
        storage_retention: words.join(" or "),
        query_log_file: loaded.config.global.query_log_file.clone(),
        slow_queries: web::SlowQueries {
            threshold: loaded.settings.query.slow_threshold,
            only: loaded.settings.query.log_slow_only,
        },
        otlp: Arc::new(loaded.config.otlp.clone()),
    }
}
