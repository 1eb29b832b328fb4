//! A server with the ledger's load on it, to be hurt: what the tests of faults share. `docs/faults.md` has the
//! list of faults and what came of each.

mod damage;
mod device;
mod disk;
mod fuse;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

pub use damage::{Damage, Trial, damage, files, pick};
pub use device::{Cut, Device, Done, Forgets, Frozen};
pub use disk::{Ballast, Memory, Mounted};

use crate::http;
use crate::ledger::{Check, Figures, Found, Ledger, Load, Plan, Source, check, now_ms};
use crate::process::{Server, free_port};
use crate::program::Program;
use crate::wait::LIMIT;

/// Targets of a rig. All of them stay.
pub const TARGETS: u64 = 4;

/// A server that may be up or down, its folder and its load.
pub struct Rig {
    /// What was served and acknowledged.
    pub ledger: Ledger,
    /// What is scraped.
    pub plan: Plan,
    /// Flags; `{port}` is replaced.
    pub arguments: Vec<String>,
    /// Words before the program: `env A=B`, `sh -c …`.
    pub wrapper: Vec<String>,
    /// Where configuration and log are.
    pub folder: PathBuf,
    /// Where the data is.
    pub data: PathBuf,
    /// Where it listens in all its lives.
    pub port: u16,
    server: Option<Server>,
    load: Option<Load>,
}

/// A share as a person reads it.
#[must_use]
pub fn percent(part: u64, whole: u64) -> String {
    format!("{:.1} %", 100.0 * part as f64 / whole.max(1) as f64)
}

impl Rig {
    /// A rig that is down.
    ///
    /// # Errors
    /// No port is free.
    pub fn new(folder: &Path, data: &Path, flags: &[&str]) -> Result<Rig> {
        let ledger = Ledger::default();
        let mut plan = Plan::new(&ledger, TARGETS, &folder.join("prometheus.yml"))?;
        plan.reload = false;
        plan.put(true)?;
        let mut arguments: Vec<String> = flags.iter().map(ToString::to_string).collect();
        arguments.extend(crate::kills::RECEIVES.map(String::from));
        arguments.push("--web.listen-address=127.0.0.1:{port}".into());
        arguments.push("--config.file=prometheus.yml".into());
        arguments.push(format!("--storage.tsdb.path={}", data.display()));
        Ok(Rig {
            ledger,
            plan,
            arguments,
            wrapper: Vec::new(),
            folder: folder.to_path_buf(),
            data: data.to_path_buf(),
            port: free_port()?,
            server: None,
            load: None,
        })
    }

    /// Starts the server, waits until it is ready, and begins the load.
    ///
    /// # Errors
    /// It ends or is not ready in time.
    pub fn start(&mut self) -> Result<()> {
        self.start_alone()?;
        self.load = Some(Load::start(&self.ledger, self.port, &self.plan));
        Ok(())
    }

    /// The same without writes and queries.
    ///
    /// # Errors
    /// As [`Rig::start`].
    pub fn start_alone(&mut self) -> Result<()> {
        self.plan.put(true)?;
        self.ledger.next_life();
        let program = Program::Godwit.path()?;
        let mut words: Vec<String> = self.wrapper.clone();
        words.push(program.display().to_string());
        words.extend(self.arguments.iter().cloned());
        let first = words.remove(0);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut server = Server::spawn(Path::new(&first), &words, &self.folder, self.port)?;
        server.until_ready(&program, "/-/ready", LIMIT)?;
        self.server = Some(server);
        Ok(())
    }

    /// The server.
    ///
    /// # Errors
    /// It is down.
    pub fn server(&mut self) -> Result<&mut Server> {
        self.server.as_mut().context("the server is down")
    }

    /// Fails where the process is gone.
    ///
    /// # Errors
    /// It is gone; the text has the end of its log.
    pub fn alive(&mut self) -> Result<()> {
        let server = self.server()?;
        ensure!(server.is_running(), "the server died:\n{}", server.log_tail());
        Ok(())
    }

    /// What the load did so far.
    #[must_use]
    pub fn figures(&self) -> Figures {
        self.load.as_ref().map(Load::figures).unwrap_or_default()
    }

    /// kill -9.
    ///
    /// # Errors
    /// It is down.
    pub fn kill(&mut self) -> Result<String> {
        self.load = None;
        let server = self.server.take().context("the server is down")?;
        let log = server.log_text();
        server.kill()?;
        Ok(log)
    }

    /// SIGTERM, and an end with 0.
    ///
    /// # Errors
    /// It ends otherwise.
    pub fn stop(&mut self) -> Result<String> {
        self.load = None;
        let server = self.server.take().context("the server is down")?;
        let log = server.log.clone();
        let status = server.stop()?;
        let log = std::fs::read_to_string(log)?;
        ensure!(status.success(), "{status}\n{log}");
        Ok(log)
    }

    /// Holds all of its answers against the ledger.
    ///
    /// # Errors
    /// It does not answer.
    pub fn check(&mut self, what: &Check) -> Result<Found> {
        check(&self.ledger, self.port, what)
    }

    /// Sum of a metric over its labels.
    ///
    /// # Errors
    /// No page.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let page = http::get(self.port, "/metrics")?.text();
        let values = page.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
        });
        Ok(values.sum())
    }

    /// Pages that were asked for between two times, and how many should have been at one a second and target:
    /// one less than the seconds, since a window has no phase.
    #[must_use]
    pub fn scrapes(&self, from_ms: i64, to_ms: i64) -> (u64, u64) {
        let book = self.ledger.book();
        let pages = book.iter().filter(|(s, _)| matches!(s, Source::Target(_))).flat_map(|(_, e)| e.values());
        let came = pages.filter(|e| (from_ms..to_ms).contains(&e.at_ms)).count() as u64;
        (came, (((to_ms - from_ms) / 1000 - 1).max(1)) as u64 * TARGETS)
    }

    /// Waits while the load goes on.
    ///
    /// # Errors
    /// The server died.
    pub fn go_on(&mut self, seconds: f64) -> Result<()> {
        std::thread::sleep(Duration::from_secs_f64(seconds));
        self.alive()
    }
}

/// Warnings and errors that a log names, by message.
#[must_use]
pub fn said(log: &str) -> std::collections::BTreeMap<String, u64> {
    let mut all = std::collections::BTreeMap::new();
    crate::kills::messages(log, &mut all);
    all
}

/// Milliseconds of Unix time.
#[must_use]
pub fn time() -> i64 {
    now_ms()
}
