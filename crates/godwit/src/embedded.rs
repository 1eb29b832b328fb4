//! What runs without arguments: the embedded configuration, and the words on the terminal.

use std::io::IsTerminal as _;
use std::path::Path;

const DEFAULT: &str = include_str!("default.yml");

/// Where the page with the machine's metrics is.
pub const HOST_METRICS_PATH: &str = "/metrics/host";

/// The embedded configuration for a server that listens on `port`.
#[must_use]
pub fn config_text(port: u16) -> String {
    DEFAULT.replace("localhost:9090", &format!("localhost:{port}"))
}

/// Says what was started, where to look and what to do next. On a terminal only: a supervisor's log has no
/// use for it.
#[allow(clippy::print_stderr)]
pub fn welcome(url: &str, data: &Path) {
    if !std::io::stderr().is_terminal() {
        return;
    }
    let absolute = std::path::absolute(data).unwrap_or_else(|_| data.to_path_buf());
    eprintln!("godwit {}: watching itself and this machine, every 15 s", env!("CARGO_PKG_VERSION"));
    eprintln!("  look   {url}");
    eprintln!("  ask    curl -s '{url}api/v1/query?query=node_load1'");
    eprintln!("  data   {}", absolute.display());
    if Path::new("prometheus.yml").exists() {
        eprintln!("  note   ./prometheus.yml is not used; start with --config.file=prometheus.yml for that");
    } else {
        eprintln!("  next   write a prometheus.yml and start with --config.file=prometheus.yml");
    }
    eprintln!("  stop   Ctrl-C\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_configuration_is_valid() {
        let config = config::Config::parse(&config_text(1234), &config::LoadOptions::default()).unwrap();
        let names: Vec<_> = config.scrape_configs.iter().map(|j| j.job_name.as_str()).collect();
        assert_eq!(names, ["prometheus", "node"]);
        assert_eq!(config.scrape_configs[1].metrics_path, HOST_METRICS_PATH);
        assert!(config_text(1234).contains("localhost:1234") && !config_text(1234).contains("9090"));
    }
}
