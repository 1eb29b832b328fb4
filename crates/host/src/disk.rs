//! Counters of block devices, and what they are.

use std::collections::HashMap;

use crate::files::{Roots, number, read, read_number};
use crate::output::{CollectResult, Output};

/// The kernel counts sectors of 512 bytes here, whatever the device's own.
const SECTOR_BYTES: f64 = 512.0;
const SECONDS_PER_MS: f64 = 0.001;

/// (metric, help, factor, counter?) in the order of `/proc/diskstats` after major, minor and name.
const FIELDS: [(&str, &str, f64, bool); 17] = [
    ("reads_completed_total", "The total number of reads completed successfully.", 1.0, true),
    ("reads_merged_total", "The total number of reads merged.", 1.0, true),
    ("read_bytes_total", "The total number of bytes read successfully.", SECTOR_BYTES, true),
    ("read_time_seconds_total", "The total number of seconds spent by all reads.", SECONDS_PER_MS, true),
    ("writes_completed_total", "The total number of writes completed successfully.", 1.0, true),
    ("writes_merged_total", "The number of writes merged.", 1.0, true),
    ("written_bytes_total", "The total number of bytes written successfully.", SECTOR_BYTES, true),
    (
        "write_time_seconds_total",
        "This is the total number of seconds spent by all writes.",
        SECONDS_PER_MS,
        true,
    ),
    ("io_now", "The number of I/Os currently in progress.", 1.0, false),
    ("io_time_seconds_total", "Total seconds spent doing I/Os.", SECONDS_PER_MS, true),
    ("io_time_weighted_seconds_total", "The weighted # of seconds spent doing I/Os.", SECONDS_PER_MS, true),
    ("discards_completed_total", "The total number of discards completed successfully.", 1.0, true),
    ("discards_merged_total", "The total number of discards merged.", 1.0, true),
    ("discarded_sectors_total", "The total number of sectors discarded successfully.", 1.0, true),
    (
        "discard_time_seconds_total",
        "This is the total number of seconds spent by all discards.",
        SECONDS_PER_MS,
        true,
    ),
    ("flush_requests_total", "The total number of flush requests completed successfully", 1.0, true),
    (
        "flush_requests_time_seconds_total",
        "This is the total number of seconds spent by all flush requests.",
        SECONDS_PER_MS,
        true,
    ),
];

pub(crate) fn collect(roots: &Roots, out: &mut Output) -> CollectResult {
    for line in read(&roots.proc.join("diskstats"))?.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (Some(major), Some(minor), Some(device)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if is_partition_or_virtual(device) {
            continue;
        }
        describe(roots, major, minor, device, out);
        for ((name, help, factor, is_counter), value) in FIELDS.iter().zip(fields) {
            let Some(value) = number(value) else { continue };
            let (name, labels) = (format!("node_disk_{name}"), [("device", device)]);
            if *is_counter {
                out.counter(&name, help, &labels, value * factor);
            } else {
                out.gauge(&name, help, &labels, value * factor);
            }
        }
    }
    Ok(())
}

/// node_exporter's default: `^(z?ram|loop|fd|(h|s|v|xv)d[a-z]|nvme\d+n\d+p)\d+$`.
fn is_partition_or_virtual(device: &str) -> bool {
    let stem = device.trim_end_matches(|c: char| c.is_ascii_digit());
    if stem.len() == device.len() {
        return false;
    }
    let disk_letter = |prefix: &str| {
        stem.strip_prefix(prefix).is_some_and(|l| l.len() == 1 && l.as_bytes()[0].is_ascii_lowercase())
    };
    let nvme = || {
        let numbers = stem.strip_prefix("nvme")?.strip_suffix('p')?;
        let (controller, space) = numbers.split_once('n')?;
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        (digits(controller) && digits(space)).then_some(())
    };
    ["ram", "zram", "loop", "fd"].contains(&stem)
        || ["hd", "sd", "vd", "xvd"].iter().any(|p| disk_letter(p))
        || nvme().is_some()
}

fn describe(roots: &Roots, major: &str, minor: &str, device: &str, out: &mut Output) {
    let udev = udev_properties(roots, major, minor);
    let get = |key: &str| udev.get(key).map_or("", String::as_str);
    let first = |keys: [&str; 3]| keys.into_iter().find_map(|k| udev.get(k)).map_or("", String::as_str);
    // sysfs writes '!' for '/' in device names (cciss/c0d0).
    let queue = roots.sys.join("block").join(device.replace('/', "!")).join("queue/rotational");
    let rotational = if read_number(&queue) == Some(1.0) { "1" } else { "0" };
    let labels = [
        ("device", device),
        ("major", major),
        ("minor", minor),
        ("path", get("ID_PATH")),
        ("wwn", get("ID_WWN")),
        ("model", get("ID_MODEL")),
        ("serial", first(["SCSI_IDENT_SERIAL", "ID_SERIAL_SHORT", "ID_SERIAL"])),
        ("revision", get("ID_REVISION")),
        ("rotational", rotational),
    ];
    out.gauge("node_disk_info", "Info of /sys/block/<block_device>.", &labels, 1.0);
    if !get("ID_FS_TYPE").is_empty() {
        let labels = [
            ("device", device),
            ("type", get("ID_FS_TYPE")),
            ("usage", get("ID_FS_USAGE")),
            ("uuid", get("ID_FS_UUID")),
            ("version", get("ID_FS_VERSION")),
        ];
        out.gauge("node_disk_filesystem_info", "Info about disk filesystem.", &labels, 1.0);
    }
    if !get("DM_NAME").is_empty() {
        let labels = [
            ("device", device),
            ("name", get("DM_NAME")),
            ("uuid", get("DM_UUID")),
            ("vg_name", get("DM_VG_NAME")),
            ("lv_name", get("DM_LV_NAME")),
            ("lv_layer", get("DM_LV_LAYER")),
        ];
        out.gauge("node_disk_device_mapper_info", "Info about disk device mapper.", &labels, 1.0);
    }
    if get("ID_ATA").is_empty() {
        return;
    }
    for (key, name, help) in [
        ("ID_ATA_WRITE_CACHE", "node_disk_ata_write_cache", "ATA disk has a write cache."),
        (
            "ID_ATA_WRITE_CACHE_ENABLED",
            "node_disk_ata_write_cache_enabled",
            "ATA disk has its write cache enabled.",
        ),
        (
            "ID_ATA_ROTATION_RATE_RPM",
            "node_disk_ata_rotation_rate_rpm",
            "ATA disk rotation rate in RPMs (0 for SSDs).",
        ),
    ] {
        if let Some(value) = udev.get(key).and_then(|v| number(v)) {
            out.gauge(name, help, &[("device", device)], value);
        }
    }
}

fn udev_properties(roots: &Roots, major: &str, minor: &str) -> HashMap<String, String> {
    let text = read(&roots.udev.join(format!("b{major}:{minor}"))).unwrap_or_default();
    let property = |line: &str| {
        let (key, value) = line.strip_prefix("E:")?.split_once('=')?;
        Some((key.to_string(), value.to_string()))
    };
    text.lines().filter_map(property).collect()
}

#[cfg(test)]
mod tests {
    use super::is_partition_or_virtual;

    #[test]
    fn partitions_and_virtual_devices_are_left_out() {
        for device in ["ram0", "zram1", "loop7", "fd0", "hda1", "sda15", "vdb2", "xvda1", "nvme0n1p1"] {
            assert!(is_partition_or_virtual(device), "{device}");
        }
        for device in
            ["sda", "vda", "nvme0n1", "dm-0", "md127", "mmcblk0", "mmcblk0p1", "sdaa1", "sr0", "fdx"]
        {
            assert!(!is_partition_or_virtual(device), "{device}");
        }
    }
}
