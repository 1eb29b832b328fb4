//! `/api/v1/features`: what this server can do, by upstream's names, as it is switched on now.

use std::collections::BTreeMap;

use crate::args::ServerArgs;

/// Category, feature, on or off.
pub fn map(args: &ServerArgs) -> BTreeMap<String, BTreeMap<String, bool>> {
    let has = |feature: &str| args.features.has(feature);
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
                ("admin", false),
                ("exclude_alerts", false),
                ("label_values_match", true),
                ("lifecycle", args.web_enable_lifecycle),
                ("openapi_3.1", false),
                ("openapi_3.2", false),
                ("otlp_write_receiver", false),
                ("query_stats", true),
                ("query_warnings", true),
                ("remote_write_receiver", args.web_enable_remote_write_receiver),
                ("search", false),
                ("time_range_labels", true),
                ("time_range_series", true),
            ],
        ),
        category("otlp_receiver", &[("delta_conversion", false), ("native_delta_ingestion", false)]),
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
    ]
    .into()
}
