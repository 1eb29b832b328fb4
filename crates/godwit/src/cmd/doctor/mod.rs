//! `godwit doctor`: looks at what a server needs before it runs (or when it does not), says what is wrong
//! and how to mend it. Reads only; creates one small file in the data folder to prove that it can write,
//! and removes it.

mod blocks;
mod folder;
mod machine;
mod report;

use std::path::PathBuf;

pub use report::{Finding, Report, Status};

/// What to look at.
#[derive(Clone, Debug)]
pub struct Options {
    /// Data folder.
    pub data: PathBuf,
    /// Config file, where one is used.
    pub config: Option<PathBuf>,
    /// Address that the server is to listen on; checked for being free where the data folder is not in use.
    pub listen: Option<String>,
    /// Print JSON.
    pub json: bool,
}

/// Runs all checks.
#[must_use]
pub fn examine(options: &Options) -> Report {
    let mut report = Report::default();
    folder::examine(&options.data, &mut report);
    machine::examine(options, &mut report);
    blocks::examine(&options.data, &mut report);
    report
}

/// Runs all checks and prints them. Exit code 0: nothing worse than warnings; 1: something is wrong; 2: wrong
/// arguments.
#[allow(clippy::print_stdout, clippy::print_stderr)]
#[must_use]
pub fn run(arguments: &[String]) -> u8 {
    let options = match Options::parse(arguments) {
        Ok(options) => options,
        Err(end) => {
            let _ = end.print();
            return if end.use_stderr() { 2 } else { 0 };
        }
    };
    let mut report = examine(&options);
    if let Some(config) = &options.config {
        match config::Config::load_file(config, &config::LoadOptions::default()) {
            Ok(_) => report.ok("config", format!("{} is valid", config.display())),
            Err(e) => report.bad("config", e.to_string(), "mend the named line; `godwit check config` looks closer"),
        }
    }
    if options.json {
        println!("{}", report.to_json());
    } else {
        print!("{}", report.to_text());
    }
    u8::from(report.is_bad())
}

/// The command line of `godwit doctor`.
#[must_use]
pub fn command() -> clap::Command {
    let arg = |name: &'static str, value: &'static str, help: &'static str| {
        clap::Arg::new(name).long(name).value_name(value).help(help)
    };
    clap::Command::new("godwit doctor")
        .about("Looks at a data folder, its disk and the machine, and says what is wrong and how to mend it. Changes nothing.")
        .arg(arg("storage.tsdb.path", "FOLDER", "The data folder to look at.").default_value("data/"))
        .arg(arg("config.file", "FILE", "A configuration to check as well."))
        .arg(arg("web.listen-address", "ADDRESS", "An address that the server is to listen on: is it free?"))
        .arg(arg("output", "FORM", "text for people, json for scripts.").value_parser(["text", "json"]).default_value("text"))
        .after_help("Exit code: 0 nothing worse than warnings, 1 something is wrong, 2 wrong arguments.")
}

impl Options {
    fn parse(arguments: &[String]) -> Result<Options, clap::Error> {
        let name = std::iter::once("godwit doctor".to_string());
        let mut found = command().try_get_matches_from(name.chain(arguments.iter().cloned()))?;
        let mut take = |name: &str| found.remove_one::<String>(name);
        Ok(Options {
            data: PathBuf::from(take("storage.tsdb.path").unwrap_or_default()),
            config: take("config.file").map(PathBuf::from),
            listen: take("web.listen-address"),
            json: take("output").as_deref() == Some("json"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(data: &std::path::Path) -> Report {
        examine(&Options { data: data.to_path_buf(), config: None, listen: None, json: false })
    }

    fn of<'r>(report: &'r Report, subject: &str) -> &'r Finding {
        report.findings.iter().find(|f| f.subject == subject).unwrap()
    }

    #[test]
    fn a_new_folder_is_fine_and_stays_clean() {
        let folder = tempfile::tempdir().unwrap();
        let report = look(&folder.path().join("data"));
        assert!(!report.is_bad(), "{}", report.to_text());
        let report = look(folder.path());
        assert!(!report.is_bad(), "{}", report.to_text());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(report.to_json().starts_with('{'));
    }

    #[test]
    fn gaps_in_the_log_broken_blocks_and_files_from_the_future_are_bad() {
        let folder = tempfile::tempdir().unwrap();
        let wal = folder.path().join("wal");
        std::fs::create_dir(&wal).unwrap();
        for segment in ["00000001", "00000003"] {
            std::fs::write(wal.join(segment), b"").unwrap();
        }
        let block = folder.path().join("01ARZ3NDEKTSV4RRFFQ69G5FAV");
        std::fs::create_dir(&block).unwrap();
        std::fs::write(block.join("meta.json"), b"{").unwrap();
        let report = look(folder.path());
        assert_eq!((of(&report, "log").status, of(&report, "block").status), (Status::Bad, Status::Bad));
        assert!(of(&report, "log").what.contains("00000001 and 00000003"), "{}", report.to_text());

        let future = std::time::SystemTime::now() + std::time::Duration::from_secs(7200);
        let file = std::fs::File::options().write(true).open(wal.join("00000003")).unwrap();
        file.set_modified(future).unwrap();
        assert_eq!(of(&look(folder.path()), "clock").status, Status::Bad);
    }

    #[test]
    fn a_file_is_no_folder() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(of(&look(file.path()), "data folder").status, Status::Bad);
    }
}
