//! Pages of an image that nobody has asked for yet. A start reads the image, checks it, and leaves its pages
//! as they are, with what the log has behind it for them: making series of it is most of what a start costs,
//! and a query wants a few of them. Whoever locks a page first wakes it; what nobody asks for, a thread wakes
//! in the minute after the start, without haste.
//!
//! Behind the lock there is no difference: the page has what the image had, then the log's samples in their
//! order. What else the log has for a page wakes it, so that nothing comes before what was logged earlier.
//!
//! Rejected: pages that are read from the file when they are wanted (the image is overwritten by the one after
//! the next, and a damaged one must be found while the log can still be read instead).

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use super::frames::Unusable;
use super::page::{self, Summary};
use crate::disk::Disk;
use crate::head::floats::Part;
use crate::head::holes::{Holes, Put, fill_hole, put_float};
use crate::head::mapped::HeadChunks;
use crate::head::metrics::HeadMetrics;
use crate::head::series::{ChunkRules, ChunkSink};
use crate::head::table::{Page, PageInner};

/// What a page needs to wake.
pub(in crate::head) struct Waker {
    disk: Arc<dyn Disk>,
    data: PathBuf,
    files: Arc<HeadChunks>,
    metrics: Arc<HeadMetrics>,
    rules: ChunkRules,
    /// Where holes go while the log is replayed, which may have more for them; then each page fills its own.
    holes: Mutex<Option<Holes>>,
}

impl Waker {
    /// Of a head that is about to replay its log.
    pub(in crate::head) fn new(
        (disk, data): (Arc<dyn Disk>, PathBuf),
        files: &Arc<HeadChunks>,
        metrics: &Arc<HeadMetrics>,
        rules: ChunkRules,
    ) -> Arc<Self> {
        let (files, metrics) = (Arc::clone(files), Arc::clone(metrics));
        let holes = Mutex::new(Some(Holes::new()));
        Arc::new(Waker { disk, data, files, metrics, rules, holes })
    }

    /// Holes that pages found which woke so far. Those that wake from here on fill them.
    pub(in crate::head) fn take_holes(&self) -> Holes {
        self.holes.lock().take().unwrap_or_default()
    }

    /// A page that is as it was written and is none: a fault of ours, which the log makes good at the next start.
    fn broken(&self, base: u64, series: u32, why: &str) {
        self.metrics.lost_pages.store(true, Ordering::Release);
        tracing::error!(
            first = base,
            series,
            why,
            "a page of the head image cannot be used; its series are gone from memory, and the log is kept whole, until the next start, which reads them from it: restart soon"
        );
        if let Err(e) = super::remove(&self.disk, &self.data) {
            tracing::error!(error = %e, "the head image stays; remove the folder godwit_head before the next start");
        }
    }
}

/// A page to be, without what it needs to wake.
pub(super) struct Sleeper {
    base: u64,
    present: [u64; 4],
    frame: Arc<Vec<u8>>,
    body: Range<usize>,
    summary: Summary,
}

impl Sleeper {
    pub(super) fn new(
        base: u64,
        present: [u64; 4],
        frame: Arc<Vec<u8>>,
        body: Range<usize>,
        summary: Summary,
    ) -> Self {
        Sleeper { base, present, frame, body, summary }
    }

    /// The page.
    pub(super) fn page(self, waker: &Arc<Waker>) -> Page {
        let Sleeper { base, present, frame, body, summary } = self;
        let asleep = Asleep { frame, body, summary, log: Vec::new(), waker: Arc::clone(waker) };
        Page::new(base, PageInner { present, asleep: Some(Box::new(asleep)), ..PageInner::default() })
    }
}

/// What a page that sleeps has.
pub(in crate::head) struct Asleep {
    /// The frame of the image that it is in, and where.
    frame: Arc<Vec<u8>>,
    body: Range<usize>,
    summary: Summary,
    log: Vec<Part>,
    waker: Arc<Waker>,
}

impl std::fmt::Debug for Asleep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Asleep({:?}, {} records)", self.summary, self.log.len())
    }
}

impl Asleep {
    /// Whether nothing of it goes with samples before `mint`.
    pub(in crate::head) fn stays(&self, mint: i64) -> bool {
        self.summary.stays(mint)
    }

    /// Adds floats of the log, which are behind all that came before.
    pub(in crate::head) fn add(&mut self, floats: Part) {
        self.log.push(floats);
    }

    /// Bytes, for statistics.
    pub(in crate::head) fn memory(&self) -> usize {
        self.body.len() + self.log.iter().map(Part::memory).sum::<usize>()
    }

    /// Makes the page what it would be.
    pub(in crate::head) fn wake(self, base: u64, inner: &mut PageInner) {
        let waker = &*self.waker;
        let body = self.frame.get(self.body.clone()).unwrap_or_default();
        if let Err(Unusable(why)) = page::read_body(body, inner) {
            let series = inner.present.iter().map(|w| w.count_ones()).sum();
            *inner = PageInner::default();
            return waker.broken(base, series, &why);
        }
        let (mut chunks, mut stale) = (0, 0);
        let mut holes = Holes::new();
        for part in &self.log {
            for s in part.samples() {
                let Some((slot, blocks)) = inner.get_both(s.series) else { continue };
                let mut sink = ChunkSink { rules: &waker.rules, files: &waker.files, blocks };
                match put_float(slot, s.series, s.t_ms, s.value, &mut sink) {
                    Put::Done(done, change) => {
                        chunks += i64::from(done.chunks);
                        stale += change;
                    }
                    Put::Between => holes.entry(s.series).or_default().push(s.t_ms, s.value),
                    Put::Known => {}
                }
            }
        }
        if !holes.is_empty() {
            let mut replay = waker.holes.lock();
            match &mut *replay {
                Some(all) => all.extend(holes),
                None => {
                    for (number, samples) in holes {
                        let Some(slot) = inner.get_mut(number) else { continue };
                        chunks += fill_hole(slot, number, samples, (&waker.rules, &waker.files));
                    }
                }
            }
        }
        waker.metrics.chunks.fetch_add(chunks, Ordering::Relaxed);
        waker.metrics.stale.fetch_add(stale, Ordering::Relaxed);
    }
}
