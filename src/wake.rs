//! The UDP socket over which brokers wake each other: one datagram, no answer, no connection, no retry.
//!
//! Does not know who waits. It yields [`WakeHint`]s, and anybody may have sent one, twice or never.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;

use crate::lock::WakeHint;

/// The UDP port where none is named.
pub const DEFAULT_PORT: u16 = 28553;

/// The pause after receiving failed.
const PAUSE: Duration = Duration::from_millis(250);

/// A bound socket, and its address for other brokers.
#[derive(Debug)]
pub struct WakeSocket {
    socket: UdpSocket,
    address: SocketAddr,
}

impl WakeSocket {
    /// Binds the port of `advertise` on all addresses of this machine that are of its family. Port 0 takes one that
    /// is free; [`address`](WakeSocket::address) tells which.
    ///
    /// # Errors
    /// Returns the operating system's error, for instance that the port is taken.
    pub async fn bind(advertise: SocketAddr) -> io::Result<WakeSocket> {
        let all: IpAddr = match advertise {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let socket = UdpSocket::bind((all, advertise.port())).await?;
        let address = SocketAddr::new(advertise.ip(), socket.local_addr()?.port());
        Ok(WakeSocket { socket, address })
    }

    /// Returns the address that other brokers send to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tries to send a hint, and never waits. A lost hint costs its receiver one poll interval.
    pub fn send(&self, hint: WakeHint, to: SocketAddr) {
        if let Err(error) = self.socket.try_send_to(&hint.to_bytes(), to) {
            tracing::debug!(%to, %error, "the broker there was not woken; it polls");
        }
    }

    /// Waits for the next hint. Skips datagrams that are not hints.
    ///
    /// # Cancel safety
    /// Dropping the future loses no hint.
    pub async fn next(&self) -> WakeHint {
        // One byte more than a hint has, so that a longer datagram is noticed.
        let mut datagram = [0; WakeHint::BYTES + 1];
        loop {
            match self.socket.recv_from(&mut datagram).await {
                Ok((length, _)) => {
                    if let Some(hint) = WakeHint::from_bytes(&datagram[..length]) {
                        return hint;
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot receive wake-ups; trying again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }
}
