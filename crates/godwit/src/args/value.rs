//! Values of flags: reading by kind, and the form `/api/v1/status/flags` prints.

use std::time::Duration;

use super::table::{Flag, Kind};

/// A flag's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text, word, severity.
    Text(String),
    /// Switch.
    Switch(bool),
    /// Integer.
    Int(i64),
    /// Number.
    Float(f64),
    /// Either kind of duration.
    Duration(Duration),
    /// Bytes.
    Bytes(u64),
    /// All values of a flag that may be repeated.
    Texts(Vec<String>),
}

/// Messages of remote write.
pub const MESSAGES: [&str; 2] = ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"];

/// Reads one value. `before` holds earlier values of a flag that may be repeated.
///
/// # Errors
/// What is wrong with the text, in upstream's words where it has some.
pub fn read(flag: &Flag, text: &str, before: Option<Value>) -> Result<Value, String> {
    match flag.kind {
        Kind::Text => Ok(Value::Text(text.to_string())),
        Kind::Switch => Ok(Value::Switch(text == "true")),
        Kind::Int => {
            let value = number(text)?;
            // Go converts a float here; values beyond its integers are refused instead of wrapped.
            if value.abs() < 9.2e18 {
                Ok(Value::Int(value as i64))
            } else {
                Err(format!("{text:?} is too large"))
            }
        }
        Kind::Float => number(text).map(Value::Float),
        Kind::Duration => match model::duration::parse(text) {
            Ok(value) => Ok(Value::Duration(value)),
            Err(error) => Err(error.to_string()),
        },
        Kind::GoDuration => config::parse_flag_duration(text)
            .map(Value::Duration)
            .ok_or_else(|| format!("time: invalid duration {text:?}")),
        Kind::Bytes => config::parse_size(text).map(Value::Bytes),
        Kind::Words(words) => match words.contains(&text) {
            true => Ok(Value::Text(text.to_string())),
            false if flag.name == "log.format" => Err(format!("unrecognized log format {text}")),
            false => Err(format!("enum value must be one of {}, got '{text}'", words.join(","))),
        },
        Kind::LogLevel => {
            let lower = text.to_ascii_lowercase();
            match ["debug", "info", "warn", "error"].contains(&lower.as_str()) {
                true => Ok(Value::Text(lower)),
                false => Err(format!("unrecognized log level {text}")),
            }
        }
        Kind::Messages => {
            if !MESSAGES.contains(&text) {
                return Err(format!(
                    "unknown type for remote write protobuf message {text}, supported: {}",
                    MESSAGES.join(", ")
                ));
            }
            append(before, text, true)
        }
        Kind::Texts => append(before, text, false),
    }
}

fn append(before: Option<Value>, text: &str, unique: bool) -> Result<Value, String> {
    let mut texts = match before {
        Some(Value::Texts(texts)) => texts,
        _ => Vec::new(),
    };
    if unique && texts.iter().any(|t| t == text) {
        return Err(format!("duplicated {text} flag value, got {} already", texts.join(", ")));
    }
    texts.push(text.to_string());
    Ok(Value::Texts(texts))
}

fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| format!("{text:?} is not a number"))
}

/// The value where the flag is not given.
#[must_use]
pub fn default(flag: &Flag) -> Value {
    match flag.kind {
        Kind::Texts | Kind::Messages => {
            Value::Texts(flag.default.split(',').filter(|t| !t.is_empty()).map(str::to_string).collect())
        }
        _ => read(flag, flag.default, None).unwrap_or_else(|_| Value::Text(flag.default.to_string())),
    }
}

/// As Go's flag values print.
#[must_use]
pub fn show(flag: &Flag, value: &Value) -> String {
    match value {
        Value::Text(text) => text.clone(),
        Value::Switch(on) => on.to_string(),
        Value::Int(n) => n.to_string(),
        Value::Float(n) => n.to_string(),
        Value::Duration(d) if flag.kind == Kind::GoDuration => show_go_duration(*d),
        Value::Duration(d) => model::duration::format(*d),
        Value::Bytes(bytes) => config::format_size(*bytes),
        Value::Texts(texts) => texts.join(","),
    }
}

/// Go's `time.Duration.String()`: `1m30s`, `2ms`, `1.5ms`, `0s`.
pub fn show_go_duration(d: Duration) -> String {
    let nanos = d.as_nanos();
    let fraction = |whole: u128, unit: u128| {
        let rest = format!("{:0width$}", nanos % unit, width = unit.ilog10() as usize);
        match rest.trim_end_matches('0') {
            "" => whole.to_string(),
            digits => format!("{whole}.{digits}"),
        }
    };
    match nanos {
        0 => "0s".to_string(),
        1..1_000 => format!("{nanos}ns"),
        1_000..1_000_000 => format!("{}\u{b5}s", fraction(nanos / 1_000, 1_000)),
        1_000_000..1_000_000_000 => format!("{}ms", fraction(nanos / 1_000_000, 1_000_000)),
        _ => {
            let seconds = d.as_secs();
            let tail = format!("{}s", fraction(u128::from(seconds % 60), 1_000_000_000));
            match (seconds / 3600, seconds / 60 % 60) {
                (0, 0) => tail,
                (0, minutes) => format!("{minutes}m{tail}"),
                (hours, minutes) => format!("{hours}h{minutes}m{tail}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_print_like_go() {
        for (nanos, want) in [
            (0, "0s"),
            (2_000_000, "2ms"),
            (1_500_000, "1.5ms"),
            (1_500, "1.5\u{b5}s"),
            (7, "7ns"),
            (90_000_000_000, "1m30s"),
            (3_600_000_000_000, "1h0m0s"),
            (1_050_000_000, "1.05s"),
        ] {
            assert_eq!(show_go_duration(Duration::from_nanos(nanos)), want);
        }
    }
}
