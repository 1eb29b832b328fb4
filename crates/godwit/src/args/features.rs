//! `--enable-feature`: which names upstream knows, and what became of the others.

/// Features that a server of upstream's version can switch on. Part of them changes nothing here yet: see
/// COMPAT.md.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    names: Vec<String>,
    former: Vec<String>,
}

/// Names upstream 3.15 acts on, hidden ones included.
pub const KNOWN: &[&str] = &[
    "concurrent-rule-eval",
    "created-timestamp-zero-ingestion",
    "delayed-compaction",
    "exemplar-storage",
    "extra-scrape-metrics",
    "fast-startup",
    "histograms-st-encoding",
    "memory-snapshot-on-shutdown",
    "metadata-wal-records",
    "old-ui",
    "openmetrics2",
    "otlp-deltatocumulative",
    "otlp-native-delta-ingestion",
    "promql-binop-fill-modifiers",
    "promql-delayed-name-removal",
    "promql-experimental-functions",
    "promql-extended-range-selectors",
    "promql-per-step-stats",
    "search-api",
    "st-storage",
    "st-synthesis",
    "type-and-unit-labels",
    "use-start-timestamps",
    "use-uncached-io",
    "xor2-encoding",
    "zstd-scrape",
];

/// Names of older versions: what to say about them.
const FORMER: &[(&str, &str)] = &[
    ("auto-reload-config", "deprecated, use --config.auto-reload instead"),
    ("promql-duration-expr", "always on, the option has no effect"),
    (
        "native-histograms",
        "deprecated, set scrape_native_histograms in the configuration file; taken as set under global until then",
    ),
    ("ooo-native-histograms", "always on, the option has no effect"),
    ("agent", "retired in 3.0 and without effect: start with --agent for agent mode"),
    ("remote-write-receiver", "retired in 3.0 and without effect: use --web.enable-remote-write-receiver"),
    ("otlp-write-receiver", "retired in 3.0 and without effect: use --web.enable-otlp-receiver"),
    ("promql-at-modifier", "always on, the option has no effect"),
    ("promql-negative-offset", "always on, the option has no effect"),
    ("expand-external-labels", "always on since 3.0, the option has no effect"),
    ("no-default-scrape-port", "always on since 3.0, the option has no effect"),
    ("auto-gomemlimit", "always on since 3.0, the option has no effect"),
    ("auto-gomaxprocs", "always on since 3.0, the option has no effect"),
    ("new-service-discovery-manager", "always on since 3.0, the option has no effect"),
    ("utf8-names", "always on since 3.0, the option has no effect"),
    ("promql-experimental-agg-functions", "unknown; did you mean promql-experimental-functions?"),
];

impl Features {
    /// Reads the values of the flag. Returns the features and warnings about names that do nothing.
    #[must_use]
    pub fn read(lists: &[String]) -> (Features, Vec<String>) {
        let (mut features, mut warnings) = (Features::default(), Vec::new());
        for name in lists.iter().flat_map(|list| list.split(',')) {
            if KNOWN.contains(&name) {
                features.names.push(name.to_string());
            } else if let Some((_, what)) = FORMER.iter().find(|(former, _)| *former == name) {
                features.former.push(name.to_string());
                if *what == FORMER[0].1 {
                    features.names.push(name.to_string());
                }
                warnings.push(format!("--enable-feature={name}: {what}"));
            } else {
                let hint = config::nearest(name, KNOWN.iter().copied())
                    .map(|near| format!(", did you mean {near:?}?"));
                warnings.push(format!(
                    "Unknown option for --enable-feature: {name:?}{}",
                    hint.unwrap_or_default()
                ));
            }
        }
        (features, warnings)
    }

    /// Whether a name of an older version was given, whatever became of it.
    #[must_use]
    pub fn asked_for(&self, name: &str) -> bool {
        self.former.iter().any(|n| n == name)
    }

    /// Whether a feature is switched on.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.names.iter().any(|n| n == name)
    }
}
