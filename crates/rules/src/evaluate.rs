//! What rules work with: the engine, the store, the clock, and where alerts go.

use std::any::Any;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use gotemplate::{Query, Sample};
use model::Labels;
use model::clock::Clock;
use parking_lot::RwLock;
use promql::{Engine, QueryError, QueryOptions, QueryStats, SampleValue, Value, VectorSample};
use storage::{Appendable, CancelToken, Queryable};

use crate::load::GroupSpec;
use crate::manager::Options;
use crate::metrics::Metrics;

/// Takes alerts that are to be sent. Must not wait for the network.
pub trait Notify: Send + Sync {
    /// Alerts of one rule.
    fn send(&self, alerts: Vec<model::Alert>);
}

impl<F: Fn(Vec<model::Alert>) + Send + Sync> Notify for F {
    fn send(&self, alerts: Vec<model::Alert>) {
        self(alerts);
    }
}

/// A query of a rule, or of a template of an alert, that has ended.
#[derive(Clone, Copy, Debug)]
pub struct RuleQuery<'a> {
    /// File of the rule's group.
    pub file: &'a str,
    /// Its name.
    pub group: &'a str,
    /// The expression.
    pub query: &'a str,
    /// Time of the evaluation, ms.
    pub t_ms: i64,
    /// Figures; of a query that failed only how long it took.
    pub stats: &'a QueryStats,
    /// Why it failed.
    pub error: Option<&'a QueryError>,
}

/// Is told of the queries that rules run: for the logs of queries.
pub trait QueryWatch: Send + Sync {
    /// One begins; what is returned goes when it has ended.
    fn began(&self, query: &str) -> Box<dyn Any>;
    /// One has ended.
    fn ended(&self, query: &RuleQuery<'_>);
}

/// What templates know of the outside.
#[derive(Clone, Debug, Default)]
pub struct External {
    /// `global.external_labels`.
    pub labels: Labels,
    /// The server's URL as it is shown, without a slash at its end.
    pub url: String,
    /// The path of it, "" or `/prefix`.
    pub path: String,
}

/// One sample that a rule writes.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) labels: Labels,
    pub(crate) value: SampleValue,
}

/// Why a rule's evaluation failed. Texts are upstream's: `/api/v1/rules` shows them.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EvalError {
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("rule result is not a vector or scalar")]
    NotAVector,
    #[error("vector contains metrics with the same labelset after applying rule labels")]
    DuplicateSeries,
    #[error("vector contains metrics with the same labelset after applying alert labels")]
    DuplicateAlerts,
    #[error("exceeded limit of {limit} with {count} {what}")]
    Limit { limit: i64, count: usize, what: &'static str },
}

/// Shared by all groups of a manager.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) queryable: Arc<dyn Queryable>,
    pub(crate) appendable: Arc<dyn Appendable>,
    pub(crate) notify: Arc<dyn Notify>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    pub(crate) options: Options,
    pub(crate) external: RwLock<Arc<External>>,
    /// `global.rule_query_offset`.
    pub(crate) query_offset_ns: AtomicI64,
    /// Another server evaluated these rules until now: its states of alerts are the newest in the store.
    pub(crate) handed_over: AtomicBool,
    /// Stops what runs when the server ends.
    pub(crate) cancel: CancelToken,
    /// Is told of queries, once there is someone to tell.
    pub(crate) watch: OnceLock<Arc<dyn QueryWatch>>,
    /// Rules that run beside the one of their group whose turn it is.
    beside: AtomicUsize,
}

impl Shared {
    pub(crate) fn new(parts: crate::Parts, metrics: Metrics, options: Options) -> Shared {
        Shared {
            engine: parts.engine,
            queryable: parts.queryable,
            appendable: parts.appendable,
            notify: parts.notify,
            clock: parts.clock,
            metrics,
            external: RwLock::new(Arc::new(External {
                labels: Labels::empty(),
                url: options.external_url.clone(),
                path: options.external_path.clone(),
            })),
            options,
            query_offset_ns: AtomicI64::new(0),
            handed_over: AtomicBool::new(false),
            cancel: CancelToken::default(),
            watch: OnceLock::new(),
            beside: AtomicUsize::new(0),
        }
    }

    /// Nanoseconds since 1970, up to the year 2262.
    pub(crate) fn now_ns(&self) -> i64 {
        i64::try_from(self.clock.now().as_nanos()).unwrap_or(i64::MAX)
    }

    pub(crate) fn external(&self) -> Arc<External> {
        Arc::clone(&self.external.read())
    }

    /// An expression's result at a time, for a rule of a group; a number is a sample without labels.
    pub(crate) fn query(
        &self,
        of: &GroupSpec,
        text: &str,
        t_ms: i64,
    ) -> Result<Vec<VectorSample>, EvalError> {
        let options = QueryOptions::default();
        let watch = self.watch.get();
        let begun = Instant::now();
        let entered = watch.map(|w| w.began(text));
        let output = self.engine.instant(&*self.queryable, text, t_ms, &options, self.cancel.clone());
        drop(entered);
        if let Some(watch) = watch {
            let ended = |stats: &QueryStats, error: Option<&QueryError>| {
                watch.ended(&RuleQuery { file: &of.file, group: &of.name, query: text, t_ms, stats, error });
            };
            match &output {
                Ok(output) => ended(&output.stats, None),
                // A malformed query never became one: upstream does not log it.
                Err(QueryError::Parse(_) | QueryError::BadData(_)) => {}
                Err(error) => {
                    let total_seconds = begun.elapsed().as_secs_f64();
                    ended(&QueryStats { total_seconds, ..QueryStats::default() }, Some(error));
                }
            }
        }
        match output?.value {
            Value::Vector(samples) => Ok(samples),
            Value::Scalar { t_ms, value } => {
                let value = SampleValue::Float(value);
                Ok(vec![VectorSample { labels: Labels::empty(), t_ms, value }])
            }
            _ => Err(EvalError::NotAVector),
        }
    }

    /// A place for a rule that runs at the same time as others of its group; none where all are taken.
    pub(crate) fn place_beside(&self) -> Option<Beside<'_>> {
        let most = self.options.concurrent_evals;
        let taken =
            self.beside.fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < most).then_some(n + 1));
        taken.is_ok().then_some(Beside(&self.beside))
    }
}

/// A place that is given back when dropped.
pub(crate) struct Beside<'a>(&'a AtomicUsize);

impl Drop for Beside<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Queries of templates, at the time of the evaluation.
pub(crate) struct TemplateQuery<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) of: &'a GroupSpec,
    pub(crate) t_ms: i64,
}

impl Query for TemplateQuery<'_> {
    fn query(&self, expression: &str) -> Result<Vec<Sample>, String> {
        let samples = self.shared.query(self.of, expression, self.t_ms).map_err(|e| e.to_string())?;
        Ok(samples.iter().map(|s| Sample::new(&s.labels, template_value(&s.value))).collect())
    }
}

pub(crate) fn template_value(value: &SampleValue) -> gotemplate::Value {
    match value {
        SampleValue::Float(v) => gotemplate::Value::Float(*v),
        SampleValue::Histogram(h) => gotemplate::Value::Histogram(Arc::clone(h)),
    }
}

/// Nanoseconds as the milliseconds that samples have (Go's `timestamp.FromTime`).
pub(crate) fn to_ms(ns: i64) -> i64 {
    ns.div_euclid(1_000_000)
}
