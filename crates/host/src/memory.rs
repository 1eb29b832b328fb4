//! Memory by kind, and the paging counters.

use crate::files::{Roots, format_error, number, read};
use crate::output::{CollectResult, Output};

/// Every field of `/proc/meminfo`: those with a unit in bytes, those without (huge pages) as they are.
pub(crate) fn meminfo(roots: &Roots, out: &mut Output) -> CollectResult {
    let path = roots.proc.join("meminfo");
    for line in read(&path)?.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (Some(key), Some(value)) = (fields.next(), fields.next()) else { continue };
        let value = number(value).ok_or_else(|| format_error(&path, format!("not a number in {line:?}")))?;
        // "Active(anon):" becomes Active_anon.
        let name = key.trim_end_matches(':').replace('(', "_").replace(')', "");
        let (name, value) = match fields.next() {
            Some(_) => (format!("{name}_bytes"), value * 1024.0),
            None => (name, value),
        };
        let help = format!("Memory information field {name}.");
        out.gauge(&format!("node_memory_{name}"), &help, &[], value);
    }
    Ok(())
}

/// The counters that node_exporter selects by `^(oom_kill|pgpg|pswp|pg.*fault).*`.
pub(crate) fn vmstat(roots: &Roots, out: &mut Output) -> CollectResult {
    for line in read(&roots.proc.join("vmstat"))?.lines() {
        let Some((name, value)) = line.split_once(' ') else { continue };
        let wanted = ["oom_kill", "pgpg", "pswp"].iter().any(|p| name.starts_with(p))
            || (name.starts_with("pg") && name.contains("fault"));
        if let Some(value) = number(value).filter(|_| wanted) {
            let help = format!("/proc/vmstat information field {name}.");
            out.untyped(&format!("node_vmstat_{name}"), &help, value);
        }
    }
    Ok(())
}
