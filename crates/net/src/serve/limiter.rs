//! `rate_limit`: a token bucket over all requests.

use std::time::Instant;

use config::WebRateLimit;
use parking_lot::Mutex;

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled: Instant,
    limit: WebRateLimit,
}

/// Lets requests pass at the configured pace. As upstream, an interval of 0 is no limit, and a bucket of
/// size 0 lets nothing pass.
#[derive(Debug, Default)]
pub(super) struct Limiter(Mutex<Option<Bucket>>);

impl Limiter {
    pub(super) fn allows(&self, limit: WebRateLimit, now: Instant) -> bool {
        if limit.interval.is_zero() {
            return true;
        }
        let size = limit.burst.max(0) as f64;
        let mut slot = self.0.lock();
        let mut bucket = match slot.take() {
            Some(bucket) if bucket.limit == limit => bucket,
            _ => Bucket { tokens: size, filled: now, limit },
        };
        let passed = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.tokens = (bucket.tokens + passed / limit.interval.as_secs_f64()).min(size);
        bucket.filled = now;
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        *slot = Some(bucket);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_then_the_pace() {
        let limiter = Limiter::default();
        let limit = WebRateLimit { burst: 2, interval: Duration::from_secs(1) };
        let start = Instant::now();
        let at = |ms| limiter.allows(limit, start + Duration::from_millis(ms));
        assert_eq!([at(0), at(1), at(2), at(1010), at(1020)], [true, true, false, true, false]);
        assert!(limiter.allows(WebRateLimit::default(), start));
        assert!(!limiter.allows(WebRateLimit { burst: 0, interval: Duration::from_secs(1) }, start));
    }
}
