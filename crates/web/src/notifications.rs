//! Notices for the people who look at the page: a failed reload, a replay under way, a shutdown.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use telemetry::{Counter, Registry};

/// Texts that upstream's page knows.
pub mod text {
    /// A reload failed.
    pub const CONFIGURATION_UNSUCCESSFUL: &str = "Configuration reload has failed.";
    /// Replay.
    pub const STARTING_UP: &str = "Prometheus is starting and replaying the write-ahead log (WAL).";
    /// Shutdown.
    pub const SHUTTING_DOWN: &str = "Prometheus is shutting down and gracefully stopping all operations.";
}

/// The notices in force. Cheap to clone.
#[derive(Clone)]
pub struct Notifications {
    active: Arc<Mutex<BTreeMap<String, SystemTime>>>,
    sent: Counter,
}

impl Notifications {
    pub(crate) fn new(registry: &Registry) -> Self {
        let sent = registry.counter(
            "prometheus_api_notification_updates_sent_total",
            "Total number of notification updates sent.",
        );
        registry.gauge_fn(
            "prometheus_api_notification_active_subscribers",
            "The current number of active notification subscribers.",
            || 0.0,
        );
        Notifications { active: Arc::default(), sent }
    }

    /// Shows a notice.
    pub fn add(&self, text: &str) {
        self.active.lock().insert(text.to_string(), SystemTime::now());
        self.sent.inc();
    }

    /// Takes a notice back.
    pub fn remove(&self, text: &str) {
        if self.active.lock().remove(text).is_some() {
            self.sent.inc();
        }
    }

    /// Texts in force, each with the time since when.
    #[must_use]
    pub fn list(&self) -> Vec<(String, SystemTime)> {
        self.active.lock().iter().map(|(t, at)| (t.clone(), *at)).collect()
    }
}
