//! From discovered targets to the URLs of Alertmanagers (upstream: `notifier/alertmanager.go`).

use std::collections::BTreeSet;
use std::sync::Arc;

use config::AlertmanagerConfig;
use model::gourl::GoUrl;
use model::{LabelsBuilder, TargetGroup, relabel};

const ADDRESS_LABEL: &str = "__address__";
const SCHEME_LABEL: &str = "__scheme__";
const PATH_LABEL: &str = "__alerts_path__";

/// What discovery found for one group of Alertmanagers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Each once, in the order found.
    pub(crate) active: Vec<String>,
    /// Dropped by relabeling.
    pub(crate) dropped: Vec<String>,
}

/// URLs of all targets. A group with an impossible address is left out as a whole and logged, as upstream does.
pub(crate) fn find(groups: &[Arc<TargetGroup>], config: &AlertmanagerConfig) -> Found {
    let (mut all, mut seen) = (Found::default(), BTreeSet::new());
    for group in groups {
        match of_group(group, config) {
            Ok(found) => {
                all.dropped.extend(found.dropped);
                all.active.extend(found.active.into_iter().filter(|url| seen.insert(url.clone())));
            }
            Err(error) => {
                tracing::error!(%error, source = group.source, "Creating discovered Alertmanagers failed")
            }
        }
    }
    all
}

fn of_group(group: &TargetGroup, config: &AlertmanagerConfig) -> Result<Found, String> {
    let mut found = Found::default();
    let mut builder = LabelsBuilder::new();
    for own in &group.targets {
        builder.clear();
        for (name, value) in own.iter() {
            builder.set(name, value);
        }
        builder.set(SCHEME_LABEL, &config.scheme);
        builder.set(PATH_LABEL, &alerts_path(&config.path_prefix));
        for (name, value) in group.labels.iter().filter(|(name, _)| !own.contains(name)) {
            builder.set(name, value);
        }
        let before = url(&builder);
        if !relabel::process(&config.relabel_configs, &mut builder) {
            found.dropped.push(before);
            continue;
        }
        let address = builder.get(ADDRESS_LABEL);
        if address.contains('/') {
            return Err(format!("{address:?} is not a valid hostname"));
        }
        let url = url(&builder);
        url.parse::<http::Uri>().map_err(|e| format!("{url:?}: {e}"))?;
        found.active.push(url);
    }
    Ok(found)
}

fn url(labels: &LabelsBuilder) -> String {
    let part = |name: &str| labels.get(name).to_string();
    let url = GoUrl {
        scheme: part(SCHEME_LABEL),
        host: part(ADDRESS_LABEL),
        path: part(PATH_LABEL),
        query: String::new(),
    };
    url.to_string()
}

/// `/prefix/api/v2/alerts`, cleaned as Go's `path.Join` does.
fn alerts_path(prefix: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in prefix.split('/').chain(["api", "v2", "alerts"]) {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use config::{Config, LoadOptions};

    fn config(text: &str) -> AlertmanagerConfig {
        let text = format!("alerting:\n  alertmanagers:\n  - {text}\n");
        Config::parse(&text, &LoadOptions::default()).unwrap().alerting.alertmanagers.remove(0)
    }

    fn group(targets: &[&str]) -> Arc<TargetGroup> {
        let target = |a: &&str| model::target_group::TargetLabels::address(a);
        Arc::new(TargetGroup { targets: targets.iter().map(target).collect(), ..TargetGroup::default() })
    }

    #[test]
    fn urls_follow_upstream() {
        for (prefix, path) in [
            ("", "/api/v2/alerts"),
            ("/", "/api/v2/alerts"),
            ("/am//x/", "/am/x/api/v2/alerts"),
            ("a/../b/.", "/b/api/v2/alerts"),
            ("../..", "/api/v2/alerts"),
        ] {
            assert_eq!(alerts_path(prefix), path, "{prefix}");
        }
        let config = config(
            "{scheme: https, path_prefix: 'a b', relabel_configs: [{source_labels: [__address__], regex: 'no.*', action: drop}]}",
        );
        let found = find(
            &[group(&["am:9093", "no:1", "am:9093"]), group(&["x/y", "am2:1"]), group(&["[::1]:1"])],
            &config,
        );
        assert_eq!(
            found.active,
            ["https://am:9093/a%20b/api/v2/alerts", "https://[::1]:1/a%20b/api/v2/alerts"]
        );
        assert_eq!(found.dropped, ["https://no:1/a%20b/api/v2/alerts"]);
    }

    #[test]
    fn labels_of_the_group_and_relabeling_may_choose() {
        let config = config(
            "{relabel_configs: [{source_labels: [path], target_label: __alerts_path__, regex: '(.+)'}]}",
        );
        let mut group = group(&["a:1"]);
        Arc::make_mut(&mut group).labels =
            [("path".into(), "/other".into()), (SCHEME_LABEL.into(), "https".into())].into();
        assert_eq!(find(&[group], &config).active, ["https://a:1/other"]);
    }
}
