//! Whose the duty is: to scrape, to evaluate rules, to send. A server that only follows another one has none of it,
//! and takes all of it at one moment.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use migrate::State;
use tokio::runtime::Handle;
use tsdb::disk::RealDisk;

use crate::late::LateDb;

/// What a data folder says at the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Duty {
    /// This server's, as of any that does not follow another one. `host`: whose places in time its targets keep.
    Own { host: Option<String> },
    /// From a time on, in milliseconds, that has not come yet.
    From { fence_ms: i64, host: Option<String> },
    /// The other server's.
    Held,
}

impl Duty {
    /// Reads it; `hold` is what the flag says of a folder without a migration.
    #[must_use]
    pub fn read(data: &Path, hold: bool, now_ms: i64) -> Duty {
        match State::read(&RealDisk, data) {
            Ok(None) if hold => Duty::Held,
            Ok(None) => Duty::Own { host: None },
            Ok(Some(State { released: true, host, .. })) => Duty::Own { host },
            Ok(Some(State { fence_ms: Some(fence_ms), host, .. })) if fence_ms > now_ms => {
                Duty::From { fence_ms, host }
            }
            Ok(Some(State { fence_ms: Some(_), host, .. })) => Duty::Own { host },
            Ok(Some(State { held: true, .. })) => Duty::Held,
            Ok(Some(_)) => Duty::Own { host: None },
            // Told with the migration, which does not go on. Scraping what another server scrapes does less harm
            // than nobody doing so.
            Err(_) => Duty::Own { host: None },
        }
    }
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Those who have the duty. Cheap to clone.
#[derive(Clone)]
pub struct Workers(Arc<Inner>);

struct Inner {
    scrape: scrape::Manager,
    rules: rules::Manager,
    sender: remote::Sender,
    late: LateDb,
    runtime: Handle,
    held: AtomicBool,
    /// Counts orders: one that another has followed is void.
    orders: AtomicU64,
    /// Orders are carried out one after the other.
    turn: tokio::sync::Mutex<()>,
}

impl Workers {
    /// `held`: they wait already.
    #[must_use]
    pub fn new(
        scrape: scrape::Manager,
        rules: rules::Manager,
        sender: remote::Sender,
        late: LateDb,
        held: bool,
    ) -> Self {
        Workers(Arc::new(Inner {
            scrape,
            rules,
            sender,
            late,
            runtime: Handle::current(),
            held: AtomicBool::new(held),
            orders: AtomicU64::new(0),
            turn: tokio::sync::Mutex::default(),
        }))
    }

    /// Whether they wait.
    #[must_use]
    pub fn are_held(&self) -> bool {
        self.0.held.load(Ordering::Acquire)
    }

    /// They stop until [`Workers::begin`]. What remote write has begun to send goes on.
    pub fn hold(&self) {
        self.0.held.store(true, Ordering::Release);
        // At once, as a sample more would be one that the other server has too.
        self.0.scrape.hold();
        self.order(|this, _| async move { this.rules.hold().await });
    }

    /// They begin at a time, each target at the place in time that it has on `host`.
    pub fn begin(&self, from_ms: i64, host: Option<String>) {
        self.0.held.store(false, Ordering::Release);
        self.order(|this, order| async move {
            this.scrape.take_duty(from_ms, host).await;
            let wait_ms = u64::try_from(from_ms.saturating_sub(now_ms())).unwrap_or(0);
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
            if this.orders.load(Ordering::Acquire) == order {
                this.send().await;
                this.rules.take_over();
            }
        });
    }

    fn order<F: Future<Output = ()> + Send + 'static>(&self, work: impl FnOnce(Arc<Inner>, u64) -> F) {
        let this = Arc::clone(&self.0);
        let order = this.orders.fetch_add(1, Ordering::AcqRel) + 1;
        let work = work(Arc::clone(&this), order);
        self.0.runtime.spawn(async move {
            let _turn = this.turn.lock().await;
            if this.orders.load(Ordering::Acquire) == order {
                work.await;
            }
        });
    }

    /// All of it from the start of the server on: the store is open, no sample has come.
    pub async fn at_start(&self, duty: &Duty) {
        match duty {
            Duty::Own { .. } => {
                self.0.send().await;
                self.0.rules.start();
            }
            Duty::From { fence_ms, host } => self.begin(*fence_ms, host.clone()),
            Duty::Held => {}
        }
    }
}

impl Inner {
    async fn send(&self) {
        if let Some(db) = self.late.get().cloned() {
            let sender = self.sender.clone();
            let _ = tokio::task::spawn_blocking(move || sender.open(Arc::new(db))).await;
        }
    }
}
