//! Everything that touches HTTP on either side: the client made from an `http_config`, response bodies
//! read under limits, and the listener made from a web config.

mod auth;
mod body;
mod client;
mod connect;
mod der;
mod error;
mod gunzip;
mod line;
mod names;
mod oauth2;
mod proxy;
mod secret;
mod serve;
mod tls;
mod whole;

pub use body::{BodyLimits, BodyPool, PooledBody, ReadOptions};
pub use client::{ClientOptions, HttpClient, Response, status_text};
pub use error::{BodyError, ClientError};
pub use line::{Line, Reply};
pub use serve::{ServeError, ServeOptions, Server, WebConfigSource, bind};
