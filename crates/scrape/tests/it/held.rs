//! Scrapes from before the store is open.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use scrape::Options;
use testkit::{Answer, FakeTarget, steady};

use crate::rig::{Rig, is_stale, job_yaml, options, until};

fn later() -> Options {
    Options { store_opens_later: true, ..options() }
}

/// A target whose answers count up; each fourth is a failure.
async fn counting() -> (FakeTarget, Arc<AtomicU32>) {
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let target = FakeTarget::start(move |_| {
        let n = count.fetch_add(1, Ordering::Relaxed) + 1;
        if n.is_multiple_of(4) { Answer::text("").status(500) } else { Answer::text(format!("a {n}\n")) }
    });
    (target.await.unwrap(), asked)
}

async fn rig(options: Options, address: &str) -> Rig {
    let rig = Rig::with_options(&job_yaml(""), options).await;
    rig.targets("j", &[address]).await;
    rig
}

#[test]
fn no_interval_is_lost_before_the_store_is_open() {
    steady(async || {
        // Small pages on the loop's thread, and as if they were large.
        for inline in [512 << 10, 0] {
            let (target, asked) = counting().await;
            let rig = rig(Options { inline_ingest_bytes_max: inline, ..later() }, &target.address()).await;
            until("seven scrapes", || asked.load(Ordering::Relaxed) >= 7).await;
            assert!(rig.last_values().is_empty());
            assert!(rig.metric("godwit_target_scrapes_held_bytes") > 0.0);
            let opened = model::clock::Clock::now_ms(&model::clock::SystemClock);
            rig.manager.store_opened();
            until("more scrapes", || rig.values("up").len() >= 10).await;
            let up = rig.series("up").into_values().next().unwrap();
            for (n, (_, v)) in up.iter().enumerate() {
                assert_eq!(*v, f64::from(u8::from(!(n + 1).is_multiple_of(4))), "{up:?}");
            }
            let before: Vec<i64> = up.iter().map(|(t, _)| *t).filter(|t| *t < opened).collect();
            assert!(before.len() >= 6, "{before:?}, open at {opened}");
            // Their own times, not the store's.
            assert!(before.windows(2).all(|w| w[1] - w[0] >= 100), "{before:?}");
            let values: Vec<f64> = rig.values("a").into_iter().filter(|v| !is_stale(*v)).take(6).collect();
            assert_eq!(values, [1.0, 2.0, 3.0, 5.0, 6.0, 7.0]);
            assert!(rig.values("scrape_duration_seconds").iter().all(|s| *s < 0.15));
            assert_eq!(rig.metric("godwit_target_scrapes_held_bytes"), 0.0);
            assert_eq!(rig.metric("godwit_target_scrapes_held_given_up_total"), 0.0);
        }
    });
}

#[test]
fn what_does_not_fit_is_given_up_and_counted() {
    steady(async || {
        let (target, asked) = counting().await;
        let rig = rig(Options { held_bytes_max: 700, ..later() }, &target.address()).await;
        until("seven scrapes", || asked.load(Ordering::Relaxed) >= 7).await;
        until("some are given up", || rig.metric("godwit_target_scrapes_held_given_up_total") >= 3.0).await;
        assert!(rig.metric("godwit_target_scrapes_held_bytes") <= 700.0);
        rig.manager.store_opened();
        let values = || rig.values("a").into_iter().filter(|v| !is_stale(*v)).collect::<Vec<_>>();
        until("more scrapes", || values().len() >= 5).await;
        let values = values();
        assert_eq!(values[..2], [1.0, 2.0]);
        assert!(values[2] >= 7.0, "{values:?}");
    });
}

#[test]
fn targets_that_change_or_go_before_the_store_is_open_keep_what_is_held() {
    steady(async || {
        let (target, asked) = counting().await;
        let rig = rig(later(), &target.address()).await;
        until("two scrapes", || asked.load(Ordering::Relaxed) >= 2).await;
        // Another interval: another loop, which goes on with the same series.
        rig.configure(&job_yaml("").replace("200ms", "300ms")).await;
        rig.targets("j", &[&target.address()]).await;
        until("three more", || asked.load(Ordering::Relaxed) >= 5).await;
        rig.targets("j", &[]).await;
        until("no target", || rig.active().is_empty()).await;
        tokio::time::sleep(Duration::from_millis(1000)).await;
        assert!(rig.last_values().is_empty());
        rig.manager.store_opened();
        until("the end", || rig.values("up").last().is_some_and(|v| is_stale(*v))).await;
        let values = rig.values("a");
        assert_eq!(
            values.iter().copied().filter(|v| !is_stale(*v)).take(4).collect::<Vec<_>>(),
            [1.0, 2.0, 3.0, 5.0]
        );
        assert_eq!(
            values.len() as u32,
            asked.load(Ordering::Relaxed) + 1,
            "one marker for the failure, one for the end"
        );
    });
}

#[test]
fn a_stop_before_the_store_is_open_waits_for_nothing() {
    steady(async || {
        let (target, asked) = counting().await;
        let rig = rig(later(), &target.address()).await;
        until("two scrapes", || asked.load(Ordering::Relaxed) >= 2).await;
        rig.targets("j", &[]).await;
        until("no target", || rig.active().is_empty()).await;
        rig.targets("j", &[&target.address()]).await;
        until("two more", || asked.load(Ordering::Relaxed) >= 4).await;
        tokio::time::timeout(Duration::from_secs(30), rig.manager.stop()).await.unwrap();
        assert!(rig.last_values().is_empty());
    });
}
