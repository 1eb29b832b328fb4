//! A cap on what is read of the source for copies, which can be changed while it is in force.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use storage::CancelToken;

/// A waiting thread looks so often whether it is to end, or the cap is another.
const LOOK: Duration = Duration::from_millis(50);
/// Time that was not used is kept for so long: a disk that stalls for a moment does not lower the rate.
const KEPT: Duration = Duration::from_secs(1);

/// Bytes a second, for all who share it.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    /// 0: as fast as it goes.
    rate: AtomicU64,
    bucket: Mutex<Option<Bucket>>,
}

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Bytes that may go; below 0 where a piece was larger than what was there.
    bytes: f64,
    filled: Instant,
}

impl Throttle {
    /// At most so many bytes a second from now on; 0: as fast as it goes.
    pub(crate) fn set(&self, bytes_per_second: u64) {
        self.rate.store(bytes_per_second, Ordering::Relaxed);
    }

    /// The cap.
    #[must_use]
    pub(crate) fn rate(&self) -> u64 {
        self.rate.load(Ordering::Relaxed)
    }

    /// Waits until what was let through before is paid, then lets so many bytes go. A piece that is larger than what
    /// a second has is paid by those behind it.
    pub(crate) fn take(&self, bytes: u64, cancel: &CancelToken) {
        while !cancel.is_cancelled() {
            let wait = {
                let mut kept = self.bucket.lock();
                let rate = self.rate() as f64;
                if rate == 0.0 {
                    *kept = None;
                    return;
                }
                let now = Instant::now();
                let bucket = kept.get_or_insert(Bucket { bytes: 0.0, filled: now });
                let more = now.duration_since(bucket.filled).as_secs_f64() * rate;
                bucket.bytes = (bucket.bytes + more).min(KEPT.as_secs_f64() * rate);
                bucket.filled = now;
                if bucket.bytes >= 0.0 {
                    bucket.bytes -= bytes as f64;
                    return;
                }
                -bucket.bytes / rate
            };
            std::thread::sleep(Duration::from_secs_f64(wait).min(LOOK));
        }
    }
}
