//! One target's loop.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::pool::PoolShared;
use crate::target::Target;

pub(crate) struct ScrapeLoop {
    shared: Arc<PoolShared>,
    target: Arc<Target>,
    stop: CancellationToken,
}

impl ScrapeLoop {
    pub(crate) fn new(shared: Arc<PoolShared>, target: Arc<Target>, stop: CancellationToken) -> Self {
        ScrapeLoop { shared, target, stop }
    }

    pub(crate) async fn run(self, seed: u64, done: watch::Sender<bool>) {
        let _ = (&self.shared, &self.target, seed);
        self.stop.cancelled().await;
        let _ = done.send(true);
    }
}
