//! Times and durations as Go's `time` prints them, in UTC.

const NS: i128 = 1_000_000_000;
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// The parts of a time in UTC.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parts {
    pub(crate) year: i64,
    pub(crate) month: i64,
    pub(crate) day: i64,
    pub(crate) hour: i64,
    pub(crate) minute: i64,
    pub(crate) second: i64,
    pub(crate) ns: i64,
    pub(crate) weekday: i64,
    pub(crate) year_day: i64,
}

/// Splits nanoseconds since 1970.
pub(crate) fn parts(ns: i128) -> Parts {
    let seconds = i64::try_from(ns.div_euclid(NS)).unwrap_or(0);
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    Parts {
        year,
        month,
        day,
        hour: rest / 3600,
        minute: rest / 60 % 60,
        second: rest % 60,
        ns: ns.rem_euclid(NS) as i64,
        weekday: (days + 4).rem_euclid(7),
        year_day: days - days_before(year) + 1,
    }
}

/// Days from 1970 to the first of January of a year.
fn days_before(year: i64) -> i64 {
    let y = year - 1;
    y * 365 + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) - 719_162
}

/// Days since 1970 to year, month, day (Gregorian; eras of 400 years that begin in March).
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let (era, doe) = (z.div_euclid(146_097), z.rem_euclid(146_097));
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

pub(crate) fn month_name(n: i64) -> String {
    let name = usize::try_from(n - 1).ok().and_then(|i| MONTHS.get(i));
    name.map_or_else(|| format!("%!Month({n})"), ToString::to_string)
}

pub(crate) fn weekday_name(n: i64) -> String {
    let name = usize::try_from(n).ok().and_then(|i| DAYS.get(i));
    name.map_or_else(|| format!("%!Weekday({n})"), ToString::to_string)
}

/// `Time.String` in UTC.
pub(crate) fn show(ns: i128) -> String {
    format(ns, "2006-01-02 15:04:05.999999999 -0700 MST")
}

/// Patterns of a layout; of several that fit the first counts.
const PATTERNS: &[&str] = &[
    "January",
    "Jan",
    "Monday",
    "Mon",
    "MST",
    "2006",
    "-07:00:00",
    "-07:00",
    "-070000",
    "-0700",
    "-07",
    "Z07:00:00",
    "Z07:00",
    "Z070000",
    "Z0700",
    "Z07",
    "002",
    "01",
    "02",
    "03",
    "04",
    "05",
    "06",
    "15",
    "PM",
    "pm",
    "__2",
    "_2",
    "1",
    "2",
    "3",
    "4",
    "5",
];

/// `Time.Format`.
pub(crate) fn format(ns: i128, layout: &str) -> String {
    let p = parts(ns);
    let mut out = String::new();
    let mut rest = layout;
    while let Some(c) = rest.chars().next() {
        if let Some(tail) = rest.strip_prefix("_2006") {
            out.push('_');
            out.push_str(&year(p.year));
            rest = tail;
            continue;
        }
        if let Some(tail) = fraction(rest, p.ns, &mut out) {
            rest = tail;
            continue;
        }
        let found = PATTERNS.iter().find_map(|pattern| Some((*pattern, rest.strip_prefix(pattern)?)));
        // "Jan" and "Mon" do not begin a longer word.
        let word = |tail: &str| tail.starts_with(|c: char| c.is_ascii_lowercase());
        match found {
            Some(("Jan" | "Mon", tail)) if word(tail) => {
                out.push(c);
                rest = rest.get(1..).unwrap_or("");
            }
            Some((pattern, tail)) => {
                out.push_str(&part(&p, pattern));
                rest = tail;
            }
            None => {
                out.push(c);
                rest = rest.get(c.len_utf8()..).unwrap_or("");
            }
        }
    }
    out
}

/// `.000`, `,999`: only where no digit follows.
fn fraction<'a>(rest: &'a str, ns: i64, out: &mut String) -> Option<&'a str> {
    let sign = rest.chars().next().filter(|c| matches!(c, '.' | ','))?;
    let body = rest.get(1..)?;
    let digit = body.chars().next().filter(|c| matches!(c, '0' | '9'))?;
    let tail = body.trim_start_matches(digit);
    if tail.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let count = body.len() - tail.len();
    let all = format!("{ns:09}");
    let cut = all.get(..count.min(9)).unwrap_or(&all);
    let shown = if digit == '9' { cut.trim_end_matches('0') } else { cut };
    if digit == '0' || !shown.is_empty() {
        out.push(sign);
        out.push_str(shown);
        if digit == '0' {
            out.push_str(&"0".repeat(count.saturating_sub(9)));
        }
    }
    Some(tail)
}

fn year(y: i64) -> String {
    if y < 0 { format!("-{:04}", -y) } else { format!("{y:04}") }
}

fn part(p: &Parts, pattern: &str) -> String {
    let hour12 = if p.hour % 12 == 0 { 12 } else { p.hour % 12 };
    let short = |name: String| name.get(..3).unwrap_or("").to_string();
    match pattern {
        "January" => month_name(p.month),
        "Jan" => short(month_name(p.month)),
        "Monday" => weekday_name(p.weekday),
        "Mon" => short(weekday_name(p.weekday)),
        "MST" => "UTC".to_string(),
        "2006" => year(p.year),
        "-07:00:00" => "+00:00:00".to_string(),
        "-07:00" => "+00:00".to_string(),
        "-070000" => "+000000".to_string(),
        "-0700" => "+0000".to_string(),
        "-07" => "+00".to_string(),
        zone if zone.starts_with('Z') => "Z".to_string(),
        "002" => format!("{:03}", p.year_day),
        "__2" => format!("{:3}", p.year_day),
        "01" => format!("{:02}", p.month),
        "1" => p.month.to_string(),
        "02" => format!("{:02}", p.day),
        "_2" => format!("{:2}", p.day),
        "2" => p.day.to_string(),
        "03" => format!("{hour12:02}"),
        "3" => hour12.to_string(),
        "15" => format!("{:02}", p.hour),
        "04" => format!("{:02}", p.minute),
        "4" => p.minute.to_string(),
        "05" => format!("{:02}", p.second),
        "5" => p.second.to_string(),
        "06" => format!("{:02}", p.year.rem_euclid(100)),
        "PM" => if p.hour >= 12 { "PM" } else { "AM" }.to_string(),
        "pm" => if p.hour >= 12 { "pm" } else { "am" }.to_string(),
        _ => String::new(),
    }
}

/// `Duration.String`: `1h30m0.5s`, `100ms`, `1.5µs`.
pub(crate) fn show_duration(ns: i64) -> String {
    let size = ns.unsigned_abs();
    let sign = if ns < 0 { "-" } else { "" };
    let decimal = |value: u64, unit: u64, digits: usize| {
        let fraction = format!("{:0digits$}", value % unit);
        let fraction = if unit == 1 { "" } else { fraction.trim_end_matches('0') };
        let point = if fraction.is_empty() { "" } else { "." };
        format!("{}{point}{fraction}", value / unit)
    };
    match size {
        0 => "0s".to_string(),
        1..1000 => format!("{sign}{size}ns"),
        1000..1_000_000 => format!("{sign}{}µs", decimal(size, 1000, 3)),
        1_000_000..1_000_000_000 => format!("{sign}{}ms", decimal(size, 1_000_000, 6)),
        _ => {
            let seconds = decimal(size % 60_000_000_000, 1_000_000_000, 9);
            let minutes = size / 60_000_000_000;
            match minutes {
                0 => format!("{sign}{seconds}s"),
                1..60 => format!("{sign}{minutes}m{seconds}s"),
                _ => format!("{sign}{}h{}m{seconds}s", minutes / 60, minutes % 60),
            }
        }
    }
}
