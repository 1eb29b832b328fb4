//! `check metrics`: a page on standard input.

use std::collections::HashMap;
use std::io::Read as _;

use exposition::{Family, Format, MetricData};

use super::options::Options;
use super::{ADVICE, SOUND, WRONG};

/// Largest page read.
const PAGE_BYTES_MAX: u64 = 256 << 20;

pub(super) fn run(options: &Options) -> u8 {
    let lint = !options.lint.iter().any(|w| w == "none");
    if !lint && !options.extended {
        eprintln!("error: at least one of --extended or linting must be enabled");
        eprintln!("Use --extended for cardinality analysis, or remove --lint=none to enable linting");
        return WRONG;
    }
    let mut page = Vec::new();
    if let Err(error) = std::io::stdin().take(PAGE_BYTES_MAX).read_to_end(&mut page) {
        eprintln!("error while reading: {error}");
        return WRONG;
    }
    // As promtool, the text format only: OpenMetrics has other rules for names.
    let read = text_rules(&page)
        .and_then(|()| exposition::read_families(&page, Format::Text).map_err(|error| error.to_string()));
    let families = match read {
        Ok(families) => families,
        Err(error) => {
            eprintln!("error while linting: {error}");
            return WRONG;
        }
    };
    let problems = if lint { exposition::lint(&families) } else { Vec::new() };
    for problem in &problems {
        eprintln!("{} {}", problem.metric, problem.text);
    }
    if options.extended {
        extended(&families);
    }
    if problems.is_empty() { SOUND } else { ADVICE }
}

/// Rules of the text format that a scrape is lenient about and upstream's text parser is not: one HELP and
/// one TYPE for each metric, TYPE before samples, numbers in `le` and `quantile`.
///
/// # Errors
/// The line and what is wrong.
pub fn text_rules(page: &[u8]) -> Result<(), String> {
    #[derive(Default)]
    struct Seen {
        help: bool,
        kind: Option<String>,
    }
    let mut seen: HashMap<String, Seen> = HashMap::new();
    for (number, line) in page.split(|b| *b == b'\n').enumerate() {
        let line = String::from_utf8_lossy(line);
        let fail = |text: String| Err(format!("text format parsing error in line {}: {text}", number + 1));
        let mut words = line.split_ascii_whitespace();
        if let Some(rest) = line.trim_start().strip_prefix('#') {
            let mut words = rest.split_ascii_whitespace();
            let (word, Some(name)) = (words.next(), words.next()) else { continue };
            let known = seen.entry(name.to_string()).or_default();
            match word {
                Some("HELP") if std::mem::replace(&mut known.help, true) => {
                    return fail(format!("second HELP line for metric name {name:?}"));
                }
                Some("TYPE") => {
                    if known.kind.is_some() {
                        return fail(format!(
                            "second TYPE line for metric name {name:?}, or TYPE reported after samples"
                        ));
                    }
                    known.kind = Some(words.next().unwrap_or_default().to_string());
                }
                _ => {}
            }
            continue;
        }
        let Some(name) = words.next().map(|w| w.split('{').next().unwrap_or(w)) else { continue };
        let family = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| {
            let family = name.strip_suffix(suffix)?;
            let kind = seen.get(family)?.kind.as_deref();
            matches!(kind, Some("histogram" | "summary")).then_some((family, kind == Some("histogram")))
        });
        let bound = match family {
            Some((_, true)) => Some("le"),
            Some((_, false)) => None,
            None => {
                let known = seen.entry(name.to_string()).or_default();
                let kind = known.kind.get_or_insert_with(String::new);
                (kind == "summary").then_some("quantile")
            }
        };
        let Some(bound) = bound else { continue };
        if let Some(value) = label_value(&line, bound)
            && value.parse::<f64>().is_err()
        {
            return fail(format!("expected float as value for '{bound}' label, got {value:?}"));
        }
    }
    Ok(())
}

/// The value of a label in a sample's line, where it has no escapes.
fn label_value<'l>(line: &'l str, label: &str) -> Option<&'l str> {
    let labels = line.split_once('{')?.1;
    let at = labels.match_indices(label).find(|(at, _)| {
        let before = labels[..*at].trim_end();
        (before.is_empty() || before.ends_with(','))
            && labels[at + label.len()..].trim_start().starts_with('=')
    })?;
    let value = labels[at.0 + label.len()..].trim_start().strip_prefix('=')?.trim_start();
    value.strip_prefix('"')?.split('"').next()
}

/// Series of a family when it is stored, as promtool counts them: by the buckets of the first metric.
fn series(family: &Family) -> usize {
    let each = match family.metrics.first().map(|m| &m.data) {
        None | Some(MetricData::Number(_) | MetricData::Native(_)) => 1,
        Some(MetricData::Summary { quantiles, .. }) => quantiles.len() + 2,
        // The bucket without a bound is not in the list; a histogram without any bucket has none of it.
        Some(MetricData::Histogram { buckets, .. }) if buckets.is_empty() => 2,
        Some(MetricData::Histogram { buckets, .. }) => buckets.len() + 3,
    };
    family.metrics.len() * each
}

fn extended(families: &[Family]) {
    let mut stats: Vec<(&str, usize)> = families.iter().map(|f| (f.name.as_str(), series(f))).collect();
    let total: usize = stats.iter().map(|(_, n)| n).sum();
    stats.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let mut rows: Vec<[String; 3]> = vec![["Metric", "Cardinality", "Percentage"].map(str::to_string)];
    rows.extend(stats.iter().map(|(name, count)| {
        let share = *count as f64 * 100.0 / total.max(1) as f64;
        [(*name).to_string(), count.to_string(), format!("{share:.2}%")]
    }));
    rows.push(["Total".to_string(), total.to_string(), "100%".to_string()]);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0) + 4;
    let widths = [width(0), width(1), width(2)];
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        println!("{}", cells.collect::<String>());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_strict_parser_refuses() {
        for (page, want) in [
            ("# HELP a x\n# TYPE a gauge\na 1\n", None),
            ("# HELP a x\n# HELP a y\n", Some("line 2: second HELP line for metric name \"a\"")),
            ("# TYPE a gauge\n# TYPE a gauge\n", Some("second TYPE line")),
            ("a 1\n# TYPE a gauge\n", Some("TYPE reported after samples")),
            ("# TYPE a histogram\na_bucket{le=\"1\"} 1\na_sum 1\n# TYPE a_sum gauge\n", None),
            ("# TYPE a histogram\na_bucket{x=\"le=\", le = \"x\"} 1\n", Some("'le' label, got \"x\"")),
            (
                "# TYPE a summary\na{quantile=\"0.5\"} 1\na{quantile=\"p\"} 1\n",
                Some("line 3: expected float"),
            ),
            ("# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\n# EOF\n", None),
        ] {
            let error = text_rules(page.as_bytes()).err();
            match want {
                None => assert_eq!(error, None, "{page}"),
                Some(want) => assert!(error.as_deref().unwrap_or("").contains(want), "{page}: {error:?}"),
            }
        }
    }
}
