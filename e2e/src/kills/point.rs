//! Moments to kill a server at: by chance, or when its folder shows what it is busy with.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::ledger::{Load, mix};

/// A moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// Whenever.
    Anywhere,
    /// A block is being written.
    Compaction,
    /// A block has been written, and its samples leave head and log; or old blocks are deleted.
    Truncation,
    /// A checkpoint of the log is being written.
    Checkpoint,
    /// The configuration is being reloaded.
    Reload,
    /// An image of the head is being written.
    Image,
    /// The server starts: the log is being replayed.
    Start,
}

/// All, with the chance of each in a hundred.
const CHANCES: [(Point, u64); 7] = [
    (Point::Anywhere, 20),
    (Point::Compaction, 15),
    (Point::Truncation, 15),
    (Point::Checkpoint, 15),
    (Point::Image, 9),
    (Point::Reload, 13),
    (Point::Start, 13),
];

/// A server whose folder never shows what is waited for is killed anyway.
const WAIT_MAX: Duration = Duration::from_secs(25);
/// Between two looks at the folder.
const LOOK_PAUSE: Duration = Duration::from_micros(300);

/// A seeded source of choices.
#[derive(Debug)]
pub struct Dice {
    seed: u64,
    rolls: u64,
}

impl Dice {
    /// From a seed.
    #[must_use]
    pub fn new(seed: u64) -> Dice {
        Dice { seed, rolls: 0 }
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.rolls += 1;
        mix(&[self.seed, self.rolls]) % end.max(1)
    }

    /// The next point.
    pub fn point(&mut self) -> Point {
        let mut left = self.below(100);
        for (point, chance) in CHANCES {
            if left < chance {
                return point;
            }
            left -= chance;
        }
        Point::Anywhere
    }
}

/// What a folder looks like.
#[derive(Debug, Default, PartialEq, Eq)]
struct Look {
    /// Blocks, finished.
    blocks: Vec<String>,
    /// A block is being written, or deleted.
    writes: bool,
    deletes: bool,
    /// The oldest segment of the log.
    first_segment: Option<String>,
    /// A checkpoint is being written.
    checkpoint: bool,
    /// When the next image of the head was last written to.
    image: Option<std::time::SystemTime>,
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries.filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort();
    names
}

fn look(data: &Path) -> Look {
    let mut look = Look::default();
    for name in names(data) {
        look.writes |= name.ends_with(".tmp-for-creation");
        look.deletes |= name.ends_with(".tmp-for-deletion");
        if name.len() == 26 && !name.contains('.') {
            look.blocks.push(name);
        }
    }
    look.image = std::fs::metadata(data.join("godwit_head/image.tmp")).and_then(|m| m.modified()).ok();
    for name in names(&data.join("wal")) {
        look.checkpoint |= name.starts_with("checkpoint.") && name.ends_with(".tmp");
        if look.first_segment.is_none() && name.bytes().all(|b| b.is_ascii_digit()) {
            look.first_segment = Some(name);
        }
    }
    look
}

/// Waits for a moment; false where it never came.
#[must_use]
pub(super) fn wait(point: Point, data: &Path, load: &Load, dice: &mut Dice) -> bool {
    let began = Instant::now();
    let first = look(data);
    let reloads = load.reloads_begun();
    let delay_us = match point {
        // Long enough for some scrapes, short enough for many kills.
        Point::Anywhere | Point::Start => 300_000 + dice.below(6_000_000),
        Point::Compaction => dice.below(40_000),
        Point::Truncation => dice.below(25_000),
        Point::Checkpoint => dice.below(12_000),
        Point::Image => dice.below(4_000),
        Point::Reload => dice.below(30_000),
    };
    // Something must be served before there is something to lose.
    let least = Duration::from_millis(1200);
    let came = loop {
        if began.elapsed() > WAIT_MAX {
            break false;
        }
        let now = look(data);
        let came = match point {
            Point::Anywhere | Point::Start => true,
            Point::Compaction => now.writes,
            Point::Truncation => {
                now.deletes || now.blocks != first.blocks || now.first_segment != first.first_segment
            }
            Point::Checkpoint => now.checkpoint,
            Point::Image => now.image.is_some() && now.image != first.image && began.elapsed() > least,
            Point::Reload => load.reloads_begun() > reloads && began.elapsed() > least,
        };
        if came {
            break true;
        }
        std::thread::sleep(LOOK_PAUSE);
    };
    std::thread::sleep(Duration::from_micros(delay_us));
    came
}
