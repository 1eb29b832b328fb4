//! DNS discovery against a name server of this process: one UDP socket and a table.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use config::{DnsRecordType, DnsSdConfig, SdConfigs};
use discovery::dns::{DnsServers, DnsSettings};
use tokio::net::UdpSocket;

use crate::support::{Running, labels};

const NO_SUCH_NAME: u8 = 3;
const SERVER_FAILURE: u8 = 2;

/// Answer code, and records as (type, data).
type Zone = HashMap<(String, u16), (u8, Vec<(u16, Vec<u8>)>)>;

fn encode_name(name: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for label in name.trim_end_matches('.').split('.') {
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    out.push(0);
    out
}

/// The question's name, lower case with a dot at the end, its type, and where it ends.
fn question(packet: &[u8]) -> (String, u16, usize) {
    let (mut name, mut at) = (String::new(), 12);
    while packet[at] != 0 {
        let n = packet[at] as usize;
        name.push_str(&String::from_utf8_lossy(&packet[at + 1..at + 1 + n]).to_lowercase());
        name.push('.');
        at += 1 + n;
    }
    (name, u16::from_be_bytes([packet[at + 1], packet[at + 2]]), at + 5)
}

async fn serve(zone: Arc<Mutex<Zone>>) -> DnsServers {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut packet = [0; 1500];
        while let Ok((n, from)) = socket.recv_from(&mut packet).await {
            let (name, kind, end) = question(&packet[..n]);
            let unknown = (NO_SUCH_NAME, Vec::new());
            let (code, records) = zone.lock().unwrap().get(&(name, kind)).cloned().unwrap_or(unknown);
            let mut out = vec![packet[0], packet[1], 0x84, code, 0, 1, 0, records.len() as u8, 0, 0, 0, 0];
            out.extend_from_slice(&packet[12..end]);
            for (kind, data) in records {
                out.extend_from_slice(&[0xc0, 12]);
                out.extend_from_slice(&kind.to_be_bytes());
                out.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
                out.extend_from_slice(&(data.len() as u16).to_be_bytes());
                out.extend_from_slice(&data);
            }
            let _ = socket.send_to(&out, from).await;
        }
    });
    let settings =
        DnsSettings { servers: vec![address], search: vec!["one.test".into(), "two.test.".into()], ndots: 1 };
    DnsServers::Fixed(Arc::new(settings))
}

fn srv(port: u16, target: &str) -> (u16, Vec<u8>) {
    let mut data = vec![0, 1, 0, 2];
    data.extend_from_slice(&port.to_be_bytes());
    data.extend(encode_name(target));
    (33, data)
}

fn config(kind: DnsRecordType, names: &[&str]) -> DnsSdConfig {
    DnsSdConfig {
        names: names.iter().map(|n| n.to_string()).collect(),
        refresh_interval: Duration::from_millis(200),
        kind,
        port: 80,
        ..DnsSdConfig::default()
    }
}

fn configs(all: &[DnsSdConfig]) -> SdConfigs {
    SdConfigs { dns_sd_configs: all.to_vec(), ..SdConfigs::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_type_becomes_targets() {
    let mut zone = Zone::new();
    let mut add = |name: &str, kind: u16, records: Vec<(u16, Vec<u8>)>| {
        zone.insert((name.to_string(), kind), (0, records))
    };
    add("_web._tcp.two.test.", 33, vec![srv(8080, "a.two.test."), srv(8081, "b.two.test.")]);
    add("host.test.", 1, vec![(1, vec![10, 0, 0, 1]), (1, vec![10, 0, 0, 2])]);
    add("host.test.", 28, vec![(28, std::iter::repeat_n(0, 15).chain([1]).collect())]);
    add("mail.test.", 15, vec![(15, [vec![0, 10], encode_name("mx.test.")].concat())]);
    add("zone.test.", 2, vec![(2, encode_name("ns.test."))]);
    let servers = serve(Arc::new(Mutex::new(zone))).await;
    let mut running = Running::with_dns(servers);
    running
        .apply(&[
            ("srv", configs(&[config(DnsRecordType::Srv, &["_web._tcp"])])),
            ("a", configs(&[config(DnsRecordType::A, &["host.test"])])),
            ("aaaa", configs(&[config(DnsRecordType::Aaaa, &["host.test."])])),
            ("mx", configs(&[config(DnsRecordType::Mx, &["mail.test"])])),
            ("ns", configs(&[config(DnsRecordType::Ns, &["zone.test"])])),
        ])
        .await;
    let sets = running
        .until("all five jobs", |sets| sets.len() == 5 && sets.values().all(|groups| !groups.is_empty()))
        .await;
    let found = labels(&sets, "srv", "a.two.test:8080");
    assert_eq!(found["__meta_dns_srv_record_target"], "a.two.test.");
    assert_eq!(found["__meta_dns_srv_record_port"], "8080");
    assert_eq!(found["__meta_dns_name"], "_web._tcp");
    assert_eq!(sets["srv"][0].source, "_web._tcp");
    assert_eq!(sets["a"][0].targets.len(), 2);
    assert_eq!(labels(&sets, "a", "10.0.0.2:80")["__meta_dns_name"], "host.test");
    assert_eq!(labels(&sets, "aaaa", "[::1]:80")["__meta_dns_name"], "host.test.");
    assert_eq!(labels(&sets, "mx", "mx.test:80")["__meta_dns_mx_record_target"], "mx.test.");
    assert_eq!(labels(&sets, "ns", "ns.test:80")["__meta_dns_ns_record_target"], "ns.test.");
    assert!(running.figure("prometheus_sd_dns_lookups_total", &[]).unwrap() >= 5.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_keep_and_absence_removes() {
    let key = ("host.test.".to_string(), 1);
    let zone = Arc::new(Mutex::new(Zone::new()));
    zone.lock().unwrap().insert(key.clone(), (0, vec![(1, vec![10, 0, 0, 1])]));
    let mut running = Running::with_dns(serve(Arc::clone(&zone)).await);
    running.apply(&[("job", configs(&[config(DnsRecordType::A, &["host.test."])]))]).await;
    running.until_addresses("job", &["10.0.0.1:80"]).await;
    zone.lock().unwrap().insert(key.clone(), (SERVER_FAILURE, Vec::new()));
    while running.figure("prometheus_sd_dns_lookup_failures_total", &[]).unwrap() < 2.0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    running.nothing_for(Duration::from_millis(200)).await;
    zone.lock().unwrap().remove(&key);
    running.until_addresses("job", &[]).await;
    zone.lock().unwrap().insert(key, (0, vec![(1, vec![10, 0, 0, 9])]));
    running.until_addresses("job", &["10.0.0.9:80"]).await;
}
