//! Tells those who look at the page that new series or targets are refused, and who brings them.

use std::collections::BTreeMap;
use std::time::Duration;

use storage::{NewSeriesSource, NewSeriesStatus, StatusSource as _};
use tokio::task::JoinHandle;

use crate::late::LateDb;

/// The culprit is to be named within ten seconds; this leaves time for a busy machine.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Keeps the notices up to date until it is aborted.
pub fn watch(late: LateDb, scrape: scrape::Manager, state: web::State) -> JoinHandle<()> {
    tokio::spawn(async move {
        let (mut series, mut targets) = (None, None);
        loop {
            show(&state, &mut series, text(&late.new_series()));
            show(&state, &mut targets, waiting(&scrape.targets_waiting()));
            tokio::time::sleep(LOOK_EVERY).await;
        }
    })
}

/// Puts a notice in place of the one before.
fn show(state: &web::State, shown: &mut Option<String>, text: Option<String>) {
    if text == *shown {
        return;
    }
    if let Some(old) = &*shown {
        state.notifications().remove(old);
    }
    if let Some(new) = &text {
        state.notifications().add(new);
    }
    *shown = text;
}

/// The notice of targets that memory has no room for; `None` while there are none. The job with most is named.
fn waiting(jobs: &BTreeMap<String, usize>) -> Option<String> {
    let (job, _) = jobs.iter().max_by_key(|(_, n)| **n)?;
    let others = match jobs.len() - 1 {
        0 => String::new(),
        n => format!(" and {n} others"),
    };
    Some(format!(
        "Targets of job {job:?}{others} are not scraped for lack of memory, those that run go on. They start by themselves when there is room."
    ))
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
    fn names_the_job_whose_targets_wait() {
        assert_eq!(waiting(&BTreeMap::new()), None);
        let mut jobs = BTreeMap::from([("flood".to_string(), 5)]);
        assert!(waiting(&jobs).unwrap().starts_with("Targets of job \"flood\" are not scraped"));
        jobs.insert("a".to_string(), 2);
        assert!(waiting(&jobs).unwrap().starts_with("Targets of job \"flood\" and 1 others are"));
    }

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
