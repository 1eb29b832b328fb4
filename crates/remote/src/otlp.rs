//! OpenTelemetry's metrics, received: one file a subject.
//!
//! `receive` takes a request, `json` turns JSON into protobuf, `schema` is the table of messages, `translate` and
//! `points` make samples, `buckets` native histograms, `names` and `value` names and labels.
//!
//! Rejected: generated code for the messages. It would build a request's whole tree before the first sample is
//! stored, of which a sender can make a hundred times what it sends; here each point is read where it lies.

mod buckets;
mod json;
mod names;
mod points;
mod receive;
mod schema;
mod translate;
mod value;

pub use json::to_protobuf as otlp_json_to_protobuf;
pub use receive::{OtlpForm, OtlpOptions, OtlpReceiver};
