//! Go's `text/template` language: labels and annotations of alerts, and consoles, are written in it.
//!
//! [`parse`] turns a text into a tree, with the checks that Go makes before a template runs; [`execute`] runs
//! it, with the functions that [`Functions`] names; [`Prometheus`] has those of Prometheus, and asks for
//! PromQL through [`Query`].

mod ast;
mod builtins;
mod exec;
mod format;
mod functions;
mod gotime;
mod humanize;
mod lexer;
mod literal;
mod names;
mod parser;
mod prometheus;
mod source;
mod value;

pub use ast::{Arg, Branch, Command, Node, Number, Pipe, Template, Term};
pub use exec::{DEPTH_MAX, ExecError, Functions, OUTPUT_BYTES_MAX, STEPS_MAX, Signature, Type, execute};
pub use functions::{BUILTINS, PROMETHEUS, is_known};
pub use parser::{NESTING_MAX, TemplateError, parse};
pub use prometheus::{AlertTemplate, Prometheus, Query, alert_data, expand, expand_alert, table_link};
pub use value::{List, Map, Record, Sample, VALUE_DEPTH_MAX, Value};
