//! Load, kernel counters, pressure, file handles and uname.

use crate::files::{Roots, format_error, number, read, read_optional};
use crate::output::{CollectError, CollectResult, Output};

pub(crate) fn loadavg(roots: &Roots, out: &mut Output) -> CollectResult {
    let path = roots.proc.join("loadavg");
    let text = read(&path)?;
    let values: Vec<f64> = text.split_ascii_whitespace().take(3).filter_map(number).collect();
    let [one, five, fifteen] = values[..] else { return Err(format_error(&path, "not three numbers")) };
    out.gauge("node_load1", "1m load average.", &[], one);
    out.gauge("node_load5", "5m load average.", &[], five);
    out.gauge("node_load15", "15m load average.", &[], fifteen);
    Ok(())
}

pub(crate) fn stat(roots: &Roots, out: &mut Output) -> CollectResult {
    let text = read(&roots.proc.join("stat"))?;
    let value = |key: &str| {
        let field = |line: &str| {
            let mut fields = line.split_ascii_whitespace();
            (fields.next()? == key).then(|| fields.next().and_then(number))?
        };
        text.lines().find_map(field).unwrap_or_default()
    };
    out.counter("node_intr_total", "Total number of interrupts serviced.", &[], value("intr"));
    out.counter("node_context_switches_total", "Total number of context switches.", &[], value("ctxt"));
    out.counter("node_forks_total", "Total number of forks.", &[], value("processes"));
    out.gauge("node_boot_time_seconds", "Node boot time, in unixtime.", &[], value("btime"));
    let help = "Number of processes in runnable state.";
    out.gauge("node_procs_running", help, &[], value("procs_running"));
    let help = "Number of processes blocked waiting for I/O to complete.";
    out.gauge("node_procs_blocked", help, &[], value("procs_blocked"));
    Ok(())
}

/// (resource, line of the file, metric, help).
const PRESSURES: [(&str, &str, &str, &str); 6] = [
    ("cpu", "some", "cpu_waiting", "Total time in seconds that processes have waited for CPU time"),
    ("io", "some", "io_waiting", "Total time in seconds that processes have waited due to IO congestion"),
    ("io", "full", "io_stalled", "Total time in seconds no process could make progress due to IO congestion"),
    ("memory", "some", "memory_waiting", "Total time in seconds that processes have waited for memory"),
    (
        "memory",
        "full",
        "memory_stalled",
        "Total time in seconds no process could make progress due to memory congestion",
    ),
    (
        "irq",
        "full",
        "irq_stalled",
        "Total time in seconds no process could make progress due to IRQ congestion",
    ),
];

pub(crate) fn pressure(roots: &Roots, out: &mut Output) -> CollectResult {
    let mut found = false;
    for (resource, kind, name, help) in PRESSURES {
        // A kernel without CONFIG_PSI has no file; one booted with psi=0 refuses to read it.
        let Ok(Some(text)) = read_optional(&roots.proc.join("pressure").join(resource)) else { continue };
        let total = |line: &str| {
            let fields = line.strip_prefix(kind)?;
            number(fields.split_ascii_whitespace().find_map(|f| f.strip_prefix("total="))?)
        };
        if let Some(microseconds) = text.lines().find_map(total) {
            found = true;
            let name = format!("node_pressure_{name}_seconds_total");
            out.counter(&name, help, &[], microseconds / 1000.0 / 1000.0);
        }
    }
    let what = || CollectError::NoData("the kernel reports no pressure (needs 4.20 or newer, psi=1)".into());
    if found { Ok(()) } else { Err(what()) }
}

pub(crate) fn filefd(roots: &Roots, out: &mut Output) -> CollectResult {
    let path = roots.proc.join("sys/fs/file-nr");
    let text = read(&path)?;
    let values: Vec<f64> = text.split_ascii_whitespace().filter_map(number).collect();
    let [allocated, _, maximum] = values[..] else { return Err(format_error(&path, "not three numbers")) };
    out.gauge("node_filefd_allocated", "File descriptor statistics: allocated.", &[], allocated);
    out.gauge("node_filefd_maximum", "File descriptor statistics: maximum.", &[], maximum);
    Ok(())
}

pub(crate) fn uname(out: &mut Output) -> CollectResult {
    let uname = rustix::system::uname();
    let text = |s: &std::ffi::CStr| s.to_string_lossy().into_owned();
    let labels = [
        ("sysname", text(uname.sysname())),
        ("release", text(uname.release())),
        ("version", text(uname.version())),
        ("machine", text(uname.machine())),
        ("nodename", text(uname.nodename())),
        ("domainname", text(uname.domainname())),
    ];
    let labels: Vec<(&str, &str)> = labels.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let help = "Labeled system information as provided by the uname system call.";
    out.gauge("node_uname_info", help, &labels, 1.0);
    Ok(())
}
