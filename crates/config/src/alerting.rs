//! `alerting`: where alerts go.

use std::path::Path;
use std::time::Duration;

use model::name::ValidationScheme;
use model::relabel::RelabelConfig;

use crate::http::{HttpClientConfig, SigV4Config};
use crate::relabel::{AlertRules, AlertmanagerAlertRules, AlertmanagerRules, apply_scheme};
use crate::sd::SdConfigs;
use crate::yaml::record::yaml_record;
use crate::yaml::{Decoder, Hooks, Invalid, Node, Out};

/// `alerting`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AlertingConfig {
    /// Rules for all alerts.
    pub alert_relabel_configs: Vec<RelabelConfig>,
    /// Groups of Alertmanagers.
    pub alertmanagers: Vec<AlertmanagerConfig>,
}

/// One group of Alertmanagers.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertmanagerConfig {
    /// How to reach them.
    pub http: HttpClientConfig,
    /// AWS signature.
    pub sigv4: Option<SigV4Config>,
    /// `http` (default) or `https`.
    pub scheme: String,
    /// Before `/api/v2/alerts`.
    pub path_prefix: String,
    /// Default 10s.
    pub timeout: Duration,
    /// Always `v2`.
    pub api_version: String,
    /// Rules for the Alertmanagers as targets.
    pub relabel_configs: Vec<RelabelConfig>,
    /// Rules for alerts sent to this group.
    pub alert_relabel_configs: Vec<RelabelConfig>,
    /// Where the Alertmanagers come from.
    pub sd: SdConfigs,
}

impl Default for AlertmanagerConfig {
    fn default() -> Self {
        AlertmanagerConfig {
            http: HttpClientConfig::default(),
            sigv4: None,
            scheme: "http".to_string(),
            path_prefix: String::new(),
            timeout: Duration::from_secs(10),
            api_version: "v2".to_string(),
            relabel_configs: Vec::new(),
            alert_relabel_configs: Vec::new(),
            sd: SdConfigs::default(),
        }
    }
}

yaml_record!(AlertingConfig, "alerting", {
    alert_relabel_configs: with(AlertRules),
    alertmanagers: omit,
});

impl Hooks for AlertingConfig {
    fn begin(&mut self) {
        *self = AlertingConfig::default();
    }
}

impl AlertingConfig {
    pub(crate) fn apply_scheme(&mut self, scheme: ValidationScheme, node: &Node, cx: &mut Decoder) {
        apply_scheme(&mut self.alert_relabel_configs, scheme, node.get("alert_relabel_configs"), node, cx);
        let items = node.get("alertmanagers").map_or(&[][..], Node::items);
        for (i, group) in self.alertmanagers.iter_mut().enumerate() {
            let node = items.get(i).unwrap_or(node);
            apply_scheme(
                &mut group.alert_relabel_configs,
                scheme,
                node.get("alert_relabel_configs"),
                node,
                cx,
            );
            apply_scheme(&mut group.relabel_configs, scheme, node.get("relabel_configs"), node, cx);
        }
    }
    pub(crate) fn set_directory(&mut self, dir: &Path) {
        for group in &mut self.alertmanagers {
            group.sd.set_directory(dir);
            group.http.set_directory(dir);
        }
    }
}

yaml_record!(AlertmanagerConfig, "alertmanagers", {
    http: inline,
    sigv4: omit,
    scheme: omit,
    path_prefix: omit,
    timeout: omit,
    api_version: with(ApiVersion),
    relabel_configs: with(AlertmanagerRules),
    alert_relabel_configs: with(AlertmanagerAlertRules),
    sd: inline,
});

struct ApiVersion;

impl ApiVersion {
    fn decode(into: &mut String, node: &Node, cx: &mut Decoder) -> bool {
        let good = cx.decode(node, into);
        // Null is "" for upstream, which then fails on first use: refused here as any other word.
        if good && into != "v2" {
            cx.fail(node.pos, format!("expected Alertmanager api version to be one of [v2] but got {into}"));
        }
        good
    }
    fn encode(value: &str) -> Out {
        Out::Text(value.to_string())
    }
    fn is_zero(_: &str) -> bool {
        false
    }
}

impl Hooks for AlertmanagerConfig {
    fn begin(&mut self) {
        *self = AlertmanagerConfig::default();
    }
    fn finish(&mut self, node: &Node, cx: &mut Decoder) -> Result<(), Invalid> {
        self.http.complete()?;
        let http = &self.http;
        if self.sigv4.is_some()
            && (http.basic_auth.is_some() || http.authorization.is_some() || http.oauth2.is_some())
        {
            return Err(Invalid::at(
                "sigv4",
                "at most one of basic_auth, authorization, oauth2, & sigv4 must be configured",
            ));
        }
        if self.relabel_configs.is_empty() {
            self.sd.check_addresses(node, cx);
        }
        Ok(())
    }
}
