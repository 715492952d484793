//! The sockets on which the broker accepts clients.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use rustix::io::Errno;
use tokio::net::{TcpListener, TcpSocket, UnixListener};
use tokio::task::JoinSet;
use tokio_rustls::rustls::ServerConfig;
use tokio_stream::StreamMap;

use super::socket::{Socket, handshake};
use super::socket_file::SocketFile;
use crate::config::{ListenAddress, SocketOptions};
use crate::quota::{Quota, Share};
use crate::rate_limited::RateLimited;
use crate::reloaded::Reloaded;

/// The pause after accepting failed. When file descriptors have run out, the next try would fail at once.
const PAUSE: Duration = Duration::from_millis(250);

/// The number of clients that may wait to be accepted: as many as the kernel lets wait (`net.core.somaxconn`, 4,096 by
/// default). The standard library's 128 are too few when a broker is back, or when a proxy opens a connection for each
/// of its calls: while a busy broker accepts none, Linux answers further clients by SYN cookies, and resets those whose
/// first bytes it had to drop.
pub(super) const BACKLOG: u32 = 65_535;

/// A socket that is listened on.
#[derive(Debug)]
pub struct Listener {
    kind: Kind,
    /// The TLS settings; none for plain text.
    tls: Option<Reloaded<ServerConfig>>,
    /// It is for HTTP/1.1 as well.
    takes_http1: bool,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

impl Listener {
    /// Listens on a TCP address, for plain text. Port 0 takes one that is free; [`address`](Listener::address) tells
    /// which. `[::]` takes IPv4 as well, and IPv4 alone on a machine without IPv6.
    ///
    /// # Errors
    /// Returns the operating system's error, for instance that the port is taken.
    pub fn tcp(address: SocketAddr) -> io::Result<Listener> {
        let listener = match listen_on(address) {
            Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && is_without_ipv6(&error) => {
                listen_on((Ipv4Addr::UNSPECIFIED, address.port()).into())?
            }
            listens => listens?,
        };
        Ok(Listener { kind: Kind::Tcp(listener), tls: None, takes_http1: false })
    }

    /// Makes the listener speak TLS. Each connection uses the settings that are current when it comes.
    pub fn with_tls(self, tls: Reloaded<ServerConfig>) -> Listener {
        Listener { tls: Some(tls), ..self }
    }

    /// Makes the listener take HTTP/1.1 beside HTTP/2.
    pub fn with_http1(self) -> Listener {
        Listener { takes_http1: true, ..self }
    }

    /// Listens on a Unix socket at `path`, with the permissions that `options` give. Replaces a socket on which nobody
    /// listens any more. The socket is removed when the listener is dropped.
    ///
    /// # Errors
    /// Fails if another process listens there or something else is there, if the path is longer than 107 bytes, if
    /// there is no such group, or with the operating system's error.
    pub async fn unix(path: &Path, options: &SocketOptions) -> io::Result<Listener> {
        let (listener, file) = SocketFile::listen(path, options).await?;
        Ok(Listener { kind: Kind::Unix(listener, file), tls: None, takes_http1: false })
    }

    /// Returns the address on which it listens.
    ///
    /// # Errors
    /// Returns the operating system's error.
    pub fn address(&self) -> io::Result<ListenAddress> {
        Ok(match &self.kind {
            Kind::Tcp(listener) => ListenAddress::Tcp(listener.local_addr()?),
            Kind::Unix(_, file) => ListenAddress::Unix(file.path().to_owned()),
        })
    }

    /// Accepts the next connection, before anything is read from it or written to it. If accepting fails, logs it and
    /// tries again for as long as it takes.
    ///
    /// # Cancel safety
    /// Dropping the future loses no connection.
    pub async fn accept(&self) -> Socket {
        loop {
            match self.try_accept().await {
                Ok(socket) => return socket,
                Err(error) if is_of_one_connection(&error) => tracing::debug!(%error, "connection lost on accepting"),
                Err(error) => {
                    static FAILED: RateLimited = RateLimited::new();
                    if let Some(left_out) = FAILED.pass() {
                        tracing::warn!(
                            %error, left_out,
                            "cannot accept connections, and tries again; if files have run out, lower --max-connections or \
                             raise the limit of open files (`ulimit -n`, systemd's LimitNOFILE)"
                        );
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn try_accept(&self) -> io::Result<Socket> {
        match &self.kind {
            Kind::Tcp(listener) => Ok(Socket::tcp(listener.accept().await?.0)),
            Kind::Unix(listener, _) if self.takes_http1 => Ok(Socket::PlainUnix(listener.accept().await?.0)),
            Kind::Unix(listener, _) => Ok(Socket::unix(listener.accept().await?.0)),
        }
    }

    /// Returns the TLS settings for the next connection.
    fn tls(&self) -> Option<Arc<ServerConfig>> {
        let tls = self.tls.as_ref()?.now();
        if !self.takes_http1 {
            return Some(tls);
        }
        let mut tls = ServerConfig::clone(&tls);
        tls.alpn_protocols.push(b"http/1.1".to_vec());
        Some(tls.into())
    }
}

fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A broker that starts again need not wait until the kernel has forgotten the connections of the last one.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Tells that this machine has no IPv6 at all (`ipv6.disable=1`), as some nodes of Kubernetes.
fn is_without_ipv6(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error())
}

/// Returns true if an error of `accept` concerns only the connection that it would have returned. Then the next one
/// may well succeed. (Linux reports errors of the network in this way.)
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted | NetworkDown | NetworkUnreachable | HostUnreachable
    )
}

/// Yields the connections of all `listeners`, each after its TLS handshake. Never ends and never fails. A slow
/// handshake holds up nobody else. A connection for which `connections` has no room is closed at once, before HTTP/2
/// begins: so gRPC clients take it for one that failed, and try the next broker. The log says `what_to_do`.
pub(super) fn incoming(
    listeners: Vec<Listener>,
    connections: Quota,
    what_to_do: &'static str,
) -> impl Stream<Item = (Socket, Share)> {
    let accepted = listeners.into_iter().map(|listener| {
        Box::pin(stream::unfold(listener, async |listener| {
            let socket = listener.accept().await;
            Some(((socket, listener.tls()), listener))
        }))
    });
    // They are polled in a random order, so that no socket starves another.
    let mut all = StreamMap::new();
    for (n, accepted) in accepted.enumerate() {
        all.insert(n, accepted);
    }
    stream::unfold((all, JoinSet::new(), connections), async move |(mut all, mut handshakes, connections)| {
        loop {
            let accepted = tokio::select! {
                Some((_, accepted)) = all.next() => accepted,
                Some(agreed) = handshakes.join_next() => match agreed {
                    Ok(Some(agreed)) => return Some((agreed, (all, handshakes, connections))),
                    // It has been logged.
                    Ok(None) | Err(_) => continue,
                },
                else => return None,
            };
            let Some(room) = connections.take() else {
                turned_away(what_to_do);
                continue;
            };
            match accepted {
                (socket, None) => return Some(((socket, room), (all, handshakes, connections))),
                (socket, Some(config)) => {
                    handshakes.spawn(async move { handshake(socket, config).await.map(|socket| (socket, room)) });
                }
            }
        }
    })
}

/// Says that a connection was closed for want of room.
fn turned_away(what_to_do: &str) {
    static TURNED_AWAY: RateLimited = RateLimited::new();
    if let Some(left_out) = TURNED_AWAY.pass() {
        tracing::warn!(left_out, "a connection was closed at once, since as many are open as may be: {what_to_do}");
    }
}
