//! Relabeling rules in files: reading, checking under the name scheme of their place, printing back.

use model::name::ValidationScheme;
use model::relabel::{RelabelAction, RelabelConfig, RelabelError, RelabelParts};

use crate::yaml::record::yaml_record;
use crate::yaml::resolve::Meaning;
use crate::yaml::{Decoder, Encode, Hooks, Node, Out};

yaml_record!(RelabelParts, "a relabeling rule", {
    source_labels: with(SourceLabels),
    separator: keep,
    regex: with(RegexText),
    modulus: omit,
    target_label: omit,
    replacement: keep,
    action: with(ActionWord),
});

impl Hooks for RelabelParts {
    fn begin(&mut self) {
        *self = RelabelParts::default();
    }
}

struct SourceLabels;

impl SourceLabels {
    fn decode(into: &mut Option<Vec<String>>, node: &Node, cx: &mut Decoder) -> bool {
        let good = cx.decode(node, into);
        for (name, node) in into.iter().flatten().zip(node.items()) {
            if name.is_empty() {
                cx.fail(node.pos, "\"\" is not a valid label name");
            }
        }
        good
    }
    fn encode(value: &Option<Vec<String>>) -> Out {
        value.encode().flow()
    }
    fn is_zero(value: &Option<Vec<String>>) -> bool {
        value.as_ref().is_none_or(Vec::is_empty)
    }
}

struct RegexText;

impl RegexText {
    fn decode(into: &mut Option<String>, node: &Node, cx: &mut Decoder) -> bool {
        // `regex:` without a value is the empty expression, not the default one.
        let mut text = String::new();
        let good = cx.decode(node, &mut text);
        *into = Some(text);
        good
    }
    fn encode(value: &Option<String>) -> Out {
        value.encode()
    }
    fn is_zero(value: &Option<String>) -> bool {
        value.is_none()
    }
}

struct ActionWord;

impl ActionWord {
    fn decode(into: &mut RelabelAction, node: &Node, cx: &mut Decoder) -> bool {
        if cx.meaning(node.target()) == Some(Meaning::Null) {
            cx.fail(node.pos, "relabel action cannot be empty");
            return false;
        }
        let mut text = String::new();
        if !cx.decode(node, &mut text) {
            return false;
        }
        match RelabelAction::parse(&text) {
            Ok(action) => {
                *into = action;
                true
            }
            Err(error) => {
                let all = [
                    "replace",
                    "keep",
                    "drop",
                    "keepequal",
                    "dropequal",
                    "hashmod",
                    "labelmap",
                    "labeldrop",
                    "labelkeep",
                    "lowercase",
                    "uppercase",
                ];
                let hint = crate::nearest(&text, all)
                    .map(|near| format!(", did you mean {near:?}?"))
                    .unwrap_or_default();
                cx.fail(node.pos, format!("{error}{hint}"));
                false
            }
        }
    }
    fn encode(value: &RelabelAction) -> Out {
        Out::Text(value.as_str().to_string())
    }
    fn is_zero(_: &RelabelAction) -> bool {
        false
    }
}

/// Reads a list of rules under the UTF-8 scheme; whatever that refuses, the legacy scheme refuses too.
pub(crate) fn decode_rules(into: &mut Vec<RelabelConfig>, node: &Node, cx: &mut Decoder, null: &str) -> bool {
    let mut parts: Vec<RelabelParts> = Vec::new();
    let before = cx.found();
    if !cx.list(node, &mut parts, null) || cx.found() != before {
        return false;
    }
    into.clear();
    for (parts, node) in parts.into_iter().zip(node.items()) {
        match cx.relabel(parts) {
            Ok(rule) => into.push(rule),
            Err(error) => {
                let at = error_key(&error).and_then(|key| node.get(key)).unwrap_or(node);
                cx.fail(at.pos, error.to_string());
            }
        }
    }
    true
}

/// Checks rules under the scheme of their place.
pub(crate) fn apply_scheme(
    rules: &mut [RelabelConfig],
    scheme: ValidationScheme,
    nodes: Option<&Node>,
    at: &Node,
    cx: &mut Decoder,
) {
    let items = nodes.map_or(&[][..], Node::items);
    for (i, rule) in rules.iter_mut().enumerate().filter(|(_, rule)| rule.scheme() != scheme) {
        match RelabelConfig::sharing(rule.parts().clone(), scheme, rule) {
            Ok(checked) => *rule = checked,
            Err(error) => {
                let node = items.get(i).unwrap_or(at);
                let place = error_key(&error).and_then(|key| node.get(key)).unwrap_or(node);
                cx.fail(place.pos, error.to_string());
            }
        }
    }
}

fn error_key(error: &RelabelError) -> Option<&'static str> {
    match error {
        RelabelError::UnknownAction(_) | RelabelError::ZeroModulus | RelabelError::NoTarget(_) => {
            Some("action")
        }
        RelabelError::Regex(_) => Some("regex"),
        RelabelError::BadTarget { .. } => Some("target_label"),
        RelabelError::ReplacementSet(_) | RelabelError::BadReplacement { .. } => Some("replacement"),
        _ => None,
    }
}

pub(crate) fn encode_rules(rules: &[RelabelConfig]) -> Out {
    Out::Seq { items: rules.iter().map(|rule| rule.parts().encode()).collect(), flow: false }
}

/// A list of rules in one place of the file; the text is the problem of a null item there.
macro_rules! rules_place {
    ($name:ident, $null:literal) => {
        pub(crate) struct $name;
        impl $name {
            pub(crate) fn decode(into: &mut Vec<RelabelConfig>, node: &Node, cx: &mut Decoder) -> bool {
                decode_rules(into, node, cx, $null)
            }
            pub(crate) fn encode(rules: &[RelabelConfig]) -> Out {
                encode_rules(rules)
            }
            pub(crate) fn is_zero(rules: &[RelabelConfig]) -> bool {
                rules.is_empty()
            }
        }
    };
}

rules_place!(TargetRules, "empty or null target relabeling rule in scrape config");
rules_place!(MetricRules, "empty or null metric relabeling rule in scrape config");
rules_place!(AlertRules, "empty or null alert relabeling rule");
rules_place!(AlertmanagerRules, "empty or null Alertmanager target relabeling rule");
rules_place!(AlertmanagerAlertRules, "empty or null Alertmanager alert relabeling rule");
rules_place!(WriteRules, "empty or null relabeling rule in remote write config");
