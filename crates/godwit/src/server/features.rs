//! `/api/v1/features`: what this server can do, by upstream's names, as it is switched on now.

use std::collections::BTreeMap;

use crate::args::ServerArgs;

/// Operators, aggregations and signs of the language that are always there.
const OPERATORS: &[&str] = &[
    "!=",
    "!~",
    "%",
    "*",
    "+",
    "-",
    "/",
    "<",
    "</",
    "<=",
    "==",
    "=~",
    ">",
    ">/",
    ">=",
    "@",
    "^",
    "and",
    "atan2",
    "avg",
    "bottomk",
    "count",
    "count_values",
    "group",
    "max",
    "min",
    "or",
    "quantile",
    "stddev",
    "stdvar",
    "sum",
    "topk",
    "unless",
];

/// Category, feature, on or off.
pub fn map(args: &ServerArgs) -> BTreeMap<String, BTreeMap<String, bool>> {
    let has = |feature: &str| args.features.has(feature);
    let functions = promql::parse::FUNCTIONS.iter();
    let experimental = has("promql-experimental-functions");
    let functions: Vec<_> = functions.map(|f| (f.name, !f.experimental || experimental)).collect();
    let operators: Vec<_> = OPERATORS
        .iter()
        .map(|op| (*op, true))
        .chain([("limit_ratio", experimental), ("limitk", experimental)])
        .collect();
    let category = |name: &str, features: &[(&str, bool)]| {
        let features = features.iter().map(|(feature, on)| (feature.to_string(), *on)).collect();
        (name.to_string(), features)
    };
    let fill = has("promql-binop-fill-modifiers");
    let extended = has("promql-extended-range-selectors");
    [
        category(
            "api",
            &[
                ("admin", args.web_enable_admin_api),
                ("exclude_alerts", true),
                ("label_values_match", true),
                ("lifecycle", args.web_enable_lifecycle),
                ("openapi_3.1", true),
                ("openapi_3.2", true),
                ("otlp_write_receiver", args.web_enable_otlp_receiver),
                ("query_stats", true),
                ("query_warnings", true),
                ("remote_write_receiver", args.web_enable_remote_write_receiver),
                ("search", has("search-api")),
                ("search_fuzz_alg_jarowinkler", true),
                ("search_fuzz_alg_subsequence", true),
                ("time_range_labels", true),
                ("time_range_series", true),
            ],
        ),
        category(
            "otlp_receiver",
            &[("delta_conversion", false), ("native_delta_ingestion", has("otlp-native-delta-ingestion"))],
        ),
        category(
            "prometheus",
            &[
                ("agent_mode", args.agent),
                ("auto_reload_config", args.config_auto_reload),
                ("server_mode", !args.agent),
                ("stringlabels", true),
            ],
        ),
        category(
            "promql",
            &[
                ("anchored", extended),
                ("at_modifier", true),
                ("bool", true),
                ("by", true),
                ("delayed_name_removal", has("promql-delayed-name-removal")),
                ("duration_expr", true),
                ("fill", fill),
                ("fill_left", fill),
                ("fill_right", fill),
                ("group_left", true),
                ("group_right", true),
                ("ignoring", true),
                ("negative_offset", true),
                ("offset", true),
                ("on", true),
                ("per_query_lookback_delta", true),
                ("per_step_stats", has("promql-per-step-stats")),
                ("smoothed", extended),
                ("subqueries", true),
                ("type_and_unit_labels", has("type-and-unit-labels")),
                ("without", true),
            ],
        ),
        category("promql_functions", &functions),
        category("promql_operators", &operators),
        category(
            "rules",
            &[
                ("concurrent_rule_eval", has("concurrent-rule-eval")),
                ("keep_firing_for", true),
                ("query_offset", true),
            ],
        ),
        category(
            "scrape",
            &[
                ("extra_scrape_metrics", true),
                ("openmetrics2", false),
                ("start_timestamp_zero_ingestion", has("created-timestamp-zero-ingestion")),
                ("type_and_unit_labels", has("type-and-unit-labels")),
            ],
        ),
        category("service_discovery_providers", &["dns", "file", "http", "static"].map(|name| (name, true))),
        category(
            "tsdb",
            &[
                ("delayed_compaction", false),
                ("exemplar_storage", has("exemplar-storage")),
                ("histograms_st_encoding", false),
                ("isolation", true),
                ("native_histograms", true),
                ("st_storage", false),
                ("use_uncached_io", false),
                ("xor2_encoding", has("xor2-encoding")),
            ],
        ),
    ]
    .into()
}
