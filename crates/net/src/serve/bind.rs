//! From the texts of `--web.listen-address` to listening sockets.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

use super::ServeError;
use crate::secret::os_text;

/// Connections that the system queues for us; it caps this at `somaxconn`.
const BACKLOG: i32 = 4096;

/// Binds all addresses: `host:port`, `:port` (all addresses of both families), `[v6]:port`. Must be called
/// within a tokio runtime. May block on name resolution.
///
/// # Errors
/// The first address that cannot be bound, in Go's words; none stays bound then.
pub fn bind(addresses: &[String]) -> Result<Vec<TcpListener>, ServeError> {
    addresses.iter().map(|address| bind_one(address)).collect()
}

fn bind_one(address: &str) -> Result<TcpListener, ServeError> {
    let fail = |reason: String| ServeError::Listen { address: address.to_string(), reason };
    let (host, port) = address.rsplit_once(':').ok_or_else(|| ServeError::Listen {
        address: address.to_string(),
        reason: format!("address {address}: missing port in address"),
    })?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    let port: u16 = port.parse().map_err(|_| fail(format!("invalid port {port:?}")))?;
    if host.is_empty() {
        // One socket for both families, as Go does; where IPv6 is switched off, IPv4 alone.
        let both = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
        return listen(both)
            .or_else(|e| {
                let no_v6 = matches!(
                    e.raw_os_error(),
                    Some(code) if code == codes::EAFNOSUPPORT || code == codes::EADDRNOTAVAIL
                );
                if no_v6 { listen(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port)) } else { Err(e) }
            })
            .map_err(|e| fail(format!("bind: {}", os_text(&e))));
    }
    let found = match host.parse::<IpAddr>() {
        Ok(ip) => SocketAddr::new(ip, port),
        Err(_) => {
            let all =
                (host, port).to_socket_addrs().map_err(|_| fail(format!("lookup {host}: no such host")))?;
            let all: Vec<_> = all.collect();
            // Go takes IPv4 first where a name has both.
            let first = all.iter().find(|a| a.is_ipv4()).or(all.first()).copied();
            first.ok_or_else(|| fail(format!("lookup {host}: no such host")))?
        }
    };
    listen(found).map_err(|e| fail(format!("bind: {}", os_text(&e))))
}

/// The two codes that say "no IPv6 here", by their numbers on Linux: not worth a dependency.
mod codes {
    pub(super) const EAFNOSUPPORT: i32 = 97;
    pub(super) const EADDRNOTAVAIL: i32 = 99;
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(address.ip() != IpAddr::V6(Ipv6Addr::UNSPECIFIED))?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
