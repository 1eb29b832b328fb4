//! Help that teaches.

use std::fmt::Write as _;

use super::table::{FLAGS, Flag, GROUPS, Kind, Scope};

/// Columns of the help.
const WIDTH: usize = 100;
const INDENT: usize = 6;

/// The help of the server's flags, grouped, with their defaults.
#[must_use]
pub fn server(program: &str, long: bool) -> String {
    let mut out = format!(
        "usage: {program} [<flags>]\n\n\
         The monitoring server: scrapes targets, stores what they say in Prometheus's own format and answers\n\
         PromQL queries over HTTP.\n\n\
         Try:  {program} --config.file=prometheus.yml          run with a configuration\n      \
         godwit check config prometheus.yml        find out what is wrong with one, without starting\n      \
         curl localhost:9090/api/v1/query?query=up  ask it something\n\n\
         Values go behind = or a space. Switches have a --no- form. @FILE reads arguments from a file, one a line.\n"
    );
    for (index, group) in GROUPS.iter().enumerate() {
        let flags = FLAGS.iter().filter(|flag| flag.group == index && (long || !flag.hidden));
        let mut flags = flags.peekable();
        if flags.peek().is_some() {
            let _ = write!(out, "\n{group}:\n");
        }
        for flag in flags {
            let _ = writeln!(out, "  {}", usage(flag));
            wrap(&mut out, flag.help);
        }
    }
    let _ = write!(
        out,
        "\nOther:\n  -h, --help\n      Print this. --help-long also has flags for tests and old ones.\n  --version\n      Print the version.\n"
    );
    out
}

fn usage(flag: &Flag) -> String {
    let name = flag.name;
    let scope = match flag.scope {
        Scope::Server if flag.group != 2 => "  (server mode only)",
        Scope::Agent => "  (agent mode only)",
        _ => "",
    };
    let repeat = if matches!(flag.kind, Kind::Texts | Kind::Messages) { " ..." } else { "" };
    let form = match flag.kind {
        Kind::Switch if flag.default == "true" => return format!("--[no-]{name}  (on){scope}"),
        Kind::Switch => return format!("--[no-]{name}{scope}"),
        Kind::Text | Kind::Texts | Kind::Messages if flag.default.is_empty() => "<text>",
        Kind::Duration | Kind::GoDuration if flag.default == "0s" => "<duration>",
        Kind::Bytes => "<size>",
        _ => flag.default,
    };
    format!("--{name}={form}{repeat}{scope}")
}

fn wrap(out: &mut String, text: &str) {
    let mut column = 0;
    for word in text.split(' ') {
        if column > 0 && column + 1 + word.len() > WIDTH - INDENT {
            out.push('\n');
            column = 0;
        }
        if column == 0 {
            out.push_str(&" ".repeat(INDENT));
        } else {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += word.len();
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_lists_every_flag_and_keeps_its_width() {
        let (short, long) = (server("godwit", false), server("godwit", true));
        for flag in FLAGS {
            assert!(long.contains(flag.name), "{}", flag.name);
            assert_eq!(
                short.contains(&format!("]{} ", flag.name))
                    || short.contains(&format!("{}=", flag.name))
                    || short.contains(&format!("]{}\n", flag.name)),
                !flag.hidden,
                "{}",
                flag.name
            );
        }
        for line in long.lines().filter(|line| line.starts_with("      ")) {
            assert!(line.len() <= WIDTH + 10, "{line}");
        }
    }
}
