//! `otlp`: how OpenTelemetry metrics become series.

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
