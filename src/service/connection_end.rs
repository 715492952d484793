//! Classifies the ends of clients' connections.
//!
//! The first thing that a socket reports about its end decides. The kernel reports an error once, to the first read or
//! write. After a failed write, the next read shows an end of file that is no FIN.

use std::io;

use crate::metrics::{By, Gauge, Label};

/// The kind of socket on which a client connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP, with or without TLS. A machine on the way can reset the broker's half alone. Then the client still
    /// believes (R7a).
    Tcp,
    /// A Unix socket. No machine stands between. The kernel reports a reset if a client closes it with bytes unread.
    Unix,
}

/// The way in which a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionEnd {
    /// The client closed it, or its kernel did because the process is gone: FIN, the goodbye of HTTP/2 or of TLS, any
    /// end of a Unix socket.
    Closed,
    /// A RST came over TCP.
    Reset,
    /// The network failed (`ETIMEDOUT`, `EHOSTUNREACH`), or TLS could not decrypt what came.
    Failed,
    /// The broker ended it: an unanswered ping, a frame that breaks HTTP/2's rules, or its own shutdown.
    ByBroker,
}

impl ConnectionEnd {
    /// Classifies the first error on a socket.
    ///
    /// `EPIPE` comes first only after a FIN: a RST alone shows as `ECONNRESET`, to a write as well. `UnexpectedEof` is
    /// TLS's name for a FIN without TLS's goodbye, which is what a killed process leaves.
    pub(super) fn of(error: &io::Error, transport: Transport) -> ConnectionEnd {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        match (error.kind(), transport) {
            (BrokenPipe | UnexpectedEof, _) | (ConnectionReset, Transport::Unix) => ConnectionEnd::Closed,
            (ConnectionReset, Transport::Tcp) => ConnectionEnd::Reset,
            _ => ConnectionEnd::Failed,
        }
    }
}

impl Label for ConnectionEnd {
    const ALL: &'static [ConnectionEnd] =
        &[ConnectionEnd::Closed, ConnectionEnd::Reset, ConnectionEnd::Failed, ConnectionEnd::ByBroker];

    fn label(self) -> &'static str {
        match self {
            ConnectionEnd::Closed => "closed",
            ConnectionEnd::Reset => "reset",
            ConnectionEnd::Failed => "failed",
            ConnectionEnd::ByBroker => "by_broker",
        }
    }
}

/// The metrics of connections.
#[derive(Debug)]
pub(crate) struct ConnectionMetrics {
    /// The number of open connections.
    pub(crate) open: Gauge,
    /// The numbers of connections that have ended, by the way in which they did.
    pub(crate) ended: By<ConnectionEnd>,
}
