//! Log output in the two forms of upstream: logfmt and JSON, one line an event, on standard error.
//!
//! Field order and names are those of Go's slog as Prometheus sets it up (`time`, `level`, `source`,
//! `msg`, then the event's own), so that log pipelines keep working.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};

use config::LogLevel;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use crate::args::LogFormat;

/// Starts logging for this process. A second call is ignored.
pub fn start(level: LogLevel, format: LogFormat) {
    let level = match level {
        LogLevel::Debug => Level::DEBUG,
        LogLevel::Info => Level::INFO,
        LogLevel::Warn => Level::WARN,
        LogLevel::Error => Level::ERROR,
    };
    let colour = format == LogFormat::Logfmt && std::io::stderr().is_terminal();
    let layer = Lines { level, format, colour };
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer));
}

struct Lines {
    level: Level,
    format: LogFormat,
    colour: bool,
}

impl<S: Subscriber> Layer<S> for Lines {
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        // Libraries below us speak only when something is wrong; our own crates as the level says.
        let own = OWN.iter().any(|name| {
            let rest = metadata.target().strip_prefix(name);
            rest.is_some_and(|r| r.is_empty() || r.starts_with("::"))
        });
        let level = if own { self.level } else { self.level.min(Level::WARN) };
        *metadata.level() <= level
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let line = render(event, self.format, self.colour);
        // A closed standard error must not end the server.
        let _ = std::io::stderr().lock().write_all(line.as_bytes());
    }
}

const OWN: [&str; 13] = [
    "godwit",
    "config",
    "discovery",
    "exposition",
    "host",
    "net",
    "promql",
    "remote",
    "scrape",
    "storage",
    "telemetry",
    "tsdb",
    "web",
];

fn render(event: &Event<'_>, format: LogFormat, colour: bool) -> String {
    let mut fields = Fields::default();
    event.record(&mut fields);
    let metadata = event.metadata();
    let file = metadata.file().and_then(|f| f.rsplit('/').next()).unwrap_or("unknown");
    let source = format!("{file}:{}", metadata.line().unwrap_or(0));
    let time = now();
    let level = metadata.level().as_str();
    let mut line = String::with_capacity(160);
    match format {
        LogFormat::Logfmt => {
            let shown = if colour { coloured(level) } else { level.to_string() };
            let _ = write!(line, "time={time} level={shown} source={source} msg=");
            push_logfmt(&mut line, &fields.message);
            for (key, value) in &fields.others {
                let _ = write!(line, " {key}=");
                push_logfmt(&mut line, value);
            }
        }
        LogFormat::Json => {
            let _ = write!(line, r#"{{"time":"{time}","level":"{level}","source":"{source}","msg":"#);
            push_json(&mut line, &fields.message);
            for (key, value) in &fields.others {
                let _ = write!(line, r#","{key}":"#);
                push_json(&mut line, value);
            }
            line.push('}');
        }
    }
    line.push('\n');
    line
}

fn coloured(level: &str) -> String {
    let code = match level {
        "ERROR" => 31,
        "WARN" => 33,
        "DEBUG" => 90,
        _ => 32,
    };
    format!("\x1b[{code}m{level}\x1b[0m")
}

/// UTC with milliseconds, as slog's `time`.
fn now() -> String {
    let now = jiff::Timestamp::now();
    let text = now.strftime("%Y-%m-%dT%H:%M:%S");
    format!("{text}.{:03}Z", now.subsec_millisecond().max(0))
}

#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, String)>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            // `err` is what upstream calls it; our code writes `error`, the Rust habit.
            "error" => self.others.push(("err", value)),
            name => self.others.push((name, value)),
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_string());
    }
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.put(field, format!("{value:?}"));
    }
}

/// Quotes where a reader of logfmt needs it.
fn push_logfmt(line: &mut String, value: &str) {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && !"\"=\\".contains(c);
    if !value.is_empty() && value.chars().all(plain) {
        line.push_str(value);
    } else {
        let _ = model::name::write_quoted(line, value);
    }
}

fn push_json(line: &mut String, value: &str) {
    line.push_str(&serde_json::Value::from(value).to_string());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logfmt_quotes_what_needs_it() {
        let quoted = |s: &str| {
            let mut line = String::new();
            push_logfmt(&mut line, s);
            line
        };
        assert_eq!(quoted("plain/1.5s"), "plain/1.5s");
        assert_eq!(quoted("two words"), r#""two words""#);
        assert_eq!(quoted("a=b"), r#""a=b""#);
        assert_eq!(quoted(""), r#""""#);
        assert_eq!(quoted("line\nbreak"), r#""line\nbreak""#);
    }

    #[test]
    fn times_have_three_digits_of_milliseconds() {
        let text = now();
        assert_eq!((text.len(), &text[19..20], &text[23..]), (24, ".", "Z"), "{text}");
    }
}
