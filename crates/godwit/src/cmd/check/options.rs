//! Flags of `check`.

use std::time::Duration;

/// What to check and how.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) what: String,
    pub(super) files: Vec<String>,
    pub(super) help: bool,
    pub(super) syntax_only: bool,
    pub(super) agent: bool,
    pub(super) from_2x: bool,
    pub(super) extended: bool,
    pub(super) lint: Vec<String>,
    pub(super) lint_fatal: bool,
    pub(super) ignore_unknown_fields: bool,
    pub(super) lookback: Duration,
    pub(super) features: Vec<String>,
}

const WHAT: [&str; 4] = ["config", "rules", "web-config", "metrics"];
/// Flags with a `--no-` form.
const SWITCHES: [&str; 6] =
    ["syntax-only", "agent", "from-2x", "extended", "lint-fatal", "ignore-unknown-fields"];
const FLAGS: [&str; 10] = [
    "--help",
    "--syntax-only",
    "--agent",
    "--from-2x",
    "--extended",
    "--lint-fatal",
    "--ignore-unknown-fields",
    "--lint",
    "--query.lookback-delta",
    "--enable-feature",
];

impl Options {
    pub(super) fn parse(args: &[String]) -> Result<Options, String> {
        let mut options = Options {
            what: String::new(),
            files: Vec::new(),
            help: false,
            syntax_only: false,
            agent: false,
            from_2x: false,
            extended: false,
            lint: Vec::new(),
            lint_fatal: false,
            ignore_unknown_fields: false,
            lookback: Duration::from_secs(300),
            features: Vec::new(),
        };
        let mut lint = None;
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let (name, inline) = arg.split_once('=').map_or((arg.as_str(), None), |(n, v)| (n, Some(v)));
            let (name, on) = match name.strip_prefix("--no-") {
                Some(bare) if SWITCHES.contains(&bare) => (format!("--{bare}"), false),
                _ => (name.to_string(), true),
            };
            let name = name.as_str();
            let switch = match name {
                "-h" | "--help" => &mut options.help,
                "--syntax-only" => &mut options.syntax_only,
                "--agent" => &mut options.agent,
                "--from-2x" => &mut options.from_2x,
                "--extended" => &mut options.extended,
                "--lint-fatal" => &mut options.lint_fatal,
                "--ignore-unknown-fields" => &mut options.ignore_unknown_fields,
                "--lint" | "--query.lookback-delta" | "--enable-feature" => {
                    let value = inline.or_else(|| args.next().map(String::as_str));
                    let value = value.ok_or_else(|| format!("expected argument for flag '{name}'"))?;
                    match name {
                        "--lint" => lint = Some(value.to_string()),
                        "--enable-feature" => options.features.extend(value.split(',').map(str::to_string)),
                        _ => {
                            options.lookback =
                                model::duration::parse(value).map_err(|e| format!("{name}: {e}"))?
                        }
                    }
                    continue;
                }
                _ if arg.len() > 1 && arg.starts_with('-') => {
                    let near = config::nearest(name, FLAGS).map(|near| format!(", did you mean '{near}'?"));
                    return Err(format!("unknown long flag '{name}'{}", near.unwrap_or_default()));
                }
                _ if options.what.is_empty() => {
                    if !WHAT.contains(&arg.as_str()) {
                        let near = config::nearest(arg, WHAT).map(|near| format!(", did you mean {near:?}?"));
                        return Err(format!(
                            "there is no check {arg:?}{} (godwit check --help)",
                            near.unwrap_or_default()
                        ));
                    }
                    options.what.clone_from(arg);
                    continue;
                }
                _ => {
                    options.files.push(arg.clone());
                    continue;
                }
            };
            if let Some(value) = inline {
                return Err(format!("unexpected {value}: {name} takes no value"));
            }
            *switch = on;
        }
        let default = if options.what == "metrics" { "all" } else { "duplicate-rules" };
        options.lint = lint.as_deref().unwrap_or(default).split(',').map(str::to_string).collect();
        for word in &options.lint {
            if !["all", "none", "duplicate-rules", "too-long-scrape-interval"].contains(&word.as_str()) {
                println!("WARNING: unknown lint option: {word:?}");
            }
        }
        Ok(options)
    }

    pub(super) fn lints(&self, name: &str) -> bool {
        // As in promtool, "none" beside others changes nothing.
        self.lint.iter().any(|w| w == name || w == "all")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(&line.split(' ').map(str::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn flags_and_files() {
        let o = parse("config --syntax-only a.yml --lint=all --query.lookback-delta 10m b.yml").unwrap();
        assert_eq!(
            (o.what.as_str(), o.files.join(","), o.syntax_only),
            ("config", "a.yml,b.yml".to_string(), true)
        );
        assert!(
            o.lints("duplicate-rules") && o.lints("too-long-scrape-interval") && o.lookback.as_secs() == 600
        );
        assert!(!parse("rules --lint=none").unwrap().lints("duplicate-rules"));
        assert!(parse("rules").unwrap().lints("duplicate-rules"));
        assert!(parse("rules --lint=all,none").unwrap().lints("duplicate-rules"));
        assert!(!parse("rules --lint-fatal --no-lint-fatal").unwrap().lint_fatal);
        for (line, want) in [
            ("confg a", "did you mean \"config\"?"),
            ("config --sintax-only", "did you mean '--syntax-only'?"),
            ("config --agent=yes", "takes no value"),
            ("config --lint", "expected argument"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(want), "{line}: {error}");
        }
    }
}
