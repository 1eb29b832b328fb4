//! `check config`: the file, and everything it names.

use std::path::Path;

use config::{Config, HttpClientConfig, LoadOptions, ScrapeConfig, TlsConfig, changes_since_2x};

use super::WRONG;
use super::options::Options;
use super::rules::{Outcome, check_files};
use crate::args::features::Features;

pub(super) fn run(options: &Options) -> u8 {
    if options.files.is_empty() {
        eprintln!("godwit check config: name at least one file");
        return WRONG;
    }
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
    jobs: Vec<ScrapeConfig>,
    rule_files: Vec<String>,
}

fn check(file: &str, options: &Options) -> Result<Found, String> {
    let (_, warnings) = Features::read(&options.features);
    warnings.iter().for_each(|warning| println!("  WARNING: {warning}"));
    let load = LoadOptions { agent: options.agent, ..LoadOptions::default() };
    let config = Config::load_file(Path::new(file), &load).map_err(|e| e.to_string())?;
    if options.syntax_only {
        let jobs = config.scrape_configs.clone();
        return Ok(Found { config, jobs, rule_files: Vec::new() });
    }
    let mut rule_files = Vec::new();
    for pattern in &config.rule_files {
        let matched: Vec<String> =
            config::glob(pattern).iter().map(|path| path.display().to_string()).collect();
        if !pattern.contains('*') && matched.is_empty() {
            return Err(format!("{pattern:?} does not point to an existing file"));
        }
        rule_files.extend(matched);
    }
    let jobs = config.scrape_configs_all(&load).map_err(|e| format!("error loading scrape configs: {e}"))?;
    for job in &jobs {
        let place = format!("scrape job {:?}", job.job_name);
        check_client(&job.http)?;
        job.sd.http_sd_configs.iter().try_for_each(|sd| check_client(&sd.http))?;
        for pattern in job.sd.file_sd_configs.iter().flat_map(|sd| &sd.files) {
            check_target_files(pattern, &place)?;
        }
    }
    for group in &config.alerting.alertmanagers {
        check_client(&group.http)?;
        for pattern in group.sd.file_sd_configs.iter().flat_map(|sd| &sd.files) {
            check_target_files(pattern, "alertmanager config")?;
        }
    }
    // Not looked at by promtool: the server would only fail when it first sends or reads.
    config.remote_write.iter().try_for_each(|remote| check_client(&remote.http))?;
    config.remote_read.iter().try_for_each(|remote| check_client(&remote.http))?;
    Ok(Found { config, jobs, rule_files })
}

fn check_client(http: &HttpClientConfig) -> Result<(), String> {
    if let Some(auth) = &http.authorization {
        must_exist(&auth.credentials_file, "authorization credentials or bearer token file")?;
    }
    if let Some(auth) = &http.basic_auth {
        must_exist(&auth.password_file, "password file")?;
        must_exist(&auth.username_file, "username file")?;
    }
    check_tls(&http.tls_config)
}

fn check_tls(tls: &TlsConfig) -> Result<(), String> {
    must_exist(&tls.cert_file, "client cert file")?;
    must_exist(&tls.key_file, "client key file")?;
    must_exist(&tls.ca_file, "CA file")
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

fn check_target_files(pattern: &str, place: &str) -> Result<(), String> {
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
        groups.map_err(|error| format!("checking SD file {pattern:?}: {error}"))?;
    }
    Ok(())
}

fn notes(file: &str, config: &Config, all: bool) -> Vec<String> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let notes = changes_since_2x(&text, config, all);
    notes.into_iter().map(|note| format!("{}:{}: {}", note.line, note.column, note.text)).collect()
}

fn long_intervals(jobs: &[ScrapeConfig], options: &Options) -> bool {
    let long = jobs.iter().find(|job| job.scrape_interval >= options.lookback);
    let Some(job) = long.filter(|_| options.lints("too-long-scrape-interval")) else { return false };
    eprintln!(
        "  FAILED: too long scrape interval found, data point will be marked as stale - job: {}, interval: {}",
        job.job_name,
        model::duration::format(job.scrape_interval)
    );
    true
}
