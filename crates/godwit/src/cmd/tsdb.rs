//! `godwit tsdb`: work on a data folder. Commands, arguments, output and exit codes are promtool's where
//! promtool has the command; `--output=json` is for scripts, bars are drawn on terminals only.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "commands print")]

mod analyze;
mod bench;
mod create_blocks;
mod dump;
mod http;
mod import;
mod list;
mod output;
mod repair;
mod snapshot;
mod verify;

use std::io::Write as _;

use super::flags::{Asked, Command, Flag, Found, Positional, switch, valued};

/// Why a command failed, as it is printed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failed {
    /// What kingpin would say: the arguments are wrong.
    #[error("{0}")]
    Usage(String),
    /// The work could not be done.
    #[error("{0}")]
    Work(String),
    /// Whoever reads the output has enough of it: nothing to say.
    #[error("the output is closed")]
    Unheard,
}

impl Failed {
    fn usage(text: impl Into<String>) -> Self {
        Failed::Usage(text.into())
    }
}

impl From<storage::StorageError> for Failed {
    fn from(e: storage::StorageError) -> Self {
        Failed::Work(e.to_string())
    }
}

impl From<std::io::Error> for Failed {
    fn from(e: std::io::Error) -> Self {
        if e.kind() == std::io::ErrorKind::BrokenPipe { Failed::Unheard } else { Failed::Work(e.to_string()) }
    }
}

fn emit(text: &str) -> Result<u8, Failed> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(0)
}

fn emit_json(value: &serde_json::Value) -> Result<u8, Failed> {
    emit(&format!("{value}\n"))
}

const OUTPUT: Flag = valued("output", "text|json", "text", "json: one value for scripts.");
const DB_PATH: Positional = Positional { name: "db path", default: Some("data/"), help: "Data folder." };
const DUMP: [Flag; 4] = [
    valued(
        "sandbox-dir-root",
        "DIR",
        "",
        "Where a folder is made for what the replay of the log writes; in memory without it. It goes at the end.",
    ),
    valued("min-time", "MS", "-9223372036854775808", "First time, in milliseconds since 1970."),
    valued("max-time", "MS", "9223372036854775807", "Last time, in milliseconds since 1970."),
    valued("match", "SELECTOR", "{__name__=~'(?s:.*)'}", "Which series; can be repeated."),
];

/// All commands.
const COMMANDS: &[(Command, fn(&Found) -> Result<u8, Failed>)] = &[
    (
        Command {
            path: "list",
            help: "List the blocks of a folder, oldest first.",
            flags: &[switch("human-readable", Some('r'), "Times and sizes for people."), OUTPUT],
            args: &[DB_PATH],
        },
        list::run,
    ),
    (
        Command {
            path: "analyze",
            help: "Say where the series of a block come from: churn, cardinality, how full chunks are.",
            flags: &[
                valued("limit", "N", "20", "How many items to show in each list."),
                switch("extended", None, "Also read all chunks, and show how full they are."),
                valued("match", "SELECTOR", "", "Only series that match."),
                OUTPUT,
            ],
            args: &[
                DB_PATH,
                Positional {
                    name: "block id",
                    default: Some(""),
                    help: "Which block; the one made last without.",
                },
            ],
        },
        analyze::run,
    ),
    (
        Command {
            path: "dump",
            help: "Print all samples of a folder, log included; it may be in use.",
            flags: &[
                DUMP[0],
                DUMP[1],
                DUMP[2],
                DUMP[3],
                valued(
                    "format",
                    "prom|seriesjson|json",
                    "prom",
                    "prom: a line a sample. seriesjson: the label sets only. json: a line a series with its samples.",
                ),
                OUTPUT,
            ],
            args: &[DB_PATH],
        },
        |found| dump::run(found, false),
    ),
    (
        Command {
            path: "dump-openmetrics",
            help: "Print all float samples of a folder as OpenMetrics text, for create-blocks-from.",
            flags: &DUMP,
            args: &[DB_PATH],
        },
        |found| dump::run(found, true),
    ),
    (
        Command {
            path: "verify",
            help: "Read every checksum of a folder: blocks, log, head chunks. Says what is damaged, and which times it may concern; changes nothing. The folder may be in use.",
            flags: &[OUTPUT],
            args: &[DB_PATH],
        },
        verify::run,
    ),
    (
        Command {
            path: "repair",
            help: "Mend a folder that no server has open, as a start of the server would. Damaged parts are cut out and kept beside, in damaged/ and *.damaged files; all blocks are read whole for it.",
            flags: &[switch("dry-run", None, "Say what would be done, and change nothing."), OUTPUT],
            args: &[DB_PATH],
        },
        repair::run,
    ),
    (
        Command {
            path: "snapshot",
            help: "Make a copy of a folder's data: blocks as hard links, what log and head hold as one block more. With --url a running server makes it, in its own data folder; without, this does, and the folder may be in use or not.",
            flags: &[
                valued(
                    "url",
                    "URL",
                    "",
                    "A running server with --web.enable-admin-api, for example http://localhost:9090.",
                ),
                switch("skip-head", None, "Blocks only."),
                OUTPUT,
            ],
            args: &[
                DB_PATH,
                Positional {
                    name: "output directory",
                    default: Some(""),
                    help: "A folder to be made; below snapshots/ of the data folder without.",
                },
            ],
        },
        snapshot::run,
    ),
    (
        Command {
            path: "create-blocks-from openmetrics",
            help: "Make blocks of samples in OpenMetrics text. Every sample needs its timestamp. Move the blocks into a data folder, of a running server too: they are taken up within a minute.",
            flags: &[
                switch("human-readable", Some('r'), "Times and sizes for people."),
                switch("quiet", Some('q'), "Do not print the blocks made."),
                valued(
                    "max-block-duration",
                    "DURATION",
                    "",
                    "Longest range of a block: 2h (also for less), 6h, 18h, and so on.",
                ),
                valued("label", "NAME=VALUE", "", "A label to add to all series; can be repeated."),
                OUTPUT,
            ],
            args: &[
                Positional { name: "input file", default: None, help: "The text." },
                Positional { name: "output directory", default: Some("data/"), help: "Where the blocks go." },
            ],
        },
        create_blocks::run,
    ),
    (
        Command {
            path: "import",
            help: "Put the data of another data folder (or snapshot, or folder of blocks) into this one, in use or not. Each block is read whole first, and is there whole or not at all; times may overlap with what is there. What the other's log holds comes along as a block.",
            flags: &[
                valued(
                    "url",
                    "URL",
                    "",
                    "The running server whose folder it is, with --web.enable-admin-api: it takes the data in at once. Without, it sees the blocks within a minute.",
                ),
                OUTPUT,
            ],
            args: &[
                Positional { name: "source", default: None, help: "The other folder. It is not changed." },
                DB_PATH,
            ],
        },
        import::run,
    ),
    (
        Command {
            path: "bench write",
            help: "Measure how fast samples are stored: scrapes of many series, 30 seconds apart, as fast as it goes.",
            flags: &[
                valued("out", "DIR", "benchout", "Folder to write to; what is there is removed first."),
                valued("metrics", "N", "10000", "Series."),
                valued("scrapes", "N", "3000", "Scrapes of each."),
                OUTPUT,
            ],
            args: &[Positional {
                name: "file",
                default: Some("../../tsdb/testdata/20kseries.json"),
                help: "Label sets, one a line: {\"__name__\":\"x\",...}. Made up where this file is absent.",
            }],
        },
        bench::run,
    ),
];

fn overview(program: &str) -> String {
    let mut out = format!(
        "usage: {program} tsdb <command> [<flags>] [<args>]\n\nWork on a data folder.\n\nCommands:\n"
    );
    for (command, _) in COMMANDS {
        let first = command.help.split(". ").next().unwrap_or("").trim_end_matches('.');
        out += &format!("  {:<32} {first}\n", command.path);
    }
    out + "\nEach has --help. Exit codes: 0 done, 1 failed or something is wrong.\n"
}

/// Words of the commands, for completion scripts.
pub fn words() -> Vec<&'static str> {
    let mut words: Vec<&str> = COMMANDS.iter().filter_map(|(c, _)| c.path.split(' ').next()).collect();
    words.dedup();
    words
}

/// Runs the command. Returns the exit code.
pub fn run(program: &str, args: &[String]) -> u8 {
    // Flags of the outer word may stand before the inner one: `create-blocks-from -r openmetrics`.
    let rest = |c: &Command| {
        let (outer, inner) = c.path.split_once(' ').unwrap_or((c.path, ""));
        let (first, rest) = args.split_first()?;
        let mut rest = rest.to_vec();
        if !inner.is_empty() {
            rest.remove(rest.iter().position(|a| a == inner)?);
        }
        (first == outer).then_some(rest)
    };
    let Some((command, run, rest)) = COMMANDS.iter().find_map(|(c, run)| Some((c, run, rest(c)?))) else {
        return no_command(program, args);
    };
    let result = match command.parse(&rest) {
        Ok(Asked::Help) => emit(&command.usage(program)),
        Ok(Asked::Run(found)) => run(&found),
        Err(text) => Err(Failed::usage(text)),
    };
    match result {
        Ok(code) => code,
        Err(failed) => {
            match failed {
                Failed::Usage(text) => eprintln!("{program}: error: {text}, try --help"),
                Failed::Work(text) => eprintln!("{text}"),
                Failed::Unheard => {}
            }
            1
        }
    }
}

fn no_command(program: &str, args: &[String]) -> u8 {
    let wanted = args.iter().find(|a| !a.starts_with('-'));
    if args.iter().any(|a| a == "--help" || a == "-h") || wanted.is_some_and(|w| w == "help") {
        print!("{}", overview(program));
        return 0;
    }
    let Some(word) = wanted else {
        eprint!("{}", overview(program));
        eprintln!("{program}: error: must select a subcommand of 'tsdb', try --help");
        return 1;
    };
    // `bench` and `create-blocks-from` have a second word.
    let second: Vec<&str> =
        COMMANDS.iter().filter_map(|(c, _)| c.path.strip_prefix(word.as_str())?.strip_prefix(' ')).collect();
    if !second.is_empty() {
        let next = args.iter().skip_while(|a| *a != word).nth(1);
        match next {
            Some(next) if !next.starts_with('-') => {
                eprintln!(
                    "{program}: error: expected command but got {next:?} ({}), try --help",
                    second.join(", ")
                );
            }
            _ => eprintln!(
                "{program}: error: must select a subcommand of 'tsdb {word}' ({}), try --help",
                second.join(", ")
            ),
        }
        return 1;
    }
    let near = config::nearest(word, words()).map(|near| format!(", did you mean {near:?}?"));
    eprintln!("{program}: error: expected command but got {word:?}{}, try --help", near.unwrap_or_default());
    1
}
