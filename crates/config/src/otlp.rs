//! `otlp`: how OpenTelemetry metrics become series.

use std::collections::HashSet;

use crate::yaml::record::yaml_record;
use crate::yaml::value::{OptWord, yaml_words};
use crate::yaml::{Decoder, Hooks, Invalid, Node, Out};

/// `otlp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpConfig {
    /// All resource attributes become labels.
    pub promote_all_resource_attributes: bool,
    /// These become labels.
    pub promote_resource_attributes: Vec<String>,
    /// All but these, where all are promoted.
    pub ignore_resource_attributes: Vec<String>,
    /// Names.
    pub translation_strategy: TranslationStrategy,
    /// Keep `service.name` and its like as labels of `target_info`.
    pub keep_identifying_resource_attributes: bool,
    /// Explicit-bucket histograms become native ones with custom buckets.
    pub convert_histograms_to_nhcb: bool,
    /// Scope name, version, URL and attributes become labels.
    pub promote_scope_metadata: bool,
    /// Prefix `key_` to label names that start with `_`. Default true.
    pub label_name_underscore_sanitization: bool,
    /// Keep runs of `_` in label names. Default true.
    pub label_name_preserve_multiple_underscores: bool,
}

impl Default for OtlpConfig {
    fn default() -> Self {
        OtlpConfig {
            promote_all_resource_attributes: false,
            promote_resource_attributes: Vec::new(),
            ignore_resource_attributes: Vec::new(),
            translation_strategy: TranslationStrategy::UnderscoreEscapingWithSuffixes,
            keep_identifying_resource_attributes: false,
            convert_histograms_to_nhcb: false,
            promote_scope_metadata: false,
            label_name_underscore_sanitization: true,
            label_name_preserve_multiple_underscores: true,
        }
    }
}

/// How names are translated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TranslationStrategy {
    /// "": as `UnderscoreEscapingWithSuffixes`.
    Unset,
    /// `UnderscoreEscapingWithSuffixes`.
    #[default]
    UnderscoreEscapingWithSuffixes,
    /// `UnderscoreEscapingWithoutSuffixes`.
    UnderscoreEscapingWithoutSuffixes,
    /// `NoUTF8EscapingWithSuffixes`.
    NoUtf8EscapingWithSuffixes,
    /// `NoTranslation`.
    NoTranslation,
}

yaml_words!(TranslationStrategy, {
    "" => TranslationStrategy::Unset,
    "UnderscoreEscapingWithSuffixes" => TranslationStrategy::UnderscoreEscapingWithSuffixes,
    "UnderscoreEscapingWithoutSuffixes" => TranslationStrategy::UnderscoreEscapingWithoutSuffixes,
    "NoUTF8EscapingWithSuffixes" => TranslationStrategy::NoUtf8EscapingWithSuffixes,
    "NoTranslation" => TranslationStrategy::NoTranslation,
}, |text| format!("unsupported OTLP translation strategy {text:?}"));

struct Strategy;

impl Strategy {
    fn decode(into: &mut TranslationStrategy, node: &Node, cx: &mut Decoder) -> bool {
        let mut word = None;
        let good = OptWord::decode(&mut word, node, cx);
        *into = word.unwrap_or(TranslationStrategy::Unset);
        good
    }
    fn encode(value: &TranslationStrategy) -> Out {
        Out::Text(value.as_str().to_string())
    }
    fn is_zero(value: &TranslationStrategy) -> bool {
        *value == TranslationStrategy::Unset
    }
}

yaml_record!(OtlpConfig, "otlp", zero = OtlpConfig {
    translation_strategy: TranslationStrategy::Unset,
    label_name_underscore_sanitization: false,
    label_name_preserve_multiple_underscores: false,
    ..OtlpConfig::default()
}, {
    promote_all_resource_attributes: omit,
    promote_resource_attributes: omit,
    ignore_resource_attributes: omit,
    translation_strategy: with(Strategy),
    keep_identifying_resource_attributes: omit,
    convert_histograms_to_nhcb: omit,
    promote_scope_metadata: omit,
    label_name_underscore_sanitization: omit,
    label_name_preserve_multiple_underscores: omit,
});

impl Hooks for OtlpConfig {
    fn begin(&mut self) {
        *self = OtlpConfig::default();
    }
    fn finish(&mut self, _node: &Node, _cx: &mut Decoder) -> Result<(), Invalid> {
        if self.promote_all_resource_attributes {
            if !self.promote_resource_attributes.is_empty() {
                let text = "'promote_all_resource_attributes' and 'promote_resource_attributes' cannot be configured simultaneously";
                return Err(Invalid::at("promote_resource_attributes", text));
            }
            tidy(&mut self.ignore_resource_attributes, "ignored").map_err(|text| {
                Invalid::at(
                    "ignore_resource_attributes",
                    format!("invalid 'ignore_resource_attributes': {text}"),
                )
            })
        } else {
            if !self.ignore_resource_attributes.is_empty() {
                let text = "'ignore_resource_attributes' cannot be configured unless 'promote_all_resource_attributes' is true";
                return Err(Invalid::at("ignore_resource_attributes", text));
            }
            tidy(&mut self.promote_resource_attributes, "promoted").map_err(|text| {
                Invalid::at(
                    "promote_resource_attributes",
                    format!("invalid 'promote_resource_attributes': {text}"),
                )
            })
        }
    }
}

/// Trims; empty and repeated names are errors.
fn tidy(attributes: &mut [String], adjective: &str) -> Result<(), String> {
    let mut seen = HashSet::new();
    let mut errors = Vec::new();
    for attribute in attributes {
        *attribute = attribute.trim().to_string();
        if attribute.is_empty() {
            errors.push(format!("empty {adjective} OTel resource attribute"));
        } else if !seen.insert(attribute.clone()) {
            errors.push(format!("duplicated {adjective} OTel resource attribute {attribute:?}"));
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors.join("; ")) }
}
