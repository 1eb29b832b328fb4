//! Tells those who look at the page that the disk does not take what is stored, or takes it slowly.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tsdb::wal::LogStatus;

use crate::late::LateDb;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Samples are to be on the disk within a second; twice that is no fault of a busy processor alone.
const SLOW: Duration = Duration::from_secs(2);
/// A notice stays this long after its reason, so that it does not come and go with every sync.
const STAYS: Duration = Duration::from_secs(15);

const HELD: &str = "The disk does not take what is stored (full, failing or hanging, see the log): new samples are held in memory, and are lost if this process ends before it does.";
const BEHIND: &str = "The disk is slow: samples are on it later than the second that is promised, and a power cut would lose those that are not.";

/// Keeps the notice up to date until it is aborted.
pub fn watch(late: LateDb, state: web::State) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut shown = Shown::default();
        loop {
            let status = late.get().map(tsdb::Db::log_status).unwrap_or_default();
            let before = shown.text;
            shown.look(&status, Instant::now());
            if shown.text != before {
                if let Some(old) = before {
                    state.notifications().remove(old);
                }
                if let Some(new) = shown.text {
                    state.notifications().add(new);
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    })
}

/// The notice in force.
#[derive(Default)]
struct Shown {
    text: Option<&'static str>,
    until: Option<Instant>,
}

impl Shown {
    fn look(&mut self, status: &LogStatus, now: Instant) {
        let reason = if status.held_records > 0 {
            Some(HELD)
        } else if Duration::from_millis(status.behind_ms) > SLOW {
            Some(BEHIND)
        } else {
            None
        };
        match reason {
            Some(text) => (self.text, self.until) = (Some(text), Some(now + STAYS)),
            None if self.until.is_some_and(|until| now < until) => {}
            None => self.text = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_is_wrong_and_for_a_while_after() {
        let (mut shown, now) = (Shown::default(), Instant::now());
        let mut look = |status: &LogStatus, at: u64| {
            shown.look(status, now + Duration::from_secs(at));
            shown.text
        };
        let well = LogStatus { behind_ms: 600, ..LogStatus::default() };
        assert_eq!(look(&well, 0), None);
        assert_eq!(look(&LogStatus { behind_ms: 2500, ..well }, 1), Some(BEHIND));
        assert_eq!(look(&LogStatus { held_records: 1, behind_ms: 9000, ..well }, 2), Some(HELD));
        assert_eq!(look(&well, 16), Some(HELD));
        assert_eq!(look(&well, 17), None);
    }
}
