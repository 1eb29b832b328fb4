//! CPU time by mode, guests, throttling, and which CPUs are online or isolated.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::files::{Roots, read, read_number, read_optional};
use crate::output::{CollectResult, Output};

/// `/proc/stat` counts in hundredths of a second on every architecture (USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;
/// An idle counter that falls by more is a hot-plugged CPU; less is the kernel's own jitter.
const JUMP_BACK_SECONDS: f64 = 3.0;
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
const IDLE: usize = 3;

/// The counters last shown: idle and iowait may fall a little in the kernel, and a counter must not.
#[derive(Default)]
pub(crate) struct CpuState {
    shown: BTreeMap<u32, [f64; 10]>,
}

impl CpuState {
    pub(crate) fn collect(&mut self, roots: &Roots, out: &mut Output) -> CollectResult {
        let now = parse_stat(&read(&roots.proc.join("stat"))?);
        self.shown.retain(|cpu, _| now.contains_key(cpu));
        for (cpu, values) in now {
            let shown = self.shown.entry(cpu).or_insert(values);
            if shown[IDLE] - values[IDLE] >= JUMP_BACK_SECONDS {
                *shown = values;
            }
            for (kept, value) in shown.iter_mut().zip(values) {
                *kept = kept.max(value);
            }
            write(cpu, shown, out);
        }
        isolated(roots, out)?;
        throttles(roots, out);
        online(roots, out);
        Ok(())
    }
}

fn parse_stat(text: &str) -> BTreeMap<u32, [f64; 10]> {
    let cpu_line = |line: &str| {
        let mut fields = line.strip_prefix("cpu")?.split_ascii_whitespace();
        let cpu = fields.next()?.parse().ok()?;
        let mut values = [0.0; 10];
        for (value, field) in values.iter_mut().zip(fields) {
            *value = field.parse::<f64>().ok()? / TICKS_PER_SECOND;
        }
        Some((cpu, values))
    };
    // The first line sums all CPUs: "cpu " is followed by a blank, not a number, and its first field
    // would pass for one.
    text.lines().filter(|l| !l.starts_with("cpu ")).filter_map(cpu_line).collect()
}

fn write(cpu: u32, values: &[f64; 10], out: &mut Output) {
    let cpu = cpu.to_string();
    for (mode, value) in MODES.iter().zip(values) {
        let help = "Seconds the CPUs spent in each mode.";
        out.counter("node_cpu_seconds_total", help, &[("cpu", &cpu), ("mode", mode)], *value);
    }
    for (mode, value) in ["user", "nice"].iter().zip(&values[8..]) {
        let help = "Seconds the CPUs spent in guests (VMs) for each mode.";
        out.counter("node_cpu_guest_seconds_total", help, &[("cpu", &cpu), ("mode", mode)], *value);
    }
}

fn isolated(roots: &Roots, out: &mut Output) -> CollectResult {
    let list = read_optional(&roots.sys.join("devices/system/cpu/isolated"))?.unwrap_or_default();
    for cpu in parse_cpu_list(&list) {
        let help = "Whether each core is isolated, information from /sys/devices/system/cpu/isolated.";
        out.gauge("node_cpu_isolated", help, &[("cpu", &cpu.to_string())], 1.0);
    }
    Ok(())
}

/// `0,2-5` as numbers. Ranges are cut at 8,192 CPUs, the kernel's own limit (NR_CPUS).
fn parse_cpu_list(text: &str) -> Vec<u32> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        Some(first..=last.min(first.saturating_add(8191)))
    };
    text.trim().split(',').filter_map(range).flatten().collect()
}

fn cpu_folders(roots: &Roots) -> Vec<(u32, PathBuf)> {
    let entries = std::fs::read_dir(roots.sys.join("devices/system/cpu")).into_iter().flatten().flatten();
    let numbered = entries.filter_map(|e| {
        let cpu = e.file_name().to_str()?.strip_prefix("cpu")?.parse().ok()?;
        Some((cpu, e.path()))
    });
    let mut folders: Vec<_> = numbered.collect();
    folders.sort();
    folders
}

fn throttles(roots: &Roots, out: &mut Output) {
    let (mut packages, mut cores) = (BTreeMap::new(), BTreeMap::new());
    for (_, cpu) in cpu_folders(roots) {
        let topology = cpu.join("topology");
        let Some(package) = read_number(&topology.join("physical_package_id")) else { continue };
        let Some(core) = read_number(&topology.join("core_id")) else { continue };
        let (package, core) = (package.to_string(), core.to_string());
        let throttle = cpu.join("thermal_throttle");
        if let Some(count) = read_number(&throttle.join("core_throttle_count")) {
            cores.entry((package.clone(), core)).or_insert(count);
        }
        if let Some(count) = read_number(&throttle.join("package_throttle_count")) {
            packages.entry(package).or_insert(count);
        }
    }
    for (package, count) in packages {
        let help = "Number of times this CPU package has been throttled.";
        out.counter("node_cpu_package_throttles_total", help, &[("package", &package)], count);
    }
    for ((package, core), count) in cores {
        let help = "Number of times this CPU core has been throttled.";
        let labels = [("package", package.as_str()), ("core", core.as_str())];
        out.counter("node_cpu_core_throttles_total", help, &labels, count);
    }
}

/// CPU 0 cannot go offline on most machines and has no such file; then none is shown.
fn online(roots: &Roots, out: &mut Output) {
    let folders = cpu_folders(roots);
    if folders.first().is_none_or(|(_, path)| !path.join("online").exists()) {
        return;
    }
    for (cpu, path) in folders {
        let value = read_number(&path.join("online")).unwrap_or_default();
        let help = "CPUs that are online and being scheduled.";
        out.gauge("node_cpu_online", help, &[("cpu", &cpu.to_string())], value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_line_is_not_a_cpu() {
        let stats = parse_stat("cpu  10 20 30 40\ncpu0 100 200 300 400 5 6 7 8 9 10\ncpu1 1\nintr 5\n");
        assert_eq!(stats.keys().copied().collect::<Vec<_>>(), [0, 1]);
        assert_eq!(stats[&0][..4], [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(stats[&0][9], 0.1);
    }

    #[test]
    fn lists_of_cpus() {
        assert_eq!(parse_cpu_list("0,2-4\n"), [0, 2, 3, 4]);
        assert_eq!(parse_cpu_list("\n"), [] as [u32; 0]);
        assert_eq!(parse_cpu_list("0-4294967295").len(), 8192);
    }
}
