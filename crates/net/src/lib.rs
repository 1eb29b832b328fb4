//! Everything that touches HTTP on either side: the client made from an `http_config`, response bodies
//! read under limits, and the listener made from a web config.

mod body;
mod client;
mod error;

pub use body::{BodyLimits, BodyPool, PooledBody};
pub use client::{ClientOptions, HttpClient, Response};
pub use error::{BodyError, ClientError};
