//! Counters of network devices.

use crate::files::{Roots, format_error, number, read, read_number};
use crate::output::{CollectResult, Output};

/// Columns of `/proc/net/dev`, receive then transmit.
const COLUMNS: [&str; 16] = [
    "receive_bytes",
    "receive_packets",
    "receive_errs",
    "receive_drop",
    "receive_fifo",
    "receive_frame",
    "receive_compressed",
    "receive_multicast",
    "transmit_bytes",
    "transmit_packets",
    "transmit_errs",
    "transmit_drop",
    "transmit_fifo",
    "transmit_colls",
    "transmit_carrier",
    "transmit_compressed",
];

/// `/proc/net/dev` gives what node_exporter derives from netlink (the kernel adds the same error counters
/// up for the text); only `nohandler` is not in it and comes from sysfs.
pub(crate) fn collect(roots: &Roots, out: &mut Output) -> CollectResult {
    let path = roots.proc.join("net/dev");
    for line in read(&path)?.lines().skip(2) {
        // The last colon ends the name: an alias may hold colons itself.
        let (device, values) = line.rsplit_once(':').ok_or_else(|| format_error(&path, "no device"))?;
        let device = device.trim();
        for (column, value) in COLUMNS.iter().zip(values.split_ascii_whitespace()) {
            let value = number(value).ok_or_else(|| format_error(&path, format!("not a number: {value}")))?;
            counter(out, column, device, value);
        }
        let statistics = roots.sys.join("class/net").join(device).join("statistics");
        if let Some(value) = read_number(&statistics.join("rx_nohandler")) {
            counter(out, "receive_nohandler", device, value);
        }
    }
    Ok(())
}

fn counter(out: &mut Output, key: &str, device: &str, value: f64) {
    let help = format!("Network device statistic {key}.");
    out.counter(&format!("node_network_{key}_total"), &help, &[("device", device)], value);
}
