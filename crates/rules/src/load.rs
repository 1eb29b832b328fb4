//! Rule files as the manager takes them: read, checked, with expressions and durations in their final form.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use config::{ConfigError, Problem, RuleChecks, RuleFile};
use model::labels::STRING_BYTES_MAX;
use model::name::ValidationScheme;
use promql::{Expr, ParserOptions};

use crate::Pairs;
use crate::alerting::nanos;
use crate::schedule::{offset_ns, slot_ns};

/// Variables that every template of an alert has (upstream: `rulefmt.testTemplateParsing`).
const TEMPLATE_VARIABLES: &[&str] = &["$labels", "$externalLabels", "$externalURL", "$value"];

/// A group as it is configured.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupSpec {
    /// Path as the pattern found it.
    pub file: String,
    /// Name, unique in the file.
    pub name: String,
    /// Above zero.
    pub interval: Duration,
    /// `None`: what `global.rule_query_offset` says at the time.
    pub query_offset: Option<Duration>,
    /// Most alerts or series of a rule; 0 or below: no limit.
    pub limit: i64,
    /// Rules in order.
    pub rules: Vec<RuleSpec>,
}

impl GroupSpec {
    /// The last time at or before `now_ns` (nanoseconds since 1970) at which any server evaluates this group.
    #[must_use]
    pub fn slot_ns(&self, now_ns: i64) -> i64 {
        let interval_ns = nanos(self.interval);
        slot_ns(now_ns, offset_ns(&self.file, &self.name, interval_ns), interval_ns)
    }
}

/// A rule as it is configured.
#[derive(Clone, Debug)]
pub struct RuleSpec {
    /// Metric or alert.
    pub name: String,
    /// The expression.
    pub expr: Arc<Expr>,
    /// It printed, which is what is run and shown.
    pub query: String,
    /// Labels of the group and its own.
    pub labels: Pairs,
    /// What it is for.
    pub kind: RuleKind,
}

/// What comes of a rule's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleKind {
    /// Series under the rule's name.
    Recording,
    /// Alerts.
    Alerting {
        /// How long it has to hold (`for`).
        hold: Duration,
        /// How long it goes on firing after it holds no more.
        keep_firing_for: Duration,
        /// Annotations, templates.
        annotations: Pairs,
    },
}

/// Expressions are equal where they print the same.
impl PartialEq for RuleSpec {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.query, &self.labels, &self.kind)
            == (&other.name, &other.query, &other.labels, &other.kind)
    }
}

impl RuleSpec {
    /// Whether it is an alert.
    #[must_use]
    pub fn is_alerting(&self) -> bool {
        self.kind != RuleKind::Recording
    }
}

/// Why rules could not be loaded: all problems of the first file that has some, with their places.
#[derive(Debug, thiserror::Error)]
#[error("error loading rules, previous rule set restored: {0}")]
pub struct LoadError(pub String);

/// How rule files are read.
#[derive(Clone, Copy, Debug)]
pub struct Loader {
    /// Syntax features.
    pub parser: ParserOptions,
    /// Which names are valid.
    pub scheme: ValidationScheme,
}

impl Loader {
    /// Reads the files that patterns find. Groups come in the order of files; a file that two patterns find counts
    /// once.
    ///
    /// # Errors
    /// A malformed pattern, or a file that cannot be read or is wrong.
    pub fn load(self, patterns: &[String], default_interval: Duration) -> Result<Vec<GroupSpec>, LoadError> {
        let mut files = std::collections::BTreeSet::new();
        for pattern in patterns {
            if !config::is_sound_pattern(pattern) {
                let text = format!("error retrieving rule files for {pattern}: syntax error in pattern");
                return Err(LoadError(text));
            }
            files.extend(config::glob(pattern).iter().map(|path| path.display().to_string()));
        }
        let mut groups = Vec::new();
        for file in files {
            let loaded = self.load_file(&file, default_interval, false);
            groups.extend(loaded.map_err(|e| LoadError(e.to_string()))?);
        }
        Ok(groups)
    }

    /// Reads one file; `ignore_unknown_fields` lets unknown keys pass.
    ///
    /// # Errors
    /// It cannot be read or is wrong.
    pub fn load_file(
        self,
        file: &str,
        default_interval: Duration,
        ignore_unknown_fields: bool,
    ) -> Result<Vec<GroupSpec>, ConfigError> {
        let mut expression =
            |text: &str| promql::parse(text, self.parser).map(drop).map_err(|e| e.to_string());
        let mut template = |text: &str| {
            let parsed = gotemplate::parse(text, TEMPLATE_VARIABLES, gotemplate::is_known);
            parsed.map(drop).map_err(|e| format!("template: {e}"))
        };
        let mut checks = RuleChecks {
            scheme: self.scheme,
            ignore_unknown_fields,
            expression: &mut expression,
            template: &mut template,
        };
        let read = RuleFile::load_file(Path::new(file), &mut checks)?;
        let mut groups = Vec::with_capacity(read.groups.len());
        for group in read.groups {
            let interval = if group.interval.is_zero() { default_interval } else { group.interval };
            let mut rules = Vec::with_capacity(group.rules.len());
            for rule in group.rules {
                let wrong = |text| ConfigError::Invalid {
                    file: file.to_string(),
                    problems: vec![Problem { line: 0, column: 0, text }],
                };
                rules.push(self.rule(rule, &group.labels).map_err(wrong)?);
            }
            groups.push(GroupSpec {
                file: file.to_string(),
                name: group.name,
                interval,
                query_offset: group.query_offset,
                limit: group.limit,
                rules,
            });
        }
        Ok(groups)
    }

    fn rule(
        self,
        rule: config::Rule,
        of_group: &std::collections::BTreeMap<String, String>,
    ) -> Result<RuleSpec, String> {
        let name = rule.name().to_string();
        let expr = promql::parse(&rule.expr, self.parser).map_err(|e| e.to_string())?;
        let mut labels = of_group.clone();
        labels.extend(rule.labels);
        let longest = labels.iter().flat_map(|(n, v)| [n.len(), v.len()]).chain([name.len()]).max();
        if longest.is_some_and(|bytes| bytes > STRING_BYTES_MAX) {
            return Err(format!(
                "rule {:.60}: a name or label is longer than {STRING_BYTES_MAX} bytes",
                name
            ));
        }
        let kind = if rule.alert.is_empty() {
            RuleKind::Recording
        } else {
            RuleKind::Alerting {
                hold: rule.hold,
                keep_firing_for: rule.keep_firing_for,
                annotations: rule.annotations.into_iter().collect(),
            }
        };
        let query = expr.to_string();
        Ok(RuleSpec { name, expr: Arc::new(expr), query, labels: labels.into_iter().collect(), kind })
    }
}
