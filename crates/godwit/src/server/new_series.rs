//! Tells those who look at the page that new series are refused, and who brings them.

use std::time::Duration;

use storage::{NewSeriesSource, NewSeriesStatus, StatusSource as _};
use tokio::task::JoinHandle;

use crate::late::LateDb;

/// The culprit is to be named within ten seconds; this leaves time for a busy machine.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Keeps the notice up to date until it is aborted.
pub fn watch(late: LateDb, state: web::State) -> JoinHandle<()> {
    tokio::spawn(async move {
        let mut shown: Option<String> = None;
        loop {
            let text = text(&late.new_series());
            if text != shown {
                if let Some(old) = &shown {
                    state.notifications().remove(old);
                }
                if let Some(new) = &text {
                    state.notifications().add(new);
                }
                shown = text;
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    })
}

/// The notice; `None` while new series are taken and nobody brings very many. Without figures, which change
/// each second.
fn text(status: &NewSeriesStatus) -> Option<String> {
    let Some(reason) = &status.refused_for else {
        let from = most(status.surge()?);
        return Some(format!(
            "Very many new series come in, and are taken as long as there is memory.{from}"
        ));
    };
    let from = status.sources.first().map(most).unwrap_or_default();
    Some(format!("New series are refused, existing ones go on: {reason}.{from}"))
}

fn most(source: &NewSeriesSource) -> String {
    let NewSeriesSource { job, metric, label, .. } = source;
    match label.as_str() {
        "" => format!(" Most come from job {job:?}, metric {metric:?}."),
        label => format!(" Most come from job {job:?}, metric {metric:?}, by values of label {label:?}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_culprit_while_series_are_refused() {
        let mut status = NewSeriesStatus::default();
        assert_eq!(text(&status), None);
        status.refused_for = Some("memory".into());
        assert_eq!(text(&status).unwrap(), "New series are refused, existing ones go on: memory.");
        let source = NewSeriesSource {
            job: "a".into(),
            metric: "m".into(),
            label: "id".into(),
            created: 60_000,
            ..Default::default()
        };
        status.sources = vec![source];
        let named = "job \"a\", metric \"m\", by values of label \"id\".";
        assert!(text(&status).unwrap().ends_with(named));
        // Before they are, where they are a large part.
        status.refused_for = None;
        status.series = 300_000;
        assert_eq!(text(&status), None);
        status.series = 200_000;
        let surge = text(&status).unwrap();
        assert!(surge.starts_with("Very many new series") && surge.ends_with(named), "{surge}");
    }
}
