//! The sockets that clients come in by.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::stream;
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::{Stream, StreamMap};

use crate::config::ListenAddress;

/// For how long to leave a socket alone on which accepting failed: when file descriptors have run out,
/// the next try fails at once.
const PAUSE: Duration = Duration::from_millis(250);

/// A bound socket.
#[derive(Debug)]
pub struct Listener(TcpListener);

impl Listener {
    /// Binds `address`. Port 0 takes one that is free; [`local_addr`](Listener::local_addr) tells which.
    ///
    /// # Errors
    /// What the operating system says, for instance that the port is taken.
    pub async fn bind(address: &ListenAddress) -> io::Result<Listener> {
        let ListenAddress::Tcp(address) = address;
        TcpListener::bind(address).await.map(Listener)
    }

    /// The address that it is bound to.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    /// The next connection. What goes wrong on the way is logged and tried again, for as long as it takes.
    ///
    /// # Cancel safety
    /// Dropping the future loses no connection.
    pub async fn accept(&self) -> TcpStream {
        loop {
            match self.0.accept().await {
                Ok((stream, _peer)) => {
                    // Every message is one write and somebody waits for it. An error means that the
                    // connection is gone already, which its first read will tell.
                    let _ = stream.set_nodelay(true);
                    return stream;
                }
                Err(error) if is_of_one_connection(&error) => tracing::debug!(%error, "connection lost on accepting"),
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}

/// Whether an error of `accept` says something about the connection that it would have returned, so
/// that the next one may well succeed. (Linux hands out errors of the network in this way.)
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::*;
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted | NetworkDown | NetworkUnreachable | HostUnreachable
    )
}

/// The connections of all `listeners`. Never ends, and never fails.
pub(super) fn incoming(listeners: Vec<Listener>) -> impl Stream<Item = TcpStream> {
    let accepted = listeners
        .into_iter()
        .map(|listener| Box::pin(stream::unfold(listener, async |listener| Some((listener.accept().await, listener)))));
    // Keyed by nothing but their number; polled in a random order, so that no socket starves another.
    let mut all = StreamMap::new();
    for (n, accepted) in accepted.enumerate() {
        all.insert(n, accepted);
    }
    tokio_stream::StreamExt::map(all, |(_, stream)| stream)
}
