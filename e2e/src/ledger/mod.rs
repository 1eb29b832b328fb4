//! A ledger of what was given to a server and what it acknowledged, to hold against what it has after it was
//! killed, cut off from power, or replaced by another program on the same folder.
//!
//! Acknowledged is what a client can know of:
//! - a page of a target, once the next request of the same target came on the same connection: a scrape loop
//!   asks again only when the commit of the page before has returned;
//! - a page that a query showed;
//! - a remote write that was answered with 2xx.
//!
//! Everything else may be there or not, whole (but after a power cut); nothing may be there that was never served, with another value,
//! under another time, or twice. What was there after one start must be there after each later one, and what
//! was not there must not come back.
//!
//! The ledger can be written to a file as it grows, for a guest machine that loses its power with the server.

mod exporter;
mod load;
mod pusher;
mod values;
mod verify;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

pub use exporter::serve;
pub use load::{Figures, Load, Plan};
pub(crate) use values::mix;
pub use verify::{Check, Deleted, Found, check};

/// What became of something that was served or pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// May be there.
    Open,
    /// Must be there; acknowledged at these milliseconds, or 0 where a check has found it.
    Acknowledged(i64),
    /// Was not there after a restart, or was refused: must not appear.
    Absent,
    /// So many samples of it were there after a power cut, which may tear what was not acknowledged: floats and
    /// histograms are records of their own in a log of Prometheus's format. They must stay, and no more may come.
    Part(usize),
}

/// A page or a push.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// When it was asked for, or began to be pushed, in milliseconds.
    pub at_ms: i64,
    /// Which life of the server it was.
    pub life: u64,
    /// What is known of it.
    pub fate: Fate,
}

/// Whence an entry comes. The second part of its key is the number of the page, or the time of the samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// A target.
    Target(u64),
    /// Remote write, in order.
    Push,
    /// Remote write of older times.
    Late,
}

impl Source {
    fn number(self) -> u64 {
        match self {
            Source::Push => 0,
            Source::Late => 1,
            Source::Target(n) => n + 2,
        }
    }

    fn from_number(n: u64) -> Source {
        match n {
            0 => Source::Push,
            1 => Source::Late,
            n => Source::Target(n - 2),
        }
    }
}

/// Between two notes that a guest runs.
const BEAT: Duration = Duration::from_millis(100);

/// All entries of a source by page number or time.
pub type Entries = BTreeMap<u64, Entry>;

/// Everything.
pub type Book = BTreeMap<Source, Entries>;

#[derive(Default)]
struct State {
    book: Book,
    life: u64,
    /// When the guest was seen to be alive, in milliseconds; see [`Ledger::keep_beating`].
    beats: Vec<i64>,
    file: Option<Sender<Line>>,
}

/// A line for the file, and who waits until it is on the disk.
type Line = (String, Option<Sender<()>>);

/// The ledger; clones share it.
#[derive(Clone, Default)]
pub struct Ledger {
    state: Arc<Mutex<State>>,
    /// Set when the writer of the file has stopped.
    broken: Arc<AtomicBool>,
}

/// Unix time in milliseconds.
#[must_use]
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

impl Ledger {
    /// Continues a ledger that is kept in a file; an unfinished last line is what a power cut leaves.
    ///
    /// # Errors
    /// The file cannot be read or written, or is not a ledger.
    pub fn open(path: &Path) -> Result<Ledger> {
        let ledger = Ledger::default();
        let text = match std::fs::read(path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(e).with_context(|| path.display().to_string()),
        };
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        {
            let mut state = ledger.lock();
            for line in text[..whole].lines() {
                state.read(line).with_context(|| format!("{}: {line:?}", path.display()))?;
            }
        }
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        if whole < text.len() {
            file.set_len(whole as u64)?;
        }
        file.sync_all()?;
        let (sender, lines) = channel();
        ledger.lock().file = Some(sender);
        let broken = Arc::clone(&ledger.broken);
        std::thread::spawn(move || {
            write_lines(&mut file, &lines);
            broken.store(true, Ordering::Relaxed);
        });
        Ok(ledger)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new life of the server begins: nothing of the life before is acknowledged any more.
    pub fn next_life(&self) -> u64 {
        let mut state = self.lock();
        state.life += 1;
        let line = format!("life {}\n", state.life);
        state.write(line);
        state.life
    }

    /// A new entry, in the file too when this returns: what a server stores must not be unknown to the ledger
    /// after a power cut. The key of a target's page is the next number.
    pub fn begin(&self, source: Source, key: Option<u64>) -> u64 {
        let mut state = self.lock();
        let life = state.life;
        let entries = state.book.entry(source).or_default();
        let key = key.unwrap_or_else(|| entries.last_key_value().map_or(1, |(n, _)| n + 1));
        let at_ms = now_ms();
        entries.insert(key, Entry { at_ms, life, fate: Fate::Open });
        let line = format!("new {} {key} {at_ms} {life}\n", source.number());
        if let Some(file) = &state.file {
            let (done, wait) = channel();
            let sent = file.send((line, Some(done)));
            drop(state);
            // Without a writer there is nothing to wait for; `is_broken` says so.
            let _ = sent.map(|()| wait.recv());
        }
        key
    }

    /// Something is known of an entry now. What was found once stays.
    pub fn note(&self, source: Source, key: u64, fate: Fate) {
        let mut state = self.lock();
        let Some(entry) = state.book.get_mut(&source).and_then(|e| e.get_mut(&key)) else { return };
        if matches!(entry.fate, Fate::Acknowledged(_)) && matches!(fate, Fate::Acknowledged(1..)) {
            return;
        }
        entry.fate = fate;
        let at = match fate {
            Fate::Part(there) => -3 - there as i64,
            Fate::Open => -2,
            Fate::Absent => -1,
            Fate::Acknowledged(at) => at,
        };
        state.write(format!("fate {} {key} {at}\n", source.number()));
    }

    /// Notes ten times a second that this machine runs, for as long as the process lives.
    pub fn keep_beating(&self) {
        let ledger = self.clone();
        std::thread::spawn(move || {
            loop {
                {
                    let (mut state, now) = (ledger.lock(), now_ms());
                    state.beats.push(now);
                    state.write(format!("beat {now}\n"));
                }
                std::thread::sleep(BEAT);
            }
        });
    }

    /// The moment behind which the machine ran for so many milliseconds until `cut_ms`. A guest gets no time
    /// while its host is busy: what it could not do then is no fault of the server in it.
    #[must_use]
    pub fn ran_since(&self, cut_ms: i64, ran_ms: i64) -> i64 {
        let state = self.lock();
        let mut left = ran_ms;
        // From the last beat on: after it the guest stood still, or the cut came.
        let beats: Vec<i64> = state.beats.iter().copied().filter(|b| *b <= cut_ms).collect();
        for pair in beats.windows(2).rev() {
            left -= (pair[1] - pair[0]).min(2 * BEAT.as_millis() as i64);
            if left <= 0 {
                return pair[0];
            }
        }
        beats.first().copied().unwrap_or(cut_ms) - left.max(0)
    }

    /// Takes back what was acknowledged after a moment: a power cut may lose it.
    pub fn forgive_after(&self, moment_ms: i64) -> usize {
        let mut taken_back = Vec::new();
        for (source, entries) in &self.lock().book {
            let late = |e: &Entry| matches!(e.fate, Fate::Acknowledged(at) if at > moment_ms);
            taken_back.extend(entries.iter().filter(|(_, e)| late(e)).map(|(key, _)| (*source, *key)));
        }
        for (source, key) in &taken_back {
            self.note(*source, *key, Fate::Open);
        }
        taken_back.len()
    }

    /// A copy of everything.
    #[must_use]
    pub fn book(&self) -> Book {
        self.lock().book.clone()
    }

    /// A ledger of its own with the same entries, kept in no file.
    #[must_use]
    pub fn copy(&self) -> Ledger {
        let state = self.lock();
        let state = State { book: state.book.clone(), life: state.life, beats: Vec::new(), file: None };
        Ledger { state: Arc::new(Mutex::new(state)), broken: Arc::default() }
    }

    /// The current life.
    #[must_use]
    pub fn life(&self) -> u64 {
        self.lock().life
    }

    /// True where lines of the ledger could not be written.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::Relaxed)
    }
}

impl State {
    fn write(&self, line: String) {
        if let Some(file) = &self.file {
            // A writer that has stopped is reported by `is_broken`.
            let _ = file.send((line, None));
        }
    }

    fn read(&mut self, line: &str) -> Result<()> {
        let (word, numbers) = line.split_once(' ').context("one word")?;
        let numbers: Vec<i64> = numbers.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        match (word, numbers.as_slice()) {
            ("life", [life]) => self.life = *life as u64,
            ("beat", [at]) => self.beats.push(*at),
            ("new", [source, key, at_ms, life]) => {
                let entry = Entry { at_ms: *at_ms, life: *life as u64, fate: Fate::Open };
                self.book.entry(Source::from_number(*source as u64)).or_default().insert(*key as u64, entry);
            }
            ("fate", [source, key, at]) => {
                let entries = self.book.get_mut(&Source::from_number(*source as u64));
                let entry = entries.and_then(|e| e.get_mut(&(*key as u64))).context("of nothing")?;
                entry.fate = match at {
                    ..=-3 => Fate::Part((-3 - at) as usize),
                    -2 => Fate::Open,
                    -1 => Fate::Absent,
                    at => Fate::Acknowledged(*at),
                };
            }
            _ => bail!("unknown line"),
        }
        Ok(())
    }
}

/// Writes what has come, all of it at once, and syncs it, again and again.
fn write_lines(file: &mut std::fs::File, lines: &Receiver<Line>) {
    while let Ok((mut all, waits)) = lines.recv() {
        let mut waiting: Vec<Sender<()>> = waits.into_iter().collect();
        // Others that come with it share its sync.
        while let Ok((line, waits)) = lines.try_recv() {
            all += &line;
            waiting.extend(waits);
        }
        if file.write_all(all.as_bytes()).and_then(|()| file.sync_data()).is_err() {
            return;
        }
        for one in waiting {
            // It may have gone.
            let _ = one.send(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_is_read_back_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger");
        let ledger = Ledger::open(&path).unwrap();
        ledger.next_life();
        let page = ledger.begin(Source::Target(3), None);
        assert_eq!(page, 1);
        ledger.note(Source::Target(3), page, Fate::Acknowledged(5000));
        assert_eq!(ledger.begin(Source::Target(3), None), 2);
        ledger.begin(Source::Late, Some(77));
        ledger.note(Source::Late, 77, Fate::Absent);
        ledger.begin(Source::Push, Some(78));
        ledger.note(Source::Push, 78, Fate::Acknowledged(0));
        assert_eq!(ledger.forgive_after(4999), 1);
        let want = format!("{:?}", ledger.book());
        crate::wait::until("the file is written", || {
            let lines = std::fs::read_to_string(&path)?.lines().count();
            anyhow::ensure!(lines == 9, "{lines} lines");
            Ok(())
        })
        .unwrap();
        // Cut off in the middle of a line.
        std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"fate 5 2 12").unwrap();
        let again = Ledger::open(&path).unwrap();
        assert_eq!(format!("{:?}", again.book()), want);
        assert_eq!(again.life(), 1);
        assert!(!again.is_broken());
    }
}
