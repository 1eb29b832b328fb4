//! Which program is meant: by the name it was called by, and by the first argument.

use std::path::Path;

/// Words that may come first.
pub const COMMANDS: &[&str] = &[
    "server",
    "check",
    "test",
    "query",
    "promql",
    "push",
    "debug",
    "doctor",
    "tsdb",
    "migrate",
    "completion",
    "help",
    "version",
];
/// Those of them that promtool has: words with commands behind them.
const TOOLS: &[&str] = &["check", "test", "query", "promql", "push", "debug", "tsdb"];

/// What to run, with the arguments that are left for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The server with its flags. `program` is the name to use in texts.
    Server {
        /// `prometheus` or `godwit`.
        program: &'static str,
        /// Flags.
        args: Vec<String>,
        /// Called without anything: run on the embedded configuration where there is no prometheus.yml.
        bare: bool,
    },
    /// `doctor`.
    Doctor(Vec<String>),
    /// A word with commands behind it: [`crate::cmd::GROUPS`].
    Group {
        /// `godwit` or `promtool`.
        program: &'static str,
        /// The word.
        word: String,
        /// What follows, and flags before it.
        args: Vec<String>,
    },
    /// `completion`.
    Completion(Vec<String>),
    /// The overview of all commands.
    Overview,
    /// The version.
    Version,
    /// A word that is no command.
    Unknown(String),
}

/// Decides from the whole command line, the program's own name first.
#[must_use]
pub fn choose_mode(argv: &[String]) -> Mode {
    let (name, args) = argv.split_first().map_or(("godwit", &[][..]), |(name, args)| (name.as_str(), args));
    let base = Path::new(name).file_name().and_then(|n| n.to_str()).unwrap_or("");
    if base == "prometheus" {
        return Mode::Server { program: "prometheus", args: args.to_vec(), bare: false };
    }
    if base == "promtool" {
        return promtool(args);
    }
    let Some((first, rest)) = args.split_first() else {
        return Mode::Server { program: "godwit", args: Vec::new(), bare: true };
    };
    let rest = rest.to_vec();
    match first.as_str() {
        "server" => Mode::Server { program: "godwit server", args: rest, bare: false },
        "doctor" => Mode::Doctor(rest),
        word if TOOLS.contains(&word) || word == "migrate" => {
            Mode::Group { program: "godwit", word: word.to_string(), args: rest }
        }
        "completion" => Mode::Completion(rest),
        "help" => Mode::Overview,
        "version" => Mode::Version,
        "-h" | "--help" if rest.is_empty() => Mode::Overview,
        word if word.starts_with('-') || word.starts_with('@') => {
            Mode::Server { program: "godwit", args: args.to_vec(), bare: false }
        }
        word => Mode::Unknown(word.to_string()),
    }
}

/// Called as promtool. Flags of all commands may come first.
fn promtool(args: &[String]) -> Mode {
    let mut at = 0;
    while let Some(arg) = args.get(at) {
        match arg.as_str() {
            "--version" => return Mode::Version,
            "help" | "-h" | "--help" => return Mode::Overview,
            "--enable-feature" => at += 2,
            flag if flag.starts_with('-') => at += 1,
            word if TOOLS.contains(&word) => {
                let mut args = args.to_vec();
                let word = args.remove(at);
                return Mode::Group { program: "promtool", word, args };
            }
            word => return Mode::Unknown(word.to_string()),
        }
    }
    Mode::Overview
}

/// What `godwit --help` prints.
#[must_use]
pub fn overview() -> String {
    "\
usage: godwit [<command>] [<flags>]

godwit monitors: it scrapes targets, stores their metrics in Prometheus's own format and answers PromQL.
It takes the place of a Prometheus: the same flags, configuration, data folder and HTTP API.

Commands:
  (none)      Monitor this machine and godwit itself: http://localhost:9090, data under ./data.
  server      Run the server. The word may be left out: `godwit --config.file=prometheus.yml` is the same.
              `godwit server --help` lists all flags.
  check       Find mistakes without starting: check config FILE, check rules FILE..., check metrics < page;
              ask a server or a discovery: check ready, check service-discovery FILE JOB, and more.
  test        Run unit tests of rules: test rules FILE...
  query       Ask a server: query instant URL EXPR, query range URL EXPR, series, labels, analyze.
  promql      Rewrite an expression: promql format EXPR, promql label-matchers set EXPR NAME VALUE.
  push        Send a metrics page by remote write: push metrics URL FILE.
  debug       Collect what a bug report needs of a server: debug all URL.
  doctor      Look at a data folder, its disk and the machine, and say what is wrong and how to mend it.
  tsdb        Work on a data folder: list, analyze, dump, verify, repair, snapshot, and more.
  migrate     Take over a running Prometheus without losing a sample: migrate plan, run, status, verify, switch, release.
  completion  Print the completion script of a shell: bash, zsh or fish.
  version     Print the version.

First steps:
  godwit                                         see it work on this machine
  godwit check config prometheus.yml             check a configuration
  godwit --config.file=prometheus.yml            run it

Called by the name `prometheus` it takes that program's flags only; by the name `promtool`,\nthat one's.
"
    .to_string()
}

/// What to say about a word that is no command.
#[must_use]
pub fn unknown_command(word: &str) -> String {
    let hint = config::nearest(word, COMMANDS.iter().copied())
        .map(|near| format!(", did you mean {near:?}?"))
        .unwrap_or_default();
    format!(
        "godwit: {word:?} is no command{hint} (godwit --help lists them; flags of the server begin with --)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(line: &str) -> Mode {
        choose_mode(&line.split(' ').map(str::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn name_and_first_word_decide() {
        let server = |program, args: &[&str], bare| Mode::Server {
            program,
            args: args.iter().map(ToString::to_string).collect(),
            bare,
        };
        let group = |program, word: &str, args: &[&str]| Mode::Group {
            program,
            word: word.into(),
            args: args.iter().map(ToString::to_string).collect(),
        };
        for (line, want) in [
            ("/bin/prometheus", server("prometheus", &[], false)),
            ("prometheus check config", server("prometheus", &["check", "config"], false)),
            ("godwit", server("godwit", &[], true)),
            ("godwit --config.file=x", server("godwit", &["--config.file=x"], false)),
            ("godwit @file", server("godwit", &["@file"], false)),
            ("godwit server --agent", server("godwit server", &["--agent"], false)),
            ("godwit --help", Mode::Overview),
            ("godwit check rules a", group("godwit", "check", &["rules", "a"])),
            ("promtool tsdb list", group("promtool", "tsdb", &["list"])),
            (
                "promtool --experimental --enable-feature x promql format 1",
                group("promtool", "promql", &["--experimental", "--enable-feature", "x", "format", "1"]),
            ),
            ("promtool --version", Mode::Version),
            ("promtool", Mode::Overview),
            ("godwit docter", Mode::Unknown("docter".into())),
        ] {
            assert_eq!(mode(line), want, "{line}");
        }
        assert!(unknown_command("docter").contains("did you mean \"doctor\"?"));
    }
}
