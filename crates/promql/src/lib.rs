//! PromQL: parser, printer and engine.
//!
//! [`parse`](parse()) turns text into a checked [`Expr`]; [`Engine`] evaluates text against a
//! [`storage::Queryable`] over series blocks on all cores.

mod engine;
pub mod parse;

pub use engine::{
    CONCURRENCY, Engine, EngineOptions, Explain, LOOKBACK_DELTA_MS, MAX_SAMPLES, MatrixSeries, QueryError,
    QueryOptions, QueryOutput, QueryStats, SampleValue, TIMEOUT, Value, VectorSample,
};
pub use parse::{Expr, ParseError, ParseFault, ParserOptions, PosRange, ValueType, parse, parse_selector};
