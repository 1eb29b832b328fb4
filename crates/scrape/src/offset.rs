//! The server's seed for scrape offsets: host name and external labels, so that the replicas of a pair
//! scrape at different times (upstream: `Manager.setOffsetSeed`, `util/osutil/hostname.go`).

use std::net::{IpAddr, ToSocketAddrs as _};

use model::Labels;

use crate::target::Fnv1a;

/// Bytes read of the hosts file: a few thousand entries; beyond that the name is not worth the time.
const HOSTS_BYTES_MAX: u64 = 1 << 20;

/// FNV-1a over the host's name and the printed external labels.
pub(crate) fn seed(fqdn: &str, external_labels: &Labels) -> u64 {
    let mut h = Fnv1a::default();
    h.write(fqdn.as_bytes());
    h.write(external_labels.to_string().as_bytes());
    h.finish()
}

/// The host's full name: the first name that the hosts file has for one of its addresses, else its plain
/// name. Upstream asks DNS for the reverse name too; the phase of a host without hosts entry may
/// therefore differ from upstream's. May block on name resolution.
pub fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default().trim().to_string();
    let Ok(addresses) = (name.as_str(), 0).to_socket_addrs() else { return name };
    let hosts = read_hosts();
    let found = addresses.into_iter().find_map(|a| name_of(&hosts, a.ip()));
    found.unwrap_or(name)
}

fn read_hosts() -> String {
    use std::io::Read as _;
    let mut text = String::new();
    if let Ok(file) = std::fs::File::open("/etc/hosts") {
        // A file that is not UTF-8 counts as empty.
        if file.take(HOSTS_BYTES_MAX).read_to_string(&mut text).is_err() {
            text.clear();
        }
    }
    text
}

fn name_of(hosts: &str, ip: IpAddr) -> Option<String> {
    let of_line = |line: &str| {
        let mut words = line.split('#').next().unwrap_or_default().split_ascii_whitespace();
        let address: IpAddr = words.next()?.parse().ok()?;
        (address == ip).then(|| words.next().map(str::to_string)).flatten()
    };
    hosts.lines().find_map(of_line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_file() {
        let hosts = "127.0.0.1 localhost\n# comment\n10.0.0.5\tprom-0.prom.ns.svc prom-0 # x\nbad\n::1\n";
        assert_eq!(name_of(hosts, "10.0.0.5".parse().unwrap()).as_deref(), Some("prom-0.prom.ns.svc"));
        assert_eq!(name_of(hosts, "10.0.0.6".parse().unwrap()), None);
        assert_eq!(name_of(hosts, "::1".parse().unwrap()), None);
    }

    #[test]
    fn labels_make_replicas_differ() {
        let of = |replica| seed("host", &Labels::from_pairs([("replica", replica)]));
        assert_ne!(of("a"), of("b"));
        // FNV-1a of "host{}".
        assert_eq!(seed("host", &Labels::empty()), {
            let mut h = Fnv1a::default();
            h.write(b"host{}");
            h.finish()
        });
    }
}
