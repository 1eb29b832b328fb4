//! Prometheus durations: `1d12h`, `15s`, `0`. Not Go's: units are `y w d h m s ms`, each at most once and
//! in that order, integers only (upstream: `common/model/time.go`).

use std::time::Duration;

use crate::name::Quoted;

/// Why a duration was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// "".
    #[error("empty duration string")]
    Empty,
    /// Not of the form.
    #[error("not a valid duration string: {}", Quoted(.0))]
    Invalid(String),
    /// No such unit.
    #[error("unknown unit {} in duration {}", Quoted(.unit), Quoted(.text))]
    UnknownUnit {
        /// What stands behind the number.
        unit: String,
        /// The whole.
        text: String,
    },
    /// Above about 292 years, what upstream's nanoseconds in 63 bits can hold.
    #[error("duration out of range")]
    OutOfRange,
}

const UNITS: [(&str, u64); 7] = [
    ("y", 365 * 86_400_000),
    ("w", 7 * 86_400_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];
const MS_MAX: u64 = (i64::MAX / 1_000_000) as u64;

/// Parses a duration.
///
/// # Errors
/// The empty string, an unknown or repeated or misplaced unit, a fraction, or a sum above 2^63 ns.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    match text {
        "" => return Err(DurationError::Empty),
        "0" => return Ok(Duration::ZERO),
        _ => {}
    }
    let invalid = || DurationError::Invalid(text.to_string());
    let (mut rest, mut next_unit, mut total_ms) = (text, 0, 0_u64);
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (number, tail) = rest.split_at(digits);
        let value: u64 = number.parse().map_err(|_| invalid())?;
        let (unit, tail) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
        if unit.is_empty() {
            return Err(invalid());
        }
        let at = UNITS.iter().position(|(name, _)| *name == unit);
        let unknown = || DurationError::UnknownUnit { unit: unit.to_string(), text: text.to_string() };
        let at = at.ok_or_else(unknown)?;
        if at < next_unit {
            return Err(invalid());
        }
        total_ms = value
            .checked_mul(UNITS[at].1)
            .and_then(|ms| ms.checked_add(total_ms))
            .filter(|ms| *ms <= MS_MAX)
            .ok_or(DurationError::OutOfRange)?;
        (rest, next_unit) = (tail, at + 1);
    }
    Ok(Duration::from_millis(total_ms))
}

/// Prints as upstream's `Duration.String()`: `1d12h`, `15s`, `0s`. Years and weeks appear only where
/// they divide what is left without remainder. Below a millisecond is cut.
#[must_use]
pub fn format(d: Duration) -> String {
    let mut ms = u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 {
        return "0s".to_string();
    }
    let mut out = String::new();
    for (i, (unit, size)) in UNITS.iter().enumerate() {
        let exact_only = i < 2 && !ms.is_multiple_of(*size);
        if ms >= *size && !exact_only {
            out.push_str(&format!("{}{unit}", ms / size));
            ms %= size;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_and_prints_like_upstream() {
        for (text, ms, back) in [
            ("0", 0, "0s"),
            ("0w", 0, "0s"),
            ("324ms", 324, "324ms"),
            ("3s", 3000, "3s"),
            ("5m", 300_000, "5m"),
            ("1h", 3_600_000, "1h"),
            ("4d", 345_600_000, "4d"),
            ("4d1h", 349_200_000, "4d1h"),
            ("14d", 1_209_600_000, "2w"),
            ("3w2d1h", 1_990_800_000, "23d1h"),
            ("10y", 315_360_000_000, "10y"),
            ("1h30m5s7ms", 5_405_007, "1h30m5s7ms"),
        ] {
            let d = parse(text).unwrap();
            assert_eq!((d.as_millis(), format(d).as_str()), (ms, back), "{text}");
        }
    }

    #[test]
    fn refuses_what_upstream_refuses() {
        for text in
            ["", "1", "1y1m1d", "-1w", "1.5d", "d", "1s1s", "294y", "200y10400w", "107675d", "2584200h"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
