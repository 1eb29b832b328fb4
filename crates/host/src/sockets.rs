//! Protocol counters of the network stack, and sockets in use.

use crate::files::{Roots, number, read, read_optional};
use crate::output::{CollectResult, Output};

/// The protocol counters that node_exporter shows by default, out of some four hundred.
fn is_wanted(protocol: &str, name: &str) -> bool {
    let wanted: &[&str] = match protocol {
        "Ip" => &["Forwarding"],
        "Ip6" | "IpExt" => &["InOctets", "OutOctets"],
        "Icmp" | "Icmp6" => &["InMsgs", "OutMsgs"],
        "TcpExt" => &["TCPSynRetrans", "TCPTimeouts", "TCPOFOQueue", "TCPRcvQDrop"],
        "Tcp" => &["ActiveOpens", "InSegs", "OutSegs", "OutRsts", "PassiveOpens", "RetransSegs", "CurrEstab"],
        "Udp" | "Udp6" => &["InDatagrams", "OutDatagrams", "NoPorts", "RcvbufErrors", "SndbufErrors"],
        _ => &[],
    };
    let by_prefix = protocol == "TcpExt" && (name.starts_with("Listen") || name.starts_with("Syncookies"));
    by_prefix || wanted.contains(&name) || name == "InErrors" || name == "InErrs"
}

fn statistic(out: &mut Output, protocol: &str, name: &str, value: &str) {
    if let Some(value) = number(value).filter(|_| is_wanted(protocol, name)) {
        let help = format!("Statistic {protocol}{name}.");
        out.untyped(&format!("node_netstat_{protocol}_{name}"), &help, value);
    }
}

pub(crate) fn netstat(roots: &Roots, out: &mut Output) -> CollectResult {
    for file in ["net/netstat", "net/snmp"] {
        let text = read(&roots.proc.join(file))?;
        let mut lines = text.lines();
        // Lines come in pairs: names, then values, both led by the protocol.
        while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
            let mut names = names.split(' ');
            let protocol = names.next().unwrap_or_default().trim_end_matches(':');
            for (name, value) in names.zip(values.split(' ').skip(1)) {
                statistic(out, protocol, name, value);
            }
        }
    }
    // Absent where IPv6 is off.
    for line in read_optional(&roots.proc.join("net/snmp6"))?.unwrap_or_default().lines() {
        let mut fields = line.split_ascii_whitespace();
        let (Some(key), Some(value)) = (fields.next(), fields.next()) else { continue };
        if let Some(six) = key.find('6') {
            let (protocol, name) = key.split_at(six + 1);
            statistic(out, protocol, name, value);
        }
    }
    Ok(())
}

pub(crate) fn sockstat(roots: &Roots, out: &mut Output) -> CollectResult {
    let page_bytes = rustix::param::page_size() as f64;
    for (file, v4) in [("net/sockstat", true), ("net/sockstat6", false)] {
        let text = read_optional(&roots.proc.join(file))?.unwrap_or_default();
        for line in text.lines() {
            let mut fields = line.split_ascii_whitespace();
            let protocol = fields.next().unwrap_or_default().trim_end_matches(':');
            while let (Some(name), Some(value)) = (fields.next(), fields.next().and_then(number)) {
                if protocol == "sockets" {
                    if v4 && name == "used" {
                        out.gauge("node_sockstat_sockets_used", "Number of IPv4 sockets in use.", &[], value);
                    }
                    continue;
                }
                socket_gauge(out, protocol, name, value);
                if name == "mem" {
                    socket_gauge(out, protocol, "mem_bytes", value * page_bytes);
                }
            }
        }
    }
    Ok(())
}

fn socket_gauge(out: &mut Output, protocol: &str, name: &str, value: f64) {
    let help = format!("Number of {protocol} sockets in state {name}.");
    out.gauge(&format!("node_sockstat_{protocol}_{name}"), &help, &[], value);
}
