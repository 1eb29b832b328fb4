//! When a request that failed is tried again (upstream: `sendWriteRequestWithBackoff`, `retryAfterDuration`).

use std::time::Duration;

/// Waiting times of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    pub(crate) fn new(min: Duration, max: Duration) -> Self {
        Backoff { next: min, max }
    }

    /// The next wait; what the receiver asked for goes before.
    pub(crate) fn wait(&mut self, asked: Option<Duration>) -> Duration {
        let wait = asked.filter(|d| !d.is_zero()).unwrap_or(self.next);
        self.next = wait.saturating_mul(2).min(self.max);
        wait
    }
}

/// Longest wait that a receiver may ask for: what it holds up is in the log, which is cut after hours.
const ASKED_MAX: Duration = Duration::from_secs(3600);

/// `Retry-After`: seconds, or a date (`now_seconds` since the epoch).
pub(crate) fn retry_after(text: &str, now_seconds: i64) -> Option<Duration> {
    let text = text.trim();
    let seconds = match text.parse::<i64>() {
        Ok(seconds) => seconds,
        Err(_) => {
            let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
            date.as_second().checked_sub(now_seconds)?
        }
    };
    let wait = Duration::from_secs(u64::try_from(seconds).ok()?);
    (!wait.is_zero()).then(|| wait.min(ASKED_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_end() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(ms(30), ms(100));
        assert_eq!([(); 4].map(|()| backoff.wait(None)), [ms(30), ms(60), ms(100), ms(100)]);
        assert_eq!(backoff.wait(Some(ms(7000))), ms(7000));
        assert_eq!(backoff.wait(None), ms(100));
    }

    #[test]
    fn receivers_ask_in_seconds_or_dates() {
        let seconds = |n| Some(Duration::from_secs(n));
        assert_eq!(retry_after("120", 0), seconds(120));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT", 1_445_412_470), seconds(10));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT", 1_445_412_490), None);
        assert_eq!(retry_after("99999999", 0), seconds(3600));
        for none in ["", "-3", "0", "soon"] {
            assert_eq!(retry_after(none, 0), None, "{none}");
        }
    }
}
