//! `kubernetes_sd_configs`, parsed in full; the mechanism itself is not built yet.

use crate::http::HttpClientConfig;
use crate::url::ConfigUrl;
use crate::yaml::record::yaml_record;
use crate::yaml::value::{OptWord, yaml_words};
use crate::yaml::{Decoder, Hooks, Invalid, Node};

/// One entry of `kubernetes_sd_configs`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubernetesSdConfig {
    /// `None`: the service account of the pod.
    pub api_server: Option<ConfigUrl>,
    /// What to discover.
    pub role: Option<KubernetesRole>,
    /// A kubeconfig instead of `api_server`.
    pub kubeconfig_file: String,
    /// How to reach the API server.
    pub http: HttpClientConfig,
    /// Only these namespaces.
    pub namespaces: NamespaceDiscovery,
    /// Label and field selectors a role.
    pub selectors: Vec<KubernetesSelector>,
    /// Labels of other objects.
    pub attach_metadata: AttachMetadata,
}

/// `namespaces`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceDiscovery {
    /// The pod's own namespace too.
    pub own_namespace: bool,
    /// Names; empty is all.
    pub names: Vec<String>,
}

/// One of `selectors`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KubernetesSelector {
    /// Objects selected.
    pub role: Option<KubernetesRole>,
    /// Label selector.
    pub label: String,
    /// Field selector.
    pub field: String,
}

/// `attach_metadata`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachMetadata {
    /// Labels of the node.
    pub node: bool,
    /// Labels of the namespace.
    pub namespace: bool,
    /// Name of the pod's deployment.
    pub deployment: bool,
    /// Name of the pod's job.
    pub job: bool,
    /// Name of the pod's cron job.
    pub cronjob: bool,
}

/// What to discover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KubernetesRole {
    /// `node`.
    Node,
    /// `pod`.
    Pod,
    /// `service`.
    Service,
    /// `endpoints`.
    Endpoints,
    /// `endpointslice`.
    EndpointSlice,
    /// `ingress`.
    Ingress,
}

yaml_words!(KubernetesRole, {
    "node" => KubernetesRole::Node,
    "pod" => KubernetesRole::Pod,
    "service" => KubernetesRole::Service,
    "endpoints" => KubernetesRole::Endpoints,
    "endpointslice" => KubernetesRole::EndpointSlice,
    "ingress" => KubernetesRole::Ingress,
}, |text| format!("unknown Kubernetes SD role {text:?}"));

yaml_record!(KubernetesSdConfig, "kubernetes_sd_configs", {
    api_server: omit,
    role: with(OptWord<KubernetesRole>),
    kubeconfig_file: keep,
    http: inline,
    namespaces: omit,
    selectors: omit,
    attach_metadata: omit,
});
yaml_record!(NamespaceDiscovery, "namespaces", {
    own_namespace: keep,
    names: keep,
});
yaml_record!(KubernetesSelector, "selectors", {
    role: with(OptWord<KubernetesRole>),
    label: omit,
    field: omit,
});
yaml_record!(AttachMetadata, "attach_metadata", {
    node: keep,
    namespace: keep,
    deployment: keep,
    job: keep,
    cronjob: keep,
});

impl Hooks for NamespaceDiscovery {}
impl Hooks for KubernetesSelector {}
impl Hooks for AttachMetadata {}

impl Hooks for KubernetesSdConfig {
    fn begin(&mut self) {
        *self = KubernetesSdConfig::default();
    }
    fn finish(&mut self, _node: &Node, _cx: &mut Decoder) -> Result<(), Invalid> {
        use KubernetesRole as R;
        let Some(role) = self.role else {
            return Err("role missing (one of: pod, service, endpoints, endpointslice, node, ingress)".into());
        };
        self.http.complete()?;
        let (server, kubeconfig) = (self.api_server.is_some(), !self.kubeconfig_file.is_empty());
        let custom_http = self.http != HttpClientConfig::default();
        if server && kubeconfig {
            return Err("cannot use 'kubeconfig_file' and 'api_server' simultaneously".into());
        }
        if kubeconfig && custom_http {
            return Err(
                "cannot use a custom HTTP client configuration together with 'kubeconfig_file'".into()
            );
        }
        if !server && custom_http {
            return Err(
                "to use custom HTTP client configuration please provide the 'api_server' URL explicitly"
                    .into(),
            );
        }
        if server && self.namespaces.own_namespace {
            return Err("cannot use 'api_server' and 'namespaces.own_namespace' simultaneously".into());
        }
        if kubeconfig && self.namespaces.own_namespace {
            return Err("cannot use 'kubeconfig_file' and 'namespaces.own_namespace' simultaneously".into());
        }
        let allowed: &[R] = match role {
            R::Pod => &[R::Pod, R::Node],
            R::Service => &[R::Service],
            R::EndpointSlice => &[R::Pod, R::Service, R::EndpointSlice],
            R::Endpoints => &[R::Pod, R::Service, R::Endpoints],
            R::Node => &[R::Node],
            R::Ingress => &[R::Ingress],
        };
        for (i, selector) in self.selectors.iter().enumerate() {
            let word = selector.role.map_or("", R::as_str);
            if self.selectors.iter().take(i).any(|other| other.role == selector.role) {
                return Err(Invalid::at("selectors", format!("duplicated selector role: {word}")));
            }
            if !selector.role.is_some_and(|role| allowed.contains(&role)) {
                let names: Vec<&str> = allowed.iter().map(|role| role.as_str()).collect();
                return Err(Invalid::at(
                    "selectors",
                    format!("{} role supports only {} selectors", role.as_str(), names.join(", ")),
                ));
            }
        }
        Ok(())
    }
}
