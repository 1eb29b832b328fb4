//! Relabeling rules, applied to targets, samples, alerts and remote-written series alike (upstream:
//! `model/relabel/relabel.go`).

use std::borrow::Cow;
use std::fmt;

use goregex::Regex;
use md5::{Digest, Md5};

use crate::labels::LabelsBuilder;
use crate::name::ValidationScheme;

/// What a rule does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RelabelAction {
    /// Sets the target label to the expanded replacement where the expression matches.
    #[default]
    Replace,
    /// Drops what does not match.
    Keep,
    /// Drops what matches.
    Drop,
    /// Drops where the joined source is not the target label's value.
    KeepEqual,
    /// Drops where the joined source is the target label's value.
    DropEqual,
    /// Sets the target label to a hash of the joined source, modulo `modulus`.
    HashMod,
    /// Copies labels whose names match to names made by the replacement.
    LabelMap,
    /// Removes labels whose names match.
    LabelDrop,
    /// Removes labels whose names do not match.
    LabelKeep,
    /// Sets the target label to the joined source in lower case.
    Lowercase,
    /// Sets the target label to the joined source in upper case.
    Uppercase,
}

const ACTIONS: [(RelabelAction, &str); 11] = [
    (RelabelAction::Replace, "replace"),
    (RelabelAction::Keep, "keep"),
    (RelabelAction::Drop, "drop"),
    (RelabelAction::KeepEqual, "keepequal"),
    (RelabelAction::DropEqual, "dropequal"),
    (RelabelAction::HashMod, "hashmod"),
    (RelabelAction::LabelMap, "labelmap"),
    (RelabelAction::LabelDrop, "labeldrop"),
    (RelabelAction::LabelKeep, "labelkeep"),
    (RelabelAction::Lowercase, "lowercase"),
    (RelabelAction::Uppercase, "uppercase"),
];

impl RelabelAction {
    /// The action's name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        ACTIONS.iter().find(|(a, _)| *a == self).map_or("", |(_, name)| name)
    }

    /// Reads an action's name; upper and lower case are one.
    ///
    /// # Errors
    /// An unknown name.
    pub fn parse(name: &str) -> Result<Self, RelabelError> {
        let found = ACTIONS.iter().find(|(_, n)| name.eq_ignore_ascii_case(n));
        found.map(|(a, _)| *a).ok_or_else(|| RelabelError::UnknownAction(name.to_string()))
    }
}

impl fmt::Display for RelabelAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a rule was refused, in upstream's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RelabelError {
    /// No such action.
    #[error("unknown relabel action {}", crate::name::Quoted(.0))]
    UnknownAction(String),
    /// `regex` does not compile.
    #[error(transparent)]
    Regex(#[from] goregex::Error),
    /// `hashmod` without `modulus`.
    #[error("relabel configuration for hashmod requires non-zero modulus")]
    ZeroModulus,
    /// An action that writes, without a name to write to.
    #[error("relabel configuration for {0} action requires 'target_label' value")]
    NoTarget(RelabelAction),
    /// The target is no label name.
    #[error("{} is invalid 'target_label' for {action} action", crate::name::Quoted(.name))]
    BadTarget {
        /// As written.
        name: String,
        /// The rule's action.
        action: RelabelAction,
    },
    /// `replacement` with an action that takes none.
    #[error("'replacement' can not be set for {0} action")]
    ReplacementSet(RelabelAction),
    /// `labelmap`'s replacement makes no label name.
    #[error("{} is invalid 'replacement' for {action} action", crate::name::Quoted(.name))]
    BadReplacement {
        /// As written.
        name: String,
        /// The rule's action.
        action: RelabelAction,
    },
    /// Fields that `keepequal` and `dropequal` do not take.
    #[error("{0} action requires only 'source_labels' and `target_label`, and no other fields")]
    OnlySourceAndTarget(RelabelAction),
    /// Fields that `labeldrop` and `labelkeep` do not take.
    #[error("{0} action requires only 'regex', and no other fields")]
    OnlyRegex(RelabelAction),
}

/// A rule as written in the configuration, with upstream's defaults filled in by [`Default`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelabelParts {
    /// Labels whose values are joined; `None` where the field is absent.
    pub source_labels: Option<Vec<String>>,
    /// Between the joined values.
    pub separator: String,
    /// Expression; `None` where the field is absent (which is `(.*)`).
    pub regex: Option<String>,
    /// For `hashmod`.
    pub modulus: u64,
    /// Label to write.
    pub target_label: String,
    /// Value to write, with `$1` and the like.
    pub replacement: String,
    /// What to do.
    pub action: RelabelAction,
}

impl Default for RelabelParts {
    fn default() -> Self {
        RelabelParts {
            source_labels: None,
            separator: ";".to_string(),
            regex: None,
            modulus: 0,
            target_label: String::new(),
            replacement: "$1".to_string(),
            action: RelabelAction::Replace,
        }
    }
}

const DEFAULT_REGEX: &str = "(.*)";

/// A rule, checked and compiled. Cheap enough to clone; the expression is shared.
#[derive(Clone, Debug)]
pub struct RelabelConfig {
    parts: RelabelParts,
    regex: Regex,
    scheme: ValidationScheme,
}

impl PartialEq for RelabelConfig {
    fn eq(&self, o: &Self) -> bool {
        self.parts == o.parts && self.scheme == o.scheme
    }
}

impl Eq for RelabelConfig {}

impl RelabelConfig {
    /// Compiles and checks a rule. `scheme` is the one of the place where the rule stands.
    ///
    /// # Errors
    /// A bad expression, or a combination of fields that upstream refuses.
    pub fn new(parts: RelabelParts, scheme: ValidationScheme) -> Result<Self, RelabelError> {
        let regex = Regex::wrapped(parts.regex.as_deref().unwrap_or(DEFAULT_REGEX))?;
        check(&parts, scheme)?;
        Ok(RelabelConfig { parts, regex, scheme })
    }

    /// As [`RelabelConfig::new`], but takes the compiled expression of `same` where both rules have the same
    /// text: a generated config repeats a handful of expressions thousands of times.
    ///
    /// # Errors
    /// As [`RelabelConfig::new`].
    pub fn sharing(
        parts: RelabelParts,
        scheme: ValidationScheme,
        same: &RelabelConfig,
    ) -> Result<Self, RelabelError> {
        if parts.regex.as_deref().unwrap_or(DEFAULT_REGEX)
            != same.parts.regex.as_deref().unwrap_or(DEFAULT_REGEX)
        {
            return RelabelConfig::new(parts, scheme);
        }
        check(&parts, scheme)?;
        Ok(RelabelConfig { parts, regex: same.regex.clone(), scheme })
    }

    /// The rule as written, to print it back.
    #[must_use]
    pub fn parts(&self) -> &RelabelParts {
        &self.parts
    }

    /// The compiled expression.
    #[must_use]
    pub fn regex(&self) -> &Regex {
        &self.regex
    }

    /// Which names the rule may write.
    #[must_use]
    pub fn scheme(&self) -> ValidationScheme {
        self.scheme
    }

    /// Applies this rule. False where the label set is to be dropped.
    pub fn apply(&self, labels: &mut LabelsBuilder) -> bool {
        process(std::slice::from_ref(self), labels)
    }
}

/// The fields as the API prints a rule (`targets/relabel_steps`). The configuration is printed elsewhere,
/// as its form differs in what is left out.
impl serde::Serialize for RelabelConfig {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let p = &self.parts;
        let mut map = s.serialize_map(None)?;
        if let Some(names) = p.source_labels.as_ref().filter(|names| !names.is_empty()) {
            map.serialize_entry("source_labels", names)?;
        }
        map.serialize_entry("separator", &p.separator)?;
        map.serialize_entry("regex", p.regex.as_deref().unwrap_or(DEFAULT_REGEX))?;
        if p.modulus != 0 {
            map.serialize_entry("modulus", &p.modulus)?;
        }
        if !p.target_label.is_empty() {
            map.serialize_entry("target_label", &p.target_label)?;
        }
        map.serialize_entry("replacement", &p.replacement)?;
        map.serialize_entry("action", p.action.as_str())?;
        map.end()
    }
}

/// Applies rules in order. False where one of them drops the label set.
#[must_use]
pub fn process(rules: &[RelabelConfig], labels: &mut LabelsBuilder) -> bool {
    let mut run = Run::new(rules, labels);
    rules.iter().all(|rule| run.apply(rule))
}

/// The label set after one rule, for the page that explains relabeling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RelabelStep {
    /// Labels after the rule.
    pub output: crate::Labels,
    /// False where this rule drops the label set; later rules are not applied.
    pub keep: bool,
}

/// Applies rules one by one and tells the outcome of each; after the one that drops, all drop.
#[must_use]
pub fn trace(rules: &[RelabelConfig], labels: &mut LabelsBuilder) -> Vec<RelabelStep> {
    let mut keep = true;
    let mut run = Run::new(rules, labels);
    let step = |rule: &RelabelConfig| {
        keep = keep && run.apply(rule);
        let output = if keep { run.labels.build() } else { crate::Labels::empty() };
        RelabelStep { output, keep }
    };
    rules.iter().map(step).collect()
}

fn has_reference(template: &str) -> bool {
    template.contains('$')
}

fn check(p: &RelabelParts, scheme: ValidationScheme) -> Result<(), RelabelError> {
    use RelabelAction as A;
    let (action, target) = (p.action, p.target_label.as_str());
    let defaults = RelabelParts::default();
    let fixed_target = matches!(action, A::Lowercase | A::Uppercase | A::KeepEqual | A::DropEqual);
    let bad_target = || RelabelError::BadTarget { name: target.to_string(), action };
    if action == A::HashMod && p.modulus == 0 {
        return Err(RelabelError::ZeroModulus);
    }
    if (fixed_target || matches!(action, A::Replace | A::HashMod)) && target.is_empty() {
        return Err(RelabelError::NoTarget(action));
    }
    // UTF-8 names may hold `$` and braces, so there every template passes; the legacy scheme has a
    // grammar of names with references in them.
    let is_name_template = |text: &str| match scheme {
        ValidationScheme::Utf8 => scheme.is_valid_label_name(text),
        ValidationScheme::Legacy => is_legacy_name_template(text),
    };
    let valid = match action {
        A::Replace if has_reference(target) => is_name_template(target),
        A::Replace => scheme.is_valid_label_name(target),
        _ if fixed_target => scheme.is_valid_label_name(target),
        _ => true,
    };
    if !valid {
        return Err(bad_target());
    }
    if fixed_target && p.replacement != defaults.replacement {
        return Err(RelabelError::ReplacementSet(action));
    }
    if action == A::LabelMap && !is_name_template(&p.replacement) {
        return Err(RelabelError::BadReplacement { name: p.replacement.clone(), action });
    }
    if action == A::HashMod && !scheme.is_valid_label_name(target) {
        return Err(bad_target());
    }
    let plain = p.modulus == 0 && p.separator == defaults.separator && p.replacement == defaults.replacement;
    if matches!(action, A::DropEqual | A::KeepEqual) && (p.regex.is_some() || !plain) {
        return Err(RelabelError::OnlySourceAndTarget(action));
    }
    if matches!(action, A::LabelDrop | A::LabelKeep)
        && (p.source_labels.is_some() || !target.is_empty() || !plain)
    {
        return Err(RelabelError::OnlyRegex(action));
    }
    Ok(())
}

/// A legacy label name in which references stand for characters: what `(?:(?:[a-zA-Z_]|\$(?:\{\w+\}|\w+))+\w*)+`
/// matches, that is: word characters and references, not beginning with a digit.
fn is_legacy_name_template(text: &str) -> bool {
    let word = |c: char| c == '_' || c.is_ascii_alphanumeric();
    let mut rest = text;
    if rest.is_empty() || rest.starts_with(|c: char| c.is_ascii_digit()) {
        return false;
    }
    while let Some(c) = rest.chars().next() {
        if c == '$' {
            let after = &rest[1..];
            let (body, close) = after.strip_prefix('{').map_or((after, ""), |body| (body, "}"));
            let tail = body.trim_start_matches(word);
            if tail.len() == body.len() {
                return false;
            }
            let Some(tail) = tail.strip_prefix(close) else { return false };
            rest = tail;
        } else if word(c) {
            rest = &rest[1..];
        } else {
            return false;
        }
    }
    true
}

/// One pass of rules over one label set.
struct Run<'a> {
    labels: &'a mut LabelsBuilder,
    /// Labels written by the rules so far, in order; kept only where a `labelmap` will ask. Where it maps
    /// two labels to one name the last one counts, and upstream takes these after all others.
    written: Option<Vec<String>>,
}

impl<'a> Run<'a> {
    fn new(rules: &[RelabelConfig], labels: &'a mut LabelsBuilder) -> Self {
        let maps = rules.iter().skip(1).any(|rule| rule.parts.action == RelabelAction::LabelMap);
        Run { labels, written: maps.then(Vec::new) }
    }

    fn set(&mut self, name: &str, value: &str) {
        self.labels.set(name, value);
        let Some(written) = &mut self.written else { return };
        if value.is_empty() {
            written.retain(|n| n != name);
        } else if !written.iter().any(|n| n == name) {
            written.push(name.to_string());
        }
    }

    fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.labels.retain(|name, _| keep(name));
        if let Some(written) = &mut self.written {
            written.retain(|name| keep(name));
        }
    }

    fn label_map(&mut self, rule: &RelabelConfig) {
        let written = self.written.as_deref().unwrap_or_default();
        let early = self.labels.iter().filter(|(name, _)| !written.iter().any(|n| n == name));
        let late = written.iter().map(|name| (name.as_str(), self.labels.get(name)));
        let renamed: Vec<(String, String)> = early
            .chain(late)
            .filter(|(name, _)| rule.regex.is_match(name))
            .map(|(name, value)| (rule.regex.replace_all(name, &rule.parts.replacement), value.to_string()))
            .collect();
        for (name, value) in renamed {
            self.set(&name, &value);
        }
    }

    fn replace(&mut self, rule: &RelabelConfig, value: &str) {
        let p = &rule.parts;
        let (fixed_target, fixed_value) = (!has_reference(&p.target_label), !has_reference(&p.replacement));
        if fixed_target && fixed_value {
            if rule.regex.is_match(value) {
                self.set(&p.target_label, &p.replacement);
            }
            return;
        }
        let Some(captures) = rule.regex.captures(value) else { return };
        let expand = |template: &str| {
            let mut out = String::new();
            rule.regex.expand(template, value, &captures, &mut out);
            out
        };
        let target = if fixed_target { p.target_label.clone() } else { expand(&p.target_label) };
        if rule.scheme.is_valid_label_name(&target) {
            // An empty value deletes the label.
            self.set(&target, &expand(&p.replacement));
        }
    }

    fn apply(&mut self, rule: &RelabelConfig) -> bool {
        use RelabelAction as A;
        let p = &rule.parts;
        let sources = p.source_labels.as_deref().unwrap_or_default();
        match p.action {
            A::LabelMap => self.label_map(rule),
            A::LabelDrop => self.retain(|name| !rule.regex.is_match(name)),
            A::LabelKeep => self.retain(|name| rule.regex.is_match(name)),
            A::Drop => return !rule.regex.is_match(&joined(self.labels, sources, &p.separator)),
            A::Keep => return rule.regex.is_match(&joined(self.labels, sources, &p.separator)),
            A::DropEqual => {
                return self.labels.get(&p.target_label) != joined(self.labels, sources, &p.separator);
            }
            A::KeepEqual => {
                return self.labels.get(&p.target_label) == joined(self.labels, sources, &p.separator);
            }
            A::Replace => {
                let value = joined(self.labels, sources, &p.separator).into_owned();
                self.replace(rule, &value);
            }
            A::Lowercase => {
                let lower = goregex::unicode::to_lower(&joined(self.labels, sources, &p.separator));
                self.set(&p.target_label, &lower);
            }
            A::Uppercase => {
                let upper = goregex::unicode::to_upper(&joined(self.labels, sources, &p.separator));
                self.set(&p.target_label, &upper);
            }
            A::HashMod => {
                let hash = hash_mod(&joined(self.labels, sources, &p.separator), p.modulus);
                self.set(&p.target_label, &hash.to_string());
            }
        }
        true
    }
}

/// The values of the source labels with the separator between them; one label's value is not copied.
fn joined<'l>(labels: &'l LabelsBuilder, names: &[String], separator: &str) -> Cow<'l, str> {
    if let [one] = names {
        return Cow::Borrowed(labels.get(one));
    }
    let values: Vec<&str> = names.iter().map(|name| labels.get(name)).collect();
    Cow::Owned(values.join(separator))
}

/// The last 8 bytes of MD5, big-endian, modulo `modulus` (which [`check`] keeps above zero). Stock
/// sharding rests on it: the same target must fall on the same shard in every implementation.
fn hash_mod(value: &str, modulus: u64) -> u64 {
    let digest = Md5::digest(value.as_bytes());
    let low = digest.iter().skip(8).fold(0_u64, |acc, b| acc << 8 | u64::from(*b));
    low.checked_rem(modulus).unwrap_or(0)
}
