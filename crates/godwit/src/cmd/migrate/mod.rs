//! `godwit migrate`: tells a running godwit to take over a running Prometheus, and shows how far it is; and the agent
//! that runs beside a Prometheus on another machine.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "commands print")]

mod plan;

use std::io::{IsTerminal as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use migrate::wire::{Agent, DEFAULT_PORT, Key};
use migrate::{LocalDoor, MigrateError};
use serde_json::Value;
use storage::CancelToken;
use tsdb::disk::RealDisk;

use super::api::{Api, HEADER, HTTP_CONFIG, TIMEOUT};
use super::flags::{Command, Flag, Found, Positional, required, switch, valued};
use super::group::{Failed, Group, OUTPUT, Run, emit, emit_json};
use super::output::sizes;

/// The destination's API: see `web`.
const PATH: &str = "/api/v1/admin/migrate";
/// How often the destination is asked while someone watches.
const LOOK_EVERY: Duration = Duration::from_millis(500);

const URL: Flag = valued(
    "url",
    "URL",
    "http://localhost:9090",
    "The godwit that takes over, started with --web.enable-admin-api.",
);

/// All commands.
pub static GROUP: Group = Group {
    word: "migrate",
    about: "Take over a running Prometheus without losing a sample. It goes on as it is; nothing is changed in it.",
    commands: COMMANDS,
};

const KEY_FILE: Flag = valued(
    "key-file",
    "FILE",
    "",
    "The key that the agent made. A path on the machine of the server; its owner has to be able to read it.",
);
const BWLIMIT: Flag = valued(
    "bwlimit",
    "SIZE",
    "",
    "Bytes a second that copies of blocks may read of the source, as 50MB; 0 for no cap. Run again with another one, it counts from then on.",
);
const OFFLINE: Flag = switch(
    "offline",
    None,
    "Nobody writes the source, which is read in place, and nothing is written there: the folder of a Prometheus that was stopped, a snapshot of one, a tar, .tar.gz or .tar.zst of either. So is taken as well, without this, what is a file or has no folder wal.",
);
const SOURCE: Positional = required(
    "source",
    "What the Prometheus has as --storage.tsdb.path, on the machine of the server; or, with --key-file, HOST:PORT of the agent beside it.",
);

const COMMANDS: &[(Command, Run)] = &[
    (
        Command {
            path: "plan",
            help: "Say what would stand in the way, what to do about it, and how long it would take. Changes nothing. Exit code 1 where something refuses.",
            flags: &[
                URL,
                KEY_FILE,
                BWLIMIT,
                OFFLINE,
                valued(
                    "source-config",
                    "FILE|URL",
                    "",
                    "The configuration of the Prometheus, or its URL to ask for that: what the server's own lacks is named.",
                ),
                HTTP_CONFIG,
                HEADER,
                OUTPUT,
            ],
            args: &[SOURCE],
        },
        plan::run,
    ),
    (
        Command {
            path: "run",
            help: "Begin, or go on. Its files are kept by hard links from here on, its log is followed, its blocks are copied. Ends when all is there; the server goes on following.",
            flags: &[
                URL,
                KEY_FILE,
                BWLIMIT,
                OFFLINE,
                switch(
                    "hold",
                    None,
                    "The server scrapes nothing, evaluates no rules and sends nothing until `migrate switch`. It does so as well where it was started with --godwit.hold.",
                ),
                switch("detach", None, "Do not wait until all is there."),
                HTTP_CONFIG,
                HEADER,
                OUTPUT,
            ],
            args: &[SOURCE],
        },
        run,
    ),
    (
        Command {
            path: "agent",
            help: "Run beside the Prometheus where its folder is on another machine than the server, as the user who owns the folder. It makes links there, reads it, and answers only who has the key; it writes nothing else.",
            flags: &[
                valued("listen", "ADDRESS", "0.0.0.0:9191", "Where the server reaches it. TLS 1.3."),
                valued(
                    "key-file",
                    "FILE",
                    "godwit-migration.key",
                    "The key of this migration. Is made where it is not there; bring it to the server.",
                ),
            ],
            args: &[required("folder", "What the Prometheus has as --storage.tsdb.path.")],
        },
        agent,
    ),
    (
        Command {
            path: "status",
            help: "Say how far it is.",
            flags: &[URL, HTTP_CONFIG, HEADER, OUTPUT],
            args: &[],
        },
        |found| show(found, &Api::new(found, found.text("url"))?.get(PATH, &[])?),
    ),
    (
        Command {
            path: "verify",
            help: "Compare every sample of the source's blocks with what is here. Exit code 1 where they differ.",
            flags: &[URL, HTTP_CONFIG, HEADER, OUTPUT],
            args: &[],
        },
        verify,
    ),
    (
        Command {
            path: "switch",
            help: "Take the duty over: in two seconds the server begins to scrape, each target at the place in time that it had, to evaluate rules and to send. What the source goes on taking does not come any more.",
            flags: &[URL, HTTP_CONFIG, HEADER, OUTPUT],
            args: &[],
        },
        |found| tell(found, "switch", &[]),
    ),
    (
        Command {
            path: "rollback",
            help: "Give the duty back to the source, which has gone on scraping: the server waits again, and what the source took meanwhile comes as well.",
            flags: &[URL, HTTP_CONFIG, HEADER, OUTPUT],
            args: &[],
        },
        |found| tell(found, "rollback", &[]),
    ),
    (
        Command {
            path: "release",
            help: "End it: what came stays, the files of the Prometheus are let go, nothing is followed any more.",
            flags: &[
                URL,
                switch(
                    "abandon",
                    None,
                    "Also where the duty was not taken over, or the source does not answer.",
                ),
                HTTP_CONFIG,
                HEADER,
                OUTPUT,
            ],
            args: &[],
        },
        |found| {
            let form = if found.on("abandon") { &[("abandon", "true")][..] } else { &[] };
            let data = Api::new(found, found.text("url"))?.tell(&format!("{PATH}/release"), form, TIMEOUT)?;
            if found.text("output") == "json" { emit_json(&data) } else { emit("released\n") }
        },
    ),
];

/// What is to be taken over, as the API wants it.
fn order(found: &Found) -> Result<Vec<(&'static str, String)>, Failed> {
    let (source, key_file) = (found.arg(0), found.text("key-file"));
    let mut form = Vec::new();
    let text = |path: &Path| path.to_string_lossy().into_owned();
    if key_file.is_empty() {
        let path = std::fs::canonicalize(source).map_err(|e| {
            Failed::Work(format!(
                "{source}: {e}; name the data folder of the Prometheus, or an agent's HOST:PORT with --key-file"
            ))
        })?;
        form.push(("path", text(&path)));
    } else {
        let key_file = std::path::absolute(key_file)?;
        form.extend([("agent", source.to_string()), ("keyFile", text(&key_file))]);
    }
    if !found.text("bwlimit").is_empty() {
        let cap = config::parse_size(found.text("bwlimit")).map_err(Failed::usage)?;
        form.push(("bwlimit", cap.to_string()));
    }
    if found.on("offline") {
        form.push(("offline", "true".to_string()));
    }
    Ok(form)
}

fn run(found: &Found) -> Result<u8, Failed> {
    let mut form = order(found)?;
    if found.on("hold") {
        form.push(("hold", "true".to_string()));
    }
    let api = Api::new(found, found.text("url"))?;
    let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut data = api.tell(&format!("{PATH}/run"), &form, TIMEOUT)?;
    if found.on("detach") {
        return show(found, &data);
    }
    let drawn = std::io::stderr().is_terminal();
    let mut told = String::new();
    loop {
        let m = &data["migration"];
        let error = m["error"].as_str().unwrap_or_default();
        if m["offline"] == true && !error.is_empty() {
            return Err(Failed::Work(format!(
                "{error}\n(run it again when that is mended: it goes on; migrate release ends it)"
            )));
        }
        if error != told {
            eprintln!("{}", if error.is_empty() { "goes on" } else { error });
            told = error.to_string();
        }
        if drawn {
            eprint!("\r\x1b[K{}", line(m));
            std::io::stderr().flush()?;
        }
        if m["stage"] == "following" || m["stage"] == "complete" || m.is_null() {
            break;
        }
        std::thread::sleep(LOOK_EVERY);
        data = api.get(PATH, &[])?;
    }
    if drawn {
        eprint!("\r\x1b[K");
    }
    show(found, &data)
}

fn tell(found: &Found, verb: &str, form: &[(&str, &str)]) -> Result<u8, Failed> {
    show(found, &Api::new(found, found.text("url"))?.tell(&format!("{PATH}/{verb}"), form, TIMEOUT)?)
}

fn agent(found: &Found) -> Result<u8, Failed> {
    let work = |e: MigrateError| Failed::Work(e.to_string());
    let (folder, key_file) = (found.arg(0), found.text("key-file"));
    let data = std::fs::canonicalize(folder)
        .map_err(|e| Failed::Work(format!("{folder}: {e}; name the data folder of the Prometheus")))?;
    let listen = found.text("listen");
    let address: SocketAddr = listen.parse().map_err(|_| {
        Failed::usage(format!("--listen={listen} is no address with a port, as 0.0.0.0:{DEFAULT_PORT}"))
    })?;
    crate::logging::start(config::LogLevel::Info, crate::args::LogFormat::Logfmt);
    let (key, made) = Key::read_or_make(Path::new(key_file)).map_err(work)?;
    let door = LocalDoor { disk: Arc::new(RealDisk), data, pin: None };
    let agent = Agent::new(door, &key, scrape::host_name()).map_err(work)?;
    let listener = TcpListener::bind(address).map_err(|e| Failed::Work(format!("--listen={listen}: {e}")))?;
    let address = listener.local_addr()?;
    emit(&format!(
        "listening on {address}, key {} {key_file}\nbring the key to the server's machine, then, there: godwit migrate run --key-file=FILE HOST:{}\n",
        if made { "made in" } else { "as in" },
        address.port(),
    ))?;
    // Until it is killed: nothing is lost by that.
    agent.serve(&listener, &CancelToken::default())?;
    Ok(0)
}

fn verify(found: &Found) -> Result<u8, Failed> {
    let api = Api::new(found, found.text("url"))?;
    let mut data = api.tell(&format!("{PATH}/verify"), &[], TIMEOUT)?;
    let drawn = std::io::stderr().is_terminal();
    loop {
        let v = &data["migration"]["verification"];
        if v["report"].is_object() || v["error"].is_string() || v.is_null() {
            break;
        }
        if drawn {
            eprint!("\r\x1b[K{} of {} ranges compared", v["ranges"]["done"], v["ranges"]["all"]);
            std::io::stderr().flush()?;
        }
        std::thread::sleep(LOOK_EVERY);
        data = api.get(PATH, &[])?;
    }
    if drawn {
        eprint!("\r\x1b[K");
    }
    let v = &data["migration"]["verification"];
    if let Some(e) = v["error"].as_str() {
        return Err(Failed::Work(e.to_string()));
    }
    let equal = v["equal"] == true;
    if found.text("output") == "json" {
        emit_json(v)?;
    } else {
        emit(&said(&v["report"], equal))?;
    }
    Ok(u8::from(!equal))
}

/// A report in words.
fn said(report: &Value, equal: bool) -> String {
    let time = |v: &Value| {
        let ms = v.as_i64().unwrap_or_default();
        jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |t| t.to_string())
    };
    let c = &report["counts"];
    let mut text = format!(
        "{}: {} samples of the source from {} to {} in {} ranges\n",
        if equal { "equal" } else { "DIFFERENT" },
        c["samples"],
        time(&report["fromMs"]),
        time(&report["toMs"]),
        report["ranges"],
    );
    text += &format!(
        "missing {}, altered {}, here and not there {}; sums {} there, {} here\n",
        c["missing"],
        c["altered"],
        c["more"],
        c["sourceSum"].as_str().unwrap_or_default(),
        c["hereSum"].as_str().unwrap_or_default(),
    );
    if c["own"].as_u64().unwrap_or_default() > 0 {
        text +=
            &format!("{} samples here are this server's own, of series that the source has too\n", c["own"]);
    }
    for difference in report["differences"].as_array().into_iter().flatten() {
        text += &format!("from {} to {}:\n", time(&difference["fromMs"]), time(&difference["toMs"]));
        for example in difference["examples"].as_array().into_iter().flatten() {
            text += &format!("  {}\n", example.as_str().unwrap_or_default());
        }
    }
    text
}

/// One line for a terminal.
fn line(m: &Value) -> String {
    if let Some(bytes) = m["unpackedBytes"].as_u64() {
        return format!("unpacking: {} so far", sizes(bytes));
    }
    let (blocks, log) = (&m["blocks"], &m["log"]);
    format!(
        "{}: {} of {} blocks, {} copied; {} samples from the log",
        m["stage"].as_str().unwrap_or_default(),
        blocks["here"],
        blocks["all"],
        sizes(blocks["copiedBytes"].as_u64().unwrap_or_default()),
        log["samples"],
    )
}

fn show(found: &Found, data: &Value) -> Result<u8, Failed> {
    if found.text("output") == "json" {
        return emit_json(data);
    }
    let m = &data["migration"];
    if m.is_null() {
        return emit("no migration; begin one with: godwit migrate run SOURCE\n");
    }
    let log = &m["log"];
    let mut text = format!("from {}\n{}\n", m["source"].as_str().unwrap_or_default(), line(m));
    let time = |ms| jiff::Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |t| t.to_string());
    if let Some(fence) = m["fenceMs"].as_i64() {
        text += &format!("the duty is this server's from {} on\n", time(fence));
    } else if m["held"] == true {
        text += "the duty is the source's; this server waits for: godwit migrate switch\n";
    }
    if let Some(behind) = log["behindSeconds"].as_f64().filter(|_| m["stage"] != "complete") {
        text += &format!("the log was read to its end {behind:.1} s ago\n");
    }
    for (name, what) in [
        ("deletions", "ranges deleted there were deleted here"),
        ("nameless", "samples are of series that the log does not name; they are lost there as well"),
    ] {
        if log[name].as_u64().unwrap_or_default() > 0 {
            text += &format!("{} {what}\n", log[name]);
        }
    }
    for loss in log["losses"].as_array().into_iter().flatten() {
        text += &format!("damaged there: {}\n", loss.as_str().unwrap_or_default());
    }
    if m["stage"] == "complete" {
        text += "all of it is here; compare with: godwit migrate verify, end with: godwit migrate release\n";
    }
    if let Some(error) = m["error"].as_str() {
        let again = if m["offline"] == true { "" } else { ", and tried again" };
        text += &format!("stopped{again}: {error}\n");
    }
    emit(&text)
}
