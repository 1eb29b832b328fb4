//! Processes under test: started on a free port, awaited until ready, killed when dropped.

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::http;
use crate::wait::LIMIT;

/// Starts on a port that another program took between our look and the start.
const STARTS_MAX: usize = 5;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).to_path_buf()
}

/// The godwit binary: `GODWIT_BIN`, or what `cargo build -p godwit` left.
///
/// # Errors
/// There is none.
pub fn godwit() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("GODWIT_BIN") {
        return Ok(path.into());
    }
    // Test binaries lie in <target>/<profile>/deps.
    let this = std::env::current_exe()?;
    let folder = this.parent().and_then(Path::parent).context("no target folder")?;
    let path = folder.join("godwit");
    ensure!(
        path.exists(),
        "{} does not exist: run `make test`, or `cargo build -p godwit` first",
        path.display()
    );
    Ok(path)
}

/// A real program to compare with, as `e2e/peers.sh` fetched it.
///
/// # Errors
/// It is not there.
pub fn peer(name: &str) -> Result<PathBuf> {
    let cache = || {
        let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
        let base = base.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
        base.map(|b| b.join("godwit/peers"))
    };
    let folder = std::env::var_os("GODWIT_PEERS").map(PathBuf::from).or_else(cache).unwrap_or(repository());
    let path = folder.join("bin").join(name);
    ensure!(path.exists(), "{} does not exist: run `make peers`", path.display());
    Ok(path)
}

/// A port that nobody listens on now.
///
/// # Errors
/// None is free.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// A running program.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub port: u16,
    /// Where its output goes.
    pub log: PathBuf,
}

impl Server {
    /// Starts a program; `args` may contain `{port}`. Waits until `ready` answers 200.
    ///
    /// # Errors
    /// It does not start, ends early, or is not ready in time; the text holds the end of its log.
    pub fn start(program: &Path, args: &[&str], folder: &Path, ready: &str) -> Result<Server> {
        Server::start_within(program, args, folder, ready, LIMIT)
    }

    /// The same with a limit for a start over much data.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn start_within(
        program: &Path,
        args: &[&str],
        folder: &Path,
        ready: &str,
        limit: Duration,
    ) -> Result<Server> {
        let mut tries = 0;
        loop {
            let mut server = Server::spawn(program, args, folder, free_port()?)?;
            match server.until_ready(program, ready, limit) {
                Ok(()) => return Ok(server),
                Err(_) if tries < STARTS_MAX && server.log_text().contains("address already in use") => {
                    tries += 1
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until a path answers 200.
    ///
    /// # Errors
    /// It ends early or is not ready in time; the text holds the end of its log.
    pub fn until_ready(&mut self, program: &Path, ready: &str, limit: Duration) -> Result<()> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status}:\n{}", program.display(), self.log_tail());
            }
            if http::get(self.port, ready).is_ok_and(|a| a.status == 200) {
                return Ok(());
            }
            if began.elapsed() > limit {
                bail!("{} is not ready after {limit:?}:\n{}", program.display(), self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts a program and does not wait.
    ///
    /// # Errors
    /// It does not start.
    pub fn spawn(program: &Path, args: &[&str], folder: &Path, port: u16) -> Result<Server> {
        let name = program.file_name().and_then(|n| n.to_str()).unwrap_or("program");
        let log = folder.join(format!("{name}-{port}.log"));
        let output = File::create(&log)?;
        let args = args.iter().map(|a| a.replace("{port}", &port.to_string()));
        let child = Command::new(program)
            .args(args)
            .current_dir(folder)
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("{} does not start", program.display()))?;
        Ok(Server { child, port, log })
    }

    /// Whether it is gone.
    ///
    /// # Errors
    /// The system does not say.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// How it ended; `None` while it runs.
    ///
    /// # Errors
    /// The system does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal by name (`TERM`, `HUP`, `KILL`).
    ///
    /// # Errors
    /// `kill` refuses.
    pub fn signal(&self, name: &str) -> Result<()> {
        let status = Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status()?;
        ensure!(status.success(), "kill -{name} failed");
        Ok(())
    }

    /// True while it runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Asks it to end and waits.
    ///
    /// # Errors
    /// It does not end within [`LIMIT`].
    pub fn stop(mut self) -> Result<ExitStatus> {
        self.signal("TERM")?;
        self.wait()
    }

    /// Ends it at once.
    ///
    /// # Errors
    /// It cannot be killed.
    pub fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It goes on for longer than [`LIMIT`].
    pub fn wait(&mut self) -> Result<ExitStatus> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            ensure!(began.elapsed() < LIMIT, "still running after {LIMIT:?}:\n{}", self.log_tail());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The last lines it printed.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    /// All it printed.
    #[must_use]
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
