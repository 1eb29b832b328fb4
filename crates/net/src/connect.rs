//! From a URI to a connection: TCP or a Unix socket, through a proxy where the rules say so, with TLS
//! where the scheme says so. Error texts are Go's where they reach a target's `lastError`.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, Uri};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};

use crate::proxy::{Proxy, ProxyKind, ProxyRules};
use crate::secret::os_text;

/// Head of a proxy's answer to CONNECT: status line and a few headers.
const CONNECT_HEAD_BYTES_MAX: usize = 16 << 10;
/// Before the other address family is tried beside the first (RFC 8305 says 250 ms, Go 300 ms).
const FALLBACK_DELAY: Duration = Duration::from_millis(300);

/// Anything bytes flow through.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ConnectError(pub(crate) String);

/// An open connection and what hyper has to know about it.
pub(crate) struct Conn {
    io: TokioIo<Box<dyn Stream>>,
    h2: bool,
    forward_proxy: bool,
}

impl Connection for Conn {
    fn connected(&self) -> Connected {
        let connected = Connected::new().proxy(self.forward_proxy);
        if self.h2 { connected.negotiated_h2() } else { connected }
    }
}

impl hyper::rt::Read for Conn {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl hyper::rt::Write for Conn {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}

/// Settings of a connector.
pub(crate) struct Dial {
    pub(crate) tls: Arc<ClientConfig>,
    pub(crate) server_name: Option<ServerName<'static>>,
    pub(crate) proxy: Arc<ProxyRules>,
    pub(crate) connect_headers: HeaderMap,
    pub(crate) unix_socket: Option<PathBuf>,
    pub(crate) timeout: Duration,
}

/// Makes connections for hyper's pool.
#[derive(Clone)]
pub(crate) struct Connector(pub(crate) Arc<Dial>);

impl tower::Service<Uri> for Connector {
    type Response = Conn;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Conn, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dial = Arc::clone(&self.0);
        Box::pin(async move {
            match tokio::time::timeout(dial.timeout, dial.connect(&uri)).await {
                Ok(result) => result,
                Err(_) => Err(timed_out(&uri)),
            }
        })
    }
}

impl Dial {
    /// A plain connection, without TLS or proxy.
    pub(crate) async fn plain(&self, uri: &Uri) -> Result<TcpStream, ConnectError> {
        let (host, port) = (host_of(uri)?, uri.port_u16().unwrap_or(80));
        match tokio::time::timeout(self.timeout, tcp(host, port)).await {
            Ok(result) => result,
            Err(_) => Err(timed_out(uri)),
        }
    }

    async fn connect(&self, uri: &Uri) -> Result<Conn, ConnectError> {
        let tls = uri.scheme_str() == Some("https");
        let host = host_of(uri)?;
        let port = uri.port_u16().unwrap_or(if tls { 443 } else { 80 });
        if let Some(path) = &self.unix_socket {
            let fail = |e: std::io::Error| {
                ConnectError(format!("dial unix {}: connect: {}", path.display(), os_text(&e)))
            };
            let stream = UnixStream::connect(path).await.map_err(fail)?;
            return self.finish(Box::new(stream), host, tls, false).await;
        }
        let Some(proxy) = self.proxy.find(uri) else {
            return self.finish(Box::new(tcp(host, port).await?), host, tls, false).await;
        };
        let proxy_error = |e: ConnectError| ConnectError(format!("proxyconnect tcp: {}", e.0));
        let stream = tcp(&proxy.host, proxy.port).await.map_err(proxy_error)?;
        match proxy.kind {
            ProxyKind::Socks5 => {
                let mut stream = stream;
                socks5(&mut stream, proxy, host, port).await?;
                self.finish(Box::new(stream), host, tls, false).await
            }
            ProxyKind::Http | ProxyKind::Https => {
                let mut stream: Box<dyn Stream> = Box::new(stream);
                if proxy.kind == ProxyKind::Https {
                    // Only HTTP/1.1 towards the proxy: CONNECT is written by hand.
                    let mut config = (*self.tls).clone();
                    config.alpn_protocols = vec![b"http/1.1".to_vec()];
                    let name = server_name(&proxy.host)?;
                    stream = handshake(Arc::new(config), name, stream).await.map_err(proxy_error)?.0;
                }
                if tls {
                    self.tunnel(&mut stream, proxy, host, port).await?;
                }
                self.finish(stream, host, tls, !tls).await
            }
        }
    }

    async fn finish(
        &self,
        stream: Box<dyn Stream>,
        host: &str,
        tls: bool,
        forward_proxy: bool,
    ) -> Result<Conn, ConnectError> {
        if !tls {
            return Ok(Conn { io: TokioIo::new(stream), h2: false, forward_proxy });
        }
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => server_name(host)?,
        };
        let (stream, h2) = handshake(Arc::clone(&self.tls), name, stream).await?;
        Ok(Conn { io: TokioIo::new(stream), h2, forward_proxy: false })
    }

    async fn tunnel(
        &self,
        stream: &mut Box<dyn Stream>,
        proxy: &Proxy,
        host: &str,
        port: u16,
    ) -> Result<(), ConnectError> {
        let host = if host.contains(':') { format!("[{host}]") } else { host.to_string() };
        let mut head = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n").into_bytes();
        for (name, value) in &self.connect_headers {
            head.extend_from_slice(name.as_str().as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        if let Some(value) = proxy.authorization()
            && !self.connect_headers.contains_key(http::header::PROXY_AUTHORIZATION)
        {
            head.extend_from_slice(format!("Proxy-Authorization: {value}\r\n").as_bytes());
        }
        head.extend_from_slice(b"\r\n");
        let fail = |e: std::io::Error| ConnectError(format!("proxyconnect tcp: {}", os_text(&e)));
        stream.write_all(&head).await.map_err(fail)?;
        stream.flush().await.map_err(fail)?;
        // Byte by byte: what follows the head belongs to TLS. A few hundred bytes, once a connection.
        let mut answer = Vec::with_capacity(256);
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() >= CONNECT_HEAD_BYTES_MAX {
                return Err(ConnectError("proxyconnect tcp: the proxy's answer is too long".to_string()));
            }
            let byte = stream.read_u8().await;
            answer.push(byte.map_err(|_| ConnectError("proxyconnect tcp: EOF".to_string()))?);
        }
        let line =
            String::from_utf8_lossy(answer.split(|b| *b == b'\r').next().unwrap_or_default()).into_owned();
        let mut words = line.splitn(2, ' ');
        let (version, status) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if !version.starts_with("HTTP/1.") {
            return Err(ConnectError(format!("proxyconnect tcp: malformed HTTP response {line:.80?}")));
        }
        if !status.starts_with("200") {
            // Go shows the status line without its number.
            let text = status.split_once(' ').map_or(status, |(_, text)| text);
            return Err(ConnectError(text.chars().take(200).collect()));
        }
        Ok(())
    }
}

fn timed_out(uri: &Uri) -> ConnectError {
    ConnectError(format!("dial {}: i/o timeout", uri.authority().map_or("", |a| a.as_str())))
}

fn host_of(uri: &Uri) -> Result<&str, ConnectError> {
    let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        return Err(ConnectError("http: no Host in request URL".to_string()));
    }
    Ok(host)
}

fn server_name(host: &str) -> Result<ServerName<'static>, ConnectError> {
    ServerName::try_from(host.to_string()).map_err(|_| {
        ConnectError(format!("tls: {host:?} is no name that a certificate can be checked against"))
    })
}

async fn handshake(
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
    stream: Box<dyn Stream>,
) -> Result<(Box<dyn Stream>, bool), ConnectError> {
    let connector = tokio_rustls::TlsConnector::from(config);
    let shown = name.to_str().into_owned();
    let stream = connector.connect(name, stream).await.map_err(|e| tls_error(&shown, &e))?;
    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    Ok((Box::new(stream), h2))
}

/// Go's words for the usual reasons.
fn tls_error(name: &str, e: &std::io::Error) -> ConnectError {
    use rustls::{AlertDescription, CertificateError as Cert, Error, InvalidMessage};
    let Some(tls) = e.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) else {
        let text = match e.kind() {
            std::io::ErrorKind::UnexpectedEof => "EOF".to_string(),
            _ => os_text(e),
        };
        return ConnectError(text);
    };
    let verify = |what: String| format!("tls: failed to verify certificate: x509: {what}");
    ConnectError(match tls {
        // A wrong signature: another authority of the same name.
        Error::InvalidCertificate(Cert::UnknownIssuer | Cert::BadSignature) => {
            verify("certificate signed by unknown authority".to_string())
        }
        Error::InvalidCertificate(Cert::Expired | Cert::ExpiredContext { .. }) => {
            verify("certificate has expired or is not yet valid: it has expired".to_string())
        }
        Error::InvalidCertificate(Cert::NotValidYet | Cert::NotValidYetContext { .. }) => {
            verify("certificate has expired or is not yet valid: it is not valid yet".to_string())
        }
        Error::InvalidCertificate(Cert::NotValidForNameContext { presented, .. })
            if !presented.is_empty() =>
        {
            let names: Vec<&str> = presented.iter().map(|p| dns_name(p)).collect();
            verify(format!("certificate is valid for {}, not {name}", names.join(", ")))
        }
        Error::InvalidCertificate(Cert::NotValidForName | Cert::NotValidForNameContext { .. }) => {
            verify(format!("certificate is not valid for any names, but wanted to match {name}"))
        }
        Error::InvalidCertificate(other) => verify(other.to_string()),
        Error::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "http: server gave HTTP response to HTTPS client".to_string()
        }
        Error::AlertReceived(alert) => {
            let what = match alert {
                AlertDescription::BadCertificate => "bad certificate".to_string(),
                AlertDescription::CertificateRequired => "certificate required".to_string(),
                AlertDescription::HandshakeFailure => "handshake failure".to_string(),
                AlertDescription::ProtocolVersion => "protocol version not supported".to_string(),
                AlertDescription::UnknownCA => "unknown certificate authority".to_string(),
                other => format!("{other:?}"),
            };
            format!("remote error: tls: {what}")
        }
        other => format!("tls: {other}"),
    })
}

/// `DnsName("a.example")` as rustls prints presented names, without the shell.
fn dns_name(printed: &str) -> &str {
    printed.split('"').nth(1).unwrap_or(printed)
}

/// Connects to the first address that answers, both families in a race with a head start for the first.
async fn tcp(host: &str, port: u16) -> Result<TcpStream, ConnectError> {
    let addresses: Vec<SocketAddr> = match host.parse() {
        Ok(ip) => vec![SocketAddr::new(ip, port)],
        Err(_) => crate::names::lookup(host, port).await,
    };
    let Some(first) = addresses.first().copied() else {
        return Err(ConnectError(format!("dial tcp: lookup {host}: no such host")));
    };
    let (primary, fallback): (Vec<_>, Vec<_>) =
        addresses.into_iter().partition(|a| a.is_ipv4() == first.is_ipv4());
    if fallback.is_empty() {
        return tcp_any(&primary).await;
    }
    let second = async {
        tokio::time::sleep(FALLBACK_DELAY).await;
        tcp_any(&fallback).await
    };
    tokio::pin!(second);
    let first = tcp_any(&primary);
    tokio::pin!(first);
    tokio::select! {
        result = &mut first => match result {
            Ok(stream) => Ok(stream),
            Err(error) => tcp_any(&fallback).await.map_err(|_| error),
        },
        result = &mut second => match result {
            Ok(stream) => Ok(stream),
            Err(_) => first.await,
        },
    }
}

async fn tcp_any(addresses: &[SocketAddr]) -> Result<TcpStream, ConnectError> {
    let mut first_error = None;
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Small requests must not wait for acknowledgements; keep-alives find dead peers between
                // scrapes. Neither is worth failing a connection for.
                let _ = stream.set_nodelay(true);
                let keepalive = socket2::TcpKeepalive::new().with_time(Duration::from_secs(15));
                let _ = socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive);
                return Ok(stream);
            }
            Err(e) => {
                let text = format!("dial tcp {address}: connect: {}", os_text(&e));
                first_error.get_or_insert(ConnectError(text));
            }
        }
    }
    Err(first_error.unwrap_or_else(|| ConnectError("dial tcp: missing address".to_string())))
}

/// RFC 1928 with RFC 1929 credentials; the name is resolved by the proxy.
async fn socks5(stream: &mut TcpStream, proxy: &Proxy, host: &str, port: u16) -> Result<(), ConnectError> {
    let io = |e: std::io::Error| {
        ConnectError(format!("socks connect tcp {}:{}: {}", proxy.host, proxy.port, os_text(&e)))
    };
    let refuse =
        |what: &str| ConnectError(format!("socks connect tcp {}:{}: {what}", proxy.host, proxy.port));
    let method = if proxy.credentials.is_some() { 2 } else { 0 };
    stream.write_all(&[5, 1, method]).await.map_err(io)?;
    let mut chosen = [0; 2];
    stream.read_exact(&mut chosen).await.map_err(io)?;
    if chosen != [5, method] {
        return Err(refuse("no acceptable authentication methods"));
    }
    if let Some((user, password)) = &proxy.credentials {
        let (Ok(n), Ok(m)) = (u8::try_from(user.len()), u8::try_from(password.len())) else {
            return Err(refuse("user or password longer than 255 bytes"));
        };
        let mut auth = vec![1, n];
        auth.extend_from_slice(user.as_bytes());
        auth.push(m);
        auth.extend_from_slice(password.as_bytes());
        stream.write_all(&auth).await.map_err(io)?;
        let mut answer = [0; 2];
        stream.read_exact(&mut answer).await.map_err(io)?;
        if answer[1] != 0 {
            return Err(refuse("username/password authentication failed"));
        }
    }
    let mut request = vec![5, 1, 0];
    match host.parse() {
        Ok(std::net::IpAddr::V4(ip)) => {
            request.push(1);
            request.extend_from_slice(&ip.octets());
        }
        Ok(std::net::IpAddr::V6(ip)) => {
            request.push(4);
            request.extend_from_slice(&ip.octets());
        }
        Err(_) => {
            let n = u8::try_from(host.len()).map_err(|_| refuse("host name longer than 255 bytes"))?;
            request.extend_from_slice(&[3, n]);
            request.extend_from_slice(host.as_bytes());
        }
    }
    request.extend_from_slice(&port.to_be_bytes());
    stream.write_all(&request).await.map_err(io)?;
    let mut head = [0; 4];
    stream.read_exact(&mut head).await.map_err(io)?;
    if head[1] != 0 {
        let what = match head[1] {
            1 => "general SOCKS server failure",
            2 => "connection not allowed by ruleset",
            3 => "network unreachable",
            4 => "host unreachable",
            5 => "connection refused",
            6 => "TTL expired",
            7 => "command not supported",
            8 => "address type not supported",
            _ => "unknown error",
        };
        return Err(refuse(what));
    }
    let rest = match head[3] {
        1 => 4,
        4 => 16,
        3 => usize::from(stream.read_u8().await.map_err(io)?),
        _ => return Err(refuse("address type not supported")),
    };
    let mut bound = vec![0; rest + 2];
    stream.read_exact(&mut bound).await.map_err(io)?;
    Ok(())
}
