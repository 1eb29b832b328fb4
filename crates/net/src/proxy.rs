//! Which proxy a request goes through: `proxy_url` with `no_proxy`, or the environment, by the rules of
//! Go's `golang.org/x/net/http/httpproxy`.

use std::net::IpAddr;

use base64::Engine as _;
use config::ProxyConfig;
use http::Uri;

/// How to talk to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ProxyKind {
    Http,
    Https,
    Socks5,
}

/// One proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proxy {
    pub(crate) kind: ProxyKind,
    pub(crate) host: String,
    pub(crate) port: u16,
    /// User and password.
    pub(crate) credentials: Option<(String, String)>,
}

impl Proxy {
    fn parse(text: &str) -> Result<Self, String> {
        // Without a scheme it is a plain HTTP proxy, as in Go.
        let text = if text.contains("://") { text.to_string() } else { format!("http://{text}") };
        let url = url::Url::parse(&text).map_err(|e| format!("invalid proxy address: {e}"))?;
        let (kind, port) = match url.scheme() {
            "http" => (ProxyKind::Http, 80),
            "https" => (ProxyKind::Https, 443),
            "socks5" | "socks5h" => (ProxyKind::Socks5, 1080),
            other => {
                return Err(format!("proxy scheme {other:?} is not supported: use http, https or socks5"));
            }
        };
        let host = match url.host() {
            Some(url::Host::Ipv6(ip)) => ip.to_string(),
            Some(host) => host.to_string(),
            None => return Err("invalid proxy address: no host".to_string()),
        };
        let decode = |s: &str| percent_decode(s);
        let credentials = (!url.username().is_empty())
            .then(|| (decode(url.username()), decode(url.password().unwrap_or_default())));
        Ok(Proxy { kind, host, port: url.port().unwrap_or(port), credentials })
    }

    /// `Basic …` for `Proxy-Authorization`.
    pub(crate) fn authorization(&self) -> Option<String> {
        let (user, password) = self.credentials.as_ref()?;
        let encoded = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        Some(format!("Basic {encoded}"))
    }
}

pub(crate) fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let hex = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16));
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while let Some(&b) = bytes.get(i) {
        if b == b'%'
            && let (Some(high), Some(low)) = (hex(bytes.get(i + 1)), hex(bytes.get(i + 2)))
        {
            out.push((high * 16 + low) as u8);
            i += 3;
        } else {
            out.push(b);
            i += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The rules of one client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProxyRules {
    http: Option<Proxy>,
    https: Option<Proxy>,
    exceptions: Option<Exceptions>,
}

impl ProxyRules {
    pub(crate) fn new(config: &ProxyConfig, env: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        if config.proxy_from_environment {
            let get = |upper: &str| {
                let value = env(upper).or_else(|| env(&upper.to_ascii_lowercase()));
                value.filter(|v| !v.is_empty())
            };
            let proxy = |name: &str| get(name).map(|v| Proxy::parse(&v)).transpose();
            return Ok(ProxyRules {
                http: proxy("HTTP_PROXY")?,
                https: proxy("HTTPS_PROXY")?,
                exceptions: Some(Exceptions::parse(&get("NO_PROXY").unwrap_or_default())),
            });
        }
        let Some(url) = config.proxy_url.as_ref().filter(|u| !u.is_empty()) else {
            return Ok(ProxyRules::default());
        };
        let proxy = Proxy::parse(url.as_str())?;
        // Without no_proxy everything goes through it, the local host included.
        let exceptions = (!config.no_proxy.is_empty()).then(|| Exceptions::parse(&config.no_proxy));
        Ok(ProxyRules { http: Some(proxy.clone()), https: Some(proxy), exceptions })
    }

    /// The proxy for a URI, `None` for a direct connection.
    pub(crate) fn find(&self, uri: &Uri) -> Option<&Proxy> {
        let (proxy, default_port) = match uri.scheme_str() {
            Some("https") => (self.https.as_ref()?, 443),
            _ => (self.http.as_ref()?, 80),
        };
        let host = uri.host().unwrap_or_default();
        let exempt = self.exceptions.as_ref().is_some_and(|e| {
            let host = host.trim_start_matches('[').trim_end_matches(']');
            e.covers(host, uri.port_u16().unwrap_or(default_port))
        });
        if exempt { None } else { Some(proxy) }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Exceptions {
    all: bool,
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    Range { base: IpAddr, bits: u8 },
    Address { ip: IpAddr, port: Option<u16> },
    Domain { suffix: String, itself: bool, port: Option<u16> },
}

impl Exceptions {
    fn parse(text: &str) -> Self {
        let mut all = Exceptions::default();
        for part in text.split(',') {
            let part = part.trim().to_ascii_lowercase();
            if part == "*" {
                return Exceptions { all: true, rules: Vec::new() };
            }
            if let Some((base, bits)) = part.split_once('/')
                && let (Ok(base), Ok(bits)) = (base.parse::<IpAddr>(), bits.parse::<u8>())
                && bits <= if base.is_ipv4() { 32 } else { 128 }
            {
                all.rules.push(Rule::Range { base, bits });
                continue;
            }
            let (host, port) = split_port(&part);
            let host = host.trim_start_matches('[').trim_end_matches(']');
            if host.is_empty() {
                continue;
            }
            if let Ok(ip) = host.parse() {
                all.rules.push(Rule::Address { ip, port });
                continue;
            }
            let host = host.strip_prefix("*").filter(|h| h.starts_with('.')).unwrap_or(host);
            let (suffix, itself) = match host.starts_with('.') {
                true => (host.to_string(), false),
                false => (format!(".{host}"), true),
            };
            all.rules.push(Rule::Domain { suffix, itself, port });
        }
        all
    }

    fn covers(&self, host: &str, port: u16) -> bool {
        let host = host.to_ascii_lowercase();
        if self.all || host == "localhost" {
            return true;
        }
        let ip: Option<IpAddr> = host.parse().ok();
        if ip.is_some_and(|ip| ip.is_loopback()) {
            return true;
        }
        let port_fits = |p: &Option<u16>| p.is_none_or(|p| p == port);
        self.rules.iter().any(|rule| match rule {
            Rule::Range { base, bits } => ip.is_some_and(|ip| in_range(ip, *base, *bits)),
            Rule::Address { ip: wanted, port } => ip == Some(*wanted) && port_fits(port),
            Rule::Domain { suffix, itself, port } => {
                let fits = host.ends_with(suffix.as_str()) || (*itself && suffix.get(1..) == Some(&host));
                fits && port_fits(port)
            }
        })
    }
}

fn split_port(text: &str) -> (&str, Option<u16>) {
    let plain_v6 = text.matches(':').count() > 1 && !text.starts_with('[');
    match text.rsplit_once(':') {
        Some((host, port)) if !plain_v6 && !port.contains(']') => match port.parse() {
            Ok(port) => (host, Some(port)),
            Err(_) => (text, None),
        },
        _ => (text, None),
    }
}

fn in_range(ip: IpAddr, base: IpAddr, bits: u8) -> bool {
    match (ip, base) {
        (IpAddr::V4(ip), IpAddr::V4(base)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(bits)).unwrap_or(0);
            u32::from(ip) & mask == u32::from(base) & mask
        }
        (IpAddr::V6(ip), IpAddr::V6(base)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
            u128::from(ip) & mask == u128::from(base) & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(no_proxy: &str, uri: &str) -> bool {
        let rules = ProxyRules {
            http: Some(Proxy::parse("http://p:1").unwrap()),
            https: Some(Proxy::parse("https://p").unwrap()),
            exceptions: Some(Exceptions::parse(no_proxy)),
        };
        rules.find(&uri.parse().unwrap()).is_some()
    }

    #[test]
    fn exceptions_follow_gos_httpproxy() {
        for (no_proxy, uri, proxied) in [
            ("", "http://example.com/", true),
            ("", "http://localhost/", false),
            ("", "http://127.0.0.1:9100/", false),
            ("", "http://[::1]/", false),
            ("*", "http://example.com/", false),
            ("example.com", "http://example.com/", false),
            ("example.com", "http://www.example.com/", false),
            ("example.com", "http://badexample.com/", true),
            (".example.com", "http://example.com/", true),
            (".example.com", "http://a.example.com/", false),
            ("*.example.com", "http://a.example.com/", false),
            ("*.example.com", "http://example.com/", true),
            ("example.com:80", "http://example.com/", false),
            ("example.com:80", "https://example.com/", true),
            ("10.0.0.0/8", "http://10.1.2.3/", false),
            ("10.0.0.0/8", "http://11.1.2.3/", true),
            ("10.1.2.3:9100", "http://10.1.2.3:9100/", false),
            ("10.1.2.3:9100", "http://10.1.2.3:9101/", true),
            ("fd00::/8", "http://[fd00::1]/", false),
            ("a, Example.COM ,b", "http://EXAMPLE.com/", false),
            ("0.0.0.0/0", "http://8.8.8.8/", false),
        ] {
            assert_eq!(find(no_proxy, uri), proxied, "no_proxy {no_proxy:?}, {uri}");
        }
    }

    #[test]
    fn without_no_proxy_even_the_local_host_is_proxied() {
        let p = Proxy::parse("http://u:p%40ss@proxy:3128").unwrap();
        assert_eq!(p.credentials, Some(("u".to_string(), "p@ss".to_string())));
        let rules = ProxyRules { http: Some(p.clone()), https: None, exceptions: None };
        assert_eq!(rules.find(&"http://localhost/".parse().unwrap()), Some(&p));
        assert_eq!(rules.find(&"https://localhost/".parse().unwrap()), None);
    }

    #[test]
    fn environment() {
        let env = |name: &str| match name {
            "http_proxy" => Some("p:3128".to_string()),
            "HTTPS_PROXY" => Some("socks5://s".to_string()),
            "NO_PROXY" => Some("x".to_string()),
            _ => None,
        };
        let config = ProxyConfig { proxy_from_environment: true, ..ProxyConfig::default() };
        let rules = ProxyRules::new(&config, env).unwrap();
        let found = |uri: &str| rules.find(&uri.parse().unwrap()).map(|p| (p.kind, p.port));
        assert_eq!(found("http://a/"), Some((ProxyKind::Http, 3128)));
        assert_eq!(found("https://a/"), Some((ProxyKind::Socks5, 1080)));
        assert_eq!(found("http://x/"), None);
    }
}
