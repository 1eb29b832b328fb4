//! `kubernetes_sd_configs`, parsed in full; the mechanism itself is not built yet.

use crate::http::HttpClientConfig;
use crate::url::ConfigUrl;

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
