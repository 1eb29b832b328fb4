//! A configuration read job by job, and the jobs that are still written as they were.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use model::KeyHasher;

use crate::error::Problem;
use crate::global::GlobalConfig;
use crate::load::{LoadOptions, Taken};
use crate::root::Config;
use crate::scrape::ScrapeConfig;
use crate::yaml::items::Items;
use crate::yaml::{Decode as _, Decoder, Node};

/// What the jobs of a configuration were made of.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written {
    /// Hash of each job's text, in their order; none where the document was read as a whole.
    hashes: Vec<u128>,
    /// What they inherit from.
    global: GlobalConfig,
}

/// How a configuration was written is not a part of what it says.
impl PartialEq for Written {
    fn eq(&self, _: &Written) -> bool {
        true
    }
}

/// A configuration whose paths are not joined to its folder yet.
pub(crate) struct Read {
    pub(crate) config: Config,
    /// Jobs that are those of the reading before: their paths are joined.
    kept: Vec<bool>,
}

impl Read {
    pub(crate) fn whole(config: Config) -> Read {
        Read { config, kept: Vec::new() }
    }

    pub(crate) fn in_directory(self, dir: &Path) -> Config {
        let Read { mut config, kept } = self;
        config.set_directory(dir);
        let kept = kept.into_iter().chain(std::iter::repeat(false));
        for (job, _) in config.scrape_configs.iter_mut().zip(kept).filter(|(_, kept)| !kept) {
            Arc::make_mut(job).set_directory(dir);
        }
        config
    }
}

impl Config {
    /// Reads a document whose jobs stand apart. `None` where they do not after all.
    pub(crate) fn parse_items(
        items: &Items<'_>,
        options: &LoadOptions,
        before: Option<&Config>,
    ) -> Option<Result<Read, Vec<Problem>>> {
        let head = Node::parse(&items.head).ok()??;
        if !items.fit(&head) {
            return None;
        }
        let mut cx = Decoder::new(options);
        let mut config = Config::start(options);
        cx.decode(&head, &mut config);
        let before = before.filter(|b| b.written.global == config.global);
        let known: HashMap<u128, &Arc<ScrapeConfig>> =
            before.iter().flat_map(|b| b.written.hashes.iter().copied().zip(&b.scrape_configs)).collect();
        // Findings that are told where there are no others, as of a document read as a whole.
        let mut later = Decoder::new(options);
        let hasher = KeyHasher::default();
        let (mut kept, mut hashes) = (Vec::new(), Vec::new());
        for item in &items.items {
            let hash = hasher.hash(item.text.as_bytes());
            let same = known.get(&hash);
            let job = match same {
                Some(same) => Arc::clone(same),
                None => {
                    let node = item.node().filter(|node| !cx.is_null(node))?;
                    let mut job = <Arc<ScrapeConfig>>::zero();
                    if !cx.decode(&node, &mut job) {
                        continue;
                    }
                    if cx.found() == 0 {
                        Arc::make_mut(&mut job).inherit(&config.global, &node, &mut later);
                    }
                    job
                }
            };
            config.scrape_configs.push(job);
            kept.push(same.is_some());
            hashes.push(hash);
        }
        if cx.found() > 0 {
            return Some(Err(cx.into_problems()));
        }
        config.written = Written { hashes, global: config.global.clone() };
        config.finish_at(&head, &mut later, |config, cx| config.check_names(items, cx));
        if later.found() == 0 {
            config.complete(Some(&head), options, &mut later);
        }
        Some(if later.found() > 0 { Err(later.into_problems()) } else { Ok(Read { config, kept }) })
    }

    /// Each name once.
    fn check_names(&self, items: &Items<'_>, cx: &mut Decoder) {
        let mut taken = Taken::new();
        for (job, item) in self.scrape_configs.iter().zip(&items.items) {
            if taken.insert(job.job_name.clone(), String::new()).is_some()
                && let Some(node) = item.node()
            {
                job.fail_taken(&node, cx);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, before: Option<&Config>) -> Option<Result<Read, Vec<Problem>>> {
        Config::parse_items(&Items::split(text, "scrape_configs")?, &LoadOptions::default(), before)
    }

    const GOOD: &str = "global: {scrape_interval: 30s, sample_limit: 7}\nscrape_configs:\n  - job_name: a\n    \
        relabel_configs: [{regex: '(.*)x', target_label: y}]\n  # of b\n  - job_name: 'b'\n    file_sd_configs:\n    - files:\n      \
        - x.yml\nrule_files:\n- r.yml\n";

    /// Whether read job by job or as a whole: the same configuration, or the same problems at the same places.
    #[test]
    fn it_says_the_same() {
        for (text, apart) in [
            (GOOD.to_string(), true),
            (GOOD.replace("'b'", "a"), true),
            (GOOD.replace("'b'", "b\n    scrape_timeout: 31s"), true),
            (GOOD.replace("'b'", "b\n    scrape_timeout: 31s") + "otlp: {x: 1}\n", true),
            (GOOD.replace("regex: '(.*)x'", "regex: '('"), true),
            (GOOD.replace("job_name: a", "job_nam: a").replace("file_sd", "files_sd"), true),
            (GOOD.replace("r.yml", "x/*/y.yml") + "remote_write: [{}]\n", true),
            (GOOD.replace("  # of b\n", "  -\n"), false),
            (GOOD.replace("'b'", "&b b"), false),
            (GOOD.replace("'b'", "'b"), false),
            (GOOD.replace("- job_name: a", "- job_name: 'a\n  - b'"), false),
            (GOOD.replace("scrape_configs:", "x: |\n  y\nscrape_configs: # here"), true),
        ] {
            let options = LoadOptions::default();
            let whole = Config::parse_whole(&text, &options).map(|read| read.config);
            match read(&text, None) {
                Some(read) => assert_eq!(read.map(|read| read.config), whole, "{text}"),
                None => assert!(!apart, "{text}"),
            }
        }
    }

    #[test]
    fn jobs_that_are_written_as_before_are_those_of_before() {
        let dir = Path::new("/etc/x");
        let whole = Config::parse_whole(GOOD, &LoadOptions::default()).unwrap_or_else(|e| panic!("{e:?}"));
        let first = read(GOOD, None).unwrap().map(|r| r.in_directory(dir)).unwrap();
        assert_eq!(first, whole.in_directory(dir));
        let again = |text: &str| read(text, Some(&first)).unwrap().map(|r| r.in_directory(dir)).unwrap();
        let kept = |new: &Config| -> Vec<bool> {
            new.scrape_configs
                .iter()
                .map(|n| first.scrape_configs.iter().any(|o| Arc::ptr_eq(n, o)))
                .collect()
        };
        assert_eq!((again(GOOD) == first, kept(&again(GOOD))), (true, vec![true, true]));
        let changed = again(&GOOD.replace("(.*)x", "(.*)z"));
        assert_eq!(kept(&changed), [false, true]);
        assert_eq!(changed.scrape_configs[1], first.scrape_configs[1]);
        // What they inherit is another thing now.
        let other = again(&GOOD.replace("30s", "20s"));
        assert_eq!(kept(&other), [false, false]);
        assert_eq!(other.scrape_configs[1].scrape_interval.as_secs(), 20);
        // Twice the same job is found as ever.
        let twice = GOOD.replace("'b'", "a");
        assert_eq!(
            read(&twice, Some(&first)).unwrap().err(),
            Config::parse_whole(&twice, &LoadOptions::default()).err()
        );
    }
}
