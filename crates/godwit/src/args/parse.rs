//! kingpin's syntax: `--flag=value`, `--flag value`, `--switch`, `--no-switch`, `-h`, `@file`, `--`.

use std::collections::{HashMap, VecDeque};

use super::server::ServerArgs;
use super::table::{FLAGS, Flag, Kind, Scope, find};
use super::value::{self, Value};

/// Arguments after expanding `@file`s: more are a loop of files.
const ARGS_MAX: usize = 100_000;
/// `@file`s read: a file may name a further one.
const FILES_MAX: usize = 100;

/// What the command line asks for.
#[derive(Debug)]
pub enum Parsed {
    /// Run the server.
    Run(Box<ServerArgs>),
    /// Print the help.
    Help {
        /// With hidden flags.
        long: bool,
    },
    /// Print the version.
    Version,
}

/// A command line that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct ArgsError {
    /// The text to print on stderr.
    pub text: String,
    /// The process's exit code: 1 for bad syntax, 2 for a bad value, 3 for a flag of the other mode, as upstream.
    pub code: u8,
}

impl ArgsError {
    fn syntax(text: impl Into<String>) -> Self {
        ArgsError { text: format!("Error parsing command line arguments: {}", text.into()), code: 1 }
    }
    fn value(text: impl Into<String>) -> Self {
        ArgsError { text: format!("Error parsing command line arguments: {}", text.into()), code: 2 }
    }
}

/// Values of all flags, and which of them were given.
#[derive(Clone, Debug)]
pub struct Values {
    values: HashMap<&'static str, Value>,
    given: Vec<&'static str>,
}

impl Values {
    /// No values.
    pub(super) fn empty() -> Self {
        Values { values: HashMap::new(), given: Vec::new() }
    }
    /// The value of a flag of the table.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }
    /// Names given on the command line, in order, each once.
    #[must_use]
    pub fn given(&self) -> &[&'static str] {
        &self.given
    }
}

/// Reads the server's arguments (without the program's name).
///
/// # Errors
/// Unknown flags, missing or bad values, flags of the other mode.
pub fn parse(args: impl IntoIterator<Item = String>) -> Result<Parsed, ArgsError> {
    let mut queue: VecDeque<String> = args.into_iter().collect();
    let mut found: HashMap<&'static str, Value> = HashMap::new();
    let mut given: Vec<&'static str> = Vec::new();
    let (mut help, mut version, mut files, mut seen) = (None, false, 0, 0);
    while let Some(arg) = queue.pop_front() {
        seen += 1;
        if seen > ARGS_MAX {
            return Err(ArgsError::syntax(format!("more than {ARGS_MAX} arguments")));
        }
        if arg == "--" {
            match queue.pop_front() {
                Some(rest) => return Err(ArgsError::syntax(format!("unexpected {rest}"))),
                None => break,
            }
        }
        let Some(long) = arg.strip_prefix("--") else {
            match arg.as_str() {
                "-h" => help = Some(false),
                _ if arg.len() > 1 && arg.starts_with('-') => {
                    let short: String = arg.chars().take(2).collect();
                    return Err(ArgsError::syntax(format!("unknown short flag '{short}'")));
                }
                _ => match arg.strip_prefix('@') {
                    Some(file) => {
                        files += 1;
                        expand_file(file, files, &mut queue)?;
                    }
                    None => return Err(ArgsError::syntax(format!("unexpected {arg}{}", near_command(&arg)))),
                },
            }
            continue;
        };
        let (name, inline) = long.split_once('=').map_or((long, None), |(n, v)| (n, Some(v.to_string())));
        match name {
            "help" => help = Some(help.unwrap_or(false)),
            "help-long" | "help-man" => help = Some(true),
            "version" => version = true,
            "no-help" | "no-version" => {}
            _ => {
                let (flag, off) = look_up(name)?;
                let text = take_value(flag, off, inline, &mut queue)?;
                let before = found.remove(flag.name);
                let repeatable = matches!(flag.kind, Kind::Texts | Kind::Messages);
                if before.is_some() && !repeatable {
                    return Err(ArgsError::value(format!("flag '{}' cannot be repeated", flag.name)));
                }
                let value = value::read(flag, &text, before)
                    .map_err(|e| ArgsError::value(format!("--{}: {e}", flag.name)))?;
                found.insert(flag.name, value);
                if !given.contains(&flag.name) {
                    given.push(flag.name);
                }
                continue;
            }
        }
        if let Some(value) = inline {
            return Err(ArgsError::syntax(format!("unexpected {value}")));
        }
    }
    if let Some(long) = help {
        return Ok(Parsed::Help { long });
    }
    if version {
        return Ok(Parsed::Version);
    }
    if found.get("write-documentation") == Some(&Value::Switch(true)) {
        return Ok(Parsed::Help { long: true });
    }
    let values = FLAGS
        .iter()
        .map(|flag| (flag.name, found.remove(flag.name).unwrap_or_else(|| value::default(flag))))
        .collect();
    ServerArgs::new(Values { values, given }).map(|args| Parsed::Run(Box::new(args)))
}

fn expand_file(file: &str, files: usize, queue: &mut VecDeque<String>) -> Result<(), ArgsError> {
    if file.is_empty() {
        return Err(ArgsError::syntax("expected @ file to expand arguments from"));
    }
    if files > FILES_MAX {
        return Err(ArgsError::syntax(format!("more than {FILES_MAX} @ files: they name each other")));
    }
    let text = std::fs::read_to_string(file)
        .map_err(|error| ArgsError::syntax(format!("failed to open arguments file {file:?}: {error}")))?;
    let lines: Vec<&str> =
        text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()).collect();
    for line in lines.into_iter().rev() {
        queue.push_front(line.to_string());
    }
    Ok(())
}

/// The flag of a name; true for the `no-` form of a switch.
fn look_up(name: &str) -> Result<(&'static Flag, bool), ArgsError> {
    if let Some(flag) = find(name) {
        return Ok((flag, false));
    }
    match name.strip_prefix("no-").and_then(find) {
        Some(flag) if flag.kind == Kind::Switch => Ok((flag, true)),
        _ => Err(ArgsError::syntax(format!("unknown long flag '--{name}'{}", near_flag(name)))),
    }
}

fn take_value(
    flag: &Flag,
    off: bool,
    inline: Option<String>,
    queue: &mut VecDeque<String>,
) -> Result<String, ArgsError> {
    if flag.kind == Kind::Switch {
        let word = if off { "no-" } else { "" };
        return match inline {
            Some(value) => Err(ArgsError::syntax(format!(
                "unexpected {value}: --{word}{name} takes no value, write --{name} or --no-{name}",
                name = flag.name
            ))),
            None => Ok((!off).to_string()),
        };
    }
    let next = inline.or_else(|| pop_value(queue));
    next.ok_or_else(|| ArgsError::syntax(format!("expected argument for flag '--{}'", flag.name)))
}

/// The next argument where it is none of the flags.
fn pop_value(queue: &mut VecDeque<String>) -> Option<String> {
    let is_value = queue.front().is_some_and(|next| !next.starts_with('-') || next == "-");
    if is_value { queue.pop_front() } else { None }
}

fn near_flag(name: &str) -> String {
    let bare = name.strip_prefix("no-").unwrap_or(name);
    let names = FLAGS.iter().filter(|flag| flag.scope != Scope::Retired).map(|flag| flag.name);
    match config::nearest(bare, names) {
        Some(near) => format!(", did you mean '--{near}'?"),
        None => " (--help lists all)".to_string(),
    }
}

fn near_command(word: &str) -> String {
    match config::nearest(word, super::mode::COMMANDS.iter().copied()) {
        Some(near) => format!(": flags begin with --, and the command {near:?} goes first"),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(line: &str) -> Result<Parsed, ArgsError> {
        parse(line.split(' ').filter(|a| !a.is_empty()).map(str::to_string))
    }
    fn args(line: &str) -> ServerArgs {
        match run(line) {
            Ok(Parsed::Run(args)) => *args,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn all_forms() {
        let a = args(
            "--config.file=x.yml --query.timeout 90s --web.enable-lifecycle --no-storage.tsdb.wal-compression --query.max-samples=1e6",
        );
        assert_eq!(
            (a.config_file.as_str(), a.query_timeout.as_secs(), a.web_enable_lifecycle),
            ("x.yml", 90, true)
        );
        assert_eq!((a.wal_compression, a.query_max_samples), (super::super::WalCompression::None, 1_000_000));
        let a = args("--web.listen-address=:1 --web.listen-address=:2 --config.file=");
        assert_eq!((a.web_listen_addresses.join(","), a.config_file.as_str()), (":1,:2".to_string(), ""));
        assert!(matches!(run("-h"), Ok(Parsed::Help { long: false })));
        assert!(run("--help-long --foo=bar").is_err());
        assert!(matches!(run("--version --config.file=x"), Ok(Parsed::Version)));
        assert!(matches!(run("--write-documentation"), Ok(Parsed::Help { long: true })));
    }

    #[test]
    fn refusals_have_upstreams_codes_and_a_hint() {
        for (line, code, want) in [
            ("--web.enable-lifecycle=true", 1, "unexpected true"),
            ("--foo", 1, "unknown long flag '--foo'"),
            ("--storage.tsdb.retension.time=1d", 1, "did you mean '--storage.tsdb.retention.time'?"),
            ("--no-config.file", 1, "unknown long flag '--no-config.file'"),
            ("bar", 1, "unexpected bar"),
            ("--config.file", 1, "expected argument for flag '--config.file'"),
            ("--config.file --agent", 1, "expected argument for flag '--config.file'"),
            ("-x", 1, "unknown short flag '-x'"),
            ("@/nonexistent", 1, "failed to open arguments file"),
            ("--query.max-samples=abc", 2, "not a number"),
            ("--query.timeout=5", 2, "not a valid duration string: \"5\""),
            ("--log.level=foo", 2, "unrecognized log level foo"),
            ("--config.file=a --config.file=b", 2, "flag 'config.file' cannot be repeated"),
            ("--storage.tsdb.wal-compression-type=x", 2, "enum value must be one of snappy,zstd, got 'x'"),
            ("--storage.tsdb.wal-segment-size=10", 2, "\"10\" is not a size"),
            (
                "--web.remote-write-receiver.accepted-protobuf-messages=foo",
                2,
                "unknown type for remote write protobuf message foo",
            ),
            ("--agent --query.timeout=5m", 3, "can not be used in agent mode: [\"--query.timeout\"]"),
            ("--storage.agent.path=x", 3, "can only be used in agent mode: [\"--storage.agent.path\"]"),
            ("--auto-gomemlimit.ratio=2", 1, "--auto-gomemlimit.ratio must be"),
            ("--web.search.max-limit=-1", 1, "must be non-negative"),
            ("--web.external-url=\"http://x\"", 2, "must not begin or end with quotes"),
            ("--storage.tsdb.samples-per-chunk=1e30", 2, "too large"),
        ] {
            let error = run(line).map(|_| ()).expect_err(line);
            assert!(error.code == code && error.text.contains(want), "{line}: {error:?}");
        }
    }

    #[test]
    fn files_expand_in_place_and_do_not_loop() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("args");
        std::fs::write(&path, "# comment\n\n--config.file=y.yml\n--query.timeout\n7s\n").unwrap();
        let a = args(&format!("--agent @{}", path.display()).replace("--agent ", ""));
        assert_eq!((a.config_file.as_str(), a.query_timeout.as_secs()), ("y.yml", 7));
        std::fs::write(&path, format!("@{}\n", path.display())).unwrap();
        assert!(run(&format!("@{}", path.display())).is_err());
    }

    #[test]
    fn retired_flags_run_with_a_warning() {
        let a = args(
            "--storage.tsdb.retention=7d --storage.tsdb.allow-overlapping-blocks --alertmanager.timeout=5s --enable-feature=agent,nonsense",
        );
        assert_eq!(a.retention.time.as_secs(), 7 * 86_400);
        assert_eq!(a.warnings.len(), 5, "{:?}", a.warnings);
        assert!(a.warnings.iter().any(|w| w.contains("--agent")));
    }
}
