//! Scrapes from before the store is open. A log of hours is replayed for seconds or minutes, and targets are
//! scraped meanwhile, at their times: each page is held, compressed, until the store takes it, with the time at
//! which it was scraped.
//!
//! Held are pages and not samples: a page of a thousand lines is 6 kB compressed, and its samples with their
//! labels 200 kB. Rejected: one page a target at most (at an interval of a second a replay of ten would cost
//! nine). What does not fit is given up, the newest first, so that what is stored has one gap and not many.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use exposition::Format;
use net::PooledBody;
use telemetry::{Counter, Gauge, Registry};
use tokio_util::sync::CancellationToken;

/// What a held page costs beside its bytes: its place in the loop's list, an allocation, an error's text.
const PAGE_BYTES: usize = 256;
/// zstd's fastest ordinary level: 400 MB/s, a page becomes a tenth and less.
const LEVEL: i32 = 1;

/// Whether the store is open, and what is held until then.
pub(crate) struct Gate {
    open: CancellationToken,
    bytes_max: usize,
    bytes: AtomicUsize,
    held: Counter,
    given_up: Counter,
    shown: Gauge,
}

impl Gate {
    /// A gate that [`Gate::open`] opens where `later`, else an open one.
    pub(crate) fn new(later: bool, bytes_max: usize, registry: &Registry) -> Arc<Self> {
        let open = CancellationToken::new();
        if !later {
            open.cancel();
        }
        Arc::new(Gate {
            open,
            bytes_max,
            bytes: AtomicUsize::new(0),
            held: registry.counter(
                "godwit_target_scrapes_held_total",
                "Scrapes that were held in memory because the store was not open yet.",
            ),
            given_up: registry.counter(
                "godwit_target_scrapes_held_given_up_total",
                "Scrapes from before the store was open that memory for them did not suffice for.",
            ),
            shown: registry.gauge(
                "godwit_target_scrapes_held_bytes",
                "Bytes of scrapes that wait in memory for the store to be open.",
            ),
        })
    }

    pub(crate) fn open(&self) {
        self.open.cancel();
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.is_cancelled()
    }

    /// Ends when the store is open.
    pub(crate) async fn opened(&self) {
        self.open.cancelled().await;
    }

    /// Bytes that wait.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Reserved> {
        let fits = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= self.bytes_max);
        if self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_err() {
            self.given_up.inc();
            return None;
        }
        self.held.inc();
        self.shown.set(self.bytes() as f64);
        Some(Reserved { gate: Arc::clone(self), bytes })
    }
}

/// A part of the memory for held pages.
struct Reserved {
    gate: Arc<Gate>,
    bytes: usize,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        self.gate.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
        self.gate.shown.set(self.gate.bytes() as f64);
    }
}

/// A page as it came, or as it was held.
pub(crate) enum Body {
    Pooled(PooledBody),
    Held(Vec<u8>),
}

impl std::ops::Deref for Body {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Body::Pooled(body) => body,
            Body::Held(body) => body,
        }
    }
}

/// What came of fetching.
pub(crate) struct Fetched {
    pub(crate) body: Option<(Body, Format)>,
    pub(crate) error: Option<String>,
    pub(crate) body_bytes: f64,
}

impl Fetched {
    /// Bytes of the page.
    pub(crate) fn len(&self) -> usize {
        self.body.as_ref().map_or(0, |(body, _)| body.len())
    }
}

/// A scrape that waits.
pub(crate) struct Held {
    /// When it was, and how long fetching took.
    pub(crate) time: Duration,
    pub(crate) took: Duration,
    page: Option<Packed>,
    error: Option<String>,
    body_bytes: f64,
    _reserved: Reserved,
}

struct Packed {
    bytes: Vec<u8>,
    len: usize,
    format: Format,
}

impl Held {
    /// Holds a scrape; `None` where there is no room for it.
    pub(crate) fn new(gate: &Arc<Gate>, fetched: Fetched, time: Duration, took: Duration) -> Option<Self> {
        let Fetched { body, mut error, body_bytes } = fetched;
        let mut page = None;
        if let Some((body, format)) = body {
            match zstd::bulk::compress(&body, LEVEL) {
                Ok(mut bytes) => {
                    bytes.shrink_to_fit();
                    page = Some(Packed { bytes, len: body.len(), format });
                }
                Err(e) => error = Some(format!("cannot hold the page until the store is open: {e}")),
            }
        }
        let bytes = page.as_ref().map_or(0, |p| p.bytes.len()) + error.as_ref().map_or(0, String::len);
        let _reserved = gate.reserve(bytes + PAGE_BYTES)?;
        Some(Held { time, took, page, error, body_bytes, _reserved })
    }

    /// Bytes of the page.
    pub(crate) fn len(&self) -> usize {
        self.page.as_ref().map_or(0, |p| p.len)
    }

    /// The scrape as it was.
    pub(crate) fn fetched(self) -> Fetched {
        let Held { page, mut error, body_bytes, .. } = self;
        let body = page.and_then(|p| match zstd::bulk::decompress(&p.bytes, p.len) {
            Ok(bytes) => Some((Body::Held(bytes), p.format)),
            Err(e) => {
                error = Some(format!("the page held until the store was open: {e}"));
                None
            }
        });
        Fetched { body, error, body_bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_comes_back_as_it_was_and_gives_its_memory_back() {
        let gate = Gate::new(true, 4 * PAGE_BYTES, &Registry::new());
        for page in ["", "a 1\n", &"some_metric 12345\n".repeat(1000)] {
            let body = Some((Body::Held(page.as_bytes().to_vec()), Format::Text));
            let fetched = Fetched { body, error: None, body_bytes: page.len() as f64 };
            let held = Held::new(&gate, fetched, Duration::from_secs(7), Duration::ZERO).unwrap();
            assert_eq!(held.len(), page.len());
            assert!((PAGE_BYTES..2 * PAGE_BYTES).contains(&gate.bytes()));
            let back = held.fetched();
            assert_eq!((back.len(), gate.bytes()), (page.len(), 0));
            assert_eq!((&*back.body.unwrap().0, back.error), (page.as_bytes(), None));
        }
        let failed = || Fetched { body: None, error: Some("refused".into()), body_bytes: -1.0 };
        let all: Vec<_> =
            (0..5).map(|_| Held::new(&gate, failed(), Duration::ZERO, Duration::ZERO)).collect();
        assert_eq!(all.iter().flatten().count(), 3);
        let back = all.into_iter().flatten().next().unwrap().fetched();
        assert_eq!((back.error.as_deref(), back.body_bytes, gate.bytes()), (Some("refused"), -1.0, 0));
    }
}
