//! `check metrics`: a page on standard input.

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
    // A page that ends in "# EOF" is OpenMetrics: the text format has no such line.
    let openmetrics = page.trim_ascii_end().ends_with(b"# EOF");
    let format = if openmetrics { Format::OpenMetrics } else { Format::Text };
    let families = match exposition::read_families(&page, format) {
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

/// Series a metric gives when it is stored.
fn series(family: &Family) -> usize {
    let of = |data: &MetricData| match data {
        MetricData::Number(_) | MetricData::Native(_) => 1,
        MetricData::Summary { quantiles, .. } => quantiles.len() + 2,
        MetricData::Histogram { buckets, .. } => buckets.len() + 3,
    };
    family.metrics.iter().map(|metric| of(&metric.data)).sum()
}

fn extended(families: &[Family]) {
    let mut stats: Vec<(&str, usize)> = families.iter().map(|f| (f.name.as_str(), series(f))).collect();
    let total: usize = stats.iter().map(|(_, n)| n).sum();
    stats.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let width = stats.iter().map(|(name, _)| name.len()).max().unwrap_or(0).max("Metric".len()) + 4;
    println!("{:width$}{:15}Percentage", "Metric", "Cardinality");
    for (name, count) in stats {
        println!("{name:width$}{count:<15}{:.2}%", count as f64 * 100.0 / total.max(1) as f64);
    }
    println!("{:width$}{total:<15}100%", "Total");
}
