//! The UDP socket over which brokers wake each other: one datagram, no answer, no connection, no retry.
//!
//! Does not know who waits. It yields [`Hint`]s, and anybody may have sent one, twice or never.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::net::UdpSocket;

use crate::lock::{LockName, MAX_NAME_BYTES, WakeHint};

/// The UDP port where none is named.
pub const DEFAULT_PORT: u16 = 28553;

/// The pause after receiving failed.
const PAUSE: Duration = Duration::from_millis(250);

/// A hint from one broker to another. It proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// The lock may be free. Eight bytes: the hash of its name.
    Free(WakeHint),
    /// The lock, which is observed at the receiver, has changed. The same eight bytes, and a zero, which is no name.
    Changed(WakeHint),
    /// The lock, which the receiver keeps, was revoked. The same eight bytes, and then the name.
    Revoked(LockName),
}

impl Hint {
    const LONGEST: usize = WakeHint::BYTES + MAX_NAME_BYTES;

    fn to_bytes(&self) -> Vec<u8> {
        match self {
            Hint::Free(hint) => hint.to_bytes().to_vec(),
            Hint::Changed(hint) => [&hint.to_bytes()[..], b"\0"].concat(),
            Hint::Revoked(name) => [&WakeHint::of(name).to_bytes(), name.as_str().as_bytes()].concat(),
        }
    }

    fn from_bytes(bytes: &[u8]) -> Option<Hint> {
        let (hash, name) = bytes.split_at_checked(WakeHint::BYTES)?;
        let hint = WakeHint::from_bytes(hash)?;
        match name {
            b"" => return Some(Hint::Free(hint)),
            b"\0" => return Some(Hint::Changed(hint)),
            _ => {}
        }
        let name = LockName::new(str::from_utf8(name).ok()?).ok()?;
        (WakeHint::of(&name) == hint).then_some(Hint::Revoked(name))
    }
}

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

    /// Tries to send a hint, and never waits. A lost hint costs its receiver one poll interval, or the time to the next
    /// renewal.
    pub fn send(&self, hint: &Hint, to: SocketAddr) {
        if let Err(error) = self.socket.try_send_to(&hint.to_bytes(), to) {
            tracing::debug!(%to, %error, "the broker there was not woken; it polls");
        }
    }

    /// Waits for the next hint. Skips datagrams that are not hints.
    ///
    /// # Cancel safety
    /// Dropping the future loses no hint.
    pub async fn next(&self) -> Hint {
        // One byte more than a hint has, so that a longer datagram is noticed.
        let mut datagram = [0; Hint::LONGEST + 1];
        loop {
            match self.socket.recv_from(&mut datagram).await {
                Ok((length, _)) => {
                    if let Some(hint) = Hint::from_bytes(&datagram[..length]) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_comes_back_as_it_went_and_nothing_else_is_one() {
        let name = LockName::new("x".repeat(MAX_NAME_BYTES).as_str()).unwrap();
        for hint in [
            Hint::Free(WakeHint::of(&name)),
            Hint::Changed(WakeHint::of(&name)),
            Hint::Revoked(name.clone()),
            Hint::Revoked(LockName::new("a").unwrap()),
        ] {
            assert_eq!(Hint::from_bytes(&hint.to_bytes()), Some(hint));
        }
        let mut other = Hint::Revoked(name).to_bytes();
        other[0] ^= 1;
        let longer = [other.as_slice(), b"x"].concat();
        for wrong in [&other[..], &longer, &other[..7], b""] {
            assert_eq!(Hint::from_bytes(wrong), None);
        }
    }
}
