//! Numbers for people: four significant digits and a prefix (upstream: `template/template.go` and the
//! `templates` helpers of its common library).

use model::float_text::format_g_precision;

/// `%.4g`
pub(crate) fn g4(v: f64) -> String {
    format_g_precision(v, 4)
}

const SMALL: [&str; 8] = ["m", "u", "n", "p", "f", "a", "z", "y"];

/// Divides by `base` while it is reached.
fn scaled(mut v: f64, base: f64, prefixes: [&str; 8]) -> String {
    let mut prefix = "";
    for p in prefixes {
        if v.abs() < base {
            break;
        }
        prefix = p;
        v /= base;
    }
    format!("{}{prefix}", g4(v))
}

fn small(mut v: f64) -> String {
    let mut prefix = "";
    for p in SMALL {
        if v.abs() >= 1.0 {
            break;
        }
        prefix = p;
        v *= 1000.0;
    }
    format!("{}{prefix}", g4(v))
}

/// `1.235M`, `120m`
pub(crate) fn plain(v: f64) -> String {
    if v == 0.0 || !v.is_finite() {
        g4(v)
    } else if v.abs() >= 1.0 {
        scaled(v, 1000.0, ["k", "M", "G", "T", "P", "E", "Z", "Y"])
    } else {
        small(v)
    }
}

/// `1.177Mi`
pub(crate) fn binary(v: f64) -> String {
    if v.abs() <= 1.0 || !v.is_finite() {
        return g4(v);
    }
    scaled(v, 1024.0, ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"])
}

/// `1d 2h 3m 4s`, `123.5ms`
pub(crate) fn duration(v: f64) -> String {
    if !v.is_finite() {
        return g4(v);
    }
    if v == 0.0 {
        return format!("{}s", g4(v));
    }
    if v.abs() < 1.0 {
        return format!("{}s", small(v));
    }
    let sign = if v < 0.0 { "-" } else { "" };
    let size = v.abs();
    // Beyond 63 bits amd64 gives the smallest integer.
    let whole = if size < 9_223_372_036_854_775_808.0 { size as i64 } else { i64::MIN };
    let (s, m, h, d) = (whole % 60, whole / 60 % 60, whole / 3600 % 24, whole / 86_400);
    if d != 0 {
        format!("{sign}{d}d {h}h {m}m {s}s")
    } else if h != 0 {
        format!("{sign}{h}h {m}m {s}s")
    } else if m != 0 {
        format!("{sign}{m}m {s}s")
    } else {
        format!("{sign}{}s", g4(size))
    }
}
