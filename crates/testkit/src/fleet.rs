//! A fleet of targets with large pages, for measurements: each node serves pods with counters, gauges and
//! classic histograms, as one finds them on a cluster.
//!
//! A value depends only on the series and the time, so that every server under test sees the same load. Pages
//! are written on demand: a hundred of a megabyte each need not stay in memory.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::target::read_request;

/// Series of one pod: 170 counters, 150 of histograms, 180 gauges.
pub const SERIES_A_POD: usize = 500;

const COUNTERS: [&str; 10] = [
    "http_requests_total",
    "http_request_bytes_total",
    "http_response_bytes_total",
    "grpc_server_handled_total",
    "grpc_server_msg_received_total",
    "db_queries_total",
    "cache_hits_total",
    "cache_misses_total",
    "queue_messages_processed_total",
    "errors_total",
];
/// Variants of each counter by path and code.
const COUNTER_VARIANTS: usize = 17;
const HISTOGRAMS: [&str; 3] =
    ["http_request_duration_seconds", "db_query_duration_seconds", "job_duration_seconds"];
/// Variants of each histogram by path.
const HISTOGRAM_VARIANTS: usize = 5;
const BUCKETS: [&str; 8] = ["0.005", "0.01", "0.05", "0.1", "0.5", "1", "5", "+Inf"];
const GAUGES: usize = 30;
/// Variants of each gauge by shard.
const GAUGE_VARIANTS: usize = 6;

/// A running fleet. It stops when dropped.
pub struct Fleet {
    addresses: Vec<SocketAddr>,
    served: Arc<AtomicU64>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Fleet {
    /// Nodes with so many pods each, every one on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No free port.
    pub async fn start(nodes: usize, pods: usize) -> std::io::Result<Fleet> {
        let served = Arc::new(AtomicU64::new(0));
        let (mut addresses, mut tasks) = (Vec::new(), Vec::new());
        for node in 0..nodes {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            addresses.push(listener.local_addr()?);
            let served = Arc::clone(&served);
            tasks.push(tokio::spawn(async move {
                let mut connections = tokio::task::JoinSet::new();
                while let Ok((stream, _)) = listener.accept().await {
                    let served = Arc::clone(&served);
                    connections.spawn(async move {
                        // A peer that goes away ends its connection only.
                        let _ = converse(stream, node, pods, &served).await;
                    });
                    while connections.try_join_next().is_some() {}
                }
            }));
        }
        Ok(Fleet { addresses, served, tasks })
    }

    /// `127.0.0.1:port` of each node.
    #[must_use]
    pub fn addresses(&self) -> Vec<String> {
        self.addresses.iter().map(SocketAddr::to_string).collect()
    }

    /// Pages served so far.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }
}

async fn converse(
    mut stream: TcpStream,
    node: usize,
    pods: usize,
    served: &AtomicU64,
) -> std::io::Result<()> {
    let mut input = Vec::new();
    while let Some(request) = read_request(&mut stream, &mut input, 0).await? {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
        let mut body = page(node, pods, now);
        let zipped = request.header("accept-encoding").is_some_and(|v| v.contains("gzip"));
        let mut head =
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n".to_string();
        if zipped {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&body)?;
            body = encoder.finish()?;
            head += "Content-Encoding: gzip\r\n";
        }
        head += &format!("Content-Length: {}\r\n\r\n", body.len());
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(&body).await?;
        served.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// A number that depends on all of its parts (splitmix64).
fn mix(parts: [usize; 4]) -> u64 {
    let mut z = 0_u64;
    for part in parts {
        z = (z ^ part as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
    }
    z
}

/// A page of text format 0.0.4 at a time in seconds.
#[must_use]
pub(crate) fn page(node: usize, pods: usize, now: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(pods * SERIES_A_POD * 128);
    // Since a day ago at most: counters of a size as programs have them.
    let now = now % 86_400;
    for (metric, name) in COUNTERS.iter().enumerate() {
        let _ = writeln!(out, "# HELP {name} Counted since the start.\n# TYPE {name} counter");
        each(pods, COUNTER_VARIANTS, |pod, variant| {
            let seed = mix([node, pod, metric, variant]);
            // A third stand still, as on a real fleet.
            let value =
                if seed.is_multiple_of(3) { seed % 10_000 } else { seed % 10_000 + now * (seed % 97) };
            let code = ["200", "404", "500"][variant % 3];
            let _ = writeln!(
                out,
                "{name}{{namespace=\"team-{}\",pod=\"app-{node:04}-{pod:03}-x7k2p\",container=\"main\",method=\"GET\",code=\"{code}\",handler=\"/api/v1/items/{variant}\"}} {value}",
                pod % 7
            );
        });
    }
    for (metric, name) in HISTOGRAMS.iter().enumerate() {
        let _ = writeln!(out, "# HELP {name} How long it took.\n# TYPE {name} histogram");
        each(pods, HISTOGRAM_VARIANTS, |pod, variant| {
            let seed = mix([node, pod, 100 + metric, variant]);
            let labels = format!(
                "namespace=\"team-{}\",pod=\"app-{node:04}-{pod:03}-x7k2p\",container=\"main\",handler=\"/api/v1/items/{variant}\"",
                pod % 7
            );
            let count = now * (seed % 13);
            for (i, le) in BUCKETS.iter().enumerate() {
                let below = count * (i as u64 + 1) / BUCKETS.len() as u64;
                let _ = writeln!(out, "{name}_bucket{{{labels},le=\"{le}\"}} {below}");
            }
            let sum = count as f64 * 0.137;
            let _ = writeln!(out, "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {count}");
        });
    }
    for metric in 0..GAUGES {
        let _ = writeln!(out, "# HELP runtime_value_{metric} A state.\n# TYPE runtime_value_{metric} gauge");
        each(pods, GAUGE_VARIANTS, |pod, variant| {
            let seed = mix([node, pod, 200 + metric, variant]);
            // Half are constants: limits, sizes, versions.
            let value = if seed.is_multiple_of(2) {
                (seed % 4096) as f64
            } else {
                (mix([seed as usize, now as usize / 5, 0, 0]) % 100_000) as f64 / 100.0
            };
            let _ = writeln!(
                out,
                "runtime_value_{metric}{{namespace=\"team-{}\",pod=\"app-{node:04}-{pod:03}-x7k2p\",container=\"main\",shard=\"{variant}\"}} {value}",
                pod % 7
            );
        });
    }
    out
}

fn each(pods: usize, variants: usize, mut write: impl FnMut(usize, usize)) {
    for pod in 0..pods {
        for variant in 0..variants {
            write(pod, variant);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_as_many_series_as_it_says() {
        let text = String::from_utf8(page(3, 2, 1_000)).unwrap();
        let series: std::collections::BTreeSet<&str> =
            text.lines().filter(|l| !l.starts_with('#')).map(|l| l.rsplit_once(' ').unwrap().0).collect();
        assert_eq!(series.len(), 2 * SERIES_A_POD);
        assert_eq!(text.lines().filter(|l| !l.starts_with('#')).count(), 2 * SERIES_A_POD);
        assert_ne!(page(3, 2, 1_000), page(3, 2, 1_005));
        assert_ne!(page(3, 2, 1_000), page(4, 2, 1_000));
    }
}
