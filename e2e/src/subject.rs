//! Servers that are put under a load that may end them: started again where they are gone, and counted.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::cage::Cage;
use crate::http;
use crate::process::{Server, free_port, peer};
use crate::program::Program;
use crate::usage;

/// Who is under the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// godwit.
    Ours,
    /// A Prometheus.
    Peer(Program),
    /// VictoriaMetrics.
    Vm,
}

impl Subject {
    /// From its name on a command line.
    ///
    /// # Errors
    /// Nobody has this name.
    pub fn named(name: &str) -> Result<Subject> {
        Ok(match name {
            "godwit" => Subject::Ours,
            "lts" => Subject::Peer(Program::Lts),
            "new" => Subject::Peer(Program::New),
            "vm" => Subject::Vm,
            other => bail!("--subjects: {other:?} is none of godwit, lts, new, vm"),
        })
    }

    /// Name and version for a table.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Subject::Ours => "godwit",
            Subject::Peer(program) => program.title(),
            Subject::Vm => "VictoriaMetrics",
        }
    }

    fn path(self) -> Result<PathBuf> {
        match self {
            Subject::Ours => Program::Godwit.path(),
            Subject::Peer(program) => program.path(),
            Subject::Vm => match std::env::var_os("GODWIT_PEER_VM") {
                Some(path) => Ok(path.into()),
                None => peer("victoria-metrics"),
            },
        }
    }

    fn args(self) -> &'static [&'static str] {
        match self {
            Subject::Vm => &[
                "-httpListenAddr=127.0.0.1:{port}",
                "-promscrape.config=prometheus.yml",
                "-storageDataPath=data",
                "-search.latencyOffset=0s",
            ],
            _ => &[
                "--web.listen-address=127.0.0.1:{port}",
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                "--web.enable-lifecycle",
            ],
        }
    }

    fn ready(self) -> &'static str {
        if self == Subject::Vm { "/health" } else { "/-/ready" }
    }
}

/// A subject that is started again when it dies.
pub struct Kept {
    subject: Subject,
    folder: PathBuf,
    extra: Vec<&'static str>,
    // Before the group, which goes with its last process.
    /// The process that runs now.
    pub server: Option<Server>,
    /// The group that it runs in.
    pub cage: Option<Cage>,
    /// How often it had to be started again.
    pub restarts: u64,
    /// Most bytes that were resident.
    pub peak: u64,
    /// How it died last, and the end of its log.
    pub last_words: String,
}

impl Kept {
    /// Starts a subject over `prometheus.yml` in a folder, with more arguments.
    ///
    /// # Errors
    /// The program is not there.
    pub fn start(
        subject: Subject,
        folder: &Path,
        cage: Option<Cage>,
        extra: &[&'static str],
    ) -> Result<Kept> {
        let (folder, extra) = (folder.to_path_buf(), extra.to_vec());
        let mut kept = Kept {
            subject,
            folder,
            extra,
            cage,
            server: None,
            restarts: 0,
            peak: 0,
            last_words: String::new(),
        };
        kept.spawn()?;
        Ok(kept)
    }

    fn spawn(&mut self) -> Result<()> {
        let path = self.subject.path()?;
        let args: Vec<&str> = self.subject.args().iter().chain(&self.extra).copied().collect();
        let (program, args) = match &self.cage {
            Some(cage) => cage.wrap(&path, &args),
            None => (path, args.iter().map(ToString::to_string).collect()),
        };
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let port = match &self.server {
            Some(before) => before.port,
            None => free_port()?,
        };
        self.server = Some(Server::spawn(&program, &args, &self.folder, port)?);
        Ok(())
    }

    /// Looks after it; starts it anew where it is gone.
    ///
    /// # Errors
    /// It does not start.
    pub fn look(&mut self) -> Result<()> {
        let Some(server) = &mut self.server else { return self.spawn() };
        if let Some(status) = server.ended()? {
            self.restarts += 1;
            self.last_words = format!("{status}\n{}", server.log_tail());
            return self.spawn();
        }
        if let Ok(used) = usage::of(server.pid()) {
            self.peak = self.peak.max(used.rss_peak_bytes);
        }
        Ok(())
    }

    /// Where it listens, whichever process it is.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.server.as_ref().map_or(0, |s| s.port)
    }

    /// Waits until it is ready; gives the seconds that this took.
    ///
    /// # Errors
    /// Not within five minutes.
    pub fn until_ready(&mut self) -> Result<f64> {
        let began = Instant::now();
        while !http::get(self.port(), self.subject.ready()).is_ok_and(|a| a.status == 200) {
            ensure!(
                began.elapsed() < Duration::from_secs(300),
                "not ready after five minutes; it said last: {}",
                self.last_words
            );
            self.look()?;
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(began.elapsed().as_secs_f64())
    }
}
