//! `check rules`, and the rule files of `check config`.

use std::collections::BTreeMap;
use std::io::Read as _;

use config::{ConfigError, RuleChecks, RuleFile};
use model::name::ValidationScheme;

use super::options::Options;
use super::{ADVICE, SOUND, WRONG};
use crate::cmd::promql::parser_options;

/// Variables that every template of a rule has (upstream: `rulefmt.testTemplateParsing`).
const TEMPLATE_VARIABLES: &[&str] = &["$labels", "$externalLabels", "$externalURL", "$value"];
/// Largest rule page read from standard input: that of a file.
const STDIN_BYTES_MAX: u64 = 64 << 20;

/// What came of one or more files.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcome {
    pub(super) wrong: bool,
    pub(super) advice: bool,
}

impl Outcome {
    pub(super) fn add(&mut self, other: Outcome) {
        self.wrong |= other.wrong;
        self.advice |= other.advice;
    }
    pub(super) fn code(self, options: &Options) -> u8 {
        match self {
            Outcome { wrong: true, .. } => WRONG,
            Outcome { advice: true, .. } if options.lint_fatal => ADVICE,
            _ => SOUND,
        }
    }
}

pub(super) fn run(options: &Options) -> u8 {
    let scheme = ValidationScheme::Utf8;
    if options.files.is_empty() {
        println!("Checking standard input");
        let mut text = String::new();
        if let Err(error) = std::io::stdin().take(STDIN_BYTES_MAX).read_to_string(&mut text) {
            eprintln!("  FAILED: {error}");
            return WRONG;
        }
        return report(with_checks(options, scheme, |checks| RuleFile::parse(&text, checks)), options)
            .code(options);
    }
    check_files(&options.files, scheme, options).code(options)
}

/// Checks rule files one after the other and prints what comes of each.
pub(super) fn check_files(files: &[String], scheme: ValidationScheme, options: &Options) -> Outcome {
    let mut all = Outcome::default();
    for file in files {
        println!("Checking {file}");
        all.add(report(
            with_checks(options, scheme, |checks| RuleFile::load_file(file.as_ref(), checks)),
            options,
        ));
    }
    all
}

fn with_checks<T>(
    options: &Options,
    scheme: ValidationScheme,
    load: impl FnOnce(&mut RuleChecks<'_>) -> T,
) -> T {
    let parser = parser_options(&options.features);
    let mut expression = |expr: &str| match promql::parse(expr, parser) {
        Ok(_) => Ok(()),
        Err(error) if expr.contains("holt_winters") => Err(format!(
            "{error} (holt_winters is double_exponential_smoothing since 3.0, with --enable-feature=promql-experimental-functions)"
        )),
        Err(error) => Err(error.to_string()),
    };
    let mut template = |text: &str| {
        gotemplate::parse(text, TEMPLATE_VARIABLES, gotemplate::is_known)
            .map(drop)
            .map_err(|error| format!("template: {error}"))
    };
    load(&mut RuleChecks {
        scheme,
        ignore_unknown_fields: options.ignore_unknown_fields,
        expression: &mut expression,
        template: &mut template,
    })
}

fn report(loaded: Result<RuleFile, ConfigError>, options: &Options) -> Outcome {
    let file = match loaded {
        Ok(file) => file,
        Err(error) => {
            eprintln!("  FAILED:\n{error}");
            return Outcome { wrong: true, advice: false };
        }
    };
    for (group, rule) in file.groups.iter().flat_map(|g| g.rules.iter().map(move |r| (g, r))) {
        for note in config::expression_changes_since_2x(&rule.expr) {
            println!("  NOTE (2.x to 3.x): group {:?}, rule {:?}: {note}", group.name, rule.name());
        }
    }
    let repeated = if options.lints("duplicate-rules") { duplicates(&file) } else { Vec::new() };
    let advice = !repeated.is_empty();
    if advice {
        eprintln!("  FAILED:\nlint error {} duplicate rule(s) found.", repeated.len());
        for (name, labels) in repeated {
            eprintln!("Metric: {name}\nLabel(s):");
            labels.iter().for_each(|(label, value)| eprintln!("\t{label}: {value}"));
        }
        eprintln!("Might cause inconsistency while recording expressions");
    } else {
        println!("  SUCCESS: {} rules found", file.groups.iter().map(|g| g.rules.len()).sum::<usize>());
    }
    println!();
    Outcome { wrong: false, advice }
}

/// Rules that write the same series: name and labels are equal.
fn duplicates(file: &RuleFile) -> Vec<(String, BTreeMap<String, String>)> {
    let mut seen: BTreeMap<(String, BTreeMap<String, String>), usize> = BTreeMap::new();
    for group in &file.groups {
        for rule in &group.rules {
            let mut labels = group.labels.clone();
            labels.extend(rule.labels.clone());
            *seen.entry((rule.name().to_string(), labels)).or_default() += 1;
        }
    }
    seen.into_iter().filter(|(_, times)| *times > 1).map(|(rule, _)| rule).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_are_by_name_and_all_labels() {
        let text = "groups:\n- name: g\n  labels: {a: b}\n  rules:\n  - {record: x, expr: '1'}\n  - {record: x, expr: '2', labels: {a: b}}\n  - {record: x, expr: '3', labels: {a: c}}\n";
        let options = super::super::options::read("rules").unwrap();
        let file =
            with_checks(&options, ValidationScheme::Utf8, |checks| RuleFile::parse(text, checks)).unwrap();
        assert_eq!(duplicates(&file).len(), 1);
        let bad = with_checks(&options, ValidationScheme::Utf8, |checks| {
            RuleFile::parse("groups: [{name: g, rules: [{record: x, expr: 'sum('}]}]", checks)
        });
        assert!(bad.unwrap_err().to_string().contains("could not parse expression: 1:"));
    }
}
