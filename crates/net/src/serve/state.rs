//! The web config in force. The file, and the certificates it names, are looked at again on use; what
//! changed is taken, what is broken leaves the old in force, as a server must not lose its protection, or
//! its voice, by a typing error.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use config::WebConfig;
use http::{HeaderMap, HeaderName, HeaderValue};
use parking_lot::Mutex;

use super::limiter::Limiter;
use super::server_tls::ServerTls;
use super::users::{self, Users};
use crate::secret::WatchedFile;

/// Reads a web config file: the crate `config` has the parser, this crate only calls it.
#[derive(Clone)]
pub struct WebConfigSource {
    /// `--web.config.file`.
    pub path: PathBuf,
    /// Parses and checks the file.
    pub load: Arc<dyn Fn(&Path) -> Result<WebConfig, String> + Send + Sync>,
}

impl std::fmt::Debug for WebConfigSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WebConfigSource({})", self.path.display())
    }
}

/// One reading of the web config.
#[derive(Debug)]
pub(super) struct InForce {
    pub(super) config: WebConfig,
    pub(super) headers: HeaderMap,
    pub(super) tls: Option<ServerTls>,
}

impl InForce {
    fn new(config: WebConfig) -> Result<Self, String> {
        users::check(&config.basic_auth_users)?;
        let mut headers = HeaderMap::new();
        for (name, value) in &config.http_server_config.headers {
            let bad = |what: &str| format!("http_server_config: invalid {what} of header {name:?}");
            let parsed = HeaderName::try_from(name.as_str()).map_err(|_| bad("name"))?;
            headers.insert(parsed, HeaderValue::from_str(value).map_err(|_| bad("value"))?);
        }
        let tls = ServerTls::new(&config.tls_server_config, config.http_server_config.http2)?;
        Ok(InForce { config, headers, tls })
    }
}

#[derive(Debug)]
pub(super) struct WebState {
    source: Option<(WebConfigSource, WatchedFile)>,
    in_force: ArcSwap<InForce>,
    /// The text that was looked at last, good or bad.
    seen: Mutex<Option<Arc<str>>>,
    pub(super) users: Users,
    limiter: Limiter,
}

impl WebState {
    pub(super) fn new(source: Option<WebConfigSource>) -> Result<Self, String> {
        let config = match &source {
            Some(source) => (source.load)(&source.path)?,
            None => WebConfig::default(),
        };
        let in_force = InForce::new(config)?;
        let watched = source.map(|source| {
            let file = WatchedFile::new(&source.path);
            (source, file)
        });
        let seen = watched.as_ref().and_then(|(_, file)| file.read().ok());
        Ok(WebState {
            source: watched,
            in_force: ArcSwap::from_pointee(in_force),
            seen: Mutex::new(seen),
            users: Users::default(),
            limiter: Limiter::default(),
        })
    }

    /// What is in force, after a look at the file: one `stat` where it did not change.
    pub(super) fn current(&self) -> Arc<InForce> {
        if let Some((source, file)) = &self.source {
            self.refresh(source, file);
        }
        self.in_force.load_full()
    }

    fn refresh(&self, source: &WebConfigSource, file: &WatchedFile) {
        let text = match file.read() {
            Ok(text) => text,
            Err(err) => {
                if self.seen.lock().take().is_some() {
                    tracing::error!(err, "cannot read the web config; the one before stays in force");
                }
                return;
            }
        };
        let mut seen = self.seen.lock();
        if seen.as_ref().is_some_and(|old| Arc::ptr_eq(old, &text) || **old == *text) {
            return;
        }
        *seen = Some(text);
        drop(seen);
        match (source.load)(&source.path).and_then(InForce::new) {
            // TLS is decided when the listener is made: a listener that turned from plain to TLS under its
            // clients, or back, would be neither.
            Ok(new) if new.tls.is_some() != self.in_force.load().tls.is_some() => {
                tracing::error!(
                    "the web config switches TLS on or off, which needs a restart; the one before stays in force"
                );
            }
            Ok(new) => {
                self.in_force.store(Arc::new(new));
                tracing::info!("web config reloaded");
            }
            Err(err) => {
                tracing::error!(err, "the web config cannot be used; the one before stays in force");
            }
        }
    }

    pub(super) fn tls_and_http2(&self) -> (bool, bool) {
        let state = self.in_force.load();
        let tls = state.tls.is_some();
        (tls, tls && state.config.http_server_config.http2)
    }

    pub(super) fn admits_by_rate(&self, state: &InForce) -> bool {
        self.limiter.allows(state.config.rate_limit, Instant::now())
    }
}
