//! From target groups to targets that go on, start, were dropped, or wait for memory (`room`). Of those that wait
//! only their place in the groups is kept: a hundred thousand that memory has no room for take 800 kB.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use config::ScrapeConfig;
use model::{Labels, LabelsBuilder, TargetGroup};

use crate::populate;
use crate::room::{Place, Room};
use crate::target::{Origin, Target};

/// Targets that wait are shown by name up to so many a pool; the others are counted. Each takes about a kilobyte
/// in an answer, and there is no memory to spare then.
const SHOWN_MAX: usize = 1000;
/// While targets wait, the log says so this often.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// A target's group and its number within it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    group: u32,
    index: u32,
}

/// What a job's targets are made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Source {
    pub(crate) groups: Arc<Vec<Arc<TargetGroup>>>,
    pub(crate) config: Arc<ScrapeConfig>,
}

impl Source {
    pub(crate) fn origin(&self, at: At) -> Origin {
        Origin {
            config: Arc::clone(&self.config),
            groups: Arc::clone(&self.groups),
            group: at.group as usize,
            index: at.index as usize,
        }
    }

    /// A target that was made before, anew.
    fn target(&self, builder: &mut LabelsBuilder, at: At) -> Option<Target> {
        let group = self.groups.get(at.group as usize)?;
        let own = group.targets.get(at.index as usize)?;
        let labels = populate::populate(builder, &self.config, own, &group.labels).ok()??;
        Some(Target::new(labels, self.origin(at)))
    }
}

#[derive(Default)]
pub(crate) struct Dropped {
    pub(crate) kept: Vec<Arc<Target>>,
    pub(crate) count: usize,
}

/// Target groups, sorted out.
#[derive(Default)]
pub(crate) struct Sorted {
    /// Targets that run, by their hash.
    pub(crate) known: HashMap<u64, At>,
    pub(crate) new: Vec<(Target, Place)>,
    pub(crate) dropped: Dropped,
    pub(crate) failures: u32,
    waiting: Vec<At>,
    reason: String,
}

impl Sorted {
    /// `running`: hashes of the pool's targets that have loops.
    pub(crate) fn new(source: &Source, running: &HashSet<u64>, room: &Arc<Room>) -> Self {
        let mut sorted = Sorted::default();
        let (mut starting, mut waiting) = (HashMap::new(), HashSet::new());
        let mut builder = LabelsBuilder::new();
        let config = &source.config;
        for (g, group) in source.groups.iter().enumerate() {
            for (i, own) in group.targets.iter().enumerate() {
                let at = At { group: small(g), index: small(i) };
                let labels = match populate::populate(&mut builder, config, own, &group.labels) {
                    Ok(Some(labels)) => labels,
                    Ok(None) => {
                        sorted.drop_one(source, at);
                        continue;
                    }
                    Err(err) => {
                        sorted.failures += 1;
                        let (pool, group) = (&config.job_name, &group.source);
                        tracing::error!(
                            scrape_pool = pool,
                            "Creating target failed: instance {i} in group {group}: {err}"
                        );
                        continue;
                    }
                };
                let target = Target::new(labels, source.origin(at));
                let hash = target.hash();
                if running.contains(&hash) {
                    sorted.known.insert(hash, at);
                } else if let Some(same) = starting.get(&hash).and_then(|n: &usize| sorted.new.get(*n)) {
                    same.0.set_origin(source.origin(at));
                } else if sorted.waiting.is_empty() {
                    match room.place(running.len() + sorted.new.len()) {
                        Ok(place) => {
                            starting.insert(hash, sorted.new.len());
                            sorted.new.push((target, place));
                        }
                        // What one target of a pool is told, the next ones would be told.
                        Err(reason) => {
                            sorted.reason = reason;
                            waiting.insert(hash);
                            sorted.waiting.push(at);
                        }
                    }
                } else if waiting.insert(hash) {
                    sorted.waiting.push(at);
                }
            }
        }
        let gone = running.len() - sorted.known.len();
        let more = gone.saturating_sub(sorted.new.len()).min(sorted.waiting.len());
        for at in sorted.waiting.drain(..more) {
            let target = source.target(&mut builder, at);
            sorted.new.extend(target.map(|target| (target, room.place_of_another())));
        }
        sorted
    }

    fn drop_one(&mut self, source: &Source, at: At) {
        self.dropped.count += 1;
        let keep = source.config.keep_dropped_targets;
        if keep == 0 || (self.dropped.kept.len() as u64) < keep {
            self.dropped.kept.push(Arc::new(Target::new(Labels::empty(), source.origin(at))));
        }
    }
}

/// Groups and targets are counted in memory, where four billion do not fit.
fn small(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// A pool's targets that wait.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    source: Source,
    at: Vec<At>,
    reason: String,
    said: Option<Instant>,
}

impl Waiting {
    pub(crate) fn len(&self) -> usize {
        self.at.len()
    }

    pub(crate) fn config(&self) -> &Arc<ScrapeConfig> {
        &self.source.config
    }

    /// Takes those that wait now.
    pub(crate) fn set(&mut self, source: &Source, sorted: &mut Sorted) {
        self.at = std::mem::take(&mut sorted.waiting);
        self.reason = std::mem::take(&mut sorted.reason);
        self.source = source.clone();
        self.say();
        self.let_go();
    }

    /// Without any that wait, nothing of the groups is held for them.
    fn let_go(&mut self) {
        if self.at.is_empty() {
            self.source = Source::default();
        }
    }

    /// Those for which there is room now, which wait no longer. `running` has the hashes of the pool's targets.
    pub(crate) fn take(&mut self, running: &HashSet<u64>, room: &Arc<Room>) -> Vec<(Target, Place)> {
        let mut builder = LabelsBuilder::new();
        let (mut taken, mut new) = (0, Vec::new());
        for at in &self.at {
            match room.place(running.len() + new.len()) {
                Ok(place) => {
                    let target = self.source.target(&mut builder, *at);
                    new.extend(target.filter(|t| !running.contains(&t.hash())).map(|t| (t, place)));
                    taken += 1;
                }
                Err(reason) => {
                    self.reason = reason;
                    break;
                }
            }
        }
        self.at.drain(..taken);
        self.at.shrink_to(self.at.len() * 2);
        self.say();
        self.let_go();
        new
    }

    /// Those that wait, as the API shows them.
    pub(crate) fn shown(&self) -> Vec<Arc<Target>> {
        let mut builder = LabelsBuilder::new();
        let first = self.at.iter().take(SHOWN_MAX);
        let made = first.filter_map(|at| self.source.target(&mut builder, *at)).map(|target| {
            target.wait(&self.reason);
            Arc::new(target)
        });
        made.collect()
    }

    fn say(&mut self) {
        let (n, pool) = (self.at.len(), &self.source.config.job_name);
        if n == 0 {
            if self.said.take().is_some() {
                tracing::info!(scrape_pool = pool, "all targets of the job are scraped again");
            }
        } else if self.said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
            self.said = Some(Instant::now());
            tracing::warn!(
                scrape_pool = pool,
                targets = n,
                reason = self.reason,
                "targets are refused; those that run go on"
            );
        }
    }
}
