//! Client and listener over real sockets.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bodies;
mod client;
mod line;
mod listener;
mod tls;

use bytes::Bytes;
use http::Request;
use net::{BodyLimits, BodyPool, ClientOptions, HttpClient, ReadOptions, Response};

pub(crate) fn client(config: &config::HttpClientConfig) -> HttpClient {
    let options = ClientOptions { user_agent: "Prometheus/3.15.0".to_string(), ..ClientOptions::default() };
    HttpClient::new(config, options).unwrap()
}

pub(crate) fn get(url: &str) -> Request<Bytes> {
    Request::get(url).body(Bytes::new()).unwrap()
}

pub(crate) async fn text(response: Response) -> String {
    let pool = BodyPool::new(BodyLimits::default());
    let body = pool.read(response, ReadOptions::default()).await.unwrap();
    String::from_utf8(body.to_vec()).unwrap()
}
