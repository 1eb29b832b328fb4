//! Random expressions to godwit and to a real Prometheus over the same block: every answer must be the same to
//! the last character.
//!
//! `generate` makes expressions from a seed, `data` has a real Prometheus write the block, `client` asks, and
//! `compare` judges; what differs is made smaller ([`node::shrink`]) and told by groups.

pub mod client;
pub mod compare;
pub mod data;
pub mod generate;
mod joins;
pub mod lists;
pub mod node;
mod spoil;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::process::Server;
use crate::program::Program;
use client::{Connection, Said};
use compare::{Difference, Ordered, Parsed, compare};
use generate::Generator;
use node::{Node, Random, shrink};

/// Questions under way at once.
const WORKERS: u64 = 2;
/// Differences made smaller; what comes after them is only counted.
const SHRUNK_MAX: usize = 400;
/// Smaller expressions tried for one difference.
const TRIES: usize = 400;

/// A query with its times.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The expression.
    pub query: String,
    /// Time, or start, in ms.
    pub start_ms: i64,
    /// End, in ms.
    pub end_ms: i64,
    /// Step, in ms; 0 for an instant query.
    pub step_ms: i64,
    /// Another lookback than the server's.
    pub lookback_seconds: Option<i64>,
    /// Asked of the servers that take names away at the end only (`promql-delayed-name-removal`).
    pub names_late: bool,
}

impl Question {
    /// A line of the list of those that once differed.
    #[must_use]
    pub fn to_line(&self) -> String {
        json!({
            "query": self.query, "start": self.start_ms, "end": self.end_ms, "step": self.step_ms,
            "lookback": self.lookback_seconds, "names_late": self.names_late,
        })
        .to_string()
    }

    /// Reads such a line.
    ///
    /// # Errors
    /// It is not one.
    pub fn of_line(line: &str) -> Result<Question> {
        let v: Value = serde_json::from_str(line)?;
        let number = |key: &str| v[key].as_i64().with_context(|| format!("no {key}: {line}"));
        Ok(Question {
            query: v["query"].as_str().with_context(|| format!("no query: {line}"))?.to_string(),
            start_ms: number("start")?,
            end_ms: number("end")?,
            step_ms: number("step")?,
            lookback_seconds: v["lookback"].as_i64(),
            names_late: v["names_late"] == true,
        })
    }
}

/// An expression and its times from a seed.
#[must_use]
pub fn question(seed: u64, newer: bool) -> (Node, Question) {
    let mut g = Generator { r: Random::new(seed), newer };
    let node = g.expression();
    let r = &mut g.r;
    let mut start_ms = data::BEGIN_MS + 300_000 + r.below(data::LENGTH_MS as usize) as i64;
    if r.once_in(2) {
        start_ms -= start_ms % 15_000;
    }
    let step_ms = if r.once_in(2) {
        0
    } else {
        r.pick(&[1_000, 7_000, 15_000, 37_000, 60_000, 60_000, 137_500, 300_000])
    };
    let end_ms =
        start_ms + step_ms * (1 + r.below(14)) as i64 + if step_ms > 0 && r.once_in(3) { 700 } else { 0 };
    let lookback_seconds = if r.once_in(12) { Some(r.pick(&[20, 61, 900])) } else { None };
    // With names taken away at the end the LTS release has other results.
    let names_late = r.once_in(2) && newer;
    let query = node.print();
    (node, Question { query, start_ms, end_ms, step_ms, lookback_seconds, names_late })
}

/// Two servers of a program over the same block: one as it is, one with `promql-delayed-name-removal`.
pub struct Servers {
    program: Program,
    all: Vec<Server>,
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?
        } else {
            let _ = std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

impl Servers {
    /// Starts them with every experimental syntax that `peer` knows.
    ///
    /// # Errors
    /// They do not start.
    pub fn start(program: Program, peer: Program, folder: &Path, blocks: &Path) -> Result<Servers> {
        let mut all = Vec::new();
        for names in ["", ",promql-delayed-name-removal"] {
            let data = format!("{program:?}{}", names.len());
            copy(blocks, &folder.join(&data))?;
            let newer = if peer == Program::Lts {
                ""
            } else {
                ",promql-extended-range-selectors,promql-binop-fill-modifiers"
            };
            let features =
                format!("--enable-feature=promql-experimental-functions,promql-duration-expr{newer}{names}");
            let data = format!("--storage.tsdb.path={data}");
            let arguments = [
                "--web.listen-address=127.0.0.1:{port}",
                "--config.file=none.yml",
                &data,
                &features,
                // The block is years old.
                "--storage.tsdb.retention.time=90y",
            ];
            all.push(Server::start(&program.path()?, &arguments, folder, "/-/ready")?);
        }
        Ok(Servers { program, all })
    }

    fn connections(&self) -> Vec<Connection> {
        self.all.iter().map(|s| Connection::new(s.port)).collect()
    }
}

/// Who is asked: the real one and ours, one connection to each of their servers.
pub struct Asker {
    theirs: Vec<Connection>,
    ours: Vec<Connection>,
    words: bool,
}

/// Times that a question is asked again of the real one where the answers differ: folding in the order of a hash
/// table gives one of two answers, each about half of the time, so that 1 in 2^12 is not found out.
const ASKED_AGAIN: usize = 12;

/// Differences that COMPAT.md names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Excuse {
    /// Upstream itself gives now one answer, now another: it folds in the order of a hash table.
    Chance,
    /// Escapes that are not UTF-8.
    NotUtf8,
    /// `sort_by_label` where some lack the label: upstream's comparison is none.
    NoLabel,
    /// 0 and -0 are equal, and which of them a quantile meets depends on how its values are sorted.
    ZeroSign,
}

/// Both answers, and what they differ in.
pub struct Verdict {
    /// What was said.
    pub theirs: Said,
    /// What was said.
    pub ours: Said,
    /// The real one has a result that is not empty.
    pub filled: bool,
    /// The real one answers the query.
    pub valid: bool,
    /// Nothing where they are the same, or differ as COMPAT.md says.
    pub difference: Option<Difference>,
    /// As what COMPAT.md says.
    pub excuse: Option<Excuse>,
}

fn order_of(query: &str) -> Ordered {
    let inner = query.trim_start_matches(['(', ' ']);
    if inner.starts_with("sort_by_label") {
        return Ordered::ByLabels;
    }
    // Of several groups each is ordered for itself.
    let grouped = query.contains(" by (") || query.contains(" without (");
    let by_value = inner.starts_with("sort")
        || (!grouped && ["topk", "bottomk"].iter().any(|word| inner.starts_with(word)));
    if by_value { Ordered::ByValue } else { Ordered::Not }
}

impl Asker {
    /// Connections are opened when first used.
    #[must_use]
    pub fn new(theirs: &Servers, ours: &Servers) -> Asker {
        let words = theirs.program != Program::Lts;
        Asker { theirs: theirs.connections(), ours: ours.connections(), words }
    }

    /// Asks both.
    ///
    /// # Errors
    /// One of them does not answer.
    pub fn ask(&mut self, question: &Question) -> Result<Verdict> {
        let at = usize::from(question.names_late);
        let (theirs, ours) = (&mut self.theirs[at], &mut self.ours[at]);
        theirs.send(question)?;
        ours.send(question)?;
        let ours =
            ours.receive().with_context(|| format!("godwit does not answer {}", question.to_line()))?;
        let theirs =
            theirs.receive().with_context(|| format!("Prometheus does not answer {}", question.to_line()))?;
        let parsed = Parsed::read(&theirs)?;
        let mut difference = None;
        let mut excuse = None;
        if theirs != ours {
            let mine = Parsed::read(&ours)?;
            let order = order_of(&question.query);
            difference = compare((theirs.0, &parsed), (ours.0, &mine), order, self.words);
            if difference.is_some() {
                excuse = excuse_for(&question.query, difference.as_ref(), &parsed, &mine);
            }
            // Where upstream answers in two ways itself, there is nothing to be equal to.
            let mut again = 0;
            while difference.is_some() && excuse.is_none() && again < ASKED_AGAIN {
                again += 1;
                let connection = &mut self.theirs[at];
                connection.send(question)?;
                let other = connection.receive()?;
                let parsed_again = Parsed::read(&other)?;
                if compare((theirs.0, &parsed), (other.0, &parsed_again), order, self.words).is_some() {
                    excuse = Some(Excuse::Chance);
                }
            }
        }
        if excuse.is_some() {
            difference = None;
        }
        Ok(Verdict {
            filled: parsed.is_filled(),
            valid: parsed.succeeded(),
            theirs,
            ours,
            difference,
            excuse,
        })
    }
}

/// A difference that COMPAT.md names: from the two answers alone.
fn excuse_for(
    query: &str,
    difference: Option<&Difference>,
    theirs: &Parsed,
    ours: &Parsed,
) -> Option<Excuse> {
    if theirs.error().contains("\\x") && ours.error().contains('\u{fffd}') {
        return Some(Excuse::NotUtf8);
    }
    // Up to twelve upstream sorts by insertion, and so does godwit.
    let unordered = theirs.series_count() > 12 && !theirs.has_equal_names();
    if difference == Some(&Difference::Order) && query.contains("sort_by_label") && unordered {
        return Some(Excuse::NoLabel);
    }
    if query.contains("quantile") && theirs.without_signs_of_zero() == ours.without_signs_of_zero() {
        return Some(Excuse::ZeroSign);
    }
    None
}

/// A difference, made small.
#[derive(Clone, Debug)]
pub struct Found {
    /// Seed that shows it.
    pub seed: u64,
    /// In what.
    pub difference: Difference,
    /// The smallest question.
    pub smallest: Question,
    /// Both answers to it.
    pub theirs: String,
    /// Both answers to it.
    pub ours: String,
    /// Functions, operators and modifiers of the smallest.
    pub marks: Vec<&'static str>,
}

/// What a run saw.
#[derive(Debug, Default)]
pub struct Report {
    /// Expressions asked.
    pub asked: u64,
    /// Those that the real one answers.
    pub valid: u64,
    /// Those with a result.
    pub filled: u64,
    /// Those with a result, by function, operator and modifier.
    pub marks: BTreeMap<&'static str, u64>,
    /// Those that differ as COMPAT.md says.
    pub excused: BTreeMap<Excuse, u64>,
    /// All others that differ.
    pub different: u64,
    /// Some of them, made small.
    pub found: Vec<Found>,
}

/// Asks `count` expressions from seed `first` on.
///
/// # Errors
/// A server does not answer.
pub fn run(theirs: &Servers, ours: &Servers, (first, count): (u64, u64)) -> Result<Report> {
    let newer = theirs.program != Program::Lts;
    let next = AtomicU64::new(first);
    let report = Mutex::new(Report::default());
    let work = || -> Result<()> {
        let mut asker = Asker::new(theirs, ours);
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= first + count {
                return Ok(());
            }
            let (node, question) = question(seed, newer);
            let verdict = asker.ask(&question)?;
            let (mut marks, mut room) = (Vec::new(), false);
            node.all_marks(&mut marks);
            marks.sort_unstable();
            marks.dedup();
            if let Ok(mut report) = report.lock() {
                report.asked += 1;
                report.valid += u64::from(verdict.valid);
                report.filled += u64::from(verdict.filled);
                if verdict.filled {
                    marks.iter().for_each(|m| *report.marks.entry(m).or_default() += 1);
                }
                if let Some(excuse) = verdict.excuse {
                    *report.excused.entry(excuse).or_default() += 1;
                }
                room = report.found.len() < SHRUNK_MAX;
            }
            let Some(difference) = verdict.difference else { continue };
            let whole = Found {
                seed,
                difference,
                smallest: question.clone(),
                theirs: String::from_utf8_lossy(&verdict.theirs.1).into_owned(),
                ours: String::from_utf8_lossy(&verdict.ours.1).into_owned(),
                marks,
            };
            let found = if room { smallest(&mut asker, &node, whole)? } else { whole };
            if let Ok(mut report) = report.lock() {
                report.different += 1;
                if room {
                    report.found.push(found);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|_| scope.spawn(work)).collect();
        workers.into_iter().try_for_each(|w| w.join().map_err(|_| anyhow::anyhow!("a worker panicked"))?)
    })?;
    report.into_inner().map_err(|_| anyhow::anyhow!("a worker panicked"))
}

fn smallest(asker: &mut Asker, node: &Node, whole: Found) -> Result<Found> {
    let mut failed = None;
    let mut shows = |node: &Node, question: &Question| {
        let question = Question { query: node.print(), ..question.clone() };
        match asker.ask(&question) {
            Ok(verdict) => verdict.difference.as_ref() == Some(&whole.difference),
            Err(error) => {
                failed = Some(error);
                false
            }
        }
    };
    let node = shrink(node, TRIES, |n| shows(n, &whole.smallest));
    let mut question = Question { query: node.print(), ..whole.smallest.clone() };
    // Simpler times, too.
    for simpler in [
        Question { lookback_seconds: None, ..question.clone() },
        Question { end_ms: question.start_ms + question.step_ms, lookback_seconds: None, ..question.clone() },
        Question { end_ms: question.start_ms, lookback_seconds: None, ..question.clone() },
        Question { end_ms: question.start_ms, step_ms: 0, lookback_seconds: None, ..question.clone() },
    ] {
        if shows(&node, &simpler) {
            question = simpler;
        }
    }
    if let Some(error) = failed {
        return Err(error);
    }
    let verdict = asker.ask(&question)?;
    let mut marks = Vec::new();
    node.all_marks(&mut marks);
    marks.sort_unstable();
    marks.dedup();
    Ok(Found {
        smallest: question,
        theirs: String::from_utf8_lossy(&verdict.theirs.1).into_owned(),
        ours: String::from_utf8_lossy(&verdict.ours.1).into_owned(),
        marks,
        ..whole
    })
}

impl Report {
    /// Differences by what they are and what the smallest expression has: number, and one of each.
    #[must_use]
    pub fn groups(&self, examples: usize) -> String {
        let mut groups: BTreeMap<(&Difference, &[&str]), Vec<&Found>> = BTreeMap::new();
        for found in &self.found {
            groups.entry((&found.difference, &found.marks)).or_default().push(found);
        }
        let mut groups: Vec<_> = groups.into_iter().collect();
        groups.sort_by_key(|(_, all)| std::cmp::Reverse(all.len()));
        let mut out = String::new();
        for ((difference, marks), mut all) in groups {
            all.sort_by_key(|f| f.smallest.query.len());
            let _ = writeln!(out, "== {} x {difference:?} {marks:?}", all.len());
            for found in all.iter().take(examples) {
                let cut = |s: &str| s.chars().take(1500).collect::<String>();
                let _ = writeln!(
                    out,
                    "{}\n  seed   {}\n  theirs {}\n  ours   {}",
                    found.smallest.to_line(),
                    found.seed,
                    cut(&found.theirs),
                    cut(&found.ours)
                );
            }
        }
        out
    }

    /// The run in words: what was asked of whom, and what came of it.
    #[must_use]
    pub fn summary(&self) -> String {
        let share = |n: u64| 100.0 * n as f64 / self.asked.max(1) as f64;
        let mut out = format!(
            "{} expressions asked, {:.1} % valid, {:.1} % with a result, {} differ",
            self.asked,
            share(self.valid),
            share(self.filled),
            self.different
        );
        for (excuse, count) in &self.excused {
            let _ = write!(out, ", {count} as COMPAT.md says ({excuse:?})");
        }
        out
    }

    /// How often each function, operator and modifier had a result.
    #[must_use]
    pub fn table(&self) -> String {
        let mut out = String::from("| what | with a result |\n|---|---|\n");
        for mark in lists::all_marks() {
            let _ = writeln!(out, "| `{mark}` | {} |", self.marks.get(mark).copied().unwrap_or(0));
        }
        out
    }
}
