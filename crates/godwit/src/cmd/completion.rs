//! `godwit completion`: scripts for bash, zsh and fish, made out of the table of flags.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "commands print")]

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::GROUPS;
use super::group::Group;
use crate::args::mode::COMMANDS;
use crate::args::table::{FLAGS, Flag, Kind, Scope};

const SHELLS: [&str; 3] = ["bash", "zsh", "fish"];

/// Runs the command. Returns the exit code.
pub fn run(args: &[String]) -> u8 {
    let script = match args.first().map(String::as_str) {
        Some("bash") => bash(),
        Some("zsh") => zsh(),
        Some("fish") => fish(),
        Some("-h" | "--help") | None => {
            println!(
                "usage: godwit completion <{}>\n\nPrints a script. For example, for this bash session:\n  source <(godwit completion bash)",
                SHELLS.join("|")
            );
            return u8::from(args.is_empty());
        }
        Some(other) => {
            eprintln!("godwit completion: no script for {other:?}, there are {}", SHELLS.join(", "));
            return 1;
        }
    };
    print!("{script}");
    0
}

fn listed() -> impl Iterator<Item = &'static Flag> {
    FLAGS.iter().filter(|flag| !flag.hidden && flag.scope != Scope::Retired)
}

/// Words a shell can offer: switches in both forms, others with their `=`.
fn words(flag: &Flag) -> Vec<String> {
    match flag.kind {
        Kind::Switch => vec![format!("--{}", flag.name), format!("--no-{}", flag.name)],
        _ => vec![format!("--{}=", flag.name)],
    }
}

/// Flags of a group's commands.
fn flags_of(group: &Group) -> Vec<String> {
    let flags = group.commands.iter().flat_map(|(command, _)| command.flags);
    let words =
        flags.map(|f| if f.value.is_some() { format!("--{}=", f.name) } else { format!("--{}", f.name) });
    words.collect::<BTreeSet<String>>().into_iter().collect()
}

fn bash_group(group: &&Group) -> String {
    let (word, words, flags) = (group.word, group.words().join(" "), flags_of(group).join(" "));
    format!(
        "        {word}) if [[ \"$cur\" == -* ]]; then COMPREPLY=($(compgen -W \"{flags}\" -- \"$cur\")); [[ \"${{COMPREPLY[0]}}\" == *= ]] && compopt -o nospace; elif [[ $COMP_CWORD -eq 2 ]]; then COMPREPLY=($(compgen -W \"{words}\" -- \"$cur\")); else COMPREPLY=($(compgen -f -- \"$cur\")); fi; return ;;\n"
    )
}

fn bash() -> String {
    let flags: Vec<String> = listed().flat_map(words).collect();
    format!(
        "# Completion of godwit (and of prometheus, where godwit is called so) for bash.\n\
_godwit() {{\n\
    local cur=\"${{COMP_WORDS[COMP_CWORD]}}\" first=\"${{COMP_WORDS[1]}}\"\n\
    COMPREPLY=()\n\
    case \"$first\" in\n\
        completion) COMPREPLY=($(compgen -W \"{shells}\" -- \"$cur\")); return ;;\n\
{groups}        doctor) COMPREPLY=($(compgen -d -- \"$cur\")); return ;;\n\
    esac\n\
    if [[ \"$cur\" == -* ]]; then\n\
        COMPREPLY=($(compgen -W \"{flags}\" -- \"$cur\"))\n\
        [[ \"${{COMPREPLY[0]}}\" == *= ]] && compopt -o nospace\n\
    elif [[ $COMP_CWORD -eq 1 ]]; then\n\
        COMPREPLY=($(compgen -W \"{commands}\" -- \"$cur\"))\n\
    else\n\
        COMPREPLY=($(compgen -f -- \"$cur\"))\n\
    fi\n\
}}\n\
complete -F _godwit godwit prometheus\n",
        shells = SHELLS.join(" "),
        groups = GROUPS.iter().map(bash_group).collect::<String>(),
        flags = flags.join(" "),
        commands = COMMANDS.join(" "),
    )
}

/// The first sentence of a help text, without what shells take for their own.
fn short(help: &str) -> String {
    let sentence = help.split(". ").next().unwrap_or(help).trim_end_matches('.');
    sentence.replace(['\'', '[', ']', ':', '"', '`', '$', '\\'], " ")
}

fn zsh() -> String {
    let mut out = String::from(
        "#compdef godwit prometheus\n# Completion of godwit for zsh.\n_godwit() {\n  case \"$words[2]\" in\n",
    );
    for group in GROUPS {
        let (word, words) = (group.word, group.words().join(" "));
        let _ = writeln!(
            out,
            "    {word}) _alternative 'command:command:({words})' 'files:file:_files'; return ;;"
        );
    }
    let _ = writeln!(out, "    completion) _values shell {}; return ;;", SHELLS.join(" "));
    out.push_str("    doctor) _files -/; return ;;\n  esac\n  _arguments \\\n");
    for flag in listed() {
        for word in words(flag) {
            let action = match (word.strip_suffix('='), flag.kind) {
                (Some(_), Kind::Words(words)) => format!(":value:({})", words.join(" ")),
                (Some(_), Kind::LogLevel) => ":value:(debug info warn error)".to_string(),
                (Some(_), _) if flag.name.ends_with("file") || flag.name.ends_with("path") => {
                    ":file:_files".to_string()
                }
                (Some(_), _) => ":value:".to_string(),
                (None, _) => String::new(),
            };
            let word = if word.ends_with('=') { format!("{word}-").replace("=-", "=") } else { word };
            let _ = writeln!(out, "    '*{word}[{}]{action}' \\", short(flag.help));
        }
    }
    let _ = writeln!(out, "    '1:command:({})'\n}}\n_godwit \"$@\"", COMMANDS.join(" "));
    out
}

fn fish() -> String {
    let mut out = String::from("# Completion of godwit for fish.\n");
    let _ = writeln!(out, "complete -c godwit -n __fish_use_subcommand -a '{}'", COMMANDS.join(" "));
    for group in GROUPS {
        let (word, words) = (group.word, group.words().join(" "));
        let _ = writeln!(out, "complete -c godwit -n '__fish_seen_subcommand_from {word}' -a '{words}'");
    }
    let _ = writeln!(
        out,
        "complete -c godwit -n '__fish_seen_subcommand_from completion' -a '{}'",
        SHELLS.join(" ")
    );
    for flag in listed() {
        let help = short(flag.help);
        if flag.kind == Kind::Switch {
            let _ = writeln!(
                out,
                "complete -c godwit -l {} -d '{help}'\ncomplete -c godwit -l no-{}",
                flag.name, flag.name
            );
        } else {
            let _ = writeln!(out, "complete -c godwit -l {} -r -d '{help}'", flag.name);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn scripts_name_every_flag() {
        for script in [bash(), zsh(), fish()] {
            assert!(script.contains("dump-openmetrics"));
            for flag in listed() {
                assert!(script.contains(flag.name), "{}", flag.name);
            }
        }
    }

    #[test]
    fn bash_takes_the_script_and_completes() {
        let test = format!(
            "{}\nCOMP_WORDS=(godwit --config.fi); COMP_CWORD=1; compopt() {{ :; }}; _godwit; echo \"${{COMPREPLY[*]}}\"; COMP_WORDS=(godwit ch); _godwit; echo \"${{COMPREPLY[*]}}\"",
            bash()
        );
        let Ok(out) = Command::new("bash").args(["-c", &test]).output() else { return };
        assert_eq!(
            String::from_utf8_lossy(&out.stdout),
            "--config.file=\ncheck\n",
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
}
