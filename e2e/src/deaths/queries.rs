//! Heavy requests that a person can send: each asks for more than the server has, or looks as if it did.

use crate::http::encode;
use crate::wait::now;

/// A heavy request.
#[derive(Clone, Debug)]
pub struct Heavy {
    /// For messages.
    pub name: &'static str,
    /// Path of the endpoint.
    pub path: &'static str,
    /// Form fields, encoded.
    pub form: String,
    /// It is malformed, and 400 is the only right answer.
    pub malformed: bool,
}

/// Points of a range query at most, for one series.
const POINTS: f64 = 10_990.0;
/// Everything.
const ALL: &str = "{__name__=~\".+\"}";
/// Everything, and for a day after its last sample.
const KEPT: &str = "last_over_time({__name__=~\".+\"}[1d])";

fn heavy(name: &'static str, path: &'static str, fields: &[(&str, &str)]) -> Heavy {
    let pairs: Vec<String> = fields.iter().map(|(k, v)| format!("{}={}", encode(k), encode(v))).collect();
    Heavy { name, path, form: pairs.join("&"), malformed: false }
}

fn range(name: &'static str, query: &str, step: f64) -> Heavy {
    let end = now();
    let (start, end, step) = ((end - POINTS * step).to_string(), end.to_string(), step.to_string());
    let fields = [("query", query), ("start", &start), ("end", &end), ("step", &step)];
    heavy(name, "/api/v1/query_range", &fields)
}

/// The same over the coming hours: windows that look back a day have a value at each point.
fn ahead(name: &'static str, query: &str) -> Heavy {
    let (start, end) = (now().to_string(), (now() + POINTS).to_string());
    let fields = [("query", query), ("start", &start), ("end", &end), ("step", "1")];
    heavy(name, "/api/v1/query_range", &fields)
}

fn instant(name: &'static str, query: &str) -> Heavy {
    heavy(name, "/api/v1/query", &[("query", query)])
}

fn malformed(name: &'static str, query: &str) -> Heavy {
    Heavy { malformed: true, ..instant(name, query) }
}

/// `inner` wrapped in calls so many times.
fn wrapped(times: usize, inner: &str, before: &str, after: &str) -> String {
    format!("{}{inner}{}", before.repeat(times), after.repeat(times))
}

/// All of them, to be sent in this order; each with `timeout` beside its own fields.
#[must_use]
pub fn queries(timeout_seconds: u64) -> Vec<Heavy> {
    let copied = format!("label_replace({KEPT}, \"copy\", \"$1-$1-$1-$1\", \"pod\", \"(.*)\")");
    let doubled = |of: &str| wrapped(40, of, "label_join(", ", \"d\", \"\", \"d\", \"d\")");
    let seeded = format!("label_replace({ALL}, \"d\", \"$1\", \"pod\", \"(.*)\")");
    let classes: Vec<String> = (0..40).map(|i| format!("l{i}=~\"(\\\\pL{{90}}|x{i}){{10}}\"")).collect();
    let stars = format!("count({{pod=~\"{}x\"}})", "(.*)*".repeat(100));
    let words: Vec<String> = (0..60_000).map(|i| format!("w{i}.*z")).collect();
    let mut all = vec![
        range("everything at 11,000 points", ALL, 1.0),
        range("rates of everything", &format!("rate({ALL}[5m])"), 1.0),
        ahead("a label made for everything", &copied),
        range("steps of a millisecond", ALL, 0.001),
        range("rates in steps of a millisecond", &format!("rate({ALL}[5m])"), 0.001),
        ahead("averages of everything", &format!("avg_over_time({ALL}[1d])")),
        instant("a year of everything", &format!("count_over_time({ALL}[1y:1m])")),
        instant("a year of seconds", "max_over_time(vector(1)[1y:1s])"),
        instant("a year of rates", &format!("sum_over_time(rate({ALL}[5m])[1y:30s])")),
        instant("a year of days of seconds", "max_over_time(avg_over_time(up[1d:1s])[1y:1m])"),
        instant("a year, each step over all", &format!("max_over_time(sum({ALL})[1y:1s])")),
        instant("a label doubled 40 times", &doubled("label_replace(up, \"d\", \"ab\", \"\", \"\")")),
        instant("a label of everything doubled 40 times", &doubled(&seeded)),
        ahead("as many series as values", &format!("count_values(\"v\", {KEPT})")),
        ahead("everything sorted at each step", &format!("topk(1e6, {KEPT})")),
        ahead("everything joined with itself", &format!("{KEPT} == {KEPT}")),
        ahead("everything in a union", &format!("{KEPT} or ({KEPT} * 2) or ({KEPT} * 3)")),
        instant("a join that multiplies", "http_requests_total * on(namespace) group_left() runtime_value_0"),
        range(
            "a join of one with many",
            "http_requests_total * on(pod) group_left(shard) runtime_value_0{shard=\"1\"}",
            1.0,
        ),
        range(
            "quantiles of histograms",
            "histogram_quantile(0.9, sum by (le, pod, handler) (rate({__name__=~\".+_bucket\"}[5m])))",
            1.0,
        ),
        ahead("a forecast of everything", &format!("predict_linear({ALL}[1d], 3600)")),
        instant("classes of letters, counted", &format!("{{{}}}", classes.join(","))),
        range("stars within stars", &stars, 1.0),
        instant("words in an alternation", &format!("count({{pod=~\"{}\"}})", words.join("|"))),
        malformed("a repetition of repetitions", "up{a=~\"((a{1000}){1000}){1000}\"}"),
        malformed("brackets 10,000 deep", &wrapped(10_000, "1", "(", ")")),
        malformed("calls 10,000 deep", &wrapped(10_000, "up", "abs(", ")")),
        malformed(
            "groups of a pattern 10,000 deep",
            &format!("up{{a=~\"{}\"}}", wrapped(10_000, "a", "(", ")")),
        ),
        malformed("signs 10,000 deep", &wrapped(10_000, "up", "- ", "")),
        malformed("an end that is missing", &wrapped(10_000, "up", "sum(", "")),
        instant("a sum of 20,000", &wrapped(20_000, "1", "1+", "")),
        heavy("labels of everything", "/api/v1/series", &[("match[]", ALL)]),
        heavy("federation of everything", "/federate", &[("match[]", ALL)]),
    ];
    for one in &mut all {
        one.form += &format!("&timeout={timeout_seconds}s");
    }
    let step = |name, step| Heavy {
        malformed: true,
        ..heavy(name, "/api/v1/query_range", &[("query", "up"), ("start", "0"), ("end", "9"), ("step", step)])
    };
    all.extend([step("a step of nothing", "0"), step("a step that is no number", "NaN")]);
    // As upstream's, which takes this number for a time.
    all.push(heavy("a time that is no number", "/api/v1/query", &[("query", "up"), ("time", "NaN")]));
    all
}
