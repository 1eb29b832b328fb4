//! One connection: handshake, requests, and what stands in front of the router.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, Response, StatusCode};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Sleep;
use tower::ServiceExt as _;

use super::ServeOptions;
use super::state::WebState;
use super::target::CleanTargets;

/// Time for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a request's head; queries by GET may be long.
const HEAD_BYTES_MAX: usize = 512 << 10;

/// What every connection needs.
#[derive(Clone)]
pub(super) struct Handler {
    router: Router,
    state: Arc<WebState>,
    read_timeout: Duration,
}

impl Handler {
    pub(super) fn new(router: Router, state: Arc<WebState>, options: &ServeOptions) -> Self {
        Handler { router, state, read_timeout: options.read_timeout }
    }

    pub(super) async fn serve(self, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        // Answers are written whole; waiting for acknowledgements would only delay them.
        let _ = stream.set_nodelay(true);
        let in_force = self.state.current();
        let Some(tls) = &in_force.tls else {
            return self.http(stream, peer, watcher, false).await;
        };
        let config = tls.config();
        let handshake = async {
            let mut first = [0; 1];
            // 22 is the record type of a handshake; a letter begins a request in clear text.
            if stream.peek(&mut first).await.is_ok() && first[0].is_ascii_uppercase() {
                return Err(Some(stream));
            }
            tokio_rustls::TlsAcceptor::from(config).accept(stream).await.map_err(|err| {
                tracing::debug!(%peer, %err, "TLS handshake failed");
                None
            })
        };
        match tokio::time::timeout(HANDSHAKE_TIMEOUT, handshake).await {
            Ok(Ok(stream)) => {
                let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                self.http(stream, peer, watcher, h2).await;
            }
            Ok(Err(Some(mut plain))) => {
                let answer =
                    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";
                // The client may be gone; nothing follows either way.
                let _ = plain.write_all(answer).await;
                let _ = plain.shutdown().await;
            }
            Ok(Err(None)) | Err(_) => {}
        }
    }

    async fn http<S>(self, stream: S, peer: SocketAddr, watcher: Watcher, h2: bool)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let read_timeout = self.read_timeout;
        let service = hyper::service::service_fn(move |request| {
            let handler = self.clone();
            async move { Ok::<_, Infallible>(handler.answer(request, peer).await) }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(read_timeout)
            .max_buf_size(HEAD_BYTES_MAX);
        builder.http2().timer(TokioTimer::new()).keep_alive_interval(Duration::from_secs(30));
        // In clear text only HTTP/1, as Go; over TLS what was negotiated.
        let builder = if h2 { builder.http2_only() } else { builder.http1_only() };
        let ended = if h2 {
            watcher.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned()).await
        } else {
            let stream = TokioIo::new(CleanTargets::new(stream));
            watcher.watch(builder.serve_connection(stream, service).into_owned()).await
        };
        if let Err(err) = ended {
            tracing::debug!(%peer, %err, "connection ended");
        }
    }

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let in_force = self.state.current();
        let mut response = if !self.state.admits_by_rate(&in_force) {
            plain_error(StatusCode::TOO_MANY_REQUESTS)
        } else if !self.state.users.admits(request.headers(), &in_force.config.basic_auth_users).await {
            let mut refused = plain_error(StatusCode::UNAUTHORIZED);
            refused.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
            refused
        } else {
            let mut request = request.map(|body| Body::new(TimedBody::new(body, self.read_timeout)));
            request.extensions_mut().insert(ConnectInfo(peer));
            match self.router.clone().oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            }
        };
        for (name, value) in &in_force.headers {
            response.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
        response
    }
}

/// As Go's `http.Error` with the status' own text.
fn plain_error(status: StatusCode) -> Response<Body> {
    let text = format!("{}\n", status.canonical_reason().unwrap_or_default());
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    response
}

/// A request's body that must be over within the read timeout.
struct TimedBody {
    body: Incoming,
    timeout: Duration,
    /// Made when the body is first waited for: most requests have none.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl TimedBody {
    fn new(body: Incoming, timeout: Duration) -> Self {
        TimedBody { body, timeout, deadline: None }
    }
}

/// The request's body did not come in time.
#[derive(Debug, thiserror::Error)]
enum TimedBodyError {
    #[error(transparent)]
    Hyper(#[from] hyper::Error),
    #[error("the request was not read within the read timeout")]
    Timeout,
}

impl hyper::body::Body for TimedBody {
    type Data = Bytes;
    type Error = TimedBodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, TimedBodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|f| f.map_err(TimedBodyError::from)));
        }
        let timeout = self.timeout;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        match deadline.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(TimedBodyError::Timeout))),
            Poll::Pending => Poll::Pending,
        }
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
