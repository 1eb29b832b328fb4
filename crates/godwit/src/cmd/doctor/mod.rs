//! `godwit doctor`: looks at what a server needs before it runs (or when it does not), says what is wrong
//! and how to mend it. Reads only; creates one small file in the data folder to prove that it can write,
//! and removes it.

pub(in crate::cmd) mod blocks;
mod folder;
mod holes;
mod machine;
pub(in crate::cmd) mod report;

use std::path::PathBuf;

use super::output::Progress;
use report::Report;
#[cfg(test)]
use report::{Finding, Status};

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
    /// Read every byte of blocks and log.
    pub full: bool,
}

/// Runs all checks. `read` is told of bytes of blocks and log that were read.
#[must_use]
pub fn examine(options: &Options, read: &mut dyn FnMut(u64)) -> Report {
    let mut report = Report::default();
    folder::examine(&options.data, &mut report);
    machine::examine(options, &mut report);
    blocks::examine(&options.data, options.full, &mut report, read);
    report
}

/// Runs all checks and prints them. Exit code 0: nothing worse than warnings; 1: something is wrong; 2: wrong
/// arguments.
#[allow(clippy::print_stdout, clippy::print_stderr)]
#[must_use]
pub fn run(arguments: &[String]) -> u8 {
    let options = match Options::parse(arguments) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{HELP}");
            return 0;
        }
        Err(text) => {
            eprintln!("godwit doctor: {text}");
            return 2;
        }
    };
    let mut report = {
        // How much is read depends on what is found: no end is told.
        let mut bar = Progress::new("doctor", "B", 0);
        examine(&options, &mut |bytes| bar.add(bytes))
    };
    if let Some(config) = &options.config {
        match config::Config::load_file(config, &config::LoadOptions::default()) {
            Ok(_) => report.ok("config", format!("{} is valid", config.display())),
            Err(e) => {
                report.bad("config", e.to_string(), "mend the named line; `godwit check config` looks closer")
            }
        }
    }
    if options.json {
        println!("{}", report.to_json());
    } else {
        print!("{}", report.to_text());
    }
    u8::from(report.is_bad())
}

const HELP: &str = "\
usage: godwit doctor [<flags>]

Looks at a data folder, its disk and the machine, and says what is wrong and how to mend it. Changes nothing.

  --storage.tsdb.path=data/     the data folder to look at
  --config.file=FILE            a configuration to check as well
  --web.listen-address=ADDRESS  an address that the server is to listen on: is it free?
  --output=text|json            text for people, json for scripts
  --full                        read all blocks and the whole log, however large (else the newest 2 GiB)

Exit codes: 0 nothing worse than warnings, 1 something is wrong, 2 wrong arguments.
";

const FLAGS: [&str; 5] = ["storage.tsdb.path", "config.file", "web.listen-address", "output", "full"];

impl Options {
    /// `None` where the help is asked for.
    fn parse(arguments: &[String]) -> Result<Option<Options>, String> {
        let mut options =
            Options { data: "data/".into(), config: None, listen: None, json: false, full: false };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if argument == "-h" || argument == "--help" {
                return Ok(None);
            }
            let flag =
                argument.strip_prefix("--").ok_or_else(|| format!("unexpected {argument:?}; see --help"))?;
            let (name, inline) = flag.split_once('=').map_or((flag, None), |(n, v)| (n, Some(v.to_string())));
            if !FLAGS.contains(&name) {
                let near = config::nearest(name, FLAGS).map(|n| format!(", did you mean --{n}?"));
                return Err(format!("unknown flag --{name}{}", near.unwrap_or_default()));
            }
            if name == "full" {
                options.full = true;
                continue;
            }
            let value =
                inline.or_else(|| rest.next().cloned()).ok_or_else(|| format!("--{name} needs a value"))?;
            match name {
                "storage.tsdb.path" => options.data = value.into(),
                "config.file" => options.config = Some(value.into()),
                "web.listen-address" => options.listen = Some(value),
                _ => match value.as_str() {
                    "text" => options.json = false,
                    "json" => options.json = true,
                    other => return Err(format!("--output is text or json, not {other:?}")),
                },
            }
        }
        Ok(Some(options))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(data: &std::path::Path) -> Report {
        let options =
            Options { data: data.to_path_buf(), config: None, listen: None, json: false, full: false };
        examine(&options, &mut |_| ())
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
        std::fs::create_dir(folder.path().join("photos")).unwrap();
        let report = look(folder.path());
        assert_eq!(of(&report, "strangers").what, "not of a data folder: photos");
        assert_eq!((of(&report, "log").status, of(&report, "block").status), (Status::Bad, Status::Bad));
        assert!(of(&report, "log").what.contains("00000001 and 00000003"), "{}", report.to_text());

        let future = std::time::SystemTime::now() + std::time::Duration::from_secs(7200);
        let file = std::fs::File::options().write(true).open(wal.join("00000003")).unwrap();
        file.set_modified(future).unwrap();
        assert_eq!(of(&look(folder.path()), "clock").status, Status::Bad);
    }

    #[test]
    fn damage_within_the_log_is_found_and_a_torn_end_is_not_damage() {
        let folder = tempfile::tempdir().unwrap();
        let wal = folder.path().join("wal");
        std::fs::create_dir(&wal).unwrap();
        // A record of 40 zeros is "unknown kind" and whole; header: kind, length, checksum.
        let fragment = |kind: u8, data: &[u8]| {
            let mut bytes = vec![kind, 0, data.len() as u8];
            bytes.extend(crc32c::crc32c(data).to_be_bytes());
            bytes.extend_from_slice(data);
            bytes
        };
        let (full, first) = (1, 2);
        // An empty series record.
        let good = fragment(full, &[1]);
        let segment = wal.join("00000000");
        std::fs::write(&segment, &good).unwrap();
        let found = look(folder.path());
        assert_eq!(
            of(&found, "log").what,
            "segments 00000000 to 00000000, 1 records, all checksums are right"
        );
        std::fs::write(&segment, [good.clone(), fragment(first, &[1, 2])].concat()).unwrap();
        let found = look(folder.path());
        assert!(of(&found, "log").what.contains("as a kill leaves it"), "{}", found.to_text());
        assert!(!found.is_bad());
        let mut broken = good.clone();
        broken[7] ^= 0xff;
        std::fs::write(&segment, [broken, good].concat()).unwrap();
        let found = look(folder.path());
        assert_eq!(of(&found, "log").status, Status::Bad);
        assert!(of(&found, "log").what.contains("00000000"), "{}", found.to_text());
    }

    #[test]
    fn arguments() {
        let parse = |line: &str| Options::parse(&line.split(' ').map(str::to_string).collect::<Vec<_>>());
        let options = parse("--storage.tsdb.path=x --output json").unwrap().unwrap();
        assert_eq!((options.data.to_str(), options.json), (Some("x"), true));
        assert!(parse("--full").unwrap().unwrap().full);
        assert!(parse("--help").unwrap().is_none());
        assert!(parse("--storage.tsdb.pth=x").unwrap_err().contains("--storage.tsdb.path"));
        assert!(parse("--output=xml").is_err() && parse("x").is_err() && parse("--output").is_err());
    }

    #[test]
    fn a_file_is_no_folder() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(of(&look(file.path()), "data folder").status, Status::Bad);
    }
}
