//! Contents of target files (`file_sd_configs`) and of HTTP discovery answers: lists of static groups.

use model::target_group::LabelMap;

use crate::error::{ConfigError, Problem};
use crate::load::{LoadOptions, decode_text};
use crate::sd::StaticConfig;
use crate::yaml::Decoder;

/// Reads a YAML list of groups, strictly. An empty text is an empty list.
///
/// # Errors
/// All problems found. `file` is named in them.
pub fn parse_targets_yaml(text: &str, file: &str) -> Result<Vec<StaticConfig>, ConfigError> {
    let mut cx = Decoder::new(&LoadOptions::default());
    let groups: Option<Vec<Option<StaticConfig>>> = decode_text(text, Vec::new(), &mut cx, |_, _, _| {});
    let Some(groups) = groups else {
        return Err(ConfigError::Invalid { file: file.to_string(), problems: cx.into_problems() });
    };
    all_given(groups, file)
}

/// Reads a JSON list of groups, strictly.
///
/// # Errors
/// The first problem found. `file` is named in it.
pub fn parse_targets_json(text: &[u8], file: &str) -> Result<Vec<StaticConfig>, ConfigError> {
    let groups: Option<Vec<Option<JsonGroup>>> = serde_json::from_slice(text).map_err(|error| {
        let at = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        // serde_json's text ends in " at line x column y", which the problem has in fields.
        let text = error.to_string();
        let text = text.split(" at line ").next().unwrap_or(&text).to_string();
        invalid(file, Problem { line: at(error.line()), column: at(error.column()), text })
    })?;
    let groups = groups.unwrap_or_default();
    if groups.iter().flatten().flat_map(|g| &g.labels).any(|labels| labels.contains_key("")) {
        let text = "\"\" is not a valid label name".to_string();
        return Err(invalid(file, Problem { line: 0, column: 0, text }));
    }
    let groups = groups.into_iter().map(|group| {
        group.map(|g| StaticConfig {
            targets: g.targets.unwrap_or_default(),
            labels: g.labels.unwrap_or_default(),
        })
    });
    all_given(groups.collect(), file)
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonGroup {
    #[serde(default)]
    targets: Option<Vec<String>>,
    #[serde(default)]
    labels: Option<LabelMap>,
}

fn all_given(groups: Vec<Option<StaticConfig>>, file: &str) -> Result<Vec<StaticConfig>, ConfigError> {
    let null = groups.iter().position(Option::is_none);
    match null {
        Some(index) => Err(invalid(
            file,
            Problem { line: 0, column: 0, text: format!("nil target group item found (index {index})") },
        )),
        None => Ok(groups.into_iter().flatten().collect()),
    }
}

fn invalid(file: &str, problem: Problem) -> ConfigError {
    ConfigError::Invalid { file: file.to_string(), problems: vec![problem] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_give_the_same_and_are_strict() {
        let yaml =
            parse_targets_yaml("- targets: [a:1, b:2]\n  labels: {x: y}\n- targets: []\n", "t").unwrap();
        let json =
            parse_targets_json(br#"[{"targets":["a:1","b:2"],"labels":{"x":"y"}},{"targets":[]}]"#, "t")
                .unwrap();
        assert_eq!(yaml, json);
        assert_eq!((yaml.len(), yaml[0].targets[1].as_str(), yaml[0].labels["x"].as_str()), (2, "b:2", "y"));
        assert!(parse_targets_yaml("", "t").unwrap().is_empty());
        for bad in
            ["- target: [a]", "- targets: a", "targets: [a]", "- null", "- targets: [a]\n  labels: {\"\": b}"]
        {
            assert!(parse_targets_yaml(bad, "t").is_err(), "{bad}");
        }
        for bad in [
            r#"[{"target":[]}]"#,
            r#"{"targets":[]}"#,
            "[null]",
            "",
            "[",
            r#"[{"targets":["a"],"labels":{"":"b"}}]"#,
            r#"[{"targets":[1]}]"#,
        ] {
            assert!(parse_targets_json(bad.as_bytes(), "t").is_err(), "{bad}");
        }
        let error = parse_targets_json(b"[\n{\"targts\":[]}]", "f.json").unwrap_err().to_string();
        assert!(error.starts_with("f.json:2:"), "{error}");
    }
}
