//! Arguments of the commands, in kingpin's syntax and words: what scripts written for promtool see.

use std::fmt::Write as _;

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
    /// One or two sentences.
    pub help: &'static str,
}

/// A switch.
pub const fn switch(name: &'static str, short: Option<char>, help: &'static str) -> Flag {
    Flag { name, short, value: None, default: "", help }
}

/// A flag with a value.
pub const fn valued(
    name: &'static str,
    value: &'static str,
    default: &'static str,
    help: &'static str,
) -> Flag {
    Flag { name, short: None, value: Some(value), default, help }
}

/// A positional argument: name, default, help. Without a default it must be given.
#[derive(Clone, Copy, Debug)]
pub struct Positional {
    /// Name.
    pub name: &'static str,
    /// `None`: required.
    pub default: Option<&'static str>,
    /// One sentence.
    pub help: &'static str,
}

/// A command with its words.
#[derive(Clone, Copy, Debug)]
pub struct Command {
    /// Words behind `tsdb`.
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
    /// The `n`-th positional argument, or its default.
    #[must_use]
    pub fn arg(&self, n: usize) -> &str {
        self.args.get(n).map_or("", String::as_str)
    }
}

impl Command {
    /// Reads the arguments of this command.
    ///
    /// # Errors
    /// In kingpin's words.
    pub fn parse(&self, args: &[String]) -> Result<Asked, String> {
        let mut found =
            Found { defaults: self.flags.iter().map(|f| (f.name, f.default)).collect(), ..Found::default() };
        let mut rest = args.iter().peekable();
        let mut only_args = false;
        while let Some(arg) = rest.next() {
            let (flag, on, inline) = if only_args || !arg.starts_with('-') || arg == "-" {
                if found.args.len() >= self.args.len() {
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
                let exact = self.flags.iter().find(|f| f.name == name).map(|f| (f, true));
                let negated = || {
                    let bare = name.strip_prefix("no-")?;
                    self.flags.iter().find(|f| f.name == bare && f.value.is_none()).map(|f| (f, false))
                };
                let (flag, on) = exact.or_else(negated).ok_or_else(|| self.unknown(name))?;
                (flag, on, inline.map(str::to_string))
            } else {
                let mut letters = arg.chars().skip(1);
                let letter = letters.next().unwrap_or_default();
                if letter == 'h' {
                    return Ok(Asked::Help);
                }
                let flag = self.flags.iter().find(|f| f.short == Some(letter));
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
                Some(default) => found.args.push(default.to_string()),
                None => return Err(format!("required argument '{}' not provided", positional.name)),
            }
        }
        Ok(Asked::Run(found))
    }

    fn unknown(&self, name: &str) -> String {
        let bare = name.strip_prefix("no-").unwrap_or(name);
        let near = config::nearest(bare, self.flags.iter().map(|f| f.name));
        let near = near.map(|near| format!(", did you mean '--{near}'?")).unwrap_or_default();
        format!("unknown long flag '--{name}'{near}")
    }

    /// The help text.
    #[must_use]
    pub fn usage(&self, program: &str) -> String {
        let mut out = format!("usage: {program} tsdb {} [<flags>]", self.path);
        for arg in self.args {
            let _ = match arg.default {
                Some(_) => write!(out, " [<{}>]", arg.name),
                None => write!(out, " <{}>", arg.name),
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
        args: &[Positional { name: "db path", default: Some("data/"), help: "" }],
    };

    fn parse(line: &str) -> Result<Asked, String> {
        LIST.parse(&line.split(' ').filter(|w| !w.is_empty()).map(str::to_string).collect::<Vec<_>>())
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
