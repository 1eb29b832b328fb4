//! `tsdb dump` and `tsdb dump-openmetrics`: every sample of a folder as text. The folder may be in use.

use std::collections::HashSet;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use model::{HistogramValue, Labels};
use serde_json::{Map, Value, json};
use storage::{QueryContext, Queryable as _, SampleBuf, SelectHints, Series};
use tsdb::ReadOnlyDb;

use super::Failed;
use super::list::open_blocks;
use super::output::Progress;
use crate::cmd::flags::Found;

/// Bytes of output collected before they are written.
const BUFFER_BYTES: usize = 256 << 10;

/// How a series is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Prom,
    SeriesJson,
    Json,
    OpenMetrics,
}

fn float(v: f64) -> String {
    model::float_text::format_g(v)
}

fn histogram(h: &HistogramValue) -> String {
    match h {
        HistogramValue::Int(h) => h.to_string(),
        HistogramValue::Float(h) => h.to_string(),
    }
}

/// `{a="1",b="2"}` without spaces.
fn condensed(labels: &Labels) -> String {
    let pairs = labels.iter().filter(|(n, _)| *n != "__name__");
    let pairs: Vec<String> = pairs.map(|(n, v)| format!("{n}={}", model::name::Quoted(v))).collect();
    format!("{{{}}}", pairs.join(","))
}

/// A JSON object of labels, escaped as Go does it for web pages.
fn series_json(labels: &Labels) -> String {
    let map: Map<String, Value> = labels.iter().map(|(n, v)| (n.to_string(), v.into())).collect();
    let text = Value::Object(map).to_string();
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => out += &format!("\\u{:04x}", c as u32),
            c => out.push(c),
        }
    }
    out
}

fn print(out: &mut impl Write, form: Form, series: &dyn Series, samples: &SampleBuf) -> std::io::Result<()> {
    let labels = series.labels();
    let mut histograms = samples.histograms.iter().peekable();
    let mut each = |i: usize| histograms.next_if(|(at, _)| *at as usize == i).map(|(_, h)| h);
    let all = samples.times.iter().zip(&samples.values).enumerate();
    match form {
        Form::Prom => {
            let name = labels.to_string();
            for (i, (t, v)) in all {
                let value = each(i).map_or_else(|| float(*v), histogram);
                writeln!(out, "{name} {value} {t}")?;
            }
        }
        Form::OpenMetrics => {
            let name = format!("{}{}", labels.get("__name__"), condensed(labels));
            for (i, (t, v)) in all {
                if each(i).is_none() {
                    writeln!(out, "{name} {} {:.3}", float(*v), *t as f64 / 1000.0)?;
                }
            }
        }
        Form::SeriesJson => writeln!(out, "{}", series_json(labels))?,
        Form::Json => {
            let (mut values, mut hs) = (Vec::new(), Vec::new());
            for (i, (t, v)) in all {
                match each(i) {
                    None => values.push(json!([t, float(*v)])),
                    Some(h) => hs.push(json!([t, histogram(h)])),
                }
            }
            let metric: Map<String, Value> = labels.iter().map(|(n, v)| (n.to_string(), v.into())).collect();
            let mut line = json!({"metric": metric, "values": values});
            if let (false, Some(fields)) = (hs.is_empty(), line.as_object_mut()) {
                fields.insert("histograms".to_string(), hs.into());
            }
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

pub(super) fn run(found: &Found, openmetrics: bool) -> Result<u8, Failed> {
    let form = match (openmetrics, found.text("format"), found.text("output")) {
        (true, ..) => Form::OpenMetrics,
        (_, "json", _) | (_, _, "json") => Form::Json,
        (_, "prom", _) => Form::Prom,
        (_, "seriesjson", _) => Form::SeriesJson,
        (_, other, _) => {
            return Err(Failed::usage(format!(
                "enum value must be one of prom,seriesjson,json, got '{other}'"
            )));
        }
    };
    let (mint, maxt) = (found.integer("min-time"), found.integer("max-time"));
    let (mint, maxt) = (mint.map_err(Failed::usage)?, maxt.map_err(Failed::usage)?);
    let path = Path::new(found.arg(0));
    // A folder whose blocks are broken is refused whole, as promtool does: half a dump looks like a whole one.
    drop(open_blocks(path)?);
    let mut matchers = Vec::new();
    for text in found.texts("match") {
        matchers.push(promql::parse_selector(&text).map_err(|e| Failed::Work(e.to_string()))?);
    }
    let sandbox = Some(found.text("sandbox-dir-root")).filter(|s| !s.is_empty()).map(Path::new);
    let folder = ReadOnlyDb::open(path, sandbox)?;
    let querier = folder.db().querier(mint, maxt)?;
    let (ctx, mut series) = (QueryContext::unlimited(), Vec::<Arc<dyn Series>>::new());
    let sorted = matchers.len() > 1;
    for set in &matchers {
        let found = querier.select(&ctx, sorted, &SelectHints::default(), set)?;
        if let Some(warning) = found.warnings.first() {
            return Err(Failed::Work(warning.clone()));
        }
        series.extend(found.series);
    }
    if sorted {
        // The same series by two selectors is one.
        series.sort_by(|a, b| a.labels().cmp(b.labels()));
        series.dedup_by(|a, b| a.labels() == b.labels());
    }
    let mut bar = Progress::new("series", "series", series.len() as u64);
    let mut out = BufWriter::with_capacity(BUFFER_BYTES, std::io::stdout().lock());
    let (mut samples, mut shown) = (SampleBuf::default(), HashSet::new());
    for one in &series {
        samples.clear();
        if form == Form::SeriesJson {
            if !shown.insert(one.labels().clone()) {
                continue;
            }
        } else {
            one.read(mint, maxt, &mut samples)?;
        }
        print(&mut out, form, &**one, &samples)?;
        bar.add(1);
    }
    if form == Form::OpenMetrics {
        writeln!(out, "# EOF")?;
    }
    out.flush()?;
    Ok(0)
}
