//! Arguments of the commands, in kingpin's syntax and words: what scripts written for promtool see.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

/// A flag of a command.
#[derive(Clone, Copy, Debug)]
pub struct Flag {
    /// Without dashes.
    pub name: &'static str,
    /// Its letter, where it has one.
    pub short: Option<char>,
    /// What its value is, for the help; `None` for a switch, which has a `--no-` form.
    pub value: Option<&'static str>,
    /// Value where it is not given; "" for none.
    pub default: &'static str,
    /// It has to be given.
    pub must: bool,
    /// One or two sentences.
    pub help: &'static str,
}

/// A switch.
pub const fn switch(name: &'static str, short: Option<char>, help: &'static str) -> Flag {
    Flag { name, short, value: None, default: "", must: false, help }
}

/// A flag with a value.
pub const fn valued(
    name: &'static str,
    value: &'static str,
    default: &'static str,
    help: &'static str,
) -> Flag {
    Flag { name, short: None, value: Some(value), default, must: false, help }
}

impl Positional {
    /// A file that must be there.
    pub const fn file(self) -> Positional {
        Positional { file: true, ..self }
    }
}

impl Flag {
    /// One that has to be given.
    pub const fn must(self) -> Flag {
        Flag { must: true, ..self }
    }
    /// With a letter.
    pub const fn letter(self, letter: char) -> Flag {
        Flag { short: Some(letter), ..self }
    }
}

/// A positional argument.
#[derive(Clone, Copy, Debug)]
pub struct Positional {
    /// Name.
    pub name: &'static str,
    /// `None`: required.
    pub default: Option<&'static str>,
    /// It and all that follow.
    pub many: bool,
    /// A file that must be there.
    pub file: bool,
    /// One sentence.
    pub help: &'static str,
}

/// An argument that must be given.
pub const fn required(name: &'static str, help: &'static str) -> Positional {
    Positional { name, default: None, many: false, file: false, help }
}

/// An argument with a default.
pub const fn optional(name: &'static str, default: &'static str, help: &'static str) -> Positional {
    Positional { name, default: Some(default), many: false, file: false, help }
}

/// One argument or more.
pub const fn some(name: &'static str, help: &'static str) -> Positional {
    Positional { name, default: None, many: true, file: false, help }
}

/// Any number of arguments.
pub const fn any(name: &'static str, help: &'static str) -> Positional {
    Positional { name, default: Some(""), many: true, file: false, help }
}

/// Flags that promtool takes before and behind every command.
const COMMON: [Flag; 2] = [
    switch("experimental", None, "As promtool wants it for some commands; nothing depends on it here."),
    valued(
        "enable-feature",
        "NAME",
        "",
        "Feature flags of the server that expressions may use; can be repeated.",
    ),
];

/// A command with its words.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// Words behind the first one, `tsdb` for example.
    pub path: &'static str,
    /// What it does, first a sentence for the overview.
    pub help: &'static str,
    /// Its flags.
    pub flags: &'static [Flag],
    /// Its arguments, in order.
    pub args: &'static [Positional],
}

/// Values found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// What the user called: `godwit` or `promtool`.
    pub program: &'static str,
    flags: Vec<(&'static str, String)>,
    args: Vec<String>,
    defaults: Vec<(&'static str, &'static str)>,
}

/// What a command line asks for.
#[derive(Clone, Debug)]
pub enum Asked {
    /// The command.
    Run(Found),
    /// Its help.
    Help,
}

impl Found {
    /// With the name that the user called.
    #[must_use]
    pub fn called(self, program: &'static str) -> Found {
        Found { program, ..self }
    }
    /// Whether a switch is on.
    #[must_use]
    pub fn on(&self, name: &str) -> bool {
        self.flags.iter().rev().find(|(n, _)| *n == name).is_some_and(|(_, v)| v == "true")
    }
    /// The last value of a flag, or its default.
    #[must_use]
    pub fn text(&self, name: &str) -> &str {
        let given = self.flags.iter().rev().find(|(n, _)| *n == name).map(|(_, v)| v.as_str());
        given.or_else(|| self.defaults.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)).unwrap_or("")
    }
    /// All values of a flag, or its default alone.
    #[must_use]
    pub fn texts(&self, name: &str) -> Vec<String> {
        let given: Vec<String> =
            self.flags.iter().filter(|(n, _)| *n == name).map(|(_, v)| v.clone()).collect();
        if given.is_empty() && !self.text(name).is_empty() {
            return vec![self.text(name).to_string()];
        }
        given
    }
    /// An integer.
    ///
    /// # Errors
    /// Not one.
    pub fn integer(&self, name: &str) -> Result<i64, String> {
        let text = self.text(name);
        if let Ok(n) = text.parse::<i64>() {
            return Ok(n);
        }
        // As upstream takes them: 1e3 is one.
        let float = text.parse::<f64>().ok().filter(|f| f.fract() == 0.0 && f.abs() < 9e18);
        float.map(|f| f as i64).ok_or_else(|| format!("strconv.ParseFloat: parsing {text:?}: invalid syntax"))
    }
    /// Feature flags: lists, in one flag or several.
    #[must_use]
    pub fn features(&self) -> Vec<String> {
        let lists = self.texts("enable-feature");
        lists.iter().flat_map(|list| list.split(',')).filter(|f| !f.is_empty()).map(str::to_string).collect()
    }
    /// A duration in Go's form; `None` where there is none.
    ///
    /// # Errors
    /// Not one.
    pub fn duration(&self, name: &str) -> Result<Option<Duration>, String> {
        match self.text(name) {
            "" => Ok(None),
            text => match config::parse_flag_duration(text) {
                Some(d) => Ok(Some(d)),
                None => Err(format!("time: invalid duration {text:?}")),
            },
        }
    }
    /// `NAME=VALUE` pairs; the last one of a name counts.
    ///
    /// # Errors
    /// One without a separator.
    pub fn map(&self, name: &str) -> Result<BTreeMap<String, String>, String> {
        let pair = |text: String| match text.split_once(['=', ':']) {
            Some((k, v)) => Ok((k.to_string(), v.to_string())),
            None => Err(format!("expected KEY=VALUE got '{text}'")),
        };
        self.texts(name).into_iter().map(pair).collect()
    }
    /// The `n`-th positional argument, or its default.
    #[must_use]
    pub fn arg(&self, n: usize) -> &str {
        self.args.get(n).map_or("", String::as_str)
    }
    /// The positional arguments from the `n`-th on.
    #[must_use]
    pub fn args_from(&self, n: usize) -> &[String] {
        self.args.get(n..).unwrap_or_default()
    }
}

impl Command {
    /// Its flags, and those of every command.
    fn flags(&self) -> impl Iterator<Item = &'static Flag> {
        self.flags.iter().chain(&COMMON)
    }

    /// Whether these arguments begin with its words; flags may stand between them.
    #[must_use]
    pub fn is_meant(&self, args: &[String]) -> bool {
        let mut words = self.path.split(' ');
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            let takes_next = |f: &Flag| {
                let long = arg.strip_prefix("--") == Some(f.name);
                f.value.is_some() && (long || f.short.is_some_and(|c| *arg == format!("-{c}")))
            };
            if !arg.starts_with('-') {
                match words.next() {
                    Some(word) if word == arg => {}
                    Some(_) => return false,
                    None => return true,
                }
            } else if self.flags().any(takes_next) {
                args.next();
            }
        }
        words.next().is_none()
    }

    /// Reads the arguments of this command, its own words among them.
    ///
    /// # Errors
    /// In kingpin's words.
    pub fn parse(&self, args: &[String]) -> Result<Asked, String> {
        let mut found =
            Found { defaults: self.flags().map(|f| (f.name, f.default)).collect(), ..Found::default() };
        let mut words = self.path.split(' ').peekable();
        let mut rest = args.iter().peekable();
        let mut only_args = false;
        while let Some(arg) = rest.next() {
            let (flag, on, inline) = if only_args || !arg.starts_with('-') || arg == "-" {
                if words.next_if(|word| word == arg).is_some() {
                    continue;
                }
                if found.args.len() >= self.args.len() && !self.args.last().is_some_and(|a| a.many) {
                    return Err(format!("unexpected {arg}"));
                }
                found.args.push(arg.clone());
                continue;
            } else if arg == "--" {
                only_args = true;
                continue;
            } else if let Some(long) = arg.strip_prefix("--") {
                let (name, inline) = long.split_once('=').map_or((long, None), |(n, v)| (n, Some(v)));
                if ["help", "help-long", "help-man"].contains(&name) {
                    return Ok(Asked::Help);
                }
                let exact = self.flags().find(|f| f.name == name).map(|f| (f, true));
                let negated = || {
                    let bare = name.strip_prefix("no-")?;
                    self.flags().find(|f| f.name == bare && f.value.is_none()).map(|f| (f, false))
                };
                let (flag, on) = exact.or_else(negated).ok_or_else(|| self.unknown(name))?;
                (flag, on, inline.map(str::to_string))
            } else {
                let mut letters = arg.chars().skip(1);
                let letter = letters.next().unwrap_or_default();
                if letter == 'h' {
                    return Ok(Asked::Help);
                }
                let flag = self.flags().find(|f| f.short == Some(letter));
                let flag = flag.ok_or_else(|| format!("unknown short flag '-{letter}'"))?;
                let inline: String = letters.collect();
                (flag, true, (!inline.is_empty()).then_some(inline))
            };
            let value = match (flag.value, inline) {
                (None, None) => on.to_string(),
                (None, Some(value)) if flag.short.is_none() || arg.starts_with("--") => {
                    return Err(format!("unexpected {value}"));
                }
                (None, Some(more)) => return Err(format!("unknown short flag '-{more}'")),
                (Some(_), Some(value)) => value,
                (Some(_), None) => match rest.next_if(|v| !v.starts_with('-') || *v == "-") {
                    Some(value) => value.clone(),
                    None => return Err(format!("expected argument for flag '--{}'", flag.name)),
                },
            };
            found.flags.push((flag.name, value));
        }
        for positional in self.args.iter().skip(found.args.len()) {
            match positional.default {
                Some(_) if positional.many => {}
                Some(default) => found.args.push(default.to_string()),
                None => return Err(format!("required argument '{}' not provided", positional.name)),
            }
        }
        for (i, arg) in found.args.iter().enumerate() {
            let positional = self.args.get(i).or(self.args.last());
            if positional.is_some_and(|p| p.file) && !std::path::Path::new(arg).exists() {
                return Err(format!("path '{arg}' does not exist"));
            }
        }
        for flag in self.flags.iter().filter(|f| f.must) {
            if !found.flags.iter().any(|(name, _)| *name == flag.name) {
                return Err(format!("required flag --{} not provided", flag.name));
            }
        }
        Ok(Asked::Run(found))
    }

    fn unknown(&self, name: &str) -> String {
        let bare = name.strip_prefix("no-").unwrap_or(name);
        let near = config::nearest(bare, self.flags().map(|f| f.name));
        let near = near.map(|near| format!(", did you mean '--{near}'?")).unwrap_or_default();
        format!("unknown long flag '--{name}'{near}")
    }

    /// The help text.
    #[must_use]
    pub fn usage(&self, program: &str, word: &str) -> String {
        let mut out = format!("usage: {program} {word} {} [<flags>]", self.path);
        for flag in self.flags.iter().filter(|f| f.must) {
            let _ = write!(out, " --{}={}", flag.name, flag.value.unwrap_or_default());
        }
        for arg in self.args {
            let more = if arg.many { "..." } else { "" };
            let _ = match arg.default {
                Some(_) => write!(out, " [<{}>{more}]", arg.name),
                None => write!(out, " <{}>{more}", arg.name),
            };
        }
        let _ = write!(out, "\n\n{}\n", self.help);
        if !self.flags.is_empty() {
            out.push_str("\nFlags:\n");
        }
        for flag in self.flags {
            let letter = flag.short.map_or("    ".to_string(), |c| format!("-{c}, "));
            let form = match flag.value {
                None => format!("--[no-]{}", flag.name),
                Some(value) => {
                    format!("--{}={}", flag.name, if flag.default.is_empty() { value } else { flag.default })
                }
            };
            let _ = writeln!(out, "  {letter}{form}\n          {}", flag.help);
        }
        if !self.args.is_empty() {
            out.push_str("\nArguments:\n");
        }
        for arg in self.args {
            let default = arg.default.filter(|d| !d.is_empty()).map(|d| format!(" (default {d})"));
            let _ = writeln!(out, "  {}\n          {}{}", arg.name, arg.help, default.unwrap_or_default());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: Command = Command {
        path: "list",
        help: "List.",
        flags: &[
            switch("human-readable", Some('r'), ""),
            valued("limit", "N", "20", ""),
            valued("match", "S", "", ""),
        ],
        args: &[optional("db path", "data/", "")],
    };

    fn words(line: &str) -> Vec<String> {
        line.split(' ').filter(|w| !w.is_empty()).map(str::to_string).collect()
    }

    fn parse(line: &str) -> Result<Asked, String> {
        LIST.parse(&words(line))
    }

    #[test]
    fn words_may_have_flags_between() {
        const MAKE: Command =
            Command { path: "make it", help: "", flags: LIST.flags, args: &[some("file", "")] };
        for (line, meant) in [
            ("make it a", true),
            ("make --limit 3 it a", true),
            ("make -r it --limit=3 a", true),
            ("make a it", false),
            ("make", false),
            ("make --limit it a", false),
        ] {
            assert_eq!(MAKE.is_meant(&words(line)), meant, "{line}");
        }
        let Ok(Asked::Run(f)) = MAKE.parse(&words("make -r it a --enable-feature=x b it")) else { panic!() };
        assert_eq!((f.args_from(0), f.texts("enable-feature")), (&words("a b it")[..], words("x")));
        assert!(MAKE.parse(&words("make it")).unwrap_err().contains("required argument 'file'"));
    }

    #[test]
    fn as_kingpin() {
        let found = |line: &str| match parse(line).unwrap() {
            Asked::Run(found) => found,
            Asked::Help => panic!("{line}"),
        };
        let f = found("-r d --limit=1e1 --match a --match=b");
        assert!(f.on("human-readable") && f.arg(0) == "d" && f.integer("limit") == Ok(10));
        assert_eq!(f.texts("match"), ["a", "b"]);
        let f = found("--human-readable --no-human-readable");
        assert!(!f.on("human-readable") && f.arg(0) == "data/" && f.integer("limit") == Ok(20));
        assert!(matches!(parse("d --help"), Ok(Asked::Help)));
        for (line, want) in [
            ("a b", "unexpected b"),
            ("--foo", "unknown long flag '--foo'"),
            ("--limt=1", "unknown long flag '--limt', did you mean '--limit'?"),
            ("-x", "unknown short flag '-x'"),
            ("--limit", "expected argument for flag '--limit'"),
            ("--limit -r", "expected argument for flag '--limit'"),
            ("--human-readable=1", "unexpected 1"),
        ] {
            assert_eq!(parse(line).unwrap_err(), want, "{line}");
        }
        assert!(found("--limit=x").integer("limit").unwrap_err().contains("invalid syntax"));
    }
}
