//! A cardinality bomb: targets whose pages hold very many series, other ones after each turn.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use testkit::{Answer, FakeTarget};

/// The metric of the bomb.
pub const METRIC: &str = "boom_requests_total";
/// The label that makes its series many.
pub const LABEL: &str = "session";

/// A running bomb. It stops when dropped.
pub struct Bomb {
    targets: Vec<FakeTarget>,
    served: Arc<AtomicU64>,
}

impl Bomb {
    /// Targets with so many lines each, whose series are others after `turn`.
    ///
    /// # Errors
    /// No free port.
    pub async fn start(targets: usize, lines: usize, turn: Duration) -> Result<Bomb> {
        let (served, began) = (Arc::<AtomicU64>::default(), Instant::now());
        let mut all = Vec::new();
        for number in 0..targets {
            let served = Arc::clone(&served);
            let answer = move |_: &testkit::Recorded| {
                served.fetch_add(1, Ordering::Relaxed);
                let generation = began.elapsed().as_millis() / turn.as_millis().max(1);
                Answer::text(page(number, lines, generation))
            };
            all.push(FakeTarget::start(answer).await?);
        }
        Ok(Bomb { targets: all, served })
    }

    /// A scrape job named `bomb` in YAML flow style.
    #[must_use]
    pub fn job(&self, interval_seconds: u64) -> String {
        let addresses: Vec<String> = self.targets.iter().map(|t| format!("'{}'", t.address())).collect();
        format!(
            "- {{job_name: bomb, scrape_interval: {0}s, scrape_timeout: {0}s, static_configs: [{{targets: [{1}]}}]}}\n",
            interval_seconds,
            addresses.join(", ")
        )
    }

    /// Pages served so far.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }
}

fn page(target: usize, lines: usize, generation: u128) -> Vec<u8> {
    let mut text = String::with_capacity(lines * 80);
    let _ = writeln!(text, "# TYPE {METRIC} counter");
    for i in 0..lines {
        let _ = writeln!(text, "{METRIC}{{code=\"200\",{LABEL}=\"s-{generation}-{target:03}-{i:07}\"}} {i}");
    }
    text.into_bytes()
}
