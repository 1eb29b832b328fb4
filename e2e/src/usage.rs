//! What a process uses, as the kernel counts it.

use anyhow::{Context, Result};

/// Ticks of `/proc/PID/stat` a second: the same on every Linux that godwit is built for.
const TICKS_A_SECOND: f64 = 100.0;

/// One look.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// User and system time since the start of the process.
    pub cpu_seconds: f64,
    /// Resident memory now.
    pub rss_bytes: u64,
    /// The most it ever was.
    pub rss_peak_bytes: u64,
}

/// Looks at a process.
///
/// # Errors
/// It is gone.
pub fn of(pid: u32) -> Result<Usage> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may have blanks: fields are counted from its closing parenthesis (field 2) on.
    let fields: Vec<&str> =
        stat.rsplit_once(')').context("no name in stat")?.1.split_ascii_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok()).context("stat is cut off");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let memory = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name)).context("no such line in status")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok::<_, anyhow::Error>(kib * 1024)
    };
    Ok(Usage {
        cpu_seconds: (ticks(11)? + ticks(12)?) / TICKS_A_SECOND,
        rss_bytes: memory("VmRSS:")?,
        rss_peak_bytes: memory("VmHWM:")?,
    })
}

/// CPU seconds of the children of a process that ended, and of theirs.
///
/// # Errors
/// It is gone.
pub fn of_ended_children(pid: u32) -> Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields: Vec<&str> =
        stat.rsplit_once(')').context("no name in stat")?.1.split_ascii_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok()).context("stat is cut off");
    Ok((ticks(13)? + ticks(14)?) / TICKS_A_SECOND)
}

/// CPU seconds that all processes of the machine used since its start.
///
/// # Errors
/// No `/proc`.
pub fn machine_cpu_seconds() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("no cpu line")?;
    let fields: Vec<f64> = line.split_ascii_whitespace().skip(1).map_while(|f| f.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal
    let busy = [0, 1, 2, 5, 6].iter().filter_map(|i| fields.get(*i)).sum::<f64>();
    Ok(busy / TICKS_A_SECOND)
}
