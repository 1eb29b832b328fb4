//! Runs all collectors and reports how each one went, as node_exporter does.

use std::path::PathBuf;
use std::time::Instant;

use exposition::Family;
use parking_lot::Mutex;

use crate::cpu::CpuState;
use crate::files::Roots;
use crate::filesystem::MountState;
use crate::output::{CollectResult, Output};
use crate::{disk, filesystem, kernel, memory, network, sockets, textfile, time};

/// Where to read from. The defaults are a plain machine's; in a container the host's folders are mounted
/// elsewhere (`/host/proc`, `/host/sys`, `/host`).
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// procfs.
    pub proc_path: PathBuf,
    /// sysfs.
    pub sys_path: PathBuf,
    /// udev's data, for disk serials and models.
    pub udev_path: PathBuf,
    /// Where the host's root file system is mounted.
    pub rootfs_path: PathBuf,
    /// Folders (globs) with `*.prom` files to add.
    pub textfile_paths: Vec<String>,
}

impl Default for HostOptions {
    fn default() -> Self {
        HostOptions {
            proc_path: "/proc".into(),
            sys_path: "/sys".into(),
            udev_path: "/run/udev/data".into(),
            rootfs_path: "/".into(),
            textfile_paths: Vec::new(),
        }
    }
}

/// Reads the machine's metrics. Keeps what needs memory between reads: CPU counters that may jump back,
/// and mounts that do not answer.
pub struct HostCollector {
    roots: Roots,
    textfile_paths: Vec<String>,
    cpu: Mutex<CpuState>,
    mounts: MountState,
}

const DURATION: &str = "node_scrape_collector_duration_seconds";
const SUCCESS: &str = "node_scrape_collector_success";

impl HostCollector {
    /// A collector; nothing is read yet.
    #[must_use]
    pub fn new(options: HostOptions) -> Self {
        HostCollector {
            roots: Roots {
                proc: options.proc_path,
                sys: options.sys_path,
                udev: options.udev_path,
                rootfs: options.rootfs_path,
            },
            textfile_paths: options.textfile_paths,
            cpu: Mutex::default(),
            mounts: MountState::default(),
        }
    }

    /// Reads everything once. Blocks for some milliseconds: call it from a blocking thread. A collector
    /// that fails is logged and shown as `node_scrape_collector_success 0`; the others go on.
    #[must_use]
    pub fn collect(&self) -> Vec<Family> {
        let (out, roots) = (&mut Output::default(), &self.roots);
        run(out, "cpu", |out| self.cpu.lock().collect(roots, out));
        run(out, "diskstats", |out| disk::collect(roots, out));
        run(out, "filefd", |out| kernel::filefd(roots, out));
        run(out, "filesystem", |out| filesystem::collect(roots, &self.mounts, out));
        run(out, "loadavg", |out| kernel::loadavg(roots, out));
        run(out, "meminfo", |out| memory::meminfo(roots, out));
        run(out, "netdev", |out| network::collect(roots, out));
        run(out, "netstat", |out| sockets::netstat(roots, out));
        run(out, "pressure", |out| kernel::pressure(roots, out));
        run(out, "sockstat", |out| sockets::sockstat(roots, out));
        run(out, "stat", |out| kernel::stat(roots, out));
        run(out, "textfile", |out| {
            textfile::collect(&self.textfile_paths, out);
            Ok(())
        });
        run(out, "time", |out| time::collect(roots, out));
        run(out, "uname", kernel::uname);
        run(out, "vmstat", |out| memory::vmstat(roots, out));
        std::mem::take(out).into_families()
    }
}

fn run(out: &mut Output, name: &str, collect: impl FnOnce(&mut Output) -> CollectResult) {
    let began = Instant::now();
    let result = collect(out);
    if let Err(error) = &result {
        tracing::debug!(collector = name, %error, "host collector gave no data");
    }
    let labels = [("collector", name)];
    let help = "node_exporter: Duration of a collector scrape.";
    out.gauge(DURATION, help, &labels, began.elapsed().as_secs_f64());
    let help = "node_exporter: Whether a collector succeeded.";
    out.gauge(SUCCESS, help, &labels, f64::from(u8::from(result.is_ok())));
}
