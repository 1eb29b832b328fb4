//! `godwit check`: finds mistakes in files without starting anything. Output and exit codes as promtool's:
//! 0 sound, 1 wrong, 3 advice only.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "commands print")]

mod config_file;
mod metrics;
mod options;
mod rules;

use std::sync::Arc;

use options::Options;

/// Everything is sound.
const SOUND: u8 = 0;
/// Something is wrong.
const WRONG: u8 = 1;
/// Nothing is wrong, but there is advice that was asked to be fatal.
const ADVICE: u8 = 3;

const HELP: &str = "\
usage: godwit check <what> [<flags>] [<file>...]

  config FILE...      prometheus.yml, with the rule, job, target and key files it names
      --syntax-only           only the file itself
      --agent                 as agent mode would read it
      --from-2x               name every setting that 3.x takes in another way, not only likely ones
      --lint=LIST             advice: duplicate-rules (default), too-long-scrape-interval, all, none
      --lint-fatal            advice makes the exit code 3
      --ignore-unknown-fields accept unknown keys in rule files
      --query.lookback-delta=5m  what too-long-scrape-interval compares with
      --enable-feature=NAME   as the server's flag
  rules [FILE...]     rule files, or standard input; --lint, --lint-fatal, --ignore-unknown-fields as above
  web-config FILE...  files for --web.config.file
  metrics             a metrics page on standard input, in the text format
      --lint=all|none         advice on names and help texts
      --extended              series of each metric, most first

Switches have a --no- form.
Exit codes: 0 all is well, 1 something is wrong, 3 advice only.
";

/// Runs the command. Returns the exit code.
pub fn run(args: &[String]) -> u8 {
    let options = match Options::parse(args) {
        Ok(options) => options,
        Err(text) => {
            eprintln!("godwit check: {text}");
            return WRONG;
        }
    };
    match options.what.as_str() {
        _ if options.help => {
            print!("{HELP}");
            SOUND
        }
        "config" => config_file::run(&options),
        "rules" => rules::run(&options),
        "web-config" => web_config(&options.files),
        "metrics" => metrics::run(&options),
        _ => {
            eprint!("{HELP}");
            WRONG
        }
    }
}

fn web_config(files: &[String]) -> u8 {
    if files.is_empty() {
        eprintln!("godwit check web-config: name at least one file");
        return WRONG;
    }
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
