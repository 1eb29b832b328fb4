//! Between an agent beside the source and a destination somewhere else: one TCP port, TLS 1.3, both sides proven by
//! the key of the migration.
//!
//! `key` is that key and what TLS makes of it, `message` the form of requests and answers, `agent` answers them on the
//! machine of the source, `remote` asks. Blocking threads, not tasks: a handful of connections, each of which mostly
//! waits for one disk. Rejected: HTTP, whose heads and pools would be larger than all of this; a service that pushes,
//! as who was away would have to be found and told again, where one who asks just asks again.

mod agent;
mod key;
mod message;
mod remote;

use std::time::{SystemTime, UNIX_EPOCH};

pub use agent::{Agent, DEFAULT_PORT};
pub use key::Key;
pub use remote::RemoteDoor;

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
