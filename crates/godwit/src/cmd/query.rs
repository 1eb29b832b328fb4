//! `godwit query`: asks a running server. Commands, flags and output are promtool's; on a terminal `godwit`
//! draws tables and small charts instead, and it cuts a range that is too long for one answer into parts.

mod analyze;
mod answer;
mod chart;
mod explain;
mod text;

use std::io::IsTerminal as _;

use model::float_text::format_f;
use serde_json::Value;

use super::api::{Api, HEADER, HTTP_CONFIG, Params};
use super::flags::{Command, Flag, Found, required, switch, valued};
use super::group::{Failed, Group, OUTPUT, Run, emit};
use super::output::Progress;
pub(in crate::cmd) use answer::Answer;
pub use text::go_json;

/// Steps of one request: Prometheus refuses more than 11,000.
const STEPS_MAX: u64 = 10_000;
/// Points that promtool asks for where no step is given.
const POINTS: f64 = 250.0;
/// Where series and labels are looked for without times: more than a year on both sides.
const ANYWHEN_SECONDS: f64 = 9999.0 * 3600.0;

const FORMAT: Flag = valued(
    "format",
    "promql|json|table",
    "",
    "How to print: promql (as promtool, default where the output is no terminal), json, or table.",
)
.letter('o');
const START: Flag = valued("start", "TIME", "", "First time: RFC 3339, or seconds since 1970.");
const END: Flag = valued("end", "TIME", "", "Last time, likewise.");

const EXPLAIN: Flag = switch(
    "explain",
    None,
    "Draw where the time of the query went instead of its result (a godwit server only).",
);

/// All commands.
pub static GROUP: Group = Group { word: "query", about: "Ask a running server.", commands: COMMANDS };

const COMMANDS: &[(Command, Run)] = &[
    (
        Command {
            path: "instant",
            help: "Evaluate an expression at one time. For example: godwit query instant http://localhost:9090 'up == 0'",
            flags: &[
                valued("time", "TIME", "", "When: RFC 3339, or seconds since 1970; now without."),
                HEADER,
                HTTP_CONFIG,
                FORMAT,
                OUTPUT,
                EXPLAIN,
            ],
            args: &[required("server", "URL of the server."), required("expr", "The expression.")],
        },
        instant,
    ),
    (
        Command {
            path: "range",
            help: "Evaluate an expression at many times. Without times: the last five minutes.",
            flags: &[
                START,
                END,
                valued("step", "DURATION", "", "Time between two points; a 250th of the range without."),
                HEADER,
                HTTP_CONFIG,
                FORMAT,
                OUTPUT,
                EXPLAIN,
            ],
            args: &[required("server", "URL of the server."), required("expr", "The expression.")],
        },
        range,
    ),
    (
        Command {
            path: "series",
            help: "List the series that selectors match.",
            flags: &[
                valued("match", "SELECTOR", "", "Which; can be repeated.").must(),
                START,
                END,
                HTTP_CONFIG,
                FORMAT,
                OUTPUT,
            ],
            args: &[required("server", "URL of the server.")],
        },
        series,
    ),
    (
        Command {
            path: "labels",
            help: "List the values of a label.",
            flags: &[
                valued("match", "SELECTOR", "", "Of these series only; can be repeated."),
                START,
                END,
                HTTP_CONFIG,
                FORMAT,
                OUTPUT,
            ],
            args: &[required("server", "URL of the server."), required("name", "Name of the label.")],
        },
        labels,
    ),
    (
        Command {
            path: "analyze",
            help: "Say how many buckets of histograms are in use.",
            flags: &[
                valued("server", "URL", "", "The server.").must(),
                valued("type", "histogram", "", "What to look at: histogram.").must(),
                valued("duration", "DURATION", "1h", "How far to look back."),
                valued("time", "TIME", "", "From when: RFC 3339, or seconds since 1970; now without."),
                valued("match", "SELECTOR", "", "Which series; can be repeated.").must(),
                HTTP_CONFIG,
            ],
            args: &[],
        },
        analyze::run,
    ),
];

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Promql,
    Json,
    Table,
}

fn form(found: &Found) -> Result<Form, Failed> {
    match (found.text("format"), found.text("output")) {
        ("json", _) | ("", "json") => Ok(Form::Json),
        ("promql", _) => Ok(Form::Promql),
        ("table", _) => Ok(Form::Table),
        ("", "text") if found.program == "godwit" && std::io::stdout().is_terminal() => Ok(Form::Table),
        ("", "text") => Ok(Form::Promql),
        ("", other) => Err(Failed::usage(format!("enum value must be one of text,json, got '{other}'"))),
        (other, _) => {
            Err(Failed::usage(format!("enum value must be one of promql,json,table, got '{other}'")))
        }
    }
}

/// Seconds since 1970, rounded as upstream's client does.
fn seconds(time: jiff::Timestamp) -> f64 {
    time.as_second() as f64 + f64::from(time.subsec_nanosecond()) / 1e9
}

/// Seconds since 1970 now.
fn now() -> f64 {
    seconds(jiff::Timestamp::now())
}

/// A time as promtool takes it, in seconds since 1970.
///
/// # Errors
/// Neither a number nor RFC 3339.
pub fn parse_time(text: &str) -> Result<f64, String> {
    if let Some(seconds) = text.parse::<f64>().ok().filter(|t| t.is_finite()) {
        return Ok(seconds);
    }
    match text.parse::<jiff::Timestamp>() {
        Ok(time) => Ok(seconds(time)),
        Err(_) => Err(format!("cannot parse {text:?} to a valid timestamp")),
    }
}

/// The time of a flag, or another where it is not given.
fn time(found: &Found, flag: &str, what: &str, otherwise: f64) -> Result<f64, Failed> {
    match found.text(flag) {
        "" => Ok(otherwise),
        text => parse_time(text).map_err(|e| Failed::Work(format!("error parsing {what}: {e}"))),
    }
}

fn show(form: Form, answer: &Answer) -> Result<u8, Failed> {
    match form {
        Form::Promql => emit(&format!("{}\n", text::promql(answer))),
        Form::Json => emit(&format!("{}\n", text::json(answer))),
        Form::Table => emit(&chart::draw(answer)),
    }
}

fn explained(form: Form, data: &Value) -> Result<u8, Failed> {
    let Some(tree) = data.get("explain") else {
        return Err(Failed::Work("the server does not explain queries: it is not godwit".into()));
    };
    if form == Form::Json {
        return emit(&format!("{tree}\n"));
    }
    emit(&explain::draw(tree))
}

fn instant(found: &Found) -> Result<u8, Failed> {
    let (form, api) = (form(found)?, Api::new(found, found.arg(0))?);
    let at = format_f(time(found, "time", "evaluation time", now())?);
    let mut params = vec![("query", found.arg(1)), ("time", &at)];
    if found.on("explain") {
        params.push(("explain", "true"));
        return explained(form, &api.ask("/api/v1/query", &params)?);
    }
    let data = api.ask("/api/v1/query", &params)?;
    show(form, &Answer::read(&data).map_err(bad)?)
}

fn bad(e: String) -> Failed {
    Failed::Work(format!("query error: bad_response: {e}"))
}

fn range(found: &Found) -> Result<u8, Failed> {
    let (form, api) = (form(found)?, Api::new(found, found.arg(0))?);
    let end = time(found, "end", "end time", now())?;
    let start = time(found, "start", "start time", end - 300.0)?;
    if start >= end {
        return Err(Failed::Work("start time is not before end time".into()));
    }
    let step = match found.duration("step").map_err(Failed::usage)?.map(|d| d.as_secs_f64()) {
        Some(step) if step > 0.0 => step,
        _ => ((end - start) / POINTS).floor().max(1.0),
    };
    let expr = found.arg(1);
    if found.on("explain") {
        let (from, to, step) = (format_f(start), format_f(end), format_f(step));
        let params: Params<'_> =
            &[("query", expr), ("start", &from), ("end", &to), ("step", &step), ("explain", "true")];
        return explained(form, &api.ask("/api/v1/query_range", params)?);
    }
    // Where an expression speaks of the range itself, a part of the range has another answer.
    let whole = found.program != "godwit" || ["start", "end", "range"].iter().any(|f| expr.contains(f));
    let steps = ((end - start) / step) as u64 + 1;
    let mut progress = Progress::new("query", " steps", steps);
    let (mut first, mut answer) = (0, None::<Answer>);
    while first < steps {
        let last = if whole { steps - 1 } else { (first + STEPS_MAX).min(steps) - 1 };
        let from = format_f(start + first as f64 * step);
        let to = if last + 1 == steps { end } else { start + last as f64 * step };
        let params: Params<'_> =
            &[("query", expr), ("start", &from), ("end", &format_f(to)), ("step", &format_f(step))];
        let part = Answer::read(&api.ask("/api/v1/query_range", params)?).map_err(bad)?;
        answer = Some(match answer {
            None => part,
            Some(before) => before.joined(part),
        });
        progress.add(last + 1 - first);
        first = last + 1;
    }
    drop(progress);
    show(form, &answer.unwrap_or(Answer::Matrix(Vec::new())))
}

/// Parameters of series and labels.
fn within(found: &Found) -> Result<Vec<(&'static str, String)>, Failed> {
    let (anywhen, now) = (ANYWHEN_SECONDS, now());
    let start = time(found, "start", "start time", now - anywhen)?;
    let end = time(found, "end", "end time", now + anywhen)?;
    let mut params = vec![("start", format_f(start)), ("end", format_f(end))];
    params.extend(found.texts("match").into_iter().map(|m| ("match[]", m)));
    Ok(params)
}

fn borrowed<'a>(params: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    params.iter().map(|(k, v)| (*k, v.as_str())).collect()
}

fn series(found: &Found) -> Result<u8, Failed> {
    let (form, api) = (form(found)?, Api::new(found, found.arg(0))?);
    let data = api.ask("/api/v1/series", &borrowed(&within(found)?))?;
    let sets: Vec<answer::LabelSet> = serde_json::from_value(data).map_err(|e| bad(e.to_string()))?;
    if form == Form::Json {
        return emit(&format!("{}\n", go_json(&serde_json::json!(sets).to_string())));
    }
    emit(&sets.iter().map(|set| text::label_set(set) + "\n").collect::<String>())
}

fn labels(found: &Found) -> Result<u8, Failed> {
    let (form, api) = (form(found)?, Api::new(found, found.arg(0))?);
    let name: String = url::form_urlencoded::byte_serialize(found.arg(1).as_bytes()).collect();
    let path = format!("/api/v1/label/{}/values", name.replace('+', "%20"));
    let data = api.get(&path, &borrowed(&within(found)?))?;
    if form == Form::Json {
        return emit(&format!("{}\n", go_json(&data.to_string())));
    }
    let values = data.as_array().map(Vec::as_slice).unwrap_or_default();
    emit(&values.iter().filter_map(Value::as_str).map(|v| format!("{v}\n")).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_as_promtool_takes_them() {
        for (text, want) in [
            ("1700000000.5", Some(1_700_000_000.5)),
            ("1e9", Some(1e9)),
            ("2024-01-02T03:04:05.25Z", Some(1_704_164_645.25)),
            ("2024-01-02T03:04:05+01:00", Some(1_704_161_045.0)),
            ("yesterday", None),
            ("NaN", None),
        ] {
            assert_eq!(parse_time(text).ok(), want, "{text}");
        }
    }
}
