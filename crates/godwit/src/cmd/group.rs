//! A first word of the command line with the commands behind it: finds the one that is meant, runs it and
//! prints why it failed.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "commands print")]

use std::io::Write as _;

use super::flags::{Asked, Command, Flag, Found, valued};

/// Why a command failed, as it is printed.
#[derive(Debug, thiserror::Error)]
pub enum Failed {
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
    /// Wrong arguments.
    pub fn usage(text: impl Into<String>) -> Self {
        Failed::Usage(text.into())
    }
}

impl From<std::io::Error> for Failed {
    fn from(e: std::io::Error) -> Self {
        if e.kind() == std::io::ErrorKind::BrokenPipe { Failed::Unheard } else { Failed::Work(e.to_string()) }
    }
}

/// Prints to standard output.
///
/// # Errors
/// It is closed.
pub fn emit(text: &str) -> Result<u8, Failed> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(0)
}

/// Prints a line of JSON.
///
/// # Errors
/// As [`emit`].
pub fn emit_json(value: &serde_json::Value) -> Result<u8, Failed> {
    emit(&format!("{value}\n"))
}

/// The flag of commands that scripts use.
pub const OUTPUT: Flag = valued("output", "text|json", "text", "json: one value for scripts.");

/// What a command does; the exit code where it can be told apart from others.
pub type Run = fn(&Found) -> Result<u8, Failed>;

/// A first word and its commands.
#[derive(Debug)]
pub struct Group {
    /// The word.
    pub word: &'static str,
    /// What it is for: a sentence.
    pub about: &'static str,
    /// Its commands.
    pub commands: &'static [(Command, Run)],
}

impl Group {
    /// Words that may come next, for completion scripts and suggestions.
    #[must_use]
    pub fn words(&self) -> Vec<&'static str> {
        let mut words: Vec<&str> =
            self.commands.iter().filter_map(|(c, _)| c.path.split(' ').next()).collect();
        words.dedup();
        words
    }

    fn overview(&self, program: &str) -> String {
        let (word, about) = (self.word, self.about);
        let mut out =
            format!("usage: {program} {word} <command> [<flags>] [<args>]\n\n{about}\n\nCommands:\n");
        for (command, _) in self.commands {
            let first = command.help.split(". ").next().unwrap_or("").trim_end_matches('.');
            out += &format!("  {:<32} {first}\n", command.path);
        }
        out + "\nEach has --help. Exit codes: 0 done, 1 failed or something is wrong.\n"
    }

    /// Runs what the arguments behind the word say. Returns the exit code.
    #[must_use]
    pub fn run(&self, program: &'static str, args: &[String]) -> u8 {
        let Some((command, run)) = self.commands.iter().find(|(c, _)| c.is_meant(args)) else {
            return self.no_command(program, args);
        };
        let result = match command.parse(args) {
            Ok(Asked::Help) => emit(&command.usage(program, self.word)),
            Ok(Asked::Run(found)) => run(&found.called(program)),
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

    fn no_command(&self, program: &str, args: &[String]) -> u8 {
        let wanted = args.iter().find(|a| !a.starts_with('-'));
        if args.iter().any(|a| a == "--help" || a == "-h") || wanted.is_some_and(|w| w == "help") {
            print!("{}", self.overview(program));
            return 0;
        }
        let Some(word) = wanted else {
            eprint!("{}", self.overview(program));
            eprintln!("{program}: error: must select a subcommand of '{}', try --help", self.word);
            return 1;
        };
        // `bench`, `create-blocks-from` and `label-matchers` have a second word.
        let second = |(c, _): &(Command, Run)| c.path.strip_prefix(word.as_str())?.strip_prefix(' ');
        let second: Vec<&str> = self.commands.iter().filter_map(second).collect();
        if !second.is_empty() {
            let next = args.iter().skip_while(|a| *a != word).nth(1);
            let second = second.join(", ");
            match next {
                Some(next) if !next.starts_with('-') => {
                    eprintln!("{program}: error: expected command but got {next:?} ({second}), try --help");
                }
                _ => eprintln!(
                    "{program}: error: must select a subcommand of '{} {word}' ({second}), try --help",
                    self.word
                ),
            }
            return 1;
        }
        let near = config::nearest(word, self.words()).map(|near| format!(", did you mean {near:?}?"));
        eprintln!(
            "{program}: error: expected command but got {word:?}{}, try --help",
            near.unwrap_or_default()
        );
        1
    }
}
