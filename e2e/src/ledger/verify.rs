//! Holds a server's answers against the ledger.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{Book, Entry, Fate, Ledger, Source, now_ms, values};
use crate::answers::{instant, query};

/// A sample may be as much older than the request that brought it: a scrape's time is taken before the
/// connection is made, and a loaded machine stalls.
const REQUEST_LATE_MAX_MS: i64 = 20_000;
/// Scrape times are moved to their grid by up to 2 ms, and clocks are read to the millisecond.
const REQUEST_EARLY_MAX_MS: i64 = 5;
/// What was asked for this long after the first time that is kept may have been of a time that is not.
const EDGE_MS: i64 = 4000;
/// Differences that are spelled out.
const SHOWN_MAX: usize = 12;

/// What is asked of the answers.
#[derive(Clone, Debug, Default)]
pub struct Check {
    /// Samples before this time need not be there: retention.
    pub from_ms: i64,
    /// Samples in these ranges were deleted, and must not be there.
    pub deleted: Vec<Deleted>,
    /// Entries of this life and later ones are none of this server's: it has a copy of the folder.
    pub before_life: Option<u64>,
    /// The server's clock was off by as much.
    pub clock_off_ms: i64,
    /// The power was cut before: what was not acknowledged may be there in part, see [`Fate::Part`].
    pub power_cut: bool,
}

/// A deletion of one target's samples.
#[derive(Clone, Copy, Debug)]
pub struct Deleted {
    /// Whose.
    pub target: u64,
    /// First millisecond.
    pub from_ms: i64,
    /// Last millisecond.
    pub to_ms: i64,
}

/// What was found.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Samples that were compared with the ledger.
    pub samples: usize,
    /// Acknowledged entries that must be there.
    pub acknowledged: usize,
    /// Of these, missing in whole or in part.
    pub lost: usize,
    /// Entries that are there under two times.
    pub doubled: usize,
    /// Samples with a value, time or series that was never served; also what was absent before.
    pub altered: usize,
    /// Entries that were not acknowledged and are there in part, where no power cut excuses it.
    pub torn: usize,
    /// Entries that were not acknowledged and that a power cut has torn.
    pub cut: usize,
    /// Open entries of former lives that are there, and that are not.
    pub settled: (usize, usize),
    /// The first faults in words.
    pub faults: Vec<String>,
    /// Newest sample of a page.
    pub newest_ms: i64,
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Found { samples, acknowledged, lost, doubled, altered, torn, cut, settled, .. } = self;
        write!(
            f,
            "{samples} samples compared, {acknowledged} acknowledged entries: lost {lost}, doubled {doubled}, altered {altered}, in part {torn}; not acknowledged: {} there, {} not, {cut} torn by cuts",
            settled.0, settled.1
        )
    }
}

impl Found {
    /// True where nothing was lost, doubled or altered.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost + self.doubled + self.altered + self.torn == 0
    }

    fn fault(&mut self, text: String) {
        if self.faults.len() < SHOWN_MAX {
            self.faults.push(text);
        }
    }

    /// Adds another check's counts.
    pub fn add(&mut self, other: Found) {
        self.samples += other.samples;
        self.acknowledged += other.acknowledged;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.altered += other.altered;
        self.torn += other.torn;
        self.cut += other.cut;
        self.settled.0 += other.settled.0;
        self.settled.1 += other.settled.1;
        self.newest_ms = other.newest_ms;
        other.faults.into_iter().for_each(|f| self.fault(f));
    }
}

/// Samples of one source by time: series names with their values as JSON.
type Times = BTreeMap<i64, BTreeMap<String, Value>>;

/// Name of a series within its source.
fn key(metric: &Value) -> String {
    let part = |name: &str| metric[name].as_str().unwrap_or("-").to_string();
    format!("{} {} {}", part("__name__"), part("series"), part("epoch"))
}

fn source(metric: &Value) -> Option<Source> {
    let name = metric["__name__"].as_str()?;
    if name.starts_with("ledger_late") {
        return Some(Source::Late);
    }
    if name.starts_with("ledger_pushed") {
        return Some(Source::Push);
    }
    metric["instance"].as_str()?.strip_prefix('t')?.parse().ok().map(Source::Target)
}

/// Every series that an entry consists of.
fn expected(source: Source, step: u64) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    let float = |v: f64| Value::from(v);
    match source {
        Source::Target(target) => {
            all.insert("ledger_page - -".into(), float(step as f64));
            all.insert("up - -".into(), float(1.0));
            for series in 0..values::STEADY {
                all.insert(format!("ledger_steady {series} -"), float(values::float(target, series, step)));
            }
            let epoch = step / values::EPOCH;
            for series in 0..values::PASSING {
                let value = float(values::float(target, 100 + series, step));
                all.insert(format!("ledger_passing {series} {epoch}"), value);
            }
        }
        Source::Push | Source::Late => {
            let name = if source == Source::Late { "ledger_late" } else { "ledger_pushed" };
            for series in 0..values::PUSHED_FLOATS {
                let value = float(values::float(source.number(), series, step));
                all.insert(format!("{name} {series} -"), value);
            }
            for series in 0..values::PUSHED_HISTOGRAMS {
                all.insert(format!("{name}_histogram {series} -"), values::histogram_json(series, step));
            }
        }
    }
    all
}

fn equal(want: &Value, got: &Value) -> bool {
    match (want, got) {
        (Value::Number(want), Value::String(got)) => {
            got.parse::<f64>().is_ok_and(|g| want.as_f64().is_some_and(|w| w.to_bits() == g.to_bits()))
        }
        (want, got) => want == got,
    }
}

/// Asks for all samples of the ledger from a time on.
fn ask(port: u16, what: &Check) -> Result<BTreeMap<Source, Times>> {
    // Beyond the newest sample: pushes run ahead of nothing, but clocks are read at different moments.
    let at_ms = now_ms() + 2000 + what.clock_off_ms;
    let from_ms = what.from_ms.max(now_ms() - 3_600_000 * 24 - what.clock_off_ms);
    let range = format!("{{__name__=~\"ledger_.+|up\"}}[{}ms]", (at_ms - from_ms).max(1));
    let answer = query(port, &instant(&range, at_ms as f64 / 1000.0))?;
    let mut all: BTreeMap<Source, Times> = BTreeMap::new();
    for (labels, points) in answer {
        let metric: Value = serde_json::from_str(&labels)?;
        let Some(source) = source(&metric) else { continue };
        let key = key(&metric);
        for (time, value) in points {
            let time_ms = (time.parse::<f64>().context("a time")? * 1000.0).round() as i64;
            let times = all.entry(source).or_default().entry(time_ms).or_default();
            let value = serde_json::from_str(&value)?;
            anyhow::ensure!(times.insert(key.clone(), value).is_none(), "{labels} twice at {time}");
        }
    }
    Ok(all)
}

/// The ledger before a question and after its answer.
#[derive(Clone, Copy)]
struct Books<'a> {
    before: &'a Book,
    after: &'a Book,
    life: u64,
}

impl Books<'_> {
    fn after(&self, source: Source, step: u64) -> Option<&Entry> {
        self.after.get(&source)?.get(&step)
    }

    /// True where a power cut may have torn an entry.
    fn may_be_cut(&self, entry: &Entry, what: &Check) -> bool {
        what.power_cut && entry.fate == Fate::Open && entry.life < self.life
    }

    fn was_acknowledged(&self, source: Source, step: u64) -> bool {
        let entry = self.before.get(&source).and_then(|e| e.get(&step));
        entry.is_some_and(|e| matches!(e.fate, Fate::Acknowledged(_)))
    }
}

/// Compares everything that a server answers with the ledger, and settles what became of the entries of former
/// lives.
///
/// # Errors
/// The server does not answer.
pub fn check(ledger: &Ledger, port: u16, what: &Check) -> Result<Found> {
    let before = ledger.book();
    let life = ledger.life();
    let answers = ask(port, what)?;
    let after = ledger.book();
    let books = Books { before: &before, after: &after, life };
    let mut found = Found::default();
    let sources: BTreeSet<Source> = before.keys().chain(answers.keys()).copied().collect();
    for source in sources {
        let nothing = Times::new();
        let times = answers.get(&source).unwrap_or(&nothing);
        let present = whole_entries(source, times, books, what, &mut found);
        let Some(entries) = before.get(&source) else { continue };
        for (&step, entry) in entries {
            let at_ms = if matches!(source, Source::Target(_)) { entry.at_ms } else { step as i64 };
            let foreign = what.before_life.is_some_and(|life| entry.life >= life);
            if at_ms < what.from_ms + EDGE_MS || is_deleted(source, at_ms, what) || foreign {
                continue;
            }
            let there = present.get(&step).copied();
            match (entry.fate, there.is_some()) {
                (Fate::Acknowledged(_), true) => found.acknowledged += 1,
                (Fate::Acknowledged(at), false) => {
                    found.acknowledged += 1;
                    found.lost += 1;
                    found.fault(format!(
                        "lost: {source:?} {step} of life {}, asked at {at_ms}, acknowledged at {at}",
                        entry.life
                    ));
                }
                (Fate::Absent, true) => {
                    found.altered += 1;
                    found.fault(format!("came back: {source:?} {step} of life {}", entry.life));
                }
                (Fate::Part(was), _) if there.map_or(0, |p| p.samples) != was => {
                    let now = there.map_or(0, |p| p.samples);
                    if now < was {
                        found.lost += 1
                    } else {
                        found.altered += 1
                    }
                    found.fault(format!("torn: {source:?} {step} had {was} samples and has {now}"));
                }
                (Fate::Open, is_there) if entry.life < life => {
                    let fate = match there {
                        Some(Present { samples, whole: false, .. }) => Fate::Part(samples),
                        Some(_) => Fate::Acknowledged(0),
                        None => Fate::Absent,
                    };
                    ledger.note(source, step, fate);
                    found.cut += usize::from(matches!(fate, Fate::Part(_)));
                    if is_there { found.settled.0 += 1 } else { found.settled.1 += 1 }
                }
                _ => {}
            }
        }
    }
    Ok(found)
}

/// Samples at the edges of a deletion may be there or not: the time of a page is known to the range between
/// scrape and request.
fn is_deleted(source: Source, at_ms: i64, what: &Check) -> bool {
    what.deleted.iter().any(|d| {
        source == Source::Target(d.target)
            && at_ms >= d.from_ms - REQUEST_EARLY_MAX_MS
            && at_ms <= d.to_ms + REQUEST_LATE_MAX_MS
    })
}

/// An entry that is there.
#[derive(Clone, Copy)]
struct Present {
    at_ms: i64,
    samples: usize,
    whole: bool,
}

/// Looks at every sample of a source; the entries that are there.
fn whole_entries(
    source: Source,
    times: &Times,
    books: Books<'_>,
    what: &Check,
    found: &mut Found,
) -> BTreeMap<u64, Present> {
    let mut present = BTreeMap::new();
    for (&time_ms, samples) in times {
        let step = match source {
            Source::Target(_) => match page_at(samples) {
                Some(step) => step,
                None => {
                    // A failed scrape has reports and staleness markers only. Of a page that a power cut tore the
                    // number may be gone; an acknowledged one would be missed.
                    if !what.power_cut && samples.keys().any(|k| k.starts_with("ledger_")) {
                        found.torn += 1;
                        found.fault(format!("in part: {source:?} at {time_ms}: {:?}", samples.keys()));
                    }
                    continue;
                }
            },
            _ => time_ms as u64,
        };
        found.samples += samples.len();
        let Some(entry) = books.after(source, step) else {
            found.altered += 1;
            found.fault(format!("never served: {source:?} {step} at {time_ms}"));
            continue;
        };
        if let Source::Target(_) = source {
            found.newest_ms = found.newest_ms.max(time_ms);
            if !is_time_of(entry, time_ms, what) {
                found.altered += 1;
                found
                    .fault(format!("another time: {source:?} {step} at {time_ms}, asked at {}", entry.at_ms));
            }
        }
        let in_it =
            |d: &Deleted| source == Source::Target(d.target) && (d.from_ms..=d.to_ms).contains(&time_ms);
        if what.deleted.iter().any(in_it) {
            found.altered += 1;
            found.fault(format!("deleted and there: {source:?} {step} at {time_ms}"));
        }
        let whole = compare(source, step, books, samples, what, found);
        let this = Present { at_ms: time_ms, samples: samples.len(), whole };
        if let Some(other) = present.insert(step, this) {
            found.doubled += 1;
            found.fault(format!("twice: {source:?} {step} at {} and {time_ms}", other.at_ms));
        }
    }
    present
}

fn page_at(samples: &BTreeMap<String, Value>) -> Option<u64> {
    samples.get("ledger_page - -")?.as_str()?.parse::<f64>().ok().map(|page| page as u64)
}

fn is_time_of(entry: &Entry, time_ms: i64, what: &Check) -> bool {
    let off = what.clock_off_ms;
    time_ms <= entry.at_ms + REQUEST_EARLY_MAX_MS + off && time_ms >= entry.at_ms - REQUEST_LATE_MAX_MS - off
}

/// Compares all samples of one entry; true where none is missing.
fn compare(
    source: Source,
    step: u64,
    books: Books<'_>,
    samples: &BTreeMap<String, Value>,
    what: &Check,
    found: &mut Found,
) -> bool {
    let Some(entry) = books.after(source, step) else { return false };
    let want = expected(source, step);
    let missing: Vec<&String> = want.keys().filter(|k| !samples.contains_key(*k)).collect();
    // Late samples are not isolated, upstream neither: one that is being written is seen series by series.
    let being_written =
        source == Source::Late && !books.was_acknowledged(source, step) && entry.life == books.life;
    // The count of those that are there is compared where it was noted.
    let is_cut = books.may_be_cut(entry, what) || matches!(entry.fate, Fate::Part(_));
    if !missing.is_empty() && !being_written && !is_cut {
        let text = format!(
            "in part: {source:?} {step}, {:?}: {} of {} missing: {missing:?}",
            entry.fate,
            missing.len(),
            want.len()
        );
        if matches!(entry.fate, Fate::Acknowledged(_)) {
            found.lost += 1;
        } else {
            found.torn += 1;
        }
        found.fault(text);
    }
    for (name, got) in samples {
        match want.get(name) {
            Some(want) if equal(want, got) => {}
            want => {
                found.altered += 1;
                found.fault(format!("{source:?} {step}: {name}: {got} in place of {want:?}"));
            }
        }
    }
    missing.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn served(source: Source, step: u64) -> BTreeMap<String, Value> {
        let text = |v: Value| if v.is_number() { Value::String(v.to_string()) } else { v };
        expected(source, step).into_iter().map(|(k, v)| (k, text(v))).collect()
    }

    fn look(change: impl FnOnce(&mut Times)) -> Found {
        look_for(&Check::default(), change)
    }

    fn look_for(what: &Check, change: impl FnOnce(&mut Times)) -> Found {
        let ledger = Ledger::default();
        let source = Source::Target(1);
        for _ in 0..3 {
            ledger.begin(source, None);
        }
        let at = ledger.book()[&source][&1].at_ms;
        let mut times: Times = (1..=3).map(|n| (at - 10 + n, served(source, n as u64))).collect();
        change(&mut times);
        let mut found = Found::default();
        let book = ledger.book();
        let books = Books { before: &book, after: &book, life: 1 };
        whole_entries(source, &times, books, what, &mut found);
        found
    }

    #[test]
    fn each_kind_of_fault_is_seen() {
        let clean = look(|_| {});
        assert!(clean.is_clean() && clean.samples == 78, "{clean:?}");
        let first = |t: &Times| *t.keys().next().unwrap();
        let doubled = look(|t| {
            let again = t[&first(t)].clone();
            t.insert(first(t) - 1, again);
        });
        assert_eq!((doubled.doubled, doubled.altered), (1, 0), "{doubled:?}");
        let altered = look(|t| {
            let at = first(t);
            t.get_mut(&at).unwrap().insert("ledger_steady 1 -".into(), Value::from("1"));
        });
        assert_eq!(altered.altered, 1, "{altered:?}");
        let torn = look(|t| {
            let at = first(t);
            t.get_mut(&at).unwrap().remove("ledger_steady 1 -");
        });
        assert_eq!(torn.torn, 1, "{torn:?}");
        let cut = Check { power_cut: true, ..Check::default() };
        let excused = look_for(&cut, |t| {
            let at = first(t);
            t.get_mut(&at).unwrap().remove("ledger_steady 1 -");
        });
        assert!(excused.is_clean(), "{excused:?}");
        let moved = look(|t| {
            let one = t.pop_first().unwrap();
            t.insert(one.0 - 60_000, one.1);
        });
        assert_eq!(moved.altered, 1, "{moved:?}");
        let foreign = look(|t| {
            let at = *t.keys().last().unwrap() + 1;
            t.insert(at, served(Source::Target(1), 9));
        });
        assert_eq!(foreign.altered, 1, "{foreign:?}");
    }
}
