//! The commands beside the server.

mod api;
mod check;
mod completion;
mod debug;
mod doctor;
mod flags;
mod group;
mod migrate;
mod output;
mod promql;
mod push;
mod query;
mod test;
pub mod tsdb;

use crate::args::Mode;
use crate::process_metrics::TRACKED_VERSION;
use group::Group;

/// Words with commands behind them.
pub static GROUPS: [&Group; 8] = [
    &check::GROUP,
    &test::GROUP,
    &query::GROUP,
    &promql::GROUP,
    &push::GROUP,
    &debug::GROUP,
    &tsdb::GROUP,
    &migrate::GROUP,
];

/// Runs a command. Returns the exit code.
#[allow(clippy::print_stdout, clippy::print_stderr)]
pub fn run(mode: Mode) -> u8 {
    match mode {
        Mode::Doctor(args) => doctor::run(&args),
        Mode::Completion(args) => completion::run(&args),
        Mode::Group { program, word, args } => match GROUPS.iter().find(|g| g.word == word) {
            Some(group) => group.run(program, &args),
            None => unknown(&word),
        },
        Mode::Overview => {
            print!("{}", crate::args::mode::overview());
            0
        }
        Mode::Version => {
            println!("{}", version());
            0
        }
        Mode::Unknown(word) => unknown(&word),
        Mode::Server { .. } => 2,
    }
}

#[allow(clippy::print_stderr)]
fn unknown(word: &str) -> u8 {
    eprintln!("{}", crate::args::mode::unknown_command(word));
    2
}

/// First line as Prometheus prints it, so that scripts find the version they look for.
#[must_use]
pub fn version() -> String {
    format!(
        "prometheus, version {TRACKED_VERSION} (branch: godwit, revision: {own})\n  godwit:           {own}\n  platform:         linux/{arch}",
        own = env!("CARGO_PKG_VERSION"),
        arch = crate::process_metrics::arch(),
    )
}
