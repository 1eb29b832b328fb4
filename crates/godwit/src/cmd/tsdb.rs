//! `godwit tsdb`: work on a data folder. Commands, arguments, output and exit codes are promtool's where
//! promtool has the command; `--output=json` is for scripts, bars are drawn on terminals only.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "commands print")]

mod analyze;
mod bench;
mod create_blocks;
mod dump;
mod import;
mod list;
mod repair;
mod rules_of_past;
mod snapshot;
mod verify;

use super::api::HTTP_CONFIG;
use super::flags::{Command, Flag, Positional, optional, required, some, switch, valued};
use super::group::{Failed, Group, OUTPUT, Run, emit, emit_json};
use super::output;

impl From<storage::StorageError> for Failed {
    fn from(e: storage::StorageError) -> Self {
        Failed::Work(e.to_string())
    }
}

const DB_PATH: Positional = optional("db path", "data/", "Data folder.");
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
pub static GROUP: Group = Group { word: "tsdb", about: "Work on a data folder.", commands: COMMANDS };

const COMMANDS: &[(Command, Run)] = &[
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
            args: &[DB_PATH, optional("block id", "", "Which block; the one made last without.")],
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
                optional(
                    "output directory",
                    "",
                    "A folder to be made; below snapshots/ of the data folder without.",
                ),
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
                required("input file", "The text."),
                optional("output directory", "data/", "Where the blocks go."),
            ],
        },
        create_blocks::run,
    ),
    (
        Command {
            path: "create-blocks-from rules",
            help: "Make blocks of what recording rules would have written in the past, asked of a running server. Alerts are left out. Rules that read what others of these write need a second call, once the blocks of the first are in the server's data folder.",
            flags: &[
                switch("human-readable", Some('r'), "Times and sizes for people."),
                switch("quiet", Some('q'), "Do not print the blocks made (promtool never does)."),
                HTTP_CONFIG,
                valued("url", "URL", "http://localhost:9090", "The server that has the data."),
                valued("start", "TIME", "", "First time: RFC 3339, or seconds since 1970.").must(),
                valued("end", "TIME", "", "Last time, likewise; three hours ago without."),
                valued("output-dir", "DIR", "data/", "Where the blocks go."),
                valued(
                    "eval-interval",
                    "DURATION",
                    "60s",
                    "How often rules are evaluated whose group does not say.",
                ),
                valued("max-block-duration", "DURATION", "", "Longest range of a block, as for openmetrics."),
                OUTPUT,
            ],
            args: &[some("rule-files", "The rule files.").file()],
        },
        rules_of_past::run,
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
            args: &[required("source", "The other folder. It is not changed."), DB_PATH],
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
            args: &[optional(
                "file",
                "../../tsdb/testdata/20kseries.json",
                "Label sets, one a line: {\"__name__\":\"x\",...}. Made up where this file is absent.",
            )],
        },
        bench::run,
    ),
];
