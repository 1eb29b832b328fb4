//! Runs a query from its text to its result, within its limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use storage::{Budget, CancelToken, QueryContext, Queryable, Series};

use super::annotations::Annotations;
use super::error::QueryError;
use super::eval::{Eval, Out, Settings, to_series};
use super::explain::{Explain, Recorder};
use super::gate::Gate;
use super::metrics::Metrics;
use super::options::{EngineOptions, QueryOptions};
use super::parallel::{Helpers, Workers};
use super::plan::{Plan, Times, plan};
use super::row::{Cell, Grid, Meter, Row, StepCounts};
use super::value::{QueryOutput, QueryStats, SampleValue, Value, VectorSample};
use crate::parse::{self, Expr, ValueType};

/// Trees up to this height are evaluated on the caller's stack; a level takes up to about 4 KiB in debug
/// builds, so this is a quarter of a thread's usual 2 MiB.
const HEIGHT_ON_CALLERS_STACK: usize = 100;
/// Stack of the thread that evaluates higher trees: the parser's limit of 3,000 levels, at 16 KiB each.
const LARGE_STACK_BYTES: usize = 64 << 20;

struct Inner {
    options: EngineOptions,
    gate: Gate,
    pool: Arc<Budget>,
    metrics: Metrics,
    threads: usize,
    /// Threads that help those that queries came on.
    helpers: Arc<Helpers>,
    /// Step of subqueries that name none; shared by engines of one kind.
    default_step_ms: Arc<AtomicI64>,
}

/// Runs queries. Cheap to clone; clones share limits and metrics. All calls block: give them a thread.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Engine").field(&self.0.options).finish()
    }
}

impl Engine {
    /// An engine that reports to `registry`.
    #[must_use]
    pub fn new(options: EngineOptions, registry: &telemetry::Registry) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if options.threads == 0 { cores } else { options.threads };
        let pool = match &options.guard {
            Some(guard) => Budget::guarded(options.total_memory_bytes, Arc::clone(guard)),
            None => Budget::new(options.total_memory_bytes, None),
        };
        let helpers = Arc::new(Helpers::new(threads));
        let metrics = Metrics::new(registry, options.concurrency);
        let default_step_ms = Arc::new(AtomicI64::new(options.default_step_ms));
        let gate = Gate::new(options.concurrency);
        Engine(Arc::new(Inner { gate, pool, metrics, threads, helpers, options, default_step_ms }))
    }

    /// An engine like this one that reports to the same metrics, with slots and memory of its own: what runs here
    /// never waits for what runs there.
    #[must_use]
    pub fn with_own_share(&self, concurrency: usize, total_memory_bytes: u64) -> Self {
        let options = EngineOptions { concurrency, total_memory_bytes, ..self.0.options.clone() };
        let (metrics, threads) = (self.0.metrics.clone(), self.0.threads);
        let pool = Budget::new(total_memory_bytes, None);
        let default_step_ms = Arc::clone(&self.0.default_step_ms);
        Engine(Arc::new(Inner {
            gate: Gate::new(concurrency),
            pool,
            metrics,
            threads,
            helpers: Arc::new(Helpers::new(threads)),
            options,
            default_step_ms,
        }))
    }

    /// Sets the step of subqueries that name none, here and for engines that share with this one: the global
    /// evaluation interval, which a reload may change.
    pub fn set_default_step_ms(&self, step_ms: i64) {
        self.0.default_step_ms.store(step_ms, Ordering::Relaxed);
    }

    /// Bytes that all queries of this engine together may hold: for reads outside it that are to share them.
    #[must_use]
    pub fn memory(&self) -> Arc<Budget> {
        Arc::clone(&self.0.pool)
    }

    /// The settings in force.
    #[must_use]
    pub fn options(&self) -> &EngineOptions {
        &self.0.options
    }

    /// Evaluates an expression at one time.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn instant(
        &self,
        store: &dyn Queryable,
        query: &str,
        t_ms: i64,
        options: &QueryOptions,
        cancel: CancelToken,
    ) -> Result<QueryOutput, QueryError> {
        self.run(store, query, (t_ms, t_ms, 0), options, cancel)
    }

    /// Evaluates an expression at start, start + step, … up to end (inclusive). Times in ms, `step_ms` > 0.
    ///
    /// # Errors
    /// See [`QueryError`].
    pub fn range(
        &self,
        store: &dyn Queryable,
        query: &str,
        start_ms: i64,
        end_ms: i64,
        step_ms: i64,
        options: &QueryOptions,
        cancel: CancelToken,
    ) -> Result<QueryOutput, QueryError> {
        if step_ms <= 0 {
            return Err(QueryError::BadData(
                "zero or negative query resolution step widths are not accepted".into(),
            ));
        }
        self.run(store, query, (start_ms, end_ms, step_ms), options, cancel)
    }

    fn run(
        &self,
        store: &dyn Queryable,
        query: &str,
        (start_ms, end_ms, step_ms): (i64, i64, i64),
        options: &QueryOptions,
        cancel: CancelToken,
    ) -> Result<QueryOutput, QueryError> {
        let engine = &*self.0;
        let begun = Instant::now();
        let timeout = options.timeout.map_or(engine.options.timeout, |t| t.min(engine.options.timeout));
        let deadline = begun.checked_add(timeout);
        let budget = Budget::new(engine.options.query_memory_bytes, Some(Arc::clone(&engine.pool)));
        let expr = parse::parse_within(query, engine.options.parser, &budget)?;
        let value_type = expr.value_type();
        if step_ms > 0 && !matches!(value_type, ValueType::Vector | ValueType::Scalar) {
            return Err(QueryError::BadData(format!(
                "invalid expression type {} for range query, must be Scalar or instant Vector",
                parse::text::go_quote(value_type.documented())
            )));
        }
        let lookback_ms = if options.lookback_delta_ms > 0 {
            options.lookback_delta_ms
        } else {
            engine.options.lookback_delta_ms
        };
        let default_step_ms = engine.default_step_ms.load(Ordering::Relaxed).max(1);
        let times = Times { start_ms, end_ms, step_ms, lookback_ms, default_step_ms };
        let plan = plan(&expr, times)?;
        let grid = Grid::new(start_ms, end_ms, step_ms.max(1));
        if grid.count as u64 > super::STEPS_MAX {
            return Err(QueryError::BadData(format!("{} steps are too many; use a larger step", grid.count)));
        }
        engine.metrics.current.add(1.0);
        let _leave = Leave(&engine.metrics);
        let pass = engine.gate.enter(&cancel, deadline)?;
        let mut stats = QueryStats { queue_seconds: begun.elapsed().as_secs_f64(), ..QueryStats::default() };
        let meter =
            Arc::new(Meter::new(QueryContext { budget, cancel, deadline }, engine.options.max_samples));
        let settings = Settings {
            lookback_ms,
            delayed_names: engine.options.delayed_name_removal,
            type_and_unit: engine.options.type_and_unit_labels,
            use_starts: engine.options.use_start_timestamps,
        };
        let steps = if options.per_step_stats && engine.options.per_step_stats {
            Some(StepCounts::new(&meter, grid.count)?)
        } else {
            None
        };
        let workers = Workers { most: engine.threads, helpers: Arc::clone(&engine.helpers) };
        let job = Job {
            store,
            workers: &workers,
            plan: &plan,
            settings,
            meter: &meter,
            grid,
            value_type,
            range: step_ms > 0,
            explain: options.explain.then_some(query),
            steps: steps.clone(),
        };
        let result = on_enough_stack(&expr, || job.execute(&mut stats));
        drop(pass);
        stats.samples_total = meter.total.load(Ordering::Relaxed);
        stats.samples_read = meter.read.load(Ordering::Relaxed);
        stats.samples_peak = meter.peak();
        stats.samples_per_step = steps.map(|s| s.by_time(grid));
        stats.bytes_peak = meter.ctx.budget.peak();
        stats.total_seconds = begun.elapsed().as_secs_f64();
        if let Some(root) = &mut stats.explain {
            root.seconds = stats.total_seconds;
            (root.samples, root.bytes) = (stats.samples_read, stats.bytes_peak);
        }
        engine.metrics.observe(&stats);
        let (value, notes) = result?;
        let (warnings, infos) = notes.texts(query);
        Ok(QueryOutput { value, warnings, infos, stats, memory: Arc::clone(&meter.ctx.budget) })
    }
}

/// Bytes of a row in a result: a time beside each value.
fn result_bytes(row: &Row, range: bool) -> u64 {
    let cells = if range { 8 * row.floats.len() as u64 } else { 0 };
    super::row::row_bytes(row) + cells
}

fn result_series(value: &Value) -> u64 {
    match value {
        Value::Vector(v) => v.len() as u64,
        Value::Matrix(m) => m.len() as u64,
        Value::Scalar { .. } | Value::String { .. } => 1,
    }
}

fn matchers_text(matchers: &[model::Matcher]) -> String {
    let all: Vec<String> = matchers.iter().map(ToString::to_string).collect();
    format!("{{{}}}", all.join(","))
}

struct Leave<'a>(&'a Metrics);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.current.add(-1.0);
    }
}

fn height(expr: &Expr) -> usize {
    1 + match expr {
        Expr::Aggregate(a) => height(&a.expr).max(a.param.as_ref().map_or(0, |p| height(p))),
        Expr::Binary(b) => height(&b.lhs).max(height(&b.rhs)),
        Expr::Call(c) => c.args.iter().map(height).max().unwrap_or(0),
        Expr::Paren(p) => height(&p.expr),
        Expr::Subquery(s) => height(&s.expr),
        Expr::Unary(u) => height(&u.expr),
        Expr::Matrix(_) | Expr::Number(_) | Expr::String(_) | Expr::Vector(_) => 0,
    }
}

fn on_enough_stack<T: Send>(
    expr: &Expr,
    work: impl FnOnce() -> Result<T, QueryError> + Send,
) -> Result<T, QueryError> {
    if height(expr) <= HEIGHT_ON_CALLERS_STACK {
        return work();
    }
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(LARGE_STACK_BYTES).spawn_scoped(scope, work);
        match thread.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => super::error::execution("query evaluation failed unexpectedly"),
            Err(e) => super::error::execution(format!("no thread for a deep expression: {e}")),
        }
    })
}

struct Job<'a> {
    store: &'a dyn Queryable,
    plan: &'a Plan,
    settings: Settings,
    workers: &'a Workers,
    meter: &'a Arc<Meter>,
    grid: Grid,
    value_type: ValueType,
    range: bool,
    /// The query's text, where it is asked where the time goes.
    explain: Option<&'a str>,
    steps: Option<StepCounts>,
}

impl Job<'_> {
    fn execute(&self, stats: &mut QueryStats) -> Result<(Value, Annotations), QueryError> {
        let begun = Instant::now();
        let mut notes = Annotations::default();
        self.meter.ctx.check()?;
        let (mint, maxt) = (self.plan.mint_ms, self.plan.maxt_ms);
        let querier = self.store.querier(mint, maxt)?;
        let mut sets: Vec<Vec<Arc<dyn Series>>> = Vec::with_capacity(self.plan.selections.len());
        let mut selected = Vec::new();
        for s in &self.plan.selections {
            let begun = Instant::now();
            let set = querier.select(&self.meter.ctx, true, &s.hints, &s.matchers)?;
            if self.explain.is_some() {
                let text = matchers_text(&s.matchers);
                let (seconds, series) = (begun.elapsed().as_secs_f64(), set.series.len() as u64);
                selected.push(Explain::leaf("find series", &text, seconds, series));
            }
            set.warnings.into_iter().for_each(|w| notes.storage(w));
            sets.push(set.series);
        }
        stats.prepare_seconds = begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        let mut eval = Eval {
            settings: self.settings,
            workers: self.workers,
            meter: Arc::clone(self.meter),
            sets: &sets,
            querier: querier.as_ref(),
            notes,
            explain: self.explain.map(|query| Recorder { query, parts: selected }),
            steps: self.steps.clone(),
        };
        let value = self.value(&mut eval)?;
        stats.eval_seconds = begun.elapsed().as_secs_f64();
        let begun = Instant::now();
        let value = match value {
            Value::Matrix(mut series) => {
                series.sort_by(|a, b| a.labels.cmp(&b.labels));
                Value::Matrix(series)
            }
            other => other,
        };
        stats.sort_seconds = begun.elapsed().as_secs_f64();
        stats.explain = eval.explain.map(|e| {
            let mut parts = e.parts;
            parts.push(Explain::leaf("sort", "", stats.sort_seconds, result_series(&value)));
            let root = Explain::leaf("query", e.query, 0.0, result_series(&value));
            Box::new(Explain { parts, ..root })
        });
        Ok((value, eval.notes))
    }

    /// Takes memory for the result.
    fn keep(&self, bytes: u64) -> Result<(), QueryError> {
        Ok(self.meter.ctx.budget.charge(bytes)?)
    }

    fn value(&self, eval: &mut Eval<'_>) -> Result<Value, QueryError> {
        let (root, grid) = (&self.plan.root, self.grid);
        if self.value_type == ValueType::Matrix {
            return Ok(Value::Matrix(eval.matrix(root, grid)?));
        }
        let out = eval.eval(root, grid)?;
        let t_ms = grid.start;
        let mut frame = match out {
            Out::Text(value) => return Ok(Value::String { t_ms, value }),
            Out::Scalar(values) if self.range => {
                self.keep(24 * values.len() as u64)?;
                let row = Row { floats: values.into_vec(), ..Row::empty(model::Labels::empty(), 0) };
                return Ok(Value::Matrix(vec![to_series(row, grid)]));
            }
            Out::Scalar(values) => {
                return Ok(Value::Scalar { t_ms, value: values.first().copied().unwrap_or(f64::NAN) });
            }
            Out::Rows(frame) => frame,
        };
        let mut rows = frame.take_rows();
        if self.settings.delayed_names {
            rows = eval.finish_names(rows)?;
        }
        // Charged until the answer is sent, as a client may be slow to take it.
        self.keep(rows.iter().map(|row| result_bytes(row, self.range)).sum())?;
        if self.range {
            return Ok(Value::Matrix(rows.into_iter().map(|row| to_series(row, grid)).collect()));
        }
        let sample = |row: Row| {
            // Where there are both, upstream shows the histogram.
            let hist = row.hists.as_ref().and_then(|h| h.first()).and_then(Option::as_ref);
            let value = match hist.map_or_else(|| row.cell(0), Cell::Hist) {
                Cell::None => return None,
                Cell::Float(v) => SampleValue::Float(v),
                Cell::Hist(h) => SampleValue::Histogram(Arc::clone(h)),
            };
            Some(VectorSample { labels: row.labels, t_ms, value })
        };
        Ok(Value::Vector(rows.into_iter().filter_map(sample).collect()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use model::Labels;
    use parking_lot::Mutex;
    use storage::memory::MemoryStore;
    use storage::{Querier, StorageError};

    use super::*;

    /// Queries begin, and wait in here until they are let go.
    struct Stuck {
        store: MemoryStore,
        arrived: mpsc::SyncSender<()>,
        go: Mutex<mpsc::Receiver<()>>,
    }

    impl Queryable for Stuck {
        fn querier(&self, mint_ms: i64, maxt_ms: i64) -> Result<Box<dyn Querier>, StorageError> {
            let _ = self.arrived.send(());
            let _ = self.go.lock().recv();
            self.store.querier(mint_ms, maxt_ms)
        }
    }

    /// Slots and memory of an engine are taken up; one with its own share goes on.
    #[test]
    fn an_own_share_waits_for_no_one() {
        let store = MemoryStore::new();
        for i in 0..200 {
            let labels = Labels::from_pairs([("__name__", "m"), ("i", &i.to_string())]);
            store.load(&labels, &[(1, 1.0)]).unwrap();
        }
        // Enough to read the query, not for what it selects.
        let total_memory_bytes = parse::memory_bytes("sum(m)") + 64;
        let options = EngineOptions { concurrency: 1, total_memory_bytes, ..EngineOptions::default() };
        let engine = Engine::new(options, &telemetry::Registry::new());
        let own = engine.with_own_share(1, 1 << 20);
        let (arrived, arrivals) = mpsc::sync_channel(1);
        let (go, held) = mpsc::channel();
        let stuck = Stuck { store: store.clone(), arrived, go: Mutex::new(held) };
        let ask = |engine: &Engine, store: &dyn Queryable| {
            engine.instant(store, "sum(m)", 1, &QueryOptions::default(), CancelToken::default())
        };
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| ask(&engine, &stuck));
            arrivals.recv_timeout(Duration::from_secs(60)).unwrap();
            // The only slot of the other one is taken.
            let output = ask(&own, &store).unwrap();
            assert!(matches!(&output.value, crate::Value::Vector(v) if v.len() == 1));
            drop(go);
            // And its memory is too little for this query, which the share has.
            let error = waiting.join().unwrap().unwrap_err();
            assert!(matches!(error, QueryError::MemoryLimit(_)), "{error}");
        });
    }
}
