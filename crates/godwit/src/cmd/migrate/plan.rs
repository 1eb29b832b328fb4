//! `godwit migrate plan`: what would stand in the way, on both machines and in the configuration, and how long it would
//! take. Changes nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use config::{Config, LoadOptions};
use serde_json::{Value, json};

use super::super::api::{Api, TIMEOUT};
use super::super::flags::Found;
use super::super::group::{Failed, emit, emit_json};
use super::super::output::sizes;
use super::{PATH, order};

pub fn run(found: &Found) -> Result<u8, Failed> {
    let api = Api::new(found, found.text("url"))?;
    let form = order(found)?;
    let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut data = api.tell(&format!("{PATH}/plan"), &form, TIMEOUT)?;
    let wanted = found.text("source-config");
    if !wanted.is_empty() {
        let theirs = if wanted.starts_with("http") {
            let answer = Api::new(found, wanted)?.get("/api/v1/status/config", &[])?;
            answer["yaml"].as_str().unwrap_or_default().to_string()
        } else {
            std::fs::read_to_string(wanted).map_err(|e| Failed::Work(format!("{wanted}: {e}")))?
        };
        let ours = api.get("/api/v1/status/config", &[])?;
        let compared = compare(&theirs, ours["yaml"].as_str().unwrap_or_default());
        if let Some(checks) = data["plan"]["checks"].as_array_mut() {
            checks.extend(compared);
        }
    }
    let refused = data["plan"]["checks"].as_array().into_iter().flatten().any(|c| c["verdict"] == "refused");
    if found.text("output") == "json" {
        emit_json(&data)?;
    } else {
        emit(&said(&data["plan"], refused))?;
    }
    Ok(u8::from(refused))
}

/// What of the source's configuration the destination's lacks, or has otherwise.
fn compare(theirs: &str, ours: &str) -> Vec<Value> {
    let mut checks = Vec::new();
    let mut add = |name: &str, verdict: &str, found: String, remedy: &str| {
        let remedy = if verdict == "ok" { "" } else { remedy };
        checks.push(json!({ "name": name, "verdict": verdict, "found": found, "remedy": remedy }));
    };
    let ours = Config::parse(ours, &LoadOptions::default());
    let theirs_read = match Config::parse(theirs, &LoadOptions::default()) {
        Ok(config) => config,
        Err(e) => {
            let remedy = "what this version cannot read it cannot do either: COMPAT.md has the list";
            add("source's configuration", "refused", e.to_string(), remedy);
            return checks;
        }
    };
    let (own, other) = match &ours {
        Ok(own) => (own, &theirs_read),
        Err(e) => {
            add("own configuration", "refused", e.to_string(), "");
            return checks;
        }
    };
    let same = own.global.external_labels == other.global.external_labels;
    let shown = format!("{} there, {} here", other.global.external_labels, own.global.external_labels);
    let remedy = "take the source's global.external_labels over: alerts are one and the same at Alertmanager by them, and scrapes keep their places in time";
    add("external labels", if same { "ok" } else { "refused" }, shown, remedy);
    let jobs = |c: &Config| c.scrape_configs.iter().map(|j| j.job_name.clone()).collect::<BTreeSet<_>>();
    let (there, here) = (jobs(other), jobs(own));
    let missing: Vec<_> = there.difference(&here).cloned().collect();
    let verdict = if missing.is_empty() { "ok" } else { "warning" };
    let shown = match missing.is_empty() {
        true => format!("all {} jobs of the source are here", there.len()),
        false => format!("not here: {}", missing.join(", ")),
    };
    add("jobs", verdict, shown, "nobody scrapes them after the switch: copy the source's scrape_configs");
    let lacking = crate::server::not_built::configured(other);
    let verdict = if lacking.is_empty() { "ok" } else { "warning" };
    let shown = if lacking.is_empty() { "nothing lacks".to_string() } else { lacking.join(", ") };
    add("parts", verdict, shown, "this version checks them and does not do them yet: COMPAT.md has the list");
    let files = files_of(theirs);
    let shown = if files.is_empty() { "none".to_string() } else { files.join(", ") };
    let verdict = if files.is_empty() { "ok" } else { "warning" };
    add(
        "files",
        verdict,
        shown,
        "the source's configuration names them: they, secrets among them, have to be on this machine as well",
    );
    checks
}

/// Files that a configuration names, as a server prints it: one key a line, files of a list below theirs.
fn files_of(text: &str) -> Vec<String> {
    let (mut found, mut within) = (BTreeSet::new(), None);
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        let item = line.trim_start();
        if let Some(of) = within {
            match item.strip_prefix("- ") {
                Some(file) if indent >= of && !file.contains(": ") => {
                    found.insert(file.trim_matches(['"', '\'']).to_string());
                    continue;
                }
                _ => within = None,
            }
        }
        let Some((key, value)) = item.trim_start_matches("- ").split_once(':') else { continue };
        let value = value.trim().trim_matches(['"', '\'']);
        if ["rule_files", "scrape_config_files", "files"].contains(&key) && value.is_empty() {
            within = Some(indent);
        } else if key.ends_with("_file") && !value.is_empty() {
            found.insert(value.to_string());
        }
    }
    found.into_iter().collect()
}

fn said(plan: &Value, refused: bool) -> String {
    let mut text = String::new();
    for check in plan["checks"].as_array().into_iter().flatten() {
        let word = |key: &str| check[key].as_str().unwrap_or_default().to_string();
        text += &format!("{:<8} {}: {}\n", word("verdict"), word("name"), word("found"));
        if !word("remedy").is_empty() {
            text += &format!("{:<8}   {}\n", "", word("remedy"));
        }
    }
    let number = |key: &str| plan[key].as_u64().unwrap_or_default();
    text += &format!("{} blocks, {}", plan["source"]["blocks"], sizes(number("bytes")));
    text += &match number("bytesPerSecond") {
        0 => "; too little to say how long it will take\n".to_string(),
        rate => format!(
            "; {} a second were read: at least {}\n",
            sizes(rate),
            model::duration::format(Duration::from_secs(number("seconds").max(1)))
        ),
    };
    text += if refused {
        "not possible as it is; nothing was changed\n"
    } else {
        "possible; nothing was changed\n"
    };
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEIRS: &str = "global:\n  scrape_interval: 15s\n  external_labels: {cluster: a}\nrule_files:\n- /etc/r/*.yml\nscrape_configs:\n- job_name: a\n  basic_auth: {username: u, password_file: /etc/pw}\n  static_configs: [{targets: [x]}]\n- job_name: b\n";

    #[test]
    fn what_differs_is_named() {
        let verdicts = |ours: &str| {
            let all = compare(THEIRS, ours);
            all.iter()
                .map(|c| format!("{} {}", c["name"].as_str().unwrap(), c["verdict"].as_str().unwrap()))
                .collect::<Vec<_>>()
        };
        let same = verdicts(THEIRS);
        assert_eq!(same[..3], ["external labels ok", "jobs ok", "parts ok"], "{same:?}");
        let other = verdicts("scrape_configs: [{job_name: a}]\n");
        assert_eq!(other[..2], ["external labels refused", "jobs warning"], "{other:?}");
        assert_eq!(compare("a: b\n", THEIRS).len(), 1);
    }

    #[test]
    fn files_are_found_as_a_server_prints_them() {
        let text = "rule_files:\n- /etc/r/*.yml\n- b.yml\nscrape_configs:\n- job_name: a\n  basic_auth:\n    password_file: /etc/pw\n  tls_config:\n    ca_file: /ca.pem\n  file_sd_configs:\n  - files:\n    - t/*.json\n    refresh_interval: 5m\n";
        assert_eq!(files_of(text), ["/ca.pem", "/etc/pw", "/etc/r/*.yml", "b.yml", "t/*.json"]);
    }
}
