//! Names to addresses by the system's resolver, as `/etc/hosts`, mDNS and the like ask for. It blocks a thread
//! for as long as it takes, five seconds and more for each server that is silent, and nothing ends it: without a
//! bound, targets behind a dead resolver would take every thread that queries and writes run on.
//!
//! Rejected: a resolver of our own for these too, which reads `/etc/resolv.conf` and not what else the system is
//! set up with.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

/// Lookups at a time: half of the threads that the runtime makes for what blocks (512).
const LOOKUPS_MAX: usize = 256;
/// Addresses of one name that are kept; the rest would not be reached within any scrape's timeout.
const ADDRESSES_MAX: usize = 16;

/// One for the process, as the threads are that it bounds.
static NAMES: LazyLock<Names> = LazyLock::new(|| Names::new(LOOKUPS_MAX, system));

type Addresses = Option<Arc<[IpAddr]>>;
type Lookup = fn(&str) -> Vec<IpAddr>;

/// Addresses of a name, none where it has none. Given up with the future; the lookup itself goes on, and who asks
/// for the same name meanwhile waits for it too.
pub(crate) async fn lookup(host: &str, port: u16) -> Vec<SocketAddr> {
    NAMES.lookup(host).await.iter().map(|ip| SocketAddr::new(*ip, port)).collect()
}

fn system(host: &str) -> Vec<IpAddr> {
    let found = (host, 0).to_socket_addrs();
    found.map(|all| all.map(|a| a.ip()).take(ADDRESSES_MAX).collect()).unwrap_or_default()
}

struct Names {
    /// Those that are looked up now, or wait for their turn: each name once.
    running: Arc<Mutex<HashMap<String, watch::Receiver<Addresses>>>>,
    turns: Arc<Semaphore>,
    how: Lookup,
}

impl Names {
    fn new(lookups_max: usize, how: Lookup) -> Names {
        Names { running: Arc::default(), turns: Arc::new(Semaphore::new(lookups_max)), how }
    }

    async fn lookup(&self, host: &str) -> Arc<[IpAddr]> {
        let mut answer = self.begin(host);
        match answer.wait_for(Option::is_some).await {
            Ok(found) => found.clone().unwrap_or_default(),
            // The runtime ends.
            Err(_) => Arc::default(),
        }
    }

    fn begin(&self, host: &str) -> watch::Receiver<Addresses> {
        let mut running = self.running.lock();
        if let Some(answer) = running.get(host) {
            return answer.clone();
        }
        let (sender, answer) = watch::channel(None);
        running.insert(host.to_string(), answer.clone());
        let (host, turns, how) = (host.to_string(), Arc::clone(&self.turns), self.how);
        let running = Arc::clone(&self.running);
        tokio::spawn(async move {
            let name = host.clone();
            // Nobody closes it. The turn is given back by the thread, not by who waits for it.
            let turn = turns.acquire_owned().await;
            let found = tokio::task::spawn_blocking(move || {
                let found = how(&name);
                drop(turn);
                found
            });
            let found = found.await.unwrap_or_default();
            running.lock().remove(&host);
            // Who asked may have given up.
            let _ = sender.send(Some(found.into()));
        });
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    static NOW: AtomicUsize = AtomicUsize::new(0);
    static MOST: AtomicUsize = AtomicUsize::new(0);
    static ALL: AtomicUsize = AtomicUsize::new(0);

    fn slow(host: &str) -> Vec<IpAddr> {
        ALL.fetch_add(1, Ordering::SeqCst);
        MOST.fetch_max(NOW.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(20));
        NOW.fetch_sub(1, Ordering::SeqCst);
        vec![IpAddr::from([127, 0, 0, host.len() as u8])]
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn few_at_a_time_and_each_name_once() {
        let names = Arc::new(Names::new(3, slow));
        let mut all = tokio::task::JoinSet::new();
        for n in 0..40 {
            let names = Arc::clone(&names);
            // Ten names of lengths 1 to 10.
            all.spawn(async move { (n % 10 + 1, names.lookup(&"x".repeat(n % 10 + 1)).await) });
        }
        while let Some(one) = all.join_next().await {
            let (len, found) = one.unwrap();
            assert_eq!(*found, [IpAddr::from([127, 0, 0, len as u8])]);
        }
        assert_eq!(MOST.load(Ordering::SeqCst), 3);
        assert!(ALL.load(Ordering::SeqCst) < 40);
        assert!(names.running.lock().is_empty());
    }

    #[tokio::test]
    async fn the_systems_names() {
        assert!(lookup("localhost", 9).await.iter().all(|a| a.ip().is_loopback() && a.port() == 9));
        assert!(lookup("no such name", 9).await.is_empty());
    }
}
