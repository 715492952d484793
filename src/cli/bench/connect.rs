//! Connections to brokers, each a socket of its own.

use std::error::Error as _;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustix::net::{Shutdown, shutdown};
use tokio::net::TcpStream;
use tonic::Status;
use tonic::transport::Channel;
use tower::service_fn;

use super::session::{Notice, Session, status_line};
use super::{CommonArgs, Error};
use crate::cli::common::{TlsArgs, by_option};
use crate::client::{broken, chain, plain_endpoint};
use tokio::sync::mpsc;

/// The longest time that a broker may take to accept a connection.
const WITHIN: Duration = Duration::from_secs(5);

/// Connects to a broker in plain text.
///
/// # Errors
/// One line that says why there is no connection.
pub async fn connect(server: &str) -> Result<Channel, String> {
    connect_by(&TlsArgs::default(), server).await.map_err(|error| error.to_string())
}

/// Connects to a broker, by TLS where the endpoint is an `https` one.
async fn connect_by(tls: &TlsArgs, server: &str) -> Result<Channel, Error> {
    let failed = |why: String| Error::Connect { server: server.to_owned(), why };
    let connectors = tls.client(server).connectors()?;
    let [connector] = &connectors[..] else { return Err(failed("not one broker".into())) };
    match tokio::time::timeout(WITHIN, connector.connect()).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => Err(connector.trouble().take().map_or_else(|| failed(chain(&error)), Error::Endpoint)),
        Err(_) => Err(failed(format!("no answer within {WITHIN:?}"))),
    }
}

/// Connects as [`connect`] does, over TCP, and returns a handle on the socket as well.
///
/// # Errors
/// Fails as [`connect`] does.
pub async fn connect_by_socket(server: &str) -> Result<(Channel, Socket), String> {
    let endpoint = plain_endpoint(server).map_err(|error| error.to_string())?;
    if endpoint.uri().scheme_str() == Some("https") {
        return Err("only a connection in plain text can be cut: name the broker by http://HOST:PORT".into());
    }
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

/// Says why there is no Session.
fn why(status: &Status) -> String {
    let said = || by_option(status.message()).unwrap_or_else(|| status_line(status));
    status.source().map_or_else(said, broken)
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

/// Makes as many connections as wanted, to the brokers in turn.
pub(super) async fn connect_all(common: &CommonArgs, count: usize) -> Result<Vec<(String, Channel)>, Error> {
    let mut channels = Vec::new();
    for server in common.server.iter().cycle().take(count) {
        channels.push((server.clone(), connect_by(&common.tls, server).await?));
    }
    Ok(channels)
}

/// Connects to any of the brokers, beginning with that after `server`, which is on its way out.
pub(super) async fn connect_elsewhere(common: &CommonArgs, server: &str) -> Result<(String, Channel), Error> {
    let at = common.server.iter().position(|other| other == server).unwrap_or_default() + 1;
    let mut last = Error::Setup("no broker to connect to".into());
    for server in common.server.iter().cycle().skip(at).take(common.server.len()) {
        match connect_by(&common.tls, server).await {
            Ok(channel) => return Ok((server.clone(), channel)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Opens a Session on a connection to `server`.
pub(super) async fn open(
    server: &str,
    channel: Channel,
    ttl: Option<Duration>,
) -> Result<(Session, mpsc::UnboundedReceiver<Notice>), Error> {
    let session = Session::open(channel, ttl).await;
    session.map_err(|status| Error::Session { server: server.to_owned(), why: why(&status) })
}
