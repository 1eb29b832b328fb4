//! The `godwit` binary: chooses what is meant and runs it. The one place that turns errors into exit codes.

#![allow(
    unreachable_pub,
    reason = "in a binary nothing is reachable from outside; pub says what a module offers"
)]

mod args;
mod cmd;
mod embedded;
mod late;
mod logging;
mod memory;
mod process_metrics;
mod reload;
mod server;

use std::process::ExitCode;

use args::{Mode, Parsed};

/// Steady memory under churn: glibc's allocator keeps what threads once used.
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let argv: Vec<String> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
    ExitCode::from(match args::choose_mode(&argv) {
        Mode::Server { program, args, bare } => serve(program, args, bare),
        other => cmd::run(other),
    })
}

#[allow(clippy::print_stdout, clippy::print_stderr)]
fn serve(program: &'static str, arguments: Vec<String>, bare: bool) -> u8 {
    match args::parse(arguments) {
        Ok(Parsed::Run(args)) => server::run(*args, program, bare),
        Ok(Parsed::Help { long }) => {
            println!("{}", args::help::server(program, long));
            0
        }
        Ok(Parsed::Version) => {
            println!("{}", cmd::version());
            0
        }
        Err(error) => {
            eprintln!("{}", error.text);
            error.code
        }
    }
}
