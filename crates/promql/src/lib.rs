//! PromQL: parser, printer and engine.
//!
//! [`parse`](parse()) turns text into a checked [`Expr`]; [`Engine`] evaluates text against a
//! [`storage::Queryable`] over series blocks on all cores.

mod engine;
pub mod parse;

pub use engine::{
    Engine, EngineOptions, MatrixSeries, QueryError, QueryOptions, QueryOutput, QueryStats, SampleValue,
    Value, VectorSample,
};
pub use parse::{Expr, ParseError, ParserOptions, PosRange, ValueType, parse, parse_selector};
