//! Connections to brokers, each a socket of its own.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustix::net::{Shutdown, shutdown};
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use super::Error;
use super::session::{Notice, Session, status_line};
use crate::client::{self, chain, plain_endpoint};
use tokio::sync::mpsc;

/// How long a broker may take to accept a connection.
const WITHIN: Duration = Duration::from_secs(5);

/// The endpoint of a broker that is spoken to in plain text: what is measured is the broker, and not TLS.
fn endpoint(server: &str) -> Result<Endpoint, client::Error> {
    let endpoint = plain_endpoint(server)?;
    if endpoint.uri().scheme_str() == Some("https") {
        let reason = "the bench speaks no TLS; name an address with http:// or a unix: socket".into();
        return Err(client::Error::Endpoint { endpoint: server.into(), reason });
    }
    Ok(endpoint)
}

/// Connects to a broker.
///
/// # Errors
/// One line that says why there is no connection.
pub async fn connect(server: &str) -> Result<Channel, String> {
    let endpoint = endpoint(server).map_err(|error| error.to_string())?;
    endpoint.connect_timeout(WITHIN).connect().await.map_err(|error| chain(&error))
}

/// As [`connect`], over TCP, with a handle on the socket.
///
/// # Errors
/// As with [`connect`].
pub async fn connect_by_socket(server: &str) -> Result<(Channel, Socket), String> {
    let endpoint = endpoint(server).map_err(|error| error.to_string())?;
    let address = endpoint.uri().authority().map(ToString::to_string);
    let address = address.ok_or_else(|| "only a TCP connection can be cut: name the broker by HOST:PORT".to_owned())?;
    let connection = async {
        let stream = TcpStream::connect(&address).await?;
        stream.set_nodelay(true)?;
        let socket = Socket(stream.as_fd().try_clone_to_owned()?);
        Ok::<_, io::Error>((stream, socket))
    };
    let connection =
        tokio::time::timeout(WITHIN, connection).await.map_err(|_| format!("no answer within {WITHIN:?}"))?;
    let (stream, socket) = connection.map_err(|error| error.to_string())?;
    // There is this one connection and there will be no other.
    let mut stream = Some(TokioIo::new(stream));
    let connector = service_fn(move |_| {
        let stream = stream.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
        async move { stream }
    });
    let channel = endpoint.connect_with_connector(connector).await.map_err(|error| chain(&error))?;
    Ok((channel, socket))
}

/// A connection's socket.
#[derive(Debug)]
pub struct Socket(OwnedFd);

impl Socket {
    /// Ends the connection without a word: FIN, as the kernel sends it for a process that is killed.
    pub fn cut(&self) {
        // Fails if the connection has ended already.
        let _ = shutdown(&self.0, Shutdown::Both);
    }
}

/// As many connections as wanted, to the brokers in turn.
pub(super) async fn connect_all(servers: &[String], count: usize) -> Result<Vec<(String, Channel)>, Error> {
    let mut channels = Vec::new();
    for server in servers.iter().cycle().take(count) {
        endpoint(server)?;
        let channel = connect(server).await;
        let channel = channel.map_err(|why| Error::Connect { server: server.clone(), why })?;
        channels.push((server.clone(), channel));
    }
    Ok(channels)
}

/// Opens a Session on a connection to `server`.
pub(super) async fn open(
    server: &str,
    channel: Channel,
    ttl: Option<Duration>,
) -> Result<(Session, mpsc::UnboundedReceiver<Notice>), Error> {
    let session = Session::open(channel, ttl).await;
    session.map_err(|status| Error::Session { server: server.to_owned(), why: status_line(&status) })
}
