//! One data folder goes from program to program as an operator's does: up from 2.42 to godwit, back to a
//! Prometheus, on to the next; each adds samples, and none loses one of those before it.

use anyhow::ensure;
use e2e::answers::{Answer, instant, query};
use e2e::http;
use e2e::process::Server;
use e2e::program::Program;
use e2e::push::push;
use e2e::wait::{now, until};

use crate::folders::{Targets, nothing_bad, scraped, start};

/// Floats as they are stored; histograms are compared where a folder is opened once (2.42's engine shows
/// them wrong, and so a chain that ends in it could not be compared).
fn samples(server: &Server, at: f64) -> Answer {
    let mut answer = query(server.port, &instant("{__name__=~\".+\"}[40h]", at)).unwrap();
    answer.values_mut().for_each(|points| points.retain(|p| !p.1.starts_with('{')));
    answer.retain(|_, points| !points.is_empty());
    answer
}

#[test]
fn from_program_to_program_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let targets = Targets::start(folder.path());
    let chain = [
        (Program::Old, true),
        (Program::Godwit, false),
        (Program::Lts, false),
        (Program::Godwit, true),
        (Program::New, false),
        (Program::Godwit, false),
        (Program::Old, true),
        (Program::Godwit, true),
    ];
    let mut known: Option<(f64, Answer)> = None;
    for (number, (program, clean)) in chain.into_iter().filter(|(p, _)| p.at_hand()).enumerate() {
        let config = format!("config{number}.yml");
        std::fs::write(folder.path().join(&config), "scrape_configs: []\n").unwrap();
        // What all versions can read.
        let more = [
            "--storage.tsdb.wal-compression",
            "--web.enable-lifecycle",
            "--web.enable-remote-write-receiver",
        ];
        let server = start(program, folder.path(), "data", &config, &more);
        match &known {
            None => {
                let end = now() as i64 - 300;
                push(server.port, end - 6 * 3600, end).unwrap();
            }
            Some((at, before)) => {
                let found = e2e::answers::differences(before, &samples(&server, *at));
                assert!(found.is_empty(), "{number}: {program:?}: {found:#?}\n{}", server.log_tail());
            }
        }
        std::fs::write(folder.path().join(&config), targets.config(program, false)).unwrap();
        assert_eq!(http::request(server.port, "POST", "/-/reload", &[], &[]).unwrap().status, 200);
        scraped(&server, 3, 3 * (number + 1));
        // A new round of scrapes must not come between the question and the end.
        std::fs::write(folder.path().join(&config), "scrape_configs: []\n").unwrap();
        assert_eq!(http::request(server.port, "POST", "/-/reload", &[], &[]).unwrap().status, 200);
        let at = now();
        let all = until("two equal answers", || {
            let (a, b) = (samples(&server, at), samples(&server, at));
            ensure!(a == b, "samples still come");
            Ok(a)
        })
        .unwrap();
        assert!(all.len() > 500, "only {} series", all.len());
        known = Some((at, all));
        nothing_bad(&server);
        if clean {
            assert!(server.stop().unwrap().success());
        } else {
            server.kill().unwrap();
        }
    }
}
