//! What the generator chooses from, and what the table counts.

pub(super) const FLOATS: [&str; 19] = [
    "c_total",
    "c_total",
    "c_total",
    "d_seconds_total",
    "d_seconds_total",
    "g",
    "g",
    "plain",
    "plain",
    "wide",
    "tie",
    "many",
    "role",
    "one",
    "h_bucket",
    "h_count",
    "h_sum",
    "short",
    "when",
];
pub(super) const HISTOGRAMS: [&str; 8] = ["n", "n", "n", "nc", "nc", "ng", "nn", "mixed"];

/// Functions of a range vector alone, of floats.
pub(super) const OVER_TIME: [&str; 21] = [
    "first_over_time",
    "absent_over_time",
    "avg_over_time",
    "changes",
    "count_over_time",
    "delta",
    "deriv",
    "idelta",
    "increase",
    "irate",
    "last_over_time",
    "max_over_time",
    "min_over_time",
    "present_over_time",
    "rate",
    "resets",
    "stddev_over_time",
    "stdvar_over_time",
    "sum_over_time",
    "rate",
    "increase",
];
pub(super) const OVER_TIME_EXPERIMENTAL: [&str; 5] = [
    "mad_over_time",
    "ts_of_last_over_time",
    "ts_of_max_over_time",
    "ts_of_min_over_time",
    "ts_of_first_over_time",
];
/// Those whose result for histograms is a histogram.
pub(super) const HISTOGRAM_OVER_TIME: [&str; 9] = [
    "avg_over_time",
    "delta",
    "first_over_time",
    "idelta",
    "increase",
    "irate",
    "last_over_time",
    "rate",
    "sum_over_time",
];
pub(super) const PLAIN: [&str; 26] = [
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "ceil",
    "cos",
    "cosh",
    "deg",
    "exp",
    "floor",
    "ln",
    "log10",
    "log2",
    "rad",
    "round",
    "sgn",
    "sin",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
    "absent",
    "timestamp",
];
pub(super) const DATES: [&str; 8] =
    ["day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute", "month", "year"];
pub(super) const OF_HISTOGRAM: [&str; 5] =
    ["histogram_avg", "histogram_count", "histogram_stddev", "histogram_stdvar", "histogram_sum"];
pub(super) const AGGREGATIONS: [&str; 8] = ["avg", "count", "group", "max", "min", "stddev", "stdvar", "sum"];
pub(super) const ARITHMETIC: [&str; 7] = ["+", "-", "*", "/", "%", "^", "atan2"];
pub(super) const COMPARISON: [&str; 6] = ["==", "!=", ">", "<", ">=", "<="];
pub(super) const SETS: [&str; 3] = ["and", "or", "unless"];
pub(super) const NUMBERS: [&str; 22] = [
    "0", "1", "2", "3", "0.5", "-1", "3.7", "NaN", "Inf", "-Inf", "1e3", "0.9", "0x1F", "1e-3", "1_000",
    "5m", "100", "-0.25", "10", "7", "2.5", "1e16",
];

/// All that the table counts.
#[must_use]
pub fn all_marks() -> Vec<&'static str> {
    let mut all = Vec::new();
    for list in [
        &OVER_TIME[..],
        &OVER_TIME_EXPERIMENTAL,
        &PLAIN,
        &DATES,
        &OF_HISTOGRAM,
        &AGGREGATIONS,
        &ARITHMETIC,
        &COMPARISON,
        &SETS,
    ] {
        all.extend_from_slice(list);
    }
    all.extend([
        "quantile_over_time",
        "predict_linear",
        "double_exponential_smoothing",
        "clamp",
        "clamp_min",
        "clamp_max",
        "vector",
        "scalar",
        "time",
        "pi",
        "start",
        "end",
        "step",
        "range",
        "max_of",
        "min_of",
        "start_timestamp",
        "histogram_quantile",
        "histogram_quantiles",
        "histogram_fraction",
        "label_replace",
        "label_join",
        "info",
        "sort",
        "sort_desc",
        "sort_by_label",
        "sort_by_label_desc",
        "topk",
        "bottomk",
        "limitk",
        "limit_ratio",
        "quantile",
        "count_values",
        "unary -",
        "unary +",
        "</",
        ">/",
        "by",
        "without",
        "bool",
        "on",
        "ignoring",
        "group_left",
        "group_right",
        "fill",
        "fill_left",
        "fill_right",
        "offset",
        "offset, negative",
        "@",
        "@ start()",
        "@ end()",
        "subquery",
        "subquery, default step",
        "duration expression",
        "step() in a duration",
        "range() in a duration",
        "max_of in a duration",
        "min_of in a duration",
        "anchored",
        "smoothed",
        "matcher =",
        "matcher !=",
        "matcher =~",
        "matcher !~",
        "UTF-8 name",
    ]);
    all.sort_unstable();
    all.dedup();
    all
}
