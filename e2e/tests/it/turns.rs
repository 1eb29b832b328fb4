//! Up and down between godwit and Prometheus on one folder, with everything at work that a folder can show.

use e2e::program::Program;
use e2e::turns::{Order, run};

#[test]
fn turn_by_turn_nothing_is_lost() {
    let long = std::env::var_os("GODWIT_TEST_LONG").is_some();
    // In the short form blocks must outlive retention within three turns, however quickly programs start.
    let (count, seconds, block_seconds, retention_seconds, window_seconds) =
        if long { (11, 25, 10, 100, 40) } else { (3, 7, 4, 10, 8) };
    let peers = [Program::Lts, Program::New];
    let peers: Vec<Program> = peers.into_iter().filter(|p| p.at_hand()).collect();
    let program = |n: usize| if n.is_multiple_of(2) { Program::Godwit } else { peers[n / 2 % peers.len()] };
    let order = Order {
        programs: (0..count).map(program).collect(),
        seconds,
        block_seconds,
        retention_seconds,
        window_seconds,
    };
    let folder = tempfile::tempdir().unwrap();
    let turns = run(&order, folder.path()).unwrap();
    let mut bad = false;
    for turn in &turns {
        println!(
            "{}{}: {}; {:?} blocks, checkpoints, blocks dropped, late samples; {} writes, {} reloads; {:?} {:?} {:#?}",
            turn.program.title(),
            if turn.clean { "" } else { " (killed)" },
            turn.found,
            turn.work,
            turn.load.taken,
            turn.load.reloads,
            turn.load.refusals,
            turn.messages,
            turn.found.faults
        );
        bad |= !turn.found.is_clean() || !turn.messages.is_empty() || turn.load.refused > 0;
    }
    if bad {
        panic!("see above; kept in {}", folder.keep().display());
    }
    assert!(turns.iter().skip(1).all(|t| t.found.acknowledged > 30));
    assert!(turns.iter().any(|t| t.work[2] > 0), "nothing was dropped for its age");
}
