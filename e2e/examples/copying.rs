//! How fast a migration copies, and what it costs, beside `cp` with sync and `rsync -a` over ssh on the same disk: blocks
//! of our own writer, opened by a real Prometheus, caches dropped, each party in a control group of 2 GiB. As root.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command")]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::cage::Cage;
use e2e::process::{Server, free_port, godwit};
use e2e::program::Program;
use e2e::usage::{self, Usage};
use e2e::{http, options};
use model::Labels;
use serde_json::Value;
use tsdb::block::Backfill;
use tsdb::disk::{Disk, RealDisk, Rng};

const HELP: &str = "\
copying: the copy phase of a migration beside cp and rsync

  --gigabytes N   bytes of blocks, in 2^30 (8); three times as much is written
  --dir DIR       where (the folder for temporary files)
  --cap SIZE      bytes a second of the capped run, in 2^20 (50)

GODWIT_BIN names godwit's binary.";

const MEMORY: u64 = 2 << 30;
const BLOCK_MS: i64 = 2 * 3600 * 1000;
/// Of a block: 480 samples of 9 bytes each, 86 MB.
const SERIES: u64 = 20_000;
const INTERVAL_MS: i64 = 15_000;
const SLOWEST: Duration = Duration::from_secs(3600);

fn main() -> Result<()> {
    let (mut gigabytes, mut dir, mut cap) = (8, std::env::temp_dir(), 50_u64);
    let go = options::read(std::env::args().skip(1), &[], |name, value| {
        match name {
            "--gigabytes" => gigabytes = value.parse()?,
            "--dir" => dir = PathBuf::from(value),
            "--cap" => cap = value.parse()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    if !go {
        println!("{HELP}");
        return Ok(());
    }
    let folder = tempfile::tempdir_in(dir)?;
    let folder = folder.path();
    let theirs = folder.join("theirs");
    let bytes = fill(&theirs, gigabytes << 30)?;
    println!("{:.2} GB in blocks", bytes as f64 / 1e9);

    let source = Source::start(folder)?;
    forget_caches()?;
    let begun = Instant::now();
    let copied = Command::new("sh")
        .args(["-c", "mkdir copy && cp -r theirs/0* copy/ && sync -f copy"])
        .current_dir(folder)
        .status()?;
    ensure!(copied.success(), "cp");
    let cp = begun.elapsed().as_secs_f64();
    println!("cp + sync: {:.1} s, {:.0} MB/s", cp, bytes as f64 / 1e6 / cp);
    std::fs::remove_dir_all(folder.join("copy"))?;
    match rsync(folder) {
        Ok((seconds, cpu)) => {
            println!(
                "rsync -a over ssh: {seconds:.1} s, {:.0} MB/s, CPU of both ends {cpu:.1} s",
                bytes as f64 / 1e6 / seconds
            );
        }
        Err(e) => println!("rsync -a over ssh: {e:#}"),
    }

    let whole = Destination::start(folder, "ours", &[])?;
    forget_caches()?;
    let before = (usage::of(whole.server.pid())?, usage::of(source.agent.id())?);
    whole.run(&source, "0")?;
    let done = whole.until_copied()?;
    let after = (usage::of(whole.server.pid())?, usage::of(source.agent.id())?);
    let seconds = |key: &str| done["blocks"][key].as_f64().unwrap_or(0.0);
    let copying = seconds("copyingSeconds");
    let cpu = |(a, b): (Usage, Usage)| b.cpu_seconds - a.cpu_seconds;
    println!(
        "migrate: copied in {copying:.1} s, {:.0} MB/s = {:.2} of cp; read back in {:.1} s",
        bytes as f64 / 1e6 / copying,
        cp / copying,
        seconds("readingBackSeconds"),
    );
    println!(
        "migrate: CPU {:.1} s here, {:.1} s of the agent; agent's RSS at most {:.0} MiB, here {:.0} MiB",
        cpu((before.0, after.0)),
        cpu((before.1, after.1)),
        after.1.rss_peak_bytes as f64 / f64::from(1 << 20),
        after.0.rss_peak_bytes as f64 / f64::from(1 << 20),
    );
    drop(whole);
    std::fs::remove_dir_all(folder.join("ours"))?;

    let capped = Destination::start(folder, "capped", &[])?;
    capped.run(&source, &format!("{cap}MB"))?;
    let at = |d: &Destination| -> Result<(Instant, u64)> {
        Ok((Instant::now(), d.status()?["blocks"]["copiedBytes"].as_u64().unwrap_or(0)))
    };
    std::thread::sleep(Duration::from_secs(3));
    let (from, first) = at(&capped)?;
    std::thread::sleep(Duration::from_secs(20));
    let (to, last) = at(&capped)?;
    let rate = (last - first) as f64 / to.duration_since(from).as_secs_f64() / f64::from(1 << 20);
    println!("cap of {cap} MiB a second: {rate:.1}, {:+.1} %", (rate / cap as f64 - 1.0) * 100.0);
    // Killed in the midst of it, what was not noted is copied again.
    capped.run(&source, "0")?;
    std::thread::sleep(Duration::from_secs(2));
    let before = at(&capped)?.1;
    let Destination { server, _cage: cage, .. } = capped;
    server.kill()?;
    drop(cage);
    let again = Destination::start(folder, "capped", &[])?;
    let done = again.until_copied()?;
    let repeated = (before + done["blocks"]["copiedBytes"].as_u64().unwrap_or(0)).saturating_sub(bytes);
    println!(
        "killed after {:.2} GB: {:.0} MB copied again, {:.1} s at this rate",
        before as f64 / 1e9,
        repeated as f64 / 1e6,
        repeated as f64 / (bytes as f64 / copying)
    );
    source.stop()
}

/// Writes blocks of values that do not compress until there are so many bytes; their bytes.
fn fill(dir: &Path, bytes: u64) -> Result<u64> {
    std::fs::create_dir_all(dir)?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let names: Vec<Labels> = (0..SERIES)
        .map(|n| Labels::from_pairs([("__name__", "noise".to_string()), ("n", n.to_string())]))
        .collect();
    let mut rng = Rng::new(1);
    let mut end = (e2e::wait::now() as i64 * 1000 / BLOCK_MS - 2) * BLOCK_MS;
    let mut written = 0;
    while written < bytes {
        let mut block = Backfill::new(BLOCK_MS);
        for labels in &names {
            for t in (end - BLOCK_MS..end).step_by(usize::try_from(INTERVAL_MS)?) {
                block.add(labels, t, rng.next_u64() as f64);
            }
        }
        let mut made = Vec::new();
        block.write(&disk, dir, |meta| made.push(meta.ulid.to_string()))?;
        for name in made {
            written += tree_bytes(&dir.join(name))?;
        }
        end -= BLOCK_MS;
    }
    Ok(written)
}

fn tree_bytes(dir: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        // What a migration copies in pieces: files of chunks and indexes.
        let name = entry.file_name();
        sum += match entry.file_type()?.is_dir() {
            true => tree_bytes(&entry.path())?,
            false if name == "meta.json" || name == "tombstones" => 0,
            false => entry.metadata()?.len(),
        };
    }
    Ok(sum)
}

fn forget_caches() -> Result<()> {
    rustix::fs::sync();
    std::fs::write("/proc/sys/vm/drop_caches", "3").context("caches cannot be dropped: as root")
}

/// The real Prometheus and the agent beside it.
struct Source {
    server: Server,
    agent: Child,
    port: u16,
    _cages: [Cage; 2],
}

impl Source {
    fn start(folder: &Path) -> Result<Source> {
        std::fs::write(folder.join("p.yml"), "scrape_configs: []\n")?;
        let cages = [cage("source")?, cage("agent")?];
        let arguments = [
            "--web.listen-address=127.0.0.1:{port}",
            "--config.file=p.yml",
            "--storage.tsdb.path=theirs",
            "--storage.tsdb.retention.time=10y",
            // It is not to compact meanwhile.
            "--storage.tsdb.min-block-duration=2h",
            "--storage.tsdb.max-block-duration=2h",
        ];
        let (program, arguments) = cages[0].wrap(&Program::Lts.path()?, &arguments);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let server = Server::start_within(&program, &arguments, folder, "/-/ready", SLOWEST)?;
        let port = free_port()?;
        let listen = format!("--listen=127.0.0.1:{port}");
        let words = ["migrate", "agent", &listen, "--key-file=m.key", "theirs"];
        let (program, arguments) = cages[1].wrap(&godwit()?, &words);
        let agent = Command::new(program)
            .args(arguments)
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        std::thread::sleep(Duration::from_secs(1));
        Ok(Source { server, agent, port, _cages: cages })
    }

    fn stop(mut self) -> Result<()> {
        self.agent.kill()?;
        self.agent.wait()?;
        ensure!(self.server.stop()?.success());
        Ok(())
    }
}

fn cage(name: &str) -> Result<Cage> {
    Cage::new(name, MEMORY).context("no control groups: as root")
}

struct Destination {
    server: Server,
    folder: PathBuf,
    _cage: Cage,
}

impl Destination {
    fn start(folder: &Path, data: &str, more: &[&str]) -> Result<Destination> {
        std::fs::write(folder.join("g.yml"), "scrape_configs: []\n")?;
        let cage = cage("destination")?;
        let path = format!("--storage.tsdb.path={data}");
        let mut arguments = vec![
            "--web.listen-address=127.0.0.1:{port}",
            "--config.file=g.yml",
            &path,
            "--storage.tsdb.retention.time=10y",
            "--web.enable-admin-api",
            "--storage.tsdb.min-block-duration=2h",
            "--storage.tsdb.max-block-duration=2h",
        ];
        arguments.extend(more);
        let (program, arguments) = cage.wrap(&godwit()?, &arguments);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let server = Server::start_within(&program, &arguments, folder, "/-/ready", SLOWEST)?;
        Ok(Destination { server, folder: folder.to_path_buf(), _cage: cage })
    }

    fn run(&self, source: &Source, cap: &str) -> Result<()> {
        let url = format!("--url=http://127.0.0.1:{}", self.server.port);
        let (cap, at) = (format!("--bwlimit={cap}"), format!("127.0.0.1:{}", source.port));
        let done = Command::new(godwit()?)
            .args(["migrate", "run", "--detach", "--key-file=m.key", &url, &cap, &at])
            .current_dir(&self.folder)
            .output()?;
        ensure!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        Ok(())
    }

    fn status(&self) -> Result<Value> {
        let answer = http::get(self.server.port, "/api/v1/admin/migrate")?;
        let value: Value = serde_json::from_slice(&answer.body)?;
        Ok(value["data"]["migration"].clone())
    }

    fn until_copied(&self) -> Result<Value> {
        let begun = Instant::now();
        loop {
            let now = self.status()?;
            if let Some(error) = now["error"].as_str() {
                bail!("{error}");
            }
            if now["stage"] == "following" {
                return Ok(now);
            }
            ensure!(begun.elapsed() < SLOWEST, "{now:#}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

/// Seconds, and CPU seconds of both ends: a server of ssh of our own, on a port of its own.
fn rsync(folder: &Path) -> Result<(f64, f64)> {
    let port = free_port()?;
    let make = format!(
        "mkdir -p ssh /run/sshd && ssh-keygen -q -t ed25519 -N '' -f ssh/host && ssh-keygen -q -t ed25519 -N '' -f ssh/me && cp ssh/me.pub ssh/allowed && printf 'Port {port}\\nListenAddress 127.0.0.1\\nHostKey %s/ssh/host\\nAuthorizedKeysFile %s/ssh/allowed\\nStrictModes no\\nPermitRootLogin yes\\nPidFile none\\n' \"$PWD\" \"$PWD\" > ssh/config && command -v rsync"
    );
    let made = Command::new("sh").args(["-c", &make]).current_dir(folder).output()?;
    ensure!(
        made.status.success(),
        "not measured, as it is not installed: {}",
        String::from_utf8_lossy(&made.stderr)
    );
    let config = folder.join("ssh/config");
    let mut server = Command::new("/usr/sbin/sshd").arg("-D").arg("-f").arg(&config).spawn()?;
    std::thread::sleep(Duration::from_secs(1));
    forget_caches()?;
    let shell = format!(
        "ssh -p {port} -i ssh/me -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
    );
    // What ended is counted with who waited for it: this process, and the server of ssh.
    let own_before = usage::of_ended_children(std::process::id())?;
    let begun = Instant::now();
    let from = format!("root@127.0.0.1:{}/theirs/0*", folder.display());
    let done =
        Command::new("rsync").args(["-a", "-e", &shell, &from, "copy/"]).current_dir(folder).status()?;
    rustix::fs::sync();
    let seconds = begun.elapsed().as_secs_f64();
    let own = usage::of_ended_children(std::process::id())? - own_before;
    let theirs = usage::of_ended_children(server.id())?;
    server.kill()?;
    server.wait()?;
    std::fs::remove_dir_all(folder.join("copy"))?;
    ensure!(done.success(), "rsync ended with {done}");
    Ok((seconds, own + theirs))
}
