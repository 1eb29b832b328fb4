//! What is taken and checked but changes nothing yet: whoever asks for it is told, at start and at each load.

use config::Config;

use crate::args::ServerArgs;

/// Flags whose part does not exist yet.
const FLAGS: &[&str] = &[
    "agent",
    "web.console.templates",
    "web.console.libraries",
    "storage.tsdb.head-chunks-write-queue-size",
    "storage.tsdb.max-block-chunk-segment-size",
    "storage.tsdb.allow-overlapping-compaction",
    "storage.tsdb.delayed-compaction.max-percent",
    "storage.tsdb.block-reload-interval",
];

/// Features that change nothing yet.
const FEATURES: &[&str] = &[
    "delayed-compaction",
    "fast-startup",
    "histograms-st-encoding",
    "memory-snapshot-on-shutdown",
    "old-ui",
    "openmetrics2",
    "otlp-deltatocumulative",
    "st-storage",
    "st-synthesis",
    "use-uncached-io",
];

/// Flags and features of the command line that change nothing yet, as they were written.
pub fn given(args: &ServerArgs) -> Vec<String> {
    let flags = FLAGS.iter().filter(|flag| args.is_given(flag)).map(|flag| format!("--{flag}"));
    let features = FEATURES.iter().filter(|name| args.features.has(name));
    flags.chain(features.map(|name| format!("--enable-feature={name}"))).collect()
}

/// Parts of a configuration that are not in force yet.
pub fn configured(config: &Config) -> Vec<&'static str> {
    [
        ("alerting.alertmanagers.sigv4", config.alerting.alertmanagers.iter().any(|g| g.sigv4.is_some())),
        ("remote_write.round_robin_dns", config.remote_write.iter().any(|w| w.round_robin_dns)),
        ("remote_read", !config.remote_read.is_empty()),
        ("tracing", !config.tracing.endpoint.is_empty()),
    ]
    .into_iter()
    .filter_map(|(part, used)| used.then_some(part))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Parsed;

    #[test]
    fn all_names_are_flags_and_features() {
        let known = |name: &&&str| crate::args::features::KNOWN.contains(name);
        assert_eq!(FEATURES.iter().filter(known).count(), FEATURES.len());
        for flag in FLAGS.iter().filter(|f| !f.contains("agent")) {
            let values = ["", "=1", "=1s", "=1MB"].map(|value| format!("--{flag}{value}"));
            let parsed = values.map(|arg| crate::args::parse([arg]).ok());
            let given = parsed.into_iter().flatten().find_map(|parsed| match parsed {
                Parsed::Run(args) => Some(given(&args)),
                _ => None,
            });
            assert_eq!(given, Some(vec![format!("--{flag}")]));
        }
    }

    #[test]
    fn parts_of_a_configuration() {
        let load = config::LoadOptions::default();
        let of = |text: &str| configured(&Config::parse(text, &load).unwrap());
        assert!(of("global: {}").is_empty());
        assert_eq!(of("rule_files: [a.yml]\ntracing: {endpoint: 'a:1'}"), ["tracing"]);
    }
}
