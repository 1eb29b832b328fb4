//! Unit tests of rules as promtool reads them (upstream `cmd/promtool/unittest.go`): what series there are, and what
//! alerts and values have to come of them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::error::ConfigError;
use crate::http::join;
use crate::load::{LoadOptions, decode_text, read_text};
use crate::yaml::record::yaml_record;
use crate::yaml::{Decoder, Hooks};

/// A file of tests.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleTests {
    /// Patterns of rule files, relative to the file of the tests as it was read.
    pub rule_files: Vec<String>,
    /// Time between evaluations; 0: a minute.
    pub evaluation_interval: Duration,
    /// Groups that come before others, in order.
    pub group_eval_order: Vec<String>,
    /// The tests.
    pub tests: Vec<RuleTest>,
    /// Numbers may differ by the smallest step there is.
    pub fuzzy_compare: bool,
}

/// One test: its series and what is expected of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleTest {
    /// Time between samples; 0: the interval of evaluations.
    pub interval: Duration,
    /// Series with their values.
    pub input_series: Vec<InputSeries>,
    /// Alerts at times.
    pub alert_rule_test: Vec<AlertTest>,
    /// Results of expressions at times.
    pub promql_expr_test: Vec<ExprTest>,
    /// Labels that templates see.
    pub external_labels: BTreeMap<String, String>,
    /// URL that templates see.
    pub external_url: String,
    /// Name, "" for none.
    pub name: String,
    /// When the series begin: RFC 3339 or seconds since 1970; "" for 1970.
    pub start_timestamp: String,
}

/// A series.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct InputSeries {
    /// Name and labels.
    pub series: String,
    /// Its values in the notation of upstream's query tests.
    pub values: String,
}

/// Alerts of one name at a time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlertTest {
    /// After the beginning.
    pub eval_time: Duration,
    /// The name.
    pub alertname: String,
    /// All that fire then.
    pub exp_alerts: Vec<ExpectedAlert>,
}

/// An alert.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExpectedAlert {
    /// Labels without `alertname`.
    pub exp_labels: BTreeMap<String, String>,
    /// Annotations.
    pub exp_annotations: BTreeMap<String, String>,
}

/// An expression at a time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExprTest {
    /// The expression.
    pub expr: String,
    /// After the beginning.
    pub eval_time: Duration,
    /// All samples of the result.
    pub exp_samples: Vec<ExpectedSample>,
}

/// A sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExpectedSample {
    /// Name and labels.
    pub labels: String,
    /// Its value.
    pub value: f64,
    /// A histogram in the notation of upstream's query tests, "" for none.
    pub histogram: String,
}

yaml_record!(RuleTests, "a file of rule tests", {
    rule_files: keep,
    evaluation_interval: omit,
    group_eval_order: keep,
    tests: keep,
    fuzzy_compare: omit,
});
yaml_record!(RuleTest, "a test", {
    interval: keep,
    input_series: keep,
    alert_rule_test: omit,
    promql_expr_test: omit,
    external_labels: omit,
    external_url: omit,
    name: omit,
    start_timestamp: omit,
});
yaml_record!(InputSeries, "a series", {
    series: keep,
    values: keep,
});
yaml_record!(AlertTest, "a test of alerts", {
    eval_time: keep,
    alertname: keep,
    exp_alerts: keep,
});
yaml_record!(ExpectedAlert, "an alert", {
    exp_labels: keep,
    exp_annotations: keep,
});
yaml_record!(ExprTest, "a test of an expression", {
    expr: keep,
    eval_time: keep,
    exp_samples: keep,
});
yaml_record!(ExpectedSample, "a sample", {
    labels: keep,
    value: keep,
    histogram: keep,
});

impl Hooks for RuleTests {}
impl Hooks for RuleTest {}
impl Hooks for InputSeries {}
impl Hooks for AlertTest {}
impl Hooks for ExpectedAlert {}
impl Hooks for ExprTest {}
impl Hooks for ExpectedSample {}

impl RuleTests {
    /// Reads a file strictly.
    ///
    /// # Errors
    /// An unreadable file, or all problems found in it.
    pub fn load_file(path: &Path) -> Result<RuleTests, ConfigError> {
        let mut cx = Decoder::new(&LoadOptions::default());
        let loaded = decode_text(&read_text(path)?, RuleTests::default(), &mut cx, |_, _, _| {});
        let Some(mut tests) = loaded else {
            let file = path.display().to_string();
            return Err(ConfigError::Invalid { file, problems: cx.into_problems() });
        };
        let folder = path.parent().unwrap_or(Path::new(""));
        // "" would join as the root.
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        tests.rule_files.iter_mut().for_each(|file| join(folder, file));
        Ok(tests)
    }
}
