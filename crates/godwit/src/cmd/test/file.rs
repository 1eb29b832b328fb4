//! Runs the tests of a file (upstream: `cmd/promtool/unittest.go`).

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::{RuleTest, RuleTests, ValidationScheme};
use model::Labels;
use model::clock::SystemClock;
use promql::parse::{SequenceValue, parse_series};
use promql::{Engine, EngineOptions, QueryOptions, Value};
use rules::{External, GroupSpec, Loader, Trial};
use storage::CancelToken;
use tsdb::Db;

use super::expected::{
    Alert, Sample, alerts_text, by_labels, histogram_text, indented, quoted, same, samples_text,
};
use super::junit::Suite;
use super::series::{Series, store};
use super::{Settings, diff};
use crate::cmd::output::go_duration;
use crate::cmd::query::parse_time;

const INTERVAL_DEFAULT: Duration = Duration::from_secs(60);
/// Samples that one query may hold, upstream's for tests.
const SAMPLES_MAX: usize = 10_000;
const TIMEOUT: Duration = Duration::from_secs(100);
const NANOS_OF_MS: i64 = 1_000_000;

fn millis(d: Duration) -> i64 {
    i64::try_from(d.as_millis()).unwrap_or(i64::MAX)
}

/// Runs what the settings choose; everything that is wrong, as it is printed.
pub(super) fn run(file: &str, settings: &Settings, suite: &mut Suite) -> Vec<String> {
    let tests = match load(file) {
        Ok(tests) => tests,
        Err(error) => {
            suite.abort(&error);
            return vec![error];
        }
    };
    suite.begin();
    let mut seen = HashSet::new();
    if let Some(twice) = tests.group_eval_order.iter().find(|name| !seen.insert(name.as_str())) {
        let error = format!("group name repeated in evaluation order: {twice}");
        suite.abort(&error);
        return vec![error];
    }
    let mut errors = Vec::new();
    for (i, test) in tests.tests.iter().enumerate() {
        if settings.run.as_ref().is_some_and(|run| !run.is_match(&test.name)) {
            continue;
        }
        let name = if test.name.is_empty() { format!("unnamed#{i}") } else { test.name.clone() };
        let began = Instant::now();
        if settings.debug {
            eprintln!("DEBUG: Starting test {name}");
        }
        let failures = Bench { tests: &tests, test, settings }.run().unwrap_or_else(|errors| errors);
        if settings.debug {
            let took = go_duration(millis(began.elapsed()));
            eprintln!("DEBUG: Test {name} finished, took {took}");
        }
        errors.extend(failures.iter().cloned());
        suite.case(name, failures);
    }
    errors
}

/// Reads a file and finds its rule files.
fn load(file: &str) -> Result<RuleTests, String> {
    let mut tests = RuleTests::load_file(Path::new(file)).map_err(|e| e.to_string())?;
    for test in tests.tests.iter().filter(|t| !t.start_timestamp.is_empty()) {
        parse_time(&test.start_timestamp).map_err(|e| format!("{file}: {e}"))?;
    }
    if tests.evaluation_interval.is_zero() {
        tests.evaluation_interval = INTERVAL_DEFAULT;
    }
    let mut found = Vec::new();
    for pattern in &tests.rule_files {
        let files = config::try_glob(pattern).map_err(|_| "syntax error in pattern".to_string())?;
        if files.is_empty() {
            eprintln!("  WARNING: no file match pattern {pattern}");
        }
        found.extend(files);
    }
    // One that two patterns find counts once.
    let mut seen = HashSet::new();
    found.retain(|file| seen.insert(file.clone()));
    tests.rule_files = found;
    Ok(tests)
}

/// One test with what it runs on.
struct Bench<'a> {
    tests: &'a RuleTests,
    test: &'a RuleTest,
    settings: &'a Settings,
}

impl Bench<'_> {
    fn groups(&self, interval: Duration) -> Result<Vec<GroupSpec>, Vec<String>> {
        let loader = Loader { parser: self.settings.parser, scheme: ValidationScheme::Utf8 };
        let mut groups = Vec::new();
        for file in &self.tests.rule_files {
            let loaded = loader.load_file(file, interval, self.settings.ignore_unknown_fields);
            groups.extend(loaded.map_err(|error| match error.problems() {
                [] => vec![format!("{file}: {error}")],
                problems => {
                    let one = |p: &config::Problem| match p.line {
                        0 => format!("{file}: {}", p.text),
                        line => format!("{file}: {line}:{}: {}", p.column, p.text),
                    };
                    problems.iter().map(one).collect()
                }
            })?);
        }
        // Those that are not named come with the first one, as upstream has it.
        let place =
            |g: &GroupSpec| self.tests.group_eval_order.iter().position(|name| *name == g.name).unwrap_or(0);
        groups.sort_by_key(place);
        Ok(groups)
    }

    fn engine(&self) -> Engine {
        let options = EngineOptions {
            max_samples: SAMPLES_MAX,
            timeout: TIMEOUT,
            default_step_ms: millis(self.tests.evaluation_interval).max(1),
            parser: self.settings.parser,
            delayed_name_removal: self.settings.delayed_name_removal,
            ..EngineOptions::default()
        };
        Engine::new(options, &telemetry::Registry::new())
    }

    /// What failed; as an error where the test could not go on.
    fn run(&self) -> Result<Vec<String>, Vec<String>> {
        let one = |text: String| vec![text];
        let test = self.test;
        let start_ms = match test.start_timestamp.as_str() {
            "" => 0,
            text => (parse_time(text).map_err(one)? * 1000.0).round() as i64,
        };
        let step = self.tests.evaluation_interval;
        let interval = if test.interval.is_zero() { step } else { test.interval };
        let mut series = Series::read(&test.input_series, start_ms, interval).map_err(one)?;
        let db = store().map_err(one)?;
        let groups = self.groups(interval)?;
        self.names()?;
        let external = External {
            labels: Labels::from_pairs(&test.external_labels),
            url: test.external_url.clone(),
            path: String::new(),
        };
        let parts = rules::Parts {
            engine: self.engine(),
            queryable: Arc::clone(&db) as _,
            appendable: Arc::clone(&db) as _,
            notify: Arc::new(|_| {}),
            clock: Arc::new(SystemClock),
        };
        let trial = Trial::new(parts, external, groups);
        let mut errors = self.alerts(&trial, &mut series, &db, start_ms)?;
        let engine = self.engine();
        errors.extend(self.expressions(&engine, &db, start_ms));
        if self.settings.debug {
            self.dump(&engine, &db, start_ms);
        }
        Ok(errors)
    }

    fn names(&self) -> Result<(), Vec<String>> {
        let Some(nameless) = self.test.alert_rule_test.iter().find(|t| t.alertname.is_empty()) else {
            return Ok(());
        };
        let mut text = format!(
            "an item under alert_rule_test misses required attribute alertname at eval_time {}",
            model::duration::format(nameless.eval_time)
        );
        if !self.test.name.is_empty() {
            text += &format!(" (in TestGroup {})", self.test.name);
        }
        Err(vec![text])
    }

    fn last(&self) -> Duration {
        let alerts = self.test.alert_rule_test.iter().map(|t| t.eval_time);
        alerts.chain(self.test.promql_expr_test.iter().map(|t| t.eval_time)).max().unwrap_or_default()
    }

    /// Evaluates all rules at all times, and looks at the alerts where a test wants to.
    fn alerts(
        &self,
        trial: &Trial,
        series: &mut Series,
        db: &Db,
        start_ms: i64,
    ) -> Result<Vec<String>, Vec<String>> {
        let step_ms = millis(self.tests.evaluation_interval).max(1);
        let mut by_time: BTreeMap<Duration, Vec<&config::AlertTest>> = BTreeMap::new();
        for test in &self.test.alert_rule_test {
            by_time.entry(test.eval_time).or_default().push(test);
        }
        let mut pending = by_time.into_iter().peekable();
        let mut errors = Vec::new();
        let last_ms = millis(self.last());
        let mut behind_ms = 0;
        while behind_ms <= last_ms {
            let now_ms = start_ms.saturating_add(behind_ms);
            match series.store(db, now_ms) {
                Err(error) => errors.push(error),
                Ok(()) => {
                    let failed = trial.evaluate(now_ms.saturating_mul(NANOS_OF_MS));
                    if !failed.is_empty() {
                        let time = go_duration(now_ms);
                        let text = |(rule, error)| format!("    rule: {rule}, time: {time}, err: {error}");
                        errors.extend(failed.into_iter().map(text));
                        return Err(errors);
                    }
                }
            }
            let next_ms = behind_ms.saturating_add(step_ms);
            while let Some((_, tests)) = pending.next_if(|(t, _)| millis(*t) < next_ms) {
                errors.extend(tests.into_iter().filter_map(|test| self.compare(trial, test)));
            }
            behind_ms = next_ms;
        }
        Ok(errors)
    }

    fn compare(&self, trial: &Trial, test: &config::AlertTest) -> Option<String> {
        let pairs = |labels: &Labels| labels.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        let mut got: Vec<Alert> = trial
            .firing(&test.alertname)
            .into_iter()
            .map(|a| Alert { labels: pairs(&a.labels), annotations: a.annotations })
            .collect();
        got.sort();
        let expected = |alert: &config::ExpectedAlert| {
            let mut labels = alert.exp_labels.clone();
            labels.insert("alertname".to_string(), test.alertname.clone());
            let annotations = alert.exp_annotations.clone().into_iter().collect();
            Alert { labels: labels.into_iter().collect(), annotations }
        };
        let mut want: Vec<Alert> = test.exp_alerts.iter().map(expected).collect();
        want.sort();
        if want == got {
            return None;
        }
        const INDENT: &str = "            ";
        let name = match self.test.name.as_str() {
            "" => String::new(),
            name => format!("    name: {name},\n"),
        };
        let head = format!(
            "{name}    alertname: {}, time: {}, \n",
            test.alertname,
            model::duration::format(test.eval_time)
        );
        if self.settings.diff {
            return diff::compare(&want, &got)
                .map(|diff| format!("{head}        diff: {}", indented(&diff, INDENT)));
        }
        let (want, got) = (alerts_text(&want), alerts_text(&got));
        Some(format!(
            "{head}        exp:{}, \n        got:{}",
            indented(&want, INDENT),
            indented(&got, INDENT)
        ))
    }

    fn expressions(&self, engine: &Engine, db: &Db, start_ms: i64) -> Vec<String> {
        let mut errors = Vec::new();
        for test in &self.test.promql_expr_test {
            let (expr, time) = (quoted(&test.expr), model::duration::format(test.eval_time));
            let head = format!("    expr: {expr}, time: {time}");
            let at = start_ms.saturating_add(millis(test.eval_time));
            let compared = vector(engine, db, &test.expr, at).and_then(|mut got| {
                let mut want = test.exp_samples.iter().map(sample).collect::<Result<Vec<_>, _>>()?;
                want.sort_by(by_labels);
                got.sort_by(by_labels);
                Ok((want, got))
            });
            match compared {
                Err(error) => errors.push(format!("{head}, err: {error}")),
                Ok((want, got)) if !same(&want, &got, self.tests.fuzzy_compare) => errors.push(format!(
                    "{head},\n        exp: {}\n        got: {}",
                    samples_text(&want),
                    samples_text(&got)
                )),
                Ok(_) => {}
            }
        }
        errors
    }

    /// All series at the end.
    fn dump(&self, engine: &Engine, db: &Db, start_ms: i64) {
        // A full second behind: a test may be at a fraction of one.
        let last_ms = millis(self.last()).saturating_add(1000) / 1000 * 1000;
        let range = go_duration(last_ms);
        let expression = format!("{{__name__=~\".+\"}}[{range}]");
        let at = start_ms.saturating_add(last_ms);
        match engine.instant(db, &expression, at, &QueryOptions::default(), CancelToken::default()) {
            Err(error) => eprintln!("DEBUG: Failed query exec, expr: {}, err: {error}", quoted(&expression)),
            Ok(output) => {
                let Value::Matrix(all) = output.value else { return };
                eprintln!("DEBUG: Dump of all data (input_series and rules) at {range}:");
                let one = |s: &promql::MatrixSeries| {
                    let floats =
                        s.floats.iter().map(|(t, v)| format!("{} @[{t}]", model::float_text::format_f(*v)));
                    let histograms = s.histograms.iter().map(|(t, h)| format!("{h} @[{t}]"));
                    format!("{} =>\n{}", s.labels, floats.chain(histograms).collect::<Vec<_>>().join("\n"))
                };
                eprintln!("{}", all.iter().map(one).collect::<Vec<_>>().join("\n"));
            }
        }
    }
}

fn vector(engine: &Engine, db: &Db, expression: &str, at_ms: i64) -> Result<Vec<Sample>, String> {
    let output = engine.instant(db, expression, at_ms, &QueryOptions::default(), CancelToken::default());
    match output.map_err(|e| e.to_string())?.value {
        Value::Vector(all) => Ok(all.into_iter().map(|s| Sample::of(s.labels, &s.value)).collect()),
        Value::Scalar { value, .. } => {
            Ok(vec![Sample { labels: Labels::empty(), value, histogram: String::new() }])
        }
        _ => Err("rule result is not a vector or scalar".to_string()),
    }
}

/// A sample as the test file has it.
fn sample(expected: &config::ExpectedSample) -> Result<Sample, String> {
    let wrong = |e: String| format!("labels {}: {e}", quoted(&expected.labels));
    let labels = match expected.labels.trim() {
        "" => Labels::empty(),
        text => match parse_series(text).map_err(wrong)? {
            (labels, values) if values.is_empty() => labels,
            _ => return Err(wrong("a metric has no values".to_string())),
        },
    };
    let histogram = match expected.histogram.as_str() {
        "" => String::new(),
        text => match &parse_series(&format!("{{}} {text}")).map_err(wrong)?.1[..] {
            [SequenceValue::Histogram(h, _)] => histogram_text(h),
            [_] => return Err(wrong(format!("expected histogram, got {text}"))),
            more => return Err(wrong(format!("expected 1 value, got {}", more.len()))),
        },
    };
    Ok(Sample { labels, value: expected.value, histogram })
}
