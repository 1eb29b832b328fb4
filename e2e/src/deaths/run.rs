//! The load: ordinary targets and rules, and beside them what is meant to kill.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use testkit::{Answer, FakeTarget, Fleet};
use tokio::runtime::Runtime;

use super::bodies::Hostile;
use super::queries::Heavy;
use crate::http;

/// How much there is of everything.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Ordinary targets.
    pub targets: usize,
    /// Pods of each, of 500 series.
    pub pods: usize,
    /// Small targets that note when they are asked.
    pub watches: usize,
    /// Seconds between two scrapes.
    pub scrape_seconds: u64,
    /// Groups of rules.
    pub groups: usize,
    /// Seconds between two evaluations.
    pub rule_seconds: u64,
}

/// Rules of a group; each gives one series.
const RULES: [&str; 4] = [
    "sum(rate(http_requests_total[1m]))",
    "histogram_quantile(0.9, sum by (le) (rate(http_request_duration_seconds_bucket[1m])))",
    "max(runtime_value_0) - min(runtime_value_1)",
    "count(up)",
];

/// Ordinary targets and rules.
pub struct Load {
    sizes: Sizes,
    fleet: Fleet,
    watches: Vec<FakeTarget>,
    _runtime: Runtime,
}

impl Load {
    /// Starts the targets.
    ///
    /// # Errors
    /// No free port.
    pub fn start(sizes: Sizes) -> Result<Load> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let fleet = runtime.block_on(Fleet::start(sizes.targets, sizes.pods))?;
        let watch = || FakeTarget::start(|_| Answer::text("watched 1\n"));
        let watches = (0..sizes.watches).map(|_| runtime.block_on(watch())).collect::<Result<_, _>>()?;
        Ok(Load { sizes, fleet, watches, _runtime: runtime })
    }

    /// How much there is.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        self.sizes
    }

    /// Puts `prometheus.yml` and `rules.yml` into a folder.
    ///
    /// # Errors
    /// They cannot be written.
    pub fn write_files(&self, folder: &Path) -> Result<()> {
        let listed = |all: Vec<String>| all.iter().map(|a| format!("'{a}'")).collect::<Vec<_>>().join(", ");
        let watches = self.watches.iter().map(|w| w.address().to_string()).collect();
        let config = format!(
            "global: {{scrape_interval: {0}s, scrape_timeout: {0}s, evaluation_interval: {1}s}}\n\
             rule_files: [rules.yml]\n\
             scrape_configs:\n\
             - {{job_name: ordinary, static_configs: [{{targets: [{2}]}}]}}\n\
             - {{job_name: watches, static_configs: [{{targets: [{3}]}}]}}\n",
            self.sizes.scrape_seconds,
            self.sizes.rule_seconds,
            listed(self.fleet.addresses()),
            listed(watches),
        );
        let mut rules = "groups:\n".to_string();
        for group in 0..self.sizes.groups {
            rules += &format!("- name: g{group}\n  rules:\n");
            for (i, rule) in RULES.iter().enumerate() {
                let name = format!("record: \"kept:g{group}:r{i}\", labels: {{kept: g{group}r{i}}}");
                rules += &format!("  - {{{name}, expr: '{rule}'}}\n");
            }
        }
        std::fs::write(folder.join("prometheus.yml"), config)?;
        std::fs::write(folder.join("rules.yml"), rules)?;
        Ok(())
    }

    /// Samples that rules give in so many seconds.
    #[must_use]
    pub fn rule_samples_due(&self, seconds: u64) -> f64 {
        (self.sizes.groups * RULES.len()) as f64 * (seconds / self.sizes.rule_seconds) as f64
    }

    /// How far the distance of two scrapes of one target was from the interval, in seconds, ascending.
    #[must_use]
    pub fn jitter(&self, from: Instant, to: Instant) -> Vec<f64> {
        let mut all = Vec::new();
        for watch in &self.watches {
            let within = |at: &Instant| (from..=to).contains(at);
            let times: Vec<Instant> = watch.requests().iter().map(|r| r.at).filter(within).collect();
            let distances = times.windows(2).map(|w| w[1].duration_since(w[0]).as_secs_f64());
            all.extend(distances.map(|d| (d - self.sizes.scrape_seconds as f64).abs()));
            // A target that is never asked again must not look well.
            all.push(times.last().map_or_else(
                || to.duration_since(from).as_secs_f64(),
                |last| (to.duration_since(*last).as_secs_f64() - self.sizes.scrape_seconds as f64).max(0.0),
            ));
        }
        all.sort_by(f64::total_cmp);
        all
    }
}

/// What came of one request.
#[derive(Clone, Debug)]
pub struct Said {
    /// Of the request.
    pub name: &'static str,
    /// Status; `None` where the connection gave none.
    pub status: Option<u16>,
    /// Seconds until the answer.
    pub seconds: f64,
    /// What is wrong with it.
    pub fault: Option<String>,
    /// The beginning of the text of an error.
    pub text: String,
}

/// Bytes of an answer that are shown.
const SHOWN: usize = 200;

fn said(
    name: &'static str,
    began: Instant,
    answer: Result<http::Answer>,
    right: impl Fn(&http::Answer) -> Result<()>,
) -> Said {
    let seconds = began.elapsed().as_secs_f64();
    match answer {
        Ok(answer) => {
            let shown = answer.body.get(..SHOWN).unwrap_or(&answer.body);
            let text = match answer.status / 100 {
                2 => String::new(),
                _ => String::from_utf8_lossy(shown).into_owned(),
            };
            let fault = right(&answer).err().map(|e| format!("{e:#}"));
            Said { name, status: Some(answer.status), seconds, fault, text }
        }
        Err(e) => Said {
            name,
            status: None,
            seconds,
            fault: Some(format!("no answer: {e:#}")),
            text: String::new(),
        },
    }
}

/// Whether status and `errorType` belong together and to the request.
fn right(heavy: &Heavy, answer: &http::Answer) -> Result<()> {
    let kind = || -> Result<String> {
        Ok(answer.json()?["errorType"].as_str().context("no errorType")?.to_string())
    };
    let plain = heavy.path == "/federate";
    let fine = match answer.status {
        200 => !heavy.malformed,
        // What is deeper than a server goes is malformed to it.
        400 => plain || kind()? == "bad_data",
        // Whether it is malformed is not known before there is memory to read it.
        422 => (!heavy.malformed || answer.text().contains("memory")) && kind()? == "execution",
        503 => !heavy.malformed && (plain || matches!(kind()?.as_str(), "timeout" | "unavailable")),
        _ => false,
    };
    anyhow::ensure!(
        fine,
        "{}: {}",
        answer.status,
        String::from_utf8_lossy(answer.body.get(..SHOWN).unwrap_or(&answer.body))
    );
    Ok(())
}

/// How a server is talked to.
pub struct Talk<'a> {
    /// Where it listens.
    pub port: u16,
    /// Called before each request: a server that died is waited for.
    pub before: &'a (dyn Fn() + Sync),
}

impl Talk<'_> {
    /// Sends heavy requests, so many at once.
    #[must_use]
    pub fn ask(&self, all: &[Heavy], at_once: usize) -> Vec<Said> {
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let work = || {
                let mut mine = Vec::new();
                while let Some(heavy) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    (self.before)();
                    let began = Instant::now();
                    let headers = [("Content-Type", "application/x-www-form-urlencoded")];
                    let answer = match heavy.path {
                        "/federate" => http::get(self.port, &format!("{}?{}", heavy.path, heavy.form)),
                        path => {
                            http::request_refusable(self.port, "POST", path, &headers, heavy.form.as_bytes())
                        }
                    };
                    mine.push(said(heavy.name, began, answer, |answer| right(heavy, answer)));
                }
                mine
            };
            let threads: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
            threads.into_iter().filter_map(|t| t.join().ok()).flatten().collect()
        })
    }

    /// Sends hostile bodies, those of one kind at the same time.
    #[must_use]
    pub fn send(&self, all: &[Hostile]) -> Vec<Said> {
        let mut heard = Vec::new();
        for hostile in all {
            (self.before)();
            let one = || {
                let began = Instant::now();
                let answer =
                    http::request_refusable(self.port, "POST", hostile.path, &hostile.headers, &hostile.body);
                said(hostile.name, began, answer, |answer| {
                    let crowded = answer.status == 503 && hostile.times > 1;
                    anyhow::ensure!(
                        crowded || hostile.right.contains(&answer.status),
                        "{}: {}",
                        answer.status,
                        String::from_utf8_lossy(answer.body.get(..SHOWN).unwrap_or(&answer.body))
                    );
                    Ok(())
                })
            };
            std::thread::scope(|scope| {
                let threads: Vec<_> = (0..hostile.times).map(|_| scope.spawn(one)).collect();
                heard.extend(threads.into_iter().filter_map(|t| t.join().ok()));
            });
            // Bombs of one kind are one attack; the next begins when this one is over.
            std::thread::sleep(Duration::from_millis(50));
        }
        heard
    }
}
