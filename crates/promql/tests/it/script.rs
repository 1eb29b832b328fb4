//! Upstream's language of query test scripts: load, clear, eval, expect.

use std::collections::BTreeMap;
use std::sync::Arc;

use goregex::Regex;
use model::{CounterResetHint, FloatHistogram, HistogramValue, Labels, Span};
use promql::parse::{SequenceValue, parse_series};
use promql::{
    Engine, EngineOptions, MatrixSeries, ParserOptions, QueryError, QueryOptions, QueryOutput, SampleValue,
    Value, VectorSample,
};
use storage::memory::MemoryStore;
use storage::{Appendable, CancelToken, SeriesRef};

/// Relative error allowed, upstream's.
const EPSILON: f64 = 0.000_001;

/// What a script did.
#[derive(Default)]
pub(crate) struct Outcome {
    pub(crate) passed: usize,
    pub(crate) failed: Vec<String>,
}

enum Expect {
    Any,
    Text(String),
    Pattern(String),
}

impl Expect {
    fn matches(&self, text: &str) -> bool {
        match self {
            Expect::Any => true,
            Expect::Text(t) => t == text,
            Expect::Pattern(p) => Regex::new(p).unwrap().is_match(text),
        }
    }

    /// Scripts before 3.15 have annotations without the place in the query and what depends on data.
    fn matches_note(&self, text: &str) -> bool {
        let bare = text.rsplit_once(" (").map_or(text, |(t, _)| t);
        let bare = bare.split_once(", from buckets").map_or(bare, |(t, _)| t);
        self.matches(text) || self.matches(bare)
    }
}

/// The counter reset hint with which upstream's store gives a histogram back: it compares with the sample
/// before and forgets what the sample said, unless that was "reset" or "gauge".
fn stored_hint(previous: Option<&FloatHistogram>, h: &FloatHistogram) -> CounterResetHint {
    use CounterResetHint::{Gauge, NotReset, Reset, Unknown};
    if h.reset_hint == Gauge {
        return Gauge;
    }
    if h.reset_hint == Reset {
        return Reset;
    }
    let Some(p) = previous.filter(|p| !model::is_stale_nan(p.sum) && p.reset_hint != Gauge) else {
        return Unknown;
    };
    if h.schema != p.schema || h.zero_threshold != p.zero_threshold || h.custom_values != p.custom_values {
        return Unknown;
    }
    // A reset that the store finds itself comes back as unknown (prometheus/prometheus#15346).
    let unknown = FloatHistogram { reset_hint: Unknown, ..h.clone() };
    if unknown.detect_reset(p) { Unknown } else { NotReset }
}

#[derive(Default)]
struct Eval {
    line: usize,
    query: String,
    range: Option<(i64, i64, i64)>,
    at: i64,
    fail: Vec<Expect>,
    warn: Vec<Expect>,
    info: Vec<Expect>,
    no_warn: bool,
    no_info: bool,
    ordered: bool,
    text: Option<String>,
    scalar: Option<f64>,
    /// (labels, values), in order.
    series: Vec<(Labels, Vec<SequenceValue>)>,
    /// Times of the values: start, step.
    times: (i64, i64),
    not_in_range_mode: bool,
}

fn ms(text: &str) -> i64 {
    i64::try_from(model::duration::parse(text).unwrap().as_millis()).unwrap()
}

pub(crate) fn engine() -> Engine {
    let options = EngineOptions {
        max_samples: 10_000,
        parser: ParserOptions::all(),
        delayed_name_removal: true,
        use_start_timestamps: true,
        threads: 2,
        ..EngineOptions::default()
    };
    Engine::new(options, &telemetry::Registry::new())
}

/// Runs a script; each eval passes or fails for itself.
pub(crate) fn run(script: &str, engine: &Engine) -> Outcome {
    let mut outcome = Outcome::default();
    let mut store = MemoryStore::new();
    let lines: Vec<&str> =
        script.lines().map(|l| l.trim()).map(|l| if l.starts_with('#') { "" } else { l }).collect();
    let mut i = 0;
    while i < lines.len() {
        let line = lines[i];
        let word = line.split_whitespace().next().unwrap_or_default();
        let block = |i: usize| lines[i + 1..].iter().take_while(|l| !l.is_empty()).count();
        if line == "clear" {
            store = MemoryStore::new();
            i += 1;
        } else if word.starts_with("load") {
            let n = block(i);
            load(&store, line, &lines[i + 1..=i + n]);
            i += n + 1;
        } else if word.starts_with("eval") {
            let (eval, used) = parse_eval(&lines, i);
            match check(&eval, &store, engine) {
                Ok(()) => outcome.passed += 1,
                Err(e) => outcome.failed.push(format!("line {}: {}\n      {e}", eval.line, eval.query)),
            }
            i += used;
        } else {
            assert!(line.is_empty(), "line {}: unknown command {line}", i + 1);
            i += 1;
        }
    }
    outcome
}

fn starts(text: &str) -> Vec<Option<i64>> {
    let duration = |s: &str| -> (i64, usize) {
        let sign = usize::from(s.starts_with(['-', '+']));
        let mut n =
            sign + s[sign..].bytes().take_while(|b| b.is_ascii_digit() || b"smhdwy".contains(b)).count();
        // `x` ends the duration, and so does a sign.
        if let Some(x) = s[sign..n].find('x') {
            n = sign + x;
        }
        let v = ms(&s[sign..n]);
        (if s.starts_with('-') { -v } else { v }, n)
    };
    let mut out = Vec::new();
    for item in text.split_whitespace() {
        if let Some(rest) = item.strip_prefix('_') {
            let n = rest.strip_prefix('x').map_or(1, |n| n.parse().unwrap());
            out.extend(std::iter::repeat_n(None, n));
            continue;
        }
        let (base, n) = duration(item);
        let rest = &item[n..];
        if rest.is_empty() {
            out.push(Some(base));
        } else if let Some(count) = rest.strip_prefix('x') {
            out.extend(std::iter::repeat_n(Some(base), count.parse::<usize>().unwrap() + 1));
        } else {
            let (delta, n) = duration(rest);
            let count: i64 = rest[n..].strip_prefix('x').unwrap().parse().unwrap();
            out.extend((0..=count).map(|i| Some(base + i * delta)));
        }
    }
    out
}

fn load(store: &MemoryStore, head: &str, lines: &[&str]) {
    let (word, step) = head.split_once(char::is_whitespace).unwrap();
    let step = ms(step.trim());
    let mut pending: Vec<Option<i64>> = Vec::new();
    let mut all: Vec<(Labels, Vec<SequenceValue>)> = Vec::new();
    for line in lines {
        if let Some((metric, values)) = line.split_once(char::is_whitespace)
            && metric.ends_with("@st")
        {
            pending = starts(values);
            continue;
        }
        let (labels, values) = parse_series(line).unwrap_or_else(|e| panic!("{line}: {e}"));
        let mut app = store.appender();
        let mut previous: Option<Arc<FloatHistogram>> = None;
        for (i, value) in values.iter().enumerate() {
            let t = step * i as i64;
            let start = pending.get(i).copied().flatten().map_or(0, |offset| t + offset);
            match value {
                SequenceValue::Omitted => {}
                SequenceValue::Float(v) => {
                    let _ = app.append(SeriesRef::NONE, &labels, start, t, *v).unwrap();
                }
                SequenceValue::Histogram(h, _) => {
                    let mut h = FloatHistogram::clone(h);
                    h.reset_hint = stored_hint(previous.as_deref(), &h);
                    let h = Arc::new(h);
                    previous = Some(Arc::clone(&h));
                    let h = HistogramValue::Float(h);
                    let _ = app.append_histogram(SeriesRef::NONE, &labels, start, t, &h).unwrap();
                }
            }
        }
        app.commit().unwrap();
        pending.clear();
        all.push((labels, values));
    }
    if word == "load_with_nhcb" {
        load_converted(store, step, &all);
    }
}

#[derive(Default)]
struct Classic {
    buckets: Vec<(f64, f64)>,
    count: Option<f64>,
    sum: f64,
}

fn load_converted(store: &MemoryStore, step: i64, all: &[(Labels, Vec<SequenceValue>)]) {
    let mut found: BTreeMap<Labels, BTreeMap<i64, Classic>> = BTreeMap::new();
    for (labels, values) in all {
        let name = labels.metric_name();
        let Some((base, suffix)) =
            ["_bucket", "_count", "_sum"].iter().find_map(|s| name.strip_suffix(s).map(|b| (b, *s)))
        else {
            continue;
        };
        let le = labels.get("le").parse::<f64>();
        if suffix == "_bucket" && le.as_ref().map_or(true, |v| v.is_nan()) {
            continue;
        }
        let mut builder = labels.to_builder();
        builder.set("__name__", base).del("le");
        let target = found.entry(builder.build()).or_default();
        for (i, v) in values.iter().enumerate() {
            let SequenceValue::Float(v) = v else { continue };
            let classic = target.entry(step * i as i64).or_default();
            match suffix {
                "_bucket" => classic.buckets.push((*le.as_ref().unwrap(), *v)),
                "_count" => classic.count = Some(*v),
                _ => classic.sum = *v,
            }
        }
    }
    for (labels, samples) in found {
        let mut app = store.appender();
        let mut previous_converted: Option<Arc<FloatHistogram>> = None;
        for (t, mut c) in samples {
            c.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            c.buckets.dedup_by(|b, a| a.0 == b.0);
            let count = c.count.or(c.buckets.last().map(|b| b.1)).unwrap_or(0.0);
            if c.buckets.last().is_none_or(|b| b.0 != f64::INFINITY) {
                c.buckets.push((f64::INFINITY, count));
            }
            let mut previous = 0.0;
            let positive_buckets: Vec<f64> =
                c.buckets.iter().map(|(_, v)| v - std::mem::replace(&mut previous, *v)).collect();
            let custom: Vec<f64> = c.buckets.iter().map(|b| b.0).filter(|b| b.is_finite()).collect();
            let mut h = FloatHistogram {
                schema: -53,
                count,
                sum: c.sum,
                positive_spans: vec![Span { offset: 0, length: positive_buckets.len() as u32 }],
                positive_buckets,
                custom_values: Arc::from(custom),
                ..FloatHistogram::default()
            };
            h.compact();
            h.reset_hint = stored_hint(previous_converted.as_deref(), &h);
            let h = Arc::new(h);
            previous_converted = Some(Arc::clone(&h));
            let h = HistogramValue::Float(h);
            let _ = app.append_histogram(SeriesRef::NONE, &labels, 0, t, &h).unwrap();
        }
        app.commit().unwrap();
    }
}

fn parse_eval(lines: &[&str], at: usize) -> (Eval, usize) {
    let mut eval = Eval { line: at + 1, ..Eval::default() };
    let (command, rest) = lines[at].split_once(char::is_whitespace).unwrap();
    match command {
        "eval_fail" => eval.fail.push(Expect::Any),
        "eval_warn" => eval.warn.push(Expect::Any),
        "eval_info" => eval.info.push(Expect::Any),
        "eval_ordered" => eval.ordered = true,
        _ => {}
    }
    let rest = rest.trim_start();
    let word = |s: &str| -> (String, String) {
        let s = s.trim_start();
        let (a, b) = s.split_once(char::is_whitespace).unwrap_or((s, ""));
        (a.to_string(), b.trim_start().to_string())
    };
    let (kind, rest) = word(rest);
    if kind == "instant" {
        let (at_word, after) = word(&rest);
        if at_word == "at" {
            let (t, query) = word(&after);
            eval.at = ms(&t);
            eval.query = query;
        } else {
            eval.query = rest;
        }
        eval.times = (eval.at, 1);
    } else {
        let (_, rest) = word(&rest);
        let (from, rest) = word(&rest);
        let (_, rest) = word(&rest);
        let (to, rest) = word(&rest);
        let (_, rest) = word(&rest);
        let (step, query) = word(&rest);
        eval.range = Some((ms(&from), ms(&to), ms(&step)));
        eval.times = (ms(&from), ms(&step));
        eval.query = query;
    }
    let mut used = 1;
    for line in lines[at + 1..].iter().take_while(|l| !l.is_empty()) {
        used += 1;
        if let Some(range) = line.strip_prefix("expect range vector") {
            let words: Vec<&str> = range.split_whitespace().collect();
            eval.times = (ms(words[1]), ms(words[5]));
            eval.not_in_range_mode = true;
        } else if let Some(text) = line.strip_prefix("expect string") {
            let text = text.trim();
            eval.text = Some(match promql::parse(text, ParserOptions::all()).unwrap() {
                promql::Expr::String(s) => s.value,
                other => panic!("{other}"),
            });
        } else if line.starts_with("expect ") || *line == "expect" {
            let words: Vec<&str> = line.splitn(3, ' ').collect();
            let expect = match words.get(2).map(|m| m.trim()) {
                None => Expect::Any,
                Some(m) => match m.split_once(':') {
                    Some(("msg", text)) => Expect::Text(text.trim().to_string()),
                    Some(("regex", text)) => Expect::Pattern(text.trim().to_string()),
                    _ => panic!("line {}: {line}", at + used),
                },
            };
            match words[1] {
                "fail" => eval.fail.push(expect),
                "warn" => eval.warn.push(expect),
                "info" => eval.info.push(expect),
                "no_warn" => eval.no_warn = true,
                "no_info" => eval.no_info = true,
                "ordered" => eval.ordered = true,
                other => panic!("line {}: {other}", at + used),
            }
        } else if let Some(text) = line.strip_prefix("expected_fail_message") {
            eval.fail = vec![Expect::Text(text.trim().to_string())];
        } else if let Some(text) = line.strip_prefix("expected_fail_regexp") {
            eval.fail = vec![Expect::Pattern(text.trim().to_string())];
        } else if let Ok(v) = parse_scalar(line) {
            eval.scalar = Some(v);
        } else {
            eval.series
                .push(parse_series(line).unwrap_or_else(|e| panic!("line {}: {line}: {e}", at + used)));
        }
    }
    (eval, used)
}

fn parse_scalar(line: &str) -> Result<f64, ()> {
    let wrapped = format!("m {line}");
    match parse_series(&wrapped) {
        Ok((_, values)) if values.len() == 1 && !line.contains([' ', '{', '_', 'x']) => match values[0] {
            SequenceValue::Float(v) => Ok(v),
            _ => Err(()),
        },
        _ => Err(()),
    }
}

fn almost(a: f64, b: f64) -> bool {
    if model::is_stale_nan(a) || model::is_stale_nan(b) {
        return model::is_stale_nan(a) && model::is_stale_nan(b);
    }
    if (a.is_nan() && b.is_nan()) || a == b {
        return true;
    }
    let (sum, difference) = (a.abs() + b.abs(), (a - b).abs());
    if a == 0.0 || b == 0.0 || sum < f64::MIN_POSITIVE {
        return difference < EPSILON * f64::MIN_POSITIVE;
    }
    difference / sum.min(f64::MAX) < EPSILON
}

fn same_histogram(want: &FloatHistogram, got: &FloatHistogram, hint: bool) -> bool {
    let (mut want, mut got) = (want.clone(), got.clone());
    want.compact();
    got.compact();
    let all = |a: &[f64], b: &[f64]| a.len() == b.len() && a.iter().zip(b).all(|(x, y)| almost(*x, *y));
    want.schema == got.schema
        && almost(want.count, got.count)
        && almost(want.sum, got.sum)
        && (want.schema != -53 || want.custom_values == got.custom_values)
        && want.zero_threshold == got.zero_threshold
        && almost(want.zero_count, got.zero_count)
        && want.positive_spans == got.positive_spans
        && want.negative_spans == got.negative_spans
        && all(&want.positive_buckets, &got.positive_buckets)
        && all(&want.negative_buckets, &got.negative_buckets)
        && (!hint || want.reset_hint == got.reset_hint)
}

fn show_histogram(h: &FloatHistogram) -> String {
    let hint = match h.reset_hint {
        CounterResetHint::Unknown => "unknown",
        CounterResetHint::Reset => "reset",
        CounterResetHint::NotReset => "not_reset",
        CounterResetHint::Gauge => "gauge",
    };
    format!(
        "{{{{schema:{} sum:{} count:{} z:{} zw:{} custom:{:?} {:?} {:?} n {:?} {:?} {hint}}}}}",
        h.schema,
        h.sum,
        h.count,
        h.zero_count,
        h.zero_threshold,
        h.custom_values,
        h.positive_spans,
        h.positive_buckets,
        h.negative_spans,
        h.negative_buckets
    )
}

fn check(eval: &Eval, store: &MemoryStore, engine: &Engine) -> Result<(), String> {
    let result = match eval.range {
        Some((start, end, step)) => engine.range(
            store,
            &eval.query,
            start,
            end,
            step,
            &QueryOptions::default(),
            CancelToken::default(),
        ),
        None => engine.instant(store, &eval.query, eval.at, &QueryOptions::default(), CancelToken::default()),
    };
    check_result(eval, result)?;
    let dynamic = ["range(", "step(", "start(", "end("].iter().any(|f| eval.query.contains(f));
    if eval.range.is_some()
        || !eval.fail.is_empty()
        || eval.not_in_range_mode
        || eval.text.is_some()
        || dynamic
        || eval.ordered
    {
        return Ok(());
    }
    // The same in the middle of a range.
    let minute = 60_000;
    let (start, end) = (eval.at - minute, eval.at + minute);
    let output = engine
        .range(store, &eval.query, start, end, minute, &QueryOptions::default(), CancelToken::default())
        .map_err(|e| format!("range mode: {e}"))?;
    let Value::Matrix(series) = output.value else { return Err("range mode: no matrix".to_string()) };
    let samples: Vec<VectorSample> = series
        .into_iter()
        .filter_map(|s| {
            let float = s.floats.iter().find(|(t, _)| *t == eval.at).map(|(_, v)| SampleValue::Float(*v));
            let hist = s.histograms.iter().find(|(t, _)| *t == eval.at);
            let value = float.or(hist.map(|(_, h)| SampleValue::Histogram(Arc::clone(h))))?;
            Some(VectorSample { labels: s.labels, t_ms: eval.at, value })
        })
        .collect();
    let value = match (eval.scalar, samples.first()) {
        (Some(_), Some(VectorSample { value: SampleValue::Float(v), .. })) => {
            Value::Scalar { t_ms: eval.at, value: *v }
        }
        _ => Value::Vector(samples),
    };
    compare(eval, &value).map_err(|e| format!("range mode: {e}"))
}

fn check_result(eval: &Eval, result: Result<QueryOutput, QueryError>) -> Result<(), String> {
    let output = match result {
        Ok(_) if !eval.fail.is_empty() => return Err("expected a failure".to_string()),
        Ok(output) => output,
        Err(e) if eval.fail.is_empty() => return Err(format!("failed: {e}")),
        Err(e) => {
            let text = e.to_string();
            let good = eval.fail.iter().all(|f| f.matches(&text));
            return if good { Ok(()) } else { Err(format!("failed otherwise: {text}")) };
        }
    };
    notes("warn", &eval.warn, eval.no_warn, &output.warnings)?;
    notes("info", &eval.info, eval.no_info, &output.infos)?;
    compare(eval, &output.value)
}

fn notes(kind: &str, want: &[Expect], none: bool, got: &[String]) -> Result<(), String> {
    if none && !got.is_empty() {
        return Err(format!("unexpected {kind}: {got:?}"));
    }
    if want.is_empty() {
        return Ok(());
    }
    let found = want.iter().all(|w| got.iter().any(|g| w.matches_note(g)));
    let known = got.iter().all(|g| want.iter().any(|w| w.matches_note(g)));
    if found && known && !got.is_empty() { Ok(()) } else { Err(format!("{kind}: got {got:?}")) }
}

fn compare(eval: &Eval, value: &Value) -> Result<(), String> {
    match value {
        Value::String { value, .. } => {
            if eval.text.as_ref() == Some(value) {
                Ok(())
            } else {
                Err(format!("got string {value:?}"))
            }
        }
        Value::Scalar { value, .. } => match eval.scalar {
            Some(want) if almost(want, *value) => Ok(()),
            want => Err(format!("want {want:?} got scalar {value}")),
        },
        _ if eval.scalar.is_some() => Err(format!("want scalar {:?} got {value:?}", eval.scalar)),
        Value::Vector(samples) => vector(eval, samples),
        Value::Matrix(series) => matrix(eval, series),
    }
}

fn vector(eval: &Eval, samples: &[VectorSample]) -> Result<(), String> {
    for (i, s) in samples.iter().enumerate() {
        let Some(at) = eval.series.iter().position(|(l, _)| *l == s.labels) else {
            return Err(format!("unexpected {} = {:?}", s.labels, s.value));
        };
        if eval.ordered && at != i {
            return Err(format!("{} at {i}, not at {at}", s.labels));
        }
        let good = match (&eval.series[at].1[0], &s.value) {
            (SequenceValue::Float(w), SampleValue::Float(g)) => almost(*w, *g),
            (SequenceValue::Histogram(w, hint), SampleValue::Histogram(g)) => same_histogram(w, g, *hint),
            _ => false,
        };
        if !good {
            let want = match &eval.series[at].1[0] {
                SequenceValue::Histogram(h, _) => show_histogram(h),
                other => format!("{other:?}"),
            };
            let got = match &s.value {
                SampleValue::Histogram(h) => show_histogram(h),
                SampleValue::Float(v) => v.to_string(),
            };
            return Err(format!("{}: want {want}\n      got {got}", s.labels));
        }
    }
    if let Some((labels, _)) = eval.series.iter().find(|(l, _)| samples.iter().all(|s| s.labels != *l)) {
        return Err(format!("missing {labels}"));
    }
    Ok(())
}

fn matrix(eval: &Eval, all: &[MatrixSeries]) -> Result<(), String> {
    if !all.windows(2).all(|w| w[0].labels <= w[1].labels) {
        return Err("not sorted".to_string());
    }
    for s in all {
        let Some((_, want)) = eval.series.iter().find(|(l, _)| *l == s.labels) else {
            return Err(format!("unexpected {}: {:?}", s.labels, s.floats));
        };
        let (mut floats, mut hists) = (s.floats.iter(), s.histograms.iter());
        for (i, w) in want.iter().enumerate() {
            let t = eval.times.0 + eval.times.1 * i as i64;
            let good = match w {
                SequenceValue::Omitted => true,
                SequenceValue::Float(w) => floats.next().is_some_and(|(at, g)| *at == t && almost(*w, *g)),
                SequenceValue::Histogram(w, hint) => {
                    hists.next().is_some_and(|(at, g)| *at == t && same_histogram(w, g, *hint))
                }
            };
            if !good {
                let got: Vec<String> =
                    s.histograms.iter().map(|(t, h)| format!("{t}:{}", show_histogram(h))).collect();
                return Err(format!("{} at {t}: want {w:?}, got {:?} {got:?}", s.labels, s.floats));
            }
        }
        if floats.next().is_some() || hists.next().is_some() {
            return Err(format!("{}: more values than wanted: {:?}", s.labels, s.floats));
        }
    }
    if let Some((labels, _)) = eval.series.iter().find(|(l, _)| all.iter().all(|s| s.labels != *l)) {
        return Err(format!("missing {labels}"));
    }
    Ok(())
}
