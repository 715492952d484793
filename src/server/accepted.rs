//! The connections of clients, on whichever listener they come.

use std::sync::Arc;

use futures_util::{Stream, StreamExt};

use super::listen::{self, Listener};
use super::origin::Site;
use super::socket::Socket;
use crate::config::TransportOptions;
use crate::quota::{Quota, Share};
use crate::service::connection::{ConnectionMetrics, TrackedIo};
use crate::service::timeouts::{Idle, Timeouts};

/// The operator's remedy when there is no room for another connection.
const CONNECTIONS_FULL: &str = "raise --max-connections, or add brokers";

/// What the connections of clients have in common.
#[derive(Debug, Clone)]
pub(super) struct Accepted {
    /// The limit of all of them together.
    pub(super) may_connect: Quota,
    pub(super) connections: Arc<ConnectionMetrics>,
    pub(super) options: TransportOptions,
}

impl Accepted {
    /// Yields the connections to gRPC listeners.
    pub(super) fn over_grpc(self, listeners: Vec<Listener>) -> impl Stream<Item = TrackedIo<Socket>> {
        listen::incoming(listeners, self.may_connect.clone(), CONNECTIONS_FULL)
            .map(move |(io, room)| self.track(io, room))
    }

    /// Yields the connections to the HTTP door.
    pub(super) fn over_http(self, listeners: Vec<Listener>) -> impl Stream<Item = (TrackedIo<Socket>, Site)> {
        listen::incoming(listeners, self.may_connect.clone(), CONNECTIONS_FULL).map(move |(io, room)| {
            let site = if matches!(io, Socket::Tcp { .. }) { Site::Plain } else { Site::Proven };
            io.keep_alive(self.options.keepalive_interval, self.options.keepalive_timeout);
            (self.track(io, room), site)
        })
    }

    fn track(&self, io: Socket, room: Share) -> TrackedIo<Socket> {
        let &TransportOptions { keepalive_interval, keepalive_timeout, idle_timeout, .. } = &self.options;
        let timeouts = Timeouts::new(Idle::WithoutCalls(idle_timeout), keepalive_interval + keepalive_timeout);
        let (transport, caller) = (io.transport(), io.caller());
        let io = TrackedIo::new(io, transport, keepalive_interval, caller).counted_by(&self.connections);
        io.with_room(room).with_timeouts(timeouts).with_silence(keepalive_timeout)
    }
}
