//! The clock, its zone, and where the kernel gets it from.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::files::{Roots, read};
use crate::output::{CollectResult, Output};

pub(crate) fn collect(roots: &Roots, out: &mut Output) -> CollectResult {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    out.gauge("node_time_seconds", "System time in seconds since epoch (1970).", &[], now.as_secs_f64());
    let zone = jiff::tz::TimeZone::system();
    let offset = zone.to_offset_info(jiff::Timestamp::now());
    let labels = [("time_zone", offset.abbreviation())];
    let help = "System time zone offset in seconds.";
    out.gauge("node_time_zone_offset_seconds", help, &labels, f64::from(offset.offset().seconds()));

    let folder = roots.sys.join("devices/system/clocksource");
    let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
    let is_source = |name: &str| name.strip_prefix("clocksource").is_some_and(|n| n.parse::<u32>().is_ok());
    let mut names: Vec<_> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
    names.retain(|n| is_source(n));
    names.sort();
    for (device, name) in names.iter().enumerate() {
        let device = device.to_string();
        let available = read(&folder.join(name).join("available_clocksource"))?;
        for source in available.split_ascii_whitespace() {
            let help = "Available clocksources read from '/sys/devices/system/clocksource'.";
            let labels = [("device", device.as_str()), ("clocksource", source)];
            out.gauge("node_time_clocksource_available_info", help, &labels, 1.0);
        }
        let current = read(&folder.join(name).join("current_clocksource"))?;
        let help = "Current clocksource read from '/sys/devices/system/clocksource'.";
        let labels = [("device", device.as_str()), ("clocksource", current.trim())];
        out.gauge("node_time_clocksource_current_info", help, &labels, 1.0);
    }
    Ok(())
}
