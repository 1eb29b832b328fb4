//! `check healthy` and `check ready`: one request to a running server.

use std::time::Duration;

use axum::http::Method;

use crate::cmd::api::Api;
use crate::cmd::flags::Found;
use crate::cmd::group::Failed;

/// promtool's patience.
const TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn run(found: &Found, path: &str) -> Result<u8, Failed> {
    let url = found.text("url");
    let reply = Api::new(found, url)?.send(Method::GET, path, &[], Vec::new(), TIMEOUT)?;
    if reply.status != 200 {
        return Err(Failed::Work(format!("check failed: URL={url}, status={}", reply.status)));
    }
    eprintln!("  SUCCESS:  {}", String::from_utf8_lossy(&reply.body));
    Ok(0)
}
