//! An accepted connection, over TCP, TLS or a Unix socket, and the identities of its client.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{Error, ServerConfig};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::authority::AnyAuthority;
use crate::policy::{Caller, Identity};
use crate::rate_limited::RateLimited;
use crate::service::connection::Transport;

/// The longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// The first bytes of a client that speaks TLS: the type of its first record, and the first half of the version.
const TLS_GREETING: [u8; 2] = [0x16, 0x03];

/// An accepted connection.
#[derive(Debug)]
pub enum Socket {
    /// Over TCP, in plain text.
    Tcp {
        /// The connection.
        io: TcpStream,
        /// True while nothing has come on it.
        is_new: bool,
    },
    /// Over TCP, by TLS.
    Tls(Box<TlsStream<TcpStream>>),
    /// Over a Unix socket, by HTTP/2.
    Unix(Box<AnyAuthority<UnixStream>>),
    /// Over a Unix socket, by HTTP/1.1 or HTTP/2 with an authority that h2 takes.
    PlainUnix(UnixStream),
}

impl Socket {
    /// Wraps an accepted TCP connection.
    pub(super) fn tcp(io: TcpStream) -> Socket {
        // Every message is one write, and somebody waits for it. An error means that the connection has gone already;
        // the first read will report that.
        let _ = io.set_nodelay(true);
        Socket::Tcp { io, is_new: true }
    }

    /// Wraps an accepted connection to a Unix socket.
    pub(super) fn unix(io: UnixStream) -> Socket {
        Socket::Unix(Box::new(AnyAuthority::new(io)))
    }

    /// Returns the kind of socket that lies below.
    pub(super) fn transport(&self) -> Transport {
        match self {
            Socket::Tcp { .. } | Socket::Tls(_) => Transport::Tcp,
            Socket::Unix(_) | Socket::PlainUnix(_) => Transport::Unix,
        }
    }

    /// Lets the kernel ask the client's kernel if it is there after a silence of `interval`, and end the connection if nothing
    /// comes for `timeout` then: for HTTP/1.1, which has no pings.
    pub(super) fn keep_alive(&self, interval: Duration, timeout: Duration) {
        let io = match self {
            Socket::Tcp { io, .. } => io,
            Socket::Tls(io) => io.get_ref().0,
            Socket::Unix(_) | Socket::PlainUnix(_) => return,
        };
        // The kernel counts in seconds.
        let second = Duration::from_secs(1);
        let unanswered = u32::try_from((interval + timeout).as_millis()).unwrap_or(u32::MAX);
        let set = sockopt::set_socket_keepalive(io, true)
            .and_then(|()| sockopt::set_tcp_keepidle(io, interval.max(second)))
            .and_then(|()| sockopt::set_tcp_keepintvl(io, second))
            .and_then(|()| sockopt::set_tcp_user_timeout(io, unanswered));
        // A client that has gone already is found out by the first read.
        if let Err(error) = set {
            tracing::debug!(%error, "cannot let the kernel ask for a client");
        }
    }

    /// Returns the identities of the client.
    pub(super) fn caller(&self) -> Caller {
        match self {
            Socket::Tcp { io, .. } => addressed(io).collect(),
            Socket::Tls(io) => {
                let (io, tls) = io.get_ref();
                let mut caller = match tls.peer_certificates() {
                    Some([certificate, ..]) => named_by(certificate),
                    _ => Caller::new(),
                };
                caller.extend(addressed(io));
                caller
            }
            Socket::Unix(io) => process(io.get_ref()),
            Socket::PlainUnix(io) => process(io),
        }
    }
}

/// Returns the identities of the process at the other end of a Unix socket.
fn process(io: &UnixStream) -> Caller {
    match io.peer_cred() {
        Ok(peer) => vec![Identity::Uid(peer.uid()), Identity::Gid(peer.gid())],
        Err(error) => {
            tracing::warn!(%error, "cannot tell whose process is at the other end of a Unix socket");
            Caller::new()
        }
    }
}

/// Does the TLS handshake on a TCP connection. If it fails, logs that and returns none.
pub(super) async fn handshake(io: Socket, config: Arc<ServerConfig>) -> Option<Socket> {
    let Socket::Tcp { io, .. } = io else { return Some(io) };
    let peer = io.peer_addr().ok();
    match tokio::time::timeout(HANDSHAKE, TlsAcceptor::from(config).accept(io)).await {
        Ok(Ok(io)) => return Some(Socket::Tls(Box::new(io))),
        Ok(Err(error)) => failed(peer, &error),
        Err(_) => failed(peer, &io::Error::other(format!("not done within {HANDSHAKE:?}"))),
    }
    None
}

fn failed(peer: Option<SocketAddr>, error: &io::Error) {
    static NO_TLS: RateLimited = RateLimited::new();
    static FAILED: RateLimited = RateLimited::new();
    let peer = tracing::field::debug(peer);
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidMessage(_)) => {
            if let Some(left_out) = NO_TLS.pass() {
                tracing::warn!(peer, left_out, "a client does not speak TLS, and this listener speaks nothing else");
            }
        }
        Some(error) => {
            if let Some(left_out) = FAILED.pass() {
                tracing::warn!(peer, left_out, %error, "TLS handshake failed");
            }
        }
        // The client left, or never sent anything, as port scanners and load balancers' health checks do.
        None => tracing::debug!(peer, %error, "TLS handshake not finished"),
    }
}

/// Returns the address at the other end, unless it is gone already.
fn addressed(io: &TcpStream) -> impl Iterator<Item = Identity> {
    io.peer_addr().into_iter().map(|address| Identity::Address(address.ip().to_canonical()))
}

/// Returns the names in a client certificate.
fn named_by(certificate: &[u8]) -> Caller {
    let Ok((_, certificate)) = X509Certificate::from_der(certificate) else {
        tracing::warn!("a client certificate is good and yet cannot be read; nobody is known by it");
        return Caller::new();
    };
    let common_names = certificate.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    let mut caller: Caller = common_names.map(|name| Identity::CommonName(name.to_owned())).collect();
    if let Ok(Some(names)) = certificate.subject_alternative_name() {
        caller.extend(names.value.general_names.iter().filter_map(|name| match name {
            GeneralName::URI(uri) => Some(Identity::Uri((*uri).to_owned())),
            GeneralName::DNSName(name) => Some(Identity::Dns(name.to_ascii_lowercase())),
            _ => None,
        }));
    }
    caller
}

/// Logs that a client speaks TLS to a listener for plain text.
fn note_greeting(io: &TcpStream, said: &[u8]) {
    static TLS: RateLimited = RateLimited::new();
    if !said.starts_with(&TLS_GREETING) {
        return;
    }
    if let Some(left_out) = TLS.pass() {
        let peer = tracing::field::debug(io.peer_addr().ok());
        tracing::warn!(peer, left_out, "a client speaks TLS, and this listener only plain text");
    }
}

impl Connected for Socket {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

/// Calls the same method on the connection, of whichever kind it is.
macro_rules! each {
    ($socket:expr, $io:ident => $what:expr) => {
        match $socket {
            Socket::Tcp { io: $io, .. } => $what,
            Socket::Tls($io) => $what,
            Socket::Unix($io) => $what,
            Socket::PlainUnix($io) => $what,
        }
    };
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let result = each!(&mut *this, io => Pin::new(io).poll_read(cx, buf));
        if let Socket::Tcp { io, is_new } = this
            && *is_new
            && result.is_ready()
        {
            *is_new = false;
            note_greeting(io, &buf.filled()[before..]);
        }
        result
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), io => Pin::new(io).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self.get_mut(), io => Pin::new(io).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        each!(self, io => io.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self.get_mut(), io => Pin::new(io).poll_shutdown(cx))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A client's machine that fails is found out within the same time as by HTTP/2's pings.
    #[tokio::test]
    async fn the_kernel_asks_for_a_client_that_is_silent() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let socket = Socket::tcp(listener.accept().await.unwrap().0);
        socket.keep_alive(Duration::from_secs(5), Duration::from_millis(5_500));
        let Socket::Tcp { io, .. } = &socket else { unreachable!() };
        assert!(sockopt::socket_keepalive(io).unwrap());
        assert_eq!(sockopt::tcp_keepidle(io).unwrap(), Duration::from_secs(5));
        assert_eq!(sockopt::tcp_user_timeout(io).unwrap(), 10_500);
        socket.keep_alive(Duration::from_millis(100), Duration::from_millis(100));
        assert_eq!(sockopt::tcp_keepidle(io).unwrap(), Duration::from_secs(1));
    }
}
