//! Requests to a running server.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::Request;
use serde_json::Value;

use super::Failed;

/// Sends a POST without a body; gives the status and what came back.
///
/// # Errors
/// No server there, no answer in time, an answer that is too long.
fn post(url: &str, timeout: Duration, answer_bytes_max: u64) -> Result<(u16, Vec<u8>), Failed> {
    let failed = |e: &dyn std::fmt::Display| Failed::Work(format!("{url}: {e}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let client =
            net::HttpClient::new(&config::HttpClientConfig::default(), net::ClientOptions::default())
                .map_err(|e| failed(&e))?;
        let request = Request::post(url).body(Bytes::new()).map_err(|e| failed(&e))?;
        let exchange = async {
            let response = client.send(request).await.map_err(|e| Failed::Work(e.to_string()))?;
            let status = response.status().as_u16();
            let pool = net::BodyPool::new(net::BodyLimits::default());
            let options = net::ReadOptions { limit_bytes: answer_bytes_max, ..net::ReadOptions::default() };
            let body = pool.read(response, options).await.map_err(|e| failed(&e))?;
            Ok((status, body.to_vec()))
        };
        tokio::time::timeout(timeout, exchange).await.map_err(|_| failed(&"no answer in time"))?
    })
}

/// Sends a POST to an endpoint of the API; gives the `data` of its answer.
///
/// # Errors
/// As above; what the server says.
pub(super) fn ask(url: &str, timeout: Duration, answer_bytes_max: u64) -> Result<Value, Failed> {
    let (status, body) = post(url, timeout, answer_bytes_max)?;
    let mut answer: Value = serde_json::from_slice(&body).unwrap_or_default();
    match answer.get_mut("data") {
        Some(data) if status == 200 => Ok(data.take()),
        _ => {
            let why = answer["error"].as_str().unwrap_or("the answer is not that of a Prometheus API");
            Err(Failed::Work(format!("{url}: {status}: {why}")))
        }
    }
}
