//! Rule files (upstream `model/rulefmt/rulefmt.go`). Expressions and templates are checked by callbacks, so
//! that this crate knows nothing of either language.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::time::Duration;

use model::name::ValidationScheme;

use crate::error::ConfigError;
use crate::load::{LoadOptions, decode_text, read_text};
use crate::yaml::node::Pos;
use crate::yaml::record::yaml_record;
use crate::yaml::resolve::Meaning;
use crate::yaml::{Decode, Decoder, Encode, Hooks, Node, Out};

/// A rule file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleFile {
    /// Groups; names are unique in the file.
    pub groups: Vec<RuleGroup>,
}

/// Rules evaluated one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleGroup {
    /// Name.
    pub name: String,
    /// 0: `global.evaluation_interval`.
    pub interval: Duration,
    /// `None`: `global.rule_query_offset`.
    pub query_offset: Option<Duration>,
    /// Most alerts or series a rule may give; 0: no limit.
    pub limit: i64,
    /// Rules.
    pub rules: Vec<Rule>,
    /// Labels of all of them; a rule's own win.
    pub labels: BTreeMap<String, String>,
}

/// A recording or an alerting rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Series to write, "" in an alerting rule.
    pub record: String,
    /// Alert, "" in a recording rule.
    pub alert: String,
    /// Expression.
    pub expr: String,
    /// How long it has to hold.
    pub hold: Duration,
    /// How long to go on firing after it holds no more.
    pub keep_firing_for: Duration,
    /// Labels, templates in an alerting rule.
    pub labels: BTreeMap<String, String>,
    /// Annotations, templates.
    pub annotations: BTreeMap<String, String>,
}

impl Rule {
    /// `record` or `alert`, whichever is given.
    #[must_use]
    pub fn name(&self) -> &str {
        if self.alert.is_empty() { &self.record } else { &self.alert }
    }
}

yaml_record!(RuleFile, "a rule file", {
    groups: with(Given),
});
yaml_record!(RuleGroup, "a rule group", {
    name: keep,
    interval: omit,
    query_offset: omit,
    limit: omit,
    rules: with(Given),
    labels: omit,
});
yaml_record!(Rule, "a rule", {
    record: omit,
    alert: omit,
    expr: keep,
    hold = "for": omit,
    keep_firing_for: omit,
    labels: omit,
    annotations: omit,
});

/// Lists without their null items, which upstream leaves out silently.
struct Given;

impl Given {
    fn decode<T: Decode>(into: &mut Vec<T>, node: &Node, cx: &mut Decoder) -> bool {
        let mut all: Vec<T> = Vec::new();
        let good = cx.decode(node, &mut all);
        let keep: Vec<bool> =
            node.items().iter().map(|item| cx.meaning(item.target()) != Some(Meaning::Null)).collect();
        let mut keep = keep.into_iter();
        all.retain(|_| keep.next().unwrap_or(true));
        *into = all;
        good
    }
    fn encode<T: Encode>(value: &Vec<T>) -> Out {
        value.encode()
    }
    fn is_zero<T>(_: &[T]) -> bool {
        false
    }
}

/// The items that [`Given`] keeps.
fn given<'n>(node: &'n Node, key: &str, cx: &mut Decoder) -> Vec<&'n Node> {
    let items = node.get(key).map_or(&[][..], Node::items);
    items.iter().filter(|item| cx.meaning(item.target()) != Some(Meaning::Null)).collect()
}

impl Hooks for RuleFile {}
impl Hooks for RuleGroup {}
impl Hooks for Rule {}

/// Says what is wrong with a text, in the language the callback knows.
pub type Check<'a> = &'a mut dyn FnMut(&str) -> Result<(), String>;

/// How to read a rule file.
pub struct RuleChecks<'a> {
    /// Which names are valid: `global.metric_name_validation_scheme`.
    pub scheme: ValidationScheme,
    /// Unknown keys are no problems.
    pub ignore_unknown_fields: bool,
    /// Checks an expression.
    pub expression: Check<'a>,
    /// Checks a label or annotation of an alerting rule as a template.
    pub template: Check<'a>,
}

impl RuleFile {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// An unreadable file, or all problems found in it.
    pub fn load_file(path: &Path, checks: &mut RuleChecks<'_>) -> Result<RuleFile, ConfigError> {
        RuleFile::parse_named(&read_text(path)?, &path.display().to_string(), checks)
    }

    /// As [`RuleFile::load_file`] for a text.
    ///
    /// # Errors
    /// All problems found.
    pub fn parse(text: &str, checks: &mut RuleChecks<'_>) -> Result<RuleFile, ConfigError> {
        RuleFile::parse_named(text, "", checks)
    }

    fn parse_named(text: &str, file: &str, checks: &mut RuleChecks<'_>) -> Result<RuleFile, ConfigError> {
        let mut cx = Decoder::new(&LoadOptions::default());
        cx.ignore_unknown = checks.ignore_unknown_fields;
        let loaded = decode_text(text, RuleFile::default(), &mut cx, |read, node, cx| {
            if let Some(node) = node {
                read.check(node, checks, cx);
            }
        });
        loaded.ok_or_else(|| ConfigError::Invalid { file: file.to_string(), problems: cx.into_problems() })
    }

    fn check(&self, node: &Node, checks: &mut RuleChecks<'_>, cx: &mut Decoder) {
        let items = given(node, "groups", cx);
        let mut names = HashSet::new();
        for (group, node) in self.groups.iter().zip(items) {
            if group.name.is_empty() {
                cx.fail(node.pos, "Groupname must not be empty");
            }
            if !names.insert(group.name.as_str()) {
                let at = node.get("name").unwrap_or(node);
                cx.fail(at.pos, format!("groupname: {:?} is repeated in the same file", group.name));
            }
            check_labels(&group.labels, node, "", checks.scheme, cx);
            let rules = given(node, "rules", cx);
            for (i, (rule, node)) in group.rules.iter().zip(rules).enumerate() {
                let place = format!("group {:?}, rule {}, {:?}: ", group.name, i + 1, rule.name());
                rule.check(node, &place, checks, cx);
            }
        }
    }
}

/// The place of a key's value, else of the whole.
fn place(node: &Node, key: &str) -> Pos {
    node.get(key).unwrap_or(node).pos
}

fn check_labels(
    labels: &BTreeMap<String, String>,
    node: &Node,
    prefix: &str,
    scheme: ValidationScheme,
    cx: &mut Decoder,
) {
    for name in labels.keys() {
        if !scheme.is_valid_label_name(name) || name == model::labels::METRIC_NAME {
            cx.fail(place(node, "labels"), format!("{prefix}invalid label name: {name}"));
        }
    }
}

impl Rule {
    fn check(&self, node: &Node, prefix: &str, checks: &mut RuleChecks<'_>, cx: &mut Decoder) {
        match (self.record.is_empty(), self.alert.is_empty()) {
            (false, false) => cx
                .fail(place(node, "record"), format!("{prefix}only one of 'record' and 'alert' must be set")),
            (true, true) => cx.fail(node.pos, format!("{prefix}one of 'record' or 'alert' must be set")),
            _ => {}
        }
        if self.expr.is_empty() {
            cx.fail(place(node, "expr"), format!("{prefix}field 'expr' must be set in rule"));
        } else if let Err(error) = (checks.expression)(&self.expr) {
            cx.fail(place(node, "expr"), format!("{prefix}could not parse expression: {error}"));
        }
        if !self.record.is_empty() {
            self.check_recording(node, prefix, checks.scheme, cx);
        }
        check_labels(&self.labels, node, prefix, checks.scheme, cx);
        for name in self.annotations.keys().filter(|name| !checks.scheme.is_valid_label_name(name)) {
            cx.fail(place(node, "annotations"), format!("{prefix}invalid annotation name: {name}"));
        }
        if self.alert.is_empty() {
            return;
        }
        for (what, key, texts) in
            [("label", "labels", &self.labels), ("annotation", "annotations", &self.annotations)]
        {
            for (name, text) in texts {
                if let Err(error) = (checks.template)(text) {
                    let at = node.get(key).map_or(node.pos, |texts| place(texts, name));
                    cx.fail(at, format!("{prefix}{what} {name:?}: {error}"));
                }
            }
        }
    }

    fn check_recording(&self, node: &Node, prefix: &str, scheme: ValidationScheme, cx: &mut Decoder) {
        let fields = [
            ("annotations", !self.annotations.is_empty()),
            ("for", !self.hold.is_zero()),
            ("keep_firing_for", !self.keep_firing_for.is_zero()),
        ];
        for (key, _) in fields.iter().filter(|(_, given)| *given) {
            cx.fail(place(node, key), format!("{prefix}invalid field '{key}' in recording rule"));
        }
        let at = place(node, "record");
        if !scheme.is_valid_metric_name(&self.record) {
            cx.fail(at, format!("{prefix}invalid recording rule name: {}", self.record));
        } else if self.record.contains(['{', '}']) {
            let text = format!(
                "{prefix}braces present in the recording rule name; should it be in expr?: {}",
                self.record
            );
            cx.fail(at, text);
        }
    }
}
