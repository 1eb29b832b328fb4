//! What the process itself uses: `process_*` as every client library shows it, and the figures that
//! Prometheus's dashboards read from the Go runtime, as far as they mean something here.

use std::time::{SystemTime, UNIX_EPOCH};

use telemetry::Registry;

/// The version that the API and `/metrics` name: the upstream version whose behaviour is followed, since
/// clients switch features by it.
pub const TRACKED_VERSION: &str = "3.15.0";

/// Registers everything.
pub fn register(registry: &Registry) {
    let build = registry.gauge_vec(
        "prometheus_build_info",
        "A metric with a constant '1' value labeled by version, revision, branch, goversion from which prometheus was built, and the goos and goarch for the build.",
        &["version", "revision", "branch", "goversion", "goos", "goarch", "tags"],
    );
    let version = [TRACKED_VERSION, env!("CARGO_PKG_VERSION"), "godwit", "none", "linux", arch(), "godwit"];
    build.with(&version).set(1.0);
    registry.counter_fn(
        "process_cpu_seconds_total",
        "Total user and system CPU time spent in seconds.",
        cpu_seconds,
    );
    registry.gauge_fn("process_resident_memory_bytes", "Resident memory size in bytes.", || memory_pages(1));
    registry.gauge_fn("process_virtual_memory_bytes", "Virtual memory size in bytes.", || memory_pages(0));
    let help = "Maximum amount of virtual memory available in bytes.";
    registry.gauge_fn("process_virtual_memory_max_bytes", help, || {
        let limit = rustix::process::getrlimit(rustix::process::Resource::As);
        // Upstream shows "no limit" as the largest 64-bit number.
        limit.current.unwrap_or(u64::MAX) as f64
    });
    for (name, help, field) in [
        (
            "process_network_receive_bytes_total",
            "Number of bytes received by the process over the network.",
            "InOctets",
        ),
        (
            "process_network_transmit_bytes_total",
            "Number of bytes sent by the process over the network.",
            "OutOctets",
        ),
    ] {
        registry.counter_fn(name, help, move || network_octets(field));
    }
    registry.gauge_fn("process_open_fds", "Number of open file descriptors.", || {
        std::fs::read_dir("/proc/self/fd").map_or(0.0, |entries| entries.count() as f64)
    });
    registry.gauge_fn("process_max_fds", "Maximum number of open file descriptors.", || {
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        limit.current.map_or(f64::INFINITY, |n| n as f64)
    });
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    let help = "Start time of the process since unix epoch in seconds.";
    registry.gauge_fn("process_start_time_seconds", help, move || started);
    let threads = || stat_field(19);
    registry.gauge_fn("go_threads", "Number of OS threads created.", threads);
    let help = "Tasks of the async runtime alive now, under the name that dashboards read.";
    registry.gauge_fn("go_goroutines", help, || {
        let handle = tokio::runtime::Handle::try_current();
        handle.map_or_else(|_| stat_field(19), |h| h.metrics().num_alive_tasks() as f64)
    });
}

/// Go's name of this architecture.
#[must_use]
pub fn arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Field of `/proc/self/stat`, counted from 0, as a number. The second field may hold blanks, so counting
/// starts behind its closing parenthesis.
fn stat_field(index: usize) -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    rest.split_ascii_whitespace()
        .nth(index.saturating_sub(2))
        .and_then(|f| f.parse().ok())
        .unwrap_or_default()
}

fn cpu_seconds() -> f64 {
    (stat_field(13) + stat_field(14)) / rustix::param::clock_ticks_per_second() as f64
}

/// A field of the `IpExt` lines of `/proc/self/net/netstat`: names in one line, numbers in the next.
fn network_octets(field: &str) -> f64 {
    let text = std::fs::read_to_string("/proc/self/net/netstat").unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("IpExt:"));
    let (Some(names), Some(numbers)) = (lines.next(), lines.next()) else { return 0.0 };
    let mut pairs = names.split_ascii_whitespace().zip(numbers.split_ascii_whitespace());
    pairs.find(|(name, _)| *name == field).and_then(|(_, n)| n.parse().ok()).unwrap_or_default()
}

fn memory_pages(field: usize) -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: f64 =
        text.split_ascii_whitespace().nth(field).and_then(|f| f.parse().ok()).unwrap_or_default();
    pages * rustix::param::page_size() as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_this_process_are_plausible() {
        let began = std::time::Instant::now();
        let before = cpu_seconds();
        while began.elapsed().as_millis() < 60 {
            std::hint::black_box(memory_pages(1));
        }
        assert!(cpu_seconds() > before, "{before}");
        assert!(memory_pages(1) > 1e5 && memory_pages(0) > memory_pages(1));
        assert!(stat_field(19) >= 1.0 && network_octets("InOctets") >= 0.0 && network_octets("x") == 0.0);
    }
}
