//! `godwit debug`: collects what a bug report needs of a running server in one archive (upstream:
//! `cmd/promtool/debug.go`).

#![allow(clippy::print_stdout, reason = "commands print")]

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::time::Duration;

use axum::http::Method;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use super::api::Api;
use super::flags::{Command, Found, Positional, required};
use super::group::{Failed, Group, Run};

/// The archive, in the working folder.
const ARCHIVE: &str = "debug.tar.gz";
/// Profiles take 30 s to be made.
const TIMEOUT: Duration = Duration::from_secs(120);
/// Largest profile after decompression.
const PROFILE_BYTES_MAX: u64 = 1 << 30;

/// What to fetch: path, name in the archive.
type Part = (&'static str, &'static str);

/// Compressed when served, and not in the archive.
const PROFILES: [Part; 6] = [
    ("/debug/pprof/block", "block.pb"),
    ("/debug/pprof/goroutine", "goroutine.pb"),
    ("/debug/pprof/heap", "heap.pb"),
    ("/debug/pprof/mutex", "mutex.pb"),
    ("/debug/pprof/profile?seconds=30", "cpu.pb"),
    ("/debug/pprof/threadcreate", "threadcreate.pb"),
];
const TRACE: Part = ("/debug/pprof/trace?seconds=30", "trace.pb");
const METRICS: Part = ("/metrics", "metrics.txt");

const SERVER: Positional = required("server", "URL of the server.");

/// All commands.
pub static GROUP: Group = Group {
    word: "debug",
    about: "Collect what a bug report needs of a server in debug.tar.gz.",
    commands: COMMANDS,
};

const COMMANDS: &[(Command, Run)] = &[
    (
        Command {
            path: "pprof",
            help: "Fetch profiles of a server that has /debug/pprof. A Prometheus does; takes a minute.",
            flags: &[],
            args: &[SERVER],
        },
        |found| run(found, &[&PROFILES[..], &[TRACE]].concat()),
    ),
    (
        Command { path: "metrics", help: "Fetch a server's own metrics.", flags: &[], args: &[SERVER] },
        |found| run(found, &[METRICS]),
    ),
    (Command { path: "all", help: "Fetch both.", flags: &[], args: &[SERVER] }, |found| {
        run(found, &[&PROFILES[..], &[TRACE, METRICS]].concat())
    }),
];

fn run(found: &Found, parts: &[Part]) -> Result<u8, Failed> {
    write(found, parts).map_err(|e| match e {
        Failed::Work(text) => Failed::Work(format!("error completing debug command: {text}")),
        other => other,
    })?;
    println!("Compiling debug information complete, all files written in {ARCHIVE:?}.");
    Ok(0)
}

fn write(found: &Found, parts: &[Part]) -> Result<(), Failed> {
    let api = Api::new(found, found.arg(0))?;
    let new = |e: std::io::Error| Failed::Work(format!("error creating a new archiver: {ARCHIVE:?}: {e}"));
    // Whole or not at all: under another name until it is complete.
    let part = format!("{ARCHIVE}.part");
    let mut archive =
        tar::Builder::new(GzEncoder::new(File::create(&part).map_err(new)?, Compression::default()));
    for (path, name) in parts {
        println!("collecting: {}", api.url(path));
        let failed = |e: String| Failed::Work(format!("{}: {e}", api.url(path)));
        let reply = api.send(Method::GET, path, &[], Vec::new(), TIMEOUT)?;
        if reply.status != 200 {
            let _ = std::fs::remove_file(&part);
            return Err(failed(format!("status {}; is it a server that has this?", reply.status)));
        }
        let mut body = reply.body;
        if PROFILES.iter().any(|(profile, _)| profile == path) {
            let mut plain = Vec::new();
            let read = MultiGzDecoder::new(&body[..]).take(PROFILE_BYTES_MAX).read_to_end(&mut plain);
            read.map_err(|e| failed(format!("no profile: {e}")))?;
            body = plain;
        }
        let mut header = tar::Header::new_gnu();
        header.set_size(body.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(jiff::Timestamp::now().as_second().max(0) as u64);
        archive.append_data(&mut header, name, &body[..])?;
    }
    let file = archive.into_inner()?.finish()?;
    file.sync_all()?;
    std::io::stdout().flush()?;
    Ok(std::fs::rename(&part, ARCHIVE)?)
}
