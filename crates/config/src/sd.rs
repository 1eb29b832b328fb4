//! Where targets come from. Mechanisms that are not built are refused by name when a file is loaded.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::target_group::LabelMap;

use crate::http::{HttpClientConfig, join};
use crate::kubernetes::KubernetesSdConfig;
use crate::scrape::check_address;
use crate::url::ConfigUrl;
use crate::yaml::record::yaml_record;
use crate::yaml::{Decoder, Encode, Hooks, Invalid, Node, Out, Record};

/// All discovery of one job or Alertmanager.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SdConfigs {
    /// `static_configs`. Shared with discovery.
    pub static_configs: Arc<Vec<StaticConfig>>,
    /// `file_sd_configs`.
    pub file_sd_configs: Vec<FileSdConfig>,
    /// `http_sd_configs`.
    pub http_sd_configs: Vec<HttpSdConfig>,
    /// `dns_sd_configs`.
    pub dns_sd_configs: Vec<DnsSdConfig>,
    /// `kubernetes_sd_configs`.
    pub kubernetes_sd_configs: Vec<KubernetesSdConfig>,
}

/// One group of `static_configs`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StaticConfig {
    /// Values of `__address__`.
    pub targets: Vec<String>,
    /// Labels of all of them.
    pub labels: LabelMap,
}

/// One entry of `file_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSdConfig {
    /// Paths; the last element may hold one `*`. Ends in .json, .yml or .yaml. Joined to the config's folder.
    pub files: Vec<String>,
    /// Re-read at least this often. Default 5m.
    pub refresh_interval: Duration,
}

impl Default for FileSdConfig {
    fn default() -> Self {
        FileSdConfig { files: Vec::new(), refresh_interval: Duration::from_secs(300) }
    }
}

/// One entry of `http_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSdConfig {
    /// How to reach it.
    pub http: HttpClientConfig,
    /// Also the timeout of one request. Default 1m.
    pub refresh_interval: Duration,
    /// http or https.
    pub url: String,
}

impl Default for HttpSdConfig {
    fn default() -> Self {
        HttpSdConfig {
            http: HttpClientConfig::default(),
            refresh_interval: Duration::from_secs(60),
            url: String::new(),
        }
    }
}

/// One entry of `dns_sd_configs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSdConfig {
    /// Names to look up.
    pub names: Vec<String>,
    /// Default 30s.
    pub refresh_interval: Duration,
    /// Default SRV.
    pub kind: DnsRecordType,
    /// Port of the targets; unused for SRV.
    pub port: i64,
    /// The type as written (any case), for printing back.
    pub kind_text: String,
}

impl Default for DnsSdConfig {
    fn default() -> Self {
        DnsSdConfig {
            names: Vec::new(),
            refresh_interval: Duration::from_secs(30),
            kind: DnsRecordType::Srv,
            port: 0,
            kind_text: "SRV".to_string(),
        }
    }
}

/// Record types of `dns_sd_configs`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DnsRecordType {
    /// SRV.
    #[default]
    Srv,
    /// A.
    A,
    /// AAAA.
    Aaaa,
    /// MX.
    Mx,
    /// NS.
    Ns,
}

/// Mechanisms of upstream that are not built, by their keys.
const UNBUILT: [&str; 31] = [
    "aws_sd_configs",
    "azure_sd_configs",
    "consul_sd_configs",
    "digitalocean_sd_configs",
    "docker_sd_configs",
    "dockerswarm_sd_configs",
    "ec2_sd_configs",
    "ecs_sd_configs",
    "elasticache_sd_configs",
    "eureka_sd_configs",
    "gce_sd_configs",
    "hetzner_sd_configs",
    "ionos_sd_configs",
    "kuma_sd_configs",
    "lightsail_sd_configs",
    "linode_sd_configs",
    "marathon_sd_configs",
    "msk_sd_configs",
    "nerve_sd_configs",
    "nomad_sd_configs",
    "oci_sd_configs",
    "openstack_sd_configs",
    "outscale_sd_configs",
    "ovhcloud_sd_configs",
    "puppetdb_sd_configs",
    "rds_sd_configs",
    "scaleway_sd_configs",
    "serverset_sd_configs",
    "stackit_sd_configs",
    "triton_sd_configs",
    "uyuni_sd_configs",
];
const VULTR: &str = "vultr_sd_configs";

impl Record for SdConfigs {
    fn decode_field(&mut self, name: &str, key: &Node, value: &Node, cx: &mut Decoder) -> bool {
        match name {
            "static_configs" => cx.list(
                value,
                Arc::make_mut(&mut self.static_configs),
                "empty or null section in static_configs",
            ),
            "file_sd_configs" => {
                cx.list(value, &mut self.file_sd_configs, "empty or null section in file_sd_configs")
            }
            "http_sd_configs" => {
                cx.list(value, &mut self.http_sd_configs, "empty or null section in http_sd_configs")
            }
            "dns_sd_configs" => {
                cx.list(value, &mut self.dns_sd_configs, "empty or null section in dns_sd_configs")
            }
            "kubernetes_sd_configs" => {
                let null = "empty or null section in kubernetes_sd_configs";
                let before = cx.found();
                let good = cx.list(value, &mut self.kubernetes_sd_configs, null);
                if good
                    && cx.found() == before
                    && !self.kubernetes_sd_configs.is_empty()
                    && !cx.unbuilt_discovery
                {
                    refuse(name, key, cx);
                }
                good
            }
            _ if UNBUILT.contains(&name) || name == VULTR => {
                refuse(name, key, cx);
                true
            }
            _ => return false,
        };
        true
    }
    fn names(&self, out: &mut Vec<&'static str>) {
        out.extend([
            "static_configs",
            "file_sd_configs",
            "http_sd_configs",
            "dns_sd_configs",
            "kubernetes_sd_configs",
            VULTR,
        ]);
        out.extend(UNBUILT);
    }
    fn encode_fields(&self, out: &mut Vec<(String, Out)>) {
        let lists = [
            ("dns_sd_configs", self.dns_sd_configs.encode()),
            ("file_sd_configs", self.file_sd_configs.encode()),
            ("http_sd_configs", self.http_sd_configs.encode()),
            ("kubernetes_sd_configs", self.kubernetes_sd_configs.encode()),
            ("static_configs", self.static_configs.encode()),
        ];
        for (name, list) in lists {
            if !matches!(&list, Out::Seq { items, .. } if items.is_empty()) {
                out.push((name.to_string(), list));
            }
        }
    }
    fn is_all_zero(&self) -> bool {
        *self == SdConfigs::default()
    }
}

fn refuse(name: &str, key: &Node, cx: &mut Decoder) {
    cx.fail(
        key.pos,
        format!(
            "{name}: this discovery mechanism is not built into godwit yet; have its targets written to a file and \
             use file_sd_configs, or served as JSON and use http_sd_configs"
        ),
    );
}

impl SdConfigs {
    /// Refuses URLs where addresses are meant.
    pub(crate) fn check_addresses(&self, node: &Node, cx: &mut Decoder) {
        let groups = node.get("static_configs").map_or(&[][..], Node::items);
        for (i, group) in self.static_configs.iter().enumerate() {
            let at = groups.get(i).and_then(|g| g.get("targets"));
            for (k, target) in group.targets.iter().enumerate() {
                if let Err(text) = check_address(target) {
                    let place = at.and_then(|list| list.items().get(k)).unwrap_or(node);
                    cx.fail(place.pos, text);
                }
            }
        }
    }

    pub(crate) fn set_directory(&mut self, dir: &Path) {
        for file in self.file_sd_configs.iter_mut().flat_map(|sd| &mut sd.files) {
            join(dir, file);
        }
        for sd in &mut self.http_sd_configs {
            sd.http.set_directory(dir);
        }
        for sd in &mut self.kubernetes_sd_configs {
            sd.http.set_directory(dir);
            join(dir, &mut sd.kubeconfig_file);
        }
    }

    /// Files of the clients' settings, and of nothing else: target files are watched by discovery.
    pub(crate) fn client_files<'a>(&'a self, out: &mut Vec<&'a str>) {
        self.http_sd_configs.iter().for_each(|sd| sd.http.files(out));
        self.kubernetes_sd_configs.iter().for_each(|sd| sd.http.files(out));
    }
}

yaml_record!(StaticConfig, "static_configs", {
    targets: keep,
    labels: with(LabelSet),
});

impl Hooks for StaticConfig {
    fn begin(&mut self) {
        *self = StaticConfig::default();
    }
}

/// Labels of targets: any names but the empty one.
pub(crate) struct LabelSet;

impl LabelSet {
    pub(crate) fn decode(into: &mut LabelMap, node: &Node, cx: &mut Decoder) -> bool {
        let good = cx.decode(node, into);
        if into.contains_key("") {
            cx.fail(node.pos, "\"\" is not a valid label name");
        }
        good
    }
    pub(crate) fn encode(value: &LabelMap) -> Out {
        value.encode()
    }
    pub(crate) fn is_zero(value: &LabelMap) -> bool {
        value.is_empty()
    }
}

yaml_record!(FileSdConfig, "file_sd_configs", {
    files: keep,
    refresh_interval: omit,
});

impl Hooks for FileSdConfig {
    fn begin(&mut self) {
        *self = FileSdConfig::default();
    }
    fn finish(&mut self, node: &Node, cx: &mut Decoder) -> Result<(), Invalid> {
        if self.files.is_empty() {
            return Err("file service discovery config must contain at least one path name".into());
        }
        let items = node.get("files").map_or(&[][..], Node::items);
        for (i, file) in self.files.iter().enumerate() {
            let stem = [".json", ".yml", ".yaml", ".JSON", ".YML", ".YAML"]
                .iter()
                .find_map(|end| file.strip_suffix(end));
            if !stem.is_some_and(is_rule_path) {
                cx.fail(
                    items.get(i).unwrap_or(node).pos,
                    format!("path name {file:?} is not valid for file discovery"),
                );
            }
        }
        Ok(())
    }
}

/// A path whose last element may hold globs with `*`, none before it: `^[^*]*(\*[^/]*)?$`.
pub(crate) fn is_rule_path(path: &str) -> bool {
    path.split_once('*').is_none_or(|(_, rest)| !rest.contains('/'))
}

yaml_record!(HttpSdConfig, "http_sd_configs", {
    http: inline,
    refresh_interval: omit,
    url: keep,
});

impl Hooks for HttpSdConfig {
    fn begin(&mut self) {
        *self = HttpSdConfig::default();
    }
    fn finish(&mut self, _node: &Node, _cx: &mut Decoder) -> Result<(), Invalid> {
        if self.url.is_empty() {
            return Err(Invalid::at("url", "URL is missing"));
        }
        let url = ConfigUrl::parse(&self.url).map_err(|text| Invalid::at("url", text))?;
        if !matches!(url.scheme().as_str(), "http" | "https") {
            return Err(Invalid::at("url", "URL scheme must be 'http' or 'https'"));
        }
        if url.host().is_empty() {
            return Err(Invalid::at("url", "host is missing in URL"));
        }
        self.http.complete()
    }
}

yaml_record!(DnsSdConfig, "dns_sd_configs", {
    names: keep,
    refresh_interval: omit,
    kind_text = "type": keep,
    port: keep,
});

impl Hooks for DnsSdConfig {
    fn begin(&mut self) {
        *self = DnsSdConfig::default();
    }
    fn finish(&mut self, _node: &Node, _cx: &mut Decoder) -> Result<(), Invalid> {
        if self.names.is_empty() {
            return Err("DNS-SD config must contain at least one SRV record name".into());
        }
        self.kind = match self.kind_text.to_ascii_uppercase().as_str() {
            "SRV" => DnsRecordType::Srv,
            "A" => DnsRecordType::A,
            "AAAA" => DnsRecordType::Aaaa,
            "MX" => DnsRecordType::Mx,
            "NS" => DnsRecordType::Ns,
            _ => return Err(Invalid::at("type", format!("invalid DNS-SD records type {}", self.kind_text))),
        };
        if self.kind != DnsRecordType::Srv && self.port == 0 {
            return Err("a port is required in DNS-SD configs for all record types except SRV".into());
        }
        Ok(())
    }
}
