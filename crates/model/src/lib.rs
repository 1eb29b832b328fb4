//! The vocabulary that the stages exchange: pure values, no I/O, no async.
//!
//! A type belongs here only if two stages hand it to each other; behaviour belongs to its stage.
//! Times are milliseconds since the Unix epoch (`i64`) unless a name says otherwise.

pub mod alert;
pub mod clock;
pub mod duration;
pub mod exemplar;
pub mod float_text;
pub mod go_math;
pub mod gourl;
pub mod histogram;
mod key_hash;
pub mod labels;
pub mod matcher;
pub mod metadata;
pub mod name;
pub mod relabel;
pub mod sample;
pub mod secret;
pub mod target_group;

pub use alert::Alert;
pub use exemplar::Exemplar;
pub use histogram::{CounterResetHint, FloatHistogram, Histogram, HistogramValue, Span};
pub use key_hash::KeyHasher;
pub use labels::{Labels, LabelsBuilder};
pub use matcher::{MatchOp, Matcher};
pub use metadata::{MetricMetadata, MetricType};
pub use sample::{STALE_NAN_BITS, Value, is_stale_nan, stale_nan};
pub use secret::Secret;
pub use target_group::TargetGroup;
