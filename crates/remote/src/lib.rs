//! Remote protocols: the receiver of remote write 1.0 and 2.0, the writers of both messages, and the
//! messages of remote read.
//!
//! [`Receiver`] is independent of any HTTP library: headers and a body in, a status, headers and a text out.

mod cache;
pub mod encode;
mod histogram;
mod metrics;
pub mod read;
mod receive;
mod snappy;
mod v1;
mod v2;
mod validate;
mod wire;

pub use receive::{Answer, MessageType, Receiver, ReceiverOptions, WriteResponse, WriteStats};
pub use snappy::DECODED_BYTES_MAX;
pub use v1::DecodedV1;
pub use v2::DecodedV2;
pub use wire::WireError;
