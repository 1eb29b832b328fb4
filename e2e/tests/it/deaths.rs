//! Queries of death under a memory limit of half a gibibyte: no death, no rule evaluation missed, right statuses. In
//! debug builds and beside other tests, so that neither jitter nor timeouts are looked at; `e2e`'s command
//! `deaths` measures those.

use e2e::cage::Cage;
use e2e::deaths::{Load, Said, Sizes, Talk, bodies, queries};
use e2e::http;
use e2e::subject::{Kept, Subject};
use e2e::wait::until;

const LIMIT_MIB: u64 = 512;
const SIZES: Sizes = Sizes { targets: 4, pods: 5, watches: 2, scrape_seconds: 1, groups: 2, rule_seconds: 5 };

fn counter(page: &str, name: &str) -> f64 {
    let of = |line: &str| line.rsplit_once(' ').and_then(|(_, v)| v.parse::<f64>().ok());
    page.lines().filter(|l| l.starts_with(name)).filter_map(of).sum()
}

#[test]
fn queries_of_death() {
    let load = Load::start(SIZES).unwrap();
    let folder = tempfile::tempdir().unwrap();
    load.write_files(folder.path()).unwrap();
    let cage = Cage::new("godwit-deaths", LIMIT_MIB << 20);
    let caged = cage.is_some();
    let mut extra = vec!["--web.enable-remote-write-receiver", "--web.enable-otlp-receiver"];
    if !caged {
        println!("no control group can be made: the limit is godwit's own setting, and nobody kills");
        std::fs::write(folder.path().join("godwit.yml"), format!("memory_budget: {}MB\n", LIMIT_MIB / 5 * 4))
            .unwrap();
        extra.push("--godwit.config=godwit.yml");
    }
    let mut kept = Kept::start(Subject::Ours, folder.path(), cage, &extra).unwrap();
    kept.until_ready().unwrap();
    let port = kept.port();
    until("rules gave something", || {
        let found = http::get(port, "/api/v1/query?query=count(%7B__name__%3D~%22kept:.%2B%22%7D)")?.text();
        anyhow::ensure!(found.contains("\"8\""), "{found}");
        Ok(())
    })
    .unwrap();

    let talk = Talk { port, before: &|| () };
    let began = std::time::Instant::now();
    let mut heard = talk.ask(&queries(1), 4);
    println!("queries {:?}", began.elapsed());
    heard.extend(talk.send(&bodies(3, 64).unwrap()));
    println!("all {:?}", began.elapsed());
    kept.look().unwrap();
    let log = kept.server.as_ref().map(e2e::process::Server::log_tail).unwrap_or_default();
    for said in heard.iter().filter(|said| said.fault.is_some()).take(8) {
        println!("{said:?}");
    }
    assert_eq!(kept.restarts, 0, "it died: {}", kept.last_words);
    let wrong: Vec<&Said> = heard.iter().filter(|said| said.fault.is_some()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}\n{log}");
    let page = http::get(port, "/metrics").unwrap().text();
    assert!(counter(&page, "prometheus_rule_group_iterations_total") > 0.0);
    for zero in ["prometheus_rule_group_iterations_missed_total", "prometheus_rule_evaluation_failures_total"]
    {
        assert_eq!(counter(&page, zero), 0.0, "{zero}");
    }
    println!("{} MiB", kept.peak >> 20);
    assert!(caged || kept.peak >> 20 <= LIMIT_MIB, "{} MiB", kept.peak >> 20);
}
