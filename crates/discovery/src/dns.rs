//! `dns_sd_configs`: records of names become targets (upstream: `discovery/dns/dns.go`).
//!
//! Three outcomes for a name, as upstream has them: an answer (maybe without records) replaces what was
//! known; "no such name" from every form of the name removes it; any other failure leaves it as it was.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use config::{DnsRecordType, DnsSdConfig};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts, ServerOrderingStrategy,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use model::TargetGroup;
use model::target_group::{LabelMap, TargetLabels};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;
use crate::provider::{Mechanism, Running};
use crate::refresh::Refresher;

/// Whom to ask.
#[derive(Clone, Debug, Default)]
pub enum DnsServers {
    /// Those of `/etc/resolv.conf`, read again for every refresh.
    #[default]
    System,
    /// These.
    Fixed(Arc<DnsSettings>),
}

/// What `/etc/resolv.conf` would say.
#[derive(Clone, Debug, Default)]
pub struct DnsSettings {
    /// Asked in this order, over UDP, and over TCP where an answer is cut.
    pub servers: Vec<SocketAddr>,
    /// Appended to names that do not end in a dot.
    pub search: Vec<String>,
    /// Names with at least so many dots are tried as they are before the search list.
    pub ndots: usize,
}

/// Names of one configuration.
pub struct DnsDiscovery {
    config: DnsSdConfig,
    set: String,
    servers: DnsServers,
    metrics: Metrics,
}

#[derive(Debug, thiserror::Error)]
enum DnsError {
    #[error("could not load resolv.conf: {0}")]
    Servers(NetError),
    #[error("{name:?} is no name: {reason}")]
    Name { name: String, reason: String },
    #[error(
        "could not resolve {name:?}: all servers responded with errors to at least one search domain: {reason}"
    )]
    Unresolved { name: String, reason: String },
}

impl DnsDiscovery {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(config: DnsSdConfig, set: &str, servers: DnsServers, metrics: Metrics) -> Self {
        DnsDiscovery { config, set: set.to_string(), servers, metrics }
    }

    /// Looks all names up at the same time. Never an error: each name fails by itself.
    async fn refresh(&self) -> Result<Vec<TargetGroup>, std::convert::Infallible> {
        let asker = self.servers.load().map(Arc::new);
        let mut lookups = JoinSet::new();
        for name in &self.config.names {
            let (name, config, asker) = (name.clone(), self.config.clone(), asker.clone());
            lookups.spawn(async move {
                let asker = asker.map_err(DnsError::Servers)?;
                asker.look_up(&name, &config).await
            });
        }
        let mut groups = Vec::new();
        while let Some(done) = lookups.join_next().await {
            self.metrics.dns_lookups.inc();
            match done {
                Ok(Ok(group)) => groups.push(group),
                Ok(Err(error)) => self.failed(&error),
                Err(error) => self.failed(&error),
            }
        }
        Ok(groups)
    }

    fn failed(&self, error: &dyn Display) {
        self.metrics.dns_failures.inc();
        tracing::error!(discovery = "dns", config = %self.set, err = %error, "Error refreshing DNS targets");
    }
}

/// A resolver for one refresh, and how to complete names.
struct Asker {
    resolver: TokioResolver,
    search: Vec<Name>,
    ndots: usize,
}

impl DnsServers {
    fn load(&self) -> Result<Asker, NetError> {
        let (config, mut options) = match self {
            DnsServers::System => hickory_resolver::system_conf::read_system_conf()?,
            DnsServers::Fixed(settings) => settings.resolver_config(),
        };
        let (_, search, mut servers) = config.into_parts();
        for server in &mut servers {
            // "No such name" from the first server that says so is an answer.
            server.trust_negative_responses = true;
        }
        let ndots = options.ndots;
        // Asked anew every time, and only servers: a cache or /etc/hosts would hide what the zone says.
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
        options.num_concurrent_reqs = 1;
        // The search list is applied here, as upstream does.
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        let builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let resolver = builder.with_options(options).build()?;
        Ok(Asker { resolver, search, ndots })
    }
}

impl DnsSettings {
    fn resolver_config(&self) -> (ResolverConfig, ResolverOpts) {
        let server = |address: &SocketAddr| {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = address.port();
                connection
            });
            NameServerConfig::new(address.ip(), true, connections.into())
        };
        let search = self.search.iter().filter_map(|name| Name::from_str_relaxed(name).ok()).collect();
        let config = ResolverConfig::from_parts(None, search, self.servers.iter().map(server).collect());
        let mut options = ResolverOpts::default();
        options.ndots = self.ndots;
        (config, options)
    }
}

impl Asker {
    /// Forms of a name to try, in order: with the search list unless the name ends in a dot, and as it is
    /// first where it has enough dots.
    fn forms(&self, name: &str) -> Result<Vec<Name>, DnsError> {
        let bad = |e: &dyn Display| DnsError::Name { name: name.to_string(), reason: e.to_string() };
        let mut plain = Name::from_str_relaxed(name).map_err(|e| bad(&e))?;
        if name.ends_with('.') {
            return Ok(vec![plain]);
        }
        let labels = plain.iter().count();
        let mut forms = Vec::new();
        for suffix in &self.search {
            // One that becomes too long cannot exist.
            if let Ok(mut form) = plain.clone().append_domain(suffix) {
                form.set_fqdn(true);
                forms.push(form);
            }
        }
        plain.set_fqdn(true);
        let at = if labels > self.ndots { 0 } else { forms.len() };
        forms.insert(at, plain);
        Ok(forms)
    }

    async fn look_up(&self, name: &str, config: &DnsSdConfig) -> Result<TargetGroup, DnsError> {
        let record_type = match config.kind {
            DnsRecordType::Srv => RecordType::SRV,
            DnsRecordType::A => RecordType::A,
            DnsRecordType::Aaaa => RecordType::AAAA,
            DnsRecordType::Mx => RecordType::MX,
            DnsRecordType::Ns => RecordType::NS,
        };
        let mut group = TargetGroup { source: name.to_string(), ..TargetGroup::default() };
        let mut failure = None;
        for form in self.forms(name)? {
            match self.resolver.lookup(form, record_type).await {
                Ok(found) => {
                    let data = found.answers().iter().map(|record| &record.data);
                    group.targets = data.filter_map(|data| target(name, data, config)).collect();
                    return Ok(group);
                }
                Err(error) if error.is_nx_domain() => {}
                // The name exists, without records of this type.
                Err(error) if error.is_no_records_found() => return Ok(group),
                Err(error) => failure = Some(error),
            }
        }
        match failure {
            None => Ok(group),
            Some(error) => Err(DnsError::Unresolved { name: name.to_string(), reason: error.to_string() }),
        }
    }
}

/// The target of one record; `None` for records of other types, such as the CNAME on the way.
fn target(name: &str, data: &RData, config: &DnsSdConfig) -> Option<TargetLabels> {
    let mut labels = LabelMap::new();
    let mut named = |label: &str, host: &Name| {
        let host = host.to_ascii();
        labels.insert(label.to_string(), host.clone());
        host.trim_end_matches('.').to_string()
    };
    let (host, port) = match (config.kind, data) {
        (DnsRecordType::Srv, RData::SRV(srv)) => {
            let host = named("__meta_dns_srv_record_target", &srv.target);
            labels.insert("__meta_dns_srv_record_port".to_string(), srv.port.to_string());
            (host, i64::from(srv.port))
        }
        (DnsRecordType::Mx, RData::MX(mx)) => {
            (named("__meta_dns_mx_record_target", &mx.exchange), config.port)
        }
        (DnsRecordType::Ns, RData::NS(ns)) => (named("__meta_dns_ns_record_target", &ns.0), config.port),
        (DnsRecordType::A, RData::A(a)) => (IpAddr::from(a.0).to_string(), config.port),
        (DnsRecordType::Aaaa, RData::AAAA(aaaa)) => (IpAddr::from(aaaa.0).to_string(), config.port),
        _ => return None,
    };
    let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    labels.insert("__address__".to_string(), address);
    labels.insert("__meta_dns_name".to_string(), name.to_string());
    Some(labels.into())
}

impl Mechanism for DnsDiscovery {
    fn name(&self) -> &'static str {
        "dns"
    }
    fn run(self: Box<Self>, updates: mpsc::Sender<Vec<TargetGroup>>, stop: CancellationToken) -> Running {
        Box::pin(async move {
            let refresher = Refresher {
                mechanism: "dns",
                set: self.set.clone(),
                interval: self.config.refresh_interval,
                metrics: self.metrics.clone(),
            };
            let this = &*self;
            refresher.run(updates, stop, || this.refresh()).await;
        })
    }
}
