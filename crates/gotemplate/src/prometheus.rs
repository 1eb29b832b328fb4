//! The functions that Prometheus adds (upstream: `template/template.go`), and alert templates.

use std::sync::Arc;

use model::float_text::{format_g, format_g_precision, parse_float};

use crate::ast::Template;
use crate::builtins::url_query;
use crate::exec::{Functions, OUTPUT_BYTES_MAX, Signature, Type, execute};
use crate::format;
use crate::humanize;
use crate::names;
use crate::value::{Map, Record, Sample, VALUE_DEPTH_MAX, Value};

/// What templates need from outside.
pub trait Query {
    /// Runs an expression at the time of the template.
    ///
    /// # Errors
    /// Why it failed; it becomes part of the template's error.
    fn query(&self, expression: &str) -> Result<Vec<Sample>, String>;
}

/// The functions, with what they refer to.
pub struct Prometheus<'a> {
    /// Runs PromQL.
    pub query: &'a dyn Query,
    /// What `now` gives, in milliseconds since 1970.
    pub now_ms: i64,
    /// What `externalURL` gives.
    pub external_url: &'a str,
    /// What `pathPrefix` gives: the path of the external URL.
    pub path_prefix: &'a str,
}

/// What an alert's template begins with upstream: errors count their columns from there.
const ALERT_VARIABLES: &str = "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}\
    {{$externalURL := .ExternalURL}}{{$value := .Value}}";

/// Data of an alert's template; `labels` and `external_labels` as maps of strings.
#[must_use]
pub fn alert_data(labels: Value, external_labels: Value, external_url: &str, value: Value) -> Value {
    Value::Record(Arc::new(Record {
        type_name: "struct { Labels map[string]string; ExternalLabels map[string]string; ExternalURL string; Value interface {} }",
        fields: vec![
            ("Labels", false, labels),
            ("ExternalLabels", false, external_labels),
            ("ExternalURL", false, Value::text(external_url)),
            ("Value", true, value),
        ],
    }))
}

/// Expands a template of an alert, with `$labels`, `$externalLabels`, `$externalURL` and `$value`. `name` is
/// upstream's: `__alert_` and the alert's name.
///
/// # Errors
/// Upstream's text, which it shows within `<error expanding template: …>`.
pub fn expand_alert(
    text: &str,
    name: &str,
    data: &Value,
    functions: &dyn Functions,
) -> Result<String, String> {
    expand(&format!("{ALERT_VARIABLES}{text}"), name, data, functions)
}

/// A label or annotation of an alert, parsed once for all its alerts.
#[derive(Clone, Debug)]
pub struct AlertTemplate {
    name: String,
    /// Without actions the text is its own result.
    plain: Option<String>,
    parsed: Result<Template, String>,
}

impl AlertTemplate {
    /// Parses a text; what is wrong with it is said when it is expanded. `name` as in [`expand_alert`].
    #[must_use]
    pub fn new(text: &str, name: &str) -> Self {
        let plain = (!text.contains("{{")).then(|| text.to_string());
        // Consoles alone have this one.
        let known = |function: &str| function != "tmpl" && crate::is_known(function);
        let whole = if plain.is_some() { String::new() } else { format!("{ALERT_VARIABLES}{text}") };
        let parsed = crate::parse(&whole, &[], known)
            .map_err(|e| format!("error parsing template {name}: {}", e.in_template(name)));
        AlertTemplate { name: name.to_string(), plain, parsed }
    }

    /// As [`expand_alert`].
    ///
    /// # Errors
    /// As [`expand_alert`].
    pub fn expand(&self, data: &Value, functions: &dyn Functions) -> Result<String, String> {
        if let Some(plain) = &self.plain {
            return Ok(plain.clone());
        }
        let template = self.parsed.as_ref().map_err(String::clone)?;
        execute(template, &self.name, data, functions)
            .map_err(|e| format!("error executing template {}: {e}", self.name))
    }
}

/// Where an expression's result can be looked at, below the external URL (upstream: `TableLinkForExpression`).
#[must_use]
pub fn table_link(expression: &str) -> String {
    format!("/graph?g0.expr={}&g0.tab=1", url_query(expression))
}

/// Expands a template.
///
/// # Errors
/// `error parsing template …` or `error executing template …`.
pub fn expand(text: &str, name: &str, data: &Value, functions: &dyn Functions) -> Result<String, String> {
    let known = |f: &str| crate::builtins::signature(f).is_some() || functions.signature(f).is_some();
    let template = crate::parse(text, &[], known)
        .map_err(|e| format!("error parsing template {name}: {}", e.in_template(name)))?;
    execute(&template, name, data, functions).map_err(|e| format!("error executing template {name}: {e}"))
}

impl Functions for Prometheus<'_> {
    fn signature(&self, name: &str) -> Option<Signature> {
        let (fixed, variadic): (&'static [Type], _) = match name {
            "query" | "safeHtml" | "title" | "toUpper" | "toLower" | "graphLink" | "tableLink"
            | "stripPort" | "stripDomain" | "parseDuration" | "urlQueryEscape" => (&[Type::Text], None),
            "first" => (&[Type::Samples], None),
            "label" => (&[Type::Text, Type::Sample], None),
            "value" | "strvalue" => (&[Type::Sample], None),
            "args" => (&[], Some(Type::Any)),
            "reReplaceAll" => (&[Type::Text, Type::Text, Type::Text], None),
            "match" => (&[Type::Text, Type::Text], None),
            "sortByLabel" => (&[Type::Text, Type::Samples], None),
            "humanize" | "humanize1024" | "humanizeDuration" | "humanizePercentage" | "humanizeTimestamp"
            | "toTime" | "toDuration" => (&[Type::Any], None),
            "now" | "pathPrefix" | "externalURL" => (&[], None),
            _ => return None,
        };
        Some(Signature { fixed, variadic })
    }

    fn call(&self, name: &str, args: Vec<Value>) -> Result<Value, String> {
        let text = |i: usize| match args.get(i) {
            Some(Value::Text(text)) => &**text,
            _ => "",
        };
        let first = args.first().unwrap_or(&Value::Nil);
        let done = |text: String| Ok(Value::text(&text));
        match name {
            "query" => {
                let samples = self.query.query(text(0))?;
                Ok(Value::Samples(samples.into_iter().map(Arc::new).collect()))
            }
            "first" => match first {
                Value::Samples(samples) => match samples.first() {
                    Some(sample) => Ok(Value::Sample(Some(Arc::clone(sample)))),
                    None => Err("first() called on vector with no elements".into()),
                },
                _ => Ok(Value::Nil),
            },
            "label" => Ok(label(pointed(args.get(1))?, text(0))),
            "value" => Ok(pointed(args.first())?.value.clone()),
            "strvalue" => Ok(label(pointed(args.first())?, "__value__")),
            "args" => named_args(args),
            "reReplaceAll" => done(replace_all(text(0), text(1), text(2))?),
            "match" => {
                let regex = goregex::Regex::new(text(0)).map_err(|e| e.to_string())?;
                Ok(Value::Bool(regex.is_match(text(1))))
            }
            "safeHtml" => Ok(Value::Html(text(0).into())),
            "title" => done(names::title(text(0))),
            "toUpper" => done(goregex::unicode::to_upper(text(0))),
            "toLower" => done(goregex::unicode::to_lower(text(0))),
            "graphLink" => done(format!("/graph?g0.expr={}&g0.tab=0", url_query(text(0)))),
            "tableLink" => done(table_link(text(0))),
            "sortByLabel" => Ok(sort_by_label(text(0), args.get(1))),
            "stripPort" => done(names::strip_port(text(0))),
            "stripDomain" => done(names::strip_domain(text(0))),
            "humanize" => done(humanize::plain(to_float(first)?)),
            "humanize1024" => done(humanize::binary(to_float(first)?)),
            "humanizeDuration" => done(humanize::duration(to_float(first)?)),
            "humanizePercentage" => done(format!("{}%", humanize::g4(to_float(first)? * 100.0))),
            "humanizeTimestamp" => {
                let v = to_float(first)?;
                if !v.is_finite() {
                    return done(format_g_precision(v, 4));
                }
                done(crate::gotime::show(to_ns(v)?))
            }
            "toTime" => {
                let v = to_float(first)?;
                if !v.is_finite() {
                    return Err("value is NaN or Inf".into());
                }
                Ok(Value::Time { ns: to_ns(v)?, pointer: true })
            }
            "toDuration" => {
                let ns = to_float(first)? * 1e9;
                // Beyond what 63 bits hold amd64 gives the smallest integer.
                let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&ns);
                Ok(Value::Duration { ns: if fits { ns as i64 } else { i64::MIN }, pointer: true })
            }
            "now" => Ok(Value::Float(self.now_ms as f64 / 1000.0)),
            "pathPrefix" => Ok(Value::text(self.path_prefix)),
            "externalURL" => Ok(Value::text(self.external_url)),
            "parseDuration" => {
                let body = text(0).strip_prefix('-');
                let parsed = model::duration::parse(body.unwrap_or(text(0))).map_err(|e| e.to_string())?;
                let seconds = parsed.as_nanos() as f64 / 1e9;
                Ok(Value::Float(if body.is_some() && seconds != 0.0 { -seconds } else { seconds }))
            }
            "urlQueryEscape" => done(url_query(text(0))),
            _ => Err(format!("no function {name}")),
        }
    }
}

fn pointed(arg: Option<&Value>) -> Result<&Sample, String> {
    match arg {
        Some(Value::Sample(Some(sample))) => Ok(sample),
        _ => Err("runtime error: invalid memory address or nil pointer dereference".into()),
    }
}

fn label(sample: &Sample, name: &str) -> Value {
    let Value::Map(labels) = &sample.labels else { return Value::text("") };
    labels.entries.get(name).cloned().unwrap_or_else(|| Value::text(""))
}

fn named_args(args: Vec<Value>) -> Result<Value, String> {
    if args.iter().any(|a| a.depth() >= VALUE_DEPTH_MAX) {
        return Err(format!("more than {VALUE_DEPTH_MAX} maps within one another"));
    }
    let depth = 1 + args.iter().map(Value::depth).max().unwrap_or(0);
    let entries = args.into_iter().enumerate().map(|(i, a)| (format!("arg{i}"), a)).collect();
    Ok(Value::Map(Arc::new(Map { depth, any: true, entries })))
}

/// Not in place as upstream, whose variable that was given is sorted too.
fn sort_by_label(name: &str, samples: Option<&Value>) -> Value {
    let Some(Value::Samples(samples)) = samples else { return Value::Nil };
    let mut sorted: Vec<_> = samples.to_vec();
    let key = |s: &Sample| match label(s, name) {
        Value::Text(text) => text,
        _ => "".into(),
    };
    sorted.sort_by_cached_key(|s| key(s));
    Value::Samples(sorted.into())
}

fn replace_all(pattern: &str, template: &str, text: &str) -> Result<String, String> {
    let regex = goregex::Regex::new(pattern).map_err(|e| {
        let quoted = match format::can_backquote(pattern) {
            true => format!("`{pattern}`"),
            false => model::name::Quoted(pattern).to_string(),
        };
        format!("regexp: Compile({quoted}): {e}")
    })?;
    // Each place may be replaced by the template, and each of its references by all that matched.
    let references = template.matches('$').count();
    let most = (text.len() + 1).saturating_mul(template.len()).saturating_add(references * text.len());
    if most > 16 * OUTPUT_BYTES_MAX {
        return Err(format!(
            "replacing in {} bytes by {} bytes may be too large",
            text.len(),
            template.len()
        ));
    }
    Ok(regex.replace_all(text, template))
}

/// What the number functions take.
fn to_float(v: &Value) -> Result<f64, String> {
    match v {
        Value::Float(v) => Ok(*v),
        Value::Int(n) => Ok(*n as f64),
        Value::Uint(n) => Ok(*n as f64),
        Value::Duration { ns, pointer: false } => {
            Ok((ns / 1_000_000_000) as f64 + (ns % 1_000_000_000) as f64 / 1e9)
        }
        Value::Text(text) => parse_float(text)
            .map_err(|e| format!("strconv.ParseFloat: parsing {}: {e}", model::name::Quoted(text))),
        other => Err(format!("can't convert {} to float", other.type_name())),
    }
}

/// Seconds to nanoseconds; upstream's times have milliseconds.
fn to_ns(v: f64) -> Result<i128, String> {
    let ns = v * 1e9;
    if !(-9_223_372_036_854_775_808.0..=9_223_372_036_854_775_807.0).contains(&ns) {
        let v = format_g(v);
        return Err(format!("{v} cannot be represented as a nanoseconds timestamp since it overflows int64"));
    }
    Ok(i128::from(ns as i64 / 1_000_000) * 1_000_000)
}
