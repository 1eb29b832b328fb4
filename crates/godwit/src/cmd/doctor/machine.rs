//! The machine and the process: clock, open files, memory limit, the port.

use std::net::TcpListener;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::Options;
use super::report::Report;

/// The server keeps a file open for each connection and block; below this it may run out under load.
const OPEN_FILES_LOW: u64 = 8192;

pub(super) fn examine(options: &Options, report: &mut Report) {
    clock(&options.data, report);
    open_files(report);
    memory(report);
    if let Some(listen) = &options.listen {
        port(listen, report);
    }
}

/// The clock is wrong for sure where files in the data folder are from the future; a clock that a time
/// service keeps is taken for right.
fn clock(data: &Path, report: &mut Report) {
    let newest = [data.join("wal"), data.join("chunks_head"), data.to_path_buf()]
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten())
        .filter_map(|e| e.metadata().ok()?.modified().ok())
        .max();
    let ahead = newest.and_then(|t| t.duration_since(SystemTime::now()).ok());
    match ahead {
        Some(ahead) if ahead > Duration::from_secs(60) => report.bad(
            "clock",
            format!("files in the data folder are {} s from the future: the clock was set back", ahead.as_secs()),
            "set the clock right (timedatectl, chronyc tracking); samples older than the newest stored are refused until then",
        ),
        _ => {
            let year = jiff::Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).year();
            if year < 2025 {
                report.bad("clock", format!("the year is {year}"), "set the clock right (timedatectl, chronyc tracking)");
            } else {
                report.ok("clock", format!("{}", jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ")));
            }
        }
    }
}

fn open_files(report: &mut Report) {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    match limit.current {
        Some(n) if n < OPEN_FILES_LOW => report.warn(
            "open files",
            format!("limited to {n} (hard limit {})", limit.maximum.map_or("none".into(), |m| m.to_string())),
            "raise it: `ulimit -n 65536`, LimitNOFILE=65536 in the systemd unit",
        ),
        Some(n) => report.ok("open files", format!("up to {n}")),
        None => report.ok("open files", "no limit"),
    }
}

/// Memory limit of the control group.
fn memory(report: &mut Report) {
    match crate::memory::group_limit_bytes() {
        Some(n) if n < 256 << 20 => report.warn(
            "memory",
            format!("the control group allows {} MiB", n >> 20),
            "give it at least 256 MiB and about 2 KiB for each active series",
        ),
        Some(n) => report.ok("memory", format!("the control group allows {} MiB", n >> 20)),
        None => report.ok("memory", "no limit by a control group"),
    }
}

fn port(listen: &str, report: &mut Report) {
    match TcpListener::bind(listen) {
        Ok(_) => report.ok("port", format!("{listen} is free")),
        Err(e) if e.kind() == std::io::ErrorKind::AddrInUse => report.warn(
            "port",
            format!("{listen} is in use"),
            "stop the program that has it (`ss -ltnp`), or choose another with --web.listen-address",
        ),
        Err(e) => report.bad(
            "port",
            format!("{listen}: {e}"),
            "choose an address of this machine with --web.listen-address",
        ),
    }
}
