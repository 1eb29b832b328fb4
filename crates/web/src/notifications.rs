//! Notices for the people who look at the page: a failed reload, a replay under way, a shutdown. Listed by
//! `/api/v1/notifications`, told as they come and go by `/api/v1/notifications/live` (server-sent events).

use std::sync::Arc;
use std::time::SystemTime;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use parking_lot::Mutex;
use telemetry::{Counter, Registry};
use tokio::sync::mpsc;

use crate::json::Json;
use crate::stream::{self, Piece, Stream};

/// Texts that upstream's page knows.
pub mod text {
    /// A reload failed.
    pub const CONFIGURATION_UNSUCCESSFUL: &str = "Configuration reload has failed.";
    /// Replay.
    pub const STARTING_UP: &str = "Prometheus is starting and replaying the write-ahead log (WAL).";
    /// Shutdown.
    pub const SHUTTING_DOWN: &str = "Prometheus is shutting down and gracefully stopping all operations.";
}

/// Events that wait for a slow listener; it misses those beyond. Upstream's number.
const QUEUE_EVENTS_MAX: usize = 10;

#[derive(Default)]
struct Inner {
    /// In the order they came.
    active: Vec<(String, SystemTime)>,
    listeners: Vec<mpsc::Sender<Piece>>,
    closed: bool,
}

/// The notices in force. Cheap to clone.
#[derive(Clone)]
pub struct Notifications {
    inner: Arc<Mutex<Inner>>,
    listeners_max: usize,
    sent: Counter,
    dropped: Counter,
}

impl Notifications {
    pub(crate) fn new(registry: &Registry, listeners_max: usize) -> Self {
        let inner = Arc::<Mutex<Inner>>::default();
        let counted = Arc::clone(&inner);
        registry.gauge_fn(
            "prometheus_api_notification_active_subscribers",
            "The current number of active notification subscribers.",
            move || counted.lock().listeners.iter().filter(|l| !l.is_closed()).count() as f64,
        );
        Notifications {
            inner,
            listeners_max,
            sent: registry.counter(
                "prometheus_api_notification_updates_sent_total",
                "Total number of notification updates sent.",
            ),
            dropped: registry.counter(
                "prometheus_api_notification_updates_dropped_total",
                "Total number of notification updates dropped.",
            ),
        }
    }

    /// Shows a notice, or renews its time.
    pub fn add(&self, text: &str) {
        let mut inner = self.inner.lock();
        let now = SystemTime::now();
        match inner.active.iter_mut().find(|(t, _)| t == text) {
            Some((_, at)) => *at = now,
            None => inner.active.push((text.to_string(), now)),
        }
        self.tell(&inner, text, now, true);
    }

    /// Takes a notice back.
    pub fn remove(&self, text: &str) {
        let mut inner = self.inner.lock();
        let Some(i) = inner.active.iter().position(|(t, _)| t == text) else { return };
        let (_, at) = inner.active.remove(i);
        self.tell(&inner, text, at, false);
    }

    /// Texts in force, each with the time since when.
    #[must_use]
    pub fn list(&self) -> Vec<(String, SystemTime)> {
        self.inner.lock().active.clone()
    }

    /// Ends all streams, after what waits in them; refuses new ones. The server could not stop while a
    /// browser listens otherwise.
    pub fn close(&self) {
        let mut inner = self.inner.lock();
        inner.closed = true;
        inner.listeners.clear();
    }

    fn tell(&self, inner: &Inner, text: &str, at: SystemTime, active: bool) {
        let event = event(text, at, active);
        for listener in inner.listeners.iter().filter(|l| !l.is_closed()) {
            self.sent.inc();
            if listener.try_send(Ok(event.clone())).is_err() {
                self.dropped.inc();
            }
        }
    }

    /// A new listener: what is in force now, then every change. `None` where there are too many.
    fn subscribe(&self) -> Option<Stream> {
        let mut inner = self.inner.lock();
        inner.listeners.retain(|l| !l.is_closed());
        if inner.closed || inner.listeners.len() >= self.listeners_max {
            return None;
        }
        let (sender, events) = stream::channel(QUEUE_EVENTS_MAX.max(inner.active.len()));
        for (text, at) in &inner.active {
            // Room for these was just made.
            let _ = sender.try_send(Ok(event(text, *at, true)));
        }
        inner.listeners.push(sender);
        Some(events)
    }

    /// The stream of `/api/v1/notifications/live`; 204 where all places are taken.
    pub(crate) fn live(&self) -> Response {
        let mut response = match self.subscribe() {
            Some(events) => Response::new(Body::new(events)),
            None => crate::router::empty(http::StatusCode::NO_CONTENT),
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        response
    }
}

/// A notice as JSON, as both endpoints show it.
pub(crate) fn write_notice(json: &mut Json, text: &str, at: SystemTime, active: bool) {
    json.raw("{\"text\":").string(text).raw(",\"date\":").time(at).raw(",\"active\":").bool(active).raw("}");
}

fn event(text: &str, at: SystemTime, active: bool) -> Bytes {
    let mut json = Json::with_capacity(256);
    json.raw("data: ");
    write_notice(&mut json, text, at, active);
    json.raw("\n\n");
    Bytes::from(json.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn next(events: &mut Stream) -> Option<String> {
        let bytes = events.next().await?.unwrap();
        Some(String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn listeners_hear_what_is_and_what_comes_and_are_few() {
        let registry = Registry::new();
        let n = Notifications::new(&registry, 1);
        n.add("first");
        let mut events = n.subscribe().unwrap();
        assert!(n.subscribe().is_none());
        assert_eq!(n.live().status(), 204);
        assert!(next(&mut events).await.unwrap().starts_with("data: {\"text\":\"first\",\"date\":\""));
        n.remove("first");
        n.remove("first");
        assert!(next(&mut events).await.unwrap().ends_with("\"active\":false}\n\n"));
        for i in 0..QUEUE_EVENTS_MAX + 2 {
            n.add(&format!("n{i}"));
        }
        assert_eq!(n.dropped.get() as usize, 2);
        n.close();
        let mut left = 0;
        while next(&mut events).await.is_some() {
            left += 1;
        }
        assert_eq!(left, QUEUE_EVENTS_MAX);
        drop(events);
        assert!(n.subscribe().is_none());
        assert_eq!(n.list().len(), QUEUE_EVENTS_MAX + 2);
    }

    #[tokio::test]
    async fn a_listener_that_left_makes_room() {
        let n = Notifications::new(&Registry::new(), 1);
        drop(n.subscribe().unwrap());
        assert!(n.subscribe().is_some());
    }
}
