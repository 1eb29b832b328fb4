//! From a discovered target to the labels it is scraped with: defaults, relabeling, checks. Follows
//! upstream's `PopulateLabels` (`scrape/target.go`), error texts included, as they go to the log and to
//! the relabel page.

use config::ScrapeConfig;
use model::target_group::{LabelMap, TargetLabels};
use model::{Labels, LabelsBuilder, labels, relabel};

use crate::target::{
    ADDRESS_LABEL, ALWAYS_CLASSIC_LABEL, CONVERT_CLASSIC_LABEL, META_LABEL_PREFIX, METRICS_PATH_LABEL,
    NATIVE_LABEL, PARAM_LABEL_PREFIX, SCHEME_LABEL, SCRAPE_INTERVAL_LABEL, SCRAPE_TIMEOUT_LABEL, parse_bool,
};

/// Fills `builder` with a target's labels as they stand before relabeling: its own, its group's, and the
/// job's defaults where neither says otherwise.
pub fn discovered(builder: &mut LabelsBuilder, config: &ScrapeConfig, own: &TargetLabels, group: &LabelMap) {
    builder.clear();
    for (name, value) in own.iter() {
        builder.set(name, value);
    }
    for (name, value) in group {
        if !own.contains(name) {
            builder.set(name, value);
        }
    }
    let flag = |on: bool| if on { "true" } else { "false" };
    let interval = model::duration::format(config.scrape_interval);
    let timeout = model::duration::format(config.scrape_timeout);
    for (name, value) in [
        ("job", config.job_name.as_str()),
        (SCRAPE_INTERVAL_LABEL, interval.as_str()),
        (SCRAPE_TIMEOUT_LABEL, timeout.as_str()),
        (METRICS_PATH_LABEL, config.metrics_path.as_str()),
        (SCHEME_LABEL, config.scheme.as_str()),
        (CONVERT_CLASSIC_LABEL, flag(config.convert_classic_histograms_to_nhcb())),
        (ALWAYS_CLASSIC_LABEL, flag(config.always_scrape_classic_histograms())),
        (NATIVE_LABEL, flag(config.scrape_native_histograms())),
    ] {
        if builder.get(name).is_empty() {
            builder.set(name, value);
        }
    }
    for (key, values) in &config.params {
        let name = format!("{PARAM_LABEL_PREFIX}{key}");
        if let Some(first) = values.first()
            && builder.get(&name).is_empty()
        {
            builder.set(&name, first);
        }
    }
}

/// Labels of a target after relabeling and checks; `None` where relabeling dropped it.
///
/// # Errors
/// In upstream's words, what is wrong with the labels.
pub fn populate(
    builder: &mut LabelsBuilder,
    config: &ScrapeConfig,
    own: &TargetLabels,
    group: &LabelMap,
) -> Result<Option<Labels>, String> {
    // Labels are packed with 24-bit sizes; a discovered string above that must not get as far as packing.
    let mut all = own.iter().chain(group.iter().map(|(n, v)| (n.as_str(), v.as_str())));
    if let Some((name, _)) = all.find(|(n, v)| n.len().max(v.len()) > labels::STRING_BYTES_MAX) {
        return Err(format!("label {name:.50?} is longer than {} bytes", labels::STRING_BYTES_MAX));
    }
    discovered(builder, config, own, group);
    if !relabel::process(&config.relabel_configs, builder) {
        return Ok(None);
    }
    let address = builder.get(ADDRESS_LABEL).to_string();
    if address.is_empty() {
        return Err("no address".to_string());
    }
    if address.contains('/') {
        return Err(format!("{address:?} is not a valid hostname"));
    }
    let duration = |what: &str, name: &str| {
        let parsed = model::duration::parse(builder.get(name))
            .map_err(|e| format!("error parsing scrape {what}: {e}"))?;
        if parsed.is_zero() { Err(format!("scrape {what} cannot be 0")) } else { Ok(parsed) }
    };
    let interval = duration("interval", SCRAPE_INTERVAL_LABEL)?;
    let timeout = duration("timeout", SCRAPE_TIMEOUT_LABEL)?;
    if timeout > interval {
        return Err(format!(
            "scrape timeout cannot be greater than scrape interval ({:?} > {:?})",
            builder.get(SCRAPE_TIMEOUT_LABEL),
            builder.get(SCRAPE_INTERVAL_LABEL)
        ));
    }
    for (name, what) in [
        (CONVERT_CLASSIC_LABEL, "convert classic histograms to nhcb"),
        (ALWAYS_CLASSIC_LABEL, "always scrape classic histograms"),
        (NATIVE_LABEL, "scrape native histograms"),
    ] {
        let value = builder.get(name);
        if !value.is_empty() && parse_bool(value).is_none() {
            return Err(format!(
                "error parsing {what}: strconv.ParseBool: parsing {value:?}: invalid syntax"
            ));
        }
    }
    builder.retain(|name, _| !name.starts_with(META_LABEL_PREFIX));
    if builder.get("instance").is_empty() {
        builder.set("instance", &address);
    }
    if builder.iter().any(|(n, v)| n.len().max(v.len()) > labels::STRING_BYTES_MAX) {
        return Err(format!("a label is longer than {} bytes after relabeling", labels::STRING_BYTES_MAX));
    }
    Ok(Some(builder.build()))
}
