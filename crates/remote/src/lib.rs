//! Remote protocols: remote write 1.0 and 2.0, received and sent, OpenTelemetry's metrics, received, and the
//! messages of remote read.
//!
//! [`Receiver`] is independent of any HTTP library: headers and a body in, a status, headers and a text out.

mod cache;
pub mod encode;
mod histogram;
mod metrics;
mod otlp;
pub mod read;
mod receive;
mod sender;
mod snappy;
mod v1;
mod v2;
mod validate;
mod wire;

pub use config::OtlpConfig;
pub use otlp::{OtlpForm, OtlpOptions, OtlpReceiver, otlp_json_to_protobuf};
pub use receive::{Answer, MessageType, Receiver, ReceiverOptions, WriteResponse, WriteStats};
pub use sender::{MetadataSource, Sender, SenderError, SenderOptions};
pub use snappy::{DECODED_BYTES_MAX, decoded_bytes};
pub use v1::DecodedV1;
pub use v2::DecodedV2;
pub use wire::WireError;
