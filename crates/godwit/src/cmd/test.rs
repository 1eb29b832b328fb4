//! `godwit test`: unit tests of rules. Commands, flags, output and exit codes are promtool's.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "commands print")]

mod diff;
mod expected;
mod file;
mod junit;
mod series;

use std::io::Write as _;

use goregex::Regex;
use promql::ParserOptions;

use super::flags::{Command, Found, some, switch, valued};
use super::group::{Failed, Group, Run};
use super::promql::parser_options;
use junit::Suite;

/// All commands.
pub static GROUP: Group = Group { word: "test", about: "Run unit tests.", commands: COMMANDS };

const COMMANDS: &[(Command, Run)] = &[(
    Command {
        path: "rules",
        help: "Run unit tests of rules: files of input series, with the alerts and values that have to come of them.",
        flags: &[
            valued("junit", "FILE", "", "Also write the results to this file, as JUnit XML."),
            valued("run", "REGEX", "", "Only tests whose names match; can be repeated."),
            switch("debug", None, "Print when tests begin and end, and all their series."),
            switch("diff", None, "Print what differs in colours, not what is expected and what is there."),
            switch("ignore-unknown-fields", None, "Accept unknown keys in rule files."),
        ],
        args: &[some("test-rule-file", "The files.").file()],
    },
    rules,
)];

/// How to test.
struct Settings {
    run: Option<Regex>,
    debug: bool,
    diff: bool,
    ignore_unknown_fields: bool,
    parser: ParserOptions,
    delayed_name_removal: bool,
}

fn rules(found: &Found) -> Result<u8, Failed> {
    let patterns = found.texts("run");
    let run = match patterns.is_empty() {
        true => None,
        false => Some(
            Regex::new(&patterns.join("|"))
                .map_err(|e| Failed::usage(format!("--run: error parsing regexp: {e}")))?,
        ),
    };
    let features = found.features();
    let settings = Settings {
        run,
        debug: found.on("debug"),
        diff: found.on("diff"),
        ignore_unknown_fields: found.on("ignore-unknown-fields"),
        parser: parser_options(&features),
        delayed_name_removal: features.iter().any(|f| f == "promql-delayed-name-removal"),
    };
    // Made before the tests run: a wrong path is told at once.
    let mut junit = match found.text("junit") {
        "" => None,
        path => Some(std::fs::File::create(path).map_err(|e| Failed::usage(format!("open {path}: {e}")))?),
    };
    let mut suites = Vec::new();
    let mut failed = false;
    for file in found.args_from(0) {
        let mut suite = Suite::new(file);
        let errors = file::run(file, &settings, &mut suite);
        if errors.is_empty() {
            println!("  SUCCESS");
        } else {
            failed = true;
            eprintln!("  FAILED:");
            for error in errors {
                eprintln!("{error}");
                println!();
            }
        }
        println!();
        suites.push(suite);
    }
    if let Some(out) = &mut junit
        && let Err(e) = out.write_all(junit::print(&suites).as_bytes())
    {
        eprintln!("failed to write JUnit XML: {e}");
    }
    Ok(u8::from(failed))
}
