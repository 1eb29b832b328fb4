//! `godwit check`: finds mistakes in files without starting anything. Output and exit codes as promtool's:
//! 0 sound, 1 wrong, 3 advice only.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "commands print")]

mod config_file;
mod discovery;
mod metrics;
mod options;
mod rules;
mod server;

use std::sync::Arc;

use super::api::HTTP_CONFIG;
use super::flags::{Command, Flag, any, required, some, switch, valued};
use super::group::{Group, Run};
pub use metrics::text_rules;
use options::Options;

/// Everything is sound.
const SOUND: u8 = 0;
/// Something is wrong.
const WRONG: u8 = 1;
/// Nothing is wrong, but there is advice that was asked to be fatal.
const ADVICE: u8 = 3;

const LINT_FATAL: Flag = switch("lint-fatal", None, "Advice makes the exit code 3.");
const UNKNOWN: Flag = switch("ignore-unknown-fields", None, "Accept unknown keys in rule files.");
const LOOKBACK: Flag = valued(
    "query.lookback-delta",
    "DURATION",
    "5m",
    "The server's longest lookback, with which too-long-scrape-interval compares.",
);
const URL: Flag = valued("url", "URL", "http://localhost:9090", "The server.");

/// All checks.
pub static GROUP: Group =
    Group { word: "check", about: "Find mistakes without starting anything.", commands: COMMANDS };

const COMMANDS: &[(Command, Run)] = &[
    (
        Command {
            path: "config",
            help: "Check prometheus.yml, with the rule, job, target and key files it names. Exit code 3: advice only, where that was asked to be fatal.",
            flags: &[
                switch("syntax-only", None, "Only the file itself."),
                switch("agent", None, "As agent mode would read it."),
                switch(
                    "from-2x",
                    None,
                    "Name every setting that 3.x takes in another way, not only likely ones.",
                ),
                valued(
                    "lint",
                    "LIST",
                    "duplicate-rules",
                    "Advice: duplicate-rules, too-long-scrape-interval, all, none.",
                ),
                LINT_FATAL,
                UNKNOWN,
                LOOKBACK,
            ],
            args: &[some("config-files", "The files.").file()],
        },
        |found| Ok(config_file::run(&Options::of(found)?.warned(true))),
    ),
    (
        Command {
            path: "rules",
            help: "Check rule files, or standard input. Exit code 3: advice only, where that was asked to be fatal.",
            flags: &[
                valued("lint", "LIST", "duplicate-rules", "Advice: duplicate-rules, all, none."),
                LINT_FATAL,
                UNKNOWN,
                LOOKBACK,
            ],
            args: &[any("rule-files", "The files.").file()],
        },
        |found| Ok(rules::run(&Options::of(found)?.warned(false))),
    ),
    (
        Command {
            path: "web-config",
            help: "Check files for --web.config.file, with the certificates they name.",
            flags: &[LOOKBACK],
            args: &[some("web-config-files", "The files.").file()],
        },
        |found| Ok(web_config(found.args_from(0))),
    ),
    (
        Command {
            path: "metrics",
            help: "Check a metrics page on standard input, in the text format. For example: curl -s localhost:9090/metrics | godwit check metrics",
            flags: &[
                switch("extended", None, "Also list the series of each metric, most first."),
                valued("lint", "all|none", "all", "Advice on names and help texts."),
                LOOKBACK,
            ],
            args: &[],
        },
        |found| Ok(metrics::run(&Options::of(found)?)),
    ),
    (
        Command {
            path: "healthy",
            help: "Ask a server whether it is up.",
            flags: &[HTTP_CONFIG, URL, LOOKBACK],
            args: &[],
        },
        |found| server::run(found, "/-/healthy"),
    ),
    (
        Command {
            path: "ready",
            help: "Ask a server whether it takes queries.",
            flags: &[HTTP_CONFIG, URL, LOOKBACK],
            args: &[],
        },
        |found| server::run(found, "/-/ready"),
    ),
    (
        Command {
            path: "service-discovery",
            help: "Run the discovery of a job and print what it finds, and the labels after relabeling, as JSON. Ends when nothing new comes.",
            flags: &[valued("timeout", "DURATION", "30s", "Longest wait for targets."), LOOKBACK],
            args: &[
                required("config-file", "The configuration.").file(),
                required("job", "Name of the job."),
            ],
        },
        discovery::run,
    ),
];

fn web_config(files: &[String]) -> u8 {
    let mut code = SOUND;
    for file in files {
        match usable(file) {
            Ok(()) => eprintln!("{file} SUCCESS"),
            Err(error) => {
                eprintln!("{file} FAILED: {error}");
                code = WRONG;
            }
        }
    }
    code
}

/// Makes of the file all that a server would make of it: certificates are read, keys must fit them.
fn usable(file: &str) -> Result<(), String> {
    let web_config = net::WebConfigSource {
        path: file.into(),
        load: Arc::new(|path| config::WebConfig::load_file(path).map_err(|e| e.to_string())),
    };
    let options = net::ServeOptions { web_config: Some(web_config), ..net::ServeOptions::default() };
    net::Server::new(Vec::new(), options).map(drop).map_err(|e| e.to_string())
}
