//! Tests about time on machines that stall. A test that looks at the distance of two scrapes is right only
//! where the machine let it run; here such a test is tried again where, and only where, a stall was seen
//! while it ran. Rejected: wider tolerances, which hide real errors and still fail on a busy machine.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A timer that fires this late is a stall. A fifth of the shortest interval in these tests.
const STALL: Duration = Duration::from_millis(40);
/// How often a test is tried where the machine stalls each time.
const ATTEMPTS: u32 = 8;
/// How often the clock is looked at.
const BEAT: Duration = Duration::from_millis(5);

/// Runs an asynchronous test on a runtime of its own thread.
///
/// # Panics
/// As the test does, where the machine ran steadily, or at the last attempt.
pub fn steady<T: AsyncFn()>(test: T) {
    for attempt in 1..=ATTEMPTS {
        let longest = Arc::new(AtomicU64::new(0));
        let over = Arc::new(AtomicBool::new(false));
        let watch = {
            let (longest, over) = (Arc::clone(&longest), Arc::clone(&over));
            std::thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let before = Instant::now();
                    std::thread::sleep(BEAT);
                    note(&longest, before);
                }
            })
        };
        let result = catch_unwind(AssertUnwindSafe(|| run(&test, &longest)));
        over.store(true, Ordering::Relaxed);
        // The watch cannot panic.
        let _ = watch.join();
        let stall = Duration::from_nanos(longest.load(Ordering::Relaxed));
        match result {
            Ok(()) => return,
            Err(panic) if stall < STALL || attempt == ATTEMPTS => resume_unwind(panic),
            #[allow(clippy::print_stdout, reason = "a test's output")]
            Err(_) => println!("attempt {attempt}: the machine stood still for {stall:?}; once more"),
        }
    }
}

fn run<T: AsyncFn()>(test: &T, longest: &Arc<AtomicU64>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    // A machine without room for a runtime fails the test.
    #[allow(clippy::expect_used, reason = "a helper of tests")]
    let runtime = runtime.expect("a runtime");
    let longest = Arc::clone(longest);
    let mut before = Instant::now();
    runtime.spawn(async move {
        loop {
            // The first round begins before the test does.
            tokio::time::sleep(BEAT.saturating_sub(before.elapsed())).await;
            note(&longest, before);
            before = Instant::now();
        }
    });
    runtime.block_on(test());
}

fn note(longest: &AtomicU64, before: Instant) {
    let late = before.elapsed().saturating_sub(BEAT);
    longest.fetch_max(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_forgiven_only_after_a_stall() {
        let runs = AtomicU64::new(0);
        steady(async || {
            if runs.fetch_add(1, Ordering::Relaxed) == 0 {
                std::thread::sleep(STALL * 3);
                // Lets the heart beat, which sees that it is late.
                tokio::time::sleep(BEAT * 4).await;
                panic!("as a test would");
            }
        });
        assert!(runs.load(Ordering::Relaxed) >= 2);
    }
}
