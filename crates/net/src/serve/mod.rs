//! The listener side: addresses, the web config (TLS, client certificates, users, headers, rate limit,
//! all re-read when files change), connection limit, timeouts and graceful shutdown. Follows upstream's
//! `web/web.go` and `exporter-toolkit/web`.

mod bind;
mod connection;
mod limiter;
mod server_tls;
mod state;
mod target;
mod users;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use bind::bind;
pub use state::WebConfigSource;

use connection::Handler;
use state::WebState;

/// Pause after an `accept` that failed for want of file descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why a listener could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address cannot be bound.
    #[error("listen tcp {address}: {reason}")]
    Listen {
        /// As given.
        address: String,
        /// The system's words.
        reason: String,
    },
    /// The web config file or what it names.
    #[error("{0}")]
    WebConfig(String),
}

/// Settings of the listener, from flags.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Connections at once over all addresses (`--web.max-connections`); more wait in the system's queue.
    pub max_connections: usize,
    /// Most time to read a request, and to wait for the next on a connection (`--web.read-timeout`).
    pub read_timeout: Duration,
    /// How long a shutdown waits for requests in flight.
    pub shutdown_grace: Duration,
    /// `--web.config.file`.
    pub web_config: Option<WebConfigSource>,
}

impl Default for ServeOptions {
    fn default() -> Self {
        ServeOptions {
            max_connections: 512,
            read_timeout: Duration::from_secs(300),
            shutdown_grace: Duration::from_secs(5),
            web_config: None,
        }
    }
}

/// Bound listeners with everything that could fail already done.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<TcpListener>,
    options: ServeOptions,
    state: Arc<WebState>,
}

impl Server {
    /// Reads the web config.
    ///
    /// # Errors
    /// A web config that cannot be used: the server must not start without the protection it asks for.
    pub fn new(listeners: Vec<TcpListener>, options: ServeOptions) -> Result<Self, ServeError> {
        let state = WebState::new(options.web_config.clone()).map_err(ServeError::WebConfig)?;
        let state = Arc::new(state);
        for listener in &listeners {
            if let Ok(address) = listener.local_addr() {
                tracing::info!(%address, "Listening on");
                let (tls, http2) = state.tls_and_http2();
                let what = if tls { "TLS is enabled." } else { "TLS is disabled." };
                tracing::info!(http2, %address, "{what}");
            }
        }
        Ok(Server { listeners, options, state })
    }

    /// Whether TLS is on, for an external URL that is not given.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.state.tls_and_http2().0
    }

    /// Serves until `shutdown` is cancelled, then waits for requests in flight.
    pub async fn run(self, router: Router, shutdown: CancellationToken) {
        let slots = Arc::new(Semaphore::new(self.options.max_connections.max(1)));
        let graceful = GracefulShutdown::new();
        let handler = Handler::new(router, self.state, &self.options);
        let accepting = self.listeners.into_iter().map(|listener| {
            let (slots, handler, shutdown) = (Arc::clone(&slots), handler.clone(), shutdown.clone());
            let graceful = &graceful;
            async move {
                loop {
                    // A slot first: a connection that cannot be served yet stays in the system's queue.
                    let accepted = async {
                        let slot = Arc::clone(&slots).acquire_owned().await;
                        (slot, listener.accept().await)
                    };
                    let (slot, accepted) = tokio::select! {
                        accepted = accepted => accepted,
                        () = shutdown.cancelled() => break,
                    };
                    match accepted {
                        Ok((stream, peer)) => {
                            let (handler, watcher) = (handler.clone(), graceful.watcher());
                            tokio::spawn(async move {
                                handler.serve(stream, peer, watcher).await;
                                drop(slot);
                            });
                        }
                        Err(err) => {
                            tracing::warn!(%err, "cannot accept a connection");
                            tokio::time::sleep(ACCEPT_PAUSE).await;
                        }
                    }
                }
            }
        });
        let mut accepting: Vec<_> = accepting.map(Box::pin).collect();
        std::future::poll_fn(|cx| {
            accepting.retain_mut(|f| f.as_mut().poll(cx).is_pending());
            if accepting.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        drop(accepting);
        if tokio::time::timeout(self.options.shutdown_grace, graceful.shutdown()).await.is_err() {
            tracing::warn!("requests in flight were cut off at shutdown");
        }
    }
}
