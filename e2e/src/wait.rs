//! Waiting for what must come, with a limit that a loaded machine with two cores keeps.
//!
//! No test asserts that something came soon: a slow machine is no failure of the program under test.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

/// How long anything may take that takes a second on a quiet machine.
pub const LIMIT: Duration = Duration::from_secs(180);

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Unix time in seconds.
#[must_use]
pub fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |d| d.as_secs_f64())
}

/// Looks until there is what is wanted.
///
/// # Errors
/// Not within [`LIMIT`]; the text has the last look's error.
pub fn until<T>(what: &str, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    let began = Instant::now();
    loop {
        match look() {
            Ok(found) => return Ok(found),
            Err(error) if began.elapsed() > LIMIT => {
                return Err(error).with_context(|| format!("not within {LIMIT:?}: {what}"));
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}
