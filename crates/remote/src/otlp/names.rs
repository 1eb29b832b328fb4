//! Names of series, labels and units made of OpenTelemetry's, as the `otlptranslator` library that upstream uses
//! makes them.

use std::fmt::Write as _;

use model::name::Quoted;

/// What a metric's name depends on beside itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Gauge,
    /// A sum that only grows.
    Counter,
    /// Histograms, summaries, sums that shrink.
    Other,
}

/// How names are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Namer {
    /// Units and `total` become suffixes.
    pub(crate) suffixes: bool,
    /// Names stay as they are.
    pub(crate) utf8: bool,
    /// `key` before label names that begin with one underscore.
    pub(crate) underscore_sanitization: bool,
    /// Runs of underscores in label names stay.
    pub(crate) preserve_underscores: bool,
}

/// Units that have another name here, sorted.
const UNITS: &[(&str, &str)] = &[
    ("%", "percent"),
    ("1", ""),
    ("A", "amperes"),
    ("By", "bytes"),
    ("Cel", "celsius"),
    ("GBy", "gigabytes"),
    ("GiBy", "gibibytes"),
    ("Hz", "hertz"),
    ("J", "joules"),
    ("KBy", "kilobytes"),
    ("KiBy", "kibibytes"),
    ("MBy", "megabytes"),
    ("MiBy", "mebibytes"),
    ("TBy", "terabytes"),
    ("TiBy", "tibibytes"),
    ("V", "volts"),
    ("W", "watts"),
    ("d", "days"),
    ("g", "grams"),
    ("h", "hours"),
    ("m", "meters"),
    ("min", "minutes"),
    ("ms", "milliseconds"),
    ("ns", "nanoseconds"),
    ("s", "seconds"),
    ("us", "microseconds"),
];

/// Units behind a slash.
const PER_UNITS: &[(&str, &str)] = &[
    ("d", "day"),
    ("h", "hour"),
    ("m", "minute"),
    ("mo", "month"),
    ("s", "second"),
    ("w", "week"),
    ("y", "year"),
];

fn known<'a>(table: &[(&str, &'static str)], unit: &'a str) -> &'a str {
    table.iter().find(|(from, _)| *from == unit).map_or(unit, |(_, to)| to)
}

/// The unit and what it is divided by (with `per_`), either may be empty.
fn unit_suffixes(unit: &str) -> (String, String) {
    let usable = |part: &str| !part.is_empty() && !part.contains(['{', '}']);
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    let (main, per) = (main.trim(), per.trim());
    let main = if usable(main) { known(UNITS, main).to_string() } else { String::new() };
    let per = if usable(per) { format!("per_{}", known(PER_UNITS, per)) } else { String::new() };
    (main, per)
}

fn is_metric_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == ':'
}

/// With underscores for what metric names cannot hold, one for each run, none at the begin.
fn clean_unit(unit: &str) -> String {
    let mut out = String::with_capacity(unit.len());
    for c in unit.chars() {
        if is_metric_char(c) {
            out.push(c);
        } else if !out.ends_with('_') {
            out.push('_');
        }
    }
    out.strip_prefix('_').map(str::to_string).unwrap_or(out)
}

/// The `unit` of metadata.
pub(crate) fn unit(unit: &str, utf8: bool) -> String {
    let (mut main, mut per) = unit_suffixes(unit);
    if !utf8 {
        (main, per) = (clean_unit(&main), clean_unit(&per));
    }
    let both = match (main.is_empty(), per.is_empty()) {
        (false, false) => format!("{main}_{per}"),
        (false, true) => main,
        _ => per,
    };
    let both = both.strip_prefix('_').unwrap_or(&both);
    both.strip_suffix('_').unwrap_or(both).to_string()
}

fn only_underscores(name: &str) -> bool {
    name.bytes().all(|b| b == b'_')
}

impl Namer {
    /// The name of a metric's family.
    ///
    /// # Errors
    /// In upstream's words, where nothing of a name is left.
    pub(crate) fn metric(self, name: &str, unit: &str, kind: Kind) -> Result<String, String> {
        if self.utf8 {
            return Ok(if self.suffixes { suffixed(name, unit, kind) } else { name.to_string() });
        }
        let made = if self.suffixes { normalized(name, unit, kind) } else { escaped(name) };
        if made.is_empty() {
            return Err(format!("normalization for metric {} resulted in empty name", Quoted(name)));
        }
        if made != name && only_underscores(&made) {
            return Err(format!(
                "normalization for metric {} resulted in invalid name {}",
                Quoted(name),
                Quoted(&made)
            ));
        }
        Ok(made)
    }

    /// The name of a label.
    ///
    /// # Errors
    /// In upstream's words, where nothing of a name is left.
    pub(crate) fn label(self, name: &str) -> Result<String, String> {
        if name.is_empty() {
            return Err("label name is empty".to_string());
        }
        if self.utf8 {
            if only_underscores(name) {
                return Err(format!("label name {} contains only underscores", Quoted(name)));
            }
            return Ok(name.to_string());
        }
        let mut made = label_chars(name, self.preserve_underscores);
        if made.starts_with(|c: char| c.is_ascii_digit()) {
            made.insert_str(0, "key_");
        } else if self.underscore_sanitization && made.starts_with('_') && !made.starts_with("__") {
            made.insert_str(0, "key");
        }
        if only_underscores(&made) {
            let mut text = String::new();
            let _ = write!(
                text,
                "normalization for label name {} resulted in invalid name {}",
                Quoted(name),
                Quoted(&made)
            );
            return Err(text);
        }
        Ok(made)
    }
}

fn label_chars(name: &str, preserve: bool) -> String {
    let replaced = |name: &str, preserve: bool| {
        let mut out = String::with_capacity(name.len());
        let mut after = false;
        for c in name.chars() {
            let good = c.is_ascii_alphanumeric();
            if good {
                out.push(c);
            } else if preserve || !after {
                out.push('_');
            }
            after = !good;
        }
        out
    };
    if preserve {
        return replaced(name, true);
    }
    // Names that are reserved keep their two underscores on either side.
    let reserved = name.strip_prefix("__").and_then(|n| n.strip_suffix("__"));
    reserved.map_or_else(|| replaced(name, false), |inner| format!("__{}__", replaced(inner, false)))
}

fn digit_escaped(name: String) -> String {
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

/// Without suffixes: runs of what is not allowed become one underscore, those at the ends vanish.
fn escaped(name: &str) -> String {
    let parts: Vec<&str> =
        name.split(|c| !is_metric_char(c) && c != '_').filter(|part| !part.is_empty()).collect();
    digit_escaped(parts.join("_"))
}

fn normalized(name: &str, unit: &str, kind: Kind) -> String {
    let mut words: Vec<&str> = name.split(|c| !is_metric_char(c)).filter(|word| !word.is_empty()).collect();
    let (main, per) = unit_suffixes(unit);
    let (main, per) = (clean_unit(&main), clean_unit(&per));
    let mut main = if words.contains(&main.as_str()) { "" } else { &main };
    let mut per = if per == "per_" { "" } else { per.strip_suffix('_').unwrap_or(&per) };
    if words.contains(&per) {
        per = "";
    }
    if !per.is_empty() {
        main = main.strip_suffix('_').unwrap_or(main);
    }
    words.extend([main, per].into_iter().filter(|word| !word.is_empty()));
    if kind == Kind::Counter {
        words.retain(|word| *word != "total");
        words.push("total");
    }
    if unit == "1" && kind == Kind::Gauge {
        words.retain(|word| *word != "ratio");
        words.push("ratio");
    }
    digit_escaped(words.join("_"))
}

/// With suffixes and nothing escaped.
fn suffixed(name: &str, unit: &str, kind: Kind) -> String {
    let without = |name: &str, suffix: &str| -> String {
        let keep = name.strip_suffix(suffix).filter(|_| name.len() > suffix.len() + 1);
        // The delimiter before the suffix goes, too, whatever it is.
        keep.map_or_else(
            || name.to_string(),
            |kept| {
                let mut kept = kept.to_string();
                kept.pop();
                kept
            },
        )
    };
    let mut made = name.to_string();
    let ratio = unit == "1" && kind == Kind::Gauge;
    if ratio {
        made = without(&made, "ratio");
    }
    let counter = kind == Kind::Counter;
    if counter {
        made = without(&made, "total");
    }
    let (main, per) = unit_suffixes(unit);
    if !per.is_empty() {
        made = without(&made, &per);
    }
    if !main.is_empty() && !made.ends_with(&main) {
        made = format!("{made}_{main}");
    }
    if !per.is_empty() {
        made = format!("{made}_{per}");
    }
    if counter {
        made += "_total";
    }
    if ratio {
        made += "_ratio";
    }
    made
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namer(suffixes: bool, utf8: bool) -> Namer {
        Namer { suffixes, utf8, underscore_sanitization: true, preserve_underscores: true }
    }

    #[test]
    fn metrics() {
        use Kind::{Counter, Gauge, Other};
        // Name, unit, kind; with suffixes escaped, without; with suffixes as UTF-8.
        for (name, unit, kind, full, plain, utf8) in [
            ("http.duration", "s", Other, "http_duration_seconds", "http_duration", "http.duration_seconds"),
            ("hits", "1", Counter, "hits_total", "hits", "hits_total"),
            ("used", "1", Gauge, "used_ratio", "used", "used_ratio"),
            ("hits.total", "", Counter, "hits_total", "hits_total", "hits_total"),
            ("speed", "m/s", Gauge, "speed_meters_per_second", "speed", "speed_meters_per_second"),
            ("io.By", "By/{op}", Gauge, "io_By_bytes", "io_By", "io.By_bytes"),
            ("bytes.used", "By", Gauge, "bytes_used", "bytes_used", "bytes.used_bytes"),
            ("2xx", "", Other, "_2xx", "_2xx", "2xx"),
            ("a__b..c", "", Other, "a_b_c", "a__b_c", "a__b..c"),
            ("x", "a b/c d", Gauge, "x_a_b_per_c_d", "x", "x_a b_per_c d"),
        ] {
            assert_eq!(namer(true, false).metric(name, unit, kind).as_deref(), Ok(full), "{name}");
            assert_eq!(namer(false, false).metric(name, unit, kind).as_deref(), Ok(plain), "{name}");
            assert_eq!(namer(true, true).metric(name, unit, kind).as_deref(), Ok(utf8), "{name}");
        }
        assert_eq!(
            namer(true, false).metric("...", "", Other),
            Err("normalization for metric \"...\" resulted in empty name".into())
        );
        assert_eq!(namer(false, false).metric("___", "", Other).as_deref(), Ok("___"));
    }

    #[test]
    fn labels() {
        let one = |preserve| Namer { preserve_underscores: preserve, ..namer(true, false) };
        for (name, kept, collapsed) in [
            ("http.status", "http_status", "http_status"),
            ("1st", "key_1st", "key_1st"),
            ("_x", "key_x", "key_x"),
            ("__x__", "__x__", "__x__"),
            ("a..b", "a__b", "a_b"),
            ("é", "key_", "key_"),
        ] {
            assert_eq!(one(true).label(name).as_deref(), Ok(kept), "{name}");
            assert_eq!(one(false).label(name).as_deref(), Ok(collapsed), "{name}");
        }
        assert!(one(true).label("éé").is_err());
        assert_eq!(namer(true, true).label("é").as_deref(), Ok("é"));
        assert!(namer(true, true).label("__").is_err());
    }

    #[test]
    fn units() {
        for (from, to) in
            [("s", "seconds"), ("1", ""), ("{x}", ""), ("By/s", "bytes_per_second"), ("/s", "per_second")]
        {
            assert_eq!(unit(from, false), to, "{from}");
        }
    }
}
