//! Takeovers under fire: while a real Prometheus scrapes, takes late samples, deletes and compacts, it, the agent beside it
//! and the destination are killed and the network between them is cut, at random from a printed seed. In the end the
//! destination has what the source has, and what both have is what the target served.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::process::Child;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use e2e::dump::Sample;
use e2e::http;
use e2e::process::{Server, free_port, godwit};
use e2e::push::push;
use e2e::wait::{now, until};
use testkit::{Answer as Page, FakeTarget};

use crate::migrate::{agent, destination, kill, raw, same, source, status};

/// Of one run, in which somebody is always at work.
const SECONDS: u64 = 25;
/// Runs of the full count.
const LONG: u64 = 50;

/// A network that can be cut: everything goes through a port of this test.
struct Net {
    port: u16,
    up: Arc<AtomicBool>,
    lines: Arc<Mutex<Vec<TcpStream>>>,
}

impl Net {
    fn start(to: u16) -> Net {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (up, lines) = (Arc::new(AtomicBool::new(true)), Arc::new(Mutex::new(Vec::new())));
        let (allowed, kept) = (Arc::clone(&up), Arc::clone(&lines));
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let far = TcpStream::connect(("127.0.0.1", to));
                let (true, Ok(far)) = (allowed.load(Ordering::Relaxed), far) else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    kept.lock().unwrap().push(from.try_clone().unwrap());
                    std::thread::spawn(move || {
                        let mut bytes = [0; 1 << 16];
                        while let Ok(n @ 1..) = from.read(&mut bytes) {
                            if to.write_all(&bytes[..n]).is_err() {
                                break;
                            }
                        }
                        let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
                    });
                }
            }
        });
        Net { port, up, lines }
    }

    fn cut(&self) {
        self.up.store(false, Ordering::Relaxed);
        for line in self.lines.lock().unwrap().drain(..) {
            let _ = line.shutdown(Shutdown::Both);
        }
    }

    fn mend(&self) {
        self.up.store(true, Ordering::Relaxed);
    }
}

/// Small, and the same everywhere: splitmix64.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

struct World {
    dice: Dice,
    theirs: Option<Server>,
    ours: Option<Server>,
    agent: Option<Child>,
    net: Net,
    agent_port: u16,
    ports: (u16, u16),
    steps: Vec<String>,
}

impl World {
    fn delete(&self, selector: &str) {
        let path = format!("/api/v1/admin/tsdb/delete_series?match[]={selector}");
        // One that is being killed need not.
        let _ = http::request(self.ports.0, "POST", &path, &[], &[]);
    }

    fn step(&mut self, folder: &Path, target: &FakeTarget, end: i64) {
        let pause = Duration::from_millis(200 + self.dice.below(2500));
        let what = match self.dice.below(8) {
            0 => {
                self.ours.take().unwrap().kill().unwrap();
                std::thread::sleep(pause);
                self.ours = Some(destination(folder, self.ports.1));
                "destination killed"
            }
            1 => {
                kill(self.agent.take().unwrap());
                std::thread::sleep(pause);
                self.agent = Some(agent(folder, self.agent_port));
                "agent killed"
            }
            2 => {
                self.theirs.take().unwrap().kill().unwrap();
                self.theirs = Some(source(folder, target, self.ports.0));
                "source killed"
            }
            3 | 4 => {
                self.net.cut();
                std::thread::sleep(pause);
                self.net.mend();
                "network cut"
            }
            5 => {
                let at = end - 60 * self.dice.below(40) as i64;
                let _ = push(self.ports.0, at, at + 60 * (1 + self.dice.below(5) as i64));
                "late samples"
            }
            6 => {
                let series = self.dice.below(200);
                self.delete(&format!("g%7Bs%3D%22{series}%22%7D"));
                "deletion"
            }
            _ => {
                std::thread::sleep(pause);
                "pause"
            }
        };
        self.steps.push(format!("{:.1} {what}", now()));
    }
}

fn run(seed: u64) {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let pages = Arc::new(AtomicU64::new(0));
    let served = Arc::clone(&pages);
    let page = move |_: &_| {
        let n = served.fetch_add(1, Ordering::Relaxed);
        let mut text = format!("# TYPE pages_total counter\npages_total {n}\n");
        for s in 0..200 {
            text += &format!("g{{s=\"{s}\"}} {}\n", n * 200 + s);
        }
        Page::page("text/plain; version=0.0.4", text)
    };
    let target = runtime.block_on(FakeTarget::start(page)).unwrap();
    let ports = (free_port().unwrap(), free_port().unwrap());
    let theirs = source(folder, &target, ports.0);
    let end = now() as i64 - 120;
    push(ports.0, end - 1800, end).unwrap();
    let agent_port = free_port().unwrap();
    let (helper, net) = (agent(folder, agent_port), Net::start(agent_port));
    let ours = destination(folder, ports.1);
    let from = format!("127.0.0.1:{}", net.port);
    let mut world = World {
        dice: Dice(seed),
        theirs: Some(theirs),
        ours: Some(ours),
        agent: Some(helper),
        net,
        agent_port,
        ports,
        steps: Vec::new(),
    };
    let url = format!("--url=http://127.0.0.1:{}", ports.1);
    let begun = std::process::Command::new(godwit().unwrap())
        .args(["migrate", "run", "--detach", "--key-file=m.key", &url, &from])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(begun.status.success(), "{}", String::from_utf8_lossy(&begun.stderr));
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(SECONDS) {
        world.step(folder, &target, end);
    }
    let check = || -> Result<()> {
        let at = now() - 2.0;
        let n = same(ports.0, ports.1, at)?;
        ensure!(n > 1000, "only {n} samples");
        Ok(())
    };
    until("the same on both sides", check).unwrap_or_else(|e| {
        let seen = status(ports.1).unwrap_or_default();
        let log = world.ours.as_ref().map(Server::log_tail).unwrap_or_default();
        panic!("seed {seed}: {e:#}\n{:#?}\n{seen:#}\n{log}", world.steps)
    });
    // What is there is what was served: each page at most once, none that was not.
    let all = raw(ports.1, now() - 2.0).unwrap();
    let counts = all.iter().find(|(labels, _)| labels.contains("pages_total")).map(|(_, samples)| samples);
    let mut seen = BTreeSet::new();
    for sample in counts.unwrap().values() {
        // A mark of a target's end, as a source that was killed may leave.
        let Sample::Float(n) = sample else { continue };
        if f64::from_bits(*n).is_nan() {
            continue;
        }
        assert!(seen.insert(*n), "seed {seed}: a page twice: {n}");
        assert!(f64::from_bits(*n) < pages.load(Ordering::Relaxed) as f64, "seed {seed}: never served: {n}");
    }
    if let Some(agent) = world.agent.take() {
        kill(agent);
    }
}

#[test]
fn nothing_is_lost_whoever_is_killed() {
    let long = std::env::var_os("GODWIT_TEST_LONG").is_some();
    let seed = std::env::var("GODWIT_TAKEOVER_SEED").ok().and_then(|s| s.parse().ok());
    let first = seed.unwrap_or(if long { 1 } else { e2e::ledger::now_ms() as u64 });
    let count = std::env::var("GODWIT_TAKEOVERS").ok().and_then(|n| n.parse().ok());
    for seed in first..first + count.unwrap_or(if long { LONG } else { 1 }) {
        println!("seed {seed}");
        run(seed);
    }
}
