//! The commands beside the server.

mod check;
mod completion;
mod doctor;
mod flags;
pub mod tsdb;

use crate::args::Mode;
use crate::process_metrics::TRACKED_VERSION;

/// Runs a command. Returns the exit code.
#[allow(clippy::print_stdout, clippy::print_stderr)]
pub fn run(mode: Mode) -> u8 {
    match mode {
        Mode::Check(args) => check::run(&args),
        Mode::Doctor(args) => doctor::run(&args),
        Mode::Completion(args) => completion::run(&args),
        Mode::Tsdb { program, args } => tsdb::run(program, &args),
        Mode::Overview => {
            print!("{}", crate::args::mode::overview());
            0
        }
        Mode::Version => {
            println!("{}", version());
            0
        }
        Mode::Unknown(word) => {
            eprintln!("{}", crate::args::mode::unknown_command(&word));
            2
        }
        Mode::Server { .. } => 2,
    }
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
