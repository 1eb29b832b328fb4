//! `godwit check`: finds mistakes in files without starting anything. Output and exit codes as promtool's:
//! 0 sound, 1 wrong, 3 advice only.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "commands print")]

mod config_file;
mod metrics;
mod options;
mod rules;

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
  metrics             a metrics page on standard input, in any of the text formats
      --lint=all|none         advice on names and help texts
      --extended              series of each metric, most first

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
        match config::WebConfig::load_file(file.as_ref())
            .map_err(|e| e.to_string())
            .and_then(|web| readable(&web))
        {
            Ok(()) => eprintln!("{file} SUCCESS"),
            Err(error) => {
                eprintln!("{file} FAILED: {error}");
                code = WRONG;
            }
        }
    }
    code
}

/// Tests that the files of a web config can be read and look like PEM.
fn readable(web: &config::WebConfig) -> Result<(), String> {
    let tls = &web.tls_server_config;
    if !tls.is_enabled() {
        return Ok(());
    }
    for (key, file, block) in [
        ("cert_file", &tls.cert_file, "CERTIFICATE"),
        ("key_file", &tls.key_file, "PRIVATE KEY"),
        ("client_ca_file", &tls.client_ca_file, "CERTIFICATE"),
    ] {
        if file.is_empty() {
            continue;
        }
        let text = std::fs::read_to_string(file)
            .map_err(|error| format!("failed to read {key} ({file}): {error}"))?;
        if !text.contains(&format!("{block}-----")) {
            return Err(format!("{key} ({file}) has no PEM block \"{block}\""));
        }
    }
    Ok(())
}
