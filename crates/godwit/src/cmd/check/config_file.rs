//! `check config`: the file, and everything it names.

use std::path::Path;
use std::sync::Arc;

use config::{
    Config, HttpClientConfig, LoadOptions, ScrapeConfig, StaticConfig, TlsConfig, changes_since_2x,
};

use super::options::Options;
use super::rules::{Outcome, check_files};
use crate::args::features::Features;

pub(super) fn run(options: &Options) -> u8 {
    let mut all = Outcome::default();
    for file in &options.files {
        println!("Checking {file}");
        let checked = check(file, options);
        if let Err(error) = &checked {
            eprintln!("  FAILED: {error}");
            all.wrong = true;
        }
        let Ok(found) = checked else {
            println!();
            continue;
        };
        if !found.rule_files.is_empty() {
            println!("  SUCCESS: {} rule files found", found.rule_files.len());
        }
        println!(" SUCCESS: {file} is valid prometheus config file syntax");
        for note in notes(file, &found.config, options.from_2x) {
            println!("  NOTE (2.x to 3.x): {file}:{note}");
        }
        println!();
        if !options.syntax_only {
            all.advice |= long_intervals(&found.jobs, options);
            all.add(check_files(
                &found.rule_files,
                found.config.global.metric_name_validation_scheme,
                options,
            ));
        }
    }
    all.code(options)
}

struct Found {
    config: Config,
    jobs: Vec<Arc<ScrapeConfig>>,
    rule_files: Vec<String>,
}

fn check(file: &str, options: &Options) -> Result<Found, String> {
    let (_, warnings) = Features::read(&options.features);
    warnings.iter().for_each(|warning| println!("  WARNING: {warning}"));
    let load = LoadOptions { agent: options.agent, ..LoadOptions::default() };
    let config = Config::load_file(Path::new(file), &load).map_err(|e| e.to_string())?;
    if options.syntax_only {
        let jobs = config.scrape_configs.clone();
        jobs.iter().try_for_each(|job| check_targets(&job.sd.static_configs, job))?;
        return Ok(Found { config, jobs, rule_files: Vec::new() });
    }
    let mut rule_files = Vec::new();
    for pattern in &config.rule_files {
        let matched: Vec<String> =
            config::glob(pattern).iter().map(|path| path.display().to_string()).collect();
        if !config::is_sound_pattern(pattern) {
            return Err(format!("error retrieving rule files for {pattern:?}: syntax error in pattern"));
        }
        if !pattern.contains('*') && matched.is_empty() {
            return Err(format!("{pattern:?} does not point to an existing file"));
        }
        rule_files.extend(matched);
    }
    let jobs = config.scrape_configs_all(&load).map_err(|e| format!("error loading scrape configs: {e}"))?;
    for job in &jobs {
        let place = format!("scrape job {:?}", job.job_name);
        check_client(&job.http)?;
        warn_of_client(&job.http, &place);
        job.sd.http_sd_configs.iter().for_each(|sd| warn_of_client(&sd.http, &format!("http_sd of {place}")));
        for pattern in job.sd.file_sd_configs.iter().flat_map(|sd| &sd.files) {
            check_targets(&read_target_files(pattern, &place)?, job)?;
        }
        check_targets(&job.sd.static_configs, job)?;
    }
    for group in &config.alerting.alertmanagers {
        warn_of_client(&group.http, "alertmanager config");
        for pattern in group.sd.file_sd_configs.iter().flat_map(|sd| &sd.files) {
            read_target_files(pattern, "alertmanager config")?;
        }
    }
    config.remote_write.iter().for_each(|remote| warn_of_client(&remote.http, "remote_write"));
    config.remote_read.iter().for_each(|remote| warn_of_client(&remote.http, "remote_read"));
    Ok(Found { config, jobs, rule_files })
}

/// The files whose absence makes promtool refuse a job.
fn check_client(http: &HttpClientConfig) -> Result<(), String> {
    if let Some(auth) = &http.authorization {
        must_exist(&auth.credentials_file, "authorization credentials or bearer token file")?;
    }
    must_exist(&http.tls_config.cert_file, "client cert file")?;
    must_exist(&http.tls_config.key_file, "client key file")
}

/// The other files, which promtool does not look at: the server starts without them, and fails with each
/// request until they are there.
fn warn_of_client(http: &HttpClientConfig, place: &str) {
    let (auth, basic) = (http.authorization.as_ref(), http.basic_auth.as_ref());
    let tls: &TlsConfig = &http.tls_config;
    let files = [
        (auth.map_or("", |a| a.credentials_file.as_str()), "authorization credentials or bearer token file"),
        (basic.map_or("", |b| b.password_file.as_str()), "password file"),
        (basic.map_or("", |b| b.username_file.as_str()), "username file"),
        (tls.cert_file.as_str(), "client cert file"),
        (tls.key_file.as_str(), "client key file"),
        (tls.ca_file.as_str(), "CA file"),
    ];
    for error in files.iter().filter_map(|(file, what)| must_exist(file, what).err()) {
        println!("  WARNING: {place}: {error}");
    }
}

/// Tests that targets give something to scrape, after relabeling.
fn check_targets(groups: &[StaticConfig], job: &ScrapeConfig) -> Result<(), String> {
    let mut builder = model::LabelsBuilder::new();
    for (i, group) in groups.iter().enumerate() {
        for (n, target) in group.targets.iter().enumerate() {
            let own = model::target_group::TargetLabels::address(target);
            scrape::populate::populate(&mut builder, job, &own, &group.labels)
                .map_err(|error| format!("job {:?}: target {n} in group {i}: {error}", job.job_name))?;
        }
    }
    Ok(())
}

fn must_exist(file: &str, what: &str) -> Result<(), String> {
    if file.is_empty() {
        return Ok(());
    }
    match std::fs::metadata(file) {
        Ok(_) => Ok(()),
        Err(error) => Err(format!("error checking {what} {file:?}: {error}")),
    }
}

fn read_target_files(pattern: &str, place: &str) -> Result<Vec<StaticConfig>, String> {
    let mut all = Vec::new();
    let files = config::glob(pattern);
    if files.is_empty() {
        println!("  WARNING: file {pattern:?} for file_sd in {place} does not exist");
    }
    for path in files {
        let file = path.display().to_string();
        let read = std::fs::read(&path).map_err(|error| format!("checking SD file {file:?}: {error}"))?;
        let groups = if file.to_ascii_lowercase().ends_with(".json") {
            config::parse_targets_json(&read, &file)
        } else {
            config::parse_targets_yaml(&String::from_utf8_lossy(&read), &file)
        };
        all.extend(groups.map_err(|error| format!("checking SD file {pattern:?}: {error}"))?);
    }
    Ok(all)
}

fn notes(file: &str, config: &Config, all: bool) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let notes = changes_since_2x(&text, config, all);
    notes.into_iter().map(|note| format!("{}:{}: {}", note.line, note.column, note.text)).collect()
}

fn long_intervals(jobs: &[Arc<ScrapeConfig>], options: &Options) -> bool {
    let long = jobs.iter().find(|job| job.scrape_interval >= options.lookback);
    let Some(job) = long.filter(|_| options.lints("too-long-scrape-interval")) else { return false };
    eprintln!(
        "  FAILED: too long scrape interval found, data point will be marked as stale - job: {}, interval: {}",
        job.job_name,
        model::duration::format(job.scrape_interval)
    );
    true
}
