//! What means something else in 3.x than it did in 2.x (upstream `docs/migration.md`), found in a config
//! that loads. Keys that are gone are errors, with the new name, when the file is read.

use crate::error::Problem;
use crate::root::Config;
use crate::yaml::Node;

/// Keys of 2.x that have another name since, and what to write instead.
const RENAMED: &[(&str, &str)] = &[
    ("scrape_classic_histograms", "renamed in 3.0: write \"always_scrape_classic_histograms\""),
    ("translation_strategy_allow_utf8", "renamed in 3.0: write \"translation_strategy\""),
];

/// What became of a key that is not known any more.
pub(crate) fn renamed(name: &str) -> Option<&'static str> {
    RENAMED.iter().find(|(old, _)| *old == name).map(|(_, text)| *text)
}

/// Settings of a config text whose meaning changed between 2.x and 3.x, in order of the file. With `all`,
/// also those that concern nearly every config.
#[must_use]
pub fn changes_since_2x(text: &str, config: &Config, all: bool) -> Vec<Problem> {
    let Ok(Some(root)) = Node::parse(text) else { return Vec::new() };
    let mut notes = Vec::new();
    external_labels(&root, &mut notes);
    jobs(&root, config, all, &mut notes);
    for (i, node) in items(&root, "remote_write").iter().enumerate() {
        if node.get("enable_http2").is_none() && config.remote_write.get(i).is_some() {
            let text = "enable_http2 of remote_write is false by default since 3.0, it was true: set it to keep HTTP/2";
            notes.push(node.pos.problem(text));
        }
    }
    notes.sort_by_key(|p| (p.line, p.column));
    notes
}

fn items<'n>(node: &'n Node, key: &str) -> &'n [Node] {
    node.get(key).map_or(&[][..], Node::items)
}

fn external_labels(root: &Node, notes: &mut Vec<Problem>) {
    let Some(labels) = root.get("global").and_then(|global| global.get("external_labels")) else { return };
    let crate::yaml::node::Kind::Map(pairs) = &labels.target().kind else { return };
    for (name, value) in pairs {
        if value.scalar_text().is_some_and(|text| text.contains('$')) {
            let name = name.scalar_text().unwrap_or("");
            let text = format!(
                "external label {name:?}: $VAR and ${{VAR}} are replaced by environment variables since 3.0 (2.x needed a feature flag); write $$ for $"
            );
            notes.push(value.pos.problem(text));
        }
    }
}

fn jobs(root: &Node, config: &Config, all: bool, notes: &mut Vec<Problem>) {
    for (job, node) in config.scrape_configs.iter().zip(items(root, "scrape_configs")) {
        let groups = items(node, "static_configs");
        for (group, at) in job.sd.static_configs.iter().zip(groups) {
            let bare: Vec<&str> = group.targets.iter().map(String::as_str).filter(|t| !has_port(t)).collect();
            if let Some(first) = bare.first() {
                let text = format!(
                    "job {:?}: no port is added to {first:?}{} since 3.0, neither in __address__ nor in the instance label (2.x added :80 or :443)",
                    job.job_name,
                    if bare.len() > 1 {
                        format!(" and {} more targets", bare.len() - 1)
                    } else {
                        String::new()
                    }
                );
                notes.push(at.get("targets").unwrap_or(at).pos.problem(text));
            }
        }
        for (key, rules) in [
            ("relabel_configs", &job.relabel_configs),
            ("metric_relabel_configs", &job.metric_relabel_configs),
        ] {
            for (rule, at) in rules.iter().zip(items(node, key)) {
                let regex = rule.parts().regex.as_deref().unwrap_or("");
                let at = at.get("regex").unwrap_or(at).pos;
                let buckets = rule
                    .parts()
                    .source_labels
                    .iter()
                    .flatten()
                    .any(|name| name == "le" || name == "quantile");
                if buckets && has_bare_integer(regex) {
                    let text = "values of le and quantile are written as 1.0 since 3.0, where 2.x kept the target's 1: this regex may not match any more";
                    notes.push(at.problem(text));
                } else if all && regex.replace("\\.", "").contains('.') {
                    notes.push(at.problem(
                        "\".\" in a regex matches a line break too since 3.0; write [^\\n] to exclude it",
                    ));
                }
            }
        }
        if all && job.fallback_scrape_protocol.is_none() {
            let text = format!(
                "job {:?}: a target without a usable Content-Type fails since 3.0, 2.x read it as text; set fallback_scrape_protocol: PrometheusText0.0.4 if it has such targets",
                job.job_name
            );
            notes.push(node.pos.problem(text));
        }
    }
}

fn has_port(address: &str) -> bool {
    let tail = address.rsplit_once(']').map_or(address, |(_, tail)| tail);
    tail.rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

/// Whether a regex has a number without a fraction as one of its alternatives.
fn has_bare_integer(regex: &str) -> bool {
    regex
        .split(['|', '(', ')', ';', '^', '$'])
        .any(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()))
}

/// The same for an expression of a rule: matchers on bucket bounds, and functions that were renamed.
#[must_use]
pub fn expression_changes_since_2x(expr: &str) -> Vec<String> {
    let mut notes = Vec::new();
    for name in ["le", "quantile"] {
        let mut rest = expr;
        while let Some(at) = rest.find(name) {
            let before = rest[..at].chars().next_back();
            let tail = rest[at + name.len()..].trim_start();
            let value =
                ["=~", "!~", "!=", "="].iter().find_map(|op| tail.strip_prefix(op)).map(str::trim_start);
            let quoted =
                value.and_then(|v| v.strip_prefix(['"', '\''])).and_then(|v| v.split(['"', '\'']).next());
            let word_start = before.is_none_or(|c| !c.is_alphanumeric() && c != '_');
            if let Some(bound) = quoted.filter(|bound| word_start && has_bare_integer(bound)) {
                notes.push(format!("{name}={bound:?}: values of {name} are written as 1.0 since 3.0, where 2.x kept the target's 1: write {bound}.0 or match both"));
            }
            rest = &rest[at + name.len()..];
        }
    }
    notes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::LoadOptions;

    fn notes(text: &str, all: bool) -> Vec<String> {
        let config = Config::parse(text, &LoadOptions::default()).unwrap();
        changes_since_2x(text, &config, all).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn changed_meanings_are_named_with_their_place() {
        let text = "global:\n  external_labels: {dc: \"$DC\"}\nscrape_configs:\n- job_name: a\n  static_configs:\n  - targets: [\"h1\", \"h2:80\", \"[::1]\"]\n  metric_relabel_configs:\n  - {source_labels: [le], regex: \"1|5\", action: drop}\nremote_write:\n- url: http://x/\n";
        let found = notes(text, false);
        assert_eq!(found.len(), 4, "{found:#?}");
        assert!(found[0].starts_with("line 2, column") && found[0].contains("external label \"dc\""));
        assert!(found[1].contains("no port is added to \"h1\" and 1 more"));
        assert!(found[2].contains("le and quantile") && found[3].contains("enable_http2"));
        assert_eq!(notes(text, true).len(), 5);
        let new = "scrape_configs:\n- job_name: a\n  static_configs:\n  - targets: [\"h2:80\"]\nremote_write:\n- url: http://x/\n  enable_http2: true\n";
        assert!(notes(new, false).is_empty());
        let error = Config::parse(
            "scrape_configs:\n- job_name: a\n  scrape_classic_histograms: true\n",
            &LoadOptions::default(),
        )
        .unwrap_err();
        assert!(
            error.to_string().contains("renamed in 3.0: write \"always_scrape_classic_histograms\""),
            "{error}"
        );
    }

    #[test]
    fn expressions() {
        for (expr, count) in [
            ("sum(rate(x_bucket{le=\"1\"}[5m]))", 1),
            ("x{le=\"1.0\"}", 0),
            ("x{le=~\"5|10\",quantile='1'}", 2),
            ("handle{title=\"1\"}", 0),
            ("x{le=\"+Inf\"}", 0),
        ] {
            assert_eq!(expression_changes_since_2x(expr).len(), count, "{expr}");
        }
    }
}
