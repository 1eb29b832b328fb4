//! What a mechanism is, and how one is made from its configuration.

use std::future::Future;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::pin::Pin;
use std::sync::Arc;

use config::{DnsSdConfig, FileSdConfig, HttpSdConfig, SdConfigs, StaticConfig};
use model::TargetGroup;
use model::target_group::TargetLabels;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::manager::Options;
use crate::metrics::Metrics;
use crate::{dns, file, http};

/// A running mechanism, to be awaited.
pub type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A way to find targets. `run` sends target groups as they become known, each replacing the one of the
/// same source, an empty one removing it; it ends when stopped or when nothing can change any more.
pub trait Mechanism: Send {
    /// Name in figures and log lines: `file`, `http`.
    fn name(&self) -> &'static str;
    /// Finds targets until `stop`. Sending waits where the manager is busy, so a mechanism never queues.
    fn run(self: Box<Self>, updates: mpsc::Sender<Vec<TargetGroup>>, stop: CancellationToken) -> Running;
}

/// One configuration of one mechanism. Equal ones are run once, whatever jobs they stand in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProviderConfig {
    /// All `static_configs` of a job.
    Static(Arc<Vec<StaticConfig>>),
    /// One of `file_sd_configs`.
    File(FileSdConfig),
    /// One of `http_sd_configs`.
    Http(Box<HttpSdConfig>),
    /// One of `dns_sd_configs`.
    Dns(DnsSdConfig),
}

/// Why a mechanism could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// Its HTTP client could not.
    #[error(transparent)]
    Client(#[from] net::ClientError),
    /// The URL is none.
    #[error("http_sd url {url:?}: {reason}")]
    Url {
        /// As configured.
        url: String,
        /// Cause.
        reason: String,
    },
}

impl ProviderConfig {
    /// All mechanisms of a job.
    #[must_use]
    pub fn list(configs: &SdConfigs) -> Vec<ProviderConfig> {
        let mut out = Vec::new();
        out.extend(configs.file_sd_configs.iter().cloned().map(ProviderConfig::File));
        out.extend(configs.http_sd_configs.iter().cloned().map(|c| ProviderConfig::Http(Box::new(c))));
        out.extend(configs.dns_sd_configs.iter().cloned().map(ProviderConfig::Dns));
        if !configs.static_configs.is_empty() {
            out.push(ProviderConfig::Static(Arc::clone(&configs.static_configs)));
        }
        out
    }

    /// A hash of what usually tells two configurations apart.
    pub(crate) fn key(&self) -> u64 {
        let mut h = DefaultHasher::new();
        self.mechanism().hash(&mut h);
        match self {
            ProviderConfig::Static(groups) => {
                groups.iter().for_each(|g| (&g.targets, &g.labels).hash(&mut h))
            }
            ProviderConfig::File(config) => config.files.hash(&mut h),
            ProviderConfig::Http(config) => config.url.hash(&mut h),
            ProviderConfig::Dns(config) => config.names.hash(&mut h),
        }
        h.finish()
    }

    /// Name of the mechanism.
    #[must_use]
    pub fn mechanism(&self) -> &'static str {
        match self {
            ProviderConfig::Static(_) => "static",
            ProviderConfig::File(_) => "file",
            ProviderConfig::Http(_) => "http",
            ProviderConfig::Dns(_) => "dns",
        }
    }

    /// Makes the mechanism. `set` is the job that it is made for, which labels its figures.
    ///
    /// # Errors
    /// A client's files or URL that cannot be used.
    pub fn build(
        &self,
        set: &str,
        options: &Options,
        metrics: &Metrics,
    ) -> Result<Box<dyn Mechanism>, ProviderError> {
        Ok(match self {
            ProviderConfig::Static(groups) => Box::new(StaticDiscovery { groups: static_groups(groups) }),
            ProviderConfig::File(config) => {
                Box::new(file::FileDiscovery::new(config.clone(), options.room.clone(), metrics.clone()))
            }
            ProviderConfig::Http(config) => {
                Box::new(http::HttpDiscovery::new(config, set, options, metrics.clone())?)
            }
            ProviderConfig::Dns(config) => {
                Box::new(dns::DnsDiscovery::new(config.clone(), set, options.dns.clone(), metrics.clone()))
            }
        })
    }
}

/// Target groups of `static_configs`; the source is the position.
#[must_use]
pub fn static_groups(groups: &[StaticConfig]) -> Vec<TargetGroup> {
    groups.iter().enumerate().map(|(i, group)| target_group(group.clone(), i.to_string())).collect()
}

/// A target group of one written list.
pub(crate) fn target_group(group: StaticConfig, source: String) -> TargetGroup {
    let targets = group.targets.iter().map(|address| TargetLabels::address(address)).collect();
    TargetGroup { targets, labels: group.labels, source }
}

/// `static_configs`: said once.
struct StaticDiscovery {
    groups: Vec<TargetGroup>,
}

impl Mechanism for StaticDiscovery {
    fn name(&self) -> &'static str {
        "static"
    }
    fn run(self: Box<Self>, updates: mpsc::Sender<Vec<TargetGroup>>, stop: CancellationToken) -> Running {
        Box::pin(async move {
            tokio::select! {
                _ = updates.send(self.groups) => {}
                () = stop.cancelled() => {}
            }
        })
    }
}
