//! From the first scrape of a target to the last word about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use testkit::{Answer, FakeTarget, steady};

use crate::rig::{Rig, is_stale, job_yaml, options, until};

#[test]
fn a_failed_scrape_ends_its_series_until_the_next() {
    steady(async || {
        let phase = Arc::new(AtomicU32::new(0));
        let state = Arc::clone(&phase);
        let target = FakeTarget::start(move |_| match state.load(Ordering::Relaxed) {
            0 => Answer::text("a 1\nb 1\n"),
            1 => Answer::text("a 1\n"),
            2 => Answer::text("").status(500),
            3 => Answer::text("a{ broken"),
            _ => Answer::text("a 1\nb 1\n"),
        })
        .await
        .unwrap();
        let rig = Rig::job("", &[&target.address()]).await;
        let ends = |v: &[f64], stale: bool| v.last().is_some_and(|v| is_stale(*v) == stale);
        until("both", || ends(&rig.values("a"), false) && ends(&rig.values("b"), false)).await;
        phase.store(1, Ordering::Relaxed);
        until("b is gone", || ends(&rig.values("b"), true)).await;
        assert!(ends(&rig.values("a"), false));
        phase.store(2, Ordering::Relaxed);
        until("a is gone", || ends(&rig.values("a"), true) && rig.values("up").last() == Some(&0.0)).await;
        phase.store(0, Ordering::Relaxed);
        until("both again", || ends(&rig.values("a"), false) && ends(&rig.values("b"), false)).await;
        phase.store(3, Ordering::Relaxed);
        until("both gone", || ends(&rig.values("a"), true) && ends(&rig.values("b"), true)).await;
        // One marker each time, not one a scrape.
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(rig.values("b").iter().filter(|v| is_stale(**v)).count(), 2);
        assert!(rig.values("up").iter().all(|v| !is_stale(*v)));
    });
}

#[test]
fn a_target_that_is_gone_is_marked_after_two_intervals() {
    steady(async || {
        let target = FakeTarget::start(|_| Answer::text("a 1\n")).await.unwrap();
        let rig = Rig::job("", &[&target.address()]).await;
        until("two scrapes", || rig.values("a").len() >= 2).await;
        rig.targets("j", &[]).await;
        until("no target", || rig.active().is_empty()).await;
        let (gone, n) = (tokio::time::Instant::now(), rig.values("a").len());
        until("markers", || rig.values("a").last().is_some_and(|v| is_stale(*v))).await;
        let waited = gone.elapsed();
        assert!(waited > Duration::from_millis(200) && waited < Duration::from_millis(900), "{waited:?}");
        assert!(rig.values("a").len() <= n + 2);
        for name in ["up", "scrape_duration_seconds", "scrape_samples_scraped", "scrape_series_added"] {
            until(name, || rig.values(name).last().is_some_and(|v| is_stale(*v))).await;
        }
        assert_eq!(rig.values("up").iter().filter(|v| is_stale(**v)).count(), 1);
    });
}

#[test]
fn a_target_that_comes_back_in_time_is_not_marked() {
    steady(async || {
        let target = FakeTarget::start(|_| Answer::text("a 1\n")).await.unwrap();
        let rig = Rig::job("", &[&target.address()]).await;
        until("two scrapes", || rig.values("a").len() >= 2).await;
        rig.targets("j", &[]).await;
        until("no target", || rig.active().is_empty()).await;
        rig.targets("j", &[&target.address()]).await;
        until("the target again", || !rig.active().is_empty()).await;
        tokio::time::sleep(Duration::from_millis(1000)).await;
        assert!(rig.values("a").iter().all(|v| !is_stale(*v)), "{:?}", rig.values("a"));
        assert!(rig.values("up").len() >= 5);
    });
}

#[test]
fn the_end_of_the_server_marks_nothing() {
    steady(async || {
        let target = FakeTarget::start(|_| Answer::text("a 1\n")).await.unwrap();
        let rig = Rig::job("", &[&target.address()]).await;
        until("two scrapes", || rig.values("a").len() >= 2).await;
        rig.manager.stop().await;
        let n = target.requests().len();
        tokio::time::sleep(Duration::from_millis(800)).await;
        assert_eq!(target.requests().len(), n, "no scrape after stop");
        assert!(rig.values("a").iter().all(|v| !is_stale(*v)));
        assert!(rig.active().is_empty());
    });
}

#[test]
fn a_last_scrape_at_shutdown_where_asked_for() {
    steady(async || {
        let target = FakeTarget::start(|_| Answer::text("a 1\n")).await.unwrap();
        let yaml = job_yaml("").replace("200ms", "1h");
        let rig = Rig::with_options(&yaml, scrape::Options { scrape_on_shutdown: true, ..options() }).await;
        rig.targets("j", &[&target.address()]).await;
        until("the target", || !rig.active().is_empty()).await;
        assert!(target.requests().is_empty(), "its place in the hour has not come");
        rig.manager.stop().await;
        assert_eq!(rig.values("a"), [1.0]);
    });
}

#[test]
fn scrapes_keep_their_phase() {
    steady(async || {
        let target = FakeTarget::start(|_| Answer::text("a 1\n")).await.unwrap();
        let rig = Rig::job("", &[&target.address()]).await;
        until("scrapes", || rig.values("a").len() >= 10).await;
        let series = rig.series("a").into_values().next().unwrap();
        let steps: Vec<i64> = series.windows(2).map(|w| w[1].0 - w[0].0).collect();
        // On a busy machine single scrapes come late; the grid itself must not move, so lateness does not add up.
        let off = |t: i64| (t - series[0].0 + 100).rem_euclid(200) - 100;
        assert!(series.iter().all(|(t, _)| off(*t).abs() < 60), "{steps:?}");
    });
}
