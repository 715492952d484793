//! How a client's connection ends, and which ends are the client's word.
//!
//! The first thing that a socket says about its end decides. The kernel tells an error once, to whoever reads or writes
//! first; after a write that failed, the next read shows an end of file that is no FIN.

use std::io;

use crate::metrics::{By, Gauge, Label};

/// The kind of socket that a client came in by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// TCP, with or without TLS. A machine on the way can reset the broker's half alone, and then the client believes on.
    Tcp,
    /// A Unix socket. Nobody stands between; its kernel tells a reset where a client closes it with bytes unread.
    Unix,
}

/// How a connection ended.
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

/// What is counted of connections.
#[derive(Debug)]
pub(crate) struct ConnectionMetrics {
    /// How many there are.
    pub(crate) open: Gauge,
    /// How many have ended, by how.
    pub(crate) ended: By<ConnectionEnd>,
}
