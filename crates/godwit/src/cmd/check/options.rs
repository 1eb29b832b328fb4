//! Flags of `check`.

use std::time::Duration;

use crate::cmd::flags::Found;
use crate::cmd::group::Failed;

/// How to check.
#[derive(Clone, Debug)]
pub(super) struct Options {
    pub(super) files: Vec<String>,
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

/// Words of `--lint` for configurations, and without the last one for rule files.
const LINTS: [&str; 4] = ["all", "none", "duplicate-rules", "too-long-scrape-interval"];

impl Options {
    pub(super) fn of(found: &Found) -> Result<Options, Failed> {
        let lookback = found.text("query.lookback-delta");
        let list = |text: &str| text.split(',').map(str::to_string).collect::<Vec<_>>();
        let options = Options {
            files: found.args_from(0).to_vec(),
            syntax_only: found.on("syntax-only"),
            agent: found.on("agent"),
            from_2x: found.on("from-2x"),
            extended: found.on("extended"),
            lint: list(found.text("lint")),
            lint_fatal: found.on("lint-fatal"),
            ignore_unknown_fields: found.on("ignore-unknown-fields"),
            // Units of the config file: days too, which Go's form lacks.
            lookback: model::duration::parse(lookback)
                .map_err(|e| Failed::usage(format!("--query.lookback-delta: {e}")))?,
            features: found.features(),
        };
        Ok(options)
    }

    /// The same, with warnings about words of `--lint` that no check of a configuration (`whole`) or of rule files has.
    pub(super) fn warned(self, whole: bool) -> Options {
        let known = if whole { &LINTS[..] } else { &LINTS[..3] };
        for word in self.lint.iter().filter(|word| !known.contains(&word.as_str())) {
            println!("WARNING: unknown lint option: {word:?}");
        }
        self
    }

    pub(super) fn lints(&self, name: &str) -> bool {
        // As in promtool, "none" beside others changes nothing.
        self.lint.iter().any(|w| w == name || w == "all")
    }
}

/// Options of a command line, for tests.
#[cfg(test)]
pub(super) fn read(line: &str) -> Result<Options, String> {
    use crate::cmd::flags::Asked;
    let args: Vec<String> = line.split(' ').map(str::to_string).collect();
    let (command, _) = super::GROUP.commands.iter().find(|(c, _)| c.is_meant(&args)).ok_or("no command")?;
    match command.parse(&args)? {
        Asked::Run(found) => Options::of(&found).map_err(|e| e.to_string()),
        Asked::Help => Err("help".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::read as parse;

    #[test]
    fn flags_and_files() {
        let o = parse(
            "--enable-feature=a,b config --syntax-only Cargo.toml --lint=all --query.lookback-delta 10m src",
        )
        .unwrap();
        assert_eq!((o.files.join(","), o.syntax_only), ("Cargo.toml,src".to_string(), true));
        assert_eq!(o.features, ["a", "b"]);
        assert!(
            o.lints("duplicate-rules") && o.lints("too-long-scrape-interval") && o.lookback.as_secs() == 600
        );
        assert!(!parse("rules --lint=none").unwrap().lints("duplicate-rules"));
        assert!(parse("rules").unwrap().lints("duplicate-rules"));
        assert!(parse("rules --lint=all,none").unwrap().lints("duplicate-rules"));
        assert!(!parse("rules --lint-fatal --no-lint-fatal").unwrap().lint_fatal);
        for (line, want) in [
            ("confg a", "no command"),
            ("config --sintax-only", "did you mean '--syntax-only'?"),
            ("config --agent=yes", "unexpected yes"),
            ("config --lint", "expected argument"),
            ("config", "required argument 'config-files' not provided"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(want), "{line}: {error}");
        }
    }
}
