//! More targets than memory has room for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use scrape::{Options, TargetHealth};
use storage::{MemoryProbe, MemoryUse};
use testkit::{Answer, FakeTarget};

use crate::rig::{Rig, job_yaml, options, until};

/// Sixteen targets are the only pool's own; the others must fit below the mark.
const BUDGET: u64 = 1 << 20;

#[tokio::test]
async fn targets_wait_for_memory_and_start_by_themselves() {
    let target = FakeTarget::start_on("0.0.0.0:0", |_| Answer::text("a 1\n")).await.unwrap();
    let port = target.address().rsplit_once(':').unwrap().1.to_string();
    let used = Arc::new(AtomicU64::new(0));
    let read = Arc::clone(&used);
    let probe = move || MemoryUse { used_bytes: read.load(Ordering::Relaxed), budget_bytes: BUDGET };
    let options = Options { memory: Some(MemoryProbe(Arc::new(probe))), ..options() };
    let rig = Rig::with_options(&job_yaml(""), options).await;
    let offer = async |from: usize, to: usize| {
        // All addresses of 127.0.0.0/8 are this machine.
        let all: Vec<String> = (from..to).map(|n| format!("127.0.7.{n}:{port}")).collect();
        let addresses: Vec<&str> = all.iter().map(String::as_str).collect();
        rig.targets("j", &addresses).await;
    };
    let up = || rig.active().iter().filter(|t| t.status().health == TargetHealth::Up).count();
    let waiting = || rig.manager.targets_waiting().get("j").copied().unwrap_or(0);
    offer(1, 31).await;
    until("thirty are scraped", || up() == 30).await;
    assert_eq!(rig.manager.targets_waiting(), BTreeMap::new());

    // Full: those that run go on, ten that replace ten start, the rest waits and says why.
    used.store(BUDGET, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(200)).await;
    offer(11, 61).await;
    until("twenty wait", || waiting() == 20 && up() == 30).await;
    let active = rig.active();
    let told = active.iter().filter(|t| t.status().last_error.starts_with("not scraped for lack of memory"));
    assert!(told.clone().all(|t| t.status().health == TargetHealth::Unknown));
    assert_eq!((active.len(), told.count()), (50, 20));
    let page = rig.metric("godwit_target_scrape_pool_targets_refused");
    assert_eq!(page, 20.0);

    // A target that goes away leaves its memory to nobody as long as there is too little.
    offer(11, 21).await;
    until("ten are left", || rig.active().len() == 10).await;
    offer(11, 61).await;
    until("a pool's own share", || waiting() == 34 && up() == 16).await;
    used.store(0, Ordering::Relaxed);
    until("all are scraped", || waiting() == 0 && up() == 50).await;
    assert_eq!(rig.active().len(), 50);
    assert_eq!(rig.metric("godwit_target_scrape_pool_targets_refused"), 0.0);
}
